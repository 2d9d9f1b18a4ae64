/* Proximal policy optimisation (Schulman et al. 2017): the clipped losses of policy and critic, a
 * token.
 *
 * Policy (eq. 7), with the advantage A and eps = cliprange:
 *
 *     ratio = e^(logp - old_logp)
 *     loss  = sum of max(-A ratio, -A clip(ratio, 1 - eps, 1 + eps)) / count
 *
 * With dual_clip c (Ye et al. 2020, "Mastering complex control in MOBA games with deep reinforcement
 * learning", eq. 5) the ratio of the first branch is at most c, so that a token that has become much
 * likelier and turns out bad (A < 0) cannot make the loss as large as it likes.
 *
 * Critic (OpenAI's baselines and Ziegler et al. 2019; not in the paper), with the return R and
 * cliprange_value:
 *
 *     clipped = clip(value, old_value - eps, old_value + eps)
 *     loss    = sum of 0.5 max((value - R)^2, (clipped - R)^2) / count
 *
 * Where the clipped branch is strictly the larger, the token's gradient is 0.  The step minimises
 * policy loss + vf_coef value loss.  On the first mini-batch of the first epoch every ratio is
 * exactly 1 (law 1).
 *
 * A mini-batch may come in several calls: count is its number of tokens over all of them, so that
 * losses and gradients of the calls add up, and the sums go on from call to call in the same order
 * of tokens. */
#ifndef HONE_OBJECTIVE_PPO_H
#define HONE_OBJECTIVE_PPO_H

#include <stdbool.h>
#include <stddef.h>

#include "util/err.h"

/* TRL's names and defaults. */
struct ppo_config {
    double cliprange;       /* 0.2 */
    double cliprange_value; /* 0.2; very large: no clipping */
    double vf_coef;         /* 0.1 */
    double dual_clip;       /* at least 1 + cliprange, usually 3; 0: none */
};

/* Sums over tokens.  Zero at first; each call adds to its own. */
struct ppo_sums {
    size_t policy_tokens, value_tokens;
    double policy_loss, clipped, approxkl;
    double ratio, ratio_sq; /* of ratio - 1, which is near 0 */
    double value_loss, value_clipped;
};

/* Means over the tokens seen; TRL's keys.  A mean over no tokens is 0, and their ratio is 1. */
struct ppo_stats {
    double policy_loss; /* loss/policy_avg */
    double value_loss;  /* loss/value_avg, without vf_coef */
    double clipfrac;    /* policy/clipfrac_avg: share of tokens whose clipped branch is larger */
    double vf_clipfrac; /* val/clipfrac_avg */
    double approxkl;    /* policy/approxkl_avg: (logp - old_logp)^2 / 2 */
    double ratio;       /* val/ratio */
    double ratio_var;   /* val/ratio_var, over tokens */
};
void ppo_stats(struct ppo_stats *stats, const struct ppo_sums *sums);

/* The policy's settings alone, so that they can be refused before any work. */
int ppo_check(const struct ppo_config *cfg, struct err *err);

/* All arrays are (n); tokens with mask[i] false are not read and get gradient 0; mask NULL: all
 * count.  *loss: out, these tokens' part.  dlogp, dvalues: out, overwritten, must not overlap the
 * inputs: the gradient of *loss, for the critic times vf_coef (*loss is without it).  Return 0, or
 * -1 with a sentence if n or count is 0, an input or a token's loss is not finite or a setting is
 * out of its range (outputs and sums untouched). */
int ppo_policy_loss(double *loss, double *dlogp, struct ppo_sums *sums, const double *logp,
                    const double *old_logp, const double *advantages, const bool *mask, size_t n,
                    size_t count, const struct ppo_config *cfg, struct err *err);
int ppo_value_loss(double *loss, double *dvalues, struct ppo_sums *sums, const double *values,
                   const double *old_values, const double *returns, const bool *mask, size_t n,
                   size_t count, const struct ppo_config *cfg, struct err *err);

#endif
