/* What a reward model learns from, through the program: rankings, prompts with several comparisons, ties, strengths. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/program.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/rng.h"

#define TRAIN                                                                                      \
    "$HONE reward --model golden/models/llama --tokenizer tokenizer --lora-r 4 --quiet --learning-rate 1e-2 --max-length 128 "

enum { ROWS = 12, ANSWERS = 4 };

static const char *word(uint32_t row, uint32_t what)
{
    static const char *const words[] = {"the", "lamp", "hall", "was", "lit", "rain", "began", "window", "open", "dark"};
    return words[rng_below(10, 13, RNG_TEST, row, what, 0, 0)];
}

static void answer(FILE *f, uint32_t row, uint32_t k)
{
    fprintf(f, "\"%s %s %u\"", word(row, 10 + k), word(row, 20 + k), k);
}

/* The same preferences three ways: rankings of four, of two, and judgements; each answer k is better than k + 1. */
static int enter(void **state)
{
    if (sandbox_enter(state))
        return -1;
    write_tokenizer("tokenizer");
    FILE *rankings = fopen("rankings.jsonl", "w"), *twos = fopen("twos.jsonl", "w"), *pairs = fopen("pairs.jsonl", "w");
    FILE *all = fopen("all-pairs.jsonl", "w");
    for (uint32_t i = 0; i < ROWS; i++) {
        fprintf(rankings, "{\"prompt\": \"%s %u\", \"completions\": [", word(i, 0), i);
        for (uint32_t k = 0; k < ANSWERS; k++) {
            fputs(k ? ", " : "", rankings);
            answer(rankings, i, k);
        }
        fprintf(rankings, "], \"ranks\": [1, 2, 3, 4]}\n");
        for (uint32_t a = 0; a < ANSWERS; a++)
            for (uint32_t b = a + 1; b < ANSWERS; b++) {
                fprintf(all, "{\"prompt\": \"%s %u\", \"a\": ", word(i, 0), i);
                answer(all, i, a);
                fputs(", \"b\": ", all);
                answer(all, i, b);
                fputs(", \"label\": \"a\"}\n", all);
            }
        fprintf(twos, "{\"prompt\": \"%s %u\", \"completions\": [", word(i, 0), i);
        fprintf(pairs, "{\"prompt\": \"%s %u\", \"a\": ", word(i, 0), i);
        answer(twos, i, 0);
        answer(pairs, i, 0);
        fputs(", ", twos);
        fputs(", \"b\": ", pairs);
        answer(twos, i, 1);
        answer(pairs, i, 1);
        fprintf(twos, "], \"ranks\": [%s]}\n", i % 2 ? "2, 1" : "1, 2");
        fprintf(pairs, ", \"label\": \"%s\"}\n", i % 2 ? "b" : "a");
    }
    fclose(rankings);
    fclose(twos);
    fclose(pairs);
    fclose(all);
    return 0;
}

/* The values of a key in a run's metrics, NAN where it is not. */
static size_t column(double *out, size_t most, const char *dir, const char *key)
{
    char *path = path_join(dir, "metrics.jsonl"), *text = text_read(path, NULL);
    size_t n = 0;
    for (char *line = text, *end; n < most && (end = strchr(line, '\n')); line = end + 1) {
        json_t *o = json_loadb(line, (size_t)(end - line), 0, NULL), *v = json_object_get(o, key);
        out[n++] = json_is_number(v) ? json_number_value(v) : (double)NAN;
        json_decref(o);
    }
    free(text);
    free(path);
    return n;
}

static void expect_same_losses(const char *a, const char *b, double tolerance)
{
    double x[20], y[20];
    size_t n = column(x, 20, a, "loss");
    assert_true(n > 2);
    assert_int_equal(column(y, 20, b, "loss"), n);
    for (size_t i = 0; i < n; i++)
        expect_near(y[i], x[i], tolerance, "loss", i);
    assert_true(x[n - 1] < x[0]); /* it learns */
}

static void test_rankings_of_two_are_pairs(void **state)
{
    (void)state;
    run_ok(TRAIN "--train-data pairs.jsonl --eval-data pairs.jsonl --per-device-train-batch-size 12 --max-steps 4 --output-dir pairs");
    run_ok(TRAIN "--train-data twos.jsonl --eval-data twos.jsonl --per-device-train-batch-size 12 --max-steps 4 --ranking-loss pairs --output-dir twos");
    run_ok(TRAIN "--train-data twos.jsonl --eval-data twos.jsonl --per-device-train-batch-size 12 --max-steps 4 --center-rewards-coefficient 0.1 --output-dir luce");
    run_ok(TRAIN "--train-data pairs.jsonl --per-device-train-batch-size 12 --max-steps 4 --center-rewards-coefficient 0.1 --output-dir centred");
    expect_same_losses("pairs", "twos", 1e-6);
    expect_same_losses("centred", "luce", 1e-6);
    double a[4], b[4];
    assert_int_equal(column(a, 4, "pairs", "eval_accuracy"), 4);
    assert_int_equal(column(b, 4, "twos", "eval_accuracy"), 4);
    assert_true(a[3] == b[3] && a[3] >= 0.5);
}

/* A step over all rows: all pairs of rankings, the same pairs one by one, and joined by prompt are one loss. */
static void test_trees_of_several(void **state)
{
    (void)state;
    run_ok(TRAIN "--train-data rankings.jsonl --ranking-loss pairs --per-device-train-batch-size 72 --max-steps 5 --output-dir ranked");
    run_ok(TRAIN "--train-data all-pairs.jsonl --per-device-train-batch-size 72 --max-steps 5 --output-dir single");
    run_ok(TRAIN "--train-data all-pairs.jsonl --join-prompts --per-device-train-batch-size 72 --max-steps 5 --output-dir joined");
    expect_same_losses("single", "ranked", 2e-5);
    expect_same_losses("single", "joined", 2e-5);
    double decided[5], tokens[5], more[5];
    column(decided, 5, "joined", "decided");
    assert_true(decided[0] == ROWS * 6);
    column(tokens, 5, "joined", "num_tokens");
    column(more, 5, "single", "num_tokens");
    assert_true(tokens[0] == more[0] / 3); /* each answer once, not thrice */
}

static void test_plackett_luce_learns(void **state)
{
    (void)state;
    run_ok(TRAIN "--train-data rankings.jsonl --eval-data rankings.jsonl --max-steps 12 --output-dir order");
    double loss[12], accuracy[12];
    assert_int_equal(column(loss, 12, "order", "loss"), 12);
    column(accuracy, 12, "order", "eval_accuracy");
    expect_near(loss[0], log(24), 1e-6, "4! orders", 0);
    assert_true(loss[11] < loss[0] && accuracy[11] > 0.6);
    json_t *manifest = json_load_file("order/manifest.json", 0, NULL);
    json_t *before = json_object_get(json_object_get(manifest, "quality"), "before");
    assert_int_equal(json_integer_value(json_object_get(before, "decided")), ROWS * 6);
    json_decref(manifest);
    run_ok("$HONE score --model golden/models/llama --tokenizer tokenizer --reward order --data rankings.jsonl --quiet");
}

/* Threads and micro-batches; the trees have more than two answers. */
static void test_arrangements(void **state)
{
    (void)state;
    static const char *const data[] = {"rankings.jsonl", "all-pairs.jsonl --join-prompts"};
    static const char *const flags[] = {"--threads 2 --micro-batch-tokens 20", "--gradient-accumulation-steps 4 --per-device-train-batch-size 1"};
    for (size_t d = 0; d < 2; d++) {
        run_ok(TRAIN "--overwrite --train-data %s --per-device-train-batch-size 4 --max-steps 4 --output-dir one", data[d]);
        for (size_t i = 0; i < 2; i++) {
            run_ok(TRAIN "--overwrite --train-data %s --per-device-train-batch-size 4 --max-steps 4 --output-dir other %s", data[d], flags[i]);
            expect_same_file("one", "other", "metrics.jsonl");
            expect_same_file("one/adapter", "other/adapter", "adapter_model.safetensors");
            expect_same_file("one/adapter", "other/adapter", "hone.json");
        }
    }
}

static void test_davidson(void **state)
{
    (void)state;
    run_ok("sed 's/\"label\": \"b\"/\"label\": \"tie\"/' pairs.jsonl >ties.jsonl");
    run_ok(TRAIN "--train-data ties.jsonl --max-steps 6 --save-steps 2 --ties davidson --output-dir davidson");
    run_ok(TRAIN "--train-data ties.jsonl --max-steps 6 --output-dir rao-kupper");
    double nu[6], eta[6], loss[6];
    column(nu, 6, "davidson", "tie_ln_nu");
    column(eta, 6, "rao-kupper", "tie_eta");
    column(loss, 6, "davidson", "loss");
    expect_near(nu[0], -1, 1e-6, "ln nu at first", 0);
    /* half of the equal pairs are ties: - (log P(win) + log P(tie)) / 2 */
    expect_near(loss[0], log(2 + exp(-1.0)) + 0.5 * 1.0, 0.2, "loss", 0);
    assert_true(nu[5] > nu[0] && eta[5] > eta[0] && eta[0] == eta[0]);
    json_t *notes = json_load_file("davidson/adapter/hone.json", 0, NULL);
    assert_string_equal(json_string_value(json_object_get(notes, "ties")), "davidson");
    expect_near(json_number_value(json_object_get(notes, "tie_parameter")), nu[5], 0.05, "tie_parameter", 0);
    json_decref(notes);
    run_ok(TRAIN "--train-data ties.jsonl --max-steps 4 --save-steps 2 --ties davidson --output-dir again; rm -r again/manifest.json");
    run_ok(TRAIN "--train-data ties.jsonl --max-steps 6 --save-steps 2 --ties davidson --output-dir again --resume --lr-scheduler-type linear");
    assert_true(is_there("again/manifest.json"));
}

/* Answer 0 of each prompt is rated best: the scores learn it, and the thresholds are kept at the scores' scale. */
static void test_ratings(void **state)
{
    (void)state;
    FILE *f = fopen("ratings.jsonl", "w");
    for (uint32_t k = 0; k < ANSWERS; k++)
        for (uint32_t i = 0; i < ROWS; i++) {
            fprintf(f, "{\"prompt\": \"%s %u\", \"completion\": ", word(i, 0), i);
            answer(f, i, k);
            fprintf(f, ", \"rating\": %u}\n", k < 2 ? 4 - k : 1);
        }
    fclose(f);
    run_ok(TRAIN "--train-data ratings.jsonl --eval-data ratings.jsonl --per-device-train-batch-size 12 --max-steps 12 --output-dir rated");
    double loss[12], accuracy[12], decided[12];
    assert_int_equal(column(loss, 12, "rated", "loss"), 12);
    column(accuracy, 12, "rated", "eval_accuracy");
    column(decided, 12, "rated", "decided");
    /* at first as often as in the data, each rating counted once more: (25, 1, 13, 13) / 52 for (24, 0, 12, 12) / 48 */
    expect_near(loss[0], -(0.5 * log(25 / 52.) + 0.5 * log(13 / 52.)), 1e-5, "loss at first", 0);
    assert_true(loss[11] < loss[0] && accuracy[11] > 0.6 && decided[0] == ROWS * 5);
    json_t *notes = json_load_file("rated/adapter/hone.json", 0, NULL), *ratings = json_object_get(notes, "ratings");
    json_t *thresholds = json_object_get(ratings, "thresholds");
    assert_int_equal(json_array_size(thresholds), 3);
    for (size_t i = 1; i < 3; i++)
        assert_true(json_number_value(json_array_get(thresholds, i)) > json_number_value(json_array_get(thresholds, i - 1)));
    json_decref(notes);
    run_ok("$HONE score --model golden/models/llama --tokenizer tokenizer --reward rated --data ratings.jsonl --quiet");
    /* law 2 */
    run_ok(TRAIN "--train-data ratings.jsonl --eval-data ratings.jsonl --per-device-train-batch-size 4 --gradient-accumulation-steps 3 "
           "--max-steps 12 --threads 2 --micro-batch-tokens 20 --output-dir rated-2");
    expect_same_file("rated", "rated-2", "metrics.jsonl");
    expect_same_file("rated/adapter", "rated-2/adapter", "adapter_model.safetensors");
    expect_same_file("rated/adapter", "rated-2/adapter", "hone.json");
    static const char *const bad[] = {"0", "21", "2.5", "\"good\""};
    for (size_t i = 0; i < 4; i++) {
        text_write("bad.jsonl", "{\"prompt\": \"p\", \"completion\": \"c\", \"rating\": %s}\n", bad[i]);
        struct ended e = run(TRAIN "--train-data bad.jsonl --output-dir bad");
        if (e.code != 1 || !strstr(e.err, "'bad.jsonl' line 1") || !strstr(e.err, "\"rating\""))
            fail_msg("%s", e.err);
        ended_release(&e);
    }
    text_write("bad.jsonl", "{\"prompt\": \"p\", \"completion\": \"c\", \"rating\": 1}\n");
    struct ended e = run(TRAIN "--train-data bad.jsonl --output-dir worse");
    assert_true(e.code == 1 && strstr(e.err, "tells nothing apart") && !is_there("worse"));
    ended_release(&e);
}

/* ---- annotators ---- */

enum { PEOPLE = 6, PROMPTS = 360, VOTES = 3 };
static const double reliable[PEOPLE] = {0.97, 0.9, 0.8, 0.65, 0.5, 0.1};

/* The better answer says "lit", the other one "dark"; three of six people vote, each with their own reliability. */
static void write_votes(const char *path, const char *majority)
{
    FILE *f = fopen(path, "w"), *m = fopen(majority, "w");
    for (uint32_t i = 0; i < PROMPTS; i++) {
        bool a = rng_below(2, 17, RNG_TEST, i, 0, 0, 0);
        char row[200];
        snprintf(row, sizeof row, "\"prompt\": \"%s %u\", \"a\": \"%s %s\", \"b\": \"%s %s\"", word(i, 0), i, word(i, 1), a ? "lit" : "dark",
                 word(i, 2), a ? "dark" : "lit");
        uint32_t for_a = 0;
        for (uint32_t v = 0; v < VOTES; v++) {
            uint32_t k = (i + 2 * v + i / PEOPLE) % PEOPLE;
            bool right = rng_uniform(17, RNG_TEST, i, 1, k, 0) < reliable[k];
            for_a += right == a;
            fprintf(f, "{%s, \"label\": \"%s\", \"annotator\": \"p%u\"}\n", row, right == a ? "a" : "b", k);
        }
        fprintf(m, "{%s, \"label\": \"%s\"}\n", row, for_a > VOTES / 2 ? "a" : "b");
    }
    fclose(f);
    fclose(m);
}

static double last_of(const char *dir, const char *key)
{
    double x[100];
    size_t n = column(x, 100, dir, key);
    return x[n - 1];
}

/* Who is how reliable is found out, also who says the opposite; and the scores are better for it than with a majority's or soft
 * labels. */
static void test_annotators(void **state)
{
    (void)state;
    write_votes("votes.jsonl", "majority.jsonl");
    FILE *f = fopen("truth.jsonl", "w");
    for (uint32_t i = 1000; i < 1200; i++)
        fprintf(f, "{\"prompt\": \"%s %u\", \"a\": \"%s lit\", \"b\": \"%s dark\", \"label\": \"a\"}\n", word(i, 0), i, word(i, 1), word(i, 2));
    fclose(f);
    static const char *const flags[] = {"--train-data votes.jsonl --learn-annotators --annotator-learning-rate 0.2", "--train-data votes.jsonl", "--train-data majority.jsonl"};
    static const char *const names[] = {"learned", "soft", "majority"};
    double loss[3];
    for (size_t i = 0; i < 3; i++) {
        run_ok(TRAIN "%s --eval-data truth.jsonl --max-steps 60 --output-dir %s", flags[i], names[i]);
        loss[i] = last_of(names[i], "eval_loss");
    }
    print_message("loss on the truth: learned %.4f, soft labels %.4f, majority %.4f\n", loss[0], loss[1], loss[2]);
    assert_true(loss[0] < loss[1] && loss[0] < loss[2]);
    assert_true(last_of("learned", "eval_accuracy") > 0.95);
    json_t *manifest = json_load_file("learned/manifest.json", 0, NULL), *list = json_object_get(manifest, "annotators");
    assert_int_equal(json_array_size(list), PEOPLE);
    for (size_t i = 0; i < PEOPLE; i++) {
        const json_t *o = json_array_get(list, i), *r = json_object_get(o, "reliability");
        size_t k = (size_t)(json_string_value(json_object_get(o, "annotator"))[1] - '0');
        double value = json_number_value(json_object_get(r, "value")), lo = json_number_value(json_object_get(r, "lo")),
               hi = json_number_value(json_object_get(r, "hi"));
        print_message("annotator %zu: %.2f, found %.2f (%.2f to %.2f), learned %.2f\n", k, reliable[k], value, lo, hi,
                      json_number_value(json_object_get(o, "learned")));
        assert_int_equal(json_integer_value(json_object_get(o, "votes")), PROMPTS * VOTES / PEOPLE);
        assert_true(lo <= reliable[k] && reliable[k] <= hi && fabs(value - reliable[k]) < 0.15);
        expect_near(json_number_value(json_object_get(o, "learned")), reliable[k], 0.2, "learned", k);
    }
    json_decref(manifest);
    /* law 2 */
    run_ok(TRAIN "%s --eval-data truth.jsonl --max-steps 60 --output-dir learned-2 --threads 2 --micro-batch-tokens 20", flags[0]);
    expect_same_file("learned", "learned-2", "metrics.jsonl");
    expect_same_file("learned/adapter", "learned-2/adapter", "adapter_model.safetensors");
    struct ended e = run(TRAIN "--train-data pairs.jsonl --learn-annotators --output-dir bad");
    assert_true(e.code == 1 && strstr(e.err, "0 annotators"));
    ended_release(&e);
    e = run(TRAIN "--train-data rankings.jsonl --learn-annotators --output-dir bad");
    assert_true(e.code == 1 && strstr(e.err, "--learn-annotators is for judgements"));
    ended_release(&e);
    assert_false(is_there("bad"));
}

static void test_strength(void **state)
{
    (void)state;
    run_ok("sed 's/}$/, \"strength\": 1.5}/' pairs.jsonl >strong.jsonl; sed 's/}$/, \"margin\": 3}/' pairs.jsonl >margins.jsonl");
    run_ok(TRAIN "--train-data strong.jsonl --max-steps 3 --strength-margin 2 --output-dir strong");
    run_ok(TRAIN "--train-data margins.jsonl --max-steps 3 --output-dir margins");
    expect_same_file("strong", "margins", "metrics.jsonl");
    expect_same_file("strong/adapter", "margins/adapter", "adapter_model.safetensors");
    run_ok("sed 's/1.5/-1/' strong.jsonl >weak.jsonl");
    struct ended e = run(TRAIN "--train-data weak.jsonl --max-steps 3 --strength-margin 2 --output-dir weak");
    assert_true(e.code == 1 && strstr(e.err, "'weak.jsonl' line 1") && strstr(e.err, "\"strength\" is -1"));
    ended_release(&e);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *row, *what;
    } cases[] = {
        {"{\"prompt\": \"p\", \"completions\": [\"a\"], \"ranks\": [1]}", "two answers or more"},
        {"{\"prompt\": \"p\", \"completions\": \"ab\", \"ranks\": [1, 2]}", "two answers or more"},
        {"{\"prompt\": \"p\", \"completions\": [\"a\", \"b\"], \"ranks\": [1]}", "as many whole numbers"},
        {"{\"prompt\": \"p\", \"completions\": [\"a\", \"b\"], \"ranks\": [1, 0]}", "from 1, the best"},
        {"{\"prompt\": \"p\", \"completions\": [\"a\", \"b\"], \"ranks\": [1, 1.5]}", "from 1, the best"},
        {"{\"prompt\": \"p\", \"completions\": [\"a\", \"b\"], \"ranks\": [2, 2]}", "one rank"},
        {"{\"prompt\": \"p\", \"completions\": [\"a\", \" \"], \"ranks\": [2, 1]}", "is empty"},
        {"{\"prompt\": \"p\", \"completions\": [\"a\", 7], \"ranks\": [2, 1]}", "text or a list of messages"},
        {"{\"completions\": [\"a\", \"b\"], \"ranks\": [2, 1]}", "\"prompt\""},
        {"{\"prompt\": \"p\", \"completions\": [\"a\", \"b\"]}", "\"ranks\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run_ok("head -1 rankings.jsonl >bad.jsonl");
        text_write("row.jsonl", "%s\n", cases[i].row);
        run_ok("cat row.jsonl >>bad.jsonl");
        struct ended e = run(TRAIN "--train-data bad.jsonl --output-dir bad");
        if (e.code != 1 || !strstr(e.err, "'bad.jsonl' line 2") || !strstr(e.err, cases[i].what))
            fail_msg("'%s' should be refused with '%s': %s", cases[i].row, cases[i].what, e.err);
        ended_release(&e);
    }
    struct ended e = run(TRAIN "--train-data rankings.jsonl --eval-data pairs.jsonl --output-dir bad");
    assert_true(e.code == 1 && strstr(e.err, "both must be of one kind"));
    ended_release(&e);
    e = run("$HONE dpo --model golden/models/llama --tokenizer tokenizer --train-data rankings.jsonl --output-dir bad");
    assert_true(e.code == 1 && strstr(e.err, "rankings"));
    ended_release(&e);
    assert_false(is_there("bad"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rankings_of_two_are_pairs), cmocka_unit_test(test_trees_of_several), cmocka_unit_test(test_plackett_luce_learns),
        cmocka_unit_test(test_arrangements), cmocka_unit_test(test_davidson), cmocka_unit_test(test_ratings), cmocka_unit_test(test_annotators), cmocka_unit_test(test_strength), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, enter, sandbox_leave);
}
