/* The monitor from outside, on the tiny model: a policy that is paid for short answers, watched by a rule that wants long
 * ones, is stopped with words and leaves the policy to go back to; and all that it knows survives a kill (law 2). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/program.h"

#define MODEL "--model golden/models/llama --tokenizer tokenizer --lora-r 4 "
#define RUN                                                                                        \
    MODEL "--train-data rows.jsonl --per-device-train-batch-size 6 --learning-rate 1e-2 --lr-scheduler-type constant " \
          "--save-steps 2 --monitor-warmup 2 --monitor-patience 2 "
#define HACKED                                                                                     \
    "$HONE grpo " RUN "--reward rule:length:target=4 --gold rule:length:target=12 --num-generations 8 --max-completion-length 12 " \
    "--monitor stop "

static int enter(void **state)
{
    if (sandbox_enter(state))
        return -1;
    write_tokenizer("tokenizer");
    write_twenty_judgements("rows.jsonl");
    run_ok("$HONE reward " MODEL "--train-data rows.jsonl --max-steps 3 --learning-rate 1e-2 --quiet --output-dir rm");
    return 0;
}

/* Stopped long before its 40 iterations, when the gold has fallen from its best. */
static void test_stops(void **state)
{
    (void)state;
    struct ended e = run(HACKED "--iterations 40 --output-dir hacked");
    assert_int_equal(e.code, 0);
    if (!strstr(e.err, "grpo: stopped: iteration") || !strstr(e.err, "the gold fell from") || !strstr(e.err, "go back to 'hacked/safe'"))
        fail_msg("no alarm in: %s", e.err);
    ended_release(&e);
    json_t *lines = metrics_of("hacked");
    size_t n = json_array_size(lines), good = (size_t)metric(lines, n - 1, "monitor/good_iteration");
    assert_in_range(n, 4, 39);
    assert_true(good < n - 1 && metric(lines, n - 1, "monitor/alarms") == 1 && metric(lines, n - 2, "monitor/alarms") == 0);
    assert_true(metric(lines, 0, "monitor/kl") == 0 && metric(lines, n - 1, "monitor/kl") > 0);
    assert_true(metric(lines, n - 1, "reward") > metric(lines, 0, "reward"));
    assert_true(metric(lines, n - 1, "monitor/gold") < metric(lines, good, "monitor/gold"));
    assert_null(json_object_get(json_array_get(lines, n - 1), "loss")); /* nothing was learned from the last rollouts */
    json_decref(lines);
    assert_true(is_there("hacked/adapter/adapter_config.json") && is_there("hacked/safe/adapter_config.json"));
    run_ok("$HONE generate --model hacked/safe --tokenizer tokenizer --prompts rows.jsonl --max-new-tokens 3 --quiet >/dev/null");
}

/* The policy in `safe` is that of a run that ended where nothing was wrong. */
static void test_safe_is_that_policy(void **state)
{
    (void)state;
    json_t *lines = metrics_of("hacked");
    size_t good = (size_t)metric(lines, json_array_size(lines) - 1, "monitor/good_iteration");
    json_decref(lines);
    if (good == 0)
        fail_msg("the policy to go back to is the start's: nothing to compare");
    run_ok(HACKED "--iterations %zu --quiet --output-dir short", good);
    expect_same_file("hacked/safe", "short/adapter", "adapter_model.safetensors");
}

static void test_killed_and_resumed(void **state)
{
    (void)state;
    for (size_t line = 1; line < 6; line += 2) {
        drop("out");
        run_and_kill_at_line(HACKED "--iterations 40 --output-dir out", "out/metrics.jsonl", line);
        run_ok(HACKED "--iterations 40 --output-dir out --resume --threads 2");
        expect_same_file("hacked", "out", "metrics.jsonl");
        expect_same_file("hacked/safe", "out/safe", "adapter_model.safetensors");
        expect_same_file("hacked/adapter", "out/adapter", "adapter_model.safetensors");
    }
}

static void test_killed_at_calls(void **state)
{
    (void)state;
    for (size_t n = 12; n < 120; n += 13) {
        drop("out");
        if (run_and_kill_at_call(HACKED "--iterations 40 --quiet --output-dir out", n) < 0)
            skip();
        run_ok(HACKED "--iterations 40 --quiet --output-dir out --resume");
        expect_same_file("hacked", "out", "metrics.jsonl");
        expect_same_file("hacked/safe", "out/safe", "adapter_model.safetensors");
        char *left = folder_listing("out");
        if (strstr(left, ".tmp-") || strstr(left, ".old-"))
            fail_msg("killed at call %zu: something was left behind: %s", n, left);
        free(left);
    }
}

/* The watch changes nothing of a run that it does not stop. */
static void test_only_watches(void **state)
{
    static const char *const methods[] = {"grpo --reward rm --beta 0.1", "rloo --reward rm", "ppo --reward rm", "ppo --reward rm --full"};
    (void)state;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        run_ok("$HONE %s " RUN "--iterations 3 --num-generations 2 --monitor off --quiet --output-dir off --overwrite", methods[i]);
        run_ok("$HONE %s " RUN "--iterations 3 --num-generations 2 --gold rule:length:target=5 --quiet --output-dir on --overwrite", methods[i]);
        if (strstr(methods[i], "--full"))
            expect_same_file("off/model", "on/model", "model.safetensors");
        else
            expect_same_file("off/adapter", "on/adapter", "adapter_model.safetensors");
        json_t *off = metrics_of("off"), *on = metrics_of("on");
        assert_null(json_object_get(json_array_get(off, 2), "monitor/alarms"));
        assert_true(metric(on, 0, "monitor/kl") == 0 && metric(on, 2, "monitor/gold_std_err") >= 0);
        json_decref(off);
        json_decref(on);
        assert_true(!is_there("off/safe") && is_there("on/safe") == !strstr(methods[i], "--full"));
    }
}

static void test_refuses(void **state)
{
    static const char *const cases[][2] = {{"--gold nowhere", "'nowhere' is not there"},
                                           {"--gold rule:lenght:limit=3", "there is no rule 'lenght"},
                                           {"--gold rule:answer", "no field \"answer\""},
                                           {"--monitor perhaps", "--monitor"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        drop("out");
        struct ended e = run("$HONE grpo " RUN "--reward rm --iterations 1 --output-dir out %s", cases[i][0]);
        if (e.code == 0 || !strstr(e.err, cases[i][1]) || is_there("out"))
            fail_msg("%s: ended with %d: %s", cases[i][0], e.code, e.err);
        ended_release(&e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stops),        cmocka_unit_test(test_safe_is_that_policy), cmocka_unit_test(test_killed_and_resumed),
        cmocka_unit_test(test_killed_at_calls), cmocka_unit_test(test_only_watches), cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, enter, sandbox_leave);
}
