/* The kernels of kernel.h, compiled once an instruction set (see CMakeLists.txt):
 * KERNEL_ISA is avx512, avx2, neon or plain. */
#include "kernel/kernel.h"

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

/* ahead: ask for the rows of the panel to come, both strips of them: the first tile that goes through a panel. */
INLINE void tile(float *y, size_t y_ld, const float *x, size_t x_row, size_t x_col, const float *panel,
                 size_t panel_ld, size_t k, const int rows, const int vectors, size_t cols, bool accumulate,
                 const bool ahead)
{
    vec c[TILE_ROWS][ALL];
    float edge[PANEL];
    bool whole = cols >= (size_t)(vectors * WIDTH);
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
        const float *from = y + (size_t)r * y_ld;
        if (accumulate && !whole) {
            memset(edge, 0, sizeof edge);
            memcpy(edge, from, cols * sizeof(float));
            from = edge;
        }
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            c[r][v] = accumulate ? *(const vec_u *)(from + v * WIDTH) : (vec){0};
    }
    for (size_t i = 0; i < k; i++) {
        vec b[ALL];
        if (ahead) {
            __builtin_prefetch(panel + (i + AHEAD) * panel_ld);
            __builtin_prefetch(panel + (i + AHEAD) * panel_ld + PANEL / 2);
        }
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            b[v] = *(const vec_u *)(panel + i * panel_ld + (size_t)v * WIDTH);
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
            *(vec_u *)((whole ? to : edge) + v * WIDTH) = c[r][v];
        if (!whole)
            memcpy(to, edge, cols * sizeof(float));
    }
}

#define TILE(R, V, AHEAD_TOO)                                                                      \
    tile(y + r * y_ld + from, y_ld, x + r * x_row, x_row, x_col, panel + from, panel_ld, k, R, V,  \
         cols - from, accumulate, AHEAD_TOO)

/* One strip of columns, `V` vectors wide, for all rows. */
#define STRIP(V)                                                                                   \
    do {                                                                                           \
        size_t r = 0;                                                                              \
        if (from == 0 && rows >= TILE_ROWS) {                                                      \
            TILE(TILE_ROWS, V, true);                                                              \
            r = TILE_ROWS;                                                                         \
        }                                                                                          \
        for (; r + TILE_ROWS <= rows; r += TILE_ROWS)                                              \
            TILE(TILE_ROWS, V, false);                                                             \
        switch (rows - r) {                                                                        \
            CASES(V)                                                                               \
        }                                                                                          \
    } while (0)
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

static void gemm(float *y, size_t y_ld, const float *x, size_t x_row, size_t x_col, const float *panel,
                 size_t panel_ld, size_t k, size_t rows, size_t cols, bool accumulate)
{
    /* a few rows are through before a strip pays: the panel comes from memory once, row by row */
    if (ALL > 2 && rows <= FEW_ROWS && cols == PANEL) {
        const size_t r = 0, from = 0;
        switch (rows) {
#if FEW_ROWS > 1
            CASE(3, ALL)
            CASE(2, ALL)
#endif
            CASE(1, ALL)
        }
        return;
    }
    for (size_t from = 0; from < cols; from += 2 * WIDTH) {
        if (cols - from > WIDTH)
            STRIP(2);
        else
            STRIP(1);
    }
}

/* ---- packed panels ---- */

/* WIDTH bytes, without or with a sign, as floats. */
INLINE vec vec_bytes(const uint8_t *p, const bool with_sign)
{
#if defined(__AVX512F__)
    __m128i q = _mm_loadu_si128((const __m128i *)p);
    return (vec)_mm512_cvtepi32_ps(with_sign ? _mm512_cvtepi8_epi32(q) : _mm512_cvtepu8_epi32(q));
#elif defined(__AVX2__)
    __m128i q = _mm_loadl_epi64((const __m128i *)p);
    return (vec)_mm256_cvtepi32_ps(with_sign ? _mm256_cvtepi8_epi32(q) : _mm256_cvtepu8_epi32(q));
#elif defined(KERNEL_NEON)
    uint32_t four;
    memcpy(&four, p, sizeof four);
    uint8x8_t q = vcreate_u8(four);
    int32x4_t with = vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(q))));
    return with_sign ? (vec)vcvtq_f32_s32(with) : (vec)vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(q))));
#else
    vec v;
    for (int i = 0; i < WIDTH; i++)
        v[i] = with_sign ? (float)(int8_t)p[i] : (float)p[i];
    return v;
#endif
}

typedef uint8_t bytes_16 __attribute__((vector_size(16)));

/* Some rows of 32 columns: q, of a byte or of four bits, their scales, and their minima (NULL: none; four bits stand for
 * -8 .. 7 then). */
INLINE void unpack_block(float *panel, const uint8_t *q, const float *d, const float *m, const bool four_bits, size_t rows)
{
    vec scale[ALL], least[ALL];
#pragma GCC unroll 8
    for (int v = 0; v < ALL; v++) {
        scale[v] = load(d + v * WIDTH);
        least[v] = m ? load(m + v * WIDTH) : (vec){0};
    }
    for (size_t i = 0; i < rows; i++) {
        uint8_t both[PANEL];
        const uint8_t *from = q + i * PANEL;
        if (four_bits) {
            bytes_16 packed, low, high;
            memcpy(&packed, q + i * (PANEL / 2), sizeof packed);
            low = packed & 15;
            high = packed >> 4;
            memcpy(both, &low, sizeof low);
            memcpy(both + PANEL / 2, &high, sizeof high);
            from = both;
        }
#pragma GCC unroll 8
        for (int v = 0; v < ALL; v++) {
            vec x = vec_bytes(from + v * WIDTH, !four_bits);
            if (four_bits && !m)
                x -= vec_all(8.0f);
            /* the product is exact (dtype.h), so a fused addition rounds as two operations do */
            store(panel + i * PANEL + v * WIDTH, m ? vec_fma(x, scale[v], least[v]) : x * scale[v]);
        }
    }
}

static void unpack(float *panel, const void *packed, enum dtype type, size_t k)
{
    const uint8_t *in = packed;
    switch (type) {
    case DTYPE_Q4_0:
        for (size_t i = 0; i < k; i += 32, in += 4 * PANEL + 32 * (PANEL / 2))
            unpack_block(panel + i * PANEL, in + 4 * PANEL, (const float *)(const void *)in, NULL, true, 32);
        break;
    case DTYPE_Q4_1:
        for (size_t i = 0; i < k; i += 32, in += 8 * PANEL + 32 * (PANEL / 2))
            unpack_block(panel + i * PANEL, in + 8 * PANEL, (const float *)(const void *)in,
                         (const float *)(const void *)in + PANEL, true, 32);
        break;
    case DTYPE_Q8_0:
        for (size_t i = 0; i < k; i += 32, in += 4 * PANEL + 32 * PANEL)
            unpack_block(panel + i * PANEL, in + 4 * PANEL, (const float *)(const void *)in, NULL, false, 32);
        break;
    case DTYPE_Q6_K: /* two halves with scales of their own */
        for (size_t i = 0; i < k; i += 16, in += i % 32 ? 4 * PANEL : (4 + 32) * PANEL) {
            const uint8_t *q = in + (i % 32 ? (4 + 16) * PANEL : 8 * PANEL);
            unpack_block(panel + i * PANEL, q, (const float *)(const void *)in, NULL, false, 16);
        }
        break;
    default: /* numbers of two bytes: in order, as in a stored row */
        dtype_unpack(type, panel, in, 0, k * PANEL);
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
    .gemm = gemm,
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
    .rope = rope,
    .softmax_backward = softmax_backward,
    .adamw = adamw,
    .fma_peak = fma_peak,
};
