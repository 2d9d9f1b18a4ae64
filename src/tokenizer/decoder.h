/* Decoders: what a token stands for in text.
 *
 * A decoder is a list of steps over each token, and perhaps characters that are taken off the ends of the whole text.  So all
 * but the first token of a text always stand for the same bytes, which are kept with the vocabulary. */
#ifndef HONE_TOKENIZER_DECODER_H
#define HONE_TOKENIZER_DECODER_H

#include <stdbool.h>
#include <stddef.h>

#include "tokenizer/regex.h"
#include "tokenizer/vocab.h"
#include "util/buf.h"
#include "util/err.h"

#define DECODER_MAX_STEPS 8

enum decoder_kind {
    DECODER_REPLACE,       /* each match of `pattern` by `text` */
    DECODER_BYTE_FALLBACK, /* "<0xNN>" is a byte */
    DECODER_METASPACE,     /* `text` is a space, or nothing in the first token where `left` is set */
    DECODER_STRIP,         /* up to left, right times `text` off the sides */
};

struct decoder_step {
    enum decoder_kind kind;
    struct regex *pattern;
    struct buf text;
    size_t left, right;
};

struct decoder {
    struct decoder_step steps[DECODER_MAX_STEPS];
    size_t n;
    bool fused;              /* the next steps see the whole text */
    struct decoder_step all; /* a STRIP of the whole text; its text is "" where there is none */
    bool byte_level;         /* spellings in the byte-level alphabet stand for bytes; then there are no steps */
};

void decoder_init(struct decoder *d);
void decoder_release(struct decoder *d);

/* Add a step, also one that is for the whole text.  What it needs is the caller's to fill in. NULL if it cannot be. */
struct decoder_step *decoder_add(struct decoder *d, enum decoder_kind kind, const char *text, size_t n, struct err *err);

/* Let the tokens of a complete vocabulary stand for what the steps make of them. */
int decoder_fill(const struct decoder *d, struct vocab *v, struct err *err);

/* Append what the text's first token stands for. */
int decoder_first(const struct decoder *d, struct buf *out, const char *spelling, size_t n);

/* Take off what the whole text, out from `start` on, loses at its sides. */
void decoder_strip(const struct decoder *d, struct buf *out, size_t start);

#endif
