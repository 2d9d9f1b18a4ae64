/* Root-mean-square normalisation (Zhang and Sennrich 2019): y = (x s) w, s = 1 / sqrt(mean(x^2) + eps). */
#ifndef HONE_NN_RMSNORM_H
#define HONE_NN_RMSNORM_H

#include <stddef.h>

/* x, y (rows, n); s (rows), out: kept for the backward. */
void rmsnorm_forward(float *y, float *s, const float *x, const float *w, float eps, size_t rows, size_t n);

/* dx += ..; dw += .. where it is not NULL.  With g = w dy: dx = s g - x s^3 mean(g x). */
void rmsnorm_backward(float *dx, float *dw, const float *dy, const float *x, const float *w, const float *s, size_t rows,
                      size_t n);

/* y again, from the kept scales. */
void rmsnorm_apply(float *y, const float *x, const float *w, const float *s, size_t rows, size_t n);

#endif
