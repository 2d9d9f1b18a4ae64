/* Tokenizers of every kind against what Hugging Face's tokenizers and SentencePiece make of many texts: see
 * tests/golden/make/tokenizer_kinds.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>
#include <jansson.h>
#include <sodium.h>

#include "data/encode.h"
#include "tokenizer/describe.h"
#include "tokenizer/json_out.h"
#include "tokenizer/same.h"
#include "tokenizer/tokenizer.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/utf8.h"

#define GOLDEN "tests/golden/tokenizers/"
#define BLOCK 20

static json_t *load(const char *path)
{
    json_error_t why;
    json_t *o = json_load_file(path, JSON_ALLOW_NUL, &why);
    if (!o)
        fail_msg("%s: %s", path, why.text);
    return o;
}

static json_t *get(const json_t *o, const char *name)
{
    json_t *value = json_object_get(o, name);
    if (!value)
        fail_msg("no \"%s\"", name);
    return value;
}

/* "base" with the fields of `patch` in place of its own; those of "model" one by one. */
static struct tokenizer *from_patch(const json_t *base, const json_t *patch, struct err *err)
{
    json_t *whole = json_deep_copy(base), *rest = json_deep_copy(patch);
    json_object_update_new(json_object_get(whole, "model"), json_deep_copy(json_object_get(patch, "model")));
    json_object_del(rest, "model");
    json_object_update_new(whole, rest);
    char *text = json_dumps(whole, 0);
    struct tokenizer *t = tokenizer_from_json(text, strlen(text), err);
    free(text);
    json_decref(whole);
    return t;
}

static uint32_t checksum(const struct buf *b)
{
    return (uint32_t)crc32(0, (const unsigned char *)b->data, (uInt)b->len);
}

static void ids_append(struct buf *out, const struct ids *ids)
{
    for (size_t i = 0; i < ids->n; i++)
        buf_printf(out, "%d,", ids->data[i]);
}

static void encode(const struct tokenizer *t, struct ids *ids, const char *text, size_t n, const char *name)
{
    struct err err;
    ids->n = 0;
    if (tokenizer_encode(t, ids, text, n, &err))
        fail_msg("%s: %s", name, err.text);
}

/* The random texts of the script that made the expectations. */
struct maker {
    uint64_t x;
    const json_t *pool, *ranges;
};

static size_t below(struct maker *m, size_t n)
{
    m->x = m->x * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(m->x >> 33) % n;
}

static void random_text(struct maker *m, struct buf *out)
{
    buf_clear(out);
    for (size_t k = 1 + below(m, 20); k; k--)
        if (below(m, 3)) {
            const json_t *piece = json_array_get(m->pool, below(m, json_array_size(m->pool)));
            buf_add(out, json_string_value(piece), json_string_length(piece));
        } else {
            const json_t *range = json_array_get(m->ranges, below(m, json_array_size(m->ranges)));
            uint32_t a = (uint32_t)json_integer_value(json_array_get(range, 0)),
                     b = (uint32_t)json_integer_value(json_array_get(range, 1));
            char s[4];
            buf_add(out, s, utf8_encode(s, a + (uint32_t)below(m, b - a + 1)));
        }
}

/* The ids of every text and what they decode to. */
static void expect_texts(const struct tokenizer *t, const json_t *want, const json_t *texts, const json_t *pool)
{
    const char *name = json_string_value(get(want, "name"));
    const json_t *list = get(texts, "texts"), *random = get(want, "random"), *decoded = json_object_get(want, "decoded");
    struct ids ids = {0};
    struct buf text, b;
    buf_init(&text, (size_t)1 << 24);
    buf_init(&b, (size_t)1 << 24);
    assert_true(json_array_size(list) > 30 && json_array_size(random) == 50);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        size_t n = json_string_length(json_array_get(list, i));
        if (json_is_null(json_array_get(get(want, "ids"), i)))
            continue;
        encode(t, &ids, s, n, name);
        buf_clear(&b);
        ids_append(&b, &ids);
        if (checksum(&b) != json_integer_value(json_array_get(get(want, "ids"), i)))
            fail_msg("%s: the ids of text %zu, '%s', are others: %s", name, i, s, b.data);
        buf_clear(&b);
        tokenizer_decode(t, &b, ids.data, ids.n, false);
        if (decoded && checksum(&b) != json_integer_value(json_array_get(decoded, i)))
            fail_msg("%s: text %zu, '%s', decodes to '%s'", name, i, s, b.data);
    }
    struct maker m = {2385, pool, get(texts, "ranges")};
    for (size_t i = 0; i < json_array_size(random); i++) {
        buf_clear(&b);
        for (int k = 0; k < BLOCK; k++) {
            random_text(&m, &text);
            encode(t, &ids, text.data, text.len, name);
            ids_append(&b, &ids);
            buf_str(&b, ";");
            if (decoded)
                tokenizer_decode(t, &b, ids.data, ids.n, false);
        }
        if (checksum(&b) != json_integer_value(json_array_get(random, i)))
            fail_msg("%s: the random texts from %zu on are others, the last one '%s'", name, i * BLOCK, text.data);
    }
    buf_release(&text);
    buf_release(&b);
    ids_release(&ids);
}

/* hello with what transformers' tokenizer(text) puts around it. */
static void expect_whole(const struct tokenizer *t, const json_t *want)
{
    struct err err;
    struct ids ids = {0};
    struct buf got, wanted;
    buf_init(&got, 1 << 16);
    buf_init(&wanted, 1 << 16);
    assert_int_equal(tokenizer_encode_whole(t, &ids, "hello", 5, &err), 0);
    ids_append(&got, &ids);
    ids_append(&got, tokenizer_suffix(t));
    size_t i;
    json_t *id;
    json_array_foreach(get(want, "whole"), i, id)
        buf_printf(&wanted, "%lld,", (long long)json_integer_value(id));
    if (strcmp(got.data, wanted.data) != 0)
        fail_msg("%s: hello alone is %s instead of %s", json_string_value(get(want, "name")), got.data, wanted.data);
    buf_release(&got);
    buf_release(&wanted);
    ids_release(&ids);
}

/* What a GGUF would say of it, and what is made of that, is the same tokenizer; returns how much of it: "" for nothing. */
static const char *describe(const struct tokenizer *t, const json_t *want, const json_t *texts, const json_t *pool)
{
    const char *name = json_string_value(get(want, "name"));
    struct description d;
    struct err err = {""};
    struct buf text;
    size_t n = tokenizer_size(t) + 3; /* ids of a model that has more than its tokenizer */
    if (tokenizer_describe(&d, t, n, &err))
        return "";
    assert_int_equal(d.types[n - 1], 5);
    struct tokenizer *again = tokenizer_from_parts(&d.parts, &err);
    if (!again)
        fail_msg("%s: %s", name, err.text);
    buf_init(&text, 1 << 20);
    if (tokenizer_same(t, again, SAME_INNER_TEXTS, &text, &err) != 1)
        fail_msg("%s is described as another: '%s'", name, text.data);
    bool whole = tokenizer_same(t, again, SAME_ALL_TEXTS, &text, &err) == 1;
    if (whole)
        expect_texts(again, want, texts, pool);
    assert_int_equal(tokenizer_prefix(again)->n, tokenizer_prefix(t)->n);
    assert_int_equal(tokenizer_suffix(again)->n, tokenizer_suffix(t)->n);
    tokenizer_free(again);
    description_release(&d);
    buf_release(&text);
    return whole ? "whole" : "text alone";
}

/* The same tokenizer by way of a tokenizer.json. */
static void expect_written(const struct tokenizer_parts *parts, const json_t *want, const json_t *texts, const json_t *pool)
{
    struct err err = {""};
    char *text = tokenizer_parts_to_json(parts, &err);
    struct tokenizer *t = text ? tokenizer_from_json(text, strlen(text), &err) : NULL;
    if (!t)
        fail_msg("%s: %s", json_string_value(get(want, "name")), err.text);
    expect_texts(t, want, texts, pool);
    tokenizer_free(t);
    free(text);
}

/* How much of each a GGUF can say; the others: nothing. */
static const struct {
    const char *name, *much;
} gguf_says[] = {{"llama-2", "whole"},           {"gemma", "whole"},          {"phi-3", "text alone"},  {"gemma-added", "text alone"},
               {"llama-first", "text alone"}, {"mistral-always", "text alone"}, {"never", "text alone"},
               {"metaspace-split", "text alone"}};

static const char *expected_of(const char *name, bool byte_level)
{
    for (size_t i = 0; !byte_level && i < sizeof gguf_says / sizeof *gguf_says; i++)
        if (strcmp(gguf_says[i].name, name) == 0)
            return gguf_says[i].much;
    return byte_level ? "whole" : "";
}

static void expect_variants(const char *path, const char *base_path)
{
    json_t *o = load(path), *texts = load(GOLDEN "texts.json"), *other = base_path ? load(base_path) : NULL, *v;
    const json_t *base = get(other ? other : o, "base");
    size_t i;
    assert_true(json_array_size(get(o, "variants")) > 5);
    json_array_foreach(get(o, "variants"), i, v)
    {
        struct err err;
        struct tokenizer *t = from_patch(base, get(v, "patch"), &err);
        if (!t && strcmp(json_string_value(get(v, "name")), "kimi-k2") == 0 && strstr(err.text, "uses '&&'"))
            continue; /* by its name alone */
        if (!t)
            fail_msg("%s: %s", json_string_value(get(v, "name")), err.text);
        expect_texts(t, v, texts, get(texts, "pool"));
        expect_whole(t, v);
        const char *name = json_string_value(get(v, "name")), *said = describe(t, v, texts, get(texts, "pool"));
        if (strcmp(said, expected_of(name, base_path != NULL)) != 0)
            fail_msg("of %s a GGUF says '%s' instead of '%s'", name, said, expected_of(name, base_path != NULL));
        tokenizer_free(t);
    }
    json_decref(o);
    json_decref(texts);
    json_decref(other);
}

static void test_characters(void **state)
{
    (void)state;
    expect_variants(GOLDEN "characters.json", NULL);
}

static void test_unigram(void **state)
{
    (void)state;
    expect_variants(GOLDEN "unigram.json", NULL);
}

static void test_byte_level(void **state)
{
    (void)state;
    expect_variants(GOLDEN "byte_level.json", "tests/golden/tokenizer.json");
}

/* Arrays of a GGUF's metadata from JSON. */
struct parts {
    struct tokenizer_parts p;
    const char **tokens, **merges;
    size_t *lens;
    int32_t *types;
    float *scores;
    unsigned char *charsmap;
};

static struct parts parts_new(const char *model, size_t n_tokens, size_t n_merges)
{
    struct parts s = {
        .p = {.model = model, .n_tokens = n_tokens, .n_merges = n_merges, .n_scores = n_tokens, .bos = -1, .eos = -1, .unk = -1,
              .add_bos = -1, .add_eos = -1, .add_space_prefix = -1, .remove_extra_whitespaces = -1},
        .tokens = xcalloc(n_tokens, sizeof *s.tokens),
        .merges = xcalloc(n_merges + 1, sizeof *s.merges),
        .lens = xcalloc(n_tokens, sizeof *s.lens),
        .types = xcalloc(n_tokens, sizeof *s.types),
        .scores = xcalloc(n_tokens, sizeof *s.scores),
    };
    s.p.tokens = s.tokens;
    s.p.token_lens = s.lens;
    s.p.types = s.types;
    s.p.merges = s.merges;
    s.p.scores = s.scores;
    return s;
}

static void parts_release(struct parts *s)
{
    for (size_t i = 0; i < s->p.n_merges; i++)
        free((char *)s->merges[i]);
    free(s->tokens);
    free(s->merges);
    free(s->lens);
    free(s->types);
    free(s->scores);
    free(s->charsmap);
}

static void put_token(struct parts *s, size_t id, const char *spelling, int32_t type)
{
    assert_true(id < s->p.n_tokens);
    s->tokens[id] = spelling;
    s->lens[id] = strlen(spelling);
    s->types[id] = type;
}

/* A vocabulary of tokenizer.json's: the first three tokens are special. */
static struct parts parts_of(const json_t *base, const char *model, const char *pre)
{
    json_t *vocab = get(get(base, "model"), "vocab"), *merges = get(get(base, "model"), "merges"), *value;
    struct parts s = parts_new(model, json_object_size(vocab), json_array_size(merges));
    s.p.pre = pre;
    const char *spelling;
    json_object_foreach(vocab, spelling, value)
        put_token(&s, (size_t)json_integer_value(value), spelling, json_integer_value(value) < 3 ? 3 : 1);
    size_t i;
    json_array_foreach(merges, i, value)
        s.merges[i] = xasprintf("%s %s", json_string_value(json_array_get(value, 0)),
                                json_string_value(json_array_get(value, 1)));
    return s;
}

static struct tokenizer *from_parts(struct parts *s, const char *name)
{
    struct err err;
    struct tokenizer *t = tokenizer_from_parts(&s->p, &err);
    if (!t)
        fail_msg("%s: %s", name, err.text);
    parts_release(s);
    return t;
}

/* The pre-tokenizers that GGUF files name are the families' own. */
static void test_named(void **state)
{
    (void)state;
    json_t *o = load(GOLDEN "byte_level.json"), *texts = load(GOLDEN "texts.json"),
           *golden = load("tests/golden/tokenizer.json"), *v;
    size_t i;
    json_array_foreach(get(o, "variants"), i, v)
    {
        const char *name = json_string_value(get(v, "name"));
        struct parts s = parts_of(get(golden, "base"), "gpt2", name);
        s.p.bos = 1;
        expect_written(&s.p, v, texts, get(texts, "pool"));
        struct tokenizer *t = from_parts(&s, name);
        assert_int_equal(tokenizer_prefix(t)->n, strcmp(name, "llama-bpe") == 0 || strcmp(name, "tekken") == 0);
        expect_texts(t, v, texts, get(texts, "pool"));
        tokenizer_free(t);
    }
    json_decref(o);
    json_decref(texts);
    json_decref(golden);
}

/* Characters with merges, as GGUF files hold Gemma 4's. */
static void test_gemma4(void **state)
{
    (void)state;
    json_t *o = load(GOLDEN "characters.json"), *texts = load(GOLDEN "texts.json"), *v;
    size_t i, found = 0;
    json_array_foreach(get(o, "variants"), i, v)
    {
        if (strcmp(json_string_value(get(v, "name")), "gemma") != 0)
            continue;
        struct parts s = parts_of(get(o, "base"), "gemma4", NULL);
        s.p.unk = 0;
        expect_written(&s.p, v, texts, get(texts, "pool"));
        struct tokenizer *t = from_parts(&s, "gemma4");
        expect_texts(t, v, texts, get(texts, "pool"));
        tokenizer_free(t);
        found++;
    }
    assert_int_equal(found, 1);
    json_decref(o);
    json_decref(texts);
}

/* SentencePiece's own models, as GGUF files hold them. */
static void test_spm(void **state)
{
    (void)state;
    json_t *o = load(GOLDEN "spm.json"), *texts = load(GOLDEN "texts.json"), *v;
    size_t i;
    json_array_foreach(get(o, "models"), i, v)
    {
        const char *name = json_string_value(get(v, "name"));
        bool is_t5 = strncmp(name, "t5", 2) == 0;
        size_t n = json_array_size(get(v, "tokens"));
        struct parts s = parts_new(is_t5 ? "t5" : "llama", n, 0);
        for (size_t k = 0; k < n; k++) {
            put_token(&s, k, json_string_value(json_array_get(get(v, "tokens"), k)),
                      (int32_t)json_integer_value(json_array_get(get(v, "types"), k)));
            s.scores[k] = (float)json_number_value(json_array_get(get(v, "scores"), k));
        }
        s.p.unk = is_t5 ? 2 : 0;
        s.p.bos = is_t5 ? -1 : 1;
        s.p.eos = is_t5 ? 1 : 2;
        s.p.add_space_prefix = strcmp(name, "no-prefix") != 0;
        if (is_t5) {
            const json_t *map = get(v, "charsmap");
            s.charsmap = xmalloc(json_string_length(map));
            assert_int_equal(sodium_base642bin(s.charsmap, json_string_length(map), json_string_value(map),
                                               json_string_length(map), NULL, &s.p.charsmap_len, NULL,
                                               sodium_base64_VARIANT_ORIGINAL), 0);
            s.p.charsmap = s.charsmap;
        }
        struct err err = {""};
        if (!is_t5)
            expect_written(&s.p, v, texts, get(o, "pool"));
        else if (tokenizer_parts_to_json(&s.p, &err) || !strstr(err.text, "a Unigram vocabulary is not written"))
            fail_msg("%s: %s", name, err.text);
        struct tokenizer *t = from_parts(&s, name);
        assert_int_equal(tokenizer_prefix(t)->n, !is_t5);
        assert_int_equal(tokenizer_suffix(t)->n, is_t5);
        expect_texts(t, v, texts, get(o, "pool"));
        tokenizer_free(t);
    }
    json_decref(o);
    json_decref(texts);
}

static void put(const char *folder, const char *name, const json_t *content)
{
    char *path = path_join(folder, name), *text = json_dumps(content, 0);
    struct err err;
    if (file_write(path, text, strlen(text), &err))
        fail_msg("%s", err.text);
    free(text);
    free(path);
}

static void expect_folder(const json_t *c, const json_t *texts, const char *folder)
{
    const char *name = json_string_value(get(c, "name"));
    struct err err;
    struct tokenizer *t = tokenizer_open(folder, &err);
    if (!t)
        fail_msg("%s: %s", name, err.text);
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *text = json_array_get(texts, i);
        struct ids ids = {0};
        struct buf got, want;
        buf_init(&got, 1 << 16);
        buf_init(&want, 1 << 16);
        assert_int_equal(tokenizer_encode_whole(t, &ids, json_string_value(text), json_string_length(text), &err), 0);
        ids_append(&got, &ids);
        ids_append(&got, tokenizer_suffix(t));
        size_t k;
        json_t *id;
        json_array_foreach(json_array_get(get(c, "ids"), i), k, id)
            buf_printf(&want, "%lld,", (long long)json_integer_value(id));
        if (strcmp(got.data, want.data) != 0)
            fail_msg("%s: '%s' is %s instead of %s", name, json_string_value(text), got.data, want.data);
        buf_release(&got);
        buf_release(&want);
        ids_release(&ids);
    }
    tokenizer_free(t);
}

/* The files beside tokenizer.json, against transformers' tokenizer(text). */
static void test_folder(void **state)
{
    (void)state;
    json_t *o = load(GOLDEN "folder.json"), *golden = load("tests/golden/tokenizer.json"), *c, *content;
    size_t i;
    assert_true(json_array_size(get(o, "cases")) > 5);
    json_array_foreach(get(o, "cases"), i, c)
    {
        char folder[] = "/tmp/hone-tokenizer-XXXXXX";
        assert_non_null(mkdtemp(folder));
        struct err err;
        json_object_set(get(golden, "base"), "post_processor", get(c, "post_processor"));
        put(folder, "tokenizer.json", get(golden, "base"));
        const char *name;
        json_object_foreach(get(c, "files"), name, content)
            put(folder, name, content);
        expect_folder(c, get(o, "texts"), folder);
        assert_int_equal(dir_remove(folder, &err), 0);
    }
    json_decref(golden);
    json_decref(o);
}

static void expect_folder_refused(const char *file, const char *content, const char *why)
{
    char folder[] = "/tmp/hone-tokenizer-XXXXXX";
    assert_non_null(mkdtemp(folder));
    struct err err;
    json_t *golden = load("tests/golden/tokenizer.json"), *o = json_loads(content, 0, NULL);
    assert_non_null(o);
    put(folder, "tokenizer.json", get(golden, "base"));
    put(folder, file, o);
    struct tokenizer *t = tokenizer_open(folder, &err);
    if (t || !strstr(err.text, why) || !strstr(err.text, file))
        fail_msg("'%s' instead of '%s'", t ? "" : err.text, why);
    json_decref(o);
    json_decref(golden);
    assert_int_equal(dir_remove(folder, &err), 0);
}

static void test_folder_refused(void **state)
{
    (void)state;
    expect_folder_refused("tokenizer_config.json", "{\"added_tokens_decoder\": {\"x\": {\"content\": \"a\"}}}", "'x' is no id");
    expect_folder_refused("tokenizer_config.json", "{\"added_tokens_decoder\": {\"9\": {\"content\": \"<|im_end|>\"}}}",
                          "has id 9, but the vocabulary says 2");
    expect_folder_refused("tokenizer_config.json", "{\"added_tokens_decoder\": {\"9\": {\"content\": \"<new>\"}}}",
                          "two tokens have id 9");
    expect_folder_refused("added_tokens.json", "{\"<new>\": 99999999999}", "id 99999999999");
    expect_folder_refused("added_tokens.json", "{\"<new>\": \"7\"}", "is not a number");
}

/* Text that goes on from other text gets no space in front; after a token that was found it does, as in one piece. */
static void test_pieces(void **state)
{
    (void)state;
    json_t *o = load(GOLDEN "characters.json"), *none = json_object();
    struct err err;
    struct tokenizer *t = from_patch(get(o, "base"), none, &err);
    assert_non_null(t);
    static const char whole[] = "the lamp</s>hello hall";
    struct ids want = {0}, got = {0};
    encode(t, &want, whole, strlen(whole), "llama-2");
    static const char *const pieces[] = {"the", " lamp", "</s>", "hello", " hall"};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(
            tokenizer_encode_after(t, &got, got.n ? got.data[got.n - 1] : -1, pieces[i], strlen(pieces[i]), &err), 0);
    assert_int_equal(got.n, want.n);
    assert_memory_equal(got.data, want.data, got.n * sizeof *got.data);

    struct buf text;
    buf_init(&text, 1000);
    tokenizer_decode(t, &text, got.data, got.n, true);
    assert_string_equal(text.data, "the lamp hello hall");
    buf_clear(&text);
    tokenizer_decode_more(t, &text, got.data, got.n, true);
    assert_string_equal(text.data, " the lamp hello hall");
    buf_clear(&text); /* streaming: one id after the other */
    for (size_t i = 0; i < got.n; i++)
        (i ? tokenizer_decode_more : tokenizer_decode)(t, &text, got.data + i, 1, false);
    assert_string_equal(text.data, "the lamp</s> hello hall");

    /* BOS once, also where the text has it. */
    got.n = 0;
    assert_int_equal(tokenizer_encode_whole(t, &got, "<s>the", 6, &err), 0);
    want.n = 0;
    assert_int_equal(tokenizer_encode_whole(t, &want, "the", 3, &err), 0);
    assert_int_equal(got.n, want.n);
    assert_memory_equal(got.data, want.data, got.n * sizeof *got.data);
    buf_release(&text);
    ids_release(&got);
    ids_release(&want);
    tokenizer_free(t);
    json_decref(none);
    json_decref(o);
}

static void expect_sequence(const struct sequence *got, const struct ids *want, size_t from, size_t to)
{
    assert_int_equal(got->n, to - from);
    assert_memory_equal(got->ids, want->data + from, got->n * sizeof *got->ids);
}

/* Rows of plain text: BOS once, in front of the prompt; the completion goes on from it, as if both were one text. */
static void test_rows(void **state)
{
    (void)state;
    static const char rows[] = "{\"prompt\": \"the lamp\", \"completion\": \" hall, 12 rain\"}\n";
    static const char text[] = "{\"text\": \"the lamp hall, 12 rain\"}\n";
    json_t *o = load(GOLDEN "characters.json"), *none = json_object();
    struct err err;
    struct tokenizer *t = from_patch(get(o, "base"), none, &err);
    assert_non_null(t);
    struct ids want = {0}, bare = {0};
    encode(t, &bare, "the lamp", 8, "llama-2");
    assert_int_equal(tokenizer_encode_whole(t, &want, "the lamp hall, 12 rain", 22, &err), 0);
    assert_int_equal(want.data[0], 1);
    ids_add(&want, 2);

    struct rows_config config = {.keep_plain = true};
    struct encode_options options = {.tokenizer = t, .eos = 2, .vocab = tokenizer_size(t)};
    struct dataset data;
    struct examples e;
    assert_int_equal(dataset_parse(&data, "rows.jsonl", rows, strlen(rows), &config, &err), 0);
    assert_int_equal(examples_encode(&e, &data, &options, &err), 0);
    expect_sequence(&e.list[0].prompt, &want, 0, bare.n + 1);
    expect_sequence(&e.list[0].completions[0], &want, bare.n + 1, want.n);
    examples_release(&e);
    dataset_release(&data);
    assert_int_equal(dataset_parse(&data, "rows.jsonl", text, strlen(text), &config, &err), 0);
    assert_int_equal(examples_encode(&e, &data, &options, &err), 0);
    expect_sequence(&e.list[0].completions[0], &want, 0, want.n);
    examples_release(&e);
    dataset_release(&data);
    ids_release(&bare);
    ids_release(&want);
    tokenizer_free(t);
    json_decref(none);
    json_decref(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_characters),
        cmocka_unit_test(test_unigram),
        cmocka_unit_test(test_byte_level),
        cmocka_unit_test(test_named),
        cmocka_unit_test(test_gemma4),
        cmocka_unit_test(test_spm),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_folder_refused),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
