/* GGUF files made by tests, piece by piece, and a whole small model in any type. */
#ifndef HONE_TESTS_GGUF_FILE_H
#define HONE_TESTS_GGUF_FILE_H

#include <stdbool.h>

#include "model/gguf.h"
#include "util/buf.h"

/* A file: its start, then keys, then tensors, then data; the layout is in model/gguf.h. */
void add_start(struct buf *b, uint32_t version, uint64_t tensors, uint64_t keys); /* initialises b */
void add_key(struct buf *b, const char *key, enum gguf_type type, const void *value, size_t bytes);
void add_text_key(struct buf *b, const char *key, const char *value);
void add_array(struct buf *b, const char *key, enum gguf_type type, uint64_t n); /* the elements come next */
void add_tensor(struct buf *b, const char *name, uint64_t width, uint64_t rows, uint32_t type, uint64_t offset);
void add_data(struct buf *b, size_t alignment, size_t n); /* padding, then n bytes */

void add_u32(struct buf *b, uint32_t x);
void add_u64(struct buf *b, uint64_t x);
void add_string(struct buf *b, const char *s);

/* ggml's number of a type. */
uint32_t ggml_number(enum dtype type);

/* Where the halves of a block type's block are; returns how many, 0 to 2. */
size_t block_halves(enum dtype type, size_t at[2]);

/* A llama model of two layers, 256 wide, with 300 tokens that have no text; its matrices are random blocks of `type`, or with
 * `floats` the floats that they stand for.  In `parts` files PREFIX-00001-of-.., or with 1 in PREFIX.gguf; the first of several
 * has no tensors. */
struct small_model {
    enum dtype type;
    bool floats;
    uint32_t parts;
};
void write_small_model(const char *prefix, const struct small_model *s);

#endif
