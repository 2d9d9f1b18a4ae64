#include "model/ood.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "util/cholesky.h"
#include "util/mem.h"

/* Standardise z (n, width) by its own mean and deviation, which are out.  -1: all rows are the same. */
static int standardise(double *z, size_t n, size_t width, double *mean, double *deviation)
{
    double largest = 0;
    for (size_t j = 0; j < width; j++) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < n; i++)
            sum += z[i * width + j];
        mean[j] = sum / (double)n;
        for (size_t i = 0; i < n; i++) {
            double d = z[i * width + j] -= mean[j];
            squares += d * d;
        }
        deviation[j] = sqrt(squares / (double)n);
        largest = fmax(largest, deviation[j]);
    }
    if (!(largest > 0) || !isfinite(largest))
        return -1;
    for (size_t j = 0; j < width; j++) { /* a number that never changes would be a wall */
        deviation[j] = fmax(deviation[j], 1e-6 * largest);
        for (size_t i = 0; i < n; i++)
            z[i * width + j] /= deviation[j];
    }
    return 0;
}

/* r (width, width) <- the lower triangle of z^T z / n, shrunk to its mean variance; returns Ledoit and Wolf's s. */
static double shrunk(double *r, const double *z, size_t n, size_t width)
{
    double trace = 0, squares = 0, fourth = 0, own = 0;
#pragma omp parallel for schedule(dynamic, 8)
    for (size_t a = 0; a < width; a++) {
        double *row = r + a * width;
        memset(row, 0, width * sizeof *row);
        for (size_t i = 0; i < n; i++) {
            double x = z[i * width + a];
            for (size_t b = 0; b <= a; b++)
                row[b] += x * z[i * width + b];
        }
        for (size_t b = 0; b <= a; b++)
            row[b] /= (double)n;
    }
    for (size_t a = 0; a < width; a++) {
        trace += r[a * width + a];
        for (size_t b = 0; b <= a; b++)
            squares += (a == b ? 1 : 2) * r[a * width + b] * r[a * width + b];
    }
    for (size_t i = 0; i < n; i++) {
        own = 0;
        for (size_t j = 0; j < width; j++)
            own += z[i * width + j] * z[i * width + j];
        fourth += own * own;
    }
    double variance = trace / (double)width;
    double away = squares - variance * trace;                  /* |R - variance 1|^2 */
    double noise = (fourth / (double)n - squares) / (double)n; /* of R around the truth */
    double s = away > 0 ? fmin(1, fmax(0, noise / away)) : 1;
    for (size_t a = 0; a < width; a++)
        for (size_t b = 0; b <= a; b++)
            r[a * width + b] = (1 - s) * r[a * width + b] + (a == b ? s * variance : 0);
    return s;
}

int ood_fit(struct ood *o, const float *h, size_t n, size_t width, struct err *err)
{
    *o = (struct ood){0};
    if (n < OOD_LEAST)
        return err_set(err, "%zu texts are too few to know what is out of distribution: it takes %d", n, OOD_LEAST);
    double *z = mem_block(n, width * sizeof *z, "hidden states", err), *r = NULL, *inverse = NULL;
    double *mean = xcalloc(2 * width, sizeof *mean), *deviation = mean + width;
    int rc = z ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < n * width; i++)
        z[i] = (double)h[i];
    if (rc == 0 && standardise(z, n, width, mean, deviation))
        rc = err_set(err, "the hidden states of all %zu texts are the same, or not finite: they tell nothing apart", n);
    if (rc == 0 && !(r = mem_block(width, width * sizeof *r, "a covariance", err)))
        rc = -1;
    if (rc == 0) {
        o->shrinkage = shrunk(r, z, n, width);
        if (cholesky(r, width))
            rc = err_set(err, "the covariance of %zu hidden states has no inverse", n);
    }
    if (rc == 0 && !(inverse = mem_block(width, width * sizeof *inverse, "a covariance", err)))
        rc = -1;
    if (rc == 0)
        o->whitener = mem_block(width, width * sizeof *o->whitener, "a covariance", err);
    rc = rc == 0 && o->whitener ? 0 : -1;
    if (rc == 0) {
        cholesky_inverse(inverse, r, width);
        o->width = width;
        o->mean = mem_block(width, sizeof *o->mean, "a mean", err);
        rc = o->mean ? 0 : -1;
        for (size_t a = 0; rc == 0 && a < width; a++) {
            o->mean[a] = (float)mean[a];
            for (size_t b = 0; b <= a; b++)
                o->whitener[a * width + b] = (float)(inverse[a * width + b] / deviation[b]);
        }
    }
    mem_block_free(z);
    mem_block_free(r);
    mem_block_free(inverse);
    free(mean);
    if (rc)
        ood_release(o);
    return rc;
}

int ood_cross_fit(double *distance, const float *h, const size_t *fold, size_t n, size_t width, struct err *err)
{
    float *others = mem_block(n, width * sizeof *others, "hidden states", err);
    int rc = others ? 0 : -1;
    for (size_t f = 0; rc == 0 && f < OOD_FOLDS; f++) {
        size_t used = 0;
        struct ood o;
        for (size_t i = 0; i < n; i++)
            if (fold[i] != f)
                memcpy(others + used++ * width, h + i * width, width * sizeof *h);
        if (used == n)
            continue;
        rc = ood_fit(&o, others, used, width, err);
        for (size_t i = 0; rc == 0 && i < n; i++)
            if (fold[i] == f)
                distance[i] = ood_distance(&o, h + i * width);
        ood_release(&o);
    }
    mem_block_free(others);
    return rc;
}

double ood_distance(const struct ood *o, const float *h)
{
    double squares = 0;
    for (size_t a = 0; a < o->width; a++) {
        const float *row = o->whitener + a * o->width;
        double sum = 0;
        for (size_t b = 0; b <= a; b++)
            sum += (double)row[b] * ((double)h[b] - (double)o->mean[b]);
        squares += sum * sum;
    }
    return sqrt(squares);
}

void ood_release(struct ood *o)
{
    mem_block_free(o->mean);
    mem_block_free(o->whitener);
    *o = (struct ood){0};
}
