#include "nn/rmsnorm.h"

#include <math.h>

#include "kernel/kernel.h"

void rmsnorm_forward(float *y, float *s, const float *x, const float *w, float eps, size_t rows, size_t n)
{
    const struct kernel *k = kernel();
#pragma omp parallel for schedule(static) if (rows > 8)
    for (size_t r = 0; r < rows; r++) {
        s[r] = 1.0f / sqrtf(k->dot(x + r * n, x + r * n, n) / (float)n + eps);
        k->norm_scale(y + r * n, x + r * n, s[r], w, n);
    }
}

void rmsnorm_apply(float *y, const float *x, const float *w, const float *s, size_t rows, size_t n)
{
    const struct kernel *k = kernel();
#pragma omp parallel for schedule(static) if (rows > 8)
    for (size_t r = 0; r < rows; r++)
        k->norm_scale(y + r * n, x + r * n, s[r], w, n);
}

void rmsnorm_backward(float *dx, float *dw, const float *dy, const float *x, const float *w, const float *s, size_t rows,
                      size_t n)
{
    const struct kernel *k = kernel();
#pragma omp parallel for schedule(static) if (rows > 8)
    for (size_t r = 0; r < rows; r++) {
        size_t at = r * n;
        float c = s[r] * s[r] * s[r] / (float)n * k->dot3(x + at, w, dy + at, n);
        k->norm_backward(dx + at, dy + at, x + at, w, s[r], c, n);
    }
    if (dw)
        for (size_t r = 0; r < rows; r++) /* in the order of the rows: micro-batches in turn give the same bits */
            k->norm_backward_weight(dw, dy + r * n, x + r * n, s[r], n);
}
