/* How far the policy is from the reference: estimates of KL(policy || reference) a token, and the
 * coefficient that keeps it in hand.
 *
 * For a token drawn from the policy (Schulman 2020, "Approximating KL divergence"), with d = logp -
 * ref_logp:
 *
 *     k1 = d                   unbiased, noisy, may be negative      dk1/dlogp = 1
 *     k2 = d^2 / 2             biased, little noise                  dk2/dlogp = d
 *     k3 = e^(-d) - 1 + d      unbiased, little noise, never < 0     dk3/dlogp = 1 - e^(-d)
 *
 * In the reward (PPO) use k1.  In the loss use k2, whose gradient is in the mean that of the KL
 * itself, or k3; the gradient of k1 has mean zero and teaches nothing. */
#ifndef HONE_OBJECTIVE_KL_H
#define HONE_OBJECTIVE_KL_H

#include <stddef.h>

#include "util/err.h"

enum kl_estimator { KL_K1, KL_K2, KL_K3 };

/* "k1", "k2", "k3", then NULL: the choices of kl_estimator. */
extern const char *const kl_estimator_names[];

/* kl: out, (n), nats a token.  dlogp: out, (n), d kl[i] / d logp[i], or NULL.  logp, ref_logp (n).
 * Returns 0, or -1 with a sentence if n == 0 or an input or estimate is not finite (outputs
 * untouched). */
int kl_estimate(double *kl, double *dlogp, const double *logp, const double *ref_logp, size_t n,
                enum kl_estimator estimator, struct err *err);

/* The coefficient of the KL, fixed or adaptive (Ziegler et al. 2019, "Fine-tuning language models
 * from human preferences", section 2.2):
 *
 *     e       = clip(kl / target - 1, -0.2, 0.2)
 *     kl_coef = kl_coef (1 + e n_steps / horizon)
 *
 * kl_coef is the whole state; the rest is settings. */
struct kl_controller {
    double kl_coef; /* now */
    double target;  /* nats a sequence; 0: kl_coef stays as it is */
    double horizon; /* episodes in which it may change by a fifth; read only where target > 0 */
};

/* After a batch of n_steps episodes with mean KL kl, in nats a sequence (negative estimates are
 * taken).  Returns 0, or -1 with a sentence if kl is not finite or the settings make no sense
 * (kl_coef untouched). */
int kl_controller_update(struct kl_controller *c, double kl, size_t n_steps, struct err *err);

#endif
