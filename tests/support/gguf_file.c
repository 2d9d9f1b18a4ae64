#include "support/gguf_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/support.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/rng.h"

void add_u32(struct buf *b, uint32_t x)
{
    buf_add(b, &x, 4);
}

void add_u64(struct buf *b, uint64_t x)
{
    buf_add(b, &x, 8);
}

void add_string(struct buf *b, const char *s)
{
    add_u64(b, strlen(s));
    buf_str(b, s);
}

void add_start(struct buf *b, uint32_t version, uint64_t tensors, uint64_t keys)
{
    buf_init(b, 16 << 20);
    buf_str(b, "GGUF");
    add_u32(b, version);
    add_u64(b, tensors);
    add_u64(b, keys);
}

void add_key(struct buf *b, const char *key, enum gguf_type type, const void *value, size_t bytes)
{
    add_string(b, key);
    add_u32(b, type);
    buf_add(b, value, bytes);
}

void add_text_key(struct buf *b, const char *key, const char *value)
{
    add_string(b, key);
    add_u32(b, GGUF_STRING);
    add_string(b, value);
}

void add_array(struct buf *b, const char *key, enum gguf_type type, uint64_t n)
{
    add_string(b, key);
    add_u32(b, GGUF_ARRAY);
    add_u32(b, type);
    add_u64(b, n);
}

void add_tensor(struct buf *b, const char *name, uint64_t width, uint64_t rows, uint32_t type, uint64_t offset)
{
    add_string(b, name);
    add_u32(b, 2);
    add_u64(b, width);
    add_u64(b, rows);
    add_u32(b, type);
    add_u64(b, offset);
}

void add_data(struct buf *b, size_t alignment, size_t n)
{
    while (b->len % alignment)
        buf_add(b, "", 1);
    for (size_t i = 0; i < n; i++)
        buf_add(b, &(uint8_t){(uint8_t)(i * 7)}, 1);
}

uint32_t ggml_number(enum dtype type)
{
    static const uint32_t numbers[DTYPE_COUNT] = {
        [DTYPE_F32] = 0,   [DTYPE_F16] = 1,     [DTYPE_BF16] = 30, [DTYPE_Q4_0] = 2,  [DTYPE_Q4_1] = 3,
        [DTYPE_Q8_0] = 8,  [DTYPE_Q6_K] = 14,   [DTYPE_Q5_0] = 6,  [DTYPE_Q5_1] = 7,  [DTYPE_IQ4_NL] = 20,
        [DTYPE_Q2_K] = 10, [DTYPE_Q3_K] = 11,   [DTYPE_Q4_K] = 12, [DTYPE_Q5_K] = 13};
    return numbers[type];
}

size_t block_halves(enum dtype type, size_t at[2])
{
    at[0] = type == DTYPE_Q2_K ? 80 : type == DTYPE_Q3_K ? 108 : type == DTYPE_Q6_K ? 208 : 0;
    at[1] = at[0] + 2;
    if (type == DTYPE_F32 || type == DTYPE_F16 || type == DTYPE_BF16)
        return 0;
    return type == DTYPE_Q4_1 || type == DTYPE_Q5_1 || type == DTYPE_Q2_K || type == DTYPE_Q4_K || type == DTYPE_Q5_K ? 2 : 1;
}

/* The nearest half of a number below 65,504. */
static uint16_t half_of(double x)
{
    double size = fabs(x);
    int e = size < 0x1p-14 ? -14 : ilogb(size); /* subnormal ones go on from the smallest normal */
    long fraction = lround(ldexp(size, 10 - e)), bits = (e + 14) * 1024 + fraction;
    return (uint16_t)((size < 0x1p-14 ? fraction : bits) | (x < 0 ? 0x8000 : 0));
}

/* Block i of tensor t: random bits, and halves that make weights of about 0.06, some with a negative d. */
static void add_block(struct buf *b, enum dtype type, uint32_t t, uint32_t i)
{
    /* the largest scale times the largest q, and where the middle is in the units of d */
    static const struct {
        double largest, middle;
    } of[DTYPE_COUNT] = {[DTYPE_Q4_0] = {8, 0},    [DTYPE_Q4_1] = {8, 7.5},      [DTYPE_Q5_0] = {16, 0},  [DTYPE_Q5_1] = {16, 15.5},
                         [DTYPE_Q8_0] = {127, 0},  [DTYPE_IQ4_NL] = {127, 0},    [DTYPE_Q2_K] = {15, 1.5}, [DTYPE_Q3_K] = {128, 0},
                         [DTYPE_Q4_K] = {512, 7.5}, [DTYPE_Q5_K] = {1024, 15.5}, [DTYPE_Q6_K] = {4096, 0}};
    uint8_t block[256];
    size_t at[2], halves = block_halves(type, at), bytes = dtype_table[type].bytes;
    double x = rng_normal(11, RNG_TEST, i, t, 0, 0) * 0.06;
    if (halves == 0) {
        float f = (float)x;
        uint16_t narrow = half_of(x);
        memcpy(block, &f, 4);
        if (type == DTYPE_BF16)
            memmove(block, block + 2, 2);
        if (type == DTYPE_F16)
            memcpy(block, &narrow, 2);
        buf_add(b, block, bytes);
        return;
    }
    for (uint32_t j = 0; j < bytes; j++)
        block[j] = (uint8_t)rng_below(256, 12, RNG_TEST, i, t, j, 0);
    double d = copysign(0.05 + fabs(x), x) / of[type].largest;
    bool added = type == DTYPE_Q4_1 || type == DTYPE_Q5_1;
    uint16_t half[2] = {half_of(d), half_of((added ? -d : d) * of[type].middle)};
    for (size_t h = 0; h < halves; h++)
        memcpy(block + at[h], &half[h], 2);
    buf_add(b, block, bytes);
}

/* Matrix t of n numbers, from one block to the next. */
static void add_matrix(struct buf *b, const struct small_model *s, uint32_t t, size_t n)
{
    struct buf stored;
    buf_init(&stored, 16 << 20);
    for (uint32_t i = 0; i < n / dtype_table[s->type].block; i++)
        add_block(&stored, s->type, t, i);
    if (s->floats) {
        float *x = xmalloc(n * sizeof *x);
        dtype_unpack(s->type, x, stored.data, 0, n);
        buf_add(b, x, n * sizeof *x);
        free(x);
    } else {
        buf_add(b, stored.data, stored.len);
    }
    buf_release(&stored);
}

/* Every part's own keys; the sizes are the first's. */
static void add_keys(struct buf *b, const struct small_model *s, uint32_t part, uint32_t tensors)
{
    static const struct {
        const char *key;
        uint32_t value;
    } sizes[] = {{"llama.embedding_length", 256},     {"llama.block_count", 2},       {"llama.attention.head_count", 4},
                 {"llama.attention.head_count_kv", 2}, {"llama.feed_forward_length", 256}, {"llama.context_length", 128}};
    if (part == 0) {
        add_text_key(b, "general.architecture", "llama");
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            add_key(b, sizes[i].key, GGUF_U32, &sizes[i].value, 4);
    }
    if (s->parts > 1) { /* in the types that llama.cpp writes them in */
        add_key(b, "split.no", GGUF_U16, &(uint16_t){(uint16_t)part}, 2);
        add_key(b, "split.count", GGUF_U16, &(uint16_t){(uint16_t)s->parts}, 2);
        add_key(b, "split.tensors.count", GGUF_I32, &(int32_t){(int32_t)tensors}, 4);
    }
}

void write_small_model(const char *prefix, const struct small_model *s)
{
    static const struct {
        const char *name;
        uint64_t rows; /* all are 256 wide; 1: a norm's weights, floats */
    } tensors[] = {
        {"token_embd.weight", 300},      {"output_norm.weight", 1},       {"blk.0.attn_norm.weight", 1},   {"blk.0.ffn_norm.weight", 1},
        {"blk.0.attn_q.weight", 256},    {"blk.0.attn_k.weight", 128},    {"blk.0.attn_v.weight", 128},    {"blk.0.attn_output.weight", 256},
        {"blk.0.ffn_gate.weight", 256},  {"blk.0.ffn_up.weight", 256},    {"blk.0.ffn_down.weight", 256},  {"blk.1.attn_norm.weight", 1},
        {"blk.1.ffn_norm.weight", 1},    {"blk.1.attn_q.weight", 256},    {"blk.1.attn_k.weight", 128},    {"blk.1.attn_v.weight", 128},
        {"blk.1.attn_output.weight", 256}, {"blk.1.ffn_gate.weight", 256}, {"blk.1.ffn_up.weight", 256},   {"blk.1.ffn_down.weight", 256}};
    enum { TENSORS = sizeof tensors / sizeof *tensors, WIDTH = 256 };
    uint32_t holders = s->parts > 1 ? s->parts - 1 : 1;
    for (uint32_t part = 0; part < s->parts; part++) {
        uint32_t first = s->parts > 1 && part ? (part - 1) * TENSORS / holders : 0,
                 end = s->parts > 1 ? part * TENSORS / holders : TENSORS;
        struct buf b;
        struct err err;
        add_start(&b, 3, end - first, (part == 0 ? 7 : 0) + (s->parts > 1 ? 3 : 0));
        add_keys(&b, s, part, TENSORS);
        uint64_t offset = 0;
        for (uint32_t t = first; t < end; t++) {
            enum dtype type = tensors[t].rows == 1 || s->floats ? DTYPE_F32 : s->type;
            add_tensor(&b, tensors[t].name, WIDTH, tensors[t].rows, ggml_number(type), offset);
            offset += (dtype_row_bytes(type, WIDTH * tensors[t].rows) + 31) / 32 * 32;
        }
        for (uint32_t t = first; t < end; t++) {
            add_data(&b, 32, 0);
            for (uint32_t i = 0; i < WIDTH && tensors[t].rows == 1; i++)
                buf_add(&b, &(float){(float)(1 + 0.1 * rng_normal(13, RNG_TEST, i, t, 0, 0))}, 4);
            if (tensors[t].rows > 1)
                add_matrix(&b, s, t, WIDTH * tensors[t].rows);
        }
        char *path = s->parts > 1 ? xasprintf("%s-%05u-of-%05u.gguf", prefix, part + 1, s->parts) : xasprintf("%s.gguf", prefix);
        if (file_write(path, b.data, b.len, &err))
            fail_msg("%s", err.text);
        free(path);
        buf_release(&b);
    }
}
