/* Measures of texts: words, sentences, how varied and how repetitive they are.
 *
 * A word is a run of letters and digits, with apostrophes inside ("don't"; a curly one is made
 * straight).  What is neither ASCII nor known to be punctuation or space counts as a letter.
 * Chinese and Japanese are written without spaces: there, each character is a word.  Words are
 * lower-cased (Latin, Greek, Cyrillic).  Bytes that are not UTF-8 separate words. */
#ifndef HONE_UTIL_TEXTSTATS_H
#define HONE_UTIL_TEXTSTATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The words of one text.  The pointers are into `store`. */
struct words {
    const char **word;
    size_t n;
    char *store;
};
void words_init(struct words *w, const char *text);
void words_release(struct words *w);

size_t text_word_count(const char *text);

/* A part of a text: from byte `start`, n bytes. */
struct text_span {
    size_t start, n;
};

/* The first and the last sentence, without the spaces around; n == 0 if there is none.  A sentence
 * ends with . ! ? (and the quotes or brackets that follow) before a space, with their Chinese kin,
 * or at the end of a line; not after "Mr.", "e.g." and their kind, nor after one capital letter. */
struct text_span text_first_sentence(const char *text);
struct text_span text_last_sentence(const char *text);

/* Numbers for strings: 0, 1, 2.. in the order they were first seen. */
struct word_table {
    char **word;
    size_t n, capacity;
    uint32_t *slot; /* hash table of number + 1; 0 is free */
    size_t slots;
};
#define WORD_TABLE_NONE UINT32_MAX
void word_table_init(struct word_table *t);
void word_table_release(struct word_table *t);

/* The number of `word`; where it is new, a new one if `add`, else WORD_TABLE_NONE. */
uint32_t word_table_id(struct word_table *t, const char *word, bool add);

/* n-grams of n_texts sequences that lie end to end: text i begins at
 * start[i] and ends before start[i + 1]; start has n_texts + 1 entries.  ids are words (from a
 * word_table) or tokens; an n-gram does not cross a border.  order >= 1. */
struct ngram_measure {
    size_t all;
    double distinct; /* distinct-n (Li et al., NAACL'16): different n-grams in the set / all */
    double repeated; /* share of n-grams that stood earlier in the same text */
}; /* both shares are NaN where all == 0 */
void ngram_measure(struct ngram_measure *out, const uint32_t *ids, const size_t *start,
                   size_t n_texts, size_t order);

/* What a report says about a set of texts; order of n-grams of words in the name. */
struct text_measure {
    size_t n;
    double mean_words; /* NaN if n == 0 */
    double distinct_1, distinct_2, repeated_3;
};
void text_measure(struct text_measure *out, const char *const *texts, size_t n);

#endif
