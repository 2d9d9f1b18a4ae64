#include "nn/attention.h"

#include <math.h>
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

/* The blocks of a run; returns how many, and fills them where `out` is not NULL. */
static size_t cut_blocks(struct block *out, const struct run *r, size_t kv_head)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n;) {
        size_t stop = ((r->pos + i) / KV_TILE + 1) * KV_TILE - r->pos;
        if (stop > r->n)
            stop = r->n;
        if (out)
            out[n] = (struct block){r, i, stop - i, kv_head};
        n++;
        i = stop;
    }
    return n;
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

/* scores (rows, 64) = x K^T */
static void score(float *scores, const float *x, size_t x_ld, const float *keys, size_t d, size_t rows)
{
    const struct kernel *k = kernel();
    for (size_t c = 0; c < KV_TILE; c += PANEL)
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

static void mask_future(float *scores, size_t first_visible_end, size_t n, size_t group)
{
    for (size_t i = 0; i < n; i++)
        for (size_t g = 0; g < group; g++)
            for (size_t key = first_visible_end + i; key < KV_TILE; key++)
                scores[(i * group + g) * KV_TILE + key] = -INFINITY;
}

static void forward_block(float *out, float *stats, const float *q, const float *layer,
                          const struct attention_shape *s, const struct block *b)
{
    const struct kernel *k = kernel();
    size_t d = s->head_dim, pad = padded(d), group = s->heads / s->kv_heads, rows = b->n * group;
    float *x = scratch(SCRATCH_ATTENTION, rows * (2 * pad + KV_TILE + 2));
    float *y = x + rows * pad, *scores = y + rows * pad, *max = scores + rows * KV_TILE, *sum = max + rows;
    gather(x, q, s, b, pad);
    memset(y, 0, rows * pad * sizeof(float));
    for (size_t r = 0; r < rows; r++) {
        max[r] = -INFINITY;
        sum[r] = 0;
    }
    size_t pos = b->run->pos + b->first, last = pos / KV_TILE;
    for (size_t t = 0; t <= last; t++) {
        score(scores, x, pad, keys_of(layer, s, b->run->tiles[t], b->kv_head), d, rows);
        if (t == last)
            mask_future(scores, pos % KV_TILE + 1, b->n, group);
        for (size_t r = 0; r < rows; r++) {
            float *row = scores + r * KV_TILE;
            k->scale(row, s->scale, KV_TILE);
            float tile_max = k->max(row, KV_TILE), shift = tile_max > max[r] ? tile_max : max[r], keep;
            k->exp_sum(&keep, &max[r], shift, 1); /* what the former tiles' sums are worth now */
            sum[r] = sum[r] * keep + k->exp_sum(row, row, shift, KV_TILE);
            k->scale(y + r * pad, keep, d);
            max[r] = shift;
        }
        mix(y, pad, scores, KV_TILE, 1, values_of(layer, s, b->run->tiles[t], b->kv_head), pad, d, KV_TILE, rows);
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
    size_t n = 0;
    for (size_t i = 0; i < n_runs; i++)
        n += s->kv_heads * cut_blocks(NULL, &runs[i], 0);
    struct block *blocks = xmalloc(n * sizeof *blocks);
    n = 0;
    for (size_t i = 0; i < n_runs; i++)
        for (size_t h = 0; h < s->kv_heads; h++)
            n += cut_blocks(blocks + n, &runs[i], h);
#pragma omp parallel for schedule(dynamic) if (n > 1)
    for (size_t i = 0; i < n; i++)
        forward_block(out, stats, q, layer, s, &blocks[i]);
    free(blocks);
}

/* dq of a block; adds to dk, dv (positions, pad) of the run's whole past. */
static void backward_block(float *dq, float *dk, float *dv, const float *dout, const float *out, const float *stats,
                           const float *q, const float *keys, const float *values_turned, const float *layer,
                           const struct attention_shape *s, const struct block *b, float *work)
{
    const struct kernel *k = kernel();
    size_t d = s->head_dim, pad = padded(d), group = s->heads / s->kv_heads, rows = b->n * group;
    float *x = work, *dy = x + rows * pad, *dx = dy + rows * pad, *p = dx + rows * pad, *dp = p + rows * KV_TILE;
    float *delta = dp + rows * KV_TILE;
    gather(x, q, s, b, pad);
    gather(dy, dout, s, b, pad);
    memset(dx, 0, rows * pad * sizeof(float));
    const float *stat = stats + 2 * ((b->run->row + b->first) * s->heads + b->kv_head * group);
    for (size_t i = 0; i < b->n; i++)
        for (size_t g = 0; g < group; g++) {
            size_t at = (b->run->row + b->first + i) * s->heads + b->kv_head * group + g;
            delta[i * group + g] = k->dot(out + at * d, dout + at * d, d);
        }
    size_t pos = b->run->pos + b->first, last = pos / KV_TILE;
    for (size_t t = 0; t <= last; t++) {
        score(p, x, pad, keys_of(layer, s, b->run->tiles[t], b->kv_head), d, rows);
        if (t == last)
            mask_future(p, pos % KV_TILE + 1, b->n, group);
        score(dp, dy, pad, values_turned + t * KV_TILE * d, d, rows);
        for (size_t r = 0; r < rows; r++) {
            const float *max_sum = stat + 2 * (r / group * s->heads + r % group);
            float *row = p + r * KV_TILE;
            k->scale(row, s->scale, KV_TILE);
            k->exp_scale(row, row, max_sum[0], 1.0f / max_sum[1], KV_TILE);
        }
        mix(dv + t * KV_TILE * pad, pad, p, 1, KV_TILE, dy, pad, d, rows, KV_TILE); /* dV += P^T dO */
        for (size_t r = 0; r < rows; r++)
            k->softmax_backward(p + r * KV_TILE, p + r * KV_TILE, dp + r * KV_TILE, delta[r], s->scale, KV_TILE);
        mix(dx, pad, p, KV_TILE, 1, keys + t * KV_TILE * pad, pad, d, KV_TILE, rows);  /* dQ += dS K */
        mix(dk + t * KV_TILE * pad, pad, p, 1, KV_TILE, x, pad, d, rows, KV_TILE);     /* dK += dS^T Q */
    }
    for (size_t i = 0; i < b->n; i++)
        for (size_t g = 0; g < group; g++)
            memcpy(dq + ((b->run->row + b->first + i) * s->heads + b->kv_head * group + g) * d,
                   dx + (i * group + g) * pad, d * sizeof(float));
}

/* One tree, one key-value head: runs in order, so that a prompt's gradient is its own part, then its
 * completions' parts one after the other.  past_dk, past_dv: (positions before the tree, d), added to. */
static void backward_tree(float *dq, float *dk, float *dv, float *past_dk, float *past_dv, const float *dout, const float *out, const float *stats,
                          const float *q, const float *layer, const struct attention_shape *s,
                          const struct run *all, const struct run *runs, size_t n_runs, size_t head)
{
    const struct kernel *kern = kernel();
    size_t d = s->head_dim, pad = padded(d), group = s->heads / s->kv_heads, width = s->kv_heads * d;
    for (size_t i = 0; i < n_runs; i++) {
        const struct run *r = &runs[i];
        size_t tiles = (r->pos + r->n + KV_TILE - 1) / KV_TILE, span = tiles * KV_TILE, rows = KV_TILE * group;
        float *keys = scratch(SCRATCH_ATTENTION, span * (3 * pad + d) + rows * (3 * pad + 2 * KV_TILE + 1));
        float *gk = keys + span * pad, *gv = gk + span * pad, *vt = gv + span * pad, *work = vt + span * d;
        memset(gk, 0, 2 * span * pad * sizeof(float));
        for (size_t t = 0; t < tiles; t++) {
            const float *kt = keys_of(layer, s, r->tiles[t], head), *v = values_of(layer, s, r->tiles[t], head);
            for (size_t p = 0; p < KV_TILE; p++) {
                float *key = keys + (t * KV_TILE + p) * pad;
                for (size_t c = 0; c < d; c++) {
                    key[c] = kt[c * KV_TILE + p];
                    vt[(t * d + c) * KV_TILE + p] = v[p * pad + c];
                }
                memset(key + d, 0, (pad - d) * sizeof(float));
            }
        }
        for (size_t first = 0; first < r->n;) {
            size_t stop = ((r->pos + first) / KV_TILE + 1) * KV_TILE - r->pos;
            stop = stop > r->n ? r->n : stop;
            struct block b = {r, first, stop - first, head};
            backward_block(dq, gk, gv, dout, out, stats, q, keys, vt, layer, s, &b, work);
            first = stop;
        }
        const struct run *owner = r;
        for (size_t pos = r->pos + r->n; pos-- > 0;) {
            while (pos < owner->pos && owner->parent >= 0)
                owner = &all[owner->parent];
            if (pos < owner->pos) {
                kern->add(past_dk + pos * d, gk + pos * pad, d);
                kern->add(past_dv + pos * d, gv + pos * pad, d);
                continue;
            }
            size_t at = (owner->row + pos - owner->pos) * width + head * d;
            kern->add(dk + at, gk + pos * pad, d);
            kern->add(dv + at, gv + pos * pad, d);
        }
    }
}

void attention_backward(float *dq, float *dk, float *dv, const struct kv_gradients *past, const float *dout, const float *out, const float *stats,
                        const float *q, const float *layer, const struct attention_shape *s,
                        const struct run *runs, size_t n_runs)
{
    size_t width = s->kv_heads * s->head_dim, n_trees = 0;
    size_t *starts = xmalloc((n_runs + 1) * sizeof *starts);
    for (size_t i = 0; i < n_runs; i++) {
        memset(dk + runs[i].row * width, 0, runs[i].n * width * sizeof(float));
        memset(dv + runs[i].row * width, 0, runs[i].n * width * sizeof(float));
        if (runs[i].parent < 0)
            starts[n_trees++] = i;
    }
    starts[n_trees] = n_runs;
#pragma omp parallel for schedule(dynamic) ordered
    for (size_t unit = 0; unit < n_trees * s->kv_heads; unit++) {
        size_t t = unit / s->kv_heads, head = unit % s->kv_heads, d = s->head_dim;
        float *past_dk = past->n ? scratch(SCRATCH_PAST, 2 * past->n * d) : NULL;
        float *past_dv = past_dk ? past_dk + past->n * d : NULL;
        if (past_dk)
            memset(past_dk, 0, 2 * past->n * d * sizeof(float));
        backward_tree(dq, dk, dv, past_dk, past_dv, dout, out, stats, q, layer, s, runs, runs + starts[t],
                      starts[t + 1] - starts[t], head);
#pragma omp ordered
        for (size_t pos = 0; pos < past->n; pos++) {
            kernel()->add(past->dk + pos * width + head * d, past_dk + pos * d, d);
            kernel()->add(past->dv + pos * width + head * d, past_dv + pos * d, d);
        }
    }
    free(starts);
}
