#include "util/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "util/mem.h"
#include "util/rng.h"

#define Z95 1.959963984540054

double stats_mean(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return n ? sum / (double)n : NAN;
}

double stats_quantile(const double *sorted, size_t n, double q)
{
    if (n == 0)
        return NAN;
    double at = q * (double)(n - 1);
    size_t i = (size_t)at;
    if (i + 1 >= n)
        return sorted[n - 1];
    return sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]);
}

struct interval stats_wilson(double successes, double n)
{
    if (!(n > 0))
        return (struct interval){NAN, NAN, NAN};
    double p = successes / n, z2 = Z95 * Z95;
    double centre = (p + z2 / (2 * n)) / (1 + z2 / n);
    double half = Z95 / (1 + z2 / n) * sqrt(fmax(0, p * (1 - p) / n + z2 / (4 * n * n)));
    return (struct interval){p, fmax(0, fmin(p, centre - half)), fmin(1, fmax(p, centre + half))};
}

/* What a unit adds to the sums of both sides; a resample only needs these. */
struct unit_sum {
    double sum[2];
    size_t n[2];
};

struct observation {
    uint32_t unit;
    int side;
    size_t index; /* keeps the order of summation fixed */
};

static int by_unit(const void *pa, const void *pb)
{
    const struct observation *a = pa, *b = pb;
    if (a->unit != b->unit)
        return a->unit < b->unit ? -1 : 1;
    if (a->side != b->side)
        return a->side - b->side;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* One entry a unit that has an observation on any of the n_sides sides.  Freed by the caller. */
static struct unit_sum *sum_by_unit(const struct stats_sample *const *side, int n_sides,
                                    size_t *n_units)
{
    size_t n = 0, i = 0;
    for (int s = 0; s < n_sides; s++)
        n += side[s]->n;
    struct observation *all = xcalloc(n + 1, sizeof *all);
    struct unit_sum *units = xcalloc(n + 1, sizeof *units);
    for (int s = 0; s < n_sides; s++)
        for (size_t k = 0; k < side[s]->n; k++)
            all[i++] = (struct observation){side[s]->unit ? side[s]->unit[k] : (uint32_t)k, s, k};
    qsort(all, n, sizeof *all, by_unit);
    *n_units = 0;
    for (i = 0; i < n; i++) {
        if (i == 0 || all[i].unit != all[i - 1].unit)
            ++*n_units;
        struct unit_sum *u = &units[*n_units - 1];
        u->sum[all[i].side] += side[all[i].side]->x[all[i].index];
        u->n[all[i].side]++;
    }
    free(all);
    return units;
}

static int by_value(const void *pa, const void *pb)
{
    double a = *(const double *)pa, b = *(const double *)pb;
    return a < b ? -1 : a > b;
}

/* The percentile interval of mean(side 0) - mean(side 1), or of mean(side 0) alone. */
static struct interval bootstrap(double value, const struct unit_sum *units, size_t n_units,
                                 int n_sides, uint32_t seed)
{
    struct interval out = {value, NAN, NAN};
    if (n_units < 2 || !isfinite(value))
        return out;
    double *means = xcalloc(STATS_RESAMPLES, sizeof *means);
    size_t n = 0;
    for (uint32_t r = 0; r < STATS_RESAMPLES; r++) {
        struct unit_sum t = {{0, 0}, {0, 0}};
        for (size_t k = 0; k < n_units; k++) {
            const struct unit_sum *u =
                &units[rng_below((uint32_t)n_units, seed, RNG_BOOTSTRAP, r, (uint32_t)k, 0, 0)];
            for (int s = 0; s < n_sides; s++) {
                t.sum[s] += u->sum[s];
                t.n[s] += u->n[s];
            }
        }
        /* A draw that left a side empty has no mean. */
        if (t.n[0] == 0 || (n_sides == 2 && t.n[1] == 0))
            continue;
        means[n++] = t.sum[0] / (double)t.n[0] - (n_sides == 2 ? t.sum[1] / (double)t.n[1] : 0);
    }
    qsort(means, n, sizeof *means, by_value);
    out.lo = stats_quantile(means, n, 0.025);
    out.hi = stats_quantile(means, n, 0.975);
    free(means);
    return out;
}

struct interval stats_bootstrap_mean(const struct stats_sample *s, uint32_t seed)
{
    size_t n_units;
    struct unit_sum *units = sum_by_unit(&s, 1, &n_units);
    struct interval out = bootstrap(stats_mean(s->x, s->n), units, n_units, 1, seed);
    free(units);
    return out;
}

struct interval stats_bootstrap_difference(const struct stats_sample *a,
                                           const struct stats_sample *b, uint32_t seed)
{
    size_t n_units;
    const struct stats_sample *sides[2] = {a, b};
    struct unit_sum *units = sum_by_unit(sides, 2, &n_units);
    double value = stats_mean(a->x, a->n) - stats_mean(b->x, b->n);
    struct interval out = bootstrap(value, units, n_units, 2, seed);
    free(units);
    return out;
}

void stats_win_rate(struct win_rate *out, const signed char *outcome, const uint32_t *unit,
                    size_t n, uint32_t seed)
{
    *out = (struct win_rate){.n = n};
    double *x = xcalloc(n + 1, sizeof *x);
    for (size_t i = 0; i < n; i++) {
        ENSURE(outcome[i] >= -1 && outcome[i] <= 1);
        out->wins += outcome[i] > 0;
        out->ties += outcome[i] == 0;
        out->losses += outcome[i] < 0;
        x[i] = 0.5 * (1 + outcome[i]);
    }
    struct stats_sample sample = {x, unit, n};
    const struct stats_sample *side = &sample;
    struct unit_sum *units = sum_by_unit(&side, 1, &out->units);
    double value = stats_mean(x, n);
    if (out->wins == n || out->ties == n || out->losses == n)
        out->rate = stats_wilson(value * (double)out->units, (double)out->units);
    else
        out->rate = bootstrap(value, units, out->units, 1, seed);
    free(units);
    free(x);
}

/* Votes of each kind, and the disagreement among them: sums over things. */
struct votes {
    double of[3], apart;
};

static double alpha_of(const struct votes *v)
{
    double n = v->of[0] + v->of[1] + v->of[2], alike = 0;
    for (int c = 0; c < 3; c++)
        alike += v->of[c] * v->of[c];
    return n > 0 && n * n > alike ? 1 - (n - 1) * v->apart / (n * n - alike) : NAN;
}

static void add_votes(struct votes *to, const struct votes *v, double times)
{
    for (int c = 0; c < 3; c++)
        to->of[c] += times * v->of[c];
    to->apart += times * v->apart;
}

struct interval stats_krippendorff(double (*count)[3], const uint32_t *unit, size_t n, uint32_t seed)
{
    uint32_t n_units = 0;
    for (size_t i = 0; i < n; i++)
        n_units = (unit ? unit[i] : (uint32_t)i) >= n_units ? (unit ? unit[i] : (uint32_t)i) + 1 : n_units;
    struct votes *units = xcalloc(n_units + 1, sizeof *units), all = {0};
    for (size_t i = 0; i < n; i++) {
        double m = count[i][0] + count[i][1] + count[i][2], alike = 0;
        for (int c = 0; c < 3; c++)
            alike += count[i][c] * count[i][c];
        if (m < 2)
            continue;
        const struct votes own = {{count[i][0], count[i][1], count[i][2]}, (m * m - alike) / (m - 1)};
        add_votes(&units[unit ? unit[i] : i], &own, 1);
    }
    size_t used = 0; /* units that say something */
    for (uint32_t u = 0; u < n_units; u++)
        if (units[u].of[0] + units[u].of[1] + units[u].of[2] > 0) {
            units[used] = units[u];
            add_votes(&all, &units[used++], 1);
        }
    struct interval out = {alpha_of(&all), NAN, NAN};
    double *values = xcalloc(STATS_RESAMPLES, sizeof *values);
    size_t known = 0;
    for (uint32_t r = 0; used > 1 && isfinite(out.value) && r < STATS_RESAMPLES; r++) {
        struct votes drawn = {0};
        for (size_t k = 0; k < used; k++)
            add_votes(&drawn, &units[rng_below((uint32_t)used, seed, RNG_BOOTSTRAP, r, (uint32_t)k, 0, 0)], 1);
        double alpha = alpha_of(&drawn);
        if (isfinite(alpha)) /* a draw of nothing but one answer has none */
            values[known++] = alpha;
    }
    qsort(values, known, sizeof *values, by_value);
    if (known) {
        out.lo = stats_quantile(values, known, 0.025);
        out.hi = stats_quantile(values, known, 0.975);
    }
    free(values);
    free(units);
    return out;
}

static int bin_of(double p)
{
    int b = 0;
    while (b + 1 < STATS_BINS && p > (b + 1) / (double)STATS_BINS)
        b++;
    return b;
}

int stats_calibration(struct calibration *out, const double *p, const double *outcome, size_t n,
                      struct err *err)
{
    if (n == 0)
        return err_set(err, "no probabilities to hold against outcomes: give at least one row");
    double sum_p[STATS_BINS] = {0}, sum_outcome[STATS_BINS] = {0}, brier = 0;
    size_t count[STATS_BINS] = {0};
    for (size_t i = 0; i < n; i++) {
        if (!(p[i] >= 0 && p[i] <= 1) || !(outcome[i] >= 0 && outcome[i] <= 1))
            return err_set(err,
                           "row %zu: probability %g and outcome %g must both be between 0 and 1",
                           i + 1, p[i], outcome[i]);
        int b = bin_of(p[i]);
        sum_p[b] += p[i];
        sum_outcome[b] += outcome[i];
        count[b]++;
        brier += (p[i] - outcome[i]) * (p[i] - outcome[i]);
    }
    *out = (struct calibration){.n = n, .brier = brier / (double)n};
    for (int b = 0; b < STATS_BINS; b++) {
        double k = (double)count[b];
        out->bin[b].n = count[b];
        out->bin[b].mean_p = count[b] ? sum_p[b] / k : NAN;
        out->bin[b].share = stats_wilson(sum_outcome[b], k);
        out->ece += fabs(sum_p[b] - sum_outcome[b]) / (double)n;
    }
    return 0;
}

struct interval stats_bootstrap_ece(const double *p, const double *outcome, const uint32_t *unit, size_t n,
                                    uint32_t seed)
{
    struct observation *all = xcalloc(n + 1, sizeof *all);
    size_t *start = xmalloc((n + 1) * sizeof *start), units = 0, kept = 0;
    int *bin = xmalloc((n + 1) * sizeof *bin);
    double *ece = xcalloc(STATS_RESAMPLES + 1, sizeof *ece);
    for (size_t i = 0; i < n; i++) {
        all[i] = (struct observation){unit ? unit[i] : (uint32_t)i, 0, i};
        bin[i] = bin_of(p[i]);
    }
    qsort(all, n, sizeof *all, by_unit);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || all[i].unit != all[i - 1].unit)
            start[units++] = i;
    start[units] = n;
    /* the first draw is every unit once: the value itself */
    for (uint32_t r = 0; n && r <= STATS_RESAMPLES; r++) {
        double gap[STATS_BINS] = {0}, sum = 0;
        size_t count = 0;
        for (size_t k = 0; k < units; k++) {
            size_t u = r ? rng_below((uint32_t)units, seed, RNG_BOOTSTRAP, r - 1, (uint32_t)k, 0, 0) : k;
            for (size_t i = start[u]; i < start[u + 1]; i++, count++)
                gap[bin[all[i].index]] += p[all[i].index] - outcome[all[i].index];
        }
        for (int b = 0; b < STATS_BINS; b++)
            sum += fabs(gap[b]);
        ece[kept++] = sum / (double)count;
    }
    struct interval out = {n ? ece[0] : NAN, NAN, NAN};
    if (units > 1) {
        qsort(ece + 1, kept - 1, sizeof *ece, by_value);
        out.lo = fmax(0, fmin(out.value, 2 * out.value - stats_quantile(ece + 1, kept - 1, 0.975)));
        out.hi = fmin(1, fmax(out.value, 2 * out.value - stats_quantile(ece + 1, kept - 1, 0.025)));
    }
    free(all);
    free(start);
    free(bin);
    free(ece);
    return out;
}
