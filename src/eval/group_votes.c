#include "eval/group_votes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train/comparisons.h"
#include "util/mem.h"
#include "util/textstats.h"

static int find_group(struct group_votes *v, const char *name)
{
    size_t g = 0;
    while (g < v->n_groups && strcmp(v->name[g], name))
        g++;
    if (g == VOTE_GROUPS)
        return -1;
    if (g == v->n_groups)
        v->name[v->n_groups++] = xstrdup(name);
    return (int)g;
}

static void count_row(struct group_votes *v, const struct row *r, size_t g, struct word_table *pairs,
                      struct word_table *prompts)
{
    char prompt[65], a[65], b[65];
    row_prompt_hash(prompt, r);
    row_part_hash(a, &r->completions[0]);
    row_part_hash(b, &r->completions[1]);
    bool turned = strcmp(a, b) > 0;
    char *key = xasprintf("%s %s %s", prompt, turned ? b : a, turned ? a : b);
    size_t i = word_table_id(pairs, key, true);
    if (i == v->n) {
        ARRAY_GROW(v->list, v->n + 1, v->capacity);
        v->list[v->n++] = (struct voted_pair){.id = r->id, .unit = word_table_id(prompts, prompt, true)};
    }
    int label = r->label == ROW_TIE || r->p_a == 0.5 ? 2 : (r->p_a > 0.5) == turned;
    v->list[i].votes[g][label]++;
    v->rows[g]++;
    free(key);
}

int group_votes_read(struct group_votes *v, const struct dataset *const *data, size_t n, struct err *err)
{
    struct word_table pairs, prompts;
    int rc = 0;
    *v = (struct group_votes){0};
    word_table_init(&pairs);
    word_table_init(&prompts);
    for (size_t d = 0; rc == 0 && d < n; d++)
        for (size_t i = 0; rc == 0 && i < data[d]->n; i++) {
            const struct row *r = &data[d]->rows[i];
            int g = r->group ? find_group(v, r->group) : 0;
            if (g < 0)
                rc = err_set(
                    err,
                    "'%s' line %zu: the group '%s' is one more than the %d that can be told apart: merge some, or leave "
                    "--by-group out",
                    data[d]->path, r->line, r->group, VOTE_GROUPS);
            else if (r->group)
                count_row(v, r, (size_t)g, &pairs, &prompts);
        }
    if (rc == 0 && v->n_groups < 2)
        rc = err_set(err,
                     "'%s': --by-group tells groups of annotators apart, but its rows have %zu (field \"group\"): leave it out",
                     data[0]->path, v->n_groups);
    word_table_release(&pairs);
    word_table_release(&prompts);
    if (rc)
        group_votes_release(v);
    return rc;
}

void group_votes_release(struct group_votes *v)
{
    for (size_t g = 0; g < v->n_groups; g++)
        free(v->name[g]);
    free(v->list);
    *v = (struct group_votes){0};
}

/* Of group g's votes on a pair: 1 most say a, -1 b, 0 neither or there are none. */
static int majority(const double votes[3])
{
    if (votes[0] > votes[1] && votes[0] > votes[2])
        return 1;
    return votes[1] > votes[0] && votes[1] > votes[2] ? -1 : 0;
}

/* Krippendorff's alpha of the votes of groups from .. to - 1. */
static struct interval alpha_of(const struct group_votes *v, size_t from, size_t to, uint32_t seed)
{
    double(*count)[3] = xcalloc(v->n + 1, sizeof *count);
    uint32_t *unit = xmalloc((v->n + 1) * sizeof *unit);
    for (size_t i = 0; i < v->n; i++) {
        unit[i] = v->list[i].unit;
        for (size_t g = from; g < to; g++)
            for (size_t c = 0; c < 3; c++)
                count[i][c] += v->list[i].votes[g][c];
    }
    struct interval out = stats_krippendorff(count, unit, v->n, seed);
    free(count);
    free(unit);
    return out;
}

static int by_distance(const void *pa, const void *pb)
{
    const struct group_conflict *a = pa, *b = pb;
    return a->distance != b->distance ? (a->distance < b->distance) - (a->distance > b->distance)
                                      : (a->pair > b->pair) - (a->pair < b->pair);
}

static struct group_conflict conflict_of(const struct group_votes *v, size_t pair)
{
    struct group_conflict c = {.pair = pair};
    double lo = 1, hi = 0;
    for (size_t g = 0; g < v->n_groups; g++) {
        const double *votes = v->list[pair].votes[g];
        double n = votes[0] + votes[1] + votes[2], for_a = votes[0] + votes[2] / 2;
        c.share[g] = n > 0 ? for_a / n : NAN;
        if (n == 0)
            continue;
        lo = fmin(lo, (for_a + 1) / (n + 2));
        hi = fmax(hi, (for_a + 1) / (n + 2));
    }
    c.distance = hi - lo;
    return c;
}

void group_agreement(struct group_agreement *out, const struct group_votes *v, uint32_t seed)
{
    *out = (struct group_agreement){.alpha = alpha_of(v, 0, v->n_groups, seed)};
    for (size_t g = 0; g < v->n_groups; g++)
        out->within[g] = alpha_of(v, g, g + 1, seed);
    struct group_conflict *all = xmalloc((v->n + 1) * sizeof *all);
    double *differ = xmalloc((v->n + 1) * sizeof *differ);
    uint32_t *unit = xmalloc((v->n + 1) * sizeof *unit);
    size_t n = 0;
    for (size_t i = 0; i < v->n; i++) {
        size_t for_a = 0, for_b = 0;
        for (size_t g = 0; g < v->n_groups; g++) {
            int most = majority(v->list[i].votes[g]);
            for_a += most > 0;
            for_b += most < 0;
        }
        if (for_a + for_b < 2)
            continue;
        differ[out->shared] = for_a && for_b;
        unit[out->shared++] = v->list[i].unit;
        if (for_a && for_b)
            all[n++] = conflict_of(v, i);
    }
    out->between = stats_bootstrap_mean(&(struct stats_sample){differ, unit, out->shared}, seed);
    qsort(all, n, sizeof *all, by_distance);
    out->n_conflicts = n < VOTE_CONFLICTS ? n : VOTE_CONFLICTS;
    memcpy(out->conflict, all, out->n_conflicts * sizeof *all);
    free(all);
    free(differ);
    free(unit);
}
