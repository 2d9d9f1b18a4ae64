/* Same seed, same bits (law 2), through the command line: a run that is killed and resumed, or run with other threads,
 * micro-batches or accumulation, leaves the bytes of a straight run. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "support/program.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/rng.h"

static const struct method_case {
    const char *name, *command, *data, *flags;
    const char *result, *weights; /* what is written at the end */
} cases[] = {
    {"sft", "sft", "ids", "", "adapter", "adapter_model.safetensors"},
    {"sft --full", "sft", "ids", "--full", "model", "model.safetensors"},
    {"reward", "reward", "judgements", "", "adapter", "adapter_model.safetensors"},
    {"reward --full", "reward", "judgements", "--full", "model", "model.safetensors"},
    {"reward on rankings", "reward", "rankings", "--layers-from 1", "adapter", "adapter_model.safetensors"},
    {"reward on ratings", "reward", "ratings", "", "adapter", "adapter_model.safetensors"},
    {"reward with Davidson's ties", "reward", "judgements", "--ties davidson --join-prompts --bootstrap", "adapter",
     "adapter_model.safetensors"},
    {"reward with annotators", "reward", "judgements", "--learn-annotators", "adapter", "adapter_model.safetensors"},
    {"dpo", "dpo", "judgements", "", "adapter", "adapter_model.safetensors"},
    {"dpo --full", "dpo", "judgements", "--full", "model", "model.safetensors"},
    {"dpo, the whole step", "dpo", "judgements", "--loss-type aot,aot_unpaired,sft --loss-weights 1,0.5,0.1 --ld-alpha 0.5", "adapter",
     "adapter_model.safetensors"},
    {"dpo, a reference that follows", "dpo", "judgements", "--sync-ref-model --ref-model-sync-steps 3", "adapter",
     "adapter_model.safetensors"},
    {"dpo --full, a reference that follows", "dpo", "judgements", "--full --sync-ref-model --ref-model-sync-steps 3", "model",
     "model.safetensors"},
    {"kto", "kto", "thumbs", "", "adapter", "adapter_model.safetensors"},
    {"kto --full on pairs", "kto", "judgements", "--full", "model", "model.safetensors"},
    {"orpo", "orpo", "judgements", "", "adapter", "adapter_model.safetensors"},
    {"cpo", "cpo", "judgements", "--loss-type simpo --beta 2", "adapter", "adapter_model.safetensors"},
};
enum { N_CASES = sizeof cases / sizeof *cases };

#define STEPS 12
#define BASE                                                                                       \
    "--model golden/models/llama --tokenizer tokenizer --lora-r 4 --learning-rate 1e-2 --weight-decay 0.1 "              \
    "--warmup-steps 2 --max-length 128 --quiet"

/* ---- data ---- */

static uint32_t number(uint32_t row, uint32_t what, uint32_t below)
{
    return rng_below(below, 7, RNG_TEST, row, what, 0, 0);
}

static void write_ids(const char *path, uint32_t first, uint32_t n)
{
    FILE *f = fopen(path, "w");
    for (uint32_t i = first; i < first + n; i++) {
        uint32_t length = 6 + number(i, 0, 40);
        fprintf(f, "{\"input_ids\": [");
        for (uint32_t j = 0; j < length; j++)
            fprintf(f, "%s%u", j ? ", " : "", 3 + number(i, 10 + j, 500));
        fprintf(f, "], \"prompt_length\": %u}\n", 1 + number(i, 1, length - 2));
    }
    fclose(f);
}

static void write_words(FILE *f, uint32_t row, uint32_t what)
{
    static const char *const words[] = {"the", "lamp", "hall", "was", "lit", "before", "rain", "began", "window", "open"};
    uint32_t n = 1 + number(row, what, 9);
    for (uint32_t i = 0; i < n; i++)
        fprintf(f, "%s%s", i ? " " : "", words[number(row, what + 1 + i, 10)]);
}

/* Wins of either side and ties, so that a reward model learns the threshold of ties as well. */
static void write_judgements(const char *path, uint32_t first, uint32_t n)
{
    static const char *const labels[] = {"a", "b", "tie", "a"};
    FILE *f = fopen(path, "w");
    for (uint32_t i = first; i < first + n; i++) {
        fprintf(f, "{\"prompt\": \"");
        write_words(f, i, 100);
        fprintf(f, "\", \"a\": \"");
        write_words(f, i, 200);
        fprintf(f, "\", \"b\": \"");
        write_words(f, i, 300);
        fprintf(f, "\", \"label\": \"%s\", \"weight\": %u, \"annotator\": %u}\n", labels[i % 4], 1 + i % 3, number(i, 4, 4));
    }
    fclose(f);
}

static void write_thumbs(const char *path, uint32_t first, uint32_t n)
{
    FILE *f = fopen(path, "w");
    for (uint32_t i = first; i < first + n; i++) {
        fprintf(f, "{\"prompt\": \"");
        write_words(f, i, 100);
        fprintf(f, "\", \"completion\": \"");
        write_words(f, i, 200);
        fprintf(f, "\", \"label\": %s}\n", number(i, 400, 3) ? "true" : "false");
    }
    fclose(f);
}

static void write_rankings(const char *path, uint32_t first, uint32_t n)
{
    FILE *f = fopen(path, "w");
    for (uint32_t i = first; i < first + n; i++) {
        fprintf(f, "{\"prompt\": \"");
        write_words(f, i, 100);
        for (uint32_t k = 0; k < 2 + i % 3; k++) {
            fprintf(f, "%s", k ? "\", \"" : "\", \"completions\": [\"");
            write_words(f, i, 200 + 20 * k);
        }
        fprintf(f, "\"], \"ranks\": [1, 3%s]}\n", i % 3 == 0 ? "" : i % 3 == 1 ? ", 2" : ", 3, 2");
    }
    fclose(f);
}

static void write_ratings(const char *path, uint32_t first, uint32_t n)
{
    FILE *f = fopen(path, "w");
    for (uint32_t i = first; i < first + n; i++) {
        fprintf(f, "{\"prompt\": \"");
        write_words(f, i / 3, 100);
        fprintf(f, "\", \"completion\": \"");
        write_words(f, i, 200);
        fprintf(f, "\", \"rating\": %u}\n", 1 + i % 4);
    }
    fclose(f);
}

static int enter(void **state)
{
    if (sandbox_enter(state))
        return -1;
    write_tokenizer("tokenizer");
    write_ids("ids.jsonl", 0, 30);
    write_ids("ids-eval.jsonl", 30, 5);
    write_judgements("judgements.jsonl", 0, 40);
    write_judgements("judgements-eval.jsonl", 40, 8);
    write_thumbs("thumbs.jsonl", 0, 37); /* the last step of an epoch is one row */
    write_thumbs("thumbs-eval.jsonl", 40, 5);
    write_rankings("rankings.jsonl", 0, 40);
    write_rankings("rankings-eval.jsonl", 40, 8);
    write_ratings("ratings.jsonl", 0, 60);
    write_ratings("ratings-eval.jsonl", 60, 12);
    return 0;
}

/* ---- runs ---- */

static char *line_of(const struct method_case *c, const char *dir, const char *flags)
{
    return xasprintf("$HONE %s " BASE " --train-data %s.jsonl --output-dir %s %s %s", c->command, c->data, dir, c->flags, flags);
}

static char *long_line(const struct method_case *c, const char *dir, const char *flags)
{
    char *steps = xasprintf("--max-steps %d --save-steps 5 --per-device-train-batch-size 4 --eval-data %s-eval.jsonl "
                            "--eval-steps 4 %s", STEPS, c->data, flags);
    char *line = line_of(c, dir, steps);
    free(steps);
    return line;
}

/* The run to compare with, in "straight"; it stays there for the case's other tests. */
static void straight_run(const struct method_case *c)
{
    static const struct method_case *there;
    if (there == c)
        return;
    char *line = long_line(c, "straight", "--overwrite");
    run_ok("%s", line);
    free(line);
    there = c;
}

/* The part of the manifest that says what came out: the result's hash and those of all checkpoints. */
static char *hashes(const char *dir)
{
    char *path = path_join(dir, "manifest.json");
    json_t *manifest = golden_json(path);
    json_t *both = json_pack("{s:O, s:O}", "result", json_object_get(manifest, "result"), "saves",
                             json_object_get(manifest, "saves"));
    assert_non_null(both);
    char *text = json_dumps(both, JSON_SORT_KEYS);
    json_decref(both);
    json_decref(manifest);
    free(path);
    return text;
}

static void expect_same_result(const struct method_case *c, const char *a, const char *b)
{
    char *x = path_join(a, c->result), *y = path_join(b, c->result);
    expect_same_file(a, b, "metrics.jsonl");
    expect_same_file(x, y, c->weights);
    free(x);
    free(y);
}

/* All that two runs of the same settings must share, and no temporary files left. */
static void expect_same_run(const struct method_case *c, const char *a, const char *b)
{
    expect_same_result(c, a, b);
    char *x = hashes(a), *y = hashes(b);
    assert_string_equal(x, y);
    free(x);
    free(y);
    static const char *const folders[] = {"checkpoints", NULL};
    for (size_t i = 0; i < 2; i++) {
        char *p = path_join(a, i ? c->result : folders[i]), *q = path_join(b, i ? c->result : folders[i]);
        char *s = folder_listing(p), *t = folder_listing(q), *own = t;
        for (char *at = s; *at && *own; at = strchr(at, '\n') + 1, own = strchr(own, '\n') + 1) {
            at += strlen(p);
            own += strlen(q);
            size_t n = strcspn(at, "\n");
            if (n != strcspn(own, "\n") || memcmp(at, own, n))
                fail_msg("'%s' and '%s' differ:\n%s\n%s", p, q, s, t);
        }
        if (*own)
            fail_msg("'%s' holds more than '%s':\n%s", q, p, own);
        free(s);
        free(t);
        free(p);
        free(q);
    }
    char *all = folder_listing(b);
    if (strstr(all, ".tmp-") || strstr(all, ".old-"))
        fail_msg("temporary files are left:\n%s", all);
    free(all);
}

/* ---- kill and resume ---- */

static void resume(const struct method_case *c, const char *flags)
{
    char *line = long_line(c, "out", "--resume");
    run_ok("%s %s", line, flags);
    free(line);
}

static void test_killed_at_a_line(void **state)
{
    static const size_t lines[] = {1, 4, 6, 11}; /* before the first checkpoint, and after */
    const struct method_case *c = *state;
    size_t killed = 0;
    straight_run(c);
    char *line = long_line(c, "out", "");
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        drop("out");
        killed += run_and_kill_at_line(line, "out/metrics.jsonl", lines[i]);
        resume(c, i % 2 ? "--threads 2" : "");
        expect_same_run(c, "straight", "out");
    }
    free(line);
    if (killed == 0) /* a machine may be too slow to see the one or the other moment */
        fail_msg("no run was killed");
}

/* At every moment that matters to files: before each change, of all kinds of runs together. */
static void test_killed_at_a_call(void **state)
{
    const struct method_case *c = *state;
    size_t stride = 31, first = 1 + 5 * (size_t)(c - cases), killed = 0;
    straight_run(c);
    char *line = long_line(c, "out", "");
    for (size_t n = first;; n += stride) {
        drop("out");
        int rc = run_and_kill_at_call(line, n);
        if (rc < 0) {
            printf("skipped: programs cannot be traced here\n");
            skip();
        }
        if (rc == 0)
            break;
        killed++;
        resume(c, "");
        expect_same_run(c, "straight", "out");
    }
    free(line);
    assert_true(killed >= 4);
}

/* The same run killed again and again, in the resumed part too. */
static void test_killed_often(void **state)
{
    const struct method_case *c = *state;
    straight_run(c);
    drop("out");
    char *line = long_line(c, "out", "--resume");
    for (size_t n = 11; n < 60; n += 13)
        if (run_and_kill_at_call(line, n) < 0)
            skip();
    resume(c, "");
    expect_same_run(c, "straight", "out");
    free(line);
}

/* ---- arrangements that must not matter ---- */

static void test_arrangements(void **state)
{
    static const char *const flags[] = {
        "--per-device-train-batch-size 8 --threads 1 --micro-batch-tokens 512",
        "--per-device-train-batch-size 8 --threads 2 --micro-batch-tokens 512",
        "--per-device-train-batch-size 8 --threads 2 --micro-batch-tokens 16",
        "--per-device-train-batch-size 8 --threads 2 --micro-batch-tokens 64 --recompute",
        "--per-device-train-batch-size 1 --gradient-accumulation-steps 8 --threads 1 --micro-batch-tokens 512",
        "--per-device-train-batch-size 2 --gradient-accumulation-steps 4 --threads 2 --micro-batch-tokens 100",
    };
    const struct method_case *c = *state;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        char *line = line_of(c, i ? "other" : "first", flags[i]);
        run_ok("%s --max-steps 6 --overwrite", line);
        free(line);
        if (i)
            expect_same_result(c, "first", "other");
    }
}

/* What two seeds, or shuffled and unshuffled rows, give is not the same: else the comparisons above would say nothing. */
static void test_seeds_matter(void **state)
{
    const struct method_case *c = *state;
    static const char *const flags[] = {"--seed 1", "--seed 2", "--seed 1 --no-shuffle"};
    char *texts[3];
    for (size_t i = 0; i < 3; i++) {
        char *line = line_of(c, "out", flags[i]);
        run_ok("%s --max-steps 3 --overwrite", line);
        texts[i] = text_read("out/metrics.jsonl", NULL);
        free(line);
    }
    assert_string_not_equal(texts[0], texts[1]);
    assert_string_not_equal(texts[0], texts[2]);
    for (size_t i = 0; i < 3; i++)
        free(texts[i]);
}

/* ---- folders that hold a run ---- */

static void expect_refusal(const char *line, const char *what)
{
    char *before = folder_listing("out");
    struct ended e = run("%s", line);
    char *after = folder_listing("out");
    assert_int_equal(e.code, 1);
    if (strncmp(e.err, "hone: sft: ", 11) || !strstr(e.err, what) || strchr(e.err, '\n') != e.err + strlen(e.err) - 1)
        fail_msg("not one line with '%s': %s", what, e.err);
    assert_string_equal(before, after);
    free(before);
    free(after);
    ended_release(&e);
}

static void test_folder_with_a_run(void **state)
{
    (void)state;
    const struct method_case *c = &cases[0];
    straight_run(c);
    drop("out");
    char *line = long_line(c, "out", "");
    run_ok("%s", line);
    text_write("out/notes.txt", "mine\n");
    expect_refusal(line, "--resume");
    free(line);

    /* a run of other settings in its place: nothing of the old one stays, and only that goes */
    line = long_line(c, "out", "--seed 9 --save-steps 3 --overwrite");
    run_ok("%s", line);
    assert_false(is_there("out/checkpoints/step-10"));
    free(line);
    line = long_line(c, "out", "--overwrite");
    run_ok("%s", line);
    expect_same_run(c, "straight", "out");
    char *notes = text_read("out/notes.txt", NULL);
    assert_string_equal(notes, "mine\n");
    free(notes);
    free(line);
}

/* Killed while the old run is removed or the new one begins: resuming gives the new run, not the old one. */
static void test_overwriting_is_killed(void **state)
{
    (void)state;
    const struct method_case *c = &cases[0];
    straight_run(c);
    char *old = long_line(c, "out", "--seed 9 --overwrite"), *line = long_line(c, "out", "--overwrite");
    for (size_t n = 1; n < 20; n += 2) {
        run_ok("%s", old);
        if (run_and_kill_at_call(line, n) < 0)
            skip();
        if (is_there("out/checkpoints/latest") && is_there("out/manifest.json"))
            continue; /* nothing was removed yet */
        resume(c, "");
        expect_same_run(c, "straight", "out");
    }
    free(old);
    free(line);
}

static void test_two_at_a_time(void **state)
{
    (void)state;
    char *fresh = line_of(&cases[0], "out", "--max-steps 3 --overwrite"),
         *line = line_of(&cases[0], "out", "--max-steps 3 --resume");
    run_ok("%s", fresh);
    int other = open("out/metrics.jsonl", O_RDONLY);
    assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
    expect_refusal(fresh, "another program");
    expect_refusal(line, "another program");
    close(other);
    run_ok("%s", line);
    free(fresh);
    free(line);
}

static void test_result_without_a_run(void **state)
{
    (void)state;
    struct err err;
    drop("out");
    if (dir_make("out/adapter", &err))
        fail_msg("%s", err.text);
    text_write("out/adapter/adapter_config.json", "{}\n");
    char *line = line_of(&cases[0], "out", "--max-steps 1");
    expect_refusal(line, "out");
    free(line);
}

static void test_resume_of_a_finished_run(void **state)
{
    const struct method_case *c = *state;
    straight_run(c);
    char *before = folder_listing("straight"), *line = long_line(c, "straight", "--resume");
    run_ok("%s", line);
    char *after = folder_listing("straight");
    assert_string_equal(before, after);
    free(before);
    free(after);
    free(line);
}

static void test_resume_that_cannot_go_on(void **state)
{
    (void)state;
    const struct method_case *c = &cases[0];
    drop("out");
    char *line = long_line(c, "out", ""), *other = long_line(c, "out", "--resume --lora-r 8"),
         *again = long_line(c, "out", "--resume");
    run_ok("%s", line);
    expect_refusal(other, "other settings");
    size_t n;
    char *state_file = text_read("out/checkpoints/step-12/state.safetensors", &n);
    state_file[n / 2] ^= 1;
    bytes_write("out/checkpoints/step-12/state.safetensors", state_file, n);
    expect_refusal(again, "step-12/state.safetensors");
    bytes_write("out/checkpoints/step-12/state.json", "{", 1);
    expect_refusal(again, "step-12");
    free(state_file);
    free(line);
    free(other);
    free(again);
}

int main(void)
{
    static const struct {
        const char *name;
        CMUnitTestFunction function;
    } each[] = {
        {"killed at a line", test_killed_at_a_line},
        {"killed at a call", test_killed_at_a_call},
        {"killed often", test_killed_often},
        {"resume of a finished run", test_resume_of_a_finished_run},
        {"arrangements", test_arrangements},
        {"seeds matter", test_seeds_matter},
    };
    static const struct CMUnitTest folders[] = {
        cmocka_unit_test(test_folder_with_a_run),       cmocka_unit_test(test_overwriting_is_killed),
        cmocka_unit_test(test_two_at_a_time),           cmocka_unit_test(test_result_without_a_run),
        cmocka_unit_test(test_resume_that_cannot_go_on),
    };
    enum { N_EACH = sizeof each / sizeof *each, N_FOLDERS = sizeof folders / sizeof *folders };
    struct CMUnitTest tests[N_FOLDERS + N_CASES * N_EACH];
    size_t n = N_FOLDERS;
    memcpy(tests, folders, sizeof folders);
    for (size_t i = 0; i < N_CASES; i++)
        for (size_t k = 0; k < N_EACH; k++)
            tests[n++] = (struct CMUnitTest){.name = xasprintf("%s: %s", cases[i].name, each[k].name),
                                             .test_func = each[k].function,
                                             .initial_state = (void *)(uintptr_t)&cases[i]};
    int failed = cmocka_run_group_tests(tests, enter, sandbox_leave);
    for (size_t i = N_FOLDERS; i < n; i++)
        free((char *)(uintptr_t)tests[i].name);
    return failed;
}
