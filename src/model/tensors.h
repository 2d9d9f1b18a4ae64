/* The tensors of a model's file or files, as a table of names over mapped memory.
 *
 * gguf.h and safetensors.h fill it.  Nothing is copied: `data` points into the files, at any
 * alignment, so it is read through dtype_unpack(), tensor_unpack() or memcpy().  A tensor of a type
 * that cannot be read is listed all the same, and refused only where it is asked for (tensor_need).
 * Read-only once opened, and then free to be shared between threads. */
#ifndef HONE_MODEL_TENSORS_H
#define HONE_MODEL_TENSORS_H

#include <stdbool.h>
#include <stddef.h>

#include "kernel/dtype.h"
#include "util/err.h"
#include "util/file.h"

#define TENSOR_MAX_DIMS 4

struct tensor {
    char *name;         /* printable UTF-8, at most 512 bytes, unlike all the others */
    enum dtype type;    /* DTYPE_COUNT: one that is not supported */
    char type_name[16]; /* as the file has it: "F32", "Q5_K", "I64" */
    int n_dims;         /* 0 .. TENSOR_MAX_DIMS; none: one number */
    /* Outermost first, as Hugging Face writes it; the others are 1. */
    size_t shape[TENSOR_MAX_DIMS];
    const void *data; /* row after row; NULL where the type is not supported */
    size_t bytes;     /* in the file; 0 where nobody knows the type */
};

struct tensor_file {
    char *path;             /* as opened, for sentences */
    struct tensor *tensors; /* in the order of the file */
    size_t n;
    size_t *by_name;       /* indices into tensors, sorted by name */
    struct file_map *maps; /* the files that data points into; none: the caller's memory */
    size_t n_maps;
    size_t stated_bytes; /* what an index says that all data take; 0: it does not */
};

/* The tensor of that name, or NULL. */
const struct tensor *tensor_find(const struct tensor_file *file, const char *name);

/* The same for one that must be there and be readable: NULL and a sentence where it is not. */
const struct tensor *tensor_need(const struct tensor_file *file, const char *name, struct err *err);

/* How many numbers it holds: the product of its shape. */
size_t tensor_elements(const struct tensor *t);

/* All of it as floats; out has tensor_elements() of them.  The type is a supported one. */
void tensor_unpack(float *out, const struct tensor *t);

/* Bytes of a tensor's data that will hardly be read again (file_map_forget); nothing where they are the caller's memory. */
void tensor_forget(const struct tensor_file *file, const void *data, size_t n);

/* Free the table and close the maps.  A zeroed struct is fine. */
void tensor_file_release(struct tensor_file *file);

/* For the readers of files.
 *
 * Is it fit for a name: 1 to 512 bytes of UTF-8 without control characters? */
bool tensor_name_ok(const char *name, size_t n);

/* Are these bytes what git leaves in the place of a large file that was not fetched? */
bool tensor_lfs_pointer(const void *data, size_t size);

/* The elements of a shape, and its bytes in a type of this block (NULL: 0); false where a product overflows or a row is not
 * whole blocks. */
bool tensor_size(size_t *elements, size_t *bytes, const struct tensor *t, const struct dtype_info *stored);

/* Append another file's tensors and maps, which are then no longer its own. */
void tensor_file_append(struct tensor_file *file, struct tensor_file *other);

/* Fill by_name; -1 and a sentence where a name comes twice. */
int tensor_file_index(struct tensor_file *file, struct err *err);

/* Spans of bytes, to find tensors that lie over each other; sorted by begin, then end. */
struct tensor_span {
    size_t begin, end, tensor;
};
void tensor_spans_sort(struct tensor_span *spans, size_t n);

#endif
