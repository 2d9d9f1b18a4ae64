#include "checkpoint/save_gguf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/gguf_out.h"
#include "checkpoint/merged.h"
#include "checkpoint/text_out.h"
#include "util/mem.h"

/* Mistral has no architecture of its own there. */
static const char *architecture(const struct family *f)
{
    return f->gguf ? f->gguf : "llama";
}

static int refuse(const struct model *m, struct err *err)
{
    const struct config *c = &m->config;
    const struct family *f = c->family;
    const char *what = NULL;
    float scale = 1.0f / sqrtf((float)c->head_dim);
    bool by_rule = true;
    for (size_t l = 0; l < c->layers; l++)
        by_rule = by_rule && c->layer[l] == config_layer_by_rule(c, l);
    if (m->odd_rope)
        what = "rotary factors that are of no known kind";
    else if (!by_rule)
        what = "which layers have a window or no rotation, where it is not the family's own rule";
    else if (c->window && f->window_layers == WINDOW_FROM_MAX_WINDOW_LAYERS)
        what = "a window of attention in this family";
    else if (fabsf(c->attention_scale - scale) > 1e-6f * scale)
        what = "a query_pre_attn_scalar other than the size of a head";
    else if (c->rope.scaling == ROPE_YARN && (c->rope.beta_fast != 32 || c->rope.beta_slow != 1 || !c->rope.truncate))
        what = "yarn with a beta_fast other than 32, a beta_slow other than 1, or truncate off";
    return what ? err_set(err, "'%s' cannot be a GGUF: the format has no place for %s; a Hugging Face folder has (--format hf)", m->path, what) : 0;
}

static void put_u32(struct gguf_out *g, const char *arch, const char *key, size_t value)
{
    char name[128];
    snprintf(name, sizeof name, "%s.%s", arch, key);
    gguf_out_u32(g, name, (uint32_t)value);
}

static void put_f32(struct gguf_out *g, const char *arch, const char *key, float value)
{
    char name[128];
    snprintf(name, sizeof name, "%s.%s", arch, key);
    gguf_out_f32(g, name, value);
}

static void put_rope(struct gguf_out *g, const char *a, const struct config *c)
{
    const struct rotary *r = &c->rope;
    char name[128];
    put_u32(g, a, "rope.dimension_count", c->rotary_dim);
    put_f32(g, a, "rope.freq_base", r->theta);
    if (c->family->local_theta > 0)
        put_f32(g, a, "rope.freq_base_swa", c->rope_local.theta);
    if (r->scaling == ROPE_LONG) { /* and two tensors */
        put_u32(g, a, "rope.scaling.original_context_length", (size_t)r->original_positions);
        put_f32(g, a, "rope.scaling.attn_factor", r->amplitude);
    }
    if (r->scaling != ROPE_LINEAR && r->scaling != ROPE_YARN)
        return; /* llama3's is a tensor; dynamic's are the plain frequencies */
    snprintf(name, sizeof name, "%s.rope.scaling.type", a);
    const char *type = rope_scaling_names[r->scaling];
    gguf_out_str(g, name, type, strlen(type));
    put_f32(g, a, "rope.scaling.factor", r->factor);
    if (r->scaling == ROPE_YARN) {
        put_u32(g, a, "rope.scaling.original_context_length", (size_t)r->original_positions);
        put_f32(g, a, "rope.scaling.attn_factor", r->amplitude / rotary_yarn_amplitude(r->factor));
    }
}

static void put_config(struct gguf_out *g, const struct config *c)
{
    const struct family *f = c->family;
    const char *a = architecture(f);
    /* llama.cpp's llama sees all positions: within the window these are the same */
    size_t positions = !f->gguf && c->window && c->window < c->positions ? c->window : c->positions;
    gguf_out_str(g, "general.architecture", a, strlen(a));
    put_u32(g, a, "context_length", positions);
    put_u32(g, a, "embedding_length", c->width);
    put_u32(g, a, "block_count", c->layers);
    put_u32(g, a, "feed_forward_length", c->ffn);
    put_u32(g, a, "attention.head_count", c->heads);
    put_u32(g, a, "attention.head_count_kv", c->kv_heads);
    put_u32(g, a, "attention.key_length", c->head_dim);
    put_u32(g, a, "attention.value_length", c->head_dim);
    put_u32(g, a, "vocab_size", c->vocab);
    put_f32(g, a, f->shift.gguf ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", c->norm_eps);
    if (!f->position.hf)
        put_rope(g, a, c);
    if (c->window && f->gguf)
        put_u32(g, a, "attention.sliding_window", c->window);
    if (c->attention_cap > 0)
        put_f32(g, a, "attn_logit_softcapping", c->attention_cap);
    if (c->final_cap > 0)
        put_f32(g, a, "final_logit_softcapping", c->final_cap);
}

int model_save_gguf(const struct model *m, const struct adapter *a, enum dtype type, const char *path, struct err *err)
{
    if (refuse(m, err))
        return -1;
    struct gguf_out g;
    struct merged all;
    gguf_out_init(&g);
    put_config(&g, &m->config);
    int rc = text_to_gguf(&g, m, err);
    if (rc == 0) {
        merged_init(&all, m, a, NULL, true);
        struct gguf_out_tensor *list = xcalloc(all.n, sizeof *list);
        for (size_t i = 0; i < all.n; i++) {
            const struct merged_tensor *t = &all.list[i];
            enum dtype own = t->n_dims == 1 ? DTYPE_F32 : t->rows.columns % dtype_table[type].block ? DTYPE_F16 : type;
            list[i] = (struct gguf_out_tensor){.name = t->name, .type = own, .n_dims = t->n_dims, .shape = {t->shape[0], t->shape[1]}, .rows = &t->rows};
        }
        rc = gguf_out_write(&g, path, list, all.n, err);
        free(list);
        merged_release(&all);
    }
    gguf_out_release(&g);
    return rc;
}
