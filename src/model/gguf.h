/* GGUF in: metadata and tensors, versions 2 and 3, little-endian, in one file or several.
 *
 *   0    "GGUF"
 *   4    version: u32
 *   8    number of tensors: u64
 *   16   number of keys: u64
 *   24   the keys, each:     key: string, type: u32, value
 *        the tensors, each:  name: string, number of dimensions: u32 (at most 4),
 *                            dimensions: u64 each, innermost first, type: u32, offset: u64
 *        zeros up to a multiple of the alignment (key general.alignment, else 32)
 *        data: tensor after tensor, each at its offset from here, a multiple of the alignment
 *
 *   string   length: u64, bytes
 *   value    u8 i8 u16 i16 u32 i32 f32 bool string ARRAY u64 i64 f64, of types 0 .. 12
 *   ARRAY    type of the elements: u32, how many: u64, the elements; arrays of arrays are refused
 *
 * A model in several files has the metadata in the first, and in each the keys split.count, split.no (from 0) and
 * split.tensors.count (of all parts together).  Part 1 of 3 is called NAME-00002-of-00003.gguf; each opens all of them.
 *
 * Shapes are turned around to Hugging Face's order, outermost first. */
#ifndef HONE_MODEL_GGUF_H
#define HONE_MODEL_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/tensors.h"
#include "util/err.h"

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
};

/* One key with its value.  A single value is kept like an array of one. */
struct gguf_value {
    char *key; /* printable UTF-8, at most 512 bytes */
    bool is_array;
    enum gguf_type type; /* of the value, or of the array's elements; never GGUF_ARRAY */
    size_t n;
    const void *numbers;  /* n numbers or bools, in the file, at any alignment; or NULL */
    const char **strings; /* n strings, each followed by a 0 byte; or NULL */
    size_t *lens;         /* the strings' bytes, which may hold 0 too */
};

struct gguf {
    uint32_t version;
    struct gguf_value *values; /* sorted by key, no key twice */
    size_t n_values;
    uint32_t n_parts; /* files */
    struct tensor_file tensors;
};

/* 0, or -1 and a sentence, with nothing left to release.  Of a model in several files any part will do. */
int gguf_open(struct gguf *out, const char *path, struct err *err);

/* The same for a single file's bytes in memory, which stay the caller's and must outlive `out`. */
int gguf_open_memory(struct gguf *out, const void *data, size_t size, const char *path,
                     struct err *err);

/* The path of part i, as a fresh string. */
char *gguf_part_path(const struct gguf *g, uint32_t i);

/* A zeroed struct is fine. */
void gguf_release(struct gguf *g);

/* The value of a key, or NULL. */
const struct gguf_value *gguf_find(const struct gguf *g, const char *key);

/* Values by key.  Each returns 1 where the key is there, 0 where it is not (nothing is written, so
 * put the default in first), and -1 and a sentence where its value is of another kind or out of
 * range.  Whole numbers are taken from any type of integer, floats from any type of number. */
int gguf_u32(uint32_t *out, const struct gguf *g, const char *key, struct err *err);
int gguf_f32(float *out, const struct gguf *g, const char *key, struct err *err);
int gguf_bool(bool *out, const struct gguf *g, const char *key, struct err *err);
/* The string, the file's own; it may hold 0 bytes where len (may be NULL) is longer. */
int gguf_str(const char **out, size_t *len, const struct gguf *g, const char *key, struct err *err);

/* Arrays, likewise.  Numbers come as a fresh array for free(); strings stay the file's. */
int gguf_i32_array(int32_t **out, size_t *n, const struct gguf *g, const char *key,
                   struct err *err);
int gguf_f32_array(float **out, size_t *n, const struct gguf *g, const char *key, struct err *err);
int gguf_str_array(const char *const **out, const size_t **lens, size_t *n, const struct gguf *g,
                   const char *key, struct err *err);

/* For the writer: the bytes of a single number or bool, and ggml's number of a type of ours. */
size_t gguf_value_bytes(enum gguf_type type);
uint32_t gguf_type_number(enum dtype type);

/* For a key that must be there: 0, or -1 and a sentence. */
int gguf_require(const struct gguf *g, const char *key, struct err *err);

#endif
