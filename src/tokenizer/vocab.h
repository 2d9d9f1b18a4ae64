/* The tokens of a vocabulary.
 *
 * A token has a spelling (how the vocabulary file writes it) and bytes (what it stands for in
 * text), which a decoder may set.  Byte-level vocabularies spell each byte as one printable character, GPT-2's alphabet: '!'
 * is '!', the space is U+0120 'Ġ'.  A spelling with a character outside the alphabet, and every
 * added token, stands for itself. */
#ifndef HONE_TOKENIZER_VOCAB_H
#define HONE_TOKENIZER_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"
#include "util/err.h"

#define VOCAB_MAX_TOKENS ((size_t)1 << 22)

struct vocab_token {
    size_t at, bytes_at, content_at; /* in the pool: the spelling, the bytes, an added token's content as it was normalised */
    uint32_t spelling_len;           /* 0: no token has this id */
    uint32_t bytes_len, content_len;
    bool has_bytes; /* else it stands for its content */
    bool added, special;
};

struct vocab {
    struct vocab_token *tokens; /* (n), by id */
    size_t n, capacity;
    char *pool;
    size_t pool_len, pool_capacity;
    int32_t *slots; /* hash table of ids by spelling, -1 is empty; n_slots is a power of two */
    size_t n_slots, n_used;
    int16_t byte_of[256 + 68]; /* the alphabet: character -> byte, -1: not a letter */
};

void vocab_init(struct vocab *v);
void vocab_release(struct vocab *v);

/* Add a token.  -1 if the id is negative or too large, is taken, or the spelling is there already.
 */
int vocab_add(struct vocab *v, int64_t id, const char *spelling, size_t len, struct err *err);

/* The id of a spelling, or -1. */
int32_t vocab_find(const struct vocab *v, const char *spelling, size_t len);

/* The id of the token that is just this byte, or -1. */
int32_t vocab_find_byte(const struct vocab *v, uint8_t byte);

/* The id whose bytes are these n, spelled in the alphabet, or -1. */
int32_t vocab_find_bytes(const struct vocab *v, const char *bytes, size_t n);

/* The id of the byte token "<0xNN>", as vocabularies of characters have it, or -1. */
int32_t vocab_find_hex_byte(const struct vocab *v, uint8_t byte);

/* Append bytes as letters of the alphabet. */
void vocab_letters_append(struct buf *out, const char *bytes, size_t n);

/* From now on the token stands for these bytes. */
void vocab_set_bytes(struct vocab *v, int32_t id, const char *bytes, size_t n);

/* From now on the token is an added one, and stands for its spelling. */
void vocab_set_added(struct vocab *v, int32_t id, bool special);

/* An added token that is found in normalised text decodes as its content was normalised. */
void vocab_set_content(struct vocab *v, int32_t id, const char *content, size_t n);

/* What a decoder starts from: that content, or else the spelling. */
const char *vocab_content(const struct vocab *v, int32_t id, size_t *len);

/* What the token stands for; *len is 0 if no token has this id. */
const char *vocab_bytes(const struct vocab *v, int32_t id, size_t *len);
const char *vocab_spelling(const struct vocab *v, int32_t id, size_t *len);

#endif
