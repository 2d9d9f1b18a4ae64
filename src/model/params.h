/* Trainable numbers: one block of floats with a table of names and shapes (all tensors of an adapter, of a head,
 * or of a model in full fine-tuning).  Gradients and the optimiser's moments are blocks of the same layout. */
#ifndef HONE_MODEL_PARAMS_H
#define HONE_MODEL_PARAMS_H

#include <stdbool.h>
#include <stddef.h>

#include "util/err.h"

struct param {
    char *name;
    size_t shape[2];
    int n_dims;
    size_t offset, n;
    bool decay; /* weight decay applies (not to norms and biases) */
    bool turned; /* files hold it the other way round, (columns, rows) */
};

struct params {
    struct param *list;
    size_t n_list, capacity;
    float *data;
    size_t n; /* floats in all */
};

/* Describe all tensors first, then allocate once.  n_dims 1: cols only. */
size_t params_add(struct params *p, const char *name, size_t rows, size_t cols, int n_dims, bool decay);
int params_allocate(struct params *p, const char *what, struct err *err);
void params_release(struct params *p);

/* A block of zeros of the same size, to be freed with mem_block_free. */
float *params_twin(const struct params *p, const char *what, struct err *err);

/* to = (1 - alpha) to + alpha from, of two of the same layout. */
void params_mix(struct params *to, const struct params *from, double alpha);

const struct param *params_find(const struct params *p, const char *name);

/* The first tensor of `block` (the values, or a gradient) that holds a non-finite number, or NULL (law 9). */
const struct param *params_not_finite(const struct params *p, const float *block);

#endif
