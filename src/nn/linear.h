/* Linear layers side by side, each perhaps with a low-rank adapter (Hu et al. 2021, "LoRA", section 4.1):
 *
 *     y = start + x W^T + s (x A^T) B^T
 *
 * with W (out, in), A (rank, in), B (out, rank), x (rows, in) and y (rows, out), all row-major.  The adapter's part is
 * added to the base's finished sum, so that with B = 0 the bits are the base's. */
#ifndef HONE_NN_LINEAR_H
#define HONE_NN_LINEAR_H

#include "nn/weight.h"

struct lora {
    const float *a, *b; /* (rank, in), (out, rank); a NULL: no adapter here */
    float *da, *db;     /* gradients, summed into; NULL where not trained */
    size_t in, out, rank;
    float scale; /* alpha / rank */
};

struct linear {
    const struct weight *w;
    struct lora lora;
    float *t; /* (rows, rank): s x A^T, which the forward leaves for the backward; unused without an adapter */
    /* forward */
    const float *start; /* (rows, out), may be y; NULL: zeros */
    float *y;
    /* backward */
    const float *dy;
    float *dw; /* (out, in), summed into; NULL where W is not trained */
};

/* How many may stand side by side. */
#define LINEARS 3

/* All layers' y from one x; n <= LINEARS. */
void linears_forward(const struct linear *l, size_t n, const float *x, size_t rows);

/* dx = the sum of the layers' parts, layer after layer (NULL: not wanted); dw, da, db += theirs, each a chain that goes on
 * from what is there, row after row, so that micro-batches in turn give the bits of one batch (law 2). */
void linears_backward(float *dx, const struct linear *l, size_t n, const float *x, size_t rows);

#endif
