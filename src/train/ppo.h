/* Proximal policy optimisation from a reward (docs/methods/ppo.md; the losses are in objective/ppo.h, the advantages in
 * objective/gae.h).
 *
 * An iteration: rollouts of the policy, whose log-probs come from the sampler itself (law 1); reference log-probs, scores
 * and values, a forward pass each; rewards and advantages over the whole buffer; then epochs of mini-batches of trees,
 * policy and critic under one optimiser and one global-norm clip.  On the first mini-batch of the first epoch every
 * ratio is exactly 1: that is asserted, for it catches almost every mistake there can be. */
#ifndef HONE_TRAIN_PPO_H
#define HONE_TRAIN_PPO_H

#include "objective/kl.h"
#include "objective/ppo.h"
#include "rollout/experience.h"
#include "train/learner.h"
#include "train/loop.h"
#include "train/metrics.h"

struct ppo_options {
    size_t num_ppo_epochs, num_mini_batches;
    bool shuffle; /* the trees of an epoch in a new order */
    uint32_t seed;
    size_t micro_batch_tokens;
    float temperature;
    bool critic_only; /* the policy does not learn (and is frozen in the optimiser) */
    struct ppo_config loss;
    struct experience_config rewards; /* kl_coef: from the controller */
};

/* Demonstrations that are mixed in: so many rows a step. */
struct ppo_ptx {
    const struct examples *examples; /* NULL: none */
    double coef;                     /* of their mean -logp in the loss */
    struct loop_options rows;        /* how many, and in which order */
};

struct ppo {
    struct learner *policy;
    /* The critic: a net of its own with a head, or, with a shared trunk, the policy's net and the head on it. */
    struct net critic;
    struct gradients *critic_grads; /* NULL: shared trunk (the head's gradient is then the policy's) */
    struct stem critic_stem;        /* beside the policy's, which its learner has */
    struct ppo_options options;
    struct ppo_ptx ptx;
    float *values;
    double *d_logp, *d_value;
    size_t capacity;
};

/* What happened in a mini-batch; ratio and values (of its tokens, in order) may be wanted by tests. */
struct ppo_watch {
    void (*mini_batch)(void *user, size_t epoch, size_t mini_batch, const struct ppo_stats *s, double grad_norm,
                       const double *ratio, const double *values, size_t n);
    void *user;
};

void ppo_release(struct ppo *p);

/* Log-probs of the experience's completions under a net, into `to` (old_logps or ref_logps). */
int ppo_logprobs(struct ppo *p, const struct net *net, struct experience *x, double *to, struct err *err);

/* The critic's values into x->values. */
int ppo_values(struct ppo *p, struct experience *x, struct err *err);

/* The epochs of one iteration.  lr: the rate of each step.  sampled: x's log-probs come from this policy's sampler as it
 * is now, so the first ratios must be exactly 1.  The means over all mini-batches go to m under TRL's names. */
int ppo_update(struct ppo *p, struct experience *x, uint32_t iteration, double lr, bool sampled, struct optimizer *o,
               struct metrics *m, const struct ppo_watch *watch, struct err *err);

/* KL, scores, rewards, lengths, variety of an experience, under TRL's names. */
void ppo_describe(const struct experience *x, const struct experience_config *c, struct metrics *m);

#endif
