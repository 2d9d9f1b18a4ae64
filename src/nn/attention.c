#include "nn/attention.h"

#include <math.h>
#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/kernel.h"
#include "nn/scratch.h"
#include "util/mem.h"

static size_t padded(size_t head_dim)
{
    return (head_dim + PANEL - 1) / PANEL * PANEL;
}

static size_t head_floats(const struct attention_shape *s)
{
    return KV_TILE * (s->head_dim + padded(s->head_dim));
}

size_t kv_tile_floats(const struct attention_shape *s)
{
    return s->kv_heads * head_floats(s);
}

static float *tile_keys(float *layer, const struct attention_shape *s, int32_t tile, size_t head)
{
    return layer + ((size_t)tile * s->kv_heads + head) * head_floats(s);
}

static const float *keys_of(const float *layer, const struct attention_shape *s, int32_t tile, size_t head)
{
    return layer + ((size_t)tile * s->kv_heads + head) * head_floats(s);
}

static const float *values_of(const float *layer, const struct attention_shape *s, int32_t tile, size_t head)
{
    return keys_of(layer, s, tile, head) + KV_TILE * s->head_dim;
}

void kv_fill(float *layer, const struct attention_shape *s, const struct run *runs, size_t n_runs, const float *k,
             const float *v)
{
    size_t d = s->head_dim, pad = padded(d), width = s->kv_heads * d;
    for (size_t i = 0; i < n_runs; i++) {
        const struct run *r = &runs[i];
        if (r->copy_from >= 0)
            memcpy(tile_keys(layer, s, r->tiles[r->pos / KV_TILE], 0), keys_of(layer, s, r->copy_from, 0),
                   kv_tile_floats(s) * sizeof(float));
        for (size_t j = 0; j < r->n; j++) {
            size_t pos = r->pos + j, at = pos % KV_TILE;
            for (size_t h = 0; h < s->kv_heads; h++) {
                float *kt = tile_keys(layer, s, r->tiles[pos / KV_TILE], h), *vt = kt + KV_TILE * d + at * pad;
                const float *key = k + (r->row + j) * width + h * d, *value = v + (r->row + j) * width + h * d;
                for (size_t c = 0; c < d; c++)
                    kt[c * KV_TILE + at] = key[c];
                memcpy(vt, value, d * sizeof(float));
            }
        }
    }
}

/* Queries of one run whose positions lie in the same tile, for one key-value head. */
struct block {
    const struct run *run;
    size_t first, n; /* rows of the run */
    size_t kv_head;
};

static size_t tiles_of(const struct run *r)
{
    return (r->pos + r->n + KV_TILE - 1) / KV_TILE;
}

/* The blocks of all runs in order, each for one head after the other, in a fresh array. */
static struct block *cut_blocks(size_t *n, const struct attention_shape *s, const struct run *runs, size_t n_runs)
{
    size_t most = 0;
    for (size_t i = 0; i < n_runs; i++)
        most += (tiles_of(&runs[i]) - runs[i].pos / KV_TILE) * s->kv_heads;
    struct block *blocks = xmalloc(most * sizeof *blocks);
    *n = 0;
    for (size_t i = 0; i < n_runs; i++)
        for (size_t first = 0, stop; first < runs[i].n; first = stop) {
            stop = ((runs[i].pos + first) / KV_TILE + 1) * KV_TILE - runs[i].pos;
            stop = stop > runs[i].n ? runs[i].n : stop;
            for (size_t h = 0; h < s->kv_heads; h++)
                blocks[(*n)++] = (struct block){&runs[i], first, stop - first, h};
        }
    return blocks;
}

/* Rows of a block are (position, head of the group); x holds them as rows of `pad` floats. */
static void gather(float *x, const float *rows, const struct attention_shape *s, const struct block *b, size_t pad)
{
    size_t d = s->head_dim, group = s->heads / s->kv_heads, width = s->heads * d;
    for (size_t i = 0; i < b->n; i++)
        for (size_t g = 0; g < group; g++) {
            float *to = x + (i * group + g) * pad;
            memcpy(to, rows + (b->run->row + b->first + i) * width + (b->kv_head * group + g) * d, d * sizeof(float));
            memset(to + d, 0, (pad - d) * sizeof(float));
        }
}

/* scores (rows, 64) = x K^T, of the first `seen` keys, a multiple of PANEL */
static void score(float *scores, const float *x, size_t x_ld, const float *keys, size_t d, size_t seen, size_t rows)
{
    const struct kernel *k = kernel();
    for (size_t c = 0; c < seen; c += PANEL)
        k->gemm(scores + c, KV_TILE, NULL, x, x_ld, 1, keys + c, KV_TILE, d, rows, PANEL);
}

/* y (rows, d) += x (rows, n) v (n, pad) */
static void mix(float *y, size_t y_ld, const float *x, size_t x_row, size_t x_col, const float *v, size_t pad, size_t d,
                size_t n, size_t rows)
{
    const struct kernel *k = kernel();
    for (size_t c = 0; c < d; c += PANEL)
        k->gemm(y + c, y_ld, y + c, x, x_row, x_col, v + c, pad, n, rows, d - c < PANEL ? d - c : PANEL);
}

/* The first position that a query at pos sees. */
static size_t first_seen(const struct attention_shape *s, size_t pos)
{
    return s->window && pos >= s->window ? pos - s->window + 1 : 0;
}

/* Scores of tile t's keys as they go into the softmax: scaled and capped, those of keys that a query does not see -inf.  The block's
 * first query is at pos. */
static void finish_scores(float *scores, const struct attention_shape *s, const struct block *b, size_t pos, size_t t)
{
    const struct kernel *k = kernel();
    size_t group = s->heads / s->kv_heads;
    for (size_t r = 0; r < b->n * group; r++) {
        float *row = scores + r * KV_TILE;
        size_t at = pos + r / group, from = first_seen(s, at), key = t * KV_TILE;
        k->scale(row, s->scale, KV_TILE);
        if (s->cap > 0)
            k->softcap(row, s->cap, KV_TILE);
        for (size_t i = 0; key + i < from && i < KV_TILE; i++)
            row[i] = -INFINITY;
        for (size_t i = at >= key ? at - key + 1 : 0; i < KV_TILE; i++)
            row[i] = -INFINITY;
    }
}

/* Ask for n floats that a few rows will go through sooner than memory gives them. */
static void ask_for(const float *p, size_t n)
{
    for (size_t i = 0; i < n; i += 64 / sizeof *p)
        __builtin_prefetch(p + i);
}

static void forward_block(float *out, float *stats, const float *q, const float *layer,
                          const struct attention_shape *s, const struct block *b)
{
    const struct kernel *k = kernel();
    size_t d = s->head_dim, pad = padded(d), group = s->heads / s->kv_heads, rows = b->n * group;
    float *x = scratch(SCRATCH_ATTENTION, rows * (2 * pad + KV_TILE + 2));
    float *y = x + rows * pad, *scores = y + rows * pad, *max = scores + rows * KV_TILE, *sum = max + rows;
    size_t pos = b->run->pos + b->first, last = pos / KV_TILE, tile = first_seen(s, pos) / KV_TILE;
    bool few = rows <= k->tile_rows;
    if (few)
        ask_for(keys_of(layer, s, b->run->tiles[tile], b->kv_head), d * KV_TILE);
    gather(x, q, s, b, pad);
    memset(y, 0, rows * pad * sizeof(float));
    for (size_t r = 0; r < rows; r++) {
        max[r] = -INFINITY;
        sum[r] = 0;
    }
    for (size_t t = tile; t <= last; t++) {
        /* keys that none of the rows sees have weight 0, and need not be added */
        size_t seen = t == last ? (pos % KV_TILE + b->n + PANEL - 1) / PANEL * PANEL : KV_TILE;
        if (few)
            ask_for(values_of(layer, s, b->run->tiles[t], b->kv_head), seen * pad);
        score(scores, x, pad, keys_of(layer, s, b->run->tiles[t], b->kv_head), d, seen, rows);
        if (few && t < last)
            ask_for(keys_of(layer, s, b->run->tiles[t + 1], b->kv_head), d * KV_TILE);
        finish_scores(scores, s, b, pos, t);
        for (size_t r = 0; r < rows; r++) {
            float *row = scores + r * KV_TILE, keep = 1;
            float tile_max = k->max(row, KV_TILE);
            if (tile_max == -INFINITY) { /* all of the tile is before the row's window */
                memset(row, 0, KV_TILE * sizeof *row);
                continue;
            }
            if (tile_max > max[r]) { /* what the former tiles' sums are worth now */
                k->exp_sum(&keep, &max[r], tile_max, 1);
                k->scale(y + r * pad, keep, d);
                max[r] = tile_max;
            }
            sum[r] = sum[r] * keep + k->exp_sum(row, row, max[r], KV_TILE);
        }
        mix(y, pad, scores, KV_TILE, 1, values_of(layer, s, b->run->tiles[t], b->kv_head), pad, d, seen, rows);
    }
    for (size_t i = 0; i < b->n; i++)
        for (size_t g = 0; g < group; g++) {
            size_t r = i * group + g, at = (b->run->row + b->first + i) * s->heads + b->kv_head * group + g;
            k->scale(y + r * pad, 1.0f / sum[r], d);
            memcpy(out + at * d, y + r * pad, d * sizeof(float));
            if (stats) {
                stats[2 * at] = max[r];
                stats[2 * at + 1] = sum[r];
            }
        }
}

void attention_forward(float *out, float *stats, const float *q, const float *layer,
                       const struct attention_shape *s, const struct run *runs, size_t n_runs)
{
    size_t n;
    struct block *blocks = cut_blocks(&n, s, runs, n_runs);
#pragma omp parallel for schedule(dynamic) if (n > 1)
    for (size_t i = 0; i < n; i++)
        forward_block(out, stats, q, layer, s, &blocks[i]);
    free(blocks);
}

/* ---- backward ----
 *
 * A block goes through its tiles in order, as in the forward.  What its run asks of a tile's keys and values is summed over the
 * run's blocks in order, and these sums are added to the gradients run after run.  Both orders are kept whoever does the
 * work: threads take the blocks in order, a block follows the one before it by at least a tile, and sums wait for those of
 * former runs.  So one long tree keeps all threads busy, as many short ones do, and the bits never depend on them. */

struct backward {
    float *dq, *dk, *dv;
    const struct kv_gradients *past;
    const float *dout, *out, *stats, *q, *layer;
    const struct attention_shape *shape;
    const struct run *runs;
    size_t n_runs;
    const struct block *blocks;
    size_t n_blocks;
    atomic_size_t next;        /* block that nobody has taken yet */
    atomic_size_t *tiles_done; /* (blocks) */
    const float *turned; /* a tile's head: K [64][pad], V^T [d][64] */
    /* dK and dV of a run and head, (positions, pad) each, in turn in one of n_sums places; `added` is the first of all
     * (runs, kv_heads) that is not in dk and dv yet. */
    float *sums;
    size_t sum_floats, n_sums;
    atomic_bool *summed; /* (runs, kv_heads) */
    atomic_size_t added;
    float *past_sums; /* (kv_heads, 2, past->n, d): of the tree whose runs are being added */
};

/* Looks before the processor is offered to others: whom one waits for may have none. */
#define SPINS 256

/* Wait until *at is at least n.  Blocks wait for blocks that were taken before them alone, so there is an end to it. */
static void wait_for(atomic_size_t *at, size_t n)
{
    for (size_t looks = 1; atomic_load_explicit(at, memory_order_acquire) < n; looks++)
        if (looks % SPINS == 0)
            sched_yield();
}

static void turn_tile(float *turned, const float *keys, const float *values, size_t d, size_t pad)
{
    float *vt = turned + KV_TILE * pad;
    for (size_t p = 0; p < KV_TILE; p++) {
        float *key = turned + p * pad;
        for (size_t c = 0; c < d; c++) {
            key[c] = keys[c * KV_TILE + p];
            vt[c * KV_TILE + p] = values[p * pad + c];
        }
        memset(key + d, 0, (pad - d) * sizeof(float));
    }
}

/* All tiles that the runs name, which are numbered from 0. */
static float *turn_tiles(const float *layer, const struct attention_shape *s, const struct run *runs, size_t n_runs)
{
    int32_t last = 0;
    for (size_t i = 0; i < n_runs; i++)
        for (size_t t = 0; t < tiles_of(&runs[i]); t++)
            last = runs[i].tiles[t] > last ? runs[i].tiles[t] : last;
    size_t n = ((size_t)last + 1) * s->kv_heads;
    float *turned = scratch(SCRATCH_TURNED, n * head_floats(s));
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) {
        int32_t tile = (int32_t)(i / s->kv_heads);
        size_t head = i % s->kv_heads;
        turn_tile(turned + i * head_floats(s), keys_of(layer, s, tile, head), values_of(layer, s, tile, head), s->head_dim,
                  padded(s->head_dim));
    }
    return turned;
}

/* Add a run's sums to the gradients of the keys and values that it sees, its own and its ancestors'. */
static void add_sums(struct backward *w, size_t which)
{
    const struct kernel *k = kernel();
    const struct attention_shape *s = w->shape;
    size_t d = s->head_dim, pad = padded(d), width = s->kv_heads * d, head = which % s->kv_heads, n_past = w->past->n;
    const struct run *r = &w->runs[which / s->kv_heads], *owner = r;
    const float *gk = w->sums + which % w->n_sums * w->sum_floats, *gv = gk + w->sum_floats / 2;
    float *past_dk = n_past ? w->past_sums + head * 2 * n_past * d : NULL, *past_dv = past_dk ? past_dk + n_past * d : NULL;
    if (past_dk && r->parent < 0)
        memset(past_dk, 0, 2 * n_past * d * sizeof(float));
    for (size_t pos = r->pos + r->n; pos-- > 0;) {
        while (pos < owner->pos && owner->parent >= 0)
            owner = &w->runs[owner->parent];
        bool own = pos >= owner->pos;
        size_t at = own ? (owner->row + pos - owner->pos) * width + head * d : pos * d;
        k->add((own ? w->dk : past_dk) + at, gk + pos * pad, d);
        k->add((own ? w->dv : past_dv) + at, gv + pos * pad, d);
    }
    bool tree_ends = r + 1 == w->runs + w->n_runs || r[1].parent < 0;
    for (size_t pos = 0; tree_ends && pos < n_past; pos++) {
        k->add(w->past->dk + pos * width + head * d, past_dk + pos * d, d);
        k->add(w->past->dv + pos * width + head * d, past_dv + pos * d, d);
    }
}

/* The sums of a run and head are there: whoever comes adds all whose turn it is. */
static void hand_over(struct backward *w, size_t which)
{
    atomic_store_explicit(&w->summed[which], true, memory_order_release);
#pragma omp critical(attention_sums)
    {
        size_t next = atomic_load_explicit(&w->added, memory_order_relaxed);
        while (next < w->n_runs * w->shape->kv_heads && atomic_load_explicit(&w->summed[next], memory_order_acquire)) {
            add_sums(w, next++);
            atomic_store_explicit(&w->added, next, memory_order_release);
        }
    }
}

/* One tile of a block: its part of dq, in dx, and of the run's sums gk and gv of the tile.  before: the block before it in the
 * run has done that many tiles; NULL: nothing was summed there yet. */
static void backward_tile(struct backward *w, const struct block *b, size_t t, atomic_size_t *before, float *dx, float *gk,
                          float *gv, const float *x, const float *dy, const float *delta, float *p, float *dp, float *capped)
{
    const struct kernel *k = kernel();
    const struct attention_shape *s = w->shape;
    size_t d = s->head_dim, pad = padded(d), group = s->heads / s->kv_heads, rows = b->n * group;
    size_t pos = b->run->pos + b->first;
    const float *stat = w->stats + 2 * ((b->run->row + b->first) * s->heads + b->kv_head * group);
    const float *keys = w->turned + ((size_t)b->run->tiles[t] * s->kv_heads + b->kv_head) * head_floats(s);
    score(p, x, pad, keys_of(w->layer, s, b->run->tiles[t], b->kv_head), d, KV_TILE, rows);
    finish_scores(p, s, b, pos, t);
    score(dp, dy, pad, keys + KV_TILE * pad, d, KV_TILE, rows);
    for (size_t r = 0; r < rows; r++) {
        const float *max_sum = stat + 2 * (r / group * s->heads + r % group);
        float *row = p + r * KV_TILE;
        for (size_t i = 0; s->cap > 0 && i < KV_TILE; i++)
            capped[r * KV_TILE + i] = row[i] == -INFINITY ? 0 : row[i];
        k->exp_scale(row, row, max_sum[0], 1.0f / max_sum[1], KV_TILE);
    }
    if (before) {
        wait_for(before, t + 1);
    } else {
        memset(gk, 0, KV_TILE * pad * sizeof(float));
        memset(gv, 0, KV_TILE * pad * sizeof(float));
    }
    mix(gv, pad, p, 1, KV_TILE, dy, pad, d, rows, KV_TILE); /* dV += P^T dO */
    for (size_t r = 0; r < rows; r++)
        k->softmax_backward(p + r * KV_TILE, p + r * KV_TILE, dp + r * KV_TILE, delta[r], s->scale, KV_TILE);
    if (s->cap > 0)
        k->softcap_backward(p, capped, s->cap, rows * KV_TILE);
    mix(gk, pad, p, 1, KV_TILE, x, pad, d, rows, KV_TILE);  /* dK += dS^T Q */
    mix(dx, pad, p, KV_TILE, 1, keys, pad, d, KV_TILE, rows); /* dQ += dS K */
}

static void backward_block(struct backward *w, size_t which)
{
    const struct block *b = &w->blocks[which];
    const struct attention_shape *s = w->shape;
    size_t d = s->head_dim, pad = padded(d), group = s->heads / s->kv_heads, rows = b->n * group;
    float *x = scratch(SCRATCH_ATTENTION, rows * (3 * pad + 3 * KV_TILE + 1));
    float *dy = x + rows * pad, *dx = dy + rows * pad, *p = dx + rows * pad, *dp = p + rows * KV_TILE;
    float *capped = dp + rows * KV_TILE, *delta = capped + rows * KV_TILE;
    gather(x, w->q, s, b, pad);
    gather(dy, w->dout, s, b, pad);
    memset(dx, 0, rows * pad * sizeof(float));
    const size_t row = (b->run->row + b->first) * s->heads + b->kv_head * group;
    for (size_t r = 0; r < rows; r++) {
        size_t at = (row + r / group * s->heads + r % group) * d;
        delta[r] = kernel()->dot(w->out + at, w->dout + at, d);
    }
    size_t last = (b->run->pos + b->first) / KV_TILE, from = first_seen(s, b->run->pos + b->first) / KV_TILE, sum = (size_t)(b->run - w->runs) * s->kv_heads + b->kv_head;
    float *gk = w->sums + sum % w->n_sums * w->sum_floats, *gv = gk + w->sum_floats / 2;
    if (b->first == 0 && sum >= w->n_sums)
        wait_for(&w->added, sum - w->n_sums + 1); /* the place is free */
    if (b->first == 0) { /* nobody in the run sees the tiles before */
        memset(gk, 0, from * KV_TILE * pad * sizeof(float));
        memset(gv, 0, from * KV_TILE * pad * sizeof(float));
    }
    for (size_t t = from; t <= last; t++) {
        atomic_size_t *before = b->first > 0 && t < last ? &w->tiles_done[which - s->kv_heads] : NULL;
        size_t at = t * KV_TILE * pad;
        backward_tile(w, b, t, before, dx, gk + at, gv + at, x, dy, delta, p, dp, capped);
        atomic_store_explicit(&w->tiles_done[which], t + 1, memory_order_release);
    }
    for (size_t r = 0; r < rows; r++)
        memcpy(w->dq + (row + r / group * s->heads + r % group) * d, dx + r * pad, d * sizeof(float));
    if (b->first + b->n == b->run->n)
        hand_over(w, sum);
}

void attention_backward(float *dq, float *dk, float *dv, const struct kv_gradients *past, const float *dout, const float *out, const float *stats,
                        const float *q, const float *layer, const struct attention_shape *s,
                        const struct run *runs, size_t n_runs)
{
    size_t d = s->head_dim, width = s->kv_heads * d, longest = 0, n_sums = (size_t)omp_get_max_threads() + s->kv_heads;
    for (size_t i = 0; i < n_runs; i++) {
        memset(dk + runs[i].row * width, 0, runs[i].n * width * sizeof(float));
        memset(dv + runs[i].row * width, 0, runs[i].n * width * sizeof(float));
        longest = tiles_of(&runs[i]) > longest ? tiles_of(&runs[i]) : longest;
    }
    struct backward w = {.dq = dq, .dk = dk, .dv = dv, .past = past, .dout = dout, .out = out, .stats = stats, .q = q,
                         .layer = layer, .shape = s, .runs = runs, .n_runs = n_runs, .n_sums = n_sums,
                         .sum_floats = 2 * longest * KV_TILE * padded(d)};
    struct block *blocks = cut_blocks(&w.n_blocks, s, runs, n_runs);
    w.blocks = blocks;
    w.turned = turn_tiles(layer, s, runs, n_runs);
    w.sums = scratch(SCRATCH_SUMS, n_sums * w.sum_floats);
    w.past_sums = past->n ? scratch(SCRATCH_PAST, s->kv_heads * 2 * past->n * d) : NULL;
    w.tiles_done = xcalloc(w.n_blocks, sizeof *w.tiles_done);
    w.summed = xcalloc(n_runs * s->kv_heads, sizeof *w.summed);
#pragma omp parallel
    for (size_t i; (i = atomic_fetch_add(&w.next, 1)) < w.n_blocks;)
        backward_block(&w, i);
    free(w.tiles_done);
    free(w.summed);
    free(blocks);
}
