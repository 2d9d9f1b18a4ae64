/* The tiny models of tests/golden/models against what transformers and torch compute for them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "optim/adamw.h"
#include "rollout/generate.h"
#include "support/support.h"
#include "util/mem.h"

struct golden {
    json_t *expected;
    int32_t *ids[2];
    size_t length[2], prompt[2];
    struct model model;
};

static void load(struct golden *g, const char *name)
{
    struct err err;
    char *path = xasprintf("tests/golden/models/%s", name), *json = xasprintf("%s/expected.json", path);
    *g = (struct golden){.expected = golden_json(json)};
    for (size_t b = 0; b < 2; b++) {
        json_ids(json_array_get(json_object_get(g->expected, "input_ids"), b), &g->ids[b]);
        g->length[b] = (size_t)json_integer_value(json_array_get(json_object_get(g->expected, "length"), b));
        g->prompt[b] = (size_t)json_integer_value(json_array_get(json_object_get(g->expected, "prompt"), b));
    }
    if (model_open(&g->model, path, NULL, &err))
        fail_msg("%s", err.text);
    free(json);
    free(path);
}

static void drop(struct golden *g)
{
    model_release(&g->model);
    free(g->ids[0]);
    free(g->ids[1]);
    json_decref(g->expected);
}

static void expect_logits(const struct golden *g, const struct net *net, struct workspace *w, const struct batch *b,
                          const json_t *want)
{
    size_t row = 0, vocab = g->model.config.vocab;
    float *logits = xmalloc(vocab * sizeof *logits), one = 1;
    struct logprob_row info;
    for (size_t s = 0; s < 2; s++) {
        double *expected;
        row += g->length[s];
        logits_forward(logits, &info, net_hidden(w, row - 1), 1, &net->model->output, net->model->config.final_cap, &one);
        size_t n = json_doubles(json_array_get(want, s), &expected);
        assert_int_equal(n, vocab);
        for (size_t i = 0; i < n; i++)
            expect_near((double)logits[i], expected[i], 2e-5, "logit", i);
        free(expected);
    }
    assert_int_equal(row, b->n_rows);
    free(logits);
}

static void expect_gradients(const json_t *want, const struct params *p, const float *grads, const char *prefix)
{
    const char *name;
    json_t *v;
    size_t seen = 0;
    json_object_foreach((json_t *)(uintptr_t)want, name, v)
    {
        char *full = xasprintf("%s%s", prefix, name);
        const struct param *t = params_find(p, full);
        if (!t)
            fail_msg("no tensor '%s'", full);
        double norm = json_number_value(json_object_get(v, "norm")), *first;
        expect_near(sqrt(sum_of_squares(grads + t->offset, t->n)), norm, 1e-5 * norm, full, 0);
        size_t n = json_doubles(json_object_get(v, "first4"), &first);
        for (size_t i = 0; i < n; i++) { /* the first of the file's, which may hold it the other way round */
            size_t at = t->offset + (t->turned ? i * t->shape[1] : i);
            expect_near((double)grads[at], first[i], 1e-3 * fabs(first[i]) + 1e-5 * norm, full, i);
        }
        free(first);
        free(full);
        seen++;
    }
    assert_int_equal(seen, p->n_list);
}

/* Forward and backward of the mean negative log-likelihood over the completions; returns it. */
static double step(const struct golden *g, const struct net *net, struct workspace *w, struct batch *b,
                   struct gradients *grads)
{
    struct err err;
    struct target targets[64];
    float logp[64], d[64];
    size_t n = 0;
    batch_clear(b);
    for (size_t s = 0; s < 2; s++)
        add_sequence(b, targets, &n, g->ids[s], g->length[s], g->prompt[s]);
    assert_int_equal(net_forward(w, net, b, NULL, 0, &err), 0);
    assert_int_equal(net_logprobs(logp, NULL, w, net, targets, n, 1, true, &err), 0);
    double nll = 0;
    for (size_t i = 0; i < n; i++) {
        nll -= (double)logp[i] / (double)n;
        d[i] = -1.0f / (float)n;
    }
    gradients_clear(grads, net);
    net_backward(grads, w, net, b, d, NULL, NULL, 0);
    gradients_finish(grads, net);
    return nll;
}

static void check_forward(const struct golden *g)
{
    struct err err;
    struct net net = {.model = &g->model};
    struct workspace *w = workspace_new(&g->model.config, KEEP_NOTHING, &err);
    struct batch b = {0};
    struct target targets[64];
    float logp[64];
    double *want;
    size_t n = 0;
    for (size_t s = 0; s < 2; s++)
        add_sequence(&b, targets, &n, g->ids[s], g->length[s], 1);
    assert_int_equal(net_forward(w, &net, &b, NULL, 0, &err), 0);
    assert_int_equal(net_logprobs(logp, NULL, w, &net, targets, n, 1, false, &err), 0);
    assert_int_equal(json_doubles(json_object_get(g->expected, "token_logprobs"), &want), n);
    for (size_t i = 0; i < n; i++)
        expect_near((double)logp[i], want[i], 2e-5, "log-prob", i);
    expect_logits(g, &net, w, &b, json_object_get(g->expected, "logits_last"));
    free(want);
    batch_release(&b);
    workspace_free(w);
}

static void check_greedy(const struct golden *g)
{
    struct err err;
    int32_t *prompt, *want;
    const json_t *greedy = json_object_get(g->expected, "greedy");
    size_t n = json_ids(json_object_get(greedy, "prompt"), &prompt);
    size_t m = json_ids(json_object_get(greedy, "completion"), &want);
    struct request r = {.prompt = prompt, .n_prompt = n, .n_samples = 1, .max_new_tokens = m,
                        .sampling = {.temperature = 0, .top_p = 1}};
    assert_int_equal(generate_all(&g->model, &r, 1, 4, NULL, NULL, &err), 0);
    assert_int_equal(r.samples[0].n, m);
    assert_memory_equal(r.samples[0].ids, want, m * sizeof *want);
    request_release(&r);
    free(prompt);
    free(want);
}

static void check_training(struct golden *g)
{
    struct err err;
    assert_int_equal(model_make_trainable(&g->model, &err), 0);
    struct net net = {.model = &g->model};
    struct workspace *w = workspace_new(&g->model.config, KEEP_ALL, &err);
    struct batch b = {0};
    struct gradients grads;
    assert_int_equal(gradients_init(&grads, &net, true, false, false, &err), 0);
    expect_near(step(g, &net, w, &b, &grads), json_number_value(json_object_get(g->expected, "nll")), 2e-5, "nll", 0);
    expect_gradients(json_object_get(g->expected, "gradients"), &g->model.params, grads.model, "");

    const json_t *o = json_object_get(g->expected, "adamw");
    double *loss, *norms, lr = json_number_value(json_object_get(o, "lr"));
    size_t steps = json_doubles(json_object_get(o, "loss"), &loss);
    json_doubles(json_object_get(o, "grad_norm_before_clip"), &norms);
    struct adamw a = {0.9, 0.95, 1e-8};
    struct params *p = &g->model.params;
    float *m = params_twin(p, "moments", &err), *v = params_twin(p, "moments", &err);
    for (size_t t = 0; t < steps; t++) {
        expect_near(step(g, &net, w, &b, &grads), loss[t], 2e-5 * (1 + (double)t), "loss", t);
        double norm = sqrt(sum_of_squares(grads.model, p->n));
        expect_near(norm, norms[t], 1e-4 * norms[t], "norm", t);
        adamw_apply(&a, p->data, grads.model, m, v, p->n, lr, 0.1, t + 1, clip_scale(norm, 1.0));
    }
    free(loss);
    free(norms);
    mem_block_free(m);
    mem_block_free(v);
    gradients_release(&grads);
    batch_release(&b);
    workspace_free(w);
}

static void check_lora(const struct golden *g, const char *name)
{
    struct err err;
    char *folder = xasprintf("tests/golden/models/%s/lora", name), *json = xasprintf("%s/expected.json", folder);
    json_t *expected = golden_json(json);
    struct adapter adapter;
    if (adapter_open(&adapter, &g->model, folder, &err))
        fail_msg("%s", err.text);
    struct net net = {.model = &g->model, .adapter = &adapter};
    struct workspace *w = workspace_new(&g->model.config, KEEP_ALL, &err);
    struct batch b = {0};
    struct gradients grads;
    assert_int_equal(gradients_init(&grads, &net, false, true, false, &err), 0);
    expect_near(step(g, &net, w, &b, &grads), json_number_value(json_object_get(expected, "nll")), 2e-5, "nll", 0);
    expect_logits(g, &net, w, &b, json_object_get(expected, "logits_last"));
    expect_gradients(json_object_get(expected, "gradients"), &adapter.params, grads.adapter, "base_model.model.");
    gradients_release(&grads);
    batch_release(&b);
    workspace_free(w);
    adapter_release(&adapter);
    json_decref(expected);
    free(folder);
    free(json);
}

static void check(const char *name)
{
    struct golden g;
    load(&g, name);
    check_forward(&g);
    check_greedy(&g);
    check_lora(&g, name);
    check_training(&g);
    drop(&g);
}

#define FAMILY(name, folder)           \
    static void test_##name(void **state) \
    {                                  \
        (void)state;                   \
        check(folder);                 \
    }
FAMILY(llama, "llama")
FAMILY(llama_untied, "llama-untied")
FAMILY(llama3, "llama3")
FAMILY(mistral, "mistral")
FAMILY(qwen2, "qwen2")
FAMILY(qwen3, "qwen3")
FAMILY(gemma2, "gemma2")
FAMILY(gemma3, "gemma3")
FAMILY(phi3, "phi3")
FAMILY(smollm3, "smollm3")
FAMILY(olmo2, "olmo2")
FAMILY(gpt2, "gpt2")

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),  cmocka_unit_test(test_llama_untied), cmocka_unit_test(test_llama3), cmocka_unit_test(test_mistral),
        cmocka_unit_test(test_qwen2),  cmocka_unit_test(test_qwen3),        cmocka_unit_test(test_gemma2), cmocka_unit_test(test_gemma3),
        cmocka_unit_test(test_phi3),   cmocka_unit_test(test_smollm3),      cmocka_unit_test(test_olmo2),  cmocka_unit_test(test_gpt2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
