/* The trunk: embedding, blocks of attention and feed-forward with their norms, forward and backward. */
#include <math.h>
#include <string.h>

#include "model/workspace.h"
#include "nn/linear.h"
#include "nn/rmsnorm.h"

struct attention_shape config_attention(const struct config *c)
{
    return (struct attention_shape){.heads = c->heads, .kv_heads = c->kv_heads, .head_dim = c->head_dim,
                                    .scale = 1.0f / sqrtf((float)c->head_dim)};
}

/* A linear layer of a block: its weight, and the adapter's part of it. */
static struct linear linear_of(const struct model *m, const struct adapter *adapter, const struct layer_state *s, size_t layer,
                               enum linear_kind kind)
{
    return (struct linear){.w = &m->layers[layer].linear[kind], .lora = adapter_lora(adapter, NULL, layer, kind),
                           .t = s->t[kind]};
}

/* The layers `kinds`, n of them: ys[i] = start + x W^T, each stretch of rows through its adapter.  start: NULL: zeros. */
static void linears(float *const *ys, const float *start, const float *x, const struct model *m, struct layer_state *s,
                    const struct batch *b, size_t layer, const enum linear_kind *kinds, size_t n)
{
    for (size_t i = 0; i < b->n_adapters; i++) {
        const struct adapter_rows *a = &b->adapters[i];
        struct linear l[LINEARS];
        for (size_t k = 0; k < n; k++) {
            l[k] = linear_of(m, a->adapter, s, layer, kinds[k]);
            l[k].t += a->row * l[k].lora.rank;
            l[k].y = ys[k] + a->row * l[k].w->out;
            l[k].start = start ? start + a->row * l[k].w->out : NULL;
        }
        linears_forward(l, n, x + a->row * l[0].w->in, a->n);
    }
}

static const enum linear_kind of_attention[] = {LINEAR_Q, LINEAR_K, LINEAR_V}, of_ffn[] = {LINEAR_GATE, LINEAR_UP},
                              to_attention[] = {LINEAR_O}, to_ffn[] = {LINEAR_DOWN};

static void swiglu_rows(float *h, const float *gate, const float *up, size_t rows, size_t n)
{
    const struct kernel *k = kernel();
#pragma omp parallel for schedule(static) if (rows > 4)
    for (size_t r = 0; r < rows; r++)
        k->swiglu(h + r * n, gate + r * n, up + r * n, n);
}

/* A layer's tiles of keys and values: the stem's, then the batch's own rows in theirs. */
static void fill_tiles(float *kv, const struct attention_shape *shape, const struct batch *b, const struct layer_state *s,
                       size_t layer)
{
    if (b->stem) {
        size_t floats = b->stem->batch.n_tiles * kv_tile_floats(shape);
        memcpy(kv, b->stem->kv + layer * floats, floats * sizeof(float));
    }
    kv_fill(kv, shape, b->runs, b->n_runs, s->k, s->v);
}

/* The batch with all rows through the net's adapter, which is in *own, where it does not name adapters itself. */
static struct batch with_adapter(const struct batch *b, const struct net *net, struct adapter_rows *own)
{
    struct batch all = *b;
    if (b->n_adapters == 0) {
        *own = (struct adapter_rows){0, b->n_rows, net->adapter};
        all.adapters = own;
        all.n_adapters = 1;
    }
    return all;
}

/* A layer up to its gate and up projections: from s->in all of its state but t[LINEAR_DOWN].  The backward calls it again
 * where the state was not kept. */
static void layer_forward(struct workspace *w, const struct model *m, const struct batch *b, float *kv, struct layer_state *s,
                          size_t l)
{
    const struct config *c = &m->config;
    const struct layer *layer = &m->layers[l];
    struct attention_shape shape = config_attention(c);
    size_t rows = b->n_rows, width = c->width;
    rmsnorm_forward(w->x, s->norm_in, s->in, layer->attention_norm, c->norm_eps, rows, width);
    linears((float *const[]){s->q, s->k, s->v}, NULL, w->x, m, s, b, l, of_attention, 3);
    rope_rotate(&m->rope, s->q, b->pos, rows, c->heads, false);
    rope_rotate(&m->rope, s->k, b->pos, rows, c->kv_heads, false);
    fill_tiles(kv, &shape, b, s, l);
    attention_forward(s->attention, s->stats, s->q, kv, &shape, b->runs, b->n_runs);
    linears(&s->mid, s->in, s->attention, m, s, b, l, to_attention, 1);

    rmsnorm_forward(w->x, s->norm_mid, s->mid, layer->ffn_norm, c->norm_eps, rows, width);
    linears((float *const[]){s->gate, s->up}, NULL, w->x, m, s, b, l, of_ffn, 2);
}

/* The rest of it, from that state: out = mid + down(silu(gate) up) */
static void layer_output(float *out, struct workspace *w, const struct model *m, const struct batch *b, struct layer_state *s,
                         size_t l)
{
    const struct config *c = &m->config;
    swiglu_rows(w->wide, s->gate, s->up, b->n_rows, c->ffn);
    linears(&out, s->mid, w->wide, m, s, b, l, to_ffn, 1);
}

void trunk_forward(struct workspace *w, const struct net *net, const struct batch *batch, float *cache, size_t cache_tiles,
                   size_t from, size_t to)
{
    const struct model *m = net->model;
    const struct config *c = &m->config;
    struct adapter_rows own;
    const struct batch b = with_adapter(batch, net, &own);
    struct attention_shape shape = config_attention(c);
    size_t layer_floats = cache_tiles * kv_tile_floats(&shape);
    float *x = w->layers[0].in;
    for (size_t i = 0; from == 0 && i < b.n_rows; i++)
        weight_row(&m->embed, (size_t)b.tokens[i], x + i * c->width);
    for (size_t l = from; l < to; l++) {
        struct layer_state *s = &w->layers[l % w->n_layers], *next = &w->layers[(l + 1) % w->n_layers];
        layer_forward(w, m, &b, cache ? cache + l * layer_floats : w->kv, s, l);
        layer_output(l + 1 == c->layers ? w->last : next->in, w, m, &b, s, l);
    }
    if (to == c->layers)
        rmsnorm_forward(w->h, w->norm, w->last, m->norm, c->norm_eps, b.n_rows, c->width);
}

/* Gradients of the layers `kinds`, which have the same x: dx (NULL: not wanted), and the weights' own. */
static void linears_back(struct gradients *g, float *dx, const float *const *dys, const float *x, const struct net *net,
                         const struct layer_state *s, size_t layer, const enum linear_kind *kinds, size_t n, size_t rows)
{
    struct linear l[LINEARS];
    for (size_t k = 0; k < n; k++) {
        l[k] = linear_of(net->model, net->adapter, s, layer, kinds[k]);
        l[k].lora = adapter_lora(net->adapter, g->adapter, layer, kinds[k]);
        l[k].dy = dys[k];
        l[k].dw = g->model ? g->model + net->model->layers[layer].linear_at[kinds[k]] : NULL;
    }
    linears_backward(dx, l, n, x, rows);
}

static struct kv_gradients stem_gradients(const struct stem *s, size_t layer, size_t kv_width)
{
    size_t at = layer * s->n * kv_width;
    return (struct kv_gradients){.dk = s->dk + at, .dv = s->dv + at, .n = s->n};
}

/* The lowest layer that anything is trained in: below it no gradient is asked for. */
static size_t lowest_trained(const struct gradients *g, const struct net *net)
{
    return g->model || !net->adapter ? 0 : net->adapter->first_layer;
}

/* A layer backwards: w->dx holds the gradient of its output, then of its input. */
static void layer_backward(struct gradients *g, struct workspace *w, const struct net *net, const struct batch *b,
                           const struct stem *own, const struct layer_state *s, size_t l)
{
    const struct model *m = net->model;
    const struct config *c = &m->config;
    const struct layer *layer = &m->layers[l];
    const struct kernel *kern = kernel();
    struct attention_shape shape = config_attention(c);
    size_t rows = b->n_rows, width = c->width, kv_width = c->kv_heads * c->head_dim;
    float *dx = w->dx, *dy = w->dy;
    /* out = mid + down(silu(gate) up) */
    swiglu_rows(w->wide, s->gate, s->up, rows, c->ffn);
    float *dh = w->wide2;
    linears_back(g, dh, (const float *const[]){dx}, w->wide, net, s, l, to_ffn, 1, rows);
    float *dgate = w->wide, *dup = dh; /* silu(gate) up is not needed any more */
#pragma omp parallel for schedule(static) if (rows > 4)
    for (size_t r = 0; r < rows; r++) {
        size_t at = r * c->ffn;
        kern->swiglu_backward(dgate + at, dup + at, dh + at, s->gate + at, s->up + at, c->ffn);
    }
    rmsnorm_apply(w->x, s->mid, layer->ffn_norm, s->norm_mid, rows, width);
    linears_back(g, dy, (const float *const[]){dgate, dup}, w->x, net, s, l, of_ffn, 2, rows);
    rmsnorm_backward(dx, g->model ? g->model + layer->ffn_norm_at : NULL, dy, s->mid, layer->ffn_norm, s->norm_mid,
                     rows, width);
    /* mid = in + o(attention(q, k, v)) */
    linears_back(g, w->x, (const float *const[]){dx}, s->attention, net, s, l, to_attention, 1, rows);
    fill_tiles(w->kv, &shape, b, s, l);
    struct kv_gradients past = {0};
    if (b->stem)
        past = stem_gradients(b->stem, l, kv_width);
    attention_backward(w->dq, w->dk, w->dv, &past, w->x, s->attention, s->stats, s->q, w->kv, &shape, b->runs, b->n_runs);
    if (own) { /* what the trees after it have asked of its keys and values */
        past = stem_gradients(own, l, kv_width);
        kern->add(w->dk, past.dk, rows * kv_width);
        kern->add(w->dv, past.dv, rows * kv_width);
    }
    rope_rotate(&m->rope, w->dq, b->pos, rows, c->heads, true);
    rope_rotate(&m->rope, w->dk, b->pos, rows, c->kv_heads, true);
    rmsnorm_apply(w->x, s->in, layer->attention_norm, s->norm_in, rows, width);
    float *want = l > lowest_trained(g, net) || g->model ? dy : NULL;
    linears_back(g, want, (const float *const[]){w->dq, w->dk, w->dv}, w->x, net, s, l, of_attention, 3, rows);
    if (want)
        rmsnorm_backward(dx, g->model ? g->model + layer->attention_norm_at : NULL, dy, s->in,
                         layer->attention_norm, s->norm_in, rows, width);
}

void trunk_backward(struct gradients *g, struct workspace *w, const struct net *net, const struct batch *batch,
                    const struct stem *own)
{
    const struct model *m = net->model;
    const struct config *c = &m->config;
    struct adapter_rows all_rows;
    const struct batch b = with_adapter(batch, net, &all_rows);
    for (size_t l = c->layers; l-- > lowest_trained(g, net);) {
        struct layer_state *s = &w->layers[l];
        if (w->keep == KEEP_INPUTS && l + 1 < c->layers) /* the last layer's state is the one that is there */
            layer_forward(w, m, &b, w->kv, s, l);
        layer_backward(g, w, net, &b, own, s, l);
    }
    /* transformers makes its embedding with padding_idx: the pad token's row gets no gradient as an input, also where
     * the pad token is one that the text has (SmolLM2's is the end of turn).  So do we, to train alike. */
    for (size_t i = 0; g->embed && i < b.n_rows; i++)
        if (b.tokens[i] != c->pad)
            kernel()->add(g->embed + (size_t)b.tokens[i] * c->width, w->dx + i * c->width, c->width);
}
