/* hone demo on a tiny model with tiny recipes: every stage runs, a second run does nothing, a change makes anew what depends
 * on it, a kill is gone on from. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/program.h"
#include "util/mem.h"

#define DEMO "$HONE demo --model base --examples ex --recipes rec --output-dir "

static const char *const questions[] = {"Is it open", "Do you ship", "Can I return it", "Who are you", "Where is it", "What is moss"};

static FILE *example(const char *name)
{
    char *path = xasprintf("ex/%s", name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    free(path);
    return f;
}

static void write_demonstrations(const char *name, int from, int n)
{
    FILE *f = example(name);
    for (int i = from; i < from + n; i++)
        fprintf(f, "{\"id\": \"d%d\", \"prompt\": \"%s %d?\", \"completion\": \"Yes, call us on day %d.\"}\n", i, questions[i % 6], i, i);
    fclose(f);
}

static void write_comparisons(const char *name, int from, int n)
{
    FILE *f = example(name);
    for (int i = from; i < from + n; i++)
        fprintf(f,
                "{\"id\": \"c%d\", \"prompt\": \"%s %d?\", \"a\": \"%s %d.\", \"b\": \"%s %d.\", \"label\": \"%s\", \"annotator\": \"ines\", "
                "\"kind\": \"%s\"}\n",
                i, questions[i % 6], i, i % 2 ? "Yes, call" : "Well, moss and", i, i % 2 ? "Well, moss and" : "Yes, call", i,
                i % 4 == 3 ? "tie" : i % 2 ? "a" : "b", i % 3 ? "buried" : "leak");
    fclose(f);
}

static void write_prompts(const char *name, int n)
{
    FILE *f = example(name);
    for (int i = 0; i < n; i++)
        fprintf(f, "{\"id\": \"%s%d\", \"prompt\": \"%s?\", \"topic\": \"t%d\"}\n", name, i, questions[i % 6], i % 3);
    fclose(f);
}

static void write_recipe(const char *name, const char *more)
{
    char *path = xasprintf("rec/%s.yaml", name);
    bool ppo = !strcmp(name, "ppo");
    text_write(path, "per_device_train_batch_size: 2\nlora_r: 4\nsave_steps: 1\n%s%s",
               ppo ? "iterations: 2\nnum_ppo_epochs: 1\nresponse_length: 8\n" : "max_steps: 3\n", more);
    free(path);
}

static int enter(void **state)
{
    static const char *const recipes[] = {"sft", "reward", "reward-second", "ppo", "dpo"};
    if (sandbox_enter(state))
        return -1;
    run_ok("mkdir base ex rec && cp golden/models/llama/config.json golden/models/llama/model.safetensors base");
    write_tokenizer("base");
    write_demonstrations("demonstrations.jsonl", 0, 8);
    write_demonstrations("demonstrations-heldout.jsonl", 10, 4);
    write_comparisons("comparisons.jsonl", 0, 12);
    write_comparisons("comparisons-second.jsonl", 20, 12);
    write_comparisons("comparisons-heldout.jsonl", 40, 12);
    write_prompts("prompts.jsonl", 6);
    write_prompts("prompts-heldout.jsonl", 8);
    text_write("ex/system.txt", "You help.\n");
    text_write("ex/rubric.yaml", "checks:\n  - name: short\n    conditions:\n      - {max_words: 12}\n");
    FILE *f = example("plain.txt");
    for (int i = 0; i < 30; i++)
        fprintf(f, "The piano came up the stairs on day %d, carried by four men.\n", i);
    fclose(f);
    for (size_t i = 0; i < 5; i++)
        write_recipe(recipes[i], "");
    return 0;
}

/* Run the demo; which stages were done, a letter each: d done now, s skipped, r gone on with. */
static void demo(char done[8], const char *folder)
{
    struct ended e = run(DEMO "%s", folder);
    if (e.code)
        fail_msg("%s", e.err);
    size_t n = 0;
    for (char *stage = strstr(e.err, "\n["), *next; stage; stage = next) {
        next = strstr(stage + 1, "\n[");
        if (next)
            *next = 0;
        assert_true(n < 7);
        done[n++] = strstr(stage, "done before") ? 's' : strstr(stage, "goes on from") ? 'r' : strstr(stage, "done in") ? 'd' : '?';
        if (next)
            *next = '\n';
    }
    done[n] = 0;
    ended_release(&e);
}

static void test_whole(void **state)
{
    (void)state;
    char done[8];
    demo(done, "d");
    assert_string_equal(done, "ddddddd");
    json_t *o = json_load_file("d/results.json", 0, NULL), *stages = json_load_file("d/stages.json", 0, NULL);
    assert_int_equal(json_array_size(json_object_get(o, "policies")), 4);
    assert_int_equal(json_array_size(json_object_get(o, "reward_models")), 2);
    assert_int_equal(json_array_size(json_object_get(o, "goals")), 10);
    assert_int_equal(json_array_size(json_object_get(o, "side_by_side")), 3); /* topics */
    assert_int_equal(json_object_size(stages), 7);
    const json_t *policies = json_object_get(o, "policies"), *sft = json_array_get(policies, 1);
    /* SFT against itself: all ties, no KL */
    const json_t *win = json_array_get(json_object_get(sft, "win_rates_over_sft"), 1);
    assert_int_equal(json_integer_value(json_object_get(win, "ties")), 8);
    assert_true(json_number_value(json_object_get(json_object_get(sft, "kl_to_sft"), "value")) == 0);
    /* the base's perplexity over its own is exactly 1 */
    const json_t *over = json_object_get(json_object_get(json_array_get(policies, 0), "perplexity"), "over_base");
    assert_true(json_number_value(json_object_get(over, "value")) == 1);
    /* 9 of 12 comparisons are decided, and the kinds have them all */
    const json_t *first = json_array_get(json_object_get(o, "reward_models"), 0), *kinds = json_object_get(first, "kinds");
    assert_int_equal(json_integer_value(json_object_get(first, "decided")), 9);
    assert_int_equal((int)json_number_value(json_object_get(json_object_get(kinds, "buried"), "n")) +
                         (int)json_number_value(json_object_get(json_object_get(kinds, "leak"), "n")), 9);
    assert_true(is_there("d/report.html") && is_there("d/answers.jsonl"));
    /* hone reward says itself what the baselines get of the pairs that it is evaluated on */
    json_t *manifest = json_load_file("d/reward/manifest.json", 0, NULL), *baselines = json_object_get(manifest, "baselines");
    static const char *const names[] = {"length_only", "bag_of_words"};
    for (size_t i = 0; i < 2; i++)
        assert_true(json_equal(json_object_get(baselines, names[i]), json_object_get(first, names[i])));
    json_decref(manifest);
    json_decref(o);
    json_decref(stages);
}

static void test_second_run(void **state)
{
    (void)state;
    char done[8], *before = folder_listing("d");
    demo(done, "d");
    assert_string_equal(done, "sssssss");
    char *after = folder_listing("d");
    assert_string_equal(after, before);
    free(after);
    free(before);
}

static void test_changes(void **state)
{
    (void)state;
    char done[8];
    write_recipe("dpo", "beta: 0.5\n");
    demo(done, "d");
    assert_string_equal(done, "sssssdd");
    write_prompts("prompts.jsonl", 5);
    demo(done, "d");
    assert_string_equal(done, "ssssdsd");
    text_write("ex/rubric.yaml", "checks:\n  - name: short\n    conditions:\n      - {max_words: 9}\n");
    demo(done, "d");
    assert_string_equal(done, "ssssssd");
    write_recipe("reward", "learning_rate: 2e-4\n");
    demo(done, "d");
    assert_string_equal(done, "ssdsdsd");
    text_write("ex/system.txt", "You help us.\n");
    demo(done, "d");
    assert_string_equal(done, "ddddddd");
    run_ok("rm d/ppo/manifest.json");
    demo(done, "d"); /* it goes on from its last checkpoint, to the same bytes, so nothing else is to be done */
    assert_string_equal(done, "ssssrss");
}

static void test_full(void **state)
{
    (void)state;
    run_ok("mkdir -p rec/full");
    text_write("rec/full/ppo.yaml", "iterations: 4\n");
    run_ok(DEMO "d --full");
    json_t *o = json_load_file("d/ppo/manifest.json", 0, NULL), *saves = json_object_get(o, "saves");
    assert_int_equal(json_integer_value(json_object_get(json_array_get(saves, json_array_size(saves) - 1), "step")), 4);
    json_decref(o);
    text_write("rec/full/ppo.yaml", "iteration: 4\n");
    struct ended e = run(DEMO "d --full");
    assert_int_equal(e.code, 1);
    assert_non_null(strstr(e.err, "rec/full/ppo.yaml"));
    ended_release(&e);
    run_ok("rm -r rec/full");
}

static void test_killed(void **state)
{
    (void)state;
    char done[8];
    demo(done, "straight");
    run_and_kill_at_line(DEMO "killed", "killed/sft/metrics.jsonl", 2);
    run_and_kill_at_line(DEMO "killed", "killed/ppo/metrics.jsonl", 1);
    run_ok("sleep 0.2");
    demo(done, "killed");
    static const char *const same[] = {"sft/adapter/adapter_model.safetensors", "ppo/adapter/adapter_model.safetensors",
                                       "dpo/metrics.jsonl", "answers.jsonl"};
    for (size_t i = 0; i < 4; i++)
        expect_same_file("straight", "killed", same[i]);
}

static void expect_refusal(const char *sentence, const char *line)
{
    struct ended e = run("%s", line);
    if (e.code != 1 || !strstr(e.err, sentence))
        fail_msg("'%s' ended with %d: %s", line, e.code, e.err);
    ended_release(&e);
}

static void test_refuses(void **state)
{
    (void)state;
    expect_refusal("'nowhere'", "$HONE demo --model nowhere --examples ex --recipes rec --output-dir r");
    expect_refusal("nowhere/system.txt", "$HONE demo --model base --examples nowhere --recipes rec --output-dir r");
    expect_refusal("nowhere/sft.yaml", "$HONE demo --model base --examples ex --recipes nowhere --output-dir r");
    /* somebody's own run is not taken for the demo's */
    run_ok("mkdir -p own && cp -r straight/sft own/sft");
    expect_refusal("not of this demo", DEMO "own");
    assert_true(is_there("own/sft/manifest.json"));
    /* a stage that fails ends the demo with its sentence */
    text_write("rec/dpo.yaml", "no_such_setting: 1\n");
    expect_refusal("no_such_setting", DEMO "straight");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole), cmocka_unit_test(test_second_run), cmocka_unit_test(test_changes),
        cmocka_unit_test(test_full),  cmocka_unit_test(test_killed),     cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, enter, sandbox_leave);
}
