/* A matrix (out, in) of a linear layer, in whatever form it is stored.
 *
 * weight_tile() is the one way to its values for arithmetic: 32 columns of the product at a time, as a panel
 * that kernel()->gemm takes.  Forward (x times the transpose) the panel is [in][32], for outputs 32 j ..;
 * backward (dy times the matrix) it is [rows][32], for inputs 32 j ... .  Panels are unpacked into the thread's scratch,
 * from the stored blocks or, quicker, from packed panels (weight_pack): callers cannot tell.  Once a matrix is packed its
 * stored blocks are read only for single rows, and for backward tiles whose first row is not a panel's. */
#ifndef HONE_NN_WEIGHT_H
#define HONE_NN_WEIGHT_H

#include <stddef.h>

#include "kernel/dtype.h"
#include "kernel/kernel.h"
#include "kernel/panel.h"
#include "util/err.h"

struct weight {
    enum dtype type;
    size_t out, in;
    const void *data; /* `out` rows of row_bytes each; not owned */
    size_t row_bytes;
    size_t interleaved; /* head size if the rows of each head are stored for interleaved rotary pairs, or 0 */
    const char *panels; /* not owned; forward panels, packed (kernel/panel.h), or NULL */
};

static inline size_t panels_of(size_t columns)
{
    return (columns + PANEL - 1) / PANEL;
}

/* A matrix of plain floats (an adapter's A or B, a trainable weight). */
struct weight weight_of_floats(const float *data, size_t out, size_t in);

/* n of its rows from `from` on, which is a multiple of PANEL; not of interleaved heads. */
struct weight weight_rows(const struct weight *w, size_t from, size_t n);

/* Row i of the matrix as floats. */
void weight_row(const struct weight *w, size_t i, float *out);

/* Panel j: columns 32 j .. of the product, of n of its k from `from` on; columns past the matrix's edge are 0.  `room`,
 * n * PANEL floats, is the caller's; what comes back may lie elsewhere where nothing needed to be unpacked.  Forward: k are
 * numbers of a row, and `from` is a multiple of 256.  Backward: k are rows.  Of a packed matrix multiples of PANEL will do,
 * and are quick, for both. */
const float *weight_tile_forward(const struct weight *w, size_t j, size_t from, size_t n, float *room);
const float *weight_tile_backward(const struct weight *w, size_t j, size_t from, size_t n, float *room);

/* Pack all forward panels, in about the bytes that the matrix is stored in, into `panels`, which stays the caller's, and
 * take tiles from there. */
size_t weight_panel_bytes(const struct weight *w);
void weight_pack(struct weight *w, void *panels);

#endif
