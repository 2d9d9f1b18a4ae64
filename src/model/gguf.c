#include "model/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/mem.h"

/* What stands before the tensors' data is a few MB in real files; its copies in memory stay within
 * a few times this. */
#define METADATA_CEILING ((size_t)1 << 30)

static const struct {
    const char *name;
    size_t bytes; /* 0: of no fixed size */
} value_types[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = {"u8", 1},       [GGUF_I8] = {"i8", 1},     [GGUF_U16] = {"u16", 2},
    [GGUF_I16] = {"i16", 2},     [GGUF_U32] = {"u32", 4},   [GGUF_I32] = {"i32", 4},
    [GGUF_F32] = {"f32", 4},     [GGUF_BOOL] = {"bool", 1}, [GGUF_STRING] = {"string", 0},
    [GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"u64", 8},   [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

/* ggml's numbers of types: one of ours, or what is known of another. */
static const struct {
    enum dtype type;
    struct dtype_info other;
} tensor_types[] = {
    [0] = {DTYPE_F32},
    [1] = {DTYPE_F16},
    [2] = {DTYPE_Q4_0},
    [3] = {DTYPE_Q4_1},
    [6] = {DTYPE_Q5_0},
    [7] = {DTYPE_Q5_1},
    [8] = {DTYPE_Q8_0},
    [9] = {DTYPE_COUNT, {"Q8_1", 32, 40}},
    [10] = {DTYPE_Q2_K},
    [11] = {DTYPE_Q3_K},
    [12] = {DTYPE_Q4_K},
    [13] = {DTYPE_Q5_K},
    [14] = {DTYPE_Q6_K},
    [15] = {DTYPE_COUNT, {"Q8_K", 256, 292}},
    [16] = {DTYPE_COUNT, {"IQ2_XXS", 256, 66}},
    [17] = {DTYPE_COUNT, {"IQ2_XS", 256, 74}},
    [18] = {DTYPE_COUNT, {"IQ3_XXS", 256, 98}},
    [19] = {DTYPE_COUNT, {"IQ1_S", 256, 50}},
    [20] = {DTYPE_IQ4_NL},
    [21] = {DTYPE_COUNT, {"IQ3_S", 256, 110}},
    [22] = {DTYPE_COUNT, {"IQ2_S", 256, 82}},
    [23] = {DTYPE_COUNT, {"IQ4_XS", 256, 136}},
    [24] = {DTYPE_COUNT, {"I8", 1, 1}},
    [25] = {DTYPE_COUNT, {"I16", 1, 2}},
    [26] = {DTYPE_COUNT, {"I32", 1, 4}},
    [27] = {DTYPE_COUNT, {"I64", 1, 8}},
    [28] = {DTYPE_COUNT, {"F64", 1, 8}},
    [29] = {DTYPE_COUNT, {"IQ1_M", 256, 56}},
    [30] = {DTYPE_BF16},
    [34] = {DTYPE_COUNT, {"TQ1_0", 256, 54}},
    [35] = {DTYPE_COUNT, {"TQ2_0", 256, 66}},
    [39] = {DTYPE_COUNT, {"MXFP4", 32, 17}},
    [40] = {DTYPE_COUNT, {"NVFP4", 64, 36}},
    [41] = {DTYPE_COUNT, {"Q1_0", 128, 18}},
};

size_t gguf_value_bytes(enum gguf_type type)
{
    return value_types[type].bytes;
}

uint32_t gguf_type_number(enum dtype type)
{
    uint32_t number = 0;
    while (tensor_types[number].type != type)
        number++;
    return number;
}

/* What a number stands for, or NULL; *type is DTYPE_COUNT where it is none of ours. */
static const struct dtype_info *tensor_type(enum dtype *type, uint32_t number)
{
    *type = DTYPE_COUNT;
    if (number >= sizeof tensor_types / sizeof *tensor_types)
        return NULL;
    *type = tensor_types[number].type;
    if (*type == DTYPE_F32 && number) /* a gap in the table */
        *type = DTYPE_COUNT;
    if (*type != DTYPE_COUNT)
        return &dtype_table[*type];
    return tensor_types[number].other.name ? &tensor_types[number].other : NULL;
}

/* The bytes that have not been read yet. */
struct cursor {
    const uint8_t *start, *at, *end; /* end: of what may be read as metadata */
    size_t size;                     /* of the file */
    const char *path;
    struct err *err;
};

static size_t left(const struct cursor *c)
{
    return (size_t)(c->end - c->at);
}

static void cut_short(const struct cursor *c)
{
    if (c->size > METADATA_CEILING)
        err_set(
            c->err,
            "cannot read '%s': its metadata are damaged, or longer than 1 GiB: download it again",
            c->path);
    else
        err_set(c->err,
                "cannot read '%s': the file is cut short (its metadata go on after byte %zu): "
                "download it again",
                c->path, c->size);
}

static int damaged(const struct cursor *c, const char *what)
{
    return err_set(c->err,
                   "cannot read '%s': %s (before byte %zu): the file is damaged: download it again",
                   c->path, what, (size_t)(c->at - c->start));
}

static int read_number(struct cursor *c, void *out, size_t bytes)
{
    if (left(c) < bytes) {
        cut_short(c);
        return -1;
    }
    memcpy(out, c->at, bytes);
    c->at += bytes;
    return 0;
}

/* The bytes stay in the file. */
static int read_bytes(struct cursor *c, const char **out, size_t *n)
{
    uint64_t len;
    if (read_number(c, &len, 8))
        return -1;
    if (len > left(c)) {
        cut_short(c);
        return -1;
    }
    *out = (const char *)c->at;
    *n = (size_t)len;
    c->at += len;
    return 0;
}

/* A fresh string, fit to be shown. */
static int read_name(struct cursor *c, char **out, const char *what)
{
    const char *bytes;
    size_t n;
    if (read_bytes(c, &bytes, &n))
        return -1;
    if (!tensor_name_ok(bytes, n))
        return damaged(c, what);
    *out = xstrndup(bytes, n);
    return 0;
}

/* v->n strings.  Pointers and bytes are one block. */
static int read_strings(struct cursor *c, struct gguf_value *v)
{
    struct cursor ahead = *c;
    size_t total = 0, len = 0;
    const char *bytes = NULL;
    for (size_t i = 0; i < v->n; i++) {
        if (read_bytes(&ahead, &bytes, &len))
            return -1;
        total += len + 1;
    }
    v->lens = xcalloc(v->n, sizeof *v->lens);
    v->strings = xmalloc(v->n * sizeof *v->strings + total);
    char *to = (char *)(v->strings + v->n);
    for (size_t i = 0; i < v->n; i++) {
        read_bytes(c, &bytes, &v->lens[i]);
        memcpy(to, bytes, v->lens[i]);
        to[v->lens[i]] = 0;
        v->strings[i] = to;
        to += v->lens[i] + 1;
    }
    return 0;
}

static int read_value(struct cursor *c, struct gguf_value *v)
{
    uint32_t type;
    uint64_t n = 1;
    if (read_number(c, &type, 4))
        return -1;
    v->is_array = type == GGUF_ARRAY;
    if (v->is_array && (read_number(c, &type, 4) || read_number(c, &n, 8)))
        return -1;
    if (type == GGUF_ARRAY)
        return err_set(c->err,
                       "cannot read '%s': key '%s' is an array of arrays, which is not supported",
                       c->path, v->key);
    if (type >= GGUF_TYPE_COUNT)
        return damaged(c, "a key's value has a type that does not exist");
    v->type = (enum gguf_type)type;
    size_t bytes = value_types[type].bytes;
    if (n > left(c) / (bytes ? bytes : 8)) {
        cut_short(c);
        return -1;
    }
    v->n = (size_t)n;
    if (v->type == GGUF_STRING)
        return read_strings(c, v);
    v->numbers = c->at;
    c->at += v->n * bytes;
    return 0;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(((const struct gguf_value *)a)->key, ((const struct gguf_value *)b)->key);
}

static int read_values(struct cursor *c, struct gguf *g, uint64_t n)
{
    if (n > left(c) / 13) { /* the shortest: key of one byte, type, no value */
        cut_short(c);
        return -1;
    }
    size_t capacity = 0;
    while (g->n_values < n) {
        ARRAY_GROW(g->values, g->n_values + 1, capacity);
        struct gguf_value *v = &g->values[g->n_values++];
        *v = (struct gguf_value){0};
        if (read_name(c, &v->key, "a key is empty, longer than 512 bytes or not printable") ||
            read_value(c, v))
            return -1;
    }
    if (g->n_values)
        qsort(g->values, g->n_values, sizeof *g->values, compare_keys);
    for (size_t i = 1; i < g->n_values; i++) {
        if (!strcmp(g->values[i - 1].key, g->values[i].key))
            return err_set(
                c->err,
                "cannot read '%s': key '%s' is there twice: the file is damaged: download it again",
                c->path, g->values[i].key);
    }
    return 0;
}

/* One tensor's description; `offset` is where its data begin after the start of all data. */
static int read_tensor(struct cursor *c, struct tensor *t, uint64_t *offset)
{
    uint32_t n_dims, type;
    uint64_t dims[TENSOR_MAX_DIMS];
    if (read_name(c, &t->name,
                  "a tensor's name is empty, longer than 512 bytes or not printable") ||
        read_number(c, &n_dims, 4))
        return -1;
    if (n_dims > TENSOR_MAX_DIMS)
        return damaged(c, "a tensor has more than 4 dimensions");
    if (read_number(c, dims, 8 * n_dims) || read_number(c, &type, 4) || read_number(c, offset, 8))
        return -1;
    t->n_dims = (int)n_dims;
    for (uint32_t i = 0; i < TENSOR_MAX_DIMS; i++)
        t->shape[i] = i < n_dims ? dims[n_dims - 1 - i] : 1;
    const struct dtype_info *stored = tensor_type(&t->type, type);
    if (stored)
        snprintf(t->type_name, sizeof t->type_name, "%s", stored->name);
    else
        snprintf(t->type_name, sizeof t->type_name, "#%" PRIu32, type);
    size_t elements;
    if (!tensor_size(&elements, &t->bytes, t, stored))
        return err_set(c->err,
                       "cannot read '%s': tensor '%s' is too large, or its rows are not whole "
                       "blocks of %s: the file is damaged: download it again",
                       c->path, t->name, t->type_name);
    return 0;
}

/* Put each tensor's data in place: within the file, on the alignment, not over another's. */
static int place_tensors(struct cursor *c, struct tensor_file *file, struct tensor_span *spans,
                         size_t alignment)
{
    size_t at = (size_t)(c->at - c->start);
    size_t start = (at + alignment - 1) / alignment * alignment;
    for (size_t i = 0; i < file->n; i++) {
        struct tensor *t = &file->tensors[i];
        if (spans[i].begin % alignment)
            return err_set(c->err,
                           "cannot read '%s': tensor '%s' does not begin at a multiple of %zu "
                           "bytes: the file is damaged: download it again",
                           c->path, t->name, alignment);
        if (start > c->size || spans[i].begin > c->size - start ||
            t->bytes > c->size - start - spans[i].begin)
            return err_set(c->err,
                           "cannot read '%s': the file is cut short (the data of tensor '%s' go on "
                           "after byte %zu): download it again",
                           c->path, t->name, c->size);
        spans[i].end = spans[i].begin + t->bytes;
        if (t->type != DTYPE_COUNT)
            t->data = c->start + start + spans[i].begin;
    }
    tensor_spans_sort(spans, file->n);
    for (size_t i = 1; i < file->n; i++) {
        if (spans[i].begin < spans[i - 1].end)
            return err_set(c->err,
                           "cannot read '%s': the data of tensor '%s' lie over those of '%s': the "
                           "file is damaged: download it again",
                           c->path, file->tensors[spans[i].tensor].name,
                           file->tensors[spans[i - 1].tensor].name);
    }
    return 0;
}

static int read_tensors(struct cursor *c, struct tensor_file *file, uint64_t n, size_t alignment)
{
    if (n > left(c) / 25) { /* the shortest: name of one byte, no dimension, type, offset */
        cut_short(c);
        return -1;
    }
    struct tensor_span *spans = NULL;
    size_t capacity = 0, spans_capacity = 0;
    int rc = 0;
    while (rc == 0 && file->n < n) {
        ARRAY_GROW(file->tensors, file->n + 1, capacity);
        ARRAY_GROW(spans, file->n + 1, spans_capacity);
        struct tensor *t = &file->tensors[file->n];
        uint64_t offset = 0;
        *t = (struct tensor){0};
        rc = read_tensor(c, t, &offset);
        spans[file->n] = (struct tensor_span){.begin = offset, .tensor = file->n};
        file->n++;
    }
    if (rc == 0 && n)
        rc = place_tensors(c, file, spans, alignment);
    free(spans);
    return rc;
}

static int read_version(struct cursor *c, struct gguf *g)
{
    if (tensor_lfs_pointer(c->start, c->size))
        return err_set(c->err, "cannot read '%s': it is a pointer of Git LFS: run 'git lfs pull'",
                       c->path);
    if (c->size < 4 || memcmp(c->start, "GGUF", 4))
        return err_set(c->err, "cannot read '%s': it is not a GGUF file", c->path);
    c->at += 4;
    if (read_number(c, &g->version, 4))
        return -1;
    if (g->version && (g->version & 0xffff) == 0)
        return err_set(c->err,
                       "cannot read '%s': it is a big-endian GGUF: take the little-endian one",
                       c->path);
    if (g->version != 2 && g->version != 3)
        return err_set(c->err,
                       "cannot read '%s': it is GGUF version %" PRIu32
                       ", and 2 and 3 are supported: convert the model anew",
                       c->path, g->version);
    return 0;
}

static int read_file(struct cursor *c, struct gguf *g)
{
    uint64_t n_tensors, n_values;
    if (read_version(c, g) || read_number(c, &n_tensors, 8) || read_number(c, &n_values, 8) ||
        read_values(c, g, n_values))
        return -1;
    uint32_t alignment = 32;
    if (gguf_u32(&alignment, g, "general.alignment", c->err) < 0)
        return -1;
    if (alignment < 8 || (alignment & (alignment - 1))) /* floats are read where they lie */
        return err_set(c->err,
                       "cannot read '%s': general.alignment is %" PRIu32
                       ", not a power of two from 8 on: the file is damaged: download it again",
                       c->path, alignment);
    return read_tensors(c, &g->tensors, n_tensors, alignment);
}

/* g->tensors.path is set, and perhaps its map.  The index of names is not made yet. */
static int open_bytes(struct gguf *g, const uint8_t *data, size_t size, struct err *err)
{
    size_t ceiling = size < METADATA_CEILING ? size : METADATA_CEILING;
    struct cursor c = {data, data, data + ceiling, size, g->tensors.path, err};
    g->n_parts = 1;
    if (read_file(&c, g)) {
        gguf_release(g);
        return -1;
    }
    return 0;
}

/* ---- models in several files ---- */

/* What a part says of the whole. */
struct split {
    uint32_t count, no, tensors;
};

static int read_split(struct split *s, const struct gguf *g, struct err *err)
{
    *s = (struct split){.count = 1, .tensors = UINT32_MAX};
    if (gguf_u32(&s->count, g, "split.count", err) < 0 || gguf_u32(&s->no, g, "split.no", err) < 0 ||
        gguf_u32(&s->tensors, g, "split.tensors.count", err) < 0)
        return -1;
    if (s->count > 1 && s->no >= s->count)
        return err_set(err,
                       "cannot read '%s': split.no is %" PRIu32 " and split.count %" PRIu32
                       ": the file is damaged: download it again",
                       g->tensors.path, s->no, s->count);
    return 0;
}

/* "-00002-of-00003.gguf", of part 1 of 3. */
enum { PART_END = 20 };
static char *part_path(const char *path, size_t before, uint32_t no, uint32_t count)
{
    return xasprintf("%.*s-%05" PRIu32 "-of-%05" PRIu32 ".gguf", (int)before, path, no + 1, count);
}

char *gguf_part_path(const struct gguf *g, uint32_t i)
{
    const char *path = g->tensors.path;
    ENSURE(i < g->n_parts);
    return g->n_parts == 1 ? xstrdup(path) : part_path(path, strlen(path) - PART_END, i, g->n_parts);
}

/* A file's metadata and tensors; their index is not made yet. */
static int open_part(struct gguf *out, const char *path, struct err *err)
{
    *out = (struct gguf){0};
    struct file_map map;
    if (file_map_open(&map, path, err))
        return -1;
    out->tensors.path = xstrdup(path);
    out->tensors.maps = xcalloc(1, sizeof map);
    out->tensors.maps[out->tensors.n_maps++] = map;
    return open_bytes(out, map.data, map.size, err);
}

static int check_names(const char *path, size_t before, const struct split *s, struct err *err)
{
    char *name = part_path(path, before, s->no, s->count);
    bool same = !strcmp(name, path);
    free(name);
    if (!same)
        return err_set(err,
                       "cannot read '%s': it is part %" PRIu32 " of %" PRIu32 ", so its name should end in '-%05" PRIu32
                       "-of-%05" PRIu32 ".gguf': give the parts their names back",
                       path, s->no + 1, s->count, s->no + 1, s->count);
    struct buf missing;
    size_t n_missing = 0;
    buf_init(&missing, 1 << 14);
    for (uint32_t i = 0; i < s->count; i++) {
        name = part_path(path, before, i, s->count);
        if (!file_exists(name) && n_missing++ < 3)
            buf_printf(&missing, "%s'%s'", n_missing > 1 ? ", " : "", name);
        free(name);
    }
    int rc = 0;
    if (n_missing)
        rc = err_set(err, "cannot read '%s': %zu of its %" PRIu32 " parts are not there (%s%s): download them too", path,
                     n_missing, s->count, missing.data, n_missing > 3 ? ", .." : "");
    buf_release(&missing);
    return rc;
}

/* g is one part of several: read the others, and make it the whole. */
static int open_others(struct gguf *g, const struct split *s, struct err *err)
{
    char *path = xstrdup(g->tensors.path);
    size_t n = strlen(path), before = n > PART_END ? n - PART_END : 0, total = 0;
    if (check_names(path, before, s, err)) {
        free(path);
        return -1;
    }
    struct gguf *parts = xcalloc(s->count, sizeof *parts);
    parts[s->no] = *g;
    *g = (struct gguf){0};
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < s->count; i++) {
        char *name = part_path(path, before, i, s->count);
        struct split own;
        if (i != s->no)
            rc = open_part(&parts[i], name, err);
        if (rc == 0)
            rc = read_split(&own, &parts[i], err);
        if (rc == 0 && (own.no != i || own.count != s->count))
            rc = err_set(err,
                         "cannot read '%s': it says that it is part %" PRIu32 " of %" PRIu32 ", not %" PRIu32 " of %" PRIu32
                         ": the parts do not belong together: download them again",
                         name, own.no + 1, own.count, i + 1, s->count);
        if (rc == 0 && own.tensors != s->tensors)
            rc = err_set(err,
                         "cannot read '%s': its split.tensors.count is not that of '%s': the parts do not belong together: "
                         "download them again",
                         name, path);
        total += parts[i].tensors.n;
        free(name);
    }
    if (rc == 0 && s->tensors != UINT32_MAX && total != s->tensors)
        rc = err_set(err,
                     "cannot read '%s': its parts have %zu tensors, and split.tensors.count is %" PRIu32
                     ": they do not belong together: download them again",
                     path, total, s->tensors);
    if (rc == 0) {
        *g = parts[0];
        parts[0] = (struct gguf){0};
        free(g->tensors.path);
        g->tensors.path = xstrdup(path);
        g->n_parts = s->count;
        for (uint32_t i = 1; i < s->count; i++)
            tensor_file_append(&g->tensors, &parts[i].tensors);
    }
    for (uint32_t i = 0; i < s->count; i++)
        gguf_release(&parts[i]);
    free(parts);
    free(path);
    return rc;
}

int gguf_open_memory(struct gguf *out, const void *data, size_t size, const char *path,
                     struct err *err)
{
    struct split s;
    *out = (struct gguf){.tensors.path = xstrdup(path)};
    if (open_bytes(out, data, size, err))
        return -1;
    int rc = read_split(&s, out, err);
    if (rc == 0 && s.count > 1)
        rc = err_set(err, "cannot read '%s': it is one of %" PRIu32 " parts of a model: open it by its file's name", path, s.count);
    if (rc == 0)
        rc = tensor_file_index(&out->tensors, err);
    if (rc)
        gguf_release(out);
    return rc;
}

int gguf_open(struct gguf *out, const char *path, struct err *err)
{
    struct split s;
    if (open_part(out, path, err))
        return -1;
    int rc = read_split(&s, out, err);
    if (rc == 0 && s.count > 1)
        rc = open_others(out, &s, err);
    if (rc == 0)
        rc = tensor_file_index(&out->tensors, err);
    if (rc)
        gguf_release(out);
    return rc;
}

void gguf_release(struct gguf *g)
{
    for (size_t i = 0; i < g->n_values; i++) {
        free(g->values[i].key);
        free(g->values[i].strings);
        free(g->values[i].lens);
    }
    free(g->values);
    tensor_file_release(&g->tensors);
    *g = (struct gguf){0};
}

const struct gguf_value *gguf_find(const struct gguf *g, const char *key)
{
    const struct gguf_value wanted = {.key = (char *)(uintptr_t)key};
    return g->n_values ? bsearch(&wanted, g->values, g->n_values, sizeof wanted, compare_keys)
                       : NULL;
}

int gguf_require(const struct gguf *g, const char *key, struct err *err)
{
    if (gguf_find(g, key))
        return 0;
    return err_set(err, "cannot read '%s': key '%s' is missing: convert the model anew",
                   g->tensors.path, key);
}

/* "'x.gguf': key 'a.b' should be WHAT and is an array of u32". */
static int wrong_kind(const struct gguf *g, const struct gguf_value *v, const char *what,
                      struct err *err)
{
    return err_set(err,
                   "cannot read '%s': key '%s' should be %s and is %s%s: convert the model anew",
                   g->tensors.path, v->key, what, v->is_array ? "an array of " : "of type ",
                   value_types[v->type].name);
}

/* Element i as a whole number; false where it is of another type or past an int64_t. */
static bool whole_number(int64_t *out, const struct gguf_value *v, size_t i)
{
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
    } x;
    if (v->type == GGUF_STRING)
        return false;
    size_t bytes = value_types[v->type].bytes;
    memcpy(&x, (const uint8_t *)v->numbers + i * bytes, bytes);
    switch (v->type) {
    case GGUF_U8:
        *out = x.u8;
        return true;
    case GGUF_I8:
        *out = x.i8;
        return true;
    case GGUF_U16:
        *out = x.u16;
        return true;
    case GGUF_I16:
        *out = x.i16;
        return true;
    case GGUF_U32:
        *out = x.u32;
        return true;
    case GGUF_I32:
        *out = x.i32;
        return true;
    case GGUF_U64:
        *out = (int64_t)x.u64;
        return x.u64 <= INT64_MAX;
    case GGUF_I64:
        *out = x.i64;
        return true;
    default:
        return false;
    }
}

static bool any_number(float *out, const struct gguf_value *v, size_t i)
{
    int64_t whole;
    double d;
    if (whole_number(&whole, v, i)) {
        *out = (float)whole;
    } else if (v->type == GGUF_F32) {
        memcpy(out, (const uint8_t *)v->numbers + 4 * i, 4);
    } else if (v->type == GGUF_F64) {
        memcpy(&d, (const uint8_t *)v->numbers + 8 * i, 8);
        *out = (float)d;
    } else {
        return false;
    }
    return true;
}

int gguf_u32(uint32_t *out, const struct gguf *g, const char *key, struct err *err)
{
    const struct gguf_value *v = gguf_find(g, key);
    int64_t x;
    if (!v)
        return 0;
    if (v->is_array || !whole_number(&x, v, 0) || x < 0 || x > UINT32_MAX)
        return wrong_kind(g, v, "a whole number from 0 to 4294967295", err);
    *out = (uint32_t)x;
    return 1;
}

int gguf_f32(float *out, const struct gguf *g, const char *key, struct err *err)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v)
        return 0;
    if (v->is_array || !any_number(out, v, 0))
        return wrong_kind(g, v, "a number", err);
    return 1;
}

int gguf_bool(bool *out, const struct gguf *g, const char *key, struct err *err)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v)
        return 0;
    if (v->is_array || v->type != GGUF_BOOL)
        return wrong_kind(g, v, "true or false", err);
    *out = *(const uint8_t *)v->numbers != 0;
    return 1;
}

int gguf_str(const char **out, size_t *len, const struct gguf *g, const char *key, struct err *err)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v)
        return 0;
    if (v->is_array || v->type != GGUF_STRING)
        return wrong_kind(g, v, "a string", err);
    *out = v->strings[0];
    if (len)
        *len = v->lens[0];
    return 1;
}

int gguf_i32_array(int32_t **out, size_t *n, const struct gguf *g, const char *key, struct err *err)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v)
        return 0;
    int32_t *array = v->is_array ? xcalloc(v->n, sizeof *array) : NULL;
    bool ok = v->is_array;
    for (size_t i = 0; ok && i < v->n; i++) {
        int64_t x = 0;
        ok = whole_number(&x, v, i) && x >= INT32_MIN && x <= INT32_MAX;
        array[i] = (int32_t)x;
    }
    if (!ok) {
        free(array);
        return wrong_kind(g, v, "an array of whole numbers of 32 bits", err);
    }
    *out = array;
    *n = v->n;
    return 1;
}

int gguf_f32_array(float **out, size_t *n, const struct gguf *g, const char *key, struct err *err)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v)
        return 0;
    float *array = v->is_array ? xcalloc(v->n, sizeof *array) : NULL;
    bool ok = v->is_array;
    for (size_t i = 0; ok && i < v->n; i++)
        ok = any_number(&array[i], v, i);
    if (!ok) {
        free(array);
        return wrong_kind(g, v, "an array of numbers", err);
    }
    *out = array;
    *n = v->n;
    return 1;
}

int gguf_str_array(const char *const **out, const size_t **lens, size_t *n, const struct gguf *g,
                   const char *key, struct err *err)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v)
        return 0;
    if (!v->is_array || v->type != GGUF_STRING)
        return wrong_kind(g, v, "an array of strings", err);
    *out = v->strings;
    *lens = v->lens;
    *n = v->n;
    return 1;
}
