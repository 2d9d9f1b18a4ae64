/* SentencePiece's BPE, as GGUF files hold it: no list of merges, but a score for each token.
 *
 * Two neighbours merge if what they spell together is a token; the higher its score, the earlier. */
#ifndef HONE_TOKENIZER_SPM_H
#define HONE_TOKENIZER_SPM_H

#include "tokenizer/bpe.h"
#include "tokenizer/vocab.h"

/* GGUF's types of token. */
enum token_type { TOKEN_NORMAL = 1, TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_USER_DEFINED, TOKEN_UNUSED, TOKEN_BYTE };

/* Is it made of text, not of a byte or of none? */
bool token_is_text(int32_t type);

/* Give b the merges that scores (n) stand for.  types (n) may be NULL: all are normal. */
void spm_add_merges(struct bpe *b, const struct vocab *v, const float *scores, const int32_t *types, size_t n);

#endif
