/* Whether two tokenizers give the same ids: not a proof, but thousands of texts of what sets tokenizers apart (contractions, digits,
 * runs of signs and of white space, scripts of all kinds, what Unicode writes in two ways) and of the vocabulary's own tokens. */
#ifndef HONE_TOKENIZER_SAME_H
#define HONE_TOKENIZER_SAME_H

#include "tokenizer/tokenizer.h"

/* Texts in which no added token stands, and that do not begin with a space; the first of these alone; all. */
enum same_texts { SAME_INNER_TEXTS, SAME_PLAIN_TEXTS, SAME_ALL_TEXTS };

/* 1 if they do; 0 if not, and then `text` (cleared first) holds a text on which they differ; -1 and a sentence if one of them cannot
 * read a text. */
int tokenizer_same(const struct tokenizer *a, const struct tokenizer *b, enum same_texts which, struct buf *text, struct err *err);

#endif
