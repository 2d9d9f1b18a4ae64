/* Strings as Python's str sees them: characters, not bytes.
 *
 * Texts are UTF-8; a byte that belongs to no character counts as one.  Upper and lower case are those
 * of Python's Unicode tables (text_table.h), never the locale's. */
#ifndef HONE_JINJA_TEXT_H
#define HONE_JINJA_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "jinja/arena.h"

/* Bytes of the character at s[at], at least 1; *c: its code point, or 0xdc00 + the odd byte. */
size_t char_at(struct str s, size_t at, uint32_t *c);
size_t char_before(struct str s, size_t end, uint32_t *c);

bool char_is_space(uint32_t c);  /* str.isspace() */
bool char_is_hidden(uint32_t c); /* repr() escapes it */
bool char_is_upper(uint32_t c);  /* it has a lower case, or is one of neither and no letter */
bool char_is_lower(uint32_t c);

/* What c is in lower case, wherever it stands: how many characters, 1 to 3. */
size_t char_to_lower(uint32_t image[3], uint32_t c);

size_t text_length(struct arena *a, struct str s);

/* Characters start .. stop by step, as Python's slice(): the bounds are within the text. */
struct str text_slice(struct arena *a, struct str s, int64_t start, int64_t stop, int64_t step);

enum text_case { TEXT_UPPER, TEXT_LOWER, TEXT_CAPITALIZE, TEXT_TITLE };
struct str text_to_case(struct arena *a, struct str s, enum text_case to);

/* Without the characters in `chars` (NULL: white space) at its sides. */
struct str text_strip(struct str s, const struct str *chars, bool left, bool right);

/* Where `word` begins in s, from byte `from` on, or SIZE_MAX.  The last such place for text_rfind. */
size_t text_find(struct arena *a, struct str s, struct str word, size_t from);
size_t text_rfind(struct arena *a, struct str s, struct str word);
bool text_starts(struct str s, struct str start);
bool text_ends(struct str s, struct str end);

/* The first `max` times only; SIZE_MAX: all. */
struct str text_replace(struct arena *a, struct str s, struct str from, struct str to, size_t max);

/* Bytes of the line that begins at `from`, without its end; *next: where the one after it begins. */
size_t text_line(struct str s, size_t from, size_t *next);

#endif
