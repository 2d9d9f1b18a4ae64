/* A tokenizer, wherever it was read from, as the parts that a GGUF holds: the other way round from tokenizer_from_parts().
 *
 * A GGUF says less than a tokenizer.json: it names a pre-tokenizer instead of describing one, has scores instead of SentencePiece's
 * merges, and does not say which special tokens swallow spaces.  So what is described is made again from its parts, and compared: merges one
 * by one, the rest on texts (same.h). */
#ifndef HONE_TOKENIZER_DESCRIBE_H
#define HONE_TOKENIZER_DESCRIBE_H

#include "tokenizer/tokenizer.h"

struct description {
    struct tokenizer_parts parts;
    /* owned, and what parts points to */
    const char **tokens, **merges;
    size_t *token_lens;
    int32_t *types;
    float *scores;
    struct buf pool, merge_pool;
};

/* n_tokens: at least tokenizer_size(); ids that no token has become unused tokens.  -1 and a sentence that begins with what it is if a
 * GGUF cannot say it: Unigram, a pre-tokenizer that has no name there, merges that are no scores. */
int tokenizer_describe(struct description *d, const struct tokenizer *t, size_t n_tokens, struct err *err);
void description_release(struct description *d);

#endif
