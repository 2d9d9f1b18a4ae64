/* SentencePiece's precompiled map of characters: which strings a text writes otherwise (a wide letter as a plain one, a
 * newline as a space).
 *
 *   +--------------------+-----------------------------+-----------------------------------------+
 *   | size of the trie,  | the trie: a double array of | what is written: strings, each ended by |
 *   | 4 bytes            | units of 4 bytes            | a 0 byte; a leaf says where one starts  |
 *   +--------------------+-----------------------------+-----------------------------------------+
 *
 * Numbers are little-endian.  A unit's lowest byte is the byte that leads to it (a leaf has bit 31, and its value in
 * the others); bit 8 says that a leaf stands at its offset; bits 10 to 30 are the offset, times 256 where bit 9 is set. */
#ifndef HONE_TOKENIZER_CHARSMAP_H
#define HONE_TOKENIZER_CHARSMAP_H

#include <stdbool.h>
#include <stddef.h>

#include "tokenizer/regex.h"
#include "util/buf.h"
#include "util/err.h"

struct charsmap;

/* by_grapheme: as Hugging Face's tokenizers apply a map, a whole grapheme of less than 6 bytes, or else each of its characters,
 * becomes what the shortest string at its beginning becomes.  Else as SentencePiece does: the longest string at each place.
 * NULL and a sentence if the map is broken. */
struct charsmap *charsmap_new(const void *bytes, size_t n, bool by_grapheme, struct err *err);
struct charsmap *charsmap_from_base64(const char *text, size_t n, bool by_grapheme, struct err *err);
void charsmap_free(struct charsmap *m);

/* Append text[0..n), valid UTF-8, as the map writes it. */
int charsmap_append(const struct charsmap *m, struct regex_scratch *s, struct buf *out, const char *text, size_t n,
                    struct err *err);

#endif
