/* A model's tokenizer and chat template, in the form that the model is written in. */
#ifndef HONE_CHECKPOINT_TEXT_OUT_H
#define HONE_CHECKPOINT_TEXT_OUT_H

#include "checkpoint/gguf_out.h"
#include "model/model.h"

/* Into a GGUF's keys: as they are, if they come from one, otherwise described (tokenizer/describe.h), with the text of the folder's template.
 * A model without a tokenizer gets none, and says so there.  -1 and a sentence if a GGUF cannot hold this tokenizer. */
int text_to_gguf(struct gguf_out *g, const struct model *m, struct err *err);

/* Into a Hugging Face folder: the files of the folder that they come from, or else tokenizer.json, tokenizer_config.json,
 * chat_template.jinja and generation_config.json made from a GGUF.  1, 0 if there is nothing to write, or, with a sentence, if a
 * tokenizer.json cannot hold this tokenizer, -1 and a sentence if a file cannot be written. */
int text_to_folder(const struct model *m, const char *folder, struct err *err);

#endif
