/* UTF-8, as in RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef HONE_UTIL_UTF8_H
#define HONE_UTIL_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the character that starts at s (1 to 4), or 0 if the n bytes there do not start a valid one. */
size_t utf8_char_len(const char *s, size_t n);

/* Bytes of the character that ends at text[at], not reaching below text[from]; 0 if there is none. */
size_t utf8_char_len_before(const char *text, size_t from, size_t at);

/* Decode the valid character at s, whose length utf8_char_len gave. */
uint32_t utf8_decode(const char *s, size_t len);

/* Write code point c at s (room for 4); returns its length. */
size_t utf8_encode(char *s, uint32_t c);

/* How many of the n bytes are whole characters or certainly broken ones: the rest, at most 3 bytes, may be
 * the beginning of a character whose end has not come yet.  For streaming. */
size_t utf8_complete_len(const char *s, size_t n);

#endif
