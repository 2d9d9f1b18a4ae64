/* Reward-model losses on pairs of scores: Bradley-Terry, with margins, soft labels, label smoothing
 * and ties.
 *
 * With x = a - b, the difference of the two scores:
 *
 *   Bradley-Terry (Bradley and Terry 1952)   P(a wins) = sigmoid(x),  P(b wins) = sigmoid(-x)
 *   Rao-Kupper (Rao and Kupper 1967)         P(a wins) = sigmoid(x - eta),
 *                                            P(b wins) = sigmoid(-x - eta),
 *                                            P(tie)    = 1 - the two;  eta = 0 is Bradley-Terry
 *   Davidson (Davidson 1970)                 P(a, b, tie) = softmax(x / 2, -x / 2, ln nu)
 *
 * A pair is judged by one or more people: w_a, w_b and w_tie are the fractions that said so (1, 0,
 * 0 for a plain label; they may also hold a row's weight, then they add up to it).  The margin m
 * (Touvron et al. 2023, Llama 2, eq. 2) asks the winner to lead by that much: the term of "a wins"
 * is read at x - m, that of "b wins" at x + m.  Label smoothing e moves the fraction e of each
 * side's weight to the other; ties stay.
 *
 *     loss = mean of  - w_a log P(a wins | x - m) - w_b log P(b wins | x + m)
 *                     - w_tie log P(tie | x) + c (a + b)^2
 *
 * c is center_rewards_coefficient (Eisenstein et al. 2023, "Helping or herding?"): only differences
 * are learned from comparisons, so without it the scores may drift together.  The mean is over the
 * n pairs, as in TRL. */
#ifndef HONE_OBJECTIVE_BRADLEY_TERRY_H
#define HONE_OBJECTIVE_BRADLEY_TERRY_H

#include <stddef.h>

#include "util/err.h"

/* The caller's arrays, (n). */
struct bradley_terry_pairs {
    size_t n;
    const double *a, *b;  /* scores; a is the chosen one where there are no weights */
    const double *w_a;    /* >= 0; NULL: 1 for all */
    const double *w_b;    /* >= 0; NULL: 0 for all */
    const double *w_tie;  /* >= 0; NULL: 0 for all */
    const double *margin; /* >= 0; NULL: 0 for all */
};

enum bradley_terry_ties { TIES_RAO_KUPPER, TIES_DAVIDSON };
extern const char *const bradley_terry_ties_names[]; /* ends with NULL */

/* All zero is plain Bradley-Terry. */
struct bradley_terry_config {
    enum bradley_terry_ties ties;
    double tie_parameter;              /* eta >= 0 (> 0 where a pair has w_tie > 0), or ln nu */
    double label_smoothing;            /* in [0, 0.5) */
    double center_rewards_coefficient; /* >= 0; TRL advises 0.01 */
};

/* *loss: out.  da, db: out, (n), overwritten: gradient with respect to the scores, 1/n in them.
 * dtie: out, the gradient with respect to tie_parameter; NULL where it is not learned.  Whoever
 * learns eta keeps it above 0.  Returns 0, or -1 with a sentence if n == 0, an input or a pair's
 * loss is not finite, a weight or margin is negative, or a setting is out of its range (outputs
 * untouched). */
int bradley_terry_loss(double *loss, double *da, double *db, double *dtie,
                       const struct bradley_terry_pairs *pairs,
                       const struct bradley_terry_config *cfg, struct err *err);

/* What is logged, under TRL's keys.  accuracy and margin are over the pairs where one side has more
 * weight than the other, and NAN where there is no such pair. */
struct bradley_terry_stats {
    size_t decided;                             /* those pairs */
    double accuracy;                            /* share where that side scores higher */
    double margin;                              /* mean lead of that side */
    double min_reward, mean_reward, max_reward; /* over all 2n scores */
};
int bradley_terry_stats(struct bradley_terry_stats *stats, const struct bradley_terry_pairs *pairs,
                        const struct bradley_terry_config *cfg, struct err *err);

#endif
