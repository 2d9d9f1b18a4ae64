#include "ref/ref.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/mem.h"

static double *zeros(size_t n)
{
    return xcalloc(n, sizeof(double));
}

static double dot(const double *a, const double *b, size_t n)
{
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += a[i] * b[i];
    return s;
}

/* y += a x, where y is wanted */
static void add(double *y, double a, const double *x, size_t n)
{
    for (size_t i = 0; y && i < n; i++)
        y[i] += a * x[i];
}

/* p + n, or NULL for a gradient that is not wanted */
static double *at(double *p, size_t n)
{
    return p ? p + n : NULL;
}

/* ---- linear ---- */

void ref_linear_forward(double *y, const double *x, const double *w, size_t rows, size_t out,
                        size_t in)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t o = 0; o < out; o++)
            y[r * out + o] = dot(x + r * in, w + o * in, in);
}

void ref_linear_backward(double *dx, double *dw, const double *dy, const double *x, const double *w,
                         size_t rows, size_t out, size_t in)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t o = 0; o < out; o++) { /* y[r][o] = x[r] . w[o] */
            add(at(dx, r * in), dy[r * out + o], w + o * in, in);
            add(at(dw, o * in), dy[r * out + o], x + r * in, in);
        }
}

void ref_lora_forward(double *y, const double *x, const struct ref_lora *l, size_t rows)
{
    double *t = zeros(rows * l->rank), *z = zeros(rows * l->out);
    ref_linear_forward(t, x, l->a, rows, l->rank, l->in);
    ref_linear_forward(z, t, l->b, rows, l->out, l->rank);
    add(y, l->scale, z, rows * l->out);
    free(t);
    free(z);
}

void ref_lora_backward(double *dx, double *da, double *db, const double *dy, const double *x,
                       const struct ref_lora *l, size_t rows)
{
    double *t = zeros(rows * l->rank), *dt = zeros(rows * l->rank), *dz = zeros(rows * l->out);
    ref_linear_forward(t, x, l->a, rows, l->rank, l->in);
    add(dz, l->scale, dy, rows * l->out);                            /* y += scale z */
    ref_linear_backward(dt, db, dz, t, l->b, rows, l->out, l->rank); /* z = t b^T */
    ref_linear_backward(dx, da, dt, x, l->a, rows, l->rank, l->in);  /* t = x a^T */
    free(t);
    free(dt);
    free(dz);
}

/* ---- norm, rotary embedding, activation ---- */

void ref_rmsnorm_forward(double *y, const double *x, const double *w, double eps, size_t rows,
                         size_t n)
{
    for (size_t r = 0; r < rows; r++, x += n, y += n) {
        double s = 1 / sqrt(dot(x, x, n) / (double)n + eps);
        for (size_t i = 0; i < n; i++)
            y[i] = x[i] * s * w[i];
    }
}

void ref_rmsnorm_backward(double *dx, double *dw, const double *dy, const double *x,
                          const double *w, double eps, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++) {
        const double *xr = x + r * n, *dyr = dy + r * n;
        double s = 1 / sqrt(dot(xr, xr, n) / (double)n + eps), ds = 0;
        for (size_t i = 0; i < n; i++) { /* y[i] = x[i] s w[i] */
            ds += dyr[i] * xr[i] * w[i];
            if (dx)
                dx[r * n + i] += dyr[i] * s * w[i];
            if (dw)
                dw[i] += dyr[i] * xr[i] * s;
        }
        add(at(dx, r * n), -ds * s * s * s / (double)n, xr, n); /* s = (sum x^2 / n + eps)^(-1/2) */
    }
}

static size_t position(const int32_t *before, size_t row)
{
    size_t pos = 0;
    for (int32_t r = before[row]; r >= 0; r = before[r])
        pos++;
    return pos;
}

/* to += from rotated by sign times the angles */
static void rotate(double *to, const double *from, double sign, const int32_t *before,
                   const float *inv_freq, size_t rows, size_t heads, size_t half)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t h = 0; h < heads; h++)
            for (size_t i = 0; i < half; i++) {
                float angle = (float)position(before, r) * inv_freq[i];
                double c = cos((double)angle), s = sign * sin((double)angle);
                size_t j = (r * heads + h) * 2 * half + i, k = j + half;
                to[j] += from[j] * c - from[k] * s;
                to[k] += from[j] * s + from[k] * c;
            }
}

void ref_rope_forward(double *y, const double *x, const int32_t *before, const float *inv_freq,
                      size_t rows, size_t heads, size_t half)
{
    memset(y, 0, rows * heads * 2 * half * sizeof *y);
    rotate(y, x, 1, before, inv_freq, rows, heads, half);
}

void ref_rope_backward(double *dx, const double *dy, const int32_t *before, const float *inv_freq,
                       size_t rows, size_t heads, size_t half)
{
    rotate(dx, dy, -1, before, inv_freq, rows, heads,
           half); /* a rotation's transpose is its inverse */
}

void ref_swiglu_forward(double *h, const double *gate, const double *up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
}

void ref_swiglu_backward(double *dgate, double *dup, const double *dh, const double *gate,
                         const double *up, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double s = 1 / (1 + exp(-gate[i]));
        if (dgate) /* d(g s) / dg = s + g s (1 - s) */
            dgate[i] += dh[i] * up[i] * (s + gate[i] * s * (1 - s));
        if (dup)
            dup[i] += dh[i] * gate[i] * s;
    }
}

/* ---- attention ---- */

/* What one head of one row attends to: its rows (the nearest first), and the probability of
 * each. */
struct view {
    size_t n, *rows;
    double *p;
};

static void look(struct view *a, size_t row, size_t head, const double *q, const double *k,
                 const int32_t *before, const struct ref_heads *s)
{
    size_t d = s->head_dim, kv_head = head / (s->heads / s->kv_heads);
    double max = -INFINITY, sum = 0;
    a->n = 0;
    for (int32_t r = (int32_t)row; r >= 0; r = before[r]) {
        a->rows[a->n] = (size_t)r;
        a->p[a->n] =
            dot(q + (row * s->heads + head) * d, k + ((size_t)r * s->kv_heads + kv_head) * d, d) /
            sqrt((double)d);
        max = fmax(max, a->p[a->n++]);
    }
    for (size_t i = 0; i < a->n; i++)
        sum += a->p[i] = exp(a->p[i] - max);
    for (size_t i = 0; i < a->n; i++)
        a->p[i] /= sum;
}

void ref_attention_forward(double *out, const double *q, const double *k, const double *v,
                           const int32_t *before, size_t rows, const struct ref_heads *s)
{
    size_t d = s->head_dim;
    struct view a = {.rows = xcalloc(rows, sizeof *a.rows), .p = zeros(rows)};
    memset(out, 0, rows * s->heads * d * sizeof *out);
    for (size_t r = 0; r < rows; r++)
        for (size_t h = 0; h < s->heads; h++) {
            size_t kv_head = h / (s->heads / s->kv_heads);
            look(&a, r, h, q, k, before, s);
            for (size_t i = 0; i < a.n; i++)
                add(out + (r * s->heads + h) * d, a.p[i],
                    v + (a.rows[i] * s->kv_heads + kv_head) * d, d);
        }
    free(a.rows);
    free(a.p);
}

void ref_attention_backward(double *dq, double *dk, double *dv, const double *dout, const double *q,
                            const double *k, const double *v, const int32_t *before, size_t rows,
                            const struct ref_heads *s)
{
    size_t d = s->head_dim;
    struct view a = {.rows = xcalloc(rows, sizeof *a.rows), .p = zeros(rows)};
    double *dp = zeros(rows);
    for (size_t r = 0; r < rows; r++)
        for (size_t h = 0; h < s->heads; h++) {
            size_t kv_head = h / (s->heads / s->kv_heads), me = (r * s->heads + h) * d;
            double mean = 0;
            look(&a, r, h, q, k, before, s);
            for (size_t i = 0; i < a.n; i++) { /* out = sum of p[i] v[i] */
                size_t other = (a.rows[i] * s->kv_heads + kv_head) * d;
                dp[i] = dot(dout + me, v + other, d);
                mean += a.p[i] * dp[i];
                add(at(dv, other), a.p[i], dout + me, d);
            }
            for (size_t i = 0; i < a.n; i++) { /* p = softmax(q . k[i] / sqrt d) */
                size_t other = (a.rows[i] * s->kv_heads + kv_head) * d;
                double ds = a.p[i] * (dp[i] - mean) / sqrt((double)d);
                add(at(dq, me), ds, k + other, d);
                add(at(dk, other), ds, q + me, d);
            }
        }
    free(dp);
    free(a.rows);
    free(a.p);
}

/* ---- log-probs and scores ---- */

double ref_softmax(double *p, const double *h, const double *w, size_t vocab, size_t width,
                   double temperature)
{
    double max = -INFINITY, sum = 0;
    for (size_t v = 0; v < vocab; v++) {
        p[v] = dot(h, w + v * width, width) / temperature;
        max = fmax(max, p[v]);
    }
    for (size_t v = 0; v < vocab; v++)
        sum += p[v] = exp(p[v] - max);
    for (size_t v = 0; v < vocab; v++)
        p[v] /= sum;
    return max + log(sum);
}

void ref_logprob_forward(double *logp, const double *h, const struct ref_target *targets, size_t n,
                         const double *w, size_t vocab, size_t width, double temperature)
{
    double *p = zeros(vocab);
    for (size_t i = 0; i < n; i++) {
        const double *hr = h + targets[i].row * width, *wt = w + (size_t)targets[i].token * width;
        logp[i] =
            dot(hr, wt, width) / temperature - ref_softmax(p, hr, w, vocab, width, temperature);
    }
    free(p);
}

void ref_logprob_backward(double *dh, double *dw, const double *dlogp, const double *h,
                          const struct ref_target *targets, size_t n, const double *w, size_t vocab,
                          size_t width, double temperature)
{
    double *p = zeros(vocab);
    for (size_t i = 0; i < n; i++) {
        size_t row = targets[i].row * width;
        ref_softmax(p, h + row, w, vocab, width, temperature);
        for (size_t v = 0; v < vocab; v++) { /* d logp / d logit[v] = 1[v is the target] - p[v] */
            double dl = dlogp[i] * ((v == (size_t)targets[i].token) - p[v]) / temperature;
            add(at(dh, row), dl, w + v * width, width);
            add(at(dw, v * width), dl, h + row, width);
        }
    }
    free(p);
}

void ref_head_forward(double *score, const double *h, const double *w, size_t rows, size_t width)
{
    ref_linear_forward(score, h, w, rows, 1, width);
}

void ref_head_backward(double *dh, double *dw, const double *dscore, const double *h,
                       const double *w, size_t rows, size_t width)
{
    ref_linear_backward(dh, dw, dscore, h, w, rows, 1, width);
}

/* ---- the model ---- */

enum kind { Q, K, V, O, GATE, UP, DOWN, KINDS };

static const char *const kind_names[KINDS] = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};

struct ref_layer {
    struct {
        size_t out, in;
        struct ref_tensor *w, *a, *b;
    } linear[KINDS];
    struct ref_tensor *attention_norm, *ffn_norm;
    /* activations (rows, ..), of the last forward */
    double *in, *normed_in, *q, *k, *v, *attention, *mid, *normed_mid, *gate, *up, *act;
};

static struct ref_tensor *tensor(struct ref_model *m, const char *name, size_t rows, size_t cols)
{
    struct ref_tensor *t = &m->tensors[m->n_tensors++];
    snprintf(t->name, sizeof t->name, "%s", name);
    t->rows = rows;
    t->cols = cols;
    t->n = rows * cols;
    t->w = zeros(t->n);
    t->grad = zeros(t->n);
    return t;
}

void ref_model_init(struct ref_model *m, const struct ref_config *c)
{
    size_t q = c->heads.heads * c->heads.head_dim, kv = c->heads.kv_heads * c->heads.head_dim;
    const size_t shapes[KINDS][2] = {{q, c->width},     {kv, c->width},     {kv, c->width},
                                     {c->width, q},     {c->ffn, c->width}, {c->ffn, c->width},
                                     {c->width, c->ffn}};
    *m = (struct ref_model){.config = *c};
    m->layers = xcalloc(c->layers, sizeof *m->layers);
    m->tensors = xcalloc(c->layers * (2 + 3 * KINDS) + 4, sizeof *m->tensors);
    tensor(m, "model.embed_tokens.weight", c->vocab, c->width);
    for (size_t l = 0; l < c->layers; l++) {
        struct ref_layer *layer = &m->layers[l];
        char name[96];
        for (int k = 0; k < KINDS; k++) {
            size_t out = layer->linear[k].out = shapes[k][0],
                   in = layer->linear[k].in = shapes[k][1];
            snprintf(name, sizeof name, "model.layers.%zu.%s.weight", l, kind_names[k]);
            layer->linear[k].w = tensor(m, name, out, in);
            if (c->rank == 0)
                continue;
            snprintf(name, sizeof name, "base_model.model.model.layers.%zu.%s.lora_A.weight", l,
                     kind_names[k]);
            layer->linear[k].a = tensor(m, name, c->rank, in);
            snprintf(name, sizeof name, "base_model.model.model.layers.%zu.%s.lora_B.weight", l,
                     kind_names[k]);
            layer->linear[k].b = tensor(m, name, out, c->rank);
        }
        snprintf(name, sizeof name, "model.layers.%zu.input_layernorm.weight", l);
        layer->attention_norm = tensor(m, name, 1, c->width);
        snprintf(name, sizeof name, "model.layers.%zu.post_attention_layernorm.weight", l);
        layer->ffn_norm = tensor(m, name, 1, c->width);
    }
    tensor(m, "model.norm.weight", 1, c->width);
    if (!c->tied)
        tensor(m, "lm_head.weight", c->vocab, c->width);
    if (c->head)
        tensor(m, "score.weight", 1, c->width);
}

struct ref_tensor *ref_model_find(const struct ref_model *m, const char *name)
{
    for (size_t i = 0; i < m->n_tensors; i++)
        if (!strcmp(m->tensors[i].name, name))
            return &m->tensors[i];
    return NULL;
}

static struct ref_tensor *output_of(const struct ref_model *m)
{
    return ref_model_find(m, m->config.tied ? "model.embed_tokens.weight" : "lm_head.weight");
}

static void drop_activations(struct ref_model *m)
{
    for (size_t l = 0; l < m->config.layers; l++) {
        struct ref_layer *s = &m->layers[l];
        double **all[] = {&s->in,  &s->normed_in,  &s->q,    &s->k,  &s->v,  &s->attention,
                          &s->mid, &s->normed_mid, &s->gate, &s->up, &s->act};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            free(*all[i]);
            *all[i] = NULL;
        }
    }
    free(m->last);
    free(m->h);
    m->last = m->h = NULL;
}

void ref_model_release(struct ref_model *m)
{
    drop_activations(m);
    for (size_t i = 0; i < m->n_tensors; i++) {
        free(m->tensors[i].w);
        free(m->tensors[i].grad);
    }
    free(m->tensors);
    free(m->layers);
    *m = (struct ref_model){0};
}

static struct ref_lora lora_of(const struct ref_model *m, const struct ref_layer *layer,
                               enum kind k)
{
    return (struct ref_lora){layer->linear[k].out, layer->linear[k].in,   m->config.rank,
                             m->config.lora_scale, layer->linear[k].a->w, layer->linear[k].b->w};
}

/* A fresh (rows, out). */
static double *linear(const struct ref_model *m, const struct ref_layer *layer, enum kind k,
                      const double *x, size_t rows)
{
    size_t out = layer->linear[k].out;
    double *y = zeros(rows * out);
    ref_linear_forward(y, x, layer->linear[k].w->w, rows, out, layer->linear[k].in);
    if (layer->linear[k].a) {
        struct ref_lora lora = lora_of(m, layer, k);
        ref_lora_forward(y, x, &lora, rows);
    }
    return y;
}

static void linear_back(const struct ref_model *m, const struct ref_layer *layer, enum kind k,
                        double *dx, const double *dy, const double *x, size_t rows)
{
    struct ref_tensor *w = layer->linear[k].w;
    ref_linear_backward(dx, w->grad, dy, x, w->w, rows, layer->linear[k].out, layer->linear[k].in);
    if (layer->linear[k].a) {
        struct ref_lora lora = lora_of(m, layer, k);
        ref_lora_backward(dx, layer->linear[k].a->grad, layer->linear[k].b->grad, dy, x, &lora,
                          rows);
    }
}

static double *norm(const struct ref_model *m, const struct ref_tensor *w, const double *x,
                    size_t rows)
{
    double *y = zeros(rows * m->config.width);
    ref_rmsnorm_forward(y, x, w->w, m->config.norm_eps, rows, m->config.width);
    return y;
}

/* x rotated, in x's place */
static double *rope(const struct ref_model *m, double *x, const struct ref_batch *b, size_t heads)
{
    size_t d = m->config.heads.head_dim;
    double *y = zeros(b->rows * heads * d);
    ref_rope_forward(y, x, b->before, m->config.inv_freq, b->rows, heads, d / 2);
    free(x);
    return y;
}

static double *rope_back(const struct ref_model *m, double *dy, const struct ref_batch *b,
                         size_t heads)
{
    size_t d = m->config.heads.head_dim;
    double *dx = zeros(b->rows * heads * d);
    ref_rope_backward(dx, dy, b->before, m->config.inv_freq, b->rows, heads, d / 2);
    free(dy);
    return dx;
}

static double *sum(const double *x, double *y, size_t n)
{
    add(y, 1, x, n);
    return y;
}

void ref_model_forward(struct ref_model *m, const struct ref_batch *b, double *logp, double *scores)
{
    const struct ref_config *c = &m->config;
    size_t rows = b->rows, n = rows * c->width;
    drop_activations(m);
    double *x = zeros(n);
    for (size_t r = 0; r < rows; r++)
        add(x + r * c->width, 1,
            ref_model_find(m, "model.embed_tokens.weight")->w + (size_t)b->tokens[r] * c->width,
            c->width);
    for (size_t l = 0; l < c->layers; l++) {
        struct ref_layer *s = &m->layers[l];
        s->in = x;
        s->normed_in = norm(m, s->attention_norm, s->in, rows);
        s->q = rope(m, linear(m, s, Q, s->normed_in, rows), b, c->heads.heads);
        s->k = rope(m, linear(m, s, K, s->normed_in, rows), b, c->heads.kv_heads);
        s->v = linear(m, s, V, s->normed_in, rows);
        s->attention = zeros(rows * c->heads.heads * c->heads.head_dim);
        ref_attention_forward(s->attention, s->q, s->k, s->v, b->before, rows, &c->heads);
        s->mid = sum(s->in, linear(m, s, O, s->attention, rows), n);
        s->normed_mid = norm(m, s->ffn_norm, s->mid, rows);
        s->gate = linear(m, s, GATE, s->normed_mid, rows);
        s->up = linear(m, s, UP, s->normed_mid, rows);
        s->act = zeros(rows * c->ffn);
        ref_swiglu_forward(s->act, s->gate, s->up, rows * c->ffn);
        x = sum(s->mid, linear(m, s, DOWN, s->act, rows), n);
    }
    m->last = x;
    m->h = norm(m, ref_model_find(m, "model.norm.weight"), x, rows);
    ref_logprob_forward(logp, m->h, b->targets, b->n_targets, output_of(m)->w, c->vocab, c->width,
                        b->temperature);
    for (size_t i = 0; i < b->n_scores; i++)
        ref_head_forward(&scores[i], m->h + b->score_rows[i] * c->width,
                         ref_model_find(m, "score.weight")->w, 1, c->width);
}

static void layer_back(struct ref_model *m, const struct ref_batch *b, struct ref_layer *s,
                       double *dx)
{
    const struct ref_config *c = &m->config;
    size_t rows = b->rows, n = rows * c->width, q = c->heads.heads * c->heads.head_dim;
    size_t kv = c->heads.kv_heads * c->heads.head_dim;
    /* out = mid + down(swiglu(gate(norm(mid)), up(norm(mid)))): dx is the gradient of out, then
     * of mid */
    double *dact = zeros(rows * c->ffn), *dgate = zeros(rows * c->ffn), *dup = zeros(rows * c->ffn),
           *dnormed = zeros(n);
    linear_back(m, s, DOWN, dact, dx, s->act, rows);
    ref_swiglu_backward(dgate, dup, dact, s->gate, s->up, rows * c->ffn);
    linear_back(m, s, GATE, dnormed, dgate, s->normed_mid, rows);
    linear_back(m, s, UP, dnormed, dup, s->normed_mid, rows);
    ref_rmsnorm_backward(dx, s->ffn_norm->grad, dnormed, s->mid, s->ffn_norm->w, c->norm_eps, rows,
                         c->width);
    free(dact);
    free(dgate);
    free(dup);
    free(dnormed);
    /* mid = in + o(attention(rope(q), rope(k), v)), q = q(norm(in)) ..: dx is the gradient of
     * mid, then of in */
    double *dattention = zeros(rows * q), *dq = zeros(rows * q), *dk = zeros(rows * kv),
           *dv = zeros(rows * kv);
    dnormed = zeros(n);
    linear_back(m, s, O, dattention, dx, s->attention, rows);
    ref_attention_backward(dq, dk, dv, dattention, s->q, s->k, s->v, b->before, rows, &c->heads);
    dq = rope_back(m, dq, b, c->heads.heads);
    dk = rope_back(m, dk, b, c->heads.kv_heads);
    linear_back(m, s, Q, dnormed, dq, s->normed_in, rows);
    linear_back(m, s, K, dnormed, dk, s->normed_in, rows);
    linear_back(m, s, V, dnormed, dv, s->normed_in, rows);
    ref_rmsnorm_backward(dx, s->attention_norm->grad, dnormed, s->in, s->attention_norm->w,
                         c->norm_eps, rows, c->width);
    free(dattention);
    free(dq);
    free(dk);
    free(dv);
    free(dnormed);
}

void ref_model_backward(struct ref_model *m, const struct ref_batch *b, const double *dlogp,
                        const double *dscores)
{
    const struct ref_config *c = &m->config;
    struct ref_tensor *embed = ref_model_find(m, "model.embed_tokens.weight"),
                      *last_norm = ref_model_find(m, "model.norm.weight");
    struct ref_tensor *output = output_of(m), *score = ref_model_find(m, "score.weight");
    double *dh = zeros(b->rows * c->width), *dx = zeros(b->rows * c->width);
    ref_logprob_backward(dh, output->grad, dlogp, m->h, b->targets, b->n_targets, output->w,
                         c->vocab, c->width, b->temperature);
    for (size_t i = 0; i < b->n_scores; i++) {
        size_t row = b->score_rows[i] * c->width;
        ref_head_backward(dh + row, score->grad, &dscores[i], m->h + row, score->w, 1, c->width);
    }
    ref_rmsnorm_backward(dx, last_norm->grad, dh, m->last, last_norm->w, c->norm_eps, b->rows,
                         c->width);
    for (size_t l = c->layers; l-- > 0;)
        layer_back(m, b, &m->layers[l], dx);
    for (size_t r = 0; r < b->rows; r++)
        add(embed->grad + (size_t)b->tokens[r] * c->width, 1, dx + r * c->width, c->width);
    free(dh);
    free(dx);
}
