/* Regular expressions over Unicode text, as tokenizer files write them (Oniguruma's), run by PCRE2
 * (10.40 or later).
 *
 * A regex is read-only once made and may be shared between threads; each thread brings its own
 * scratch. */
#ifndef HONE_TOKENIZER_REGEX_H
#define HONE_TOKENIZER_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#include "util/err.h"

struct regex;

/* REGEX_FILE: as a tokenizer's file writes it.  REGEX_LITERAL: the pattern stands for itself.  REGEX_OWN: PCRE2's own
 * language, for patterns of ours. */
enum regex_syntax { REGEX_FILE, REGEX_LITERAL, REGEX_OWN };

/* NULL and a sentence if the pattern does not compile, or uses what the two engines read differently (\w, \b, [a&&b]). */
struct regex *regex_new(const char *pattern, size_t n, enum regex_syntax syntax, struct err *err);
void regex_free(struct regex *r);

/* Zero-initialised by the owner; serves any number of regexes, one after the other. */
struct regex_scratch {
    void *match;
};
void regex_scratch_release(struct regex_scratch *s);

/* The first match in text[0..n) that starts at or after `from`, at a character's border.  The text
 * must be valid UTF-8. Returns 1 and the place [*start, *end), 0 if there is none, -1 if the match
 * takes too many steps. */
int regex_find(const struct regex *r, struct regex_scratch *s, const char *text, size_t n,
               size_t from, size_t *start, size_t *end, struct err *err);

#endif
