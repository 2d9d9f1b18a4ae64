/* Floats into the types that weights are stored in (kernel/dtype.h draws their layouts), as llama.cpp packs them:
 *
 *   F16, BF16   rounded to nearest, ties to even; what is too large becomes infinite
 *   Q8_0        d = max |x| / 127, q = x / d rounded, halves away from zero
 *   Q4_0        d = m / -8 where m is the x of largest size, with its sign; q = x / d + 8.5 cut down, at most 15
 *   Q4_1        d = (max - min) / 15, q = (x - min) / d + 0.5 cut down, at most 15
 *
 * d is rounded to F16 after the q are found. */
#ifndef HONE_KERNEL_PACK_H
#define HONE_KERNEL_PACK_H

#include <stdbool.h>

#include "kernel/dtype.h"

/* Can floats be packed into it? */
bool dtype_can_pack(enum dtype type);

/* n floats, whole blocks, into dtype_row_bytes(type, n) bytes. */
void dtype_pack(enum dtype type, void *out, const float *x, size_t n);

#endif
