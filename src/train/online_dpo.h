/* Learning from pairs that the policy has just written and a judge has just compared: online DPO, XPO, Nash-MD
 * (docs/methods/online-dpo.md; the losses are in objective/online_dpo.h and nash_md.h).
 *
 * An iteration: rollouts, whose log-probs come from the sampler itself (law 1); who is better, by a reward or a judge; the
 * reference's log-probs; then steps over the trees.  In the first step the policy is the one that sampled, so every ratio of
 * its own tokens is exactly 1, and margins are those of the policy exactly as it was sampled, or the run stops. */
#ifndef HONE_TRAIN_ONLINE_DPO_H
#define HONE_TRAIN_ONLINE_DPO_H

#include "objective/objective.h"
#include "train/online.h"

/* Who answers beside the policy, and what is learned. */
enum online_pair_method {
    ONLINE_DPO,     /* the policy, a second time */
    ONLINE_XPO,     /* the reference */
    ONLINE_NASH_MD, /* a geometric mixture of policy and reference; only the policy's answers are learned from */
};

struct online_dpo_options {
    enum online_pair_method method;
    size_t num_iterations;       /* passes over a batch of rollouts; nash_md: 1 */
    size_t steps_per_generation; /* optimiser steps of a pass; nash_md: 1 */
    bool shuffle;                /* the trees of a pass in a new order */
    uint32_t seed;
    size_t micro_batch_tokens;
    float temperature;
    const struct preference_loss *loss; /* of pairs */
    struct preference_config config;    /* beta is nash_md's, too */
    double alpha;                       /* of xpo */
    bool soft_labels;                   /* a chance of 0.7 counts as that, and not as 1 */
};

struct online_dpo {
    struct learner *policy;
    struct online_dpo_options options;
};

/* Settings that make no sense together: refused before work starts. */
int online_dpo_check(const struct online_dpo_options *o, struct err *err);

/* The steps of one iteration.  x: trees of two completions, the policy's and its opponent's; of nash_md of one, the policy's;
 * with ref_logps.  probability (x->examples.n): that the first is the better one.  Pairs of which neither is better (0.5,
 * without soft_labels) teach nothing and are not computed, but count in the step's mean; a step of such pairs alone is not
 * made, and without a step the policy stays as it is and the keys of the steps are missing from m. */
int online_dpo_update(struct online_dpo *d, const struct experience *x, const double *probability, uint32_t iteration,
                      double lr, struct optimizer *o, struct metrics *m, struct err *err);

#endif
