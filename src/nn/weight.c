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

/* ---- from rows to the columns of a panel ---- */

#define INLINE static inline __attribute__((always_inline))

typedef float octet __attribute__((vector_size(32)));
typedef float quad __attribute__((vector_size(16)));

#define SHUFFLE __builtin_shufflevector

/* Eight columns of eight rows: dst[i][r] = rows[r][i].  Pairs of rows are interleaved, then fours, then all; in the
 * comments 0a is column a of row 0. */
INLINE void turn_8(float *dst, const char *const rows[8], size_t at)
{
    octet x[8], y[8];
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++)
        memcpy(&x[r], rows[r] + at * sizeof(float), sizeof x[r]);
#pragma GCC unroll 4
    for (int r = 0; r < 8; r += 2) {
        y[r] = SHUFFLE(x[r], x[r + 1], 0, 8, 1, 9, 4, 12, 5, 13);           /* 0a 1a 0b 1b, 0e 1e 0f 1f */
        y[r + 1] = SHUFFLE(x[r], x[r + 1], 2, 10, 3, 11, 6, 14, 7, 15);     /* 0c 1c 0d 1d, 0g 1g 0h 1h */
    }
#pragma GCC unroll 4
    for (int r = 0; r < 8; r += 4)
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            x[r + 2 * i] = SHUFFLE(y[r + i], y[r + i + 2], 0, 1, 8, 9, 4, 5, 12, 13);       /* 0a 1a 2a 3a, 0e .. 3e */
            x[r + 2 * i + 1] = SHUFFLE(y[r + i], y[r + i + 2], 2, 3, 10, 11, 6, 7, 14, 15); /* 0b 1b 2b 3b, 0f .. 3f */
        }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        y[i] = SHUFFLE(x[i], x[i + 4], 0, 1, 2, 3, 8, 9, 10, 11); /* 0a .. 7a */
        y[i + 4] = SHUFFLE(x[i], x[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        memcpy(dst + i * PANEL, &y[i], sizeof y[i]);
}

/* The same with four columns of four rows. */
INLINE void turn_4(float *dst, const char *const rows[4], size_t at)
{
    quad x[4], y[4];
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
        memcpy(&x[r], rows[r] + at * sizeof(float), sizeof x[r]);
#pragma GCC unroll 2
    for (int r = 0; r < 2; r++) {
        y[r] = SHUFFLE(x[r], x[r + 2], 0, 4, 1, 5);     /* 0a 2a 0b 2b; 1a 3a 1b 3b */
        y[r + 2] = SHUFFLE(x[r], x[r + 2], 2, 6, 3, 7); /* 0c 2c 0d 2d; 1c 3c 1d 3d */
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        x[2 * i] = SHUFFLE(y[2 * i], y[2 * i + 1], 0, 4, 1, 5);
        x[2 * i + 1] = SHUFFLE(y[2 * i], y[2 * i + 1], 2, 6, 3, 7);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        memcpy(dst + i * PANEL, &x[i], sizeof x[i]);
}

/* dst[i][r] = rows[r][i] for i < n.  Sixteen columns, a cache line of a row, are done with before the next rows. */
INLINE void turn_rows(float *restrict dst, const char *const rows[PANEL], size_t n, const int side)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t r = 0; r < PANEL; r += (size_t)side)
#pragma GCC unroll 4
            for (size_t j = i; j < i + 16; j += (size_t)side) {
                if (side == 8)
                    turn_8(dst + j * PANEL + r, rows + r, j);
                else
                    turn_4(dst + j * PANEL + r, rows + r, j);
            }
    for (; i < n; i++)
        for (size_t r = 0; r < PANEL; r++)
            memcpy(dst + i * PANEL + r, rows[r] + i * sizeof(float), sizeof(float));
}

static void turn_plain(float *dst, const char *const rows[PANEL], size_t n)
{
    turn_rows(dst, rows, n, 4);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void turn_avx2(float *dst, const char *const rows[PANEL], size_t n)
{
    turn_rows(dst, rows, n, 8);
}
#endif

static void turn(float *dst, const char *const rows[PANEL], size_t n)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        turn_avx2(dst, rows, n);
        return;
    }
#endif
    turn_plain(dst, rows, n);
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
        turn(panel + (from - first) * PANEL, rows, some);
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
INLINE void copy_columns(float *to, const char *from, size_t n)
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
        turn(panel + r * PANEL, columns, rows - r < PANEL ? rows - r : PANEL);
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
