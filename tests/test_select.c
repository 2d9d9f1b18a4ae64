/* Which answers are kept, by their scores: against the definitions, and for rejection sampling against the distribution
 * that it promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "reward/select.h"
#include "util/rng.h"

static void expect(enum select_how how, const double *scores, size_t k, double threshold, const size_t *want, size_t n)
{
    size_t chosen[8];
    const struct select_config c = {.how = how, .threshold = threshold};
    assert_int_equal(select_answers(chosen, scores, k, &c, 1), n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(chosen[i], want[i]);
}

static void test_by_score(void **state)
{
    (void)state;
    const double scores[] = {0.5, 2, -1, 2, -1}, same[] = {3, 3, 3};
    expect(SELECT_ALL, scores, 5, 0, (size_t[]){0, 1, 2, 3, 4}, 5);
    expect(SELECT_BEST, scores, 5, 0, (size_t[]){1}, 1);
    expect(SELECT_ABOVE, scores, 5, 0.5, (size_t[]){0, 1, 3}, 3);
    expect(SELECT_ABOVE, scores, 5, 7, NULL, 0);
    expect(SELECT_PAIR, scores, 5, 0, (size_t[]){1, 2}, 2);
    expect(SELECT_PAIR, same, 3, 0, NULL, 0);
    expect(SELECT_PAIR, scores, 1, 0, NULL, 0);
    expect(SELECT_BEST, scores, 0, 0, NULL, 0);
}

/* Of many answers with two scores, the accepted ones must stand to each other as e^(difference / beta) does. */
static void test_rejection_follows_the_best_policy(void **state)
{
    (void)state;
    enum { K = 4000, KEEP = 600 };
    static double scores[K];
    static size_t chosen[K];
    for (size_t i = 0; i < K; i++)
        scores[i] = rng_uniform(2, RNG_TEST, (uint32_t)i, 0, 0, 0) < 0.5;
    const struct select_config c = {.how = SELECT_RSO, .beta = 0.5, .keep = KEEP, .seed = 3};
    size_t n = select_answers(chosen, scores, K, &c, 9), high = 0;
    for (size_t i = 0; i < n; i += 2)
        assert_true(scores[chosen[i]] == 1 && scores[chosen[i + 1]] == 0);
    /* e^2 to 1: 88% are high, so of neighbours 2 x 0.88 x 0.12 = 21% differ and make a pair */
    assert_true(fabs((double)n / KEEP - 2 * 0.8808 * 0.1192) < 0.06);
    for (double beta = 1e-3; beta < 1e4; beta *= 1e6) { /* the best alone; any */
        const struct select_config extreme = {.how = SELECT_RSO, .beta = beta, .keep = KEEP, .seed = 3};
        high = select_answers(chosen, scores, K, &extreme, 9);
        assert_true(beta < 1 ? high == 0 : fabs((double)high / KEEP - 0.5) < 0.1);
    }
}

static void test_rejection_is_a_function_of_its_key(void **state)
{
    (void)state;
    const double scores[] = {0.1, 0.4, 0.2, 0.9, 0.3, 0.8, 0.7, 0.5};
    size_t a[8], b[8], other[8];
    const struct select_config c = {.how = SELECT_RSO, .beta = 1, .keep = 6, .seed = 5};
    size_t n = select_answers(a, scores, 8, &c, 1);
    assert_int_equal(n, 6);
    assert_int_equal(select_answers(b, scores, 8, &c, 1), n);
    assert_memory_equal(a, b, n * sizeof *a);
    select_answers(other, scores, 8, &c, 2);
    assert_memory_not_equal(a, other, n * sizeof *a);
    for (size_t i = 0; i < n; i += 2)
        assert_true(scores[a[i]] > scores[a[i + 1]]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_score),
        cmocka_unit_test(test_rejection_follows_the_best_policy),
        cmocka_unit_test(test_rejection_is_a_function_of_its_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
