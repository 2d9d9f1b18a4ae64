/* Linear layers: y = x W^T, with W (out, in), x (rows, in), y (rows, out), all row-major. */
#ifndef HONE_NN_LINEAR_H
#define HONE_NN_LINEAR_H

#include <stdbool.h>

#include "nn/weight.h"

/* y = x W^T */
void linear_forward(float *y, const float *x, const struct weight *w, size_t rows, bool accumulate);

/* dx = dy W, or dx += dy W with `accumulate` */
void linear_backward(float *dx, const float *dy, const struct weight *w, size_t rows, bool accumulate);

/* dW += dy^T x, row after row: the sum goes on from what dW holds, so that micro-batches in turn give the
 * bits of one batch (law 2). */
void linear_backward_weight(float *dw, const float *dy, const float *x, size_t rows, size_t out, size_t in);

#endif
