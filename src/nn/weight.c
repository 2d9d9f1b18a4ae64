#include "nn/weight.h"

#include <string.h>

#include "nn/scratch.h"
#include "util/mem.h"

/* How many weights of a row are unpacked at once: the widest block there is. */
#define CHUNK 256

/* Floats from one unpacked row to the next: not a power of two, so that the rows do not share sets of the cache. */
#define UNPACKED_LD (CHUNK + 16)

struct weight weight_of_floats(const float *data, size_t out, size_t in)
{
    return (struct weight){.type = DTYPE_F32, .out = out, .in = in, .data = data, .row_bytes = in * sizeof(float)};
}

struct weight weight_rows(const struct weight *w, size_t from, size_t n)
{
    struct weight part = *w;
    ENSURE(from % PANEL == 0 && from + n <= w->out && !w->interleaved);
    part.out = n;
    part.data = (const char *)w->data + from * w->row_bytes;
    if (w->panels)
        part.panels = w->panels + from / PANEL * panel_bytes(w->type, w->in);
    return part;
}

/* Where row i is stored.  Interleaved heads hold (0, half, 1, half + 1, ..) of the order that the model uses. */
static const void *stored_row(const struct weight *w, size_t i)
{
    if (w->interleaved) {
        size_t d = w->interleaved, head = i / d, j = i % d;
        i = head * d + (j < d / 2 ? 2 * j : 2 * (j - d / 2) + 1);
    }
    return (const char *)w->data + i * w->row_bytes;
}

void weight_row(const struct weight *w, size_t i, float *out)
{
    dtype_unpack(w->type, out, stored_row(w, i), 0, w->in);
}

static void fill_forward(const struct weight *w, size_t j, size_t first, size_t n, float *panel)
{
    static const float zeros[CHUNK];
    float *unpacked = scratch(SCRATCH_UNPACK, PANEL * UNPACKED_LD);
    const char *rows[PANEL];
    size_t top = j * PANEL, have = w->out - top < PANEL ? w->out - top : PANEL;
    for (size_t from = first; from < first + n; from += CHUNK) {
        size_t some = first + n - from < CHUNK ? first + n - from : CHUNK;
        for (size_t r = 0; r < have; r++) {
            const char *stored = stored_row(w, top + r);
            rows[r] = w->type == DTYPE_F32 ? stored + from * sizeof(float) : (const char *)(unpacked + r * UNPACKED_LD);
            if (w->type != DTYPE_F32)
                dtype_unpack(w->type, unpacked + r * UNPACKED_LD, stored, from, some);
        }
        for (size_t r = have; r < PANEL; r++)
            rows[r] = (const char *)zeros;
        kernel()->turn(panel + (from - first) * PANEL, rows, some);
    }
}

const float *weight_tile_forward(const struct weight *w, size_t j, size_t from, size_t n, float *room)
{
    const char *packed = w->panels ? w->panels + j * panel_bytes(w->type, w->in) : NULL;
    if (packed && panel_is_plain(w->type))
        return (const float *)(const void *)packed + from * PANEL;
    if (packed)
        kernel()->unpack(room, packed + panel_offset(w->type, from), w->type, n);
    else
        fill_forward(w, j, from, n, room);
    return room;
}

/* n <= PANEL floats from any address, filled up with zeros. */
static inline void copy_columns(float *to, const char *from, size_t n)
{
    if (n == PANEL) {
        memcpy(to, from, PANEL * sizeof(float));
        return;
    }
    memcpy(to, from, n * sizeof(float));
    memset(to + n, 0, (PANEL - n) * sizeof(float));
}

/* The rows' numbers j * 32 .. lie together in a packed panel, 32 rows side by side: unpacked, they are turned back. */
static void fill_backward(const struct weight *w, size_t j, size_t first_row, size_t rows, float *panel)
{
    static const float zeros[PANEL];
    float unpacked[PANEL * PANEL];
    const char *columns[PANEL];
    size_t bytes = panel_bytes(w->type, w->in), n = w->in - j * PANEL < PANEL ? w->in - j * PANEL : PANEL;
    const char *packed = w->panels + first_row / PANEL * bytes + panel_offset(w->type, j * PANEL);
    for (size_t r = 0; r < rows; r += PANEL, packed += bytes) {
        const char *from = panel_is_plain(w->type) ? packed : (const char *)unpacked;
        if (!panel_is_plain(w->type))
            kernel()->unpack(unpacked, packed, w->type, n);
        for (size_t i = 0; i < PANEL; i++)
            columns[i] = i < n ? from + i * PANEL * sizeof(float) : (const char *)zeros;
        kernel()->turn(panel + r * PANEL, columns, rows - r < PANEL ? rows - r : PANEL);
    }
}

const float *weight_tile_backward(const struct weight *w, size_t j, size_t first_row, size_t rows, float *panel)
{
    if (w->panels && first_row % PANEL == 0) {
        fill_backward(w, j, first_row, rows, panel);
        return panel;
    }
    size_t from = j * PANEL, n = w->in - from < PANEL ? w->in - from : PANEL;
    size_t block = dtype_table[w->type].block;
    if (w->type == DTYPE_F32) { /* activations too, for the gradients of weights: without a call a row */
        for (size_t r = 0; r < rows; r++)
            copy_columns(panel + r * PANEL, (const char *)stored_row(w, first_row + r) + from * sizeof(float), n);
        return panel;
    }
    if (n == PANEL && PANEL % block == 0) {
        for (size_t r = 0; r < rows; r++)
            dtype_unpack(w->type, panel + r * PANEL, stored_row(w, first_row + r), from, PANEL);
        return panel;
    }
    float wide[CHUNK];
    size_t start = from / block * block, span = (from + n - start + block - 1) / block * block;
    for (size_t r = 0; r < rows; r++) {
        dtype_unpack(w->type, wide, stored_row(w, first_row + r), start, span);
        memcpy(panel + r * PANEL, wide + (from - start), n * sizeof(float));
        memset(panel + r * PANEL + n, 0, (PANEL - n) * sizeof(float));
    }
    return panel;
}

size_t weight_panel_bytes(const struct weight *w)
{
    return panels_of(w->out) * panel_bytes(w->type, w->in);
}

void weight_pack(struct weight *w, void *panels)
{
    size_t bytes = panel_bytes(w->type, w->in);
#pragma omp parallel for schedule(static)
    for (size_t j = 0; j < panels_of(w->out); j++) {
        const void *rows[PANEL];
        for (size_t r = 0; r < PANEL; r++)
            rows[r] = j * PANEL + r < w->out ? stored_row(w, j * PANEL + r) : NULL;
        panel_pack((char *)panels + j * bytes, w->type, rows, w->in);
    }
    w->panels = panels;
}
