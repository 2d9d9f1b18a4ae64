/* Every objective three ways: against values of the field's own tools (golden/objectives.json:
 * formulas and autograd in float64), its gradient against central finite differences, and what it
 * does with inputs that no loss should be computed from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "objective/bradley_terry.h"
#include "objective/crowd_bt.h"
#include "objective/gae.h"
#include "objective/kl.h"
#include "objective/kto.h"
#include "objective/objective.h"
#include "objective/ordinal.h"
#include "objective/plackett_luce.h"
#include "objective/ppo.h"
#include "objective/scalar.h"
#include "objective/stepwise.h"

#define GOLDEN "tests/golden/objectives.json"
#define GOLDEN_TOLERANCE 1e-9 /* of the larger of 1 and the value: the file has 12 digits */
#define STEP 1e-5             /* of the finite differences, whose error goes as its square */
#define GRADIENT_TOLERANCE 1e-8
#define MOST 64 /* entries of the longest array */
#define UNTOUCHED 2.385

static json_t *golden;

/* ---- helpers ---- */

static void near(const char *what, double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance * fmax(1, fabs(want))))
        fail_msg("%s: got %.15g, want %.15g", what, got, want);
}

static json_t *member(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    if (!value)
        fail_msg("%s has no '%s'", GOLDEN, key);
    return value;
}

static double number(const json_t *object, const char *key)
{
    return json_number_value(member(object, key));
}

/* The array's length; its entries into out. */
static size_t numbers(double out[MOST], const json_t *object, const char *key)
{
    json_t *array = member(object, key);
    size_t n = json_array_size(array);
    assert_in_range(n, 1, MOST);
    for (size_t i = 0; i < n; i++)
        out[i] = json_number_value(json_array_get(array, i));
    return n;
}

static size_t lengths(size_t out[MOST], const json_t *object, const char *key)
{
    double x[MOST];
    size_t n = numbers(x, object, key);
    for (size_t i = 0; i < n; i++)
        out[i] = (size_t)x[i];
    return n;
}

static void near_array(const char *what, const double *got, const json_t *object, const char *key)
{
    double want[MOST];
    size_t n = numbers(want, object, key);
    for (size_t i = 0; i < n; i++) {
        char name[100];
        snprintf(name, sizeof name, "%s %s[%zu]", what, key, i);
        near(name, got[i], want[i], GOLDEN_TOLERANCE);
    }
}

static void fill(double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = UNTOUCHED;
}

static void assert_untouched(const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_true(x[i] == UNTOUCHED);
}

static void assert_says(const struct err *err, const char *part)
{
    if (!strstr(err->text, part))
        fail_msg("the error is \"%s\", without \"%s\"", err->text, part);
}

/* Compare gradient (n) with central differences of loss(context), which reads x (n). */
static void check_gradient(const char *what, double *x, const double *gradient, size_t n,
                           double (*loss)(void *context), void *context)
{
    for (size_t i = 0; i < n; i++) {
        double kept = x[i];
        x[i] = kept + STEP;
        double up = loss(context);
        x[i] = kept - STEP;
        double down = loss(context);
        x[i] = kept;
        char name[100];
        snprintf(name, sizeof name, "gradient of %s, entry %zu", what, i);
        near(name, gradient[i], (up - down) / (2 * STEP), GRADIENT_TOLERANCE);
    }
}

static const double not_finite[] = {NAN, INFINITY, -INFINITY};

/* ---- scalar ---- */

static void test_scalar(void **state)
{
    (void)state;
    near("softplus", softplus(2.385), log(1 + exp(2.385)), 1e-15);
    near("softplus", softplus(-2.385), log(1 + exp(-2.385)), 1e-15);
    near("sigmoid", sigmoid(2.385), 1 / (1 + exp(-2.385)), 1e-15);
    near("sigmoid", sigmoid(-2.385), 1 / (1 + exp(2.385)), 1e-15);
    near("log_sigmoid", log_sigmoid(0), -log(2), 1e-15);
    near("log1mexp", log1mexp(-2.385), log(1 - exp(-2.385)), 1e-15);
    near("log1mexp", log1mexp(-0.385), log(1 - exp(-0.385)), 1e-15);
    near("log1mexp", log1mexp(-1e-20), log(1e-20), 1e-15);
    near("log1mexp", log1mexp(-50) * 1e20, -exp(-50) * 1e20, 1e-15);
    assert_true(softplus(1e6) == 1e6 && softplus(-1e6) == 0);
    assert_true(sigmoid(1e6) == 1 && sigmoid(-1e6) == 0);
    assert_true(log_sigmoid(-1e6) == -1e6 && log_sigmoid(1e6) == 0);
    assert_true(softplus(-40) > 0); /* log(1 + e^-40) written plainly is 0 */
}

/* ---- preference losses ---- */

struct pairs_case {
    struct preference_pairs pairs;
    struct preference_config cfg;
    const struct preference_loss *row;
    double chosen[MOST], rejected[MOST], ref_chosen[MOST], ref_rejected[MOST];
    size_t chosen_len[MOST], rejected_len[MOST];
    double dchosen[MOST], drejected[MOST];
};

static void point_pairs(struct pairs_case *c, size_t n)
{
    c->pairs = (struct preference_pairs){
        .n = n,
        .chosen = c->chosen,
        .rejected = c->rejected,
        .ref_chosen = c->ref_chosen,
        .ref_rejected = c->ref_rejected,
        .chosen_len = c->chosen_len,
        .rejected_len = c->rejected_len,
    };
}

static void golden_pairs(struct pairs_case *c)
{
    json_t *dpo = member(golden, "dpo");
    size_t n = numbers(c->chosen, dpo, "policy_chosen");
    numbers(c->rejected, dpo, "policy_rejected");
    numbers(c->ref_chosen, dpo, "ref_chosen");
    numbers(c->ref_rejected, dpo, "ref_rejected");
    lengths(c->chosen_len, dpo, "len_chosen");
    lengths(c->rejected_len, dpo, "len_rejected");
    c->cfg = (struct preference_config){.beta = number(dpo, "beta")};
    point_pairs(c, n);
}

static void odd_pairs(struct pairs_case *c)
{
    static const double chosen[] = {-12.385, -40.71, -3.19, -155.9};
    static const double rejected[] = {-14.02, -38.33, -7.77, -158.01};
    static const double ref_chosen[] = {-13.1, -41.93, -3.19, -150.2};
    static const double ref_rejected[] = {-13.9, -39.51, -6.27, -161.4};
    static const size_t chosen_len[] = {7, 19, 1, 53}, rejected_len[] = {5, 23, 4, 61};
    memcpy(c->chosen, chosen, sizeof chosen);
    memcpy(c->rejected, rejected, sizeof rejected);
    memcpy(c->ref_chosen, ref_chosen, sizeof ref_chosen);
    memcpy(c->ref_rejected, ref_rejected, sizeof ref_rejected);
    memcpy(c->chosen_len, chosen_len, sizeof chosen_len);
    memcpy(c->rejected_len, rejected_len, sizeof rejected_len);
    c->cfg =
        (struct preference_config){.beta = 0.2385, .discopop_tau = 0.385, .simpo_gamma = 0.385};
    point_pairs(c, 4);
}

/* Those without a reference are given zeros for it. */
static void forget_reference(struct pairs_case *c)
{
    memset(c->ref_chosen, 0, sizeof c->ref_chosen);
    memset(c->ref_rejected, 0, sizeof c->ref_rejected);
}

static int call(double *loss, struct pairs_case *c, struct err *err)
{
    return preference_loss(loss, c->dchosen, c->drejected, c->row, &c->pairs, &c->cfg, err);
}

static double pairs_loss(void *context)
{
    struct pairs_case c = *(struct pairs_case *)context;
    struct err err;
    double loss;
    assert_int_equal(call(&loss, &c, &err), 0);
    return loss;
}

static const struct preference_loss *row(const char *name)
{
    struct err err;
    const struct preference_loss *loss = preference_loss_find(name, &err);
    assert_non_null(loss);
    return loss;
}

/* Golden case `key` of the table's row `name`. */
static void check_golden_pairs(struct pairs_case *c, const char *name, const char *key)
{
    struct err err;
    json_t *want = member(member(golden, "dpo"), key);
    double loss;
    c->row = row(name);
    if (json_object_get(want, "label_smoothing"))
        c->cfg.label_smoothing = number(want, "label_smoothing");
    assert_int_equal(call(&loss, c, &err), 0);
    near(key, loss, number(want, "loss"), GOLDEN_TOLERANCE);
    near_array(key, c->dchosen, want, "grad_chosen");
    near_array(key, c->drejected, want, "grad_rejected");
}

static void test_golden_preference_losses(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"sigmoid", "sigmoid"},
                                           {"sigmoid", "cdpo"},
                                           {"robust", "robust"},
                                           {"ipo", "ipo"},
                                           {"hinge", "hinge"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct pairs_case c;
        golden_pairs(&c);
        check_golden_pairs(&c, names[i][0], names[i][1]);
    }
}

static void test_golden_losses_without_reference(void **state)
{
    (void)state;
    struct pairs_case c;
    golden_pairs(&c);
    forget_reference(&c);
    c.cfg.beta = 1;
    check_golden_pairs(&c, "orpo", "orpo_odds_ratio_term");
    c.cfg.beta = number(member(member(golden, "dpo"), "simpo"), "simpo_beta");
    c.cfg.simpo_gamma = number(member(member(golden, "dpo"), "simpo"), "gamma");
    check_golden_pairs(&c, "simpo", "simpo");
}

static void check_pair_gradients(struct pairs_case *c, const char *what)
{
    struct err err;
    double loss;
    char name[60];
    snprintf(name, sizeof name, "%s (%s)", c->row->name, what);
    if (call(&loss, c, &err))
        fail_msg("%s: %s", name, err.text);
    check_gradient(name, c->chosen, c->dchosen, c->pairs.n, pairs_loss, c);
    check_gradient(name, c->rejected, c->drejected, c->pairs.n, pairs_loss, c);
}

/* Every row of the table that has pairs, with all settings that it takes; others it refuses.  The
 * values are away from the kink of the hinge. */
static void test_gradient_preference_losses(void **state)
{
    (void)state;
    struct err err;
    double loss;
    for (size_t r = 0; r < preference_losses_n; r++) {
        struct pairs_case c;
        odd_pairs(&c);
        c.row = &preference_losses[r];
        if (!c.row->pair && !c.row->step)
            continue;
        if (c.row->free)
            forget_reference(&c);
        c.cfg.label_smoothing = 0.1385;
        if (c.row->smooths) {
            check_pair_gradients(&c, "smoothed");
        } else {
            assert_int_equal(call(&loss, &c, &err), -1);
            assert_says(&err, "label_smoothing");
        }
        if (!c.row->must_smooth) {
            c.cfg.label_smoothing = 0;
            check_pair_gradients(&c, "plain");
        }
        for (int f = DIVERGENCE_FORWARD_KL; f <= DIVERGENCE_ALPHA; f++) {
            c.cfg.f_divergence_type = (enum divergence)f;
            c.cfg.f_alpha_divergence_coef = 0.385;
            if (c.row->diverges) {
                check_pair_gradients(&c, divergence_names[f]);
            } else {
                assert_int_equal(call(&loss, &c, &err), -1);
                assert_says(&err, "f_divergence_type");
            }
        }
    }
}

/* AlphaPO's reward, on log-probs per token as `hone cpo` hands them over; and its limit. */
static void test_gradient_alphapo(void **state)
{
    (void)state;
    static const char *const names[] = {"sigmoid", "hinge", "ipo", "simpo"};
    for (size_t i = 0; i < 4; i++) {
        struct pairs_case c;
        odd_pairs(&c);
        forget_reference(&c);
        c.row = row(names[i]);
        for (size_t j = 0; j < c.pairs.n; j++) {
            c.chosen[j] /= (double)c.chosen_len[j];
            c.rejected[j] /= (double)c.rejected_len[j];
            c.chosen_len[j] = c.rejected_len[j] = 1;
        }
        double plain = pairs_loss(&c);
        c.cfg.alpha = 0.25;
        check_pair_gradients(&c, "alpha 0.25");
        assert_true(fabs(pairs_loss(&c) - plain) > 1e-3);
        c.cfg.alpha = -0.385;
        check_pair_gradients(&c, "alpha -0.385");
        c.cfg.alpha = 1e-7;
        near("alpha to 0", pairs_loss(&c), plain, 1e-6);
    }
    struct pairs_case c;
    odd_pairs(&c);
    forget_reference(&c);
    c.row = row("simpo");
    c.pairs.n = 1;
    c.chosen[0] = -0.5, c.rejected[0] = -1.25, c.chosen_len[0] = c.rejected_len[0] = 1;
    c.cfg.alpha = 0.25;
    double lead = (1 - exp(0.125)) / 0.25 - (1 - exp(0.3125)) / 0.25;
    near("alphapo", pairs_loss(&c), log1p(exp(-(0.2385 * lead - 0.385))), 1e-14);
}

/* The other losses as their papers write them, for one pair; test_golden_trl has TRL's. */
static void test_formulas(void **state)
{
    (void)state;
    struct pairs_case c;
    odd_pairs(&c);
    c.pairs.n = 1;
    double b = c.cfg.beta, u = -12.385 + 13.1, v = -14.02 + 13.9, e = 0.1385, z = b * (u - v);
#define SIGMOID(x) (1 / (1 + exp(-(x))))
    double q = SIGMOID(z), m = SIGMOID(z / 0.385);
    const struct {
        const char *name;
        double smoothing, want;
    } list[] = {
        {"sigmoid_norm", 0, -log(SIGMOID(b * (u / 7 - v / 5)))},
        {"exo_pair", e, q * (log(q) - log(1 - e)) + (1 - q) * (log(1 - q) - log(e))},
        {"nca_pair", 0,
         -log(SIGMOID(b * u)) - 0.5 * log(SIGMOID(-b * u)) - 0.5 * log(SIGMOID(-b * v))},
        {"bco_pair", 0, -log(SIGMOID(b * u)) - log(SIGMOID(-b * v))},
        {"sppo_hard", 0, (u - 0.5 / b) * (u - 0.5 / b) + (v + 0.5 / b) * (v + 0.5 / b)},
        {"apo_zero", 0, 1 - SIGMOID(b * u) + SIGMOID(b * v)},
        {"apo_down", 0, SIGMOID(b * u) + 1 - SIGMOID(z)},
        {"discopop", 0, -(1 - m) * log(q) + m * exp(-z)},
        {"aot", 0, -log(q)},
        {"aot_unpaired", 0, -log(q)},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        c.row = row(list[i].name);
        c.cfg.label_smoothing = list[i].smoothing;
        near(list[i].name, pairs_loss(&c), list[i].want, 1e-13);
    }
    const double f[] = {[DIVERGENCE_FORWARD_KL] = (1 - exp(-u)) - (1 - exp(-v)),
                        [DIVERGENCE_JS] = log(SIGMOID(u)) - log(SIGMOID(v)),
                        [DIVERGENCE_ALPHA] = (exp(-0.615 * u) - exp(-0.615 * v)) / -0.615};
    c.row = row("sigmoid");
    c.cfg.label_smoothing = 0;
    c.cfg.f_alpha_divergence_coef = 0.385;
    for (int d = DIVERGENCE_FORWARD_KL; d <= DIVERGENCE_ALPHA; d++) {
        c.cfg.f_divergence_type = (enum divergence)d;
        near(divergence_names[d], pairs_loss(&c), -log(SIGMOID(b * f[d])), 1e-13);
    }
    c.cfg.f_alpha_divergence_coef = 1; /* the limit */
    near("alpha_divergence, 1", pairs_loss(&c), -log(q), 1e-15);
#undef SIGMOID
}

/* Quantiles, not pairs: which chosen stands beside which rejected does not matter to aot_unpaired,
 * and the smallest margin is held against the reference's smallest. */
static void test_aot_goes_by_rank(void **state)
{
    (void)state;
    struct pairs_case c;
    struct err err;
    double loss;
    odd_pairs(&c);
    forget_reference(&c);
    c.pairs.n = 2;
    c.chosen[0] = -1, c.chosen[1] = -4, c.rejected[0] = -2, c.rejected[1] = -7;
    c.row = row("aot_unpaired");
    double b = c.cfg.beta, want = 0.5 * (log1p(exp(-b * 1)) + log1p(exp(-b * 3)));
    near("aot_unpaired", pairs_loss(&c), want, 1e-15);
    c.rejected[0] = -7, c.rejected[1] = -2;
    assert_int_equal(call(&loss, &c, &err), 0);
    near("aot_unpaired, the other way round", loss, want, 1e-15);
    near("its gradient", c.drejected[0], b / (1 + exp(3 * b)) / 2, 1e-15);

    c.row = row("aot"); /* margins 6, -2; the reference's 0, 1: -2 against 0, 6 against 1 */
    c.ref_chosen[1] = 1;
    near("aot", pairs_loss(&c), 0.5 * (log1p(exp(b * 2)) + log1p(exp(-b * 5))), 1e-15);
}

static void test_preference_losses_at_reference(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double smoothing, want;
    } list[] = {
        {"sigmoid", 0, M_LN2},      {"sigmoid", 0.2, M_LN2},    {"sigmoid_norm", 0, M_LN2},
        {"robust", 0.2, M_LN2},     {"hinge", 0, 1},            {"ipo", 0, 25},
        {"nca_pair", 0, 2 * M_LN2}, {"bco_pair", 0, 2 * M_LN2}, {"sppo_hard", 0, 50},
        {"apo_zero", 0, 1},         {"apo_down", 0, 1},         {"aot", 0, M_LN2},
        {"aot_unpaired", 0, M_LN2}, {"discopop", 0, 0.5 * M_LN2 + 0.5},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        struct pairs_case c;
        odd_pairs(&c);
        memcpy(c.chosen, c.ref_chosen, sizeof c.chosen);
        memcpy(c.rejected, c.ref_rejected, sizeof c.rejected);
        c.cfg.beta = 0.1;
        c.cfg.label_smoothing = list[i].smoothing;
        c.row = row(list[i].name);
        near(list[i].name, pairs_loss(&c), list[i].want, 1e-15);
    }
}

static void test_preference_losses_far_away(void **state)
{
    (void)state;
    struct pairs_case c;
    struct err err;
    double loss;
    odd_pairs(&c);
    c.pairs.n = 1;
    c.cfg.beta = 1;
    c.row = row("sigmoid");
    c.chosen[0] = -1e5, c.rejected[0] = c.ref_chosen[0] = c.ref_rejected[0] = 0;
    assert_int_equal(call(&loss, &c, &err), 0);
    assert_true(loss == 1e5 && c.dchosen[0] == -1 && c.drejected[0] == 1);
    c.row = row("discopop"); /* e^1e5 is infinite, but it counts nothing */
    assert_int_equal(call(&loss, &c, &err), 0);
    assert_true(loss == 1e5 && c.dchosen[0] == -1 && c.drejected[0] == 1);

    c.chosen[0] = -1e300; /* finite, but its square is not */
    loss = UNTOUCHED;
    fill(c.dchosen, MOST);
    fill(c.drejected, MOST);
    c.row = row("ipo");
    assert_int_equal(call(&loss, &c, &err), -1);
    assert_says(&err, "pair 0");
    assert_untouched(&loss, 1);
    assert_untouched(c.dchosen, MOST);
    assert_untouched(c.drejected, MOST);

    c.row = row("sigmoid");
    c.chosen[0] = -1e5; /* e^1e5 */
    c.cfg.f_divergence_type = DIVERGENCE_FORWARD_KL;
    assert_int_equal(call(&loss, &c, &err), -1);
    assert_says(&err, "pair 0");
    assert_untouched(&loss, 1);

    c.cfg.f_divergence_type = DIVERGENCE_REVERSE_KL; /* probability 1 has no odds */
    c.row = row("orpo");
    c.chosen[0] = 0, c.rejected[0] = -1;
    assert_int_equal(call(&loss, &c, &err), -1);
    assert_says(&err, "pair 0");
    c.chosen[0] = -1e-12; /* nearly */
    assert_int_equal(call(&loss, &c, &err), 0);
    near("orpo near 1", loss, 0, 1e-11);
}

static void test_preference_stats(void **state)
{
    (void)state;
    struct pairs_case c;
    struct preference_stats s;
    struct err err;
    odd_pairs(&c);
    c.chosen[2] = c.ref_chosen[2], c.rejected[2] = c.ref_rejected[2]; /* no margin: not accurate */
    assert_int_equal(preference_stats(&s, &c.pairs, &c.cfg, &err), 0);
    /* logp - ref_logp: chosen .715, 1.22, 0, -5.7; rejected -.12, 1.18, 0, 3.39 */
    near("rewards/chosen", s.rewards_chosen, 0.2385 * -3.765 / 4, 1e-12);
    near("rewards/rejected", s.rewards_rejected, 0.2385 * 4.45 / 4, 1e-12);
    near("rewards/margins", s.rewards_margins, 0.2385 * -8.215 / 4, 1e-12);
    near("rewards/accuracies", s.rewards_accuracies, 0.5, 0);
    near("logps/chosen", s.logps_chosen, (-12.385 - 40.71 - 3.19 - 155.9) / 4, 1e-12);
    near("logps/rejected", s.logps_rejected, (-14.02 - 38.33 - 6.27 - 158.01) / 4, 1e-12);
    near("logps/both_fell", s.logps_both_fell, 0, 0);
    c.chosen[0] = -13.2, c.rejected[3] = -170; /* the first and the last pair fall on both sides */
    assert_int_equal(preference_stats(&s, &c.pairs, &c.cfg, &err), 0);
    near("logps/both_fell", s.logps_both_fell, 0.5, 0);
}

/* ---- several losses at once ---- */

static void test_mixture(void **state)
{
    (void)state;
    static const char *const names[] = {"sigmoid", "bco_pair", "aot_unpaired", "sft"};
    static const double weights[] = {0.8, 0.2, 1.5, 0.385};
    struct preference_mixture m = {0};
    struct pairs_case c;
    struct err err;
    odd_pairs(&c);
    c.cfg.label_smoothing = 0.1; /* of use to two of them */
    double want = 0, dchosen[MOST] = {0}, drejected[MOST] = {0}, loss;
    for (size_t i = 0; i < 4; i++) {
        assert_false(preference_mixture_by_step(&m) != (i == 3));
        assert_int_equal(preference_mixture_add(&m, row(names[i]), weights[i], &err), 0);
        if (i == 3)
            break;
        struct pairs_case own = c;
        own.row = row(names[i]);
        own.cfg.label_smoothing = own.row->smooths ? 0.1 : 0;
        assert_int_equal(call(&loss, &own, &err), 0);
        want += weights[i] * loss;
        for (size_t j = 0; j < c.pairs.n; j++) {
            dchosen[j] += weights[i] * own.dchosen[j];
            drejected[j] += weights[i] * own.drejected[j];
        }
    }
    assert_int_equal(
        preference_mixture_loss(&loss, c.dchosen, c.drejected, &m, &c.pairs, &c.cfg, &err), 0);
    near("a mixture", loss, want, 1e-15);
    for (size_t j = 0; j < c.pairs.n; j++) {
        near("its gradient", c.dchosen[j], dchosen[j], 1e-15);
        near("its gradient", c.drejected[j], drejected[j], 1e-15);
    }
    assert_true(preference_mixture_nll_weight(&m) == 0.385);
}

static void test_mixture_refuses(void **state)
{
    (void)state;
    struct preference_mixture m = {0};
    struct pairs_case c;
    struct err err;
    double loss = UNTOUCHED;
    odd_pairs(&c);
    assert_int_equal(preference_mixture_add(&m, row("hinge"), -1, &err), -1);
    assert_says(&err, "loss_weights");
    assert_int_equal(preference_mixture_add(&m, row("hinge"), NAN, &err), -1);
    assert_int_equal(preference_mixture_add(&m, row("hinge"), 1, &err), 0);
    assert_int_equal(preference_mixture_add(&m, row("hinge"), 1, &err), -1);
    assert_says(&err, "twice");
    c.cfg.label_smoothing = 0.1;
    assert_int_equal(preference_mixture_check(&m, &c.cfg, &err), -1);
    assert_says(&err, "label_smoothing");
    assert_int_equal(preference_mixture_add(&m, row("robust"), 1, &err), 0);
    assert_int_equal(preference_mixture_check(&m, &c.cfg, &err), 0);
    assert_int_equal(preference_mixture_add(&m, row("apo_zero"), 1, &err), 0);
    c.cfg.f_divergence_type = DIVERGENCE_JS;
    assert_int_equal(preference_mixture_check(&m, &c.cfg, &err), -1);
    assert_says(&err, "f_divergence_type");
    c.cfg.f_divergence_type = DIVERGENCE_REVERSE_KL;
    c.chosen[1] = NAN;
    fill(c.dchosen, MOST);
    assert_int_equal(
        preference_mixture_loss(&loss, c.dchosen, c.drejected, &m, &c.pairs, &c.cfg, &err), -1);
    assert_says(&err, "'chosen[1]'");
    assert_untouched(&loss, 1);
    assert_untouched(c.dchosen, MOST);
}

/* What every row refuses, and leaves its outputs alone. */
static void assert_pairs_refused(struct pairs_case *c, const char *part)
{
    struct err err;
    for (size_t r = 0; r < preference_losses_n; r++) {
        double loss = UNTOUCHED;
        c->row = &preference_losses[r];
        if (!c->row->pair && !c->row->step)
            continue;
        fill(c->dchosen, MOST);
        fill(c->drejected, MOST);
        double kept = c->cfg.label_smoothing;
        if (c->row->must_smooth && kept == 0)
            c->cfg.label_smoothing = 0.1;
        assert_int_equal(call(&loss, c, &err), -1);
        c->cfg.label_smoothing = kept;
        assert_says(&err, part);
        assert_untouched(&loss, 1);
        assert_untouched(c->dchosen, MOST);
        assert_untouched(c->drejected, MOST);
    }
    struct preference_stats s = {.rewards_margins = UNTOUCHED};
    if (strcmp(part, "'label_smoothing'"))
        assert_int_equal(preference_stats(&s, &c->pairs, &c->cfg, &err), -1);
    assert_true(s.rewards_margins == UNTOUCHED);
}

static void test_preference_losses_refuse(void **state)
{
    (void)state;
    struct pairs_case c;
    struct err err;
    odd_pairs(&c);
    struct {
        double *x;
        const char *part;
    } arrays[] = {{c.chosen, "'chosen[2]'"},
                  {c.rejected, "'rejected[2]'"},
                  {c.ref_chosen, "'ref_chosen[2]'"},
                  {c.ref_rejected, "'ref_rejected[2]'"}};
    for (size_t a = 0; a < 4; a++)
        for (size_t k = 0; k < 3; k++) {
            double kept = arrays[a].x[2];
            arrays[a].x[2] = not_finite[k];
            assert_pairs_refused(&c, arrays[a].part);
            arrays[a].x[2] = kept;
        }
    c.pairs.n = 0;
    assert_pairs_refused(&c, "no pairs");
    odd_pairs(&c);
    c.rejected_len[1] = 0;
    assert_pairs_refused(&c, "'rejected_len[1]'");
    odd_pairs(&c);
    c.cfg.beta = 0;
    assert_pairs_refused(&c, "'beta'");
    c.cfg.beta = NAN;
    assert_pairs_refused(&c, "'beta'");
    odd_pairs(&c);
    c.cfg.label_smoothing = 0.5;
    assert_pairs_refused(&c, "'label_smoothing'");
    odd_pairs(&c);
    c.cfg.alpha = NAN;
    assert_int_equal(preference_loss_check(row("simpo"), &c.cfg, &err), -1);
    assert_says(&err, "'alpha'");
    odd_pairs(&c);
    assert_int_equal(preference_loss_check(row("exo_pair"), &c.cfg, &err), -1);
    assert_says(&err, "0.001");
    c.cfg.discopop_tau = 0;
    assert_int_equal(preference_loss_check(row("discopop"), &c.cfg, &err), -1);
    assert_says(&err, "'discopop_tau'");
    c.cfg.simpo_gamma = -1;
    assert_int_equal(preference_loss_check(row("simpo"), &c.cfg, &err), -1);
    assert_says(&err, "'simpo_gamma'");
    assert_int_equal(preference_loss_check(row("sigmoid"), &c.cfg, &err), 0); /* uses neither */

    assert_null(preference_loss_find("sigmund", &err));
    assert_says(&err, "'sigmund'");
    assert_says(&err, "'sigmoid', 'sigmoid_norm'");
    assert_null(strstr(err.text, "simpo"));
}

/* ---- KTO ---- */

struct kto_case {
    struct kto_completions completions;
    struct kto_config cfg;
    double logp[MOST], ref[MOST], dlogp[MOST], kl;
    bool desirable[MOST];
};

static void golden_kto(struct kto_case *c)
{
    json_t *kto = member(golden, "kto");
    double desirable[MOST];
    size_t n = numbers(c->logp, kto, "policy");
    numbers(c->ref, kto, "ref");
    numbers(desirable, kto, "desirable");
    for (size_t i = 0; i < n; i++)
        c->desirable[i] = desirable[i] > 0;
    c->kl = number(kto, "kl");
    c->cfg = (struct kto_config){number(kto, "beta"), 1, 1};
    c->completions = (struct kto_completions){n, c->logp, c->ref, c->desirable};
}

static double kto_case_loss(void *context)
{
    struct kto_case *c = context;
    struct err err;
    double loss, dlogp[MOST];
    assert_int_equal(kto_loss(&loss, dlogp, &c->completions, c->kl, &c->cfg, &err), 0);
    return loss;
}

static void test_golden_kto(void **state)
{
    (void)state;
    struct kto_case c;
    struct err err;
    double loss;
    json_t *want = member(golden, "kto");
    golden_kto(&c);
    assert_int_equal(kto_loss(&loss, c.dlogp, &c.completions, c.kl, &c.cfg, &err), 0);
    near("kto", loss, number(want, "loss"), GOLDEN_TOLERANCE);
    near_array("kto", c.dlogp, want, "grad");
}

static void test_gradient_kto(void **state)
{
    (void)state;
    struct kto_case c;
    struct err err;
    double loss;
    golden_kto(&c);
    c.cfg = (struct kto_config){0.2385, 1.385, 0.615};
    assert_int_equal(kto_loss(&loss, c.dlogp, &c.completions, c.kl, &c.cfg, &err), 0);
    check_gradient("kto", c.logp, c.dlogp, c.completions.n, kto_case_loss, &c);
    double sum = 0; /* each by itself is the same: micro-batches do not matter */
    for (size_t i = 0; i < c.completions.n; i++) {
        struct kto_completions one = {1, &c.logp[i], &c.ref[i], &c.desirable[i]};
        double own, d;
        assert_int_equal(kto_loss(&own, &d, &one, c.kl, &c.cfg, &err), 0);
        sum += own;
        near("one completion's gradient", d / (double)c.completions.n, c.dlogp[i], 1e-15);
    }
    near("one by one", sum / (double)c.completions.n, loss, 1e-15);
}

static void test_kto_kl(void **state)
{
    (void)state;
    static const double logp[] = {-10, -21.5, -7}, ref[] = {-11, -22.5, -7.5};
    struct err err;
    double kl = UNTOUCHED;
    assert_int_equal(kto_kl(&kl, logp, ref, 3, &err), 0);
    near("kl", kl, 2.5 / 3, 1e-15);
    assert_int_equal(kto_kl(&kl, ref, logp, 3, &err), 0);
    assert_true(kl == 0);
    assert_int_equal(kto_kl(&kl, NULL, NULL, 0, &err), 0);
    assert_true(kl == 0);
    for (size_t k = 0; k < 3; k++) {
        double x[] = {-1, not_finite[k]};
        kl = UNTOUCHED;
        assert_int_equal(kto_kl(&kl, x, ref, 2, &err), -1);
        assert_says(&err, "kl_logp[1]");
        assert_untouched(&kl, 1);
    }
}

static void assert_kto_refused(struct kto_case *c, const char *part)
{
    struct err err;
    double loss = UNTOUCHED;
    fill(c->dlogp, MOST);
    assert_int_equal(kto_loss(&loss, c->dlogp, &c->completions, c->kl, &c->cfg, &err), -1);
    assert_says(&err, part);
    assert_untouched(&loss, 1);
    assert_untouched(c->dlogp, MOST);
}

static void test_kto_refuses(void **state)
{
    (void)state;
    struct kto_case c;
    golden_kto(&c);
    for (size_t k = 0; k < 3; k++) {
        golden_kto(&c);
        c.logp[4] = not_finite[k];
        assert_kto_refused(&c, "'logp[4]'");
        golden_kto(&c);
        c.ref[0] = not_finite[k];
        assert_kto_refused(&c, "'ref_logp[0]'");
    }
    golden_kto(&c);
    c.completions.n = 0;
    assert_kto_refused(&c, "no completions");
    golden_kto(&c);
    c.cfg.beta = 0;
    assert_kto_refused(&c, "'beta'");
    golden_kto(&c);
    c.cfg.undesirable_weight = -1;
    assert_kto_refused(&c, "'undesirable_weight'");
    golden_kto(&c);
    c.kl = -0.1;
    assert_kto_refused(&c, "'kl'");
}

/* ---- Bradley-Terry ---- */

struct scores_case {
    struct bradley_terry_pairs pairs;
    struct bradley_terry_config cfg;
    double a[MOST], b[MOST], w_a[MOST], w_b[MOST], w_tie[MOST], margin[MOST];
    double da[MOST], db[MOST], dtie;
};

/* Scores whose differences are the golden ones. */
static void golden_scores(struct scores_case *c)
{
    memset(c, 0, sizeof *c);
    size_t n = numbers(c->a, member(golden, "bradley_terry"), "score_difference");
    for (size_t i = 0; i < n; i++) {
        c->b[i] = 0.2385 * (double)i;
        c->a[i] += c->b[i];
    }
    c->pairs = (struct bradley_terry_pairs){.n = n, .a = c->a, .b = c->b};
}

static void golden_labels(struct scores_case *c, const json_t *of)
{
    size_t labels[MOST], n = lengths(labels, of, "labels");
    assert_int_equal(n, c->pairs.n);
    for (size_t i = 0; i < n; i++) {
        c->w_a[i] = labels[i] == 0;
        c->w_b[i] = labels[i] == 1;
        c->w_tie[i] = labels[i] == 2;
    }
    c->pairs.w_a = c->w_a, c->pairs.w_b = c->w_b, c->pairs.w_tie = c->w_tie;
}

static void check_golden_scores(struct scores_case *c, const char *key)
{
    json_t *want = member(member(golden, "bradley_terry"), key);
    struct err err;
    double loss, minus[MOST];
    assert_int_equal(bradley_terry_loss(&loss, c->da, c->db, &c->dtie, &c->pairs, &c->cfg, &err),
                     0);
    near(key, loss, number(want, "loss"), GOLDEN_TOLERANCE);
    near_array(key, c->da, want, "grad");
    for (size_t i = 0; i < c->pairs.n; i++)
        minus[i] = -c->db[i];
    near_array(key, minus, want, "grad");
}

static void test_golden_bradley_terry(void **state)
{
    (void)state;
    json_t *bt = member(golden, "bradley_terry");
    struct scores_case c;

    golden_scores(&c);
    check_golden_scores(&c, "plain");

    golden_scores(&c);
    numbers(c.margin, member(bt, "margin"), "margin");
    c.pairs.margin = c.margin;
    check_golden_scores(&c, "margin");

    golden_scores(&c);
    numbers(c.w_a, member(bt, "soft_label"), "p_chosen");
    for (size_t i = 0; i < c.pairs.n; i++)
        c.w_b[i] = 1 - c.w_a[i];
    c.pairs.w_a = c.w_a, c.pairs.w_b = c.w_b;
    check_golden_scores(&c, "soft_label");

    json_t *ties = member(bt, "ties_rao_kupper");
    golden_scores(&c);
    golden_labels(&c, ties);
    c.cfg.tie_parameter = number(ties, "eta");
    check_golden_scores(&c, "ties_rao_kupper");
    near("grad_eta", c.dtie, number(ties, "grad_eta"), GOLDEN_TOLERANCE);

    ties = member(bt, "ties_davidson");
    golden_scores(&c);
    golden_labels(&c, ties);
    c.cfg.ties = TIES_DAVIDSON;
    c.cfg.tie_parameter = number(ties, "ln_nu");
    check_golden_scores(&c, "ties_davidson");
    near("grad_ln_nu", c.dtie, number(ties, "grad_ln_nu"), GOLDEN_TOLERANCE);
}

/* Everything at once: judgements of several people, margins, smoothing, centering. */
static void odd_scores(struct scores_case *c)
{
    static const double a[] = {2.385, -0.771, 0.133, 1.917, -3.301};
    static const double b[] = {1.119, 0.437, 0.133, -2.713, 4.119};
    static const double w_a[] = {1, 0, 0.25, 0.617, 0.2};
    static const double w_b[] = {0, 1, 0.25, 0.383, 0};
    static const double w_tie[] = {0, 0, 0.5, 0, 1.3};
    static const double margin[] = {0, 0.719, 0.333, 1.001, 0.25};
    memset(c, 0, sizeof *c);
    memcpy(c->a, a, sizeof a);
    memcpy(c->b, b, sizeof b);
    memcpy(c->w_a, w_a, sizeof w_a);
    memcpy(c->w_b, w_b, sizeof w_b);
    memcpy(c->w_tie, w_tie, sizeof w_tie);
    memcpy(c->margin, margin, sizeof margin);
    c->pairs = (struct bradley_terry_pairs){
        .n = 5,
        .a = c->a,
        .b = c->b,
        .w_a = c->w_a,
        .w_b = c->w_b,
        .w_tie = c->w_tie,
        .margin = c->margin,
    };
    c->cfg = (struct bradley_terry_config){
        .tie_parameter = 0.385,
        .label_smoothing = 0.0719,
        .center_rewards_coefficient = 0.0123,
    };
}

static double scores_loss(void *context)
{
    struct scores_case *c = context;
    struct err err;
    double loss, da[MOST], db[MOST];
    assert_int_equal(bradley_terry_loss(&loss, da, db, NULL, &c->pairs, &c->cfg, &err), 0);
    return loss;
}

/* No kinks inside; eta = 0 is the border of Rao-Kupper's range and is kept away from. */
static void test_gradient_bradley_terry(void **state)
{
    (void)state;
    static const struct {
        enum bradley_terry_ties ties;
        double parameter;
    } cases[] = {{TIES_RAO_KUPPER, 0.385},
                 {TIES_RAO_KUPPER, 2.385},
                 {TIES_DAVIDSON, -0.719},
                 {TIES_DAVIDSON, 2.385}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct scores_case c;
        struct err err;
        double loss;
        odd_scores(&c);
        c.cfg.ties = cases[k].ties;
        c.cfg.tie_parameter = cases[k].parameter;
        assert_int_equal(bradley_terry_loss(&loss, c.da, c.db, &c.dtie, &c.pairs, &c.cfg, &err),
                         0);
        check_gradient("a", c.a, c.da, c.pairs.n, scores_loss, &c);
        check_gradient("b", c.b, c.db, c.pairs.n, scores_loss, &c);
        check_gradient("the tie parameter", &c.cfg.tie_parameter, &c.dtie, 1, scores_loss, &c);
    }
}

/* The header's formula, written out plainly. */
static void test_bradley_terry_formula(void **state)
{
    (void)state;
    struct scores_case c;
    double want = 0;
    odd_scores(&c);
    double eta = c.cfg.tie_parameter, e = c.cfg.label_smoothing;
    for (size_t i = 0; i < c.pairs.n; i++) {
        double x = c.a[i] - c.b[i], m = c.margin[i], centre = c.a[i] + c.b[i];
        want -= ((1 - e) * c.w_a[i] + e * c.w_b[i]) * log(sigmoid(x - m - eta));
        want -= ((1 - e) * c.w_b[i] + e * c.w_a[i]) * log(sigmoid(-(x + m) - eta));
        want -= c.w_tie[i] * log(1 - sigmoid(x - eta) - sigmoid(-x - eta));
        want += c.cfg.center_rewards_coefficient * centre * centre;
    }
    near("loss", scores_loss(&c), want / 5, 1e-14);
}

/* Which of the two is called a makes no difference. */
static void test_bradley_terry_is_symmetric(void **state)
{
    (void)state;
    for (int ties = 0; ties < 2; ties++) {
        struct scores_case c;
        struct err err;
        double loss, swapped, da[MOST], db[MOST];
        odd_scores(&c);
        c.cfg.ties = ties;
        assert_int_equal(bradley_terry_loss(&loss, c.da, c.db, NULL, &c.pairs, &c.cfg, &err), 0);
        c.pairs.a = c.b, c.pairs.b = c.a, c.pairs.w_a = c.w_b, c.pairs.w_b = c.w_a;
        assert_int_equal(bradley_terry_loss(&swapped, db, da, NULL, &c.pairs, &c.cfg, &err), 0);
        near("loss", swapped, loss, 1e-15);
        for (size_t i = 0; i < c.pairs.n; i++) {
            near("da", da[i], c.da[i], 1e-15);
            near("db", db[i], c.db[i], 1e-15);
        }
    }
}

/* Rao-Kupper with eta 0 and no ties is Bradley-Terry, bit for bit, as are labels given as weights.
 */
static void test_bradley_terry_without_ties(void **state)
{
    (void)state;
    struct scores_case c;
    struct err err;
    double plain = 0, loss, da[MOST], db[MOST];
    golden_scores(&c);
    size_t n = c.pairs.n;
    for (size_t i = 0; i < n; i++)
        plain += softplus(-(c.a[i] - c.b[i]));
    assert_int_equal(bradley_terry_loss(&loss, c.da, c.db, NULL, &c.pairs, &c.cfg, &err), 0);
    assert_true(loss == plain / (double)n);
    for (size_t i = 0; i < n; i++)
        assert_true(c.da[i] == -sigmoid(-(c.a[i] - c.b[i])) / (double)n && c.db[i] == -c.da[i]);

    for (size_t i = 0; i < n; i++)
        c.w_a[i] = 1;
    c.pairs.w_a = c.w_a, c.pairs.w_b = c.w_b, c.pairs.w_tie = c.w_tie, c.pairs.margin = c.margin;
    assert_int_equal(bradley_terry_loss(&loss, da, db, NULL, &c.pairs, &c.cfg, &err), 0);
    assert_true(loss == plain / (double)n);
    assert_memory_equal(da, c.da, n * sizeof *da);
    assert_memory_equal(db, c.db, n * sizeof *db);
}

/* The outcomes' probabilities add up to 1, also far out, where the plain formula cancels. */
static void test_ties_are_probabilities(void **state)
{
    (void)state;
    static const double differences[] = {0, 0.719, -2.385, 31, -45};
    static const double parameters[] = {0.01, 0.385, 4.2};
    for (int ties = 0; ties < 2; ties++)
        for (size_t p = 0; p < 3; p++)
            for (size_t k = 0; k < 5; k++) {
                struct scores_case c = {.cfg = {.ties = ties, .tie_parameter = parameters[p]}};
                double total = 0;
                for (int outcome = 0; outcome < 3; outcome++) {
                    c.a[0] = differences[k];
                    c.w_a[0] = outcome == 0, c.w_b[0] = outcome == 1, c.w_tie[0] = outcome == 2;
                    c.pairs = (struct bradley_terry_pairs){
                        .n = 1, .a = c.a, .b = c.b, .w_a = c.w_a, .w_b = c.w_b, .w_tie = c.w_tie};
                    total += exp(-scores_loss(&c));
                }
                near("sum of probabilities", total, 1, 1e-14);
            }
}

static void test_bradley_terry_stats(void **state)
{
    (void)state;
    struct scores_case c;
    struct bradley_terry_stats s;
    struct err err;
    odd_scores(&c);
    assert_int_equal(bradley_terry_stats(&s, &c.pairs, &c.cfg, &err), 0);
    /* Pairs 0, 1 and 3 are decided and right; 2 is even; 4 leans to a, which scores less. */
    assert_int_equal(s.decided, 4);
    near("accuracy", s.accuracy, 0.75, 0);
    near("margin", s.margin, (1.266 + 1.208 + 4.63 - 7.42) / 4, 1e-12);
    near("min_reward", s.min_reward, -3.301, 0);
    near("max_reward", s.max_reward, 4.119, 0);
    near("mean_reward", s.mean_reward, (0.363 + 3.095) / 10, 1e-12);

    c.pairs.a += 2, c.pairs.b += 2, c.pairs.w_a += 2, c.pairs.w_b += 2, c.pairs.w_tie += 2;
    c.pairs.n = 1;
    assert_int_equal(bradley_terry_stats(&s, &c.pairs, &c.cfg, &err), 0);
    assert_int_equal(s.decided, 0);
    assert_true(isnan(s.accuracy) && isnan(s.margin));
}

static void assert_scores_refused(struct scores_case *c, const char *part)
{
    struct err err;
    double loss = UNTOUCHED;
    fill(c->da, MOST);
    fill(c->db, MOST);
    c->dtie = UNTOUCHED;
    assert_int_equal(bradley_terry_loss(&loss, c->da, c->db, &c->dtie, &c->pairs, &c->cfg, &err),
                     -1);
    assert_says(&err, part);
    assert_untouched(&loss, 1);
    assert_untouched(&c->dtie, 1);
    assert_untouched(c->da, MOST);
    assert_untouched(c->db, MOST);
}

static void test_bradley_terry_refuses(void **state)
{
    (void)state;
    struct scores_case c;
    odd_scores(&c);
    struct {
        double *x;
        const char *part;
    } arrays[] = {{c.a, "'a[3]'"},     {c.b, "'b[3]'"},         {c.w_a, "'w_a[3]'"},
                  {c.w_b, "'w_b[3]'"}, {c.w_tie, "'w_tie[3]'"}, {c.margin, "'margin[3]'"}};
    for (size_t a = 0; a < 6; a++) {
        double kept = arrays[a].x[3];
        for (size_t k = 0; k < 3; k++) {
            arrays[a].x[3] = not_finite[k];
            assert_scores_refused(&c, arrays[a].part);
        }
        arrays[a].x[3] = -0.1;
        if (a >= 2)
            assert_scores_refused(&c, arrays[a].part);
        arrays[a].x[3] = kept;
    }
    c.cfg.tie_parameter = 0;
    assert_scores_refused(&c, "'w_tie[2]'");
    c.cfg.tie_parameter = -0.1;
    assert_scores_refused(&c, "'eta'");
    c.cfg.ties = TIES_DAVIDSON;
    c.cfg.tie_parameter = NAN;
    assert_scores_refused(&c, "'ln_nu[0]'");
    odd_scores(&c);
    c.cfg.label_smoothing = -0.1;
    assert_scores_refused(&c, "'label_smoothing'");
    odd_scores(&c);
    c.cfg.center_rewards_coefficient = -0.1;
    assert_scores_refused(&c, "'center_rewards_coefficient'");
    odd_scores(&c);
    c.a[1] = 1e200; /* finite, but the square of the centering is not */
    assert_scores_refused(&c, "pair 1");
    c.pairs.n = 0;
    assert_scores_refused(&c, "no pairs");
}

/* ---- rankings ---- */

struct ranking_case {
    double scores[MOST], dscores[MOST];
    size_t ranks[MOST], k;
};

static double ranking_loss(void *context)
{
    struct ranking_case *c = context;
    struct err err;
    double nll, d[MOST];
    assert_int_equal(plackett_luce_loss(&nll, d, c->scores, c->ranks, c->k, &err), 0);
    return nll;
}

static void test_golden_plackett_luce(void **state)
{
    (void)state;
    const json_t *want = member(golden, "plackett_luce");
    struct ranking_case c;
    struct err err;
    double nll;
    size_t order[MOST];
    c.k = numbers(c.scores, want, "scores");
    assert_int_equal(lengths(order, want, "order_best_first"), c.k);
    for (size_t i = 0; i < c.k; i++)
        c.ranks[order[i]] = i + 1;
    assert_int_equal(plackett_luce_loss(&nll, c.dscores, c.scores, c.ranks, c.k, &err), 0);
    near("nll", nll, number(want, "nll"), 1e-9);
    near_array("plackett_luce", c.dscores, want, "grad");
}

static void test_plackett_luce(void **state)
{
    (void)state;
    struct ranking_case c = {.scores = {0.719, -2.385, 1.208, 0.333, 3.01}, .ranks = {2, 4, 1, 2, 7}, .k = 5};
    struct err err;
    double nll;
    assert_int_equal(plackett_luce_loss(&nll, c.dscores, c.scores, c.ranks, c.k, &err), 0);
    check_gradient("scores", c.scores, c.dscores, c.k, ranking_loss, &c);
    /* written out: 2 and 2 are each chosen out of itself and what is below both */
    const double *s = c.scores;
    double below = exp(s[1]) + exp(s[4]);
    double want = log(exp(s[0]) + exp(s[1]) + exp(s[2]) + exp(s[3]) + exp(s[4])) - s[2] + log(exp(s[0]) + below) - s[0] +
                  log(exp(s[3]) + below) - s[3] + log(below) - s[1];
    near("nll", nll, want, 1e-13);
    /* only the order of ranks counts, and only differences of scores */
    for (size_t i = 0; i < c.k; i++) {
        c.ranks[i] = 10 * c.ranks[i] + 3;
        c.scores[i] += 700;
    }
    near("shifted", ranking_loss(&c), want, 1e-10);
    /* two answers: Bradley-Terry */
    struct ranking_case two = {.scores = {0.719, -2.385}, .ranks = {9, 3}, .k = 2};
    near("two", ranking_loss(&two), softplus(0.719 + 2.385), 1e-14);
    /* far apart: no overflow */
    two.scores[0] = 1e4;
    near("far", ranking_loss(&two), 1e4 + 2.385, 1e-10);
}

static void test_plackett_luce_refuses(void **state)
{
    (void)state;
    struct ranking_case c = {.scores = {0.719, -2.385, 1}, .ranks = {2, 4, 1}, .k = 3};
    struct err err;
    double nll = UNTOUCHED;
    fill(c.dscores, MOST);
    assert_int_equal(plackett_luce_loss(&nll, c.dscores, c.scores, c.ranks, 1, &err), -1);
    assert_says(&err, "two or more");
    for (size_t k = 0; k < 3; k++) {
        c.scores[1] = not_finite[k];
        assert_int_equal(plackett_luce_loss(&nll, c.dscores, c.scores, c.ranks, 3, &err), -1);
        assert_says(&err, "'scores[1]'");
    }
    c.scores[1] = 0;
    c.ranks[0] = c.ranks[1] = c.ranks[2] = 5;
    assert_int_equal(plackett_luce_loss(&nll, c.dscores, c.scores, c.ranks, 3, &err), -1);
    assert_says(&err, "the rank 5");
    assert_untouched(&nll, 1);
    assert_untouched(c.dscores, MOST);
}

/* ---- ratings ---- */

struct rating_case {
    double score, theta[4], dscore, dtheta[4];
    size_t rating;
};

static double rating_loss(void *context)
{
    struct rating_case *c = context;
    struct err err;
    double nll, d, dtheta[4];
    assert_int_equal(ordinal_loss(&nll, &d, dtheta, c->score, c->rating, c->theta, 4, &err), 0);
    return nll;
}

static void test_ordinal(void **state)
{
    (void)state;
    struct err err;
    double nll, total = 0;
    struct rating_case c = {.score = 0.719, .theta = {-2.385, -0.333, 0.208, 3.01}};
    for (c.rating = 1; c.rating <= 5; c.rating++) {
        assert_int_equal(ordinal_loss(&nll, &c.dscore, c.dtheta, c.score, c.rating, c.theta, 4, &err), 0);
        check_gradient("score", &c.score, &c.dscore, 1, rating_loss, &c);
        check_gradient("theta", c.theta, c.dtheta, 4, rating_loss, &c);
        double upper = c.rating < 5 ? sigmoid(c.theta[c.rating - 1] - c.score) : 1;
        double lower = c.rating > 1 ? sigmoid(c.theta[c.rating - 2] - c.score) : 0;
        near("nll", nll, -log(upper - lower), 1e-13);
        total += exp(-nll);
    }
    near("probabilities", total, 1, 1e-14);
    /* far out, where the plain formula cancels: log(sigmoid(-40) - sigmoid(-41)) */
    c = (struct rating_case){.score = 41, .theta = {-9, 0, 1, 2}, .rating = 3};
    near("far", rating_loss(&c), 40 - log1p(-exp(-1.0)), 1e-12);
    /* two ratings with a threshold of 0 are a coin of probability sigmoid(s) */
    double zero = 0, d, dt;
    assert_int_equal(ordinal_loss(&nll, &d, &dt, 0.719, 2, &zero, 1, &err), 0);
    near("two ratings", nll, softplus(-0.719), 1e-15);
}

static void test_ordinal_refuses(void **state)
{
    (void)state;
    struct err err;
    double nll = UNTOUCHED, d = UNTOUCHED, theta[3] = {-1, 0, 2}, dtheta[3] = {UNTOUCHED, UNTOUCHED, UNTOUCHED};
    assert_int_equal(ordinal_loss(&nll, &d, dtheta, 0, 0, theta, 3, &err), -1);
    assert_int_equal(ordinal_loss(&nll, &d, dtheta, 0, 5, theta, 3, &err), -1);
    assert_says(&err, "none of 1 to 4");
    assert_int_equal(ordinal_loss(&nll, &d, dtheta, NAN, 2, theta, 3, &err), -1);
    assert_says(&err, "'score[0]'");
    theta[1] = 2;
    assert_int_equal(ordinal_loss(&nll, &d, dtheta, 0, 2, theta, 3, &err), -1);
    assert_says(&err, "do not rise");
    theta[1] = INFINITY;
    assert_int_equal(ordinal_loss(&nll, &d, dtheta, 0, 2, theta, 3, &err), -1);
    assert_says(&err, "'theta[1]'");
    assert_untouched(&nll, 1);
    assert_untouched(&d, 1);
    assert_untouched(dtheta, 3);
}

/* ---- steps ---- */

struct step_case {
    double score, dscore;
    bool right;
};

static double step_case_loss(void *context)
{
    struct step_case *c = context;
    struct err err;
    double loss, d;
    assert_int_equal(stepwise_loss(&loss, &d, c->score, c->right, &err), 0);
    return loss;
}

/* torch.nn.functional.cross_entropy(tensor([[0, s]], dtype=float64), tensor([label])), as TRL's PRMTrainer has it */
static void test_stepwise(void **state)
{
    static const double wanted[][3] = {{2.385, 0, 2.473092357134353}, {2.385, 1, 0.08809235713435318}, {-0.719, 0, 0.3969215500792322},
                                       {-0.719, 1, 1.115921550079232}, {40, 0, 40}, {-40, 0, 0}}; /* the last is e^-40 */
    (void)state;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        struct step_case c = {.score = wanted[i][0], .right = wanted[i][1] > 0};
        struct err err;
        double loss;
        assert_int_equal(stepwise_loss(&loss, &c.dscore, c.score, c.right, &err), 0);
        near("loss of a step", loss, wanted[i][2], 1e-15 * fmax(wanted[i][2], 1));
        check_gradient("a step", &c.score, &c.dscore, 1, step_case_loss, &c);
    }
    for (size_t i = 0; i < 3; i++) {
        struct err err;
        double loss = 1.5, d = 2.5;
        assert_int_equal(stepwise_loss(&loss, &d, not_finite[i], true, &err), -1);
        assert_true(loss == 1.5 && d == 2.5);
        assert_says(&err, "score");
    }
}

/* ---- annotators ---- */

struct vote_case {
    double x, eta, w_a, w_b, dx, deta;
};

static double vote_loss(void *context)
{
    struct vote_case *c = context;
    struct err err;
    double nll, dx, deta;
    assert_int_equal(crowd_bt_loss(&nll, &dx, &deta, c->x, c->eta, c->w_a, c->w_b, &err), 0);
    return nll;
}

static double prior_loss(void *context)
{
    double logit = *(double *)context, d;
    return crowd_bt_prior(sigmoid(logit), &d);
}

static void test_crowd_bt(void **state)
{
    (void)state;
    static const struct vote_case cases[] = {{0.719, 0.385, 1, 0, 0, 0}, {-2.385, 0.9, 0.3, 1.7, 0, 0}, {3.01, 0.5, 0, 2, 0, 0}, {-0.333, 0.05, 1, 1, 0, 0}};
    struct err err;
    double nll;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct vote_case c = cases[k];
        assert_int_equal(crowd_bt_loss(&nll, &c.dx, &c.deta, c.x, c.eta, c.w_a, c.w_b, &err), 0);
        check_gradient("x", &c.x, &c.dx, 1, vote_loss, &c);
        check_gradient("eta", &c.eta, &c.deta, 1, vote_loss, &c);
        double p = c.eta * sigmoid(c.x) + (1 - c.eta) * sigmoid(-c.x);
        near("nll", nll, -c.w_a * log(p) - c.w_b * log(1 - p), 1e-14);
    }
    /* who is always right: Bradley-Terry; a coin teaches nothing; who always errs says b for a */
    struct vote_case c = {.x = 1.208, .eta = 1, .w_a = 1};
    near("reliable", vote_loss(&c), softplus(-1.208), 1e-15);
    assert_int_equal(crowd_bt_loss(&nll, &c.dx, &c.deta, 1.208, 0.5, 1, 0, &err), 0);
    near("a coin", c.dx, 0, 0);
    c.eta = 0;
    near("wrong", vote_loss(&c), softplus(1.208), 1e-15);
    double logit = 0.719, dlogit;
    crowd_bt_prior(sigmoid(logit), &dlogit);
    check_gradient("the prior", &logit, &dlogit, 1, prior_loss, &logit);
    crowd_bt_prior(0.8, &dlogit);
    near("the prior's mode", dlogit, 0, 1e-15);
}

static void test_crowd_bt_reliability(void **state)
{
    (void)state;
    /* answers far apart, one who is always right and one who is in 16 of 20: the binomial's likelihood interval; and one who
     * has not voted, who may be anybody */
    double x[40], w_a[40], w_b[40];
    for (size_t i = 0; i < 40; i++) {
        x[i] = i % 2 ? 30 : -30;
        w_a[i] = (x[i] > 0) == (i >= 4);
        w_b[i] = 1 - w_a[i];
    }
    const size_t start[] = {0, 20, 40, 40};
    struct interval r[3], again[3];
    double scale, other;
    crowd_bt_reliability(r, &scale, x, w_a, w_b, start, 3);
    near("share", r[0].value, 0.8, 1e-4);
    for (int side = 0; side < 2; side++) {
        double at = side ? r[0].hi : r[0].lo;
        near("fall of the likelihood", 16 * log(at / 0.8) + 4 * log((1 - at) / 0.2), -1.920729410347062, 1e-3);
    }
    assert_true(r[1].value > 0.999 && r[1].hi == 1 && r[1].lo > 0.85 && r[1].lo < 0.97);
    assert_true(isnan(r[2].value) && r[2].lo == 0 && r[2].hi == 1);
    /* scores of another size: the same people, at another scale */
    for (size_t i = 0; i < 40; i++)
        x[i] *= 0.05;
    crowd_bt_reliability(again, &other, x, w_a, w_b, start, 3);
    near("share", again[0].value, 0.8, 1e-2);
    assert_true(other > scale && again[1].value > 0.99);
    for (size_t i = 0; i < 40; i++)
        x[i] = 0; /* answers alike say nothing */
    crowd_bt_reliability(r, &scale, x, w_a, w_b, start, 3);
    assert_true(r[0].lo == 0 && r[0].hi == 1 && r[1].lo == 0 && r[1].hi == 1);
}

static void test_crowd_bt_refuses(void **state)
{
    (void)state;
    struct err err;
    double nll = UNTOUCHED, dx = UNTOUCHED, deta = UNTOUCHED;
    for (size_t k = 0; k < 3; k++) {
        assert_int_equal(crowd_bt_loss(&nll, &dx, &deta, not_finite[k], 0.9, 1, 0, &err), -1);
        assert_says(&err, "'x[0]'");
        assert_int_equal(crowd_bt_loss(&nll, &dx, &deta, 1, not_finite[k], 1, 0, &err), -1);
        assert_says(&err, "'eta'");
    }
    assert_int_equal(crowd_bt_loss(&nll, &dx, &deta, 1, 1.01, 1, 0, &err), -1);
    assert_int_equal(crowd_bt_loss(&nll, &dx, &deta, 1, 0.9, -1, 0, &err), -1);
    assert_says(&err, "'w_a[0]'");
    assert_int_equal(crowd_bt_loss(&nll, &dx, &deta, -800, 1, 1, 0, &err), -1); /* P(a) is 0 */
    assert_says(&err, "too far apart");
    assert_untouched(&nll, 1);
    assert_untouched(&dx, 1);
    assert_untouched(&deta, 1);
}

/* ---- PPO ---- */

struct tokens_case {
    struct ppo_config cfg;
    size_t n, count;
    const bool *mask;
    double logp[MOST], old_logp[MOST], advantages[MOST], dlogp[MOST];
    double values[MOST], old_values[MOST], returns[MOST], dvalues[MOST];
};

static int policy_loss(double *loss, struct ppo_sums *sums, struct tokens_case *c, struct err *err)
{
    return ppo_policy_loss(loss, c->dlogp, sums, c->logp, c->old_logp, c->advantages, c->mask, c->n,
                           c->count, &c->cfg, err);
}

static int value_loss(double *loss, struct ppo_sums *sums, struct tokens_case *c, struct err *err)
{
    return ppo_value_loss(loss, c->dvalues, sums, c->values, c->old_values, c->returns, c->mask,
                          c->n, c->count, &c->cfg, err);
}

static void golden_tokens(struct tokens_case *c)
{
    json_t *ppo = member(golden, "ppo");
    memset(c, 0, sizeof *c);
    c->cfg = (struct ppo_config){
        .cliprange = number(ppo, "cliprange"),
        .cliprange_value = number(ppo, "cliprange_value"),
        .vf_coef = number(ppo, "vf_coef"),
    };
    c->n = c->count = numbers(c->logp, ppo, "new_logprobs");
    numbers(c->old_logp, ppo, "old_logprobs");
    numbers(c->advantages, ppo, "advantages");
    numbers(c->values, ppo, "new_values");
    numbers(c->old_values, ppo, "old_values");
    numbers(c->returns, ppo, "returns");
}

static void test_golden_ppo(void **state)
{
    (void)state;
    json_t *want = member(golden, "ppo");
    struct tokens_case c;
    struct ppo_sums sums = {0};
    struct ppo_stats s;
    struct err err;
    double policy, value, ratio = 0, ratio_sq = 0;
    golden_tokens(&c);
    assert_int_equal(policy_loss(&policy, &sums, &c, &err), 0);
    assert_int_equal(value_loss(&value, &sums, &c, &err), 0);
    near("policy_loss", policy, number(want, "policy_loss"), GOLDEN_TOLERANCE);
    near("value_loss", value, number(want, "value_loss"), GOLDEN_TOLERANCE);
    near("loss", policy + c.cfg.vf_coef * value, number(want, "loss"), GOLDEN_TOLERANCE);
    near_array("ppo", c.dlogp, want, "grad_logprobs");
    near_array("ppo", c.dvalues, want, "grad_values");

    ppo_stats(&s, &sums);
    near("policy_loss", s.policy_loss, number(want, "policy_loss"), GOLDEN_TOLERANCE);
    near("value_loss", s.value_loss, number(want, "value_loss"), GOLDEN_TOLERANCE);
    near("clipfrac", s.clipfrac, number(want, "clipfrac"), GOLDEN_TOLERANCE);
    near("approxkl", s.approxkl, number(want, "approxkl"), GOLDEN_TOLERANCE);
    for (size_t i = 0; i < c.n; i++) {
        double r = exp(c.logp[i] - c.old_logp[i]);
        ratio += r / (double)c.n;
        ratio_sq += r * r / (double)c.n;
    }
    near("ratio", s.ratio, ratio, 1e-12);
    near("ratio_var", s.ratio_var, ratio_sq - ratio * ratio, 1e-12);
}

/* Tokens of every kind: inside the range, clipped with either sign, outside but not clipped, masked
 * out. */
static const bool odd_mask[] = {true, true, false, true, true, true, true};
static void odd_tokens(struct tokens_case *c)
{
    static const double old_logp[] = {-2.385, -0.113, -5.71, -1.917, -0.033, -3.301, -0.719};
    static const double step[] = {0.0719, 0.385, 0.01, -0.431, 0.319, -0.377, -0.0033};
    static const double advantages[] = {1.103, 0.917, 9, -1.313, -0.617, 0.719, -2.385};
    static const double old_values[] = {0.385, -0.71, 0.1, 1.119, 0.033, -0.9, 2.385};
    static const double change[] = {0.119, 0.33, 0.2, -0.417, 0.3719, -0.0719, 0.2385};
    static const double from_return[] = {0.7, 0.9, 1, -1.1, -0.8, 0.5, 0.03}; /* value - return */
    memset(c, 0, sizeof *c);
    c->cfg = (struct ppo_config){.cliprange = 0.2, .cliprange_value = 0.2, .vf_coef = 0.385};
    c->n = 7;
    c->count = 11; /* other tokens of the mini-batch come in another call */
    c->mask = odd_mask;
    for (size_t i = 0; i < c->n; i++) {
        c->old_logp[i] = old_logp[i];
        c->logp[i] = old_logp[i] + step[i];
        c->advantages[i] = advantages[i];
        c->old_values[i] = old_values[i];
        c->values[i] = old_values[i] + change[i];
        c->returns[i] = c->values[i] - from_return[i];
    }
}

static double policy_loss_alone(void *context)
{
    struct tokens_case copy = *(struct tokens_case *)context;
    struct ppo_sums sums = {0};
    struct err err;
    double loss;
    assert_int_equal(policy_loss(&loss, &sums, &copy, &err), 0);
    return loss;
}

static double value_loss_alone(void *context)
{
    struct tokens_case copy = *(struct tokens_case *)context;
    struct ppo_sums sums = {0};
    struct err err;
    double loss;
    assert_int_equal(value_loss(&loss, &sums, &copy, &err), 0);
    return copy.cfg.vf_coef * loss;
}

/* Kinks: the ratio at 1 +- cliprange (for the policy); the value at old_value +- cliprange_value,
 * and where both branches are as far from the return on its two sides (for the critic).  No token
 * is within 0.01 of one. */
static void test_gradient_ppo(void **state)
{
    (void)state;
    struct tokens_case c;
    struct ppo_sums sums = {0};
    struct err err;
    double loss;
    odd_tokens(&c);
    for (size_t i = 0; i < c.n; i++) {
        double eps = c.cfg.cliprange_value, v = c.values[i], old = c.old_values[i];
        double error = v - c.returns[i], clipped = clamp(v, old - eps, old + eps) - c.returns[i];
        assert_true(fabs(fabs(exp(c.logp[i] - c.old_logp[i]) - 1) - c.cfg.cliprange) > 0.01);
        assert_true(fabs(fabs(v - old) - eps) > 0.01 || !odd_mask[i]);
        assert_true(fabs(error + clipped) > 0.01);
    }
    assert_int_equal(policy_loss(&loss, &sums, &c, &err), 0);
    assert_int_equal(value_loss(&loss, &sums, &c, &err), 0);
    assert_true(c.dlogp[2] == 0 && c.dvalues[2] == 0);
    assert_true(c.dlogp[1] == 0 && c.dlogp[3] == 0); /* clipped, with either sign */
    assert_true(c.dlogp[4] != 0 && c.dlogp[5] != 0); /* outside the range, on the way back */
    check_gradient("logp", c.logp, c.dlogp, c.n, policy_loss_alone, &c);
    check_gradient("values", c.values, c.dvalues, c.n, value_loss_alone, &c);

    struct ppo_stats s;
    ppo_stats(&s, &sums);
    near("clipfrac", s.clipfrac, 2. / 6, 1e-15);
    near("vf_clipfrac", s.vf_clipfrac, 1. / 6, 1e-15);
}

static void assert_tokens_refused(struct tokens_case *c, bool policy, const char *part);

/* Token 4 has A = -0.617 and a ratio of e^0.319 = 1.376: a dual clip at 1.3 bounds its loss and ends its gradient; at 3 it
 * changes nothing. */
static void test_ppo_dual_clip(void **state)
{
    (void)state;
    struct tokens_case c, plain;
    struct ppo_sums sums = {0}, plain_sums = {0};
    struct err err;
    double loss, plain_loss;
    odd_tokens(&plain);
    c = plain;
    assert_int_equal(policy_loss(&plain_loss, &plain_sums, &plain, &err), 0);
    c.cfg.dual_clip = 3;
    assert_int_equal(policy_loss(&loss, &sums, &c, &err), 0);
    assert_true(loss == plain_loss);
    c.cfg.dual_clip = 1.3;
    assert_int_equal(policy_loss(&loss, &sums, &c, &err), 0);
    near("dual clip", plain_loss - loss, 0.617 * (exp(0.319) - 1.3) / 11, 1e-12);
    for (size_t i = 0; i < c.n; i++)
        assert_true(i == 4 ? c.dlogp[i] == 0 && plain.dlogp[i] != 0 : c.dlogp[i] == plain.dlogp[i]);
    check_gradient("logp", c.logp, c.dlogp, c.n, policy_loss_alone, &c);
    c.cfg.dual_clip = 1.1;
    assert_tokens_refused(&c, true, "'dual_clip'");
}

/* At the policy that sampled: every ratio exactly 1, the loss minus the mean advantage, nothing
 * clipped. */
static void test_ppo_first_mini_batch(void **state)
{
    (void)state;
    struct tokens_case c;
    struct ppo_sums sums = {0};
    struct ppo_stats s;
    struct err err;
    double loss, mean = 0;
    golden_tokens(&c);
    memcpy(c.logp, c.old_logp, sizeof c.logp);
    memcpy(c.values, c.old_values, sizeof c.values);
    for (size_t i = 0; i < c.n; i++)
        mean += c.advantages[i] / (double)c.n;
    assert_int_equal(policy_loss(&loss, &sums, &c, &err), 0);
    near("policy_loss", loss, -mean, 1e-14);
    assert_int_equal(value_loss(&loss, &sums, &c, &err), 0);
    ppo_stats(&s, &sums);
    assert_true(s.ratio == 1 && s.ratio_var == 0 && s.approxkl == 0);
    assert_true(s.clipfrac == 0 && s.vf_clipfrac == 0);
    for (size_t i = 0; i < c.n; i++)
        assert_true(c.dlogp[i] == -c.advantages[i] / (double)c.n);
}

/* One call or one a token: the same gradients and sums, bit for bit. */
static void test_ppo_in_pieces(void **state)
{
    (void)state;
    struct tokens_case c, one;
    struct ppo_sums whole = {0}, pieces = {0};
    struct err err;
    double loss, part, sum = 0;
    odd_tokens(&c);
    assert_int_equal(policy_loss(&loss, &whole, &c, &err), 0);
    assert_int_equal(value_loss(&loss, &whole, &c, &err), 0);
    for (size_t i = 0; i < c.n; i++) {
        double dlogp, dvalue;
        one = c;
        assert_int_equal(ppo_policy_loss(&part, &dlogp, &pieces, &c.logp[i], &c.old_logp[i],
                                         &c.advantages[i], &odd_mask[i], 1, c.count, &c.cfg, &err),
                         0);
        assert_int_equal(ppo_value_loss(&part, &dvalue, &pieces, &c.values[i], &c.old_values[i],
                                        &c.returns[i], &odd_mask[i], 1, c.count, &c.cfg, &err),
                         0);
        sum += part;
        assert_true(dlogp == one.dlogp[i] && dvalue == one.dvalues[i]);
    }
    assert_memory_equal(&whole, &pieces, sizeof whole);
    near("value loss", sum, loss, 1e-15);
}

static void assert_tokens_refused(struct tokens_case *c, bool policy, const char *part)
{
    struct ppo_sums sums = {.ratio = UNTOUCHED};
    struct err err;
    double loss = UNTOUCHED;
    fill(c->dlogp, MOST);
    fill(c->dvalues, MOST);
    assert_int_equal((policy ? policy_loss : value_loss)(&loss, &sums, c, &err), -1);
    assert_says(&err, part);
    assert_untouched(&loss, 1);
    assert_untouched(&sums.ratio, 1);
    assert_true(sums.policy_tokens == 0 && sums.value_tokens == 0);
    assert_untouched(c->dlogp, MOST);
    assert_untouched(c->dvalues, MOST);
}

static void test_ppo_refuses(void **state)
{
    (void)state;
    struct tokens_case c;
    struct ppo_sums sums = {0};
    struct err err;
    double loss;
    odd_tokens(&c);
    struct {
        double *x;
        const char *part;
    } arrays[] = {{c.logp, "'logp[3]'"},
                  {c.old_logp, "'old_logp[3]'"},
                  {c.advantages, "'advantages[3]'"},
                  {c.values, "'values[3]'"},
                  {c.old_values, "'old_values[3]'"},
                  {c.returns, "'returns[3]'"}};
    for (size_t a = 0; a < 6; a++)
        for (size_t k = 0; k < 3; k++) {
            double kept = arrays[a].x[3];
            arrays[a].x[3] = not_finite[k];
            assert_tokens_refused(&c, a < 3, arrays[a].part);
            arrays[a].x[3] = kept;
            arrays[a].x[2] = not_finite[k]; /* masked out: not read */
        }
    assert_int_equal(policy_loss(&loss, &sums, &c, &err), 0);
    assert_int_equal(value_loss(&loss, &sums, &c, &err), 0);

    odd_tokens(&c);
    c.logp[3] = c.old_logp[3] + 800;
    assert_tokens_refused(&c, true, "token 3");
    c.values[5] = 1e200;
    assert_tokens_refused(&c, false, "token 5");
    odd_tokens(&c);
    c.cfg.cliprange = 0;
    assert_tokens_refused(&c, true, "'cliprange'");
    c.cfg.cliprange_value = NAN;
    assert_tokens_refused(&c, false, "'cliprange_value'");
    odd_tokens(&c);
    c.cfg.vf_coef = -1;
    assert_tokens_refused(&c, false, "'vf_coef'");
    odd_tokens(&c);
    c.count = 0;
    assert_tokens_refused(&c, true, "no tokens");
    c.n = 0, c.count = 11;
    assert_tokens_refused(&c, false, "no tokens");
}

/* ---- KL, rewards, advantages ---- */

static void test_golden_gae(void **state)
{
    (void)state;
    json_t *gae = member(golden, "gae"), *sequences = member(gae, "sequences");
    struct err err;
    double all[MOST];
    size_t total = 0;
    for (size_t s = 0; s < json_array_size(sequences); s++) {
        json_t *want = json_array_get(sequences, s);
        double logp[MOST], ref_logp[MOST], values[MOST], kl[MOST], rewards[MOST], returns[MOST];
        size_t n = numbers(logp, want, "logprobs");
        numbers(ref_logp, want, "ref_logprobs");
        numbers(values, want, "values");
        assert_int_equal(kl_estimate(kl, NULL, logp, ref_logp, n, KL_K2, &err), 0);
        near_array("kl", kl, want, "kl_k2");
        assert_int_equal(kl_estimate(kl, NULL, logp, ref_logp, n, KL_K3, &err), 0);
        near_array("kl", kl, want, "kl_k3");
        assert_int_equal(kl_estimate(kl, NULL, logp, ref_logp, n, KL_K1, &err), 0);
        near_array("kl", kl, want, "kl_k1");
        assert_int_equal(
            gae_rewards(rewards, kl, n, number(want, "score"), number(gae, "kl_coef"), &err), 0);
        near_array("gae", rewards, want, "rewards");
        assert_true(total + n <= MOST);
        assert_int_equal(gae_advantages(all + total, returns, rewards, values, n,
                                        number(gae, "gamma"), number(gae, "lam"), &err),
                         0);
        near_array("gae", all + total, want, "advantages");
        near_array("gae", returns, want, "returns");
        total += n;
    }
    assert_int_equal(whiten(all, all, total, true, &err), 0);
    near_array("gae", all, gae, "whitened_advantages_all_tokens");
}

static void test_gae_at_its_ends(void **state)
{
    (void)state;
    static const double rewards[] = {0.385, -0.719, 2.385}, values[] = {1.1, -0.3, 0.7};
    struct err err;
    double advantages[3], returns[3];
    /* lam 1: returns are discounted sums of rewards */
    assert_int_equal(gae_advantages(advantages, returns, rewards, values, 3, 0.9, 1, &err), 0);
    near("return 2", returns[2], 2.385, 1e-15);
    near("return 1", returns[1], -0.719 + 0.9 * 2.385, 1e-15);
    near("return 0", returns[0], 0.385 + 0.9 * (-0.719 + 0.9 * 2.385), 1e-15);
    /* lam 0: advantages are one-step errors */
    assert_int_equal(gae_advantages(advantages, returns, rewards, values, 3, 0.9, 0, &err), 0);
    near("advantage 2", advantages[2], 2.385 - 0.7, 1e-15);
    near("advantage 1", advantages[1], -0.719 + 0.9 * 0.7 + 0.3, 1e-15);
    near("advantage 0", advantages[0], 0.385 + 0.9 * -0.3 - 1.1, 1e-15);
}

static void test_whiten(void **state)
{
    (void)state;
    static const double x[] = {3, 5, 10};
    struct err err;
    double y[3], mean = 6, scale = 1 / sqrt(26. / 3 + 1e-8);
    assert_int_equal(whiten(y, x, 3, true, &err), 0);
    for (size_t i = 0; i < 3; i++)
        near("shifted", y[i], (x[i] - mean) * scale, 1e-15);
    assert_int_equal(whiten(y, x, 3, false, &err), 0);
    for (size_t i = 0; i < 3; i++)
        near("not shifted", y[i], (x[i] - mean) * scale + mean, 1e-15);
    assert_int_equal(whiten(y, x, 1, true, &err), 0);
    assert_true(y[0] == 0);
}

static void test_explained_variance(void **state)
{
    (void)state;
    static const double returns[] = {1, 2, 6}, mean[] = {3, 3, 3}, shifted[] = {2, 3, 7};
    static const double worse[] = {6, 2, 1};
    struct err err;
    double ev;
    assert_int_equal(explained_variance(&ev, returns, returns, 3, &err), 0);
    assert_true(ev == 1);
    assert_int_equal(explained_variance(&ev, shifted, returns, 3, &err), 0);
    near("shifted", ev, 1, 1e-15);
    assert_int_equal(explained_variance(&ev, mean, returns, 3, &err), 0);
    near("mean", ev, 0, 1e-15);
    assert_int_equal(explained_variance(&ev, worse, returns, 3, &err), 0);
    near("worse", ev, 1 - 50. / 14, 1e-14);
    assert_int_equal(explained_variance(&ev, returns, mean, 3, &err), 0);
    assert_true(isnan(ev));
}

struct kl_case {
    double logp[4], ref_logp[4], dlogp[4];
    enum kl_estimator estimator;
};

static double kl_sum(void *context)
{
    struct kl_case *c = context;
    struct err err;
    double kl[4];
    assert_int_equal(kl_estimate(kl, NULL, c->logp, c->ref_logp, 4, c->estimator, &err), 0);
    return kl[0] + kl[1] + kl[2] + kl[3];
}

/* No kinks. */
static void test_gradient_kl(void **state)
{
    (void)state;
    struct err err;
    for (size_t k = 0; kl_estimator_names[k]; k++) {
        struct kl_case c = {
            .estimator = (enum kl_estimator)k,
            .logp = {-2.385, -0.033, -0.719, -7.7},
            .ref_logp = {-2.1, -1.917, -0.719, -8.3},
        };
        double kl[4];
        assert_int_equal(kl_estimate(kl, c.dlogp, c.logp, c.ref_logp, 4, c.estimator, &err), 0);
        check_gradient(kl_estimator_names[k], c.logp, c.dlogp, 4, kl_sum, &c);
    }
    assert_string_equal(kl_estimator_names[KL_K1], "k1");
    assert_string_equal(kl_estimator_names[KL_K2], "k2");
    assert_string_equal(kl_estimator_names[KL_K3], "k3");
}

static void test_golden_adaptive_kl(void **state)
{
    (void)state;
    json_t *want = member(golden, "adaptive_kl"), *trace = member(want, "trace");
    struct err err;
    struct kl_controller c = {
        .kl_coef = number(want, "initial"),
        .target = number(want, "target"),
        .horizon = number(want, "horizon"),
    };
    for (size_t i = 0; i < json_array_size(trace); i++) {
        json_t *step = json_array_get(trace, i);
        size_t n_steps = (size_t)json_integer_value(member(step, "n_steps"));
        assert_int_equal(kl_controller_update(&c, number(step, "kl"), n_steps, &err), 0);
        near("kl_coef", c.kl_coef, number(step, "beta"), GOLDEN_TOLERANCE);
    }
}

static void test_kl_controller_fixed_and_wrong(void **state)
{
    (void)state;
    struct err err;
    struct kl_controller fixed = {.kl_coef = 0.05};
    assert_int_equal(kl_controller_update(&fixed, 2.385, 64, &err), 0);
    assert_true(fixed.kl_coef == 0.05);
    assert_int_equal(kl_controller_update(&fixed, NAN, 64, &err), -1);

    struct kl_controller c = {.kl_coef = 0.05, .target = 6, .horizon = 100};
    assert_int_equal(kl_controller_update(&c, 0, 500, &err), -1); /* would make it 0 */
    assert_says(&err, "'kl_horizon'");
    assert_int_equal(kl_controller_update(&c, INFINITY, 1, &err), -1);
    assert_true(c.kl_coef == 0.05);
    assert_int_equal(kl_controller_update(&c, -3, 10, &err), 0); /* a negative estimate */
    near("kl_coef", c.kl_coef, 0.05 * 0.98, 1e-15);
    c.horizon = 0;
    assert_int_equal(kl_controller_update(&c, 3, 10, &err), -1);
}

static void test_gae_and_kl_refuse(void **state)
{
    (void)state;
    static const double good[] = {0.385, -0.719, 2.385};
    struct err err;
    double out[3], out2[3], result = UNTOUCHED;
    fill(out, 3);
    fill(out2, 3);
    for (size_t k = 0; k < 3; k++) {
        double bad[] = {0.385, not_finite[k], 2.385};
        assert_int_equal(kl_estimate(out, out2, bad, good, 3, KL_K1, &err), -1);
        assert_says(&err, "'logp[1]'");
        assert_int_equal(kl_estimate(out, out2, good, bad, 3, KL_K3, &err), -1);
        assert_says(&err, "'ref_logp[1]'");
        assert_int_equal(gae_rewards(out, bad, 3, 1, 0.05, &err), -1);
        assert_says(&err, "'kl[1]'");
        assert_int_equal(gae_rewards(out, good, 3, not_finite[k], 0.05, &err), -1);
        assert_says(&err, "'score");
        assert_int_equal(gae_advantages(out, out2, bad, good, 3, 1, 0.95, &err), -1);
        assert_says(&err, "'rewards[1]'");
        assert_int_equal(gae_advantages(out, out2, good, bad, 3, 1, 0.95, &err), -1);
        assert_says(&err, "'values[1]'");
        assert_int_equal(whiten(out, bad, 3, true, &err), -1);
        assert_int_equal(explained_variance(&result, bad, good, 3, &err), -1);
        assert_int_equal(explained_variance(&result, good, bad, 3, &err), -1);
    }
    static const double huge[] = {0.385, -1.5e308, -1.5e308};
    assert_int_equal(kl_estimate(out, out2, huge, good, 3, KL_K3, &err), -1);
    assert_says(&err, "token 1");
    assert_int_equal(gae_rewards(out, huge, 3, 1, 2.385, &err), -1);
    assert_says(&err, "token 1");
    assert_int_equal(gae_advantages(out, out2, huge, good, 3, 1, 0.95, &err), -1);
    assert_says(&err, "token 2");
    assert_int_equal(whiten(out, huge, 3, true, &err), -1);
    assert_int_equal(explained_variance(&result, good, huge, 3, &err), -1);
    assert_int_equal(gae_advantages(out, out2, good, good, 3, 1.1, 0.95, &err), -1);
    assert_says(&err, "'gamma'");
    assert_int_equal(gae_advantages(out, out2, good, good, 3, 1, NAN, &err), -1);
    assert_says(&err, "'lam'");

    assert_int_equal(kl_estimate(out, out2, good, good, 0, KL_K1, &err), -1);
    assert_int_equal(gae_rewards(out, good, 0, 1, 0.05, &err), -1);
    assert_int_equal(gae_advantages(out, out2, good, good, 0, 1, 0.95, &err), -1);
    assert_int_equal(whiten(out, good, 0, true, &err), -1);
    assert_int_equal(explained_variance(&result, good, good, 0, &err), -1);
    assert_untouched(out, 3);
    assert_untouched(out2, 3);
    assert_untouched(&result, 1);
}

static int read_golden(void **state)
{
    (void)state;
    json_error_t error;
    golden = json_load_file(GOLDEN, 0, &error);
    if (!golden)
        fprintf(stderr, "%s line %d: %s\n", GOLDEN, error.line, error.text);
    return golden ? 0 : -1;
}

static int drop_golden(void **state)
{
    (void)state;
    json_decref(golden);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalar),
        cmocka_unit_test(test_golden_preference_losses),
        cmocka_unit_test(test_golden_losses_without_reference),
        cmocka_unit_test(test_gradient_alphapo),
        cmocka_unit_test(test_formulas),
        cmocka_unit_test(test_aot_goes_by_rank),
        cmocka_unit_test(test_mixture),
        cmocka_unit_test(test_mixture_refuses),
        cmocka_unit_test(test_golden_kto),
        cmocka_unit_test(test_gradient_kto),
        cmocka_unit_test(test_kto_kl),
        cmocka_unit_test(test_kto_refuses),
        cmocka_unit_test(test_gradient_preference_losses),
        cmocka_unit_test(test_preference_losses_at_reference),
        cmocka_unit_test(test_preference_losses_far_away),
        cmocka_unit_test(test_preference_stats),
        cmocka_unit_test(test_preference_losses_refuse),
        cmocka_unit_test(test_golden_bradley_terry),
        cmocka_unit_test(test_gradient_bradley_terry),
        cmocka_unit_test(test_bradley_terry_formula),
        cmocka_unit_test(test_bradley_terry_is_symmetric),
        cmocka_unit_test(test_bradley_terry_without_ties),
        cmocka_unit_test(test_ties_are_probabilities),
        cmocka_unit_test(test_bradley_terry_stats),
        cmocka_unit_test(test_bradley_terry_refuses),
        cmocka_unit_test(test_golden_plackett_luce),
        cmocka_unit_test(test_plackett_luce),
        cmocka_unit_test(test_plackett_luce_refuses),
        cmocka_unit_test(test_ordinal),
        cmocka_unit_test(test_ordinal_refuses),
        cmocka_unit_test(test_stepwise),
        cmocka_unit_test(test_crowd_bt),
        cmocka_unit_test(test_crowd_bt_reliability),
        cmocka_unit_test(test_crowd_bt_refuses),
        cmocka_unit_test(test_golden_ppo),
        cmocka_unit_test(test_gradient_ppo),
        cmocka_unit_test(test_ppo_dual_clip),
        cmocka_unit_test(test_ppo_first_mini_batch),
        cmocka_unit_test(test_ppo_in_pieces),
        cmocka_unit_test(test_ppo_refuses),
        cmocka_unit_test(test_golden_gae),
        cmocka_unit_test(test_gae_at_its_ends),
        cmocka_unit_test(test_whiten),
        cmocka_unit_test(test_explained_variance),
        cmocka_unit_test(test_gradient_kl),
        cmocka_unit_test(test_golden_adaptive_kl),
        cmocka_unit_test(test_kl_controller_fixed_and_wrong),
        cmocka_unit_test(test_gae_and_kl_refuse),
    };
    return cmocka_run_group_tests(tests, read_golden, drop_golden);
}
