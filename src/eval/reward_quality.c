#include "eval/reward_quality.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/mem.h"
#include "util/rng.h"

int comparison_majority(const struct comparison *c)
{
    if (c->w_a > c->w_b && c->w_a > c->w_tie)
        return 1;
    return c->w_b > c->w_a && c->w_b > c->w_tie ? -1 : 0;
}

/* Quality under stated probabilities P(a is better), of the pairs that `of` has (NULL: all). */
static int quality(struct reward_quality *out, double *correct, const struct scored_pairs *p, const double *p_a, const char *of,
                   uint32_t seed, struct err *err)
{
    *out = (struct reward_quality){0};
    double *stated = xmalloc((p->n + 1) * sizeof *stated), *right = xmalloc((p->n + 1) * sizeof *right), sum = 0;
    double *square = xmalloc((p->n + 1) * sizeof *square);
    uint32_t *unit = xmalloc((p->n + 1) * sizeof *unit);
    for (size_t i = 0; i < p->n; i++) {
        int majority = comparison_majority(&p->label[i]);
        if (correct)
            correct[i] = NAN;
        if (of && (!p->group[i] || strcmp(p->group[i], of) != 0))
            continue;
        out->comparisons++;
        if (majority == 0)
            continue;
        size_t k = out->decided++;
        stated[k] = fmax(p_a[i], 1 - p_a[i]);
        right[k] = p->lead[i] == 0 ? 0.5 : (p->lead[i] > 0) == (majority > 0);
        square[k] = pow(p_a[i] - (majority > 0), 2); /* also where neither answer is in front */
        unit[k] = p->unit ? p->unit[i] : (uint32_t)i;
        sum += right[k];
        if (correct)
            correct[i] = right[k];
    }
    size_t n = out->decided;
    int rc = n ? stats_calibration(&out->calibration, stated, right, n, err)
               : err_set(err, "of %zu comparisons none has a majority: there is nothing to hold scores against", out->comparisons);
    if (rc == 0) {
        out->accuracy = stats_wilson(sum, (double)n);
        out->ece = stats_bootstrap_ece(stated, right, unit, n, seed);
        out->brier = stats_bootstrap_mean(&(struct stats_sample){square, unit, n}, seed);
        out->calibration.brier = out->brier.value;
    }
    free(stated);
    free(right);
    free(square);
    free(unit);
    return rc;
}

static void state(double *p_a, const struct scored_pairs *p, const struct calibrator *c)
{
    for (size_t i = 0; i < p->n; i++)
        p_a[i] = calibrated(c, p->lead[i], p->group ? p->group[i] : NULL);
}

int reward_quality(struct reward_quality *out, double *correct, const struct scored_pairs *p, const struct calibrator *c,
                   uint32_t seed, struct err *err)
{
    double *p_a = xmalloc((p->n + 1) * sizeof *p_a);
    state(p_a, p, c);
    int rc = quality(out, correct, p, p_a, NULL, seed, err);
    free(p_a);
    return rc;
}

/* ---- calibration ---- */

enum { FOLDS = 5 };

/* The decided pairs outside of a fold (fold < 0: all), of one group (NULL: all groups). */
static size_t gather(double *x, double *y, const struct scored_pairs *p, const uint32_t *fold_of, int fold, const char *of)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        int majority = comparison_majority(&p->label[i]);
        if (majority == 0 || (fold >= 0 && fold_of[i] == (uint32_t)fold) ||
            (of && (!p->group[i] || strcmp(p->group[i], of) != 0)))
            continue;
        x[n] = p->lead[i];
        y[n++] = majority > 0;
    }
    return n;
}

/* The groups that are large enough, in the order in which they first appear. */
static size_t find_groups(const char **names, const struct scored_pairs *p)
{
    size_t n = 0;
    for (size_t i = 0; p->group && i < p->n && n < CALIBRATOR_GROUPS; i++) {
        const char *name = p->group[i];
        bool known = !name || strlen(name) >= CALIBRATOR_NAME;
        for (size_t g = 0; !known && g < n; g++)
            known = !strcmp(names[g], name);
        size_t decided = 0;
        for (size_t k = i; !known && k < p->n; k++)
            decided += p->group[k] && !strcmp(p->group[k], name) && comparison_majority(&p->label[k]) != 0;
        if (decided >= CALIBRATION_GROUP)
            names[n++] = name;
    }
    return n;
}

static int fit_fold(struct calibrator *c, const struct scored_pairs *p, int method, const uint32_t *fold_of, int fold,
                    const char *const *names, size_t n_names, struct err *err)
{
    double *x = xmalloc((p->n + 1) * sizeof *x), *y = xmalloc((p->n + 1) * sizeof *y);
    size_t n = gather(x, y, p, fold_of, fold, NULL);
    int rc = calibrate_temperature(&c->temperature, x, y, n, err);
    if (rc == 0 && method == CALIBRATION_ISOTONIC)
        rc = calibrate_isotonic(c, x, y, n, err);
    for (size_t g = 0; rc == 0 && g < n_names; g++) {
        double temperature;
        struct err why;
        n = gather(x, y, p, fold_of, fold, names[g]);
        if (calibrate_temperature(&temperature, x, y, n, &why)) /* a fold may leave it without a lead */
            temperature = c->temperature;
        snprintf(c->group[g].name, sizeof c->group[g].name, "%s", names[g]);
        c->group[g].temperature = temperature;
        c->n_groups = g + 1;
    }
    free(x);
    free(y);
    return rc;
}

/* A fold for each pair; all pairs of a prompt are in one. */
static uint32_t *make_folds(const struct scored_pairs *p, uint32_t seed)
{
    size_t units = 0;
    for (size_t i = 0; i < p->n; i++) {
        size_t u = p->unit ? p->unit[i] : i;
        units = u >= units ? u + 1 : units;
    }
    size_t *place = xmalloc((units + 1) * sizeof *place);
    uint32_t *fold = xmalloc((p->n + 1) * sizeof *fold);
    rng_permutation(place, units, seed, RNG_SPLIT, 2);
    for (size_t i = 0; i < p->n; i++)
        fold[i] = (uint32_t)(place[p->unit ? p->unit[i] : i] % FOLDS);
    free(place);
    return fold;
}

int reward_calibrate(struct reward_calibration *out, const struct scored_pairs *p, double temperature, int method,
                     uint32_t seed, struct err *err)
{
    const struct calibrator trained = {.temperature = temperature};
    *out = (struct reward_calibration){.fitted = trained};
    double *before = xmalloc((p->n + 1) * sizeof *before), *after = xmalloc((p->n + 1) * sizeof *after);
    const char *names[CALIBRATOR_GROUPS];
    size_t n_names = method == CALIBRATION_NONE ? 0 : find_groups(names, p);
    state(before, p, &trained);
    memcpy(after, before, p->n * sizeof *after);
    int rc = quality(&out->before, NULL, p, before, NULL, seed, err);
    uint32_t *fold_of = make_folds(p, seed);
    for (int fold = 0; rc == 0 && method != CALIBRATION_NONE && fold < FOLDS; fold++) {
        struct calibrator c = {0};
        rc = fit_fold(&c, p, method, fold_of, fold, names, n_names, err);
        for (size_t i = 0; rc == 0 && i < p->n; i++)
            if (fold_of[i] == (uint32_t)fold)
                after[i] = calibrated(&c, p->lead[i], p->group ? p->group[i] : NULL);
    }
    if (rc == 0 && method != CALIBRATION_NONE) {
        out->fitted = (struct calibrator){0};
        rc = fit_fold(&out->fitted, p, method, fold_of, -1, names, n_names, err);
    }
    if (rc == 0)
        rc = quality(&out->after, NULL, p, after, NULL, seed, err);
    for (size_t g = 0; rc == 0 && g < n_names; g++) {
        out->group[g].name = names[g];
        rc = quality(&out->group[g].before, NULL, p, before, names[g], seed, err) ||
                     quality(&out->group[g].after, NULL, p, after, names[g], seed, err)
                 ? -1 : 0;
    }
    free(before);
    free(after);
    free(fold_of);
    return rc;
}

/* ---- baselines ---- */

static const char *part_text(const struct row_part *p)
{
    return p->n_messages ? p->messages[p->n_messages - 1].content : p->text ? p->text : "";
}

/* soft: the raters' shares, for training; else the majority, and ties 0.5. */
static struct baseline_pair *baseline_pairs(const struct labelled *p, bool soft)
{
    struct baseline_pair *list = xcalloc(p->n + 1, sizeof *list);
    for (size_t i = 0; i < p->n; i++) {
        const struct row *r = &p->data->rows[i];
        const struct comparison *c = &p->labels[i];
        double all = c->w_a + c->w_b + c->w_tie;
        list[i] = (struct baseline_pair){.prompt = part_text(&r->prompt), .a = part_text(&r->completions[0]),
                                         .b = part_text(&r->completions[1]), .weight = soft ? all : 1};
        list[i].p_a = soft && all > 0 ? (c->w_a + 0.5 * c->w_tie) / all : 0.5 + 0.5 * comparison_majority(c);
    }
    return list;
}

int reward_baselines(struct reward_baselines *out, double *length_correct, double *words_correct,
                     const struct labelled *train, const struct labelled *held_out, uint32_t seed, struct err *err)
{
    struct baseline_pair *a = baseline_pairs(train, true), *b = baseline_pairs(held_out, false);
    size_t n = train->n < BASELINE_PAIRS ? train->n : BASELINE_PAIRS;
    for (size_t i = 0; i < n; i++)
        a[i] = a[(size_t)((double)i * (double)train->n / (double)n)];
    int rc = baseline_length(&out->length, length_correct, a, n, b, held_out->n, err);
    if (rc == 0)
        rc = baseline_words(&out->words, words_correct, a, n, b, held_out->n, seed, err);
    out->n_train = n;
    free(a);
    free(b);
    return rc;
}
