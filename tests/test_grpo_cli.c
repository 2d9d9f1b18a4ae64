/* `hone grpo` and `hone rloo` from outside, on the tiny model: they learn what a rule asks for, and a run that is killed and
 * resumed, or run with other threads and micro-batches, leaves the bytes of a straight run (laws 1 and 2). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/program.h"
#include "util/mem.h"

#define MODEL "--model golden/models/llama --tokenizer tokenizer --lora-r 4 --quiet "
#define ROLLOUTS                                                                                   \
    MODEL "--train-data rows.jsonl --per-device-train-batch-size 6 --num-generations 4 --max-completion-length 12 "    \
          "--learning-rate 1e-2 "
#define LONG ROLLOUTS "--iterations 5 --save-steps 2 --num-iterations 2 --steps-per-generation 3 "
#define GRPO "$HONE grpo " LONG "--reward rule:length:target=6 --beta 0.04 --output-dir "
#define RLOO "$HONE rloo " LONG "--reward rule:length:target=6 --reward rm --reward-weights 1,0.1 --output-dir "
/* many groups are flat under this rule, so draws and iterations are not the same number */
#define DYNAMIC "$HONE grpo " LONG "--reward rule:length:limit=11 --dynamic-sampling 2 --output-dir "

static int enter(void **state)
{
    if (sandbox_enter(state))
        return -1;
    write_tokenizer("tokenizer");
    write_twenty_judgements("rows.jsonl");
    run_ok("$HONE reward " MODEL "--train-data rows.jsonl --max-steps 3 --learning-rate 1e-2 --output-dir rm");
    run_ok(GRPO "grpo");
    run_ok(RLOO "rloo");
    run_ok(DYNAMIC "dynamic");
    return 0;
}

/* Policy and reference are one at first, and move apart; the parts of the reward add up. */
static void test_first_iteration(void **state)
{
    (void)state;
    json_t *grpo = metrics_of("grpo"), *rloo = metrics_of("rloo");
    assert_int_equal(json_array_size(grpo), 5);
    assert_true(metric(rloo, 0, "kl") == 0 && metric(rloo, 2, "kl") != 0);
    assert_true(metric(grpo, 0, "kl") >= 0 && metric(grpo, 0, "kl") < metric(grpo, 4, "kl"));
    for (size_t i = 0; i < 5; i++) {
        expect_near(metric(rloo, i, "reward"), metric(rloo, i, "rewards/length/mean") + 0.1 * metric(rloo, i, "rewards/rm/mean"),
                    1e-12, "reward", i);
        expect_near(metric(grpo, i, "reward"), metric(grpo, i, "rewards/length/mean"), 0, "reward", i);
        expect_near(metric(grpo, i, "reward_std"), metric(grpo, i, "rewards/length/std"), 0, "reward_std", i);
        assert_true(metric(grpo, i, "entropy") > 0);
    }
    assert_true(metric(grpo, 4, "grad_norm") > 0 && metric(grpo, 4, "clip_ratio/region_mean") > 0);
    json_decref(grpo);
    json_decref(rloo);
}

/* Mean of the last three iterations less that of the first three. */
static double gain(const char *dir)
{
    json_t *lines = metrics_of(dir);
    size_t n = json_array_size(lines);
    double sum = 0;
    for (size_t i = 0; i < 3; i++)
        sum += metric(lines, n - 1 - i, "reward") - metric(lines, i, "reward");
    json_decref(lines);
    return sum / 3;
}

/* Answers come nearer to the length that the rule asks for: from nearly 12 tokens, all there are, by more than 3. */
static void test_learns(void **state)
{
    static const char *const methods[] = {"grpo", "grpo --loss-type grpo", "grpo --loss-type dr_grpo --scale-rewards none",
                                          "grpo --loss-type cispo --epsilon-high 5", "grpo --loss-type vespo --off-policy-mask-threshold 0.1",
                                          "grpo --importance-sampling-level sequence --beta 0.02",
                                          "grpo --multi-objective-aggregation normalize_then_sum --reward rule:regex:a --reward-weights 0.3,1",
                                          "rloo", "rloo --advantage-estimator reinforce", "rloo --advantage-estimator reinforce_baseline"};
    (void)state;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        run_ok("$HONE %s " ROLLOUTS "--reward rule:length:target=4 --num-generations 8 --iterations 16 --lr-scheduler-type constant "
               "--output-dir out --overwrite", methods[i]);
        double gained = gain("out");
        if (!(gained > 0.75)) /* a fourth of a target's length each */
            fail_msg("%s: the reward rose by %g only", methods[i], gained);
    }
}

static const struct {
    const char *line, *straight;
} runs[] = {{GRPO "out", "grpo"}, {RLOO "out", "rloo"}, {DYNAMIC "out", "dynamic"}};
enum { N_RUNS = sizeof runs / sizeof *runs };

static void test_killed_and_resumed(void **state)
{
    (void)state;
    for (size_t r = 0; r < N_RUNS; r++)
        for (size_t line = 1; line < 5; line++) {
            drop("out");
            run_and_kill_at_line(runs[r].line, "out/metrics.jsonl", line);
            run_ok("%s --resume%s", runs[r].line, line % 2 ? " --threads 2" : "");
            expect_equal_runs(runs[r].straight, "out");
        }
}

static void test_killed_at_calls(void **state)
{
    (void)state;
    for (size_t r = 0; r < N_RUNS; r++)
        for (size_t n = 9 + 3 * r; n < 60; n += 17) {
            drop("out");
            if (run_and_kill_at_call(runs[r].line, n) < 0)
                skip();
            run_ok("%s --resume", runs[r].line);
            expect_equal_runs(runs[r].straight, "out");
        }
}

static void test_arrangements(void **state)
{
    static const char *const flags[] = {"--threads 2", "--micro-batch-tokens 16", "--slots 3", "--slots 1 --micro-batch-tokens 64",
                                        "--recompute --micro-batch-tokens 64 --threads 2"};
    (void)state;
    for (size_t r = 0; r < N_RUNS; r++)
        for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
            run_ok("%s --overwrite %s", runs[r].line, flags[i]);
            expect_equal_runs(runs[r].straight, "out");
        }
}

/* More prompts are drawn in the place of those that teach nothing: the draws run ahead of the iterations. */
static void test_dynamic_sampling(void **state)
{
    (void)state;
    json_t *checkpoint = golden_json("dynamic/checkpoints/step-5/state.json"), *lines = metrics_of("dynamic");
    char *text = json_dumps(checkpoint, 0), *draws = strstr(text, "\"draws\": ");
    assert_non_null(draws);
    assert_in_range(strtol(draws + 9, NULL, 10), 6, 15);
    assert_true(metric(lines, 0, "frac_reward_zero_std") > 0 && metric(lines, 0, "frac_reward_zero_std") < 1);
    bool fewer = false;
    for (size_t i = 0; i < 5; i++) { /* a draw has 6, the last of an epoch 2 */
        assert_in_range((size_t)metric(lines, i, "dynamic_sampling/groups"), 0, 6);
        fewer |= metric(lines, i, "dynamic_sampling/groups") < 2;
    }
    assert_true(fewer); /* flat groups are not taken to fill it up */
    free(text);
    json_decref(lines);
    json_decref(checkpoint);
}

/* Answers that all have the same reward: said in words, counted, and the policy stays as it was. */
static void test_nothing_to_learn(void **state)
{
    (void)state;
    struct ended e = run("$HONE grpo --model golden/models/llama --tokenizer tokenizer --lora-r 4 --train-data rows.jsonl "
                         "--reward rule:regex:never --iterations 2 --dynamic-sampling 1 --max-completion-length 4 --output-dir out "
                         "--overwrite");
    assert_int_equal(e.code, 0);
    if (!strstr(e.err, "same reward") || !strstr(e.err, "nothing was learned"))
        fail_msg("no warning in: %s", e.err);
    ended_release(&e);
    json_t *lines = metrics_of("out");
    assert_true(metric(lines, 0, "frac_reward_zero_std") == 1 && metric(lines, 0, "rewards/regex/std") == 0);
    assert_null(json_object_get(json_array_get(lines, 0), "loss"));
    json_decref(lines);
    run_ok("$HONE grpo " ROLLOUTS "--reward rule:regex:never --iterations 1 --max-completion-length 4 --output-dir again --overwrite");
    run_ok("$HONE grpo " ROLLOUTS "--reward rule:regex:never --iterations 3 --max-completion-length 4 --output-dir out --overwrite");
    expect_same_file("again/adapter", "out/adapter", "adapter_model.safetensors");
}

/* Of answers that were all cut nothing is learned, if that is asked for, not even by the KL. */
static void test_masked(void **state)
{
    (void)state;
    run_ok("$HONE grpo " ROLLOUTS "--reward rule:regex:e --beta 0.04 --mask-truncated-completions --max-completion-length 2 --iterations 1 "
           "--missing-eos-penalty 0.25 --output-dir out --overwrite");
    json_t *lines = metrics_of("out");
    assert_true(metric(lines, 0, "completions/clipped_ratio") == 1 && metric(lines, 0, "completions/mean_terminated_length") == 0);
    expect_near(metric(lines, 0, "reward"), metric(lines, 0, "rewards/regex/mean") - 0.25, 1e-12, "reward", 0);
    assert_null(json_object_get(json_array_get(lines, 0), "loss"));
    json_decref(lines);
}

static void test_variants(void **state)
{
    static const char *const lines[][2] = {
        {"grpo", "--reward rule:length:target=6 --loss-type bnpo --epsilon-high 0.28 --delta 2 --scale-rewards batch"},
        {"grpo", "--reward rule:overlong:cache=6 --mask-truncated-completions --temperature 0.7 --missing-eos-penalty 1"},
        {"grpo", "--reward rule:answer --reward rm --full --learning-rate 1e-4 --beta 0.1 --no-use-bias-correction-kl"},
        {"rloo", "--reward rm --normalize-advantages --reward-clip-range -1,1"},
        {"rloo", "--reward rm --full --learning-rate 1e-4 --beta 0"},
        {"rloo", "--reward rule:length:target=6 --advantage-estimator reinforce --num-generations 1"},
        {"ppo", "--reward rule:length:target=6 --reward rule:regex:e --reward-weights 1,0.5 --response-length 12"},
        {"ppo", "--reward rule:length:target=6 --reward rm --full --learning-rate 1e-4"},
        {"ppo", "--reward rule:length:target=6 --share-value-trunk"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        run_ok("$HONE %s " MODEL "--train-data rows.jsonl --per-device-train-batch-size 6 --num-generations 4 --iterations 2 "
               "--learning-rate 1e-2 --output-dir out --overwrite %s", lines[i][0], lines[i][1]);
}

static void test_refuses(void **state)
{
    static const struct {
        int code;
        const char *what, *line;
    } cases[] = {
        {2, "--reward is missing", "$HONE grpo " MODEL "--train-data rows.jsonl"},
        {2, "num-generations", "$HONE grpo " MODEL "--train-data rows.jsonl --reward rule:answer --num-generations 1"},
        {2, "num-generations", "$HONE rloo " MODEL "--train-data rows.jsonl --reward rule:answer --num-generations 1"},
        {2, "epsilon-high", "$HONE grpo " MODEL "--train-data rows.jsonl --reward rule:answer --loss-type cispo"},
        {2, "missing_eos_penalty", "$HONE grpo " MODEL "--train-data rows.jsonl --reward rule:answer --multi-objective-aggregation "
                                   "normalize_then_sum --missing-eos-penalty 1"},
        {2, "sequence", "$HONE grpo " MODEL "--train-data rows.jsonl --reward rule:answer --loss-type luspo"},
        {2, "delta", "$HONE grpo " MODEL "--train-data rows.jsonl --reward rule:answer --delta 1.1"},
        {2, "reward-clip-range", "$HONE rloo " MODEL "--train-data rows.jsonl --reward rule:answer --reward-clip-range 1,0"},
        {2, "reward-clip-range", "$HONE rloo " MODEL "--train-data rows.jsonl --reward rule:answer --reward-clip-range 1"},
        {1, "reward_weights", "$HONE grpo " MODEL "--train-data rows.jsonl --reward rule:answer --reward-weights 1,2"},
        {1, "finite", "$HONE grpo " MODEL "--train-data rows.jsonl --reward rule:answer --reward-weights one"},
        {1, "there is no rule 'lenght", "$HONE grpo " MODEL "--train-data rows.jsonl --reward rule:lenght:target=3"},
        {1, "whole number", "$HONE grpo " MODEL "--train-data rows.jsonl --reward rule:length:target=0"},
        {1, "cannot be compiled", "$HONE grpo " MODEL "--train-data rows.jsonl --reward 'rule:regex:(a'"},
        {1, "no field \"solution\"", "$HONE grpo " MODEL "--train-data rows.jsonl --reward rule:answer:field=solution"},
        {1, "no number", "$HONE grpo " MODEL "--train-data rows.jsonl --reward rule:answer:field=prompt"},
        {1, "no such program", "$HONE grpo " MODEL "--train-data rows.jsonl --reward program:./not-there"},
        {1, "no tokenizer", "$HONE grpo --model golden/models/llama --quiet --train-data ids.jsonl --reward rule:regex:a"},
        {1, "'rows.jsonl' line 1: the prompt", "$HONE grpo " MODEL "--train-data rows.jsonl --reward rule:answer --max-completion-length 9999"},
        {1, "'nowhere' is not there", "$HONE rloo " MODEL "--train-data rows.jsonl --reward nowhere"},
    };
    (void)state;
    text_write("ids.jsonl", "{\"input_ids\": [5, 6, 7], \"prompt_length\": 3}\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_refused_early(cases[i].code, cases[i].what, cases[i].line);
}

/* Programs: what they are given, and what they may not do.  In the middle of a run the last checkpoint stands. */
static void test_programs(void **state)
{
    static const struct {
        const char *what, *script;
    } wrong[] = {
        {"line 1 of what the reward program", "cat >/dev/null; echo good"},
        {"line 2 of what the reward program './score.sh' wrote is 'nan'", "n=0; while read -r l; do n=$((n + 1)); done; echo 1; "
                                                                           "while [ $n -gt 1 ]; do echo nan; n=$((n - 1)); done"},
        {"wrote 0 lines for", "cat >/dev/null"},
        {"wrote 2 lines for 1 completions", "cat >/dev/null; echo 1; echo 2"},
        {"ended with code 3", "exit 3"},
        {"took more than 0.3 seconds", "sleep 20 & wait"},
        {"ended by signal 9", "kill -9 $$"},
        {"far more than", "cat >/dev/null; while :; do echo 1; done"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        text_write("score.sh", "#!/bin/sh\n%s\n", wrong[i].script);
        struct ended e = run("chmod +x score.sh; $HONE grpo " ROLLOUTS "--reward program:./score.sh --iterations 1 --reward-timeout %s "
                             "--output-dir out --overwrite", strstr(wrong[i].what, "0.3") ? "0.3" : "20");
        if (e.code != 1 || !strstr(e.err, wrong[i].what))
            fail_msg("ended with %d, and no '%s' in: %s", e.code, wrong[i].what, e.err);
        ended_release(&e);
    }
    text_write("score.sh", "#!/bin/sh\nexec tee -a seen | sed 's/.*\"tokens\": \\([0-9]*\\).*/-\\1/'\n");
    run_ok("rm -f seen; $HONE grpo " ROLLOUTS "--reward 'program:./score.sh --now' --reward rule:answer --iterations 2 --output-dir out --overwrite");
    json_t *lines = metrics_of("out");
    expect_near(metric(lines, 1, "rewards/score.sh/mean"), -metric(lines, 1, "completions/mean_length"), 1e-12, "program", 1);
    json_decref(lines);
    char *seen = text_read("seen", NULL), *second = strchr(seen, '\n') + 1;
    json_t *line = json_loads(second, JSON_DISABLE_EOF_CHECK, NULL), *row = json_object_get(line, "row");
    assert_true(json_is_string(json_object_get(line, "completion")) && json_is_boolean(json_object_get(line, "finished")));
    assert_true(json_is_integer(json_object_get(row, "answer")) && json_is_string(json_object_get(row, "id")));
    const char *said = json_string_value(json_object_get(json_array_get(json_object_get(line, "prompt"), 0), "content"));
    assert_string_equal(said, json_string_value(json_object_get(row, "prompt")));
    json_decref(line);
    free(seen);

    /* a program that fails later: what was learned before is kept */
    text_write("score.sh", "#!/bin/sh\n[ -e enough ] && exit 4\n[ -e begun ] && touch enough\ntouch begun\n"
                           "exec sed 's/.*\"tokens\": \\([0-9]*\\).*/-\\1/'\n");
    struct ended e = run("$HONE grpo " ROLLOUTS "--reward program:./score.sh --iterations 3 --save-steps 1 --output-dir out --overwrite");
    if (e.code != 1 || !strstr(e.err, "iteration 2: the last checkpoint stands") || !is_there("out/checkpoints/step-1"))
        fail_msg("ended with %d: %s", e.code, e.err);
    ended_release(&e);
    run_ok("rm enough; $HONE grpo " ROLLOUTS "--reward program:./score.sh --iterations 1 --save-steps 1 --output-dir out --resume");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_iteration), cmocka_unit_test(test_learns),      cmocka_unit_test(test_killed_and_resumed),
        cmocka_unit_test(test_killed_at_calls), cmocka_unit_test(test_arrangements), cmocka_unit_test(test_dynamic_sampling),
        cmocka_unit_test(test_nothing_to_learn), cmocka_unit_test(test_masked),      cmocka_unit_test(test_variants),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_programs),
    };
    return cmocka_run_group_tests(tests, enter, sandbox_leave);
}
