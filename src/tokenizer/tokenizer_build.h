/* How a tokenizer is put together: for the files of this folder that read one.
 *
 * Order: tokenizer_new; the vocabulary; bpe_init; merges; tokenizer_add_token for each added token;
 * pre-tokenizer steps. */
#ifndef HONE_TOKENIZER_TOKENIZER_BUILD_H
#define HONE_TOKENIZER_TOKENIZER_BUILD_H

#include "tokenizer/added.h"
#include "tokenizer/bpe.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocab.h"

struct tokenizer {
    struct vocab vocab;
    struct added_set added;            /* found in the text as it is */
    struct added_set added_normalized; /* found in what is left, after normalising */
    struct pretokenizer pretokenizer;
    struct bpe bpe;
    bool nfc;     /* text is normalised to form C */
    int bos, eos; /* -1: none */
};

/* Nothing in it; bos and eos are -1. */
struct tokenizer *tokenizer_new(void);

/* Have a token that is in the vocabulary found in text before anything else.  With `normalized` its
 * content is normalised as text is (t->nfc must be set by then). */
int tokenizer_add_token(struct tokenizer *t, const struct added_token *token, bool special,
                        bool normalized, struct err *err);

/* Make a token special that was not declared so, as bos and eos always are. */
int tokenizer_make_special(struct tokenizer *t, int32_t id, struct err *err);

#endif
