/* tokenizer.json, as Hugging Face's tokenizers write it, with the files beside it:
 *
 *   tokenizer.json           {"added_tokens": [{"id", "content", "special", ..}], "normalizer",
 *                             "pre_tokenizer", "decoder", "post_processor" (pipeline_json.c), "model":
 *                             {"type": "BPE", "vocab": {"spelling": id}, "merges": ["a b"] or [["a", "b"]]} or
 *                             {"type": "Unigram", "vocab": [["spelling", score]], "unk_id"}}
 *   tokenizer_config.json    {"bos_token": "<s>" or {"content": "<s>"} or null, "eos_token", ..,
 *                             "added_tokens_decoder": {"7": {"content", "special", ..}}}
 *   special_tokens_map.json  the named tokens, in older folders
 *   added_tokens.json        {"content": id}, in older folders
 *
 * add_bos_token and add_eos_token in the second count only where there is no tokenizer.json, as in transformers: the
 * post_processor says it.  truncation and padding are no business of ours. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_json.h"
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

/* {"spelling": id} */
static int read_vocab(struct tokenizer *t, const json_t *vocab, struct err *err)
{
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
    return 0;
}

/* [["spelling", score]] */
static int read_scored_vocab(struct tokenizer *t, const json_t *vocab, struct err *err)
{
    if (!json_is_array(vocab) || json_array_size(vocab) == 0)
        return err_set(err, "model.vocab is not a list of tokens and scores");
    size_t i;
    json_t *entry;
    json_array_foreach((json_t *)vocab, i, entry)
    {
        const json_t *spelling = json_array_get(entry, 0);
        if (!json_is_string(spelling) || !json_is_number(json_array_get(entry, 1)))
            return err_set(err, "model.vocab: entry %zu is not a token and its score", i);
        if (vocab_add(&t->vocab, (int64_t)i, json_string_value(spelling), json_string_length(spelling), err))
            return err_prefix(err, "model.vocab");
    }
    return 0;
}

/* An added token {"content", ..} may be in the vocabulary or go on from it. */
static int place_added(struct tokenizer *t, const json_t *content, json_int_t id, struct err *err)
{
    size_t n = json_string_length(content);
    int32_t known = vocab_find(&t->vocab, json_string_value(content), n);
    if (known >= 0 && known != id)
        return err_set(err, "'%.60s' has id %lld, but the vocabulary says %d", json_string_value(content), (long long)id,
                       (int)known);
    return known < 0 && n ? vocab_add(&t->vocab, id, json_string_value(content), n, err) : 0;
}

static int place_all_added(struct tokenizer *t, const json_t *added, struct err *err)
{
    size_t i;
    json_t *value;
    json_array_foreach((json_t *)added, i, value)
    {
        const json_t *content = json_object_get(value, "content"), *id = json_object_get(value, "id");
        if (!json_is_string(content) || !json_is_integer(id))
            return err_set(err, "added_tokens: entry %zu has no content or no id", i);
        if (place_added(t, content, json_integer_value(id), err))
            return err_prefix(err, "added_tokens");
    }
    return 0;
}

/* The token `id` as `o` says it is to be found. */
static int add_token(struct tokenizer *t, const json_t *o, int32_t id, bool special, struct err *err)
{
    struct added_token token = {
        .id = id,
        .single_word = flag(o, "single_word", false),
        .lstrip = flag(o, "lstrip", false),
        .rstrip = flag(o, "rstrip", false),
    };
    return tokenizer_add_token(t, &token, special, flag(o, "normalized", !special), err);
}

static int read_added(struct tokenizer *t, const json_t *added, struct err *err)
{
    size_t i;
    json_t *value;
    json_array_foreach((json_t *)added, i, value)
    {
        if (json_string_length(json_object_get(value, "content")) == 0)
            continue;
        if (add_token(t, value, (int32_t)json_integer_value(json_object_get(value, "id")), flag(value, "special", false), err))
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

static int read_bpe(struct tokenizer *t, const json_t *model, const json_t *added, bool is_byte_level, struct err *err)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++)
        if (json_string_length(json_object_get(model, affixes[i])))
            return err_set(err, "model.%s is not supported", affixes[i]);
    if (json_number_value(json_object_get(model, "dropout")) != 0)
        return err_set(err, "model.dropout is not supported: ids would be random");
    const json_t *merges = json_object_get(model, "merges");
    if (!json_is_array(merges))
        return err_set(err, "model.merges is not a list");
    if (read_vocab(t, json_object_get(model, "vocab"), err) || place_all_added(t, added, err))
        return -1;

    bpe_init(&t->bpe, &t->vocab, !is_byte_level || t->pretokenizer.letters);
    t->bpe.fuse_unk = flag(model, "fuse_unk", false);
    t->bpe.ignore_merges = flag(model, "ignore_merges", false);
    t->bpe.byte_fallback = flag(model, "byte_fallback", false);
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

static int read_unigram(struct tokenizer *t, const json_t *model, const json_t *added, struct err *err)
{
    const json_t *vocab = json_object_get(model, "vocab"), *unk = json_object_get(model, "unk_id");
    if (read_scored_vocab(t, vocab, err))
        return -1;
    size_t n = t->vocab.n, i;
    if (!json_is_integer(unk) || json_integer_value(unk) < 0 || (size_t)json_integer_value(unk) >= n)
        return err_set(err, "model.unk_id is not one of the %zu tokens of model.vocab", n);
    if (place_all_added(t, added, err))
        return -1;
    t->is_unigram = true;
    unigram_init(&t->unigram, &t->vocab, (int32_t)json_integer_value(unk));
    t->unigram.byte_fallback = flag(model, "byte_fallback", false);
    json_t *entry;
    json_array_foreach((json_t *)vocab, i, entry)
    {
        unigram_add(&t->unigram, &t->vocab, (int32_t)i, json_number_value(json_array_get(entry, 1)));
    }
    return 0;
}

static int read_model(struct tokenizer *t, const json_t *model, const json_t *added, bool is_byte_level, struct err *err)
{
    const char *type = type_of(model);
    if (strcmp(type, "Unigram") == 0 && !is_byte_level)
        return read_unigram(t, model, added, err);
    if (strcmp(type, "Unigram") == 0)
        return err_set(err, "model.type 'Unigram' with the pre-tokenizer 'ByteLevel' is not supported");
    if (*type ? strcmp(type, "BPE") != 0 : !json_object_get(model, "merges"))
        return err_set(err, "model.type '%.60s' is not supported: BPE and Unigram are", type);
    return read_bpe(t, model, added, is_byte_level, err);
}

static struct tokenizer *from_json(const json_t *root, struct err *err)
{
    const json_t *added = json_object_get(root, "added_tokens"), *decoder = json_object_get(root, "decoder");
    struct tokenizer *t = tokenizer_new();
    bool is_byte_level;
    if ((!is_null(added) && !json_is_array(added) && err_set(err, "added_tokens is not a list")) ||
        json_read_normalizer(t, json_object_get(root, "normalizer"), err) ||
        json_read_pretokenizer(t, json_object_get(root, "pre_tokenizer"), &is_byte_level, err) ||
        json_read_decoder(t, decoder, err) ||
        read_model(t, json_object_get(root, "model"), added, is_byte_level, err) || read_added(t, added, err) ||
        json_read_postprocessor(t, json_object_get(root, "post_processor"), err)) {
        tokenizer_free(t);
        return NULL;
    }
    if (is_null(decoder) && is_byte_level) /* old files leave it out */
        t->decoder.byte_level = true;
    return t;
}

/* The last step: what the vocabulary's tokens stand for. */
static struct tokenizer *finished(struct tokenizer *t, struct err *err)
{
    if (t && decoder_fill(&t->decoder, &t->vocab, err)) {
        tokenizer_free(t);
        return NULL;
    }
    return t;
}

struct tokenizer *tokenizer_from_json(const char *text, size_t n, struct err *err)
{
    json_t *root = parse(text, n, 0, err);
    struct tokenizer *t = root ? finished(from_json(root, err), err) : NULL;
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

/* The other named tokens: those that the vocabulary has are found in text. */
static int read_named(struct tokenizer *t, const json_t *token, struct err *err)
{
    const json_t *content = json_is_object(token) ? json_object_get(token, "content") : token;
    int32_t id = json_is_string(content) ? vocab_find(&t->vocab, json_string_value(content), json_string_length(content)) : -1;
    return id < 0 || t->vocab.tokens[id].added ? 0 : add_token(t, json_is_object(token) ? token : NULL, id, true, err);
}

static int read_all_named(struct tokenizer *t, const json_t *root, struct err *err)
{
    static const char *const one[] = {"unk_token", "pad_token", "sep_token", "cls_token", "mask_token"};
    static const char *const lists[] = {"additional_special_tokens", "extra_special_tokens"};
    for (size_t i = 0; i < sizeof one / sizeof *one; i++)
        if (read_named(t, json_object_get(root, one[i]), err))
            return -1;
    size_t k;
    json_t *token;
    for (size_t i = 0; i < 2; i++)
        json_array_foreach(json_object_get(root, lists[i]), k, token)
        {
            if (read_named(t, token, err))
                return -1;
        }
    return 0;
}

/* {"7": {"content": "<x>", ..}}: how tokens are found counts more here than in tokenizer.json. */
static int read_added_decoder(struct tokenizer *t, const json_t *tokens, struct err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)tokens, key, value)
    {
        char *end;
        long long id = strtoll(key, &end, 10);
        const json_t *content = json_object_get(value, "content");
        if (*end || end == key || !json_is_string(content))
            return err_set(err, "added_tokens_decoder: '%.60s' is no id, or its token has no content", key);
        if (json_string_length(content) == 0)
            continue;
        if (place_added(t, content, id, err) || add_token(t, value, (int32_t)id, flag(value, "special", false), err))
            return err_prefix(err, "added_tokens_decoder");
    }
    return 0;
}

static int read_config(struct tokenizer *t, const json_t *root, struct err *err)
{
    return read_added_decoder(t, json_object_get(root, "added_tokens_decoder"), err) ||
                   read_special(t, root, "bos_token", &t->bos, err) ||
                   read_special(t, root, "eos_token", &t->eos, err) || read_all_named(t, root, err)
               ? -1
               : 0;
}

/* {"<x>": 7}: what tokenizer.json does not have yet. */
static int read_added_file(struct tokenizer *t, const json_t *root, struct err *err)
{
    const char *text;
    json_t *id;
    json_object_foreach((json_t *)root, text, id)
    {
        if (!json_is_integer(id))
            return err_set(err, "the id of '%.60s' is not a number", text);
        if (!*text)
            continue;
        json_t *content = json_string(text);
        int rc = place_added(t, content, json_integer_value(id), err);
        json_decref(content);
        if (rc || (!t->vocab.tokens[json_integer_value(id)].added &&
                   add_token(t, NULL, (int32_t)json_integer_value(id), false, err)))
            return -1;
    }
    return 0;
}

static int read_beside(struct tokenizer *t, const char *folder, const char *name,
                       int (*read)(struct tokenizer *t, const json_t *root, struct err *err), struct err *err)
{
    char *path = path_join(folder, name);
    int result = 0;
    if (file_exists(path)) {
        /* model_max_length may be 10^30, which is no integer to jansson. */
        json_t *root = read_file(path, read == read_config ? JSON_DECODE_INT_AS_REAL : 0, err);
        result = root ? 0 : -1;
        if (root && read(t, root, err))
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
    if (t && (read_beside(t, folder, "added_tokens.json", read_added_file, err) ||
              read_beside(t, folder, "tokenizer_config.json", read_config, err) ||
              read_beside(t, folder, "special_tokens_map.json", read_config, err))) {
        tokenizer_free(t);
        t = NULL;
    }
    free(folder);
    free(file);
    return finished(t, err);
}
