/* A low-rank adapter beside a linear layer (Hu et al. 2021, "LoRA"): y += s (x A^T) B^T.
 *
 * It is added to the base's finished output, so that with B = 0 the bits are the base's. */
#ifndef HONE_NN_LORA_H
#define HONE_NN_LORA_H

#include <stddef.h>

struct lora {
    const float *a, *b; /* (rank, in), (out, rank); a NULL: no adapter here */
    float *da, *db;     /* gradients, summed into; NULL where not trained */
    size_t in, out, rank;
    float scale; /* alpha / rank */
};

/* t (rows, rank), out: x A^T, kept for the backward. */
void lora_forward(float *y, float *t, const float *x, const struct lora *l, size_t rows);

/* dx += the adapter's part (dx may be NULL: not wanted); da, db += theirs. */
void lora_backward(float *dx, const float *dy, const float *x, const float *t, const struct lora *l, size_t rows);

#endif
