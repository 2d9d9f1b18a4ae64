/* A panel of a stored weight's matrix (kernel.h), kept in about the bytes that it is stored in (Q6_K: 1.25 a weight for 0.82).
 *
 * A product wants the same k of 32 rows side by side; files hold a row's k one after the other.  A packed panel has the
 * stored numbers turned round once, so that unpacking it is a straight run (kernel()->unpack): for each k
 *
 *     F16, BF16          32 numbers of two bytes
 *     F32                32 floats: nothing is left to unpack
 *
 * and for the other types, for each 32 k, first 32 scales d as floats, a column each (Q4_1: then 32 minima m; Q6_K: 32 of
 * d scale for the first 16 k, and 32 for the others), and then for each k
 *
 *     Q4_0, Q4_1         16 bytes: byte j has q of column j in its low four bits, of column j + 16 above
 *     Q8_0               32 int8: q
 *     Q6_K               32 int8: q - 32
 *
 * The floats that come out are dtype_unpack()'s, bit for bit. */
#ifndef HONE_KERNEL_PANEL_H
#define HONE_KERNEL_PANEL_H

#include "kernel/dtype.h"

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
