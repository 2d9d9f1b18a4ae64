/* `hone generate --reward` from outside, on the tiny model: what is selected is what the scores say, training takes the rows as they
 * are, and neither slots nor threads change a byte. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/program.h"
#include "util/mem.h"

enum { PROMPTS = 40, ANSWERS = 6 };
#define GENERATE                                                                                   \
    "$HONE generate --model golden/models/llama --tokenizer tokenizer --prompts rows.jsonl --num-generations 6 " \
    "--max-new-tokens 12 --temperature 1.5 --quiet --missing-eos-penalty 0.5 --reward rule:regex:e --reward rule:length:target=9 " \
    "--reward-weights 0.3,1 "

static int enter(void **state)
{
    static const char *const words[] = {"the lamp was lit", "before the rain", "a hall", "the window was open", "it began"};
    if (sandbox_enter(state))
        return -1;
    write_tokenizer("tokenizer");
    FILE *f = fopen("rows.jsonl", "w");
    for (int i = 0; i < PROMPTS; i++)
        fprintf(f, "{\"id\": \"p%d\", \"prompt\": \"%s %s\", \"answer\": %d}\n", i, words[i % 5], words[i / 5 % 5], i);
    fclose(f);
    run_ok(GENERATE "--select all --summary summary.json >all.jsonl");
    return 0;
}

static double number(const json_t *rows, size_t i, const char *key)
{
    return metric(rows, i, key);
}

static const char *text_of(const json_t *rows, size_t i, const char *key)
{
    return json_string_value(json_object_get(json_array_get(rows, i), key));
}

/* Scores and texts of all answers, in the order of prompts and samples. */
static void test_scores(void **state)
{
    (void)state;
    json_t *all = json_lines_of("all.jsonl");
    assert_int_equal(json_array_size(all), PROMPTS * ANSWERS);
    run_ok("$HONE generate --model golden/models/llama --tokenizer tokenizer --prompts rows.jsonl --num-generations 6 --max-new-tokens 12 "
           "--temperature 1.5 --quiet >plain.jsonl");
    json_t *plain = json_lines_of("plain.jsonl");
    for (size_t i = 0; i < PROMPTS * ANSWERS; i++) {
        const char *text = text_of(plain, i, "completion");
        double tokens = (double)json_array_size(json_object_get(json_array_get(plain, i), "ids"));
        double want = 0.3 * (strchr(text, 'e') != NULL) - fabs(tokens - 9) / 9 - (strcmp(text_of(plain, i, "finish_reason"), "stop") ? 0.5 : 0);
        size_t length = json_string_length(json_object_get(json_array_get(plain, i), "completion"));
        if (strlen(text) == length) /* else it has a byte 0, which rows have not */
            assert_string_equal(text_of(all, i, "completion"), text);
        if (strlen(text) == length)
            expect_near(number(all, i, "score"), want, 1e-8, "score", i);
        char id[32];
        snprintf(id, sizeof id, "p%zu/%zu", i / ANSWERS, i % ANSWERS);
        assert_string_equal(text_of(all, i, "id"), id);
    }
    json_decref(plain);
    json_decref(all);
}

/* The highest (sign 1) or lowest score of a prompt's answers. */
static double extreme(const json_t *all, size_t prompt, double sign)
{
    double best = -INFINITY;
    for (size_t k = 0; k < ANSWERS; k++)
        best = fmax(best, sign * number(all, prompt * ANSWERS + k, "score"));
    return sign * best;
}

static void test_selections(void **state)
{
    (void)state;
    json_t *all = json_lines_of("all.jsonl");
    size_t above = 0, pairs = 0;
    for (size_t i = 0; i < PROMPTS * ANSWERS; i++)
        above += number(all, i, "score") >= -0.4;
    for (size_t p = 0; p < PROMPTS; p++)
        pairs += extreme(all, p, 1) > extreme(all, p, -1);
    assert_true(above > 0 && above < PROMPTS * ANSWERS && pairs > 0);

    run_ok(GENERATE "--select best >best.jsonl");
    run_ok(GENERATE "--select above --threshold -0.4 >above.jsonl");
    run_ok(GENERATE "--select pair >pair.jsonl");
    run_ok(GENERATE "--select rso --rso-beta 0.2 --rso-keep 4 >rso.jsonl");
    json_t *best = json_lines_of("best.jsonl"), *over = json_lines_of("above.jsonl"), *pair = json_lines_of("pair.jsonl"), *rso = json_lines_of("rso.jsonl");
    assert_int_equal(json_array_size(best), PROMPTS);
    for (size_t p = 0; p < PROMPTS; p++)
        expect_near(number(best, p, "score"), extreme(all, p, 1), 0, "best", p);
    assert_int_equal(json_array_size(over), above);
    assert_int_equal(json_array_size(pair), pairs);
    for (size_t i = 0; i < pairs; i++) {
        size_t p = strtoul(text_of(pair, i, "id") + 1, NULL, 10);
        expect_near(number(pair, i, "score_chosen"), extreme(all, p, 1), 0, "chosen", i);
        expect_near(number(pair, i, "score_rejected"), extreme(all, p, -1), 0, "rejected", i);
    }
    assert_in_range(json_array_size(rso), 1, 2 * PROMPTS);
    for (size_t i = 0; i < json_array_size(rso); i++)
        assert_true(number(rso, i, "score_chosen") > number(rso, i, "score_rejected"));
    json_decref(best);
    json_decref(over);
    json_decref(pair);
    json_decref(rso);
    json_decref(all);
    const char *train = "--model golden/models/llama --tokenizer tokenizer --lora-r 4 --quiet --max-steps 1 --overwrite --output-dir run";
    run_ok("$HONE sft --train-data best.jsonl %s && $HONE sft --train-data above.jsonl %s && $HONE dpo --train-data pair.jsonl %s && "
           "$HONE dpo --train-data rso.jsonl %s", train, train, train, train);
}

static void test_curve(void **state)
{
    (void)state;
    json_t *all = json_lines_of("all.jsonl"), *summary = json_load_file("summary.json", 0, NULL), *curve = json_object_get(summary, "best_of_n");
    double mean = 0, best = 0;
    for (size_t i = 0; i < PROMPTS * ANSWERS; i++)
        mean += number(all, i, "score") / (PROMPTS * ANSWERS);
    for (size_t p = 0; p < PROMPTS; p++)
        best += extreme(all, p, 1) / PROMPTS;
    assert_int_equal(json_array_size(curve), ANSWERS);
    json_t *first = json_object_get(json_array_get(curve, 0), "reward"), *last = json_object_get(json_array_get(curve, ANSWERS - 1), "reward");
    expect_near(json_number_value(json_object_get(first, "mean")), mean, 1e-8, "of 1", 0);
    expect_near(json_number_value(json_object_get(last, "mean")), best, 1e-8, "of 6", 0);
    expect_near(number(curve, 3, "kl"), log(4) - 0.75, 1e-15, "kl", 3);
    json_decref(summary);

    /* a gold that says the opposite falls as the reward rises, and a program may be one */
    text_write("gold.sh", "#!/bin/sh\nexec sed 's/.*\"tokens\": \\([0-9]*\\).*/-\\1/'\n");
    run_ok("chmod +x gold.sh");
    struct ended e = run("$HONE generate --model golden/models/llama --tokenizer tokenizer --prompts rows.jsonl --num-generations 6 "
                         "--max-new-tokens 12 --temperature 1.5 --missing-eos-penalty 0 --reward rule:length:target=12 "
                         "--gold program:./gold.sh --summary gold.json 2>&1 >/dev/null");
    if (e.code || !strstr(e.out, "best of   KL up to   reward") || !strstr(e.out, "gold"))
        fail_msg("ended with %d: %s%s", e.code, e.out, e.err);
    ended_release(&e);
    summary = json_load_file("gold.json", 0, NULL);
    curve = json_object_get(summary, "best_of_n");
    for (size_t n = 0; n < ANSWERS; n++) { /* reward = -(12 - tokens) / 12, gold = -tokens */
        double reward = json_number_value(json_object_get(json_object_get(json_array_get(curve, n), "reward"), "mean"));
        double gold = json_number_value(json_object_get(json_object_get(json_array_get(curve, n), "gold"), "mean"));
        expect_near(gold, -12 * (1 + reward), 1e-6, "gold", n);
    }
    json_decref(summary);
    json_decref(all);
}

static void test_arrangements(void **state)
{
    (void)state;
    run_ok(GENERATE "--select all --slots 3 --threads 2 >other.jsonl");
    expect_same_file("all.jsonl", "other.jsonl", NULL);
    run_ok(GENERATE "--select rso --slots 100 >other.jsonl");
    run_ok(GENERATE "--select rso --slots 5 --threads 2 >again.jsonl");
    expect_same_file("other.jsonl", "again.jsonl", NULL);
}

#define HINT "--select above --threshold 1 --hint ' so {answer}: it began' "
#define ONCE                                                                                       \
    "$HONE generate --model golden/models/llama --tokenizer tokenizer --quiet --max-new-tokens 12 --missing-eos-penalty 0 --reward rule:regex:n "

/* Prompts that nothing was selected for are answered again with the hint, and what is selected then is written without it. */
static void test_hint(void **state)
{
    (void)state;
    run_ok(ONCE "--prompts rows.jsonl --temperature 0 --select above --threshold 1 >bare.jsonl");
    run_ok(ONCE "--prompts rows.jsonl --temperature 0 " HINT "--summary hinted.json >hinted.jsonl");
    /* the same by hand: greedy answers to the prompts with the hint in them */
    static const char *const words[] = {"the lamp was lit", "before the rain", "a hall", "the window was open", "it began"};
    FILE *f = fopen("by-hand.jsonl", "w");
    for (int i = 0; i < PROMPTS; i++)
        fprintf(f, "{\"id\": \"p%d\", \"prompt\": \"%s %s so %d: it began\"}\n", i, words[i % 5], words[i / 5 % 5], i);
    fclose(f);
    run_ok(ONCE "--prompts by-hand.jsonl --temperature 0 --select all >by-hand-all.jsonl");
    json_t *bare = json_lines_of("bare.jsonl"), *hinted = json_lines_of("hinted.jsonl"), *by_hand = json_lines_of("by-hand-all.jsonl");
    size_t first = json_array_size(bare), at = first;
    bool right[PROMPTS] = {false};
    assert_in_range(first, 1, PROMPTS - 1);
    for (size_t i = 0; i < first; i++) {
        assert_true(json_equal(json_array_get(bare, i), json_array_get(hinted, i)));
        right[strtoul(text_of(bare, i, "id") + 1, NULL, 10)] = true;
    }
    for (size_t i = 0; i < PROMPTS; i++) {
        if (right[i] || number(by_hand, i, "score") < 1)
            continue;
        char *id = xasprintf("p%zu/hint-0", i), *prompt = xasprintf("%s %s", words[i % 5], words[i / 5 % 5]);
        assert_true(at < json_array_size(hinted));
        assert_string_equal(text_of(hinted, at, "id"), id);
        assert_string_equal(text_of(hinted, at, "completion"), text_of(by_hand, i, "completion"));
        const json_t *said = json_array_get(json_object_get(json_array_get(hinted, at), "prompt"), 0);
        assert_string_equal(json_string_value(json_object_get(said, "content")), prompt);
        assert_true(json_is_true(json_object_get(json_array_get(hinted, at), "hint")));
        free(id);
        free(prompt);
        at++;
    }
    assert_int_equal(at, json_array_size(hinted));
    assert_true(at > first); /* the hint did something */
    json_t *summary = json_load_file("hinted.json", 0, NULL), *told = json_object_get(summary, "hint");
    assert_int_equal(json_integer_value(json_object_get(told, "prompts")), PROMPTS - first);
    assert_int_equal(json_integer_value(json_object_get(told, "rows_written")), at - first);
    json_decref(summary);
    json_decref(bare);
    json_decref(hinted);
    json_decref(by_hand);
    /* sampled: the same bytes however it is arranged, the rows without the hint first and as without one; and they can be learned from */
    run_ok(ONCE "--prompts rows.jsonl --num-generations 2 " HINT ">one.jsonl");
    run_ok(ONCE "--prompts rows.jsonl --num-generations 2 " HINT "--slots 3 --threads 2 >other.jsonl");
    run_ok(ONCE "--prompts rows.jsonl --num-generations 2 --select above --threshold 1 >without.jsonl && "
                "head -c $(wc -c <without.jsonl) one.jsonl >start.jsonl");
    expect_same_file("one.jsonl", "other.jsonl", NULL);
    expect_same_file("without.jsonl", "start.jsonl", NULL);
    run_ok("$HONE sft --train-data one.jsonl --model golden/models/llama --tokenizer tokenizer --lora-r 4 --quiet --max-steps 1 --overwrite "
           "--output-dir run");
}

/* A reward model scores what was given with the hint as an answer to the prompt alone. */
static void test_hint_is_not_scored(void **state)
{
    (void)state;
    text_write("program.sh", "#!/bin/sh\nexec tee -a seen | sed 's/.*/0/'\n");
    run_ok("chmod +x program.sh; rm -f seen; " ONCE "--prompts rows.jsonl --reward program:./program.sh --select above --threshold 2 "
           "--hint ' so {answer}: it began' >none.jsonl");
    char *seen = text_read("seen", NULL);
    json_t *lines = json_lines(seen);
    assert_int_equal(json_array_size(lines), 1 + 2 * PROMPTS); /* the first is a trial */
    for (size_t i = 1; i < json_array_size(lines); i++)
        assert_null(strstr(json_string_value(json_object_get(json_array_get(json_object_get(json_array_get(lines, i), "prompt"), 0), "content")), "so "));
    json_decref(lines);
    free(seen);
}

static void test_refuses(void **state)
{
    static const char *const cases[][2] = {
        {"--reward rule:answer --hint 'so {solution}' --select above", "no field \"solution\""},
        {"--reward rule:answer --hint 'so {answer' --select above", "no field"},
        {"--reward rule:answer --hint 'so {answer}'", "--select above alone"},
        {"--hint 'so {answer}'", "name one with --reward"},
        {"--reward nowhere", "'nowhere' is not there"},
        {"--reward rule:answer:field=solution", "no field \"solution\""},
        {"--reward rule:answer --select pair --num-generations 1", "a pair takes two answers"},
        {"--reward rule:answer --gold rule:lenght:limit=3", "--gold"},
        {"--reward rule:answer --reward-weights 1,2", "reward_weights"},
        {"--reward rule:answer --select worst", "--select"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ended e = run("$HONE generate --model golden/models/llama --tokenizer tokenizer --prompts rows.jsonl --quiet %s", cases[i][0]);
        if (e.code == 0 || !strstr(e.err, cases[i][1]) || *e.out)
            fail_msg("%s: ended with %d: %s", cases[i][0], e.code, e.err);
        ended_release(&e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scores), cmocka_unit_test(test_selections),   cmocka_unit_test(test_curve),
        cmocka_unit_test(test_arrangements), cmocka_unit_test(test_hint), cmocka_unit_test(test_hint_is_not_scored),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, enter, sandbox_leave);
}
