/* The laws of docs/architecture.md on the real model (HONE_MODEL): what was sampled is what training computes, bit for bit,
 * whatever stands beside it, however weights are kept, at any number of threads. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rollout/generate.h"
#include "support/program.h"
#include "train/pairwise.h"
#include "util/mem.h"
#include "util/rng.h"

enum { REQUESTS = 4, SAMPLES = 4, TOKENS = 200, MOST = REQUESTS * SAMPLES };

/* What the tests share: the model, an adapter that does something, and completions sampled from both. */
static struct {
    bool here, packed;
    struct model model;
    struct adapter adapter;
    struct request requests[REQUESTS];
    struct ids prompts[REQUESTS];
} real;

static void ok(int rc, const struct err *err)
{
    if (rc)
        fail_msg("%s", err->text);
}

static void set_packed(bool packed)
{
    struct err err;
    if (packed && !real.packed)
        ok(model_pack(&real.model, &err), &err);
    if (!packed && real.packed)
        model_unpack(&real.model);
    real.packed = packed;
}

/* B is not zero, as after training. */
static void fill_adapter(struct adapter *a, float size)
{
    for (size_t i = 0; i < a->params.n_list; i++) {
        const struct param *p = &a->params.list[i];
        if (strstr(p->name, "lora_B"))
            for (size_t j = 0; j < p->n; j++)
                a->params.data[p->offset + j] = size * (float)rng_normal(5, RNG_TEST, (uint32_t)i, (uint32_t)j, 0, 0);
    }
}

/* Half of the requests with the adapter, half at another temperature; prompts of unlike lengths. */
static struct request request_of(size_t i, size_t samples, size_t tokens)
{
    return (struct request){.prompt = real.prompts[i].data,
                            .n_prompt = real.prompts[i].n,
                            .n_samples = samples,
                            .max_new_tokens = tokens,
                            .sampling = {.temperature = i < 2 ? 1.0f : 0.7f, .top_p = 1, .seed = 11},
                            .adapter = i % 2 ? &real.adapter : NULL,
                            .key = (uint32_t)i};
}

static int open_model(void **state)
{
    (void)state;
    static const char *const prompts[REQUESTS] = {
        "Write a short story about a lamp.",
        "What should I bear in mind when I buy a second-hand bicycle for a child of six?",
        "Why is the sky blue?",
        "List the steps to boil an egg so that the yolk stays soft, and say what can go wrong at each of them.",
    };
    struct err err;
    if (!real_model())
        return 0;
    ok(model_open(&real.model, real_model(), NULL, &err), &err);
    struct adapter_options o = {.rank = 8, .alpha = 16, .seed = 3};
    ok(adapter_init(&real.adapter, &real.model, &o, &err), &err);
    fill_adapter(&real.adapter, 0.01f);
    for (size_t i = 0; i < REQUESTS; i++) {
        struct message message = {"user", (char *)(uintptr_t)prompts[i]};
        ok(chat_encode(real.model.template, real.model.tokenizer, &message, 1, true, 0, &real.prompts[i], NULL, &err), &err);
    }
    real.here = true;
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    if (!real.here)
        return 0;
    for (size_t i = 0; i < REQUESTS; i++) {
        request_release(&real.requests[i]);
        ids_release(&real.prompts[i]);
    }
    adapter_release(&real.adapter);
    model_release(&real.model);
    return 0;
}

static void need_model(void)
{
    if (!real.here) {
        printf("skipped: no real model (HONE_MODEL)\n");
        skip();
    }
}

/* The completions that most tests look at: all 16 at once, weights packed, two threads. */
static const struct request *sampled(void)
{
    struct err err;
    if (!real.requests[0].samples) {
        omp_set_num_threads(2);
        set_packed(true);
        for (size_t i = 0; i < REQUESTS; i++)
            real.requests[i] = request_of(i, SAMPLES, TOKENS);
        ok(generate_all(&real.model, real.requests, REQUESTS, MOST, NULL, NULL, &err), &err);
    }
    return real.requests;
}

static void expect_same_floats(const float *a, const float *b, size_t n, const char *what, size_t which)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a))
            fail_msg("%s %zu: number %zu of %zu is %.9g and %.9g", what, which, i, n, (double)a[i], (double)b[i]);
}

/* ---- the text itself ---- */

static void test_greedy(void **state)
{
    (void)state;
    need_model();
    if (!shared_folder()) {
        printf("skipped: the shared golden values are not there (HONE_SHARED)\n");
        skip();
    }
    char *path = xasprintf("%s/golden/smollm2-135m/greedy.json", shared_folder());
    json_t *golden = golden_json(path), *results = json_object_get(golden, "results");
    size_t n = json_array_size(results);
    struct request *requests = xcalloc(n, sizeof *requests);
    struct ids *ids = xcalloc(n, sizeof *ids);
    int32_t stop[4];
    size_t n_stop = model_stop_tokens(&real.model, stop);
    struct err err;
    assert_int_equal(n, 16);
    omp_set_num_threads(2);
    set_packed(true);
    for (size_t i = 0; i < n; i++) {
        json_t *row = json_array_get(results, i);
        struct message message = {"user", (char *)(uintptr_t)json_string_value(json_object_get(row, "prompt"))};
        int32_t *want;
        ok(chat_encode(real.model.template, real.model.tokenizer, &message, 1, true, 0, &ids[i], NULL, &err), &err);
        assert_int_equal(ids[i].n, json_ids(json_object_get(row, "prompt_ids"), &want));
        assert_memory_equal(ids[i].data, want, ids[i].n * sizeof *want);
        requests[i] = (struct request){.prompt = ids[i].data, .n_prompt = ids[i].n, .n_samples = 1, .max_new_tokens = 48,
                                       .sampling = {.temperature = 0, .top_p = 1}, .stop = stop, .n_stop = n_stop};
        free(want);
    }
    ok(generate_all(&real.model, requests, n, n, NULL, NULL, &err), &err);
    for (size_t i = 0; i < n; i++) {
        json_t *row = json_array_get(results, i);
        const struct sample *s = &requests[i].samples[0];
        int32_t *want;
        double *logps;
        size_t length = json_ids(json_object_get(row, "greedy_ids"), &want);
        assert_int_equal(json_doubles(json_object_get(row, "completion_logprobs"), &logps), length);
        if (s->n != length || memcmp(s->ids, want, length * sizeof *want))
            fail_msg("row %zu ('%s') goes on in another way", i, json_string_value(json_object_get(row, "prompt")));
        for (size_t j = 0; j < length; j++)
            expect_near((double)s->logps[j], logps[j], 2e-4, "log-prob of a greedy token", j);
        free(want);
        free(logps);
        request_release(&requests[i]);
        ids_release(&ids[i]);
    }
    free(requests);
    free(ids);
    free(path);
    json_decref(golden);
}

/* ---- sampled == sampled in another way ---- */

/* The first tokens of the requests from..to, sampled again with fewer neighbours. */
static void expect_same_samples(size_t from, size_t to, size_t samples, size_t tokens, size_t slots, const char *what)
{
    const struct request *all = sampled();
    struct request again[REQUESTS];
    struct err err;
    for (size_t i = from; i < to; i++)
        again[i] = request_of(i, samples, tokens);
    ok(generate_all(&real.model, again + from, to - from, slots, NULL, NULL, &err), &err);
    for (size_t i = from; i < to; i++) {
        for (size_t k = 0; k < samples; k++) {
            const struct sample *a = &all[i].samples[k], *b = &again[i].samples[k];
            assert_int_equal(b->n, tokens);
            if (memcmp(a->ids, b->ids, tokens * sizeof *a->ids))
                fail_msg("%s: sample %zu of request %zu has other tokens", what, k, i);
            expect_same_floats(a->logps, b->logps, tokens, what, i);
        }
        request_release(&again[i]);
    }
}

static void test_sampled_alone(void **state)
{
    (void)state;
    need_model();
    sampled();
    set_packed(true);
    omp_set_num_threads(1);
    expect_same_samples(1, 2, 1, 40, 1, "alone, one thread");
    omp_set_num_threads(2);
    expect_same_samples(2, 3, 1, 40, 1, "alone, two threads");
    expect_same_samples(0, REQUESTS, 2, 24, 3, "eight in three slots");
}

static void test_sampled_unpacked(void **state)
{
    (void)state;
    need_model();
    sampled();
    set_packed(false);
    omp_set_num_threads(2);
    expect_same_samples(0, REQUESTS, 1, 16, 4, "unpacked");
}

/* Two samples of a prompt, and the same sample with and without the adapter or at another temperature, must differ, or
 * all of this would hold of a sampler that always says the same. */
static void test_samples_differ(void **state)
{
    (void)state;
    need_model();
    const struct request *all = sampled();
    for (size_t i = 0; i < REQUESTS; i++) {
        assert_int_equal(all[i].samples[0].n, TOKENS);
        assert_memory_not_equal(all[i].samples[0].ids, all[i].samples[1].ids, TOKENS * sizeof(int32_t));
    }
    struct request bare = request_of(1, 1, 40);
    struct err err;
    bare.adapter = NULL;
    set_packed(true);
    ok(generate_all(&real.model, &bare, 1, 1, NULL, NULL, &err), &err);
    assert_memory_not_equal(bare.samples[0].logps, all[1].samples[0].logps, 40 * sizeof(float));
    request_release(&bare);
}

/* ---- sampled == recomputed (law 1) ---- */

static struct sequence sequence_of(const struct sample *s, size_t n)
{
    struct sequence q = {.ids = s->ids, .mask = xmalloc(n), .n = n};
    memset(q.mask, 1, n);
    return q;
}

/* Samples first.. of a request, n tokens of each, as a tree. */
static struct example tree_of(const struct request *r, size_t first, size_t count, size_t n)
{
    struct example e = {.prompt = {.ids = (int32_t *)(uintptr_t)r->prompt, .n = r->n_prompt},
                        .completions = xcalloc(count, sizeof *e.completions),
                        .n_completions = count};
    for (size_t k = 0; k < count; k++)
        e.completions[k] = sequence_of(&r->samples[first + k], n);
    return e;
}

static void tree_release(struct example *e)
{
    for (size_t k = 0; k < e->n_completions; k++)
        free(e->completions[k].mask);
    free(e->completions);
}

/* The log-probs of a forest's completions (count of n tokens each, side by side), as training computes them. */
static float *recompute(const struct example *trees, size_t n_trees, const struct adapter *adapter, float temperature,
                        size_t count, size_t n, bool grad)
{
    struct err err;
    struct forest f = {0};
    struct net net = {.model = &real.model, .adapter = adapter};
    struct workspace *w = workspace_new(&real.model.config, grad ? KEEP_ALL : KEEP_NOTHING, &err);
    for (size_t i = 0; i < n_trees; i++)
        forest_add(&f, &trees[i]);
    assert_int_equal(f.n_targets, count * n);
    float *logp = xmalloc(f.n_targets * sizeof *logp), *sorted = xmalloc(f.n_targets * sizeof *sorted);
    size_t *seen = xcalloc(count, sizeof *seen);
    ok(net_forward(w, &net, &f.batch, NULL, 0, &err), &err);
    ok(net_logprobs(logp, NULL, w, &net, f.targets, f.n_targets, temperature, grad, &err), &err);
    for (size_t i = 0; i < f.n_targets; i++)
        sorted[f.owner[i] * n + seen[f.owner[i]]++] = logp[i];
    free(seen);
    free(logp);
    forest_release(&f);
    workspace_free(w);
    return sorted;
}

static void expect_sampled(const struct request *r, size_t first, size_t count, size_t n, const float *logp, const char *what)
{
    for (size_t k = 0; k < count; k++)
        expect_same_floats(r->samples[first + k].logps, logp + k * n, n, what, first + k);
}

/* Each request as a tree of four completions; with activations kept for a backward, and without. */
static void recompute_trees(const char *what, bool grad)
{
    const struct request *all = sampled();
    for (size_t i = 0; i < REQUESTS; i++) {
        struct example tree = tree_of(&all[i], 0, SAMPLES, TOKENS);
        float *logp = recompute(&tree, 1, all[i].adapter, all[i].sampling.temperature, SAMPLES, TOKENS, grad);
        expect_sampled(&all[i], 0, SAMPLES, TOKENS, logp, what);
        free(logp);
        tree_release(&tree);
    }
}

static void test_recomputed_as_trees(void **state)
{
    (void)state;
    need_model();
    sampled();
    set_packed(true);
    omp_set_num_threads(2);
    recompute_trees("a tree, packed, two threads", true);
    set_packed(false);
    omp_set_num_threads(1);
    recompute_trees("a tree, unpacked, one thread", false);
}

static void test_recomputed_alone(void **state)
{
    (void)state;
    need_model();
    const struct request *all = sampled();
    set_packed(false);
    omp_set_num_threads(2);
    for (size_t i = 0; i < REQUESTS; i++) {
        struct example alone = tree_of(&all[i], i % SAMPLES, 1, TOKENS);
        float *logp = recompute(&alone, 1, all[i].adapter, all[i].sampling.temperature, 1, TOKENS, i % 2);
        expect_sampled(&all[i], i % SAMPLES, 1, TOKENS, logp, "a sequence alone");
        free(logp);
        tree_release(&alone);
    }
}

/* A forest of trees that belong together in nothing: other prompts, lengths and numbers of completions around the one
 * that is looked at.  Requests 0 and 2 have no adapter; the log-probs of 2 are asked for at its temperature. */
static void test_recomputed_in_a_forest(void **state)
{
    (void)state;
    need_model();
    const struct request *all = sampled();
    set_packed(true);
    enum { N = 130 };
    struct example forest[4] = {tree_of(&all[0], 1, 3, N), tree_of(&all[2], 0, 2, N), tree_of(&all[0], 0, 1, N),
                                tree_of(&all[2], 3, 1, N)};
    for (int threads = 1; threads <= 2; threads++) {
        omp_set_num_threads(threads);
        float *logp = recompute(forest, 4, NULL, all[2].sampling.temperature, 7, N, threads == 2);
        expect_sampled(&all[2], 0, 2, N, logp + 3 * N, "among three other trees");
        expect_sampled(&all[2], 3, 1, N, logp + 6 * N, "behind three other trees");
        free(logp);
    }
    for (size_t i = 0; i < 4; i++)
        tree_release(&forest[i]);
}

/* ---- gradients (law 2) ---- */

/* The gradient of the mean log-prob of some trees, computed in micro-batches of `each` trees. */
static float *gradient(const struct example *trees, size_t n_trees, size_t each, size_t *n)
{
    struct err err;
    struct net net = {.model = &real.model, .adapter = &real.adapter};
    struct gradients g;
    struct forest f = {0};
    struct workspace *w = workspace_new(&real.model.config, KEEP_ALL, &err);
    ok(gradients_init(&g, &net, false, true, false, &err), &err);
    for (size_t at = 0; at < n_trees; at += each) {
        forest_clear(&f);
        for (size_t i = at; i < at + each && i < n_trees; i++)
            forest_add(&f, &trees[i]);
        float *logp = xmalloc(f.n_targets * sizeof *logp), *dlogp = xmalloc(f.n_targets * sizeof *dlogp);
        ok(net_forward(w, &net, &f.batch, NULL, 0, &err), &err);
        ok(net_logprobs(logp, NULL, w, &net, f.targets, f.n_targets, 1.0f, true, &err), &err);
        for (size_t i = 0; i < f.n_targets; i++)
            dlogp[i] = -1.0f / 77 * (float)(1 + f.targets[i].token % 3);
        net_backward(&g, w, &net, &f.batch, dlogp, NULL, NULL, 0);
        free(logp);
        free(dlogp);
    }
    gradients_finish(&g, &net);
    *n = real.adapter.params.n;
    float *copy = xmalloc(*n * sizeof *copy);
    memcpy(copy, g.adapter, *n * sizeof *copy);
    gradients_release(&g);
    forest_release(&f);
    workspace_free(w);
    return copy;
}

static void test_gradients(void **state)
{
    (void)state;
    need_model();
    const struct request *all = sampled();
    struct example trees[3] = {tree_of(&all[1], 0, 1, 60), tree_of(&all[3], 0, 2, 45), tree_of(&all[0], 1, 1, 33)};
    static const struct {
        int threads;
        size_t each;
        bool packed;
    } ways[] = {{2, 2, true}, {2, 1, true}, {1, 2, false}};
    size_t n;
    omp_set_num_threads(1);
    set_packed(true);
    float *want = gradient(trees, 3, 3, &n), largest = 0;
    for (size_t i = 0; i < n; i++) {
        assert_true(isfinite(want[i]));
        largest = fabsf(want[i]) > largest ? fabsf(want[i]) : largest;
    }
    assert_true(largest > 0);
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        omp_set_num_threads(ways[k].threads);
        set_packed(ways[k].packed);
        float *got = gradient(trees, 3, ways[k].each, &n);
        expect_same_floats(want, got, n, "a gradient, way", k);
        free(got);
    }
    free(want);
    for (size_t i = 0; i < 3; i++)
        tree_release(&trees[i]);
}

/* ---- DPO's first step ---- */

static const char pairs[] =
    "{\"prompt\": \"Why is the sky blue?\", \"chosen\": \"Air scatters blue light more than red light.\", "
    "\"rejected\": \"Because it mirrors the sea, which everybody knows is blue.\"}\n"
    "{\"prompt\": \"What is 17 + 25?\", \"chosen\": \"17 + 25 = 42.\", \"rejected\": \"It is 43.\"}\n";

/* The reference's log-probs in one arrangement, the step in another: policy and reference are the same weights. */
static void expect_log_2(struct adapter *adapter, size_t reference_tokens, size_t step_tokens, int threads)
{
    static const char *const names[3] = {"model", "adapter", "head"};
    static const char *const zero[] = {"rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"};
    struct err err;
    struct net net = {.model = &real.model, .adapter = adapter};
    struct dataset data;
    struct examples e;
    struct encode_options o = {.tokenizer = real.model.tokenizer, .chat = real.model.template, .eos = real.model.config.eos,
                               .vocab = real.model.config.vocab};
    struct loop_options reference = {.micro_batch_tokens = reference_tokens}, step = {.micro_batch_tokens = step_tokens};
    struct pairwise_config config = {.loss = {.beta = 0.1}, .ld_alpha = 1, .reference = true};
    struct optimizer optimizer = {0};
    struct learner pass, learner;
    struct pairwise dpo;
    struct metrics m = {0};
    size_t rows[2] = {0, 1};

    ok(dataset_parse(&data, "pairs", pairs, strlen(pairs), NULL, &err), &err);
    ok(examples_encode(&e, &data, &o, &err), &err);
    omp_set_num_threads(2);
    ok(learner_init_forward(&pass, &net, &err), &err);
    double *ref = sequence_logprobs(&pass, &reference, &e, NULL, e.n, 2, 1, NULL, NULL, &err);
    assert_non_null(ref);
    omp_set_num_threads(threads);
    ok(learner_init(&learner, &net, KEEP_ALL, false, false, &optimizer, names, 1, &err), &err);
    ok(preference_mixture_add(&config.losses, preference_loss_find("sigmoid", &err), 1, &err), &err);
    pairwise_init(&dpo, &learner, &step, &config);
    dpo.train_ref = ref;
    struct method method = pairwise_method(&dpo, "dpo");
    ok(method.begin(method.self, &e, rows, 2, true, &err), &err);
    for (size_t at = 0; at < 2;) {
        size_t n = loop_micro(&step, &e, rows, 2, at, 0);
        ok(method.micro(method.self, &e, rows + at, n, true, &err), &err);
        at += n;
    }
    ok(method.end(method.self, &m, true, &err), &err);
    if (metrics_get(&m, "loss") != log(2.0))
        fail_msg("the loss is %.17g instead of log 2 = %.17g", metrics_get(&m, "loss"), log(2.0));
    for (size_t i = 0; i < sizeof zero / sizeof *zero; i++)
        if (metrics_get(&m, zero[i]) != 0)
            fail_msg("%s is %.17g instead of 0", zero[i], metrics_get(&m, zero[i]));
    assert_true(metrics_get(&m, "logps/chosen") < -5);
    double norm = sum_of_squares(learner.grads.adapter, adapter->params.n);
    assert_true(isfinite(norm) && norm > 0);

    free(ref);
    pairwise_release(&dpo);
    learner_release(&learner);
    learner_release(&pass);
    optimizer_release(&optimizer);
    examples_release(&e);
    dataset_release(&data);
}

static void test_first_step_of_dpo(void **state)
{
    (void)state;
    need_model();
    struct adapter_options o = {.rank = 4, .alpha = 8, .seed = 1};
    struct adapter fresh;
    struct err err;
    ok(adapter_init(&fresh, &real.model, &o, &err), &err);
    set_packed(true);
    expect_log_2(&fresh, 512, 16, 2);
    set_packed(false);
    expect_log_2(&real.adapter, 16, 512, 1);
    adapter_release(&fresh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_samples_differ),
        cmocka_unit_test(test_sampled_alone),
        cmocka_unit_test(test_sampled_unpacked),
        cmocka_unit_test(test_recomputed_as_trees),
        cmocka_unit_test(test_recomputed_alone),
        cmocka_unit_test(test_recomputed_in_a_forest),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_first_step_of_dpo),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
