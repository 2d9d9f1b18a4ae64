/* The vocabulary of a GGUF: the keys under tokenizer.ggml as the parts of a tokenizer. */
#ifndef HONE_MODEL_GGUF_TEXT_H
#define HONE_MODEL_GGUF_TEXT_H

#include "model/gguf.h"
#include "tokenizer/tokenizer.h"

struct gguf_text {
    struct tokenizer_parts parts; /* tokens and merges point into the GGUF, which must outlive it */
    int32_t *types;               /* owned */
    float *scores;
    unsigned char *charsmap;
};

/* bos, eos: their ids, -1: none.  1, 0 if the GGUF has no vocabulary, -1 and a sentence. */
int gguf_text_open(struct gguf_text *t, const struct gguf *g, int bos, int eos, struct err *err);
void gguf_text_release(struct gguf_text *t);

#endif
