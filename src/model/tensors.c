#include "model/tensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/mem.h"
#include "util/utf8.h"

bool tensor_name_ok(const char *name, size_t n)
{
    if (n == 0 || n > 512)
        return false;
    for (size_t i = 0, len; i < n; i += len) {
        len = utf8_char_len(name + i, n - i);
        uint32_t c = len ? utf8_decode(name + i, len) : 0;
        if (c < 0x20 || (c >= 0x7f && c < 0xa0))
            return false;
    }
    return true;
}

bool tensor_lfs_pointer(const void *data, size_t size)
{
    static const char start[] = "version https://git-lfs";
    return size >= sizeof start - 1 && !memcmp(data, start, sizeof start - 1);
}

bool tensor_size(size_t *elements, size_t *bytes, const struct tensor *t, const struct dtype_info *stored)
{
    *elements = 1;
    *bytes = 0;
    for (int i = 0; i < t->n_dims; i++) {
        if (__builtin_mul_overflow(*elements, t->shape[i], elements))
            return false;
    }
    if (!stored)
        return true;
    size_t row = t->n_dims ? t->shape[t->n_dims - 1] : 1;
    return row % stored->block == 0 &&
           !__builtin_mul_overflow(*elements / stored->block, stored->bytes, bytes);
}

size_t tensor_elements(const struct tensor *t)
{
    size_t n = 1;
    for (int i = 0; i < t->n_dims; i++)
        n *= t->shape[i];
    return n;
}

void tensor_unpack(float *out, const struct tensor *t)
{
    dtype_unpack(t->type, out, t->data, 0, tensor_elements(t));
}

/* qsort() hands over no context, so what is sorted carries the name along. */
struct named {
    const char *name;
    size_t index;
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

int tensor_file_index(struct tensor_file *file, struct err *err)
{
    struct named *order = xcalloc(file->n, sizeof *order);
    for (size_t i = 0; i < file->n; i++)
        order[i] = (struct named){file->tensors[i].name, i};
    qsort(order, file->n, sizeof *order, compare_names);
    int rc = 0;
    for (size_t i = 1; i < file->n && rc == 0; i++) {
        if (!strcmp(order[i - 1].name, order[i].name))
            rc = err_set(err, "cannot read '%s': tensor '%s' is there twice: download it again",
                         file->path, order[i].name);
    }
    if (rc == 0) {
        file->by_name = xcalloc(file->n, sizeof *file->by_name);
        for (size_t i = 0; i < file->n; i++)
            file->by_name[i] = order[i].index;
    }
    free(order);
    return rc;
}

const struct tensor *tensor_find(const struct tensor_file *file, const char *name)
{
    for (size_t low = 0, high = file->n; low < high;) {
        size_t middle = low + (high - low) / 2;
        const struct tensor *t = &file->tensors[file->by_name[middle]];
        int order = strcmp(name, t->name);
        if (order == 0)
            return t;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct tensor *tensor_need(const struct tensor_file *file, const char *name, struct err *err)
{
    const struct tensor *t = tensor_find(file, name);
    if (!t) {
        err_set(err,
                "'%s' has no tensor '%s': it is not a model of the kind its config says, or a part "
                "is missing",
                file->path, name);
        return NULL;
    }
    if (t->type == DTYPE_COUNT) {
        char types[256] = "";
        for (size_t i = 0, at = 0; i < DTYPE_COUNT; i++)
            at += (size_t)snprintf(types + at, sizeof types - at, "%s%s", i ? ", " : "", dtype_table[i].name);
        err_set(err,
                "cannot read '%s': tensor '%s' has type %s, which is not supported yet: take the "
                "model in one of %s",
                file->path, name, t->type_name, types);
        return NULL;
    }
    return t;
}

void tensor_file_append(struct tensor_file *file, struct tensor_file *other)
{
    file->tensors = xreallocarray(file->tensors, file->n + other->n, sizeof *file->tensors);
    file->maps = xreallocarray(file->maps, file->n_maps + other->n_maps, sizeof *file->maps);
    for (size_t i = 0; i < other->n; i++)
        file->tensors[file->n++] = other->tensors[i];
    for (size_t i = 0; i < other->n_maps; i++)
        file->maps[file->n_maps++] = other->maps[i];
    other->n = other->n_maps = 0;
}

static int compare_spans(const void *a, const void *b)
{
    const struct tensor_span *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

void tensor_spans_sort(struct tensor_span *spans, size_t n)
{
    qsort(spans, n, sizeof *spans, compare_spans);
}

void tensor_forget(const struct tensor_file *file, const void *data, size_t n)
{
    for (size_t i = 0; i < file->n_maps; i++) {
        const struct file_map *map = &file->maps[i];
        if ((uintptr_t)data - (uintptr_t)map->data < map->size)
            file_map_forget(map, data, n);
    }
}

void tensor_file_release(struct tensor_file *file)
{
    for (size_t i = 0; i < file->n; i++)
        free(file->tensors[i].name);
    for (size_t i = 0; i < file->n_maps; i++)
        file_map_close(&file->maps[i]);
    free(file->path);
    free(file->tensors);
    free(file->by_name);
    free(file->maps);
    *file = (struct tensor_file){0};
}
