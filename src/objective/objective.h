/* The table of pairwise preference losses: what `loss_type` of `hone dpo` can be.
 *
 * To add one: a header with its formula and paper and its .c, a row in objective.c, a gradient
 * check and a golden case in tests/test_objectives.c, a line in docs/methods/dpo.md. */
#ifndef HONE_OBJECTIVE_OBJECTIVE_H
#define HONE_OBJECTIVE_OBJECTIVE_H

#include <stddef.h>

#include "util/err.h"

/* n pairs of completions to the same prompt.  All arrays are the caller's, (n), and all are needed;
 * a loss that knows no reference is given zeros there. */
struct preference_pairs {
    size_t n;
    const double *chosen, *rejected;         /* policy's log-probs, nats, sums over completions */
    const double *ref_chosen, *ref_rejected; /* the reference's */
    const size_t *chosen_len, *rejected_len; /* tokens summed over, at least 1 */
};

/* TRL's names.  A loss that has no use for a setting refuses any value of it but 0. */
struct preference_config {
    double beta;            /* > 0: how dear a step away from the reference is */
    double label_smoothing; /* in [0, 0.5): how many labels are thought to be wrong */
};

/* One loss.  *loss: out, the mean over the pairs.  dchosen, drejected: out, (n), overwritten: the
 * gradient of *loss with respect to pairs->chosen and pairs->rejected, so 1/n is in them already.
 * Must not overlap the inputs.  Returns 0, or -1 with a sentence if n == 0, an input or a pair's
 * loss is not finite or a setting is out of its range (outputs untouched). */
typedef int preference_loss_function(double *loss, double *dchosen, double *drejected,
                                     const struct preference_pairs *pairs,
                                     const struct preference_config *cfg, struct err *err);

struct preference_loss {
    const char *name; /* TRL's loss_type */
    preference_loss_function *function;
    const char *paper;
};

extern const struct preference_loss preference_losses[];
extern const size_t preference_losses_n;

/* The row of this name; NULL and a sentence with the names there are. */
const struct preference_loss *preference_loss_find(const char *name, struct err *err);

/* What is logged for every loss, under TRL's keys; means over the pairs.  rewards are beta (logp -
 * ref_logp). */
struct preference_stats {
    double rewards_chosen, rewards_rejected; /* rewards/chosen, rewards/rejected */
    double rewards_margins;                  /* rewards/margins: chosen - rejected */
    double rewards_accuracies;               /* rewards/accuracies: share with margin > 0 */
    double logps_chosen, logps_rejected;     /* logps/chosen, logps/rejected */
};
int preference_stats(struct preference_stats *stats, const struct preference_pairs *pairs,
                     const struct preference_config *cfg, struct err *err);

/* For the losses: the checks that all share, and the sentence for a pair whose loss overflows. */
int preference_check(const struct preference_pairs *pairs, const struct preference_config *cfg,
                     struct err *err);
int preference_overflow(size_t pair, struct err *err);

#endif
