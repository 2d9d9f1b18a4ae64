/* Reward-model loss on a ranking of k answers to one prompt (Plackett 1975; Luce 1959): the best is chosen out of all, the
 * second best out of those that are left, and so on.
 *
 *     nll = - sum_i [ s_i - log( e^s_i + sum_{j ranked below i} e^s_j ) ]
 *
 * s are the scores, a smaller rank is better.  Answers of one rank are not compared with each other: each is chosen out of
 * itself and what is ranked below it.  With two answers this is Bradley-Terry. */
#ifndef HONE_OBJECTIVE_PLACKETT_LUCE_H
#define HONE_OBJECTIVE_PLACKETT_LUCE_H

#include <stddef.h>

#include "util/err.h"

/* nll: out, in nats.  dscores: (k) out, overwritten: its gradient with respect to the scores.  ranks: (k) whole numbers.
 * Returns 0, or -1 with a sentence (outputs untouched) if k < 2, a score or the loss is not finite, or all ranks are equal. */
int plackett_luce_loss(double *nll, double *dscores, const double *scores, const size_t *ranks, size_t k, struct err *err);

#endif
