/* GGUF out, version 3 (the format is drawn in model/gguf.h).
 *
 *     struct gguf_out g;
 *     gguf_out_init(&g);
 *     gguf_out_str(&g, "general.architecture", "llama"); ..
 *     gguf_out_write(&g, path, tensors, n, &err);
 *     gguf_out_release(&g);
 *
 * The file is whole or not there (law 7). */
#ifndef HONE_CHECKPOINT_GGUF_OUT_H
#define HONE_CHECKPOINT_GGUF_OUT_H

#include <stdint.h>

#include "checkpoint/float_rows.h"
#include "model/gguf.h"
#include "util/buf.h"

struct gguf_out {
    struct buf keys;
    size_t n_keys;
};

void gguf_out_init(struct gguf_out *g);
void gguf_out_release(struct gguf_out *g);
void gguf_out_u32(struct gguf_out *g, const char *key, uint32_t value);
void gguf_out_f32(struct gguf_out *g, const char *key, float value);
void gguf_out_bool(struct gguf_out *g, const char *key, bool value);
void gguf_out_str(struct gguf_out *g, const char *key, const char *s, size_t n);
/* lens: NULL if they end with a 0 byte */
void gguf_out_strings(struct gguf_out *g, const char *key, const char *const *s, const size_t *lens, size_t n);
/* type: GGUF_I32 or GGUF_F32 */
void gguf_out_numbers(struct gguf_out *g, const char *key, enum gguf_type type, const void *numbers, size_t n);
/* A key of another file as it is. */
void gguf_out_copy(struct gguf_out *g, const struct gguf_value *v);

struct gguf_out_tensor {
    const char *name;
    enum dtype type;
    int n_dims;
    size_t shape[2]; /* outermost first */
    const struct float_rows *rows;
};

int gguf_out_write(const struct gguf_out *g, const char *path, const struct gguf_out_tensor *tensors, size_t n, struct err *err);

#endif
