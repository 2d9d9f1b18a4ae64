/* Two weights of an importance ratio that fade out instead of being clipped; GRPO's kin (objective/grpo.h).
 *
 * SAPO (Gao et al. 2025, "Soft adaptive policy optimization", arXiv:2511.20347): a token's ratio w counts as
 *
 *     f(w) = sigmoid(tau (w - 1)) 4 / tau,    loss = -A f(w)
 *
 * whose slope at w = 1 is 1, and falls off on both sides: faster for a larger tau, which tokens of answers with A <= 0
 * therefore have.
 *
 * VESPO ("Variational sequence-level soft policy optimization", arXiv:2602.10693): all tokens of an answer are weighted by
 *
 *     phi(w) = e^lambda w^k e^(-lambda w),    w = e^(sum over the answer of logp - old_logp),    loss = -phi A logp
 *
 * with phi a constant of the loss, and 1 at w = 1; it goes to 0 on both sides, so that an answer the policy has left behind, or has
 * taken to too fast, no longer moves it.  k and lambda differ with the sign of A. */
#ifndef HONE_OBJECTIVE_SOFT_H
#define HONE_OBJECTIVE_SOFT_H

#include <math.h>

#include "objective/clip.h"
#include "objective/scalar.h"

/* gradient: d loss / d log w. */
static inline struct clipped sapo_loss(double w, double advantage, double tau)
{
    double s = sigmoid(tau * (w - 1));
    return (struct clipped){-advantage * s * 4 / tau, -advantage * 4 * s * (1 - s) * w, false};
}

/* log_w is held to [log 1e-8, 20], as in the paper's code. */
static inline double vespo_weight(double log_w, double k, double lambda)
{
    double bounded = clamp(log_w, log(1e-8), 20);
    return exp(lambda + k * bounded - lambda * exp(bounded));
}

#endif
