#include "objective/gae.h"

#include <math.h>

#include "objective/check.h"

#define WHITEN_EPS 1e-8

static int check_some(size_t n, const char *what, struct err *err)
{
    return n ? 0 : err_set(err, "there are no tokens: %s need at least one", what);
}

int gae_rewards(double *rewards, const double *kl, size_t n, double score, double kl_coef,
                struct err *err)
{
    if (check_some(n, "rewards", err) || check_not_negative("kl_coef", kl_coef, err) ||
        check_finite("kl", kl, NULL, n, err) || check_finite("score", &score, NULL, 1, err))
        return -1;
    for (size_t t = 0; t < n; t++)
        if (!isfinite(-kl_coef * kl[t] + (t == n - 1 ? score : 0)))
            return err_set(err, "the reward of token %zu is not finite: kl is %g; lower kl_coef", t,
                           kl[t]);
    for (size_t t = 0; t < n; t++)
        rewards[t] = -kl_coef * kl[t];
    rewards[n - 1] += score;
    return 0;
}

int gae_advantages(double *advantages, double *returns, const double *rewards,
                   const double *values, size_t n, double gamma, double lam, struct err *err)
{
    if (check_some(n, "advantages", err) || check_fraction("gamma", gamma, err) ||
        check_fraction("lam", lam, err) || check_finite("rewards", rewards, NULL, n, err) ||
        check_finite("values", values, NULL, n, err))
        return -1;
    /* What bounds every advantage and return, looked at before anything is written. */
    double bound = 0;
    for (size_t t = 0; t < n; t++) {
        bound += fabs(rewards[t]) + 2 * fabs(values[t]);
        if (!isfinite(bound))
            return err_set(err,
                           "the advantages up to token %zu are not finite: reward %g, value %g; "
                           "lower the critic's learning rate",
                           t, rewards[t], values[t]);
    }
    double next_value = 0, next_advantage = 0;
    for (size_t t = n; t-- > 0;) {
        double delta = rewards[t] + gamma * next_value - values[t];
        next_advantage = delta + gamma * lam * next_advantage;
        next_value = values[t];
        advantages[t] = next_advantage;
        returns[t] = next_advantage + values[t];
    }
    return 0;
}

static double mean(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

static double variance(const double *x, size_t n)
{
    double m = mean(x, n), sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (x[i] - m) * (x[i] - m);
    return sum / (double)n;
}

int whiten(double *y, const double *x, size_t n, bool shift_mean, struct err *err)
{
    if (check_some(n, "mean and variance", err) || check_finite("x", x, NULL, n, err))
        return -1;
    double m = mean(x, n), scale = 1 / sqrt(variance(x, n) + WHITEN_EPS);
    if (!isfinite(m) || scale == 0)
        return err_set(err, "the variance of %zu numbers is not finite: they are too large", n);
    for (size_t i = 0; i < n; i++)
        y[i] = (x[i] - m) * scale + (shift_mean ? 0 : m);
    return 0;
}

int explained_variance(double *result, const double *values, const double *returns, size_t n,
                       struct err *err)
{
    if (check_some(n, "variances", err) || check_finite("values", values, NULL, n, err) ||
        check_finite("returns", returns, NULL, n, err))
        return -1;
    /* The residual's mean and variance without an array of its own. */
    double m = 0, residual = 0, total = variance(returns, n);
    for (size_t i = 0; i < n; i++)
        m += (returns[i] - values[i]) / (double)n;
    for (size_t i = 0; i < n; i++)
        residual += (returns[i] - values[i] - m) * (returns[i] - values[i] - m) / (double)n;
    if (!isfinite(total) || !isfinite(residual))
        return err_set(err, "the variance of %zu returns is not finite: they are too large", n);
    *result = total > 0 ? 1 - residual / total : NAN;
    return 0;
}
