#include "reward/overoptimization.h"

#include <math.h>
#include <stdlib.h>

#include "util/mem.h"

/* What alpha and beta are multiplied by. */
static void terms(double *with_alpha, double *with_beta, enum gold_curve curve, double kl)
{
    double d = sqrt(fmax(kl, 0));
    *with_alpha = d;
    *with_beta = curve == GOLD_CURVE_BEST_OF_N ? -d * d : d > 0 ? -d * log(d) : 0;
}

double gold_curve_at(const struct gold_fit *fit, enum gold_curve curve, double kl)
{
    double a, b;
    terms(&a, &b, curve, kl);
    return fit->alpha * a + fit->beta * b;
}

static double peak(const struct gold_fit *fit, enum gold_curve curve)
{
    if (!(fit->beta > 0))
        return NAN;
    double d = curve == GOLD_CURVE_BEST_OF_N ? fit->alpha / (2 * fit->beta) : exp(fit->alpha / fit->beta - 1);
    return d > 0 ? d * d : 0;
}

/* The smallest error above 0; 1 where there is none. */
static double least_error(const double *std_err, size_t n)
{
    double least = INFINITY;
    for (size_t i = 0; std_err && i < n; i++)
        if (std_err[i] > 0 && std_err[i] < least)
            least = std_err[i];
    return isfinite(least) ? least : 1;
}

int gold_curve_fit(struct gold_fit *fit, enum gold_curve curve, const double *kl, const double *gold, const double *std_err, size_t n,
                   struct err *err)
{
    double least = least_error(std_err, n), aa = 0, ab = 0, bb = 0, ay = 0, by = 0;
    for (size_t i = 0; i < n; i++) {
        double a, b, e = std_err && std_err[i] > 0 ? std_err[i] : least, w = 1 / (e * e);
        if (!isfinite(kl[i]) || !isfinite(gold[i]) || !isfinite(w))
            return err_set(err, "point %zu of the gold's curve is not finite", i + 1);
        terms(&a, &b, curve, kl[i]);
        aa += w * a * a;
        ab += w * a * b;
        bb += w * b * b;
        ay += w * a * gold[i];
        by += w * b * gold[i];
    }
    double det = aa * bb - ab * ab;
    if (!(det > 1e-12 * aa * bb)) /* one direction only: the points have one d */
        return err_set(err, "%zu points do not settle the gold's curve: it takes two different distances from the start", n);
    fit->alpha = (ay * bb - by * ab) / det;
    fit->beta = (by * aa - ay * ab) / det;
    fit->peak_kl = peak(fit, curve);
    return 0;
}

double best_of_n_kl(size_t n)
{
    return log((double)n) - ((double)n - 1) / (double)n;
}

struct ranked {
    double proxy, gold;
    size_t at;
};

static int by_proxy(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->proxy != y->proxy)
        return x->proxy < y->proxy ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

void best_of_n_gold(double *mean, size_t most, const double *proxy, const double *gold, size_t k)
{
    struct ranked *list = xmalloc((k + 1) * sizeof *list);
    for (size_t i = 0; i < k; i++)
        list[i] = (struct ranked){proxy[i], gold[i], i};
    qsort(list, k, sizeof *list, by_proxy);
    for (size_t n = 1; n <= most; n++) {
        double sum = 0;
        for (size_t i = n - 1; i < k; i++) {
            /* i answers are worse: C(i, n - 1) of the C(k, n) choices have this one as their best */
            double share = (double)n / (double)k;
            for (size_t j = 1; j < n; j++)
                share *= (double)(i - j + 1) / (double)(k - j);
            sum += share * list[i].gold;
        }
        mean[n - 1] = sum;
    }
    free(list);
}
