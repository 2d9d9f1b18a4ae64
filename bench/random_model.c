/* Writes a GGUF with random weights: a model of any size for benches, where only its shape matters.
 *
 *     random_model FILE [--type q4_0|bf16|..] [--layers N --width N ..]     (random_model --help)
 *
 * Without flags for its shape it is Llama 3.2 1B's, rotary factors included.  Weights are normal numbers times --scale, each
 * a function of seed, tensor and place, so the same flags give the same file on any number of threads.  Gains of norms are 1.
 * There is no vocabulary inside: what works on token ids (hone bench, hone logprobs with ids) needs none.  A few rows are in
 * memory at a time. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/options.h"
#include "kernel/dtype.h"
#include "model/config.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/rng.h"

#define ALIGNMENT 32
#define CHUNK_ROWS 256
#define MIB ((size_t)1 << 20)

enum { DEFAULT = 0 }; /* of output_type: what --type asks for */

struct args {
    int type, output_type;
    int64_t layers, width, heads, kv_heads, head_dim, ffn, vocab, positions, seed;
    double scale, rope_theta, rope_factor;
    bool untied;
};

static const struct {
    const char *name;
    enum dtype type;
    uint32_t ggml; /* the type's number in a GGUF */
} types[] = {
    {"q4_0", DTYPE_Q4_0, 2}, {"q8_0", DTYPE_Q8_0, 8}, {"q6_k", DTYPE_Q6_K, 14},
    {"bf16", DTYPE_BF16, 30}, {"f16", DTYPE_F16, 1},  {"f32", DTYPE_F32, 0},
};
#define TYPE_NAMES "q4_0", "q8_0", "q6_k", "bf16", "f16", "f32", NULL
static const char *const type_names[] = {TYPE_NAMES}, *const output_types[] = {"default", TYPE_NAMES};

#define FIELD(name) offsetof(struct args, name)
static const struct option own[] = {
    {"type", OPTION_CHOICE, FIELD(type), "q4_0", "how the layers' weights are stored", .choices = type_names},
    {"output_type", OPTION_CHOICE, FIELD(output_type), "default",
     "how embedding and output projection are stored; default: as the layers, but Q8_0 beside Q4_0", .choices = output_types},
    {"layers", OPTION_INT, FIELD(layers), "16", "number of layers", .min = 1, .max = 1 << 12},
    {"width", OPTION_INT, FIELD(width), "2048", "hidden size", .min = 1, .max = 1 << 16},
    {"heads", OPTION_INT, FIELD(heads), "32", "attention heads", .min = 1, .max = 1 << 10},
    {"kv_heads", OPTION_INT, FIELD(kv_heads), "8", "key-value heads", .min = 1, .max = 1 << 10},
    {"head_dim", OPTION_INT, FIELD(head_dim), "64", "head size", .min = 2, .max = 1 << 10},
    {"ffn", OPTION_INT, FIELD(ffn), "8192", "intermediate size", .min = 1, .max = 1 << 20},
    {"vocab", OPTION_INT, FIELD(vocab), "128256", "tokens of the vocabulary", .min = 1, .max = 1 << 22},
    {"positions", OPTION_INT, FIELD(positions), "131072", "longest sequence that the file promises", .min = 1, .max = 1 << 24},
    {"untied", OPTION_BOOL, FIELD(untied), "false", "an output projection of its own"},
    {"scale", OPTION_FLOAT, FIELD(scale), "0.02", "standard deviation of the weights", .max = 1e3, .above_min = true},
    {"rope_theta", OPTION_FLOAT, FIELD(rope_theta), "500000", "base of the rotary frequencies", .min = 1, .max = 1e12},
    {"rope_factor", OPTION_FLOAT, FIELD(rope_factor), "32",
     "Llama 3's stretching of long waves, trained at 8192 positions; 1: none", .min = 1, .max = 1e6},
    {"seed", OPTION_INT, FIELD(seed), "1", "of the random numbers", .min = 0, .max = 4294967295.0},
};
#undef FIELD
static const struct option_group groups[] = {{"Model", own, ARRAY_LEN(own), 0}};
static const struct option_spec spec = {
    .command = "random_model",
    .summary = "Writes a GGUF file with random weights, of Llama 3.2 1B's shape unless told otherwise, for benches.",
    .usage = "random_model FILE [--flags]",
    .example = "random_model 1b.gguf --type bf16",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
    .operand = "FILE",
    .min_operands = 1,
    .max_operands = 1,
};

/* ---- the plan: which tensors, in the order of the file ---- */

enum content { WEIGHTS, ONES, ROPE_FACTORS };

struct plan {
    char *name;
    size_t rows, cols; /* rows 0: one dimension */
    int type;          /* index into types */
    enum content content;
};

struct plans {
    struct plan *list;
    size_t n, capacity;
};

static int type_index(enum dtype type)
{
    int i = 0;
    while (types[i].type != type)
        i++;
    return i;
}

static void plan(struct plans *p, char *name, size_t rows, size_t cols, int type, enum content content)
{
    ARRAY_GROW(p->list, p->n + 1, p->capacity);
    p->list[p->n++] = (struct plan){name, rows, cols, type, content};
}

static void plan_layer(struct plans *p, const struct args *a, size_t l)
{
    size_t width = (size_t)a->width, ffn = (size_t)a->ffn;
    size_t q = (size_t)(a->heads * a->head_dim), kv = (size_t)(a->kv_heads * a->head_dim);
    const struct {
        const char *name;
        size_t rows, cols;
    } matrices[] = {{"attn_q", q, width},      {"attn_k", kv, width},    {"attn_v", kv, width},    {"attn_output", width, q},
                    {"ffn_gate", ffn, width}, {"ffn_up", ffn, width}, {"ffn_down", width, ffn}};
    int f32 = type_index(DTYPE_F32);
    plan(p, xasprintf("blk.%zu.attn_norm.weight", l), 0, width, f32, ONES);
    plan(p, xasprintf("blk.%zu.ffn_norm.weight", l), 0, width, f32, ONES);
    for (size_t i = 0; i < ARRAY_LEN(matrices); i++)
        plan(p, xasprintf("blk.%zu.%s.weight", l, matrices[i].name), matrices[i].rows, matrices[i].cols, a->type, WEIGHTS);
}

static void plan_model(struct plans *p, const struct args *a)
{
    int f32 = type_index(DTYPE_F32), output = a->output_type - 1;
    if (a->output_type == DEFAULT)
        output = types[a->type].type == DTYPE_Q4_0 ? type_index(DTYPE_Q8_0) : a->type;
    plan(p, xstrdup("token_embd.weight"), (size_t)a->vocab, (size_t)a->width, output, WEIGHTS);
    plan(p, xstrdup("output_norm.weight"), 0, (size_t)a->width, f32, ONES);
    if (a->untied)
        plan(p, xstrdup("output.weight"), (size_t)a->vocab, (size_t)a->width, output, WEIGHTS);
    if (a->rope_factor > 1)
        plan(p, xstrdup("rope_freqs.weight"), 0, (size_t)a->head_dim / 2, f32, ROPE_FACTORS);
    for (size_t l = 0; l < (size_t)a->layers; l++)
        plan_layer(p, a, l);
}

static void plans_release(struct plans *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->list[i].name);
    free(p->list);
}

static int check(const struct args *a, const struct plans *p, struct err *err)
{
    if (a->heads % a->kv_heads)
        return err_set(err, "%lld attention heads cannot share %lld key-value heads", (long long)a->heads, (long long)a->kv_heads);
    if (a->head_dim % 2)
        return err_set(err, "a head size of %lld is odd: rotary embedding needs pairs", (long long)a->head_dim);
    for (size_t i = 0; i < p->n; i++) {
        const struct dtype_info *info = &dtype_table[types[p->list[i].type].type];
        if (p->list[i].cols % info->block)
            return err_set(err, "rows of '%s' have %zu weights, which are not whole blocks of %s: choose another type or size",
                           p->list[i].name, p->list[i].cols, info->name);
    }
    return 0;
}

/* ---- from floats to what is stored ---- */

static uint16_t half_of(float x)
{
    __extension__ _Float16 half = (_Float16)x;
    uint16_t bits;
    memcpy(&bits, &half, sizeof bits);
    return bits;
}

static float largest(const float *x, size_t n)
{
    float m = 0;
    for (size_t i = 0; i < n; i++)
        m = fmaxf(m, fabsf(x[i]));
    return m;
}

/* x / d as a whole number within from .. to */
static int step_of(float x, float d, int from, int to)
{
    int q = d > 0 ? (int)lrintf(x / d) : 0;
    return q < from ? from : q > to ? to : q;
}

static void store_q4_0(uint8_t *to, const float *x)
{
    uint16_t half = half_of(largest(x, 32) / 8);
    float d = dtype_f16(half);
    memcpy(to, &half, 2);
    for (int j = 0; j < 16; j++)
        to[2 + j] = (uint8_t)((step_of(x[j], d, -8, 7) + 8) | (step_of(x[j + 16], d, -8, 7) + 8) << 4);
}

static void store_q8_0(uint8_t *to, const float *x)
{
    uint16_t half = half_of(largest(x, 32) / 127);
    float d = dtype_f16(half);
    memcpy(to, &half, 2);
    for (int j = 0; j < 32; j++)
        to[2 + j] = (uint8_t)(int8_t)step_of(x[j], d, -127, 127);
}

static void store_q6_k(uint8_t *to, const float *x)
{
    const int fine = 64; /* of the 16 scales: one for all */
    uint16_t half = half_of(largest(x, 256) / (float)(32 * fine));
    float d = dtype_f16(half) * (float)fine;
    memset(to, 0, 128 + 64);
    memset(to + 192, fine, 16);
    memcpy(to + 208, &half, 2);
    for (int i = 0; i < 256; i++) { /* the layout of kernel/dtype.h */
        int q = step_of(x[i], d, -32, 31) + 32, part = i % 128 / 32, j = i % 32;
        to[64 * (i / 128) + 32 * (part % 2) + j] |= (uint8_t)((q & 15) << (part / 2 * 4));
        to[128 + 32 * (i / 128) + j] |= (uint8_t)(q >> 4 << 2 * part);
    }
}

static void store_row(uint8_t *to, enum dtype type, const float *x, size_t n)
{
    const struct dtype_info *info = &dtype_table[type];
    for (size_t i = 0; i < n; i += info->block, to += info->bytes) {
        uint16_t half;
        uint32_t bits;
        switch (type) {
        case DTYPE_F32:
            memcpy(to, x + i, 4);
            break;
        case DTYPE_F16:
            half = half_of(x[i]);
            memcpy(to, &half, 2);
            break;
        case DTYPE_BF16:
            memcpy(&bits, x + i, 4);
            half = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
            memcpy(to, &half, 2);
            break;
        case DTYPE_Q4_0:
            store_q4_0(to, x + i);
            break;
        case DTYPE_Q8_0:
            store_q8_0(to, x + i);
            break;
        case DTYPE_Q6_K:
            store_q6_k(to, x + i);
            break;
        default:
            BUG("a type that is not written");
        }
    }
}

/* ---- the file ---- */

/* By how much each rotary frequency is divided. */
static void rope_factors(float *out, const struct args *a)
{
    struct config c = {.head_dim = (size_t)a->head_dim,
                       .rope_theta = (float)a->rope_theta,
                       .rope_factor = (float)a->rope_factor,
                       .rope_low_freq_factor = 1,
                       .rope_high_freq_factor = 4,
                       .rope_original_positions = 8192};
    size_t half = c.head_dim / 2;
    float *plain = xcalloc(half, sizeof *plain);
    config_rope_frequencies(&c, plain);
    c.rope_scaling = ROPE_LLAMA3;
    config_rope_frequencies(&c, out);
    for (size_t i = 0; i < half; i++)
        out[i] = plain[i] / out[i];
    free(plain);
}

static void fill_row(float *x, const struct plan *p, size_t tensor, size_t row, const struct args *a)
{
    if (p->content == ROPE_FACTORS) {
        rope_factors(x, a);
        return;
    }
    for (size_t i = 0; i < p->cols; i++)
        x[i] = p->content == ONES ? 1.0f
                                  : (float)(a->scale * rng_normal((uint32_t)a->seed, RNG_TEST, (uint32_t)tensor, (uint32_t)row,
                                                                  (uint32_t)i, 0));
}

static void add_string(struct buf *b, const char *s)
{
    uint64_t n = strlen(s);
    buf_add(b, &n, 8);
    buf_str(b, s);
}

static void add_number(struct buf *b, const char *key, uint32_t gguf_type, const void *value)
{
    add_string(b, key);
    buf_add(b, &gguf_type, 4);
    buf_add(b, value, 4);
}

static size_t plan_bytes(const struct plan *p)
{
    return (p->rows ? p->rows : 1) * dtype_row_bytes(types[p->type].type, p->cols);
}

static void add_padding(struct buf *b, size_t written)
{
    static const char zeros[ALIGNMENT];
    buf_add(b, zeros, (ALIGNMENT - written % ALIGNMENT) % ALIGNMENT);
}

static void write_header(struct buf *b, const struct plans *p, const struct args *a)
{
    const struct {
        const char *key;
        int64_t value;
    } sizes[] = {
        {"llama.block_count", a->layers},
        {"llama.context_length", a->positions},
        {"llama.embedding_length", a->width},
        {"llama.feed_forward_length", a->ffn},
        {"llama.attention.head_count", a->heads},
        {"llama.attention.head_count_kv", a->kv_heads},
        {"llama.attention.key_length", a->head_dim},
        {"llama.attention.value_length", a->head_dim},
        {"llama.rope.dimension_count", a->head_dim},
        {"llama.vocab_size", a->vocab},
    };
    const uint32_t version = 3, string = GGUF_STRING;
    const uint64_t n_tensors = p->n, n_keys = 1 + ARRAY_LEN(sizes) + 2;
    const float eps = 1e-5f, theta = (float)a->rope_theta;
    buf_str(b, "GGUF");
    buf_add(b, &version, 4);
    buf_add(b, &n_tensors, 8);
    buf_add(b, &n_keys, 8);
    add_string(b, "general.architecture");
    buf_add(b, &string, 4);
    add_string(b, "llama");
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        uint32_t value = (uint32_t)sizes[i].value;
        add_number(b, sizes[i].key, GGUF_U32, &value);
    }
    add_number(b, "llama.attention.layer_norm_rms_epsilon", GGUF_F32, &eps);
    add_number(b, "llama.rope.freq_base", GGUF_F32, &theta);
    uint64_t offset = 0;
    for (const struct plan *t = p->list; t < p->list + p->n; t++) {
        uint32_t n_dims = t->rows ? 2 : 1;
        uint64_t dims[2] = {t->cols, t->rows};
        add_string(b, t->name);
        buf_add(b, &n_dims, 4);
        buf_add(b, dims, 8 * n_dims);
        buf_add(b, &types[t->type].ggml, 4);
        buf_add(b, &offset, 8);
        offset += (plan_bytes(t) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    add_padding(b, b->len);
}

/* A chunk of rows at a time, each row a thread's. */
static void write_tensor(FILE *f, const struct plan *p, size_t tensor, const struct args *a, struct buf *padding)
{
    enum dtype type = types[p->type].type;
    size_t rows = p->rows ? p->rows : 1, row_bytes = dtype_row_bytes(type, p->cols);
    size_t some = rows < CHUNK_ROWS ? rows : CHUNK_ROWS;
    uint8_t *chunk = xmalloc(some * row_bytes);
    for (size_t from = 0; from < rows && !ferror(f); from += some) {
        size_t n = rows - from < some ? rows - from : some;
#pragma omp parallel for schedule(dynamic)
        for (size_t r = 0; r < n; r++) {
            float *x = xmalloc(p->cols * sizeof *x);
            fill_row(x, p, tensor, from + r, a);
            store_row(chunk + r * row_bytes, type, x, p->cols);
            free(x);
        }
        fwrite(chunk, 1, n * row_bytes, f);
    }
    free(chunk);
    buf_clear(padding);
    add_padding(padding, plan_bytes(p));
    fwrite(padding->data, 1, padding->len, f);
}

static int write_model(const char *path, const struct plans *p, const struct args *a, struct err *err)
{
    struct file_out out;
    struct buf b;
    if (file_out_open(&out, path, err))
        return -1;
    buf_init(&b, 16 * MIB);
    write_header(&b, p, a);
    ENSURE(!b.overflow);
    fwrite(b.data, 1, b.len, out.f);
    for (size_t i = 0; i < p->n && !ferror(out.f); i++) {
        if (isatty(fileno(stderr)))
            fprintf(stderr, "\r%zu of %zu tensors", i, p->n);
        write_tensor(out.f, &p->list[i], i, a, &b);
    }
    if (isatty(fileno(stderr)))
        fputs("\r\033[K", stderr);
    buf_release(&b);
    return file_out_commit(&out, err);
}

int main(int argc, char **argv)
{
    struct args args;
    struct options o;
    struct plans plans = {0};
    struct err err;
    int rc = options_parse(&o, &spec, &args, argc, argv, &err);
    if (rc > 0) {
        struct buf text;
        buf_init(&text, MIB);
        options_help(&spec, &text);
        fwrite(text.data, 1, text.len, stdout);
        buf_release(&text);
        options_release(&o);
        return 0;
    }
    if (rc == 0) {
        plan_model(&plans, &args);
        rc = check(&args, &plans, &err);
    }
    if (rc == 0)
        rc = write_model(o.operands.data[0], &plans, &args, &err);
    if (rc)
        fprintf(stderr, "random_model: %s\n", err.text);
    plans_release(&plans);
    options_release(&o);
    return rc ? 1 : 0;
}
