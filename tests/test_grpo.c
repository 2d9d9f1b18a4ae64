/* Advantages of groups and the losses of GRPO's kin and RLOO: beside TRL's own trainers (golden/grpo.json) and the formulas of
 * golden/objectives.json, gradients against central finite differences, in pieces, and what is refused. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "objective/advantages.h"
#include "objective/grpo.h"
#include "support/support.h"
#include "train/group.h"
#include "util/mem.h"

#define TOLERANCE 1e-9 /* of the larger of 1 and the value: the files have 12 digits */
#define STEP 1e-5
#define GRADIENT_TOLERANCE 1e-8
#define MOST 64
#define UNTOUCHED 2.385

static json_t *formulas, *trl; /* of objectives.json "grpo", and grpo.json */

struct group_case {
    struct grpo_config cfg;
    struct grpo_counts counts;
    size_t n, first[MOST + 1];
    double logp[MOST], old_logp[MOST], ref_logp[MOST], advantages[MOST], dlogp[MOST];
    bool masked[MOST]; /* left as zeros where nothing is masked */
    bool mask[MOST];
};

static double number(const json_t *o, const char *key)
{
    json_t *v = json_object_get(o, key);
    if (!json_is_number(v))
        fail_msg("no number '%s'", key);
    return json_number_value(v);
}

static size_t numbers(double *to, const json_t *o, const char *key)
{
    double *list;
    size_t n = json_doubles(json_object_get(o, key), &list);
    assert_in_range(n, 1, MOST);
    memcpy(to, list, n * sizeof *to);
    free(list);
    return n;
}

static void near(double got, double want, const char *what, size_t i)
{
    expect_near(got, want, TOLERANCE * fmax(1, fabs(want)), what, i);
}

static int loss_of(double *loss, struct grpo_sums *sums, struct group_case *c, struct err *err)
{
    return grpo_loss(loss, c->dlogp, sums, c->logp, c->old_logp, c->cfg.beta != 0 ? c->ref_logp : NULL, c->first, c->advantages,
                     c->mask, c->n, &c->counts, &c->cfg, err);
}

static void count(struct group_case *c)
{
    c->counts = (struct grpo_counts){.completions = c->n};
    for (size_t i = 0; i < c->n; i++) {
        c->mask[i] = !c->masked[i];
        c->counts.tokens += c->mask[i] ? (double)(c->first[i + 1] - c->first[i]) : 0;
    }
}

static void read_case(struct group_case *c)
{
    double lengths[MOST];
    memset(c, 0, sizeof *c);
    c->n = numbers(lengths, formulas, "lengths");
    for (size_t i = 0; i < c->n; i++)
        c->first[i + 1] = c->first[i] + (size_t)lengths[i];
    numbers(c->logp, formulas, "new_logprobs");
    numbers(c->old_logp, formulas, "old_logprobs");
    numbers(c->ref_logp, formulas, "ref_logprobs");
    numbers(c->advantages, formulas, "advantages_grpo");
    c->cfg = (struct grpo_config){.epsilon = 0.2, .epsilon_high = 0.2, .max_completion_length = 8,
                                  .sapo_temperature = {1, 1.05f /* as torch has it */}, .vespo_k = {2, 3}, .vespo_lambda = {3, 2}};
    count(c);
}

static void expect_loss(struct group_case *c, const json_t *want, const char *what)
{
    struct grpo_sums sums = {0};
    struct err err;
    double loss, gradient[MOST];
    if (loss_of(&loss, &sums, c, &err))
        fail_msg("%s: %s", what, err.text);
    near(loss, number(want, "loss"), what, 0);
    assert_true(sums.loss == loss);
    size_t n = numbers(gradient, want, "grad_logprobs");
    for (size_t i = 0; i < n; i++)
        near(c->dlogp[i], gradient[i], what, i);
}

/* ---- advantages ---- */

static void expect_array(const double *got, const json_t *o, const char *key)
{
    double want[MOST];
    size_t n = numbers(want, o, key);
    for (size_t i = 0; i < n; i++)
        near(got[i], want[i], key, i);
}

static void test_golden_advantages(void **state)
{
    (void)state;
    const json_t *more = json_object_get(trl, "advantages");
    double *rewards, a[MOST];
    struct err err;
    assert_int_equal(json_doubles(json_object_get(formulas, "rewards"), &rewards), 8);
    assert_int_equal(grpo_advantages(a, rewards, 2, 4, SCALE_GROUP, &err), 0);
    expect_array(a, formulas, "advantages_grpo");
    assert_int_equal(grpo_advantages(a, rewards, 2, 4, SCALE_NONE, &err), 0);
    expect_array(a, formulas, "advantages_dr_grpo");
    assert_int_equal(grpo_advantages(a, rewards, 2, 4, SCALE_BATCH, &err), 0);
    expect_array(a, more, "scale_rewards_batch");
    assert_int_equal(normalize_advantages(a, rewards, 8, &err), 0);
    expect_array(a, more, "reinforce");
    assert_int_equal(rloo_advantages(a, rewards, 2, 4, &err), 0);
    expect_array(a, formulas, "advantages_rloo");
    assert_int_equal(normalize_advantages(a, a, 8, &err), 0);
    expect_array(a, more, "rloo_normalize_advantages");
    double other[8];
    for (size_t i = 0; i < 8; i++)
        other[i] = pow(rewards[i], 4) - rewards[i] / 3;
    const double *const parts[] = {rewards, other}, weights[] = {1, 0.5};
    assert_int_equal(gdpo_rewards(a, parts, weights, 2, 2, 4, &err), 0);
    assert_int_equal(normalize_advantages(a, a, 8, &err), 0);
    expect_array(a, more, "gdpo");
    free(rewards);
}

/* Rewards that are all the same say nothing, however they are rounded: advantages are exactly 0, and other groups' stay. */
static void test_flat_groups(void **state)
{
    (void)state;
    const double rewards[] = {0.1, 0.1, 0.1, 0.1, 0.7, 0.1};
    double a[6];
    struct err err;
    for (int scale = SCALE_GROUP; scale <= SCALE_NONE; scale++) {
        assert_int_equal(grpo_advantages(a, rewards, 2, 3, scale, &err), 0);
        assert_true(a[0] == 0 && a[1] == 0 && a[2] == 0 && a[3] < 0 && a[4] > 0);
    }
    assert_int_equal(rloo_advantages(a, rewards, 2, 3, &err), 0);
    assert_true(a[0] == 0 && a[1] == 0 && a[2] == 0);
    near(a[4], 0.6, "rloo", 4);
    const double *const part[] = {rewards}, one[] = {1};
    assert_int_equal(gdpo_rewards(a, part, one, 1, 2, 3, &err), 0);
    assert_true(a[0] == 0 && a[1] == 0 && a[2] == 0 && a[3] < 0 && a[4] > 0);
    assert_int_equal(normalize_advantages(a, rewards, 3, &err), 0);
    assert_true(a[0] == 0 && a[1] == 0 && a[2] == 0);
    assert_true(group_is_flat(rewards, 4) && !group_is_flat(rewards, 5));
    assert_true(sample_std(rewards, 1) == 0);
    near(sample_std(rewards + 3, 3), sqrt(0.12), "std", 0);
}

static void test_advantages_refuse(void **state)
{
    (void)state;
    const double bad[] = {NAN, INFINITY, -INFINITY, 1e300};
    for (size_t i = 0; i < 4; i++) {
        double rewards[] = {1, -0.5, i == 3 ? -bad[i] : 2, bad[i]}, a[4] = {UNTOUCHED, UNTOUCHED, UNTOUCHED, UNTOUCHED};
        struct err err;
        assert_int_equal(grpo_advantages(a, rewards, 2, 2, SCALE_GROUP, &err), -1);
        assert_int_equal(rloo_advantages(a, rewards, 2, 2, &err), -1);
        assert_int_equal(normalize_advantages(a, rewards, 4, &err), -1);
        assert_int_equal(grpo_advantages(a, rewards, 1, 1, SCALE_GROUP, &err), -1);
        assert_non_null(strstr(err.text, "num_generations"));
        assert_int_equal(rloo_advantages(a, rewards, 0, 2, &err), -1);
        assert_int_equal(normalize_advantages(a, rewards, 1, &err), -1);
        assert_true(a[0] == UNTOUCHED && a[3] == UNTOUCHED);
    }
}

/* Two prompts with two answers each, of 2, 1, 3 and 1 tokens, of which the second tree's first was cut. */
static void make_experience(struct experience *x)
{
    static const size_t lengths[] = {2, 1, 3, 1};
    static const double scores[] = {1, -0.5, 3, 0.25}, logps[] = {-1, -2, -0.5, -0.25, -1.5, -3, -0.125},
                        ref_logps[] = {-1.5, -2.25, -0.5, -1, -1.25, -4, -0.5};
    struct examples e = {.list = xcalloc(2, sizeof *e.list), .n = 2};
    for (size_t i = 0; i < 2; i++) {
        e.list[i].n_completions = 2;
        e.list[i].completions = xcalloc(2, sizeof *e.list[i].completions);
        for (size_t k = 0; k < 2; k++)
            e.list[i].completions[k] = (struct sequence){xcalloc(4, sizeof(int32_t)), xcalloc(4, 1), lengths[2 * i + k]};
    }
    experience_from_examples(x, &e);
    memcpy(x->scores, scores, sizeof scores);
    memcpy(x->old_logps, logps, sizeof logps);
    memcpy(x->ref_logps, ref_logps, sizeof ref_logps);
    x->finished[0] = x->finished[1] = x->finished[3] = true;
}

static void expect_advantages(const struct group_options *o, const struct experience *x, const double want[4], const char *what)
{
    double got[4];
    struct err err;
    if (group_advantages(got, o, x, &err))
        fail_msg("%s: %s", what, err.text);
    for (size_t i = 0; i < 4; i++)
        near(got[i], want[i], what, i);
}

/* From scores to advantages: clipped, less the KL of the whole answer, compared with what the estimator says. */
static void test_from_scores(void **state)
{
    (void)state;
    struct experience x;
    make_experience(&x);
    /* scores 1, -0.5, 3, 0.25; sums of logp - ref_logp 0.75, 0, 1.5, 0.375 */
    struct group_options o = {.advantage_estimator = ESTIMATOR_RLOO};
    expect_advantages(&o, &x, (double[]){1.5, -1.5, 2.75, -2.75}, "rloo");
    o.kl_in_reward = 0.5;
    expect_advantages(&o, &x, (double[]){1.125, -1.125, 2.1875, -2.1875}, "rloo with a KL");
    o.reward_low = 0;
    o.reward_high = 2; /* before the KL: 1, 0, 2, 0.25 */
    expect_advantages(&o, &x, (double[]){0.625, -0.625, 1.1875, -1.1875}, "rloo, clipped, with a KL");
    o = (struct group_options){.advantage_estimator = ESTIMATOR_GRPO, .scale_rewards = SCALE_NONE};
    expect_advantages(&o, &x, (double[]){0.75, -0.75, 1.375, -1.375}, "grpo");
    double m = 0.9375, std = sqrt((0.0625 * 0.0625 + 1.4375 * 1.4375 + 2.0625 * 2.0625 + 0.6875 * 0.6875) / 3) + 1e-4;
    o = (struct group_options){.advantage_estimator = ESTIMATOR_REINFORCE};
    expect_advantages(&o, &x, (double[]){(1 - m) / std, (-0.5 - m) / std, (3 - m) / std, (0.25 - m) / std}, "reinforce");
    std = sqrt((2 * 0.75 * 0.75 + 2 * 1.375 * 1.375) / 3) + 1e-4;
    o.advantage_estimator = ESTIMATOR_REINFORCE_BASELINE;
    expect_advantages(&o, &x, (double[]){0.75 / std, -0.75 / std, 1.375 / std, -1.375 / std}, "reinforce_baseline");
    assert_false(group_wants_reference(&o));
    o.kl_in_reward = 0.1;
    assert_true(group_wants_reference(&o));
    o = (struct group_options){.loss.beta = 0.1};
    assert_true(group_wants_reference(&o));
    experience_release(&x);
}

/* Trees move whole, with all that is known of them. */
static void test_taking_trees(void **state)
{
    (void)state;
    struct experience a, b, x = {0};
    make_experience(&a);
    make_experience(&b);
    experience_take(&x, &a, (bool[]){false, true});
    assert_true(x.examples.n == 1 && x.n == 2 && x.first[1] == 3 && x.first[2] == 4 && a.examples.list == NULL);
    experience_take(&x, &b, (bool[]){true, false});
    assert_true(x.examples.n == 2 && x.n == 4 && x.tree[1] == 2 && x.first[4] == 7);
    assert_true(x.scores[0] == 3 && x.scores[1] == 0.25 && x.scores[2] == 1 && x.scores[3] == -0.5);
    assert_true(!x.finished[0] && x.finished[1] && x.finished[2]);
    assert_true(x.old_logps[0] == -0.25 && x.old_logps[3] == -0.125 && x.ref_logps[4] == -1.5 && x.old_logps[6] == -0.5);
    make_experience(&a);
    experience_take(&x, &a, (bool[]){false, false});
    assert_true(x.examples.n == 2 && x.n == 4);
    experience_release(&x);
}

/* ---- losses ---- */

static void test_golden_formulas(void **state)
{
    (void)state;
    struct group_case c;
    read_case(&c);
    c.cfg.beta = 0.04;
    expect_loss(&c, json_object_get(formulas, "grpo_mean_of_sequence_means"), "grpo");
    c.cfg.epsilon_high = 0.28;
    c.cfg.loss_type = GRPO_BNPO;
    expect_loss(&c, json_object_get(formulas, "bnpo_dapo_token_mean_eps_high_.28"), "bnpo");
    c.cfg.loss_type = GRPO_DAPO;
    expect_loss(&c, json_object_get(formulas, "bnpo_dapo_token_mean_eps_high_.28"), "dapo");
    c.cfg.epsilon_high = 0.2;
    c.cfg.loss_type = GRPO_DR;
    expect_loss(&c, json_object_get(formulas, "dr_grpo_constant_length_8"), "dr_grpo");
    c.cfg.loss_type = GRPO;
    c.cfg.beta = 0;
    c.cfg.importance_sampling_level = LEVEL_SEQUENCE;
    expect_loss(&c, json_object_get(formulas, "gspo_sequence_level_eps_.2_no_kl"), "gspo");
}

static int choice(const char *const *names, const json_t *o, const char *key)
{
    const char *name = json_string_value(json_object_get(o, key));
    int i = 0;
    while (names[i] && strcmp(names[i], name))
        i++;
    if (!names[i])
        fail_msg("no '%s' among the names", name);
    return i;
}

/* The settings of one case of grpo.json. */
static void set_case(struct group_case *c, const json_t *o, bool rloo)
{
    read_case(c);
    c->cfg.epsilon = number(o, "epsilon");
    c->cfg.epsilon_high = number(o, "epsilon_high");
    c->cfg.beta = number(o, "beta");
    c->cfg.delta = json_number_value(json_object_get(o, "delta"));
    c->cfg.off_policy_mask_threshold = json_number_value(json_object_get(o, "off_policy_mask_threshold"));
    c->cfg.use_bias_correction_kl = json_is_true(json_object_get(o, "use_bias_correction_kl"));
    c->cfg.loss_type = rloo ? GRPO : choice(grpo_loss_type_names, o, "loss_type");
    c->cfg.importance_sampling_level =
        rloo ? LEVEL_COMPLETION : choice(importance_sampling_level_names, o, "importance_sampling_level");
    for (size_t i = 0; json_is_true(json_object_get(o, "mask")) && i < 2; i++)
        c->masked[json_integer_value(json_array_get(json_object_get(trl, "truncated"), i))] = true;
    count(c);
}

static void expect_metric(double got, const json_t *o, const char *key)
{
    json_t *want = json_object_get(json_object_get(o, "metrics"), key);
    if (want) /* TRL's are float32 */
        expect_near(got, json_number_value(want), 1e-6, key, 0);
}

static void expect_trl(const json_t *o, bool rloo)
{
    struct group_case c;
    struct grpo_sums sums = {0};
    struct grpo_stats s;
    struct err err;
    double loss;
    set_case(&c, o, rloo);
    expect_loss(&c, o, json_string_value(json_object_get(o, "loss_type")));
    assert_int_equal(loss_of(&loss, &sums, &c, &err), 0);
    grpo_stats(&s, &sums, &c.cfg);
    expect_metric(s.kl, o, "kl");
    expect_metric(s.low_mean, o, "clip_ratio/low_mean");
    expect_metric(s.low_min, o, "clip_ratio/low_min");
    expect_metric(s.high_mean, o, "clip_ratio/high_mean");
    expect_metric(s.high_max, o, "clip_ratio/high_max");
    expect_metric(s.region_mean, o, "clip_ratio/region_mean");
    expect_metric(s.high_mean, o, "cispo_clip_ratio");
    if (!json_is_true(json_object_get(o, "mask"))) /* TRL counts a masked answer as 1 */
        expect_metric(s.phi, o, "vespo/phi_seq_mean");
}

static void test_golden_trl(void **state)
{
    (void)state;
    const json_t *cases = json_object_get(trl, "cases");
    assert_int_equal(json_array_size(cases), 23);
    for (size_t i = 0; i < json_array_size(cases); i++)
        expect_trl(json_array_get(cases, i), false);
    expect_trl(json_object_get(trl, "rloo"), true);
}

/* The ratio of cispo, and the weight of vespo, is a constant of the loss: what is differentiated is that. */
static double constant[MOST];

static double loss_alone(const struct group_case *c)
{
    struct group_case copy = *c;
    struct grpo_sums sums = {0};
    struct err err;
    double loss = 0;
    if (c->cfg.loss_type != GRPO_CISPO && c->cfg.loss_type != GRPO_VESPO) {
        assert_int_equal(loss_of(&loss, &sums, &copy, &err), 0);
        return loss;
    }
    for (size_t i = 0; i < c->n; i++)
        for (size_t t = c->first[i]; c->mask[i] && t < c->first[i + 1]; t++)
            loss -= constant[t] * c->advantages[i] * c->logp[t] / c->counts.tokens;
    copy.cfg.loss_type = GRPO_BNPO; /* for the KL alone */
    memset(copy.advantages, 0, sizeof copy.advantages);
    double kl;
    assert_int_equal(loss_of(&kl, &sums, &copy, &err), 0);
    return loss + kl;
}

static void set_constants(const struct group_case *c, size_t i)
{
    const struct grpo_config *cfg = &c->cfg;
    double sum = 0, n = (double)(c->first[i + 1] - c->first[i]);
    for (size_t t = c->first[i]; t < c->first[i + 1]; t++)
        sum += c->logp[t] - c->old_logp[t];
    for (size_t t = c->first[i]; t < c->first[i + 1]; t++) {
        double w = exp(cfg->importance_sampling_level == LEVEL_TOKEN ? c->logp[t] - c->old_logp[t] : sum / n);
        int sign = c->advantages[i] >= 0 ? 0 : 1;
        constant[t] = cfg->loss_type == GRPO_CISPO
                          ? fmin(w, cfg->epsilon_high)
                          : exp(cfg->vespo_lambda[sign]) * pow(exp(sum), cfg->vespo_k[sign]) * exp(-cfg->vespo_lambda[sign] * exp(sum));
    }
}

/* Every case of the golden file, whose numbers are not within 1e-3 of a kink (a ratio at a border of the clipping). */
static void test_gradients(void **state)
{
    (void)state;
    const json_t *cases = json_object_get(trl, "cases");
    for (size_t k = 0; k <= json_array_size(cases); k++) {
        bool rloo = k == json_array_size(cases);
        struct group_case c;
        struct grpo_sums sums = {0};
        struct err err;
        double loss;
        set_case(&c, rloo ? json_object_get(trl, "rloo") : json_array_get(cases, k), rloo);
        for (size_t i = 0; i < c.n; i++)
            set_constants(&c, i);
        assert_int_equal(loss_of(&loss, &sums, &c, &err), 0);
        near(loss_alone(&c), loss, "loss", k);
        for (size_t t = 0; t < c.first[c.n]; t++) {
            struct group_case up = c, down = c;
            up.logp[t] += STEP;
            down.logp[t] -= STEP;
            char what[40];
            snprintf(what, sizeof what, "gradient of case %zu, token", k);
            expect_near(c.dlogp[t], (loss_alone(&up) - loss_alone(&down)) / (2 * STEP), GRADIENT_TOLERANCE, what, t);
        }
    }
}

/* At the policy that sampled, whatever the kind: nothing is clipped, and the gradient is REINFORCE's. */
static void test_first_pass(void **state)
{
    (void)state;
    const struct {
        enum grpo_loss_type type;
        enum importance_sampling_level level;
    } kinds[] = {{GRPO, LEVEL_TOKEN}, {GRPO, LEVEL_SEQUENCE}, {GRPO, LEVEL_COMPLETION}, {GRPO_BNPO, LEVEL_TOKEN}, {GRPO_DR, LEVEL_TOKEN},
                 {GRPO_DAPO, LEVEL_TOKEN}, {GRPO_CISPO, LEVEL_TOKEN}, {GRPO_SAPO, LEVEL_TOKEN}, {GRPO_LUSPO, LEVEL_SEQUENCE},
                 {GRPO_VESPO, LEVEL_TOKEN}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct group_case c;
        struct grpo_sums sums = {0};
        struct grpo_stats s;
        struct err err;
        double loss;
        read_case(&c);
        memcpy(c.logp, c.old_logp, sizeof c.logp);
        c.cfg.loss_type = kinds[k].type;
        c.cfg.importance_sampling_level = kinds[k].level;
        c.cfg.epsilon_high = kinds[k].type == GRPO_CISPO ? 5 : 0.2;
        assert_int_equal(loss_of(&loss, &sums, &c, &err), 0);
        grpo_stats(&s, &sums, &c.cfg);
        assert_true(s.region_mean == 0 && s.low_min == 0 && s.high_max == 0 && s.kl == 0);
        for (size_t i = 0; i < c.n; i++)
            for (size_t t = c.first[i]; t < c.first[i + 1]; t++) {
                double length = (double)(c.first[i + 1] - c.first[i]), n = (double)c.n;
                double divisor = kinds[k].level == LEVEL_COMPLETION ? n
                                 : kinds[k].type == GRPO || kinds[k].type == GRPO_SAPO ? n * length
                                 : kinds[k].type == GRPO_LUSPO      ? n
                                 : kinds[k].type == GRPO_DR         ? n * 8
                                                                    : c.counts.tokens;
                near(c.dlogp[t], -c.advantages[i] / divisor, "gradient", t);
            }
    }
}

/* One call, or one a completion: the same gradients and sums, bit for bit. */
static void test_in_pieces(void **state)
{
    (void)state;
    const json_t *cases = json_object_get(trl, "cases");
    for (size_t k = 0; k < json_array_size(cases); k++) {
        struct group_case c;
        struct grpo_sums whole = {0}, pieces = {0};
        struct err err;
        double loss, part, sum = 0, gradient[MOST];
        set_case(&c, json_array_get(cases, k), false);
        assert_int_equal(loss_of(&loss, &whole, &c, &err), 0);
        for (size_t i = 0; i < c.n; i++) {
            struct grpo_sums alone = {0};
            struct grpo_stats one;
            assert_int_equal(grpo_loss(&part, gradient, &alone, c.logp, c.old_logp, c.ref_logp, c.first + i, c.advantages + i,
                                       c.mask + i, 1, &c.counts, &c.cfg, &err), 0);
            grpo_stats(&one, &alone, &c.cfg);
            assert_true(one.low_min == one.low_mean && one.high_max == one.high_mean);
            assert_int_equal(grpo_loss(&part, gradient, &pieces, c.logp, c.old_logp, c.ref_logp, c.first + i, c.advantages + i,
                                       c.mask + i, 1, &c.counts, &c.cfg, &err), 0);
            sum += part;
        }
        near(sum, loss, "loss", k);
        assert_memory_equal(gradient, c.dlogp, c.first[c.n] * sizeof *gradient);
        assert_true(pieces.tokens == whole.tokens && pieces.completions == whole.completions && pieces.kl == whole.kl &&
                    pieces.low == whole.low && pieces.high == whole.high && pieces.low_min == whole.low_min &&
                    pieces.high_max == whole.high_max);
    }
}

/* All masked: a loss of 0, not 0 / 0. */
static void test_nothing_counts(void **state)
{
    (void)state;
    for (int type = GRPO; type <= GRPO_VESPO; type++) {
        struct group_case c;
        struct grpo_sums sums = {0};
        struct err err;
        double loss;
        read_case(&c);
        c.cfg.importance_sampling_level = type == GRPO_LUSPO ? LEVEL_SEQUENCE : LEVEL_TOKEN;
        memset(c.masked, 1, sizeof c.masked);
        count(&c);
        c.cfg.loss_type = type;
        assert_int_equal(loss_of(&loss, &sums, &c, &err), 0);
        assert_true(loss == 0 && sums.tokens == 0);
        for (size_t t = 0; t < c.first[c.n]; t++)
            assert_true(c.dlogp[t] == 0);
    }
}

static void expect_refusal(struct group_case *c, const char *part)
{
    struct grpo_sums sums = {.kl = UNTOUCHED};
    struct err err;
    double loss = UNTOUCHED;
    for (size_t i = 0; i < MOST; i++)
        c->dlogp[i] = UNTOUCHED;
    assert_int_equal(loss_of(&loss, &sums, c, &err), -1);
    if (!strstr(err.text, part))
        fail_msg("'%s' has no '%s'", err.text, part);
    assert_true(loss == UNTOUCHED && sums.kl == UNTOUCHED && sums.tokens == 0);
    for (size_t i = 0; i < MOST; i++)
        assert_true(c->dlogp[i] == UNTOUCHED);
    read_case(c);
}

static void test_refuses(void **state)
{
    (void)state;
    struct group_case c;
    read_case(&c);
    c.logp[3] = NAN;
    expect_refusal(&c, "'logp[3]'");
    c.old_logp[4] = INFINITY;
    expect_refusal(&c, "'old_logp[4]'");
    c.advantages[5] = -INFINITY;
    expect_refusal(&c, "'advantages[5]'");
    c.cfg.beta = 0.04;
    c.ref_logp[6] = NAN;
    expect_refusal(&c, "'ref_logp[6]'");
    c.logp[12] = c.old_logp[12] + 800; /* the third completion's, whose advantage is above 0: clipped, but with a KL */
    c.cfg.beta = 0.04;
    c.cfg.use_bias_correction_kl = true;
    expect_refusal(&c, "completion 2");
    c.cfg.epsilon = 0;
    expect_refusal(&c, "'epsilon'");
    c.cfg.epsilon_high = NAN;
    expect_refusal(&c, "'epsilon_high'");
    c.cfg.delta = 1.1;
    expect_refusal(&c, "'delta'");
    c.cfg.loss_type = GRPO_CISPO;
    c.cfg.delta = 9;
    expect_refusal(&c, "'delta'");
    c.cfg.beta = -1;
    expect_refusal(&c, "'beta'");
    c.cfg.importance_sampling_level = LEVEL_COMPLETION;
    c.cfg.beta = 0.1;
    expect_refusal(&c, "'beta'");
    c.cfg.loss_type = GRPO_DR;
    c.cfg.max_completion_length = 0;
    expect_refusal(&c, "max_completion_length");
    c.cfg.loss_type = GRPO_LUSPO;
    expect_refusal(&c, "'sequence'");
    c.cfg.loss_type = GRPO_VESPO;
    c.cfg.importance_sampling_level = LEVEL_SEQUENCE;
    expect_refusal(&c, "'token'");
    c.cfg.loss_type = GRPO_VESPO;
    c.cfg.vespo_lambda[1] = 0;
    expect_refusal(&c, "'vespo_lambda'");
    c.cfg.loss_type = GRPO_SAPO;
    c.cfg.sapo_temperature[0] = -1;
    expect_refusal(&c, "'sapo_temperature'");
    c.cfg.loss_type = GRPO_SAPO;
    c.cfg.delta = 9;
    expect_refusal(&c, "'sapo'");
    c.cfg.off_policy_mask_threshold = NAN;
    expect_refusal(&c, "'off_policy_mask_threshold'");
    c.n = 0;
    expect_refusal(&c, "no completions");
    c.counts.completions = 0;
    expect_refusal(&c, "no completions");
}

static int read_golden(void **state)
{
    (void)state;
    json_t *all = golden_json("tests/golden/objectives.json");
    formulas = json_incref(json_object_get(all, "grpo"));
    json_decref(all);
    trl = golden_json("tests/golden/grpo.json");
    return formulas && trl ? 0 : -1;
}

static int drop_golden(void **state)
{
    (void)state;
    json_decref(formulas);
    json_decref(trl);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_advantages), cmocka_unit_test(test_from_scores),  cmocka_unit_test(test_taking_trees),
        cmocka_unit_test(test_flat_groups), cmocka_unit_test(test_advantages_refuse),
        cmocka_unit_test(test_golden_formulas),   cmocka_unit_test(test_golden_trl),  cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_first_pass),        cmocka_unit_test(test_in_pieces),   cmocka_unit_test(test_nothing_counts),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, read_golden, drop_golden);
}
