/* One PPO iteration of tests/golden/ppo, whole: log-probs, values, rewards, advantages, every mini-batch of two epochs,
 * and what became of the parameters, against plain torch.  Whole iterations of groups (GRPO, RLOO) and of pairs (online DPO, XPO,
 * Nash-MD) against torch with TRL's losses. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/support.h"
#include "train/group.h"
#include "train/online_dpo.h"
#include "train/ppo.h"
#include "util/mem.h"

struct watched {
    const json_t *mini_batches;
    size_t n;
};

static double number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

static void near_relative(double got, double want, double relative, const char *what, size_t i)
{
    expect_near(got, want, relative * fabs(want) + 1e-6, what, i);
}

static void check_mini_batch(void *user, size_t epoch, size_t b, const struct ppo_stats *s, double norm,
                             const double *ratio, const double *values, size_t n)
{
    struct watched *w = user;
    const json_t *want = json_array_get(w->mini_batches, w->n);
    double *r, *v, tolerance = w->n == 0 ? 2e-5 : 1e-3;
    assert_int_equal(epoch * 2 + b, w->n);
    assert_int_equal(json_doubles(json_object_get(want, "ratio"), &r), n);
    assert_int_equal(json_doubles(json_object_get(want, "values"), &v), n);
    for (size_t i = 0; i < n; i++) {
        expect_near(ratio[i], r[i], tolerance * fmax(1, fabs(r[i])), "ratio", i);
        expect_near(values[i], v[i], tolerance * fmax(1, fabs(v[i])), "value", i);
    }
    expect_near(s->policy_loss, number(want, "policy_loss"), tolerance, "policy_loss", w->n);
    expect_near(s->value_loss, number(want, "value_loss"), tolerance, "value_loss", w->n);
    expect_near(s->clipfrac, number(want, "clipfrac"), 1e-6, "clipfrac", w->n);
    expect_near(s->approxkl, number(want, "approxkl"), tolerance, "approxkl", w->n);
    near_relative(norm, number(want, "grad_norm_before_clip"), 1e-3, "grad_norm", w->n);
    free(r);
    free(v);
    w->n++;
}

static void open_trainable(struct model *m, const char *path)
{
    struct err err;
    if (model_open(m, path, NULL, &err) || model_make_trainable(m, &err))
        fail_msg("%s", err.text);
}

static void expect_role(const json_t *sequences, const char *key, const struct experience *x, const double *got)
{
    for (size_t i = 0; i < x->n; i++) {
        double *want;
        size_t n = json_doubles(json_object_get(json_array_get(sequences, i), key), &want);
        assert_int_equal(n, x->first[i + 1] - x->first[i]);
        for (size_t t = 0; t < n; t++)
            expect_near(got[x->first[i] + t], want[t], 2e-5, key, t);
        free(want);
    }
}

static void expect_changes(const json_t *want, const char *prefix, const struct params *p, const float *before)
{
    for (size_t i = 0; i < p->n_list; i++) {
        const struct param *t = &p->list[i];
        char *name = xasprintf("%s%s", prefix, t->name);
        double sum = 0;
        for (size_t j = 0; j < t->n; j++)
            sum += pow((double)p->data[t->offset + j] - (double)before[t->offset + j], 2);
        assert_non_null(json_object_get(want, name));
        near_relative(sqrt(sum), number(want, name), 1e-3, name, 0);
        free(name);
    }
}

static float *remember(const struct params *p)
{
    float *copy = xmalloc(p->n * sizeof *copy);
    memcpy(copy, p->data, p->n * sizeof *copy);
    return copy;
}

static void test_iteration(void **state)
{
    (void)state;
    struct err err;
    json_t *golden = golden_json("tests/golden/ppo/expected.json");
    const json_t *sequences = json_object_get(golden, "sequences"), *set = json_object_get(golden, "settings");
    struct model policy, reference, critic;
    open_trainable(&policy, "tests/golden/models/llama");
    open_trainable(&critic, "tests/golden/ppo/critic");
    assert_int_equal(model_open(&reference, "tests/golden/models/llama-untied", NULL, &err), 0);
    struct head head;
    assert_int_equal(head_init(&head, critic.config.width, &err), 0);
    assert_non_null(critic.score);
    memcpy(head.params.data, critic.score, critic.config.width * sizeof(float));

    struct examples e = {.list = xcalloc(json_array_size(sequences), sizeof(struct example)), .n = json_array_size(sequences)};
    for (size_t i = 0; i < e.n; i++) {
        int32_t *ids;
        const json_t *s = json_array_get(sequences, i);
        size_t n = json_ids(json_object_get(s, "input_ids"), &ids), prompt = (size_t)number(s, "prompt_length");
        struct example *x = &e.list[i];
        x->n_completions = 1;
        x->completions = xcalloc(1, sizeof *x->completions);
        x->prompt = (struct sequence){.ids = ids, .n = prompt};
        x->completions[0] = (struct sequence){.ids = xmalloc(n * sizeof *ids), .mask = xmalloc(n), .n = n - prompt};
        memcpy(x->completions[0].ids, ids + prompt, (n - prompt) * sizeof *ids);
        memset(x->completions[0].mask, 1, n);
    }
    struct experience x;
    experience_from_examples(&x, &e);
    for (size_t i = 0; i < x.n; i++)
        x.scores[i] = number(json_array_get(sequences, i), "score");

    struct optimizer o = {.adamw = {0.9, 0.999, 1e-8}, .max_grad_norm = number(set, "clip")};
    struct learner l;
    struct gradients critic_grads;
    struct net policy_net = {.model = &policy};
    static const char *const names[3] = {"policy", "", ""};
    assert_int_equal(learner_init(&l, &policy_net, KEEP_ALL, true, false, &o, names, 1, &err), 0);
    struct ppo p = {.policy = &l, .critic = {.model = &critic, .head = &head}, .critic_grads = &critic_grads};
    assert_int_equal(gradients_init(&critic_grads, &p.critic, true, false, true, &err), 0);
    assert_int_equal(optimizer_add(&o, "critic", &critic.params, critic_grads.model, 1, &err), 0);
    assert_int_equal(optimizer_add(&o, "critic.head", &head.params, critic_grads.head, 1, &err), 0);
    p.options = (struct ppo_options){
        .num_ppo_epochs = 2, .num_mini_batches = 2, .micro_batch_tokens = 512, .temperature = 1,
        .loss = {number(set, "cliprange"), number(set, "cliprange_value"), number(set, "vf_coef")},
        .rewards = {.kl_coef = number(set, "kl_coef"), .gamma = number(set, "gamma"), .lam = number(set, "lam"),
                    .whiten_advantages = true}};

    struct net ref_net = {.model = &reference};
    assert_int_equal(ppo_logprobs(&p, &policy_net, &x, x.old_logps, &err), 0);
    assert_int_equal(ppo_logprobs(&p, &ref_net, &x, x.ref_logps, &err), 0);
    assert_int_equal(ppo_values(&p, &x, &err), 0);
    assert_int_equal(experience_finish(&x, &p.options.rewards, &err), 0);
    expect_role(sequences, "old_logprobs", &x, x.old_logps);
    expect_role(sequences, "ref_logprobs", &x, x.ref_logps);
    expect_role(sequences, "values", &x, x.values);
    expect_role(sequences, "rewards", &x, x.rewards);
    expect_role(sequences, "returns", &x, x.returns);
    expect_role(sequences, "whitened", &x, x.advantages);

    float *policy_before = remember(&policy.params), *critic_before = remember(&critic.params), *head_before = remember(&head.params);
    struct watched w = {.mini_batches = json_object_get(golden, "mini_batches")};
    struct ppo_watch watch = {check_mini_batch, &w};
    struct metrics m = {0};
    if (ppo_update(&p, &x, 0, number(set, "lr"), true, &o, &m, &watch, &err))
        fail_msg("%s", err.text);
    assert_int_equal(w.n, 4);
    const json_t *changes = json_object_get(golden, "parameter_change_norms");
    expect_changes(changes, "policy.", &policy.params, policy_before);
    expect_changes(changes, "critic.", &critic.params, critic_before);
    expect_changes(changes, "critic.", &head.params, head_before);

    free(policy_before);
    free(critic_before);
    free(head_before);
    ppo_release(&p);
    gradients_release(&critic_grads);
    learner_release(&l);
    optimizer_release(&o);
    experience_release(&x);
    head_release(&head);
    model_release(&policy);
    model_release(&reference);
    model_release(&critic);
    json_decref(golden);
}

/* ---- groups ---- */

static struct sequence sequence_of(const json_t *ids)
{
    struct sequence s = {0};
    s.n = json_ids(ids, &s.ids);
    s.mask = xmalloc(s.n + 1);
    memset(s.mask, 1, s.n);
    return s;
}

static void read_groups(struct experience *x, const json_t *golden)
{
    const json_t *prompts = json_object_get(golden, "prompts"), *completions = json_object_get(golden, "completions"), *scores,
                 *truncated = json_object_get(golden, "truncated");
    size_t n = json_array_size(prompts), k = (size_t)number(golden, "k");
    struct examples e = {.list = xcalloc(n, sizeof *e.list), .n = n};
    for (size_t i = 0; i < n; i++) {
        e.list[i].prompt = sequence_of(json_array_get(prompts, i));
        e.list[i].n_completions = k;
        e.list[i].completions = xcalloc(k, sizeof *e.list[i].completions);
        for (size_t c = 0; c < k; c++)
            e.list[i].completions[c] = sequence_of(json_array_get(completions, i * k + c));
    }
    experience_from_examples(x, &e);
    scores = json_object_get(golden, "scores");
    for (size_t c = 0; c < x->n; c++) {
        x->scores[c] = json_number_value(json_array_get(scores, c));
        x->finished[c] = true;
    }
    for (size_t i = 0; i < json_array_size(truncated); i++)
        x->finished[json_integer_value(json_array_get(truncated, i))] = false;
}

static int choice(const char *const *names, const json_t *o, const char *key)
{
    int i = 0;
    while (names[i] && strcmp(names[i], json_string_value(json_object_get(o, key))))
        i++;
    assert_non_null(names[i]);
    return i;
}

static struct group_options options_of(const json_t *o)
{
    bool rloo = !strcmp(json_string_value(json_object_get(o, "method")), "rloo");
    return (struct group_options){
        .num_iterations = (size_t)number(o, "num_iterations"),
        .steps_per_generation = (size_t)number(o, "steps"),
        .micro_batch_tokens = 24,
        .temperature = 1,
        .mask_truncated_completions = json_is_true(json_object_get(o, "mask")),
        .advantage_estimator = rloo ? ESTIMATOR_RLOO : ESTIMATOR_GRPO,
        .kl_in_reward = number(o, "kl_in_reward"),
        .loss = {.loss_type = choice(grpo_loss_type_names, o, "loss_type"),
                 .importance_sampling_level =
                     rloo ? LEVEL_COMPLETION : choice(importance_sampling_level_names, o, "importance_sampling_level"),
                 .epsilon = number(o, "epsilon"),
                 .epsilon_high = number(o, "epsilon_high"),
                 .beta = number(o, "beta"),
                 .use_bias_correction_kl = true,
                 .max_completion_length = 10}};
}

/* A policy that is trained as a whole, a reference, and what the policy sampled. */
struct iteration {
    struct model policy, reference;
    struct net net, ref_net;
    struct experience x;
    struct optimizer optimizer;
    struct learner learner;
    float *before; /* the policy's parameters */
};

/* rows: what has the prompts and completions. */
static void iteration_open(struct iteration *it, const json_t *golden, const json_t *rows)
{
    static const char *const names[3] = {"policy", "", ""};
    struct err err;
    *it = (struct iteration){.optimizer = {.adamw = {0.9, 0.999, 1e-8}, .max_grad_norm = number(golden, "clip")}};
    open_trainable(&it->policy, "tests/golden/models/llama");
    assert_int_equal(model_open(&it->reference, "tests/golden/models/llama-untied", NULL, &err), 0);
    it->net.model = &it->policy;
    it->ref_net.model = &it->reference;
    assert_int_equal(learner_init(&it->learner, &it->net, KEEP_ALL, true, false, &it->optimizer, names, 1, &err), 0);
    read_groups(&it->x, rows);
    assert_int_equal(online_logprobs(&it->learner, &it->net, &it->x, 1, 512, it->x.old_logps, &err), 0);
    assert_int_equal(online_logprobs(&it->learner, &it->ref_net, &it->x, 1, 512, it->x.ref_logps, &err), 0);
    it->before = remember(&it->policy.params);
}

static void iteration_close(struct iteration *it)
{
    free(it->before);
    learner_release(&it->learner);
    optimizer_release(&it->optimizer);
    experience_release(&it->x);
    model_release(&it->policy);
    model_release(&it->reference);
}

/* A log-prob that is not the sampler's. */
static void tamper_with(struct iteration *it)
{
    it->x.old_logps[3] = (double)nextafterf((float)it->x.old_logps[3], 0);
}

static void expect_noticed(const struct iteration *it, int rc, const struct err *err)
{
    assert_int_equal(rc, -1);
    assert_non_null(strstr(err->text, "ratio"));
    assert_memory_equal(it->before, it->policy.params.data, it->policy.params.n * sizeof *it->before);
}

/* One case of groups.json.  tamper: a log-prob that is not the sampler's must be noticed. */
static void check_groups(const json_t *golden, const json_t *o, bool tamper)
{
    struct err err;
    struct metrics m = {0};
    struct iteration it;
    iteration_open(&it, golden, golden);
    struct group g = {.policy = &it.learner, .options = options_of(o)};
    if (tamper)
        tamper_with(&it);
    int rc = group_update(&g, &it.x, 0, number(golden, "lr"), true, &it.optimizer, &m, &err);
    if (tamper) {
        expect_noticed(&it, rc, &err);
    } else {
        if (rc)
            fail_msg("%s", err.text);
        expect_near(metrics_get(&m, "loss"), number(o, "loss"), 1e-4, "loss", 0);
        near_relative(metrics_get(&m, "grad_norm"), number(o, "grad_norm"), 1e-3, "grad_norm", 0);
        if (json_is_number(json_object_get(o, "kl")))
            near_relative(metrics_get(&m, "kl"), number(o, "kl"), 1e-3, "kl", 0);
        expect_changes(json_object_get(o, "changes"), "", &it.policy.params, it.before);
    }
    iteration_close(&it);
}

static void test_groups(void **state)
{
    (void)state;
    json_t *golden = golden_json("tests/golden/ppo/groups.json");
    const json_t *cases = json_object_get(golden, "cases");
    assert_int_equal(json_array_size(cases), 5);
    for (size_t i = 0; i < json_array_size(cases); i++)
        check_groups(golden, json_array_get(cases, i), false);
    check_groups(golden, json_array_get(cases, 0), true);
    json_decref(golden);
}

/* ---- pairs ---- */

static const char *const pair_methods[] = {[ONLINE_DPO] = "online_dpo", [ONLINE_XPO] = "xpo", [ONLINE_NASH_MD] = "nash_md", NULL};

/* One case of pairs.json. */
static void check_pairs(const json_t *golden, const json_t *o, bool tamper)
{
    struct err err;
    struct metrics m = {0};
    struct iteration it;
    iteration_open(&it, golden, o);
    double *probability;
    assert_int_equal(json_doubles(json_object_get(golden, "probabilities"), &probability), it.x.examples.n);
    struct online_dpo d = {.policy = &it.learner,
                           .options = {.method = (enum online_pair_method)choice(pair_methods, o, "method"),
                                       .num_iterations = (size_t)number(o, "num_iterations"),
                                       .steps_per_generation = (size_t)number(o, "steps"),
                                       .micro_batch_tokens = 24,
                                       .temperature = 1,
                                       .loss = preference_loss_find("sigmoid", &err),
                                       .config = {.beta = number(o, "beta"), .f_alpha_divergence_coef = 1},
                                       .alpha = number(o, "alpha")}};
    assert_int_equal(online_dpo_check(&d.options, &err), 0);
    if (tamper)
        tamper_with(&it);
    int rc = online_dpo_update(&d, &it.x, probability, 0, number(golden, "lr"), &it.optimizer, &m, &err);
    if (tamper) {
        expect_noticed(&it, rc, &err);
    } else {
        if (rc)
            fail_msg("%s", err.text);
        near_relative(metrics_get(&m, "loss"), number(o, "loss"), 1e-4, "loss", 0);
        near_relative(metrics_get(&m, "grad_norm"), number(o, "grad_norm"), 1e-3, "grad_norm", 0);
        expect_changes(json_object_get(o, "changes"), "", &it.policy.params, it.before);
    }
    free(probability);
    iteration_close(&it);
}

static void test_pairs(void **state)
{
    (void)state;
    json_t *golden = golden_json("tests/golden/ppo/pairs.json");
    const json_t *cases = json_object_get(golden, "cases");
    assert_int_equal(json_array_size(cases), 4);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        check_pairs(golden, json_array_get(cases, i), false);
        check_pairs(golden, json_array_get(cases, i), true);
    }
    json_decref(golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_iteration), cmocka_unit_test(test_groups), cmocka_unit_test(test_pairs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
