/* What the readers of tokenizer.json share. */
#ifndef HONE_TOKENIZER_TOKENIZER_JSON_H
#define HONE_TOKENIZER_TOKENIZER_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "tokenizer/tokenizer_build.h"

static inline bool is_null(const json_t *value)
{
    return !value || json_is_null(value);
}

/* A field that is true, false, or absent, then `otherwise`. */
static inline bool flag(const json_t *object, const char *name, bool otherwise)
{
    const json_t *value = json_object_get(object, name);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

static inline const char *type_of(const json_t *object)
{
    const char *type = json_string_value(json_object_get(object, "type"));
    return type ? type : "";
}

/* The fields of that name.  *is_byte_level: does the pre-tokenizer turn text to bytes? */
int json_read_normalizer(struct tokenizer *t, const json_t *normalizer, struct err *err);
int json_read_pretokenizer(struct tokenizer *t, const json_t *pretokenizer, bool *is_byte_level, struct err *err);
int json_read_decoder(struct tokenizer *t, const json_t *decoder, struct err *err);
int json_read_postprocessor(struct tokenizer *t, const json_t *postprocessor, struct err *err);

#endif
