/* Working memory of the transformer (internal to src/model). */
#ifndef HONE_MODEL_WORKSPACE_H
#define HONE_MODEL_WORKSPACE_H

#include "model/net.h"
#include "model/stem.h"

/* What the backward needs of a layer: rows of ... */
struct layer_state {
    float *in, *mid;                /* residual before attention, before the feed-forward: width */
    float *norm_in, *norm_mid;      /* scales of the two norms: 1 */
    float *q, *k, *v;               /* rotated: heads * head_dim, kv_heads * head_dim */
    float *attention, *stats;       /* heads * head_dim; heads * 2 */
    float *gate, *up;               /* ffn */
    float *t[LINEAR_KINDS];         /* the adapters' inner products: rank */
};

struct workspace {
    const struct config *config;
    enum keep keep;
    size_t rows, rank, tiles; /* what is allocated for */
    float *block;             /* all of the below but tiles */
    struct layer_state *layers; /* one only with KEEP_NOTHING; with KEEP_INPUTS all but `in` and t[LINEAR_DOWN] are one memory */
    size_t n_layers;
    float *last;                /* residual after the last layer: width */
    float *h, *norm;            /* the same normalised, and the scales */
    float *x, *wide, *wide2;    /* scratch: max(width, q), and ffn or wider */
    float *dx, *dy, *dq, *dk, *dv; /* gradients, for a backward: dq lies in wide, dk and dv in wide2 */
    float *kv;                  /* the batch's own tiles, of one layer */
    float *shared;              /* net_forward_shared's residual: width */
    size_t shared_rows;

    /* of net_logprobs, for net_backward */
    float *rows_h, *mean_w;
    struct logprob_row *rows_info;
    size_t *target_rows;
    struct target *targets; /* row: index into target_rows */
    size_t n_target_rows, n_targets, target_capacity, rows_capacity;
    float temperature;
};

int workspace_reserve(struct workspace *w, size_t rows, size_t rank, size_t tiles, struct err *err);

struct attention_shape config_attention(const struct config *c);

/* The trunk (transformer.c): the layers from .. to - 1, with the embedding before the first and the norm after the last. */
void trunk_forward(struct workspace *w, const struct net *net, const struct batch *b, float *cache, size_t cache_tiles,
                   size_t from, size_t to);
/* w->dx holds the gradient of the last residual on entry.  own: the stem that the batch is, or NULL. */
void trunk_backward(struct gradients *g, struct workspace *w, const struct net *net, const struct batch *b,
                    const struct stem *own);

#endif
