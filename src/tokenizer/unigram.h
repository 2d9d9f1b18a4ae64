/* Unigram: of all ways to write a word as tokens, the one whose scores (log-probabilities) have the greatest sum
 * (Kudo 2018, arXiv:1804.10959), found by Viterbi's algorithm.
 *
 * Where two ways to a place are worth the same, the one whose last token is longer stands.  A character that is no token
 * costs 10 more than the least score; neighbours of this kind are one unknown, or bytes where the vocabulary has them. */
#ifndef HONE_TOKENIZER_UNIGRAM_H
#define HONE_TOKENIZER_UNIGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tokenizer/tokenizer.h"
#include "tokenizer/trie.h"
#include "tokenizer/vocab.h"

struct unigram {
    struct trie trie; /* of ids */
    double *scores;   /* by id */
    size_t capacity;
    double least;
    int32_t unk;
    bool byte_fallback; /* what is unknown becomes bytes, where all of these have a token */
    int32_t byte_ids[256];
};

/* Room for the work on one word. */
struct unigram_scratch {
    struct unigram_node *nodes;
    size_t nodes_capacity;
    struct ids back; /* the ids from the last to the first */
};

/* byte_ids are taken from the vocabulary, which must be complete; no tokens yet. */
void unigram_init(struct unigram *u, const struct vocab *v, int32_t unk);
void unigram_release(struct unigram *u);
void unigram_scratch_release(struct unigram_scratch *s);

/* A token of the vocabulary that words may be made of; score is finite. */
void unigram_add(struct unigram *u, const struct vocab *v, int32_t id, double score);

/* Append the ids of a word of n bytes. */
void unigram_encode_word(const struct unigram *u, const struct vocab *v, struct unigram_scratch *s, struct ids *out,
                         const char *word, size_t n);

#endif
