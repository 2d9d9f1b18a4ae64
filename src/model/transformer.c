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

/* y = x W^T (+ y, if accumulate), then each stretch of rows through its adapter. */
static void linear(float *y, const float *x, const struct weight *w, struct layer_state *s, const struct batch *b,
                   size_t layer, enum linear_kind kind, bool accumulate)
{
    linear_forward(y, x, w, b->n_rows, accumulate);
    for (size_t i = 0; i < b->n_adapters; i++) {
        const struct adapter_rows *a = &b->adapters[i];
        struct lora l = adapter_lora(a->adapter, NULL, layer, kind);
        if (l.a)
            lora_forward(y + a->row * w->out, s->t[kind] + a->row * l.rank, x + a->row * w->in, &l, a->n);
    }
}

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
    linear(s->q, w->x, &layer->linear[LINEAR_Q], s, b, l, LINEAR_Q, false);
    linear(s->k, w->x, &layer->linear[LINEAR_K], s, b, l, LINEAR_K, false);
    linear(s->v, w->x, &layer->linear[LINEAR_V], s, b, l, LINEAR_V, false);
    rope_rotate(&m->rope, s->q, b->pos, rows, c->heads, false);
    rope_rotate(&m->rope, s->k, b->pos, rows, c->kv_heads, false);
    fill_tiles(kv, &shape, b, s, l);
    attention_forward(s->attention, s->stats, s->q, kv, &shape, b->runs, b->n_runs);
    memcpy(s->mid, s->in, rows * width * sizeof(float));
    linear(s->mid, s->attention, &layer->linear[LINEAR_O], s, b, l, LINEAR_O, true);

    rmsnorm_forward(w->x, s->norm_mid, s->mid, layer->ffn_norm, c->norm_eps, rows, width);
    linear(s->gate, w->x, &layer->linear[LINEAR_GATE], s, b, l, LINEAR_GATE, false);
    linear(s->up, w->x, &layer->linear[LINEAR_UP], s, b, l, LINEAR_UP, false);
}

/* The rest of it, from that state: out = mid + down(silu(gate) up) */
static void layer_output(float *out, struct workspace *w, const struct model *m, const struct batch *b, struct layer_state *s,
                         size_t l)
{
    const struct config *c = &m->config;
    swiglu_rows(w->wide, s->gate, s->up, b->n_rows, c->ffn);
    memcpy(out, s->mid, b->n_rows * c->width * sizeof(float));
    linear(out, w->wide, &m->layers[l].linear[LINEAR_DOWN], s, b, l, LINEAR_DOWN, true);
}

void trunk_forward(struct workspace *w, const struct net *net, const struct batch *batch, float *cache, size_t cache_tiles)
{
    const struct model *m = net->model;
    const struct config *c = &m->config;
    struct adapter_rows own;
    const struct batch b = with_adapter(batch, net, &own);
    struct attention_shape shape = config_attention(c);
    size_t layer_floats = cache_tiles * kv_tile_floats(&shape);
    float *x = w->layers[0].in;
    for (size_t i = 0; i < b.n_rows; i++)
        weight_row(&m->embed, (size_t)b.tokens[i], x + i * c->width);
    for (size_t l = 0; l < c->layers; l++) {
        struct layer_state *s = &w->layers[l % w->n_layers], *next = &w->layers[(l + 1) % w->n_layers];
        layer_forward(w, m, &b, cache ? cache + l * layer_floats : w->kv, s, l);
        layer_output(l + 1 == c->layers ? w->last : next->in, w, m, &b, s, l);
    }
    rmsnorm_forward(w->h, w->norm, w->last, m->norm, c->norm_eps, b.n_rows, c->width);
}

/* Gradient of one linear layer: dx = or += dy W and the adapter's part (dx NULL: not wanted); weights' own. */
static void linear_back(struct gradients *g, float *dx, const float *dy, const float *x, const struct net *net,
                        const struct layer_state *s, size_t layer, enum linear_kind kind, size_t rows, bool accumulate)
{
    const struct weight *w = &net->model->layers[layer].linear[kind];
    if (dx)
        linear_backward(dx, dy, w, rows, accumulate);
    if (g->model)
        linear_backward_weight(g->model + net->model->layers[layer].linear_at[kind], dy, x, rows, w->out, w->in);
    struct lora l = adapter_lora(net->adapter, g->adapter, layer, kind);
    if (l.a)
        lora_backward(dx, dy, x, s->t[kind], &l, rows);
}

static struct kv_gradients stem_gradients(const struct stem *s, size_t layer, size_t kv_width)
{
    size_t at = layer * s->n * kv_width;
    return (struct kv_gradients){.dk = s->dk + at, .dv = s->dv + at, .n = s->n};
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
    linear_back(g, dh, dx, w->wide, net, s, l, LINEAR_DOWN, rows, false);
    float *dgate = w->wide, *dup = dh; /* silu(gate) up is not needed any more */
#pragma omp parallel for schedule(static) if (rows > 4)
    for (size_t r = 0; r < rows; r++) {
        size_t at = r * c->ffn;
        kern->swiglu_backward(dgate + at, dup + at, dh + at, s->gate + at, s->up + at, c->ffn);
    }
    rmsnorm_apply(w->x, s->mid, layer->ffn_norm, s->norm_mid, rows, width);
    linear_back(g, dy, dgate, w->x, net, s, l, LINEAR_GATE, rows, false);
    linear_back(g, dy, dup, w->x, net, s, l, LINEAR_UP, rows, true);
    rmsnorm_backward(dx, g->model ? g->model + layer->ffn_norm_at : NULL, dy, s->mid, layer->ffn_norm, s->norm_mid,
                     rows, width);
    /* mid = in + o(attention(q, k, v)) */
    linear_back(g, w->x, dx, s->attention, net, s, l, LINEAR_O, rows, false);
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
    float *want = l > 0 || g->model ? dy : NULL; /* nothing below the first block is trained with adapters alone */
    linear_back(g, want, w->dq, w->x, net, s, l, LINEAR_Q, rows, false);
    linear_back(g, want, w->dk, w->x, net, s, l, LINEAR_K, rows, true);
    linear_back(g, want, w->dv, w->x, net, s, l, LINEAR_V, rows, true);
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
    for (size_t l = c->layers; l-- > 0;) {
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
