#include "reward/aggregate.h"

#include <math.h>

const char *const aggregate_names[] = {"mean", "min", "uwo", 0};

struct score_summary score_summary(const float *scores, size_t k, const struct aggregate_config *cfg)
{
    double sum = 0, squares = 0, least = (double)scores[0];
    for (size_t i = 0; i < k; i++) {
        sum += (double)scores[i];
        least = fmin(least, (double)scores[i]);
    }
    double mean = sum / (double)k;
    for (size_t i = 0; i < k; i++)
        squares += ((double)scores[i] - mean) * ((double)scores[i] - mean);
    double variance = squares / (double)k, score = mean;
    if (cfg->kind == AGGREGATE_MIN)
        score = least;
    else if (cfg->kind == AGGREGATE_UWO)
        score = mean - cfg->uwo_lambda * variance;
    return (struct score_summary){(float)score, (float)mean, (float)sqrt(variance)};
}
