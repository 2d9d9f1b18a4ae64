/* The kernels of kernel.h, compiled once an instruction set (see CMakeLists.txt):
 * KERNEL_ISA is avx512, avx2, neon or plain. */
#include "kernel/kernel.h"
#include "kernel/panel.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define PASTE2(a, b) a##b
#define PASTE(a, b) PASTE2(a, b)
#define STRING2(a) #a
#define STRING(a) STRING2(a)

#define INLINE static inline __attribute__((always_inline))

/* Vectors of the machine's width.  Sums over a row have 16 virtual lanes, which are LANES vectors side by side. */
#if defined(__AVX512F__)
#include <immintrin.h>
#define WIDTH 16
#define TILE_ROWS 12
#elif defined(__AVX2__)
#include <immintrin.h>
#define WIDTH 8
#define TILE_ROWS 6
#elif defined(KERNEL_NEON) /* every aarch64 has it, so that the compiler's own macro would make plain the same */
#include <arm_neon.h>
#define WIDTH 4
#define TILE_ROWS 12 /* with two vectors: 24 sums, 2 of the panel and what is multiplied in 32 registers */
#else
#define WIDTH 4
#define TILE_ROWS 4
#endif
#define LANES (16 / WIDTH)

typedef float vec __attribute__((vector_size(4 * WIDTH)));
typedef float vec_u __attribute__((vector_size(4 * WIDTH), aligned(4)));
typedef int32_t ivec __attribute__((vector_size(4 * WIDTH)));

INLINE vec vec_fma(vec a, vec b, vec c)
{
#if defined(__AVX512F__)
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(KERNEL_NEON)
    return (vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    for (int i = 0; i < WIDTH; i++)
        c[i] = fmaf(a[i], b[i], c[i]);
    return c;
#endif
}

INLINE vec vec_all(float x)
{
#if defined(__AVX512F__)
    return (vec)_mm512_set1_ps(x);
#elif defined(__AVX2__)
    return (vec)_mm256_set1_ps(x);
#else
    return (vec){x, x, x, x};
#endif
}

INLINE vec load(const float *p)
{
    return *(const vec_u *)p;
}

INLINE void store(float *p, vec v)
{
    *(vec_u *)p = v;
}

/* The last n < WIDTH elements, filled up. */
INLINE vec load_tail(const float *p, size_t n, float fill)
{
    vec v = vec_all(fill);
    memcpy(&v, p, n * sizeof(float));
    return v;
}

INLINE void store_tail(float *p, vec v, size_t n)
{
    memcpy(p, &v, n * sizeof(float));
}

/* The last n < 16 elements of a row that is summed, filled up. */
INLINE void copy_tail(float to[16], const float *p, size_t n, float fill)
{
    for (int i = 0; i < 16; i++)
        to[i] = fill;
    memcpy(to, p, n * sizeof(float));
}

INLINE float lanes_sum(const vec v[LANES])
{
    float f[16];
    memcpy(f, v, sizeof f);
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++)
            f[i] += f[i + half];
    return f[0];
}

/* exp by the usual reduction: x = n ln 2 + r, |r| <= ln 2 / 2, a polynomial of degree 7 in r (Taylor's, whose
 * remainder is below float's rounding there), times 2^n put together from bits.  Below -87.3 it is 0, from 88.4 on
 * infinite. */
INLINE vec vec_exp(vec x)
{
    const vec magic = vec_all(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number */
    ivec live = ~(x < vec_all(-87.3f)); /* a NaN lives, so that it is seen */
    ivec high = x > vec_all(88.7f);
    x = (vec)(((ivec)x & ~high) | ((ivec)vec_all(88.7f) & high));
    x = (vec)((ivec)x & live);
    vec n = vec_fma(x, vec_all(1.44269504088896341f), magic) - magic;
    vec r = vec_fma(n, vec_all(-0.693359375f), x);
    r = vec_fma(n, vec_all(2.12194440e-4f), r);
    vec p = vec_all(1.0f / 5040.0f);
    p = vec_fma(p, r, vec_all(1.0f / 720.0f));
    p = vec_fma(p, r, vec_all(1.0f / 120.0f));
    p = vec_fma(p, r, vec_all(1.0f / 24.0f));
    p = vec_fma(p, r, vec_all(1.0f / 6.0f));
    p = vec_fma(p, r, vec_all(0.5f));
    p = vec_fma(p, r, vec_all(1.0f));
    p = vec_fma(p, r, vec_all(1.0f));
    ivec e = (__builtin_convertvector(n, ivec) + 127) << 23;
    return (vec)((ivec)(p * (vec)e) & live);
}

/* ---- matrix product ---- */

/* Rows of a panel that are asked of memory before they are needed. */
#define AHEAD 8

/* Vectors of a whole panel's row, and up to how many rows of x are taken through all of them at once. */
#define ALL (PANEL / WIDTH)
#if TILE_ROWS == 6 || defined(KERNEL_NEON)
#define FEW_ROWS 3
#else
#define FEW_ROWS 1
#endif

/* Up to how many rows go through a packed panel while it is unpacked: as many as leave registers for that. */
#if WIDTH == 16
#define FUSED_ROWS 4
#elif WIDTH == 8
#define FUSED_ROWS 2
#else
#define FUSED_ROWS 1
#endif

/* A tile of y: the rows and columns that a run over k keeps in registers.  ahead: ask for the rows of the panel to
 * come, both strips of them: the first tile that goes through a panel. */
INLINE void tile(float *y, size_t y_ld, const float *start, const float *x, const size_t x_row, const size_t x_col,
                 const float *panel, size_t panel_ld, size_t k, const int rows, const int vectors, size_t cols,
                 const bool ahead)
{
    vec c[TILE_ROWS][ALL];
    float edge[PANEL];
    bool whole = cols >= (size_t)(vectors * WIDTH);
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
        const float *from = start + (size_t)r * y_ld;
        if (start && !whole) {
            memset(edge, 0, sizeof edge);
            memcpy(edge, from, cols * sizeof(float));
            from = edge;
        }
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            c[r][v] = start ? load(from + v * WIDTH) : (vec){0};
    }
    for (size_t i = 0; i < k; i++) {
        vec b[ALL];
        if (ahead) {
            __builtin_prefetch(panel + (i + AHEAD) * panel_ld);
            __builtin_prefetch(panel + (i + AHEAD) * panel_ld + PANEL / 2);
        }
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            b[v] = load(panel + i * panel_ld + (size_t)v * WIDTH);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            vec a = vec_all(x[(size_t)r * x_row + i * x_col]);
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++)
                c[r][v] = vec_fma(a, b[v], c[r][v]);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
        float *to = y + (size_t)r * y_ld;
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            store((whole ? to : edge) + v * WIDTH, c[r][v]);
        if (!whole)
            memcpy(to, edge, cols * sizeof(float));
    }
}

/* What a product is of; passed on by value to inlined functions, so that constants in it stay constants. */
struct operands {
    float *y;
    const float *start, *x, *panel;
    size_t y_ld, x_row, x_col, x_tile, panel_ld, k; /* x_tile: from a tile's x to the next one's */
};

/* Tile number t, R of its rows, columns from .. cols. */
#define TILE(R, V, AHEAD_TOO)                                                                      \
    tile(o.y + t * TILE_ROWS * o.y_ld + from, o.y_ld,                                              \
         o.start ? o.start + t * TILE_ROWS * o.y_ld + from : NULL, o.x + t * o.x_tile, o.x_row,    \
         o.x_col, o.panel + from, o.panel_ld, o.k, R, V, cols - from, AHEAD_TOO)
#define CASE(R, V)                                                                                 \
    case R:                                                                                        \
        TILE(R, V, false);                                                                         \
        break;
#if TILE_ROWS == 12
#define CASES(V)                                                                                   \
    CASE(1, V) CASE(2, V) CASE(3, V) CASE(4, V) CASE(5, V) CASE(6, V) CASE(7, V) CASE(8, V)        \
    CASE(9, V) CASE(10, V) CASE(11, V)
#elif TILE_ROWS == 6
#define CASES(V) CASE(1, V) CASE(2, V) CASE(3, V) CASE(4, V) CASE(5, V)
#else
#define CASES(V) CASE(1, V) CASE(2, V) CASE(3, V)
#endif

/* Columns from .. cols, at most two vectors of them, of tile t. */
#define COLUMNS(V)                                                                                 \
    do {                                                                                           \
        if (left >= TILE_ROWS && t == 0 && from == 0)                                              \
            TILE(TILE_ROWS, V, true);                                                              \
        else if (left >= TILE_ROWS)                                                                \
            TILE(TILE_ROWS, V, false);                                                             \
        else                                                                                       \
            switch (left) {                                                                        \
                CASES(V)                                                                           \
            }                                                                                      \
    } while (0)

/* Tile after tile of rows, each through all columns while its x is near. */
INLINE void product(const struct operands o, size_t rows, size_t cols)
{
    for (size_t t = 0; t * TILE_ROWS < rows; t++) {
        const size_t left = rows - t * TILE_ROWS;
        for (size_t from = 0; from < cols; from += 2 * WIDTH) {
            if (cols - from > WIDTH)
                COLUMNS(2);
            else
                COLUMNS(1);
        }
    }
}

static void gemm(float *y, size_t y_ld, const float *start, const float *x, size_t x_row, size_t x_col,
                 const float *panel, size_t panel_ld, size_t k, size_t rows, size_t cols)
{
    const struct operands o = {y, start, x, panel, y_ld, x_row, x_col, TILE_ROWS * x_row, panel_ld, k};
    /* a few rows are through before a strip pays: the panel comes from memory once, row by row */
    if (ALL > 2 && rows <= FEW_ROWS && cols == PANEL) {
        const size_t t = 0, from = 0;
        switch (rows) {
#if FEW_ROWS > 1
            CASE(3, ALL)
            CASE(2, ALL)
#endif
            CASE(1, ALL)
        }
        return;
    }
    product(o, rows, cols);
}

static void gemm_strips(float *y, size_t y_ld, const float *start, const float *strips, size_t strip, const float *panel,
                        size_t panel_ld, size_t k, size_t rows, size_t cols)
{
    const struct operands o = {y, start, strips, panel, y_ld, 1, TILE_ROWS, strip, panel_ld, k};
    product(o, rows, cols);
}

typedef float four __attribute__((vector_size(16)));

/* Four numbers from `at` on of four rows, turned: to[i][r] = rows[r][at + i]; 0a is column a of row 0. */
INLINE void turn_4(float *to, size_t to_ld, const char *const rows[4], size_t at)
{
    four x[4], y[4];
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
        memcpy(&x[r], rows[r] + at * sizeof(float), sizeof x[r]);
#pragma GCC unroll 2
    for (int r = 0; r < 2; r++) {
        y[r] = __builtin_shufflevector(x[r], x[r + 2], 0, 4, 1, 5);     /* 0a 2a 0b 2b; 1a 3a 1b 3b */
        y[r + 2] = __builtin_shufflevector(x[r], x[r + 2], 2, 6, 3, 7); /* 0c 2c 0d 2d; 1c 3c 1d 3d */
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        x[2 * i] = __builtin_shufflevector(y[2 * i], y[2 * i + 1], 0, 4, 1, 5);
        x[2 * i + 1] = __builtin_shufflevector(y[2 * i], y[2 * i + 1], 2, 6, 3, 7);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        memcpy(to + (size_t)i * to_ld, &x[i], sizeof x[i]);
}

#if WIDTH >= 8
#define TURN_SIDE 8
typedef float eight __attribute__((vector_size(32)));

/* The same with eight: pairs of rows are interleaved, then fours, then all. */
INLINE void turn_8(float *to, size_t to_ld, const char *const rows[8], size_t at)
{
    eight x[8], y[8];
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++)
        memcpy(&x[r], rows[r] + at * sizeof(float), sizeof x[r]);
#pragma GCC unroll 4
    for (int r = 0; r < 8; r += 2) {
        y[r] = __builtin_shufflevector(x[r], x[r + 1], 0, 8, 1, 9, 4, 12, 5, 13);       /* 0a 1a 0b 1b, 0e 1e 0f 1f */
        y[r + 1] = __builtin_shufflevector(x[r], x[r + 1], 2, 10, 3, 11, 6, 14, 7, 15); /* 0c 1c 0d 1d, 0g 1g 0h 1h */
    }
#pragma GCC unroll 4
    for (int r = 0; r < 8; r += 4)
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            x[r + 2 * i] = __builtin_shufflevector(y[r + i], y[r + i + 2], 0, 1, 8, 9, 4, 5, 12, 13);       /* 0a .. 3a, 0e .. */
            x[r + 2 * i + 1] = __builtin_shufflevector(y[r + i], y[r + i + 2], 2, 3, 10, 11, 6, 7, 14, 15); /* 0b .. 3b, 0f .. */
        }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        y[i] = __builtin_shufflevector(x[i], x[i + 4], 0, 1, 2, 3, 8, 9, 10, 11); /* 0a .. 7a */
        y[i + 4] = __builtin_shufflevector(x[i], x[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        memcpy(to + (size_t)i * to_ld, &y[i], sizeof y[i]);
}
#else
#define TURN_SIDE 4
#endif

static void turn(float *panel, const char *const rows[PANEL], size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) /* a cache line of a row is done with before the next rows */
        for (size_t r = 0; r < PANEL; r += TURN_SIDE)
#pragma GCC unroll 4
            for (size_t j = i; j < i + 16; j += TURN_SIDE) {
#if TURN_SIDE == 8
                turn_8(panel + j * PANEL + r, PANEL, rows + r, j);
#else
                turn_4(panel + j * PANEL + r, PANEL, rows + r, j);
#endif
            }
    for (; i < n; i++)
        for (size_t r = 0; r < PANEL; r++)
            memcpy(panel + i * PANEL + r, rows[r] + i * sizeof(float), sizeof(float));
}

static void pack(float *strips, const float *x, size_t x_row, size_t x_col, size_t k, size_t rows)
{
    for (size_t first = 0; first < rows; first += TILE_ROWS, strips += TILE_ROWS * k) {
        size_t n = rows - first < TILE_ROWS ? rows - first : TILE_ROWS, r = 0;
        const float *from = x + first * x_row;
        if (x_row == 1 && n == TILE_ROWS) {
            for (size_t i = 0; i < k; i++)
                memcpy(strips + i * TILE_ROWS, from + i * x_col, TILE_ROWS * sizeof(float));
            continue;
        }
        size_t i = 0;
        for (; x_col == 1 && i + 4 <= k; i += 4)
            for (r = 0; r + 4 <= n; r += 4) {
                const char *rows_of_x[4];
#pragma GCC unroll 4
                for (size_t q = 0; q < 4; q++)
                    rows_of_x[q] = (const char *)(from + (r + q) * x_row);
                turn_4(strips + i * TILE_ROWS + r, TILE_ROWS, rows_of_x, i);
            }
        for (size_t q = 0; q < k; q++)
            for (size_t s = q < i ? r : 0; s < n; s++)
                strips[q * TILE_ROWS + s] = from[s * x_row + q * x_col];
    }
}

/* ---- packed panels ---- */

/* WIDTH whole numbers, stored in a byte each without a sign, in a byte each with one, or in two bytes. */
INLINE ivec widen_bytes(const uint8_t *p)
{
#if defined(__AVX512F__)
    return (ivec)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
#elif defined(__AVX2__)
    return (ivec)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
#elif defined(KERNEL_NEON)
    uint32_t four;
    memcpy(&four, p, sizeof four);
    return (ivec)vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))));
#else
    ivec v;
    for (int i = 0; i < WIDTH; i++)
        v[i] = p[i];
    return v;
#endif
}

INLINE ivec widen_signed(const uint8_t *p)
{
    ivec v = widen_bytes(p); /* the sign is the highest of eight bits */
    return (v << 24) >> 24;
}

INLINE ivec widen_pairs(const uint8_t *p)
{
#if defined(__AVX512F__)
    return (ivec)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
#elif defined(__AVX2__)
    return (ivec)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
#elif defined(KERNEL_NEON)
    return (ivec)vmovl_u16(vld1_u16((const uint16_t *)(const void *)p));
#else
    ivec v;
    for (int i = 0; i < WIDTH; i++)
        v[i] = p[2 * i] | p[2 * i + 1] << 8;
    return v;
#endif
}

INLINE vec vec_half(const uint8_t *p)
{
#if defined(__AVX512F__)
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
#elif defined(__AVX2__)
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
#elif defined(KERNEL_NEON)
    return (vec)vcvt_f32_f16(vld1_f16((const float16_t *)(const void *)p));
#else
    vec v;
    for (int i = 0; i < WIDTH; i++)
        v[i] = dtype_f16((uint16_t)(p[2 * i] | p[2 * i + 1] << 8));
    return v;
#endif
}

/* Numbers of one bit or two, side by side in words (panel.h), of the columns of vector v. */
INLINE ivec widen_bits(const uint8_t *p, const int bits, const int v)
{
    const int first = v * WIDTH * bits;
    int32_t word;
    ivec at;
    memcpy(&word, p + first / 32 * 4, sizeof word);
    for (int i = 0; i < WIDTH; i++)
        at[i] = first % 32 + i * bits;
    return ((ivec){0} + word) >> at & ((1 << bits) - 1);
}

/* dtype_nl_values[q] */
INLINE vec nl_values(ivec q)
{
    static const float values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
#if defined(__AVX512F__)
    return (vec)_mm512_permutexvar_ps((__m512i)q, (__m512)load(values));
#elif defined(__AVX2__)
    __m256 low = _mm256_permutevar8x32_ps((__m256)load(values), (__m256i)q);
    __m256 high = _mm256_permutevar8x32_ps((__m256)load(values + 8), (__m256i)q);
    return (vec)_mm256_blendv_ps(low, high, (__m256)(q << 28)); /* by bit 3 */
#else
    vec x;
    for (int i = 0; i < WIDTH; i++)
        x[i] = values[q[i]];
    return x;
#endif
}

/* What a block of 32 rows of a panel has for each column: its scale, and its minimum, which is added; of types that have
 * them for 16 rows, those of the first 16, then of the others. */
struct block_of {
    const float *d, *m;
    const uint8_t *rows;
    size_t row_bytes, bytes;
};

INLINE bool is_halved(const enum dtype type)
{
    return type == DTYPE_Q6_K || type == DTYPE_Q2_K || type == DTYPE_Q3_K;
}

/* The heads that are not floats yet, as such: scales, then minima. */
INLINE void widen_head(float room[4 * PANEL], const uint8_t *in, const enum dtype type)
{
    const uint8_t *bytes = in + (type == DTYPE_Q3_K ? 2 : 4) * PANEL;
#pragma GCC unroll 8
    for (int v = 0; v < ALL; v++) {
        const int at = v * WIDTH;
        vec d = vec_half(in + 2 * at);
        ivec a = widen_bytes(bytes + at), b = widen_bytes(bytes + PANEL + at);
        if (type == DTYPE_Q3_K) {
            store(room + at, d * __builtin_convertvector(widen_signed(bytes + at), vec));
            store(room + PANEL + at, d * __builtin_convertvector(widen_signed(bytes + PANEL + at), vec));
            continue;
        }
        vec dmin = -vec_half(in + 2 * PANEL + 2 * at);
        if (type == DTYPE_Q2_K) {
            store(room + at, d * __builtin_convertvector(a & 15, vec));
            store(room + PANEL + at, d * __builtin_convertvector(b & 15, vec));
            store(room + 2 * PANEL + at, dmin * __builtin_convertvector(a >> 4, vec));
            store(room + 3 * PANEL + at, dmin * __builtin_convertvector(b >> 4, vec));
        } else {
            store(room + at, d * __builtin_convertvector(a, vec));
            store(room + 2 * PANEL + at, dmin * __builtin_convertvector(b, vec));
        }
    }
}

INLINE struct block_of block_at(const uint8_t *in, float room[4 * PANEL], const enum dtype type)
{
    const struct panel_shape shape = panel_shape(type);
    struct block_of b = {NULL, NULL, in + shape.head, shape.row, shape.head + 32 * shape.row};
    switch (type) {
    case DTYPE_Q2_K:
    case DTYPE_Q3_K:
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        widen_head(room, in, type);
        b.d = room;
        b.m = room + 2 * PANEL;
        break;
    default: /* numbers of two bytes have no head, which is never read */
        b.d = (const float *)(const void *)in;
        b.m = b.d + PANEL;
    }
    return b;
}

/* Vector v of row j of a block. */
INLINE vec weights_of(const struct block_of *b, size_t j, const enum dtype type, const int v)
{
    const uint8_t *row = b->rows + j * b->row_bytes;
    const int half = ALL / 2, at = (v % half) * WIDTH;
    if (type == DTYPE_F16)
        return vec_half(row + 2 * v * WIDTH);
    if (type == DTYPE_BF16)
        return (vec)(widen_pairs(row + 2 * v * WIDTH) << 16);
    const size_t part = (is_halved(type) && j >= 16 ? PANEL : 0) + (size_t)(v * WIDTH);
    vec scale = load(b->d + part);
    if (type == DTYPE_Q8_0 || type == DTYPE_Q6_K)
        return __builtin_convertvector(widen_signed(row + v * WIDTH), vec) * scale;
    ivec q;
    if (type == DTYPE_Q2_K || type == DTYPE_Q3_K) {
        q = widen_bits(row, 2, v);
    } else { /* byte j has column j in its low four bits, column j + 16 above */
        q = widen_bytes(row + at);
        q = v < half ? q & 15 : q >> 4;
    }
    switch (type) {
    case DTYPE_Q4_0:
        return __builtin_convertvector(q - 8, vec) * scale;
    case DTYPE_Q5_0:
        return __builtin_convertvector((q | widen_bits(row + 16, 1, v) << 4) - 16, vec) * scale;
    case DTYPE_Q3_K:
        return __builtin_convertvector((q | widen_bits(row + 8, 1, v) << 2) - 4, vec) * scale;
    case DTYPE_IQ4_NL:
        return nl_values(q) * scale;
    case DTYPE_Q5_1:
    case DTYPE_Q5_K:
        q |= widen_bits(row + 16, 1, v) << 4;
        break;
    default:
        break;
    }
    /* the product is exact (dtype.h), so a fused addition rounds as two operations do */
    return vec_fma(__builtin_convertvector(q, vec), scale, load(b->m + part));
}

INLINE void unpack_as(float *panel, const uint8_t *in, size_t k, const enum dtype type)
{
    float room[4 * PANEL];
    const struct panel_shape shape = panel_shape(type);
    const size_t next = k / 32 * (shape.head + 32 * shape.row); /* what follows is wanted next */
    for (size_t i = 0; i < k; i += 32) {
        const struct block_of b = block_at(in, room, type);
        for (size_t line = 0; line < b.bytes; line += 64)
            __builtin_prefetch(in + next + line, 0, 2);
        const size_t n = k - i < 32 ? k - i : 32;
        for (size_t j = 0; j < n; j++)
#pragma GCC unroll 8
            for (int v = 0; v < ALL; v++)
                store(panel + (i + j) * PANEL + v * WIDTH, weights_of(&b, j, type, v));
        in += b.bytes;
    }
}

INLINE void few_as(float *y, size_t y_ld, const float *start, const float *x, size_t x_row, const uint8_t *in, size_t k,
                   const int rows, size_t cols, const enum dtype type)
{
    vec c[FUSED_ROWS][ALL];
    float edge[PANEL];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        memset(edge, 0, sizeof edge);
        if (start)
            memcpy(edge, start + (size_t)r * y_ld, cols * sizeof(float));
#pragma GCC unroll 8
        for (int v = 0; v < ALL; v++)
            c[r][v] = load(edge + v * WIDTH);
    }
    float room[4 * PANEL];
    for (size_t i = 0; i < k; i += 32) {
        const struct block_of b = block_at(in, room, type);
        const size_t n = k - i < 32 ? k - i : 32;
        for (size_t j = 0; j < n; j++)
#pragma GCC unroll 8
            for (int v = 0; v < ALL; v++) {
                vec w = weights_of(&b, j, type, v);
#pragma GCC unroll 4
                for (int r = 0; r < rows; r++)
                    c[r][v] = vec_fma(vec_all(x[(size_t)r * x_row + i + j]), w, c[r][v]);
            }
        in += b.bytes;
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 8
        for (int v = 0; v < ALL; v++)
            store(edge + v * WIDTH, c[r][v]);
        memcpy(y + (size_t)r * y_ld, edge, cols * sizeof(float));
    }
}

/* Calls F for a type that is a constant inside it. */
#define OF_TYPE(type, F)                                                                           \
    switch (type) {                                                                                \
    case DTYPE_Q4_0:                                                                               \
        F(DTYPE_Q4_0);                                                                             \
        break;                                                                                     \
    case DTYPE_Q4_1:                                                                               \
        F(DTYPE_Q4_1);                                                                             \
        break;                                                                                     \
    case DTYPE_Q8_0:                                                                               \
        F(DTYPE_Q8_0);                                                                             \
        break;                                                                                     \
    case DTYPE_Q6_K:                                                                               \
        F(DTYPE_Q6_K);                                                                             \
        break;                                                                                     \
    case DTYPE_Q5_0:                                                                               \
        F(DTYPE_Q5_0);                                                                             \
        break;                                                                                     \
    case DTYPE_Q5_1:                                                                               \
        F(DTYPE_Q5_1);                                                                             \
        break;                                                                                     \
    case DTYPE_IQ4_NL:                                                                             \
        F(DTYPE_IQ4_NL);                                                                           \
        break;                                                                                     \
    case DTYPE_Q2_K:                                                                               \
        F(DTYPE_Q2_K);                                                                             \
        break;                                                                                     \
    case DTYPE_Q3_K:                                                                               \
        F(DTYPE_Q3_K);                                                                             \
        break;                                                                                     \
    case DTYPE_Q4_K:                                                                               \
        F(DTYPE_Q4_K);                                                                             \
        break;                                                                                     \
    case DTYPE_Q5_K:                                                                               \
        F(DTYPE_Q5_K);                                                                             \
        break;                                                                                     \
    case DTYPE_F16:                                                                                \
        F(DTYPE_F16);                                                                              \
        break;                                                                                     \
    default:                                                                                       \
        F(DTYPE_BF16);                                                                             \
    }

static void unpack(float *panel, const void *packed, enum dtype type, size_t k)
{
#define UNPACK(T) unpack_as(panel, packed, k, T)
    OF_TYPE(type, UNPACK)
}

static void gemm_few(float *y, size_t y_ld, const float *start, const float *x, size_t x_row, const void *packed,
                     enum dtype type, size_t k, size_t rows, size_t cols)
{
#define FEW(R, T) few_as(y, y_ld, start, x, x_row, packed, k, R, cols, T)
#define FEW_1(T) FEW(1, T)
#define FEW_2(T) FEW(2, T)
#define FEW_3(T) FEW(3, T)
#define FEW_4(T) FEW(4, T)
    switch (rows) {
    case 1:
        OF_TYPE(type, FEW_1)
        break;
#if FUSED_ROWS >= 2
    case 2:
        OF_TYPE(type, FEW_2)
        break;
#endif
#if FUSED_ROWS >= 4
    case 3:
        OF_TYPE(type, FEW_3)
        break;
    case 4:
        OF_TYPE(type, FEW_4)
        break;
#endif
    }
}

/* ---- rows ---- */

static float dot(const float *a, const float *b, size_t n)
{
    vec s[LANES] = {0};
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
#pragma GCC unroll 4
        for (int l = 0; l < LANES; l++)
            s[l] = vec_fma(load(a + i + l * WIDTH), load(b + i + l * WIDTH), s[l]);
    if (i < n) {
        float ta[16], tb[16];
        copy_tail(ta, a + i, n - i, 0);
        copy_tail(tb, b + i, n - i, 0);
#pragma GCC unroll 4
        for (int l = 0; l < LANES; l++)
            s[l] = vec_fma(load(ta + l * WIDTH), load(tb + l * WIDTH), s[l]);
    }
    return lanes_sum(s);
}

static float dot3(const float *a, const float *b, const float *c, size_t n)
{
    vec s[LANES] = {0};
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
#pragma GCC unroll 4
        for (int l = 0; l < LANES; l++)
            s[l] = vec_fma(load(a + i + l * WIDTH), load(b + i + l * WIDTH) * load(c + i + l * WIDTH), s[l]);
    if (i < n) {
        float ta[16], tb[16], tc[16];
        copy_tail(ta, a + i, n - i, 0);
        copy_tail(tb, b + i, n - i, 0);
        copy_tail(tc, c + i, n - i, 0);
#pragma GCC unroll 4
        for (int l = 0; l < LANES; l++)
            s[l] = vec_fma(load(ta + l * WIDTH), load(tb + l * WIDTH) * load(tc + l * WIDTH), s[l]);
    }
    return lanes_sum(s);
}

static float row_max(const float *x, size_t n)
{
    float m = x[0];
    if (n >= 16) {
        vec v[LANES];
#pragma GCC unroll 4
        for (int l = 0; l < LANES; l++)
            v[l] = load(x + l * WIDTH);
        for (size_t i = 16; i + 16 <= n; i += 16)
#pragma GCC unroll 4
            for (int l = 0; l < LANES; l++) {
                vec w = load(x + i + l * WIDTH);
                ivec more = w > v[l];
                v[l] = (vec)(((ivec)w & more) | ((ivec)v[l] & ~more));
            }
        float f[16];
        memcpy(f, v, sizeof f);
        for (int l = 0; l < 16; l++)
            m = f[l] > m ? f[l] : m;
    }
    for (size_t i = n / 16 * 16; i < n; i++)
        m = x[i] > m ? x[i] : m;
    return m;
}

static float exp_sum(float *y, const float *x, float shift, size_t n)
{
    vec s[LANES] = {0}, down = vec_all(shift);
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
#pragma GCC unroll 4
        for (int l = 0; l < LANES; l++) {
            vec e = vec_exp(load(x + i + l * WIDTH) - down);
            store(y + i + l * WIDTH, e);
            s[l] += e;
        }
    if (i < n) {
        float tail[16];
        copy_tail(tail, x + i, n - i, -INFINITY);
#pragma GCC unroll 4
        for (int l = 0; l < LANES; l++) {
            vec e = vec_exp(load(tail + l * WIDTH) - down);
            store(tail + l * WIDTH, e);
            s[l] += e;
        }
        memcpy(y + i, tail, (n - i) * sizeof(float));
    }
    return lanes_sum(s);
}

static void exp_scale(float *p, const float *s, float shift, float factor, size_t n)
{
    vec down = vec_all(shift), by = vec_all(factor);
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        store(p + i, vec_exp(load(s + i) - down) * by);
    if (i < n)
        store_tail(p + i, vec_exp(load_tail(s + i, n - i, -INFINITY) - down) * by, n - i);
}

static void axpy(float *restrict y, float a, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = fmaf(a, x[i], y[i]);
}

static void scale(float *y, float a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] *= a;
}

static void add(float *restrict y, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

static void norm_scale(float *y, const float *x, float s, const float *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * s * w[i];
}

static void norm_backward(float *restrict dx, const float *restrict dy, const float *restrict x,
                          const float *restrict w, float s, float c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dx[i] += fmaf(-c, x[i], s * (w[i] * dy[i]));
}

static void norm_backward_weight(float *restrict dw, const float *restrict dy, const float *restrict x, float s,
                                 size_t n)
{
    for (size_t i = 0; i < n; i++)
        dw[i] = fmaf(dy[i], x[i] * s, dw[i]);
}

INLINE vec sigmoid(vec x)
{
    vec one = vec_all(1.0f);
    return one / (one + vec_exp(-x));
}

static void swiglu(float *h, const float *gate, const float *up, size_t n)
{
    size_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) {
        vec g = load(gate + i);
        store(h + i, g * sigmoid(g) * load(up + i));
    }
    if (i < n) {
        vec g = load_tail(gate + i, n - i, 0);
        store_tail(h + i, g * sigmoid(g) * load_tail(up + i, n - i, 0), n - i);
    }
}

INLINE void swiglu_backward_some(vec *dg, vec *du, vec dh, vec g, vec u)
{
    vec one = vec_all(1.0f), s = sigmoid(g), silu = g * s;
    *du = dh * silu;
    *dg = dh * u * (s * (one + g * (one - s)));
}

static void swiglu_backward(float *dgate, float *dup, const float *dh, const float *gate, const float *up, size_t n)
{
    size_t i = 0;
    vec dg, du;
    for (; i + WIDTH <= n; i += WIDTH) {
        swiglu_backward_some(&dg, &du, load(dh + i), load(gate + i), load(up + i));
        store(dgate + i, dg);
        store(dup + i, du);
    }
    if (i < n) {
        swiglu_backward_some(&dg, &du, load_tail(dh + i, n - i, 0), load_tail(gate + i, n - i, 0),
                             load_tail(up + i, n - i, 0));
        store_tail(dgate + i, dg, n - i);
        store_tail(dup + i, du, n - i);
    }
}

/* gelu(x) = x / 2 (1 + tanh(z / 2)) = x sigmoid(z) */
#define GELU_Z 1.5957691216057308f /* 2 sqrt(2 / pi) */
#define GELU_CUBE 0.044715f

INLINE vec gelu_sigmoid(vec x)
{
    return sigmoid(vec_all(GELU_Z) * x * vec_fma(vec_all(GELU_CUBE) * x, x, vec_all(1.0f)));
}

static void geglu(float *h, const float *gate, const float *up, size_t n)
{
    size_t i = 0;
    vec one = vec_all(1.0f);
    for (; i + WIDTH <= n; i += WIDTH) {
        vec g = load(gate + i);
        store(h + i, g * gelu_sigmoid(g) * (up ? load(up + i) : one));
    }
    if (i < n) {
        vec g = load_tail(gate + i, n - i, 0);
        store_tail(h + i, g * gelu_sigmoid(g) * (up ? load_tail(up + i, n - i, 0) : one), n - i);
    }
}

INLINE void geglu_backward_some(vec *dg, vec *du, vec dh, vec g, vec u)
{
    vec one = vec_all(1.0f), s = gelu_sigmoid(g);
    vec slope = vec_all(GELU_Z) * vec_fma(vec_all(3.0f * GELU_CUBE) * g, g, one);
    *du = dh * (g * s);
    *dg = dh * u * (s * (one + g * slope * (one - s)));
}

static void geglu_backward(float *dgate, float *dup, const float *dh, const float *gate, const float *up, size_t n)
{
    size_t i = 0;
    vec dg, du, one = vec_all(1.0f);
    for (; i + WIDTH <= n; i += WIDTH) {
        geglu_backward_some(&dg, &du, load(dh + i), load(gate + i), up ? load(up + i) : one);
        store(dgate + i, dg);
        if (up)
            store(dup + i, du);
    }
    if (i < n) {
        geglu_backward_some(&dg, &du, load_tail(dh + i, n - i, 0), load_tail(gate + i, n - i, 0),
                            up ? load_tail(up + i, n - i, 0) : one);
        store_tail(dgate + i, dg, n - i);
        if (up)
            store_tail(dup + i, du, n - i);
    }
}

/* tanh: its series near 0, where (1 - e) / (1 + e), e = exp(-2 |x|), would lose digits */
INLINE vec vec_tanh(vec x)
{
    vec one = vec_all(1.0f), size = (vec)((ivec)x & 0x7fffffff), square = x * x;
    vec e = vec_exp(vec_all(-2.0f) * size);
    ivec sign = (ivec)x & (int32_t)0x80000000;
    vec far = (vec)((ivec)((one - e) / (one + e)) | sign);
    vec series = vec_fma(square, vec_all(62.0f / 2835), vec_all(-17.0f / 315));
    series = vec_fma(square, series, vec_all(2.0f / 15));
    series = vec_fma(square, series, vec_all(-1.0f / 3));
    vec near = vec_fma(x * square, series, x);
    ivec small = size < vec_all(0.25f);
    return (vec)(((ivec)near & small) | ((ivec)far & ~small));
}

static void softcap(float *x, float cap, size_t n)
{
    size_t i = 0;
    vec c = vec_all(cap), down = vec_all(1.0f / cap);
    for (; i + WIDTH <= n; i += WIDTH)
        store(x + i, c * vec_tanh(load(x + i) * down));
    if (i < n)
        store_tail(x + i, c * vec_tanh(load_tail(x + i, n - i, 0) * down), n - i);
}

static void softcap_backward(float *restrict d, const float *restrict y, float cap, size_t n)
{
    float down = 1.0f / cap;
    for (size_t i = 0; i < n; i++) {
        float t = y[i] * down;
        d[i] *= 1.0f - t * t;
    }
}

static void rope(float *x, const float *c, const float *s, size_t half, bool backward)
{
    float sign = backward ? -1.0f : 1.0f;
    for (size_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half], sine = sign * s[i];
        x[i] = a * c[i] - b * sine;
        x[i + half] = b * c[i] + a * sine;
    }
}

static void softmax_backward(float *ds, const float *p, const float *restrict dp, float delta,
                             float factor, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ds[i] = p[i] * (dp[i] - delta) * factor;
}

static void adamw(float *restrict p, const float *restrict g, float *restrict m, float *restrict v,
                  const struct adamw_step *step, size_t n)
{
    float decay = 1.0f - step->lr * step->weight_decay, b1 = step->beta1, b2 = step->beta2;
    float size = step->lr / step->correction1, root = step->correction2_sqrt, eps = step->eps;
    float factor = step->grad_scale;
    for (size_t i = 0; i < n; i++) {
        float gi = g[i] * factor;
        m[i] = b1 * m[i] + (1.0f - b1) * gi;
        v[i] = b2 * v[i] + (1.0f - b2) * gi * gi;
        p[i] = p[i] * decay - size * (m[i] / (sqrtf(v[i]) / root + eps));
    }
}

static double fma_peak(size_t n, float *sink)
{
    enum { SUMS = WIDTH == 4 ? 24 : 12 }; /* more than a latency's worth on machines with four narrow units */
    vec c[SUMS], a = (vec){0} + 0.999f, b = (vec){0} + 1e-3f;
#pragma GCC unroll 24
    for (int i = 0; i < SUMS; i++)
        c[i] = (vec){0} + (float)i;
    for (size_t j = 0; j < n; j++) {
#pragma GCC unroll 24
        for (int i = 0; i < SUMS; i++)
            c[i] = vec_fma(a, b, c[i]); /* as in a product: the sum is what NEON's instruction adds to */
    }
#pragma GCC unroll 24
    for (int i = 0; i < SUMS; i++)
        *sink += c[i][0];
    return 2.0 * SUMS * WIDTH * (double)n;
}

const struct kernel PASTE(kernel_, KERNEL_ISA) = {
    .name = STRING(KERNEL_ISA),
    .vector_floats = WIDTH,
    .tile_rows = TILE_ROWS,
    .gemm = gemm,
    .gemm_strips = gemm_strips,
    .pack = pack,
    .turn = turn,
    .few_rows = FUSED_ROWS,
    .gemm_few = gemm_few,
    .unpack = unpack,
    .dot = dot,
    .max = row_max,
    .exp_sum = exp_sum,
    .exp_scale = exp_scale,
    .axpy = axpy,
    .scale = scale,
    .add = add,
    .norm_scale = norm_scale,
    .norm_backward = norm_backward,
    .norm_backward_weight = norm_backward_weight,
    .dot3 = dot3,
    .swiglu = swiglu,
    .swiglu_backward = swiglu_backward,
    .geglu = geglu,
    .geglu_backward = geglu_backward,
    .softcap = softcap,
    .softcap_backward = softcap_backward,
    .rope = rope,
    .softmax_backward = softmax_backward,
    .adamw = adamw,
    .fma_peak = fma_peak,
};
