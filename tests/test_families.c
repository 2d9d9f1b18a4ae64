/* Every family of models on texts longer than a tile of attention, against transformers (tests/golden/make/families.py), and the laws of
 * docs/architecture.md on each: what was sampled is what training computes, however activations are kept and rows are batched. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/save.h"
#include "checkpoint/save_gguf.h"
#include "optim/adamw.h"
#include "rollout/generate.h"
#include "support/program.h"
#include "support/support.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/rng.h"

/* A model of tests/golden/models with settings laid over its config. */
static void make_with(const char *name, const json_t *over)
{
    char *config = xasprintf("golden/models/%s/config.json", name);
    json_t *o = golden_json(config);
    json_object_update(o, (json_t *)(uintptr_t)over);
    char *text = json_dumps(o, 0);
    drop("model");
    run_ok("mkdir model && cp golden/models/%s/model.safetensors model", name);
    text_write("model/config.json", "%s", text);
    free(text);
    json_decref(o);
    free(config);
}

static void open_with(struct model *m, const char *name, const json_t *over)
{
    struct err err;
    make_with(name, over);
    if (model_open(m, "model", NULL, &err))
        fail_msg("%s", err.text);
}

static void check_gradients(const json_t *want, const struct params *p, const float *grads, const char *name)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)want, key, v)
    {
        const struct param *t = params_find(p, key);
        if (!t)
            fail_msg("%s: no tensor '%s'", name, key);
        double norm = json_number_value(json_object_get(v, "norm")), *first;
        expect_near(sqrt(sum_of_squares(grads + t->offset, t->n)), norm, 2e-5 * norm, key, 0);
        size_t n = json_doubles(json_object_get(v, "first4"), &first);
        for (size_t i = 0; i < n; i++)
            expect_near((double)grads[t->offset + (t->turned ? i * t->shape[1] : i)], first[i], 1e-3 * fabs(first[i]) + 2e-5 * norm, key, i);
        free(first);
    }
}

static void check_case(const json_t *c, const int32_t *ids, size_t n)
{
    struct err err;
    struct model m;
    const char *name = json_string_value(json_object_get(c, "model"));
    open_with(&m, name, json_object_get(c, "config"));
    assert_int_equal(model_make_trainable(&m, &err), 0);
    struct net net = {.model = &m};
    struct workspace *w = workspace_new(&m.config, KEEP_ALL, &err);
    struct batch b = {0};
    struct gradients g;
    assert_int_equal(gradients_init(&g, &net, true, false, false, &err), 0);
    gradients_clear(&g, &net);
    struct target *targets = xcalloc(n, sizeof *targets);
    float *logp = xcalloc(n, sizeof *logp), *d = xcalloc(n, sizeof *d);
    double *want;
    size_t count = 0;
    add_sequence(&b, targets, &count, ids, n, 1);
    assert_int_equal(net_forward(w, &net, &b, NULL, 0, &err), 0);
    assert_int_equal(net_logprobs(logp, NULL, w, &net, targets, count, 1, true, &err), 0);
    assert_int_equal(json_doubles(json_object_get(c, "token_logprobs"), &want), count);
    for (size_t i = 0; i < count; i++) {
        expect_near((double)logp[i], want[i], 3e-5, name, i);
        d[i] = -1.0f / (float)count;
    }
    net_backward(&g, w, &net, &b, d, NULL, NULL, 0);
    gradients_finish(&g, &net);
    check_gradients(json_object_get(c, "gradients"), &m.params, g.model, name);
    gradients_release(&g);
    batch_release(&b);
    workspace_free(w);
    free(want);
    free(targets);
    free(logp);
    free(d);
    model_release(&m);
}

static void test_long(void **state)
{
    (void)state;
    json_t *golden = golden_json("golden/families.json"), *c;
    int32_t *ids;
    size_t n = json_ids(json_object_get(golden, "input_ids"), &ids), i;
    json_array_foreach(json_object_get(golden, "cases"), i, c)
        check_case(c, ids, n);
    assert_in_range(i, 20, 100);
    free(ids);
    json_decref(golden);
}

/* ---- laws ---- */

static const char *const families[] = {"llama",  "llama-untied", "mistral", "qwen2",   "qwen3", "gemma2",
                                       "gemma3", "phi3",         "smollm3", "olmo2",   "gpt2"};
enum { FAMILIES = sizeof families / sizeof *families, PROMPT = 9, NEW = 90, SAMPLES = 3 };

static void fill_adapter(struct adapter *a)
{
    for (size_t i = 0; i < a->params.n; i++)
        if (a->params.data[i] == 0)
            a->params.data[i] = 0.05f * (float)rng_normal(5, RNG_TEST, 0, (uint32_t)i, 0, 0);
}

/* A request's samples as training sees them: prompt and sample one after the other. */
static void add_sample(struct batch *b, struct target *targets, size_t *n, const struct request *r, size_t sample)
{
    int32_t ids[PROMPT + NEW];
    memcpy(ids, r->prompt, PROMPT * sizeof *ids);
    memcpy(ids + PROMPT, r->samples[sample].ids, NEW * sizeof *ids);
    add_sequence(b, targets, n, ids, PROMPT + NEW, PROMPT);
}

struct trainee {
    struct net net;
    struct workspace *w;
    struct gradients g;
};

static void trainee_init(struct trainee *t, const struct model *m, const struct adapter *a, enum keep keep)
{
    struct err err;
    *t = (struct trainee){.net = {.model = m, .adapter = a}, .w = workspace_new(&m->config, keep, &err)};
    assert_int_equal(gradients_init(&t->g, &t->net, m->trainable, true, false, &err), 0);
    gradients_clear(&t->g, &t->net);
}

/* Sum the gradients of some samples, as one batch; logp (count NEW), out. */
static void learn(struct trainee *t, float *logp, const struct request *r, size_t from, size_t count)
{
    struct err err;
    struct batch b = {0};
    struct target targets[SAMPLES * NEW];
    float d[SAMPLES * NEW];
    size_t n = 0;
    for (size_t i = from; i < from + count; i++)
        add_sample(&b, targets, &n, r, i);
    assert_int_equal(n, count * NEW);
    assert_int_equal(net_forward(t->w, &t->net, &b, NULL, 0, &err), 0);
    assert_int_equal(net_logprobs(logp, NULL, t->w, &t->net, targets, n, 1, true, &err), 0);
    for (size_t i = 0; i < n; i++)
        d[i] = 0.01f * (float)((from * NEW + i) % 7) - 0.02f;
    net_backward(&t->g, t->w, &t->net, &b, d, NULL, NULL, 0);
    batch_release(&b);
}

static void trainee_release(struct trainee *t)
{
    gradients_release(&t->g);
    workspace_free(t->w);
}

static void expect_same_gradients(const struct trainee *a, const struct trainee *b, const char *name)
{
    const struct model *m = a->net.model;
    if (memcmp(a->g.adapter, b->g.adapter, a->net.adapter->params.n * sizeof(float)))
        fail_msg("%s: the adapter's gradients have other bits", name);
    if (m->trainable && (memcmp(a->g.model, b->g.model, m->params.n * sizeof(float)) ||
                         memcmp(a->g.embed, b->g.embed, m->config.vocab * m->config.width * sizeof(float))))
        fail_msg("%s: the model's gradients have other bits", name);
}

static void check_laws(const char *name)
{
    struct err err;
    struct model m;
    struct adapter a;
    int32_t prompt[PROMPT];
    float logp[SAMPLES * NEW], again[SAMPLES * NEW];
    json_t *nothing = json_object();
    open_with(&m, name, nothing);
    json_decref(nothing);
    struct adapter_options o = {.rank = 4, .alpha = 8, .seed = 3};
    assert_int_equal(adapter_init(&a, &m, &o, &err), 0);
    fill_adapter(&a);
    for (size_t i = 0; i < PROMPT; i++)
        prompt[i] = (int32_t)(17 + 31 * i % 450);
    struct request r = {.prompt = prompt, .n_prompt = PROMPT, .n_samples = SAMPLES, .max_new_tokens = NEW, .adapter = &a,
                        .sampling = {.temperature = 1, .top_p = 1, .seed = 7}};
    assert_int_equal(generate_all(&m, &r, 1, 2, NULL, NULL, &err), 0); /* two slots for three samples */
    for (int trainable = 0; trainable < 2; trainable++) {
        if (trainable)
            assert_int_equal(model_make_trainable(&m, &err), 0);
        struct trainee all, inputs, in_turn;
        trainee_init(&all, &m, &a, KEEP_ALL);
        trainee_init(&inputs, &m, &a, KEEP_INPUTS);
        trainee_init(&in_turn, &m, &a, KEEP_ALL);
        learn(&all, logp, &r, 0, SAMPLES);
        learn(&inputs, again, &r, 0, SAMPLES);
        assert_memory_equal(logp, again, sizeof logp);
        for (size_t i = 0; i < SAMPLES; i++) {
            if (memcmp(logp + i * NEW, r.samples[i].logps, NEW * sizeof *logp))
                fail_msg("%s: sample %zu was drawn with other log-probs than training computes", name, i);
            learn(&in_turn, again, &r, i, 1);
            assert_memory_equal(logp + i * NEW, again, NEW * sizeof *logp);
        }
        expect_same_gradients(&all, &inputs, name);
        expect_same_gradients(&all, &in_turn, name);
        trainee_release(&all);
        trainee_release(&inputs);
        trainee_release(&in_turn);
    }
    request_release(&r);
    adapter_release(&a);
    model_release(&m);
}

static void test_laws(void **state)
{
    (void)state;
    for (size_t i = 0; i < FAMILIES; i++)
        check_laws(families[i]);
}

/* Completions that go on from a long prompt, whose windows begin behind its first tiles, against the same texts one by one: the trees' sums
 * have another order, so gradients are near, not the same. */
static void check_tree(const char *name, const char *over)
{
    enum { LONG = 150, MORE = 20, COMPLETIONS = 2 };
    struct err err;
    struct model m;
    json_t *o = json_loads(over, 0, NULL);
    open_with(&m, name, o);
    json_decref(o);
    assert_int_equal(model_make_trainable(&m, &err), 0);
    struct net net = {.model = &m};
    int32_t ids[LONG + MORE];
    float *grads[2];
    struct trainee t[2];
    for (int apart = 0; apart < 2; apart++) {
        t[apart] = (struct trainee){.net = net, .w = workspace_new(&m.config, KEEP_ALL, &err)};
        assert_int_equal(gradients_init(&t[apart].g, &net, true, false, false, &err), 0);
        for (int turn = 0; turn < 2; turn++) { /* once more, so that working memory is not fresh */
            struct batch b = {0};
            struct target targets[COMPLETIONS * MORE];
            float logp[COMPLETIONS * MORE], d[COMPLETIONS * MORE];
            size_t n = 0;
            int32_t prompt = -1;
            gradients_clear(&t[apart].g, &net);
            for (size_t c = 0; c < COMPLETIONS; c++) {
                for (size_t i = 0; i < LONG + MORE; i++)
                    ids[i] = (int32_t)(3 + (i * i * 13 + i * 7 + (i < LONG ? 0 : 100 * c)) % 500);
                if (apart) {
                    add_sequence(&b, targets, &n, ids, LONG + MORE, LONG + 1);
                } else {
                    prompt = c ? prompt : batch_add(&b, ids, LONG, -1);
                    size_t row = b.n_rows;
                    batch_add(&b, ids + LONG, MORE, prompt);
                    for (size_t i = 1; i < MORE; i++)
                        targets[n++] = (struct target){row + i - 1, ids[LONG + i]};
                }
            }
            for (size_t i = 0; i < n; i++)
                d[i] = 0.01f * (float)(i % 7) - 0.02f;
            assert_int_equal(net_forward(t[apart].w, &net, &b, NULL, 0, &err), 0);
            assert_int_equal(net_logprobs(logp, NULL, t[apart].w, &net, targets, n, 1, true, &err), 0);
            net_backward(&t[apart].g, t[apart].w, &net, &b, d, NULL, NULL, 0);
            gradients_finish(&t[apart].g, &net);
            batch_release(&b);
        }
        grads[apart] = t[apart].g.model;
    }
    for (size_t i = 0; i < m.params.n_list; i++) {
        const struct param *p = &m.params.list[i];
        double size = sqrt(sum_of_squares(grads[1] + p->offset, p->n));
        for (size_t j = 0; j < p->n; j++)
            expect_near((double)grads[0][p->offset + j], (double)grads[1][p->offset + j], 1e-5 * size, p->name, j);
    }
    trainee_release(&t[0]);
    trainee_release(&t[1]);
    model_release(&m);
}

static void test_trees(void **state)
{
    (void)state;
    check_tree("llama", "{}");
    check_tree("mistral", "{}");
    check_tree("mistral", "{\"sliding_window\": 70}");
    check_tree("gemma2", "{}");
    check_tree("gemma3", "{}");
}

/* ---- what is written can be read again ---- */

static void test_saved(void **state)
{
    (void)state;
    struct err err;
    for (size_t i = 0; i < FAMILIES; i++) {
        struct model m, back;
        struct adapter a, a_back;
        json_t *nothing = json_object();
        open_with(&m, families[i], nothing);
        json_decref(nothing);
        struct adapter_options o = {.rank = 4, .alpha = 8, .seed = 3};
        assert_int_equal(adapter_init(&a, &m, &o, &err), 0);
        fill_adapter(&a);
        drop("adapter");
        drop("saved");
        assert_int_equal(adapter_save(&a, NULL, NULL, "model", "adapter", &err), 0);
        assert_int_equal(model_make_trainable(&m, &err), 0);
        assert_int_equal(model_save(&m, NULL, NULL, NULL, DTYPE_F32, "saved", &err), 0);
        if (model_open(&back, "saved", NULL, &err) || model_make_trainable(&back, &err) || adapter_open(&a_back, &back, "adapter", &err))
            fail_msg("%s: %s", families[i], err.text);
        assert_int_equal(back.params.n, m.params.n);
        assert_memory_equal(back.params.data, m.params.data, m.params.n * sizeof(float));
        assert_memory_equal(a_back.params.data, a.params.data, a.params.n * sizeof(float));
        adapter_release(&a);
        adapter_release(&a_back);
        model_release(&m);
        model_release(&back);
    }
}

/* A GGUF holds the same numbers, and so does a folder that is made of it: what they compute is the same, but for Gemma's 1 + w. */
static void check_gguf(const char *name, const char *over)
{
    struct err err;
    struct model m, back, folder;
    json_t *o = json_loads(over, 0, NULL);
    open_with(&m, name, o);
    json_decref(o);
    drop("saved");
    if (model_save_gguf(&m, NULL, DTYPE_F32, "model.gguf", &err) || model_open(&back, "model.gguf", NULL, &err) ||
        model_save(&back, NULL, NULL, NULL, DTYPE_F32, "saved", &err) || model_open(&folder, "saved", NULL, &err))
        fail_msg("%s: %s", name, err.text);
    assert_int_equal(back.config.rotary_dim, m.config.rotary_dim);
    assert_int_equal(back.rope.positions, !strcmp(name, "mistral") ? 8 : m.rope.positions);
    assert_true(!strcmp(name, "mistral") || back.config.family == m.config.family);
    assert_memory_equal(back.config.layer, m.config.layer, strcmp(name, "mistral") ? sizeof m.config.layer : 0);
    assert_int_equal(back.config.rope.scaling, m.config.rope.scaling);
    enum { N = 6 };
    int32_t ids[N] = {5, 300, 17, 44, 211, 8};
    float logits[3][512], one = 1;
    const struct model *const models[] = {&m, &back, &folder};
    for (int i = 0; i < 3; i++) {
        const struct model *which = models[i];
        struct net net = {.model = which};
        struct workspace *w = workspace_new(&which->config, KEEP_NOTHING, &err);
        struct batch b = {0};
        struct target targets[N];
        struct logprob_row info;
        size_t n = 0;
        add_sequence(&b, targets, &n, ids, N, 1);
        assert_int_equal(net_forward(w, &net, &b, NULL, 0, &err), 0);
        logits_forward(logits[i], &info, net_hidden(w, N - 1), 1, &which->output, which->config.final_cap, &one);
        batch_release(&b);
        workspace_free(w);
    }
    bool exact = !m.config.family->unit_norm && m.config.rope.scaling != ROPE_LLAMA3;
    if (exact)
        assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
    for (size_t i = 0; i < 512; i++)
        expect_near((double)logits[1][i], (double)logits[0][i], 5e-6, name, i);
    for (size_t i = 0; i < 512; i++)
        expect_near((double)logits[2][i], (double)logits[1][i], 5e-6, name, i);
    model_release(&m);
    model_release(&back);
    model_release(&folder);
}

static void test_gguf(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"llama", "{}"}, {"llama-untied", "{}"}, {"llama3", "{}"}, {"mistral", "{}"}, {"qwen2", "{}"}, {"qwen3", "{}"}, {"gemma2", "{}"},
        {"gemma3", "{\"layer_types\": [\"sliding_attention\", \"sliding_attention\", \"sliding_attention\"]}"}, {"phi3", "{}"},
        {"smollm3", "{\"no_rope_layers\": [1, 1, 1]}"}, {"olmo2", "{}"}, {"gpt2", "{}"},
        {"llama", "{\"rope_parameters\": {\"rope_theta\": 1e4, \"rope_type\": \"linear\", \"factor\": 4}}"},
        {"llama", "{\"rope_parameters\": {\"rope_theta\": 1e4, \"rope_type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 64}}"},
        {"phi3", "{\"max_position_embeddings\": 1024, \"original_max_position_embeddings\": 100, \"rope_scaling\": {\"type\": \"su\", \"short_factor\": "
                 "[1, 1.1, 1.2, 1.5, 1.75, 2], \"long_factor\": [1, 2, 3, 4, 5, 6]}, \"partial_rotary_factor\": 0.75, \"rope_parameters\": null}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_gguf(cases[i][0], cases[i][1]);
}

/* Rotary settings that do not fit, or belong to no model here. */
static void test_rope_refused(void **state)
{
    (void)state;
#define LONG(short, long, more) "{\"original_max_position_embeddings\": 100, \"rope_parameters\": {\"rope_type\": \"longrope\", \"short_factor\": " short \
                                ", \"long_factor\": " long more "}}"
#define EIGHT "[1, 1, 1, 1, 1, 1, 1, 1]"
    static const char *const cases[][3] = {
        {"llama", "{\"rope_parameters\": {\"rope_theta\": 1e4, \"partial_rotary_factor\": 0.5}}", "partial_rotary_factor other than 1 is not supported in this family"},
        {"llama", "{\"rope_parameters\": {\"rope_theta\": 1e4, \"rope_type\": \"spiral\"}}", "rotary scaling 'spiral' is not supported yet"},
        {"phi3", "{\"rope_parameters\": {\"rope_theta\": 1e4, \"partial_rotary_factor\": 0.7}}", "11 rotated numbers of a head of 16 are no pairs"},
        {"phi3", "{\"rope_parameters\": {\"rope_theta\": 1e4, \"partial_rotary_factor\": 1.5}}", "0 rotated numbers"},
        {"phi3", LONG("[1, 2]", EIGHT, ""), "short_factor has 2 numbers for the 8 pairs"},
        {"phi3", LONG(EIGHT, "7", ""), "long_factor has 0 numbers"},
        {"phi3", LONG("[1, 1, 1, 0, 1, 1, 1, 1]", EIGHT, ""), "a factor of longrope is not a positive number"},
        {"phi3", LONG(EIGHT, EIGHT, ", \"attention_factor\": -1"), "not a positive number"},
        {"phi3", "{\"rope_parameters\": {\"rope_type\": \"longrope\", \"short_factor\": " EIGHT ", \"long_factor\": " EIGHT "}, \"original_max_position_embeddings\": null}",
         "not a positive number"},
    };
#undef LONG
#undef EIGHT
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *o = json_loads(cases[i][1], 0, NULL);
        struct model m;
        struct err err;
        assert_non_null(o);
        make_with(cases[i][0], o);
        if (model_open(&m, "model", NULL, &err) == 0 || !strstr(err.text, cases[i][2]))
            fail_msg("%s: '%s' does not say '%s'", cases[i][1], err.text, cases[i][2]);
        json_decref(o);
    }
}

/* Beyond its original positions longrope has other frequencies, which hone does not take: such texts are refused. */
static void test_long_positions(void **state)
{
    (void)state;
    json_t *o = json_loads("{\"max_position_embeddings\": 1024, \"original_max_position_embeddings\": 100, \"rope_parameters\": {\"rope_theta\": 1e4, "
                           "\"rope_type\": \"longrope\", \"short_factor\": [1, 1, 1, 1, 1, 1, 1, 2], \"long_factor\": [1, 2, 3, 4, 5, 6, 7, 8]}}", 0, NULL);
    make_with("phi3", o);
    json_decref(o);
    FILE *f = fopen("ids.jsonl", "w");
    for (int n = 100; n <= 101; n++) {
        fprintf(f, "{\"input_ids\": [3");
        for (int i = 1; i < n; i++)
            fprintf(f, ", %d", 3 + i);
        fprintf(f, "]}\n");
    }
    fclose(f);
    run_ok("head -n 1 ids.jsonl | $HONE logprobs --model model --ids - --quiet >lp.jsonl && test -s lp.jsonl");
    expect_refused("$HONE logprobs --model model --ids ids.jsonl --quiet", "101 tokens");
    run_ok("$HONE inspect model | grep -q 'of its 1024 positions only the first 100 are used'");
}

static void test_gguf_refused(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"gemma3", "{}", "which layers have a window"}, {"smollm3", "{}", "which layers have a window"},
        {"gemma2", "{\"query_pre_attn_scalar\": 144}", "query_pre_attn_scalar"},
        {"qwen2", "{\"use_sliding_window\": true, \"sliding_window\": 9, \"layer_types\": [\"full_attention\", \"full_attention\", \"sliding_attention\"]}", "window"},
        {"llama", "{\"rope_parameters\": {\"rope_theta\": 1e4, \"rope_type\": \"yarn\", \"factor\": 4, \"beta_slow\": 2}}", "beta_slow"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err;
        struct model m;
        json_t *o = json_loads(cases[i][1], 0, NULL);
        open_with(&m, cases[i][0], o);
        json_decref(o);
        drop("no.gguf");
        assert_int_equal(model_save_gguf(&m, NULL, DTYPE_F32, "no.gguf", &err), -1);
        if (!strstr(err.text, cases[i][2]))
            fail_msg("%s: '%s' does not say '%s'", cases[i][0], err.text, cases[i][2]);
        assert_false(file_exists("no.gguf"));
        model_release(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_long), cmocka_unit_test(test_laws), cmocka_unit_test(test_trees), cmocka_unit_test(test_saved),
                                       cmocka_unit_test(test_gguf), cmocka_unit_test(test_gguf_refused), cmocka_unit_test(test_rope_refused),
                                       cmocka_unit_test(test_long_positions)};
    return cmocka_run_group_tests(tests, sandbox_enter, sandbox_leave);
}
