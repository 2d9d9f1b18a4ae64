#include "model/family.h"

#include <stdio.h>
#include <string.h>

#include "util/mem.h"

/* What most families have in common: the names of Llama's tensors. */
#define LAYER "model.layers.%zu."
#define ENDS                                                                                                                   \
    .embed = {"model.embed_tokens.weight", "token_embd.weight", DIM_VOCAB}, .norm = {"model.norm.weight", "output_norm.weight", DIM_WIDTH}, \
    .output = {"lm_head.weight", "output.weight", DIM_VOCAB}
#define QKV                                                                                                      \
    [LINEAR_Q] = {LAYER "self_attn.q_proj.weight", "blk.%zu.attn_q.weight", "q_proj", DIM_Q, DIM_WIDTH, true},   \
    [LINEAR_K] = {LAYER "self_attn.k_proj.weight", "blk.%zu.attn_k.weight", "k_proj", DIM_KV, DIM_WIDTH, true},  \
    [LINEAR_V] = {LAYER "self_attn.v_proj.weight", "blk.%zu.attn_v.weight", "v_proj", DIM_KV, DIM_WIDTH, false}
#define GATE_UP                                                                                                  \
    [LINEAR_GATE] = {LAYER "mlp.gate_proj.weight", "blk.%zu.ffn_gate.weight", "gate_proj", DIM_FFN, DIM_WIDTH, false}, \
    [LINEAR_UP] = {LAYER "mlp.up_proj.weight", "blk.%zu.ffn_up.weight", "up_proj", DIM_FFN, DIM_WIDTH, false}
#define OUTWARD                                                                                                        \
    [LINEAR_O] = {LAYER "self_attn.o_proj.weight", "blk.%zu.attn_output.weight", "o_proj", DIM_WIDTH, DIM_Q, false},   \
    [LINEAR_DOWN] = {LAYER "mlp.down_proj.weight", "blk.%zu.ffn_down.weight", "down_proj", DIM_WIDTH, DIM_FFN, false}
#define NORMS_BEFORE                                                                        \
    [NORM_ATTENTION] = {LAYER "input_layernorm.weight", "blk.%zu.attn_norm.weight", DIM_WIDTH}, \
    [NORM_FFN] = {LAYER "post_attention_layernorm.weight", "blk.%zu.ffn_norm.weight", DIM_WIDTH}
#define NORMS_AROUND                                                                                                            \
    [NORM_ATTENTION] = {LAYER "input_layernorm.weight", "blk.%zu.attn_norm.weight", DIM_WIDTH},                                 \
    [NORM_ATTENTION_OUT] = {LAYER "post_attention_layernorm.weight", "blk.%zu.post_attention_norm.weight", DIM_WIDTH},          \
    [NORM_FFN] = {LAYER "pre_feedforward_layernorm.weight", "blk.%zu.ffn_norm.weight", DIM_WIDTH},                              \
    [NORM_FFN_OUT] = {LAYER "post_feedforward_layernorm.weight", "blk.%zu.post_ffw_norm.weight", DIM_WIDTH}
#define NORMS_QK(q, k)                                                                      \
    [NORM_Q] = {LAYER "self_attn.q_norm.weight", "blk.%zu.attn_q_norm.weight", q},          \
    [NORM_K] = {LAYER "self_attn.k_norm.weight", "blk.%zu.attn_k_norm.weight", k}
#define SILU .activation = ACTIVATION_SILU, .activation_name = "silu"
#define GELU(name) .activation = ACTIVATION_GELU_TANH, .activation_name = name

static const struct family families[] = {
    {
        .name = "llama",
        .gguf = "llama",
        .causal = "LlamaForCausalLM",
        .classifier = "LlamaForSequenceClassification",
        .gguf_interleaved = true,
        SILU,
        .norm_eps = 1e-6f,
        ENDS,
        .linear = {QKV, OUTWARD, GATE_UP},
        .vector = {NORMS_BEFORE},
    },
    {
        .name = "mistral", /* in a GGUF it is a llama */
        .causal = "MistralForCausalLM",
        .classifier = "MistralForSequenceClassification",
        SILU,
        .window_layers = WINDOW_ALL,
        .norm_eps = 1e-6f,
        ENDS,
        .linear = {QKV, OUTWARD, GATE_UP},
        .vector = {NORMS_BEFORE},
    },
    {
        .name = "qwen2",
        .gguf = "qwen2",
        .causal = "Qwen2ForCausalLM",
        .classifier = "Qwen2ForSequenceClassification",
        SILU,
        .window_layers = WINDOW_FROM_MAX_WINDOW_LAYERS,
        .norm_eps = 1e-6f,
        ENDS,
        .linear = {QKV, OUTWARD, GATE_UP},
        .vector = {NORMS_BEFORE,
                   [BIAS + LINEAR_Q] = {LAYER "self_attn.q_proj.bias", "blk.%zu.attn_q.bias", DIM_Q},
                   [BIAS + LINEAR_K] = {LAYER "self_attn.k_proj.bias", "blk.%zu.attn_k.bias", DIM_KV},
                   [BIAS + LINEAR_V] = {LAYER "self_attn.v_proj.bias", "blk.%zu.attn_v.bias", DIM_KV}},
    },
    {
        .name = "qwen3",
        .gguf = "qwen3",
        .causal = "Qwen3ForCausalLM",
        .classifier = "Qwen3ForSequenceClassification",
        SILU,
        .window_layers = WINDOW_FROM_MAX_WINDOW_LAYERS,
        .norm_eps = 1e-6f,
        .head_dim = 128,
        ENDS,
        .linear = {QKV, OUTWARD, GATE_UP},
        .vector = {NORMS_BEFORE, NORMS_QK(DIM_HEAD, DIM_HEAD)},
    },
    {
        .name = "gemma2",
        .gguf = "gemma2",
        .causal = "Gemma2ForCausalLM",
        .classifier = "Gemma2ForSequenceClassification",
        .unit_norm = true,
        .scaled_embedding = true,
        .query_scale = true,
        GELU("gelu_pytorch_tanh"),
        .window_layers = WINDOW_EVERY,
        .window_pattern = 2,
        .norm_eps = 1e-6f,
        .head_dim = 256,
        .tied = true,
        ENDS,
        .linear = {QKV, OUTWARD, GATE_UP},
        .vector = {NORMS_AROUND},
    },
    {
        .name = "gemma3_text",
        .gguf = "gemma3",
        .causal = "Gemma3ForCausalLM",
        .classifier = "Gemma3TextForSequenceClassification",
        .unit_norm = true,
        .scaled_embedding = true,
        .query_scale = true,
        GELU("gelu_pytorch_tanh"),
        .window_layers = WINDOW_EVERY,
        .window_pattern = 6,
        .local_theta = 10000.0f,
        .norm_eps = 1e-6f,
        .head_dim = 256,
        .tied = true,
        ENDS,
        .linear = {QKV, OUTWARD, GATE_UP},
        .vector = {NORMS_AROUND, NORMS_QK(DIM_HEAD, DIM_HEAD)},
    },
    {
        .name = "phi3",
        .gguf = "phi3",
        .causal = "Phi3ForCausalLM",
        .classifier = "Phi3ForSequenceClassification",
        SILU,
        .window_layers = WINDOW_ALL,
        .partial_rotary = true,
        .norm_eps = 1e-5f,
        ENDS,
        .linear = {[LINEAR_Q] = {LAYER "self_attn.qkv_proj.weight", "blk.%zu.attn_qkv.weight", "qkv_proj", DIM_QKV, DIM_WIDTH, false},
                   [LINEAR_GATE] = {LAYER "mlp.gate_up_proj.weight", "blk.%zu.ffn_up.weight", "gate_up_proj", DIM_GATE_UP, DIM_WIDTH, false},
                   OUTWARD},
        .vector = {NORMS_BEFORE},
    },
    {
        .name = "smollm3",
        .gguf = "smollm3",
        .causal = "SmolLM3ForCausalLM",
        .classifier = "SmolLM3ForSequenceClassification",
        .gguf_interleaved = true,
        SILU,
        .window_layers = WINDOW_FROM_MAX_WINDOW_LAYERS,
        .no_rope_every = 4,
        .norm_eps = 1e-6f,
        .tied = true,
        ENDS,
        .linear = {QKV, OUTWARD, GATE_UP},
        .vector = {NORMS_BEFORE},
    },
    {
        .name = "olmo2",
        .gguf = "olmo2",
        .causal = "Olmo2ForCausalLM",
        .classifier = "Olmo2ForSequenceClassification",
        SILU,
        .norm_eps = 1e-5f,
        ENDS,
        .linear = {QKV, OUTWARD, GATE_UP},
        .vector = {[NORM_ATTENTION_OUT] = {LAYER "post_attention_layernorm.weight", "blk.%zu.post_attention_norm.weight", DIM_WIDTH},
                   [NORM_FFN_OUT] = {LAYER "post_feedforward_layernorm.weight", "blk.%zu.post_ffw_norm.weight", DIM_WIDTH},
                   NORMS_QK(DIM_Q, DIM_KV)},
    },
    {
        .name = "gpt2",
        .gguf = "gpt2",
        .causal = "GPT2LMHeadModel",
        .classifier = "GPT2ForSequenceClassification",
        .prefix = "transformer.",
        .turned = true,
        GELU("gelu_new"),
        .norm_eps = 1e-5f,
        .tied = true,
        .embed = {"transformer.wte.weight", "token_embd.weight", DIM_VOCAB},
        .position = {"transformer.wpe.weight", "position_embd.weight", DIM_POSITIONS},
        .norm = {"transformer.ln_f.weight", "output_norm.weight", DIM_WIDTH},
        .shift = {"transformer.ln_f.bias", "output_norm.bias", DIM_WIDTH},
        .output = {"lm_head.weight", "output.weight", DIM_VOCAB},
        .linear = {[LINEAR_Q] = {"transformer.h.%zu.attn.c_attn.weight", "blk.%zu.attn_qkv.weight", "attn.c_attn", DIM_QKV, DIM_WIDTH, false},
                   [LINEAR_O] = {"transformer.h.%zu.attn.c_proj.weight", "blk.%zu.attn_output.weight", "attn.c_proj", DIM_WIDTH, DIM_Q, false},
                   [LINEAR_GATE] = {"transformer.h.%zu.mlp.c_fc.weight", "blk.%zu.ffn_up.weight", "mlp.c_fc", DIM_FFN, DIM_WIDTH, false},
                   [LINEAR_DOWN] = {"transformer.h.%zu.mlp.c_proj.weight", "blk.%zu.ffn_down.weight", "mlp.c_proj", DIM_WIDTH, DIM_FFN, false}},
        .vector = {[NORM_ATTENTION] = {"transformer.h.%zu.ln_1.weight", "blk.%zu.attn_norm.weight", DIM_WIDTH},
                   [SHIFT_ATTENTION] = {"transformer.h.%zu.ln_1.bias", "blk.%zu.attn_norm.bias", DIM_WIDTH},
                   [NORM_FFN] = {"transformer.h.%zu.ln_2.weight", "blk.%zu.ffn_norm.weight", DIM_WIDTH},
                   [SHIFT_FFN] = {"transformer.h.%zu.ln_2.bias", "blk.%zu.ffn_norm.bias", DIM_WIDTH},
                   [BIAS + LINEAR_Q] = {"transformer.h.%zu.attn.c_attn.bias", "blk.%zu.attn_qkv.bias", DIM_QKV},
                   [BIAS + LINEAR_O] = {"transformer.h.%zu.attn.c_proj.bias", "blk.%zu.attn_output.bias", DIM_WIDTH},
                   [BIAS + LINEAR_GATE] = {"transformer.h.%zu.mlp.c_fc.bias", "blk.%zu.ffn_up.bias", DIM_FFN},
                   [BIAS + LINEAR_DOWN] = {"transformer.h.%zu.mlp.c_proj.bias", "blk.%zu.ffn_down.bias", DIM_WIDTH}},
    },
};

enum { FAMILIES = sizeof families / sizeof *families };

const struct family *family_find(const char *name, bool gguf)
{
    for (size_t i = 0; i < FAMILIES; i++) {
        const char *own = gguf ? families[i].gguf : families[i].name;
        if (own && !strcmp(own, name))
            return &families[i];
    }
    return NULL;
}

char *family_tensor_name(const char *pattern, size_t layer)
{
    const char *at = strstr(pattern, "%zu");
    return at ? xasprintf("%.*s%zu%s", (int)(at - pattern), pattern, layer, at + 3) : xstrdup(pattern);
}

const char *family_names(void)
{
    static char names[256];
    if (!*names)
        for (size_t i = 0, at = 0; i < FAMILIES; i++)
            at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", i ? ", " : "", families[i].name);
    return names;
}
