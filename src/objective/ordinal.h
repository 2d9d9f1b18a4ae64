/* Reward-model loss on ratings: ordinal regression with cumulative logits (McCullagh 1980).
 *
 *     P(rating <= c) = sigmoid(theta_c - s),   theta_1 < theta_2 < .. < theta_{C-1}
 *
 * s is the score and the thetas are learned with it: how far apart two ratings are is not assumed.  theta_0 is minus infinity,
 * theta_C infinity, so P(rating = c) = sigmoid(theta_c - s) - sigmoid(theta_{c-1} - s). */
#ifndef HONE_OBJECTIVE_ORDINAL_H
#define HONE_OBJECTIVE_ORDINAL_H

#include <stddef.h>

#include "util/err.h"

/* nll: out, -log P(rating), in nats.  dscore, dtheta: (n_theta) out, overwritten: its gradient.  rating: 1 .. n_theta + 1.
 * Returns 0, or -1 with a sentence (outputs untouched) if a number or the loss is not finite, the thetas do not rise, or the
 * rating is none. */
int ordinal_loss(double *nll, double *dscore, double *dtheta, double score, size_t rating, const double *theta, size_t n_theta,
                 struct err *err);

#endif
