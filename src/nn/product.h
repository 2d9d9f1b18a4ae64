/* Matrix products, several side by side: what linear layers, adapters, their gradients and the output projection are
 * made of.
 *
 *     y = (start + sum over terms of x_t W_t) scale
 *
 * Each element of y is one chain of fused multiply-adds: it begins with start's, then goes through term after term, each
 * over k in order (kernel.h).  Threads take panels of columns, and stretches of rows where there are few of those; x is
 * packed once for all the panels that it goes through, where it lies badly for the nearest cache. */
#ifndef HONE_NN_PRODUCT_H
#define HONE_NN_PRODUCT_H

#include <stdbool.h>

#include "nn/weight.h"

struct term {
    const float *x; /* element (r, k) at x[r * x_row + k * x_col] */
    size_t x_row, x_col;
    struct weight w;
    bool turned; /* false: times the transpose of w, so that columns are its outputs; true: times w, columns its inputs */
};

#define PRODUCT_TERMS 6

struct product {
    float *y;           /* (rows, columns), rows y_ld apart */
    const float *start; /* as y, or y itself; NULL: zeros */
    size_t y_ld, rows, columns;
    float scale; /* 0: none */
    struct term terms[PRODUCT_TERMS];
    size_t n_terms;
};

/* No product may read what another one writes. */
void products_run(const struct product *p, size_t n);

/* Terms: x W^T; dy W; and dy^T x, whose k are the rows that both have. */
struct term term_forward(const float *x, const struct weight *w);
struct term term_backward(const float *dy, const struct weight *w);
struct term term_weight(const float *dy, size_t dy_ld, const float *x, size_t rows, size_t in);

#endif
