#include "nn/norm.h"

#include <math.h>
#include <string.h>

#include "kernel/kernel.h"
#include "nn/scratch.h"

/* What x is multiplied by: w, or in the caller's `unit` n floats of 1 + w. */
static const float *factors(float *unit, const struct norm *norm)
{
    if (!norm->unit)
        return norm->w;
    for (size_t i = 0; i < norm->n; i++)
        unit[i] = 1.0f + norm->w[i];
    return unit;
}

/* x - m of a LayerNorm's row, in this thread's scratch; x itself otherwise. */
static const float *centred(const float *x, const struct norm *norm, float m)
{
    if (!norm->shift)
        return x;
    float *c = scratch(SCRATCH_NORM, 2 * norm->n);
    for (size_t i = 0; i < norm->n; i++)
        c[i] = x[i] - m;
    return c;
}

/* In the order that all sums over a row have. */
static float mean(const float *x, size_t n)
{
    float *ones = scratch(SCRATCH_ONES, n);
    for (size_t i = 0; i < n; i++)
        ones[i] = 1;
    return kernel()->dot(x, ones, n) / (float)n;
}

static void apply_row(float *y, const float *c, const struct norm *norm, const float *w, float s)
{
    kernel()->norm_scale(y, c, s, w, norm->n);
    if (norm->shift)
        kernel()->add(y, norm->shift, norm->n);
}

void norm_forward(float *y, float *stats, const float *x, const struct norm *norm, size_t rows)
{
    size_t n = norm->n;
    const float *w = factors(scratch(SCRATCH_UNIT, n), norm);
#pragma omp parallel for schedule(static) if (rows > 8)
    for (size_t r = 0; r < rows; r++) {
        float *s = stats + 2 * r;
        s[1] = norm->shift ? mean(x + r * n, n) : 0;
        const float *c = centred(x + r * n, norm, s[1]);
        s[0] = 1.0f / sqrtf(kernel()->dot(c, c, n) / (float)n + norm->eps);
        apply_row(y + r * n, c, norm, w, s[0]);
    }
}

void norm_apply(float *y, const float *x, const struct norm *norm, const float *stats, size_t rows)
{
    size_t n = norm->n;
    const float *w = factors(scratch(SCRATCH_UNIT, n), norm);
#pragma omp parallel for schedule(static) if (rows > 8)
    for (size_t r = 0; r < rows; r++)
        apply_row(y + r * n, centred(x + r * n, norm, stats[2 * r + 1]), norm, w, stats[2 * r]);
}

void norm_backward(float *dx, float *dw, float *dshift, const float *dy, const float *x, const struct norm *norm, const float *stats,
                   size_t rows)
{
    const struct kernel *k = kernel();
    size_t n = norm->n;
    const float *w = factors(scratch(SCRATCH_UNIT, n), norm);
#pragma omp parallel for schedule(static) if (rows > 8)
    for (size_t r = 0; r < rows; r++) {
        const float *row = centred(x + r * n, norm, stats[2 * r + 1]), *d = dy + r * n;
        float s = stats[2 * r], c = s * s * s / (float)n * k->dot3(row, w, d, n);
        if (!norm->shift) {
            k->norm_backward(dx + r * n, d, row, w, s, c, n);
            continue;
        }
        float *own = scratch(SCRATCH_NORM, 2 * n) + n; /* row is the first half */
        memset(own, 0, n * sizeof *own);
        k->norm_backward(own, d, row, w, s, c, n);
        float middle = mean(own, n);
        for (size_t i = 0; i < n; i++)
            dx[r * n + i] += own[i] - middle;
    }
    /* in the order of the rows: micro-batches in turn give the same bits */
    for (size_t r = 0; dw && r < rows; r++)
        k->norm_backward_weight(dw, dy + r * n, centred(x + r * n, norm, stats[2 * r + 1]), stats[2 * r], n);
    for (size_t r = 0; dshift && r < rows; r++)
        k->add(dshift, dy + r * n, n);
}
