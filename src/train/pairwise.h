/* Learning from pairs: losses on the log-probs of two completions of a prompt, against a reference or without one
 * (docs/methods/dpo.md, cpo.md, orpo.md; the losses themselves are in objective/), and beside them the negative
 * log-likelihood of the chosen text.
 *
 * The reference is the base with the adapter that the policy started from (or none): its log-probs are computed once,
 * before the first step, and kept.  At that moment policy and reference are the same weights, so the first step's
 * margins are exactly 0 and the first loss of loss_type sigmoid exactly log 2 (law 1).  A reference that follows the policy
 * (Gorbatovski et al. 2024, "Learn your reference model for real good alignment") is a net of its own, asked in each step.
 *
 * Most losses are sums over pairs, and micro-batches add up.  Those that are not (aot) need all log-probs of the step
 * before the first gradient: then a forward pass over the step's rows comes before its micro-batches, and the gradients of
 * the log-probs are those of the whole step (law 2). */
#ifndef HONE_TRAIN_PAIRWISE_H
#define HONE_TRAIN_PAIRWISE_H

#include "objective/objective.h"
#include "train/sequence.h"

struct pairwise_config {
    struct preference_mixture losses;
    struct preference_config loss;
    double nll_weight;       /* of the mean -logp over the step's chosen tokens (learned prompts' too); sft's weight is in it */
    bool average_log_prob;   /* a completion's log-prob is the mean over its tokens */
    double ld_alpha;         /* sequence_weights() */
    bool reference, nll_key, odds_keys; /* what is logged: against a reference; nll_loss; log_odds_* */
};

struct pairwise {
    struct learner *learner;
    const struct loop_options *options;
    struct pairwise_config config;
    /* A reference: its log-probs (rows, 2): chosen, rejected; or the net that gives them.  None: all NULL. */
    const double *train_ref, *eval_ref;
    struct learner *reference;
    struct learner *look; /* a forward pass with the policy's net, for losses over the whole step; else may be NULL */
    /* a reference that follows: every sync_steps (0: never) it becomes 1 - mixup of itself and mixup of the policy */
    struct params *ref_params;
    const struct params *policy_params;
    double mixup;
    size_t sync_steps;
    /* of the step under way; arrays of (n, 2) */
    size_t n, at, capacity, nll_targets;
    double *ref, *grad;
    bool judged; /* loss and grad are of the whole step; else loss is a sum over pairs */
    double loss, nll, log_odds, log_odds_ratio;
    struct preference_stats stats;
    struct sequence_tally tally;
};

/* The learner is the caller's, as is all that is pointed to. */
void pairwise_init(struct pairwise *p, struct learner *l, const struct loop_options *o, const struct pairwise_config *config);
void pairwise_release(struct pairwise *p);
struct method pairwise_method(struct pairwise *p, const char *name);

#endif
