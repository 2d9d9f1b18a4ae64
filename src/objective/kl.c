#include "objective/kl.h"

#include <math.h>

#include "objective/check.h"
#include "objective/scalar.h"

/* A batch moves the coefficient by no more than if it were this share off the target. */
#define ERROR_CLIP 0.2

const char *const kl_estimator_names[] = {[KL_K1] = "k1", [KL_K2] = "k2", [KL_K3] = "k3", NULL};

static double estimate(double d, enum kl_estimator estimator)
{
    switch (estimator) {
    case KL_K2:
        return 0.5 * (d * d);
    case KL_K3:
        return expm1(-d) + d;
    default:
        return d;
    }
}

static double derivative(double d, enum kl_estimator estimator)
{
    switch (estimator) {
    case KL_K2:
        return d;
    case KL_K3:
        return -expm1(-d);
    default:
        return 1;
    }
}

int kl_estimate(double *kl, double *dlogp, const double *logp, const double *ref_logp, size_t n,
                enum kl_estimator estimator, struct err *err)
{
    if (n == 0)
        return err_set(err, "there are no tokens: a KL needs at least one");
    if (check_finite("logp", logp, NULL, n, err) ||
        check_finite("ref_logp", ref_logp, NULL, n, err))
        return -1;
    for (size_t i = 0; i < n; i++)
        if (!isfinite(estimate(logp[i] - ref_logp[i], estimator)))
            return err_set(err,
                           "the KL of token %zu is not finite: logp is %g and ref_logp %g; lower "
                           "the learning rate or raise kl_coef",
                           i, logp[i], ref_logp[i]);
    for (size_t i = 0; i < n; i++) {
        double d = logp[i] - ref_logp[i];
        kl[i] = estimate(d, estimator);
        if (dlogp)
            dlogp[i] = derivative(d, estimator);
    }
    return 0;
}

int kl_controller_update(struct kl_controller *c, double kl, size_t n_steps, struct err *err)
{
    if (check_not_negative("kl_coef", c->kl_coef, err) ||
        check_finite("kl", &kl, NULL, 1, err) || check_not_negative("kl_target", c->target, err))
        return -1;
    if (c->target == 0)
        return 0;
    if (check_positive("kl_horizon", c->horizon, err))
        return -1;
    double error = clamp(kl / c->target - 1, -ERROR_CLIP, ERROR_CLIP);
    double factor = 1 + error * (double)n_steps / c->horizon;
    if (!(factor > 0 && isfinite(c->kl_coef * factor)))
        return err_set(err,
                       "'kl_horizon' is %g: too short for batches of %zu episodes, kl_coef would "
                       "be multiplied by %g; raise it",
                       c->horizon, n_steps, factor);
    c->kl_coef *= factor;
    return 0;
}
