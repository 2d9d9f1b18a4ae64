#include "objective/grpo.h"

#include <math.h>
#include <stdlib.h>

#include "objective/check.h"
#include "objective/clip.h"
#include "objective/kl.h"
#include "objective/soft.h"
#include "util/mem.h"

const char *const grpo_loss_type_names[] = {
    [GRPO] = "grpo",      [GRPO_BNPO] = "bnpo",   [GRPO_DR] = "dr_grpo",
    [GRPO_DAPO] = "dapo", [GRPO_CISPO] = "cispo", [GRPO_SAPO] = "sapo",
    [GRPO_LUSPO] = "luspo", [GRPO_VESPO] = "vespo", NULL};
const char *const importance_sampling_level_names[] = {
    [LEVEL_TOKEN] = "token", [LEVEL_SEQUENCE] = "sequence", NULL};

/* One completion: n tokens, each loss times `weight`.  kl, dkl (n): scratch, read where beta is not 0. */
struct completion {
    const double *logp, *old_logp;
    size_t n;
    double advantage, weight;
    double *kl, *dkl;
};

/* A loss in which the ratio is a constant: its gradient is that of logp. */
static bool constant_ratio(const struct grpo_config *cfg)
{
    return cfg->loss_type == GRPO_CISPO || cfg->loss_type == GRPO_VESPO;
}

/* phi: vespo's, of the whole completion. */
static struct clipped token_loss(double w, double phi, double logp, double advantage, const struct grpo_config *cfg)
{
    double constant = -advantage * (cfg->loss_type == GRPO_VESPO ? phi : fmin(w, cfg->epsilon_high));
    if (cfg->loss_type == GRPO_SAPO)
        return sapo_loss(w, advantage, cfg->sapo_temperature[advantage > 0 ? 0 : 1]);
    if (constant_ratio(cfg))
        return (struct clipped){constant * logp, constant, cfg->loss_type == GRPO_CISPO && w > cfg->epsilon_high && advantage > 0};
    return clipped_loss(w, advantage, 1 - cfg->epsilon, 1 + cfg->epsilon_high, cfg->delta > 0 ? cfg->delta : INFINITY);
}

static double log_ratio(const struct completion *c)
{
    double sum = 0;
    for (size_t t = 0; t < c->n; t++)
        sum += c->logp[t] - c->old_logp[t];
    return sum;
}

/* Add the completion to *loss and the sums; its gradient into dlogp (n), where that is not NULL. */
static void add_completion(double *loss, double *dlogp, struct grpo_sums *s,
                           const struct completion *c, const struct grpo_config *cfg)
{
    bool one = cfg->importance_sampling_level != LEVEL_TOKEN;
    double ratio = log_ratio(c), share = cfg->importance_sampling_level == LEVEL_SEQUENCE ? 1 / (double)c->n : 1; /* a token's in it */
    double whole = exp(ratio * share), kl_sum = 0, sum = 0;
    double through = cfg->importance_sampling_level == LEVEL_COMPLETION ? (double)c->n : 1; /* it moves n tokens' losses */
    int sign = c->advantage >= 0 ? 0 : 1;
    double phi = cfg->loss_type == GRPO_VESPO ? vespo_weight(ratio, cfg->vespo_k[sign], cfg->vespo_lambda[sign]) : 0;
    bool left = cfg->off_policy_mask_threshold > 0 && c->advantage < 0 && -ratio / (double)c->n > cfg->off_policy_mask_threshold;
    size_t low = 0, high = 0;
    s->phi += phi;
    s->left_behind += left;
    for (size_t t = 0; cfg->beta != 0 && t < c->n; t++)
        kl_sum += c->kl[t];
    for (size_t t = 0; t < c->n; t++) {
        double w = one ? whole : exp(c->logp[t] - c->old_logp[t]), gradient;
        struct clipped l = token_loss(w, phi, c->logp[t], c->advantage, cfg);
        low += l.clipped && c->advantage < 0;
        high += l.clipped && c->advantage > 0;
        sum += left ? 0 : l.loss;
        gradient = left ? 0 : constant_ratio(cfg) ? l.gradient : through * l.gradient;
        if (cfg->beta != 0) {
            double scale = cfg->use_bias_correction_kl ? w : 1;
            sum += cfg->beta * scale * c->kl[t];
            s->kl += scale * c->kl[t];
            gradient += cfg->beta * scale * c->dkl[t];
            if (cfg->use_bias_correction_kl) /* through the ratio */
                gradient += cfg->beta * w * (one ? share * kl_sum : c->kl[t]);
        }
        if (dlogp)
            dlogp[t] = c->weight * gradient;
    }
    double units = one ? 1 : (double)c->n, tokens = (double)c->n;
    double low_share = (double)low / tokens, high_share = (double)high / tokens;
    s->low_min = s->completions == 0 || low_share < s->low_min ? low_share : s->low_min;
    s->high_max = high_share > s->high_max ? high_share : s->high_max;
    s->low += low_share * units;
    s->high += high_share * units;
    s->tokens += c->n;
    s->completions++;
    *loss += c->weight * sum;
}

/* What a token of a completion of n tokens is multiplied by. */
static double weight_of(size_t n, const struct grpo_counts *counts, const struct grpo_config *cfg)
{
    double completions = (double)counts->completions;
    switch (cfg->loss_type) {
    case GRPO:
    case GRPO_SAPO:
        return 1 / ((double)n * completions);
    case GRPO_LUSPO:
        return 1 / completions;
    case GRPO_DR:
        return 1 / (completions * (double)cfg->max_completion_length);
    default:
        return 1 / counts->tokens;
    }
}

static int check_soft(const struct grpo_config *cfg, struct err *err)
{
    bool sapo = cfg->loss_type == GRPO_SAPO, vespo = cfg->loss_type == GRPO_VESPO;
    enum importance_sampling_level level = cfg->importance_sampling_level;
    for (int i = 0; i < 2; i++)
        if ((sapo && check_positive("sapo_temperature", cfg->sapo_temperature[i], err)) ||
            (vespo && (check_not_negative("vespo_k", cfg->vespo_k[i], err) || check_positive("vespo_lambda", cfg->vespo_lambda[i], err))))
            return -1;
    if (vespo && level != LEVEL_TOKEN)
        return err_set(err, "'importance_sampling_level' is '%s': loss_type 'vespo' weighs whole completions by itself; leave it at 'token'",
                       importance_sampling_level_names[level]);
    if (cfg->loss_type == GRPO_LUSPO && level != LEVEL_SEQUENCE)
        return err_set(err, "loss_type 'luspo' is GSPO with another sum: it asks for 'importance_sampling_level' 'sequence'");
    return 0;
}

int grpo_check(const struct grpo_config *cfg, struct err *err)
{
    bool clips = !constant_ratio(cfg) && cfg->loss_type != GRPO_SAPO, cispo = cfg->loss_type == GRPO_CISPO;
    if (((clips || cispo) && check_positive("epsilon_high", cfg->epsilon_high, err)) ||
        check_not_negative("delta", cfg->delta, err) || check_not_negative("beta", cfg->beta, err) ||
        check_not_negative("off_policy_mask_threshold", cfg->off_policy_mask_threshold, err) || check_soft(cfg, err))
        return -1;
    if (!clips && cfg->delta > 0)
        return err_set(err, "'delta' is %g: loss_type '%s' has no second branch to bound; leave it out",
                       cfg->delta, grpo_loss_type_names[cfg->loss_type]);
    if (clips && check_positive("epsilon", cfg->epsilon, err))
        return -1;
    if (cfg->importance_sampling_level == LEVEL_COMPLETION && cfg->beta != 0)
        return err_set(err, "'beta' is %g: where a completion is one action the KL belongs in the reward", cfg->beta);
    if (cfg->delta > 0 && cfg->delta <= 1 + cfg->epsilon_high)
        return err_set(err, "'delta' is %g: it must be above 1 + epsilon_high, which is %g",
                       cfg->delta, 1 + cfg->epsilon_high);
    if (cfg->loss_type == GRPO_DR && cfg->max_completion_length == 0)
        return err_set(err, "'max_completion_length' is 0: loss_type 'dr_grpo' divides by it");
    return 0;
}

static int check_inputs(const double *logp, const double *old_logp, const size_t *first,
                        const double *advantages, size_t n, const struct grpo_counts *counts,
                        struct err *err)
{
    if (n == 0 || counts->completions == 0)
        return err_set(err, "there are no completions: a loss is a mean over at least one");
    size_t from = first[0], tokens = first[n] - from;
    return check_not_negative("tokens", counts->tokens, err) ||
                   check_finite("logp", logp + from, NULL, tokens, err) ||
                   check_finite("old_logp", old_logp + from, NULL, tokens, err) ||
                   check_finite("advantages", advantages, NULL, n, err)
               ? -1
               : 0;
}

int grpo_loss(double *loss, double *dlogp, struct grpo_sums *sums, const double *logp,
              const double *old_logp, const double *ref_logp, const size_t *first,
              const double *advantages, const bool *mask, size_t n,
              const struct grpo_counts *counts, const struct grpo_config *cfg, struct err *err)
{
    if (grpo_check(cfg, err) ||
        check_inputs(logp, old_logp, first, advantages, n, counts, err))
        return -1;
    size_t from = first[0], tokens = first[n] - from;
    double *kl = xcalloc(2 * tokens + 1, sizeof *kl), *dkl = kl + tokens, sum = 0;
    struct grpo_sums s = *sums;
    int rc = cfg->beta != 0 && tokens ? kl_estimate(kl, dkl, logp + from, ref_logp + from, tokens, KL_K3, err) : 0;
    /* twice: what is not finite is found before anything is written */
    for (int write = 0; rc == 0 && write < 2; write++)
        for (size_t c = 0; rc == 0 && c < n; c++) {
            size_t at = first[c], length = first[c + 1] - at;
            struct completion one = {logp + at, old_logp + at, length, advantages[c],
                                     weight_of(length, counts, cfg), kl + at - from, dkl + at - from};
            struct grpo_sums ignored = s;
            double part = 0;
            if (length == 0 || (mask && !mask[c])) {
                for (size_t t = 0; write && t < length; t++)
                    dlogp[at + t] = 0;
                continue;
            }
            add_completion(write ? &part : &sum, write ? dlogp + at : NULL, write ? &ignored : &s, &one, cfg);
            if (!isfinite(sum) || !isfinite(s.kl))
                rc = err_set(err, "the loss of completion %zu is not finite: its log-probs are too far from "
                                  "those at sampling; lower the learning rate or num_iterations", c);
        }
    if (rc == 0) {
        s.loss += sum;
        *loss = sum;
        *sums = s;
    }
    free(kl);
    return rc;
}

void grpo_stats(struct grpo_stats *stats, const struct grpo_sums *s, const struct grpo_config *cfg)
{
    size_t units = cfg->importance_sampling_level == LEVEL_TOKEN ? s->tokens : s->completions;
    double n = units ? (double)units : 1;
    *stats = (struct grpo_stats){
        .loss = s->loss,
        .kl = s->tokens ? s->kl / (double)s->tokens : 0,
        .region_mean = (s->low + s->high) / n,
        .low_mean = s->low / n,
        .low_min = s->low_min,
        .high_mean = s->high / n,
        .high_max = s->high_max,
        .phi = s->completions ? s->phi / (double)s->completions : 0,
        .left_behind = s->completions ? (double)s->left_behind / (double)s->completions : 0,
    };
}
