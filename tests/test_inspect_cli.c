/* `hone inspect`, and training, on models in every stored type and every container, whole and broken. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/safetensors_out.h"
#include "model/safetensors.h"
#include "support/gguf_file.h"
#include "support/program.h"
#include "util/file.h"
#include "util/mem.h"

/* The report on a path, which can be opened. */
static json_t *inspected(const char *path)
{
    struct ended e = run("$HONE inspect %s --json", path);
    if (e.code)
        fail_msg("inspect %s: %s", path, e.err);
    json_t *lines = json_lines(e.out), *report = json_incref(json_array_get(lines, 0));
    json_decref(lines);
    ended_release(&e);
    return report;
}

static bool has_problem(const json_t *report, const char *what)
{
    const json_t *problems = json_object_get(report, "problems");
    for (size_t i = 0; i < json_array_size(problems); i++)
        if (strstr(json_string_value(json_array_get(problems, i)), what))
            return true;
    return false;
}

/* The row of a type, which is in the report. */
static const json_t *type_row(const json_t *report, const char *type)
{
    const json_t *types = json_object_get(report, "types");
    for (size_t i = 0; i < json_array_size(types); i++)
        if (!strcmp(json_string_value(json_object_get(json_array_get(types, i), "type")), type))
            return json_array_get(types, i);
    fail_msg("the report has no type %s", type);
    return NULL;
}

static json_int_t whole(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

static void test_types(void **state)
{
    (void)state;
    for (enum dtype type = 0; type < DTYPE_COUNT; type++) {
        write_small_model("m", &(struct small_model){type, false, 1});
        json_t *report = inspected("m.gguf");
        const json_t *row = type_row(report, dtype_table[type].name);
        size_t weights = 256 * (300 + 2 * (5 * 256 + 2 * 128)), norms = 5 * 256;
        if (type == DTYPE_F32)
            weights += norms;
        assert_int_equal(whole(row, "tensors"), type == DTYPE_F32 ? 20 : 15);
        assert_int_equal(whole(row, "parameters"), weights);
        assert_int_equal(whole(row, "bytes"), dtype_row_bytes(type, weights));
        assert_true(json_is_true(json_object_get(row, "supported")));
        assert_string_equal(json_string_value(json_object_get(report, "format")), "GGUF, version 3");
        assert_int_equal(whole(report, "files"), 1);
        assert_false(has_problem(report, "cannot be used"));
        json_decref(report);
    }
}

/* A type that is listed and cannot be used. */
static void test_unsupported(void **state)
{
    (void)state;
    struct buf b;
    add_start(&b, 3, 1, 1);
    add_text_key(&b, "general.architecture", "llama");
    add_tensor(&b, "token_embd.weight", 256, 3, 16, 0);
    add_data(&b, 32, 3 * 66);
    bytes_write("iq.gguf", b.data, b.len);
    json_t *report = inspected("iq.gguf");
    const json_t *row = type_row(report, "IQ2_XXS");
    assert_int_equal(whole(row, "bytes"), 3 * 66);
    assert_true(json_is_false(json_object_get(row, "supported")));
    assert_true(has_problem(report, "it cannot be used: cannot read 'iq.gguf': tensor 'token_embd.weight' has type IQ2_XXS, which is "
                                    "not supported yet: take the model in one of F32, F16, "));
    json_decref(report);
    bytes_write("cut.gguf", b.data, b.len - 1);
    expect_refused("$HONE inspect cut.gguf", "the file is cut short (the data of tensor 'token_embd.weight' go on after byte");
    b.data[7] = 3; /* the version's upper byte */
    b.data[4] = 0;
    bytes_write("big.gguf", b.data, b.len);
    expect_refused("$HONE inspect big.gguf", "big-endian");
    buf_release(&b);
}

static void write_ids(void)
{
    text_write("ids.jsonl", "{\"input_ids\": [5, 17, 4, 201, 33, 299, 0, 71], \"prompt_length\": 2}\n"
                            "{\"input_ids\": [8, 120, 64, 3, 3, 250], \"prompt_length\": 1}\n"
                            "{\"input_ids\": [90, 11, 45, 2, 7, 12, 31], \"prompt_length\": 3}\n");
}

static char *sha_of_model(const char *dir)
{
    char *path = path_join(dir, "manifest.json");
    json_t *manifest = golden_json(path);
    char *sha = xstrdup(json_string_value(json_object_get(json_object_get(manifest, "model"), "sha256")));
    json_decref(manifest);
    free(path);
    return sha;
}

/* Any part stands for the whole, and a run over K-quants in three files is the run over their floats. */
static void test_parts(void **state)
{
    (void)state;
    write_ids();
    write_small_model("k", &(struct small_model){DTYPE_Q4_K, false, 3});
    write_small_model("k", &(struct small_model){DTYPE_Q4_K, true, 1});
    json_t *first = inspected("k-00001-of-00003.gguf"), *last = inspected("k-00003-of-00003.gguf");
    assert_int_equal(whole(first, "files"), 3);
    static const char *const named[] = {"path", "problems"}; /* what names the part that was asked for */
    for (size_t i = 0; i < 2; i++) {
        json_object_del(first, named[i]);
        json_object_del(last, named[i]);
    }
    assert_true(json_equal(first, last));
    assert_int_equal(whole(type_row(first, "Q4_K"), "tensors"), 15);
    json_decref(first);
    json_decref(last);

    static const char *const models[] = {"k.gguf", "k-00001-of-00003.gguf", "k-00003-of-00003.gguf"};
    static const char *const runs[] = {"run-0", "run-1", "run-2"};
    char *sha[3];
    for (size_t i = 0; i < 3; i++) {
        run_ok("$HONE sft --model %s --train-data ids.jsonl --output-dir %s --max-steps 3 --learning-rate 1e-2 --lora-r 4 --quiet "
               "--per-device-train-batch-size 2",
               models[i], runs[i]);
        sha[i] = sha_of_model(runs[i]);
    }
    expect_equal_runs("run-0", "run-1");
    expect_equal_runs("run-0", "run-2");
    assert_string_equal(sha[1], sha[2]);
    assert_string_not_equal(sha[0], sha[1]);
    for (size_t i = 0; i < 3; i++) {
        run_ok("$HONE generate --model %s --adapter run-0/adapter --prompts ids.jsonl --max-new-tokens 8 --num-generations 2 --quiet "
               ">out-%zu.jsonl",
               models[i], i);
        free(sha[i]);
    }
    expect_same_file("out-0.jsonl", "out-1.jsonl", NULL);
    expect_same_file("out-0.jsonl", "out-2.jsonl", NULL);

    run_ok("mv k-00002-of-00003.gguf elsewhere");
    expect_refused("$HONE inspect k-00003-of-00003.gguf", "1 of its 3 parts are not there ('k-00002-of-00003.gguf'): download them too");
    run_ok("cp k-00003-of-00003.gguf k-00002-of-00003.gguf");
    expect_refused("$HONE inspect k-00001-of-00003.gguf", "it says that it is part 3 of 3, not 2 of 3");
    expect_refused_early(1, "it says that it is part 3 of 3, not 2 of 3",
                         "$HONE sft --model k-00001-of-00003.gguf --train-data ids.jsonl --max-steps 1 --quiet");
}

/* The tiny model's tensors in two files: `other` replaces the shape of the final norm where it is not 0. */
static void write_shards(const char *folder, size_t other)
{
    struct tensor_file file;
    struct err err;
    if (safetensors_open(&file, "golden/models/llama", &err))
        fail_msg("%s", err.text);
    run_ok("rm -rf %s && mkdir %s && cp golden/models/llama/config.json %s", folder, folder, folder);
    FILE *index = fopen("index", "w");
    size_t bytes = 0;
    for (size_t part = 0; part < 2; part++) {
        struct safetensors_tensor *list = xcalloc(file.n, sizeof *list);
        size_t n = 0;
        for (size_t i = part * (file.n / 2); i < (part ? file.n : file.n / 2); i++) {
            const struct tensor *t = &file.tensors[i];
            list[n] = (struct safetensors_tensor){.name = t->name, .type = t->type, .n_dims = t->n_dims, .data = t->data};
            memcpy(list[n].shape, t->shape, sizeof t->shape);
            if (other && !strcmp(t->name, "model.norm.weight"))
                list[n].shape[0] = other;
            bytes += t->bytes;
            n++;
            fprintf(index, "%s\"%s\": \"model-0000%zu-of-00002.safetensors\"", i ? ", " : "\"weight_map\": {", t->name, part + 1);
        }
        char *path = xasprintf("%s/model-0000%zu-of-00002.safetensors", folder, part + 1);
        if (safetensors_write(path, list, n, NULL, 0, &err))
            fail_msg("%s", err.text);
        free(path);
        free(list);
    }
    fclose(index);
    char *map = text_read("index", NULL), *path = path_join(folder, "model.safetensors.index.json");
    text_write(path, "{\"metadata\": {\"total_size\": %zu}, %s}}\n", bytes, map);
    free(map);
    free(path);
    tensor_file_release(&file);
}

static void test_shards(void **state)
{
    (void)state;
    write_ids();
    write_shards("s", 0);
    json_t *report = inspected("s");
    assert_int_equal(whole(report, "files"), 2);
    assert_false(has_problem(report, "the index says"));
    assert_false(has_problem(report, "cannot be used"));
    json_decref(report);
    run_ok("$HONE logprobs --model golden/models/llama --ids ids.jsonl --quiet >one.jsonl");
    run_ok("$HONE logprobs --model s --ids ids.jsonl --quiet >two.jsonl");
    expect_same_file("one.jsonl", "two.jsonl", NULL);

    run_ok("sed -i 's/total_size\": /total_size\": 9/' s/model.safetensors.index.json");
    report = inspected("s");
    assert_true(has_problem(report, "the index says that the weights take 9"));
    json_decref(report);
    run_ok("mv s/model-00002-of-00002.safetensors elsewhere");
    expect_refused("$HONE inspect s", "1 of its 2 files are not there ('model-00002-of-00002.safetensors'): download them too");
    run_ok("rm s/model.safetensors.index.json");
    expect_refused("$HONE inspect s", "holds 'model-00001-of-00002.safetensors', and model.safetensors.index.json is not there");
    write_shards("s", 63);
    report = inspected("s");
    assert_true(has_problem(report, "it cannot be used: 's': tensor 'model.norm.weight' has the shape (63, 1) where the configuration "
                                    "asks for (64, 1): config and weights do not belong together"));
    json_decref(report);
    write_shards("s", 0);
    run_ok("sed -i '0,/{/s//{\"quantization_config\": {\"quant_method\": \"gptq\"},/' s/config.json");
    report = inspected("s");
    assert_true(has_problem(report, "its weights are quantised by gptq, which is not supported"));
    json_decref(report);
    run_ok("sed -i 's/\"gptq\"/7/' s/config.json");
    expect_refused("$HONE logprobs --model s --ids ids.jsonl", "quantised by a method that it does not name");
}

/* What a report says of the sizes, as one line of JSON, is `want`. */
static void expect_sizes(const json_t *report, const char *path, const char *family, const char *want)
{
    const char *said = json_string_value(json_object_get(report, "family"));
    json_t *sizes = json_object_get(report, "sizes"), *wanted = json_loads(want, 0, NULL);
    const char *key;
    json_t *value;
    assert_non_null(wanted);
    if (!said || strcmp(said, family))
        fail_msg("%s is of the family %s", path, said ? said : "(none)");
    json_object_foreach(wanted, key, value)
        if (!json_equal(value, json_object_get(sizes, key)))
            fail_msg("%s: its %s is not what %s says", path, key, want);
    static const char *const some[] = {"window", "layers_without_rope", "attention_cap", "learned_positions", "rope_theta_with_window"};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        if (json_object_get(sizes, some[i]) && !json_object_get(wanted, some[i]))
            fail_msg("%s has %s, which is not its own", path, some[i]);
    json_decref(wanted);
}

/* Every family, as a folder and, where a GGUF can hold the tiny model, as one. */
static void test_families(void **state)
{
    (void)state;
#define SAME "\"vocabulary\": 512, \"width\": 64, \"layers\": 3, \"heads\": 4, "
    static const struct {
        const char *folder, *family, *sizes;
        bool gguf;
    } cases[] = {
        {"llama", "llama", "{" SAME "\"kv_heads\": 2, \"tied_output\": true, \"rope_scaling\": \"none\"}", true},
        {"llama-untied", "llama", "{" SAME "\"tied_output\": false}", true},
        {"llama3", "llama", "{" SAME "\"rope_scaling\": \"llama3\", \"rope_theta\": 500000.0}", true},
        {"mistral", "mistral", "{" SAME "\"window\": 8, \"layers_with_window\": 3}", false}, /* as a GGUF it is a llama */
        {"qwen2", "qwen2", "{" SAME "\"head_size\": 16}", true},
        {"qwen3", "qwen3", "{" SAME "\"head_size\": 32}", true},
        {"gemma2", "gemma2", "{" SAME "\"window\": 8, \"layers_with_window\": 2, \"attention_cap\": 50.0, \"logit_cap\": 30.0}", true},
        {"gemma3", "gemma3_text", "{" SAME "\"window\": 8, \"layers_with_window\": 2, \"rope_theta\": 1000000.0, "
                                  "\"rope_theta_with_window\": 10000.0}", false},
        {"phi3", "phi3", "{" SAME "\"tied_output\": false}", true},
        {"smollm3", "smollm3", "{" SAME "\"layers_without_rope\": 1}", false},
        {"olmo2", "olmo2", "{" SAME "\"tied_output\": false}", true},
        {"gpt2", "gpt2", "{" SAME "\"kv_heads\": 4, \"feed_forward\": 256, \"learned_positions\": true}", true},
    };
#undef SAME
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = xasprintf("golden/models/%s", cases[i].folder), *file = xasprintf("%s.gguf", cases[i].folder);
        json_t *report = inspected(path);
        expect_sizes(report, path, cases[i].family, cases[i].sizes);
        assert_true(has_problem(report, "has no tokenizer.json: give one with --tokenizer"));
        json_decref(report);
        if (cases[i].gguf) {
            run_ok("$HONE export --model %s --output %s --format gguf --quiet", path, file);
            report = inspected(file);
            expect_sizes(report, file, cases[i].family, cases[i].sizes);
            json_decref(report);
        }
        free(path);
        free(file);
    }
}

/* The kinds of tokenizers, and one that has more tokens than the model. */
static void test_tokenizers(void **state)
{
    (void)state;
    write_tokenizer("tokenizer");
    run_ok("cp -r golden/models/llama t && cp tokenizer/* t");
    json_t *report = inspected("t");
    assert_string_equal(json_string_value(json_object_get(report, "tokenizer")), "byte-level BPE");
    json_decref(report);
    run_ok("sed -i 's/\"added_tokens\": *\\[/&{\"id\": 600, \"content\": \"<far>\", \"special\": true},/' t/tokenizer.json");
    report = inspected("t");
    assert_true(has_problem(report, "it cannot be used: 't': the tokenizer has 601 tokens and the model only 512: they do not belong together"));
    json_decref(report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_types), cmocka_unit_test(test_unsupported), cmocka_unit_test(test_parts),
                                       cmocka_unit_test(test_shards), cmocka_unit_test(test_families), cmocka_unit_test(test_tokenizers)};
    return cmocka_run_group_tests(tests, sandbox_enter, sandbox_leave);
}
