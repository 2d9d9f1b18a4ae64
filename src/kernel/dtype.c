#include "kernel/dtype.h"

#include <string.h>

#include "util/err.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are read in place");

#define INLINE static inline __attribute__((always_inline))

const struct dtype_info dtype_table[DTYPE_COUNT] = {
    [DTYPE_F32] = {"F32", 1, 4},       [DTYPE_F16] = {"F16", 1, 2},
    [DTYPE_BF16] = {"BF16", 1, 2},     [DTYPE_Q4_0] = {"Q4_0", 32, 18},
    [DTYPE_Q4_1] = {"Q4_1", 32, 20},   [DTYPE_Q8_0] = {"Q8_0", 32, 34},
    [DTYPE_Q6_K] = {"Q6_K", 256, 210}, [DTYPE_Q5_0] = {"Q5_0", 32, 22},
    [DTYPE_Q5_1] = {"Q5_1", 32, 24},   [DTYPE_IQ4_NL] = {"IQ4_NL", 32, 18},
    [DTYPE_Q2_K] = {"Q2_K", 256, 84},  [DTYPE_Q3_K] = {"Q3_K", 256, 110},
    [DTYPE_Q4_K] = {"Q4_K", 256, 144}, [DTYPE_Q5_K] = {"Q5_K", 256, 176},
};

const int8_t dtype_nl_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

size_t dtype_row_bytes(enum dtype type, size_t n)
{
    const struct dtype_info *info = &dtype_table[type];
    size_t bytes;
    ENSURE(n % info->block == 0);
    ENSURE(!__builtin_mul_overflow(n / info->block, info->bytes, &bytes));
    return bytes;
}

/* Without branches, and without subnormal floats, which some programs flush to zero. */
INLINE float half_to_float(uint16_t half)
{
    uint32_t magnitude = half & 0x7fff, bits;
    float small = (float)(int32_t)magnitude * 0x1p-24f; /* what it is worth if it is subnormal */
    memcpy(&bits, &small, 4);
    uint32_t normal = (magnitude << 13) + (112u << 23);
    normal += magnitude >= 0x7c00 ? 112u << 23 : 0; /* infinity and NaN: the largest exponent */
    bits = (magnitude < 0x400 ? bits : normal) | (uint32_t)(half & 0x8000) << 16;
    float out;
    memcpy(&out, &bits, 4);
    return out;
}

float dtype_f16(uint16_t half)
{
    return half_to_float(half);
}

INLINE float load_half(const uint8_t *restrict in)
{
    uint16_t half;
    memcpy(&half, in, 2);
    return half_to_float(half);
}

INLINE void unpack_f16(float *restrict out, const uint8_t *restrict in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = load_half(in + 2 * i);
}

INLINE void unpack_bf16(float *restrict out, const uint8_t *restrict in, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t upper;
        memcpy(&upper, in + 2 * i, 2);
        uint32_t bits = (uint32_t)upper << 16;
        memcpy(out + i, &bits, 4);
    }
}

/* Left to itself, gcc writes loops of 16 out before it looks for vectors, and then finds poor ones:
 * hence the pragmas here. */
INLINE void unpack_q4_0(float *restrict out, const uint8_t *restrict in, size_t n)
{
    for (size_t i = 0; i < n; i += 32, in += 18, out += 32) {
        float d = load_half(in);
#pragma GCC unroll 1
        for (int j = 0; j < 16; j++)
            out[j] = d * (float)((in[2 + j] & 15) - 8);
#pragma GCC unroll 1
        for (int j = 0; j < 16; j++)
            out[16 + j] = d * (float)((in[2 + j] >> 4) - 8);
    }
}

INLINE void unpack_q4_1(float *restrict out, const uint8_t *restrict in, size_t n)
{
    for (size_t i = 0; i < n; i += 32, in += 20, out += 32) {
        float d = load_half(in), m = load_half(in + 2);
#pragma GCC unroll 1
        for (int j = 0; j < 16; j++)
            out[j] = d * (float)(in[4 + j] & 15) + m;
#pragma GCC unroll 1
        for (int j = 0; j < 16; j++)
            out[16 + j] = d * (float)(in[4 + j] >> 4) + m;
    }
}

INLINE void unpack_q8_0(float *restrict out, const uint8_t *restrict in, size_t n)
{
    for (size_t i = 0; i < n; i += 32, in += 34, out += 32) {
        float d = load_half(in);
        for (int j = 0; j < 32; j++)
            out[j] = d * (float)(int8_t)in[2 + j];
    }
}

/* ---- blocks taken apart ---- */

INLINE uint16_t load_u16(const uint8_t *in)
{
    uint16_t x;
    memcpy(&x, in, 2);
    return x;
}

/* 32 numbers of four bits, and of five with the word of the fifth. */
INLINE void nibbles(uint8_t *restrict q, const uint8_t *restrict in)
{
    for (int j = 0; j < 16; j++) {
        q[j] = in[j] & 15;
        q[16 + j] = in[j] >> 4;
    }
}

INLINE void fives(uint8_t *restrict q, const uint8_t *restrict in)
{
    uint32_t fifth;
    memcpy(&fifth, in, 4);
    nibbles(q, in + 4);
    for (int j = 0; j < 32; j++)
        q[j] |= (uint8_t)((fifth >> j & 1) << 4);
}

/* 256 numbers of two bits (Q2_K, Q3_K), or of four (Q4_K, Q5_K). */
INLINE void k_twos(uint8_t *restrict q, const uint8_t *restrict in)
{
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 32; j++)
            q[32 * i + j] = in[32 * (i / 4) + j] >> 2 * (i % 4) & 3;
}

INLINE void k_fours(uint8_t *restrict q, const uint8_t *restrict in)
{
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 32; j++)
            q[32 * i + j] = in[32 * (i / 2) + j] >> 4 * (i % 2) & 15;
}

/* One more bit for each, worth `value`. */
INLINE void k_bit(uint8_t *restrict q, const uint8_t *restrict in, int value)
{
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 32; j++)
            q[32 * i + j] |= (uint8_t)((in[j] >> i & 1) * value);
}

INLINE void q3_k_scales(uint8_t scale[16], const uint8_t *in)
{
    for (int i = 0; i < 16; i++) {
        int low = in[i % 8] >> 4 * (i / 8) & 15, high = in[8 + i % 4] >> 2 * (i / 4) & 3;
        scale[i] = (uint8_t)((low | high << 4) - 32);
    }
}

INLINE void q4_k_scales(uint8_t scale[8], uint8_t min[8], const uint8_t *in)
{
    for (int i = 0; i < 4; i++) {
        scale[i] = in[i] & 63;
        min[i] = in[4 + i] & 63;
        scale[4 + i] = (in[8 + i] & 15) | (in[i] >> 6) << 4;
        min[4 + i] = in[8 + i] >> 4 | (in[4 + i] >> 6) << 4;
    }
}

INLINE void q6_k_numbers(uint8_t *restrict q, const uint8_t *restrict in)
{
    for (int half = 0; half < 2; half++) {
        const uint8_t *restrict ql = in + 64 * half;
        const uint8_t *restrict qh = in + 128 + 32 * half;
        uint8_t *restrict to = q + 128 * half;
        for (int j = 0; j < 32; j++) {
            to[j] = (ql[j] & 15) | (qh[j] & 3) << 4;
            to[32 + j] = (ql[32 + j] & 15) | (qh[j] & 12) << 2;
            to[64 + j] = ql[j] >> 4 | (qh[j] & 48);
            to[96 + j] = ql[32 + j] >> 4 | (qh[j] & 192) >> 2;
        }
    }
}

INLINE void take_apart(struct dtype_parts *restrict out, enum dtype type, const uint8_t *restrict in)
{
    out->d = load_u16(in);
    out->m = load_u16(in + 2);
    switch (type) {
    case DTYPE_Q4_0:
    case DTYPE_IQ4_NL:
        nibbles(out->q, in + 2);
        break;
    case DTYPE_Q4_1:
        nibbles(out->q, in + 4);
        break;
    case DTYPE_Q5_0:
        fives(out->q, in + 2);
        break;
    case DTYPE_Q5_1:
        fives(out->q, in + 4);
        break;
    case DTYPE_Q8_0:
        memcpy(out->q, in + 2, 32);
        break;
    case DTYPE_Q2_K:
        for (int i = 0; i < 16; i++) {
            out->scale[i] = in[i] & 15;
            out->min[i] = in[i] >> 4;
        }
        k_twos(out->q, in + 16);
        out->d = load_u16(in + 80);
        out->m = load_u16(in + 82);
        break;
    case DTYPE_Q3_K:
        q3_k_scales(out->scale, in + 96);
        k_twos(out->q, in + 32);
        k_bit(out->q, in, 4);
        out->d = load_u16(in + 108);
        break;
    case DTYPE_Q4_K:
        q4_k_scales(out->scale, out->min, in + 4);
        k_fours(out->q, in + 16);
        break;
    case DTYPE_Q5_K:
        q4_k_scales(out->scale, out->min, in + 4);
        k_fours(out->q, in + 48);
        k_bit(out->q, in + 16, 16);
        break;
    case DTYPE_Q6_K:
        q6_k_numbers(out->q, in);
        memcpy(out->scale, in + 192, 16);
        out->d = load_u16(in + 208);
        break;
    default:
        BUG("a type without blocks");
    }
}

void dtype_take_apart(struct dtype_parts *out, enum dtype type, const void *block)
{
    take_apart(out, type, block);
}

/* ---- and put together ---- */

INLINE void unpack_fives(enum dtype type, float *restrict out, const uint8_t *restrict in, size_t n)
{
    for (size_t i = 0; i < n; i += 32, in += dtype_table[type].bytes, out += 32) {
        struct dtype_parts p;
        take_apart(&p, type, in);
        float d = half_to_float(p.d), m = half_to_float(p.m);
        for (int j = 0; j < 32; j++)
            out[j] = type == DTYPE_Q5_1 ? d * (float)p.q[j] + m : d * (float)(p.q[j] - 16);
    }
}

INLINE void unpack_iq4_nl(float *restrict out, const uint8_t *restrict in, size_t n)
{
    for (size_t i = 0; i < n; i += 32, in += 18, out += 32) {
        float d = load_half(in);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)dtype_nl_values[in[2 + j] & 15];
            out[16 + j] = d * (float)dtype_nl_values[in[2 + j] >> 4];
        }
    }
}

/* The K-types but Q6_K. */
INLINE void unpack_k(enum dtype type, float *restrict out, const uint8_t *restrict in, size_t n)
{
    const int group = type == DTYPE_Q2_K || type == DTYPE_Q3_K ? 16 : 32;
    for (size_t i = 0; i < n; i += 256, in += dtype_table[type].bytes, out += 256) {
        struct dtype_parts p;
        take_apart(&p, type, in);
        float d = half_to_float(p.d), dmin = half_to_float(p.m);
        for (int g = 0; g < 256 / group; g++) {
            const uint8_t *restrict q = p.q + g * group;
            float *restrict to = out + g * group;
            if (type == DTYPE_Q3_K) {
                float scale = d * (float)(int8_t)p.scale[g];
                for (int j = 0; j < group; j++)
                    to[j] = scale * (float)(q[j] - 4);
            } else {
                float scale = d * (float)p.scale[g], min = dmin * (float)p.min[g];
                for (int j = 0; j < group; j++)
                    to[j] = scale * (float)q[j] - min;
            }
        }
    }
}

INLINE void unpack_q6_k(float *restrict out, const uint8_t *restrict in, size_t n)
{
    for (size_t i = 0; i < n; i += 256, in += 210, out += 256) {
        float d = load_half(in + 208);
        uint8_t q[256];
        q6_k_numbers(q, in);
        for (int pair = 0; pair < 8; pair++) {
            float a = d * (float)(int8_t)in[192 + 2 * pair];
            float b = d * (float)(int8_t)in[193 + 2 * pair];
            for (int j = 0; j < 32; j++)
                out[32 * pair + j] = (j < 16 ? a : b) * (float)(q[32 * pair + j] - 32);
        }
    }
}

INLINE void unpack_as(enum dtype type, float *restrict out, const uint8_t *restrict in, size_t n)
{
    switch (type) {
    case DTYPE_F32:
        memcpy(out, in, 4 * n);
        break;
    case DTYPE_F16:
        unpack_f16(out, in, n);
        break;
    case DTYPE_BF16:
        unpack_bf16(out, in, n);
        break;
    case DTYPE_Q4_0:
        unpack_q4_0(out, in, n);
        break;
    case DTYPE_Q4_1:
        unpack_q4_1(out, in, n);
        break;
    case DTYPE_Q8_0:
        unpack_q8_0(out, in, n);
        break;
    case DTYPE_Q6_K:
        unpack_q6_k(out, in, n);
        break;
    case DTYPE_Q5_0:
        unpack_fives(DTYPE_Q5_0, out, in, n);
        break;
    case DTYPE_Q5_1:
        unpack_fives(DTYPE_Q5_1, out, in, n);
        break;
    case DTYPE_IQ4_NL:
        unpack_iq4_nl(out, in, n);
        break;
    case DTYPE_Q2_K:
        unpack_k(DTYPE_Q2_K, out, in, n);
        break;
    case DTYPE_Q3_K:
        unpack_k(DTYPE_Q3_K, out, in, n);
        break;
    case DTYPE_Q4_K:
        unpack_k(DTYPE_Q4_K, out, in, n);
        break;
    case DTYPE_Q5_K:
        unpack_k(DTYPE_Q5_K, out, in, n);
        break;
    case DTYPE_COUNT:
        BUG("a type that cannot be unpacked");
    }
}

static void unpack(enum dtype type, float *out, const uint8_t *in, size_t n)
{
    unpack_as(type, out, in, n);
}

#if defined(__x86_64__)
/* The same code and the same bits, in vectors twice as wide. */
__attribute__((target("avx2"))) static void unpack_avx2(enum dtype type, float *out,
                                                        const uint8_t *in, size_t n)
{
    unpack_as(type, out, in, n);
}
#endif

void dtype_unpack(enum dtype type, float *out, const void *row, size_t first, size_t n)
{
    ENSURE(first % dtype_table[type].block == 0 && n % dtype_table[type].block == 0);
    const uint8_t *in = (const uint8_t *)row + dtype_row_bytes(type, first);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        unpack_avx2(type, out, in, n);
        return;
    }
#endif
    unpack(type, out, in, n);
}
