/* Conversations to text and token ids, as a model's chat template renders them.
 *
 * A template is Jinja, which jinja/jinja.h runs as transformers does: it sees `messages`, `tools`,
 * `documents`, `add_generation_prompt`, the special tokens (bos_token ..) and what else was set.
 * What an assistant wrote is told by the render itself, never by comparing texts: the template's own
 * {% generation %} blocks, or else the round of its loop over the messages, from where its generation
 * prompt (or what it writes in that place) ends.
 *
 * A template is read once and then only read: it may be shared between threads. */
#ifndef HONE_DATA_CHAT_H
#define HONE_DATA_CHAT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "tokenizer/tokenizer.h"
#include "util/buf.h"
#include "util/err.h"

/* All is the owner's.  role: "system", "user", "assistant" or "tool".  fields: NULL, or an object of
 * what else the message has (tool_calls, tool_call_id, name, reasoning_content ..), which the template
 * sees; a "content" of null there says that the message has none (`content` is "" then). */
struct message {
    char *role, *content;
    json_t *fields;
};

/* Fields for a message from a record {"role": .., "content": .., ..}: a new reference, or NULL where there
 * are no others.  A message may go without content if it is an assistant's with tool_calls. */
json_t *message_fields(const json_t *record);
bool message_needs_content(const json_t *record);

/* The fields as one line of JSON, to be hashed or compared; nothing where there are none. */
void message_fields_add(struct buf *b, const struct message *m);

/* The variables of its own that a row brings: tools, documents (lists, also as JSON text) and what
 * chat_template_kwargs (an object) holds, as chat_render_with() takes them; *out is NULL where it brings none. */
int chat_row_variables(json_t **out, const json_t *record, struct err *err);

struct chat_template;

/* From the text of a template (text[0..n), as in a GGUF's tokenizer.chat_template), or from a
 * model's folder: chat_template.jinja there, else chat_template in tokenizer_config.json (a string,
 * or a list of named templates, of which "default" is taken), with the special tokens that
 * tokenizer_config.json and special_tokens_map.json name.  NULL and a sentence on failure. */
struct chat_template *chat_template_new(const char *text, size_t n, struct err *err);
struct chat_template *chat_template_open(const char *folder, struct err *err);
void chat_template_free(struct chat_template *t);

/* The text that chat_template_open() takes, as it stands in the folder, read or not: 1, 0 where there is none, -1 and a sentence. */
int chat_template_source(struct buf *out, const char *folder, struct err *err);

/* A variable that every render sees: bos_token, enable_thinking ..  Takes `value` over.  Not while other
 * threads render. */
void chat_template_set(struct chat_template *t, const char *name, json_t *value);

/* What the model writes at the end of its turn: "<|im_end|>".  Its token ends a generation.  "" where the
 * template writes nothing there. */
const char *chat_turn_end(const struct chat_template *t);

/* What asks the model for its turn: "<|im_start|>assistant\n".  NULL where it cannot be told. */
const char *chat_generation_prompt(const struct chat_template *t);

/* The system message that the template puts in front of a conversation that has none, or NULL. */
const char *chat_default_system(const struct chat_template *t);

/* Why answers cannot be told from the rest, or NULL. */
const char *chat_spans_problem(const struct chat_template *t);

/* Where the parts of a rendered text are.  Spans stand in order and cover the text without gaps. An
 * assistant's message is two: its header (CHAT_CONTEXT), then what the model writes (CHAT_ANSWER),
 * from just after "<|im_start|>assistant\n" to and including "<|im_end|>\n". */
enum chat_span_kind { CHAT_CONTEXT, CHAT_ANSWER };

#define CHAT_NO_MESSAGE ((size_t)-1) /* what no message is the reason of, the generation prompt above all */

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
 * which may be NULL.  Returns 0, or -1 with a sentence if a role is not one of the four, the template
 * refuses the conversation, the text passes its ceiling, or the answers cannot be told. */
int chat_render(const struct chat_template *t, const struct message *messages, size_t n, bool add_generation_prompt,
                struct chat_spans *spans, struct buf *text, struct err *err);

/* Append the ids of the rendered conversation to `ids` and as many bytes to `mask`, which may be
 * NULL: 1 where the token is inside the answer of a message from index first_trained on, else 0.
 * Text is cut at the borders of all answers before it is tokenised, so the ids of a prompt with its
 * generation prompt are a prefix of the ids of prompt and completion wherever the texts are.  Answers
 * that cannot be told fail only where they are trained.  Returns 0 or -1. */
int chat_encode(const struct chat_template *t, const struct tokenizer *tokenizer, const struct message *messages, size_t n,
                bool add_generation_prompt, size_t first_trained, struct ids *ids, struct buf *mask, struct err *err);

/* The same two, for a conversation with variables of its own: an object such as {"tools": [..]}, or NULL. */
int chat_render_with(const struct chat_template *t, const json_t *variables, const struct message *messages, size_t n,
                     bool add_generation_prompt, struct chat_spans *spans, struct buf *text, struct err *err);
int chat_encode_with(const struct chat_template *t, const struct tokenizer *tokenizer, const json_t *variables,
                     const struct message *messages, size_t n, bool add_generation_prompt, size_t first_trained,
                     struct ids *ids, struct buf *mask, struct err *err);

#endif
