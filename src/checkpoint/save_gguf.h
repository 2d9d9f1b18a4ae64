/* A model as a GGUF that llama.cpp reads. */
#ifndef HONE_CHECKPOINT_SAVE_GGUF_H
#define HONE_CHECKPOINT_SAVE_GGUF_H

#include "model/adapter.h"

/* The model, with an adapter added to its weights (NULL: none), its tokenizer and its template into one file.  Matrices are of `type` (F32,
 * F16, BF16, Q8_0, Q4_0 or Q4_1), those whose rows are no whole blocks of it F16, vectors F32.
 *
 * -1 and a sentence for what a GGUF has no place for and llama.cpp would compute otherwise. */
int model_save_gguf(const struct model *m, const struct adapter *a, enum dtype type, const char *path, struct err *err);

#endif
