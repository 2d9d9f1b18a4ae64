#include "checkpoint/float_rows.h"

#include <stdlib.h>

#include "kernel/pack.h"
#include "util/mem.h"

#define ROWS 256 /* that are worked on together */

int float_rows_write(FILE *f, const struct float_rows *r, enum dtype type)
{
    size_t most = r->rows < ROWS ? r->rows : ROWS, row_bytes = dtype_row_bytes(type, r->columns);
    float *x = xmalloc((most * r->columns + 1) * sizeof *x);
    char *packed = xmalloc(most * row_bytes + 1);
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < r->rows; at += most) {
        size_t n = r->rows - at < most ? r->rows - at : most;
        r->fill(r->user, at, n, x);
#pragma omp parallel for schedule(static)
        for (size_t i = 0; i < n; i++)
            dtype_pack(type, packed + i * row_bytes, x + i * r->columns, r->columns);
        rc = fwrite(packed, row_bytes, n, f) == n ? 0 : -1;
    }
    free(x);
    free(packed);
    return rc;
}
