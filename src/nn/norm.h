/* Normalisation of rows, in the forms that models have:
 *
 *     y = (x s) w,                s = 1 / sqrt(mean(x^2) + eps)        root mean square (Zhang and Sennrich 2019)
 *     y = (x s) (1 + w)           the same with `unit` (Gemma)
 *     y = ((x - m) s) w + shift,  m = mean(x), s of x - m              LayerNorm (Ba et al. 2016, arXiv:1607.06450) */
#ifndef HONE_NN_NORM_H
#define HONE_NN_NORM_H

#include <stdbool.h>
#include <stddef.h>

struct norm {
    const float *w;     /* (n) */
    const float *shift; /* (n): it is a LayerNorm; NULL: it is not */
    float eps;
    bool unit;
    size_t n;
};

/* x, y (rows, n); stats (rows, 2), out: s and m, kept for the backward. */
void norm_forward(float *y, float *stats, const float *x, const struct norm *norm, size_t rows);

/* dx += ..; dw, dshift += .. where they are not NULL.  With g = w dy: dx = s g - x s^3 mean(g x), for a LayerNorm of x - m and less its
 * mean. */
void norm_backward(float *dx, float *dw, float *dshift, const float *dy, const float *x, const struct norm *norm, const float *stats,
                   size_t rows);

/* y again, from the kept statistics. */
void norm_apply(float *y, const float *x, const struct norm *norm, const float *stats, size_t rows);

#endif
