/* hone compare, and what it measures with: answers, perplexity, the quality of a reward model. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/answers.h"
#include "eval/curves.h"
#include "eval/perplexity.h"
#include "eval/reward_quality.h"
#include "support/program.h"
#include "util/file.h"
#include "util/mem.h"

static const char prompts[] = "{\"id\": \"p1\", \"input_ids\": [1, 5, 9, 30]}\n"
                              "{\"id\": \"p2\", \"input_ids\": [1, 77, 12]}\n"
                              "{\"id\": \"p3\", \"input_ids\": [1, 8, 200, 34, 3]}\n";

/* ---- the library ---- */

struct three {
    struct model model;
    struct adapter adapter;
    struct net plain, adapted;
    int32_t ids[3][4];
    struct row rows[3];
    struct example list[3];
    struct examples prompts;
};

static void three_open(struct three *t)
{
    struct err err;
    *t = (struct three){.ids = {{1, 5, 9, 30}, {1, 77, 12, 4}, {1, 8, 200, 34}}};
    if (model_open(&t->model, "golden/models/llama", NULL, &err) ||
        adapter_open(&t->adapter, &t->model, "golden/models/llama/lora", &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < 3; i++) {
        t->rows[i] = (struct row){.line = i + 1};
        t->list[i] = (struct example){.row = &t->rows[i], .prompt = {.ids = t->ids[i], .n = 4}};
    }
    t->plain = (struct net){.model = &t->model};
    t->adapted = (struct net){.model = &t->model, .adapter = &t->adapter};
    t->prompts = (struct examples){.list = t->list, .n = 3};
}

static void three_release(struct three *t)
{
    adapter_release(&t->adapter);
    model_release(&t->model);
}

static struct answers sampled(const struct three *t, const struct net *net, float temperature)
{
    struct err err;
    struct answers a;
    struct answers_config config = {.num_generations = 5, .response_length = 12, .slots = 4, .temperature = temperature, .seed = 7};
    if (answers_sample(&a, net, &t->prompts, &config, NULL, NULL, &err))
        fail_msg("%s", err.text);
    return a;
}

static int kl_of(double *kl, const struct answers *a, const struct net *reference)
{
    struct err err;
    return answers_kl(&kl, &a, 1, reference, &err);
}

static void test_answers(void **state)
{
    (void)state;
    struct three t;
    struct err err;
    double kl[15];
    three_open(&t);
    for (int i = 0; i < 3; i++) {
        float temperature = i == 0 ? 1.0f : i == 1 ? 0.7f : 0.0f;
        struct answers a = sampled(&t, &t.adapted, temperature), again = sampled(&t, &t.adapted, temperature);
        assert_int_equal(a.n, 15);
        assert_int_equal(a.unit[0], 0);
        assert_int_equal(a.unit[14], 2);
        assert_string_equal(a.texts[3], ""); /* no tokenizer */
        assert_int_equal(a.x.first[15], again.x.first[15]);
        /* the same weights: exactly nothing between them (law 1), at any temperature */
        assert_int_equal(kl_of(kl, &a, &t.adapted), 0);
        for (size_t k = 0; k < 15; k++)
            assert_true(kl[k] == 0);
        assert_int_equal(kl_of(kl, &a, &t.plain), 0);
        double sum = 0;
        for (size_t k = 0; k < 15; k++)
            sum += fabs(kl[k]);
        assert_true(sum > 0);
        /* two policies together: the numbers of each alone */
        struct answers b = sampled(&t, &t.plain, temperature);
        const struct answers *both[2] = {&a, &b};
        double together[2][15], own[15];
        assert_int_equal(answers_kl((double *const[]){together[0], together[1]}, both, 2, &t.plain, &err), 0);
        assert_int_equal(kl_of(own, &b, &t.plain), 0);
        assert_memory_equal(together[0], kl, sizeof kl);
        assert_memory_equal(together[1], own, sizeof own);
        answers_release(&b);
        answers_release(&a);
        answers_release(&again);
    }
    three_release(&t);
}

/* KL(p || q) by the sampler's k1 agrees with the sum over the vocabulary, within four standard errors. */
static void test_kl_is_kl(void **state)
{
    (void)state;
    struct three t;
    struct err err;
    three_open(&t);
    enum { DRAWS = 4000 };
    const float temperature = 0.7f;
    struct answers a;
    struct answers_config config = {.num_generations = DRAWS, .response_length = 1, .slots = 64, .temperature = temperature, .seed = 3};
    struct examples one = {.list = t.list, .n = 1};
    assert_int_equal(answers_sample(&a, &t.adapted, &one, &config, NULL, NULL, &err), 0);
    double *kl = xcalloc(DRAWS, sizeof *kl), mean = 0, squares = 0, want = 0;
    assert_int_equal(kl_of(kl, &a, &t.plain), 0);
    for (size_t i = 0; i < DRAWS; i++) {
        mean += kl[i] / DRAWS;
        squares += kl[i] * kl[i] / DRAWS;
    }
    struct batch b = {0};
    struct target targets[512];
    float logp[2][512];
    for (int32_t i = 0; i < 512; i++)
        targets[i] = (struct target){3, i};
    batch_add(&b, t.ids[0], 4, -1);
    struct workspace *w = workspace_new(&t.model.config, KEEP_NOTHING, &err);
    const struct net *nets[2] = {&t.adapted, &t.plain};
    for (size_t s = 0; s < 2; s++) {
        assert_int_equal(net_forward(w, nets[s], &b, NULL, 0, &err), 0);
        assert_int_equal(net_logprobs(logp[s], NULL, w, nets[s], targets, 512, temperature, false, &err), 0);
    }
    for (size_t i = 0; i < 512; i++)
        want += exp((double)logp[0][i]) * ((double)logp[0][i] - (double)logp[1][i]);
    expect_near(mean, want, 4 * sqrt((squares - mean * mean) / DRAWS), "KL", 0);
    assert_true(want > 0);
    free(kl);
    workspace_free(w);
    batch_release(&b);
    answers_release(&a);
    three_release(&t);
}

static void test_measures(void **state)
{
    (void)state;
    struct three t;
    three_open(&t);
    struct answers a = sampled(&t, &t.plain, 1.0f);
    double x[15], y[15];
    for (size_t i = 0; i < 15; i++) {
        x[i] = i % 3 == 0; /* 5 wins, 5 losses, 5 ties */
        y[i] = i % 3 == 1;
    }
    struct win_rate w;
    answers_win_rate(&w, &a, x, y, 1);
    assert_int_equal(w.wins, 5);
    assert_int_equal(w.ties, 5);
    assert_int_equal(w.losses, 5);
    assert_int_equal(w.units, 3);
    expect_near(w.rate.value, 0.5, 1e-12, "win rate", 0);
    expect_near(answers_difference(&a, x, y, 1).value, 0, 1e-12, "difference", 0);
    struct answers_measure m;
    answers_measure(&m, &a, 1);
    expect_near(m.tokens.value, (double)a.x.first[15] / 15, 1e-12, "tokens", 0);
    answers_release(&a);
    three_release(&t);
}

static void test_perplexity(void **state)
{
    (void)state;
    struct err err;
    struct model m;
    struct adapter lora;
    run_ok("mkdir base && cp golden/models/llama/config.json golden/models/llama/model.safetensors base");
    write_tokenizer("base");
    assert_int_equal(model_open(&m, "base", NULL, &err), 0);
    assert_int_equal(adapter_open(&lora, &m, "golden/models/llama/lora", &err), 0);
    struct net plain = {.model = &m}, adapted = {.model = &m, .adapter = &lora};
    struct buf text;
    buf_init(&text, 1 << 16);
    for (int i = 0; i < 60; i++)
        buf_printf(&text, "Line %d of a story about the sea. ", i * i);
    struct perplexity p, q;
    assert_int_equal(perplexity_of_text(&p, &plain, text.data, text.len, 5, &err), 0);
    assert_int_equal(perplexity_of_text(&q, &adapted, text.data, text.len, 5, &err), 0);
    /* windows of what the model holds (256 positions), each without its first token; by hand */
    struct ids ids = {0};
    assert_int_equal(tokenizer_encode(m.tokenizer, &ids, text.data, text.len, &err), 0);
    size_t windows = (ids.n + 255) / 256;
    assert_true(windows > 2);
    assert_int_equal(p.n, ids.n - windows);
    assert_int_equal(p.words, 60 * 8);
    double sum = 0, token = 0;
    for (size_t i = 0; i < p.n; i++)
        sum += p.nll[i];
    token = exp(sum / (double)p.n);
    expect_near(p.token.value, token, 1e-9 * token, "perplexity", 0);
    expect_near(log(p.word.value), log(token) * (double)ids.n / 480, 1e-9, "perplexity a word", 0);
    assert_true(p.token.lo < token && token < p.token.hi);
    struct interval same = perplexity_ratio(&p, &p, 5), other = perplexity_ratio(&q, &p, 5);
    assert_true(same.value == 1 && same.lo == 1 && same.hi == 1);
    expect_near(other.value, q.token.value / p.token.value, 1e-9, "ratio", 0);
    assert_true(other.lo < other.value && other.value < other.hi);
    struct perplexity none;
    assert_int_equal(perplexity_of_text(&none, &plain, "", 0, 5, &err), -1);
    perplexity_release(&p);
    perplexity_release(&q);
    ids_release(&ids);
    buf_release(&text);
    adapter_release(&lora);
    model_release(&m);
}

static void test_reward_quality(void **state)
{
    (void)state;
    struct err err;
    /* a wins; b wins; tie; a wins 2 of 3 with a tie; no majority; b wins */
    const struct comparison c[6] = {{1, 0, 0, 0},         {0, 1, 0, 0},         {0, 0, 1, 0},
                                    {2 / 3., 0, 1 / 3., 0}, {1 / 3., 1 / 3., 1 / 3., 0}, {0, 1, 0, 0}};
    const double a[6] = {2.385, 0, 1, -1, 3, 0.5}, b[6] = {0, 1, 0, 0, 0, 0.5};
    double correct[6];
    struct reward_quality q;
    double lead[6];
    for (size_t i = 0; i < 6; i++)
        lead[i] = a[i] - b[i];
    struct scored_pairs pairs = {.n = 6, .lead = lead, .label = c}, tied = {.n = 1, .lead = lead + 2, .label = c + 2};
    const struct calibrator plain = {.temperature = 1};
    assert_int_equal(reward_quality(&q, correct, &pairs, &plain, 42, &err), 0);
    assert_int_equal(q.decided, 4);
    expect_near(q.accuracy.value, 2.5 / 4, 1e-12, "accuracy", 0); /* right, right, wrong, equal scores */
    assert_true(isnan(correct[2]) && isnan(correct[4]));
    assert_true(correct[3] == 0 && correct[5] == 0.5);
    double brier = pow(1 - 1 / (1 + exp(-2.385)), 2) + pow(1 / (1 + exp(1.0)), 2) + pow(1 - 1 / (1 + exp(1.0)), 2) + 0.25;
    expect_near(q.calibration.brier, brier / 4, 1e-12, "Brier", 0);
    expect_near(q.brier.value, brier / 4, 1e-12, "Brier", 0);
    assert_true(q.brier.lo < q.brier.value && q.brier.hi > q.brier.value && q.ece.lo <= q.ece.value && q.ece.hi >= q.ece.value);
    /* it does not matter which answer is called a */
    struct comparison turned[6];
    double other_lead[6];
    for (size_t i = 0; i < 6; i++) {
        turned[i] = i % 2 ? (struct comparison){c[i].w_b, c[i].w_a, c[i].w_tie, 0} : c[i];
        other_lead[i] = i % 2 ? -lead[i] : lead[i];
    }
    struct reward_quality r;
    pairs = (struct scored_pairs){.n = 6, .lead = other_lead, .label = turned};
    assert_int_equal(reward_quality(&r, NULL, &pairs, &plain, 42, &err), 0);
    assert_true(r.ece.value == q.ece.value && r.brier.value == q.brier.value && r.accuracy.value == q.accuracy.value);
    assert_int_equal(reward_quality(&q, correct, &tied, &plain, 42, &err), -1);
}

static void test_curves(void **state)
{
    (void)state;
    struct err err;
    struct curves c;
    run_ok("mkdir run");
    text_write("run/metrics.jsonl", "{\"step\": 1, \"loss\": 2.5}\n{\"step\": 2, \"loss\": null}\n{\"step\": 3, \"loss\": 1.5, "
                                    "\"eval_loss\": 2}\n{\"step\": 4, \"lo");
    assert_int_equal(curves_read(&c, "run", &err), 0);
    struct report_series loss = curves_series(&c, "loss", "step", "loss"), eval = curves_series(&c, "e", "loss", "eval_loss");
    assert_int_equal(loss.n, 2);
    assert_true(loss.x[1] == 3 && loss.y[1] == 1.5);
    assert_int_equal(eval.n, 1);
    assert_true(eval.x[0] == 1.5 && eval.y[0] == 2);
    curves_release(&c);
    assert_int_equal(curves_read(&c, "nowhere", &err), -1);
}

/* ---- the command ---- */

#define COMPARE "$HONE compare --prompts prompts.jsonl --reward golden/ppo/critic --response-length 10 --num-generations 4 --quiet "

static double number(const json_t *o, const char *a, const char *b, const char *c)
{
    const json_t *v = json_object_get(o, a);
    v = b ? json_object_get(v, b) : v;
    v = c ? json_object_get(v, c) : v;
    return json_number_value(v);
}

static void test_command(void **state)
{
    (void)state;
    text_write("prompts.jsonl", "%s", prompts);
    struct ended e = run(COMPARE "--json --samples pairs.jsonl golden/models/llama golden/models/llama-untied");
    if (e.code)
        fail_msg("%s", e.err);
    json_t *o = json_loads(e.out, 0, NULL);
    const json_t *judge = json_array_get(json_object_get(o, "judges"), 0);
    assert_non_null(judge);
    double n = number(judge, "win_rate", "wins", NULL) + number(judge, "win_rate", "ties", NULL) +
               number(judge, "win_rate", "losses", NULL);
    assert_int_equal((int)n, 12);
    expect_near(number(judge, "win_rate", "rate", "value"),
                (number(judge, "win_rate", "wins", NULL) + 0.5 * number(judge, "win_rate", "ties", NULL)) / 12, 1e-12, "rate", 0);
    expect_near(number(judge, "score_difference", "value", NULL),
                number(judge, "score_a", "value", NULL) - number(judge, "score_b", "value", NULL), 1e-9, "difference", 0);
    /* the samples' scores are what the numbers were made of */
    FILE *f = fopen("pairs.jsonl", "r");
    char line[4096];
    double sum = 0;
    size_t rows = 0;
    for (; fgets(line, sizeof line, f); rows++) {
        json_t *row = json_loads(line, 0, NULL);
        sum += json_number_value(json_array_get(json_object_get(row, "scores_a"), 0)) -
               json_number_value(json_array_get(json_object_get(row, "scores_b"), 0));
        json_decref(row);
    }
    fclose(f);
    assert_int_equal(rows, 12);
    expect_near(sum / 12, number(judge, "score_difference", "value", NULL), 1e-6, "samples", 0);
    json_decref(o);
    ended_release(&e);
}

static void test_command_same(void **state)
{
    (void)state;
    /* with itself: all ties and no KL, also in other batches and with two threads; two judges */
    struct ended e = run(COMPARE "--json --reward golden/ppo/critic golden/models/llama golden/models/llama");
    if (e.code)
        fail_msg("%s", e.err);
    json_t *o = json_loads(e.out, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(o, "judges")), 2);
    const json_t *judge = json_array_get(json_object_get(o, "judges"), 1);
    assert_int_equal((int)number(judge, "win_rate", "ties", NULL), 12);
    assert_true(number(judge, "win_rate", "rate", "value") == 0.5);
    assert_true(number(o, "kl", "value", NULL) == 0);
    struct ended again = run("OMP_NUM_THREADS=2 " COMPARE "--slots 3 --json --reward golden/ppo/critic golden/models/llama "
                             "golden/models/llama");
    assert_string_equal(e.out, again.out);
    json_decref(o);
    ended_release(&again);
    ended_release(&e);
    e = run(COMPARE "golden/models/llama golden/models/llama-untied");
    assert_int_equal(e.code, 0);
    assert_non_null(strstr(e.out, "A beats B"));
    ended_release(&e);
}

static void expect_refusal(int code, const char *sentence, const char *line)
{
    struct ended e = run("%s", line);
    if (e.code != code || !strstr(e.err, sentence) || e.out[0])
        fail_msg("'%s' ended with %d: %s", line, e.code, e.err);
    ended_release(&e);
}

static void test_command_refuses(void **state)
{
    (void)state;
    expect_refusal(2, "MODEL", COMPARE "golden/models/llama");
    expect_refusal(1, "'nowhere' is not there", COMPARE "golden/models/llama nowhere");
    expect_refusal(1, "has no head", "$HONE compare --prompts prompts.jsonl --reward golden/models/llama --quiet "
                                     "golden/models/llama golden/models/llama");
    expect_refusal(1, "lower --response-length", COMPARE "--response-length 253 golden/models/llama golden/models/llama");
    expect_refusal(2, "--temperature", COMPARE "--temperature 1e-5 golden/models/llama golden/models/llama");
    text_write("empty.jsonl", "{\"input_ids\": []}\n");
    expect_refusal(1, "empty.jsonl", "$HONE compare --prompts empty.jsonl --reward golden/ppo/critic --quiet golden/models/llama "
                                     "golden/models/llama");
}

int main(void)
{
    omp_set_num_threads(1); /* these models are too small for two */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),        cmocka_unit_test(test_kl_is_kl),       cmocka_unit_test(test_measures),
        cmocka_unit_test(test_perplexity),     cmocka_unit_test(test_reward_quality), cmocka_unit_test(test_curves),
        cmocka_unit_test(test_command),        cmocka_unit_test(test_command_same),   cmocka_unit_test(test_command_refuses),
    };
    return cmocka_run_group_tests(tests, sandbox_enter, sandbox_leave);
}
