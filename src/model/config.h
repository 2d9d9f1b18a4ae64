/* What a model is made of: sizes, constants, and the family it belongs to.
 *
 * Families are rows of a table, not branches: a row says under which names a family's config and tensors are
 * found in a Hugging Face folder and in a GGUF, and what differs in the arithmetic. */
#ifndef HONE_MODEL_CONFIG_H
#define HONE_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "model/gguf.h"
#include "util/err.h"

enum linear_kind { LINEAR_Q, LINEAR_K, LINEAR_V, LINEAR_O, LINEAR_GATE, LINEAR_UP, LINEAR_DOWN, LINEAR_KINDS };

/* The dimensions a tensor's shape is made of. */
enum dimension { DIM_NONE, DIM_VOCAB, DIM_WIDTH, DIM_Q, DIM_KV, DIM_FFN };

struct linear_row {
    const char *hf, *gguf, *peft; /* %zu: the layer */
    enum dimension out, in;
    bool rotary; /* its rows are queries or keys: a GGUF may hold them interleaved */
};

struct family {
    const char *name;         /* model_type of config.json and general.architecture of a GGUF */
    bool gguf_interleaved;    /* a GGUF's q and k rows are permuted for interleaved pairs */
    const char *embed[2], *norm[2], *output[2];      /* {Hugging Face, GGUF} */
    const char *attention_norm[2], *ffn_norm[2];     /* %zu: the layer */
    struct linear_row linear[LINEAR_KINDS];
};

enum rope_scaling { ROPE_PLAIN, ROPE_LINEAR, ROPE_LLAMA3 };

struct config {
    const struct family *family;
    size_t vocab, width, layers, heads, kv_heads, head_dim, ffn, positions;
    float norm_eps;
    bool tied; /* the output projection is the embedding */
    float rope_theta;
    enum rope_scaling rope_scaling;
    float rope_factor, rope_low_freq_factor, rope_high_freq_factor, rope_original_positions;
    int bos, eos, pad; /* -1: not said */
    char *stored_json; /* config.json as it was (a folder's), or NULL; owned */
};

int config_from_folder(struct config *c, const char *folder, struct err *err);
int config_from_gguf(struct config *c, const struct gguf *g, struct err *err);
void config_release(struct config *c);

size_t config_dimension(const struct config *c, enum dimension d);

/* Can the two run in the same working memory, with the same adapters? */
bool config_same_shape(const struct config *a, const struct config *b);

/* Names of the families known, for messages: "llama, ..". */
const char *family_names(void);

/* Rotary frequencies (head_dim / 2), with the family's scaling applied. */
void config_rope_frequencies(const struct config *c, float *inv_freq);

/* config.json as transformers reads it, with `architecture` ("LlamaForCausalLM", ..ForSequenceClassification) and
 * `labels` > 0 for a head; into a fresh string. */
char *config_to_json(const struct config *c, bool sequence_classification);

#endif
