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
 *   Q5_0   0    d: F16     weight = d (q - 16)
 *          2    4 bytes: bit j of the 32 is the fifth bit of weight j's q
 *          6    16 bytes, as in Q4_0: the low four
 *
 *   Q5_1   0    d: F16     weight = d q + m
 *          2    m: F16
 *          4    20 bytes, as in Q5_0
 *
 *   IQ4_NL 0    18 bytes, as in Q4_0       weight = d value[q], of dtype_nl_values
 *
 *   Q2_K   0    16 bytes, one for weights 16 i .. 16 i + 15: scale in the low four bits, min above
 *          16   64 bytes: q            weight = d scale q - dmin min
 *          80   d: F16
 *          82   dmin: F16
 *          Byte j of the 32 that belong to a half of the 256 weights has q of the half's weight j in
 *          bits 0 and 1, of j + 32 in bits 2 and 3, of j + 64 and of j + 96 above.
 *
 *   Q3_K   0    32 bytes: bit i of byte j is the third bit of weight 32 i + j's q
 *          32   64 bytes, as in Q2_K: its lower two bits      weight = d (scale - 32) (q - 4)
 *          96   12 bytes: 16 scales of six bits for 16 weights each; byte i % 8 has the low four
 *               bits of scale i, its upper half for i >= 8; byte 8 + i % 4 has the other two, from
 *               bit 2 (i / 4) on
 *          108  d: F16
 *
 *   Q4_K   0    d: F16                 weight = d scale q - dmin min
 *          2    dmin: F16
 *          4    12 bytes: scales and mins of six bits, for 32 weights each.  i < 4: byte i and byte
 *               4 + i have them in their lower six bits.  i >= 4: byte 4 + i has the low four bits of
 *               scale i, and of min i above; their other two are the upper bits of bytes i - 4 and i
 *          16   128 bytes: byte 32 i + j has q of weight 64 i + j in its low four bits, of 32 later
 *               above
 *
 *   Q5_K   0    16 bytes, as in Q4_K
 *          16   32 bytes: bit i of byte j is the fifth bit of weight 32 i + j's q
 *          48   128 bytes, as in Q4_K: the low four
 *
 * Every product above is exact in a float (11 + 7 + 5 bits at most), so the only rounding is that of
 * the one addition or subtraction, where there is a minimum: the floats are the same on every
 * machine, with or without fused multiply-adds. */
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
    DTYPE_Q5_0,
    DTYPE_Q5_1,
    DTYPE_IQ4_NL,
    DTYPE_Q2_K,
    DTYPE_Q3_K,
    DTYPE_Q4_K,
    DTYPE_Q5_K,
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

/* A block taken apart into the numbers that its formula has: what panels are packed from (panel.h). */
struct dtype_parts {
    uint16_t d, m;              /* as stored; m: of K-types dmin */
    uint8_t scale[16], min[16]; /* K-types: weight i has entry i / 16 (Q4_K, Q5_K: i / 32); int8 in Q6_K and, less 32, in Q3_K */
    uint8_t q[256];             /* as stored, before anything is taken off */
};
void dtype_take_apart(struct dtype_parts *out, enum dtype type, const void *block);

/* What IQ4_NL's q stand for. */
extern const int8_t dtype_nl_values[16];

/* One half as a float: exact, subnormals, infinities and NaN's bits too. */
float dtype_f16(uint16_t half);

#endif
