#include "checkpoint/merged.h"

#include <stdlib.h>
#include <string.h>

#include "util/mem.h"

/* W[row] + s B[row] A as floats. */
static void merged_row(float *to, const struct weight *w, const struct lora *lora, size_t row)
{
    const struct kernel *k = kernel();
    weight_row(w, row, to);
    for (size_t r = 0; lora->a && r < lora->rank; r++)
        k->axpy(to, lora->scale * lora->b[row * lora->rank + r], lora->a + r * w->in, w->in);
}

static void fill_rows(const void *user, size_t first, size_t n, float *to)
{
    const struct merged_tensor *t = user;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++) {
        size_t row = first + i, half = t->interleave / 2;
        if (half) { /* 2 p of a head is its pair's first, 2 p + 1 its second */
            size_t head = row / t->interleave, at = row % t->interleave;
            row = head * t->interleave + at / 2 + (at % 2) * half;
        }
        merged_row(to + i * t->weight->in, t->weight, &t->lora, row);
    }
}

static void fill_turned(const void *user, size_t first, size_t n, float *to)
{
    const struct merged_tensor *t = user;
    float *row = xmalloc(t->weight->in * sizeof *row);
    for (size_t o = 0; o < t->weight->out; o++) {
        merged_row(row, t->weight, &t->lora, o);
        for (size_t i = 0; i < n; i++)
            to[i * t->weight->out + o] = row[first + i];
    }
    free(row);
}

static void fill_vector(const void *user, size_t first, size_t n, float *to)
{
    const struct merged_tensor *t = user;
    (void)first;
    (void)n;
    for (size_t i = 0; i < t->rows.columns; i++)
        to[i] = t->vector[i] + t->plus;
}

static struct merged_tensor *add(struct merged *m, const char *pattern, size_t layer)
{
    ARRAY_GROW(m->list, m->n + 1, m->capacity);
    struct merged_tensor *t = &m->list[m->n++];
    *t = (struct merged_tensor){.name = family_tensor_name(pattern, layer)};
    return t;
}

static struct merged_tensor *add_matrix(struct merged *m, const char *pattern, size_t layer, const struct weight *w, bool turned)
{
    struct merged_tensor *t = add(m, pattern, layer);
    t->weight = w;
    t->n_dims = 2;
    t->shape[0] = turned ? w->in : w->out;
    t->shape[1] = turned ? w->out : w->in;
    t->rows = (struct float_rows){.rows = t->shape[0], .columns = t->shape[1], .fill = turned ? fill_turned : fill_rows};
    return t;
}

static void add_vector(struct merged *m, const char *pattern, size_t layer, const float *v, size_t n, float plus)
{
    struct merged_tensor *t = add(m, pattern, layer);
    t->vector = v;
    t->plus = plus;
    t->n_dims = 1;
    t->shape[0] = n;
    t->rows = (struct float_rows){.rows = 1, .columns = n, .fill = fill_vector};
}

static void add_layer(struct merged *m, const struct model *model, const struct adapter *adapter, size_t l, bool gguf)
{
    const struct config *c = &model->config;
    const struct family *f = c->family;
    const struct layer *layer = &model->layers[l];
    for (int k = 0; k < LINEAR_KINDS; k++) {
        const struct linear_row *row = &f->linear[k];
        if (!row->hf)
            continue;
        struct merged_tensor *t = add_matrix(m, gguf ? row->gguf : row->hf, l, &layer->linear[k], f->turned && !gguf);
        t->lora = adapter_lora(adapter, NULL, l, (enum linear_kind)k);
        t->interleave = gguf && row->rotary && (f->gguf_interleaved || !f->gguf) ? c->head_dim : 0;
    }
    for (size_t k = 0; k < VECTOR_KINDS; k++)
        if (f->vector[k].hf)
            add_vector(m, gguf ? f->vector[k].gguf : f->vector[k].hf, l, layer->vector[k], config_dimension(c, f->vector[k].n),
                       gguf && f->unit_norm && k <= NORM_K ? 1.0f : 0.0f);
}

/* A GGUF has Llama 3's scaling as numbers that plain frequencies are divided by, and longrope's as its two lists. */
static void add_rope_factors(struct merged *m, const struct config *c)
{
    size_t half = c->rotary_dim / 2;
    if (c->rope.scaling == ROPE_LONG) {
        add_vector(m, "rope_factors_short.weight", 0, c->rope.short_factor, half, 0);
        add_vector(m, "rope_factors_long.weight", 0, c->rope.long_factor, half, 0);
    }
    if (c->rope.scaling != ROPE_LLAMA3)
        return;
    float *scaled = xmalloc(half * sizeof *scaled), *plain = xmalloc(half * sizeof *plain);
    struct rotary r = c->rope;
    rotary_frequencies(&r, half, scaled);
    r.scaling = ROPE_PLAIN;
    rotary_frequencies(&r, half, plain);
    for (size_t i = 0; i < half; i++)
        plain[i] /= scaled[i];
    free(scaled);
    m->rope_factors = plain;
    add_vector(m, "rope_freqs.weight", 0, plain, half, 0);
}

void merged_init(struct merged *m, const struct model *model, const struct adapter *adapter, const struct head *head, bool gguf)
{
    const struct config *c = &model->config;
    const struct family *f = c->family;
    *m = (struct merged){0};
    add_matrix(m, gguf ? f->embed.gguf : f->embed.hf, 0, &model->embed, false);
    if (model->position.out)
        add_matrix(m, gguf ? f->position.gguf : f->position.hf, 0, &model->position, false);
    for (size_t l = 0; l < c->layers; l++)
        add_layer(m, model, adapter, l, gguf);
    add_vector(m, gguf ? f->norm.gguf : f->norm.hf, 0, model->norm, c->width, gguf && f->unit_norm ? 1.0f : 0.0f);
    if (model->shift)
        add_vector(m, gguf ? f->shift.gguf : f->shift.hf, 0, model->shift, c->width, 0);
    if (model->output.data != model->embed.data && !head)
        add_matrix(m, gguf ? f->output.gguf : f->output.hf, 0, &model->output, false);
    if (gguf)
        add_rope_factors(m, c);
    if (head) {
        add_vector(m, "score.weight", 0, head->params.data, c->width, 0);
        m->list[m->n - 1].n_dims = 2;
        m->list[m->n - 1].shape[0] = 1;
        m->list[m->n - 1].shape[1] = c->width;
    }
    for (size_t i = 0; i < m->n; i++) /* the list stays where it is from here on */
        m->list[i].rows.user = &m->list[i];
}

void merged_release(struct merged *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->list[i].name);
    free(m->list);
    free(m->rope_factors);
    *m = (struct merged){0};
}
