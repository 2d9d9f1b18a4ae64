/* Files of weights, in and out: the arithmetic of each stored type, real files, and hostile ones.
 */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "checkpoint/safetensors_out.h"
#include "model/gguf.h"
#include "model/model.h"
#include "model/safetensors.h"
#include "support/gguf_file.h"
#include "support/support.h"
#include "util/mem.h"
#include "util/rng.h"

/* ---- the stored types, against code that takes one weight at a time ---- */

/* The half's value by its definition. */
static double half_value(unsigned half)
{
    unsigned exponent = half >> 10 & 31, fraction = half & 1023;
    double sign = half & 0x8000 ? -1.0 : 1.0;
    if (exponent == 31)
        return fraction ? (double)NAN : sign * (double)INFINITY;
    return sign * (exponent ? ldexp(1024.0 + fraction, (int)exponent - 25) : ldexp(fraction, -24));
}

static double half_at(const uint8_t *p)
{
    return half_value((unsigned)p[0] | (unsigned)p[1] << 8);
}

static int signed_byte(uint8_t b)
{
    return b < 128 ? b : b - 256;
}

static int five_bits(const uint8_t *p, size_t j)
{
    return (j < 16 ? p[4 + j] % 16 : p[4 + j - 16] / 16) + 16 * (p[j / 8] / (1 << j % 8) % 2);
}

/* Q4_K's and Q5_K's scale i (from 0), or minimum i (from 4). */
static int k_scale(const uint8_t *p, size_t i, size_t from)
{
    return i < 4 ? p[from + i] % 64 : (from ? p[4 + i] / 16 : p[4 + i] % 16) + 16 * (p[from + i - 4] / 64);
}

static int k_nibble(const uint8_t *p, size_t j)
{
    return j % 64 < 32 ? p[j / 64 * 32 + j % 32] % 16 : p[j / 64 * 32 + j % 32] / 16;
}

/* Weight i of a row, rounded to a float only at the end. */
static double weight_value(enum dtype type, const uint8_t *row, size_t i)
{
    const uint8_t *block = row + i / dtype_table[type].block * dtype_table[type].bytes;
    size_t j = i % dtype_table[type].block;
    float f = 0.0f;
    uint32_t bits;
    switch (type) {
    case DTYPE_F32:
        memcpy(&f, block, 4);
        return f;
    case DTYPE_F16:
        return half_at(block);
    case DTYPE_BF16:
        bits = (uint32_t)block[0] << 16 | (uint32_t)block[1] << 24;
        memcpy(&f, &bits, 4);
        return f;
    case DTYPE_Q4_0:
        return half_at(block) * ((j < 16 ? block[2 + j] % 16 : block[2 + j - 16] / 16) - 8);
    case DTYPE_Q4_1:
        return half_at(block) * (j < 16 ? block[4 + j] % 16 : block[4 + j - 16] / 16) +
               half_at(block + 2);
    case DTYPE_Q8_0:
        return half_at(block) * signed_byte(block[2 + j]);
    case DTYPE_Q6_K: {
        size_t half = j / 128, quarter = j % 128 / 32, k = j % 32;
        int low = block[64 * half + 32 * (quarter % 2) + k];
        int high = block[128 + 32 * half + k];
        int q = (quarter < 2 ? low % 16 : low / 16) + 16 * (high / (1 << 2 * quarter) % 4) - 32;
        return half_at(block + 208) * signed_byte(block[192 + j / 16]) * q;
    }
    case DTYPE_Q5_0:
        return half_at(block) * (five_bits(block + 2, j) - 16);
    case DTYPE_Q5_1:
        return half_at(block) * five_bits(block + 4, j) + half_at(block + 2);
    case DTYPE_IQ4_NL:
        return half_at(block) * dtype_nl_values[j < 16 ? block[2 + j] % 16 : block[2 + j - 16] / 16];
    case DTYPE_Q2_K:
        return half_at(block + 80) * (block[j / 16] % 16) * (block[16 + j / 128 * 32 + j % 32] / (1 << 2 * (j % 128 / 32)) % 4) -
               half_at(block + 82) * (block[j / 16] / 16);
    case DTYPE_Q3_K: {
        size_t g = j / 16;
        int scale = block[96 + g % 8] / (g < 8 ? 1 : 16) % 16 + 16 * (block[104 + g % 4] / (1 << 2 * (g / 4)) % 4) - 32;
        int q = block[32 + j / 128 * 32 + j % 32] / (1 << 2 * (j % 128 / 32)) % 4 + 4 * (block[j % 32] / (1 << j / 32) % 2) - 4;
        return half_at(block + 108) * scale * q;
    }
    case DTYPE_Q4_K:
        return half_at(block) * k_scale(block + 4, j / 32, 0) * k_nibble(block + 16, j) -
               half_at(block + 2) * k_scale(block + 4, j / 32, 4);
    case DTYPE_Q5_K:
        return half_at(block) * k_scale(block + 4, j / 32, 0) * (k_nibble(block + 48, j) + 16 * (block[16 + j % 32] / (1 << j / 32) % 2)) -
               half_at(block + 2) * k_scale(block + 4, j / 32, 4);
    default:
        return NAN;
    }
}

static bool same_float(float a, float b)
{
    return memcmp(&a, &b, 4) == 0 || (isnan(a) && isnan(b));
}

static void test_half(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        float got = dtype_f16((uint16_t)h), want = (float)half_value(h);
        if (!same_float(got, want) || !signbit(got) != !(h & 0x8000))
            fail_msg("half %04x: %a, not %a", h, (double)got, (double)want);
    }
}

static void test_unpack(void **state)
{
    (void)state;
    enum { N = 1024 };
    uint8_t *stored = xmalloc(4 * N + 1), *row = stored + 1; /* never aligned */
    float out[N];
    for (enum dtype type = 0; type < DTYPE_COUNT; type++) {
        size_t block = dtype_table[type].block, bytes = dtype_row_bytes(type, N);
        for (uint32_t i = 0; i < bytes; i++)
            row[i] = (uint8_t)rng_below(256, 1, RNG_TEST, i, (uint32_t)type, 0, 0);
        static const size_t ranges[][2] = {{0, N}, {256, 512}, {768, 256}, {512, 0}};
        for (size_t r = 0; r < 4; r++) {
            size_t first = ranges[r][0], n = ranges[r][1];
            for (size_t i = 0; i < N; i++)
                out[i] = -2.385f;
            dtype_unpack(type, out, row, first, n);
            for (size_t i = 0; i < N; i++) {
                float want = i < n ? (float)weight_value(type, row, first + i) : -2.385f;
                if (!same_float(out[i], want))
                    fail_msg("%s weight %zu: %a, not %a", dtype_table[type].name, first + i,
                             (double)out[i], (double)want);
            }
        }
        for (size_t first = 0; first < N && block == 1; first += 97) { /* odd ends */
            dtype_unpack(type, out, row, first, 53);
            for (size_t i = 0; i < 53; i++)
                assert_true(same_float(out[i], (float)weight_value(type, row, first + i)));
        }
    }
    free(stored);
}

/* ---- making files ---- */

static void add_safetensors(struct buf *b, const char *header, size_t data)
{
    add_u64(b, strlen(header));
    buf_str(b, header);
    for (size_t i = 0; i < data; i++)
        buf_add(b, &(uint8_t){(uint8_t)(i * 7)}, 1);
}

/* ---- hostile bytes: refused with one sentence, or opened into something that can be read to its
 * end ---- */

static void read_all(const struct tensor_file *file)
{
    struct err err;
    for (size_t i = 0; i < file->n; i++) {
        const struct tensor *t = &file->tensors[i];
        assert_ptr_equal(tensor_find(file, t->name), t);
        if (!tensor_need(file, t->name, &err))
            continue;
        float *out = xmalloc(4 * tensor_elements(t));
        tensor_unpack(out, t);
        free(out);
    }
}

static bool open_gguf(const void *data, size_t size, struct err *err)
{
    struct gguf g;
    if (gguf_open_memory(&g, data, size, "x.gguf", err))
        return false;
    for (size_t i = 0; i < g.n_values; i++)
        assert_ptr_equal(gguf_find(&g, g.values[i].key), &g.values[i]);
    read_all(&g.tensors);
    gguf_release(&g);
    return true;
}

static bool open_safetensors(const void *data, size_t size, struct err *err)
{
    struct tensor_file file;
    if (safetensors_open_memory(&file, data, size, "x.safetensors", err))
        return false;
    read_all(&file);
    tensor_file_release(&file);
    return true;
}

/* Bytes are handed over in a block of exactly their size, so that AddressSanitizer sees a read past
 * them. */
static void expect_survives(bool (*open)(const void *, size_t, struct err *),
                            const struct buf *valid)
{
    struct err err;
    if (!open(valid->data, valid->len, &err))
        fail_msg("%s", err.text);
    for (size_t n = 0; n < valid->len; n++) {
        uint8_t *cut = xmalloc(n);
        memcpy(cut, valid->data, n);
        if (open(cut, n, &err))
            fail_msg("the first %zu of %zu bytes were taken for a whole file", n, valid->len);
        assert_null(strchr(err.text, '\n'));
        free(cut);
    }
    uint8_t *changed = xmalloc(valid->len);
    memcpy(changed, valid->data, valid->len);
    for (size_t i = 0; i < valid->len; i++) {
        for (int bit = 0; bit <= 8; bit++) {
            changed[i] ^= bit < 8 ? 1 << bit : 255;
            open(changed, valid->len, &err);
            changed[i] = (uint8_t)valid->data[i];
        }
    }
    free(changed);
}

static void expect_refused(bool (*open)(const void *, size_t, struct err *),
                           const struct buf *bytes, const char *why)
{
    struct err err;
    uint8_t *exact = xmalloc(bytes->len);
    memcpy(exact, bytes->data, bytes->len);
    if (open(exact, bytes->len, &err))
        fail_msg("opened, but should say '%s'", why);
    if (!strstr(err.text, why))
        fail_msg("'%s' should say '%s'", err.text, why);
    free(exact);
}

/* ---- safetensors ---- */

static const char small_header[] =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"b\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[0,6]},"
    "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[6,30]},"
    "\"mask\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[30,31]},"
    "\"one\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[31,33]},"
    "\"none\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[33,33]}} ";

static void test_safetensors_small(void **state)
{
    (void)state;
    struct buf b;
    struct tensor_file file;
    struct err err;
    buf_init(&b, 1 << 20);
    add_safetensors(&b, small_header, 33);
    if (safetensors_open_memory(&file, b.data, b.len, "x.safetensors", &err))
        fail_msg("%s", err.text);
    assert_int_equal(file.n, 5);
    assert_string_equal(file.tensors[0].name, "b");

    const struct tensor *a = tensor_need(&file, "a", &err); /* its floats are not aligned */
    assert_non_null(a);
    assert_int_equal(a->type, DTYPE_F32);
    assert_int_equal(a->n_dims, 2);
    assert_int_equal(a->shape[0], 2);
    assert_int_equal(a->shape[1], 3);
    assert_int_equal(a->shape[2], 1);
    assert_int_equal(a->bytes, 24);
    float got[6], want[6];
    memcpy(want, b.data + b.len - 33 + 6, 24);
    tensor_unpack(got, a);
    assert_memory_equal(got, want, 24);

    const struct tensor *one = tensor_need(&file, "one", &err);
    assert_non_null(one);
    assert_int_equal(tensor_elements(one), 1);
    assert_int_equal(tensor_elements(tensor_need(&file, "none", &err)), 0);

    assert_null(tensor_need(&file, "mask", &err));
    assert_non_null(strstr(err.text, "tensor 'mask' has type BOOL, which is not supported"));
    assert_null(tensor_need(&file, "c", &err));
    assert_non_null(strstr(err.text, "'x.safetensors' has no tensor 'c'"));
    tensor_file_release(&file);

    expect_survives(open_safetensors, &b);
    buf_release(&b);
}

static void test_safetensors_hostile(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *why;
    } cases[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},}", 8,
         "not valid JSON (at byte"},
        {"{\"a\":1}", 0, "tensor 'a'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}",
         16, "a name twice"},
        {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "\"dtype\" is missing"},
        {"{\"a\":{\"dtype\":\"ALTOGETHERTOOLONG\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
         "\"dtype\" is missing or not"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "\"shape\" is missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8,
         "other than whole numbers"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8,
         "other than whole numbers"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,2],\"data_offsets\":[0,8]}}", 8,
         "has 5 dimensions"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905],\"data_offsets\":[0,4]}}", 4,
         "too large"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
         "too large"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,0]}}", 0,
         "not valid JSON"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "\"data_offsets\" are not"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8,
         "\"data_offsets\" are not"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,9]}}", 8,
         "\"data_offsets\" are not"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8,
         "\"data_offsets\" are not"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,7]}}", 7, "differ in size"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7,
         "cut short (tensor 'a' ends at byte 8"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,9223372036854775807]}}", 8,
         "cut short"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9,
         "1 bytes at its end"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         8, "tensor 'b': its data lie over"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[12,16]}}",
         16, "tensor 'b': there is a hole"},
        {"{\"\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
         "the name of tensor 1"},
        {"{\"a\\u001b[2J\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
         "the name of tensor 1"},
        {" {}", 0, "not a safetensors file"},
        {"{}  x", 0, "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b;
        buf_init(&b, 1 << 20);
        add_safetensors(&b, cases[i].header, cases[i].data);
        expect_refused(open_safetensors, &b, cases[i].why);
        buf_release(&b);
    }
    static const uint64_t lengths[] = {
        0, 1, 100, 100000001, (uint64_t)1 << 63, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct buf b;
        buf_init(&b, 1 << 20);
        add_u64(&b, lengths[i]);
        buf_str(&b, "{}");
        expect_refused(open_safetensors, &b,
                       lengths[i] == 100 ? "cut short (100 bytes of header, and 2"
                                         : "not a safetensors file");
        buf_release(&b);
    }
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_str(&b, "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
    expect_refused(open_safetensors, &b, "git lfs pull");
    expect_refused(open_gguf, &b, "git lfs pull");
    buf_release(&b);
}

/* ---- folders ---- */

static char *temporary_folder(void)
{
    const char *tmp = getenv("TMPDIR");
    char *path = xasprintf("%s/hone-formats-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(path));
    return path;
}

static void put(const char *folder, const char *name, const void *data, size_t n)
{
    struct err err;
    char *path = path_join(folder, name);
    if (file_write(path, data, n, &err))
        fail_msg("%s", err.text);
    free(path);
}

/* A file with a tensor of two floats, and perhaps another one. */
static void put_shard_of(const char *folder, const char *file, const char *tensor, const char *other)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    char *more = other ? xasprintf(",\"%s\":{\"dtype\":\"F8_E4M3\",\"shape\":[3],\"data_offsets\":[8,11]}", other) : xstrdup("");
    char *header = xasprintf("{\"%s\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}%s}", tensor, more);
    add_safetensors(&b, header, other ? 11 : 8);
    free(more);
    put(folder, file, b.data, b.len);
    free(header);
    buf_release(&b);
}

static void put_shard(const char *folder, const char *file, const char *tensor)
{
    put_shard_of(folder, file, tensor, NULL);
}

static void expect_folder(const char *folder, const char *index, const char *why)
{
    struct tensor_file file;
    struct err err;
    put(folder, "model.safetensors.index.json", index, strlen(index));
    int rc = safetensors_open(&file, folder, &err);
    if (!why) {
        if (rc)
            fail_msg("%s", err.text);
        assert_int_equal(file.n, 2);
        read_all(&file);
        assert_non_null(tensor_find(&file, "x"));
        assert_non_null(tensor_find(&file, "y"));
        tensor_file_release(&file);
    } else if (rc == 0 || !strstr(err.text, why)) {
        fail_msg("'%s' should say '%s'", rc ? err.text : "opened", why);
    }
}

static void test_safetensors_folder(void **state)
{
    (void)state;
    struct tensor_file file;
    struct err err;
    char *folder = temporary_folder(), *sub = path_join(folder, "model");
    assert_int_equal(dir_make(sub, &err), 0);
    put_shard(folder, "secret.safetensors", "z");
    assert_int_equal(safetensors_open(&file, sub, &err), -1);
    assert_non_null(strstr(err.text, "neither model.safetensors nor"));
    put_shard(sub, "model-00001-of-00002.safetensors", "x");
    assert_int_equal(safetensors_open(&file, sub, &err), -1);
    assert_non_null(strstr(err.text, "holds 'model-00001-of-00002.safetensors', and model.safetensors.index.json is not there"));
    char *shard = path_join(sub, "model-00001-of-00002.safetensors");
    assert_int_equal(unlink(shard), 0);
    free(shard);
    put(sub, "pytorch_model.bin", "x", 1);
    assert_int_equal(safetensors_open(&file, sub, &err), -1);
    assert_non_null(strstr(err.text, "pytorch_model.bin only"));

    put_shard(sub, "1.safetensors", "x");
    put_shard(sub, "2.safetensors", "y");
    expect_folder(
        sub, "{\"metadata\":{},\"weight_map\":{\"y\":\"2.safetensors\",\"x\":\"1.safetensors\"}}",
        NULL);
    expect_folder(sub,
                  "{\"weight_map\":{\"x\":\"1.safetensors\",\"y\":\"3.safetensors\",\"w\":\"4."
                  "safetensors\"}}",
                  "2 of its 3 files are not there ('3.safetensors', '4.safetensors')");
    expect_folder(sub, "{\"weight_map\":{\"x\":\"2.safetensors\",\"y\":\"2.safetensors\"}}",
                  "tensor 'x' should be in '2.safetensors' and is not");
    expect_folder(sub, "{\"weight_map\":{\"x\":\"2.safetensors\",\"y\":\"1.safetensors\"}}",
                  "tensor 'x' should be in '2.safetensors' and is not");
    expect_folder(sub, "{\"weight_map\":{\"x\":\"1.safetensors\",\"w\":\"1.safetensors\"}}",
                  "tensor 'w' should be in");
    expect_folder(sub, "{\"weight_map\":{\"z\":\"../secret.safetensors\"}}",
                  "not the name of a file in the same folder");
    expect_folder(sub, "{\"weight_map\":{\"z\":\"..\"}}",
                  "not the name of a file in the same folder");
    expect_folder(sub, "{\"weight_map\":{\"z\":7}}", "not the name of a file in the same folder");
    expect_folder(sub, "{\"weight_map\":{}}", "is empty");
    expect_folder(sub, "{\"weight_map\":[]}", "\"weight_map\" is missing");
    expect_folder(sub, "[]", "not a JSON object");
    expect_folder(sub, "{\"weight_map\":", "not valid JSON");
    expect_folder(sub, "{\"weight_map\":{\"x\":\"1.safetensors\",\"x\":\"1.safetensors\"}}", "the index has a name twice");
    put_shard(sub, "3.safetensors", "x");
    expect_folder(sub, "{\"weight_map\":{\"x\":\"1.safetensors\",\"y\":\"3.safetensors\"}}",
                  "tensor 'x' is there twice");
    put(sub, "3.safetensors", "{}", 2);
    expect_folder(sub, "{\"weight_map\":{\"x\":\"1.safetensors\",\"y\":\"3.safetensors\"}}",
                  "3.safetensors': it is only 2 bytes long");

    put_shard_of(sub, "3.safetensors", "y", "w");
    expect_folder(sub, "{\"weight_map\":{\"x\":\"1.safetensors\",\"y\":\"3.safetensors\"}}",
                  "tensor 'w' is in the files and not in \"weight_map\"");
    static const char whole[] = "{\"metadata\":{\"total_size\":19},\"weight_map\":"
                                "{\"x\":\"1.safetensors\",\"y\":\"3.safetensors\",\"w\":\"3.safetensors\"}}";
    put(sub, "model.safetensors.index.json", whole, sizeof whole - 1);
    assert_int_equal(safetensors_open(&file, sub, &err), 0);
    assert_int_equal(file.stated_bytes, 19);
    assert_int_equal(tensor_find(&file, "w")->bytes, 3);
    assert_null(tensor_need(&file, "w", &err));
    assert_non_null(strstr(err.text, "tensor 'w' has type F8_E4M3, which is not supported yet: take the model in one of F32, F16, "));
    tensor_file_release(&file);

    put_shard(sub, "model.safetensors", "alone");
    assert_int_equal(safetensors_open(&file, sub, &err), 0);
    assert_int_equal(file.n, 1);
    tensor_file_release(&file);
    assert_int_equal(safetensors_open(&file, "does/not/exist", &err), -1);
    assert_int_equal(dir_remove(folder, &err), 0);
    free(sub);
    free(folder);
}

/* ---- safetensors out ---- */

/* What transformers wrote, read and written again, is the same file. */
static void test_round_trip(void **state)
{
    (void)state;
    static const char *const names[] = {"gemma2",       "gemma3", "gpt2",    "llama",
                                        "llama-untied", "llama3", "mistral", "olmo2",
                                        "phi3",         "qwen2",  "qwen3",   "smollm3"};
    const char *shared = shared_folder();
    if (!shared) {
        print_message("no shared folder: the golden models are not read\n");
        skip();
    }
    char *folder = temporary_folder(), *copy = path_join(folder, "model.safetensors");
    for (size_t m = 0; m < sizeof names / sizeof *names; m++) {
        struct tensor_file file;
        struct err err;
        char *model = xasprintf("%s/golden/models/%s", shared, names[m]);
        if (safetensors_open(&file, model, &err))
            fail_msg("%s", err.text);
        struct safetensors_tensor *list = xcalloc(file.n, sizeof *list);
        for (size_t i = 0; i < file.n; i++) {
            const struct tensor *t = tensor_need(&file, file.tensors[i].name, &err);
            assert_non_null(t);
            list[i] = (struct safetensors_tensor){
                .name = t->name, .type = t->type, .n_dims = t->n_dims, .data = t->data};
            memcpy(list[i].shape, t->shape, sizeof t->shape);
        }
        static const struct safetensors_note note = {"format", "pt"};
        if (safetensors_write(copy, list, file.n, &note, 1, &err))
            fail_msg("%s", err.text);
        struct file_map written;
        assert_int_equal(file_map_open(&written, copy, &err), 0);
        assert_int_equal(written.size, file.maps[0].size);
        assert_memory_equal(written.data, file.maps[0].data, written.size);
        file_map_close(&written);
        free(list);
        free(model);
        tensor_file_release(&file);
    }
    struct err err;
    assert_int_equal(dir_remove(folder, &err), 0);
    free(copy);
    free(folder);
}

/* Files may grow to 4 KiB here, which is a disk that gets full. */
static void test_full_disk(void **state)
{
    (void)state;
    struct err err;
    char *folder = temporary_folder(), *path = path_join(folder, "adapter_model.safetensors");
    float data[4096] = {2.385f};
    struct safetensors_tensor t = {"a \"quoted\" n\xc3\xa4me", DTYPE_F32, 1, {3}, data};
    if (safetensors_write(path, &t, 1, NULL, 0, &err))
        fail_msg("%s", err.text);

    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    t.shape[0] = 4096;
    int rc = safetensors_write(path, &t, 1, NULL, 0, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(rc, -1);
    assert_non_null(strstr(err.text, strerror(EFBIG)));

    struct tensor_file file;
    assert_int_equal(safetensors_open(&file, path, &err), 0);
    const struct tensor *read = tensor_need(&file, t.name, &err);
    assert_non_null(read);
    assert_int_equal(read->shape[0], 3);
    assert_memory_equal(read->data, data, 12);
    tensor_file_release(&file);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0); /* no temporary file stayed */

    assert_int_equal(safetensors_write(path, &t, 1, NULL, 0, &err), -1);
    assert_non_null(strstr(err.text, "cannot write"));
    free(path);
    free(folder);
}

/* ---- GGUF ---- */

/* Every type of value and of tensor. */
static void make_gguf(struct buf *b)
{
    add_start(b, 3, 8, 16);
    add_key(b, "a.u8", GGUF_U8, &(uint8_t){200}, 1);
    add_key(b, "a.i8", GGUF_I8, &(int8_t){-3}, 1);
    add_key(b, "a.u16", GGUF_U16, &(uint16_t){40000}, 2);
    add_key(b, "a.i16", GGUF_I16, &(int16_t){-300}, 2);
    add_key(b, "a.u32", GGUF_U32, &(uint32_t){4000000000u}, 4);
    add_key(b, "a.i32", GGUF_I32, &(int32_t){70000}, 4);
    add_key(b, "a.u64", GGUF_U64, &(uint64_t){(uint64_t)1 << 40}, 8);
    add_key(b, "a.i64", GGUF_I64, &(int64_t){12}, 8);
    add_key(b, "a.f32", GGUF_F32, &(float){2.385f}, 4);
    add_key(b, "a.f64", GGUF_F64, &(double){0.25}, 8);
    add_key(b, "a.bool", GGUF_BOOL, &(uint8_t){1}, 1);
    add_text_key(b, "a.string", "some text");
    add_array(b, "a.strings", GGUF_STRING, 3);
    add_string(b, "x");
    add_u64(b, 3);
    buf_add(b, "y\0z", 3);
    add_string(b, "");
    add_array(b, "a.ints", GGUF_I16, 3);
    buf_add(b, (int16_t[]){1, -2, 3}, 6);
    add_array(b, "a.empty", GGUF_U32, 0);
    add_key(b, "general.alignment", GGUF_U32, &(uint32_t){64}, 4);
    add_tensor(b, "f32", 3, 2, 0, 0);
    add_tensor(b, "f16", 5, 1, 1, 64);
    add_tensor(b, "bf16", 5, 1, 30, 128);
    add_tensor(b, "q4_0", 32, 2, 2, 192);
    add_tensor(b, "q4_1", 32, 2, 3, 256);
    add_tensor(b, "q8_0", 32, 1, 8, 320);
    add_tensor(b, "iq4_xs", 256, 1, 23, 384);
    add_tensor(b, "q6_k", 256, 1, 14, 576);
    add_data(b, 64, 576 + 210);
}

static void expect_u32(const struct gguf *g, const char *key, int rc, uint32_t want)
{
    struct err err;
    uint32_t x = 17;
    assert_int_equal(gguf_u32(&x, g, key, &err), rc);
    assert_int_equal(x, want);
    if (rc < 0 && !strstr(err.text, key))
        fail_msg("'%s' does not name '%s'", err.text, key);
}

static void test_gguf_values(void **state)
{
    (void)state;
    struct buf b;
    struct gguf g;
    struct err err;
    make_gguf(&b);
    if (gguf_open_memory(&g, b.data, b.len, "x.gguf", &err))
        fail_msg("%s", err.text);
    assert_int_equal(g.version, 3);
    assert_int_equal(g.n_values, 16);
    expect_u32(&g, "a.u8", 1, 200);
    expect_u32(&g, "a.i8", -1, 17);
    expect_u32(&g, "a.u16", 1, 40000);
    expect_u32(&g, "a.i16", -1, 17);
    expect_u32(&g, "a.u32", 1, 4000000000u);
    expect_u32(&g, "a.i32", 1, 70000);
    expect_u32(&g, "a.u64", -1, 17);
    expect_u32(&g, "a.i64", 1, 12);
    expect_u32(&g, "a.f32", -1, 17);
    expect_u32(&g, "a.bool", -1, 17);
    expect_u32(&g, "a.string", -1, 17);
    expect_u32(&g, "a.ints", -1, 17);
    expect_u32(&g, "a.absent", 0, 17);

    float f = 0.0f;
    assert_int_equal(gguf_f32(&f, &g, "a.f32", &err), 1);
    assert_true(same_float(f, 2.385f));
    assert_int_equal(gguf_f32(&f, &g, "a.f64", &err), 1);
    assert_true(same_float(f, 0.25f));
    assert_int_equal(gguf_f32(&f, &g, "a.i8", &err), 1);
    assert_true(same_float(f, -3.0f));
    assert_int_equal(gguf_f32(&f, &g, "a.string", &err), -1);
    assert_string_equal(err.text, "cannot read 'x.gguf': key 'a.string' should be a number and is "
                                  "of type string: convert the model anew");

    bool yes = false;
    assert_int_equal(gguf_bool(&yes, &g, "a.bool", &err), 1);
    assert_true(yes);
    assert_int_equal(gguf_bool(&yes, &g, "a.u8", &err), -1);

    const char *s = NULL;
    size_t n = 0;
    assert_int_equal(gguf_str(&s, &n, &g, "a.string", &err), 1);
    assert_string_equal(s, "some text");
    assert_int_equal(n, 9);
    assert_int_equal(gguf_str(&s, NULL, &g, "a.strings", &err), -1);

    const char *const *strings;
    const size_t *lens;
    assert_int_equal(gguf_str_array(&strings, &lens, &n, &g, "a.strings", &err), 1);
    assert_int_equal(n, 3);
    assert_string_equal(strings[0], "x");
    assert_int_equal(lens[1], 3);
    assert_memory_equal(strings[1], "y\0z", 4);
    assert_int_equal(lens[2], 0);
    assert_int_equal(gguf_str_array(&strings, &lens, &n, &g, "a.ints", &err), -1);

    int32_t *ints;
    float *floats;
    assert_int_equal(gguf_i32_array(&ints, &n, &g, "a.ints", &err), 1);
    assert_int_equal(n, 3);
    assert_int_equal(ints[1], -2);
    free(ints);
    assert_int_equal(gguf_f32_array(&floats, &n, &g, "a.ints", &err), 1);
    assert_true(same_float(floats[1], -2.0f));
    free(floats);
    assert_int_equal(gguf_i32_array(&ints, &n, &g, "a.empty", &err), 1);
    assert_int_equal(n, 0);
    free(ints);
    assert_int_equal(gguf_i32_array(&ints, &n, &g, "a.strings", &err), -1);
    assert_int_equal(gguf_f32_array(&floats, &n, &g, "a.f32", &err), -1);

    assert_int_equal(gguf_require(&g, "a.u8", &err), 0);
    assert_int_equal(gguf_require(&g, "llama.block_count", &err), -1);
    assert_non_null(strstr(err.text, "key 'llama.block_count' is missing"));
    gguf_release(&g);
    buf_release(&b);
}

static void test_gguf_tensors(void **state)
{
    (void)state;
    struct buf b;
    struct gguf g;
    struct err err;
    make_gguf(&b);
    if (gguf_open_memory(&g, b.data, b.len, "x.gguf", &err))
        fail_msg("%s", err.text);
    const uint8_t *data = (const uint8_t *)b.data + b.len - (576 + 210);
    static const struct {
        const char *name;
        size_t rows, width, offset;
    } want[] = {{"f32", 2, 3, 0},     {"f16", 1, 5, 64},    {"bf16", 1, 5, 128},
                {"q4_0", 2, 32, 192}, {"q4_1", 2, 32, 256}, {"q8_0", 1, 32, 320},
                {"q6_k", 1, 256, 576}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const struct tensor *t = tensor_need(&g.tensors, want[i].name, &err);
        float out[256];
        assert_non_null(t);
        assert_int_equal(t->n_dims, 2);
        assert_int_equal(t->shape[0], want[i].rows);
        assert_int_equal(t->shape[1], want[i].width);
        assert_ptr_equal(t->data, data + want[i].offset);
        tensor_unpack(out, t);
        for (size_t j = 0; j < tensor_elements(t); j++)
            assert_true(same_float(out[j], (float)weight_value(t->type, t->data, j)));
    }
    assert_null(tensor_need(&g.tensors, "iq4_xs", &err));
    assert_non_null(strstr(err.text, "tensor 'iq4_xs' has type IQ4_XS, which is not supported yet"));
    gguf_release(&g);

    expect_survives(open_gguf, &b);
    buf_release(&b);
}

/* One key whose bytes after its name are the case's. */
static void expect_key_refused(const void *after, size_t n, const char *why)
{
    struct buf b;
    add_start(&b, 3, 0, 1);
    add_string(&b, "k");
    buf_add(&b, after, n);
    expect_refused(open_gguf, &b, why);
    buf_release(&b);
}

static void expect_tensor_refused(uint64_t width, uint64_t rows, uint32_t type, uint64_t offset,
                                  const char *why)
{
    struct buf b;
    add_start(&b, 3, 1, 0);
    add_tensor(&b, "t", width, rows, type, offset);
    add_data(&b, 32, 256);
    expect_refused(open_gguf, &b, why);
    buf_release(&b);
}

static void test_gguf_hostile(void **state)
{
    (void)state;
    static const struct {
        uint32_t version;
        uint64_t tensors, keys;
        const char *why;
    } starts[] = {
        {1, 0, 0, "GGUF version 1"},     {0x03000000, 0, 0, "big-endian"},
        {4, 0, 0, "GGUF version 4"},     {3, 0, 1, "cut short"},
        {3, 1, 0, "cut short"},          {3, 0, UINT64_MAX, "cut short"},
        {3, UINT64_MAX, 0, "cut short"}, {3, (uint64_t)1 << 60, 0, "cut short"},
    };
    struct buf b;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        add_start(&b, starts[i].version, starts[i].tensors, starts[i].keys);
        expect_refused(open_gguf, &b, starts[i].why);
        buf_release(&b);
    }
    static const uint64_t max = UINT64_MAX, many = (uint64_t)1 << 61;
    struct buf v;
    buf_init(&v, 1 << 10);
    add_u32(&v, 99);
    add_u64(&v, 0);
    expect_key_refused(v.data, v.len, "a type that does not exist");
    for (uint32_t type = 0; type < GGUF_TYPE_COUNT;
         type++) { /* huge arrays, and arrays of arrays */
        for (int i = 0; i < 2; i++) {
            buf_clear(&v);
            add_u32(&v, GGUF_ARRAY);
            add_u32(&v, type);
            add_u64(&v, i ? max : many);
            expect_key_refused(v.data, v.len,
                               type == GGUF_ARRAY ? "key 'k' is an array of arrays" : "cut short");
        }
    }
    buf_clear(&v);
    add_u32(&v, GGUF_STRING);
    add_u64(&v, max);
    expect_key_refused(v.data, v.len, "cut short");
    buf_release(&v);

    expect_tensor_refused(3, 2, 0, 1, "not begin at a multiple of 32");
    expect_tensor_refused(3, 2, 0, 256, "cut short (the data of tensor 't'");
    expect_tensor_refused(3, 2, 0, UINT64_MAX - 31, "cut short (the data of tensor 't'");
    expect_tensor_refused(3, (uint64_t)1 << 50, 0, 0, "cut short (the data of tensor 't'");
    expect_tensor_refused((uint64_t)1 << 40, (uint64_t)1 << 40, 0, 0, "too large");
    expect_tensor_refused((uint64_t)1 << 62, 1, 0, 0, "too large");
    expect_tensor_refused(33, 1, 3, 0, "not whole blocks of Q4_1");
    expect_tensor_refused(32, 8, 14, 0, "not whole blocks of Q6_K");

    add_start(&b, 2, 2, 0);
    add_tensor(&b, "t", 16, 1, 0, 0);
    add_tensor(&b, "u", 16, 1, 0, 32);
    add_data(&b, 32, 256);
    expect_refused(open_gguf, &b, "the data of tensor 'u' lie over those of 't'");
    buf_release(&b);
    add_start(&b, 2, 2, 0);
    add_tensor(&b, "t", 8, 1, 0, 0);
    add_tensor(&b, "t", 8, 1, 0, 32);
    add_data(&b, 32, 256);
    expect_refused(open_gguf, &b, "tensor 't' is there twice");
    buf_release(&b);
    add_start(&b, 3, 0, 2);
    add_key(&b, "k", GGUF_U8, "", 1);
    add_key(&b, "k", GGUF_U8, "", 1);
    expect_refused(open_gguf, &b, "key 'k' is there twice");
    buf_release(&b);
    add_start(&b, 3, 0, 1);
    add_key(&b, "general.alignment", GGUF_U32, &(uint32_t){48}, 4);
    expect_refused(open_gguf, &b, "not a power of two");
    buf_release(&b);
    add_start(&b, 3, 0, 1);
    add_key(&b, "split.count", GGUF_U16, &(uint16_t){3}, 2);
    expect_refused(open_gguf, &b, "one of 3 parts of a model: open it by its file's name");
    buf_release(&b);
    add_start(&b, 3, 0, 2);
    add_key(&b, "split.count", GGUF_U16, &(uint16_t){3}, 2);
    add_key(&b, "split.no", GGUF_U32, &(uint32_t){UINT32_MAX}, 4);
    expect_refused(open_gguf, &b, "split.no is 4294967295 and split.count 3");
    buf_release(&b);
    add_start(&b, 3, 0, 1);
    add_key(&b, "a\nb", GGUF_U8, "", 1);
    expect_refused(open_gguf, &b, "not printable");
    buf_release(&b);
    add_start(&b, 3, 1, 0);
    add_string(&b, "t");
    add_u32(&b, 5);
    for (int i = 0; i < 8; i++)
        add_u64(&b, 1);
    expect_refused(open_gguf, &b, "more than 4 dimensions");
    buf_release(&b);
    buf_init(&b, 1 << 10);
    buf_str(&b, "GGML, long ago");
    expect_refused(open_gguf, &b, "not a GGUF file");
    buf_release(&b);
}

/* Every type that there is: its name, and where its data end. */
static void test_gguf_sizes(void **state)
{
    (void)state;
    json_t *golden = golden_json("tests/golden/dtype.json"), *entry;
    const char *number;
    size_t supported = 0;
    json_object_foreach(json_object_get(golden, "sizes"), number, entry) {
        const char *name = json_string_value(json_array_get(entry, 0));
        size_t block = (size_t)json_integer_value(json_array_get(entry, 1));
        size_t bytes = (size_t)json_integer_value(json_array_get(entry, 2));
        uint32_t type = (uint32_t)strtoul(number, NULL, 10);
        for (size_t missing = 0; missing < 2; missing++) {
            struct buf b;
            struct gguf g;
            struct err err;
            add_start(&b, 3, 1, 0);
            add_tensor(&b, "t", 3 * block, 5, type, 0);
            add_data(&b, 32, 15 * bytes - missing);
            int rc = gguf_open_memory(&g, b.data, b.len, "x.gguf", &err);
            assert_int_equal(rc, missing ? -1 : 0);
            if (missing) {
                assert_non_null(strstr(err.text, "cut short (the data of tensor 't'"));
            } else {
                const struct tensor *t = tensor_find(&g.tensors, "t");
                assert_string_equal(t->type_name, name);
                assert_int_equal(t->bytes, 15 * bytes);
                supported += t->type != DTYPE_COUNT;
                if (t->type != DTYPE_COUNT)
                    assert_string_equal(dtype_table[t->type].name, name);
                gguf_release(&g);
            }
            buf_release(&b);
        }
        if (block > 1)
            expect_tensor_refused(3 * block - 1, 1, type, 0, "not whole blocks of");
    }
    assert_int_equal(supported, DTYPE_COUNT);
    json_decref(golden);
}

/* ---- models in several files ---- */

/* One part of two: a tensor of its own, and what it says of the whole (tensors < 0: nothing). */
static void put_part(const char *folder, const char *name, int no, int count, int tensors, const char *tensor)
{
    struct buf b;
    add_start(&b, 3, 1, tensors < 0 ? 2 : 3);
    add_key(&b, "split.no", GGUF_U16, &(uint16_t){(uint16_t)no}, 2);
    add_key(&b, "split.count", GGUF_U16, &(uint16_t){(uint16_t)count}, 2);
    if (tensors >= 0)
        add_key(&b, "split.tensors.count", GGUF_I32, &(int32_t){tensors}, 4);
    add_tensor(&b, tensor, 3, 1, 0, 0);
    add_data(&b, 32, 12);
    put(folder, name, b.data, b.len);
    buf_release(&b);
}

static void expect_parts(const char *folder, const char *name, const char *why)
{
    struct gguf g;
    struct err err;
    char *path = path_join(folder, name);
    int rc = gguf_open(&g, path, &err);
    if (!why) {
        if (rc)
            fail_msg("%s", err.text);
        assert_string_equal(g.tensors.path, path);
        assert_int_equal(g.tensors.n, 2);
        assert_int_equal(g.n_parts, 2);
        assert_string_equal(g.tensors.tensors[0].name, "x"); /* the first part's, whichever was opened */
        uint32_t no = 9;
        assert_int_equal(gguf_u32(&no, &g, "split.no", &err), 1);
        assert_int_equal(no, 0);
        read_all(&g.tensors);
        gguf_release(&g);
    } else if (rc == 0 || !strstr(err.text, why)) {
        fail_msg("'%s' should say '%s'", rc ? err.text : "opened", why);
    }
    free(path);
}

static void test_gguf_parts(void **state)
{
    (void)state;
    static const char one[] = "m-00001-of-00002.gguf", two[] = "m-00002-of-00002.gguf";
    struct err err;
    char *folder = temporary_folder();
    put_part(folder, one, 0, 2, 2, "x");
    expect_parts(folder, one, "1 of its 2 parts are not there ('");
    put_part(folder, two, 1, 2, 2, "y");
    expect_parts(folder, one, NULL);
    expect_parts(folder, two, NULL);
    put_part(folder, one, 0, 2, -1, "x");
    expect_parts(folder, two, "m-00001-of-00002.gguf': its split.tensors.count is not that of");
    put_part(folder, two, 1, 2, -1, "y");
    expect_parts(folder, two, NULL);
    put_part(folder, two, 1, 2, -1, "x");
    expect_parts(folder, one, "tensor 'x' is there twice");
    put_part(folder, one, 0, 2, 3, "x");
    put_part(folder, two, 1, 2, 3, "y");
    expect_parts(folder, one, "its parts have 2 tensors, and split.tensors.count is 3");
    put_part(folder, two, 0, 2, 3, "y");
    expect_parts(folder, one, "it says that it is part 1 of 2, not 2 of 2");
    expect_parts(folder, two, "it is part 1 of 2, so its name should end in '-00001-of-00002.gguf'");
    put_part(folder, two, 1, 3, 3, "y");
    expect_parts(folder, one, "it says that it is part 2 of 3, not 2 of 2");
    put_part(folder, two, 5, 2, 3, "y");
    expect_parts(folder, one, "split.no is 5 and split.count 2");
    put(folder, two, "GGUF", 4);
    expect_parts(folder, one, "m-00002-of-00002.gguf': the file is cut short");
    put_part(folder, "m.gguf", 0, 2, 2, "x");
    expect_parts(folder, "m.gguf", "its name should end in '-00001-of-00002.gguf'");
    put_part(folder, "m-00001-of-60000.gguf", 0, 60000, 2, "x");
    expect_parts(folder, "m-00001-of-60000.gguf", "59999 of its 60000 parts are not there");
    put_part(folder, "m-00001-of-00001.gguf", 0, 1, 1, "x"); /* one part is the whole */
    char *path = path_join(folder, "m-00001-of-00001.gguf");
    struct gguf g;
    assert_int_equal(gguf_open(&g, path, &err), 0);
    gguf_release(&g);
    free(path);
    assert_int_equal(dir_remove(folder, &err), 0);
    free(folder);
}

/* The real model; where it is the demo's, its floats are those of GGUF's own Python reader. */
static void test_gguf_real(void **state)
{
    (void)state;
    static const struct {
        const char *name, *sha256;
    } want[] = {
        {"token_embd.weight", "3fd491c8066dd9dc1a2bf6796701526c82817d95c0ecabacdef3013c2b8bbbaa"},
        {"blk.7.ffn_down.weight",
         "9d3af8b67d13c727ae5ffe470464163b9cac42eb494525392bd3e79c8db73880"},
        {"output_norm.weight", "3b87f8e27335e67fc08f159cabfd2d18f205d6c5b225a6f978153552bf01d559"}};
    const char *path = getenv("HONE_MODEL");
    if (!path || strlen(path) < 5 || strcmp(path + strlen(path) - 5, ".gguf")) {
        print_message("HONE_MODEL names no GGUF file: none is read\n");
        skip();
    }
    struct gguf g;
    struct err err;
    if (gguf_open(&g, path, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < g.tensors.n; i++) {
        const struct tensor *t = tensor_need(&g.tensors, g.tensors.tensors[i].name, &err);
        if (!t)
            fail_msg("%s", err.text);
        size_t n = tensor_elements(t), infinite = 0;
        float *out = xmalloc(4 * n);
        tensor_unpack(out, t);
        for (size_t j = 0; j < n; j++)
            infinite += !isfinite(out[j]);
        assert_int_equal(infinite, 0);
        free(out);
    }
    const char *name = "";
    uint32_t width = 0;
    gguf_str(&name, NULL, &g, "general.name", &err);
    gguf_u32(&width, &g, "llama.embedding_length", &err);
    if (strcmp(name, "Smollm2 135M 8k Lc100K Mix1 Ep2") || g.tensors.n != 272) {
        print_message("another model than the demo's: its values are not compared\n");
        gguf_release(&g);
        return;
    }
    assert_int_equal(width, 576);
    const char *const *tokens;
    const size_t *lens;
    size_t n_tokens;
    assert_int_equal(gguf_str_array(&tokens, &lens, &n_tokens, &g, "tokenizer.ggml.tokens", &err),
                     1);
    assert_int_equal(n_tokens, 49152);
    assert_string_equal(tokens[1], "<|im_start|>");
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const struct tensor *t = tensor_need(&g.tensors, want[i].name, &err);
        size_t n = tensor_elements(t);
        float *out = xmalloc(4 * n);
        char hash[65];
        tensor_unpack(out, t);
        sha256_hex(hash, out, 4 * n);
        assert_string_equal(hash, want[i].sha256);
        free(out);
    }
    gguf_release(&g);
}

/* A model of one layer, all in floats, of which only what has to be there is: no vocabulary. */
static void make_model(struct buf *b)
{
    static const struct {
        const char *key;
        uint32_t value;
    } sizes[] = {{"llama.embedding_length", 64},    {"llama.block_count", 1},         {"llama.attention.head_count", 2},
                 {"llama.feed_forward_length", 96}, {"llama.context_length", 16}};
    static const struct {
        const char *name;
        uint64_t cols, rows; /* rows 0: one dimension */
    } tensors[] = {{"token_embd.weight", 64, 200},       {"output_norm.weight", 64, 0},    {"blk.0.attn_norm.weight", 64, 0},
                   {"blk.0.ffn_norm.weight", 64, 0},     {"blk.0.attn_q.weight", 64, 64},  {"blk.0.attn_k.weight", 64, 64},
                   {"blk.0.attn_v.weight", 64, 64},      {"blk.0.attn_output.weight", 64, 64}, {"blk.0.ffn_gate.weight", 64, 96},
                   {"blk.0.ffn_up.weight", 64, 96},      {"blk.0.ffn_down.weight", 96, 64}};
    enum { SIZES = sizeof sizes / sizeof *sizes, TENSORS = sizeof tensors / sizeof *tensors };
    buf_init(b, 1 << 20);
    buf_str(b, "GGUF");
    add_u32(b, 3);
    add_u64(b, TENSORS);
    add_u64(b, 1 + SIZES);
    add_string(b, "general.architecture");
    add_u32(b, GGUF_STRING);
    add_string(b, "llama");
    for (size_t i = 0; i < SIZES; i++) {
        add_string(b, sizes[i].key);
        add_u32(b, GGUF_U32);
        add_u32(b, sizes[i].value);
    }
    uint64_t offset = 0;
    for (size_t i = 0; i < TENSORS; i++) {
        add_string(b, tensors[i].name);
        add_u32(b, tensors[i].rows ? 2 : 1);
        add_u64(b, tensors[i].cols);
        if (tensors[i].rows)
            add_u64(b, tensors[i].rows);
        add_u32(b, 0); /* F32 */
        add_u64(b, offset);
        offset += 4 * tensors[i].cols * (tensors[i].rows ? tensors[i].rows : 1); /* stays a multiple of 32 */
    }
    while (b->len % 32)
        buf_add(b, "", 1);
    for (uint32_t i = 0; i < offset / 4; i++) {
        float x = (float)rng_normal(1, RNG_TEST, i, 0, 0, 0);
        buf_add(b, &x, 4);
    }
}

static void test_model_without_vocabulary(void **state)
{
    (void)state;
    char *folder = temporary_folder(), *path = path_join(folder, "m.gguf");
    struct buf b;
    struct err err;
    struct model m;
    make_model(&b);
    if (file_write(path, b.data, b.len, &err) || model_open(&m, path, NULL, &err))
        fail_msg("%s", err.text);
    assert_null(m.tokenizer);
    assert_null(m.template);
    assert_non_null(strstr(m.template_problem, "has no vocabulary"));
    assert_int_equal(m.config.vocab, 200);
    float before[200][64], after[64], room[64 * PANEL];
    for (size_t i = 0; i < 200; i++)
        weight_row(&m.embed, i, before[i]);
    if (model_pack(&m, &err)) /* the pages of the file leave memory, and come back */
        fail_msg("%s", err.text);
    assert_non_null(m.output.panels);
    for (size_t i = 0; i < 200; i++) {
        weight_row(&m.output, i, after);
        assert_memory_equal(after, before[i], sizeof after);
        const float *panel = weight_tile_forward(&m.output, i / PANEL, 0, m.output.in, room);
        for (size_t k = 0; k < 64; k++)
            assert_true(panel[k * PANEL + i % PANEL] == before[i][k]);
    }
    model_release(&m);
    if (dir_remove(folder, &err))
        fail_msg("%s", err.text);
    free(path);
    free(folder);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half),
        cmocka_unit_test(test_unpack),
        cmocka_unit_test(test_safetensors_small),
        cmocka_unit_test(test_safetensors_hostile),
        cmocka_unit_test(test_safetensors_folder),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_gguf_values),
        cmocka_unit_test(test_gguf_tensors),
        cmocka_unit_test(test_gguf_hostile),
        cmocka_unit_test(test_gguf_sizes),
        cmocka_unit_test(test_gguf_parts),
        cmocka_unit_test(test_gguf_real),
        cmocka_unit_test(test_model_without_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
