/* The pipeline of a tokenizer.json: what is done to a text before the model and after it.
 *
 *   normalizer      null or {"type": "NFC"}, {"type": "Prepend", "prepend": "_"}, ..
 *   pre_tokenizer   {"type": "Metaspace", "replacement": "_", "prepend_scheme": "first", "split": false}, ..
 *   decoder         {"type": "Sequence", "decoders": [{"type": "Replace", ..}, {"type": "ByteFallback"}, ..]}
 *   post_processor  {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
 *                    "special_tokens": {"<s>": {"ids": [1]}}}
 *
 * Several in turn are a "Sequence" each. */
#include <string.h>

#include "tokenizer/tokenizer_json.h"

#define MAX_AROUND 16 /* tokens that a post_processor puts in front of a text, or after it */
#define MAX_DEPTH 8   /* of a Sequence in a Sequence */

static const json_t *text_field(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_string(value) ? value : NULL;
}

/* {"String": ".."} or {"Regex": ".."}; old files write the string alone. */
static const json_t *read_pattern(const json_t *step, enum regex_syntax *syntax)
{
    const json_t *pattern = json_object_get(step, "pattern"), *regex = text_field(pattern, "Regex");
    *syntax = regex ? REGEX_FILE : REGEX_LITERAL;
    return regex ? regex : json_is_string(pattern) ? pattern : text_field(pattern, "String");
}

static int read_replace(struct tokenizer *t, const json_t *step, struct err *err)
{
    enum regex_syntax syntax;
    const json_t *pattern = read_pattern(step, &syntax), *content = text_field(step, "content");
    if (!pattern || !content)
        return err_set(err, "normalizer: 'Replace' has no pattern (a Regex or a String) or no content");
    return normalizer_add_replace(&t->normalizer, json_string_value(pattern), json_string_length(pattern), syntax,
                                  json_string_value(content), json_string_length(content), err);
}

static int read_normalizer(struct tokenizer *t, const json_t *o, int depth, struct err *err)
{
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"}; /* in the order of enum form */
    const char *type = type_of(o);
    struct normalizer *z = &t->normalizer;
    struct normalizer_step *step;
    for (size_t i = 0; i < 4; i++)
        if (strcmp(type, forms[i]) == 0) {
            if (!(step = normalizer_add(z, NORMALIZER_FORM, err)))
                return -1;
            step->form = (enum form)i;
            return 0;
        }
    if (strcmp(type, "Sequence") == 0 && depth < MAX_DEPTH) {
        size_t i;
        json_t *part;
        json_array_foreach(json_object_get(o, "normalizers"), i, part)
        {
            if (read_normalizer(t, part, depth + 1, err))
                return -1;
        }
        return 0;
    }
    if (strcmp(type, "Lowercase") == 0)
        return normalizer_add(z, NORMALIZER_LOWERCASE, err) ? 0 : -1;
    if (strcmp(type, "StripAccents") == 0)
        return normalizer_add_replace(z, "\\p{M}", 5, REGEX_OWN, "", 0, err);
    if (strcmp(type, "Replace") == 0)
        return read_replace(t, o, err);
    if (strcmp(type, "Prepend") == 0) {
        const json_t *text = text_field(o, "prepend");
        if (!text)
            return err_set(err, "normalizer: 'Prepend' does not say what");
        return normalizer_add_prepend(z, json_string_value(text), json_string_length(text), err);
    }
    if (strcmp(type, "Strip") == 0) {
        if (!(step = normalizer_add(z, NORMALIZER_STRIP, err)))
            return -1;
        step->left = flag(o, "strip_left", true);
        step->right = flag(o, "strip_right", true);
        return 0;
    }
    if (strcmp(type, "Precompiled") == 0) {
        const json_t *map = text_field(o, "precompiled_charsmap");
        if (!map)
            return err_set(err, "normalizer: 'Precompiled' has no precompiled_charsmap");
        if (json_string_length(map) == 0)
            return 0;
        if (!(step = normalizer_add(z, NORMALIZER_CHARSMAP, err)))
            return -1;
        step->charsmap = charsmap_from_base64(json_string_value(map), json_string_length(map), true, err);
        return step->charsmap ? 0 : err_prefix(err, "normalizer");
    }
    return err_set(err,
                   "the normalizer '%.60s' is not supported: NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Prepend, "
                   "Replace, Precompiled and Sequence are", type);
}

int json_read_normalizer(struct tokenizer *t, const json_t *normalizer, struct err *err)
{
    return is_null(normalizer) ? 0 : read_normalizer(t, normalizer, 0, err);
}

/* The step's behavior, as `Split` and `Punctuation` have it. */
static int read_behavior(enum split_behavior *behavior, const json_t *step, struct err *err)
{
    static const struct {
        const char *name;
        enum split_behavior behavior;
    } known[] = {
        {"Isolated", SPLIT_ISOLATED},
        {"Removed", SPLIT_REMOVED},
        {"Contiguous", SPLIT_CONTIGUOUS},
        {"MergedWithPrevious", SPLIT_MERGED_WITH_PREVIOUS},
        {"MergedWithNext", SPLIT_MERGED_WITH_NEXT},
    };
    const char *name = json_string_value(json_object_get(step, "behavior"));
    *behavior = SPLIT_ISOLATED;
    if (!name && strcmp(type_of(step), "Punctuation") == 0)
        return 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (name && strcmp(name, known[i].name) == 0) {
            *behavior = known[i].behavior;
            return 0;
        }
    return err_set(err,
                   "pre_tokenizer: the behavior '%.60s' of '%s' is not supported: Isolated, Removed, Contiguous, "
                   "MergedWithPrevious and MergedWithNext are", name ? name : "", type_of(step));
}

static int read_split(struct tokenizer *t, const json_t *step, struct err *err)
{
    enum regex_syntax syntax;
    enum split_behavior behavior;
    const json_t *pattern = read_pattern(step, &syntax);
    if (!pattern)
        return err_set(err,
                       "pre_tokenizer: the pattern of 'Split' is neither a Regex nor a String");
    if (read_behavior(&behavior, step, err))
        return -1;
    return pretokenizer_add_split(&t->pretokenizer, json_string_value(pattern), json_string_length(pattern), syntax, behavior,
                                  flag(step, "invert", false), err);
}

/* always, first or never; older files have add_prefix_space instead. */
static int read_scheme(enum prepend_scheme *scheme, const json_t *o, struct err *err)
{
    const char *name = json_string_value(json_object_get(o, "prepend_scheme"));
    *scheme = flag(o, "add_prefix_space", true) ? PREPEND_ALWAYS : PREPEND_NEVER;
    if (name && strcmp(name, "always") == 0)
        *scheme = PREPEND_ALWAYS;
    else if (name && strcmp(name, "first") == 0)
        *scheme = PREPEND_FIRST;
    else if (name && strcmp(name, "never") == 0)
        *scheme = PREPEND_NEVER;
    else if (name)
        return err_set(err, "the prepend_scheme '%.60s' of 'Metaspace' is not supported: always, first and never are", name);
    return 0;
}

static int read_metaspace(struct tokenizer *t, const json_t *step, struct err *err)
{
    enum prepend_scheme scheme;
    const json_t *replacement = text_field(step, "replacement");
    if (!replacement)
        return err_set(err, "pre_tokenizer: 'Metaspace' has no replacement");
    if (read_scheme(&scheme, step, err))
        return err_prefix(err, "pre_tokenizer");
    return pretokenizer_add_metaspace(&t->pretokenizer, json_string_value(replacement), json_string_length(replacement), scheme,
                                      flag(step, "split", true), err);
}

static int read_step(struct tokenizer *t, const json_t *step, bool *is_byte_level, int depth, struct err *err)
{
    const char *type = type_of(step);
    struct pretokenizer *p = &t->pretokenizer;
    if (strcmp(type, "Sequence") == 0 && depth < MAX_DEPTH) {
        size_t i;
        json_t *part;
        json_array_foreach(json_object_get(step, "pretokenizers"), i, part)
        {
            if (read_step(t, part, is_byte_level, depth + 1, err))
                return -1;
        }
        return 0;
    }
    if (*is_byte_level && strcmp(type, "ByteLevel") == 0)
        return err_set(err, "the pre-tokenizer '%.60s' after 'ByteLevel' is not supported", type);
    if (*is_byte_level && !p->letters && pretokenizer_add_letters(p, err))
        return -1;
    if (strcmp(type, "Split") == 0)
        return read_split(t, step, err);
    if (strcmp(type, "Digits") == 0)
        return pretokenizer_add_digits(p, flag(step, "individual_digits", false), err);
    if (strcmp(type, "Punctuation") == 0) {
        enum split_behavior behavior;
        return read_behavior(&behavior, step, err) ? -1 : pretokenizer_add_punctuation(p, behavior, err);
    }
    if (strcmp(type, "Whitespace") == 0)
        return pretokenizer_add_whitespace(p, err);
    if (strcmp(type, "WhitespaceSplit") == 0)
        return pretokenizer_add_whitespace_split(p, err);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(t, step, err);
    if (strcmp(type, "ByteLevel") == 0) {
        *is_byte_level = true;
        return pretokenizer_add_byte_level(p, flag(step, "add_prefix_space", true),
                                           flag(step, "use_regex", true), err);
    }
    return err_set(err,
                   "the pre-tokenizer '%.60s' is not supported: ByteLevel, Digits, Metaspace, Punctuation, Split, Whitespace, "
                   "WhitespaceSplit and Sequence are", type);
}

int json_read_pretokenizer(struct tokenizer *t, const json_t *pretokenizer, bool *is_byte_level, struct err *err)
{
    *is_byte_level = false;
    return is_null(pretokenizer) ? 0 : read_step(t, pretokenizer, is_byte_level, 0, err);
}

static int read_decoder_replace(struct tokenizer *t, const json_t *o, struct err *err)
{
    enum regex_syntax syntax;
    const json_t *pattern = read_pattern(o, &syntax), *content = text_field(o, "content");
    if (!pattern || !content)
        return err_set(err, "decoder: 'Replace' has no pattern (a Regex or a String) or no content");
    struct decoder_step *step =
        decoder_add(&t->decoder, DECODER_REPLACE, json_string_value(content), json_string_length(content), err);
    if (!step)
        return -1;
    step->pattern = regex_new(json_string_value(pattern), json_string_length(pattern), syntax, err);
    return step->pattern ? 0 : err_prefix(err, "decoder");
}

/* A count of characters, such as a Strip's "start". */
static int read_count(size_t *n, const json_t *o, const char *name, struct err *err)
{
    const json_t *value = json_object_get(o, name);
    if (!is_null(value) && (!json_is_integer(value) || json_integer_value(value) < 0))
        return err_set(err, "decoder: '%s' of 'Strip' is not a number", name);
    *n = (size_t)json_integer_value(value);
    return 0;
}

static int read_decoder(struct tokenizer *t, const json_t *o, int depth, struct err *err)
{
    struct decoder *d = &t->decoder;
    struct decoder_step *step;
    const char *type = type_of(o);
    if (strcmp(type, "Sequence") == 0 && depth < MAX_DEPTH) {
        size_t i;
        json_t *part;
        json_array_foreach(json_object_get(o, "decoders"), i, part)
        {
            if (read_decoder(t, part, depth + 1, err))
                return -1;
        }
        return 0;
    }
    if (d->byte_level || (strcmp(type, "ByteLevel") == 0 && (d->n || d->fused)))
        return err_set(err, "the decoder '%.60s' beside 'ByteLevel' is not supported", type);
    if (strcmp(type, "ByteLevel") == 0) {
        d->byte_level = true;
        return 0;
    }
    if (strcmp(type, "Replace") == 0)
        return read_decoder_replace(t, o, err);
    if (strcmp(type, "ByteFallback") == 0)
        return decoder_add(d, DECODER_BYTE_FALLBACK, "", 0, err) ? 0 : -1;
    if (strcmp(type, "Fuse") == 0) {
        d->fused = true;
        return 0;
    }
    if (strcmp(type, "Strip") == 0) {
        const json_t *content = text_field(o, "content");
        if (!content || !json_string_length(content))
            return err_set(err, "decoder: 'Strip' does not say what");
        step = decoder_add(d, DECODER_STRIP, json_string_value(content), json_string_length(content), err);
        return !step || read_count(&step->left, o, "start", err) || read_count(&step->right, o, "stop", err) ? -1 : 0;
    }
    if (strcmp(type, "Metaspace") == 0) {
        enum prepend_scheme scheme;
        const json_t *replacement = text_field(o, "replacement");
        if (!replacement || !json_string_length(replacement))
            return err_set(err, "decoder: 'Metaspace' has no replacement");
        step = decoder_add(d, DECODER_METASPACE, json_string_value(replacement), json_string_length(replacement), err);
        if (!step || read_scheme(&scheme, o, err))
            return -1;
        step->left = scheme != PREPEND_NEVER;
        return 0;
    }
    return err_set(err,
                   "the decoder '%.60s' is not supported: ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace and "
                   "Sequence are", type);
}

int json_read_decoder(struct tokenizer *t, const json_t *decoder, struct err *err)
{
    return is_null(decoder) ? 0 : read_decoder(t, decoder, 0, err);
}

static int add_around(struct tokenizer *t, struct ids *around, const json_t *id, struct err *err)
{
    json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
    if (value < 0 || (size_t)value >= t->vocab.n || around->n == MAX_AROUND)
        return err_set(err, "post_processor: token %lld is not in the vocabulary, or one of more than %d", (long long)value,
                       MAX_AROUND);
    ids_add(around, (int32_t)value);
    return 0;
}

static int read_template(struct tokenizer *t, const json_t *o, struct err *err)
{
    size_t i, k;
    json_t *part, *id;
    struct ids *around = &t->prefix;
    json_array_foreach(json_object_get(o, "single"), i, part)
    {
        if (json_object_get(part, "Sequence")) {
            around = &t->suffix;
            continue;
        }
        const char *name = json_string_value(json_object_get(json_object_get(part, "SpecialToken"), "id"));
        const json_t *ids = name ? json_object_get(json_object_get(json_object_get(o, "special_tokens"), name), "ids") : NULL;
        if (!json_is_array(ids))
            return err_set(err, "post_processor: entry %zu of 'single' is neither a Sequence nor a token of 'special_tokens'",
                           i);
        json_array_foreach((json_t *)ids, k, id)
        {
            if (add_around(t, around, id, err))
                return -1;
        }
    }
    return 0;
}

static int read_postprocessor(struct tokenizer *t, const json_t *o, int depth, struct err *err)
{
    const char *type = type_of(o);
    if (strcmp(type, "Sequence") == 0 && depth < MAX_DEPTH) {
        size_t i;
        json_t *part;
        json_array_foreach(json_object_get(o, "processors"), i, part)
        {
            if (read_postprocessor(t, part, depth + 1, err))
                return -1;
        }
        return 0;
    }
    if (strcmp(type, "TemplateProcessing") == 0)
        return read_template(t, o, err);
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) /* "cls": ["<s>", 0] */
        return add_around(t, &t->prefix, json_array_get(json_object_get(o, "cls"), 1), err) ||
                       add_around(t, &t->suffix, json_array_get(json_object_get(o, "sep"), 1), err)
                   ? -1
                   : 0;
    if (strcmp(type, "ByteLevel") == 0) /* of places in the text only */
        return 0;
    return err_set(err,
                   "the post_processor '%.60s' is not supported: TemplateProcessing, BertProcessing, RobertaProcessing, "
                   "ByteLevel and Sequence are", type);
}

int json_read_postprocessor(struct tokenizer *t, const json_t *postprocessor, struct err *err)
{
    return is_null(postprocessor) ? 0 : read_postprocessor(t, postprocessor, 0, err);
}
