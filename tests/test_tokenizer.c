/* The tokenizer against ids that Hugging Face's tokenizers made: our small vocabulary in many
 * variants, and SmolLM2's where the shared folder is there. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "support/support.h"
#include "tokenizer/forms.h"
#include "tokenizer/tokenizer.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/rng.h"

#define GOLDEN "tests/golden/tokenizer.json"

/* "base" with the fields of `patch` in place of its own; those of "model" one by one. */
static char *patched(const json_t *base, const json_t *patch)
{
    json_t *whole = json_deep_copy(base), *model = json_object_get(patch, "model");
    json_object_update_new(json_object_get(whole, "model"), json_deep_copy(model));
    json_t *rest = json_deep_copy(patch);
    json_object_del(rest, "model");
    json_object_update_new(whole, rest);
    char *text = json_dumps(whole, 0);
    json_decref(whole);
    return text;
}

static struct tokenizer *from_patch(const json_t *base, const json_t *patch, struct err *err)
{
    char *text = patched(base, patch);
    struct tokenizer *t = tokenizer_from_json(text, strlen(text), err);
    free(text);
    return t;
}

static void expect_ids(const struct tokenizer *t, const json_t *text, const json_t *ids,
                       const char *what)
{
    struct err err;
    struct ids got = {0};
    if (tokenizer_encode(t, &got, json_string_value(text), json_string_length(text), &err))
        fail_msg("%s: %s", what, err.text);
    int32_t *want;
    size_t n = json_ids(ids, &want);
    for (size_t i = 0; i < n || i < got.n; i++)
        if (i >= n || i >= got.n || got.data[i] != want[i])
            fail_msg("%s: token %zu of '%s' is %d instead of %d", what, i, json_string_value(text),
                     i < got.n ? got.data[i] : -1, i < n ? want[i] : -1);
    free(want);
    ids_release(&got);
}

static void expect_round_trip(const struct tokenizer *t, const char *text, size_t n)
{
    struct err err;
    struct ids ids = {0};
    struct buf out;
    buf_init(&out, (size_t)1 << 24);
    if (tokenizer_encode(t, &ids, text, n, &err))
        fail_msg("%s", err.text);
    tokenizer_decode(t, &out, ids.data, ids.n, false);
    assert_int_equal(out.len, n);
    assert_memory_equal(out.data, text, n);
    buf_release(&out);
    ids_release(&ids);
}

static json_t *golden(void)
{
    json_error_t why;
    json_t *o = json_load_file(GOLDEN, JSON_ALLOW_NUL, &why);
    if (!o)
        fail_msg(GOLDEN ": %s", why.text);
    return o;
}

static const json_t *find_variant(const json_t *o, const char *name)
{
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(o, "variants"), i, v)
    {
        if (strcmp(json_string_value(json_object_get(v, "name")), name) == 0)
            return v;
    }
    fail_msg("no variant '%s'", name);
    return NULL;
}

/* Every variant of tokenizer.json, every text. */
static void test_variants(void **state)
{
    (void)state;
    json_t *o = golden(), *texts = json_object_get(o, "texts"), *v;
    size_t i;
    assert_true(json_array_size(json_object_get(o, "variants")) > 10);
    json_array_foreach(json_object_get(o, "variants"), i, v)
    {
        const char *name = json_string_value(json_object_get(v, "name"));
        struct err err;
        struct tokenizer *t =
            from_patch(json_object_get(o, "base"), json_object_get(v, "patch"), &err);
        if (!t)
            fail_msg("%s: %s", name, err.text);
        for (size_t k = 0; k < json_array_size(texts); k++)
            expect_ids(t, json_array_get(texts, k), json_array_get(json_object_get(v, "ids"), k),
                       name);
        tokenizer_free(t);
    }
    json_decref(o);
}

/* The golden vocabulary as a GGUF would give it. */
struct parts {
    struct tokenizer_parts p;
    const char **tokens, **merges;
    size_t *lens;
    int32_t *types;
};

static struct parts parts_of(const json_t *base, const char *pre)
{
    json_t *model = json_object_get(base, "model"), *vocab = json_object_get(model, "vocab"),
           *value;
    json_t *merges = json_object_get(model, "merges");
    size_t n = json_object_size(vocab), n_merges = json_array_size(merges), i;
    struct parts s = {
        .p = {.model = "gpt2", .pre = pre, .n_tokens = n, .n_merges = n_merges, .bos = 1, .eos = 2, .unk = -1, .add_bos = -1, .add_eos = -1},
        .tokens = xcalloc(n, sizeof *s.tokens),
        .merges = xcalloc(n_merges, sizeof *s.merges),
        .lens = xcalloc(n, sizeof *s.lens),
        .types = xcalloc(n, sizeof *s.types),
    };
    const char *spelling;
    json_object_foreach(vocab, spelling, value)
    {
        size_t id = (size_t)json_integer_value(value);
        assert_true(id < n);
        s.tokens[id] = spelling;
        s.lens[id] = strlen(spelling);
        s.types[id] = id < 3 ? 3 : 1;
    }
    json_array_foreach(merges, i, value)
    {
        s.merges[i] = xasprintf("%s %s", json_string_value(json_array_get(value, 0)),
                                json_string_value(json_array_get(value, 1)));
    }
    s.p.tokens = s.tokens;
    s.p.merges = s.merges;
    s.p.token_lens = s.lens;
    s.p.types = s.types;
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
}

static void test_parts(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt-2", "smollm", "llama-bpe", "qwen2"};
    json_t *o = golden(), *texts = json_object_get(o, "texts");
    for (size_t i = 0; i < 4; i++) {
        struct parts s = parts_of(json_object_get(o, "base"), names[i]);
        struct err err;
        struct tokenizer *t = tokenizer_from_parts(&s.p, &err);
        if (!t)
            fail_msg("%s: %s", names[i], err.text);
        parts_release(&s);
        const json_t *ids = json_object_get(find_variant(o, names[i]), "ids");
        for (size_t k = 0; k < json_array_size(texts); k++)
            expect_ids(t, json_array_get(texts, k), json_array_get(ids, k), names[i]);
        assert_int_equal(tokenizer_bos(t), 1);
        assert_int_equal(tokenizer_eos(t), 2);
        tokenizer_free(t);
    }
    json_decref(o);
}

static void test_parts_refused(void **state)
{
    (void)state;
    json_t *o = golden();
    struct parts s = parts_of(json_object_get(o, "base"), "gpt-2");
    struct tokenizer_parts good = s.p;
    struct err err;
    s.p.model = "bert";
    assert_null(tokenizer_from_parts(&s.p, &err));
    assert_non_null(strstr(err.text, "'bert' is not supported"));
    s.p = good;
    s.p.pre = "klingon";
    assert_null(tokenizer_from_parts(&s.p, &err));
    assert_non_null(strstr(err.text, "'klingon' is not supported: supported are default, gpt-2"));
    s.p = good;
    s.p.eos = (int)good.n_tokens;
    assert_null(tokenizer_from_parts(&s.p, &err));
    assert_non_null(strstr(err.text, "eos"));
    s.p = good;
    s.p.model = "llama"; /* but without scores */
    assert_null(tokenizer_from_parts(&s.p, &err));
    assert_non_null(strstr(err.text, "and 0 scores"));
    float *scores = xcalloc(good.n_tokens, sizeof *scores);
    scores[7] = 0.0f / 0.0f;
    s.p.scores = scores;
    s.p.n_scores = good.n_tokens;
    assert_null(tokenizer_from_parts(&s.p, &err));
    assert_non_null(strstr(err.text, "the score of token 7"));
    scores[7] = 0;
    s.p.model = "t5";
    assert_null(tokenizer_from_parts(&s.p, &err));
    assert_non_null(strstr(err.text, "no unknown token"));
    s.p.unk = 0;
    s.p.charsmap = "1234";
    s.p.charsmap_len = 4;
    assert_null(tokenizer_from_parts(&s.p, &err));
    assert_non_null(strstr(err.text, "the charsmap is broken"));
    free(scores);
    s.p = good;
    s.p.n_tokens = 100; /* merges go beyond it */
    assert_null(tokenizer_from_parts(&s.p, &err));
    assert_non_null(strstr(err.text, "not in the vocabulary"));
    s.p = good;
    s.tokens[7] = s.tokens[8];
    s.lens[7] = s.lens[8];
    assert_null(tokenizer_from_parts(&s.p, &err));
    assert_non_null(strstr(err.text, "twice"));
    parts_release(&s);
    json_decref(o);
}

static void test_tokens(void **state)
{
    (void)state;
    json_t *o = golden();
    struct err err;
    struct tokenizer *t = from_patch(json_object_get(o, "base"),
                                     json_object_get(find_variant(o, "added"), "patch"), &err);
    assert_non_null(t);
    int end = tokenizer_id(t, "<|im_end|>"), hello = tokenizer_id(t, "hello"),
        r = tokenizer_id(t, "<r>");
    assert_int_equal(end, 2);
    assert_int_equal(tokenizer_id(t, "<|im_end|"), -1);
    assert_int_equal(tokenizer_size(t), (size_t)tokenizer_id(t, "hello world") + 1);
    assert_int_equal(tokenizer_bos(t), -1);
    assert_int_equal(tokenizer_eos(t), -1);
    assert_true(tokenizer_is_special(t, end));
    assert_true(tokenizer_is_special(t, r));
    assert_false(tokenizer_is_special(t, hello));
    assert_false(tokenizer_is_special(t, -1));
    assert_false(tokenizer_is_special(t, 1 << 30));

    const int32_t ids[] = {end, hello, -1, 1 << 30, r, tokenizer_id(t, "\u0120")};
    struct buf out;
    buf_init(&out, 1000);
    tokenizer_decode(t, &out, ids, 6, false);
    assert_string_equal(out.data, "<|im_end|>hello<r> ");
    buf_clear(&out);
    tokenizer_decode(t, &out, ids, 6, true);
    assert_string_equal(out.data, "hello ");
    buf_release(&out);
    tokenizer_free(t);
    json_decref(o);
}

/* Whatever the bytes are, they come back, where the vocabulary has all of them. */
static void test_any_bytes(void **state)
{
    (void)state;
    json_t *o = golden();
    struct err err;
    json_t *patch = json_pack("{s:{s:s}}", "model", "unk_token", "<|endoftext|>");
    json_t *vocab = json_object_get(json_object_get(json_object_get(o, "base"), "model"), "vocab");
    json_object_set_new(vocab, "\u0104", json_integer((json_int_t)json_object_size(vocab)));
    struct tokenizer *t = from_patch(json_object_get(o, "base"), patch, &err);
    assert_non_null(t);
    char text[64];
    for (uint32_t i = 0; i < 4000; i++) {
        static const char hard[] =
            "\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82\xed\xa0\x80\xc0\xaf\xff\xf5 a\n's";
        size_t n = rng_below(sizeof text, 7, RNG_TEST, i, 0, 0, 0);
        for (uint32_t k = 0; k < n; k++)
            text[k] = i % 2 ? (char)rng_below(256, 7, RNG_TEST, i, k, 1, 0)
                            : hard[rng_below(sizeof hard, 7, RNG_TEST, i, k, 2, 0)];
        expect_round_trip(t, text, n);
    }
    tokenizer_free(t);
    json_decref(patch);
    json_decref(o);
}

/* Texts that would take an hour if the time grew with the square of the length. */
static void test_long(void **state)
{
    (void)state;
    static const char *const units[] = {
        "a", " ", "\n", "hello", "'", "\xff", "7", "\xcc\xa3\xcc\x81", " \n"};
    json_t *o = golden();
    struct err err;
    for (int qwen2 = 0; qwen2 < 2; qwen2++) {
        const json_t *v = find_variant(o, qwen2 ? "qwen2" : "smollm");
        struct tokenizer *t =
            from_patch(json_object_get(o, "base"), json_object_get(v, "patch"), &err);
        assert_non_null(t);
        for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
            struct buf text;
            buf_init(&text, (size_t)1 << 24);
            while (text.len < 1000000)
                buf_str(&text, units[i]);
            if (!qwen2)
                expect_round_trip(t, text.data, text.len);
            struct ids ids = {0};
            assert_int_equal(tokenizer_encode(t, &ids, text.data, text.len, &err), 0);
            assert_true(ids.n > 1000);
            ids_release(&ids);
            buf_release(&text);
        }
        tokenizer_free(t);
    }
    json_decref(o);
}

/* The same for the kinds that take a whole text as one word. */
static void test_long_words(void **state)
{
    (void)state;
    static const char *const units[] = {"a", " ", "\n", "hello hall ", "\xff", "\u5ddd", "\xcc\xa3\xcc\x81", "\U0001f1e9"};
    static const char *const files[] = {"tests/golden/tokenizers/characters.json", "tests/golden/tokenizers/unigram.json"};
    for (size_t f = 0; f < 2; f++) {
        json_error_t why;
        json_t *o = json_load_file(files[f], 0, &why), *none = json_object();
        assert_non_null(o);
        struct err err;
        struct tokenizer *t = from_patch(json_object_get(o, "base"), none, &err);
        assert_non_null(t);
        for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
            struct buf text;
            buf_init(&text, (size_t)1 << 24);
            while (text.len < 1000000)
                buf_str(&text, units[i]);
            struct ids ids = {0};
            assert_int_equal(tokenizer_encode(t, &ids, text.data, text.len, &err), 0);
            assert_true(ids.n > 0);
            ids_release(&ids);
            if (f == 0)
                expect_round_trip(t, text.data, text.len);
            buf_release(&text);
        }
        tokenizer_free(t);
        json_decref(none);
        json_decref(o);
    }
}

static void test_nfc(void **state)
{
    (void)state;
    /* From Unicode's annex 15, and corners: Hangul, exclusions, singletons, blocked marks, bad
     * bytes. */
    static const char *const cases[][2] = {
        {"", ""},
        {"plain \u00e9", "plain \u00e9"},
        {"e\u0301", "\u00e9"},
        {"\u212b\u2126", "\u00c5\u03a9"},
        {"\u1e0b\u0323", "\u1e0d\u0307"},
        {"q\u0307\u0323", "q\u0323\u0307"},
        {"\u1100\u1161\u11a8", "\uac01"},
        {"\uac00\u11a8", "\uac01"},
        {"\uac01\u11a8", "\uac01\u11a8"},
        {"\u0958", "\u0915\u093c"},
        {"\u0344", "\u0308\u0301"},
        {"\u0301e\u0301", "\u0301\u00e9"},
        {"a\u0315\u0300\u05ae"
         "b",
         "\u00e0\u05ae\u0315"
         "b"},
        {"\u1100\u0300\u1161", "\u1100\u0300\u1161"},
        {"e\xff\u0301", "e\xff\u0301"},
        {"e\xcc", "e\xcc"},
        {"\U0001d15e", "\U0001d157\U0001d165"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out;
        buf_init(&out, 1000);
        forms_append(&out, FORM_C, cases[i][0], strlen(cases[i][0]));
        assert_string_equal(out.data, cases[i][1]);
        if (strcmp(cases[i][0], cases[i][1]) != 0)
            assert_true(forms_may_change(FORM_C, cases[i][0], strlen(cases[i][0])));
        buf_release(&out);
    }
}

/* What is not supported is refused, and by name. */
static void test_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{\"model\": {\"type\": \"Unigram\"}}", "'Unigram' with the pre-tokenizer 'ByteLevel'"},
        {"{\"model\": {\"type\": \"WordPiece\"}}", "'WordPiece' is not supported"},
        {"{\"model\": {\"dropout\": 0.1}}", "model.dropout"},
        {"{\"model\": {\"end_of_word_suffix\": \"</w>\"}}", "model.end_of_word_suffix"},
        {"{\"model\": {\"unk_token\": \"<nope>\"}}", "'<nope>'"},
        {"{\"model\": {\"vocab\": {\"a\": -1}}}", "id -1"},
        {"{\"model\": {\"vocab\": {\"a\": 99999999999}}}", "id 99999999999"},
        {"{\"model\": {\"vocab\": {\"a\": 5, \"b\": 5}}}", "two tokens have id 5"},
        {"{\"model\": {\"vocab\": {\"a\": \"b\"}}}", "is not a number"},
        {"{\"model\": {\"vocab\": {}}}", "model.vocab"},
        {"{\"model\": {\"merges\": 7}}", "model.merges"},
        {"{\"model\": {\"merges\": [\"ab\"]}}", "entry 0"},
        {"{\"model\": {\"merges\": [\"h zzz\"]}}", "merge 0, 'h zzz'"},
        {"{\"normalizer\": {\"type\": \"Nmt\"}}", "'Nmt' is not supported"},
        {"{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"BertNormalizer\"}]}}",
         "'BertNormalizer'"},
        {"{\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"Regex\": \"[a&&b]\"}, \"content\": \"\"}}", "'&&'"},
        {"{\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"Regex\": \"[a[^b]]\"}, \"content\": \"\"}}", "inside brackets"},
        {"{\"normalizer\": {\"type\": \"Replace\", \"pattern\": 7, \"content\": \"\"}}", "has no pattern"},
        {"{\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"*\"}}", "not base64"},
        {"{\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AAA=\"}}", "of its 2 bytes its trie would take 0"},
        {"{\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"CAAAAAAAAAA=\"}}", "its trie would take 8"},
        {"{\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"BAAAAAAAAABh\"}}", "its last string has no end"},
        {"{\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"BAAAAAAAAAD/AA==\"}}", "is not UTF-8"},
        {"{\"pre_tokenizer\": {\"type\": \"Metaspace\"}}", "'Metaspace' has no replacement"},
        {"{\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"_\", \"prepend_scheme\": \"often\"}}", "'often'"},
        {"{\"pre_tokenizer\": {\"type\": \"UnicodeScripts\"}}", "'UnicodeScripts' is not supported"},
        {"{\"pre_tokenizer\": null, \"decoder\": null, \"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\"]]}}", "entry 0 is not a token"},
        {"{\"pre_tokenizer\": null, \"decoder\": null, \"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", 0]], \"unk_id\": 1}}",
         "model.unk_id"},
        {"{\"pre_tokenizer\": null, \"decoder\": null, \"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", 0], [\"a\", 1]]}}", "is there twice"},
        {"{\"post_processor\": {\"type\": \"Other\"}}", "'Other' is not supported"},
        {"{\"post_processor\": {\"type\": \"RobertaProcessing\", \"cls\": [\"a\", 99999]}}", "token 99999"},
        {"{\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"x\"}}]}}", "entry 0 of 'single'"},
        {"{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": "
         "\"ByteLevel\"}, {\"type\": \"ByteLevel\"}]}}",
         "'ByteLevel' after 'ByteLevel'"},
        {"{\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"(\"}, \"behavior\": "
         "\"Isolated\"}}",
         "cannot be compiled"},
        {"{\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"\\\\b\"}, "
         "\"behavior\": \"Isolated\"}}",
         "'\\b', which is not supported"},
        {"{\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"String\": \"a\"}, "
         "\"behavior\": \"Sideways\"}}",
         "'Sideways'"},
        {"{\"decoder\": {\"type\": \"WordPiece\"}}", "'WordPiece' is not supported"},
        {"{\"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Fuse\"}, {\"type\": \"ByteFallback\"}]}}", "after the decoder 'Fuse'"},
        {"{\"added_tokens\": [{\"id\": 3}]}", "added_tokens: entry 0"},
        {"{\"added_tokens\": [{\"id\": 3, \"content\": \"<|im_end|>\"}]}", "has id 3"},
        {"{\"added_tokens\": [{\"id\": 2, \"content\": \"new\"}]}", "two tokens have id 2"},
    };
    json_t *o = golden();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *patch = json_loads(cases[i][0], 0, NULL);
        assert_non_null(patch);
        struct err err = {{0}};
        struct tokenizer *t = from_patch(json_object_get(o, "base"), patch, &err);
        if (t || !strstr(err.text, cases[i][1]))
            fail_msg("%s: '%s' instead of '%s'", cases[i][0], err.text, cases[i][1]);
        json_decref(patch);
    }
    struct err err;
    assert_null(tokenizer_from_json("[]", 2, &err));
    assert_null(tokenizer_from_json("{}", 2, &err));
    assert_null(tokenizer_from_json("{\n{", 3, &err));
    assert_non_null(strstr(err.text, "line 2"));
    json_decref(o);
}

/* A pattern that runs away is stopped, and said. */
static void test_runaway_pattern(void **state)
{
    (void)state;
    json_t *o = golden();
    json_t *patch =
        json_pack("{s:{s:s,s:[{s:s,s:{s:s},s:s},{s:s,s:b}]}}", "pre_tokenizer", "type", "Sequence",
                  "pretokenizers", "type", "Split", "pattern", "Regex", "(a+)+[bc]", "behavior",
                  "Isolated", "type", "ByteLevel", "use_regex", 0);
    assert_non_null(patch);
    struct err err = {{0}};
    struct tokenizer *t = from_patch(json_object_get(o, "base"), patch, &err);
    assert_non_null(t);
    struct ids ids = {0};
    char text[60];
    memset(text, 'a', sizeof text);
    assert_int_equal(tokenizer_encode(t, &ids, text, sizeof text, &err), -1);
    assert_non_null(strstr(err.text, "cannot be matched"));
    assert_int_equal(ids.n, 0);
    ids_release(&ids);
    tokenizer_free(t);
    json_decref(patch);
    json_decref(o);
}

static void put(const char *folder, const char *name, const char *text)
{
    struct err err;
    char *path = path_join(folder, name);
    if (file_write(path, text, strlen(text), &err))
        fail_msg("%s", err.text);
    free(path);
}

static void expect_bos_eos(const char *folder, int bos, int eos)
{
    struct err err;
    struct tokenizer *t = tokenizer_open(folder, &err);
    if (!t)
        fail_msg("%s", err.text);
    assert_int_equal(tokenizer_bos(t), bos);
    assert_int_equal(tokenizer_eos(t), eos);
    tokenizer_free(t);
}

static void test_folder(void **state)
{
    (void)state;
    char folder[] = "/tmp/hone-tokenizer-XXXXXX";
    assert_non_null(mkdtemp(folder));
    struct err err;
    assert_null(tokenizer_open(folder, &err));
    assert_non_null(strstr(err.text, "tokenizer.json"));

    json_t *o = golden(), *none = json_object();
    char *text = patched(json_object_get(o, "base"), none);
    put(folder, "tokenizer.json", text);
    expect_bos_eos(folder, -1, -1);
    put(folder, "special_tokens_map.json",
        "{\"eos_token\": {\"content\": \"<|im_end|>\"}, \"bos_token\": \"The\"}");
    put(folder, "tokenizer_config.json",
        "{\"bos_token\": \"<|im_start|>\", \"eos_token\": null, \"model_max_length\": "
        "1000000000000000019884624838656}");
    expect_bos_eos(folder, 1, 2);
    char *file = path_join(folder, "tokenizer.json");
    expect_bos_eos(file, 1, 2);

    /* A token becomes special, and is found in text, by being the end token. */
    put(folder, "tokenizer_config.json", "{\"eos_token\": {\"content\": \"ear\"}}");
    struct tokenizer *t = tokenizer_open(folder, &err);
    assert_non_null(t);
    struct ids ids = {0};
    assert_true(tokenizer_is_special(t, tokenizer_eos(t)));
    assert_int_equal(tokenizer_encode(t, &ids, "years", 5, &err), 0);
    assert_int_equal(ids.n, 3);
    assert_int_equal(ids.data[1], tokenizer_eos(t));
    ids_release(&ids);
    tokenizer_free(t);
    put(folder, "tokenizer_config.json", "{\"eos_token\": \"<gone>\"}");
    assert_null(tokenizer_open(folder, &err));
    assert_non_null(strstr(err.text, "'<gone>' is not in the vocabulary"));
    put(folder, "tokenizer_config.json", "{");
    assert_null(tokenizer_open(folder, &err));
    assert_non_null(strstr(err.text, "tokenizer_config.json"));

    free(file);
    free(text);
    json_decref(none);
    json_decref(o);
    assert_int_equal(dir_remove(folder, &err), 0);
}

static struct tokenizer *open_smollm2(const char *shared)
{
    struct err err;
    char *folder = path_join(shared, "golden/trl/model");
    struct tokenizer *t = tokenizer_open(folder, &err);
    if (!t)
        fail_msg("%s", err.text);
    free(folder);
    return t;
}

static const char *shared_or_skip(void)
{
    const char *shared = shared_folder();
    if (!shared) {
        print_message("the shared folder is not there: SmolLM2's cases are skipped\n");
        skip();
    }
    return shared;
}

static void test_smollm2_cases(void **state)
{
    (void)state;
    const char *shared = shared_or_skip();
    struct tokenizer *t = open_smollm2(shared);
    char *path = path_join(shared, "golden/smollm2-135m/tokenizer.json");
    json_error_t why;
    json_t *o = json_load_file(path, JSON_ALLOW_NUL, &why), *c;
    assert_non_null(o);
    size_t i;
    assert_int_equal(tokenizer_size(t), 49152);
    assert_int_equal(tokenizer_eos(t), 2);
    json_array_foreach(json_object_get(o, "cases"), i, c)
    {
        const json_t *text = json_object_get(c, "text");
        expect_ids(t, text, json_object_get(c, "ids"), "SmolLM2");
        expect_round_trip(t, json_string_value(text), json_string_length(text));
    }
    json_decref(o);
    free(path);
    tokenizer_free(t);
}

/* A hash of the ids of real conversations. */
static void test_smollm2_corpus(void **state)
{
    (void)state;
    const char *shared = shared_or_skip();
    char *rows_path = path_join(shared, "data/hh-rlhf/harmless-base/test.jsonl.gz");
    char *path = path_join(shared, "golden/smollm2-135m/tokenizer.json");
    gzFile rows = gzopen(rows_path, "rb");
    if (!rows) {
        print_message("'%s' is not there: skipped\n", rows_path);
        skip();
    }
    struct tokenizer *t = open_smollm2(shared);
    json_error_t why;
    json_t *o = json_load_file(path, JSON_ALLOW_NUL, &why), *corpus = json_object_get(o, "corpus");
    json_int_t n_rows = json_integer_value(json_object_get(corpus, "rows")), n_tokens = 0;
    struct buf all;
    buf_init(&all, (size_t)1 << 26);
    static char line[1 << 20];
    for (json_int_t i = 0; i < n_rows; i++) {
        assert_non_null(gzgets(rows, line, sizeof line));
        json_t *row = json_loads(line, 0, &why), *text = json_object_get(row, "chosen");
        struct ids ids = {0};
        struct err err;
        assert_int_equal(
            tokenizer_encode(t, &ids, json_string_value(text), json_string_length(text), &err), 0);
        expect_round_trip(t, json_string_value(text), json_string_length(text));
        for (size_t k = 0; k < ids.n; k++)
            buf_printf(&all, "%s%d", k ? "," : "[", ids.data[k]);
        buf_str(&all, ids.n ? "]" : "[]");
        n_tokens += (json_int_t)ids.n;
        ids_release(&ids);
        json_decref(row);
    }
    char hash[65];
    sha256_hex(hash, all.data, all.len);
    assert_int_equal(n_tokens, json_integer_value(json_object_get(corpus, "tokens")));
    assert_string_equal(hash, json_string_value(json_object_get(corpus, "sha256")));
    buf_release(&all);
    json_decref(o);
    gzclose(rows);
    free(path);
    free(rows_path);
    tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_parts_refused),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_long_words),
        cmocka_unit_test(test_nfc),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_runaway_pattern),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_smollm2_cases),
        cmocka_unit_test(test_smollm2_corpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
