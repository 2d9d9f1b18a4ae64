#include "objective/advantages.h"

#include <math.h>

#include "objective/check.h"

#define STD_EPS 1e-4

const char *const scale_rewards_names[] = {
    [SCALE_GROUP] = "group", [SCALE_BATCH] = "batch", [SCALE_NONE] = "none", NULL};

static double mean(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

double sample_std(const double *x, size_t n)
{
    double m = mean(x, n), sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (x[i] - m) * (x[i] - m);
    return n < 2 ? 0 : sqrt(sum / (double)(n - 1));
}

bool group_is_flat(const double *rewards, size_t k)
{
    for (size_t i = 1; i < k; i++)
        if (rewards[i] != rewards[0])
            return false;
    return true;
}

/* The rewards, and that nothing that is made of them overflows. */
static int check_rewards(const char *name, const double *x, size_t n, struct err *err)
{
    if (check_finite(name, x, NULL, n, err))
        return -1;
    if (!isfinite(sample_std(x, n)))
        return err_set(err, "the variance of %zu %s is not finite: they are too large", n, name);
    return 0;
}

static int check_groups(const double *rewards, size_t groups, size_t k, struct err *err)
{
    if (groups == 0)
        return err_set(err, "there are no groups: advantages need at least one");
    if (k < 2)
        return err_set(err,
                       "'num_generations' is %zu: a completion is compared with the others of its "
                       "prompt, so there must be at least 2",
                       k);
    return check_rewards("rewards", rewards, groups * k, err);
}

int grpo_advantages(double *advantages, const double *rewards, size_t groups, size_t k,
                    enum scale_rewards scale, struct err *err)
{
    if (check_groups(rewards, groups, k, err))
        return -1;
    double batch = sample_std(rewards, groups * k);
    for (size_t g = 0; g < groups; g++) {
        const double *r = rewards + g * k;
        double m = mean(r, k), std = scale == SCALE_GROUP ? sample_std(r, k) : batch;
        double divisor = scale == SCALE_NONE ? 1 : std + STD_EPS;
        bool flat = group_is_flat(r, k); /* its mean may be off in the last bit */
        for (size_t i = 0; i < k; i++)
            advantages[g * k + i] = flat ? 0 : (r[i] - m) / divisor;
    }
    return 0;
}

int rloo_advantages(double *advantages, const double *rewards, size_t groups, size_t k,
                    struct err *err)
{
    if (check_groups(rewards, groups, k, err))
        return -1;
    for (size_t g = 0; g < groups; g++) {
        const double *r = rewards + g * k;
        double sum = mean(r, k) * (double)k;
        bool flat = group_is_flat(r, k);
        for (size_t i = 0; i < k; i++)
            advantages[g * k + i] = flat ? 0 : r[i] - (sum - r[i]) / (double)(k - 1);
    }
    return 0;
}

int gdpo_rewards(double *rewards, const double *const *parts, const double *weights, size_t n_parts, size_t groups, size_t k,
                 struct err *err)
{
    for (size_t p = 0; p < n_parts; p++)
        if (check_groups(parts[p], groups, k, err))
            return -1;
    for (size_t i = 0; i < groups * k; i++)
        rewards[i] = 0;
    for (size_t p = 0; p < n_parts; p++)
        for (size_t g = 0; g < groups; g++) {
            const double *r = parts[p] + g * k;
            double m = mean(r, k), divisor = sample_std(r, k) + STD_EPS;
            bool flat = group_is_flat(r, k);
            for (size_t i = 0; !flat && i < k; i++)
                rewards[g * k + i] += weights[p] * (r[i] - m) / divisor;
        }
    return 0;
}

int normalize_advantages(double *y, const double *x, size_t n, struct err *err)
{
    if (n < 2)
        return err_set(err, "there are %zu completions: a mean and a deviation need at least 2", n);
    if (check_rewards("advantages", x, n, err))
        return -1;
    double m = mean(x, n), divisor = sample_std(x, n) + STD_EPS;
    bool flat = group_is_flat(x, n);
    for (size_t i = 0; i < n; i++)
        y[i] = flat ? 0 : (x[i] - m) / divisor;
    return 0;
}
