/* Pairs of completions that were just drawn and judged: online DPO (Guo et al. 2024, "Direct language model alignment from
 * online AI feedback", arXiv:2402.04792, algorithm 1) and XPO, which adds a bonus for what is new (Xie et al. 2024,
 * "Exploratory preference optimization", arXiv:2405.21046, algorithm 1).
 *
 * Of a pair the first completion is the policy's; the second is the policy's too (online DPO), or the reference's (XPO).  With
 * L a loss of the table (objective.h) and w_1, w_2 what is known of who is better, 1 and 0 where it is the first:
 *
 *     dpo  = w_1 L(first chosen, second rejected) + w_2 L(second chosen, first rejected)
 *     xpo  = alpha logp(second)
 *     loss = dpo + xpo
 *
 * With the chance p that the first is better, w_1 = p and w_2 = 1 - p: the mean of the loss over labels drawn with that chance.
 * The bonus makes what the reference writes less likely, whoever won: the policy is optimistic about all else (the paper's sum
 * of log pi over the reference's completions; alpha is small, 1e-5).  alpha is 0 in online DPO. */
#ifndef HONE_OBJECTIVE_ONLINE_DPO_H
#define HONE_OBJECTIVE_ONLINE_DPO_H

#include "objective/objective.h"

/* Of both completions: sums over their tokens, nats. */
struct judged_pair {
    double logp[2], ref_logp[2];
    size_t len[2];
    double weight[2]; /* w_1, w_2: each >= 0 */
};

struct judged_loss {
    double dpo, xpo;
    double dlogp[2]; /* gradient of dpo + xpo with respect to logp */
};

/* row: a loss of pairs (row->pair).  out: overwritten.  Returns 0, or -1 with a sentence if a number is not finite or a setting
 * out of its range (out untouched). */
int online_dpo_loss(struct judged_loss *out, const struct preference_loss *row, const struct judged_pair *pair, double alpha,
                    const struct preference_config *cfg, struct err *err);

/* The pair as the table's functions see it, with completion `chosen` (0 or 1) as the chosen one: points into `pair`. */
struct preference_pairs judged_pairs_view(const struct judged_pair *pair, size_t chosen);

#endif
