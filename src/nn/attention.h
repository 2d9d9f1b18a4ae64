/* Causal attention over a forest of segments, grouped heads, tiles of 64 keys.
 *
 * Keys and values live in tiles of KV_TILE positions whose borders stand at multiples of 64 of the absolute
 * position, whatever segment a position belongs to.  A query at position p goes through the tiles 0 .. p / 64 in
 * order with a running maximum and sum (Milakov and Gimelshein 2018; Dao et al. 2022), so decoding one token,
 * reading a prompt and training give the same bits (law 1).
 *
 * A `run` is a stretch of rows at consecutive positions that share their past.  `tiles` names the tiles of
 * positions 0 .. pos + n - 1.  Where a run begins inside a tile whose former part belongs to its parent, it has a
 * tile of its own there and `copy_from` names the parent's, whose keys and values are copied first. */
#ifndef HONE_NN_ATTENTION_H
#define HONE_NN_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

#define KV_TILE 64

struct attention_shape {
    size_t heads, kv_heads, head_dim;
    float scale;   /* of the scores: 1 / sqrt(head_dim) in most models */
    float cap;     /* scores become cap tanh(score / cap); 0: they do not */
    size_t window; /* positions that a query sees, its own the last; 0: all before it */
};

struct run {
    size_t row, n, pos;
    int32_t *tiles;
    int32_t copy_from; /* -1: none */
    int32_t parent;    /* index of the run that comes before it in its sequence, -1: none; only training needs it */
};

/* One layer's tiles: tile t, head h: K^T [head_dim][64], then V [64][head_dim rounded up to 32]. */
size_t kv_tile_floats(const struct attention_shape *shape);

/* Write the runs' own keys and values (rows of kv_heads * head_dim) into their tiles, parents before children. */
void kv_fill(float *layer, const struct attention_shape *shape, const struct run *runs, size_t n_runs, const float *k,
             const float *v);

/* out (rows, heads * head_dim); stats (rows, heads, 2): the maximum and the sum of each softmax; may be NULL. */
void attention_forward(float *out, float *stats, const float *q, const float *layer,
                       const struct attention_shape *shape, const struct run *runs, size_t n_runs);

/* Gradients of the keys and values of positions 0 .. n - 1, which come before all trees: (n, kv_heads * head_dim), added
 * to, trees in order.  n 0: the trees begin at position 0. */
struct kv_gradients {
    float *dk, *dv;
    size_t n;
};

/* dq, dk, dv: out, overwritten (rows of the runs).  Trees of runs are told apart by parent == -1; a tree's
 * gradients depend on nothing outside it but its past. */
void attention_backward(float *dq, float *dk, float *dv, const struct kv_gradients *past, const float *dout, const float *out, const float *stats,
                        const float *q, const float *layer, const struct attention_shape *shape,
                        const struct run *runs, size_t n_runs);

#endif
