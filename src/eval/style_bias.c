#include "eval/style_bias.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "util/cholesky.h"
#include "util/mem.h"
#include "util/rng.h"

enum { COLUMNS = 1 + STYLES }; /* the lead, then the styles */

/* A regression on some of the columns, each divided by its root mean square. */
struct table {
    size_t n, k;
    size_t column[COLUMNS]; /* (k) which */
    double scale[COLUMNS];  /* (k) */
    double *x;              /* (n, k) */
    const double *y;        /* (n) */
};

static double value_of(const struct scored_pairs *p, size_t i, size_t column)
{
    return column ? p->traits[i].style[column - 1] : p->lead[i];
}

/* The columns of the bits in `which` that vary. */
static void table_init(struct table *t, const struct scored_pairs *p, unsigned which, const double *y)
{
    *t = (struct table){.n = p->n, .y = y};
    for (size_t c = 0; c < COLUMNS; c++) {
        double squares = 0;
        for (size_t i = 0; i < p->n; i++)
            squares += value_of(p, i, c) * value_of(p, i, c);
        if (!(which >> c & 1) || !(squares > 0))
            continue;
        t->scale[t->k] = sqrt(squares / (double)p->n);
        t->column[t->k++] = c;
    }
    t->x = xcalloc(p->n * t->k + 1, sizeof *t->x);
    for (size_t i = 0; i < p->n; i++)
        for (size_t j = 0; j < t->k; j++)
            t->x[i * t->k + j] = value_of(p, i, t->column[j]) / t->scale[j];
}

static double sigmoid(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

/* Newton's method from *beta on; count: how often each pair stands (NULL: once).  The penalty is worth a pair a style, and hardly anything
 * for the lead. */
static void logistic(double *beta, const struct table *t, const double *count, int steps)
{
    size_t k = t->k;
    for (int step = 0; step < steps; step++) {
        double h[COLUMNS * COLUMNS] = {0}, g[COLUMNS] = {0}, largest = 0;
        for (size_t i = 0; i < t->n; i++) {
            const double *x = t->x + i * k;
            double z = 0, w = count ? count[i] : 1;
            if (w == 0)
                continue;
            for (size_t j = 0; j < k; j++)
                z += beta[j] * x[j];
            double p = sigmoid(z), curve = w * fmax(p * (1 - p), 1e-9);
            for (size_t j = 0; j < k; j++) {
                g[j] += w * (t->y[i] - p) * x[j];
                for (size_t l = 0; l <= j; l++)
                    h[j * k + l] += curve * x[j] * x[l];
            }
        }
        for (size_t j = 0; j < k; j++) {
            double penalty = t->column[j] ? 1 : 0.01;
            g[j] -= penalty * beta[j];
            h[j * k + j] += penalty;
        }
        if (cholesky(h, k))
            return;
        cholesky_solve(g, h, k);
        for (size_t j = 0; j < k; j++)
            largest = fmax(largest, fabs(g[j]));
        for (size_t j = 0; j < k; j++) /* never more than two at a time: far out the curve is flat */
            beta[j] += largest > 2 ? g[j] * 2 / largest : g[j];
        if (largest < 1e-10)
            return;
    }
}

/* Least squares with next to no penalty. */
static void least_squares(double *beta, const struct table *t, const double *count)
{
    size_t k = t->k;
    double h[COLUMNS * COLUMNS] = {0}, g[COLUMNS] = {0};
    for (size_t i = 0; i < t->n; i++) {
        const double *x = t->x + i * k;
        double w = count ? count[i] : 1;
        for (size_t j = 0; j < k; j++) {
            g[j] += w * t->y[i] * x[j];
            for (size_t l = 0; l <= j; l++)
                h[j * k + l] += w * x[j] * x[l];
        }
    }
    for (size_t j = 0; j < k; j++)
        h[j * k + j] += 1e-9 * (double)t->n;
    memset(beta, 0, k * sizeof *beta);
    if (cholesky(h, k) == 0) {
        cholesky_solve(g, h, k);
        memcpy(beta, g, k * sizeof *beta);
    }
}

/* ---- all that is estimated, as one list of numbers ---- */

enum { SCORE = 0, PEOPLE = STYLES, EXCESS = 2 * STYLES, EXPLAINED = 3 * STYLES, ESTIMATES };

struct tables {
    struct table score, people, both;
    double from_people[COLUMNS], from_both[COLUMNS]; /* where Newton's method starts */
};

static void keep(double *out, const struct table *t, const double *beta, double factor)
{
    for (size_t j = 0; j < t->k; j++)
        if (t->column[j])
            out[t->column[j] - 1] = factor * beta[j] / t->scale[j];
}

/* Per unit of the lead: -b / k. */
static void keep_excess(double *out, const struct table *t, const double *beta)
{
    for (size_t j = 1; t->k && t->column[0] == 0 && j < t->k; j++)
        out[t->column[j] - 1] = -(beta[j] / t->scale[j]) / (beta[0] / t->scale[0]);
}

static void estimate(double out[ESTIMATES], struct tables *t, const double *count, int steps)
{
    double beta[COLUMNS], xx = 0, xy = 0, yy = 0;
    for (size_t i = 0; i < ESTIMATES; i++)
        out[i] = NAN;
    least_squares(beta, &t->score, count);
    keep(out + SCORE, &t->score, beta, 1);
    memcpy(beta, t->from_people, sizeof beta);
    logistic(beta, &t->people, count, steps);
    keep(out + PEOPLE, &t->people, beta, 1);
    if (!count)
        memcpy(t->from_people, beta, sizeof beta);
    memcpy(beta, t->from_both, sizeof beta);
    logistic(beta, &t->both, count, steps);
    keep_excess(out + EXCESS, &t->both, beta);
    if (!count)
        memcpy(t->from_both, beta, sizeof beta);
    if (t->score.k == 0 || t->score.column[0] != 1 + STYLE_LENGTH)
        return;
    for (size_t i = 0; i < t->score.n; i++) {
        double w = count ? count[i] : 1, x = t->score.x[i * t->score.k], y = t->score.y[i];
        xx += w * x * x;
        xy += w * x * y;
        yy += w * y * y;
    }
    out[EXPLAINED] = xx > 0 && yy > 0 ? xy * xy / (xx * yy) : NAN;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The units' numbers made 0 .. *n - 1: fresh, (p->n). */
static size_t *units_of(const struct scored_pairs *p, size_t *n)
{
    size_t *unit = xmalloc((p->n + 1) * sizeof *unit), most = 0;
    for (size_t i = 0; i < p->n; i++) {
        unit[i] = p->unit ? p->unit[i] : i;
        most = unit[i] >= most ? unit[i] + 1 : most;
    }
    *n = most;
    return unit;
}

static void bootstrap(struct interval out[ESTIMATES], struct tables *t, const struct scored_pairs *p, uint32_t seed)
{
    double value[ESTIMATES], *all = xcalloc(ESTIMATES * STYLE_RESAMPLES, sizeof *all);
    size_t n_units, *unit = units_of(p, &n_units);
    double *times = xmalloc((n_units + 1) * sizeof *times), *count = xmalloc((p->n + 1) * sizeof *count);
    estimate(value, t, NULL, 50);
    for (uint32_t r = 0; r < STYLE_RESAMPLES; r++) {
        double one[ESTIMATES];
        for (size_t u = 0; u < n_units; u++)
            times[u] = 0;
        for (size_t u = 0; u < n_units; u++)
            times[rng_below((uint32_t)n_units, seed, RNG_BOOTSTRAP, r, (uint32_t)u, 0, 0)]++;
        for (size_t i = 0; i < p->n; i++)
            count[i] = times[unit[i]];
        estimate(one, t, count, 4);
        for (size_t e = 0; e < ESTIMATES; e++)
            all[e * STYLE_RESAMPLES + r] = one[e];
    }
    for (size_t e = 0; e < ESTIMATES; e++) {
        double *x = all + e * STYLE_RESAMPLES;
        bool known = isfinite(value[e]) && n_units > 1;
        if (known)
            qsort(x, STYLE_RESAMPLES, sizeof *x, by_value);
        out[e] = (struct interval){value[e], known ? stats_quantile(x, STYLE_RESAMPLES, 0.025) : NAN,
                                   known ? stats_quantile(x, STYLE_RESAMPLES, 0.975) : NAN};
    }
    free(all);
    free(unit);
    free(times);
    free(count);
}

/* What people say of each pair, as the share for a; 0.5 where nobody says anything. */
static double *shares(const struct scored_pairs *p)
{
    double *y = xmalloc((p->n + 1) * sizeof *y);
    for (size_t i = 0; i < p->n; i++) {
        const struct comparison *c = &p->label[i];
        double all = c->w_a + c->w_b + c->w_tie;
        y[i] = all > 0 ? (c->w_a + 0.5 * c->w_tie) / all : 0.5;
    }
    return y;
}

static void count_lengths(struct style_bias *out, const struct scored_pairs *p)
{
    double unlike = 0, scored = 0, decided = 0, longer = 0, right[2] = {0, 0}, of[2] = {0, 0};
    for (size_t i = 0; i < p->n; i++) {
        double more = p->traits[i].style[STYLE_LENGTH], lead = p->lead[i];
        int majority = comparison_majority(&p->label[i]);
        if (more == 0)
            continue;
        unlike++;
        scored += lead == 0 ? 0.5 : (lead > 0) == (more > 0);
        if (majority == 0)
            continue;
        int shorter = (more > 0) != (majority > 0);
        decided++;
        longer += !shorter;
        of[shorter]++;
        right[shorter] += lead == 0 ? 0.5 : (lead > 0) == (majority > 0);
    }
    out->longer_scored = stats_wilson(scored, unlike);
    out->longer_preferred = stats_wilson(longer, decided);
    out->longer_right = stats_wilson(right[0], of[0]);
    out->shorter_right = stats_wilson(right[1], of[1]);
}

int style_bias(struct style_bias *out, const struct scored_pairs *p, double temperature, uint32_t seed, struct err *err)
{
    *out = (struct style_bias){.pairs = p->n};
    struct tables t = {0};
    double *x = xmalloc((p->n + 1) * sizeof *x), *y = shares(p), squares = 0;
    struct scored_pairs logits = *p;
    for (size_t i = 0; i < p->n; i++) {
        x[i] = p->lead[i] / temperature;
        squares += x[i] * x[i];
    }
    logits.lead = x;
    int rc = squares > 0 ? 0 : err_set(err, "of %zu pairs no answer leads: style explains nothing", p->n);
    if (rc == 0) {
        struct interval all[ESTIMATES];
        const unsigned styles = ~1u;
        table_init(&t.score, &logits, styles, x);
        table_init(&t.people, &logits, styles, y);
        table_init(&t.both, &logits, ~0u, y);
        bootstrap(all, &t, &logits, seed);
        for (size_t s = 0; s < STYLES; s++)
            out->style[s] = (struct style_weights){all[SCORE + s], all[PEOPLE + s], all[EXCESS + s]};
        out->explained = all[EXPLAINED];
        count_lengths(out, p);
        free(t.score.x);
        free(t.people.x);
        free(t.both.x);
    }
    free(x);
    free(y);
    return rc;
}

/* ---- the correction ---- */

static int fit_correction(double weight[STYLES], const struct scored_pairs *p, unsigned which, const double *y, struct err *err)
{
    struct table t;
    double beta[COLUMNS] = {0}, excess[STYLES];
    table_init(&t, p, which << 1 | 1u, y);
    logistic(beta, &t, NULL, 50);
    bool helps = t.k && t.column[0] == 0 && beta[0] > 0;
    for (size_t s = 0; s < STYLES; s++)
        excess[s] = 0;
    if (helps)
        keep_excess(excess, &t, beta);
    for (size_t s = 0; s < STYLES; s++)
        weight[s] = excess[s] == 0 ? 0 : -excess[s];
    free(t.x);
    return helps ? 0
                 : err_set(err,
                           "beside style the scores say nothing of what people prefer: there is nothing to take the style off");
}

int style_correction(double weight[STYLES], double *corrected, const struct scored_pairs *p, unsigned which, uint32_t seed,
                     struct err *err)
{
    double *y = shares(p);
    uint32_t *fold_of = scored_folds(p, seed);
    int rc = fit_correction(weight, p, which, y, err);
    struct pair_traits *traits = xmalloc((p->n + 1) * sizeof *traits);
    double *lead = xmalloc((p->n + 1) * sizeof *lead), *share = xmalloc((p->n + 1) * sizeof *share);
    for (uint32_t fold = 0; rc == 0 && fold < SCORED_FOLDS; fold++) {
        double own[STYLES];
        struct scored_pairs others = {.lead = lead, .traits = traits};
        struct err ignored;
        for (size_t i = 0; i < p->n; i++)
            if (fold_of[i] != fold) {
                lead[others.n] = p->lead[i];
                traits[others.n] = p->traits[i];
                share[others.n++] = y[i];
            }
        if (fit_correction(own, &others, which, share,
                           &ignored)) /* of few pairs a fold may know nothing: it corrects nothing */
            memset(own, 0, sizeof own);
        for (size_t i = 0; i < p->n; i++)
            for (size_t s = 0; fold_of[i] == fold && s < STYLES; s++)
                corrected[i] = (s ? corrected[i] : p->lead[i]) + own[s] * p->traits[i].style[s];
    }
    free(y);
    free(fold_of);
    free(traits);
    free(lead);
    free(share);
    return rc;
}
