/* What a model is made of: sizes, constants, and the family it belongs to (family.h). */
#ifndef HONE_MODEL_CONFIG_H
#define HONE_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/family.h"
#include "model/gguf.h"
#include "model/rotary.h"
#include "util/err.h"

#define CONFIG_MAX_LAYERS 512

enum layer_flags {
    LAYER_LOCAL = 1,  /* attention sees `window` positions only, the row's own among them */
    LAYER_NO_ROPE = 2 /* queries and keys are not rotated */
};

struct config {
    const struct family *family;
    size_t vocab, width, layers, heads, kv_heads, head_dim, ffn, positions;
    size_t rotary_dim; /* the first numbers of a head, which are rotated: all in most models */
    float norm_eps;
    bool tied; /* the output projection is the embedding */
    struct rotary rope, rope_local; /* of all layers, and of local ones */
    size_t window;                  /* 0: there are no local layers */
    uint8_t layer[CONFIG_MAX_LAYERS]; /* enum layer_flags */
    float attention_scale;          /* of the scores: 1 / sqrt(head_dim) in most families */
    float attention_cap, final_cap; /* scores and logits become cap tanh(x / cap) (Gemma 2); 0: they do not */
    float embed_scale;              /* 1 in most */
    int bos, eos, pad; /* -1: not said */
    char *stored_json; /* config.json as it was (a folder's), or NULL; owned */
};

int config_from_folder(struct config *c, const char *folder, struct err *err);
int config_from_gguf(struct config *c, const struct gguf *g, struct err *err);
void config_release(struct config *c);

size_t config_dimension(const struct config *c, enum dimension d);

/* enum layer_flags of a layer by its family's rule, which holds where nothing else is listed. */
uint8_t config_layer_by_rule(const struct config *c, size_t layer);

/* Can the two run in the same working memory, with the same adapters? */
bool config_same_shape(const struct config *a, const struct config *b);

/* config.json as transformers reads it, for its causal model, or for a model with a scalar head, with
 * weights of a type (F32, F16 or BF16); into a fresh string. */
char *config_to_json(const struct config *c, enum dtype type, bool sequence_classification);

#endif
