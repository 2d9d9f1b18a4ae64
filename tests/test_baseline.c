/* The two baselines: each must find what is there to be found, and nothing where there is nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/baseline.h"
#include "util/mem.h"
#include "util/rng.h"

enum { N = 240, HALF = N / 2, TEXT = 600 };

struct set {
    char prompt[N][16], a[N][TEXT], b[N][TEXT];
    struct baseline_pair pair[N];
};

/* `words` random words of a vocabulary of 40. */
static void ramble(char *out, size_t words, uint32_t i, uint32_t side)
{
    *out = 0;
    for (uint32_t k = 0; k < words; k++) {
        char word[16];
        snprintf(word, sizeof word, "w%u ", rng_below(40, 1, RNG_TEST, i, side, k, 0));
        strcat(out, word);
    }
}

static struct set *make(void)
{
    struct set *s = xcalloc(1, sizeof *s);
    for (uint32_t i = 0; i < N; i++) {
        snprintf(s->prompt[i], sizeof s->prompt[i], "prompt %u", i / 2);
        ramble(s->a[i], 20, i, 0);
        ramble(s->b[i], 20, i, 1);
        s->pair[i] = (struct baseline_pair){s->prompt[i], s->a[i], s->b[i], i % 2, 1};
    }
    return s;
}

static int length(struct baseline_result *out, double *correct, struct set *s)
{
    return baseline_length(out, correct, s->pair, HALF, s->pair + HALF, HALF, NULL);
}

static int words(struct baseline_result *out, double *correct, struct set *s)
{
    return baseline_words(out, correct, s->pair, HALF, s->pair + HALF, HALF, 1, NULL);
}

/* The better answer is the longer one, in nine of ten pairs. */
static void length_decides(void **state)
{
    (void)state;
    struct set *s = make();
    struct baseline_result r;
    for (uint32_t i = 0; i < N; i++)
        ramble((s->pair[i].p_a > 0.5) != (i % 10 == 9) ? s->a[i] : s->b[i], 30, i, 2);
    assert_int_equal(length(&r, NULL, s), 0);
    assert_int_equal(r.pairs, HALF);
    assert_true(fabs(r.accuracy.value - 0.9) < 1e-12);
    assert_true(r.accuracy.lo > 0.8 && r.accuracy.hi < 0.97);
    /* With the difference always 10 the fit must reproduce the odds of 9 to 1. */
    assert_true(fabs(r.coefficient - log(9) / 10) < 1e-3);
    free(s);
}

/* All pairs may have the better answer first, as preference rows do: there is no intercept to learn
 * that. */
static void the_place_of_an_answer_says_nothing(void **state)
{
    (void)state;
    struct set *s = make();
    struct baseline_result r;
    for (uint32_t i = 0; i < N; i++)
        s->pair[i].p_a = 1;
    assert_int_equal(length(&r, NULL, s), 0);
    assert_true(r.accuracy.value == 0.5); /* equal lengths: half */
    assert_int_equal(words(&r, NULL, s), 0);
    assert_true(r.accuracy.lo < 0.5 && r.accuracy.hi > 0.5);
    free(s);
}

static void a_word_decides(void **state)
{
    (void)state;
    struct set *s = make();
    struct baseline_result r, again;
    double correct[HALF];
    for (uint32_t i = 0; i < N; i++) {
        strcat(s->pair[i].p_a > 0.5 ? s->a[i] : s->b[i], "Please");
        strcat(s->pair[i].p_a > 0.5 ? s->b[i] : s->a[i], "nothing");
    }
    s->pair[HALF].p_a = 0.5;
    assert_int_equal(words(&r, correct, s), 0);
    assert_int_equal(r.pairs, HALF - 1);
    assert_true(r.accuracy.value > 0.98);
    assert_int_equal(r.vocabulary, 42);
    assert_true(isnan(correct[0]) && correct[1] == 1);
    assert_int_equal(words(&again, correct, s), 0);
    assert_memory_equal(&r, &again, sizeof r);
    free(s);
}

/* Labels at random: cross-validation must ask for strong shrinkage. */
static void nothing_decides(void **state)
{
    (void)state;
    struct set *s = make();
    struct baseline_result r;
    for (uint32_t i = 0; i < N; i++)
        s->pair[i].p_a = rng_below(2, 2, RNG_TEST, i, 5, 0, 0);
    assert_int_equal(words(&r, NULL, s), 0);
    assert_true(r.accuracy.lo < 0.5 && r.accuracy.hi > 0.5);
    assert_true(r.l2 >= 10);
    free(s);
}

static void weights_and_small_sets(void **state)
{
    (void)state;
    struct set *s = make();
    struct baseline_result r;
    /* The pairs that contradict the rule have weight 0. */
    for (uint32_t i = 0; i < N; i++) {
        bool wrong = i < HALF && i % 3 == 0;
        strcat((s->pair[i].p_a > 0.5) != wrong ? s->a[i] : s->b[i], "good");
        s->pair[i].weight = !wrong;
    }
    assert_int_equal(words(&r, NULL, s), 0);
    assert_true(r.accuracy.value > 0.9);
    /* One pair, one prompt: no folds to choose by. */
    assert_int_equal(baseline_words(&r, NULL, s->pair, 1, s->pair, 1, 1, NULL), 0);
    assert_true(r.l2 == 1);
    /* Nothing known: every margin is 0. */
    struct baseline_pair silent = {"p", "", "", 1, 1};
    assert_int_equal(baseline_words(&r, NULL, &silent, 1, s->pair, 2, 1, NULL), 0);
    assert_true(r.vocabulary == 0 && r.accuracy.value == 0.5);
    free(s);
}

static void bad_input(void **state)
{
    (void)state;
    struct baseline_pair good = {"p", "a", "b", 1, 1},
                         bad[] = {
                             {NULL, "a", "b", 1, 1},       {"p", NULL, "b", 1, 1},
                             {"p", "a", NULL, 1, 1},       {"p", "a", "b", 1.5, 1},
                             {"p", "a", "b", NAN, 1},      {"p", "a", "b", 1, -1},
                             {"p", "a", "b", 1, INFINITY},
                         };
    struct baseline_result r;
    struct err err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(baseline_length(&r, NULL, &bad[i], 1, &good, 1, &err), -1);
        assert_non_null(strstr(err.text, "training pair 1"));
        assert_int_equal(baseline_words(&r, NULL, &good, 1, &bad[i], 1, 1, &err), -1);
        assert_non_null(strstr(err.text, "held-out pair 1"));
    }
    assert_int_equal(baseline_words(&r, NULL, &good, 0, &good, 1, 1, &err), -1);
    assert_int_equal(baseline_length(&r, NULL, &good, 1, &good, 0, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(length_decides),
        cmocka_unit_test(the_place_of_an_answer_says_nothing),
        cmocka_unit_test(a_word_decides),
        cmocka_unit_test(nothing_decides),
        cmocka_unit_test(weights_and_small_sets),
        cmocka_unit_test(bad_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
