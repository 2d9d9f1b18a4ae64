/* Conversations to text and token ids, as a model's chat template renders them.
 *
 * ChatML is what is supported so far: "<|im_start|>ROLE\nCONTENT<|im_end|>\n" a message, perhaps
 * with a system message of the template's own in front where the first message is none, and
 * "<|im_start|>assistant\n" as the generation prompt.  A template is read statement by statement
 * and taken only if it does just that, so that what comes out is what Jinja renders; every other
 * template is refused.
 *
 * A template is read once and then only read: it may be shared between threads. */
#ifndef HONE_DATA_CHAT_H
#define HONE_DATA_CHAT_H

#include <stdbool.h>
#include <stddef.h>

#include "tokenizer/tokenizer.h"
#include "util/buf.h"
#include "util/err.h"

/* Both strings are the owner's.  role: "system", "user", "assistant" or "tool". */
struct message {
    char *role, *content;
};

struct chat_template;

/* From the text of a template (text[0..n), as in a GGUF's tokenizer.chat_template), or from a
 * model's folder: chat_template.jinja there, else chat_template in tokenizer_config.json (a string,
 * or a list of named templates, of which "default" is taken).  NULL and a sentence on failure. */
struct chat_template *chat_template_new(const char *text, size_t n, struct err *err);
struct chat_template *chat_template_open(const char *folder, struct err *err);
void chat_template_free(struct chat_template *t);

/* What the model writes at the end of its turn: "<|im_end|>".  Its token ends a generation. */
const char *chat_turn_end(const struct chat_template *t);

/* The system message that the template puts in front of a conversation that has none, or NULL. */
const char *chat_default_system(const struct chat_template *t);

/* Where the parts of a rendered text are.  Spans stand in order and cover the text without gaps. An
 * assistant's message is two: its header (CHAT_CONTEXT), then what the model writes (CHAT_ANSWER),
 * from just after "<|im_start|>assistant\n" to and including "<|im_end|>\n". */
enum chat_span_kind { CHAT_CONTEXT, CHAT_ANSWER };

#define CHAT_NO_MESSAGE ((size_t)-1) /* the default system message and the generation prompt */

struct chat_span {
    size_t start, end; /* byte offsets, [start, end) */
    size_t message;    /* index of the message, or CHAT_NO_MESSAGE */
    enum chat_span_kind kind;
};

struct chat_spans {
    struct chat_span *data;
    size_t n, capacity;
};
void chat_spans_release(struct chat_spans *spans);

/* Append the rendered conversation to `text`, and its spans (offsets into text->data) to `spans`,
 * which may be NULL.  Returns 0, or -1 with a sentence if a role is not one of the four or the text
 * passes its ceiling. */
int chat_render(const struct chat_template *t, const struct message *messages, size_t n,
                bool add_generation_prompt, struct chat_spans *spans, struct buf *text,
                struct err *err);

/* Append the ids of the rendered conversation to `ids` and as many bytes to `mask`, which may be
 * NULL: 1 where the token is inside the answer of a message from index first_trained on, else 0.
 * Text is cut at the borders of all answers before it is tokenised, so the ids of a prompt with its
 * generation prompt are always a prefix of the ids of prompt and completion.  Returns 0 or -1. */
int chat_encode(const struct chat_template *t, const struct tokenizer *tokenizer,
                const struct message *messages, size_t n, bool add_generation_prompt,
                size_t first_trained, struct ids *ids, struct buf *mask, struct err *err);

#endif
