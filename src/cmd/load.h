/* From what a user names to what the library runs: models, adapters, reward models, run folders.
 *
 * --model, --adapter and --reward take a Hugging Face folder, a GGUF, an adapter's folder or a run's output folder.  A run's
 * folder stands for its result: its model/, or its base model (from manifest.json) with its adapter/.  What is not there as a path may be
 * the name of a model that was pulled (OWNER/NAME, OWNER/NAME/FILE.gguf, OWNER/NAME@REVISION). */
#ifndef HONE_CMD_LOAD_H
#define HONE_CMD_LOAD_H

#include "checkpoint/save.h"
#include "data/encode.h"
#include "model/net.h"

/* The paths behind a name.  adapter NULL: none.  Fresh strings. */
struct artefact {
    char *model, *adapter;
};
int artefact_find(struct artefact *a, const char *name, struct err *err);
void artefact_release(struct artefact *a);

/* SHA-256 of what stands behind a name: of an adapter's weights, not of those below it; else of a model's; of an ensemble of what its
 * manifest says of its members; in each case with hone.json. */
int artefact_hash(char out[65], const char *name, struct err *err);

/* The adapter that another name stands for, for a model that has none. */
int artefact_take_adapter(struct artefact *a, const char *adapter, struct err *err);

/* A model with perhaps an adapter, as --model, --adapter and --tokenizer name them (the latter two may be NULL). */
struct loaded {
    char *model_path, *adapter_path; /* adapter_path NULL: none */
    struct model model;
    struct adapter adapter;
    struct net net; /* points into this struct, which therefore stays where it is */
};
int load_net(struct loaded *l, const char *model, const char *adapter, const char *tokenizer, struct err *err);
void loaded_release(struct loaded *l);

/* A reward model.  Where its base is the model at hand (`base`) that one is used (law 4), else it has its own. */
struct reward_model {
    char *path;
    struct model *own;    /* NULL: the base */
    struct adapter adapter;
    struct head head;
    struct head_notes notes;
    struct ood ood; /* width 0: it has none */
    struct net net;
};
int load_reward(struct reward_model *r, const char *path, const struct loaded *base, struct err *err);
void reward_model_release(struct reward_model *r);

/* What --reward names, one name or several: reward models side by side.  A run of `hone reward --ensemble` stands for its
 * members (manifest.json lists them). */
struct rewards {
    struct reward_model *list;
    const struct net **nets; /* (n) theirs */
    size_t n;
    /* From leads of the mean score to probabilities; temperature 0: nobody has fitted that, as with several names. */
    struct calibrator calibrator;
};
int load_rewards(struct rewards *r, const char *const *paths, size_t n_paths, const struct loaded *base, struct err *err);
void rewards_release(struct rewards *r);

/* The encode options that a model's tokenizer and template give. */
struct encode_options encode_options_of(const struct model *m);

#endif
