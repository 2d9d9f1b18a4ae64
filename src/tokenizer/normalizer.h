/* Normalizers: what a tokenizer makes of a text before it looks for words.
 *
 * A normalizer is a list of steps, each over what the one before wrote. */
#ifndef HONE_TOKENIZER_NORMALIZER_H
#define HONE_TOKENIZER_NORMALIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tokenizer/charsmap.h"
#include "tokenizer/forms.h"
#include "tokenizer/regex.h"
#include "util/buf.h"
#include "util/err.h"

#define NORMALIZER_MAX_STEPS 16
#define NORMALIZER_MAX_TEXT ((size_t)1 << 32) /* bytes of what a step may write */

enum normalizer_kind {
    NORMALIZER_FORM,      /* Unicode's form C, D, KC or KD */
    NORMALIZER_LOWERCASE,
    NORMALIZER_STRIP,     /* white space off the sides */
    NORMALIZER_PREPEND,   /* `text` in front of what is not empty */
    NORMALIZER_REPLACE,   /* each match of `pattern` by `text` */
    NORMALIZER_CHARSMAP,
};

struct normalizer_step {
    enum normalizer_kind kind;
    enum form form;
    bool left, right;          /* STRIP */
    struct regex *pattern;
    struct buf text;
    struct charsmap *charsmap;
};

struct normalizer {
    struct normalizer_step steps[NORMALIZER_MAX_STEPS];
    size_t n;
};

struct normalizer_scratch {
    struct regex_scratch regex;
    struct buf text[2];
};

/* Where in its text a piece stands. */
enum piece_place {
    PIECE_START,  /* at the very beginning */
    PIECE_LATER,  /* after a token that was found in the text */
    PIECE_MIDDLE, /* in the middle of text that was cut before it: nothing is put in front of it */
};

void normalizer_release(struct normalizer *z);
void normalizer_scratch_init(struct normalizer_scratch *s);
void normalizer_scratch_release(struct normalizer_scratch *s);

/* Add a step; NULL if there are too many. What it needs is the caller's to fill in, and the normalizer's to free. */
struct normalizer_step *normalizer_add(struct normalizer *z, enum normalizer_kind kind, struct err *err);
int normalizer_add_replace(struct normalizer *z, const char *pattern, size_t n, enum regex_syntax syntax, const char *by,
                           size_t by_len, struct err *err);
int normalizer_add_prepend(struct normalizer *z, const char *text, size_t n, struct err *err);

/* *text[0..*n) normalised; it stays the caller's, or the scratch's, until the next run.  Bytes that are not UTF-8 stay as they
 * are.  A piece that has lost its first character is no longer PIECE_START, but PIECE_LATER.  -1 if a pattern cannot be
 * matched or the text becomes too long. */
int normalizer_run(const struct normalizer *z, struct normalizer_scratch *s, const char **text, size_t *n,
                   enum piece_place *place, struct err *err);

/* White space as Unicode has it. */
bool char_is_white(uint32_t c);

#endif
