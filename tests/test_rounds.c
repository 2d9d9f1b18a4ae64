/* What rounds are made of: which pairs are judged, how labels find their pairs again, when rounds end and which was the best. */
#include <math.h>
#include <string.h>

#include "data/labels.h"
#include "eval/rounds.h"
#include "reward/pairs.h"
#include "support/program.h"

/* ---- pairs ---- */

enum { K = 4 };
static const float scores[3 * K] = {0.31f, -1.2f, 2.385f, 0.05f, 0.9f, -0.4f, 1.1f, -2.0f, -0.7f, 0.6f, 1.9f, 0.4f};
static const uint32_t different[K] = {0, 1, 2, 3};

static size_t choose(struct pair *pairs, enum pairs_how how, size_t members, const uint32_t *same, uint32_t key)
{
    const struct pairs_config c = {.how = how, .temperature = 1.7, .seed = 5};
    const struct pairs_answers x = {scores, members, K, same, key};
    return pairs_choose(pairs, &x, &c);
}

static bool is_pair(const struct pair *p, size_t a, size_t b)
{
    return (p->a == a && p->b == b) || (p->a == b && p->b == a);
}

/* Variance over three members of sigmoid(lead / 1.7), and of the first alone p (1 - p): computed in Python, in double. */
static void test_uncertainty(void **state)
{
    static const double variance[6] = {0.031836550080021765, 0.01633366443487417,  0.04282665355480105,
                                       0.008720474011122237, 0.026057251185838168, 0.003978555204782022},
                        single[6] = {0.20651696361743657, 0.17592509616218965, 0.2485437428200105,
                                     0.09652580592913446, 0.219035983241277,   0.16122592581281706};
    struct pair pairs[6];
    (void)state;
    for (size_t members = 1; members <= 3; members += 2) {
        assert_int_equal(choose(pairs, PAIRS_ALL, members, different, 1), 6);
        for (size_t a = 0, i = 0; a < K; a++)
            for (size_t b = a + 1; b < K; b++, i++) {
                assert_true(is_pair(&pairs[i], a, b));
                expect_near(pairs[i].uncertainty, members == 1 ? single[i] : variance[i], 1e-8, "uncertainty", i);
            }
    }
}

static void test_which_pair(void **state)
{
    struct pair p[6];
    (void)state;
    assert_int_equal(choose(p, PAIRS_UNCERTAIN, 3, different, 1), 1);
    assert_true(is_pair(p, 0, 3)); /* the highest variance above */
    assert_int_equal(choose(p, PAIRS_UNCERTAIN, 1, different, 1), 1);
    assert_true(is_pair(p, 0, 3)); /* the first member calls them nearly equal */
    assert_int_equal(choose(p, PAIRS_EXTREME, 3, different, 1), 1);
    assert_true(is_pair(p, 2, 3)); /* means 0.17, -0.33, 1.80, -0.52 */
    /* answers that say the same, and empty ones, are no pair */
    static const uint32_t alike[K] = {0, 0, PAIRS_NO_ANSWER, 0}, two[K] = {0, 1, PAIRS_NO_ANSWER, 0};
    assert_int_equal(choose(p, PAIRS_ALL, 3, alike, 1), 0);
    assert_int_equal(choose(p, PAIRS_RANDOM, 0, alike, 1), 0);
    assert_int_equal(choose(p, PAIRS_ALL, 3, two, 1), 2);
    assert_int_equal(choose(p, PAIRS_EXTREME, 3, two, 1), 1);
    assert_true(is_pair(p, 0, 1) || is_pair(p, 1, 3));
}

/* Any pair, and either order, as often as any other; without scores that holds for all. */
static void test_chance(void **state)
{
    enum { N = 6000 };
    struct pair p[6];
    (void)state;
    for (size_t how = PAIRS_RANDOM; how <= PAIRS_UNCERTAIN; how++) {
        size_t count[K][K] = {{0}};
        if (how == PAIRS_ALL)
            continue;
        for (uint32_t key = 0; key < N; key++) {
            assert_int_equal(choose(p, (enum pairs_how)how, 0, different, key), 1);
            count[p->a][p->b]++;
        }
        for (size_t a = 0; a < K; a++)
            for (size_t b = 0; b < K; b++) /* 500 each; 5 standard deviations are 107 */
                assert_in_range(count[a][b], a == b ? 0 : 393, a == b ? 0 : 607);
    }
}

static void test_limit(void **state)
{
    static const struct pair pairs[] = {{0, 1, 0.1}, {0, 2, 0.24}, {1, 2, 0.1}, {0, 1, 0.2}, {0, 1, 0.05}};
    enum { N = sizeof pairs / sizeof *pairs };
    bool keep[N];
    size_t kept[N] = {0};
    (void)state;
    struct pairs_config c = {.how = PAIRS_UNCERTAIN, .temperature = 1, .seed = 1};
    pairs_limit(keep, pairs, N, 3, &c);
    assert_true(keep[0] && keep[1] && !keep[2] && keep[3] && !keep[4]); /* of equal ones the earlier */
    pairs_limit(keep, pairs, N, SIZE_MAX, &c);
    for (size_t i = 0; i < N; i++)
        assert_true(keep[i]);
    c.how = PAIRS_RANDOM;
    for (c.seed = 0; c.seed < 1000; c.seed++) {
        pairs_limit(keep, pairs, N, 2, &c);
        size_t n = 0;
        for (size_t i = 0; i < N; i++) {
            kept[i] += keep[i];
            n += keep[i];
        }
        assert_int_equal(n, 2);
    }
    for (size_t i = 0; i < N; i++) /* 400 each; 5 standard deviations are 77 */
        assert_in_range(kept[i], 323, 477);
}

/* ---- labels ---- */

static int enter(void **state)
{
    if (sandbox_enter(state))
        return -1;
    text_write("to-label.jsonl", "{\"id\": \"x\", \"prompt\": \"Hi\", \"a\": \"Hello.\", \"b\": \"What?\"}\n"
                                 "{\"id\": \"y\", \"prompt\": \"Hi\", \"a\": \"Go.\", \"b\": \"Come in.\"}\n"
                                 "{\"id\": \"z\", \"prompt\": \"So\", \"a\": \"It is.\", \"b\": \"No.\"}\n");
    return 0;
}

static int join(struct buf *out, struct labels_report *r, const char *labels, struct err *err)
{
    text_write("labels.jsonl", "%s", labels);
    buf_init(out, 1 << 20);
    return labels_join(out, r, "to-label.jsonl", "labels.jsonl", err);
}

static void test_labels(void **state)
{
    struct buf out;
    struct labels_report r;
    struct err err;
    (void)state;
    /* in any order, by several annotators, some undecided, with the texts or without */
    int rc = join(&out, &r,
                  "{\"id\": \"z\", \"label\": \"b\", \"annotator\": \"omar\", \"strength\": 2}\n"
                  "{\"id\": \"y\", \"label\": null}\n"
                  "{\"id\": \"x\", \"label\": \"a\", \"annotator\": \"omar\", \"a\": \"Hello.\", \"b\": \"What?\"}\n"
                  "{\"id\": \"x\", \"p_a\": 0.25, \"annotator\": \"ines\"}\n",
                  &err);
    if (rc)
        fail_msg("%s", err.text);
    assert_string_equal(out.data, "{\"id\": \"x-omar\", \"prompt\": \"Hi\", \"a\": \"Hello.\", \"b\": \"What?\", \"label\": "
                                  "\"a\", \"annotator\": \"omar\"}\n"
                                  "{\"id\": \"x-ines\", \"prompt\": \"Hi\", \"a\": \"Hello.\", \"b\": \"What?\", \"p_a\": "
                                  "0.25, \"annotator\": \"ines\"}\n"
                                  "{\"id\": \"z-omar\", \"prompt\": \"So\", \"a\": \"It is.\", \"b\": \"No.\", \"label\": "
                                  "\"b\", \"annotator\": \"omar\", "
                                  "\"strength\": 2}\n");
    assert_true(r.pairs == 3 && r.labelled == 2 && r.rows == 3 && r.annotators == 2);
    assert_string_equal(r.missing, "y");
    buf_release(&out);
}

static void test_wrong_labels(void **state)
{
    static const char *const cases[][2] = {
        {"{\"id\": \"q\", \"label\": \"a\"}\n", "line 1: no pair has the id \"q\""},
        {"{\"label\": \"a\"}\n", "\"id\" is missing"},
        {"{\"id\": \"x\", \"label\": \"c\"}\n", "must be \"a\", \"b\" or \"tie\""},
        {"{\"id\": \"x\", \"label\": true}\n", "must be \"a\", \"b\" or \"tie\""},
        {"{\"id\": \"x\", \"p_a\": 1.5}\n", "\"p_a\" must be a number from 0 to 1"},
        {"{\"id\": \"x\", \"label\": \"a\"}\n{\"id\": \"x\", \"label\": \"b\"}\n",
         "line 2: \"x\" is labelled a second time by nobody in particular "
         "(line 1)"},
        {"{\"id\": \"x\", \"label\": \"a\", \"annotator\": \"ines\"}\n{\"id\": \"y\", \"label\": \"b\", \"annotator\": "
         "\"ines\"}\n"
         "{\"id\": \"x\", \"label\": \"a\", \"annotator\": \"ines\"}\n",
         "line 3: \"x\" is labelled a second time by annotator ines (line 1)"},
        {"{\"id\": \"x\", \"label\": \"a\", \"b\": \"Other.\"}\n", "the field \"b\" is not what was sent out for \"x\""},
        {"{\"id\": \"x\", \"label\": \"a\", \"annotator\": 7}\n", "\"annotator\" must be a name"},
        {"{\"id\": \"x\", \"label\": \"a\", \"weight\": -1}\n", "\"weight\""},
        {"{\"id\": \"x\", \"label\": null}\n", "no label for any of the 3 pairs"},
        {"{\"id\": \"x\", \"label\": \"a\"", "line 1"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out;
        struct labels_report r;
        struct err err;
        if (join(&out, &r, cases[i][0], &err) == 0 || !strstr(err.text, cases[i][1]) || !strstr(err.text, "labels.jsonl"))
            fail_msg("%s: %s", cases[i][0], err.text);
        buf_release(&out);
    }
}

/* ---- the end ---- */

#define UNKNOWN                                                                                                                \
    {                                                                                                                          \
        NAN, NAN, NAN                                                                                                          \
    }

static void expect_stop(enum round_stop want, const struct round_figures *list, size_t n, const struct round_rules *rules,
                        const char *words)
{
    struct buf b;
    buf_init(&b, 1 << 12);
    enum round_stop got = round_stop(&b, list, n, rules);
    if (got != want || !strstr(b.data, words) || (want == ROUND_GO_ON) != (b.len == 0))
        fail_msg("%s instead of %s: %s", round_stop_names[got], round_stop_names[want], b.data);
    buf_release(&b);
}

static void test_stop(void **state)
{
    (void)state;
    const struct round_rules rules = {.rounds = 3, .least_gain = 0.1, .enough_agreement = 0.8},
                             imitating = {.rounds = 3, .imitates = true};
    struct round_figures nothing[3] = {{NAN, UNKNOWN, false, UNKNOWN, UNKNOWN},
                                       {NAN, UNKNOWN, false, UNKNOWN, UNKNOWN},
                                       {NAN, UNKNOWN, false, UNKNOWN, UNKNOWN}};
    expect_stop(ROUND_GO_ON, nothing, 1, &rules, "");
    expect_stop(ROUND_GO_ON, nothing, 2, &imitating, "");
    expect_stop(ROUND_LAST, nothing, 3, &rules, "round 3 was the last");
    struct round_figures f[1] = {{0.5, {0.05, -0.1, 0.11}, false, {0.85, 0.79, 0.9}, {0.7, 0.49, 0.9}}};
    expect_stop(ROUND_GO_ON, f, 1, &rules, ""); /* the gold may have risen by more than 0.1; 0.79 is below 0.8 */
    expect_stop(ROUND_TOLD_APART, f, 1, &imitating, "0.700 (0.490 to 0.900)");
    f[0].told_apart.lo = 0.51;
    expect_stop(ROUND_GO_ON, f, 1, &imitating, "");
    f[0].agreement.lo = 0.8;
    expect_stop(ROUND_AGREEMENT, f, 1, &rules, "0.850 (0.800 to 0.900)");
    f[0].gold_gain.hi = 0.09;
    expect_stop(ROUND_GOLD, f, 1, &rules, "rose by 0.05 (-0.1 to 0.09)");
    f[0].alarmed = true;
    expect_stop(ROUND_ALARM, f, 1, &rules, "the monitor");
}

static void test_best(void **state)
{
    (void)state;
    struct round_figures f[3] = {{.gold = 0.2}, {.gold = 0.7, .alarmed = true}, {.gold = 0.4}};
    assert_int_equal(round_best(f, 3, 0.1), 2); /* the gold has seen the policy from before the alarm */
    assert_int_equal(round_best(f, 1, 0.1), 1);
    assert_int_equal(round_best(f, 3, 0.7), 0); /* equal is not better */
    assert_int_equal(round_best(f, 0, 0.7), 0);
    assert_int_equal(round_best(f, 3, NAN), 3); /* nobody knows: the last without an alarm */
    assert_int_equal(round_best(f, 2, NAN), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uncertainty), cmocka_unit_test(test_which_pair), cmocka_unit_test(test_chance),
        cmocka_unit_test(test_limit),       cmocka_unit_test(test_labels),     cmocka_unit_test(test_wrong_labels),
        cmocka_unit_test(test_stop),        cmocka_unit_test(test_best),
    };
    return cmocka_run_group_tests(tests, enter, sandbox_leave);
}
