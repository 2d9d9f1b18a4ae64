/* A panel of a stored weight's matrix (kernel.h), kept in about the bytes that it is stored in (at most an eighth of a byte a weight more;
 * Q6_K: 1.25 for 0.82).
 *
 * A product wants the same k of 32 rows side by side; files hold a row's k one after the other.  A packed panel has the
 * stored numbers turned round once, so that unpacking it is a straight run (kernel()->unpack): for each k
 *
 *     F16, BF16          32 numbers of two bytes
 *     F32                32 floats: nothing is left to unpack
 *
 * and for the other types, for each 32 k, first a head, each part of which has an entry for each of the 32 columns,
 *
 *     Q4_0, Q5_0, IQ4_NL, Q8_0    d as floats
 *     Q4_1, Q5_1                  d, then m, as floats
 *     Q6_K                        d scale of the first 16 k, then of the others, as floats
 *     Q2_K                        d, dmin: F16; then for the first 16 k, and for the others, a byte of scale and min as stored
 *     Q3_K                        d: F16; then scale - 32 of the first 16 k, and of the others: int8
 *     Q4_K, Q5_K                  d, dmin: F16; scale, min: a byte each
 *
 * and then for each k the bits of q, the lower ones first (Q3_K: two and one, the five-bit types: four and one),
 *
 *     one bit            4 bytes: bit c is column c's
 *     two bits           8 bytes: bits 2 c and 2 c + 1 of the 64 are column c's
 *     four bits          16 bytes: byte j has column j's in its low four bits, column j + 16's above
 *     eight bits         32 int8: Q8_0's q, Q6_K's q - 32
 *
 * The floats that come out are dtype_unpack()'s, bit for bit. */
#ifndef HONE_KERNEL_PANEL_H
#define HONE_KERNEL_PANEL_H

#include "kernel/dtype.h"

/* Bytes of what 32 k share, and of each of them. */
struct panel_shape {
    size_t head, row;
};

static inline struct panel_shape panel_shape(enum dtype type)
{
    switch (type) {
    case DTYPE_F16:
    case DTYPE_BF16:
        return (struct panel_shape){0, 2 * 32};
    case DTYPE_Q4_0:
    case DTYPE_IQ4_NL:
        return (struct panel_shape){4 * 32, 16};
    case DTYPE_Q4_1:
        return (struct panel_shape){8 * 32, 16};
    case DTYPE_Q5_0:
        return (struct panel_shape){4 * 32, 16 + 4};
    case DTYPE_Q5_1:
        return (struct panel_shape){8 * 32, 16 + 4};
    case DTYPE_Q8_0:
        return (struct panel_shape){4 * 32, 32};
    case DTYPE_Q6_K:
        return (struct panel_shape){8 * 32, 32};
    case DTYPE_Q2_K:
        return (struct panel_shape){(2 + 2 + 2) * 32, 8};
    case DTYPE_Q3_K:
        return (struct panel_shape){(2 + 2) * 32, 8 + 4};
    case DTYPE_Q4_K:
        return (struct panel_shape){(2 + 2 + 2) * 32, 16};
    case DTYPE_Q5_K:
        return (struct panel_shape){(2 + 2 + 2) * 32, 16 + 4};
    case DTYPE_F32:
    case DTYPE_COUNT:
        break;
    }
    return (struct panel_shape){0, 4 * 32};
}

/* Bytes of a packed panel of k rows of 32; k is a multiple of the type's block. */
size_t panel_bytes(enum dtype type, size_t k);

/* Where in it the numbers from k on begin, which can be unpacked by themselves; k is a multiple of 32. */
size_t panel_offset(enum dtype type, size_t k);

/* rows: the 32 stored rows of the matrix that become columns; NULL: zeros.  k: numbers of each.  `to` is 4-byte aligned. */
void panel_pack(void *to, enum dtype type, const void *const rows[32], size_t k);

/* Whether a packed panel is one of plain floats. */
static inline int panel_is_plain(enum dtype type)
{
    return type == DTYPE_F32;
}

#endif
