#include "kernel/pack.h"

#include <math.h>
#include <string.h>

#include "util/err.h"

static uint16_t to_half(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t size = bits & 0x7fffffff;
    if (size > 0x7f800000)
        return (uint16_t)(sign | 0x7e00); /* NaN */
    if (size >= 0x477ff000)
        return (uint16_t)(sign | 0x7c00); /* rounds beyond the largest half */
    if (size < 0x38800000) { /* a subnormal half: a multiple of 2^-24 */
        float magnitude;
        memcpy(&magnitude, &size, 4);
        return (uint16_t)(sign | (uint16_t)lrintf(magnitude * 16777216.0f));
    }
    uint32_t rounded = size + 0xfff + (size >> 13 & 1);
    return (uint16_t)(sign | (uint16_t)((rounded - 0x38000000) >> 13));
}

static uint16_t to_bfloat(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 64);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void put_half(uint8_t *to, float x)
{
    uint16_t h = to_half(x);
    memcpy(to, &h, 2);
}

static void pack_q8_0(uint8_t *to, const float *x)
{
    float most = 0;
    for (int j = 0; j < 32; j++)
        most = fabsf(x[j]) > most ? fabsf(x[j]) : most;
    float d = most / 127.0f, inverse = d != 0 ? 1.0f / d : 0;
    put_half(to, d);
    for (int j = 0; j < 32; j++)
        to[2 + j] = (uint8_t)(int8_t)roundf(x[j] * inverse);
}

static int four_bits(float q)
{
    int i = (int)q;
    return i < 15 ? i : 15;
}

static void pack_q4_0(uint8_t *to, const float *x)
{
    float most = 0, peak = 0;
    for (int j = 0; j < 32; j++)
        if (fabsf(x[j]) > most) {
            most = fabsf(x[j]);
            peak = x[j];
        }
    float d = peak / -8.0f, inverse = d != 0 ? 1.0f / d : 0;
    put_half(to, d);
    for (int j = 0; j < 16; j++)
        to[2 + j] = (uint8_t)(four_bits(x[j] * inverse + 8.5f) | four_bits(x[16 + j] * inverse + 8.5f) << 4);
}

static void pack_q4_1(uint8_t *to, const float *x)
{
    float min = x[0], max = x[0];
    for (int j = 1; j < 32; j++) {
        min = x[j] < min ? x[j] : min;
        max = x[j] > max ? x[j] : max;
    }
    float d = (max - min) / 15.0f, inverse = d != 0 ? 1.0f / d : 0;
    put_half(to, d);
    put_half(to + 2, min);
    for (int j = 0; j < 16; j++)
        to[4 + j] = (uint8_t)(four_bits((x[j] - min) * inverse + 0.5f) | four_bits((x[16 + j] - min) * inverse + 0.5f) << 4);
}

bool dtype_can_pack(enum dtype type)
{
    return type == DTYPE_F32 || type == DTYPE_F16 || type == DTYPE_BF16 || type == DTYPE_Q8_0 || type == DTYPE_Q4_0 || type == DTYPE_Q4_1;
}

void dtype_pack(enum dtype type, void *out, const float *x, size_t n)
{
    size_t block = dtype_table[type].block, bytes = dtype_table[type].bytes;
    uint8_t *to = out;
    ENSURE(dtype_can_pack(type) && n % block == 0);
    for (size_t i = 0; i < n; i += block, to += bytes) {
        uint16_t h;
        switch (type) {
        case DTYPE_F32:
            memcpy(to, x + i, 4);
            break;
        case DTYPE_F16:
        case DTYPE_BF16:
            h = type == DTYPE_F16 ? to_half(x[i]) : to_bfloat(x[i]);
            memcpy(to, &h, 2);
            break;
        case DTYPE_Q8_0:
            pack_q8_0(to, x + i);
            break;
        case DTYPE_Q4_0:
            pack_q4_0(to, x + i);
            break;
        default:
            pack_q4_1(to, x + i);
        }
    }
}
