/* Added tokens: strings that are found in the text before anything else looks at it.
 *
 * At each place the longest one counts, from left to right.  Some must be whole words, some swallow
 * the spaces beside them. */
#ifndef HONE_TOKENIZER_ADDED_H
#define HONE_TOKENIZER_ADDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tokenizer/regex.h"
#include "tokenizer/trie.h"
#include "util/err.h"

struct added_token {
    int32_t id;
    bool single_word;    /* only where no letter or digit touches it */
    bool lstrip, rstrip; /* with the white space before, after it */
};

struct added_set {
    struct added_token *tokens;
    size_t n_tokens, tokens_capacity;
    struct trie trie;        /* of indices into tokens */
    struct regex *word_char; /* NULL: no token asks for it */
};

void added_init(struct added_set *set);
void added_release(struct added_set *set);

/* content[0..n), n > 0; the last of two with the same content stands. */
int added_add(struct added_set *set, const char *content, size_t n, const struct added_token *token,
              struct err *err);

/* Find this content no more. */
void added_remove(struct added_set *set, const char *content, size_t n);

/* The next one in text[from..n): its id and its place [*start, *end), or -1 if there are no more.
 * Spaces before it are taken only from `from` on. */
int32_t added_find(const struct added_set *set, const char *text, size_t n, size_t from,
                   size_t *start, size_t *end);

#endif
