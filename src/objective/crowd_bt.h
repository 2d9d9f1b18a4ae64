/* Bradley-Terry with annotators who are not equally reliable (Chen et al. 2013, "Pairwise ranking aggregation in a crowdsourced
 * setting", Crowd-BT):
 *
 *     P(annotator k says a) = eta_k sigmoid(x) + (1 - eta_k) sigmoid(-x),   x = score a - score b
 *
 * eta = 1 is Bradley-Terry, 0.5 a coin, below 0.5 somebody who says the opposite of what they see.  It is learned with the
 * scores.  A vote's weights w_a and w_b are those of Bradley-Terry: 1 and 0 for "a", 0.5 and 0.5 for a tie. */
#ifndef HONE_OBJECTIVE_CROWD_BT_H
#define HONE_OBJECTIVE_CROWD_BT_H

#include <stddef.h>

#include "util/err.h"
#include "util/stats.h"

/* nll: out, - w_a log P(a) - w_b log P(b), in nats; dx, deta: out, its gradient.  Returns 0, or -1 with a sentence (outputs
 * untouched) if a number or the loss is not finite, eta is outside [0, 1], or a weight is negative. */
int crowd_bt_loss(double *nll, double *dx, double *deta, double x, double eta, double w_a, double w_b, struct err *err);

/* What the leads x of n annotators' votes say of them: annotator k's votes are start[k] .. start[k + 1] - 1, a vote's weights w_a
 * and w_b as above.  Scores may have been learned to too small or too large a scale, so the likeliest factor of all leads is
 * found first (*scale: out, within [0.05, 50]).  reliability: (n) out: the likeliest eta at that scale, and where the likelihood has
 * fallen by half of chi-squared's 95 % quantile (likelihood-ratio interval), within [0, 1]; of an annotator without votes NaN, 0, 1. */
void crowd_bt_reliability(struct interval *reliability, double *scale, const double *x, const double *w_a, const double *w_b,
                          const size_t *start, size_t n);

/* Beta(5, 2), mode 0.8: what is thought of annotators before their votes, worth five of them.  *dlogit: out, the gradient of
 * - log of its density (up to a constant) with respect to logit eta. */
double crowd_bt_prior(double eta, double *dlogit);

#endif
