/* The types that weights are stored in, and how each becomes floats.
 *
 * A block type packs `block` neighbouring weights of a row into `bytes` bytes; the others have
 * blocks of one.  All are little-endian.  The layouts, with offsets in bytes:
 *
 *   F32    a float         F16    an IEEE half         BF16   the upper half of a float
 *
 *   Q4_0   0    d: F16     weight = d (q - 8)
 *          2    16 bytes: byte j has q of weight j in its low four bits, of weight j + 16 above
 *
 *   Q4_1   0    d: F16     weight = d q + m
 *          2    m: F16
 *          4    16 bytes, as in Q4_0
 *
 *   Q8_0   0    d: F16     weight = d q
 *          2    32 int8: q
 *
 *   Q6_K   0    128 bytes ql: the low four bits of q        weight = d scale (q - 32)
 *          128  64 bytes qh: the upper two bits of q
 *          192  16 int8: the scale of weights 0..15, 16..31, ..
 *          208  d: F16
 *          Each half of the 256 weights has 64 bytes of ql and 32 of qh; its weight, for j < 32,
 *            j        has  ql[j] low,       qh[j] bits 0 and 1
 *            j + 32   has  ql[j + 32] low,  qh[j] bits 2 and 3
 *            j + 64   has  ql[j] high,      qh[j] bits 4 and 5
 *            j + 96   has  ql[j + 32] high, qh[j] bits 6 and 7
 *
 * Every product above is exact in a float (11 + 7 + 5 bits at most), so the only rounding is Q4_1's
 * one addition: the floats are the same on every machine, with or without fused multiply-adds. */
#ifndef HONE_KERNEL_DTYPE_H
#define HONE_KERNEL_DTYPE_H

#include <stddef.h>
#include <stdint.h>

enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_Q4_0,
    DTYPE_Q4_1,
    DTYPE_Q8_0,
    DTYPE_Q6_K,
    DTYPE_COUNT
};

struct dtype_info {
    const char *name;
    size_t block; /* weights in a block */
    size_t bytes; /* bytes of a block */
};
extern const struct dtype_info dtype_table[DTYPE_COUNT];

/* Bytes of n weights.  n is a multiple of the block, and the bytes fit a size_t. */
size_t dtype_row_bytes(enum dtype type, size_t n);

/* out[0..n) = the weights first .. first+n-1 of a stored row, which may stand at any address.  For
 * block types first and n are multiples of the block.  Rows that follow each other may be read as
 * one. */
void dtype_unpack(enum dtype type, float *out, const void *row, size_t first, size_t n);

/* One half as a float: exact, subnormals, infinities and NaN's bits too. */
float dtype_f16(uint16_t half);

#endif
