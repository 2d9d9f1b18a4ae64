/* What the methods share that learn from their own rollouts (PPO, GRPO, RLOO): passes over an experience's trees in
 * micro-batches, the order of an epoch, the check that sampler and trainer run the same policy, lengths.
 *
 * Trees go together as many as micro_batch_tokens hold; results do not depend on it. */
#ifndef HONE_TRAIN_ONLINE_H
#define HONE_TRAIN_ONLINE_H

#include "rollout/experience.h"
#include "train/learner.h"
#include "train/metrics.h"

/* How many of trees[at .. n) go together, of whose prompts the stem holds a part. */
size_t online_cut(const struct experience *x, const size_t *trees, size_t n, size_t at, const struct stem *stem,
                  size_t micro_batch_tokens);

/* Build the learner's forest of some trees, after the stem.  Returns, for each target, its token's number in x: a fresh
 * array. */
size_t *online_plant(struct learner *l, struct stem *stem, const struct experience *x, const size_t *trees, size_t n);

/* Log-probs of the experience's completions under a net, into `to` (old_logps or ref_logps). */
int online_logprobs(struct learner *l, const struct net *net, const struct experience *x, float temperature,
                    size_t micro_batch_tokens, double *to, struct err *err);

/* 0 .. n - 1 in a fresh array, and the order in which an epoch of an iteration takes its n trees. */
size_t *online_trees(size_t n);
void online_order(size_t *order, size_t n, bool shuffle, uint32_t seed, uint32_t iteration, size_t epochs, size_t epoch);

/* Completion tokens of some trees. */
size_t online_tokens(const struct experience *x, const size_t *trees, size_t n);

/* On tokens that were just sampled every ratio must be exactly 1 (law 1).  ratio: by the tokens' numbers in x.  fresh: how many
 * of a tree's completions, from its first, this policy sampled. */
#define ONLINE_ALL SIZE_MAX
int online_check_ratios(const struct experience *x, const size_t *trees, size_t n, size_t fresh, const double *ratio,
                        struct err *err);

/* Optimiser steps over trees of an experience, one after the other: log-probs of all tokens in, the loss's gradient by them out. */
struct online_steps {
    struct learner *learner;
    const struct experience *x;
    size_t micro_batch_tokens;
    float temperature;
    /* The loss of a tree of the step under way: reads logp of its tokens, sets their dlogp.  Trees come in the step's order. */
    int (*loss)(void *self, size_t tree, struct err *err);
    void *self;
    double *logp, *dlogp, *ratio; /* by the tokens' numbers in x; ratio: e^(logp - old_logp) */
    /* sums over all steps */
    size_t n, entropy_tokens;
    double entropy, norms;
};
void online_steps_init(struct online_steps *s, struct learner *l, const struct experience *x, float temperature,
                       size_t micro_batch_tokens);
void online_steps_release(struct online_steps *s);

/* One step.  fresh: as online_check_ratios() has it; 0 where the policy has moved since. */
int online_step(struct online_steps *s, const size_t *trees, size_t n, size_t fresh, double lr, struct optimizer *o,
                struct err *err);

/* Add coef times the gradient of the mean of -logp over the target tokens of rows[0 .. n) of demonstrations to the learner's
 * (PPO-ptx: Ouyang et al. 2022, "Training language models to follow instructions with human feedback", eq. 2).  *loss: out, that
 * mean; 0 where no token is a target. */
int online_mix(double *loss, struct learner *l, const struct examples *e, const size_t *rows, size_t n, size_t micro_batch_tokens,
               double coef, struct err *err);

/* completions/..: lengths, how many were cut, variety. */
void online_describe(const struct experience *x, struct metrics *m);

#endif
