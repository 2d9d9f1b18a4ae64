/* Pre-tokenizers: text to words, within which byte pairs merge.
 *
 * A pre-tokenizer is a list of steps; each takes the pieces of the one before apart. */
#ifndef HONE_TOKENIZER_PRETOKENIZER_H
#define HONE_TOKENIZER_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "tokenizer/regex.h"
#include "util/buf.h"
#include "util/err.h"

#define PRETOKENIZER_MAX_STEPS 16

/* What becomes of the matches of a pattern and the text between them: each is a piece; matches are
 * dropped; or neighbours of one kind are one piece. */
enum split_behavior { SPLIT_ISOLATED, SPLIT_REMOVED, SPLIT_CONTIGUOUS };

struct pretokenizer_step {
    struct regex *pattern; /* NULL: the piece is not split */
    enum split_behavior behavior;
    bool invert;           /* the text between the matches counts as the match */
    bool add_prefix_space; /* before that: a space in front of a piece that has none */
};

struct pretokenizer {
    struct pretokenizer_step steps[PRETOKENIZER_MAX_STEPS];
    size_t n;
};

struct pretokenizer_scratch {
    struct regex_scratch regex;
    struct buf prefixed[PRETOKENIZER_MAX_STEPS];
};

void pretokenizer_release(struct pretokenizer *p);
void pretokenizer_scratch_release(struct pretokenizer_scratch *s);

/* Add a step, by the name it has in tokenizer.json. */
int pretokenizer_add_split(struct pretokenizer *p, const char *pattern, size_t n, bool literal,
                           enum split_behavior behavior, bool invert, struct err *err);
int pretokenizer_add_digits(struct pretokenizer *p, bool individual_digits, struct err *err);
int pretokenizer_add_byte_level(struct pretokenizer *p, bool add_prefix_space, bool use_regex,
                                struct err *err);

/* All the steps of a pre-tokenizer that GGUF files name ("smollm", "gpt-2", "llama-bpe", "qwen2";
 * NULL is "default", GPT-2's rule).  *ignore_merges and *nfc: what else goes with the name. */
int pretokenizer_add_named(struct pretokenizer *p, const char *name, bool *ignore_merges, bool *nfc,
                           struct err *err);

/* Call word() for each word of text[0..n), in order.  Bytes that are not UTF-8 are words of their
 * own, each run of them one.  word() returns 0, or -1 to stop. */
int pretokenizer_run(const struct pretokenizer *p, struct pretokenizer_scratch *s, const char *text,
                     size_t n, int (*word)(void *context, const char *word, size_t n),
                     void *context, struct err *err);

#endif
