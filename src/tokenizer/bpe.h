/* Byte-pair merging: a word's bytes, or its characters, to token ids.
 *
 * The word starts as one token a byte (byte-level vocabularies) or a character (SentencePiece's).  Of all neighbours that
 * may merge, those with the lowest rank merge first, the leftmost first among equals, until none may.  A heap holds the
 * candidates, so that a word of n bytes costs O(n log n). */
#ifndef HONE_TOKENIZER_BPE_H
#define HONE_TOKENIZER_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tokenizer/tokenizer.h"
#include "tokenizer/vocab.h"

struct bpe_merge {
    uint64_t pair; /* left id << 32 | right id; BPE_NO_PAIR: the slot is empty */
    uint32_t rank;
    int32_t id; /* of the merged token */
};

#define BPE_NO_PAIR UINT64_MAX

struct bpe {
    struct bpe_merge *merges; /* hash table, n_slots a power of two */
    size_t n_slots, n_used;
    bool characters;       /* the word starts as characters */
    int32_t byte_ids[256]; /* -1: the vocabulary has no token for this byte */
    bool byte_fallback;    /* characters without a token become bytes, where all of these have one */
    int32_t unk;           /* stands for what has no token; -1: it is left out */
    bool fuse_unk;         /* one unk for a run of them */
    bool ignore_merges;    /* a word that is a token as a whole is not taken apart */
};

/* Room for the work on one word; grows to the longest, one a thread. */
struct bpe_scratch {
    struct bpe_symbol *symbols;
    size_t symbols_capacity;
    struct bpe_candidate *heap;
    size_t heap_n, heap_capacity;
};

/* Takes the byte tokens from the vocabulary, which must be complete: with `characters` these are "<0xNN>".  No merges, no unk,
 * no other flags yet. */
void bpe_init(struct bpe *b, const struct vocab *v, bool characters);
void bpe_release(struct bpe *b);
void bpe_scratch_release(struct bpe_scratch *s);

/* Add a merge of two tokens, given by their spellings; rank counts from 0, lower is earlier.  A
 * pair that is there twice has its later rank.  -1 if a part or the whole is no token. */
int bpe_add_merge(struct bpe *b, const struct vocab *v, const char *left, size_t left_len,
                  const char *right, size_t right_len, uint32_t rank, struct err *err);

/* The same, given by ids. */
void bpe_add_pair(struct bpe *b, int32_t left, int32_t right, int32_t whole, uint32_t rank);

/* All n_used merges by rank, those of one rank by the ids of their parts; fresh, for free(). */
struct bpe_merge *bpe_list(const struct bpe *b);

/* The merge of two tokens, or NULL. */
const struct bpe_merge *bpe_find(const struct bpe *b, int32_t left, int32_t right);

/* Append the ids of a word of n bytes, n below 2^31. */
void bpe_encode_word(const struct bpe *b, const struct vocab *v, struct bpe_scratch *s,
                     struct ids *out, const char *word, size_t n);

#endif
