/* The families of models, as rows of a table: under which names a family's tensors are found in a Hugging Face folder and in a
 * GGUF, which parts its blocks have, and what differs in the arithmetic.  A block is, with the parts in brackets where a row
 * names them,
 *
 *     mid = in + [norm](attention(rope([norm](q)), rope([norm](k)), v)),   q, k, v of [norm](in)
 *     out = mid + [norm](down(act(gate) [up])),                            gate, up of [norm](mid)
 *
 * so that a new family is a new row (docs/families.md adds one).  Nothing outside model/ asks for a family by its name. */
#ifndef HONE_MODEL_FAMILY_H
#define HONE_MODEL_FAMILY_H

#include <stdbool.h>
#include <stddef.h>

/* The linear layers of a block.  Where q, k and v are one tensor it is LINEAR_Q's, where gate and up are one it is LINEAR_GATE's; the
 * other rows are then empty.  A block without a gate has no LINEAR_UP. */
enum linear_kind { LINEAR_Q, LINEAR_K, LINEAR_V, LINEAR_O, LINEAR_GATE, LINEAR_UP, LINEAR_DOWN, LINEAR_KINDS };

/* The vectors of a block: norms (with what LayerNorm adds), and the linear layers' biases. */
enum vector_kind {
    NORM_ATTENTION,     /* of what goes into attention */
    NORM_ATTENTION_OUT, /* of what comes out */
    NORM_FFN,
    NORM_FFN_OUT,
    NORM_Q, /* of the queries: of each head (DIM_HEAD), or of all of them (DIM_Q) */
    NORM_K,
    SHIFT_ATTENTION, /* LayerNorm's addition to NORM_ATTENTION */
    SHIFT_FFN,
    BIAS, /* BIAS + a linear_kind */
    VECTOR_KINDS = BIAS + LINEAR_KINDS
};

/* The dimensions a tensor's shape is made of. */
enum dimension { DIM_NONE, DIM_VOCAB, DIM_WIDTH, DIM_HEAD, DIM_Q, DIM_KV, DIM_QKV, DIM_FFN, DIM_GATE_UP, DIM_POSITIONS };

struct linear_row {
    const char *hf, *gguf, *peft; /* %zu: the layer; hf NULL: there is none */
    enum dimension out, in;
    bool rotary; /* its rows are queries or keys: a GGUF may hold them interleaved */
};

struct vector_row {
    const char *hf, *gguf; /* as above */
    enum dimension n;
};

enum activation { ACTIVATION_SILU, ACTIVATION_GELU_TANH };

/* Which layers look back over a window only, where the model has one and its config does not list them.  WINDOW_EVERY: all but
 * each n-th, n being the config's sliding_window_pattern or that of the row. */
enum window_layers { WINDOW_ALL, WINDOW_EVERY, WINDOW_FROM_MAX_WINDOW_LAYERS };

struct family {
    const char *name;        /* model_type of config.json */
    const char *gguf;        /* general.architecture of a GGUF */
    const char *causal, *classifier; /* transformers' classes */
    const char *prefix;      /* that names in a folder may go without, or NULL */
    bool gguf_interleaved;   /* a GGUF's q and k rows are permuted for interleaved pairs */
    bool turned;             /* a folder holds linear layers as (in, out) */
    bool unit_norm;          /* norms multiply by 1 + w; a GGUF holds 1 + w */
    bool scaled_embedding;   /* times the root of the width */
    bool query_scale;        /* scores are scaled by query_pre_attn_scalar, not by the head's size */
    enum activation activation;
    const char *activation_name; /* in config.json */
    enum window_layers window_layers;
    size_t window_pattern;
    size_t no_rope_every;    /* each so many-th layer has no rotation, where the config does not list them; 0: none */
    bool partial_rotary;     /* a config may say that only the first part of each head is rotated */
    float local_theta;       /* rotary base of layers with a window, 0: that of the others */
    float norm_eps;          /* where a config does not say */
    size_t head_dim;         /* the same; 0: width / heads */
    bool tied;               /* the same */
    struct vector_row embed, position, norm, shift, output; /* of the whole model; position: learned, in the place of a rotation */
    struct linear_row linear[LINEAR_KINDS];
    struct vector_row vector[VECTOR_KINDS];
};

/* By model_type, or by a GGUF's general.architecture; NULL where it is unknown. */
const struct family *family_find(const char *name, bool gguf);

/* A row's name of a tensor, for a layer; a fresh string. */
char *family_tensor_name(const char *pattern, size_t layer);

/* Names of the families known, for messages: "llama, mistral, ..". */
const char *family_names(void);

/* Does it keep q, k and v, or gate and up, in one tensor? */
static inline bool family_joins_qkv(const struct family *f)
{
    return f->linear[LINEAR_Q].out == DIM_QKV;
}

static inline bool family_joins_ffn(const struct family *f)
{
    return f->linear[LINEAR_GATE].out == DIM_GATE_UP;
}

static inline bool family_has_gate(const struct family *f)
{
    return family_joins_ffn(f) || f->linear[LINEAR_UP].hf != NULL;
}

#endif
