/* hone pull against a hub on this machine (support/hub.h), over real sockets: what it takes, where that goes, and what it makes of each
 * way in which a hub, a network or a disk can fail it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/digest.h"
#include "hub/listing.h"
#include "hub/settings.h"
#include "support/hub.h"
#include "support/program.h"
#include "util/file.h"
#include "util/mem.h"

#define PULL "$HONE pull owner/name "
#define PLACE "cache/owner/name"
#define TOKEN "hf_aSecretOfTheTests"

/* ---- hashes, names, lists ---- */

static bool never(void *ctx)
{
    (void)ctx;
    return false;
}

static void ignore(void *ctx, size_t done)
{
    (void)ctx, (void)done;
}

static const struct hub_watch watch = {.stopped = never, .at = ignore};

static void sha1_text(char out[41], const void *data, size_t n, size_t step)
{
    struct sha1 s;
    unsigned char digest[20];
    sha1_init(&s);
    for (size_t i = 0; i < n; i += step)
        sha1_add(&s, (const char *)data + i, n - i < step ? n - i : step);
    sha1_end(&s, digest);
    sodium_bin2hex(out, 41, digest, 20);
}

/* FIPS 180's examples, and coreutils' word for every length around the blocks' ends. */
static void test_sha1(void **state)
{
    static const char *const known[][2] = {
        {"", "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
        {"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "84983e441c3bd26ebaae4aa1f95129e5e54670f1"},
    };
    (void)state;
    char got[41], want[41], line[100], *million = xmalloc(1000000);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        sha1_text(got, known[i][0], strlen(known[i][0]), 7);
        assert_string_equal(got, known[i][1]);
    }
    memset(million, 'a', 1000000);
    sha1_text(got, million, 1000000, 12345);
    assert_string_equal(got, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    for (size_t n = 54; n < 130; n += n % 64 == 57 ? 5 : 1) {
        snprintf(line, sizeof line, "head -c %zu /dev/zero | tr '\\0' a | sha1sum", n);
        FILE *f = popen(line, "r");
        assert_true(f && fscanf(f, "%40s", want) == 1 && pclose(f) == 0);
        sha1_text(got, million, n, 13);
        assert_string_equal(got, want);
    }
    free(million);
}

static void test_digests(void **state)
{
    (void)state;
    struct err err;
    struct digest d;
    char got[65];
    digest_begin(&d, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391", 0); /* git's name of an empty file */
    digest_end(&d, got);
    assert_string_equal(got, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
    text_write("d.txt", "what is up, doc?");
    static const char git[] = "bd9dbf5aae1a3862dd1526723246b20206e5fc37"; /* from "Pro Git", chapter 10.2 */
    assert_int_equal(digest_matches("d.txt", git, 16, &watch, 0, &err), 1);
    assert_int_equal(digest_matches("d.txt", git, 15, &watch, 0, &err), 0);
    text_write("d.txt", "what is up, Doc?");
    assert_int_equal(digest_matches("d.txt", git, 16, &watch, 0, &err), 0);
    assert_int_equal(digest_matches("nowhere", git, 16, &watch, 0, &err), 0);
    assert_true(digest_known(git) && !digest_known("E69DE29BB2D1D6434B8B29AE775AD8C2E48C5391") && !digest_known("e69de"));
}

static void test_words(void **state)
{
    static const struct {
        size_t n;
        const char *text;
    } sizes[] = {{0, "0 B"}, {812, "812 B"}, {999, "999 B"}, {1000, "1.00 kB"}, {9994, "9.99 kB"}, {9996, "10.0 kB"},
                 {94096384, "94.1 MB"}, {999600000, "1.00 GB"}, {1244000000, "1.24 GB"}, {SIZE_MAX, "18.4 EB"}};
    static const char *const names[] = {"a/b", "HuggingFaceTB/SmolLM2-135M-Instruct", "_a/b.c-d_e"};
    static const char *const others[] = {"a", "a/", "/b", "a/b/c", "../b", "a/..", "-a/b", "a/b.", "a/b--c", "a/b..c", "a b/c", "a/b?c", "a//b", ""};
    (void)state;
    char text[BYTES_TEXT];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        assert_string_equal(bytes_text(text, sizes[i].n), sizes[i].text);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_true(hub_is_model(names[i]) && hub_is_name(names[i]));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (hub_is_model(others[i]))
            fail_msg("'%s' is taken for a model's name", others[i]);
    assert_true(hub_is_name("a/b@v1") && hub_is_name("a/b/c.gguf") && hub_is_name("a/b@v1/q4/c.gguf"));
    assert_false(hub_is_name("a/b/c") || hub_is_name("a/b/../c.gguf") || hub_is_name("a/b/.gguf") || hub_is_name("a"));
}

/* A list of files with these names, sizes 1, 2, 3 .. and hashes. */
static void make_list(struct hub_listing *l, const char *names)
{
    struct buf b;
    struct err err;
    char *copy = xstrdup(names), *save = NULL;
    size_t n = 0;
    buf_init(&b, 1 << 20);
    buf_str(&b, "{\"sha\": \"" HUB_COMMIT "\", \"siblings\": [");
    for (char *name = strtok_r(copy, " ", &save); name; name = strtok_r(NULL, " ", &save), n++)
        buf_printf(&b, "%s{\"rfilename\": \"%s\", \"size\": %zu, \"blobId\": \"" HUB_COMMIT "\"}", n ? ", " : "", name, n + 1);
    buf_str(&b, "]}");
    if (listing_parse(l, b.data, b.len, &err))
        fail_msg("%s: %s", names, err.text);
    buf_release(&b);
    free(copy);
}

static void test_chooses(void **state)
{
    static const struct {
        const char *list, *file, *chosen, *error; /* one of the last two */
    } cases[] = {
        {"README.md model.safetensors pytorch_model.bin tokenizer.json config.json modeling_x.py onnx/model.onnx .gitattributes", NULL,
         "config.json tokenizer.json model.safetensors", NULL},
        {"config.json consolidated.safetensors model-00002-of-00002.safetensors model-00001-of-00002.safetensors model.safetensors.index.json "
         "sub/config.json model.fp16.safetensors x.gguf", NULL,
         "config.json model.safetensors.index.json model-00002-of-00002.safetensors model-00001-of-00002.safetensors", NULL},
        {"config.json model.safetensors model-00001-of-00001.safetensors model.safetensors.index.json", NULL,
         "config.json model.safetensors.index.json model.safetensors", NULL},
        {"adapter_config.json adapter_model.safetensors README.md", NULL, "adapter_config.json adapter_model.safetensors", NULL},
        {"config.json model.safetensors chat_template.jinja generation_config.json vocab.json merges.txt tokenizer.model hone.json", NULL,
         "config.json generation_config.json vocab.json merges.txt tokenizer.model chat_template.jinja hone.json model.safetensors", NULL},
        {"README.md x.gguf config.json", NULL, "x.gguf", NULL},
        {"a.gguf b.gguf", "b.gguf", "b.gguf", NULL},
        {"config.json model.safetensors a.gguf", "a.gguf", "a.gguf", NULL},
        {"b-00002-of-00002.gguf README.md b-00001-of-00002.gguf", NULL, "b-00001-of-00002.gguf b-00002-of-00002.gguf", NULL},
        {"a.gguf b-00001-of-00002.gguf c-00002-of-00002.gguf b-00002-of-00002.gguf", "b-00002-of-00002.gguf",
         "b-00001-of-00002.gguf b-00002-of-00002.gguf", NULL},
        {"a.gguf b-00001-of-00002.gguf b-00002-of-00002.gguf", NULL, NULL, "2 GGUF files: choose one with --file"},
        {"b-00001-of-00003.gguf b-00003-of-00003.gguf b-00002-of-00002.gguf", "b-00001-of-00003.gguf", NULL,
         "part 2 of the 3 that 'b-00001-of-00003.gguf' is one of is not"},
        {"a.gguf b.gguf", NULL, NULL, "2 GGUF files: choose one with --file"},
        {"a.gguf b.gguf", "c.gguf", NULL, "no file 'c.gguf'"},
        {"config.json model.safetensors", "config.json", NULL, "'config.json' is none"},
        {"config.json pytorch_model.bin", NULL, NULL, "pickled files only"},
        {"config.json README.md", NULL, NULL, "no model that hone reads"},
        {"model.safetensors", NULL, NULL, "no model that hone reads"},
        {"config.json model.safetensors.index.json model-00001-of-00003.safetensors model-00003-of-00003.safetensors", NULL, NULL,
         "2 parts of weights, but 'model-00001-of-00003.safetensors' says that there are 3"},
        {"config.json model.safetensors.index.json", NULL, NULL, "no model-0000K-of-0000N.safetensors"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hub_listing l;
        struct err err = {""};
        struct buf b;
        buf_init(&b, 1 << 16);
        make_list(&l, cases[i].list);
        int kind = listing_choose(&l, "o/n", cases[i].file, &err);
        for (size_t k = 0; k < l.n; k++)
            buf_printf(&b, "%s%s", k ? " " : "", l.files[k].name);
        if (cases[i].error ? kind >= 0 || !strstr(err.text, cases[i].error) : kind < 0 || strcmp(b.data, cases[i].chosen))
            fail_msg("'%s' gives %d, '%s', '%s'", cases[i].list, kind, b.data, err.text);
        if (cases[i].error)
            assert_string_equal(b.data, cases[i].list); /* as it was */
        else
            assert_int_equal(kind, strstr(cases[i].chosen, ".gguf") != NULL);
        buf_release(&b);
        listing_release(&l);
    }
}

static void test_refuses_lists(void **state)
{
#define LIST(siblings) "{\"sha\": \"" HUB_COMMIT "\", \"siblings\": " siblings "}"
    static const char *const cases[][2] = {
        {"<html>", "not JSON"},
        {"", "not JSON"},
        {"{\"sha\": \"x.\\\n", "not JSON"}, /* what the parser quotes of it has a line's end */
        {"[]", "no \"siblings\""},
        {"{\"siblings\": []}", "no \"sha\""},
        {"{\"sha\": \"main\", \"siblings\": []}", "no \"sha\""},
        {LIST("7"), "no \"siblings\""},
        {LIST("[7]"), "without a name"},
        {LIST("[{\"rfilename\": 7}]"), "without a name"},
        {LIST("[{\"rfilename\": \"../config.json\"}]"), "'../config.json', which is not one"},
        {LIST("[{\"rfilename\": \"/etc/passwd\"}]"), "'/etc/passwd', which is not one"},
        {LIST("[{\"rfilename\": \"a/../../b\"}]"), "which is not one"},
        {LIST("[{\"rfilename\": \"a/..\"}]"), "which is not one"},
        {LIST("[{\"rfilename\": \".\"}]"), "which is not one"},
        {LIST("[{\"rfilename\": \"a//b\"}]"), "which is not one"},
        {LIST("[{\"rfilename\": \"a/\"}]"), "which is not one"},
        {LIST("[{\"rfilename\": \"\"}]"), "which is not one"},
        {LIST("[{\"rfilename\": \"a\\\\b\"}]"), "which is not one"},
        {LIST("[{\"rfilename\": \"a\\nb\"}]"), "which is not one"},
        {LIST("[{\"rfilename\": \"a\"}, {\"rfilename\": \"b\"}, {\"rfilename\": \"a\"}]"), "'a' twice"},
    };
    (void)state;
    struct hub_listing l;
    struct err err;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (!listing_parse(&l, cases[i][0], strlen(cases[i][0]), &err) || !strstr(err.text, cases[i][1]) || strchr(err.text, '\n'))
            fail_msg("%s: %s", cases[i][0], err.text);
    static const char *const unknown[] = {"{\"rfilename\": \"x.gguf\", \"size\": 3}", "{\"rfilename\": \"x.gguf\", \"blobId\": \"" HUB_COMMIT "\"}",
                                          "{\"rfilename\": \"x.gguf\", \"size\": -1, \"blobId\": \"" HUB_COMMIT "\"}",
                                          "{\"rfilename\": \"x.gguf\", \"size\": 3, \"blobId\": \"" HUB_COMMIT "\", \"lfs\": {}}"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        char *json = xasprintf(LIST("[%s]"), unknown[i]);
        assert_int_equal(listing_parse(&l, json, strlen(json), &err), 0);
        if (listing_choose(&l, "o/n", NULL, &err) >= 0 || !strstr(err.text, "no size or no hash of 'x.gguf'"))
            fail_msg("%s: %s", json, err.text);
        listing_release(&l);
        free(json);
    }
#undef LIST
}

/* ---- a pull ---- */

static int enter(void **state)
{
    static const char *const unset[] = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE",
                                        "HF_HUB_DISABLE_IMPLICIT_TOKEN", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY",
                                        "CURL_CA_BUNDLE", "SSL_CERT_FILE"};
    if (sandbox_enter(state))
        return -1;
    for (size_t i = 0; i < sizeof unset / sizeof *unset; i++)
        unsetenv(unset[i]);
    setenv("HONE_CACHE", "cache", 1);
    setenv("HF_HOME", "hf", 1);
    write_tokenizer("src");
    run_ok("cp golden/models/llama/config.json golden/models/llama/generation_config.json golden/models/llama/model.safetensors src");
    text_write("other", "not for hone\n");
    text_write("p.jsonl", "{\"prompt\": \"Hello\"}\n");
    run_ok("head -c 70000 src/model.safetensors >q4.gguf && head -c 90000 src/model.safetensors >q8.gguf");
    hub_start(NULL, NULL);
    setenv("HF_ENDPOINT", hub_url(), 1);
    return 0;
}

static int leave(void **state)
{
    hub_stop();
    return sandbox_leave(state);
}

/* A fresh hub with the model, and nothing pulled yet. */
static int fresh(void **state)
{
    (void)state;
    hub_reset();
    hub_clear();
    drop("cache");
    hub_add("README.md", "other", false);
    hub_add("pytorch_model.bin", "other", true);
    hub_add("modeling.py", "other", false);
    hub_add("model.safetensors", "src/model.safetensors", true);
    hub_add("config.json", "src/config.json", false);
    hub_add("generation_config.json", "src/generation_config.json", false);
    hub_add("tokenizer.json", "src/tokenizer.json", true);
    hub_add("chat_template.jinja", "src/chat_template.jinja", false);
    return 0;
}

/* The folder holds the model's files, as they are in src, its pull.json, and nothing else. */
static void expect_whole(const char *dir)
{
    char *record = path_join(dir, "pull.json"), *part = xasprintf("%s.part", dir);
    assert_true(is_there(record));
    run_ok("rm -rf look && cp -r %s look && rm look/pull.json && diff -r look src", dir);
    assert_false(is_there(part));
    free(record);
    free(part);
}

static void expect_nothing(void)
{
    char *left = folder_listing("cache");
    if (*left || is_there(PLACE) || is_there(PLACE ".part"))
        fail_msg("something was left behind: %s", left);
    free(left);
}

/* A line that fails with one sentence that holds `what`; what was said before it (of attempts) is not looked at. */
static void expect_error(const char *line, const char *what)
{
    struct ended e = run("%s", line);
    const char *said = strstr(e.err, "hone: pull: ");
    if (e.code != 1 || !said || !strstr(said, what) || strchr(said, '\n') != said + strlen(said) - 1)
        fail_msg("%s: ended with %d, and not one line with '%s': %s", line, e.code, what, e.err);
    if (strstr(e.err, TOKEN) || strstr(e.err, "signature=") || *e.out)
        fail_msg("%s: says too much: %s%s", line, e.err, e.out);
    ended_release(&e);
}

static void test_pulls(void **state)
{
    (void)state;
    struct ended e = run(PULL);
    if (e.code)
        fail_msg("%s", e.err);
    assert_string_equal(e.out, PLACE "\n");
    assert_non_null(strstr(e.err, "pull: 5 files, "));
    assert_non_null(strstr(e.err, "commit 0123456789ab: --model owner/name\n"));
    ended_release(&e);
    expect_whole(PLACE);
    assert_string_equal(hub_seen.api_url, "/api/models/owner/name/revision/main?blobs=true");
    assert_true(hub_seen.api == 1 && hub_seen.files == 5 && hub_seen.cdn == 2 && hub_seen.ranges == 0 && hub_seen.tokens == 0);
    assert_memory_equal(hub_seen.user_agent, "hone/", 5);
    json_t *o = golden_json(PLACE "/pull.json"), *w = json_object_get(o, "model.safetensors");
    assert_int_equal(json_object_size(o), 5);
    assert_string_equal(json_string_value(json_object_get(w, "commit")), HUB_COMMIT);
    assert_string_equal(json_string_value(json_object_get(w, "model")), "owner/name");
    char hash[65];
    struct err err;
    assert_int_equal(file_sha256(hash, "src/model.safetensors", &err), 0);
    assert_string_equal(json_string_value(json_object_get(w, "hash")), hash);
    json_decref(o);
    /* a second one looks, and fetches nothing */
    hub_reset();
    e = run(PULL);
    assert_int_equal(e.code, 0);
    assert_string_equal(e.out, PLACE "\n");
    assert_non_null(strstr(e.err, "is there already and as it should be"));
    ended_release(&e);
    assert_true(hub_seen.api == 1 && hub_seen.files == 0 && hub_seen.cdn == 0);
    /* by its name it is a model, and so is what is named after it */
    run_ok("$HONE inspect owner/name --json >a && $HONE inspect src --json >b");
    run_ok("$HONE generate --model owner/name --prompts p.jsonl --max-new-tokens 5 --temperature 0 --quiet >a");
    run_ok("$HONE generate --model src --prompts p.jsonl --max-new-tokens 5 --temperature 0 --quiet >b && cmp a b");
    expect_refused("$HONE generate --model owner/other --prompts p.jsonl", "'hone pull owner/other'");
}

static void test_places(void **state)
{
    (void)state;
    run_ok(PULL "--quiet --output-dir here/model/ && test ! -e cache");
    expect_whole("here/model");
    run_ok(PULL "--quiet --revision refs/pr/1");
    expect_whole(PLACE "@refs-pr-1");
    run_ok("$HONE inspect owner/name@refs-pr-1 >/dev/null");
    run_ok("unset HONE_CACHE; XDG_CACHE_HOME=xdg " PULL "--quiet");
    expect_whole("xdg/hone/owner/name");
    run_ok("unset HONE_CACHE XDG_CACHE_HOME; HOME=home " PULL "--quiet");
    expect_whole("home/.cache/hone/owner/name");
    expect_error("unset HONE_CACHE XDG_CACHE_HOME HOME; " PULL, "--output-dir");
    struct ended e = run("$HONE pull name");
    assert_true(e.code == 2 && strstr(e.err, "write it as OWNER/NAME"));
    ended_release(&e);
}

/* ---- broken off ---- */

static void test_goes_on(void **state)
{
    (void)state;
    hub_faults.cuts = 1;
    hub_faults.cut_after = 100000;
    hub_clear();
    hub_add("config.json", "src/config.json", false);
    hub_add("model.safetensors", "src/model.safetensors", true);
    expect_error(PULL "--retries 0 --quiet", "'model.safetensors': the connection to '127.0.0.1:");
    assert_true(!is_there(PLACE) && is_there(PLACE ".part/model.safetensors.part"));
    expect_refused("$HONE inspect owner/name", "is not there");
    expect_refused("$HONE generate --model owner/name --prompts p.jsonl", "'hone pull owner/name'");
    expect_refused("$HONE generate --model " PLACE ".part --prompts p.jsonl", "not fetched to its end");
    size_t got;
    free(text_read(PLACE ".part/model.safetensors.part", &got));
    assert_in_range(got, 1, 100000);
    hub_reset();
    run_ok(PULL "--quiet");
    size_t all;
    free(text_read("src/model.safetensors", &all));
    assert_true(hub_seen.cdn == 1 && hub_seen.ranges == 1 && hub_seen.files == 1);
    assert_int_equal(hub_seen.bytes, all - got);
    expect_same_file("src", PLACE, "model.safetensors");
    expect_same_file("src", PLACE, "config.json");
}

/* Cut in one run: it goes on by itself, from the byte it had, and asks that the content be the same. */
static void test_goes_on_by_itself(void **state)
{
    (void)state;
    hub_faults.cuts = 3; /* the tokenizer is too short for one */
    hub_faults.cut_after = 200000;
    struct ended e = run(PULL);
    if (e.code || !strstr(e.err, "was lost: once more in 0.5 s\n"))
        fail_msg("%d: %s", e.code, e.err);
    ended_release(&e);
    expect_whole(PLACE);
    assert_true(hub_seen.ranges == 2 && hub_seen.if_ranges == 2);
    fresh(NULL);
    hub_faults.cuts = 100;
    hub_faults.cut_after = 3000;
    expect_error(PULL "--retries 1 --quiet", "2 attempts in vain");
    assert_false(is_there(PLACE));
}

static void test_odd_ranges(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        fresh(NULL);
        run_ok("mkdir -p " PLACE ".part && head -c 100000 src/model.safetensors >" PLACE ".part/model.safetensors.part");
        hub_faults.no_ranges = kind == 0;
        hub_faults.wrong_range = kind == 1;
        if (kind == 2) /* of another file, and too long */
            run_ok("cat src/model.safetensors src/config.json >" PLACE ".part/model.safetensors.part");
        run_ok(PULL "--quiet");
        expect_whole(PLACE);
        assert_int_equal(hub_seen.ranges, kind == 2 ? 0 : 1);
    }
    /* the list says more bytes than there are: asked for what is behind the end, the server refuses */
    fresh(NULL);
    run_ok("mkdir -p " PLACE ".part && cp src/model.safetensors " PLACE ".part/model.safetensors.part");
    hub_say_size("model.safetensors", 600000);
    expect_error(PULL "--quiet --retries 1", "'model.safetensors': it has 578232 bytes there, and 600000 in the list of files");
    fresh(NULL);
    hub_say_size("model.safetensors", 500000);
    expect_error(PULL "--quiet", "it has 578232 bytes there, and 500000 in the list of files");
}

static void test_wrong_content(void **state)
{
    (void)state;
    hub_faults.damaged = true;
    expect_error(PULL "--quiet", "came with another hash than the hub's list gives");
    char *left = folder_listing("cache");
    if (strstr(left, ".part ") || is_there(PLACE))
        fail_msg("the damaged file was left: %s", left);
    free(left);
    hub_faults.damaged = false;
    hub_faults.other_hash = true;
    expect_error(PULL "--quiet", "the hub gives it the hash ffffffffffff.. now");
    hub_faults.other_hash = false;
    /* the part of another commit */
    run_ok("mkdir -p " PLACE ".part && head -c 50000 /dev/zero >" PLACE ".part/model.safetensors.part && echo old >" PLACE ".part/vocab.json && "
           "echo '{}' >" PLACE ".part/config.json");
    struct ended e = run(PULL);
    if (e.code || !strstr(e.err, "belongs to another one: from the beginning"))
        fail_msg("%d: %s", e.code, e.err);
    ended_release(&e);
    expect_whole(PLACE);
}

static void test_stopped(void **state)
{
    (void)state;
    static const char *const signals[] = {"INT", "TERM"};
    for (size_t i = 0; i < 2; i++) {
        fresh(NULL);
        hub_faults.drip = 20000;
        struct ended e = run(PULL "& p=$!; while [ ! -s " PLACE ".part/model.safetensors.part ]; do sleep 0.02; done; kill -%s $p; wait $p",
                             signals[i]);
        if (e.code != 1 || !strstr(e.err, "hone: pull: stopped: ") || !strstr(e.err, "the same command goes on from there\n"))
            fail_msg("%d: %s", e.code, e.err);
        ended_release(&e);
        assert_false(is_there(PLACE));
        hub_reset();
        run_ok(PULL "--quiet");
        expect_whole(PLACE);
        assert_int_equal(hub_seen.ranges, 1);
    }
}

/* Killed at any call that changes files: there is the whole model or none, and the next pull ends well. */
static void test_killed_at_calls(void **state)
{
    (void)state;
    bool ended = false;
    for (size_t n = 1; !ended; n += 9) {
        fresh(NULL);
        int killed = run_and_kill_at_call("$HONE pull owner/name --quiet", n);
        if (killed < 0)
            skip();
        ended = !killed;
        if (is_there(PLACE))
            expect_whole(PLACE);
        run_ok(PULL "--quiet");
        expect_whole(PLACE);
    }
}

static void test_one_at_a_time(void **state)
{
    (void)state;
    hub_faults.drip = 20000;
    struct ended e = run(PULL "--quiet & p=$!; while [ ! -s " PLACE ".part/model.safetensors.part ]; do sleep 0.02; done; " PULL
                              "--quiet; echo ended with $?; kill $p; wait $p");
    if (!strstr(e.err, "another program is fetching into '" PLACE "'") || !strstr(e.out, "ended with 1"))
        fail_msg("%s%s", e.out, e.err);
    ended_release(&e);
}

/* ---- refused ---- */

static void test_statuses(void **state)
{
    static const struct {
        const char *environment, *flags;
        struct hub_faults faults;
        const char *what;
    } cases[] = {
        {"", "", {.token = TOKEN}, "the hub shows no 'owner/name': either there is no such model"},
        {"HF_TOKEN=wrong", "", {.token = TOKEN, .error_message = "Invalid credentials in Authorization header"}, "does not know the token"},
        {"", "", {.gated = TOKEN}, "'owner/name' is gated: accept its licence at http://127.0.0.1:"},
        {"HF_TOKEN=" TOKEN, "", {.gated = "another"}, "the token gives no access to it yet"},
        {"", "--revision v9", {0}, "'owner/name' has no revision 'v9'"},
        {"", "", {.api_status = 404, .api_times = -1, .error_code = "RepoNotFound"}, "the hub has no model 'owner/name'"},
        {"HF_TOKEN=" TOKEN, "", {.api_status = 403, .api_times = -1, .error_message = "Not\tfor you"}, "the hub refuses 'owner/name': Not?for you"},
        {"", "", {.file_status = 404, .file_times = -1, .error_code = "EntryNotFound"}, "'config.json': '127.0.0.1:"},
        {"", "", {.api_status = 418, .api_times = -1}, "answers 418"},
        {"", "--retries 1", {.api_status = 503, .api_times = -1}, "2 attempts in vain: '127.0.0.1:"},
        {"", "--retries 0", {.file_status = 500, .file_times = -1}, "answers 500"},
        {"", "", {.api_status = 429, .api_times = -1, .retry_after = "3600"}, "asks to wait for 3600 seconds, which is too long"},
        {"", "", {.file_status = 429, .file_times = -1, .rate_limit = "\"api\";r=0;t=3500"}, "asks to wait for 3500 seconds"},
        {"", "", {.loop = true}, "leads from address to address, more than 10 times"},
        {"", "", {.location = "file:///etc/passwd"}, "leads to an address that is none of http or https"},
        {"", "", {.location = "http://someone:secret@127.0.0.1/x"}, "leads to an address that is none of http or https"},
        {"", "--retries 0", {.location = "http://127.0.0.1:1/x"}, "'config.json': cannot connect to '127.0.0.1:1'"},
        {"", "", {.api_body = "<html>come in</html>"}, "not JSON"},
        {"", "", {.api_length = 17 << 20}, "longer than the 16777216 bytes"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fresh(NULL);
        hub_faults = cases[i].faults;
        char *line = xasprintf("%s " PULL "--quiet %s", cases[i].environment, cases[i].flags);
        expect_error(line, cases[i].what);
        expect_nothing();
        free(line);
    }
    fresh(NULL);
    hub_say_name("README.md", "../README.md");
    expect_error(PULL, "'../README.md', which is not one of a file in the model's folder");
    assert_int_equal(hub_seen.files, 0);
    expect_nothing();
    expect_error("$HONE pull owner/other", "the hub shows no 'owner/other'");
}

/* What passes by itself is waited for, aloud. */
static void test_waits(void **state)
{
    (void)state;
    hub_faults = (struct hub_faults){.api_status = 503, .api_times = 1, .file_status = 429, .file_times = 1, .retry_after = "1"};
    struct ended e = run(PULL);
    if (e.code || !strstr(e.err, "answers 503: once more in 1 s\n") || !strstr(e.err, "answers 429: once more in 1 s\n"))
        fail_msg("%d: %s", e.code, e.err);
    ended_release(&e);
    expect_whole(PLACE);
    assert_true(hub_seen.api == 2 && hub_seen.files == 6);
}

static void test_no_network(void **state)
{
    (void)state;
    expect_error(PULL "--endpoint http://127.0.0.1:1", "cannot connect to '127.0.0.1:1'");
    expect_error(PULL "--endpoint http://nowhere.invalid", "cannot find the host 'nowhere.invalid:80'");
    expect_error(PULL "--endpoint gopher://127.0.0.1", "the hub's address 'gopher://127.0.0.1' is none");
    expect_error("HF_ENDPOINT=nonsense: " PULL, "the hub's address 'nonsense:' is none");
    expect_error("HF_HUB_OFFLINE=1 " PULL, "nothing is fetched while HF_HUB_OFFLINE");
    expect_nothing();
    assert_int_equal(hub_seen.api, 0);
    run_ok(PULL "--quiet --endpoint %s/", hub_url());
    hub_reset();
    run_ok("HF_HUB_OFFLINE=1 " PULL "--quiet && TRANSFORMERS_OFFLINE=yes " PULL "--quiet");
    assert_int_equal(hub_seen.api, 0);
    run_ok("printf x >>" PLACE "/config.json");
    expect_error("HF_HUB_OFFLINE=1 " PULL, "'" PLACE "/config.json' is damaged or missing, and nothing is fetched");
}

static void test_silent_server(void **state)
{
    (void)state;
    hub_faults.drip = 4000000;
    expect_error(PULL "--quiet --retries 0 --timeout 1", "sends nothing any more");
}

static void test_token(void **state)
{
    static const char *const ways[] = {"HF_TOKEN=" TOKEN, "HUGGING_FACE_HUB_TOKEN=" TOKEN, "HF_TOKEN_PATH=token", "HF_HOME=home-of-hf",
                                       "unset HF_HOME; XDG_CACHE_HOME=xdg-of-hf", "HF_TOKEN=' " TOKEN "\n'"};
    (void)state;
    run_ok("mkdir -p home-of-hf xdg-of-hf/huggingface && echo " TOKEN " >token && cp token home-of-hf && cp token xdg-of-hf/huggingface");
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        fresh(NULL);
        hub_faults.token = hub_faults.gated = TOKEN;
        struct ended e = run("%s%s" PULL, ways[i], strstr(ways[i], "; ") ? " " : " ");
        if (e.code || strstr(e.err, TOKEN) || strstr(e.out, TOKEN))
            fail_msg("%s: %d: %s", ways[i], e.code, e.err);
        ended_release(&e);
        expect_whole(PLACE);
        assert_string_equal(hub_seen.authorization, "Bearer " TOKEN);
        assert_true(hub_seen.tokens == hub_seen.api + hub_seen.files && hub_seen.cdn == 2 && hub_seen.cdn_tokens == 0);
    }
    fresh(NULL);
    run_ok("HF_HOME=home-of-hf HF_HUB_DISABLE_IMPLICIT_TOKEN=1 " PULL "--quiet");
    assert_int_equal(hub_seen.tokens, 0);
    expect_error("HF_TOKEN='" TOKEN "\nHost: x' " PULL, "what HF_TOKEN holds is no token");
    expect_error("printf '" TOKEN " x' >bad && HF_TOKEN_PATH=bad " PULL, "what 'bad' holds is no token");
    struct ended e = run("HF_TOKEN=" TOKEN " " PULL "--endpoint http://127.0.0.2:1 --retries 0");
    if (e.code != 1 || !strstr(e.err, "the token is not sent to 'http://127.0.0.2:1'"))
        fail_msg("%s", e.err);
    ended_release(&e);
}

static void test_disk(void **state)
{
    (void)state;
    hub_say_size("model.safetensors", (size_t)1 << 60);
    expect_error(PULL, "'owner/name' needs 1.15 EB, and only ");
    expect_nothing();
    assert_int_equal(hub_seen.files, 0);
    hub_say_size("model.safetensors", (size_t)INT64_MAX);
    hub_say_size("tokenizer.json", (size_t)INT64_MAX);
    hub_say_size("config.json", (size_t)INT64_MAX);
    expect_error(PULL, "more than any disk holds");
    fresh(NULL);
    expect_error("ulimit -f 256 && " PULL "--quiet", "the same command goes on from there");
    assert_false(is_there(PLACE));
    run_ok(PULL "--quiet");
    expect_whole(PLACE);
    assert_int_equal(hub_seen.ranges, 1);
    fresh(NULL);
    text_write("file", "x");
    expect_error(PULL "--output-dir file/model", "cannot make the folder");
    expect_error(PULL "--output-dir file --overwrite", "'file' is a file");
    assert_true(is_there("file") && !is_there("file.part"));
}

/* A model that hone cannot run is refused before its weights come. */
static void test_checks_config(void **state)
{
    (void)state;
    hub_clear();
    text_write("odd.json", "{\"model_type\": \"abacus\", \"hidden_size\": 8}");
    hub_add("config.json", "odd.json", false);
    hub_add("model.safetensors", "src/model.safetensors", true);
    expect_error(PULL "--quiet", "abacus");
    assert_true(hub_seen.files == 1 && hub_seen.cdn == 0);
    expect_nothing();
}

/* ---- what is there already ---- */

static void test_replaces(void **state)
{
    (void)state;
    run_ok(PULL "--quiet");
    /* a new commit: only what changed is fetched, and only when that is wanted */
    run_ok("cp -r src new && sed 's/$/ /' src/generation_config.json >new/generation_config.json");
    fresh(NULL);
    run_ok(PULL "--quiet");
    hub_clear();
    hub_commit("aaaabbbbccccddddeeeeffff0000111122223333");
    hub_add("model.safetensors", "new/model.safetensors", true);
    hub_add("config.json", "new/config.json", false);
    hub_add("generation_config.json", "new/generation_config.json", false);
    hub_add("tokenizer.json", "new/tokenizer.json", true);
    hub_add("chat_template.jinja", "new/chat_template.jinja", false);
    hub_reset();
    expect_error(PULL, "holds another 'generation_config.json' than the revision 'main' of 'owner/name' has now (commit aaaabbbbcccc): give "
                       "--overwrite");
    expect_whole(PLACE);
    run_ok("echo mine >" PLACE "/notes.txt");
    expect_error(PULL "--overwrite", "holds 'notes.txt', which would be lost");
    run_ok("rm " PLACE "/notes.txt && " PULL "--overwrite --quiet");
    assert_true(hub_seen.files == 1 && hub_seen.cdn == 0);
    run_ok("rm -rf look && cp -r " PLACE " look && rm look/pull.json && diff -r look new && grep -q aaaabbbb " PLACE "/pull.json");
    /* damage */
    run_ok("printf x | dd of=" PLACE "/model.safetensors bs=1 seek=300000 conv=notrunc 2>/dev/null");
    expect_error(PULL, "'" PLACE "/model.safetensors' is damaged or missing: give --overwrite to fetch it again");
    run_ok(PULL "--overwrite --quiet && cmp new/model.safetensors " PLACE "/model.safetensors && rm " PLACE "/tokenizer.json");
    expect_error(PULL, "'" PLACE "/tokenizer.json' is damaged or missing");
    /* a folder that is the user's own */
    run_ok("rm -rf own && cp -r new own && echo >>own/config.json");
    expect_error(PULL "--overwrite --output-dir own", "which would be lost");
    run_ok("mkdir empty && " PULL "--quiet --output-dir empty && cmp new/config.json empty/config.json");
    run_ok("rm -rf new own empty");
}

static void test_gguf(void **state)
{
    (void)state;
    hub_clear();
    hub_add("README.md", "other", false);
    hub_add("m-q4.gguf", "q4.gguf", true);
    hub_add("big/m-q8.gguf", "q8.gguf", true);
    hub_add("m-00001-of-00002.gguf", "q4.gguf", true);
    hub_add("m-00002-of-00002.gguf", "q8.gguf", true);
    struct ended e = run(PULL);
    if (e.code != 1 || !strstr(e.err, "3 GGUF files: choose one with --file") || !strstr(e.err, "  m-q4.gguf ") ||
        !strstr(e.err, "  70.0 kB\n") || !strstr(e.err, "  90.0 kB\n") || !strstr(e.err, "  m-00001-of-00002.gguf ") ||
        !strstr(e.err, "  160 kB\n") || strstr(e.err, "00002-of"))
        fail_msg("%s", e.err);
    ended_release(&e);
    expect_nothing();
    hub_faults.cuts = 1;
    hub_faults.cut_after = 10000;
    expect_error(PULL "--file m-q4.gguf --retries 0 --quiet", "was lost");
    assert_true(is_there(PLACE "/m-q4.gguf.part") && !is_there(PLACE "/m-q4.gguf"));
    expect_refused("$HONE inspect owner/name/m-q4.gguf", "is not there");
    e = run(PULL "--file m-q4.gguf --quiet");
    assert_string_equal(e.out, PLACE "/m-q4.gguf\n");
    ended_release(&e);
    assert_int_equal(hub_seen.ranges, 1);
    run_ok("cmp q4.gguf " PLACE "/m-q4.gguf");
    /* which is the model of that name while it is alone: it is no GGUF, and is refused as one */
    expect_refused("$HONE generate --model owner/name --prompts p.jsonl", "m-q4.gguf'");
    run_ok(PULL "--file big/m-q8.gguf --quiet && cmp q8.gguf " PLACE "/big/m-q8.gguf && cmp q4.gguf " PLACE "/m-q4.gguf");
    run_ok("cp " PLACE "/m-q4.gguf " PLACE "/more.gguf");
    expect_refused("$HONE generate --model owner/name --prompts p.jsonl", "holds 2 GGUF files: name one of them");
    hub_reset();
    run_ok(PULL "--file big/m-q8.gguf --quiet && HF_HUB_OFFLINE=1 " PULL "--file m-q4.gguf --quiet");
    assert_int_equal(hub_seen.files, 0);
    /* another content under the same name */
    hub_clear();
    hub_add("m-q4.gguf", "q8.gguf", true);
    expect_error(PULL "--quiet", "give --overwrite to replace it");
    run_ok("cmp q4.gguf " PLACE "/m-q4.gguf && " PULL "--quiet --overwrite && cmp q8.gguf " PLACE "/m-q4.gguf && cmp q8.gguf " PLACE
           "/big/m-q8.gguf");
    hub_clear();
    hub_add("more.gguf", "q8.gguf", true);
    expect_error(PULL "--overwrite", "holds 'more.gguf', which would be lost");
}

/* One that was cut into parts is one, whichever of them is named. */
static void test_parts(void **state)
{
    (void)state;
    hub_clear();
    hub_add("m-00002-of-00002.gguf", "q8.gguf", true);
    hub_add("m-00001-of-00002.gguf", "q4.gguf", true);
    struct ended e = run(PULL "--quiet");
    assert_string_equal(e.out, PLACE "/m-00001-of-00002.gguf\n");
    ended_release(&e);
    run_ok("cmp q4.gguf " PLACE "/m-00001-of-00002.gguf && cmp q8.gguf " PLACE "/m-00002-of-00002.gguf");
    expect_refused("$HONE generate --model owner/name --prompts p.jsonl", "m-00001-of-00002.gguf'");
    hub_reset();
    e = run("HF_HUB_OFFLINE=1 " PULL "--file m-00002-of-00002.gguf --quiet");
    assert_string_equal(e.out, PLACE "/m-00001-of-00002.gguf\n");
    ended_release(&e);
    run_ok("rm " PLACE "/m-00002-of-00002.gguf && " PULL "--quiet && cmp q8.gguf " PLACE "/m-00002-of-00002.gguf");
    assert_int_equal(hub_seen.files, 1);
}

/* An adapter says which model it belongs to by its name on the hub. */
static void test_adapter(void **state)
{
    (void)state;
    run_ok(PULL "--quiet && rm -rf peft && mkdir peft && cp golden/models/llama/lora/adapter_* peft");
    json_t *o = golden_json("peft/adapter_config.json");
    json_object_set_new(o, "base_model_name_or_path", json_string("owner/name"));
    assert_int_equal(json_dump_file(o, "peft/adapter_config.json", 0), 0);
    run_ok("$HONE generate --model peft --prompts p.jsonl --max-new-tokens 3 --quiet >/dev/null");
    json_object_set_new(o, "base_model_name_or_path", json_string("owner/base"));
    assert_int_equal(json_dump_file(o, "peft/adapter_config.json", 0), 0);
    expect_refused("$HONE generate --model peft --prompts p.jsonl", "'hone pull owner/base'");
    json_decref(o);
    hub_clear();
    hub_add("adapter_config.json", "peft/adapter_config.json", false);
    hub_add("adapter_model.safetensors", "peft/adapter_model.safetensors", true);
    run_ok(PULL "--quiet --output-dir peft2 && cmp peft/adapter_model.safetensors peft2/adapter_model.safetensors");
}

/* ---- TLS ---- */

static void test_certificates(void **state)
{
    (void)state;
    struct ended e = run("openssl version");
    ended_release(&e);
    if (e.code)
        skip();
    run_ok("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=hub -addext "
           "subjectAltName=IP:127.0.0.1 -keyout key.pem -out certificate.pem 2>/dev/null");
    hub_stop();
    hub_start("key.pem", "certificate.pem");
    setenv("HF_ENDPOINT", hub_url(), 1);
    fresh(NULL);
    assert_memory_equal(hub_url(), "https:", 6);
    expect_error(PULL, "that can be trusted");
    expect_error("SSL_CERT_FILE=/dev/null " PULL, "that can be trusted");
    assert_int_equal(hub_seen.api, 0);
    char *line = xasprintf("SSL_CERT_FILE=certificate.pem " PULL "--endpoint https://localhost%s", strrchr(hub_url(), ':'));
    expect_error(line, "that can be trusted"); /* it is another host's */
    free(line);
    expect_nothing();
    run_ok("SSL_CERT_FILE=certificate.pem " PULL "--quiet");
    expect_whole(PLACE);
    /* and no way leads out of it */
    fresh(NULL);
    hub_faults.location = "http://127.0.0.1:1/x";
    expect_error("SSL_CERT_FILE=certificate.pem " PULL "--quiet", "leads from an encrypted connection to one that is not");
    hub_stop();
    hub_start(NULL, NULL);
    setenv("HF_ENDPOINT", hub_url(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha1),
        cmocka_unit_test(test_digests),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_chooses),
        cmocka_unit_test(test_refuses_lists),
        cmocka_unit_test_setup(test_pulls, fresh),
        cmocka_unit_test_setup(test_places, fresh),
        cmocka_unit_test_setup(test_goes_on, fresh),
        cmocka_unit_test_setup(test_goes_on_by_itself, fresh),
        cmocka_unit_test_setup(test_odd_ranges, fresh),
        cmocka_unit_test_setup(test_wrong_content, fresh),
        cmocka_unit_test_setup(test_stopped, fresh),
        cmocka_unit_test_setup(test_killed_at_calls, fresh),
        cmocka_unit_test_setup(test_one_at_a_time, fresh),
        cmocka_unit_test_setup(test_statuses, fresh),
        cmocka_unit_test_setup(test_waits, fresh),
        cmocka_unit_test_setup(test_no_network, fresh),
        cmocka_unit_test_setup(test_silent_server, fresh),
        cmocka_unit_test_setup(test_token, fresh),
        cmocka_unit_test_setup(test_disk, fresh),
        cmocka_unit_test_setup(test_checks_config, fresh),
        cmocka_unit_test_setup(test_replaces, fresh),
        cmocka_unit_test_setup(test_gguf, fresh),
        cmocka_unit_test_setup(test_parts, fresh),
        cmocka_unit_test_setup(test_adapter, fresh),
        cmocka_unit_test_setup(test_certificates, fresh),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
