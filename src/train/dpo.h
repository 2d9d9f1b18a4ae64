/* Direct preference optimisation and its kin: pairwise losses on the log-probs of two completions of a prompt, against a
 * reference (docs/methods/dpo.md; the losses themselves are in objective/).
 *
 * The reference is the base with the adapter that the policy started from (or none): its log-probs are computed once,
 * before the first step, and kept.  At that moment policy and reference are the same weights, so the first step's
 * margins are exactly 0 and its loss is exactly log 2 (law 1). */
#ifndef HONE_TRAIN_DPO_H
#define HONE_TRAIN_DPO_H

#include "objective/objective.h"
#include "train/learner.h"
#include "train/loop.h"

struct dpo {
    struct learner *learner;
    const struct preference_loss *loss;
    struct preference_config config;
    const double *train_ref, *eval_ref; /* (rows, 2): chosen, rejected */
    float *mean_projection;             /* (width): for the mean logits that are logged */
    bool mean_known;
    /* of the step under way */
    size_t n, targets[2], right;
    double sum, entropy, logits[2];
    struct preference_stats stats;
};

int dpo_init(struct dpo *d, struct learner *l, const char *loss_type, const struct preference_config *config,
             size_t width, struct err *err);
void dpo_release(struct dpo *d);
struct method dpo_method(struct dpo *d);

/* Summed log-probs of each completion of each example: (examples, completions) in order, for examples with
 * `per_example` completions.  progress may be NULL. */
double *sequence_logprobs(struct learner *l, const struct loop_options *o, const struct examples *e, size_t per_example,
                          void (*progress)(void *user, size_t done), void *user, struct err *err);

#endif
