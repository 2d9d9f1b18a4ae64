#include "tokenizer/json_out.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer/spm.h"
#include "tokenizer/tokenizer_build.h"
#include "util/mem.h"

#define SPACE "\u2581"

static json_t *text(const char *s, size_t n)
{
    return json_stringn(s, n); /* NULL where it is not UTF-8: what holds it is NULL, too, then */
}

static json_t *spelling(const struct tokenizer *t, int32_t id)
{
    size_t n;
    const char *s = vocab_spelling(&t->vocab, id, &n);
    return text(s, n);
}

/* Those that are found in text, special or not. */
static json_t *added_tokens(const struct tokenizer *t)
{
    json_t *list = json_array();
    for (size_t i = 0; i < t->vocab.n; i++)
        if (t->vocab.tokens[i].added)
            json_array_append_new(list, json_pack("{s:i, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (int)i, "content", spelling(t, (int32_t)i), "single_word", 0,
                                                  "lstrip", 0, "rstrip", 0, "normalized", 0, "special", t->vocab.tokens[i].special ? 1 : 0));
    return list;
}

static json_t *split(const char *pattern)
{
    return json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", pattern, "behavior", "Isolated", "invert", 0);
}

static json_t *byte_level(bool use_regex)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", use_regex ? 1 : 0);
}

/* The patterns of a name, then the letters of bytes, which may come sooner. */
static json_t *named_pretokenizer(const char *const *patterns)
{
    json_t *steps = json_array();
    bool letters = false;
    for (size_t i = 0; patterns[i]; i++) {
        letters = letters || patterns[i] == pretokenizer_to_letters;
        json_array_append_new(steps, patterns[i] == pretokenizer_to_letters ? byte_level(false) : split(patterns[i]));
    }
    if (!letters)
        json_array_append_new(steps, byte_level(false));
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", steps);
}

static json_t *replace(const char *from, const char *to)
{
    return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", from, "content", to);
}

static json_t *space_normalizer(bool prefix)
{
    return prefix ? json_pack("{s:s, s:[{s:s, s:s}, o]}", "type", "Sequence", "normalizers", "type", "Prepend", "prepend", SPACE, replace(" ", SPACE))
                  : replace(" ", SPACE);
}

static json_t *space_decoder(bool prefix)
{
    json_t *steps = json_pack("[o, {s:s}, {s:s}]", replace(SPACE, " "), "type", "ByteFallback", "type", "Fuse");
    if (prefix)
        json_array_append_new(steps, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start", 1, "stop", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", steps);
}

static void put_around(json_t *single, json_t *pair, json_t *tokens, const struct tokenizer *t, const struct ids *ids, int type)
{
    for (size_t i = 0; i < ids->n; i++) {
        size_t n;
        const char *s = vocab_spelling(&t->vocab, ids->data[i], &n);
        if (single)
            json_array_append_new(single, json_pack("{s:{s:s%, s:i}}", "SpecialToken", "id", s, n, "type_id", 0));
        json_array_append_new(pair, json_pack("{s:{s:s%, s:i}}", "SpecialToken", "id", s, n, "type_id", type));
        json_object_setn_new(tokens, s, n, json_pack("{s:s%, s:[i], s:[s%]}", "id", s, n, "ids", (int)ids->data[i], "tokens", s, n));
    }
}

static json_t *sequence(const char *name, int type)
{
    return json_pack("{s:{s:s, s:i}}", "Sequence", "id", name, "type_id", type);
}

/* What stands before a text and after it. */
static json_t *post_processor(const struct tokenizer *t)
{
    if (!t->prefix.n && !t->suffix.n)
        return t->decoder.byte_level ? byte_level(true) : json_null();
    json_t *single = json_array(), *pair = json_array(), *tokens = json_object();
    put_around(single, pair, tokens, t, &t->prefix, 0);
    json_array_append_new(single, sequence("A", 0));
    json_array_append_new(pair, sequence("A", 0));
    put_around(single, pair, tokens, t, &t->suffix, 0);
    put_around(NULL, pair, tokens, t, &t->prefix, 1);
    json_array_append_new(pair, sequence("B", 1));
    put_around(NULL, pair, tokens, t, &t->suffix, 1);
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair", pair, "special_tokens", tokens);
}

static json_t *merges(const struct tokenizer *t)
{
    json_t *out = json_array();
    struct bpe_merge *list = bpe_list(&t->bpe);
    for (size_t i = 0; i < t->bpe.n_used; i++)
        json_array_append_new(out, json_pack("[o, o]", spelling(t, (int32_t)(list[i].pair >> 32)), spelling(t, (int32_t)(uint32_t)list[i].pair)));
    free(list);
    return out;
}

static json_t *model(const struct tokenizer *t)
{
    json_t *vocab = json_object();
    for (size_t i = 0; i < t->vocab.n; i++) {
        size_t n;
        const char *s = vocab_spelling(&t->vocab, (int32_t)i, &n);
        if (n)
            json_object_setn_new(vocab, s, n, json_integer((json_int_t)i));
    }
    return json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                     t->bpe.unk >= 0 ? spelling(t, t->bpe.unk) : json_null(), "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                     t->bpe.fuse_unk ? 1 : 0, "byte_fallback", t->bpe.byte_fallback ? 1 : 0, "ignore_merges", t->bpe.ignore_merges ? 1 : 0, "vocab", vocab,
                     "merges", merges(t));
}

/* Jansson takes no text that is not UTF-8, and a 0 byte in no key. */
static int check_spellings(const struct tokenizer *t, struct err *err)
{
    for (size_t i = 0; i < t->vocab.n; i++) {
        size_t n;
        const char *s = vocab_spelling(&t->vocab, (int32_t)i, &n);
        json_t *o = text(s, n);
        json_decref(o);
        if (!o || memchr(s, 0, n))
            return err_set(err, "token %zu of the vocabulary is not text: a tokenizer.json cannot hold it", i);
    }
    return 0;
}

/* Its tokens' lengths, 0 for those that only fill a model's vocabulary up (describe.h): a tokenizer.json leaves them out. */
static size_t *lengths_without_padding(const struct tokenizer_parts *parts)
{
    size_t *lens = xcalloc(parts->n_tokens + 1, sizeof *lens);
    for (size_t i = 0; i < parts->n_tokens; i++) {
        char padding[32];
        size_t n = (size_t)snprintf(padding, sizeof padding, "[PAD%zu]", i);
        bool fills = parts->types && parts->types[i] == TOKEN_UNUSED && parts->token_lens[i] == n && !memcmp(parts->tokens[i], padding, n);
        lens[i] = fills ? 0 : parts->token_lens[i];
    }
    return lens;
}

char *tokenizer_parts_to_json(const struct tokenizer_parts *parts, struct err *err)
{
    struct tokenizer_parts own = *parts;
    size_t *lens = lengths_without_padding(parts);
    own.token_lens = lens;
    struct tokenizer *t = tokenizer_from_parts(&own, err);
    char *out = NULL;
    if (t && t->is_unigram) {
        err_set(err, "a Unigram vocabulary is not written as a tokenizer.json: take the original folder's");
    } else if (t && check_spellings(t, err) == 0) {
        struct pretokenizer_traits traits = {0};
        bool bytes = t->decoder.byte_level, prefix = strcmp(parts->model, "llama") == 0 && parts->add_space_prefix != 0;
        const char *const *patterns = bytes ? pretokenizer_patterns(parts->pre, &traits, err) : NULL;
        json_t *normalizer = !bytes ? space_normalizer(prefix) : traits.nfc ? json_pack("{s:s}", "type", "NFC") : json_null();
        json_t *o = json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding", "added_tokens", added_tokens(t),
                              "normalizer", normalizer, "pre_tokenizer", bytes ? named_pretokenizer(patterns) : json_null(), "post_processor",
                              post_processor(t), "decoder", bytes ? byte_level(true) : space_decoder(prefix), "model", model(t));
        out = json_dumps(o, JSON_INDENT(1));
        json_decref(o);
    }
    tokenizer_free(t);
    free(lens);
    return out;
}
