/* Numbers of a tensor that are made while it is written, some rows at a time, so that a model is never in memory twice. */
#ifndef HONE_CHECKPOINT_FLOAT_ROWS_H
#define HONE_CHECKPOINT_FLOAT_ROWS_H

#include <stdio.h>

#include "kernel/dtype.h"

struct float_rows {
    size_t rows, columns; /* of a vector: one row */
    void (*fill)(const void *user, size_t row, size_t n, float *to); /* n of its rows from `row` on */
    const void *user;
};

/* Write them in a type that floats can be packed into (kernel/pack.h), rows being whole blocks of it; -1 and errno where it fails. */
int float_rows_write(FILE *f, const struct float_rows *r, enum dtype type);

#endif
