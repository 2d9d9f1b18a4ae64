/* `hone online-dpo` from outside, on the tiny model: all its methods learn what the reward asks for, and a run that is killed
 * and resumed, or run with other threads, slots and micro-batches, leaves the bytes of a straight run (laws 1 and 2); an AI
 * judge is asked the same whether it shares the policy's model or not. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/program.h"
#include "util/buf.h"
#include "util/mem.h"

#define MODEL "--model golden/models/llama --tokenizer tokenizer --lora-r 4 --quiet "
#define SHAPE "--train-data rows.jsonl --per-device-train-batch-size 6 --max-new-tokens 12 --learning-rate 1e-2 "
#define LONG "$HONE online-dpo " MODEL SHAPE "--iterations 5 --save-steps 2 "
#define DPO LONG "--reward rm --num-iterations 2 --steps-per-generation 3 --output-dir "
#define XPO                                                                                                                    \
    LONG "--method xpo --alpha 0.01 --reward rule:length:target=6 --reward rm --missing-eos-penalty 0.5 --loss-type ipo "      \
         "--output-dir "
#define NASH LONG "--method nash_md --mixture-coef 0.3 --reward rm --output-dir "
#define JUDGED LONG "--judge long --soft-labels --output-dir "

static int enter(void **state)
{
    if (sandbox_enter(state))
        return -1;
    write_tokenizer("tokenizer");
    write_long_model("long");
    write_twenty_judgements("rows.jsonl");
    run_ok("$HONE reward " MODEL "--train-data rows.jsonl --max-steps 3 --learning-rate 1e-2 --output-dir rm");
    run_ok(DPO "dpo");
    run_ok(XPO "xpo");
    run_ok(NASH "nash");
    run_ok(JUDGED "judged");
    return 0;
}

/* The policy is the reference at first: every margin is exactly 0, and DPO's loss log 2 (law 1, the reference's own answers
 * included, whose log-probs under it come from its sampler). */
static void test_first_iteration(void **state)
{
    (void)state;
    json_t *one = (run_ok(LONG "--reward rm --output-dir out --overwrite"), metrics_of("out")), *xpo = metrics_of("xpo"),
           *nash = metrics_of("nash");
    expect_near(metric(one, 0, "loss"), log(2), 1e-12, "loss", 0);
    run_ok(LONG "--method xpo --alpha 0.01 --reward rm --output-dir out --overwrite");
    json_t *sigmoid = metrics_of("out"), *first[] = {one, xpo, sigmoid};
    for (size_t i = 0; i < 3; i++) {
        assert_true(metric(first[i], 0, "rewards/margins") == 0 && metric(first[i], 0, "rewards/chosen") == 0);
        assert_true(metric(first[i], 0, "objective/kl") == 0 && metric(first[i], 2, "objective/kl") != 0);
        assert_true(metric(first[i], 4, "grad_norm") > 0 && metric(first[i], 4, "rewards/margins") != 0);
    }
    expect_near(metric(sigmoid, 0, "loss/dpo"), log(2), 1e-12, "loss/dpo", 0);
    expect_near(metric(sigmoid, 0, "loss/xpo"), 0.01 * (metric(sigmoid, 0, "loss") - log(2)) / 0.01, 1e-12, "loss/xpo", 0);
    assert_true(metric(xpo, 0, "pairs/tied") < 1 && metric(nash, 0, "pairs/tied") < 1); /* both sides do not say the same */
    assert_true(metric(sigmoid, 0, "loss/xpo") < 0 && metric(sigmoid, 0, "alpha") == 0.01);
    assert_true(metric(nash, 0, "loss/kl") == 0 && metric(nash, 4, "loss/kl") != 0 && metric(nash, 0, "mixture_coef") == 0.3);
    expect_near(metric(nash, 3, "loss/kl"), metric(nash, 3, "objective/kl"), 1e-9, "the KL at sampling and in the step", 3);
    json_decref(one);
    json_decref(xpo);
    json_decref(nash);
    json_decref(sigmoid);
}

/* Scores, margins and rewards add up. */
static void test_metrics(void **state)
{
    (void)state;
    json_t *dpo = metrics_of("dpo"), *xpo = metrics_of("xpo"), *judged = metrics_of("judged");
    assert_int_equal(json_array_size(dpo), 5);
    for (size_t i = 0; i < 5; i++) {
        double kl = metric(dpo, i, "objective/kl");
        expect_near(metric(dpo, i, "objective/scores"), metric(dpo, i, "rewards/rm/mean"), 1e-9, "scores", i);
        expect_near(metric(dpo, i, "objective/rlhf_reward"), metric(dpo, i, "objective/scores") - 0.1 * kl, 1e-9, "rlhf_reward",
                    i);
        expect_near(metric(dpo, i, "rewards/margins"), metric(dpo, i, "rewards/chosen") - metric(dpo, i, "rewards/rejected"),
                    1e-9, "margins", i);
        assert_true(metric(dpo, i, "objective/scores_margin") > 0 && metric(dpo, i, "pairs/tied") < 1);
        expect_near(metric(xpo, i, "objective/scores_margin"),
                    metric(xpo, i, "objective/model_scores") - metric(xpo, i, "objective/ref_scores"), 1e-9, "scores_margin",
                    i);
        expect_near(metric(xpo, i, "objective/model_scores"),
                    metric(xpo, i, "rewards/length/mean") + metric(xpo, i, "rewards/rm/mean") -
                        0.5 * metric(xpo, i, "completions/clipped_ratio"),
                    1e-9, "model_scores", i);
        assert_true(metric(judged, i, "judge/label_mass") > 0 && metric(judged, i, "judge/label_mass") < 1);
        assert_true(metric(judged, i, "judge/disagreement") >= 0 && metric(judged, i, "rewards/probabilities") > 0);
        assert_null(json_object_get(json_array_get(judged, i), "objective/scores"));
    }
    json_decref(dpo);
    json_decref(xpo);
    json_decref(judged);
}

/* Mean of the last four iterations less that of the first four. */
static double gain(const char *dir, const char *key)
{
    json_t *lines = metrics_of(dir);
    size_t n = json_array_size(lines);
    double sum = 0;
    for (size_t i = 0; i < 4; i++)
        sum += metric(lines, n - 1 - i, key) - metric(lines, i, key);
    json_decref(lines);
    return sum / 4;
}

/* Answers with an "e" in them become more: from about 0.28 of them, with a standard error of 0.02 over four iterations. */
static void test_learns(void **state)
{
    static const char *const methods[] = {"--method online_dpo",
                                          "--method online_dpo --loss-type ipo",
                                          "--method online_dpo --soft-labels --preference-temperature 0.1",
                                          "--method xpo",
                                          "--method nash_md --preference-temperature 0.1",
                                          "--method nash_md --mixture-coef 0 --preference-temperature 0"};
    (void)state;
    struct buf many;
    buf_init(&many, 1 << 16);
    for (size_t i = 0; i < 100; i++)
        buf_printf(&many, "{\"prompt\": \"question %zu\"}\n", i);
    bytes_write("many.jsonl", many.data, many.len);
    buf_release(&many);
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        run_ok("$HONE online-dpo " MODEL SHAPE
               "--train-data many.jsonl --per-device-train-batch-size 100 --max-new-tokens 4 --iterations "
               "24 --reward rule:regex:e --slots 100 --lr-scheduler-type constant --output-dir out --overwrite %s",
               methods[i]);
        double gained = gain("out", "rewards/regex/mean");
        if (!(gained > 0.12))
            fail_msg("%s: the reward rose by %g only", methods[i], gained);
    }
}

static const struct {
    const char *line, *straight;
} runs[] = {{DPO "out", "dpo"}, {XPO "out", "xpo"}, {NASH "out", "nash"}, {JUDGED "out", "judged"}};
enum { N_RUNS = sizeof runs / sizeof *runs };

static void test_killed_and_resumed(void **state)
{
    (void)state;
    for (size_t r = 0; r < N_RUNS; r++)
        for (size_t line = 1; line < 5; line += r == 3 ? 2 : 1) {
            drop("out");
            run_and_kill_at_line(runs[r].line, "out/metrics.jsonl", line);
            run_ok("%s --resume%s", runs[r].line, line % 2 ? " --threads 2" : "");
            expect_equal_runs(runs[r].straight, "out");
        }
}

static void test_arrangements(void **state)
{
    static const char *const flags[] = {"--threads 2 --micro-batch-tokens 16", "--slots 3",
                                        "--slots 1 --micro-batch-tokens 64 --recompute"};
    (void)state;
    for (size_t r = 0; r < N_RUNS; r++)
        for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
            run_ok("%s --overwrite %s", runs[r].line, flags[i]);
            expect_equal_runs(runs[r].straight, "out");
        }
}

/* The judge is the same whether it stands on the policy's model or beside it, and whether its adapter comes with it or is
 * named; with another criterion it says something else. */
static void test_judges(void **state)
{
    (void)state;
    run_ok("$HONE online-dpo --model long --lora-r 4 --quiet " SHAPE
           "--iterations 5 --save-steps 2 --judge long --soft-labels --output-dir "
           "beside");
    expect_equal_runs("judged", "beside");

    text_write("says.jsonl", "{\"prompt\": \"which one?\", \"completion\": \"1\"}\n");
    run_ok("$HONE sft --model long --lora-r 4 --quiet --train-data says.jsonl --max-steps 20 --learning-rate 1e-2 --output-dir "
           "adapted");
    run_ok(LONG "--judge adapted --output-dir out --overwrite");
    run_ok(LONG "--judge long --judge-adapter adapted/adapter --output-dir again --overwrite");
    expect_equal_runs("out", "again");
    json_t *plain = metrics_of("judged"), *adapted = metrics_of("out");
    assert_true(metric(adapted, 0, "judge/first") > metric(plain, 0, "judge/first")); /* it has learned to say 1 */
    assert_true(metric(adapted, 0, "judge/label_mass") > metric(plain, 0, "judge/label_mass"));
    assert_true(metric(adapted, 0, "judge/disagreement") > 0.5);
    json_decref(adapted);

    text_write("criterion.txt", "it is written in verse\n");
    run_ok(LONG "--judge long --soft-labels --judge-criterion @criterion.txt --output-dir out --overwrite");
    run_ok(LONG "--judge long --soft-labels --judge-criterion 'it is written in verse' --output-dir again --overwrite");
    expect_equal_runs("out", "again");
    json_t *other = metrics_of("out"), *manifest = golden_json("out/manifest.json");
    assert_true(metric(other, 0, "rewards/probabilities") != metric(plain, 0, "rewards/probabilities"));
    const char *said = json_string_value(json_object_get(json_object_get(manifest, "judge"), "criterion"));
    assert_string_equal(said, "it is written in verse");
    json_decref(manifest);
    json_decref(other);
    json_decref(plain);
}

/* Where no answer is better than the other one nothing is learned, and that is said; XPO's bonus is there all the same. */
static void test_ties(void **state)
{
    (void)state;
    struct ended e = run("$HONE online-dpo --model golden/models/llama --tokenizer tokenizer --lora-r 4 " SHAPE
                         "--reward rule:regex:never --iterations 2 --output-dir out --overwrite");
    assert_int_equal(e.code, 0);
    if (!strstr(e.err, "no answer is better"))
        fail_msg("no warning in: %s", e.err);
    ended_release(&e);
    json_t *lines = metrics_of("out");
    assert_true(metric(lines, 0, "pairs/tied") == 1);
    assert_null(json_object_get(json_array_get(lines, 0), "loss"));
    json_decref(lines);
    run_ok("$HONE online-dpo " MODEL SHAPE
           "--reward rule:regex:never --method xpo --iterations 2 --output-dir out --overwrite");
    lines = metrics_of("out");
    assert_true(metric(lines, 0, "pairs/tied") == 1 && metric(lines, 0, "loss/dpo") == 0 && metric(lines, 0, "grad_norm") > 0);
    json_decref(lines);
}

static void test_variants(void **state)
{
    static const char *const lines[] = {
        "--reward rm --full --learning-rate 1e-4",
        "--method xpo --reward rm --full --learning-rate 1e-4",
        "--reward rm --loss-type exo_pair --label-smoothing 0.001 --temperature 0.7 --ema-decay 0.9",
        "--reward rm --loss-type hinge --gold rule:length:target=6 --monitor-warmup 1",
        "--method xpo --judge long --loss-type apo_zero",
        "--method nash_md --judge long --gold rm",
    };
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        run_ok("$HONE online-dpo " MODEL SHAPE "--iterations 2 --output-dir out --overwrite %s", lines[i]);
}

static void test_refuses(void **state)
{
    static const struct {
        int code;
        const char *what, *line;
    } cases[] = {
        {2, "neither --reward nor --judge", LONG},
        {2, "both --reward and --judge", LONG "--reward rm --judge long"},
        {2, "there is none", LONG "--reward rm --judge-criterion good"},
        {2, "a judge gives none", LONG "--judge long --missing-eos-penalty 1"},
        {2, "'aot' compares all pairs", LONG "--reward rm --loss-type aot"},
        {2, "'sft' has no pairs", LONG "--reward rm --loss-type sft"},
        {2, "'simpo' has no reference", LONG "--reward rm --loss-type simpo"},
        {2, "loss_type 'dpo' is not known", LONG "--reward rm --loss-type dpo"},
        {2, "has none; set it to 0", LONG "--reward rm --loss-type ipo --label-smoothing 0.1"},
        {2, "one step a batch", LONG "--method nash_md --reward rm --num-iterations 2"},
        {2, "one step a batch", LONG "--method nash_md --reward rm --steps-per-generation 2"},
        {2, "leave --full out", LONG "--method nash_md --reward rm --full"},
        {2, "mixture-coef", LONG "--method nash_md --reward rm --mixture-coef 1.5"},
        {1, "'nowhere' is not there", LONG "--judge nowhere"},
        {1, "no tokenizer",
         "$HONE online-dpo " SHAPE "--model golden/models/llama --quiet --train-data ids.jsonl --judge long"},
        {1, "no tokenizer", LONG "--judge golden/models/llama-untied"},
        {1, "shorten the criterion", LONG "--judge golden/models/llama"},
        {1, "'ids.jsonl' line 1: the prompt is no text", LONG "--train-data ids.jsonl --judge long"},
        {1, "--judge-criterion", LONG "--judge long --judge-criterion @missing.txt"},
        {1, "the criterion is empty", LONG "--judge long --judge-criterion ''"},
        {1, "is no adapter", LONG "--judge long --judge-adapter long"},
    };
    (void)state;
    text_write("ids.jsonl", "{\"input_ids\": [5, 6, 7], \"prompt_length\": 3}\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_refused_early(cases[i].code, cases[i].what, cases[i].line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_iteration),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_learns),
        cmocka_unit_test(test_killed_and_resumed),
        cmocka_unit_test(test_arrangements),
        cmocka_unit_test(test_judges),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, enter, sandbox_leave);
}
