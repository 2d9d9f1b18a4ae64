/* What becomes of the gold, what people really want, while a policy is optimised against a proxy of it, a reward model (Gao,
 * Schulman and Hilton 2023, "Scaling laws for reward model overoptimization", section 3).  With d the root of the KL to the
 * policy at the start, in nats a completion, and the gold counted from its level there:
 *
 *     best of n                 gold = d (alpha - beta d)          highest at d = alpha / (2 beta)
 *     reinforcement learning    gold = d (alpha - beta log d)      highest at d = e^(alpha / beta - 1)
 *
 * alpha is the slope with which the gold follows at first, beta how fast the proxy leads away from it. */
#ifndef HONE_REWARD_OVEROPTIMIZATION_H
#define HONE_REWARD_OVEROPTIMIZATION_H

#include <stddef.h>

#include "util/err.h"

enum gold_curve { GOLD_CURVE_BEST_OF_N, GOLD_CURVE_RL };

struct gold_fit {
    double alpha, beta;
    double peak_kl; /* d^2 at the highest point; NAN where the curve has none: beta <= 0 */
};

/* Least squares over n points, weighted by 1 / std_err^2 (NULL: all alike; an error of 0 counts as the smallest that is
 * above it).  kl >= 0 (negative estimates count as 0), gold less the start's.  Returns 0, or -1 and a sentence if an input is
 * not finite or the points do not settle both numbers: fewer than two different d above 0. */
int gold_curve_fit(struct gold_fit *fit, enum gold_curve curve, const double *kl, const double *gold, const double *std_err, size_t n,
                   struct err *err);

/* The curve at a KL. */
double gold_curve_at(const struct gold_fit *fit, enum gold_curve curve, double kl);

/* ---- best of n ---- */

/* KL(best of n || policy) in nats: at most log n - (n - 1) / n, and that where no two answers have the same score (Stiennon et al.
 * 2020, appendix G.3; Beirami et al. 2024, "Theoretical guarantees on the best-of-n alignment policy", theorem 1). */
double best_of_n_kl(size_t n);

/* mean: (most) out: mean[n - 1] is what the best of n by proxy has in gold, on average over all choices of n of these k answers
 * to a prompt: unbiased, and with little noise (Nakano et al. 2021, WebGPT, appendix I).  Of equal proxies the later answer
 * is the better one.  most <= k. */
void best_of_n_gold(double *mean, size_t most, const double *proxy, const double *gold, size_t k);

#endif
