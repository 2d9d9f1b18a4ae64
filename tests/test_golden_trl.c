/* The training commands against TRL's trainers, end to end: text in; losses, metrics and the parameters' change out. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"
#include "support/program.h"
#include "util/file.h"
#include "util/mem.h"

#define TRL "shared/golden/trl"
#define MORE "golden/trl_pairwise.json" /* made by tests/golden/make/trl_pairwise.py from the same model and pairs */

/* What all of TRL's runs were made with; the results' own settings come behind, where the last flag counts. */
#define COMMON                                                                                     \
    "--full --max-steps 3 --per-device-train-batch-size 4 --learning-rate 1e-3 --lr-scheduler-type linear "               \
    "--max-length 256 --no-shuffle --quiet"
#define TWENTY                                                                                     \
    "--max-steps 20 --per-device-train-batch-size 2 --gradient-accumulation-steps 2 --learning-rate 1e-2 "                \
    "--lr-scheduler-type cosine --warmup-steps 5 --weight-decay 0.1 --max-grad-norm 0.1"

static const struct golden_run {
    const char *name; /* in expected.json */
    const char *command, *data, *model, *flags;
    size_t steps;
    const char *expected; /* the file with what TRL has; NULL: the shared one */
} golden_runs[] = {
    {"sft_completion_only", "sft", "completions.jsonl", "model", "", 3},
    {"sft_20_steps", "sft", "completions-4.jsonl", "model", TWENTY, 20},
    {"sft_all_tokens", "sft", "conversations.jsonl", "model", "", 3},
    {"reward", "reward", "pairs.jsonl", "reward-model", "--tokenizer " TRL "/model --no-normalize-scores", 3},
    {"reward_centered", "reward", "pairs.jsonl", "reward-model",
     "--tokenizer " TRL "/model --no-normalize-scores --center-rewards-coefficient 0.01", 3},
    {"dpo_sigmoid", "dpo", "pairs.jsonl", "model", "", 3},
    {"dpo_ipo", "dpo", "pairs.jsonl", "model", "--loss-type ipo", 3},
    {"dpo_hinge", "dpo", "pairs.jsonl", "model", "--loss-type hinge", 3},
    {"dpo_exo_pair", "dpo", "pairs.jsonl", "model", "--loss-type exo_pair --label-smoothing 0.1", 3},
    {"dpo_nca_pair", "dpo", "pairs.jsonl", "model", "--loss-type nca_pair", 3},
    {"dpo_robust", "dpo", "pairs.jsonl", "model", "--loss-type robust --label-smoothing 0.1", 3},
    {"dpo_bco_pair", "dpo", "pairs.jsonl", "model", "--loss-type bco_pair", 3},
    {"dpo_sppo_hard", "dpo", "pairs.jsonl", "model", "--loss-type sppo_hard", 3},
    {"dpo_aot", "dpo", "pairs.jsonl", "model", "--loss-type aot", 3},
    {"dpo_aot_unpaired", "dpo", "pairs.jsonl", "model", "--loss-type aot_unpaired --micro-batch-tokens 64", 3},
    {"dpo_apo_zero", "dpo", "pairs.jsonl", "model", "--loss-type apo_zero", 3},
    {"dpo_apo_down", "dpo", "pairs.jsonl", "model", "--loss-type apo_down", 3},
    {"dpo_discopop", "dpo", "pairs.jsonl", "model", "--loss-type discopop", 3},
    {"dpo_sigmoid_norm", "dpo", "pairs.jsonl", "model", "--loss-type sigmoid_norm", 3},
    {"dpo_sft", "dpo", "pairs.jsonl", "model", "--loss-type sft", 3},
    {"dpo_mpo", "dpo", "pairs.jsonl", "model", "--loss-type sigmoid,bco_pair,sft --loss-weights 0.8,0.2,1", 3},
    {"kto", "kto", "thumbs.jsonl", "model", "", 3},
    {"orpo", "orpo", "pairs.jsonl", "model", "", 3},
    {"cpo_sigmoid", "cpo", "pairs.jsonl", "model", "", 3},
    {"cpo_simpo", "cpo", "pairs.jsonl", "model", "--loss-type simpo --cpo-alpha 0", 3},
    {"cpo_hinge", "cpo", "pairs.jsonl", "model", "--loss-type hinge", 3},
    {"cpo_ipo", "cpo", "pairs.jsonl", "model", "--loss-type ipo", 3},
    {"dpo_forward_kl", "dpo", "pairs.jsonl", "model", "--f-divergence-type forward_kl", 3, MORE},
    {"dpo_js_divergence", "dpo", "pairs.jsonl", "model", "--loss-type ipo --f-divergence-type js_divergence", 3, MORE},
    {"dpo_alpha_divergence", "dpo", "pairs.jsonl", "model", "--loss-type hinge --f-divergence-type alpha_divergence", 3, MORE},
    {"dpo_ld_alpha", "dpo", "pairs.jsonl", "model", "--loss-type sigmoid,sft --ld-alpha 0.3", 3, MORE},
    {"dpo_sync_ref_model", "dpo", "pairs.jsonl", "model", "--sync-ref-model --ref-model-sync-steps 1", 3, MORE},
    {"kto_weights", "kto", "thumbs.jsonl", "model", "--desirable-weight 1.3 --undesirable-weight 0.7", 3, MORE},
    {"kto_apo_zero_unpaired", "kto", "thumbs.jsonl", "model", "--loss-type apo_zero_unpaired", 3, MORE},
    {"cpo_alphapo", "cpo", "pairs.jsonl", "model", "--loss-type alphapo --alpha 0.25", 3, MORE},
    {"cpo_smoothed", "cpo", "pairs.jsonl", "model", "--loss-type simpo --cpo-alpha 0.5 --label-smoothing 0.1", 3, MORE},
};

/* How near a number must be (shared/golden/README.md).  Where gradients are accumulated TRL logs the mean of the
 * micro-batches' means, for which a step's tokens must not all count the same; here they do (a step knows nothing of its
 * micro-batches), so these two numbers are near only. */
static double tolerance(const struct golden_run *r, const char *key, double want)
{
    bool accumulates = strstr(r->flags, "accumulation") != NULL;
    if (accumulates && !strcmp(key, "entropy"))
        return 2e-3 * want;
    if (accumulates && !strcmp(key, "mean_token_accuracy"))
        return 0.035;
    if (!strcmp(key, "grad_norm"))
        return 1e-3 * fabs(want);
    if (!strncmp(key, "logits/", 7)) /* 2e-4 there, but this model's are as small as that */
        return 1e-6;
    if (!strncmp(key, "rewards/", 8))
        return 2e-4;
    if (strstr(key, "_reward") || !strcmp(key, "margin")) /* a reward model's: scores and their difference */
        return 2e-4;
    if (!strcmp(key, "num_tokens") || !strcmp(key, "accuracy"))
        return 0;
    return 1e-4 * fabs(want); /* loss, logps/, entropy, learning_rate, mean_token_accuracy */
}

/* ---- the rows of pairs.json in the forms the commands take ---- */

static void write_rows(const json_t *pairs)
{
    FILE *completions = fopen("completions.jsonl", "w"), *four = fopen("completions-4.jsonl", "w");
    FILE *thumbs = fopen("thumbs.jsonl", "w"); /* the chosen one of even rows, the rejected one of odd ones */
    FILE *conversations = fopen("conversations.jsonl", "w"), *plain = fopen("pairs.jsonl", "w");
    size_t n = json_array_size(pairs);
    for (size_t i = 0; i < 4 * n; i++) {
        json_t *row = json_array_get(pairs, i % n), *prompt = json_object_get(row, "prompt"),
               *chosen = json_object_get(row, "chosen");
        json_t *completion = json_pack("{s:O, s:O}", "prompt", prompt, "completion", chosen);
        json_t *messages = json_deep_copy(prompt), *conversation = json_pack("{s:o}", "messages", messages);
        json_array_extend(messages, chosen);
        json_dumpf(completion, four, 0);
        fputc('\n', four);
        if (i < n) {
            json_dumpf(completion, completions, 0);
            fputc('\n', completions);
            json_dumpf(conversation, conversations, 0);
            fputc('\n', conversations);
            json_dumpf(row, plain, 0);
            fputc('\n', plain);
            json_t *thumb = json_pack("{s:O, s:O, s:b}", "prompt", prompt, "completion",
                                      i % 2 ? json_object_get(row, "rejected") : chosen, "label", i % 2 == 0);
            json_dumpf(thumb, thumbs, 0);
            fputc('\n', thumbs);
            json_decref(thumb);
        }
        json_decref(completion);
        json_decref(conversation);
    }
    fclose(completions);
    fclose(four);
    fclose(conversations);
    fclose(plain);
    fclose(thumbs);
}

/* ---- comparing ---- */

/* TRL's mean logits of CPO and ORPO run over prompts and padding, too, of which there is none here. */
static bool compared(const struct golden_run *r, const char *key)
{
    return strncmp(key, "logits/", 7) || (strcmp(r->command, "cpo") && strcmp(r->command, "orpo"));
}

static size_t expect_steps(const struct golden_run *r, const json_t *want)
{
    char *path = xasprintf("%s/metrics.jsonl", r->name), *text = text_read(path, NULL), *line = text;
    size_t i, numbers = 0;
    json_t *expected;
    json_array_foreach((json_t *)(uintptr_t)want, i, expected)
    {
        char *end = strchr(line, '\n');
        json_t *got = end ? json_loadb(line, (size_t)(end - line), 0, NULL) : NULL, *v;
        const char *key;
        if (!got)
            fail_msg("%s: no line %zu", path, i + 1);
        json_object_foreach(expected, key, v)
        {
            json_t *own = json_object_get(got, key);
            if (!json_is_number(own))
                fail_msg("%s line %zu has no '%s'", path, i + 1, key);
            char *what = xasprintf("%s %s", r->name, key);
            if (compared(r, key))
                expect_near(json_number_value(own), json_number_value(v), tolerance(r, key, json_number_value(v)), what,
                            i);
            free(what);
            numbers++;
        }
        json_decref(got);
        line = end + 1;
    }
    assert_int_equal(*line, 0);
    free(text);
    free(path);
    return numbers;
}

static double change_norm(const struct tensor *a, const struct tensor *b)
{
    size_t n = tensor_elements(a);
    assert_int_equal(n, tensor_elements(b));
    float *x = xmalloc(n * sizeof *x), *y = xmalloc(n * sizeof *y);
    double sum = 0;
    tensor_unpack(x, a);
    tensor_unpack(y, b);
    for (size_t i = 0; i < n; i++)
        sum += ((double)y[i] - (double)x[i]) * ((double)y[i] - (double)x[i]);
    free(x);
    free(y);
    return sqrt(sum);
}

static void expect_changes(const char *name, const char *model, json_t *want)
{
    struct tensor_file before, after;
    struct err err;
    char *from = xasprintf(TRL "/%s/model.safetensors", model), *to = xasprintf("%s/model/model.safetensors", name);
    if (safetensors_open(&before, from, &err) || safetensors_open(&after, to, &err))
        fail_msg("%s", err.text);
    const char *key;
    json_t *v;
    json_object_foreach(want, key, v)
    {
        const struct tensor *a = tensor_need(&before, key, &err), *b = a ? tensor_need(&after, key, &err) : NULL;
        if (!b)
            fail_msg("%s", err.text);
        double norm = json_number_value(v);
        char *what = xasprintf("%s: change of %s", name, key);
        expect_near(change_norm(a, b), norm, 1e-3 * norm, what, 0);
        free(what);
    }
    assert_int_equal(json_object_size(want), before.n); /* every tensor was looked at .. */
    assert_int_equal(before.n, after.n);                /* .. and the result has no other */
    tensor_file_release(&before);
    tensor_file_release(&after);
    free(from);
    free(to);
}

static void test_run(void **state)
{
    const struct golden_run *r = *state;
    if (!sandbox_has_shared())
        skip();
    json_t *pairs = golden_json(TRL "/pairs.json"), *expected = golden_json(r->expected ? r->expected : TRL "/expected.json");
    json_t *want = json_object_get(json_object_get(expected, "results"), r->name);
    json_t *steps = json_object_get(want, "steps");
    assert_int_equal(json_array_size(steps), r->steps);
    write_rows(pairs);
    run_ok("$HONE %s --model " TRL "/%s --train-data %s --output-dir %s " COMMON " %s", r->command, r->model, r->data,
           r->name, r->flags);
    assert_true(expect_steps(r, steps) >= 6 * r->steps);
    expect_changes(r->name, r->model, json_object_get(want, "parameter_change_norms"));
    json_decref(pairs);
    json_decref(expected);
}

int main(void)
{
    enum { N = sizeof golden_runs / sizeof *golden_runs };
    struct CMUnitTest tests[N];
    for (size_t i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){.name = golden_runs[i].name,
                                       .test_func = test_run,
                                       .initial_state = (void *)(uintptr_t)&golden_runs[i]};
    return cmocka_run_group_tests(tests, sandbox_enter, sandbox_leave);
}
