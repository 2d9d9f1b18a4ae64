/* What `hone inspect` finds out, as JSON objects (outline.h makes text of them).  Each has "kind"
 * first and "problems", a list of sentences, last.  NULL and a sentence where the path cannot be
 * read at all; what is wrong inside is a problem. */
#ifndef HONE_CMD_INSPECT_H
#define HONE_CMD_INSPECT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "util/err.h"

struct inspect_options {
    const char *model, *tokenizer; /* NULL: not given */
    const char *eval_data, *system;
    size_t max_length, rows; /* rows: so many are shown with their masks */
    bool assistant_only;
    bool weights; /* read all weights */
};

/* A Hugging Face folder or a GGUF. */
json_t *inspect_model(const char *path, const struct inspect_options *o, struct err *err);

/* A PEFT adapter's folder. */
json_t *inspect_adapter(const char *path, const struct inspect_options *o, struct err *err);

/* The output folder of a training run. */
json_t *inspect_run(const char *path, const struct inspect_options *o, struct err *err);

/* A file of rows.  With o->model or o->tokenizer lengths and masks too: "rows_shown" has [{"line",
 * "id", "parts": [{"part", "tokens": [{"ids", "text", "trained"}]}]}], where a token that ends
 * inside a character stands together with the next. */
json_t *inspect_data(const char *path, const struct inspect_options *o, struct err *err);

/* Add a sentence to an object's "problems". */
void inspect_problem(json_t *report, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A JSON string of any bytes (what is not UTF-8 becomes U+FFFD). */
json_t *inspect_text(const char *s, size_t n);

#endif
