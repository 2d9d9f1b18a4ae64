/* Rules as rewards: their numbers on answers of all kinds, what a rule may look like, and what a row must have. */
#include <math.h>
#include <string.h>

#include "reward/mix.h"
#include "support/program.h"
#include "util/file.h"

static struct row row_of(const char *fields)
{
    struct row row = {.line = 7, .fields = json_loads(fields, 0, NULL)};
    assert_non_null(row.fields);
    return row;
}

static double score(const char *spec, const char *fields, const char *text, size_t tokens)
{
    struct rule rule;
    struct err err;
    struct row row = row_of(fields);
    struct answer_text a = {.row = &row, .text = (char *)(uintptr_t)text, .n = strlen(text), .tokens = tokens, .max_tokens = 20};
    if (rule_parse(&rule, spec, &err) || rule_check_row(&rule, &row, "rows", &err))
        fail_msg("%s: %s", spec, err.text);
    double s;
    if (rule_score(&s, &rule, &a, 1, &err))
        fail_msg("%s: %s", spec, err.text);
    rule_release(&rule);
    json_decref(row.fields);
    return s;
}

static void test_lengths(void **state)
{
    (void)state;
    const double wanted[][3] = {{1, -0.75, 0}, {4, 0, 0}, {5, -0.25, 0}, {8, -1, -1. / 7}, {14, -2.5, -1}};
    for (size_t i = 0; i < 5; i++) {
        expect_near(score("length:target=4", "{}", "", (size_t)wanted[i][0]), wanted[i][1], 1e-15, "target", i);
        expect_near(score("length:limit=7", "{}", "", (size_t)wanted[i][0]), wanted[i][2], 1e-15, "limit", i);
    }
    /* DAPO's: nothing up to 20 - 8, then down to -1 at 20 (TRL's get_soft_overlong_punishment(20, 8)) */
    const double overlong[][2] = {{0, 0}, {12, 0}, {13, -0.125}, {18, -0.75}, {20, -1}, {25, -1}};
    for (size_t i = 0; i < 6; i++)
        expect_near(score("overlong:cache=8", "{}", "", (size_t)overlong[i][0]), overlong[i][1], 1e-15, "overlong", i);
}

static void test_patterns(void **state)
{
    (void)state;
    assert_true(score("regex:^Dear ", "{}", "Dear you", 1) == 1);
    assert_true(score("regex:^Dear ", "{}", "My dear", 1) == 0);
    assert_true(score("regex:(?i)\\bplease\\b", "{}", "So Please, do", 1) == 1);
    assert_true(score("regex:^<think>.*</think>\\s*\\d+$", "{}", "<think>a: b, c=d</think> 12", 1) == 1);
    assert_true(score("regex:\\w{3}", "{}", "\xc3\xa4\xc3\xb6\xc3\xbc", 1) == 1); /* letters of any script */
    assert_true(score("regex:b", "{}", "a\xc3", 1) == 0 && score("regex:a", "{}", "a\xc3", 1) == 1); /* cut within a character */
    /* what would take for ever counts as not found */
    assert_true(score("regex:^(a+)+$", "{}", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", 1) == 0);
}

/* The share of a rubric's checks, of those that are for this prompt. */
static void test_rubrics(void **state)
{
    (void)state;
    static const char rubric[] = "checks:\n"
                                 "  - name: short\n"
                                 "    conditions: [{max_words: 4}]\n"
                                 "  - name: polite\n"
                                 "    conditions: [{must_match: please}]\n"
                                 "  - name: reply\n"
                                 "    when_prompt: '\\?$'\n"
                                 "    conditions: [{scope: first_sentence, must_match: '^(yes|no)'}]\n";
    struct err err;
    assert_int_equal(file_write("rubric.yaml", rubric, sizeof rubric - 1, &err), 0);
    struct row row = row_of("{}");
    char question[] = "Is it open?", order[] = "Open it.";
    struct rule rule;
    const struct {
        char *prompt;
        const char *text;
        double wanted;
    } cases[] = {{question, "Yes, please come.", 1}, {question, "Yes.", 2. / 3}, {question, "Please wait until it opens.", 1. / 3},
                 {order, "It opens.", 0.5}, {order, "I would rather not open it.", 0}};
    if (rule_parse(&rule, "rubric:rubric.yaml", &err))
        fail_msg("%s", err.text);
    assert_string_equal(rule_name(&rule), "rubric");
    assert_true(rule_reads_text(&rule) && !rule_reads_row(&rule));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double s;
        row.prompt.text = cases[i].prompt;
        struct answer_text a = {.row = &row, .text = (char *)(uintptr_t)cases[i].text, .n = strlen(cases[i].text)};
        assert_int_equal(rule_score(&s, &rule, &a, 1, &err), 0);
        expect_near(s, cases[i].wanted, 1e-15, "rubric", i);
    }
    rule_release(&rule);
    json_decref(row.fields);
    assert_int_equal(rule_parse(&rule, "rubric:nowhere.yaml", &err), -1);
    assert_non_null(strstr(err.text, "nowhere.yaml"));
}

static void test_answers(void **state)
{
    static const struct {
        const char *field, *text;
        int same;
    } numbers[] = {
        {"42", "It is 42.", 1},         {"42", "42 or 43", 0},          {"\"#### 1,000\"", "so 1000", 1}, {"\"1000\"", "1,000.00 dollars", 1},
        {"-3", "x = -3", 1},            {"3", "10-3", 1},               {"-3", "(-3)", 1},                {"3", "f(2)-3", 1},
        {"0.5", "about 0.50", 1},       {"0", "-0", 1},                 {"7", "007", 1},                  {"7", "seven", 0},
        {"7", "", 0},                   {"12", "1,2", 0},               {"2", "1,2", 1},                  {"1.5", "1.5.", 1},
        {"5", "no. 5!", 1},             {"\"12345678901234567890\"", "12345678901234567891", 0},           {"0.1", ".1", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char fields[100];
        snprintf(fields, sizeof fields, "{\"answer\": %s}", numbers[i].field);
        if (score("answer", fields, numbers[i].text, 1) != numbers[i].same)
            fail_msg("'%s' beside '%s'", numbers[i].text, fields);
    }
    assert_true(score("answer:field=solution", "{\"solution\": 4}", "4", 1) == 1);
    assert_true(score("answer:pattern=Answer: (\\w+)", "{\"answer\": \"B\"}", "Answer: A. No, Answer: B", 1) == 1);
    assert_true(score("answer:pattern=Answer: (\\w+)", "{\"answer\": \"A\"}", "Answer: A. No, Answer: B", 1) == 0);
    assert_true(score("answer:pattern=(?:yes|no)", "{\"answer\": \" yes \"}", "yes", 1) == 1);
    assert_true(score("answer:field=gold,pattern=\\[(.*?)\\]", "{\"gold\": \"x, y\"}", "so [ x, y ]", 1) == 1);
    assert_true(score("answer:pattern=(x*)", "{\"answer\": \"\"}", "aaa", 1) == 1); /* empty matches come to an end */
}

static void test_refuses(void **state)
{
    static const char *const bad[] = {"", "length", "length:target=", "length:target=1.5", "length:target=-1", "length:target=4x", "length:target=nan",
                                      "overlong:cache=0", "regex:", "regex:(", "regex:\\C", "answer:", "answer:field=", "answer:what",
                                      "answer:field=a,b", "answer:pattern=", "answers"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rule rule;
        struct err err = {""};
        if (rule_parse(&rule, bad[i], &err) == 0 && strcmp(bad[i], "answer:")) /* nothing after it is nothing */
            fail_msg("'%s' was taken", bad[i]);
        if (strcmp(bad[i], "answer:"))
            assert_true(strlen(err.text) > 10);
        else
            rule_release(&rule);
    }
    static const char *const rows[] = {"{}", "{\"answer\": null}", "{\"answer\": [1]}", "{\"answer\": \"none\"}"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rule rule;
        struct err err;
        struct row row = row_of(rows[i]);
        assert_int_equal(rule_parse(&rule, "answer", &err), 0);
        assert_int_equal(rule_check_row(&rule, &row, "the file", &err), -1);
        assert_non_null(strstr(err.text, "'the file' line 7"));
        rule_release(&rule);
        json_decref(row.fields);
    }
}

/* Rows keep their fields where that is asked for, known ones and others, from JSON and CSV. */
static void test_fields(void **state)
{
    (void)state;
    const char json[] = "{\"prompt\": \"a\", \"answer\": 4, \"id\": \"one\", \"more\": [1]}\n", csv[] = "prompt,answer\na,4\n";
    struct rows_config keep = {.keep_fields = true};
    struct dataset d;
    struct err err;
    struct rule rule;
    assert_int_equal(rule_parse(&rule, "answer", &err), 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(dataset_parse(&d, i ? "rows.csv" : "rows.jsonl", i ? csv : json, i ? sizeof csv - 1 : sizeof json - 1, &keep, &err), 0);
        assert_int_equal(rule_check_row(&rule, &d.rows[0], "rows", &err), 0);
        assert_string_equal(json_string_value(json_object_get(d.rows[0].fields, "id")), d.rows[0].id);
        dataset_release(&d);
    }
    assert_int_equal(dataset_parse(&d, "rows.jsonl", json, sizeof json - 1, NULL, &err), 0);
    assert_null(d.rows[0].fields);
    dataset_release(&d);
    rule_release(&rule);
}

static void test_names_and_weights(void **state)
{
    (void)state;
    const char *const texts[] = {"runs/reward/", "rule:length:target=4", "program:python3 score.py", "program:./a/score.py --x",
                                 "other/reward", "rule:length:limit=9", "rule:regex:a/b"};
    const char *const names[] = {"reward", "length", "python3", "score.py", "reward_2", "length_2", "regex"};
    const char *const weights[] = {"1", "0.5", "-2", "1e-3", "0", "1", "1"}, *const few[] = {"1"}, *const bad[] = {"1", "x", "1", "1", "1", "1", "1"};
    struct reward_mix mix;
    struct err err;
    assert_int_equal(reward_mix_parse(&mix, texts, 7, weights, 7, &err), 0);
    for (size_t i = 0; i < 7; i++)
        assert_string_equal(mix.list[i].name, names[i]);
    assert_true(mix.list[2].weight == -2 && mix.list[3].weight == 1e-3 && mix.list[4].weight == 0);
    assert_true(mix.list[0].kind == REWARD_MODEL && mix.list[1].kind == REWARD_RULE && mix.list[2].kind == REWARD_PROGRAM);
    assert_true(reward_mix_reads_rows(&mix));
    reward_mix_release(&mix);
    assert_int_equal(reward_mix_parse(&mix, texts, 1, NULL, 0, &err), 0);
    assert_true(mix.list[0].weight == 1 && !reward_mix_reads_rows(&mix));
    reward_mix_release(&mix);
    assert_int_equal(reward_mix_parse(&mix, texts, 7, few, 1, &err), -1);
    reward_mix_release(&mix);
    assert_int_equal(reward_mix_parse(&mix, texts, 7, bad, 7, &err), -1);
    reward_mix_release(&mix);
    const char *many[MAX_REWARDS + 1], *const nothing[] = {"program: "};
    for (size_t i = 0; i <= MAX_REWARDS; i++)
        many[i] = "runs/reward";
    assert_int_equal(reward_mix_parse(&mix, many, MAX_REWARDS + 1, NULL, 0, &err), -1);
    reward_mix_release(&mix);
    assert_int_equal(reward_mix_parse(&mix, nothing, 1, NULL, 0, &err), -1);
    reward_mix_release(&mix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths), cmocka_unit_test(test_patterns), cmocka_unit_test(test_answers),
        cmocka_unit_test_setup_teardown(test_rubrics, sandbox_enter, sandbox_leave),
        cmocka_unit_test(test_refuses), cmocka_unit_test(test_names_and_weights), cmocka_unit_test(test_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
