/* Text to token ids and back, as Hugging Face's tokenizers do it for byte-level BPE.
 *
 * A tokenizer is read once and then only read: it may be shared between threads.  Special (added)
 * tokens in the text are recognised; nothing is added to it (no BOS, no EOS). */
#ifndef HONE_TOKENIZER_TOKENIZER_H
#define HONE_TOKENIZER_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"
#include "util/err.h"

struct tokenizer;

/* What a vocabulary consists of when it does not come from tokenizer.json (a GGUF's metadata).
 * Arrays are the caller's and are copied.  types: 1 normal, 3 control, 4 user-defined (GGUF's
 * numbers).  merges are "left right".  pre names the pre-tokenizer ("smollm", "gpt-2", ..). */
struct tokenizer_parts {
    const char *model, *pre;
    const char *const *tokens;
    const size_t *token_lens;
    const int32_t *types;
    size_t n_tokens;
    const char *const *merges;
    size_t n_merges;
    int bos, eos; /* -1: none */
};

/* NULL and a sentence on failure.  The folder holds tokenizer.json, and perhaps
 * tokenizer_config.json and special_tokens_map.json; a path to a tokenizer.json itself is taken
 * too.  What is not supported is refused by name. tokenizer_from_json takes the content of a
 * tokenizer.json alone (no bos, no eos). */
struct tokenizer *tokenizer_open(const char *folder, struct err *err);
struct tokenizer *tokenizer_from_json(const char *text, size_t n, struct err *err);
struct tokenizer *tokenizer_from_parts(const struct tokenizer_parts *parts, struct err *err);
void tokenizer_free(struct tokenizer *t);

size_t tokenizer_size(const struct tokenizer *t); /* ids are 0 .. size-1 */
int tokenizer_bos(const struct tokenizer *t);     /* -1: none */
int tokenizer_eos(const struct tokenizer *t);
/* Does encoding text[from..n) find an added (special) token in it?  The first one's place [*start, *end). */
bool tokenizer_finds_added(const struct tokenizer *t, const char *text, size_t n, size_t from, size_t *start, size_t *end);

/* The id of exactly this token (special or not), or -1. */
int tokenizer_id(const struct tokenizer *t, const char *token);
bool tokenizer_is_special(const struct tokenizer *t, int id);

/* Append the ids of text[0..n) to a growing array. */
struct ids {
    int32_t *data;
    size_t n, capacity;
};
void ids_release(struct ids *ids);
void ids_add(struct ids *ids, int32_t id);
int tokenizer_encode(const struct tokenizer *t, struct ids *out, const char *text, size_t n,
                     struct err *err);

/* Append the bytes of the ids.  Bytes may end inside a character: see utf8_complete_len().  With
 * skip_special, special tokens give nothing. */
void tokenizer_decode(const struct tokenizer *t, struct buf *out, const int32_t *ids, size_t n,
                      bool skip_special);

#endif
