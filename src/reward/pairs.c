#include "reward/pairs.h"

#include <math.h>
#include <stdlib.h>

#include "objective/scalar.h"
#include "util/mem.h"
#include "util/rng.h"

const char *const pairs_names[] = {
    [PAIRS_RANDOM] = "random", [PAIRS_ALL] = "all", [PAIRS_EXTREME] = "extreme", [PAIRS_UNCERTAIN] = "uncertain", NULL};

/* Purposes of random numbers, the counter's last word. */
enum { DRAW_ORDER, DRAW_PAIR, DRAW_KEPT };

bool pairs_want_scores(enum pairs_how how)
{
    return how == PAIRS_EXTREME || how == PAIRS_UNCERTAIN;
}

static double mean_score(const struct pairs_answers *x, size_t i)
{
    double sum = 0;
    for (size_t m = 0; m < x->members; m++)
        sum += (double)x->scores[m * x->k + i];
    return x->members ? sum / (double)x->members : 0;
}

static double uncertainty(const struct pairs_answers *x, size_t a, size_t b, double temperature)
{
    double sum = 0, squares = 0, n = (double)x->members;
    for (size_t m = 0; m < x->members; m++) {
        double p = sigmoid(((double)x->scores[m * x->k + a] - (double)x->scores[m * x->k + b]) / temperature);
        sum += p;
        squares += p * p;
    }
    if (x->members <= 1)
        return sum * (1 - sum);
    return fmax(0, squares / n - sum / n * (sum / n));
}

/* Every two answers that may be shown together. */
static size_t every_two(struct pair *pairs, const struct pairs_answers *x, double temperature)
{
    size_t n = 0;
    for (size_t a = 0; a < x->k; a++)
        for (size_t b = a + 1; b < x->k; b++)
            if (x->same[a] != x->same[b] && x->same[a] != PAIRS_NO_ANSWER && x->same[b] != PAIRS_NO_ANSWER)
                pairs[n++] = (struct pair){a, b, uncertainty(x, a, b, temperature)};
    return n;
}

/* How much the pair is wanted. */
static double wanted(const struct pair *p, const struct pairs_answers *x, const struct pairs_config *c)
{
    if (c->how == PAIRS_RANDOM || x->members == 0)
        return rng_uniform(c->seed, RNG_PAIRS, x->key, (uint32_t)p->a, (uint32_t)p->b, DRAW_PAIR);
    return c->how == PAIRS_EXTREME ? fabs(mean_score(x, p->a) - mean_score(x, p->b)) : p->uncertainty;
}

size_t pairs_choose(struct pair *pairs, const struct pairs_answers *x, const struct pairs_config *c)
{
    size_t n = every_two(pairs, x, c->temperature), best = 0;
    if (n && c->how != PAIRS_ALL) {
        for (size_t i = 1; i < n; i++)
            if (wanted(&pairs[i], x, c) > wanted(&pairs[best], x, c))
                best = i;
        pairs[0] = pairs[best];
        n = 1;
    }
    for (size_t i = 0; i < n; i++) {
        struct pair p = pairs[i];
        if (rng_uniform(c->seed, RNG_PAIRS, x->key, (uint32_t)p.a, (uint32_t)p.b, DRAW_ORDER) < 0.5)
            pairs[i] = (struct pair){p.b, p.a, p.uncertainty};
    }
    return n;
}

struct place {
    double rank;
    size_t index;
};

static int highest_first(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

void pairs_limit(bool *keep, const struct pair *pairs, size_t n, size_t most, const struct pairs_config *c)
{
    struct place *places = xmalloc((n + 1) * sizeof *places);
    for (size_t i = 0; i < n; i++)
        places[i] = (struct place){c->how == PAIRS_UNCERTAIN ? pairs[i].uncertainty
                                                             : rng_uniform(c->seed, RNG_PAIRS, (uint32_t)i, 0, 0, DRAW_KEPT),
                                   i};
    qsort(places, n, sizeof *places, highest_first);
    for (size_t i = 0; i < n; i++)
        keep[places[i].index] = i < most;
    free(places);
}
