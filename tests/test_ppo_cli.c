/* `hone ppo` from outside, on the tiny model: the first KL is exactly 0, and a run that is killed and resumed, or run with
 * other threads and micro-batches, leaves the bytes of a straight run (laws 1 and 2). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"
#include "support/program.h"
#include "util/file.h"
#include "util/mem.h"

#define MODEL "--model golden/models/llama --tokenizer tokenizer --lora-r 4 --quiet "
#define PPO                                                                                        \
    "$HONE ppo " MODEL "--reward rm --train-data pairs.jsonl --iterations 5 --save-steps 2 --per-device-train-batch-size 6 "  \
    "--num-generations 2 --response-length 12 --num-ppo-epochs 2 --num-mini-batches 3 --learning-rate 1e-2 "                 \
    "--kl-target 1 --kl-horizon 100 --output-dir "

static int enter(void **state)
{
    if (sandbox_enter(state))
        return -1;
    write_tokenizer("tokenizer");
    write_twenty_judgements("pairs.jsonl");
    run_ok("$HONE reward " MODEL "--train-data pairs.jsonl --max-steps 3 --learning-rate 1e-2 --output-dir rm");
    run_ok(PPO "straight");
    return 0;
}

static void expect_same_as_straight(const char *dir)
{
    static const char *const folders[] = {"adapter", "critic"};
    expect_same_file("straight", dir, "metrics.jsonl");
    for (size_t i = 0; i < 2; i++) {
        char *x = path_join("straight", folders[i]), *y = path_join(dir, folders[i]);
        expect_same_file(x, y, "adapter_model.safetensors");
        free(x);
        free(y);
    }
}

static void test_first_iteration(void **state)
{
    (void)state;
    char *text = text_read("straight/metrics.jsonl", NULL), *end = strchr(text, '\n');
    json_t *first = json_loadb(text, (size_t)(end - text), 0, NULL), *second = json_loads(end + 1, JSON_DISABLE_EOF_CHECK, NULL);
    static const char *const zero[] = {"objective/kl", "objective/kl_k2", "objective/kl_k3"};
    for (size_t i = 0; i < 3; i++)
        assert_true(json_number_value(json_object_get(first, zero[i])) == 0);
    assert_true(json_number_value(json_object_get(second, "objective/kl_k2")) > 0); /* it did learn */
    assert_true(json_number_value(json_object_get(second, "objective/kl_coef")) !=
                json_number_value(json_object_get(first, "objective/kl_coef")));
    json_decref(first);
    json_decref(second);
    free(text);
}

static void test_killed_and_resumed(void **state)
{
    (void)state;
    for (size_t line = 1; line < 5; line++) {
        drop("out");
        run_and_kill_at_line(PPO "out", "out/metrics.jsonl", line);
        run_ok(PPO "out --resume%s", line % 2 ? " --threads 2" : "");
        expect_same_as_straight("out");
    }
}

static void test_killed_at_calls(void **state)
{
    (void)state;
    for (size_t n = 9; n < 60; n += 17) {
        drop("out");
        if (run_and_kill_at_call(PPO "out", n) < 0)
            skip();
        run_ok(PPO "out --resume");
        expect_same_as_straight("out");
    }
}

static void test_arrangements(void **state)
{
    static const char *const flags[] = {"--threads 2", "--micro-batch-tokens 16", "--slots 3", "--slots 1 --micro-batch-tokens 64",
                                        "--recompute --micro-batch-tokens 64"};
    (void)state;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        run_ok(PPO "out --overwrite %s", flags[i]);
        expect_same_as_straight("out");
    }
}

/* The value head on the policy's own trunk, with and without activations computed again. */
static void test_shared_trunk_recomputed(void **state)
{
    (void)state;
    run_ok(PPO "out --overwrite --share-value-trunk --iterations 2");
    run_ok(PPO "again --overwrite --share-value-trunk --iterations 2 --recompute");
    expect_same_file("out", "again", "metrics.jsonl");
    expect_same_file("out/adapter", "again/adapter", "adapter_model.safetensors");
}

static void test_variants(void **state)
{
    (void)state;
    run_ok(PPO "out --overwrite --share-value-trunk --iterations 2 --whiten-rewards");
    run_ok(PPO "out --overwrite --full --learning-rate 1e-4 --iterations 2");
    run_ok(PPO "out --overwrite --reward rm --iterations 2 --temperature 0.7");
    run_ok(PPO "out --overwrite --stop-kl 1e-9");
    char *text = text_read("out/metrics.jsonl", NULL);
    size_t lines = 0;
    for (char *at = text; (at = strchr(at, '\n')); at++)
        lines++;
    assert_true(lines < 5); /* it stopped */
    free(text);
}

/* The score of the first answer of row i. */
static double first_score(const json_t *rows, size_t i)
{
    return json_number_value(json_array_get(json_object_get(json_array_get(rows, i), "score"), 0));
}

static json_t *scored(const char *reward)
{
    struct ended e = run("$HONE score --model golden/models/llama --tokenizer tokenizer --reward %s --data pairs.jsonl --quiet", reward);
    json_t *rows = json_lines(e.out);
    assert_int_equal(json_array_size(rows), 20);
    ended_release(&e);
    return rows;
}

/* The critic is left as a reward model's folder: it gives values, and goes where reward models go. */
static void test_critic(void **state)
{
    (void)state;
    run_ok("$HONE export --model straight/critic --output values --quiet >export.json && grep -q largest_score_difference export.json");
    json_t *values = scored("straight/critic"), *exported = scored("values"), *scores = scored("rm");
    for (size_t i = 0; i < 20; i++) {
        double value = first_score(values, i);
        expect_near(first_score(exported, i), value, 1e-4, "value", i);
        assert_true(fabs(first_score(scores, i) - value) > 1e-4); /* it began as the reward model, and learned */
    }
    json_decref(values);
    json_decref(exported);
    json_decref(scores);
    run_ok(PPO "out --overwrite --iterations 1 --share-value-trunk");
    json_decref(scored("out/critic"));
}

/* While the critic warms up the policy stays as it was, with its own trunk and with a shared one; then it learns. */
static void test_critic_warmup(void **state)
{
    static const char *const trunks[] = {"", "--share-value-trunk", "--weight-decay 0.1"};
    (void)state;
    for (size_t i = 0; i < sizeof trunks / sizeof *trunks; i++) {
        run_ok(PPO "out --overwrite --iterations 2 --critic-warmup 5 %s", trunks[i]);
        run_ok(PPO "again --overwrite --iterations 1 --critic-warmup 5 --seed 42 %s", trunks[i]);
        run_ok(PPO "learned --overwrite --iterations 3 --critic-warmup 2 %s", trunks[i]);
        expect_same_file("out/adapter", "again/adapter", "adapter_model.safetensors");
        char *still = text_read("out/adapter/adapter_model.safetensors", NULL);
        size_t n;
        char *moved = text_read("learned/adapter/adapter_model.safetensors", &n);
        assert_memory_not_equal(still, moved, n);
        free(still);
        free(moved);
        json_t *lines = metrics_of("out");
        assert_true(metric(lines, 1, "objective/kl") == 0 && metric(lines, 1, "loss/value_avg") != metric(lines, 0, "loss/value_avg"));
        json_decref(lines);
    }
    drop("killed");
    run_and_kill_at_line(PPO "killed --critic-warmup 2 --ema-decay 0.8", "killed/metrics.jsonl", 3);
    run_ok(PPO "killed --critic-warmup 2 --ema-decay 0.8 --resume");
    run_ok(PPO "out --overwrite --critic-warmup 2 --ema-decay 0.8");
    expect_same_file("out", "killed", "metrics.jsonl");
    expect_same_file("out/adapter", "killed/adapter", "adapter_model.safetensors");
    expect_same_file("out/ema", "killed/ema", "adapter_model.safetensors");
}

/* Demonstrations mixed in: their likelihood rises, with micro-batches and kills that leave no trace. */
static void test_ptx(void **state)
{
    (void)state;
#define PTX PPO "%s --overwrite --iterations 6 --ptx-data demonstrations.jsonl --ptx-batch-size 3 "
    FILE *f = fopen("demonstrations.jsonl", "w");
    for (int i = 0; i < 8; i++)
        fprintf(f, "{\"prompt\": \"the lamp %d\", \"completion\": \"it was lit before the rain\"}\n", i);
    fclose(f);
    run_ok(PTX "--ptx-coef 1", "ptx");
    run_ok(PTX "--ptx-coef 0", "none");
    run_ok(PPO "plain --overwrite --iterations 6");
    json_t *ptx = metrics_of("ptx"), *none = metrics_of("none");
    assert_true(metric(ptx, 5, "loss/ptx_avg") < 0.8 * metric(ptx, 0, "loss/ptx_avg"));
    assert_true(metric(none, 5, "loss/ptx_avg") > metric(ptx, 5, "loss/ptx_avg"));
    expect_same_file("none/adapter", "plain/adapter", "adapter_model.safetensors"); /* a weight of 0 teaches nothing */
    json_decref(ptx);
    json_decref(none);
    run_ok(PTX "--ptx-coef 1 --micro-batch-tokens 24 --threads 2", "again");
    expect_same_file("ptx/adapter", "again/adapter", "adapter_model.safetensors");
    drop("again");
    run_and_kill_at_line(PPO "again --iterations 6 --ptx-data demonstrations.jsonl --ptx-batch-size 3 --ptx-coef 1", "again/metrics.jsonl", 3);
    run_ok(PPO "again --iterations 6 --ptx-data demonstrations.jsonl --ptx-batch-size 3 --ptx-coef 1 --resume");
    expect_same_file("ptx", "again", "metrics.jsonl");
    expect_same_file("ptx/adapter", "again/adapter", "adapter_model.safetensors");
    struct ended e = run(PPO "bad --ptx-data nowhere.jsonl");
    assert_true(e.code == 1 && strstr(e.err, "nowhere.jsonl") && !is_there("bad"));
    ended_release(&e);
}

/* The moving average of one iteration with a decay of 0.75: B, which starts at 0, is a quarter of the policy's. */
static void test_ema(void **state)
{
    (void)state;
    struct tensor_file ema, policy;
    struct err err;
    run_ok(PPO "out --overwrite --iterations 1 --ema-decay 0.75");
    run_ok(PPO "again --overwrite --iterations 1");
    expect_same_file("again/adapter", "out/adapter", "adapter_model.safetensors"); /* it only looks on */
    assert_int_equal(safetensors_open(&ema, "out/ema/adapter_model.safetensors", &err), 0);
    assert_int_equal(safetensors_open(&policy, "out/adapter/adapter_model.safetensors", &err), 0);
    assert_true(ema.n == policy.n && ema.n > 0);
    size_t moved = 0;
    for (size_t i = 0; i < ema.n; i++) {
        const float *x = ema.tensors[i].data, *y = policy.tensors[i].data;
        for (size_t j = 0; strstr(ema.tensors[i].name, "lora_B") && j < tensor_elements(&ema.tensors[i]); j++) {
            expect_near((double)x[j], 0.25 * (double)y[j], 1e-9, ema.tensors[i].name, j);
            moved += y[j] != 0;
        }
    }
    assert_true(moved > 0);
    tensor_file_release(&ema);
    tensor_file_release(&policy);
    struct ended e = run(PPO "full --full --ema-decay 0.9");
    assert_true(e.code == 1 && strstr(e.err, "--ema-decay is for adapters"));
    ended_release(&e);
    e = run(PPO "full --dual-clip 1.1");
    assert_true(e.code == 2 && strstr(e.err, "'dual_clip' is 1.1"));
    ended_release(&e);
    run_ok(PPO "out --overwrite --iterations 2 --dual-clip 3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_iteration), cmocka_unit_test(test_killed_and_resumed), cmocka_unit_test(test_killed_at_calls),
        cmocka_unit_test(test_arrangements),    cmocka_unit_test(test_shared_trunk_recomputed), cmocka_unit_test(test_variants),
        cmocka_unit_test(test_critic),          cmocka_unit_test(test_critic_warmup),   cmocka_unit_test(test_ema),
        cmocka_unit_test(test_ptx),
    };
    return cmocka_run_group_tests(tests, enter, sandbox_leave);
}
