#include "model/adapter.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/rng.h"

/* PEFT's name of a tensor: base_model.model. + the linear layer's name + lora_A.weight. */
static char *peft_name(const struct linear_row *row, size_t layer, const char *side)
{
    const char *at = strstr(row->hf, "%zu"), *end = strstr(row->hf, ".weight");
    return xasprintf("base_model.model.%.*s%zu%.*s.lora_%s.weight", (int)(at - row->hf), row->hf, layer,
                     (int)(end - at - 3), at + 3, side);
}

/* Lay out the tensors of `targets` (a bit a kind) from layer `first` on. */
static int lay_out(struct adapter *a, const struct config *c, size_t rank, float alpha, uint32_t targets, size_t first,
                   struct err *err)
{
    *a = (struct adapter){.rank = rank, .alpha = alpha, .layers = c->layers, .first_layer = first, .config = c};
    size_t n = c->layers * LINEAR_KINDS;
    a->a_at = xmalloc(n * sizeof *a->a_at);
    a->b_at = xmalloc(n * sizeof *a->b_at);
    for (size_t l = 0; l < c->layers; l++)
        for (int k = 0; k < LINEAR_KINDS; k++) {
            size_t i = l * LINEAR_KINDS + (size_t)k;
            a->a_at[i] = a->b_at[i] = SIZE_MAX;
            const struct linear_row *row = &c->family->linear[k];
            if (l < first || !(targets >> k & 1) || !row->hf)
                continue;
            char *na = peft_name(row, l, "A"), *nb = peft_name(row, l, "B");
            a->a_at[i] = params_add(&a->params, na, rank, config_dimension(c, row->in), 2, true);
            a->b_at[i] = params_add(&a->params, nb, config_dimension(c, row->out), rank, 2, true);
            free(na);
            free(nb);
        }
    return params_allocate(&a->params, "an adapter", err);
}

int adapter_init(struct adapter *a, const struct model *m, const struct adapter_options *o, struct err *err)
{
    uint32_t all = (1u << LINEAR_KINDS) - 1;
    if (lay_out(a, &m->config, o->rank, o->alpha, o->targets ? o->targets : all, o->first_layer, err)) {
        adapter_release(a);
        return -1;
    }
    /* a layer's numbers do not depend on how many layers below it are adapted */
    size_t below = 2 * o->first_layer * (a->params.n_list / 2 / (a->layers - o->first_layer));
    for (size_t i = 0; i < a->params.n_list; i += 2) {
        const struct param *p = &a->params.list[i];
        float bound = 1.0f / sqrtf((float)p->shape[1]);
        for (size_t j = 0; j < p->n; j++)
            a->params.data[p->offset + j] =
                bound * (2.0f * (float)rng_uniform(o->seed, RNG_INIT, (uint32_t)(below + i), (uint32_t)j, 0, 0) - 1.0f);
    }
    return 0;
}

void adapter_release(struct adapter *a)
{
    free(a->a_at);
    free(a->b_at);
    params_release(&a->params);
    *a = (struct adapter){0};
}

uint32_t adapter_targets(const struct adapter *a)
{
    uint32_t targets = 0;
    for (int k = 0; k < LINEAR_KINDS; k++)
        if (a->a_at[(a->layers - 1) * LINEAR_KINDS + (size_t)k] != SIZE_MAX)
            targets |= 1u << k;
    return targets;
}

int adapter_copy(struct adapter *to, const struct adapter *from, struct err *err)
{
    if (lay_out(to, from->config, from->rank, from->alpha, adapter_targets(from), from->first_layer, err)) {
        adapter_release(to);
        return -1;
    }
    memcpy(to->params.data, from->params.data, from->params.n * sizeof(float));
    return 0;
}

int adapter_average(struct adapter *to, const struct adapter *const *list, size_t n, struct err *err)
{
    size_t rank = 0, first = list[0]->first_layer, at = 0;
    uint32_t targets = 0;
    for (size_t i = 0; i < n; i++) {
        ENSURE(list[i]->config == list[0]->config);
        rank += list[i]->rank;
        targets |= adapter_targets(list[i]);
        first = list[i]->first_layer < first ? list[i]->first_layer : first;
    }
    if (lay_out(to, list[0]->config, rank, (float)rank, targets, first, err)) {
        adapter_release(to);
        return -1;
    }
    for (size_t i = 0; i < n; at += list[i++]->rank)
        for (size_t l = first; l < to->layers; l++)
            for (int k = 0; k < LINEAR_KINDS; k++) {
                struct lora own = adapter_lora(list[i], NULL, l, (enum linear_kind)k), all = adapter_lora(to, NULL, l, (enum linear_kind)k);
                if (!own.a)
                    continue;
                float *a = to->params.data + to->a_at[l * LINEAR_KINDS + (size_t)k];
                float *b = to->params.data + to->b_at[l * LINEAR_KINDS + (size_t)k];
                memcpy(a + at * own.in, own.a, own.rank * own.in * sizeof *a);
                for (size_t o = 0; o < own.out; o++)
                    for (size_t r = 0; r < own.rank; r++)
                        b[o * all.rank + at + r] = own.scale / (float)n * own.b[o * own.rank + r];
            }
    return 0;
}

struct lora adapter_lora(const struct adapter *a, float *grads, size_t layer, enum linear_kind kind)
{
    size_t i = layer * LINEAR_KINDS + (size_t)kind;
    if (!a || a->a_at[i] == SIZE_MAX)
        return (struct lora){0};
    const struct linear_row *row = &a->config->family->linear[kind];
    return (struct lora){.a = a->params.data + a->a_at[i],
                         .b = a->params.data + a->b_at[i],
                         .da = grads ? grads + a->a_at[i] : NULL,
                         .db = grads ? grads + a->b_at[i] : NULL,
                         .in = config_dimension(a->config, row->in),
                         .out = config_dimension(a->config, row->out),
                         .rank = a->rank,
                         .scale = a->alpha / (float)a->rank};
}

/* The layer in a tensor's name ("..layers.7.self_attn..", or GPT-2's "..h.7.attn.."), or SIZE_MAX. */
static size_t layer_of(const char *name)
{
    const char *at = strstr(name, ".layers.");
    at = at ? at + strlen(".layers.") : strstr(name, ".h.");
    at = at && *at == '.' ? at + strlen(".h.") : at;
    size_t layer;
    return at && sscanf(at, "%zu.", &layer) == 1 ? layer : SIZE_MAX;
}

/* Which linear layers the file adapts, and from which layer on; -1 and a sentence for a tensor that is none of ours. */
static int find_targets(uint32_t *targets, size_t *first, const struct tensor_file *f, const struct config *c, struct err *err)
{
    *targets = 0;
    *first = c->layers - 1;
    for (size_t i = 0; i < f->n; i++) {
        const char *name = f->tensors[i].name;
        if (strstr(name, "score"))
            continue;
        bool known = false;
        for (int k = 0; k < LINEAR_KINDS; k++) {
            if (!c->family->linear[k].hf)
                continue;
            char *part = xasprintf(".%s.lora_", c->family->linear[k].peft);
            if (strstr(name, part)) {
                *targets |= 1u << k;
                known = true;
            }
            free(part);
        }
        if (!known)
            return err_set(err, "'%s': tensor '%s' is no LoRA tensor of a layer that is adapted here", f->path, name);
        if (layer_of(name) < *first)
            *first = layer_of(name);
    }
    return 0;
}

static int read_tensors(struct adapter *a, const struct tensor_file *f, struct err *err)
{
    for (size_t i = 0; i < a->params.n_list; i++) {
        const struct param *p = &a->params.list[i];
        const struct tensor *t = tensor_need(f, p->name, err);
        if (!t)
            return -1;
        if (t->n_dims != 2 || t->shape[0] != p->shape[0] || t->shape[1] != p->shape[1])
            return err_set(err, "'%s': tensor '%s' has the shape (%zu, %zu) where model and rank ask for (%zu, %zu): "
                                "the adapter belongs to another model",
                           f->path, p->name, t->shape[0], t->shape[1], p->shape[0], p->shape[1]);
        tensor_unpack(a->params.data + p->offset, t);
    }
    const struct param *bad = params_not_finite(&a->params, a->params.data);
    if (bad)
        return err_set(err, "'%s': tensor '%s' holds a number that is not finite", f->path, bad->name);
    return 0;
}

int adapter_open(struct adapter *a, const struct model *m, const char *folder, struct err *err)
{
    *a = (struct adapter){0};
    char *config = path_join(folder, "adapter_config.json"), *weights = path_join(folder, "adapter_model.safetensors");
    struct buf text;
    buf_init(&text, 1 << 20);
    struct tensor_file f = {0};
    json_t *o = NULL;
    int rc = file_read(config, &text, err);
    if (rc == 0) {
        json_error_t why;
        o = json_loadb(text.data, text.len, 0, &why);
        if (!json_is_object(o))
            rc = err_set(err, "'%s' line %d: not a JSON object: %s", config, why.line, why.text);
    }
    json_int_t rank = json_integer_value(json_object_get(o, "r"));
    double alpha = json_number_value(json_object_get(o, "lora_alpha"));
    if (rc == 0 && (rank < 1 || rank > 4096 || !(alpha > 0)))
        rc = err_set(err, "'%s': 'r' and 'lora_alpha' must be positive numbers", config);
    if (rc == 0 && (json_is_true(json_object_get(o, "use_dora")) || json_is_true(json_object_get(o, "use_rslora"))))
        rc = err_set(err, "'%s': DoRA and rank-stabilised LoRA are not supported yet", config);
    if (rc == 0 && (json_object_size(json_object_get(o, "rank_pattern")) || json_object_size(json_object_get(o, "alpha_pattern"))))
        rc = err_set(err, "'%s': rank_pattern and alpha_pattern are not supported yet", config);
    uint32_t targets;
    size_t first;
    if (rc == 0)
        rc = safetensors_open(&f, weights, err);
    if (rc == 0)
        rc = find_targets(&targets, &first, &f, &m->config, err);
    json_t *layers = json_object_get(o, "layers_to_transform");
    if (rc == 0 && !json_is_array(layers) && !json_is_integer(layers))
        first = 0; /* all must be there */
    if (rc == 0)
        rc = lay_out(a, &m->config, (size_t)rank, (float)alpha, targets, first, err);
    if (rc == 0)
        rc = read_tensors(a, &f, err);
    if (rc)
        adapter_release(a);
    tensor_file_release(&f);
    json_decref(o);
    buf_release(&text);
    free(config);
    free(weights);
    return rc;
}

int head_init(struct head *h, size_t width, struct err *err)
{
    *h = (struct head){.width = width};
    params_add(&h->params, "score.weight", 1, width, 2, true);
    return params_allocate(&h->params, "a head", err);
}

int head_copy(struct head *to, const struct head *from, struct err *err)
{
    if (head_init(to, from->width, err))
        return -1;
    memcpy(to->params.data, from->params.data, from->width * sizeof(float));
    to->bias = from->bias;
    return 0;
}

void head_scale(struct head *h, double scale, double bias)
{
    for (size_t i = 0; i < h->params.n; i++)
        h->params.data[i] = (float)(scale * (double)h->params.data[i]);
    for (size_t i = 0; i < STYLES; i++)
        h->style[i] *= scale;
    h->bias = (float)bias;
}

void head_release(struct head *h)
{
    params_release(&h->params);
    *h = (struct head){0};
}
