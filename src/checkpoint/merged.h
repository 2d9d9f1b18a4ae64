/* A model's tensors as other tools want them: an adapter added to the weights it changes, names and forms of a Hugging Face folder or of
 * a GGUF.  Everything is made while it is written (float_rows.h); nothing is changed. */
#ifndef HONE_CHECKPOINT_MERGED_H
#define HONE_CHECKPOINT_MERGED_H

#include "checkpoint/float_rows.h"
#include "model/adapter.h"

struct merged_tensor {
    char *name;
    int n_dims;
    size_t shape[2];        /* outermost first */
    struct float_rows rows; /* its `user` is this tensor */
    /* what it is made of */
    const struct weight *weight;
    struct lora lora;
    size_t interleave;   /* head size: rows of each head are laid out for interleaved rotary pairs; 0: they are not */
    const float *vector; /* of a vector, `plus` being added to each number */
    float plus;
};

struct merged {
    struct merged_tensor *list;
    size_t n, capacity;
    float *rope_factors; /* owned: what a GGUF of Llama 3's scaling divides frequencies by, or NULL */
};

/* All tensors of a model with an adapter (NULL: none) and, in a folder only, a head (NULL: none).  Model, adapter and head must outlive it. */
void merged_init(struct merged *m, const struct model *model, const struct adapter *adapter, const struct head *head, bool gguf);
void merged_release(struct merged *m);

#endif
