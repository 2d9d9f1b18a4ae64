#include "kernel/panel.h"

#include <string.h>

#include "kernel/kernel.h"
#include "util/err.h"

/* Bytes of what 32 rows of a packed panel share, and of each of them. */
static void shape_of(enum dtype type, size_t *shared, size_t *each)
{
    *each = 0;
    *shared = type == DTYPE_Q4_1 || type == DTYPE_Q6_K ? 8 * PANEL : type == DTYPE_Q4_0 || type == DTYPE_Q8_0 ? 4 * PANEL : 0;
    switch (type) {
    case DTYPE_F32:
        *each = 4 * PANEL;
        break;
    case DTYPE_F16:
    case DTYPE_BF16:
        *each = 2 * PANEL;
        break;
    case DTYPE_Q4_0:
    case DTYPE_Q4_1:
        *each = PANEL / 2;
        break;
    case DTYPE_Q8_0:
    case DTYPE_Q6_K:
        *each = PANEL;
        break;
    case DTYPE_COUNT:
        BUG("a type that cannot be packed");
    }
}

static size_t bytes_of(enum dtype type, size_t k)
{
    size_t shared, each;
    shape_of(type, &shared, &each);
    return k * each + k / 32 * shared;
}

size_t panel_bytes(enum dtype type, size_t k)
{
    size_t bytes = bytes_of(type, k);
    ENSURE(k % dtype_table[type].block == 0);
    return bytes;
}

size_t panel_offset(enum dtype type, size_t k)
{
    ENSURE(k % 32 == 0);
    return bytes_of(type, k);
}

/* One block of 32 weights of one row into column c. */
static void pack_block(unsigned char *to, enum dtype type, const unsigned char *block, size_t c)
{
    uint16_t half;
    memcpy(&half, block, 2);
    float d = dtype_f16(half);
    memcpy(to + 4 * c, &d, 4);
    if (type == DTYPE_Q8_0) {
        for (size_t i = 0; i < 32; i++)
            to[4 * PANEL + i * PANEL + c] = block[2 + i];
        return;
    }
    const unsigned char *q = block + 2;
    unsigned char *rows = to + 4 * PANEL;
    if (type == DTYPE_Q4_1) {
        memcpy(&half, block + 2, 2);
        float m = dtype_f16(half);
        memcpy(to + 4 * PANEL + 4 * c, &m, 4);
        q = block + 4;
        rows = to + 8 * PANEL;
    }
    int up = c < PANEL / 2 ? 0 : 4;
    for (size_t i = 0; i < 16; i++) {
        rows[i * (PANEL / 2) + c % (PANEL / 2)] |= (unsigned char)((q[i] & 15) << up);
        rows[(i + 16) * (PANEL / 2) + c % (PANEL / 2)] |= (unsigned char)((q[i] >> 4) << up);
    }
}

/* One block of 256 weights of one row into column c (the layout: dtype.h). */
static void pack_q6_k(unsigned char *to, const unsigned char *block, size_t c)
{
    uint16_t half;
    memcpy(&half, block + 208, 2);
    for (size_t part = 0; part < 8; part++, to += (8 + 32) * PANEL) {
        const unsigned char *low = block + 64 * (part / 4) + 32 * (part % 2), *high = block + 128 + 32 * (part / 4);
        size_t quarter = part % 4;
        for (size_t i = 0; i < 2; i++) {
            float scale = dtype_f16(half) * (float)(int8_t)block[192 + 2 * part + i];
            memcpy(to + 4 * (i * PANEL + c), &scale, 4);
        }
        for (size_t i = 0; i < 32; i++) {
            int q = (quarter < 2 ? low[i] & 15 : low[i] >> 4) | (high[i] >> 2 * quarter & 3) << 4;
            to[8 * PANEL + i * PANEL + c] = (unsigned char)(q - 32);
        }
    }
}

void panel_pack(void *to, enum dtype type, const void *const rows[32], size_t k)
{
    size_t shared, each;
    shape_of(type, &shared, &each);
    unsigned char *out = to;
    memset(out, 0, panel_bytes(type, k));
    for (size_t c = 0; c < PANEL; c++) {
        const unsigned char *in = rows[c];
        if (!in)
            continue;
        if (type == DTYPE_Q6_K) {
            for (size_t b = 0; b < k / 256; b++)
                pack_q6_k(out + b * 8 * (shared + 32 * each), in + b * dtype_table[type].bytes, c);
        } else if (shared) {
            for (size_t b = 0; b < k / 32; b++)
                pack_block(out + b * (shared + 32 * each), type, in + b * dtype_table[type].bytes, c);
        } else if (each == 2 * PANEL) {
            for (size_t i = 0; i < k; i++)
                memcpy(out + i * each + 2 * c, in + 2 * i, 2);
        } else {
            for (size_t i = 0; i < k; i++)
                memcpy(out + i * each + 4 * c, in + 4 * i, 4);
        }
    }
}
