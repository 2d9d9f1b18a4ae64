/* Losses of online DPO, XPO and Nash-MD: beside TRL's own code (golden/online_dpo.json, made by golden/make/online_dpo.py),
 * gradients against central finite differences, soft labels, and what is refused.  Sampling from a mixture of two nets: against
 * the mixture computed from both nets' own distributions. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "objective/nash_md.h"
#include "objective/online_dpo.h"
#include "rollout/generate.h"
#include "support/support.h"
#include "util/mem.h"
#include "util/rng.h"

#define TOLERANCE 1e-10 /* the file has 12 digits */
#define STEP 1e-5
#define GRADIENT_TOLERANCE 1e-8
#define UNTOUCHED 2.385
enum { PAIRS = 4, MOST = 8 };

static json_t *golden;

static double number(const json_t *o, const char *key)
{
    json_t *v = json_object_get(o, key);
    if (!json_is_number(v))
        fail_msg("no number '%s'", key);
    return json_number_value(v);
}

/* A completion's numbers in one of the file's (2, PAIRS, tokens) arrays; returns how many. */
static size_t tokens_of(double *to, const json_t *all, size_t side, size_t pair)
{
    double *list;
    size_t n = json_doubles(json_array_get(json_array_get(all, side), pair), &list);
    assert_in_range(n, 1, MOST);
    memcpy(to, list, n * sizeof *to);
    free(list);
    return n;
}

static double sum_of(const char *key, size_t side, size_t pair, size_t *n)
{
    double x[MOST], sum = 0;
    *n = tokens_of(x, json_object_get(golden, key), side, pair);
    for (size_t t = 0; t < *n; t++)
        sum += x[t];
    return sum;
}

static struct judged_pair pair_of(size_t i)
{
    struct judged_pair p = {.len = {1, 1}}; /* ipo: sums, as TRL's online trainers have them */
    bool first = json_is_true(json_array_get(json_object_get(golden, "chosen"), i));
    size_t n;
    for (size_t side = 0; side < 2; side++) {
        p.logp[side] = sum_of("logps", side, i, &n);
        p.ref_logp[side] = sum_of("ref_logps", side, i, &n);
        p.weight[side] = first == (side == 0);
    }
    return p;
}

static void near(double got, double want, const char *what, size_t i)
{
    expect_near(got, want, TOLERANCE * fmax(1, fabs(want)), what, i);
}

static void check_xpo(const json_t *c)
{
    struct err err;
    struct preference_config cfg = {.beta = number(c, "beta"), .f_alpha_divergence_coef = 1};
    const struct preference_loss *row = preference_loss_find(json_string_value(json_object_get(c, "loss_type")), &err);
    double dpo = 0, xpo = 0;
    for (size_t i = 0; i < PAIRS; i++) {
        struct judged_pair p = pair_of(i);
        struct judged_loss l;
        assert_int_equal(online_dpo_loss(&l, row, &p, number(c, "alpha"), &cfg, &err), 0);
        dpo += l.dpo / PAIRS;
        xpo += l.xpo / PAIRS;
        for (size_t side = 0; side < 2; side++) {
            double want[MOST];
            size_t n = tokens_of(want, json_object_get(c, "grad"), side, i);
            for (size_t t = 0; t < n; t++)
                near(l.dlogp[side] / PAIRS, want[t], "gradient", i);
        }
    }
    near(dpo, number(c, "dpo"), "dpo", 0);
    near(xpo, number(c, "xpo"), "xpo", 0);
    near(dpo + xpo, number(c, "loss"), "loss", 0);
}

static void check_nash(const json_t *c)
{
    struct err err;
    struct nash_md_loss mean = {0};
    for (size_t i = 0; i < PAIRS; i++) {
        double logp[MOST], ref[MOST], d[MOST], want[MOST];
        size_t n = tokens_of(logp, json_object_get(golden, "logps"), 0, i);
        struct nash_md_loss l;
        tokens_of(ref, json_object_get(golden, "ref_logps"), 0, i);
        tokens_of(want, json_object_get(c, "grad"), 0, i);
        double p = json_number_value(json_array_get(json_object_get(golden, "probabilities"), i));
        assert_int_equal(nash_md_loss(&l, d, logp, ref, n, p, number(c, "beta"), &err), 0);
        mean.loss += l.loss / PAIRS;
        mean.score += l.score / PAIRS;
        mean.kl += l.kl / PAIRS;
        for (size_t t = 0; t < n; t++)
            near(d[t] / PAIRS, want[t], "gradient", t);
    }
    near(mean.loss, number(c, "loss"), "loss", 0);
    near(mean.score, number(c, "score"), "score", 0);
    near(mean.kl, number(c, "kl"), "kl", 0);
}

static void test_golden_trl(void **state)
{
    (void)state;
    size_t i, seen = 0;
    json_t *c;
    json_array_foreach(json_object_get(golden, "cases"), i, c) {
        bool nash = !strcmp(json_string_value(json_object_get(c, "method")), "nash_md");
        if (nash)
            check_nash(c);
        else
            check_xpo(c);
        seen++;
    }
    assert_int_equal(seen, 9);
}

/* Every loss of pairs of the table, with labels of both kinds. */
static void test_gradients(void **state)
{
    (void)state;
    static const double weights[][2] = {{1, 0}, {0, 1}, {0.3, 0.7}, {0, 0}};
    struct err err;
    size_t rows = 0;
    for (size_t r = 0; r < preference_losses_n; r++) {
        const struct preference_loss *row = &preference_losses[r];
        struct preference_config cfg = {
            .beta = 0.37, .label_smoothing = row->must_smooth ? 0.1 : 0, .f_alpha_divergence_coef = 1, .discopop_tau = 0.05};
        if (!row->pair || row->free)
            continue;
        rows++;
        for (size_t w = 0; w < 4; w++)
            for (size_t side = 0; side < 2; side++) {
                struct judged_pair p = {{-7.3, -9.1}, {-8.2, -7.9}, {4, 6}, {weights[w][0], weights[w][1]}};
                struct judged_loss l, up, down;
                assert_int_equal(online_dpo_loss(&l, row, &p, 0.17, &cfg, &err), 0);
                p.logp[side] += STEP;
                assert_int_equal(online_dpo_loss(&up, row, &p, 0.17, &cfg, &err), 0);
                p.logp[side] -= 2 * STEP;
                assert_int_equal(online_dpo_loss(&down, row, &p, 0.17, &cfg, &err), 0);
                expect_near(l.dlogp[side], (up.dpo + up.xpo - down.dpo - down.xpo) / (2 * STEP), GRADIENT_TOLERANCE, row->name,
                            w);
            }
    }
    assert_true(rows >= 10);
}

/* r is a constant: the loss is perturbed with it held. */
static void test_gradient_of_nash_md(void **state)
{
    (void)state;
    const double logp[4] = {-0.4, -2.1, -0.02, -3.3}, ref[4] = {-0.9, -1.7, -0.02, -4.1}, beta = 0.21, p = 0.83;
    double d[4];
    struct nash_md_loss l;
    struct err err;
    assert_int_equal(nash_md_loss(&l, d, logp, ref, 4, p, beta, &err), 0);
    for (size_t k = 0; k < 4; k++) {
        double loss[2] = {0, 0};
        for (size_t side = 0; side < 2; side++)
            for (size_t t = 0; t < 4; t++) {
                double moved = logp[t] + (t == k ? (side ? STEP : -STEP) : 0);
                loss[side] += (beta * (logp[t] - ref[t]) - (p - 0.5)) * moved;
            }
        expect_near(d[k], (loss[1] - loss[0]) / (2 * STEP), GRADIENT_TOLERANCE, "nash_md", k);
    }
    expect_near(l.kl, (-0.4 + 0.9) + (-2.1 + 1.7) + (-3.3 + 4.1), 1e-12, "kl", 0);
}

/* A label of 0.3 is the mean over labels that are drawn; where both are equally good, DPO pulls their margin to 0. */
static void test_soft_labels(void **state)
{
    (void)state;
    struct err err;
    struct preference_config cfg = {.beta = 0.5, .f_alpha_divergence_coef = 1};
    const struct preference_loss *row = preference_loss_find("sigmoid", &err);
    struct judged_pair p = {{-7.3, -9.1}, {-8.2, -7.9}, {4, 6}, {1, 0}};
    struct judged_loss first, second, soft, tie;
    online_dpo_loss(&first, row, &p, 0, &cfg, &err);
    p.weight[0] = 0, p.weight[1] = 1;
    online_dpo_loss(&second, row, &p, 0, &cfg, &err);
    p.weight[0] = 0.3, p.weight[1] = 0.7;
    online_dpo_loss(&soft, row, &p, 0, &cfg, &err);
    expect_near(soft.dpo, 0.3 * first.dpo + 0.7 * second.dpo, 1e-14, "loss", 0);
    for (size_t side = 0; side < 2; side++)
        expect_near(soft.dlogp[side], 0.3 * first.dlogp[side] + 0.7 * second.dlogp[side], 1e-14, "gradient", side);
    p.weight[0] = p.weight[1] = 0.5;
    online_dpo_loss(&tie, row, &p, 0, &cfg, &err);
    assert_true(tie.dlogp[0] > 0 && tie.dlogp[1] < 0); /* the first's margin is above 0, so the loss falls as it falls */
}

static void test_refuses(void **state)
{
    (void)state;
    struct err err;
    struct preference_config cfg = {.beta = 0.5, .f_alpha_divergence_coef = 1};
    const struct preference_loss *row = preference_loss_find("sigmoid", &err);
    struct judged_pair good = {{-7.3, -9.1}, {-8.2, -7.9}, {4, 6}, {1, 0}}, p;
    struct judged_loss l = {.dpo = UNTOUCHED, .dlogp = {UNTOUCHED, UNTOUCHED}};
    p = good, p.logp[1] = NAN;
    assert_int_equal(online_dpo_loss(&l, row, &p, 0.1, &cfg, &err), -1);
    p = good, p.ref_logp[0] = INFINITY;
    assert_int_equal(online_dpo_loss(&l, row, &p, 0.1, &cfg, &err), -1);
    p = good, p.weight[1] = -0.1;
    assert_int_equal(online_dpo_loss(&l, row, &p, 0.1, &cfg, &err), -1);
    p = good, p.len[0] = 0;
    assert_int_equal(online_dpo_loss(&l, row, &p, 0.1, &cfg, &err), -1);
    p = good, cfg.beta = 0;
    assert_int_equal(online_dpo_loss(&l, row, &p, 0.1, &cfg, &err), -1);
    p = good, cfg.beta = 0.5;
    assert_int_equal(online_dpo_loss(&l, row, &p, -0.1, &cfg, &err), -1);
    assert_true(l.dpo == UNTOUCHED && l.dlogp[0] == UNTOUCHED && l.dlogp[1] == UNTOUCHED);

    const double logp[2] = {-1, -2}, broken[2] = {-1, NAN};
    double d[2] = {UNTOUCHED, UNTOUCHED};
    struct nash_md_loss n = {.loss = UNTOUCHED};
    assert_int_equal(nash_md_loss(&n, d, logp, logp, 0, 0.5, 0.1, &err), -1);
    assert_int_equal(nash_md_loss(&n, d, broken, logp, 2, 0.5, 0.1, &err), -1);
    assert_int_equal(nash_md_loss(&n, d, logp, broken, 2, 0.5, 0.1, &err), -1);
    assert_int_equal(nash_md_loss(&n, d, logp, logp, 2, 1.1, 0.1, &err), -1);
    assert_int_equal(nash_md_loss(&n, d, logp, logp, 2, NAN, 0.1, &err), -1);
    assert_int_equal(nash_md_loss(&n, d, logp, logp, 2, 0.5, -1, &err), -1);
    assert_true(n.loss == UNTOUCHED && d[0] == UNTOUCHED);
}

/* ---- the mixture of two nets ---- */

enum { PROMPTS = 3, SAMPLES = 3, NEW = 24, LONGEST = 96 };

static struct model model;
static struct adapter adapters[2];
static int32_t prompts[PROMPTS][LONGEST];
static const size_t lengths[PROMPTS] = {90, 71, 5}; /* the first two begin alike, and go over a tile's border */

static void open_nets(void)
{
    struct err err;
    struct adapter_options o = {.rank = 4, .alpha = 8, .seed = 5};
    if (model_open(&model, "tests/golden/models/llama", NULL, &err))
        fail_msg("%s", err.text);
    for (size_t k = 0; k < 2; k++) {
        o.seed = (uint32_t)(5 + k);
        assert_int_equal(adapter_init(&adapters[k], &model, &o, &err), 0);
        for (size_t i = 0; i < adapters[k].params.n; i++) /* B, too */
            adapters[k].params.data[i] += (float)(0.05 * rng_normal(o.seed, RNG_TEST, (uint32_t)i, 0, 0, 0));
    }
    for (size_t p = 0; p < PROMPTS; p++)
        for (size_t i = 0; i < lengths[p]; i++)
            prompts[p][i] = (int32_t)(3 + rng_uniform(9, RNG_TEST, p == 2 ? 7 : 0, (uint32_t)i, 0, 0) * 500);
}

static void close_nets(void)
{
    adapter_release(&adapters[0]);
    adapter_release(&adapters[1]);
    model_release(&model);
}

/* Completions of all prompts. */
static void sample(struct request *r, const struct adapter *one, const struct adapter *other, float coef, size_t first_sample,
                   size_t slots)
{
    struct err err;
    for (size_t p = 0; p < PROMPTS; p++)
        r[p] = (struct request){.prompt = prompts[p],
                                .n_prompt = lengths[p],
                                .n_samples = SAMPLES,
                                .max_new_tokens = NEW,
                                .sampling = {.temperature = 0.8f, .top_p = 1, .seed = 3, .round = 2},
                                .adapter = one,
                                .mix_adapter = other,
                                .mixture_coef = coef,
                                .key = (uint32_t)p,
                                .first_sample = first_sample};
    if (generate_all(&model, r, PROMPTS, slots, NULL, NULL, &err))
        fail_msg("%s", err.text);
}

static void release(struct request *r)
{
    for (size_t p = 0; p < PROMPTS; p++)
        request_release(&r[p]);
}

static void expect_same_samples(const struct request *a, const struct request *b, size_t ahead)
{
    for (size_t p = 0; p < PROMPTS; p++)
        for (size_t s = 0; s + ahead < SAMPLES; s++) {
            const struct sample *x = &a[p].samples[s + ahead], *y = &b[p].samples[s];
            assert_int_equal(x->n, y->n);
            assert_memory_equal(x->ids, y->ids, x->n * sizeof *x->ids);
            assert_memory_equal(x->logps, y->logps, x->n * sizeof *x->logps);
        }
}

static bool differ(const struct request *a, const struct request *b)
{
    for (size_t p = 0; p < PROMPTS; p++)
        if (a[p].samples[0].n != b[p].samples[0].n ||
            memcmp(a[p].samples[0].logps, b[p].samples[0].logps, sizeof(float) * a[p].samples[0].n))
            return true;
    return false;
}

/* At its ends, and of two nets that are one, the mixture is a net's own sampling, to the bit; a later completion's random
 * numbers do not depend on which request asks for it. */
static void test_mixture_of_one(void **state)
{
    (void)state;
    struct request first[PROMPTS], second[PROMPTS], mixed[PROMPTS];
    open_nets();
    sample(first, &adapters[0], NULL, 0, 0, 9);
    sample(second, &adapters[1], NULL, 0, 0, 9);
    assert_true(differ(first, second));
    sample(mixed, &adapters[0], &adapters[1], 1, 0, 9);
    expect_same_samples(second, mixed, 0);
    release(mixed);
    sample(mixed, &adapters[0], &adapters[0], 0.5f, 0, 9);
    expect_same_samples(first, mixed, 0);
    release(mixed);
    sample(mixed, &adapters[0], NULL, 0, 1, 9);
    expect_same_samples(first, mixed, 1);
    release(mixed);
    release(first);
    release(second);
    close_nets();
}

/* Log-probs of all tokens at each position of a completion under one net, (n, vocabulary), in double. */
static double *distributions(const struct adapter *adapter, size_t prompt, const struct sample *s)
{
    struct err err;
    struct net net = {.model = &model, .adapter = adapter};
    struct workspace *w = workspace_new(&model.config, KEEP_NOTHING, &err);
    struct batch b = {0};
    size_t vocab = model.config.vocab, n = lengths[prompt];
    int32_t all[LONGEST + NEW];
    memcpy(all, prompts[prompt], n * sizeof *all);
    memcpy(all + n, s->ids, s->n * sizeof *all);
    batch_add(&b, all, n + s->n, -1);
    struct target *targets = xmalloc(s->n * vocab * sizeof *targets);
    for (size_t i = 0; i < s->n * vocab; i++)
        targets[i] = (struct target){n - 1 + i / vocab, (int32_t)(i % vocab)};
    float *logp = xmalloc(s->n * vocab * sizeof *logp);
    double *out = xmalloc(s->n * vocab * sizeof *out);
    assert_int_equal(net_forward(w, &net, &b, NULL, 0, &err), 0);
    assert_int_equal(net_logprobs(logp, NULL, w, &net, targets, s->n * vocab, 0.8f, false, &err), 0);
    for (size_t i = 0; i < s->n * vocab; i++)
        out[i] = (double)logp[i];
    free(targets);
    free(logp);
    batch_release(&b);
    workspace_free(w);
    return out;
}

/* A sampled token's log-prob is the mixture's, c log p_2 + (1 - c) log p_1 less the log of what that sums to; slots and threads
 * do not matter (law 2). */
static void test_mixture_of_two(void **state)
{
    (void)state;
    const float coef = 0.3f;
    struct request straight[PROMPTS], other[PROMPTS];
    open_nets();
    sample(straight, &adapters[0], &adapters[1], coef, 0, 9);
    for (size_t slots = 1; slots < 9; slots += 3) {
        omp_set_num_threads(slots == 4 ? 2 : 1);
        sample(other, &adapters[0], &adapters[1], coef, 0, slots);
        expect_same_samples(straight, other, 0);
        release(other);
    }
    omp_set_num_threads(1);
    size_t vocab = model.config.vocab, off_both = 0;
    for (size_t p = 0; p < PROMPTS; p++)
        for (size_t k = 0; k < SAMPLES; k++) {
            const struct sample *s = &straight[p].samples[k];
            double *one = distributions(&adapters[0], p, s), *two = distributions(&adapters[1], p, s);
            for (size_t t = 0; t < s->n; t++) {
                double sum = 0, *x = one + t * vocab, *y = two + t * vocab;
                size_t id = (size_t)s->ids[t];
                for (size_t v = 0; v < vocab; v++)
                    sum += exp(0.7 * x[v] + 0.3 * y[v]);
                expect_near((double)s->logps[t], 0.7 * x[id] + 0.3 * y[id] - log(sum), 2e-5, "log-prob", t);
                off_both += fabs((double)s->logps[t] - x[id]) > 1e-3 && fabs((double)s->logps[t] - y[id]) > 1e-3;
            }
            free(one);
            free(two);
        }
    assert_true(off_both > 100); /* it is neither of the two */
    release(straight);
    close_nets();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_trl),     cmocka_unit_test(test_gradients), cmocka_unit_test(test_gradient_of_nash_md),
        cmocka_unit_test(test_soft_labels),    cmocka_unit_test(test_refuses),   cmocka_unit_test(test_mixture_of_one),
        cmocka_unit_test(test_mixture_of_two),
    };
    golden = golden_json("tests/golden/online_dpo.json");
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(golden);
    return failed;
}
