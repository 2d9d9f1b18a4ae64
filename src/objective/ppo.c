#include "objective/ppo.h"

#include <math.h>

#include "objective/check.h"
#include "objective/clip.h"

static struct clipped policy_token(double ratio, double advantage, const struct ppo_config *cfg)
{
    double eps = cfg->cliprange;
    return clipped_loss(ratio, advantage, 1 - eps, 1 + eps, cfg->dual_clip > 0 ? cfg->dual_clip : INFINITY);
}

int ppo_check(const struct ppo_config *cfg, struct err *err)
{
    if (check_positive("cliprange", cfg->cliprange, err) || check_not_negative("dual_clip", cfg->dual_clip, err))
        return -1;
    if (cfg->dual_clip > 0 && cfg->dual_clip < 1 + cfg->cliprange)
        return err_set(err, "'dual_clip' is %g: it must be at least 1 + cliprange, which is %g", cfg->dual_clip,
                       1 + cfg->cliprange);
    return 0;
}

static struct clipped value_token(double value, double old_value, double ret, double eps)
{
    double error = value - ret;
    double clipped_error = clamp(value, old_value - eps, old_value + eps) - ret;
    double plain = 0.5 * (error * error), clipped = 0.5 * (clipped_error * clipped_error);
    if (clipped > plain)
        return (struct clipped){clipped, 0, true};
    return (struct clipped){plain, error, false};
}

static int check_counts(size_t n, size_t count, struct err *err)
{
    if (n && count)
        return 0;
    return err_set(err, "there are no tokens: a PPO loss is a mean over at least one");
}

int ppo_policy_loss(double *loss, double *dlogp, struct ppo_sums *sums, const double *logp,
                    const double *old_logp, const double *advantages, const bool *mask, size_t n,
                    size_t count, const struct ppo_config *cfg, struct err *err)
{
    if (check_counts(n, count, err) || ppo_check(cfg, err) ||
        check_finite("logp", logp, mask, n, err) ||
        check_finite("old_logp", old_logp, mask, n, err) ||
        check_finite("advantages", advantages, mask, n, err))
        return -1;
    struct ppo_sums s = *sums;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (mask && !mask[i])
            continue;
        double d = logp[i] - old_logp[i], ratio = exp(d);
        struct clipped t = policy_token(ratio, advantages[i], cfg);
        sum += t.loss;
        s.policy_tokens++;
        s.policy_loss += t.loss;
        s.clipped += t.clipped;
        s.approxkl += 0.5 * (d * d);
        s.ratio += ratio - 1;
        s.ratio_sq += (ratio - 1) * (ratio - 1);
        if (!isfinite(sum) || !isfinite(s.policy_loss) || !isfinite(s.approxkl) ||
            !isfinite(s.ratio_sq))
            return err_set(err,
                           "the ratio of token %zu is too large: logp is %g, old_logp %g; lower "
                           "the learning rate or num_ppo_epochs",
                           i, logp[i], old_logp[i]);
    }
    for (size_t i = 0; i < n; i++) {
        dlogp[i] = 0;
        if (mask && !mask[i])
            continue;
        struct clipped t = policy_token(exp(logp[i] - old_logp[i]), advantages[i], cfg);
        dlogp[i] = t.gradient / (double)count;
    }
    *loss = sum / (double)count;
    *sums = s;
    return 0;
}

int ppo_value_loss(double *loss, double *dvalues, struct ppo_sums *sums, const double *values,
                   const double *old_values, const double *returns, const bool *mask, size_t n,
                   size_t count, const struct ppo_config *cfg, struct err *err)
{
    if (check_counts(n, count, err) ||
        check_positive("cliprange_value", cfg->cliprange_value, err) ||
        check_not_negative("vf_coef", cfg->vf_coef, err) ||
        check_finite("values", values, mask, n, err) ||
        check_finite("old_values", old_values, mask, n, err) ||
        check_finite("returns", returns, mask, n, err))
        return -1;
    struct ppo_sums s = *sums;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (mask && !mask[i])
            continue;
        struct clipped t = value_token(values[i], old_values[i], returns[i], cfg->cliprange_value);
        sum += t.loss;
        s.value_tokens++;
        s.value_loss += t.loss;
        s.value_clipped += t.clipped;
        if (!isfinite(sum) || !isfinite(s.value_loss) || !isfinite(cfg->vf_coef * t.gradient))
            return err_set(err,
                           "the value loss of token %zu is not finite: value %g, return %g; lower "
                           "the critic's learning rate",
                           i, values[i], returns[i]);
    }
    for (size_t i = 0; i < n; i++) {
        dvalues[i] = 0;
        if (mask && !mask[i])
            continue;
        struct clipped t = value_token(values[i], old_values[i], returns[i], cfg->cliprange_value);
        dvalues[i] = cfg->vf_coef * t.gradient / (double)count;
    }
    *loss = sum / (double)count;
    *sums = s;
    return 0;
}

void ppo_stats(struct ppo_stats *stats, const struct ppo_sums *sums)
{
    double policy = sums->policy_tokens ? (double)sums->policy_tokens : 1;
    double value = sums->value_tokens ? (double)sums->value_tokens : 1;
    double shift = sums->ratio / policy;
    *stats = (struct ppo_stats){
        .policy_loss = sums->policy_loss / policy,
        .value_loss = sums->value_loss / value,
        .clipfrac = sums->clipped / policy,
        .vf_clipfrac = sums->value_clipped / value,
        .approxkl = sums->approxkl / policy,
        .ratio = 1 + shift,
        .ratio_var = fmax(0, sums->ratio_sq / policy - shift * shift),
    };
}
