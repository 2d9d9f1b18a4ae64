/* A model in memory: configuration, weights, tokenizer, chat template.
 *
 * Weights stay in the mapped file in the form they are stored in; norms, which are small, are floats.  A model is
 * read-only once opened, unless it is made trainable. */
#ifndef HONE_MODEL_MODEL_H
#define HONE_MODEL_MODEL_H

#include "data/chat.h"
#include "model/config.h"
#include "model/params.h"
#include "nn/rope.h"
#include "nn/weight.h"
#include "tokenizer/tokenizer.h"

struct layer {
    struct weight linear[LINEAR_KINDS]; /* out 0: the family has none */
    const float *vector[VECTOR_KINDS];  /* NULL: the same */
    size_t linear_at[LINEAR_KINDS], vector_at[VECTOR_KINDS]; /* offsets in params, when trainable */
    const struct rope *rope;            /* NULL: queries and keys are not rotated */
};

struct model {
    char *path;
    struct config config;
    struct weight embed, output; /* output is embed where they are tied */
    struct weight position;      /* of each position, added to its token's embedding; out 0: none */
    const float *norm, *shift;   /* the last norm; shift: what LayerNorm adds, or NULL */
    const float *score; /* score.weight (width): the head of a reward or value model, or NULL */
    struct layer *layers;
    struct rope rope, rope_local; /* rope.positions: the longest sequence */
    bool odd_rope;                /* a GGUF's rotary factors, in rope, are of no kind that config has a name for */
    struct tokenizer *tokenizer;    /* NULL where the folder has none */
    struct chat_template *template; /* NULL where there is none */
    char template_problem[256];     /* why there is none */
    char *text_from;                /* the folder, or tokenizer.json, that the two come from; NULL: the GGUF itself, or there is no tokenizer */

    /* Full fine-tuning: all weights as floats, under Hugging Face's names. */
    bool trainable;
    struct params params;
    size_t embed_at, position_at, norm_at, shift_at, output_at;

    struct tensor_file tensors; /* what the weights point into (a folder's) */
    struct gguf gguf;           /* (a GGUF's) */
    float *vectors;             /* owned */
    float *turned;              /* owned: linear layers that a folder holds as (in, out), the other way round; NULL: none */
    char *panels;               /* owned; of all linear layers (model_pack), or NULL */
};

/* path: a Hugging Face folder or a .gguf file.  tokenizer: another folder to take the tokenizer and template from, or NULL. */
int model_open(struct model *m, const char *path, const char *tokenizer, struct err *err);
void model_release(struct model *m);

/* Copy every weight into one block of floats that an optimiser may change. */
int model_make_trainable(struct model *m, struct err *err);

/* Pack all linear layers (see weight_pack): a copy in about the stored size, quick to use, in whose place the file's pages leave
 * memory; does nothing where it is there. */
int model_pack(struct model *m, struct err *err);
void model_unpack(struct model *m);

/* A token of the vocabulary as text, a new reference; NULL if it has no such id. */
json_t *model_token(const struct model *m, int32_t id);

/* The tokens that end a turn: the template's end of turn and config's eos; returns how many (at most 4). */
size_t model_stop_tokens(const struct model *m, int32_t out[4]);

/* SHA-256 of what the model consists of: the file, or the folder's config and weights. */
int model_hash(const char *path, char out[65], struct err *err);

#endif
