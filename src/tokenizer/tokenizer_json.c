/* tokenizer.json, as Hugging Face's tokenizers write it, with the files beside it:
 *
 *   tokenizer.json           {"added_tokens": [{"id", "content", "special", ..}], "normalizer",
 *                             "pre_tokenizer", "decoder", "model": {"type": "BPE",
 *                             "vocab": {"spelling": id}, "merges": ["a b"] or [["a", "b"]]}}
 *   tokenizer_config.json    {"bos_token": "<s>" or {"content": "<s>"} or null, "eos_token"}
 *   special_tokens_map.json  the same two, in older folders
 *
 * post_processor (what is put around a text), truncation and padding are no business of ours. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_build.h"
#include "util/file.h"
#include "util/mem.h"

#define MAX_FILE ((size_t)256 << 20)

static json_t *parse(const char *text, size_t n, size_t flags, struct err *err)
{
    json_error_t why;
    json_t *root = json_loadb(text, n, flags, &why);
    if (!root)
        err_set(err, "line %d: %s", why.line, why.text);
    else if (!json_is_object(root))
        err_set(err, "the file is not a JSON object");
    else
        return root;
    json_decref(root);
    return NULL;
}

static json_t *read_file(const char *path, size_t flags, struct err *err)
{
    struct buf text;
    buf_init(&text, MAX_FILE);
    json_t *root = NULL;
    if (!file_read(path, &text, err)) {
        root = parse(text.data, text.len, flags, err);
        if (!root)
            err_prefix(err, "'%s'", path);
    }
    buf_release(&text);
    return root;
}

static bool is_null(const json_t *value)
{
    return !value || json_is_null(value);
}

/* A field that is true, false, or absent, then `otherwise`. */
static bool flag(const json_t *object, const char *name, bool otherwise)
{
    const json_t *value = json_object_get(object, name);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

static const char *type_of(const json_t *object)
{
    const char *type = json_string_value(json_object_get(object, "type"));
    return type ? type : "";
}

static int read_vocab(struct tokenizer *t, const json_t *model, const json_t *added,
                      struct err *err)
{
    const json_t *vocab = json_object_get(model, "vocab");
    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        return err_set(err, "model.vocab is not an object of tokens and ids");
    const char *spelling;
    json_t *value;
    json_object_foreach((json_t *)vocab, spelling, value)
    {
        if (!json_is_integer(value))
            return err_set(err, "model.vocab: the id of '%.60s' is not a number", spelling);
        if (vocab_add(&t->vocab, json_integer_value(value), spelling, strlen(spelling), err))
            return err_prefix(err, "model.vocab");
    }
    /* Added tokens may be in the vocabulary or go on from it. */
    size_t i;
    json_array_foreach((json_t *)added, i, value)
    {
        const json_t *content = json_object_get(value, "content"),
                     *id = json_object_get(value, "id");
        size_t n = json_string_length(content);
        if (!json_is_string(content) || !json_is_integer(id))
            return err_set(err, "added_tokens: entry %zu has no content or no id", i);
        int32_t known = vocab_find(&t->vocab, json_string_value(content), n);
        if (known >= 0 && known != json_integer_value(id))
            return err_set(err, "added_tokens: '%.60s' has id %lld, but the vocabulary says %d",
                           json_string_value(content), (long long)json_integer_value(id),
                           (int)known);
        if (known < 0 && n &&
            vocab_add(&t->vocab, json_integer_value(id), json_string_value(content), n, err))
            return err_prefix(err, "added_tokens");
    }
    return 0;
}

static int read_added(struct tokenizer *t, const json_t *added, struct err *err)
{
    size_t i;
    json_t *value;
    json_array_foreach((json_t *)added, i, value)
    {
        if (json_string_length(json_object_get(value, "content")) == 0)
            continue;
        bool special = flag(value, "special", false);
        struct added_token token = {
            .id = (int32_t)json_integer_value(json_object_get(value, "id")),
            .single_word = flag(value, "single_word", false),
            .lstrip = flag(value, "lstrip", false),
            .rstrip = flag(value, "rstrip", false),
        };
        if (tokenizer_add_token(t, &token, special, flag(value, "normalized", !special), err))
            return -1;
    }
    return 0;
}

/* "a b" or ["a", "b"] */
static int read_merge(struct tokenizer *t, const json_t *merge, size_t i, struct err *err)
{
    const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
    if (json_is_string(left) && json_is_string(right) && json_array_size(merge) == 2)
        return bpe_add_merge(&t->bpe, &t->vocab, json_string_value(left), json_string_length(left),
                             json_string_value(right), json_string_length(right), (uint32_t)i, err);
    const char *text = json_string_value(merge), *space = text ? strchr(text, ' ') : NULL;
    if (!space || strchr(space + 1, ' '))
        return err_set(err, "entry %zu is not \"a b\" or [\"a\", \"b\"]", i);
    return bpe_add_merge(&t->bpe, &t->vocab, text, (size_t)(space - text), space + 1,
                         strlen(space + 1), (uint32_t)i, err);
}

static int read_model(struct tokenizer *t, const json_t *model, const json_t *added,
                      struct err *err)
{
    const char *type = type_of(model);
    if (*type ? strcmp(type, "BPE") != 0 : !json_object_get(model, "merges"))
        return err_set(err, "model.type '%.60s' is not supported: byte-level BPE is", type);
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++)
        if (json_string_length(json_object_get(model, affixes[i])))
            return err_set(err, "model.%s is not supported", affixes[i]);
    if (json_number_value(json_object_get(model, "dropout")) != 0)
        return err_set(err, "model.dropout is not supported: ids would be random");
    if (flag(model, "byte_fallback", false))
        return err_set(err,
                       "model.byte_fallback is not supported: byte-level BPE has no need of it");
    const json_t *merges = json_object_get(model, "merges");
    if (!json_is_array(merges))
        return err_set(err, "model.merges is not a list");
    if (read_vocab(t, model, added, err))
        return -1;

    bpe_init(&t->bpe, &t->vocab);
    t->bpe.fuse_unk = flag(model, "fuse_unk", false);
    t->bpe.ignore_merges = flag(model, "ignore_merges", false);
    const json_t *unk = json_object_get(model, "unk_token");
    if (json_string_length(unk)) {
        t->bpe.unk = vocab_find(&t->vocab, json_string_value(unk), json_string_length(unk));
        if (t->bpe.unk < 0)
            return err_set(err, "model.unk_token '%.60s' is not in the vocabulary",
                           json_string_value(unk));
    }
    size_t i;
    json_t *merge;
    json_array_foreach((json_t *)merges, i, merge)
    {
        if (read_merge(t, merge, i, err))
            return err_prefix(err, "model.merges");
    }
    return 0;
}

static int read_normalizer(struct tokenizer *t, const json_t *normalizer, struct err *err)
{
    if (is_null(normalizer))
        return 0;
    const char *type = type_of(normalizer);
    const json_t *parts = json_object_get(normalizer, "normalizers");
    if (strcmp(type, "NFC") == 0) {
        t->nfc = true;
    } else if (strcmp(type, "Sequence") == 0 && json_is_array(parts)) {
        size_t i;
        json_t *part;
        json_array_foreach((json_t *)parts, i, part)
        {
            if (strcmp(type_of(part), "NFC") != 0)
                return err_set(err, "the normalizer '%.60s' is not supported: NFC is",
                               type_of(part));
            t->nfc = true;
        }
    } else {
        return err_set(err, "the normalizer '%.60s' is not supported: NFC is", type);
    }
    return 0;
}

static int read_split(struct tokenizer *t, const json_t *step, struct err *err)
{
    static const struct {
        const char *name;
        enum split_behavior behavior;
    } known[] = {
        {"Isolated", SPLIT_ISOLATED}, {"Removed", SPLIT_REMOVED}, {"Contiguous", SPLIT_CONTIGUOUS}};
    const json_t *pattern = json_object_get(step, "pattern"),
                 *regex = json_object_get(pattern, "Regex");
    const json_t *text = regex ? regex : json_object_get(pattern, "String");
    const char *behavior = json_string_value(json_object_get(step, "behavior"));
    if (!json_is_string(text))
        return err_set(err,
                       "pre_tokenizer: the pattern of 'Split' is neither a Regex nor a String");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (behavior && strcmp(behavior, known[i].name) == 0)
            return pretokenizer_add_split(&t->pretokenizer, json_string_value(text),
                                          json_string_length(text), !regex, known[i].behavior,
                                          flag(step, "invert", false), err);
    return err_set(err,
                   "pre_tokenizer: the behavior '%.60s' of 'Split' is not supported: Isolated, "
                   "Removed and Contiguous are",
                   behavior ? behavior : "");
}

/* *is_byte_level is set once the text has been turned to bytes, after which patterns would see the
 * alphabet. */
static int read_step(struct tokenizer *t, const json_t *step, bool *is_byte_level, struct err *err)
{
    const char *type = type_of(step);
    if (strcmp(type, "Sequence") == 0) {
        size_t i;
        json_t *part;
        json_array_foreach(json_object_get(step, "pretokenizers"), i, part)
        {
            if (read_step(t, part, is_byte_level, err))
                return -1;
        }
        return 0;
    }
    if (*is_byte_level)
        return err_set(err, "the pre-tokenizer '%.60s' after 'ByteLevel' is not supported", type);
    if (strcmp(type, "Split") == 0)
        return read_split(t, step, err);
    if (strcmp(type, "Digits") == 0)
        return pretokenizer_add_digits(&t->pretokenizer, flag(step, "individual_digits", false),
                                       err);
    if (strcmp(type, "ByteLevel") == 0) {
        *is_byte_level = true;
        return pretokenizer_add_byte_level(&t->pretokenizer, flag(step, "add_prefix_space", true),
                                           flag(step, "use_regex", true), err);
    }
    return err_set(
        err,
        "the pre-tokenizer '%.60s' is not supported: ByteLevel, Digits, Split and Sequence are",
        type);
}

static int read_pretokenizer(struct tokenizer *t, const json_t *pretokenizer, struct err *err)
{
    bool is_byte_level = false;
    if (!is_null(pretokenizer) && read_step(t, pretokenizer, &is_byte_level, err))
        return -1;
    return is_byte_level
               ? 0
               : err_set(err,
                         "the pre_tokenizer has no 'ByteLevel': only byte-level BPE is supported");
}

static int read_decoder(const json_t *decoder, struct err *err)
{
    if (is_null(decoder) || strcmp(type_of(decoder), "ByteLevel") == 0)
        return 0;
    const json_t *parts = json_object_get(decoder, "decoders");
    if (json_array_size(parts) == 1 && strcmp(type_of(json_array_get(parts, 0)), "ByteLevel") == 0)
        return 0;
    return err_set(err, "the decoder '%.60s' is not supported: ByteLevel is", type_of(decoder));
}

static struct tokenizer *from_json(const json_t *root, struct err *err)
{
    const json_t *added = json_object_get(root, "added_tokens");
    struct tokenizer *t = tokenizer_new();
    if ((!is_null(added) && !json_is_array(added) && err_set(err, "added_tokens is not a list")) ||
        read_normalizer(t, json_object_get(root, "normalizer"), err) ||
        read_model(t, json_object_get(root, "model"), added, err) || read_added(t, added, err) ||
        read_pretokenizer(t, json_object_get(root, "pre_tokenizer"), err) ||
        read_decoder(json_object_get(root, "decoder"), err)) {
        tokenizer_free(t);
        return NULL;
    }
    return t;
}

struct tokenizer *tokenizer_from_json(const char *text, size_t n, struct err *err)
{
    json_t *root = parse(text, n, 0, err);
    struct tokenizer *t = root ? from_json(root, err) : NULL;
    json_decref(root);
    return t;
}

/* bos_token or eos_token, where the file names it and nothing did before. */
static int read_special(struct tokenizer *t, const json_t *root, const char *name, int *id,
                        struct err *err)
{
    const json_t *token = json_object_get(root, name);
    if (json_is_object(token))
        token = json_object_get(token, "content");
    if (*id >= 0 || !json_is_string(token))
        return 0;
    *id = vocab_find(&t->vocab, json_string_value(token), json_string_length(token));
    if (*id < 0)
        return err_set(err, "%s '%.60s' is not in the vocabulary of tokenizer.json", name,
                       json_string_value(token));
    return tokenizer_make_special(t, *id, err);
}

static int read_config(struct tokenizer *t, const char *folder, const char *name, struct err *err)
{
    char *path = path_join(folder, name);
    int result = 0;
    if (file_exists(path)) {
        /* model_max_length may be 10^30, which is no integer to jansson. */
        json_t *root = read_file(path, JSON_DECODE_INT_AS_REAL, err);
        result = root ? 0 : -1;
        if (root && (read_special(t, root, "bos_token", &t->bos, err) ||
                     read_special(t, root, "eos_token", &t->eos, err)))
            result = err_prefix(err, "'%s'", path);
        json_decref(root);
    }
    free(path);
    return result;
}

struct tokenizer *tokenizer_open(const char *path, struct err *err)
{
    char *folder, *file;
    if (file_is_dir(path)) {
        folder = xstrdup(path);
        file = path_join(path, "tokenizer.json");
    } else {
        const char *slash = strrchr(path, '/');
        folder = slash ? xstrndup(path, (size_t)(slash - path) + 1) : xstrdup(".");
        file = xstrdup(path);
    }
    json_t *root = read_file(file, 0, err);
    struct tokenizer *t = NULL;
    if (root && !(t = from_json(root, err)))
        err_prefix(err, "'%s'", file);
    json_decref(root);
    if (t && (read_config(t, folder, "tokenizer_config.json", err) ||
              read_config(t, folder, "special_tokens_map.json", err))) {
        tokenizer_free(t);
        t = NULL;
    }
    free(folder);
    free(file);
    return t;
}
