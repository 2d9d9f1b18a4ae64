#include "reward/select.h"

#include <math.h>
#include <stdlib.h>

#include "util/mem.h"
#include "util/rng.h"

const char *const select_names[] = {[SELECT_ALL] = "all",   [SELECT_BEST] = "best", [SELECT_ABOVE] = "above",
                                    [SELECT_PAIR] = "pair", [SELECT_RSO] = "rso",   NULL};

bool select_makes_pairs(enum select_how how)
{
    return how == SELECT_PAIR || how == SELECT_RSO;
}

/* The first answer with the highest (sign 1) or lowest (-1) score. */
static size_t extreme(const double *scores, size_t k, int sign)
{
    size_t best = 0;
    for (size_t i = 1; i < k; i++)
        if (sign * scores[i] > sign * scores[best])
            best = i;
    return best;
}

static size_t above(size_t *chosen, const double *scores, size_t k, double threshold)
{
    size_t n = 0;
    for (size_t i = 0; i < k; i++)
        if (scores[i] >= threshold)
            chosen[n++] = i;
    return n;
}

/* Rounds over the answers that are left, until enough are accepted: the highest of them always is. */
static size_t accept(size_t *chosen, const double *scores, size_t k, const struct select_config *c, uint32_t key)
{
    size_t n = 0, most = c->keep < k ? c->keep : k;
    bool *taken = xcalloc(k + 1, sizeof *taken);
    for (uint32_t round = 0; n < most; round++) {
        double highest = -INFINITY;
        for (size_t i = 0; i < k; i++)
            highest = !taken[i] && scores[i] > highest ? scores[i] : highest;
        for (size_t i = 0; i < k && n < most; i++) {
            if (taken[i] || rng_uniform(c->seed, RNG_SELECT, key, (uint32_t)i, round, 0) >= exp((scores[i] - highest) / c->beta))
                continue;
            taken[i] = true;
            chosen[n++] = i;
        }
    }
    free(taken);
    return n;
}

/* Neighbours become pairs, the better one first; equal ones are left out. */
static size_t pair_up(size_t *chosen, const double *scores, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i + 1 < n; i += 2) {
        size_t a = chosen[i], b = chosen[i + 1];
        if (scores[a] == scores[b])
            continue;
        chosen[kept++] = scores[a] > scores[b] ? a : b;
        chosen[kept++] = scores[a] > scores[b] ? b : a;
    }
    return kept;
}

size_t select_answers(size_t *chosen, const double *scores, size_t k, const struct select_config *c, uint32_t key)
{
    if (k == 0)
        return 0;
    switch (c->how) {
    case SELECT_BEST:
        chosen[0] = extreme(scores, k, 1);
        return 1;
    case SELECT_ABOVE:
        return above(chosen, scores, k, c->threshold);
    case SELECT_PAIR:
        if (k < 2)
            return 0;
        chosen[0] = extreme(scores, k, 1);
        chosen[1] = extreme(scores, k, -1);
        return pair_up(chosen, scores, 2);
    case SELECT_RSO:
        return pair_up(chosen, scores, accept(chosen, scores, k, c, key));
    default:
        return above(chosen, scores, k, -INFINITY);
    }
}
