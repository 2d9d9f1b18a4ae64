/* The table of pairwise preference losses: what `loss_type` of `hone dpo` and `hone cpo` can be.
 *
 * A loss sees a pair through its two scores.  With u = logp - ref_logp, summed over a completion:
 *
 *     score = f(u), f the identity or another f-divergence's (divergence.h); divided by the
 *             completion's tokens where the loss goes by the token (per_token)
 *
 * To add one: a header with its formula and paper and its .c, a row in objective.c, a gradient
 * check and a golden case in tests/test_objectives.c, a line in docs/methods/dpo.md. */
#ifndef HONE_OBJECTIVE_OBJECTIVE_H
#define HONE_OBJECTIVE_OBJECTIVE_H

#include <stdbool.h>
#include <stddef.h>

#include "objective/divergence.h"
#include "util/err.h"

/* n pairs of completions to the same prompt.  All arrays are the caller's, (n), and all are needed;
 * where there is no reference, its log-probs are zeros. */
struct preference_pairs {
    size_t n;
    const double *chosen, *rejected;         /* policy's log-probs, nats, sums over completions */
    const double *ref_chosen, *ref_rejected; /* the reference's */
    const size_t *chosen_len, *rejected_len; /* tokens summed over, at least 1 */
};

/* TRL's names.  A loss that has no use for a setting refuses any value of it but "none". */
struct preference_config {
    double beta;            /* > 0: how dear a step away from the reference is */
    double label_smoothing; /* in [0, 0.5): how many labels are thought to be wrong; 0: none */
    enum divergence f_divergence_type; /* reverse KL: none */
    double f_alpha_divergence_coef;    /* of the alpha-divergence */
    double alpha;        /* AlphaPO's: a log-prob's reward is (1 - p^-alpha) / alpha; 0: none */
    double discopop_tau; /* > 0; of discopop alone */
    double simpo_gamma;  /* >= 0: the margin asked for, of simpo alone */
};

/* One pair's loss and its derivatives by the two scores.  The caller has checked what goes in and
 * checks what comes out. */
struct pair_loss {
    double loss, dchosen, drejected;
};
typedef struct pair_loss preference_pair_function(double chosen, double rejected,
                                                  const struct preference_config *cfg);

/* A loss whose pairs depend on each other: the mean over n pairs; dchosen, drejected (n): out, its
 * gradient with respect to pairs->chosen and pairs->rejected.  Checked as above. */
typedef double preference_step_function(double *dchosen, double *drejected,
                                        const struct preference_pairs *pairs,
                                        const struct preference_config *cfg);

/* A row has a `pair` or a `step`; a loss over tokens instead of pairs (sft) has neither, and
 * whoever holds the tokens computes it. */
struct preference_loss {
    const char *name; /* TRL's loss_type */
    preference_pair_function *pair;
    preference_step_function *step; /* must be given all pairs of a step at once (law 2) */
    bool per_token;                 /* scores are means over tokens */
    bool smooths, must_smooth;      /* takes label_smoothing; cannot do without it */
    bool diverges;                  /* takes f_divergence_type: it sees the scores' difference only,
                                     * in which the term that f leaves open cancels */
    bool free;                      /* of methods without a reference: not of `hone dpo` */
    const char *paper;
};

extern const struct preference_loss preference_losses[];
extern const size_t preference_losses_n;

/* The row of this name; NULL and a sentence with the names that `hone dpo` takes. */
const struct preference_loss *preference_loss_find(const char *name, struct err *err);

/* Whether these settings are in their range and the row has a use for them; -1 and a sentence. */
int preference_loss_check(const struct preference_loss *row, const struct preference_config *cfg,
                          struct err *err);

/* A loss of the table that has pairs.  *loss: out, the mean over the pairs.  dchosen, drejected:
 * out, (n), overwritten: the gradient of *loss with respect to pairs->chosen and pairs->rejected,
 * so 1/n is in them already.  Must not overlap the inputs.  Returns 0, or -1 with a sentence if
 * n == 0, an input or the loss is not finite or a setting is out of its range (outputs
 * untouched). */
int preference_loss(double *loss, double *dchosen, double *drejected,
                    const struct preference_loss *row, const struct preference_pairs *pairs,
                    const struct preference_config *cfg, struct err *err);

/* ---- several at once: a weighted sum (Wang et al. 2024, "Enhancing the reasoning ability of
 * multimodal large language models via mixed preference optimization") ---- */

enum { PREFERENCE_MIXED = 8 }; /* at most */
struct preference_mixture {
    const struct preference_loss *rows[PREFERENCE_MIXED];
    double weights[PREFERENCE_MIXED];
    size_t n;
};

/* Add a loss with its weight, finite and >= 0; each at most once. */
int preference_mixture_add(struct preference_mixture *m, const struct preference_loss *row,
                           double weight, struct err *err);

/* Every row by itself, but that label_smoothing need be of use to one row only: the others are
 * computed without. */
int preference_mixture_check(const struct preference_mixture *m,
                             const struct preference_config *cfg, struct err *err);

/* Whether a row must see the whole step. */
bool preference_mixture_by_step(const struct preference_mixture *m);

/* The weight of the loss over tokens (sft), 0 where it is not in it; it is left out of what
 * preference_mixture_loss() gives. */
double preference_mixture_nll_weight(const struct preference_mixture *m);

/* The sum; the contract is preference_loss()'s. */
int preference_mixture_loss(double *loss, double *dchosen, double *drejected,
                            const struct preference_mixture *m,
                            const struct preference_pairs *pairs,
                            const struct preference_config *cfg, struct err *err);

/* What is logged for every loss, under TRL's keys; means over the pairs.  rewards are beta (logp -
 * ref_logp), with `alpha` its transform. */
struct preference_stats {
    double rewards_chosen, rewards_rejected; /* rewards/chosen, rewards/rejected */
    double rewards_margins;                  /* rewards/margins: chosen - rejected */
    double rewards_accuracies;               /* rewards/accuracies: share with margin > 0 */
    double logps_chosen, logps_rejected;     /* logps/chosen, logps/rejected */
    double logps_both_fell; /* logps/both_fell: share in which both are below the reference's */
};
int preference_stats(struct preference_stats *stats, const struct preference_pairs *pairs,
                     const struct preference_config *cfg, struct err *err);

/* Add them up, for a mean over pairs that come one by one. */
void preference_stats_add(struct preference_stats *sum, const struct preference_stats *s);

#endif
