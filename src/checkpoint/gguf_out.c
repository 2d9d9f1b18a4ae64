#include "checkpoint/gguf_out.h"

#include <errno.h>
#include <string.h>

#include "util/file.h"

#define ALIGNMENT 32
#define KEYS_CEILING ((size_t)1 << 30)

static void put_u32(struct buf *b, uint32_t v)
{
    buf_add(b, &v, sizeof v);
}

static void put_u64(struct buf *b, uint64_t v)
{
    buf_add(b, &v, sizeof v);
}

static void put_str(struct buf *b, const char *s, size_t n)
{
    put_u64(b, n);
    buf_add(b, s, n);
}

static struct buf *start(struct gguf_out *g, const char *key, enum gguf_type type)
{
    g->n_keys++;
    put_str(&g->keys, key, strlen(key));
    put_u32(&g->keys, (uint32_t)type);
    return &g->keys;
}

static struct buf *start_array(struct gguf_out *g, const char *key, enum gguf_type type, size_t n)
{
    struct buf *b = start(g, key, GGUF_ARRAY);
    put_u32(b, (uint32_t)type);
    put_u64(b, n);
    return b;
}

void gguf_out_init(struct gguf_out *g)
{
    *g = (struct gguf_out){0};
    buf_init(&g->keys, KEYS_CEILING);
}

void gguf_out_release(struct gguf_out *g)
{
    buf_release(&g->keys);
}

void gguf_out_u32(struct gguf_out *g, const char *key, uint32_t value)
{
    put_u32(start(g, key, GGUF_U32), value);
}

void gguf_out_f32(struct gguf_out *g, const char *key, float value)
{
    buf_add(start(g, key, GGUF_F32), &value, sizeof value);
}

void gguf_out_bool(struct gguf_out *g, const char *key, bool value)
{
    unsigned char byte = value;
    buf_add(start(g, key, GGUF_BOOL), &byte, 1);
}

void gguf_out_str(struct gguf_out *g, const char *key, const char *s, size_t n)
{
    put_str(start(g, key, GGUF_STRING), s, n);
}

void gguf_out_strings(struct gguf_out *g, const char *key, const char *const *s, const size_t *lens, size_t n)
{
    struct buf *b = start_array(g, key, GGUF_STRING, n);
    for (size_t i = 0; i < n; i++)
        put_str(b, s[i], lens ? lens[i] : strlen(s[i]));
}

void gguf_out_numbers(struct gguf_out *g, const char *key, enum gguf_type type, const void *numbers, size_t n)
{
    buf_add(start_array(g, key, type, n), numbers, n * gguf_value_bytes(type));
}

void gguf_out_copy(struct gguf_out *g, const struct gguf_value *v)
{
    if (v->strings && v->is_array)
        gguf_out_strings(g, v->key, v->strings, v->lens, v->n);
    else if (v->strings)
        gguf_out_str(g, v->key, v->strings[0], v->lens[0]);
    else if (v->is_array)
        gguf_out_numbers(g, v->key, v->type, v->numbers, v->n);
    else
        buf_add(start(g, v->key, v->type), v->numbers, gguf_value_bytes(v->type));
}

static size_t aligned(size_t n)
{
    return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t bytes_of(const struct gguf_out_tensor *t)
{
    return t->rows->rows * dtype_row_bytes(t->type, t->rows->columns);
}

static int pad(FILE *f, size_t from)
{
    static const char zeros[ALIGNMENT];
    size_t n = aligned(from) - from;
    return fwrite(zeros, 1, n, f) == n ? 0 : -1;
}

static int write_all(FILE *f, const struct buf *head, const struct gguf_out_tensor *tensors, size_t n)
{
    if (fwrite(head->data, 1, head->len, f) != head->len || pad(f, head->len))
        return -1;
    for (size_t i = 0; i < n; i++)
        if (float_rows_write(f, tensors[i].rows, tensors[i].type) || pad(f, bytes_of(&tensors[i])))
            return -1;
    return fflush(f) ? -1 : 0;
}

int gguf_out_write(const struct gguf_out *g, const char *path, const struct gguf_out_tensor *tensors, size_t n, struct err *err)
{
    struct buf head;
    struct file_out out;
    size_t offset = 0;
    buf_init(&head, 2 * KEYS_CEILING);
    buf_str(&head, "GGUF");
    put_u32(&head, 3);
    put_u64(&head, n);
    put_u64(&head, g->n_keys);
    buf_add(&head, g->keys.data, g->keys.len);
    for (size_t i = 0; i < n; i++) {
        const struct gguf_out_tensor *t = &tensors[i];
        put_str(&head, t->name, strlen(t->name));
        put_u32(&head, (uint32_t)t->n_dims);
        for (int d = t->n_dims; d-- > 0;)
            put_u64(&head, t->shape[d]);
        put_u32(&head, gguf_type_number(t->type));
        put_u64(&head, offset);
        offset += aligned(bytes_of(t));
    }
    int rc;
    if (head.overflow || g->keys.overflow) {
        rc = err_set(err, "cannot write '%s': its vocabulary takes more than a gigabyte", path);
    } else if ((rc = file_out_open(&out, path, err)) == 0) {
        if (write_all(out.f, &head, tensors, n)) {
            rc = err_set(err, "cannot write '%s': %s: the file that was there, if any, is unchanged: make room and try again", path, strerror(errno));
            file_out_drop(&out);
        } else {
            rc = file_out_commit(&out, err);
        }
    }
    buf_release(&head);
    return rc;
}
