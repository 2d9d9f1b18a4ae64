#include "checkpoint/safetensors_out.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "util/buf.h"
#include "util/file.h"

/* The longest header that the reference reader takes. */
#define HEADER_CEILING 100000000u

static size_t data_bytes(const struct safetensors_tensor *t)
{
    size_t elements = 1;
    ENSURE(t->n_dims >= 0 && t->n_dims <= 4);
    for (int i = 0; i < t->n_dims; i++)
        elements *= t->shape[i];
    return dtype_row_bytes(t->type, elements);
}

static void header_notes(struct buf *h, const struct safetensors_note *notes, size_t n)
{
    buf_str(h, "\"__metadata__\":{");
    for (size_t i = 0; i < n; i++) {
        buf_str(h, i ? "," : "");
        buf_json_str(h, notes[i].key, strlen(notes[i].key));
        buf_str(h, ":");
        buf_json_str(h, notes[i].value, strlen(notes[i].value));
    }
    buf_str(h, "}");
}

static void header_tensor(struct buf *h, const struct safetensors_tensor *t, size_t begin,
                          size_t end)
{
    buf_json_str(h, t->name, strlen(t->name));
    buf_printf(h, ":{\"dtype\":\"%s\",\"shape\":[", dtype_table[t->type].name);
    for (int i = 0; i < t->n_dims; i++)
        buf_printf(h, "%s%zu", i ? "," : "", t->shape[i]);
    buf_printf(h, "],\"data_offsets\":[%zu,%zu]}", begin, end);
}

static void header_build(struct buf *h, const struct safetensors_tensor *tensors, size_t n,
                         const struct safetensors_note *notes, size_t n_notes)
{
    size_t end = 0;
    buf_str(h, "{");
    if (n_notes)
        header_notes(h, notes, n_notes);
    for (size_t i = 0; i < n; i++) {
        size_t begin = end;
        ENSURE(tensors[i].type == DTYPE_F32 || tensors[i].type == DTYPE_F16 ||
               tensors[i].type == DTYPE_BF16);
        end += data_bytes(&tensors[i]);
        buf_str(h, i || n_notes ? "," : "");
        header_tensor(h, &tensors[i], begin, end);
    }
    buf_str(h, "}");
    while (h->len % 8 && !h->overflow)
        buf_str(h, " ");
}

static int write_all(FILE *f, const struct buf *header, const struct safetensors_tensor *tensors,
                     size_t n)
{
    uint64_t len = header->len;
    if (fwrite(&len, 1, 8, f) != 8 || fwrite(header->data, 1, header->len, f) != header->len)
        return -1;
    for (size_t i = 0; i < n; i++) {
        size_t bytes = data_bytes(&tensors[i]);
        if (!tensors[i].data ? float_rows_write(f, tensors[i].rows, tensors[i].type) : bytes && fwrite(tensors[i].data, 1, bytes, f) != bytes)
            return -1;
    }
    return fflush(f) ? -1 : 0;
}

int safetensors_write(const char *path, const struct safetensors_tensor *tensors, size_t n,
                      const struct safetensors_note *notes, size_t n_notes, struct err *err)
{
    struct buf header;
    struct file_out out;
    buf_init(&header, HEADER_CEILING);
    header_build(&header, tensors, n, notes, n_notes);
    int rc;
    if (header.overflow)
        rc = err_set(err,
                     "cannot write '%s': the names of its %zu tensors take more than the 100 MB "
                     "that readers accept",
                     path, n);
    else if ((rc = file_out_open(&out, path, err)) == 0) {
        if (write_all(out.f, &header, tensors, n)) {
            rc = err_set(err,
                         "cannot write '%s': %s: the file that was there, if any, is unchanged: "
                         "make room and try again",
                         path, strerror(errno));
            file_out_drop(&out);
        } else {
            rc = file_out_commit(&out, err);
        }
    }
    buf_release(&header);
    return rc;
}
