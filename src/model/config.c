#include "model/config.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "util/file.h"
#include "util/mem.h"

static const struct family families[] = {
    {
        .name = "llama",
        .gguf_interleaved = true,
        .embed = {"model.embed_tokens.weight", "token_embd.weight"},
        .norm = {"model.norm.weight", "output_norm.weight"},
        .output = {"lm_head.weight", "output.weight"},
        .attention_norm = {"model.layers.%zu.input_layernorm.weight", "blk.%zu.attn_norm.weight"},
        .ffn_norm = {"model.layers.%zu.post_attention_layernorm.weight", "blk.%zu.ffn_norm.weight"},
        .linear =
            {
                {"model.layers.%zu.self_attn.q_proj.weight", "blk.%zu.attn_q.weight", "q_proj", DIM_Q, DIM_WIDTH, true},
                {"model.layers.%zu.self_attn.k_proj.weight", "blk.%zu.attn_k.weight", "k_proj", DIM_KV, DIM_WIDTH, true},
                {"model.layers.%zu.self_attn.v_proj.weight", "blk.%zu.attn_v.weight", "v_proj", DIM_KV, DIM_WIDTH, false},
                {"model.layers.%zu.self_attn.o_proj.weight", "blk.%zu.attn_output.weight", "o_proj", DIM_WIDTH, DIM_Q, false},
                {"model.layers.%zu.mlp.gate_proj.weight", "blk.%zu.ffn_gate.weight", "gate_proj", DIM_FFN, DIM_WIDTH, false},
                {"model.layers.%zu.mlp.up_proj.weight", "blk.%zu.ffn_up.weight", "up_proj", DIM_FFN, DIM_WIDTH, false},
                {"model.layers.%zu.mlp.down_proj.weight", "blk.%zu.ffn_down.weight", "down_proj", DIM_WIDTH, DIM_FFN, false},
            },
    },
};

const char *family_names(void)
{
    return "llama";
}

static const struct family *find_family(const char *name)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (!strcmp(families[i].name, name))
            return &families[i];
    return NULL;
}

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
    case DIM_Q:
        return c->heads * c->head_dim;
    case DIM_KV:
        return c->kv_heads * c->head_dim;
    case DIM_FFN:
        return c->ffn;
    case DIM_NONE:
        break;
    }
    return 1;
}

static int check(const struct config *c, const char *path, struct err *err)
{
    const struct {
        const char *name;
        size_t value, limit;
    } sizes[] = {
        {"vocabulary", c->vocab, 1 << 22},  {"hidden size", c->width, 1 << 16},
        {"layers", c->layers, 1 << 12},     {"attention heads", c->heads, 1 << 10},
        {"head size", c->head_dim, 1 << 10}, {"key-value heads", c->kv_heads, 1 << 10},
        {"intermediate size", c->ffn, 1 << 20}, {"positions", c->positions, 1 << 24},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value == 0 || sizes[i].value > sizes[i].limit)
            return err_set(err, "'%s': the number of %s is %zu, which no model has: the file is broken or not a model",
                           path, sizes[i].name, sizes[i].value);
    if (c->heads % c->kv_heads)
        return err_set(err, "'%s': %zu attention heads cannot share %zu key-value heads", path, c->heads, c->kv_heads);
    if (c->head_dim % 2)
        return err_set(err, "'%s': a head size of %zu is odd: rotary embedding needs pairs", path, c->head_dim);
    if (!(c->norm_eps > 0) || !(c->rope_theta > 0) || !isfinite(c->rope_theta))
        return err_set(err, "'%s': the norm's epsilon or the rotary base is not a positive number", path);
    return 0;
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

/* transformers 5 writes rope_parameters; older folders rope_theta and rope_scaling. */
static int read_rope(struct config *c, const json_t *o, const char *path, struct err *err)
{
    const json_t *p = json_object_get(o, "rope_parameters"), *scaling = json_object_get(o, "rope_scaling");
    if (!json_is_object(p))
        p = json_is_object(scaling) ? scaling : NULL;
    c->rope_theta = real(p, "rope_theta", real(o, "rope_theta", 10000.0f));
    const char *type = json_string_value(json_object_get(p, "rope_type"));
    if (!type)
        type = json_string_value(json_object_get(p, "type"));
    if (!type || !strcmp(type, "default"))
        return 0;
    c->rope_factor = real(p, "factor", 1.0f);
    c->rope_low_freq_factor = real(p, "low_freq_factor", 1.0f);
    c->rope_high_freq_factor = real(p, "high_freq_factor", 4.0f);
    c->rope_original_positions = real(p, "original_max_position_embeddings", 8192.0f);
    if (!strcmp(type, "linear"))
        c->rope_scaling = ROPE_LINEAR;
    else if (!strcmp(type, "llama3"))
        c->rope_scaling = ROPE_LLAMA3;
    else
        return err_set(err, "'%s': rotary scaling '%s' is not supported yet (default, linear and llama3 are)", path, type);
    return 0;
}

static int from_json(struct config *c, const json_t *o, const char *path, struct err *err)
{
    const char *type = json_string_value(json_object_get(o, "model_type"));
    c->family = type ? find_family(type) : NULL;
    if (!c->family)
        return err_set(err, "'%s': the model's family is '%s', which is not supported yet (supported: %s)", path,
                       type ? type : "not said", family_names());
    const char *act = json_string_value(json_object_get(o, "hidden_act"));
    if (act && strcmp(act, "silu"))
        return err_set(err, "'%s': the activation '%s' does not belong to the family '%s'", path, act, type);
    if (json_is_true(json_object_get(o, "attention_bias")) || json_is_true(json_object_get(o, "mlp_bias")))
        return err_set(err, "'%s': biases in attention or mlp are not supported yet", path);
    const json_t *quantised = json_object_get(o, "quantization_config");
    if (json_is_object(quantised)) {
        const char *method = json_string_value(json_object_get(quantised, "quant_method"));
        return err_set(err, "'%s': its weights are quantised by %s, which is not supported: take the model as it was before (F32, "
                            "F16 or BF16) or as GGUF",
                       path, method ? method : "a method that it does not name");
    }
    c->vocab = whole(o, "vocab_size", 0);
    c->width = whole(o, "hidden_size", 0);
    c->layers = whole(o, "num_hidden_layers", 0);
    c->heads = whole(o, "num_attention_heads", 0);
    c->kv_heads = whole(o, "num_key_value_heads", c->heads);
    c->head_dim = whole(o, "head_dim", c->heads ? c->width / c->heads : 0);
    c->ffn = whole(o, "intermediate_size", 0);
    c->positions = whole(o, "max_position_embeddings", 2048);
    c->norm_eps = real(o, "rms_norm_eps", 1e-6f);
    c->tied = json_is_true(json_object_get(o, "tie_word_embeddings"));
    c->bos = token_id(o, "bos_token_id");
    c->eos = token_id(o, "eos_token_id");
    c->pad = token_id(o, "pad_token_id");
    if (read_rope(c, o, path, err))
        return -1;
    return check(c, path, err);
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

int config_from_gguf(struct config *c, const struct gguf *g, struct err *err)
{
    const char *path = g->tensors.path, *arch = NULL;
    *c = (struct config){.bos = -1, .eos = -1, .pad = -1};
    if (gguf_str(&arch, NULL, g, "general.architecture", err) < 0)
        return -1;
    const struct family *f = c->family = arch ? find_family(arch) : NULL;
    if (!f)
        return err_set(err, "'%s': the model's family is '%s', which is not supported yet (supported: %s)", path,
                       arch ? arch : "not said", family_names());
    const struct tensor *embed = tensor_need(&g->tensors, f->embed[1], err);
    if (!embed)
        return -1;
    bool bad = false;
    c->vocab = embed->shape[0];
    c->width = gguf_whole(g, f->name, "embedding_length", 0, &bad, err);
    c->layers = gguf_whole(g, f->name, "block_count", 0, &bad, err);
    c->heads = gguf_whole(g, f->name, "attention.head_count", 0, &bad, err);
    c->kv_heads = gguf_whole(g, f->name, "attention.head_count_kv", c->heads, &bad, err);
    c->head_dim = gguf_whole(g, f->name, "attention.key_length", c->heads ? c->width / c->heads : 0, &bad, err);
    c->ffn = gguf_whole(g, f->name, "feed_forward_length", 0, &bad, err);
    c->positions = gguf_whole(g, f->name, "context_length", 2048, &bad, err);
    c->norm_eps = gguf_real(g, f->name, "attention.layer_norm_rms_epsilon", 1e-5f, &bad, err);
    c->rope_theta = gguf_real(g, f->name, "rope.freq_base", 10000.0f, &bad, err);
    char *key = xasprintf("%s.rope.scaling.type", f->name);
    const char *scaling = NULL;
    bad |= gguf_str(&scaling, NULL, g, key, err) < 0;
    free(key);
    if (scaling && !strcmp(scaling, "linear")) {
        c->rope_scaling = ROPE_LINEAR;
        c->rope_factor = gguf_real(g, f->name, "rope.scaling.factor", 1.0f, &bad, err);
    } else if (scaling && strcmp(scaling, "none")) {
        return err_set(err, "'%s': rotary scaling '%s' is not supported yet (none and linear are)", path, scaling);
    }
    c->tied = !tensor_find(&g->tensors, f->output[1]);
    c->bos = (int)gguf_whole(g, "tokenizer.ggml", "bos_token_id", (uint32_t)-1, &bad, err);
    c->eos = (int)gguf_whole(g, "tokenizer.ggml", "eos_token_id", (uint32_t)-1, &bad, err);
    c->pad = (int)gguf_whole(g, "tokenizer.ggml", "padding_token_id", (uint32_t)-1, &bad, err);
    return bad ? -1 : check(c, path, err);
}

void config_release(struct config *c)
{
    free(c->stored_json);
    *c = (struct config){0};
}

void config_rope_frequencies(const struct config *c, float *inv_freq)
{
    size_t half = c->head_dim / 2;
    for (size_t i = 0; i < half; i++) {
        float f = 1.0f / powf(c->rope_theta, (float)(2 * i) / (float)c->head_dim);
        if (c->rope_scaling == ROPE_LINEAR)
            f /= c->rope_factor;
        if (c->rope_scaling == ROPE_LLAMA3) { /* Llama 3.1: long waves are stretched, a ramp between */
            float wave = 6.28318530717958648f / f, original = c->rope_original_positions;
            float low = original / c->rope_low_freq_factor, high = original / c->rope_high_freq_factor;
            if (wave > low) {
                f /= c->rope_factor;
            } else if (wave >= high) {
                float smooth = (original / wave - c->rope_low_freq_factor) /
                               (c->rope_high_freq_factor - c->rope_low_freq_factor);
                f = (1.0f - smooth) * f / c->rope_factor + smooth * f;
            }
        }
        inv_freq[i] = f;
    }
}

static void set_rope(json_t *o, const struct config *c)
{
    static const char *const types[] = {"default", "linear", "llama3"};
    json_t *p = json_pack("{s:s, s:f}", "rope_type", types[c->rope_scaling], "rope_theta", (double)c->rope_theta);
    if (c->rope_scaling != ROPE_PLAIN)
        json_object_set_new(p, "factor", json_real((double)c->rope_factor));
    if (c->rope_scaling == ROPE_LLAMA3) {
        json_object_set_new(p, "low_freq_factor", json_real((double)c->rope_low_freq_factor));
        json_object_set_new(p, "high_freq_factor", json_real((double)c->rope_high_freq_factor));
        json_object_set_new(p, "original_max_position_embeddings", json_integer((json_int_t)c->rope_original_positions));
    }
    json_object_set_new(o, "rope_parameters", p);
    json_object_set_new(o, "rope_theta", json_real((double)c->rope_theta));
}

char *config_to_json(const struct config *c, bool sequence_classification)
{
    json_t *o = c->stored_json ? json_loads(c->stored_json, 0, NULL) : json_object();
    const struct {
        const char *key;
        size_t value;
    } sizes[] = {
        {"vocab_size", c->vocab},       {"hidden_size", c->width},       {"num_hidden_layers", c->layers},
        {"num_attention_heads", c->heads}, {"num_key_value_heads", c->kv_heads}, {"head_dim", c->head_dim},
        {"intermediate_size", c->ffn},  {"max_position_embeddings", c->positions},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        json_object_set_new(o, sizes[i].key, json_integer((json_int_t)sizes[i].value));
    json_object_set_new(o, "model_type", json_string(c->family->name));
    json_object_set_new(o, "architectures",
                        json_pack("[s]", sequence_classification ? "LlamaForSequenceClassification" : "LlamaForCausalLM"));
    json_object_set_new(o, "hidden_act", json_string("silu"));
    json_object_set_new(o, "rms_norm_eps", json_real((double)c->norm_eps));
    json_object_set_new(o, "tie_word_embeddings", json_boolean(c->tied));
    json_object_set_new(o, "dtype", json_string("float32"));
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
        set_rope(o, c);
    char *text = json_dumps(o, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(9));
    json_decref(o);
    return text;
}
