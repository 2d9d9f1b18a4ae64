/* One token from a row of logits. */
#include <math.h>
#include <stdlib.h>

#include "rollout/generate.h"
#include "util/mem.h"

struct candidate {
    float logit;
    int32_t id;
};

static int likelier_first(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static int by_id(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return x->id < y->id ? -1 : 1;
}

/* The tokens that top-k, top-p and min-p leave, by id; returns how many. */
static size_t truncate_tail(struct candidate *c, const float *logits, const struct logprob_row *info, size_t vocabulary,
                            const struct sampling *s)
{
    size_t n = 0;
    float floor = s->min_p > 0 ? info->max + logf(s->min_p) : -INFINITY;
    for (size_t i = 0; i < vocabulary; i++)
        if (logits[i] >= floor)
            c[n++] = (struct candidate){logits[i], (int32_t)i};
    qsort(c, n, sizeof *c, likelier_first);
    if (s->top_k > 0 && n > (size_t)s->top_k)
        n = (size_t)s->top_k;
    if (s->top_p < 1) {
        double total = 0, sum = 0;
        size_t keep = 0;
        for (size_t i = 0; i < n; i++)
            total += exp((double)c[i].logit - info->lse);
        while (keep < n && sum < (double)s->top_p * total)
            sum += exp((double)c[keep++].logit - info->lse);
        n = keep ? keep : 1;
    }
    qsort(c, n, sizeof *c, by_id);
    return n;
}

int32_t sample_token(float *logits, const struct logprob_row *info, size_t vocabulary, const struct sampling *s, double uniform,
                     float *logp)
{
    if (s->temperature == 0) {
        *logp = (float)((double)logits[info->best] - info->lse);
        return info->best;
    }
    if (s->top_k > 0 || s->top_p < 1 || s->min_p > 0) {
        struct candidate *c = xmalloc(vocabulary * sizeof *c);
        size_t n = truncate_tail(c, logits, info, vocabulary, s), pick = n - 1;
        double total = 0, sum = 0;
        for (size_t i = 0; i < n; i++)
            total += exp((double)c[i].logit - info->lse);
        for (size_t i = 0; i < n; i++) {
            sum += exp((double)c[i].logit - info->lse);
            if (sum > uniform * total) {
                pick = i;
                break;
            }
        }
        struct candidate chosen = c[pick];
        free(c);
        *logp = (float)((double)chosen.logit - info->lse - log(total));
        return chosen.id;
    }
    /* the row is scaled by exp(-max), so the sum is at least 1 */
    double total = 0, sum = 0;
    float *p = xmalloc(vocabulary * sizeof *p);
    kernel()->exp_scale(p, logits, info->max, 1.0f, vocabulary);
    for (size_t i = 0; i < vocabulary; i++)
        total += (double)p[i];
    double goal = uniform * total;
    size_t pick = vocabulary - 1;
    for (size_t i = 0; i < vocabulary; i++) {
        sum += (double)p[i];
        if (sum > goal) {
            pick = i;
            break;
        }
    }
    free(p);
    *logp = (float)((double)logits[pick] - info->lse);
    return (int32_t)pick;
}
