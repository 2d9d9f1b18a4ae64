#include "util/calibrate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "util/mem.h"

const char *const calibration_names[] = {"none", "temperature", "isotonic", NULL};

static double sigmoid(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

/* Mean |x|, or -1 with a sentence. */
static double mean_lead(const double *x, const double *outcome, size_t n, struct err *err)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i]) || (outcome[i] != 0 && outcome[i] != 1))
            return err_set(err, "pair %zu: lead %g, outcome %g: a lead must be finite, an outcome 0 or 1", i + 1, x[i], outcome[i]);
        sum += fabs(x[i]);
    }
    return sum > 0 ? sum / (double)n : err_set(err, "no answer leads another: there is nothing to calibrate");
}

int calibrate_temperature(double *temperature, const double *x, const double *outcome, size_t n, struct err *err)
{
    double mean = mean_lead(x, outcome, n, err);
    if (mean < 0)
        return -1;
    /* the log-likelihood is concave in 1 / T, so its derivative has one zero: halve the range of log(1 / T) */
    double lo = log(1e-3 / mean), hi = log(1e3 / mean);
    for (int step = 0; step < 100; step++) {
        double middle = (lo + hi) / 2, b = exp(middle), slope = -mean * sigmoid(b * mean);
        for (size_t i = 0; i < n; i++) {
            double lead = outcome[i] > 0 ? x[i] : -x[i]; /* of the better answer */
            slope += lead * sigmoid(-b * lead);
        }
        if (slope > 0)
            lo = middle;
        else
            hi = middle;
    }
    *temperature = exp(-(lo + hi) / 2);
    return 0;
}

/* A step: pairs whose leads are next to each other. */
struct step {
    double x, right; /* sums */
    double n;
};

static int by_x(const void *a, const void *b)
{
    double x = ((const struct step *)a)->x, y = ((const struct step *)b)->x;
    return (x > y) - (x < y);
}

static double height(const struct step *s)
{
    return s->right / s->n;
}

static void merge(struct step *to, const struct step *from)
{
    to->x += from->x;
    to->right += from->right;
    to->n += from->n;
}

/* Join the neighbours that differ least until there are few enough. */
static size_t fewer(struct step *s, size_t n, size_t most)
{
    for (; n > most; n--) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (height(&s[i + 1]) - height(&s[i]) < height(&s[best + 1]) - height(&s[best]))
                best = i;
        merge(&s[best], &s[best + 1]);
        memmove(&s[best + 1], &s[best + 2], (n - best - 2) * sizeof *s);
    }
    return n;
}

int calibrate_isotonic(struct calibrator *c, const double *x, const double *outcome, size_t n, struct err *err)
{
    if (mean_lead(x, outcome, n, err) < 0)
        return -1;
    struct step *s = xmalloc(n * sizeof *s);
    for (size_t i = 0; i < n; i++)
        s[i] = (struct step){fabs(x[i]), x[i] == 0 ? 0.5 : (x[i] > 0) == (outcome[i] > 0), 1};
    qsort(s, n, sizeof *s, by_x);
    size_t used = 0;
    for (size_t i = 0; i < n; used++) {
        struct step all = s[i]; /* equal leads are one step, whatever their order */
        for (double lead = s[i++].x; i < n && s[i].x == lead; i++)
            merge(&all, &s[i]);
        s[used] = all;
        for (; used && height(&s[used - 1]) >= height(&s[used]); used--)
            merge(&s[used - 1], &s[used]);
    }
    c->n_knots = fewer(s, used, CALIBRATOR_KNOTS);
    for (size_t i = 0; i < c->n_knots; i++) {
        c->x[i] = s[i].x / s[i].n;
        c->p[i] = fmin(fmax(height(&s[i]), 0.5), 1 - 1 / ((double)n + 2));
    }
    free(s);
    return 0;
}

/* P for a lead x >= 0: 0.5 at 0, then from knot to knot, as the last one from there on. */
static double on_steps(const struct calibrator *c, double x)
{
    double x0 = 0, p0 = 0.5;
    for (size_t i = 0; i < c->n_knots; i++) {
        if (x < c->x[i])
            return p0 + (c->p[i] - p0) * (x - x0) / (c->x[i] - x0);
        x0 = c->x[i];
        p0 = c->p[i];
    }
    return p0;
}

double calibrated(const struct calibrator *c, double x, const char *group)
{
    for (size_t g = 0; group && g < c->n_groups; g++)
        if (!strcmp(c->group[g].name, group))
            return sigmoid(x / c->group[g].temperature);
    if (c->n_knots)
        return x >= 0 ? on_steps(c, x) : 1 - on_steps(c, -x);
    return sigmoid(x / c->temperature);
}
