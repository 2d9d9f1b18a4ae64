#include "kernel/panel.h"

#include <string.h>

#include "kernel/kernel.h"
#include "util/err.h"

static size_t bytes_of(enum dtype type, size_t k)
{
    struct panel_shape shape = panel_shape(type);
    return k * shape.row + k / 32 * shape.head;
}

size_t panel_bytes(enum dtype type, size_t k)
{
    ENSURE(type < DTYPE_COUNT && k % dtype_table[type].block == 0);
    return bytes_of(type, k);
}

size_t panel_offset(enum dtype type, size_t k)
{
    ENSURE(k % 32 == 0);
    return bytes_of(type, k);
}

/* Column c's entry in a part of a head that is `at` bytes in. */
static void put_float(unsigned char *head, size_t at, size_t c, float x)
{
    memcpy(head + at + 4 * c, &x, 4);
}

static void put_half(unsigned char *head, size_t at, size_t c, uint16_t x)
{
    memcpy(head + at + 2 * c, &x, 2);
}

/* What column c has in the head of a block's weights 32 part .. 32 part + 31. */
static void pack_head(unsigned char *head, enum dtype type, const struct dtype_parts *p, size_t part, size_t c)
{
    size_t halves = 2 * PANEL;
    switch (type) {
    case DTYPE_Q6_K:
        for (size_t i = 0; i < 2; i++)
            put_float(head, i * 4 * PANEL, c, dtype_f16(p->d) * (float)(int8_t)p->scale[2 * part + i]);
        break;
    case DTYPE_Q3_K:
        put_half(head, 0, c, p->d);
        for (size_t i = 0; i < 2; i++)
            head[halves + i * PANEL + c] = p->scale[2 * part + i];
        break;
    case DTYPE_Q2_K:
        put_half(head, 0, c, p->d);
        put_half(head, halves, c, p->m);
        for (size_t i = 0; i < 2; i++)
            head[2 * halves + i * PANEL + c] = (unsigned char)(p->scale[2 * part + i] | p->min[2 * part + i] << 4);
        break;
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        put_half(head, 0, c, p->d);
        put_half(head, halves, c, p->m);
        head[2 * halves + c] = p->scale[part];
        head[2 * halves + PANEL + c] = p->min[part];
        break;
    default:
        put_float(head, 0, c, dtype_f16(p->d));
        if (type == DTYPE_Q4_1 || type == DTYPE_Q5_1)
            put_float(head, 4 * PANEL, c, dtype_f16(p->m));
    }
}

/* Column c's q in one k; the bits are 0 so far. */
static void pack_number(unsigned char *row, enum dtype type, unsigned q, size_t c)
{
    switch (type) {
    case DTYPE_Q8_0:
        row[c] = (unsigned char)q;
        break;
    case DTYPE_Q6_K:
        row[c] = (unsigned char)(q - 32);
        break;
    case DTYPE_Q2_K:
    case DTYPE_Q3_K:
        row[c / 4] |= (unsigned char)((q & 3) << 2 * (c % 4));
        if (q >> 2)
            row[8 + c / 8] |= (unsigned char)(1 << c % 8);
        break;
    default:
        row[c % 16] |= (unsigned char)((q & 15) << 4 * (c / 16));
        if (q >> 4)
            row[16 + c / 8] |= (unsigned char)(1 << c % 8);
    }
}

/* One row's blocks into column c. */
static void pack_blocks(unsigned char *to, enum dtype type, const unsigned char *blocks, size_t n, size_t c)
{
    const struct dtype_info *info = &dtype_table[type];
    struct panel_shape shape = panel_shape(type);
    struct dtype_parts parts;
    for (size_t b = 0; b < n; b++, blocks += info->bytes) {
        dtype_take_apart(&parts, type, blocks);
        for (size_t part = 0; part < info->block / 32; part++, to += shape.head + 32 * shape.row) {
            pack_head(to, type, &parts, part, c);
            for (size_t i = 0; i < 32; i++)
                pack_number(to + shape.head + i * shape.row, type, parts.q[32 * part + i], c);
        }
    }
}

void panel_pack(void *to, enum dtype type, const void *const rows[32], size_t k)
{
    struct panel_shape shape = panel_shape(type);
    unsigned char *out = to;
    memset(out, 0, panel_bytes(type, k));
    for (size_t c = 0; c < PANEL; c++) {
        const unsigned char *in = rows[c];
        if (!in)
            continue;
        if (shape.head) {
            pack_blocks(out, type, in, k / dtype_table[type].block, c);
            continue;
        }
        size_t bytes = shape.row / PANEL; /* of a number */
        for (size_t i = 0; i < k; i++)
            memcpy(out + i * shape.row + bytes * c, in + bytes * i, bytes);
    }
}
