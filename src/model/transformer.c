/* The trunk: embedding, blocks of attention and feed-forward with their norms, forward and backward. */
#include <math.h>
#include <string.h>

#include "model/workspace.h"
#include "nn/linear.h"
#include "nn/norm.h"

struct attention_shape config_attention(const struct config *c, size_t layer)
{
    return (struct attention_shape){.heads = c->heads, .kv_heads = c->kv_heads, .head_dim = c->head_dim, .scale = c->attention_scale,
                                    .cap = c->attention_cap, .window = c->layer[layer] & LAYER_LOCAL ? c->window : 0};
}

struct norm model_last_norm(const struct model *m)
{
    return (struct norm){.w = m->norm, .shift = m->shift, .eps = m->config.norm_eps, .unit = m->config.family->unit_norm, .n = m->config.width};
}

/* A norm of a layer, whose w is NULL where the family has none there. */
static struct norm norm_of(const struct model *m, size_t layer, enum vector_kind kind)
{
    const struct layer *l = &m->layers[layer];
    const float *shift = kind == NORM_ATTENTION ? l->vector[SHIFT_ATTENTION] : kind == NORM_FFN ? l->vector[SHIFT_FFN] : NULL;
    return (struct norm){.w = l->vector[kind], .shift = shift, .eps = m->config.norm_eps, .unit = m->config.family->unit_norm,
                         .n = config_dimension(&m->config, m->config.family->vector[kind].n)};
}

/* Where the gradient of a layer's vector is summed; NULL: it is not trained, or there is none. */
static float *vector_gradient(const struct gradients *g, const struct model *m, size_t layer, size_t kind)
{
    return g->model && m->layers[layer].vector[kind] ? g->model + m->layers[layer].vector_at[kind] : NULL;
}

/* dx += the gradient of a layer's norm. */
static void norm_back(float *dx, const struct gradients *g, const float *dy, const float *x, const struct model *m, size_t layer,
                      enum vector_kind kind, const float *stats, size_t rows)
{
    struct norm norm = norm_of(m, layer, kind);
    float *dshift = kind == NORM_ATTENTION ? vector_gradient(g, m, layer, SHIFT_ATTENTION) : kind == NORM_FFN ? vector_gradient(g, m, layer, SHIFT_FFN) : NULL;
    norm_backward(dx, vector_gradient(g, m, layer, kind), dshift, dy, x, &norm, stats, rows);
}

/* A linear layer of a block: its weight, and the adapter's part of it. */
static struct linear linear_of(const struct model *m, const struct adapter *adapter, const struct layer_state *s, size_t layer,
                               enum linear_kind kind)
{
    return (struct linear){.w = &m->layers[layer].linear[kind], .lora = adapter_lora(adapter, NULL, layer, kind),
                           .t = s->t[kind]};
}

/* y (rows, n) += the same n numbers in each row. */
static void add_to_rows(float *y, const float *x, size_t rows, size_t n)
{
    const struct kernel *k = kernel();
#pragma omp parallel for schedule(static) if (rows > 8)
    for (size_t r = 0; r < rows; r++)
        k->add(y + r * n, x, n);
}

/* The layers `kinds`, n of them: ys[i] = start + x W^T + bias, each stretch of rows through its adapter.  start: NULL: zeros. */
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
    for (size_t k = 0; k < n; k++)
        if (m->layers[layer].vector[BIAS + kinds[k]])
            add_to_rows(ys[k], m->layers[layer].vector[BIAS + kinds[k]], b->n_rows, m->layers[layer].linear[kinds[k]].out);
}

static const enum linear_kind of_attention[] = {LINEAR_Q, LINEAR_K, LINEAR_V}, of_ffn[] = {LINEAR_GATE, LINEAR_UP},
                              to_attention[] = {LINEAR_O}, to_ffn[] = {LINEAR_DOWN};

/* Parts of rows that stand side by side in one tensor's output: each part's rows, and how wide they are. */
struct part {
    float *rows;
    size_t width;
};

static void split(const struct part *parts, size_t n, const float *joined, size_t rows)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < n; joined += parts[i++].width)
            memcpy(parts[i].rows + r * parts[i].width, joined, parts[i].width * sizeof(float));
}

static void join(float *joined, const struct part *parts, size_t n, size_t rows)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < n; joined += parts[i++].width)
            memcpy(joined, parts[i].rows + r * parts[i].width, parts[i].width * sizeof(float));
}

/* h = act(gate) up, of a block without a gate act(gate) alone: up is NULL */
static void activate(float *h, const float *gate, const float *up, const struct config *c, size_t rows)
{
    size_t n = c->ffn;
    void (*f)(float *, const float *, const float *, size_t) = c->family->activation == ACTIVATION_SILU ? kernel()->swiglu : kernel()->geglu;
#pragma omp parallel for schedule(static) if (rows > 4)
    for (size_t r = 0; r < rows; r++)
        f(h + r * n, gate + r * n, up ? up + r * n : NULL, n);
}

static void activate_backward(float *dgate, float *dup, const float *dh, const float *gate, const float *up, const struct config *c, size_t rows)
{
    size_t n = c->ffn;
    void (*f)(float *, float *, const float *, const float *, const float *, size_t) =
        c->family->activation == ACTIVATION_SILU ? kernel()->swiglu_backward : kernel()->geglu_backward;
#pragma omp parallel for schedule(static) if (rows > 4)
    for (size_t r = 0; r < rows; r++)
        f(dgate + r * n, dup + r * n, dh + r * n, gate + r * n, up ? up + r * n : NULL, n);
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

/* x through a layer's norm, in y; x itself where the family has none there. */
static const float *normed(float *y, float *stats, const float *x, const struct model *m, size_t layer, enum vector_kind kind, size_t rows)
{
    struct norm norm = norm_of(m, layer, kind);
    if (!norm.w)
        return x;
    norm_forward(y, stats, x, &norm, rows);
    return y;
}

/* The same again, from the statistics. */
static const float *normed_again(float *y, const float *stats, const float *x, const struct model *m, size_t layer, enum vector_kind kind,
                                 size_t rows)
{
    struct norm norm = norm_of(m, layer, kind);
    if (!norm.w)
        return x;
    norm_apply(y, x, &norm, stats, rows);
    return y;
}

/* out = residual + x W^T, which goes through a norm first where the family has one there: `before` is then what goes in. */
static void onto_residual(float *out, const float *residual, float *before, float *stats, const float *x, const struct model *m,
                          struct layer_state *s, const struct batch *b, size_t layer, const enum linear_kind *kind, enum vector_kind norm)
{
    if (!before) {
        linears(&out, residual, x, m, s, b, layer, kind, 1);
        return;
    }
    linears(&before, NULL, x, m, s, b, layer, kind, 1);
    struct norm n = norm_of(m, layer, norm);
    norm_forward(out, stats, before, &n, b->n_rows);
    for (size_t r = 0; r < b->n_rows; r++)
        kernel()->add(out + r * n.n, residual + r * n.n, n.n);
}

/* How many norms a row of queries or keys has: one a head, or one. */
static size_t norms_of(const struct norm *n, size_t heads, size_t head_dim)
{
    return heads * head_dim / n->n;
}

/* Queries, keys and values of x, normed and rotated. */
static void queries(struct workspace *w, const struct model *m, const struct batch *b, struct layer_state *s, const float *x, size_t l)
{
    const struct config *c = &m->config;
    const struct layer *layer = &m->layers[l];
    size_t rows = b->n_rows, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    struct norm norm_q = norm_of(m, l, NORM_Q), norm_k = norm_of(m, l, NORM_K);
    float *to_q = norm_q.w ? s->raw_q : s->q, *to_k = norm_k.w ? s->raw_k : s->k;
    if (family_joins_qkv(c->family)) {
        linears(&w->joined, NULL, x, m, s, b, l, of_attention, 1);
        split((const struct part[]){{to_q, q}, {to_k, kv}, {s->v, kv}}, 3, w->joined, rows);
    } else {
        linears((float *const[]){to_q, to_k, s->v}, NULL, x, m, s, b, l, of_attention, 3);
    }
    if (norm_q.w)
        norm_forward(s->q, s->norm_q, to_q, &norm_q, rows * norms_of(&norm_q, c->heads, c->head_dim));
    if (norm_k.w)
        norm_forward(s->k, s->norm_k, to_k, &norm_k, rows * norms_of(&norm_k, c->kv_heads, c->head_dim));
    if (layer->rope) {
        rope_rotate(layer->rope, s->q, b->pos, rows, c->heads, false);
        rope_rotate(layer->rope, s->k, b->pos, rows, c->kv_heads, false);
    }
}

/* A layer up to its gate and up projections: from s->in all of its state but ffn_out and t[LINEAR_DOWN].  The backward calls it
 * again where the state was not kept. */
static void layer_forward(struct workspace *w, const struct model *m, const struct batch *b, float *kv, struct layer_state *s,
                          size_t l)
{
    const struct config *c = &m->config;
    struct attention_shape shape = config_attention(c, l);
    size_t rows = b->n_rows;
    queries(w, m, b, s, normed(w->x, s->norm_in, s->in, m, l, NORM_ATTENTION, rows), l);
    fill_tiles(kv, &shape, b, s, l);
    attention_forward(s->attention, s->stats, s->q, kv, &shape, b->runs, b->n_runs);
    onto_residual(s->mid, s->in, s->attention_out, s->norm_attention_out, s->attention, m, s, b, l, to_attention, NORM_ATTENTION_OUT);

    const float *x = normed(w->x, s->norm_mid, s->mid, m, l, NORM_FFN, rows);
    if (family_joins_ffn(c->family)) {
        linears(&w->joined, NULL, x, m, s, b, l, of_ffn, 1);
        split((const struct part[]){{s->gate, c->ffn}, {s->up, c->ffn}}, 2, w->joined, rows);
    } else {
        linears((float *const[]){s->gate, s->up}, NULL, x, m, s, b, l, of_ffn, s->up ? 2 : 1);
    }
}

/* The rest of it, from that state: out = mid + down(act(gate) up) */
static void layer_output(float *out, struct workspace *w, const struct model *m, const struct batch *b, struct layer_state *s,
                         size_t l)
{
    activate(w->wide, s->gate, s->up, &m->config, b->n_rows);
    onto_residual(out, s->mid, s->ffn_out, s->norm_ffn_out, w->wide, m, s, b, l, to_ffn, NORM_FFN_OUT);
}

/* What goes into the first layer: each token's embedding, and its position's where these are learned. */
static void embed(float *x, const struct model *m, const struct batch *b, float *row)
{
    const struct kernel *k = kernel();
    const struct config *c = &m->config;
    for (size_t i = 0; i < b->n_rows; i++) {
        weight_row(&m->embed, (size_t)b->tokens[i], x + i * c->width);
        if (c->embed_scale != 1)
            k->scale(x + i * c->width, c->embed_scale, c->width);
        if (m->position.out) {
            weight_row(&m->position, (size_t)b->pos[i], row);
            k->add(x + i * c->width, row, c->width);
        }
    }
}

void trunk_forward(struct workspace *w, const struct net *net, const struct batch *batch, float *cache, size_t cache_tiles,
                   size_t from, size_t to)
{
    const struct model *m = net->model;
    const struct config *c = &m->config;
    struct adapter_rows own;
    const struct batch b = with_adapter(batch, net, &own);
    struct attention_shape shape = config_attention(c, 0);
    size_t layer_floats = cache_tiles * kv_tile_floats(&shape);
    if (from == 0)
        embed(w->layers[0].in, m, &b, w->x);
    for (size_t l = from; l < to; l++) {
        struct layer_state *s = &w->layers[l % w->n_layers], *next = &w->layers[(l + 1) % w->n_layers];
        layer_forward(w, m, &b, cache ? cache + l * layer_floats : w->kv, s, l);
        layer_output(l + 1 == c->layers ? w->last : next->in, w, m, &b, s, l);
    }
    struct norm last = model_last_norm(m);
    if (to == c->layers)
        norm_forward(w->h, w->norm, w->last, &last, b.n_rows);
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
        float *dbias = vector_gradient(g, net->model, layer, BIAS + kinds[k]);
        for (size_t r = 0; dbias && r < rows; r++) /* in the order of the rows (law 2) */
            kernel()->add(dbias, dys[k] + r * l[k].w->out, l[k].w->out);
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

/* What the layer's output projection gave gets the gradient w->dx, which is here taken back through its norm, into w->dy, where it has
 * one (x: what went in). */
static const float *back_from_residual(const struct gradients *g, struct workspace *w, const float *x, const float *stats, const struct model *m,
                                       size_t layer, enum vector_kind norm, size_t rows)
{
    if (!x)
        return w->dx;
    memset(w->dy, 0, rows * m->config.width * sizeof(float));
    norm_back(w->dy, g, w->dx, x, m, layer, norm, stats, rows);
    return w->dy;
}

/* w->dx += w->dy, back through the norm before it where there is one. */
static void back_to_residual(const struct gradients *g, struct workspace *w, const float *x, const float *stats, const struct model *m, size_t layer,
                             enum vector_kind norm, size_t rows)
{
    if (norm_of(m, layer, norm).w)
        norm_back(w->dx, g, w->dy, x, m, layer, norm, stats, rows);
    else
        kernel()->add(w->dx, w->dy, rows * m->config.width);
}

/* d, the gradient of normed queries or keys, back through their norm, in place. */
static void back_through_heads(float *d, const struct gradients *g, float *scratch, const float *raw, const float *stats, const struct model *m,
                               size_t layer, enum vector_kind kind, size_t heads, size_t rows)
{
    struct norm norm = norm_of(m, layer, kind);
    size_t n = rows * heads * m->config.head_dim;
    if (!norm.w)
        return;
    memset(scratch, 0, n * sizeof(float));
    norm_back(scratch, g, d, raw, m, layer, kind, stats, rows * norms_of(&norm, heads, m->config.head_dim));
    memcpy(d, scratch, n * sizeof(float));
}

/* A layer backwards: w->dx holds the gradient of its output, then of its input. */
static void layer_backward(struct gradients *g, struct workspace *w, const struct net *net, const struct batch *b,
                           const struct stem *own, const struct layer_state *s, size_t l)
{
    const struct model *m = net->model;
    const struct config *c = &m->config;
    const struct layer *layer = &m->layers[l];
    struct attention_shape shape = config_attention(c, l);
    size_t rows = b->n_rows, q_width = c->heads * c->head_dim, kv_width = c->kv_heads * c->head_dim;
    /* out = mid + down(act(gate) up) */
    const float *dout = back_from_residual(g, w, s->ffn_out, s->norm_ffn_out, m, l, NORM_FFN_OUT, rows);
    activate(w->wide, s->gate, s->up, c, rows);
    float *dh = w->wide2;
    linears_back(g, dh, &dout, w->wide, net, s, l, to_ffn, 1, rows);
    float *dgate = w->wide, *dup = dh; /* act(gate) up is not needed any more */
    activate_backward(dgate, dup, dh, s->gate, s->up, c, rows);
    const float *x = normed_again(w->x, s->norm_mid, s->mid, m, l, NORM_FFN, rows);
    if (family_joins_ffn(c->family)) {
        join(w->joined, (const struct part[]){{dgate, c->ffn}, {dup, c->ffn}}, 2, rows);
        linears_back(g, w->dy, (const float *const[]){w->joined}, x, net, s, l, of_ffn, 1, rows);
    } else {
        linears_back(g, w->dy, (const float *const[]){dgate, dup}, x, net, s, l, of_ffn, s->up ? 2 : 1, rows);
    }
    back_to_residual(g, w, s->mid, s->norm_mid, m, l, NORM_FFN, rows);
    /* mid = in + o(attention(q, k, v)) */
    dout = back_from_residual(g, w, s->attention_out, s->norm_attention_out, m, l, NORM_ATTENTION_OUT, rows);
    linears_back(g, w->x, &dout, s->attention, net, s, l, to_attention, 1, rows);
    fill_tiles(w->kv, &shape, b, s, l);
    struct kv_gradients past = {0};
    if (b->stem)
        past = stem_gradients(b->stem, l, kv_width);
    attention_backward(w->dq, w->dk, w->dv, &past, w->x, s->attention, s->stats, s->q, w->kv, &shape, b->runs, b->n_runs);
    if (own) { /* what the trees after it have asked of its keys and values */
        past = stem_gradients(own, l, kv_width);
        kernel()->add(w->dk, past.dk, rows * kv_width);
        kernel()->add(w->dv, past.dv, rows * kv_width);
    }
    if (layer->rope) {
        rope_rotate(layer->rope, w->dq, b->pos, rows, c->heads, true);
        rope_rotate(layer->rope, w->dk, b->pos, rows, c->kv_heads, true);
    }
    back_through_heads(w->dq, g, w->x, s->raw_q, s->norm_q, m, l, NORM_Q, c->heads, rows);
    back_through_heads(w->dk, g, w->x, s->raw_k, s->norm_k, m, l, NORM_K, c->kv_heads, rows);
    x = normed_again(w->x, s->norm_in, s->in, m, l, NORM_ATTENTION, rows);
    float *want = l > lowest_trained(g, net) || g->model ? w->dy : NULL;
    if (family_joins_qkv(c->family)) {
        join(w->joined, (const struct part[]){{w->dq, q_width}, {w->dk, kv_width}, {w->dv, kv_width}}, 3, rows);
        linears_back(g, want, (const float *const[]){w->joined}, x, net, s, l, of_attention, 1, rows);
    } else {
        linears_back(g, want, (const float *const[]){w->dq, w->dk, w->dv}, x, net, s, l, of_attention, 3, rows);
    }
    if (want)
        back_to_residual(g, w, s->in, s->norm_in, m, l, NORM_ATTENTION, rows);
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
     * the pad token is one that the text has (SmolLM2's is the end of turn).  So do we, to train alike.  GPT-2's has none. */
    for (size_t i = 0; g->embed && i < b.n_rows; i++)
        if (b.tokens[i] != c->pad || m->position.out)
            kernel()->axpy(g->embed + (size_t)b.tokens[i] * c->width, c->embed_scale, w->dx + i * c->width, c->width);
    for (size_t i = 0; g->model && m->position.out && i < b.n_rows; i++)
        kernel()->add(g->model + m->position_at + (size_t)b.pos[i] * c->width, w->dx + i * c->width, c->width);
}
