/* Models out: packed types against the gguf package (tests/golden/make/pack.py), and `hone export` from end to end.  What other tools make of
 * its files is tests/tools/exports.py's. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/save.h"
#include "kernel/pack.h"
#include "model/safetensors.h"
#include "support/program.h"
#include "support/support.h"
#include "util/file.h"
#include "util/mem.h"

static size_t from_hex(unsigned char *to, const char *hex)
{
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++)
        sscanf(hex + 2 * i, "%2hhx", &to[i]);
    return n;
}

static void test_packed(void **state)
{
    (void)state;
    json_t *golden = golden_json("golden/pack.json"), *list;
    const json_t *rows = json_object_get(golden, "rows");
    const char *name;
    size_t types = 0;
    json_object_foreach(json_object_get(golden, "packed"), name, list)
    {
        enum dtype type = 0;
        while (strcmp(dtype_table[type].name, name))
            type++;
        for (size_t i = 0; i < json_array_size(list); i++) {
            float x[32];
            unsigned char want[128], got[128] = {0};
            assert_int_equal(from_hex((unsigned char *)x, json_string_value(json_array_get(rows, i))), sizeof x);
            size_t n = from_hex(want, json_string_value(json_array_get(list, i)));
            assert_int_equal(n, dtype_row_bytes(type, 32));
            dtype_pack(type, got, x, 32);
            if (memcmp(got, want, n))
                fail_msg("%s: row %zu is packed otherwise", name, i);
        }
        types++;
    }
    assert_int_equal(types, 5);
    json_decref(golden);
}

/* ---- the command ---- */

#define EXPORT "export --quiet --model golden/models/llama "

/* Is a number of its JSON at most `most`? */
static void expect_at_most(const char *flags, const char *key, double most)
{
    struct ended e = run("$HONE %s", flags);
    if (e.code)
        fail_msg("%s: %s", flags, e.err);
    json_t *o = json_loads(e.out, 0, NULL);
    const json_t *v = json_object_get(o, key);
    if (!json_is_number(v) || !(json_number_value(v) <= most))
        fail_msg("%s: %s is not at most %g in %s", flags, key, most, e.out);
    json_decref(o);
    ended_release(&e);
}

static void test_formats(void **state)
{
    (void)state;
    expect_at_most(EXPORT "--output plain", "largest_logit_difference", 0);
    expect_at_most(EXPORT "--output plain.gguf --format gguf", "largest_logit_difference", 0);
    expect_at_most(EXPORT "--output half.gguf --format gguf --type f16", "largest_logit_difference", 0.02);
    expect_at_most(EXPORT "--output brain --type bf16", "largest_logit_difference", 0.2);
    expect_at_most(EXPORT "--output eight.gguf --format gguf --type q8_0", "largest_logit_difference", 0.2);
    expect_at_most(EXPORT "--output four.gguf --format gguf --type q4_0", "kl", 1);
    expect_at_most(EXPORT "--output four-1.gguf --format gguf --type q4_1", "kl", 1);
    /* the adapter is added to the weights, or stands alone */
    expect_at_most(EXPORT "--adapter golden/models/llama/lora --output merged", "largest_logit_difference", 2e-5);
    expect_at_most(EXPORT "--adapter golden/models/llama/lora --output merged.gguf --format gguf", "largest_logit_difference", 2e-5);
    expect_at_most(EXPORT "--adapter golden/models/llama/lora --output adapter --format peft", "largest_logit_difference", 0);
    /* around: a GGUF, a folder made of it, a GGUF made of that */
    expect_at_most("export --quiet --model merged.gguf --output around", "largest_logit_difference", 0);
    expect_at_most("export --quiet --model around --output around.gguf --format gguf", "largest_logit_difference", 0);
    expect_same_file("merged.gguf", "around.gguf", NULL);
    expect_same_file("merged", "around", "model.safetensors");
}

static void test_families(void **state)
{
    (void)state;
    static const char *const families[] = {"llama3", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "smollm3", "olmo2", "gpt2"};
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        char *line = xasprintf("export --quiet --model golden/models/%s --adapter golden/models/%s/lora --output all-%s", families[i], families[i], families[i]);
        expect_at_most(line, "largest_logit_difference", 3e-5);
        free(line);
    }
}

/* Are the tensors of two folders the same, those that the adapter changes within rounding? */
static void expect_same_tensors(const char *a, const char *b, const struct adapter *adapter)
{
    struct tensor_file x = {0}, y = {0};
    struct err err;
    size_t changed = 0;
    if (safetensors_open(&x, a, &err) || safetensors_open(&y, b, &err))
        fail_msg("%s", err.text);
    assert_int_equal(x.n, y.n);
    for (size_t i = 0; i < x.n; i++) {
        const struct tensor *s = &x.tensors[i], *t = tensor_need(&y, s->name, &err);
        size_t n = tensor_elements(s);
        assert_true(t && tensor_elements(t) == n);
        if (memcmp(s->data, t->data, s->bytes)) {
            float *p = xmalloc(2 * n * sizeof *p), *q = p + n;
            tensor_unpack(p, s);
            tensor_unpack(q, t);
            for (size_t k = 0; k < n; k++)
                if (!(fabsf(p[k] - q[k]) <= 1e-7f))
                    fail_msg("'%s' has %.9g and %.9g at %zu", s->name, (double)p[k], (double)q[k], k);
            free(p);
            changed++;
        }
    }
    assert_true(changed <= adapter->params.n_list / 2);
    tensor_file_release(&x);
    tensor_file_release(&y);
}

/* The merged model less its adapter is the model. */
static void test_unmerged(void **state)
{
    (void)state;
    static const char *const families[] = {"llama", "llama3", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "smollm3", "olmo2", "gpt2"};
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        char *base = xasprintf("golden/models/%s", families[i]), *lora = path_join(base, "lora"), *merged = xasprintf("all-%s", families[i]);
        struct model m;
        struct adapter a;
        struct err err;
        run_ok("test -e %s || $HONE export --quiet --model %s --adapter %s --output %s", merged, base, lora, merged);
        if (model_open(&m, merged, NULL, &err) || adapter_open(&a, &m, lora, &err))
            fail_msg("%s", err.text);
        a.alpha = -a.alpha;
        if (model_save(&m, &a, NULL, NULL, DTYPE_F32, "unmerged", &err))
            fail_msg("%s", err.text);
        expect_same_tensors("unmerged", base, &a);
        adapter_release(&a);
        model_release(&m);
        free(base);
        free(lora);
        free(merged);
    }
}

/* Tokens and template by way of every form, and the same files again when it comes around. */
static void test_text(void **state)
{
    (void)state;
    write_tokenizer("words");
    run_ok("cp -r golden/models/llama spoken && cp words/* spoken && printf '{\"bos_token\": \"<|im_start|>\", \"eos_token\": {\"content\": \"<|im_end|>\"}}'"
           " >spoken/tokenizer_config.json");
    run_ok("printf '%%s\\n' '{\"text\": \"The lamp 12 wasn\\u0027t lit\\u00e9 <|im_end|> \\n x\"}' '{\"messages\": [{\"role\": \"user\", "
           "\"content\": \"hello  hall\"}]}' >texts.jsonl");
    expect_at_most("export --quiet --model spoken --output spoken.gguf --format gguf", "largest_logit_difference", 0);
    expect_at_most("export --quiet --model spoken.gguf --output again", "largest_logit_difference", 0);
    expect_at_most("export --quiet --model again --output again.gguf --format gguf", "largest_logit_difference", 0);
    expect_at_most("export --quiet --model spoken.gguf --output copy.gguf --format gguf", "largest_logit_difference", 0);
    expect_same_file("spoken.gguf", "again.gguf", NULL);
    expect_same_file("spoken", "again", "chat_template.jinja");
    /* a tokenizer from elsewhere goes with the model that it was named for */
    expect_at_most("export --quiet --model merged.gguf --tokenizer words --output dressed", "largest_logit_difference", 0);
    expect_at_most("export --quiet --model merged.gguf --tokenizer words/tokenizer.json --output bare", "largest_logit_difference", 0);
    expect_at_most("export --quiet --model merged.gguf --tokenizer words --output dressed.gguf --format gguf", "largest_logit_difference", 0);
    /* and so does a GGUF's, when all of its weights are trained */
    text_write("rows.jsonl", "{\"prompt\": \"the lamp\", \"completion\": \"was lit\"}\n");
    run_ok("$HONE sft --model spoken.gguf --full --train-data rows.jsonl --output-dir full --max-steps 1 --per-device-train-batch-size 1 --quiet");
    static const char *const models[] = {"full", "spoken.gguf", "copy.gguf", "again", "again.gguf", "dressed", "dressed.gguf"};
    run_ok("$HONE tokenize --model spoken --add-generation-prompt <texts.jsonl >ids.0 && test $(wc -l <ids.0) = 2");
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        run_ok("$HONE tokenize --model %s --add-generation-prompt <texts.jsonl >ids.1", models[i]);
        expect_same_file("ids.0", "ids.1", NULL);
    }
    /* what a folder has of a tokenizer goes along, also where it has none that is read */
    run_ok("cp -r golden/models/llama half && echo '{}' >half/special_tokens_map.json && $HONE export --quiet --model half --output half-again && "
           "cmp half/special_tokens_map.json half-again/special_tokens_map.json");
    run_ok("cmp words/tokenizer.json bare/tokenizer.json && ! test -e bare/chat_template.jinja");
    struct ended e = run("$HONE inspect again --json");
    json_t *report = json_loads(e.out, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(report, "problems")), 0);
    json_decref(report);
    ended_release(&e);
}

/* What a GGUF cannot say is refused, or said where it does not always matter. */
static void test_text_refused(void **state)
{
    (void)state;
    run_ok("sed 's/\"type\": \"ByteLevel\", \"add_prefix_space\": false/\"type\": \"ByteLevel\", \"add_prefix_space\": true/' words/tokenizer.json >spoken/tokenizer.json && "
           "! cmp -s words/tokenizer.json spoken/tokenizer.json");
    expect_refused("$HONE export --model spoken --format gguf --output no.gguf",
                   "the tokenizer of 'spoken' cannot be in a GGUF, which has no place for a pre-tokenizer that llama.cpp has no name for");
    assert_false(file_exists("no.gguf"));
    run_ok("sed 's/\"content\": \"<|im_end|>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false/"
           "\"content\": \"<|im_end|>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": true/' words/tokenizer.json >spoken/tokenizer.json && "
           "! cmp -s words/tokenizer.json spoken/tokenizer.json");
    struct ended e = run("$HONE export --model spoken --format gguf --output strips.gguf --quiet");
    if (e.code || !strstr(e.err, "export: warning: 'strips.gguf' does not make the same tokens of every text with special tokens in it"))
        fail_msg("%d: %s", e.code, e.err);
    ended_release(&e);
}

static void test_reward_model(void **state)
{
    (void)state;
    write_tokenizer("tokenizer");
    FILE *f = fopen("pairs.jsonl", "w");
    for (int i = 0; i < 20; i++)
        fprintf(f, "{\"prompt\": \"the lamp %d\", \"chosen\": \"was lit\", \"rejected\": \"before the rain\"}\n", i);
    fclose(f);
    run_ok("$HONE reward --model golden/models/llama --tokenizer tokenizer --train-data pairs.jsonl --output-dir rm --max-steps 2 --quiet");
    expect_at_most("export --quiet --model rm --output judge", "largest_score_difference", 1e-4);
    assert_true(file_exists("judge/hone.json") && file_exists("judge/model.safetensors"));
    run_ok("grep -q LlamaForSequenceClassification judge/config.json");
    run_ok("$HONE score --model golden/models/llama --tokenizer tokenizer --reward rm --data pairs.jsonl --quiet >a && "
           "$HONE score --model golden/models/llama --tokenizer tokenizer --reward judge --data pairs.jsonl --quiet >b && test -s b");
    expect_refused("$HONE export --model rm --format gguf --output judge.gguf", "no place for its head");
}

static void test_refused(void **state)
{
    (void)state;
    text_write("there", "mine");
    expect_refused("$HONE " EXPORT "--output there", "is there");
    run_ok("grep -q mine there");
    expect_refused("$HONE " EXPORT "--output no --format peft", "has no adapter");
    expect_refused("$HONE export --model golden/models/gemma3 --format gguf --output no.gguf", "which layers have a window");
    expect_refused("$HONE export --model golden/models/llama --output no/where/x.gguf --format gguf", "cannot write");
    expect_refused("$HONE " EXPORT "--output x --format gguf", "--output 'x' does not end in .gguf");
    expect_refused("$HONE " EXPORT "--output x.gguf", "say --format gguf");
    expect_refused("$HONE " EXPORT "--output x --type q8_0", "is for --format gguf");
    assert_false(file_exists("no") || file_exists("no.gguf") || file_exists("x") || file_exists("x.gguf"));
    expect_refused("$HONE " EXPORT "--output there --overwrite", "is a file, which a folder does not replace");
    run_ok("grep -q mine there && mkdir folder folder.gguf && touch folder/old");
    expect_refused("$HONE " EXPORT "--output folder.gguf --format gguf --overwrite", "is a folder, which a file does not replace");
    expect_at_most(EXPORT "--output folder --overwrite", "largest_logit_difference", 0);
    assert_false(file_exists("folder/old"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_packed), cmocka_unit_test(test_formats), cmocka_unit_test(test_families), cmocka_unit_test(test_unmerged),
                                       cmocka_unit_test(test_text), cmocka_unit_test(test_text_refused),
                                       cmocka_unit_test(test_reward_model), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, sandbox_enter, sandbox_leave);
}
