/* Statistics and measures of texts: known values, invariants, and the golden calibration case. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/stats.h"
#include "util/textstats.h"
#include "util/file.h"
#include "util/rng.h"

#define CLOSE(a, b, tolerance) assert_true(fabs((a) - (b)) <= (tolerance))

static void mean_and_quantile(void **state)
{
    (void)state;
    double x[] = {1, 2, 3, 4};
    CLOSE(stats_mean(x, 4), 2.5, 0);
    CLOSE(stats_quantile(x, 4, 0.3), 1.9, 1e-15);
    CLOSE(stats_quantile(x, 4, 0), 1, 0);
    CLOSE(stats_quantile(x, 4, 1), 4, 0);
    CLOSE(stats_quantile(x, 1, 0.9), 1, 0);
    assert_true(isnan(stats_mean(NULL, 0)));
    assert_true(isnan(stats_quantile(NULL, 0, 0.5)));
}

/* Values from statsmodels' proportion_confint(method="wilson"). */
static void wilson(void **state)
{
    (void)state;
    struct interval w = stats_wilson(8, 10);
    CLOSE(w.value, 0.8, 0);
    CLOSE(w.lo, 0.4901625, 1e-6);
    CLOSE(w.hi, 0.9433178, 1e-6);
    w = stats_wilson(0, 10);
    CLOSE(w.lo, 0, 0);
    CLOSE(w.hi, 0.2775328, 1e-6);
    w = stats_wilson(10, 10);
    CLOSE(w.lo, 0.7224672, 1e-6);
    CLOSE(w.hi, 1, 0);
    w = stats_wilson(0, 0);
    assert_true(isnan(w.value) && isnan(w.lo) && isnan(w.hi));
}

static void bootstrap_is_near_normal_theory(void **state)
{
    (void)state;
    enum { N = 400 };
    double x[N], sum2 = 0;
    for (uint32_t i = 0; i < N; i++)
        x[i] = 2.385 + 1.7 * rng_normal(3, RNG_TEST, i, 0, 0, 0);
    struct interval b = stats_bootstrap_mean(&(struct stats_sample){x, NULL, N}, 7);
    for (size_t i = 0; i < N; i++)
        sum2 += (x[i] - b.value) * (x[i] - b.value);
    double half = 1.96 * sqrt(sum2 / N / N);
    CLOSE(b.value, stats_mean(x, N), 0);
    CLOSE(b.hi - b.value, half, 0.1 * half);
    CLOSE(b.value - b.lo, half, 0.1 * half);
    struct interval again = stats_bootstrap_mean(&(struct stats_sample){x, NULL, N}, 7);
    assert_true(memcmp(&b, &again, sizeof b) == 0);
    again = stats_bootstrap_mean(&(struct stats_sample){x, NULL, N}, 8);
    assert_true(again.lo != b.lo);
}

/* Four copies of each observation in one unit say no more than one; as units of their own they
 * would. */
static void bootstrap_goes_by_unit(void **state)
{
    (void)state;
    enum { UNITS = 60, COPIES = 4, N = UNITS * COPIES };
    double one[UNITS], many[N];
    uint32_t unit[N];
    for (uint32_t i = 0; i < UNITS; i++)
        one[i] = rng_below(16, 5, RNG_TEST, i, 0, 0, 0) / 4.0;
    for (uint32_t i = 0; i < N; i++) {
        many[i] = one[i % UNITS];
        unit[i] = 1000 + 7 * (i % UNITS); /* any numbers, in any order */
    }
    struct interval a = stats_bootstrap_mean(&(struct stats_sample){one, NULL, UNITS}, 1);
    struct interval b = stats_bootstrap_mean(&(struct stats_sample){many, unit, N}, 1);
    struct interval c = stats_bootstrap_mean(&(struct stats_sample){many, NULL, N}, 1);
    CLOSE(a.lo, b.lo, 1e-12);
    CLOSE(a.hi, b.hi, 1e-12);
    assert_true(c.hi - c.lo < 0.6 * (a.hi - a.lo));
}

static void bootstrap_difference_is_paired(void **state)
{
    (void)state;
    enum { N = 50 };
    double x[N], y[N];
    uint32_t unit[N];
    for (uint32_t i = 0; i < N; i++) {
        x[i] = rng_below(100, 6, RNG_TEST, i, 0, 0, 0);
        y[i] = x[i] - 0.5;
        unit[i] = i;
    }
    struct interval d = stats_bootstrap_difference(&(struct stats_sample){x, unit, N},
                                                   &(struct stats_sample){y, unit, N}, 1);
    CLOSE(d.value, 0.5, 1e-12);
    CLOSE(d.lo, 0.5, 1e-12);
    CLOSE(d.hi, 0.5, 1e-12);
    /* Units on one side only, and unequal numbers of observations: wider, around the same value. */
    d = stats_bootstrap_difference(&(struct stats_sample){x, unit, N},
                                   &(struct stats_sample){y + 5, unit + 5, N - 5}, 1);
    assert_true(d.lo < d.value && d.value < d.hi);
}

static void bootstrap_of_too_little(void **state)
{
    (void)state;
    double x[] = {1, 2};
    uint32_t unit[] = {9, 9};
    struct interval b = stats_bootstrap_mean(&(struct stats_sample){x, unit, 2}, 1);
    CLOSE(b.value, 1.5, 0);
    assert_true(isnan(b.lo) && isnan(b.hi));
    b = stats_bootstrap_mean(&(struct stats_sample){NULL, NULL, 0}, 1);
    assert_true(isnan(b.value) && isnan(b.lo));
    b = stats_bootstrap_difference(&(struct stats_sample){x, unit, 2},
                                   &(struct stats_sample){NULL, NULL, 0}, 1);
    assert_true(isnan(b.value));
}

static void win_rate(void **state)
{
    (void)state;
    signed char outcome[] = {1, 1, 0, -1, 1, 0, 1, -1};
    uint32_t unit[] = {0, 0, 1, 1, 2, 2, 3, 3};
    struct win_rate w;
    stats_win_rate(&w, outcome, unit, 8, 1);
    assert_int_equal(w.n, 8);
    assert_int_equal(w.units, 4);
    assert_int_equal(w.wins, 4);
    assert_int_equal(w.ties, 2);
    assert_int_equal(w.losses, 2);
    CLOSE(w.rate.value, 0.625, 0);
    assert_true(w.rate.lo < 0.625 && w.rate.hi > 0.625 && w.rate.lo >= 0 && w.rate.hi <= 1);
    signed char all[] = {1, 1, 1, 1};
    stats_win_rate(&w, all, NULL, 4, 1);
    CLOSE(w.rate.value, 1, 0);
    CLOSE(w.rate.lo, stats_wilson(4, 4).lo, 0);
    assert_true(w.rate.lo < 0.6);
    stats_win_rate(&w, NULL, NULL, 0, 1);
    assert_true(isnan(w.rate.value));
}

static void calibration_by_hand(void **state)
{
    (void)state;
    double p[] = {0, 0.1, 0.15, 1}, outcome[] = {0, 1, 0.5, 1};
    struct calibration c;
    struct err err;
    assert_int_equal(stats_calibration(&c, p, outcome, 4, &err), 0);
    assert_int_equal(c.bin[0].n, 2); /* 0 and 0.1: the upper border belongs to the bin */
    assert_int_equal(c.bin[1].n, 1);
    assert_int_equal(c.bin[9].n, 1);
    CLOSE(c.bin[0].mean_p, 0.05, 1e-15);
    CLOSE(c.bin[0].share.value, 0.5, 1e-15);
    assert_true(isnan(c.bin[5].mean_p) && isnan(c.bin[5].share.value));
    CLOSE(c.ece, (0.9 + 0.35) / 4, 1e-12);
    CLOSE(c.brier, (0.81 + 0.1225) / 4, 1e-12);
    assert_int_equal(stats_calibration(&c, p, outcome, 0, &err), -1);
    p[2] = 1.5;
    assert_int_equal(stats_calibration(&c, p, outcome, 4, &err), -1);
    assert_non_null(strstr(err.text, "row 3"));
    p[2] = NAN;
    assert_int_equal(stats_calibration(&c, p, outcome, 4, &err), -1);
}

static void calibration_golden(void **state)
{
    (void)state;
    const char *shared = getenv("HONE_SHARED");
    char *path = path_join(shared ? shared : "../shared", "golden/objectives.json");
    json_t *root = json_load_file(path, 0, NULL);
    free(path);
    if (!root) {
        print_message("golden/objectives.json is not there: skipped\n");
        skip();
    }
    json_t *c = json_object_get(root, "calibration");
    json_t *jp = json_object_get(c, "p"), *jy = json_object_get(c, "y");
    size_t n = json_array_size(jp);
    double p[1000], y[1000];
    assert_true(n > 0 && n <= 1000);
    for (size_t i = 0; i < n; i++) {
        p[i] = json_number_value(json_array_get(jp, i));
        y[i] = json_number_value(json_array_get(jy, i));
    }
    struct calibration got;
    assert_int_equal(stats_calibration(&got, p, y, n, NULL), 0);
    CLOSE(got.ece, json_number_value(json_object_get(c, "ece_10_equal_width_bins")), 1e-9);
    CLOSE(got.brier, json_number_value(json_object_get(c, "brier")), 1e-9);
    json_decref(root);
}

/* ---- texts ---- */

static void words(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"Don't PANIC: it's 9-to-6!", "don't|panic|it's|9|to|6"},
        {"Caf\xc3\x89 \xc3\x9c"
         "ber \xce\xa3\xce\x9f\xce\xa6 \xd0\x9c\xd0\xb8\xd1\x80",
         "caf\xc3\xa9|\xc3\xbc"
         "ber|\xcf\x83\xce\xbf\xcf\x86|\xd0\xbc\xd0\xb8\xd1\x80"},
        {"don\xe2\x80\x99t \xe2\x80\x9cquote\xe2\x80\x9d 'quote'", "don't|quote|quote"},
        {"\xe6\x97\xa5\xe6\x9c\xac"
         "abc\xe3\x80\x82",
         "\xe6\x97\xa5|\xe6\x9c\xac|abc"},
        {"abc\xe6\x97\xa5", "abc|\xe6\x97\xa5"},
        {"a\xff"
         "b\xe2\x80",
         "a|b"},
        {"\xf0\x9f\x8c\xb1 plant\xe2\x80\xa6", "plant"},
        {"", ""},
        {" ' '' ", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct words w;
        char joined[200] = "";
        words_init(&w, cases[i].text);
        for (size_t k = 0; k < w.n; k++) {
            strcat(joined, k ? "|" : "");
            strcat(joined, w.word[k]);
        }
        assert_string_equal(joined, cases[i].words);
        assert_int_equal(text_word_count(cases[i].text), w.n);
        words_release(&w);
    }
}

static void check_sentences(const char *text, const char *first, const char *last)
{
    struct text_span f = text_first_sentence(text), l = text_last_sentence(text);
    assert_int_equal(f.n, strlen(first));
    assert_memory_equal(text + f.start, first, f.n);
    assert_int_equal(l.n, strlen(last));
    assert_memory_equal(text + l.start, last, l.n);
}

static void sentences(void **state)
{
    (void)state;
    check_sentences("Yes, it is. Bring it in!", "Yes, it is.", "Bring it in!");
    check_sentences("  No  ", "No", "No");
    check_sentences("", "", "");
    check_sentences(" \n ", "", "");
    check_sentences("Ask Mrs. Lee at 5.30 p.m. today. Or come", "Ask Mrs. Lee at 5.30 p.m.",
                    "Or come");
    check_sentences("See J. Smith, e.g. No. 5. Done.", "See J. Smith, e.g. No. 5.", "Done.");
    check_sentences("No. Come by.", "No.", "Come by.");
    check_sentences("\"Go!\" Then (stay.) Now", "\"Go!\"", "Now");
    check_sentences("One\n\nTwo", "One", "Two");
    check_sentences("\xe3\x81\xaf\xe3\x81\x84\xe3\x80\x82\xe6\x9d\xa5",
                    "\xe3\x81\xaf\xe3\x81\x84\xe3\x80\x82", "\xe6\x9d\xa5");
}

static void word_numbers(void **state)
{
    (void)state;
    struct word_table t;
    char word[16];
    word_table_init(&t);
    assert_int_equal(word_table_id(&t, "x", false), WORD_TABLE_NONE);
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(word, sizeof word, "w%u", i);
        assert_int_equal(word_table_id(&t, word, true), i);
    }
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(word, sizeof word, "w%u", i);
        assert_int_equal(word_table_id(&t, word, i % 2), i);
    }
    assert_int_equal(t.n, 1000);
    word_table_release(&t);
}

static void ngrams(void **state)
{
    (void)state;
    /* Text 0: 1 2 1 2 1; text 1: nothing; text 2: 1 2. */
    uint32_t ids[] = {1, 2, 1, 2, 1, 1, 2};
    size_t start[] = {0, 5, 5, 7};
    struct ngram_measure m;
    ngram_measure(&m, ids, start, 3, 1);
    assert_int_equal(m.all, 7);
    CLOSE(m.distinct, 2 / 7.0, 1e-15);
    CLOSE(m.repeated, 3 / 7.0, 1e-15);
    ngram_measure(&m, ids, start, 3, 2);
    assert_int_equal(m.all, 5);
    CLOSE(m.distinct, 2 / 5.0, 1e-15);
    CLOSE(m.repeated, 2 / 5.0, 1e-15);
    ngram_measure(&m, ids, start, 3, 6);
    assert_int_equal(m.all, 0);
    assert_true(isnan(m.distinct) && isnan(m.repeated));

    struct text_measure t;
    text_measure(&t, (const char *[]){"the cat the cat the cat the", "A dog."}, 2);
    CLOSE(t.mean_words, 4.5, 0);
    CLOSE(t.distinct_1, 4 / 9.0, 1e-15);
    CLOSE(t.distinct_2, 3 / 7.0, 1e-15);
    CLOSE(t.repeated_3, 3 / 5.0, 1e-15);
    text_measure(&t, NULL, 0);
    assert_true(isnan(t.mean_words));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mean_and_quantile),
        cmocka_unit_test(wilson),
        cmocka_unit_test(bootstrap_is_near_normal_theory),
        cmocka_unit_test(bootstrap_goes_by_unit),
        cmocka_unit_test(bootstrap_difference_is_paired),
        cmocka_unit_test(bootstrap_of_too_little),
        cmocka_unit_test(win_rate),
        cmocka_unit_test(calibration_by_hand),
        cmocka_unit_test(calibration_golden),
        cmocka_unit_test(words),
        cmocka_unit_test(sentences),
        cmocka_unit_test(word_numbers),
        cmocka_unit_test(ngrams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
