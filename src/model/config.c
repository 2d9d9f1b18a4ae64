#include "model/config.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "util/file.h"
#include "util/mem.h"

bool config_same_shape(const struct config *a, const struct config *b)
{
    return a->family == b->family && a->vocab == b->vocab && a->width == b->width && a->layers == b->layers &&
           a->heads == b->heads && a->kv_heads == b->kv_heads && a->head_dim == b->head_dim && a->ffn == b->ffn;
}

size_t config_dimension(const struct config *c, enum dimension d)
{
    switch (d) {
    case DIM_VOCAB:
        return c->vocab;
    case DIM_WIDTH:
        return c->width;
    case DIM_HEAD:
        return c->head_dim;
    case DIM_Q:
        return c->heads * c->head_dim;
    case DIM_KV:
        return c->kv_heads * c->head_dim;
    case DIM_QKV:
        return (c->heads + 2 * c->kv_heads) * c->head_dim;
    case DIM_FFN:
        return c->ffn;
    case DIM_GATE_UP:
        return 2 * c->ffn;
    case DIM_POSITIONS:
        return c->positions;
    case DIM_NONE:
        break;
    }
    return 1;
}

static int check_rotary(const struct rotary *r, size_t half, const char *path, struct err *err)
{
    const float numbers[] = {r->theta, r->factor, r->original_positions, r->low_freq_factor, r->high_freq_factor, r->beta_fast,
                             r->beta_slow, r->amplitude};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!(numbers[i] > 0) || !isfinite(numbers[i]))
            return err_set(err, "'%s': the rotary base or a number of its scaling is not a positive number", path);
    for (size_t i = 0; r->scaling == ROPE_LONG && i < half; i++)
        if (!(r->short_factor[i] > 0) || !isfinite(r->short_factor[i]) || !(r->long_factor[i] > 0) || !isfinite(r->long_factor[i]))
            return err_set(err, "'%s': a factor of longrope is not a positive number", path);
    return 0;
}

static int check(const struct config *c, const char *path, struct err *err)
{
    const struct {
        const char *name;
        size_t value, limit;
    } sizes[] = {
        {"vocabulary", c->vocab, 1 << 22},  {"hidden size", c->width, 1 << 16},
        {"layers", c->layers, CONFIG_MAX_LAYERS}, {"attention heads", c->heads, 1 << 10},
        {"head size", c->head_dim, 1 << 10}, {"key-value heads", c->kv_heads, 1 << 10},
        {"intermediate size", c->ffn, 1 << 20}, {"positions", c->positions, 1 << 24},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value == 0 || sizes[i].value > sizes[i].limit)
            return err_set(err, "'%s': the number of %s is %zu, which no model has: the file is broken or not a model",
                           path, sizes[i].name, sizes[i].value);
    if (c->heads % c->kv_heads)
        return err_set(err, "'%s': %zu attention heads cannot share %zu key-value heads", path, c->heads, c->kv_heads);
    if (!c->family->position.hf && (c->rotary_dim % 2 || c->rotary_dim > c->head_dim || c->rotary_dim == 0))
        return err_set(err, "'%s': %zu rotated numbers of a head of %zu are no pairs of them", path, c->rotary_dim, c->head_dim);
    if (!(c->norm_eps > 0) || !(c->attention_scale > 0) || !isfinite(c->attention_scale))
        return err_set(err, "'%s': the norm's epsilon or the scale of attention is not a positive number", path);
    if (!(c->attention_cap >= 0) || !(c->final_cap >= 0) || !isfinite(c->attention_cap + c->final_cap))
        return err_set(err, "'%s': a cap of logits is not a positive number", path);
    return check_rotary(&c->rope, c->rotary_dim / 2, path, err) || check_rotary(&c->rope_local, c->rotary_dim / 2, path, err) ? -1 : 0;
}

static size_t whole(const json_t *o, const char *key, size_t otherwise)
{
    const json_t *v = json_object_get(o, key);
    return json_is_integer(v) && json_integer_value(v) >= 0 ? (size_t)json_integer_value(v) : otherwise;
}

static float real(const json_t *o, const char *key, float otherwise)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? (float)json_number_value(v) : otherwise;
}

/* A token id, or the first of a list of them. */
static int token_id(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (json_is_array(v))
        v = json_array_get(v, 0);
    return json_is_integer(v) ? (int)json_integer_value(v) : -1;
}

/* The first of two names that is there. */
static size_t either(const json_t *o, const char *key, const char *other, size_t otherwise)
{
    return whole(o, key, whole(o, other, otherwise));
}

static const struct rotary plain_rotary = {.theta = 10000.0f, .factor = 1, .original_positions = 8192, .low_freq_factor = 1,
                                           .high_freq_factor = 4, .beta_fast = 32, .beta_slow = 1, .truncate = true, .amplitude = 1};

/* One of longrope's lists, a number a pair. */
static int read_factors(float *to, const json_t *p, const char *key, size_t half, const char *path, struct err *err)
{
    const json_t *list = json_object_get(p, key);
    if (half > ROTARY_MOST_FACTORS)
        return err_set(err, "'%s': longrope with %zu pairs a head is not supported: %d are", path, half, ROTARY_MOST_FACTORS);
    if (json_array_size(list) != half)
        return err_set(err, "'%s': longrope's %s has %zu numbers for the %zu pairs of a head", path, key, json_array_size(list), half);
    for (size_t i = 0; i < half; i++)
        to[i] = (float)json_number_value(json_array_get(list, i));
    return 0;
}

/* o: the whole config, which may hold what p leaves out. */
static int read_long(struct rotary *r, const json_t *p, const json_t *o, const struct config *c, const char *path, struct err *err)
{
    r->original_positions = real(o, "original_max_position_embeddings", real(p, "original_max_position_embeddings", 0)); /* in this order, as transformers */
    if (!json_is_number(json_object_get(p, "factor")))
        r->factor = (float)c->positions / r->original_positions;
    r->amplitude = real(p, "attention_factor", rotary_long_amplitude(r->factor, r->original_positions));
    return read_factors(r->short_factor, p, "short_factor", c->rotary_dim / 2, path, err) ||
                   read_factors(r->long_factor, p, "long_factor", c->rotary_dim / 2, path, err)
               ? -1 : 0;
}

/* p: rope_parameters of the whole config o, which transformers 5 writes, or older folders' rope_scaling beside theta; may be NULL. */
static int read_rotary(struct rotary *r, const json_t *p, float theta, const json_t *o, const struct config *c, const char *path,
                       struct err *err)
{
    *r = plain_rotary;
    r->theta = real(p, "rope_theta", theta);
    const char *type = json_string_value(json_object_get(p, "rope_type"));
    if (!type)
        type = json_string_value(json_object_get(p, "type"));
    if (!type)
        return 0;
    if (!strcmp(type, "su")) /* its first name */
        type = rope_scaling_names[ROPE_LONG];
    int scaling = ROPE_SCALINGS - 1;
    while (scaling >= 0 && strcmp(type, rope_scaling_names[scaling]))
        scaling--;
    if (scaling < 0)
        return err_set(err, "'%s': rotary scaling '%s' is not supported yet (default, linear, dynamic, llama3, yarn and longrope are)", path, type);
    r->scaling = (enum rope_scaling)scaling;
    r->factor = real(p, "factor", 1);
    r->low_freq_factor = real(p, "low_freq_factor", 1);
    r->high_freq_factor = real(p, "high_freq_factor", 4);
    r->original_positions = real(p, "original_max_position_embeddings", r->scaling == ROPE_YARN ? (float)c->positions : 8192.0f);
    if (r->scaling == ROPE_LONG)
        return read_long(r, p, o, c, path, err);
    if (r->scaling != ROPE_YARN)
        return 0;
    r->beta_fast = real(p, "beta_fast", 32);
    r->beta_slow = real(p, "beta_slow", 1);
    r->truncate = !json_is_false(json_object_get(p, "truncate"));
    if (!json_is_number(json_object_get(p, "factor")))
        r->factor = (float)c->positions / r->original_positions;
    float mscale = real(p, "mscale", 0), all = real(p, "mscale_all_dim", 0), grown = rotary_yarn_amplitude(r->factor) - 1;
    r->amplitude = real(p, "attention_factor", mscale != 0 && all != 0 ? (1 + mscale * grown) / (1 + all * grown) : 1 + grown);
    return 0;
}

static int read_rope(struct config *c, const json_t *o, const char *path, struct err *err)
{
    const json_t *p = json_object_get(o, "rope_parameters"), *scaling = json_object_get(o, "rope_scaling");
    const json_t *local = json_object_get(p, "sliding_attention"), *all = json_object_get(p, "full_attention");
    if (json_is_object(all))
        p = all;
    else if (!json_is_object(p))
        p = json_is_object(scaling) ? scaling : NULL;
    float partial = real(p, "partial_rotary_factor", c->family->partial_rotary ? real(o, "partial_rotary_factor", 1) : 1);
    if (partial != 1 && !c->family->partial_rotary)
        return err_set(err, "'%s': a partial_rotary_factor other than 1 is not supported in this family", path);
    c->rotary_dim = partial > 0 && partial <= 1 ? (size_t)((float)c->head_dim * partial) : 0;
    if (read_rotary(&c->rope, p, real(o, "rope_theta", 10000), o, c, path, err))
        return -1;
    c->rope_local = c->rope;
    float theta = real(o, "rope_local_base_freq", c->family->local_theta);
    return theta > 0 ? read_rotary(&c->rope_local, local, theta, o, c, path, err) : 0;
}

static uint8_t flags_of(const struct config *c, bool local, bool still)
{
    return (uint8_t)((local && c->window ? LAYER_LOCAL : 0) | (still || c->family->position.hf ? LAYER_NO_ROPE : 0));
}

static bool every(size_t layer, size_t n)
{
    return n > 0 && (layer + 1) % n == 0;
}

uint8_t config_layer_by_rule(const struct config *c, size_t layer)
{
    const struct family *f = c->family;
    bool local = f->window_layers == WINDOW_ALL || (f->window_layers == WINDOW_EVERY && !every(layer, f->window_pattern));
    return flags_of(c, local, every(layer, f->no_rope_every));
}

/* Which layers are local, and which have no rotation: as listed, or by the family's rule. */
static int read_layers(struct config *c, const json_t *o, const char *path, struct err *err)
{
    const struct family *f = c->family;
    const json_t *types = json_object_get(o, "layer_types"), *rope = json_object_get(o, "no_rope_layers");
    if ((json_is_array(types) && json_array_size(types) != c->layers) || (json_is_array(rope) && json_array_size(rope) != c->layers))
        return err_set(err, "'%s': 'layer_types' or 'no_rope_layers' does not have an entry a layer", path);
    const json_t *use = json_object_get(o, "use_sliding_window");
    c->window = json_is_false(use) || (f->window_layers == WINDOW_FROM_MAX_WINDOW_LAYERS && !json_is_true(use)) ? 0 : whole(o, "sliding_window", 0);
    size_t pattern = either(o, "sliding_window_pattern", "_sliding_window_pattern", f->window_pattern);
    size_t from = whole(o, "max_window_layers", c->layers), interval = whole(o, "no_rope_layer_interval", f->no_rope_every);
    for (size_t l = 0; l < c->layers; l++) {
        const char *type = json_string_value(json_array_get(types, l));
        bool local = f->window_layers == WINDOW_ALL || (f->window_layers == WINDOW_EVERY ? pattern > 0 && !every(l, pattern) : l >= from);
        if (type && strcmp(type, "sliding_attention") && strcmp(type, "full_attention"))
            return err_set(err, "'%s': a layer of the type '%.40s' is not supported (sliding_attention and full_attention are)", path, type);
        if (type)
            local = !strcmp(type, "sliding_attention");
        bool still = json_is_array(rope) ? json_integer_value(json_array_get(rope, l)) == 0 : f->no_rope_every && every(l, interval);
        c->layer[l] = flags_of(c, local, still);
    }
    return 0;
}

/* What follows from family and sizes, where nothing else is said. */
static void set_defaults(struct config *c)
{
    c->attention_scale = 1.0f / sqrtf((float)c->head_dim);
    c->embed_scale = c->family->scaled_embedding ? (float)sqrt((double)c->width) : 1.0f;
}

/* Settings that change what a model computes, and that no family here has. */
static int refuse(const json_t *o, const char *path, struct err *err)
{
    static const char *const untrue[] = {"attention_bias", "mlp_bias", "scale_attn_by_inverse_layer_idx", "use_bidirectional_attention",
                                         "add_cross_attention"};
    for (size_t i = 0; i < sizeof untrue / sizeof *untrue; i++)
        if (json_is_true(json_object_get(o, untrue[i])))
            return err_set(err, "'%s': '%s' is set, which is not supported", path, untrue[i]);
    if (json_is_false(json_object_get(o, "scale_attn_weights")))
        return err_set(err, "'%s': 'scale_attn_weights' is off, which is not supported", path);
    const json_t *quantised = json_object_get(o, "quantization_config");
    if (json_is_object(quantised)) {
        const char *method = json_string_value(json_object_get(quantised, "quant_method"));
        return err_set(err, "'%s': its weights are quantised by %s, which is not supported: take the model as it was before (F32, "
                            "F16 or BF16) or as GGUF",
                       path, method ? method : "a method that it does not name");
    }
    return 0;
}

static int from_json(struct config *c, const json_t *o, const char *path, struct err *err)
{
    const char *type = json_string_value(json_object_get(o, "model_type"));
    const struct family *f = c->family = type ? family_find(type, false) : NULL;
    if (!f)
        return err_set(err, "'%s': the model's family is '%s', which is not supported yet (supported: %s)", path,
                       type ? type : "not said", family_names());
    static const char *const act_keys[] = {"hidden_act", "hidden_activation", "activation_function"};
    for (size_t i = 0; i < sizeof act_keys / sizeof *act_keys; i++) {
        const char *act = json_string_value(json_object_get(o, act_keys[i]));
        bool gelu = act && f->activation == ACTIVATION_GELU_TANH && (!strcmp(act, "gelu_new") || !strcmp(act, "gelu_pytorch_tanh"));
        /* Gemma's first files say gelu in hidden_act, and mean the other: transformers does not look at it */
        if (act && !gelu && strcmp(act, f->activation_name) && !(i == 0 && f->scaled_embedding))
            return err_set(err, "'%s': the activation '%s' does not belong to the family '%s'", path, act, type);
    }
    if (refuse(o, path, err))
        return -1;
    c->vocab = whole(o, "vocab_size", 0);
    c->width = either(o, "hidden_size", "n_embd", 0);
    c->layers = either(o, "num_hidden_layers", "n_layer", 0);
    c->heads = either(o, "num_attention_heads", "n_head", 0);
    c->kv_heads = whole(o, "num_key_value_heads", c->heads);
    c->head_dim = whole(o, "head_dim", f->head_dim ? f->head_dim : c->heads ? c->width / c->heads : 0);
    c->ffn = either(o, "intermediate_size", "n_inner", f->turned ? 4 * c->width : 0);
    c->positions = either(o, "max_position_embeddings", "n_positions", 2048);
    c->norm_eps = real(o, "rms_norm_eps", real(o, "layer_norm_epsilon", f->norm_eps));
    const json_t *tied = json_object_get(o, "tie_word_embeddings");
    c->tied = json_is_boolean(tied) ? json_is_true(tied) : f->tied;
    c->bos = token_id(o, "bos_token_id");
    c->eos = token_id(o, "eos_token_id");
    c->pad = token_id(o, "pad_token_id");
    set_defaults(c);
    if (f->query_scale)
        c->attention_scale = 1.0f / sqrtf(real(o, "query_pre_attn_scalar", 256));
    c->attention_cap = real(o, "attn_logit_softcapping", 0);
    c->final_cap = real(o, "final_logit_softcapping", 0);
    if (read_rope(c, o, path, err) || check(c, path, err))
        return -1;
    return read_layers(c, o, path, err);
}

int config_from_folder(struct config *c, const char *folder, struct err *err)
{
    *c = (struct config){.bos = -1, .eos = -1, .pad = -1};
    char *path = path_join(folder, "config.json");
    struct buf text;
    buf_init(&text, 1 << 20);
    int rc = file_read(path, &text, err);
    if (rc == 0) {
        json_error_t why;
        json_t *o = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &why);
        if (!json_is_object(o))
            rc = err_set(err, "'%s' line %d: not a JSON object: %s", path, why.line, why.text);
        else
            rc = from_json(c, o, path, err);
        json_decref(o);
        if (rc == 0)
            c->stored_json = xstrdup(text.data);
    }
    buf_release(&text);
    free(path);
    return rc;
}

/* A number under "ARCHITECTURE.key"; `otherwise` where it is not there, *bad where it is no number. */
static size_t gguf_whole(const struct gguf *g, const char *prefix, const char *key, size_t otherwise, bool *bad,
                         struct err *err)
{
    char *name = xasprintf("%s.%s", prefix, key);
    uint32_t v = (uint32_t)otherwise;
    *bad |= gguf_u32(&v, g, name, err) < 0;
    free(name);
    return v;
}

static float gguf_real(const struct gguf *g, const char *prefix, const char *key, float otherwise, bool *bad,
                       struct err *err)
{
    char *name = xasprintf("%s.%s", prefix, key);
    *bad |= gguf_f32(&otherwise, g, name, err) < 0;
    free(name);
    return otherwise;
}

/* A GGUF has longrope's lists as tensors, and no name for it. */
static const char *const long_names[] = {"rope_factors_short.weight", "rope_factors_long.weight"};

static int long_from_gguf(struct config *c, const struct gguf *g, bool *bad, struct err *err)
{
    struct rotary *r = &c->rope;
    float *lists[] = {r->short_factor, r->long_factor};
    for (size_t i = 0; i < 2; i++) {
        const struct tensor *t = tensor_need(&g->tensors, long_names[i], err);
        if (!t)
            return -1;
        if (tensor_elements(t) != c->rotary_dim / 2 || c->rotary_dim / 2 > ROTARY_MOST_FACTORS)
            return err_set(err, "'%s': tensor '%s' has %zu numbers for the %zu pairs of a head (at most %d)", g->tensors.path, t->name,
                           tensor_elements(t), c->rotary_dim / 2, ROTARY_MOST_FACTORS);
        tensor_unpack(lists[i], t);
    }
    r->scaling = ROPE_LONG;
    r->original_positions = (float)gguf_whole(g, c->family->gguf, "rope.scaling.original_context_length", c->positions, bad, err);
    r->factor = (float)c->positions / r->original_positions;
    r->amplitude = gguf_real(g, c->family->gguf, "rope.scaling.attn_factor", rotary_long_amplitude(r->factor, r->original_positions), bad, err);
    return 0;
}

static int rotary_from_gguf(struct config *c, const struct gguf *g, bool *bad, struct err *err)
{
    const char *a = c->family->gguf, *scaling = NULL;
    char *key = xasprintf("%s.rope.scaling.type", a);
    *bad |= gguf_str(&scaling, NULL, g, key, err) < 0;
    free(key);
    struct rotary *r = &c->rope;
    *r = plain_rotary;
    r->theta = gguf_real(g, a, "rope.freq_base", 10000.0f, bad, err);
    c->rotary_dim = gguf_whole(g, a, "rope.dimension_count", c->head_dim, bad, err);
    if (c->rotary_dim != c->head_dim && !c->family->partial_rotary)
        return err_set(err, "'%s': a rope.dimension_count other than the head's size is not supported in this family", g->tensors.path);
    if (scaling && strcmp(scaling, "none")) {
        if (strcmp(scaling, "linear") && strcmp(scaling, "yarn"))
            return err_set(err, "'%s': rotary scaling '%s' is not supported yet (none, linear and yarn are)", g->tensors.path, scaling);
        r->scaling = *scaling == 'l' ? ROPE_LINEAR : ROPE_YARN;
        r->factor = gguf_real(g, a, "rope.scaling.factor", 1.0f, bad, err);
        r->original_positions = (float)gguf_whole(g, a, "rope.scaling.original_context_length", c->positions, bad, err);
        if (r->scaling == ROPE_YARN)
            r->amplitude = rotary_yarn_amplitude(r->factor) * gguf_real(g, a, "rope.scaling.attn_factor", 1.0f, bad, err);
    }
    if (tensor_find(&g->tensors, long_names[0]) && long_from_gguf(c, g, bad, err))
        return -1;
    c->rope_local = c->rope;
    if (c->family->local_theta > 0) {
        c->rope_local = plain_rotary;
        c->rope_local.theta = gguf_real(g, a, "rope.freq_base_swa", c->family->local_theta, bad, err);
    }
    return 0;
}

int config_from_gguf(struct config *c, const struct gguf *g, struct err *err)
{
    const char *path = g->tensors.path, *arch = NULL;
    *c = (struct config){.bos = -1, .eos = -1, .pad = -1};
    if (gguf_str(&arch, NULL, g, "general.architecture", err) < 0)
        return -1;
    const struct family *f = c->family = arch ? family_find(arch, true) : NULL;
    if (!f)
        return err_set(err, "'%s': the model's family is '%s', which is not supported yet (supported: %s)", path,
                       arch ? arch : "not said", family_names());
    const struct tensor *embed = tensor_need(&g->tensors, f->embed.gguf, err);
    if (!embed)
        return -1;
    bool bad = false;
    c->vocab = embed->shape[0];
    const char *a = f->gguf;
    c->width = gguf_whole(g, a, "embedding_length", 0, &bad, err);
    c->layers = gguf_whole(g, a, "block_count", 0, &bad, err);
    c->heads = gguf_whole(g, a, "attention.head_count", 0, &bad, err);
    c->kv_heads = gguf_whole(g, a, "attention.head_count_kv", c->heads, &bad, err);
    c->head_dim = gguf_whole(g, a, "attention.key_length", c->heads ? c->width / c->heads : 0, &bad, err);
    c->ffn = gguf_whole(g, a, "feed_forward_length", 0, &bad, err);
    c->positions = gguf_whole(g, a, "context_length", 2048, &bad, err);
    c->norm_eps = gguf_real(g, a, f->shift.gguf ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", 1e-5f, &bad, err);
    set_defaults(c);
    c->attention_cap = gguf_real(g, a, "attn_logit_softcapping", 0, &bad, err);
    c->final_cap = gguf_real(g, a, "final_logit_softcapping", 0, &bad, err);
    if (rotary_from_gguf(c, g, &bad, err))
        return -1;
    c->tied = !tensor_find(&g->tensors, f->output.gguf);
    c->bos = (int)gguf_whole(g, "tokenizer.ggml", "bos_token_id", (uint32_t)-1, &bad, err);
    c->eos = (int)gguf_whole(g, "tokenizer.ggml", "eos_token_id", (uint32_t)-1, &bad, err);
    c->pad = (int)gguf_whole(g, "tokenizer.ggml", "padding_token_id", (uint32_t)-1, &bad, err);
    c->window = gguf_whole(g, a, "attention.sliding_window", 0, &bad, err);
    if (bad || check(c, path, err))
        return -1;
    for (size_t l = 0; l < c->layers; l++) /* a GGUF lists no layers: llama.cpp goes by the family's rule, and so do we */
        c->layer[l] = config_layer_by_rule(c, l);
    return 0;
}

void config_release(struct config *c)
{
    free(c->stored_json);
    *c = (struct config){0};
}

static json_t *numbers_json(const float *x, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_real((double)x[i]));
    return list;
}

static json_t *rotary_json(const struct rotary *r, size_t half)
{
    json_t *p = json_pack("{s:s, s:f}", "rope_type", rope_scaling_names[r->scaling], "rope_theta", (double)r->theta);
    const struct {
        const char *key;
        float value;
        bool wanted;
    } rest[] = {
        {"factor", r->factor, r->scaling != ROPE_PLAIN},
        {"low_freq_factor", r->low_freq_factor, r->scaling == ROPE_LLAMA3},
        {"high_freq_factor", r->high_freq_factor, r->scaling == ROPE_LLAMA3},
        {"beta_fast", r->beta_fast, r->scaling == ROPE_YARN},
        {"beta_slow", r->beta_slow, r->scaling == ROPE_YARN},
        {"attention_factor", r->amplitude, r->scaling == ROPE_YARN || r->scaling == ROPE_LONG},
    };
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
        if (rest[i].wanted)
            json_object_set_new(p, rest[i].key, json_real((double)rest[i].value));
    if (r->scaling == ROPE_LONG) {
        json_object_set_new(p, "short_factor", numbers_json(r->short_factor, half));
        json_object_set_new(p, "long_factor", numbers_json(r->long_factor, half));
    }
    if (r->scaling == ROPE_LLAMA3 || r->scaling == ROPE_YARN || r->scaling == ROPE_LONG)
        json_object_set_new(p, "original_max_position_embeddings", json_integer((json_int_t)r->original_positions));
    if (!r->truncate)
        json_object_set_new(p, "truncate", json_false());
    return p;
}

/* What a folder's config.json would say, of a model that comes from a GGUF. */
static void describe(json_t *o, const struct config *c)
{
    const struct family *f = c->family;
    json_t *rope = rotary_json(&c->rope, c->rotary_dim / 2);
    if (c->rotary_dim != c->head_dim)
        json_object_set_new(rope, "partial_rotary_factor", json_real((double)c->rotary_dim / (double)c->head_dim));
    if (c->rope.scaling == ROPE_LONG)
        json_object_set_new(o, "original_max_position_embeddings", json_integer((json_int_t)c->rope.original_positions));
    if (f->local_theta > 0)
        rope = json_pack("{s:o, s:o}", "full_attention", rope, "sliding_attention", rotary_json(&c->rope_local, c->rotary_dim / 2));
    else
        json_object_set_new(o, "rope_theta", json_real((double)c->rope.theta));
    if (f->position.hf)
        json_decref(rope);
    else
        json_object_set_new(o, "rope_parameters", rope);
    json_object_set_new(o, f->position.hf ? "activation_function" : f->query_scale ? "hidden_activation" : "hidden_act",
                        json_string(f->activation_name));
    if (f->query_scale) {
        json_object_set_new(o, "query_pre_attn_scalar", json_real(1 / ((double)c->attention_scale * (double)c->attention_scale)));
        json_object_set_new(o, "attn_logit_softcapping", c->attention_cap > 0 ? json_real((double)c->attention_cap) : json_null());
        json_object_set_new(o, "final_logit_softcapping", c->final_cap > 0 ? json_real((double)c->final_cap) : json_null());
    }
    json_object_set_new(o, "sliding_window", c->window ? json_integer((json_int_t)c->window) : json_null());
    if (f->window_layers == WINDOW_FROM_MAX_WINDOW_LAYERS)
        json_object_set_new(o, "use_sliding_window", json_boolean(c->window > 0));
    json_t *types = json_array(), *rotated = json_array();
    for (size_t l = 0; l < c->layers; l++) {
        json_array_append_new(types, json_string(c->layer[l] & LAYER_LOCAL ? "sliding_attention" : "full_attention"));
        json_array_append_new(rotated, json_integer(!(c->layer[l] & LAYER_NO_ROPE)));
    }
    if (c->window)
        json_object_set(o, "layer_types", types);
    if (f->no_rope_every)
        json_object_set(o, "no_rope_layers", rotated);
    json_decref(types);
    json_decref(rotated);
}

char *config_to_json(const struct config *c, enum dtype type, bool sequence_classification)
{
    const struct family *f = c->family;
    bool old = f->position.hf; /* GPT-2's names */
    json_t *o = c->stored_json ? json_loads(c->stored_json, 0, NULL) : json_object();
    const struct {
        const char *key, *old_key;
        size_t value;
    } sizes[] = {
        {"vocab_size", "vocab_size", c->vocab},         {"hidden_size", "n_embd", c->width},
        {"num_hidden_layers", "n_layer", c->layers},    {"num_attention_heads", "n_head", c->heads},
        {"intermediate_size", "n_inner", c->ffn},       {"max_position_embeddings", "n_positions", c->positions},
        {"num_key_value_heads", NULL, c->kv_heads},     {"head_dim", NULL, c->head_dim},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (!old || sizes[i].old_key)
            json_object_set_new(o, old ? sizes[i].old_key : sizes[i].key, json_integer((json_int_t)sizes[i].value));
    json_object_set_new(o, "model_type", json_string(f->name));
    json_object_set_new(o, "architectures", json_pack("[s]", sequence_classification ? f->classifier : f->causal));
    json_object_set_new(o, old ? "layer_norm_epsilon" : "rms_norm_eps", json_real((double)c->norm_eps));
    json_object_set_new(o, "tie_word_embeddings", json_boolean(c->tied));
    json_object_set_new(o, "dtype", json_string(type == DTYPE_F16 ? "float16" : type == DTYPE_BF16 ? "bfloat16" : "float32"));
    if (c->bos >= 0)
        json_object_set_new(o, "bos_token_id", json_integer(c->bos));
    if (c->eos >= 0)
        json_object_set_new(o, "eos_token_id", json_integer(c->eos));
    if (c->pad >= 0)
        json_object_set_new(o, "pad_token_id", json_integer(c->pad));
    if (sequence_classification) {
        json_object_set_new(o, "num_labels", json_integer(1));
        json_object_set_new(o, "id2label", json_pack("{s:s}", "0", "LABEL_0"));
        json_object_set_new(o, "label2id", json_pack("{s:i}", "LABEL_0", 0));
    }
    if (!c->stored_json)
        describe(o, c);
    char *text = json_dumps(o, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(9));
    json_decref(o);
    return text;
}
