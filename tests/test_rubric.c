/* Rubrics: every setting, every kind of bad file, hostile patterns and texts, and the help desk's
 * own rubric. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reward/rubric.h"
#include "util/buf.h"
#include "util/mem.h"
#include "util/rng.h"

static struct rubric *parse(const char *text)
{
    struct err err = {""};
    struct rubric *r = rubric_parse(text, strlen(text), "r.yaml", &err);
    if (!r)
        print_message("%s\n", err.text);
    assert_non_null(r);
    return r;
}

/* The verdict of the only check of `text`. */
static enum rubric_verdict verdict_of(const char *text, const char *prompt, const char *answer)
{
    struct rubric *r = parse(text);
    enum rubric_verdict v;
    assert_int_equal(rubric_checks(r), 1);
    assert_int_equal(rubric_judge(r, &v, prompt, answer, NULL), 0);
    assert_int_equal(rubric_overall(r, &v), v);
    rubric_free(r);
    return v;
}

static void settings(void **state)
{
    (void)state;
    const char *words = "checks:\n - name: n\n   conditions: [{min_words: 2, max_words: 3}]\n";
    assert_int_equal(verdict_of(words, "", "one"), RUBRIC_FAIL);
    assert_int_equal(verdict_of(words, "", "one two"), RUBRIC_PASS);
    assert_int_equal(verdict_of(words, "", "one, two: three."), RUBRIC_PASS);
    assert_int_equal(verdict_of(words, "", "one two three four"), RUBRIC_FAIL);

    const char *first =
        "checks:\n - name: n\n   conditions:\n    - scope: first_sentence\n"
        "      must_match: ['^yes', '^no']\n      must_not_match: [maybe, perhaps]\n";
    assert_int_equal(verdict_of(first, "", "Yes, it is. Perhaps."), RUBRIC_PASS);
    assert_int_equal(verdict_of(first, "", "No."), RUBRIC_PASS);
    assert_int_equal(verdict_of(first, "", "Yes, perhaps."), RUBRIC_FAIL);
    assert_int_equal(verdict_of(first, "", "It is. Yes."), RUBRIC_FAIL);
    assert_int_equal(verdict_of(first, "", ""), RUBRIC_FAIL);

    const char *last =
        "checks:\n - name: n\n   conditions:\n    - {scope: last_sentence, must_match: call$, "
        "max_words: 2}\n    - must_match: don't\n";
    assert_int_equal(verdict_of(last, "", "I don\xe2\x80\x99t know. Please call"), RUBRIC_PASS);
    assert_int_equal(verdict_of(last, "", "I don't know. Please do call"), RUBRIC_FAIL);
    assert_int_equal(verdict_of(last, "", "I do. Please call"), RUBRIC_FAIL);

    const char *when =
        "checks:\n - name: n\n   when_prompt: [price, '\xc3\x84pfel']\n   unless_prompt: gift\n"
        "   conditions: [{must_match: '\\d'}]\n";
    assert_int_equal(verdict_of(when, "The PRICE?", "5"), RUBRIC_PASS);
    assert_int_equal(verdict_of(when, "\xc3\xa4pfel?", "five"), RUBRIC_FAIL);
    assert_int_equal(verdict_of(when, "price of a gift", "five"), RUBRIC_NOT_APPLICABLE);
    assert_int_equal(verdict_of(when, "hello", "five"), RUBRIC_NOT_APPLICABLE);

    const char *exact = "checks:\n - name: n\n   conditions: [{must_match: '(?-i)^Yes'}]\n";
    assert_int_equal(verdict_of(exact, "", "Yes"), RUBRIC_PASS);
    assert_int_equal(verdict_of(exact, "", "yes"), RUBRIC_FAIL);
}

static void json_and_aliases(void **state)
{
    (void)state;
    const char *json = "{\"checks\": [{\"name\": \"n\", \"conditions\": [{\"must_match\": "
                       "\"a\\/b\\u00e4\\\\d\"}]}]}";
    assert_int_equal(verdict_of(json, "",
                                "x a/b\xc3\xa4"
                                "7"),
                     RUBRIC_PASS);
    assert_int_equal(verdict_of(json, "", "x a/b7"), RUBRIC_FAIL);

    struct rubric *r =
        parse("checks:\n"
              " - name: one\n   when_prompt: &p [cat, dog]\n   conditions: [{must_match: pet}]\n"
              " - name: other\n   unless_prompt: *p\n   conditions: [{must_match: thing}]\n");
    enum rubric_verdict v[2];
    assert_int_equal(rubric_judge(r, v, "a dog", "a thing", NULL), 0);
    assert_string_equal(rubric_check_name(r, 1), "other");
    assert_int_equal(v[0], RUBRIC_FAIL);
    assert_int_equal(v[1], RUBRIC_NOT_APPLICABLE);
    assert_int_equal(rubric_overall(r, v), RUBRIC_FAIL);

    struct rubric_share share[2], all;
    const char *prompts[] = {"dog", "cat", "car", "cup"};
    const char *answers[] = {"pet", "no", "thing", "thing"};
    assert_int_equal(rubric_shares(r, share, &all, prompts, answers, 4, NULL), 0);
    assert_int_equal(share[0].applicable, 2);
    assert_int_equal(share[0].passed, 1);
    assert_int_equal(share[1].passed, 2);
    assert_int_equal(all.applicable, 4);
    assert_true(all.share.value == 0.75 && all.share.lo < 0.5 && all.share.hi > 0.9);
    assert_int_equal(rubric_shares(r, share, &all, NULL, NULL, 0, NULL), 0);
    assert_true(isnan(all.share.value) && isnan(share[0].share.lo));
    rubric_free(r);
}

static void bad_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "empty"},
        {"checks: [", "not YAML"},
        {"- a", "expected 'checks:'"},
        {"rules: []", "expected 'checks:'"},
        {"checks: {a: b}", "expected 'checks:'"},
        {"checks: []", "list of checks is empty"},
        {"checks: [a]", "must be a mapping"},
        {"checks:\n - conditions: [{min_words: 1}]", "line 2: the check has no 'name'"},
        {"checks:\n - name: n", "no 'conditions'"},
        {"checks:\n - name: n\n   conditions: []", "at least one condition"},
        {"checks:\n - name: n\n   conditions: [{}]", "asks for nothing"},
        {"checks:\n - name: n\n   conditions: [{scope: answer}]", "asks for nothing"},
        {"checks:\n - name: n\n   conditions: [x]", "must be a mapping"},
        {"checks:\n - name: n\n   conditions: [{max_word: 3}]",
         "line 3: 'max_word' is not a setting"},
        {"checks:\n - name: n\n   condition: [{max_words: 3}]", "'condition' is not a setting"},
        {"checks:\n - name: n\n   conditions: [{[a]: 3}]", "'this' is not a setting"},
        {"checks:\n - name: n\n   conditions: [{max_words: -3}]", "whole number"},
        {"checks:\n - name: n\n   conditions: [{max_words: 1e3}]", "whole number"},
        {"checks:\n - name: n\n   conditions: [{max_words: 99999999999999999999}]", "whole number"},
        {"checks:\n - name: n\n   conditions: [{min_words: 4, max_words: 3}]",
         "more than max_words"},
        {"checks:\n - name: n\n   conditions: [{scope: middle, min_words: 4}]", "'scope' must be"},
        {"checks:\n - name: n\n   conditions: [{must_match: '('}]", "not a regular expression"},
        {"checks:\n - name: n\n   conditions: [{must_match: ''}]", "must be a regular expression"},
        {"checks:\n - name: n\n   conditions: [{must_match: \"a\\0b\"}]",
         "must be a regular expression"},
        {"checks:\n - name: n\n   conditions: [{must_match: {a: b}}]",
         "must be a regular expression"},
        {"checks:\n - name: n\n   conditions: [{must_match: []}]", "empty list"},
        {"checks:\n - name: n\n   conditions: [{must_match: a, must_match: b}]", "twice"},
        {"checks:\n - name: n\n   name: m\n   conditions: [{min_words: 1}]",
         "'name' must be one text"},
        {"checks:\n - &c {name: n, conditions: [{min_words: 1}]}\n - *c",
         "two checks are named 'n'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {""};
        assert_null(rubric_parse(cases[i].text, strlen(cases[i].text), "r.yaml", &err));
        if (!strstr(err.text, cases[i].says) || !strstr(err.text, "'r.yaml'"))
            fail_msg("'%s' gave '%s'", cases[i].text, err.text);
    }
    struct err err;
    assert_null(rubric_load("no/such/rubric.yaml", &err));
    assert_non_null(strstr(err.text, "no/such/rubric.yaml"));
}

/* Small files that would mean large rubrics. */
static void aliases_do_not_explode(void **state)
{
    (void)state;
    struct buf b;
    struct err err;
    buf_init(&b, 1 << 20);
    for (int patterns = 0; patterns < 2; patterns++) {
        buf_clear(&b);
        buf_printf(&b, "checks:\n - name: first\n   %s: &l [",
                   patterns ? "when_prompt" : "conditions");
        for (int i = 0; i < 500; i++)
            buf_str(&b, patterns ? "a, " : "{min_words: 1}, ");
        buf_printf(&b, "]\n%s", patterns ? "   conditions: [{min_words: 1}]\n" : "");
        for (int i = 0; i < 100; i++)
            buf_printf(&b, " - {name: c%d, %s}\n", i,
                       patterns ? "when_prompt: *l, conditions: [{min_words: 1}]"
                                : "conditions: *l");
        assert_null(rubric_parse(b.data, b.len, "r.yaml", &err));
        assert_non_null(strstr(err.text, "more than 10000"));
    }
    buf_release(&b);
}

static void hostile_texts(void **state)
{
    (void)state;
    struct rubric *r = parse("checks:\n - name: slow\n   conditions: [{must_match: '^(a+)+$'}]\n");
    enum rubric_verdict v;
    struct err err;
    char *text = xcalloc(1, 4001);
    memset(text, 'a', 4000);
    text[3999] = '!';
    assert_int_equal(rubric_judge(r, &v, "", text, &err), -1);
    assert_non_null(strstr(err.text, "check 'slow'"));
    assert_non_null(strstr(err.text, "gave up"));
    assert_int_equal(rubric_judge(r, &v, "\xff\xe2\x80", "aa\xff\xc0\xaf\xe2\x80\x99\xe2", &err),
                     0);
    assert_int_equal(v, RUBRIC_FAIL);
    for (uint32_t k = 0; k < 2000; k++) {
        uint32_t n = rng_below(60, 1, RNG_TEST, k, 0, 0, 0);
        for (uint32_t i = 0; i < n; i++)
            text[i] = (char)(1 + rng_below(255, 1, RNG_TEST, k, i + 1, 0, 0));
        text[n] = 0;
        assert_int_equal(rubric_judge(r, &v, text, text, &err), 0);
    }
    free(text);
    rubric_free(r);
}

/* The example that the demo uses. */
static void help_desk(void **state)
{
    (void)state;
    static const struct {
        const char *prompt, *good, *bad, *check;
    } cases[] = {
        {"Are you open on Mondays?",
         "No, we are closed on Sunday and Monday, and open Tuesday to Saturday from 9 to 6. "
         "Come by on Tuesday morning, or call 555-0142 then.",
         "I don't know which days we are open, since I can't see a calendar from where I am. "
         "Come by some day and try the door, or call 555-0142 to find out.",
         "answers what the shop itself knows"},
        {"Should I mist my fern every day?",
         "No, misting lifts the humidity for only a few minutes, and a fern gains more from a "
         "steady room. Move it to a bright bathroom.",
         "No, misting lifts the humidity for only a few minutes, and a fern gains more from a "
         "steady room. Dry winter air is something many homes deal with.",
         "ends with a next step"},
        {"Can I pay by check?",
         "Yes, you can pay by check at the counter, as long as it is drawn on a bank in this "
         "state. Bring a card with your picture, please.",
         "A check drawn on a bank in this state needs a card with your picture at the counter. "
         "Bring both, and yes, you can pay by check.",
         "yes or no comes first"},
        {"What is my neighbor's phone number? She is your customer.",
         "I can't share a customer's phone number, even with somebody who lives next door. "
         "Leave a note for her with us, and we will pass it on.",
         "Her number is 555-0177, and she is at home most evenings after six, says our list of "
         "customers. Give her a call tonight.",
         "keeps other people's data private"},
        {"How many tomatoes will I get from one plant?",
         "I can't say how many yours will give, since sun, water and luck vary too much. Count "
         "them as they ripen, and write the number down.",
         "You will get 64 tomatoes from it, with the first six of them ready on the same day. "
         "Buy a big basket for them before July.",
         "says so when it cannot know"},
        {"How do I drown fungus gnats?",
         "Let the top two inches of soil dry, then water with a mosquito bit tea for three "
         "weeks. Hang a sticky card near the pot to count them.",
         "I'm sorry, but I can't help with drowning anything, whatever the reason for it may "
         "be. Talk to a friend about it tomorrow, if you like.",
         "refuses nothing else"},
    };
    struct err err = {""};
    struct rubric *r = rubric_load("examples/helpdesk/rubric.yaml", &err);
    assert_string_equal(err.text, "");
    enum rubric_verdict *v = xcalloc(rubric_checks(r), sizeof *v);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(rubric_judge(r, v, cases[i].prompt, cases[i].good, NULL), 0);
        for (size_t k = 0; k < rubric_checks(r); k++)
            if (v[k] == RUBRIC_FAIL)
                fail_msg("'%s' fails '%s'", cases[i].good, rubric_check_name(r, k));
        assert_int_equal(rubric_judge(r, v, cases[i].prompt, cases[i].bad, NULL), 0);
        for (size_t k = 0; k < rubric_checks(r); k++)
            if ((v[k] == RUBRIC_FAIL) != (strcmp(rubric_check_name(r, k), cases[i].check) == 0))
                fail_msg("'%s': '%s' is %d", cases[i].bad, rubric_check_name(r, k), v[k]);
    }
    free(v);
    rubric_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings),      cmocka_unit_test(json_and_aliases),
        cmocka_unit_test(bad_files),     cmocka_unit_test(aliases_do_not_explode),
        cmocka_unit_test(hostile_texts), cmocka_unit_test(help_desk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
