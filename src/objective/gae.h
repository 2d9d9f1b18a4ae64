/* From scores to advantages: what PPO computes once a rollout, in double, over the completion's
 * tokens only.
 *
 * One sequence of n completion tokens; entry t belongs to the t-th of them, and value t is the
 * critic's at the position that predicts it.  Outputs must not overlap inputs, except in whiten().
 * All return 0, or -1 with a sentence if n == 0 or an input or result is not finite (outputs
 * untouched). */
#ifndef HONE_OBJECTIVE_GAE_H
#define HONE_OBJECTIVE_GAE_H

#include <stdbool.h>
#include <stddef.h>

#include "util/err.h"

/* Rewards a token (Ziegler et al. 2019, eq. 2): rewards[t] = -kl_coef kl[t], and score more at the
 * last token.  kl (n): kl_estimate(), k1 in PPO as it was published. */
int gae_rewards(double *rewards, const double *kl, size_t n, double score, double kl_coef,
                struct err *err);

/* Generalised advantage estimation (Schulman et al. 2016, eq. 16), with the value after the end
 * taken as 0:
 *
 *     delta[t]      = rewards[t] + gamma values[t + 1] - values[t]
 *     advantages[t] = delta[t] + gamma lam advantages[t + 1]
 *     returns[t]    = advantages[t] + values[t]                  what the critic is trained towards
 *
 * gamma and lam in [0, 1].  advantages, returns: out, (n).  rewards, values (n). */
int gae_advantages(double *advantages, double *returns, const double *rewards,
                   const double *values, size_t n, double gamma, double lam, struct err *err);

/* y = (x - mean) / sqrt(variance + 1e-8), variance over the n entries (not n - 1).  Without
 * shift_mean the mean is added again: the scale becomes 1 and the level stays (for rewards;
 * advantages are shifted).  y may be x. */
int whiten(double *y, const double *x, size_t n, bool shift_mean, struct err *err);

/* 1 - var(returns - values) / var(returns): 1 where the critic foresees the returns, 0 where it is
 * no better than their mean, below 0 where it is worse.  NAN where all returns are equal. */
int explained_variance(double *result, const double *values, const double *returns, size_t n,
                       struct err *err);

#endif
