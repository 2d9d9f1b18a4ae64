/* Byte-pair merging: a word's bytes to token ids.
 *
 * The word starts as one token a byte.  Of all neighbours that may merge, those with the lowest
 * rank merge first, the leftmost first among equals, until none may.  A heap holds the candidates,
 * so that a word of n bytes costs O(n log n). */
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
    int32_t byte_ids[256]; /* -1: the vocabulary has no token for this byte */
    int32_t unk;           /* stands for such bytes; -1: they are left out */
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

/* Takes the byte tokens from the vocabulary, which must be complete; no merges, no unk, no flags
 * yet. */
void bpe_init(struct bpe *b, const struct vocab *v);
void bpe_release(struct bpe *b);
void bpe_scratch_release(struct bpe_scratch *s);

/* Add a merge of two tokens, given by their spellings; rank counts from 0, lower is earlier.  A
 * pair that is there twice has its later rank.  -1 if a part or the whole is no token. */
int bpe_add_merge(struct bpe *b, const struct vocab *v, const char *left, size_t left_len,
                  const char *right, size_t right_len, uint32_t rank, struct err *err);

/* Append the ids of a word of n bytes, n below 2^31. */
void bpe_encode_word(const struct bpe *b, const struct vocab *v, struct bpe_scratch *s,
                     struct ids *out, const char *word, size_t n);

#endif
