/* How a tokenizer is put together: for the files of this folder that read one.
 *
 * Order: tokenizer_new; normalizer, pre-tokenizer, decoder; the vocabulary; the model (bpe_init and merges, or unigram_init and
 * tokens); tokenizer_add_token for each added token; decoder_fill. */
#ifndef HONE_TOKENIZER_TOKENIZER_BUILD_H
#define HONE_TOKENIZER_TOKENIZER_BUILD_H

#include "tokenizer/added.h"
#include "tokenizer/bpe.h"
#include "tokenizer/decoder.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/unigram.h"
#include "tokenizer/vocab.h"

struct tokenizer {
    struct normalizer normalizer;
    struct pretokenizer pretokenizer;
    struct decoder decoder;
    struct vocab vocab;
    bool is_unigram;
    struct bpe bpe;                    /* one of the two */
    struct unigram unigram;
    struct added_set added;            /* found in the text as it is */
    struct added_set added_normalized; /* found in what is left, after normalising */
    struct added_set added_written;    /* those again, as they are written */
    int bos, eos;                      /* -1: none */
    struct ids prefix, suffix;
};

/* Nothing in it; bos and eos are -1. */
struct tokenizer *tokenizer_new(void);

/* Have a token that is in the vocabulary found in text before anything else; a second time: in another way.  With `normalized`
 * its content is normalised as text is. */
int tokenizer_add_token(struct tokenizer *t, const struct added_token *token, bool special,
                        bool normalized, struct err *err);

/* Make a token special that was not declared so, as bos and eos always are. */
int tokenizer_make_special(struct tokenizer *t, int32_t id, struct err *err);

#endif
