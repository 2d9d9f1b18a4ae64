/* Policy optimisation from groups of completions, without a critic: GRPO and its kin, RLOO, REINFORCE++ (docs/methods/grpo.md,
 * rloo.md; the losses are in objective/grpo.h, the advantages in objective/advantages.h).
 *
 * An iteration: rollouts, whose log-probs come from the sampler itself (law 1); scores; the reference's log-probs, a forward
 * pass that is left out where no KL is wanted; advantages over the whole buffer; then passes of steps over its trees.  In the
 * first step of the first pass every ratio is exactly 1, or the run stops. */
#ifndef HONE_TRAIN_GROUP_H
#define HONE_TRAIN_GROUP_H

#include "objective/advantages.h"
#include "objective/grpo.h"
#include "train/online.h"

/* What a completion's reward is compared with. */
enum advantage_estimator {
    ESTIMATOR_RLOO,               /* the mean of its group's others */
    ESTIMATOR_REINFORCE,          /* the mean of the batch, over its deviation (REINFORCE++) */
    ESTIMATOR_REINFORCE_BASELINE, /* the mean of its group, over the batch's deviation (REINFORCE++-baseline) */
    ESTIMATOR_GRPO,               /* the mean of its group, over what scale_rewards says */
};

struct group_options {
    size_t num_iterations;       /* passes over a batch of rollouts */
    size_t steps_per_generation; /* optimiser steps of a pass */
    bool shuffle;                /* the trees of a pass in a new order */
    uint32_t seed;
    size_t micro_batch_tokens;
    float temperature;
    bool mask_truncated_completions;
    struct grpo_config loss;
    enum advantage_estimator advantage_estimator;
    enum scale_rewards scale_rewards; /* of ESTIMATOR_GRPO */
    bool normalize_parts;             /* x->scores are gdpo_rewards() of several rewards: for who makes them */
    bool normalize_advantages;        /* over the batch, at the end; the REINFORCE++ ones always are */
    double kl_in_reward;              /* weight of the completion's KL (k1, summed) in its reward; 0: none */
    double reward_low, reward_high;   /* rewards are clipped to this range, before the KL; both 0: they are not */
};

struct group {
    struct learner *policy;
    struct group_options options;
};

/* Does an iteration need the reference's log-probs? */
bool group_wants_reference(const struct group_options *o);

/* The completions' advantages (x->n) from x->scores, and x->ref_logps where a KL is part of the reward. */
int group_advantages(double *advantages, const struct group_options *o, const struct experience *x, struct err *err);

/* The steps of one iteration.  lr: the rate of each.  sampled: x's log-probs come from this policy's sampler as it is now.
 * The numbers go to m under TRL's names.  Trees that teach nothing (all advantages 0, or masked, and no KL in the loss) are not
 * computed; a step of such trees alone is not made, and without a step the policy stays as it is and its keys are missing. */
int group_update(struct group *g, const struct experience *x, uint32_t iteration, double lr, bool sampled, struct optimizer *o,
                 struct metrics *m, struct err *err);

#endif
