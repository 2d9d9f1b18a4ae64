/* Text to token ids and back, as Hugging Face's tokenizers do it: byte-level BPE, SentencePiece's BPE, Unigram.
 *
 * A tokenizer is read once and then only read: it may be shared between threads.  Special (added)
 * tokens in the text are recognised; nothing is added to it (no BOS, no EOS): what a family puts around a text that no template
 * has rendered is asked for with tokenizer_prefix() and tokenizer_suffix(). */
#ifndef HONE_TOKENIZER_TOKENIZER_H
#define HONE_TOKENIZER_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"
#include "util/err.h"

struct tokenizer;

/* A growing array of ids. */
struct ids {
    int32_t *data;
    size_t n, capacity;
};

/* What a vocabulary consists of when it does not come from tokenizer.json (a GGUF's metadata).
 * Arrays are the caller's and are copied.  model: "gpt2" (byte-level BPE), "gemma4" (BPE of characters), "llama"
 * (SentencePiece's BPE) or "t5" (Unigram).  pre names the pre-tokenizer of "gpt2" ("smollm", "gpt-2", ..).  merges, of "gpt2" and "gemma4", are
 * "left right"; scores, of "llama" and "t5", are (n_tokens).  types: spm.h. */
struct tokenizer_parts {
    const char *model, *pre;
    const char *const *tokens;
    const size_t *token_lens;
    const int32_t *types;
    size_t n_tokens;
    const char *const *merges;
    size_t n_merges;
    const float *scores;
    size_t n_scores;
    const void *charsmap; /* of "t5": see charsmap.h; NULL: none */
    size_t charsmap_len;
    int bos, eos, unk;                                 /* -1: none */
    int add_bos, add_eos;                              /* 1, 0, or -1: as the kind has it */
    int add_space_prefix, remove_extra_whitespaces;    /* the same */
};

/* NULL and a sentence on failure.  The folder holds tokenizer.json, and perhaps
 * tokenizer_config.json, special_tokens_map.json and added_tokens.json; a path to a tokenizer.json itself is taken
 * too.  What is not supported is refused by name. tokenizer_from_json takes the content of a
 * tokenizer.json alone (no bos, no eos). */
struct tokenizer *tokenizer_open(const char *folder, struct err *err);
struct tokenizer *tokenizer_from_json(const char *text, size_t n, struct err *err);
struct tokenizer *tokenizer_from_parts(const struct tokenizer_parts *parts, struct err *err);
void tokenizer_free(struct tokenizer *t);

/* What it is, for people: "byte-level BPE", "BPE of characters", "Unigram". */
const char *tokenizer_kind(const struct tokenizer *t);
size_t tokenizer_size(const struct tokenizer *t); /* ids are 0 .. size-1 */
int tokenizer_bos(const struct tokenizer *t);     /* -1: none */
int tokenizer_eos(const struct tokenizer *t);

/* What transformers' tokenizer(text) puts in front of a text and after it by itself: BOS where the family needs one, rarely
 * EOS. */
const struct ids *tokenizer_prefix(const struct tokenizer *t);
const struct ids *tokenizer_suffix(const struct tokenizer *t);

/* Can encoding text[from..n) find an added (special) token in it?  The first one's place [*start, *end). */
bool tokenizer_finds_added(const struct tokenizer *t, const char *text, size_t n, size_t from, size_t *start, size_t *end);

/* The id of exactly this token (special or not), or -1. */
int tokenizer_id(const struct tokenizer *t, const char *token);
bool tokenizer_is_special(const struct tokenizer *t, int id);

void ids_release(struct ids *ids);
void ids_add(struct ids *ids, int32_t id);

/* Append the ids of text[0..n). */
int tokenizer_encode(const struct tokenizer *t, struct ids *out, const char *text, size_t n,
                     struct err *err);

/* The same for a text by itself, with tokenizer_prefix() in front of it unless it begins with that already. */
int tokenizer_encode_whole(const struct tokenizer *t, struct ids *out, const char *text, size_t n, struct err *err);

/* The same for text that goes on after the token `previous` (-1: none, it begins here).  SentencePiece's kinds put a space in
 * front of a text, but not of one that was cut off another. */
int tokenizer_encode_after(const struct tokenizer *t, struct ids *out, int previous, const char *text, size_t n,
                           struct err *err);

/* Append the text that the ids are.  Its bytes may end inside a character: see utf8_complete_len().  With
 * skip_special, special tokens give nothing.  The space that SentencePiece's kinds put in front of a text is taken off. */
void tokenizer_decode(const struct tokenizer *t, struct buf *out, const int32_t *ids, size_t n,
                      bool skip_special);

/* The same for ids from the middle of a text: nothing is taken off. */
void tokenizer_decode_more(const struct tokenizer *t, struct buf *out, const int32_t *ids, size_t n, bool skip_special);

#endif
