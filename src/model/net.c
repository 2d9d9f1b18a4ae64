#include "model/net.h"

#include <stdlib.h>
#include <string.h>

#include "model/workspace.h"
#include "util/mem.h"

/* ---- gradients ---- */

int gradients_init(struct gradients *g, const struct net *net, bool train_model, bool train_adapter, bool train_head,
                   struct err *err)
{
    *g = (struct gradients){0};
    const struct model *m = net->model;
    if (train_model) {
        g->model = params_twin(&m->params, "gradients", err);
        g->embed = mem_block(m->config.vocab, m->config.width * sizeof(float), "gradients of the embedding", err);
    }
    if (train_adapter)
        g->adapter = params_twin(&net->adapter->params, "gradients of the adapter", err);
    if (train_head)
        g->head = params_twin(&net->head->params, "gradients of the head", err);
    if ((train_model && (!g->model || !g->embed)) || (train_adapter && !g->adapter) || (train_head && !g->head)) {
        gradients_release(g);
        return -1;
    }
    return 0;
}

static void zero(float *x, size_t n)
{
    if (x)
        memset(x, 0, n * sizeof(float));
}

void gradients_clear(struct gradients *g, const struct net *net)
{
    zero(g->model, net->model->params.n);
    zero(g->embed, net->model->config.vocab * net->model->config.width);
    if (g->adapter)
        zero(g->adapter, net->adapter->params.n);
    if (g->head)
        zero(g->head, net->head->params.n);
}

void gradients_finish(struct gradients *g, const struct net *net)
{
    const struct model *m = net->model;
    if (g->embed)
        kernel()->add(g->model + m->embed_at, g->embed, m->config.vocab * m->config.width);
}

void gradients_release(struct gradients *g)
{
    mem_block_free(g->model);
    mem_block_free(g->embed);
    mem_block_free(g->adapter);
    mem_block_free(g->head);
    *g = (struct gradients){0};
}

/* ---- working memory ---- */

struct workspace *workspace_new(const struct config *c, enum keep keep, struct err *err)
{
    (void)err;
    struct workspace *w = xcalloc(1, sizeof *w);
    w->config = c;
    w->keep = keep;
    w->n_layers = keep == KEEP_NOTHING ? 1 : c->layers;
    w->layers = xcalloc(w->n_layers, sizeof *w->layers);
    return w;
}

void workspace_free(struct workspace *w)
{
    if (!w)
        return;
    mem_block_free(w->block);
    mem_block_free(w->kv);
    mem_block_free(w->shared);
    mem_block_free(w->rows_h);
    mem_block_free(w->mean_w);
    free(w->rows_info);
    free(w->target_rows);
    free(w->targets);
    free(w->layers);
    free(w);
}

/* Carve a stretch of floats off the block; with a NULL block only the size is counted. */
static float *carve(float *block, size_t *used, size_t floats)
{
    float *p = block ? block + *used : NULL;
    *used += (floats + 15) / 16 * 16;
    return p;
}

/* Where a family has a vector: norms that it does not have need no memory. */
static float *carve_for(const struct config *c, enum vector_kind kind, float *block, size_t *used, size_t floats)
{
    return c->family->vector[kind].hf ? carve(block, used, floats) : NULL;
}

/* What a layer's forward computes anew from its `in`. */
static void carve_layer(struct layer_state *s, const struct config *c, size_t rows, size_t rank, float *block, size_t *used)
{
    size_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    s->mid = carve(block, used, rows * c->width);
    s->norm_in = carve(block, used, rows * 2);
    s->norm_mid = carve(block, used, rows * 2);
    s->q = carve(block, used, rows * q);
    s->k = carve(block, used, rows * kv);
    s->v = carve(block, used, rows * kv);
    s->raw_q = carve_for(c, NORM_Q, block, used, rows * q);
    s->raw_k = carve_for(c, NORM_K, block, used, rows * kv);
    s->norm_q = carve_for(c, NORM_Q, block, used, rows * c->heads * 2);
    s->norm_k = carve_for(c, NORM_K, block, used, rows * c->kv_heads * 2);
    s->attention = carve(block, used, rows * q);
    s->stats = carve(block, used, rows * c->heads * 2);
    s->attention_out = carve_for(c, NORM_ATTENTION_OUT, block, used, rows * c->width);
    s->norm_attention_out = carve_for(c, NORM_ATTENTION_OUT, block, used, rows * 2);
    s->gate = carve(block, used, rows * c->ffn);
    s->up = family_has_gate(c->family) ? carve(block, used, rows * c->ffn) : NULL;
    for (int k = 0; k < LINEAR_DOWN; k++)
        s->t[k] = carve(block, used, rows * rank);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t carve_all(struct workspace *w, size_t rows, size_t rank, float *block)
{
    const struct config *c = w->config;
    size_t used = 0, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim, widest = larger(c->width, q);
    for (size_t l = 0; l < w->n_layers; l++) {
        struct layer_state *s = &w->layers[l];
        if (l == 0 || w->keep == KEEP_ALL)
            carve_layer(s, c, rows, rank, block, &used);
        else
            *s = w->layers[0];
        s->in = carve(block, &used, rows * c->width);
        /* small, or not in most families: the last product need not be made again */
        s->t[LINEAR_DOWN] = carve(block, &used, rows * rank);
        s->ffn_out = carve_for(c, NORM_FFN_OUT, block, &used, rows * c->width);
        s->norm_ffn_out = carve_for(c, NORM_FFN_OUT, block, &used, rows * 2);
    }
    w->last = carve(block, &used, rows * c->width);
    w->h = carve(block, &used, rows * c->width);
    w->norm = carve(block, &used, rows * 2);
    w->x = carve(block, &used, rows * widest);
    w->wide = carve(block, &used, rows * larger(c->ffn, widest));
    size_t joined = larger(family_joins_qkv(c->family) ? q + 2 * kv : 0, family_joins_ffn(c->family) ? 2 * c->ffn : 0);
    w->joined = joined ? carve(block, &used, rows * joined) : NULL;
    if (w->keep != KEEP_NOTHING) {
        w->wide2 = carve(block, &used, rows * larger(c->ffn, 2 * kv));
        w->dx = carve(block, &used, rows * c->width);
        w->dy = carve(block, &used, rows * widest);
        w->dq = w->wide; /* attention goes backwards when the feed-forward is done with these */
        w->dk = w->wide2;
        w->dv = w->wide2 + rows * kv;
    }
    return used;
}

int workspace_reserve(struct workspace *w, size_t rows, size_t rank, size_t tiles, struct err *err)
{
    if (rows > w->rows || rank > w->rank) {
        rows = rows > w->rows ? rows : w->rows;
        rank = rank > w->rank ? rank : w->rank;
        mem_block_free(w->block);
        w->rows = w->rank = 0;
        size_t floats = carve_all(w, rows, rank, NULL);
        w->block = mem_block(floats, sizeof(float),
                             w->keep == KEEP_ALL ? "activations (--recompute keeps fewer)" : "activations", err);
        if (!w->block)
            return -1;
        mem_large_pages(w->block, floats * sizeof(float));
        carve_all(w, rows, rank, w->block);
        w->rows = rows;
        w->rank = rank;
    }
    if (tiles > w->tiles) {
        struct attention_shape shape = config_attention(w->config, 0);
        mem_block_free(w->kv);
        w->tiles = 0;
        w->kv = mem_block(tiles, kv_tile_floats(&shape) * sizeof(float), "keys and values", err);
        if (!w->kv)
            return -1;
        w->tiles = tiles;
    }
    return 0;
}

/* ---- forward ---- */

/* Is all of the batch the model's, and is there room for it? */
static int prepare(struct workspace *w, const struct net *net, const struct batch *b, struct err *err)
{
    size_t rank = net->adapter ? net->adapter->rank : 0;
    for (size_t i = 0; i < b->n_adapters; i++)
        if (b->adapters[i].adapter && b->adapters[i].adapter->rank > rank)
            rank = b->adapters[i].adapter->rank;
    for (size_t i = 0; i < b->n_rows; i++) {
        if (b->tokens[i] < 0 || (size_t)b->tokens[i] >= net->model->config.vocab)
            return err_set(err, "token id %d is outside the model's vocabulary of %zu", b->tokens[i],
                           net->model->config.vocab);
        if ((size_t)b->pos[i] >= net->model->rope.positions)
            return err_set(err, "a sequence is longer than the %zu positions that the model has",
                           net->model->rope.positions);
    }
    w->n_targets = w->n_target_rows = 0;
    return workspace_reserve(w, b->n_rows, rank, b->n_tiles, err);
}

int net_forward(struct workspace *w, const struct net *net, const struct batch *b, float *cache, size_t cache_tiles,
                struct err *err)
{
    if (prepare(w, net, b, err))
        return -1;
    trunk_forward(w, net, b, cache, cache_tiles, 0, net->model->config.layers);
    return 0;
}

int net_forward_shared(struct workspace *w, const struct net *net, const struct batch *b, size_t split, struct err *err)
{
    ENSURE(w->keep == KEEP_NOTHING && split < net->model->config.layers);
    if (prepare(w, net, b, err))
        return -1;
    if (b->n_rows > w->shared_rows) {
        mem_block_free(w->shared);
        w->shared_rows = 0;
        w->shared = mem_block(b->n_rows, w->config->width * sizeof(float), "activations", err);
        if (!w->shared)
            return -1;
        w->shared_rows = b->n_rows;
    }
    trunk_forward(w, net, b, NULL, 0, 0, split);
    memcpy(w->shared, w->layers[0].in, b->n_rows * w->config->width * sizeof(float));
    return 0;
}

int net_forward_rest(struct workspace *w, const struct net *net, const struct batch *b, size_t split, struct err *err)
{
    ENSURE(!net->adapter || net->adapter->first_layer >= split);
    if (prepare(w, net, b, err))
        return -1;
    memcpy(w->layers[0].in, w->shared, b->n_rows * w->config->width * sizeof(float));
    trunk_forward(w, net, b, NULL, 0, split, net->model->config.layers);
    return 0;
}

/* The distinct rows of the targets, and their hidden states side by side. */
static int gather_targets(struct workspace *w, const struct target *targets, size_t n, bool grad, struct err *err)
{
    size_t width = w->config->width;
    if (n > w->target_capacity) {
        w->target_capacity = n;
        w->target_rows = xreallocarray(w->target_rows, n, sizeof *w->target_rows);
        w->targets = xreallocarray(w->targets, n, sizeof *w->targets);
        w->rows_info = xreallocarray(w->rows_info, n, sizeof *w->rows_info);
    }
    w->n_targets = n;
    w->n_target_rows = 0;
    for (size_t i = 0; i < n; i++) {
        ENSURE(i == 0 || targets[i].row >= targets[i - 1].row);
        if (i == 0 || targets[i].row != targets[i - 1].row)
            w->target_rows[w->n_target_rows++] = targets[i].row;
        w->targets[i] = (struct target){w->n_target_rows - 1, targets[i].token};
    }
    if (w->n_target_rows > w->rows_capacity) {
        mem_block_free(w->rows_h);
        mem_block_free(w->mean_w);
        w->mean_w = NULL;
        w->rows_capacity = 0;
        w->rows_h = mem_block(w->n_target_rows, width * sizeof(float), "hidden states", err);
        if (!w->rows_h)
            return -1;
        w->rows_capacity = w->n_target_rows;
    }
    if (grad && !w->mean_w && !(w->mean_w = mem_block(w->rows_capacity, width * sizeof(float), "hidden states", err)))
        return -1;
    for (size_t i = 0; i < w->n_target_rows; i++)
        memcpy(w->rows_h + i * width, w->h + w->target_rows[i] * width, width * sizeof(float));
    return 0;
}

int net_logprobs(float *logp, struct logprob_row *rows, struct workspace *w, const struct net *net,
                 const struct target *targets, size_t n, float temperature, bool grad, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (targets[i].token < 0 || (size_t)targets[i].token >= net->model->config.vocab)
            return err_set(err, "token id %d is outside the model's vocabulary of %zu", targets[i].token,
                           net->model->config.vocab);
    if (gather_targets(w, targets, n, grad, err))
        return -1;
    w->temperature = temperature;
    logprob_forward(logp, w->rows_info, grad ? w->mean_w : NULL, w->rows_h, w->n_target_rows, w->targets, n,
                    &net->model->output, net->model->config.final_cap, temperature);
    for (size_t i = 0; rows && i < n; i++)
        rows[i] = w->rows_info[w->targets[i].row];
    return 0;
}

void net_scores(float *scores, struct workspace *w, const struct net *net, const size_t *rows, size_t n)
{
    size_t width = w->config->width;
    for (size_t i = 0; i < n; i++)
        scores[i] = kernel()->dot(w->h + rows[i] * width, net->head->params.data, width) + net->head->bias;
}

const float *net_hidden(const struct workspace *w, size_t row)
{
    return w->h + row * w->config->width;
}

/* ---- backward ---- */

void net_backward(struct gradients *g, struct workspace *w, const struct net *net, const struct batch *b,
                  const float *dlogp, const float *dscores, const size_t *score_rows, size_t n_scores)
{
    ENSURE(w->keep != KEEP_NOTHING);
    const struct kernel *k = kernel();
    const struct model *m = net->model;
    size_t width = m->config.width, rows = b->n_rows;
    float *dh = w->dy;
    memset(dh, 0, rows * width * sizeof(float));
    if (dlogp) {
        float *d = w->wide;
        logprob_backward(d, g->model ? g->model + m->output_at : NULL, dlogp, w->rows_info, w->mean_w, w->rows_h,
                         w->n_target_rows, w->targets, w->n_targets, &m->output, m->config.final_cap, w->temperature);
        for (size_t i = 0; i < w->n_target_rows; i++)
            memcpy(dh + w->target_rows[i] * width, d + i * width, width * sizeof(float));
    }
    for (size_t i = 0; dscores && i < n_scores; i++) {
        k->axpy(dh + score_rows[i] * width, dscores[i], net->head->params.data, width);
        if (g->head)
            k->axpy(g->head, dscores[i], w->h + score_rows[i] * width, width);
    }
    memset(w->dx, 0, rows * width * sizeof(float));
    struct norm last = model_last_norm(m);
    norm_backward(w->dx, g->model ? g->model + m->norm_at : NULL, g->model && m->shift ? g->model + m->shift_at : NULL, dh, w->last, &last,
                  w->norm, rows);
    trunk_backward(g, w, net, b, NULL);
}
