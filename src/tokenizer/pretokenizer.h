/* Pre-tokenizers: text to words, within which byte pairs merge.
 *
 * A pre-tokenizer is a list of steps; each takes the pieces of the one before apart. */
#ifndef HONE_TOKENIZER_PRETOKENIZER_H
#define HONE_TOKENIZER_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "tokenizer/normalizer.h"
#include "tokenizer/regex.h"
#include "util/buf.h"
#include "util/err.h"

#define PRETOKENIZER_MAX_STEPS 16

/* What becomes of the matches of a pattern and the text between them: each is a piece; matches are
 * dropped; neighbours of one kind are one piece; a match goes with the text before it, or after it. */
enum split_behavior { SPLIT_ISOLATED, SPLIT_REMOVED, SPLIT_CONTIGUOUS, SPLIT_MERGED_WITH_PREVIOUS, SPLIT_MERGED_WITH_NEXT };

/* Which pieces get a space in front that have none: all, only the text's first, or none. */
enum prepend_scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

/* First a piece is written anew, where the step does that, and then split. */
struct pretokenizer_step {
    struct regex *pattern; /* NULL: the piece is not split */
    enum split_behavior behavior;
    bool invert;           /* the text between the matches counts as the match */
    enum prepend_scheme prepend;
    char space[5];         /* each ' ' becomes this, which is also what is prepended; "": nothing does */
    bool letters;          /* bytes become letters of the byte-level alphabet (vocab.h) */
};

struct pretokenizer {
    struct pretokenizer_step steps[PRETOKENIZER_MAX_STEPS];
    size_t n;
    bool letters; /* a step makes letters: words are spellings */
};

struct pretokenizer_scratch {
    struct regex_scratch regex;
    struct buf written[PRETOKENIZER_MAX_STEPS];
};

void pretokenizer_release(struct pretokenizer *p);
void pretokenizer_scratch_release(struct pretokenizer_scratch *s);

/* Add a step, by the name it has in tokenizer.json. */
int pretokenizer_add_split(struct pretokenizer *p, const char *pattern, size_t n, enum regex_syntax syntax,
                           enum split_behavior behavior, bool invert, struct err *err);
int pretokenizer_add_digits(struct pretokenizer *p, bool individual_digits, struct err *err);
int pretokenizer_add_punctuation(struct pretokenizer *p, enum split_behavior behavior, struct err *err);
int pretokenizer_add_whitespace(struct pretokenizer *p, struct err *err);
int pretokenizer_add_whitespace_split(struct pretokenizer *p, struct err *err);
int pretokenizer_add_metaspace(struct pretokenizer *p, const char *replacement, size_t n, enum prepend_scheme prepend,
                               bool split, struct err *err);
int pretokenizer_add_byte_level(struct pretokenizer *p, bool add_prefix_space, bool use_regex,
                                struct err *err);

/* What follows a ByteLevel sees its letters. */
int pretokenizer_add_letters(struct pretokenizer *p, struct err *err);

/* What goes with the name of a pre-tokenizer. */
struct pretokenizer_traits {
    bool ignore_merges, nfc, add_bos;
};

/* The names that GGUF files have for pre-tokenizers; NULL: there are no more.  The first, "default", stands for no name. */
const char *pretokenizer_name(size_t i);

/* What stands behind a name (NULL: the default): patterns, up to a NULL, each of which takes the pieces of the one before apart and
 * isolates its matches.  The very pointer pretokenizer_to_letters in their place says that what follows sees letters.  NULL and a
 * sentence if the name is not known. */
extern const char pretokenizer_to_letters[];
const char *const *pretokenizer_patterns(const char *name, struct pretokenizer_traits *traits, struct err *err);

/* All the steps of a pre-tokenizer that GGUF files name ("smollm", "llama-bpe", ..; NULL is "default", GPT-2's rule). */
int pretokenizer_add_named(struct pretokenizer *p, const char *name, struct pretokenizer_traits *traits, struct err *err);

/* Call word() for each word of text[0..n), in order.  Bytes that are not UTF-8 are words of their
 * own, each run of them one.  word() returns 0, or -1 to stop. */
int pretokenizer_run(const struct pretokenizer *p, struct pretokenizer_scratch *s, const char *text,
                     size_t n, enum piece_place place, int (*word)(void *context, const char *word, size_t n),
                     void *context, struct err *err);

#endif
