/* tokenizer.json out: the tokenizer of a GGUF as Hugging Face's tokenizers read it (the file is drawn in tokenizer_json.c). */
#ifndef HONE_TOKENIZER_JSON_OUT_H
#define HONE_TOKENIZER_JSON_OUT_H

#include "tokenizer/tokenizer.h"

/* The text of a tokenizer.json, fresh for free(); NULL and a sentence if the parts are no tokenizer, or one that is not written: Unigram. */
char *tokenizer_parts_to_json(const struct tokenizer_parts *parts, struct err *err);

#endif
