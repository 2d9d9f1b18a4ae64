/* The stem: tokens that all prompts of a step begin with, a system message above all, computed once for the whole step
 * (law 3), however many micro-batches it is cut into.
 *
 *     stem_plant      forward over the stem alone; its keys and values stay, layer by layer
 *     batches         whose roots go on from it (batch_set_stem), forward and backward, one after the other: each adds the
 *                     gradients of the stem's keys and values, trees in order
 *     stem_backward   once, with these sums
 *
 * Log-probs have the bits that they have without a stem.  Gradients are the same sums in another order, one that
 * depends on the step's rows and not on its micro-batches (law 2).  Nothing is predicted from the stem's rows: the last
 * token of a prompt always belongs to its tree. */
#ifndef HONE_MODEL_STEM_H
#define HONE_MODEL_STEM_H

#include "model/net.h"

struct stem {
    size_t n;              /* tokens; 0: there is none */
    struct batch batch;    /* one run */
    struct workspace *workspace;
    float *kv;             /* (layers, tiles, kv_tile_floats) */
    float *dk, *dv;        /* (layers, n, kv_heads * head_dim): what the trees have added; NULL without a backward */
    size_t kv_floats, grad_floats; /* what is allocated for */
};

/* Fewer common tokens than these are left to the trees. */
#define STEM_LEAST 16

/* Run the net over the tokens; what the stem held before is forgotten.  keep: KEEP_NOTHING where stem_backward will not be
 * called. */
int stem_plant(struct stem *s, const struct net *net, const int32_t *tokens, size_t n, enum keep keep, struct err *err);

/* Add the stem's part to the gradients. */
void stem_backward(struct gradients *g, struct stem *s, const struct net *net);

/* No stem, but the memory is kept for the next one. */
void stem_clear(struct stem *s);
void stem_release(struct stem *s);

#endif
