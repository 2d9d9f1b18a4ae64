/* Working memory of the transformer (internal to src/model). */
#ifndef HONE_MODEL_WORKSPACE_H
#define HONE_MODEL_WORKSPACE_H

#include "model/net.h"
#include "model/stem.h"
#include "nn/norm.h"

/* What the backward needs of a layer: rows of ..  Those that only some families have are NULL elsewhere. */
struct layer_state {
    float *in, *mid;                /* residual before attention, before the feed-forward: width */
    float *norm_in, *norm_mid;      /* statistics of the two norms: 2 */
    float *q, *k, *v;               /* normed and rotated: heads * head_dim, kv_heads * head_dim */
    float *raw_q, *raw_k;           /* before their norms */
    float *norm_q, *norm_k;         /* statistics: 2 a head, or 2 */
    float *attention, *stats;       /* heads * head_dim; heads * 2 */
    float *attention_out, *norm_attention_out; /* before its norm: width; 2 */
    float *gate, *up;               /* ffn */
    float *ffn_out, *norm_ffn_out;  /* before its norm: width; 2 */
    float *t[LINEAR_KINDS];         /* the adapters' inner products: rank */
};

struct workspace {
    const struct config *config;
    enum keep keep;
    size_t rows, rank, tiles; /* what is allocated for */
    float *block;             /* all of the below but tiles */
    struct layer_state *layers; /* one only with KEEP_NOTHING; with KEEP_INPUTS all but `in`, ffn_out and t[LINEAR_DOWN] are one memory */
    size_t n_layers;
    float *last;                /* residual after the last layer: width */
    float *h, *norm;            /* the same normalised, and the statistics */
    float *x, *wide, *wide2;    /* scratch: max(width, q), and ffn or wider */
    float *dx, *dy, *dq, *dk, *dv; /* gradients, for a backward: dq lies in wide, dk and dv in wide2 */
    float *joined;              /* q, k and v, or gate and up, side by side, where a family has them in one tensor; NULL elsewhere */
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

struct attention_shape config_attention(const struct config *c, size_t layer);

struct norm model_last_norm(const struct model *m);

/* The trunk (transformer.c): the layers from .. to - 1, with the embedding before the first and the norm after the last. */
void trunk_forward(struct workspace *w, const struct net *net, const struct batch *b, float *cache, size_t cache_tiles,
                   size_t from, size_t to);
/* w->dx holds the gradient of the last residual on entry.  own: the stem that the batch is, or NULL. */
void trunk_backward(struct gradients *g, struct workspace *w, const struct net *net, const struct batch *b,
                    const struct stem *own);

#endif
