#include "objective/aot.h"

#include <stdlib.h>

#include "objective/dpo.h"
#include "util/mem.h"

struct ranked {
    double value;
    size_t pair;
};

static int by_value(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return (x->pair > y->pair) - (x->pair < y->pair);
}

static struct ranked *rank_differences(const double *a, const double *b, size_t n)
{
    struct ranked *list = xmalloc(n * sizeof *list);
    for (size_t i = 0; i < n; i++)
        list[i] = (struct ranked){a[i] - b[i], i};
    qsort(list, n, sizeof *list, by_value);
    return list;
}

/* Mean over the ranks k of the loss of beta (x_(k) - y_(k)).  dx, dy: by pair; dy may be NULL. */
static double by_rank(double *dx, double *dy, const struct ranked *x, const struct ranked *y,
                      size_t n, const struct preference_config *cfg)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++) {
        double slope, z = cfg->beta * (x[k].value - y[k].value);
        sum += logistic_loss(z, cfg->label_smoothing, &slope);
        dx[x[k].pair] = cfg->beta * slope / (double)n;
        if (dy)
            dy[y[k].pair] = -cfg->beta * slope / (double)n;
    }
    return sum / (double)n;
}

double aot_step(double *dchosen, double *drejected, const struct preference_pairs *pairs,
                const struct preference_config *cfg)
{
    struct ranked *policy = rank_differences(pairs->chosen, pairs->rejected, pairs->n);
    struct ranked *reference = rank_differences(pairs->ref_chosen, pairs->ref_rejected, pairs->n);
    double loss = by_rank(dchosen, NULL, policy, reference, pairs->n, cfg);
    for (size_t i = 0; i < pairs->n; i++)
        drejected[i] = -dchosen[i];
    free(policy);
    free(reference);
    return loss;
}

double aot_unpaired_step(double *dchosen, double *drejected, const struct preference_pairs *pairs,
                         const struct preference_config *cfg)
{
    struct ranked *chosen = rank_differences(pairs->chosen, pairs->ref_chosen, pairs->n);
    struct ranked *rejected = rank_differences(pairs->rejected, pairs->ref_rejected, pairs->n);
    double loss = by_rank(dchosen, drejected, chosen, rejected, pairs->n, cfg);
    free(chosen);
    free(rejected);
    return loss;
}
