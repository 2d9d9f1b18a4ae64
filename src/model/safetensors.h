/* Safetensors in: one file, or a folder of shards.
 *
 *   0      n: u64          bytes of the header, at most 100 MB (the reference reader's ceiling)
 *   8      header: JSON    perhaps padded with spaces; offsets count from its end:
 *                          {"__metadata__": {"format": "pt"},
 *                           "NAME": {"dtype": "F32", "shape": [8, 4], "data_offsets": [0, 128]},
 *                           ..}
 *   8 + n  data            row after row, little-endian, without holes or overlaps
 *
 * A folder holds model.safetensors, or shards and model.safetensors.index.json:
 * {"weight_map": {"NAME": "model-00001-of-00002.safetensors", ..}, "metadata": {"total_size": BYTES}}.
 * The map and the shards must have the same tensors; a total_size that is not that of the data is left to hone inspect.
 *
 * F32, F16 and BF16 can be used; other types are listed as unsupported (see tensors.h). */
#ifndef HONE_MODEL_SAFETENSORS_H
#define HONE_MODEL_SAFETENSORS_H

#include "model/tensors.h"

/* path: a file, or a folder as above.  0, or -1 and a sentence, with nothing left to release. */
int safetensors_open(struct tensor_file *out, const char *path, struct err *err);

/* The same for a file's bytes in memory, which stay the caller's and must outlive `out`. */
int safetensors_open_memory(struct tensor_file *out, const void *data, size_t size,
                            const char *path, struct err *err);

#endif
