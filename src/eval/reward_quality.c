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

/* The groups of `least` decided pairs or more, `most` at most, in the order in which they first appear. */
static size_t find_groups(const char **names, size_t most, const struct scored_pairs *p, size_t least)
{
    size_t n = 0;
    for (size_t i = 0; p->group && i < p->n && n < most; i++) {
        const char *name = p->group[i];
        bool known = !name || strlen(name) >= CALIBRATOR_NAME;
        for (size_t g = 0; !known && g < n; g++)
            known = !strcmp(names[g], name);
        size_t decided = 0;
        for (size_t k = i; !known && k < p->n; k++)
            decided += p->group[k] && !strcmp(p->group[k], name) && comparison_majority(&p->label[k]) != 0;
        if (!known && decided >= least)
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

uint32_t *scored_folds(const struct scored_pairs *p, uint32_t seed)
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
        fold[i] = (uint32_t)(place[p->unit ? p->unit[i] : i] % SCORED_FOLDS);
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
    size_t n_names = method == CALIBRATION_NONE ? 0 : find_groups(names, CALIBRATOR_GROUPS, p, CALIBRATION_GROUP);
    state(before, p, &trained);
    memcpy(after, before, p->n * sizeof *after);
    int rc = quality(&out->before, NULL, p, before, NULL, seed, err);
    uint32_t *fold_of = scored_folds(p, seed);
    for (int fold = 0; rc == 0 && method != CALIBRATION_NONE && fold < SCORED_FOLDS; fold++) {
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

/* ---- slices ---- */

/* What is sliced: the pairs of which `of` says k. */
struct slicing {
    const struct scored_pairs *p;
    const char *by;
    int *of; /* (n) -1: in none */
    struct reward_slice *out;
    size_t n;
};

static void add_slices(struct slicing *s, const char *by, const char *const *names, int n_names)
{
    size_t first = s->n;
    for (int k = 0; k < n_names; k++) {
        double right = 0, decided = 0;
        for (size_t i = 0; i < s->p->n; i++) {
            int majority = comparison_majority(&s->p->label[i]);
            if (majority == 0 || s->of[i] != k)
                continue;
            decided++;
            right += s->p->lead[i] == 0 ? 0.5 : (s->p->lead[i] > 0) == (majority > 0);
        }
        if (decided == 0)
            continue;
        struct reward_slice *slice = &s->out[s->n++];
        *slice = (struct reward_slice){.by = by, .decided = (size_t)decided, .accuracy = stats_wilson(right, decided)};
        snprintf(slice->name, sizeof slice->name, "%s", names[k]);
    }
    if (s->n == first + 1)
        s->n = first;
}

static int by_number(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* value: (n), NAN: not known. */
static void add_quarters(struct slicing *s, const char *by, const double *value)
{
    static const char *const names[] = {"lowest quarter", "second quarter", "third quarter", "highest quarter"};
    double *sorted = xmalloc((s->p->n + 1) * sizeof *sorted);
    size_t n = 0;
    for (size_t i = 0; i < s->p->n; i++)
        if (!isnan(value[i]) && comparison_majority(&s->p->label[i]))
            sorted[n++] = value[i];
    qsort(sorted, n, sizeof *sorted, by_number);
    for (size_t i = 0; i < s->p->n; i++) {
        s->of[i] = isnan(value[i]) ? -1 : 0;
        for (int cut = 1; n && !isnan(value[i]) && cut < 4; cut++)
            s->of[i] += value[i] > stats_quantile(sorted, n, cut / 4.0);
    }
    add_slices(s, by, names, 4);
    free(sorted);
}

static void add_groups(struct slicing *s)
{
    const char *names[SLICE_GROUPS];
    const struct scored_pairs *p = s->p;
    size_t n = find_groups(names, SLICE_GROUPS, p, GROUP_LEAST);
    for (size_t i = 0; i < p->n; i++) {
        s->of[i] = -1;
        for (size_t g = 0; p->group[i] && g < n; g++)
            if (!strcmp(names[g], p->group[i]))
                s->of[i] = (int)g;
    }
    add_slices(s, "group", names, (int)n);
}

static void add_traits(struct slicing *s)
{
    static const char *const lengths[] = {"the longer one preferred", "about the same length", "the shorter one preferred"};
    const struct scored_pairs *p = s->p;
    double *value = xmalloc((p->n + 1) * sizeof *value);
    for (size_t i = 0; i < p->n; i++) {
        double more = p->traits[i].style[STYLE_LENGTH];
        s->of[i] = fabs(more) <= log(1.1) ? 1 : (more > 0) == (comparison_majority(&p->label[i]) > 0) ? 0 : 2;
    }
    add_slices(s, "length", lengths, 3);
    for (size_t i = 0; i < p->n; i++)
        value[i] = p->traits[i].strength;
    add_quarters(s, "strength", value);
    for (size_t i = 0; i < p->n; i++)
        value[i] = p->traits[i].prompt_words;
    add_quarters(s, "prompt", value);
    free(value);
}

size_t reward_slices(struct reward_slice *slices, const struct scored_pairs *p)
{
    static const char *const raters[] = {"unanimous", "split"}, *const position[] = {"a preferred", "b preferred"};
    struct slicing s = {.p = p, .of = xmalloc((p->n + 1) * sizeof *s.of), .out = slices};
    if (p->traits)
        add_traits(&s);
    if (p->group)
        add_groups(&s);
    for (size_t i = 0; i < p->n; i++) {
        const struct comparison *c = &p->label[i];
        s.of[i] = fmax(c->w_a, fmax(c->w_b, c->w_tie)) < c->w_a + c->w_b + c->w_tie;
    }
    add_slices(&s, "raters", raters, 2);
    for (size_t i = 0; i < p->n; i++)
        s.of[i] = comparison_majority(&p->label[i]) < 0;
    add_slices(&s, "position", position, 2);
    free(s.of);
    return s.n;
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
