#include "reward/aggregate.h"

#include <math.h>
#include <stdlib.h>

const char *const aggregate_names[] = {"mean", "min", "uwo", "nash", 0};

int aggregate_weights(struct aggregate_config *cfg, const char *const *texts, size_t n, struct err *err)
{
    if (n > AGGREGATE_WEIGHTS)
        return err_set(err, "%zu aggregate_weights are more than the %d that are taken", n, AGGREGATE_WEIGHTS);
    cfg->n_weights = n;
    for (size_t i = 0; i < n; i++) {
        char *end;
        cfg->weight[i] = strtod(texts[i], &end);
        if (end == texts[i] || *end || !isfinite(cfg->weight[i]) || cfg->weight[i] <= 0)
            return err_set(err, "the aggregate weight '%s' is no number above 0", texts[i]);
    }
    return 0;
}

int aggregate_check(const struct aggregate_config *cfg, size_t members, const char *name, struct err *err)
{
    return cfg->n_weights == 0 || cfg->n_weights == members
               ? 0
               : err_set(err,
                         "there are %zu aggregate_weights for the %zu reward models of '%s': give one for each, in their order",
                         cfg->n_weights, members, name);
}

static double log_sigmoid(double x)
{
    return x >= 0 ? -log1p(exp(-x)) : x - log1p(exp(x));
}

struct score_summary score_summary(const float *scores, size_t k, const struct aggregate_config *cfg)
{
    double sum = 0, squares = 0, least = (double)scores[0], all = 0, weighted = 0, nash = 0, spread = 0;
    for (size_t i = 0; i < k; i++) {
        double w = cfg->n_weights == k ? cfg->weight[i] : 1, r = (double)scores[i];
        sum += r;
        least = fmin(least, r);
        all += w;
        weighted += w * r;
        nash += w * log_sigmoid(r);
    }
    double mean = sum / (double)k, score = weighted / all;
    for (size_t i = 0; i < k; i++) {
        double w = cfg->n_weights == k ? cfg->weight[i] : 1, r = (double)scores[i];
        squares += (r - mean) * (r - mean);
        spread += w * ((r - score) * (r - score));
    }
    if (cfg->kind == AGGREGATE_MIN)
        score = least;
    else if (cfg->kind == AGGREGATE_UWO)
        score -= cfg->uwo_lambda * (spread / all);
    else if (cfg->kind == AGGREGATE_NASH)
        score = log(2) + nash / all;
    return (struct score_summary){(float)score, (float)mean, (float)sqrt(squares / (double)k)};
}
