/* Safetensors out (the format is drawn in model/safetensors.h).
 *
 * The file is written as the reference implementation does: the metadata first, then the tensors in
 * the given order without gaps, the header padded with spaces to a multiple of 8 bytes.  It is
 * whole or not there: an error, a full disk too, leaves the file that was at `path` (law 7). */
#ifndef HONE_CHECKPOINT_SAFETENSORS_OUT_H
#define HONE_CHECKPOINT_SAFETENSORS_OUT_H

#include <stddef.h>

#include "checkpoint/float_rows.h"
#include "util/err.h"

struct safetensors_tensor {
    const char *name;
    enum dtype type; /* DTYPE_F32, DTYPE_F16 or DTYPE_BF16 */
    int n_dims;      /* 0 .. 4 */
    size_t shape[4]; /* outermost first */
    const void *data;               /* of that type; NULL: the floats come from */
    const struct float_rows *rows;
};

struct safetensors_note {
    const char *key, *value; /* readers of Hugging Face want {"format", "pt"} */
};

/* Names are unlike each other.  Nothing is kept. */
int safetensors_write(const char *path, const struct safetensors_tensor *tensors, size_t n,
                      const struct safetensors_note *notes, size_t n_notes, struct err *err);

#endif
