/* Rotary position embedding (Su et al. 2021), pairs (i, i + half) of the first 2 half numbers of each head; the rest stays as it is. */
#ifndef HONE_NN_ROPE_H
#define HONE_NN_ROPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/err.h"

struct rope {
    size_t head_dim, half, positions;
    float *cosine, *sine; /* (positions, half), owned */
};

/* inv_freq (half): the angle of pair i at position p is p * inv_freq[i], in float as the field computes it.  amplitude: of cosine and
 * sine, 1 for a rotation alone. */
int rope_init(struct rope *r, const float *inv_freq, size_t head_dim, size_t half, size_t positions, float amplitude, struct err *err);
void rope_release(struct rope *r);

/* x (rows, heads * head_dim) in place; pos (rows).  backward: of a gradient, the transposed of it. */
void rope_rotate(const struct rope *r, float *x, const int32_t *pos, size_t rows, size_t heads, bool backward);

#endif
