/* Rows to token ids with loss masks: what the trainers and scorers eat.
 *
 * A conversation is rendered once, by the template, and masked by the template's spans, never by comparing ids.
 * Text that no template renders gets in front what the tokenizer's family puts there (BOS), as transformers' tokenizer(text)
 * does; a completion goes on from its prompt.  The ids of the prompt, generation prompt included, are an exact prefix of the ids of prompt and completion: that
 * is checked, and a violation is an error. */
#ifndef HONE_DATA_ENCODE_H
#define HONE_DATA_ENCODE_H

#include "data/rows.h"
#include "tokenizer/tokenizer.h"

struct sequence {
    int32_t *ids;
    uint8_t *mask; /* 1: the token is a target */
    size_t n;
};

/* A tree: a prompt and completions that go on from it.  Rows without a prompt (language modelling) have n == 0
 * there and one completion, the whole. */
struct example {
    const struct row *row;
    struct sequence prompt; /* its mask is not looked at */
    bool learn_prompt;      /* its tokens are targets, too (but the first); false where nobody says */
    struct sequence *completions;
    size_t n_completions;
};

struct examples {
    struct example *list;
    size_t n;
    size_t truncated; /* examples that max_length cut */
    size_t longest;   /* tokens of the longest prompt + completion */
};

enum truncation { TRUNCATE_KEEP_START, TRUNCATE_KEEP_END };

struct encode_options {
    const struct tokenizer *tokenizer;
    const struct chat_template *chat; /* NULL: conversations are refused with chat_problem */
    const char *chat_problem;
    int32_t eos;            /* ends plain text; -1: nothing does */
    size_t max_length;      /* of prompt + completion, in tokens; 0: no limit */
    enum truncation truncation;
    bool assistant_only;    /* of conversations without a prompt, only answers are targets */
    size_t vocab;           /* ids given as such must be below */
};

/* Targets of completion k: the first token of a row without a prompt has nothing before it. */
size_t example_targets(const struct example *e, size_t k);

/* -1 and a sentence that names file, line and remedy; nothing is left to release then. */
int examples_encode(struct examples *out, const struct dataset *data, const struct encode_options *o, struct err *err);
void examples_release(struct examples *e);

#endif
