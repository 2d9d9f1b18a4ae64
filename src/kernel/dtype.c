#include "kernel/dtype.h"

#include <string.h>

#include "util/err.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are read in place");

#define INLINE static inline __attribute__((always_inline))

const struct dtype_info dtype_table[DTYPE_COUNT] = {
    [DTYPE_F32] = {"F32", 1, 4},       [DTYPE_F16] = {"F16", 1, 2},
    [DTYPE_BF16] = {"BF16", 1, 2},     [DTYPE_Q4_0] = {"Q4_0", 32, 18},
    [DTYPE_Q4_1] = {"Q4_1", 32, 20},   [DTYPE_Q8_0] = {"Q8_0", 32, 34},
    [DTYPE_Q6_K] = {"Q6_K", 256, 210},
};

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

INLINE void unpack_q6_k(float *restrict out, const uint8_t *restrict in, size_t n)
{
    for (size_t i = 0; i < n; i += 256, in += 210, out += 256) {
        float d = load_half(in + 208);
        uint8_t q[256];
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
