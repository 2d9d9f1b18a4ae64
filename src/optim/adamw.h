/* AdamW (Kingma and Ba 2015; Loshchilov and Hutter 2019), as PyTorch computes it:
 *
 *     p <- p (1 - lr wd);   m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2
 *     p <- p - lr / (1 - b1^t)  m / (sqrt(v) / sqrt(1 - b2^t) + eps)
 *
 * Moments are floats, bias corrections double. */
#ifndef HONE_OPTIM_ADAMW_H
#define HONE_OPTIM_ADAMW_H

#include <stddef.h>
#include <stdint.h>

struct adamw {
    double beta1, beta2, eps;
};

/* Step t (from 1) of n parameters, gradients first multiplied by grad_scale. */
void adamw_apply(const struct adamw *a, float *p, const float *g, float *m, float *v, size_t n, double lr,
                 double weight_decay, uint64_t t, double grad_scale);

/* Sum of squares, over fixed blocks added in order (law 2). */
double sum_of_squares(const float *g, size_t n);

/* What the gradients are multiplied by so that their norm is at most max_norm: 1 where it is, or max_norm is 0. */
double clip_scale(double norm, double max_norm);

#endif
