/* Learning from pairs and thumbs, through the command line on the tiny model: what must hold exactly whatever the weights
 * are.  What the numbers are is held against TRL's in test_golden_trl; threads, micro-batches and resuming in
 * test_full_resume. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/forest.h"
#include "support/program.h"
#include "train/sequence.h"
#include "util/mem.h"

#define TINY "--model golden/models/llama --tokenizer tokenizer"
#define BASE TINY " --lora-r 4 --learning-rate 1e-2 --per-device-train-batch-size 4 --max-steps 6 --no-shuffle --overwrite"

static int enter(void **state)
{
    static const char *const prompts[] = {"the lamp", "rain began", "a window", "the hall was lit"};
    static const char *const good[] = {"was lit", "before the hall", "open", "a lamp began the rain"};
    static const char *const bad[] = {"rain rain the window", "lamp", "was lit before rain", "hall"};
    if (sandbox_enter(state))
        return -1;
    write_tokenizer("tokenizer");
    FILE *pairs = fopen("pairs.jsonl", "w"), *thumbs = fopen("thumbs.jsonl", "w");
    for (size_t i = 0; i < 4; i++) {
        fprintf(pairs, "{\"prompt\": \"%s\", \"chosen\": \"%s\", \"rejected\": \"%s\"}\n", prompts[i], good[i], bad[i]);
        fprintf(thumbs, "{\"prompt\": \"%s\", \"completion\": \"%s\", \"label\": true}\n", prompts[i], good[i]);
        fprintf(thumbs, "{\"prompt\": \"%s\", \"completion\": \"%s\", \"label\": false}\n", prompts[i], bad[i]);
    }
    fclose(pairs);
    fclose(thumbs);
    return 0;
}

/* A number of the i-th line (from 0) of a run's metrics. */
static double logged(const char *dir, size_t line, const char *key)
{
    char *path = xasprintf("%s/metrics.jsonl", dir), *text = text_read(path, NULL), *at = text;
    for (size_t i = 0; i < line; i++)
        at = strchr(at, '\n') + 1;
    json_t *o = json_loadb(at, strcspn(at, "\n"), 0, NULL), *v = json_object_get(o, key);
    if (!v)
        fail_msg("%s line %zu has no '%s'", path, line + 1, key);
    double x = json_is_number(v) ? json_number_value(v) : NAN;
    json_decref(o);
    free(text);
    free(path);
    return x;
}

/* ---- the reference ---- */

/* A reference that becomes the policy after each step is the policy in each step: margins are 0 to the bit. */
static void test_reference_that_is_the_policy(void **state)
{
    (void)state;
    static const char *const flags[] = {"", "--full --learning-rate 1e-3"};
    for (size_t i = 0; i < 2; i++) {
        run_ok("$HONE dpo " BASE " --train-data pairs.jsonl --output-dir out --quiet --sync-ref-model --ref-model-sync-steps 1 "
               "--ref-model-mixup-alpha 1 %s", flags[i]);
        for (size_t s = 0; s < 6; s++) {
            assert_true(logged("out", s, "loss") == log(2.0));
            assert_true(logged("out", s, "rewards/chosen") == 0 && logged("out", s, "rewards/rejected") == 0);
        }
        assert_true(logged("out", 5, "logps/chosen") != logged("out", 0, "logps/chosen"));
    }
}

/* One that follows but takes nothing stays; one that follows every fourth step is the kept one until then. */
static void test_reference_that_stays(void **state)
{
    (void)state;
    run_ok("$HONE dpo " BASE " --train-data pairs.jsonl --output-dir kept --quiet");
    run_ok("$HONE dpo " BASE " --train-data pairs.jsonl --output-dir out --quiet --sync-ref-model --ref-model-sync-steps 1 "
           "--ref-model-mixup-alpha 0");
    expect_same_file("kept", "out", "metrics.jsonl");
    run_ok("$HONE dpo " BASE " --train-data pairs.jsonl --output-dir out --quiet --sync-ref-model --ref-model-sync-steps 4");
    for (size_t s = 0; s < 6; s++)
        assert_true((logged("kept", s, "loss") == logged("out", s, "loss")) == (s < 4));
}

/* ---- weights of tokens ---- */

static void test_sequence_weights(void **state)
{
    (void)state;
    int32_t ids[] = {5, 6, 7, 8, 9};
    uint8_t all[] = {1, 1, 1, 1, 1}, some[] = {1, 0, 1, 1, 0};
    struct sequence completions[] = {{ids, all, 2}, {ids, some, 5}, {ids, all, 4}, {ids, all, 4}};
    struct example a = {.prompt = {ids, NULL, 3}, .completions = completions, .n_completions = 2, .learn_prompt = true};
    struct example b = {.prompt = {ids, NULL, 2}, .completions = completions + 2, .n_completions = 2};
    struct forest f = {0};
    double weights[32];
    size_t lens[4];
    forest_clear(&f);
    forest_add(&f, &a);
    forest_add(&f, &b);
    assert_int_equal(f.n_targets, 2 + 2 + 3 + 4 + 4);
    sequence_weights(weights, lens, &f, 2, 0.25);
    assert_true(lens[0] == 2 && lens[1] == 3 && lens[2] == 4 && lens[3] == 4);
    double sums[4] = {0}, prompt = 0;
    for (size_t i = 0; i < f.n_targets; i++) {
        if (f.owner[i] != FOREST_PROMPT) {
            sums[f.owner[i]] += weights[i];
            continue;
        }
        prompt += 1;
        assert_true(weights[i] == 0);
        assert_int_equal(f.targets[i].row, i); /* the prompt's first rows predict its second and third token */
        assert_int_equal(f.targets[i].token, ids[i + 1]);
    }
    assert_true(prompt == 2);
    assert_true(sums[0] == 2 && sums[1] == 2.25 && sums[2] == 4 && sums[3] == 4);
    sequence_weights(weights, lens, &f, 1, 0.25); /* alone nothing is too long */
    for (size_t i = 0; i < f.n_targets; i++)
        assert_true(weights[i] == (f.owner[i] == FOREST_PROMPT ? 0 : 1));
    forest_release(&f);
}

/* ---- thumbs ---- */

/* A pair is a good and a bad answer. */
static void test_kto_of_pairs(void **state)
{
    (void)state;
    run_ok("$HONE kto " BASE " --train-data pairs.jsonl --output-dir pairs --quiet --loss-type apo_zero_unpaired");
    run_ok("$HONE kto " BASE " --train-data thumbs.jsonl --output-dir thumbs --quiet --loss-type apo_zero_unpaired "
           "--per-device-train-batch-size 8");
    static const char *const keys[] = {"loss", "rewards/chosen", "rewards/rejected", "logps/chosen", "logps/rejected"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        assert_true(logged("pairs", 0, keys[k]) == logged("thumbs", 0, keys[k]));
        expect_near(logged("pairs", 5, keys[k]), logged("thumbs", 5, keys[k]), 1e-4 * fabs(logged("thumbs", 5, keys[k])), keys[k], 5);
    }
    assert_true(logged("pairs", 5, "kl") == 0);
}

/* At the first step policy and reference are the same: no KL, and each answer is as good as it was. */
static void test_first_step_of_kto(void **state)
{
    (void)state;
    run_ok("$HONE kto " BASE " --train-data thumbs.jsonl --output-dir out --quiet");
    assert_true(logged("out", 0, "kl") == 0 && logged("out", 0, "loss") == 0.5 && logged("out", 0, "rewards/margins") == 0);
    bool moved = false;
    for (size_t s = 1; s < 6; s++) {
        assert_true(logged("out", s, "kl") >= 0);
        moved |= logged("out", s, "kl") > 0;
    }
    assert_true(moved);
}

/* A prompt with another row's longer answer must not be longer than what the model takes. */
static void test_mismatches_are_cut(void **state)
{
    (void)state;
    FILE *f = fopen("long.jsonl", "w");
    for (int i = 0; i < 2; i++) {
        fprintf(f, "{\"prompt\": \"");
        for (int j = 0; j < (i ? 70 : 1); j++) /* two tokens each, of 256 positions */
            fprintf(f, "the lamp ");
        fprintf(f, "\", \"completion\": \"");
        for (int j = 0; j < (i ? 1 : 160); j++)
            fprintf(f, "rain ");
        fprintf(f, "\", \"label\": %s}\n", i ? "true" : "false");
    }
    fclose(f);
    run_ok("$HONE kto " BASE " --train-data long.jsonl --eval-data thumbs.jsonl --output-dir out --quiet --max-length 200");
    assert_true(logged("out", 5, "kl") >= 0 && logged("out", 5, "eval_kl") >= 0);
}

/* ---- what is said ---- */

static size_t times(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        n++;
    return n;
}

/* apo_down pushes both sides down: it is said once, with how far and what to do. */
static void test_falling_together_is_said(void **state)
{
    (void)state;
    struct ended e = run("$HONE dpo " BASE " --train-data pairs.jsonl --output-dir out --max-steps 40 --loss-type apo_down");
    assert_int_equal(e.code, 0);
    if (times(e.err, "warning: ") != 1 || !strstr(e.err, "less likely") || !strstr(e.err, "nats a better answer") ||
        !strstr(e.err, "--loss-type sigmoid,sft") || !strstr(e.err, "apo_zero"))
        fail_msg("not said once: %s", e.err);
    ended_release(&e);
    assert_true(logged("out", 0, "logps/both_fell") == 0);
    assert_true(logged("out", 39, "logps/both_fell") == 1);

    e = run("$HONE dpo " BASE " --train-data pairs.jsonl --output-dir out --max-steps 40 --loss-type apo_zero");
    assert_int_equal(e.code, 0);
    if (strstr(e.err, "less likely"))
        fail_msg("said of a run in which chosen answers rise: %s", e.err);
    ended_release(&e);
    assert_true(logged("out", 39, "rewards/chosen") > 0);
}

static void expect_said(const char *data, const char *flags, const char *part)
{
    struct ended e = run("$HONE kto " BASE " --max-steps 1 --output-dir out --train-data %s %s", data, flags);
    assert_int_equal(e.code, 0);
    if (part ? !strstr(e.err, part) : strstr(e.err, "weigh") != NULL)
        fail_msg("'%s' %s: %s", part ? part : "weigh", part ? "is not said" : "is said", e.err);
    ended_release(&e);
}

static void test_balance_is_said(void **state)
{
    (void)state;
    text_write("mostly.jsonl", "%s", "{\"prompt\": \"a\", \"completion\": \"b\", \"label\": true}\n"
                                     "{\"prompt\": \"b\", \"completion\": \"c\", \"label\": true}\n"
                                     "{\"prompt\": \"c\", \"completion\": \"d\", \"label\": true}\n"
                                     "{\"prompt\": \"d\", \"completion\": \"e\", \"label\": false}\n");
    expect_said("mostly.jsonl", "", "--desirable-weight 0.333 to 0.444");
    expect_said("mostly.jsonl", "--desirable-weight 0.4", NULL);
    expect_said("thumbs.jsonl", "", NULL);
    text_write("mostly.jsonl", "%s", "{\"prompt\": \"a\", \"completion\": \"b\", \"label\": true}\n"
                                     "{\"prompt\": \"b\", \"completion\": \"c\", \"label\": true}\n");
    expect_said("mostly.jsonl", "", "all 2 answers are good");
}

/* ---- likelihood beside pairs ---- */

/* ORPO's likelihood is SFT's on all tokens of prompt and better answer; CPO's that of the better answer. */
static void test_likelihood_is_that_of_sft(void **state)
{
    (void)state;
    FILE *f = fopen("demonstrations.jsonl", "w"), *g = fopen("conversations.jsonl", "w");
    char *text = text_read("pairs.jsonl", NULL);
    for (char *line = text; *line; line = strchr(line, '\n') + 1) {
        json_t *o = json_loadb(line, strcspn(line, "\n"), 0, NULL);
        const char *prompt = json_string_value(json_object_get(o, "prompt")), *chosen = json_string_value(json_object_get(o, "chosen"));
        fprintf(f, "{\"prompt\": \"%s\", \"completion\": \"%s\"}\n", prompt, chosen);
        fprintf(g, "{\"messages\": [{\"role\": \"user\", \"content\": \"%s\"}, {\"role\": \"assistant\", \"content\": \"%s\"}]}\n", prompt, chosen);
        json_decref(o);
    }
    free(text);
    fclose(f);
    fclose(g);
    run_ok("$HONE sft " BASE " --train-data demonstrations.jsonl --output-dir answers --quiet");
    run_ok("$HONE sft " BASE " --train-data conversations.jsonl --output-dir all --quiet");
    run_ok("$HONE cpo " BASE " --train-data pairs.jsonl --output-dir cpo --quiet");
    run_ok("$HONE dpo " BASE " --train-data pairs.jsonl --output-dir dpo --quiet --loss-type sft");
    run_ok("$HONE orpo " BASE " --train-data pairs.jsonl --output-dir orpo --quiet");
    expect_near(logged("cpo", 0, "nll_loss"), logged("answers", 0, "loss"), 1e-12, "cpo", 0);
    expect_near(logged("orpo", 0, "nll_loss"), logged("all", 0, "loss"), 1e-12, "orpo", 0);
    for (size_t s = 0; s < 6; s++)
        expect_near(logged("dpo", s, "loss"), logged("answers", s, "loss"), 1e-5, "dpo --loss-type sft", s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_that_is_the_policy),
        cmocka_unit_test(test_reference_that_stays),
        cmocka_unit_test(test_sequence_weights),
        cmocka_unit_test(test_kto_of_pairs),
        cmocka_unit_test(test_first_step_of_kto),
        cmocka_unit_test(test_mismatches_are_cut),
        cmocka_unit_test(test_falling_together_is_said),
        cmocka_unit_test(test_balance_is_said),
        cmocka_unit_test(test_likelihood_is_that_of_sft),
    };
    return cmocka_run_group_tests(tests, enter, sandbox_leave);
}
