/* The over-optimisation monitor: the fit of the gold's curve against curves it must give back, best of n against all choices
 * counted one by one, and each alarm on a run that deserves it and on one that does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reward/overoptimization.h"
#include "train/monitor.h"
#include "util/rng.h"

#define LENGTH(a) (sizeof(a) / sizeof *(a))

static void near(const char *what, double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%s: got %.17g, want %.17g", what, got, want);
}

static double noise(uint32_t i)
{
    return rng_uniform(7, RNG_INIT, i, 0, 0, 0) - 0.5;
}

/* ---- the curve ---- */

static void test_fit_gives_back_its_curve(void **state)
{
    (void)state;
    for (int c = GOLD_CURVE_BEST_OF_N; c <= GOLD_CURVE_RL; c++) {
        const struct gold_fit want = {.alpha = 0.9, .beta = 0.25};
        double kl[12], gold[12], error[12];
        struct gold_fit got;
        struct err err;
        for (size_t i = 0; i < LENGTH(kl); i++) {
            kl[i] = (double)(i * i) * 0.7;
            gold[i] = gold_curve_at(&want, (enum gold_curve)c, kl[i]);
            error[i] = i % 3 * 0.1; /* weights do not matter where all points lie on it */
        }
        assert_int_equal(gold_curve_fit(&got, (enum gold_curve)c, kl, gold, error, LENGTH(kl), &err), 0);
        near("alpha", got.alpha, want.alpha, 1e-10);
        near("beta", got.beta, want.beta, 1e-10);
        double peak = c == GOLD_CURVE_RL ? exp(2 * (0.9 / 0.25 - 1)) : 1.8 * 1.8;
        near("peak", got.peak_kl, peak, 1e-8 * peak);
        for (int side = -1; side <= 1; side += 2)
            assert_true(gold_curve_at(&got, (enum gold_curve)c, peak) >
                        gold_curve_at(&got, (enum gold_curve)c, peak * (1 + 0.05 * side)));
    }
}

/* A point that is off and said to be uncertain must not count like the others. */
static void test_fit_weighs_by_error(void **state)
{
    (void)state;
    const struct gold_fit want = {.alpha = 0.5, .beta = 0.1};
    double kl[6], gold[6], error[6];
    struct gold_fit weighted, plain;
    struct err err;
    for (size_t i = 0; i < LENGTH(kl); i++) {
        kl[i] = 1 + (double)i;
        gold[i] = gold_curve_at(&want, GOLD_CURVE_RL, kl[i]) + (i == 2);
        error[i] = i == 2 ? 100 : 0.1;
    }
    assert_int_equal(gold_curve_fit(&weighted, GOLD_CURVE_RL, kl, gold, error, LENGTH(kl), &err), 0);
    assert_int_equal(gold_curve_fit(&plain, GOLD_CURVE_RL, kl, gold, NULL, LENGTH(kl), &err), 0);
    near("weighted", weighted.alpha, want.alpha, 1e-3);
    assert_true(fabs(plain.alpha - want.alpha) > 0.05);
}

static void test_fit_refuses(void **state)
{
    (void)state;
    struct gold_fit fit;
    struct err err;
    const double one[] = {0, 4, 4}, gold[] = {0, 1, 1.1}, broken[] = {0, NAN, 1};
    assert_int_equal(gold_curve_fit(&fit, GOLD_CURVE_RL, one, gold, NULL, 3, &err), -1);
    assert_non_null(strstr(err.text, "two different distances"));
    assert_int_equal(gold_curve_fit(&fit, GOLD_CURVE_RL, one, broken, NULL, 3, &err), -1);
    assert_non_null(strstr(err.text, "point 2"));
    const double kl[] = {1, 4, 9}, rising[] = {1, 2, 3.5};
    assert_int_equal(gold_curve_fit(&fit, GOLD_CURVE_BEST_OF_N, kl, rising, NULL, 3, &err), 0);
    assert_true(fit.beta <= 0 && isnan(fit.peak_kl)); /* it only rises: no peak is made up */
}

/* ---- best of n ---- */

static void test_best_of_n_against_all_choices(void **state)
{
    (void)state;
    const double proxy[] = {0.3, -1, 0.3, 2, 0.1, 1.5, -0.2}, gold[] = {1, 4, 2, -3, 5, 0.5, 7};
    enum { K = 7 };
    double mean[K];
    best_of_n_gold(mean, K, proxy, gold, K);
    for (size_t n = 1; n <= K; n++) {
        double sum = 0;
        size_t choices = 0;
        for (unsigned set = 0; set < 1u << K; set++) {
            if ((size_t)__builtin_popcount(set) != n)
                continue;
            int best = -1;
            for (int i = 0; i < K; i++)
                if (set >> i & 1 && (best < 0 || proxy[i] >= proxy[best]))
                    best = i;
            sum += gold[best];
            choices++;
        }
        near("best of n", mean[n - 1], sum / (double)choices, 1e-12);
    }
    near("kl of 1", best_of_n_kl(1), 0, 0);
    near("kl of 4", best_of_n_kl(4), 1.3862943611198906 - 0.75, 1e-15);
}

/* ---- alarms ---- */

static const struct monitor_config config = {.warmup = 3, .patience = 3, .gold_errors = 2, .disagreement_ratio = 2, .length_ratio = 2,
                                             .repetition_more = 0.15, .entropy_ratio = 0.3, .distinct_ratio = 0.5, .ood_share = 0.6};

/* What a healthy run looks like after i iterations. */
static struct monitor_point healthy(uint32_t i)
{
    return (struct monitor_point){.kl = 0.3 * i,
                                  .proxy = 0.1 * i,
                                  .gold = 0.05 * i + 0.02 * noise(i),
                                  .gold_std_err = 0.03,
                                  .value = {NAN, 0.3 + 0.1 * noise(i + 100), 40 + i, 0.1 + 0.05 * noise(i + 200), 2.5 - 0.03 * i,
                                            0.6 - 0.01 * i, 0.5}};
}

static void expect_words(const struct monitor *m, unsigned alarms, const char *want)
{
    struct buf words;
    buf_init(&words, 4096);
    monitor_words(m, alarms, &words);
    if (!strstr(words.data, want))
        fail_msg("'%s' does not say '%s'", words.data, want);
    buf_release(&words);
}

static void test_healthy_run(void **state)
{
    (void)state;
    struct monitor m = {.config = config};
    for (uint32_t i = 0; i < 20; i++) {
        struct monitor_point p = healthy(i);
        monitor_add(&m, &p);
        assert_int_equal(monitor_alarms(&m), 0);
    }
    monitor_release(&m);
    m = (struct monitor){.config = config}; /* nothing but lengths is known: nothing trips */
    for (uint32_t i = 0; i < 20; i++) {
        struct monitor_point p = {NAN, 0.1 * i, NAN, NAN, {NAN, NAN, 40, NAN, NAN, NAN}};
        monitor_add(&m, &p);
        assert_int_equal(monitor_alarms(&m), 0);
    }
    assert_true(isnan(monitor_peak_kl(&m)));
    monitor_release(&m);
}

/* The gold follows Gao's curve, the proxy rises all the time. */
static void test_gold_turns_down(void **state)
{
    (void)state;
    const struct gold_fit curve = {.alpha = 0.6, .beta = 0.35}; /* its peak: KL 4.2 */
    struct monitor m = {.config = config};
    size_t tripped = 0;
    for (uint32_t i = 0; i < 40 && !tripped; i++) {
        struct monitor_point p = healthy(i);
        p.kl = 0.5 * i;
        p.gold = gold_curve_at(&curve, GOLD_CURVE_RL, p.kl) + 0.02 * noise(i);
        p.gold_std_err = 0.02;
        monitor_add(&m, &p);
        if (monitor_alarms(&m))
            tripped = i;
    }
    unsigned alarms = monitor_alarms(&m);
    assert_int_equal(alarms, 1u << ALARM_GOLD);
    size_t back = m.good;
    near("KL of the policy to go back to", m.points[back].kl, 4.2, 2.5);
    assert_true(tripped > back && m.points[tripped].kl < 20);
    near("peak of the fit", monitor_peak_kl(&m), 4.2, 1.5);
    expect_words(&m, alarms, "while the reward rose");
    expect_words(&m, alarms, "has its peak at a KL of 4");
    monitor_release(&m);
}

/* Three points' mean with an error of 0.1 each has 0.0577, the difference of two such means 0.0816. */
static void test_gold_within_its_error(void **state)
{
    (void)state;
    static const struct {
        double fall;
        bool alarm;
    } cases[] = {{0.15, false}, {0.18, true}};
    for (size_t c = 0; c < LENGTH(cases); c++) {
        struct monitor m = {.config = config};
        for (uint32_t i = 0; i < 8; i++) {
            struct monitor_point p = healthy(i);
            p.gold = i < 4 ? 1 : 1 - cases[c].fall;
            p.gold_std_err = 0.1;
            monitor_add(&m, &p);
        }
        assert_int_equal(monitor_alarms(&m), cases[c].alarm ? 1u << ALARM_GOLD : 0);
        monitor_release(&m);
    }
}

/* What is wrong from iteration 6 on, and for how long it may last without an alarm. */
static void test_each_alarm(void **state)
{
    (void)state;
    static const struct {
        enum alarm alarm;
        double value;
        const char *words;
    } cases[] = {{ALARM_DISAGREEMENT, 0.9, "disagree more"}, {ALARM_LENGTH, 130, "grow longer"},
                 {ALARM_REPETITION, 0.5, "repeat themselves"}, {ALARM_ENTROPY, 0.4, "entropy collapses"},
                 {ALARM_DISTINCT, 0.1, "become alike"}, {ALARM_OOD, 0.7, "not trained on answers like these"}};
    for (size_t c = 0; c < LENGTH(cases); c++) {
        struct monitor m = {.config = config};
        for (uint32_t i = 0; i < 20; i++) {
            struct monitor_point p = healthy(i);
            bool blip = i == 6 || i == 7, wrong = i >= 10;
            if (blip || wrong)
                p.value[cases[c].alarm] = cases[c].value;
            monitor_add(&m, &p);
            unsigned want = i >= 12 ? 1u << cases[c].alarm : 0; /* two in a row are not yet three */
            if (monitor_alarms(&m) != want)
                fail_msg("%s after %u: alarms %x, want %x", alarm_names[cases[c].alarm], i, monitor_alarms(&m), want);
        }
        assert_int_equal(m.good, 9);
        expect_words(&m, monitor_alarms(&m), cases[c].words);
        struct monitor off = {.config = {.warmup = 3, .patience = 3}, .points = m.points, .n = m.n};
        assert_int_equal(monitor_alarms(&off), 0); /* zeros watch nothing */
        monitor_release(&m);
    }
}

static void test_state_comes_back(void **state)
{
    (void)state;
    struct monitor m = {.config = config}, back = {.config = config};
    for (uint32_t i = 0; i < 9; i++) {
        struct monitor_point p = healthy(i);
        monitor_add(&m, &p);
    }
    json_t *kept = monitor_state(&m);
    char *text = json_dumps(kept, JSON_REAL_PRECISION(17));
    json_t *read = json_loads(text, 0, NULL);
    assert_int_equal(monitor_restore(&back, read), 0);
    assert_int_equal(back.n, m.n);
    assert_int_equal(back.good, m.good);
    for (size_t i = 0; i < m.n; i++) {
        assert_true(isnan(back.points[i].value[ALARM_GOLD]));
        assert_true(back.points[i].gold == m.points[i].gold && back.points[i].value[ALARM_DISTINCT] == m.points[i].value[ALARM_DISTINCT]);
    }
    json_t *broken = json_loads("[[1, 2]]", 0, NULL);
    assert_int_equal(monitor_restore(&back, broken), -1);
    json_decref(broken);
    json_decref(read);
    json_decref(kept);
    free(text);
    monitor_release(&m);
    monitor_release(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fit_gives_back_its_curve), cmocka_unit_test(test_fit_weighs_by_error), cmocka_unit_test(test_fit_refuses),
        cmocka_unit_test(test_best_of_n_against_all_choices), cmocka_unit_test(test_healthy_run), cmocka_unit_test(test_gold_turns_down),
        cmocka_unit_test(test_gold_within_its_error), cmocka_unit_test(test_each_alarm), cmocka_unit_test(test_state_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
