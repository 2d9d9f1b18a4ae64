/* Ensembles of reward models: members that share their first layers, what they say together, the average of their weights,
 * and calibration.  The laws hold for a whole ensemble: threads, micro-batches, and runs that are killed and resumed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/reward_quality.h"
#include "model/forest.h"
#include "reward/aggregate.h"
#include "reward/score.h"
#include "support/program.h"
#include "util/calibrate.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/rng.h"

#define MODEL "--model golden/models/llama --tokenizer tokenizer "
#define TRAIN MODEL "--lora-r 4 --quiet --learning-rate 1e-2 --max-length 128 --train-data pairs.jsonl "
#define ENSEMBLE                                                                                   \
    "$HONE reward " TRAIN "--eval-data held-out.jsonl --ensemble 3 --bootstrap --max-steps 6 --save-steps 2 "                 \
    "--layers-from 1 --output-dir "

static uint32_t number(uint32_t row, uint32_t what, uint32_t below)
{
    return rng_below(below, 11, RNG_TEST, row, what, 0, 0);
}

/* The better answer says "lit" more often; of group "g1" as often as not it is the other way round. */
static void write_pairs(const char *path, uint32_t first, uint32_t n)
{
    static const char *const words[] = {"the", "lamp", "hall", "was", "rain", "began", "window", "open"};
    FILE *f = fopen(path, "w");
    for (uint32_t i = first; i < first + n; i++) {
        bool a = number(i, 0, 2), odd = number(i, 1, 2);
        fprintf(f, "{\"prompt\": \"%s %s %u\", \"group\": \"g%u\"", words[number(i, 2, 8)], words[number(i, 3, 8)], i / 2, i % 2);
        for (uint32_t side = 0; side < 2; side++)
            fprintf(f, ", \"%s\": \"%s %s %s\"", side ? "b" : "a", words[number(i, 4 + side, 8)], words[number(i, 6 + side, 8)],
                    side == a ? "dark" : "lit");
        fprintf(f, ", \"label\": \"%s\"}\n", (a != (i % 2 && odd)) ? "a" : "b");
    }
    fclose(f);
}

static int enter(void **state)
{
    if (sandbox_enter(state))
        return -1;
    write_tokenizer("tokenizer");
    write_pairs("pairs.jsonl", 0, 40);
    write_pairs("held-out.jsonl", 40, 240);
    run_ok(ENSEMBLE "straight");
    return 0;
}

static json_t *score(const char *flags)
{
    struct ended e = run("$HONE score " MODEL "--quiet --data held-out.jsonl %s", flags);
    if (e.code)
        fail_msg("%s", e.err);
    json_t *list = json_lines(e.out);
    ended_release(&e);
    return list;
}

static double entry(const json_t *rows, size_t row, const char *key, size_t answer)
{
    return json_number_value(json_array_get(json_object_get(json_array_get(rows, row), key), answer));
}

static const json_t *members_of(const json_t *rows, size_t row, size_t answer)
{
    return json_array_get(json_object_get(json_array_get(rows, row), "scores"), answer);
}

/* ---- the laws ---- */

/* Every file of the members, and the ensemble's own. */
static void expect_same_ensemble(const char *a, const char *b)
{
    static const char *const names[] = {"metrics.jsonl", "hone.json", "members/1/metrics.jsonl", "members/3/metrics.jsonl",
                                        "members/1/adapter/adapter_model.safetensors", "members/2/adapter/adapter_model.safetensors",
                                        "members/3/adapter/adapter_model.safetensors", "members/3/adapter/hone.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        expect_same_file(a, b, names[i]);
}

static void test_killed_and_resumed(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        size_t line;
    } moments[] = {{"out/members/1/metrics.jsonl", 3}, {"out/members/2/metrics.jsonl", 1}, {"out/members/3/metrics.jsonl", 5},
                   {"out/metrics.jsonl", 2}};
    size_t killed = 0;
    for (size_t i = 0; i < sizeof moments / sizeof *moments; i++) {
        drop("out");
        killed += run_and_kill_at_line(ENSEMBLE "out", moments[i].file, moments[i].line);
        run_ok(ENSEMBLE "out --resume --threads %zu", 1 + i % 2);
        expect_same_ensemble("straight", "out");
    }
    assert_true(killed > 0);
    run_ok(ENSEMBLE "out --resume"); /* one that is done stays as it is */
    expect_same_ensemble("straight", "out");
}

static void test_arrangements(void **state)
{
    (void)state;
    run_ok(ENSEMBLE "out --overwrite --threads 2 --micro-batch-tokens 20");
    expect_same_ensemble("straight", "out");
    run_ok(ENSEMBLE "out --overwrite --per-device-train-batch-size 2 --gradient-accumulation-steps 4 --recompute");
    expect_same_ensemble("straight", "out");
}

/* A member is the run that its own settings give; members differ. */
static void test_a_member_alone(void **state)
{
    (void)state;
    drop("alone");
    run_ok("$HONE reward --config straight/members/2/config.yaml --output-dir alone");
    expect_same_file("straight/members/2/adapter", "alone/adapter", "adapter_model.safetensors");
    expect_same_file("straight/members/2/adapter", "alone/adapter", "hone.json");
    expect_same_file("straight/members/2", "alone", "metrics.jsonl");
    char *first = folder_listing("straight/members/1/adapter"), *second = folder_listing("straight/members/2/adapter");
    assert_string_not_equal(strchr(first, ' '), strchr(second, ' '));
    free(first);
    free(second);
    drop("whole"); /* the bootstrap's rows are not all rows */
    run_ok("$HONE reward --config straight/members/2/config.yaml --no-bootstrap --output-dir whole");
    char *a = text_read("whole/metrics.jsonl", NULL), *b = text_read("alone/metrics.jsonl", NULL);
    assert_string_not_equal(a, b);
    free(a);
    free(b);
}

/* ---- scores ---- */

/* As one, by name or one by one: the same bits; and what the aggregates are. */
static void test_scores(void **state)
{
    (void)state;
    json_t *all = score("--reward straight"), *each = score("--reward straight/members/1 --reward straight/members/2 --reward straight/members/3");
    json_t *least = score("--reward straight --aggregate min"), *uwo = score("--reward straight --aggregate uwo --uwo-lambda 0.7 --threads 2");
    json_t *own[3] = {score("--reward straight/members/1"), score("--reward straight/members/2"), score("--reward straight/members/3")};
    assert_int_equal(json_array_size(all), 240);
    for (size_t i = 0; i < 240; i++)
        for (size_t k = 0; k < 2; k++) {
            const json_t *scores = members_of(all, i, k);
            assert_int_equal(json_array_size(scores), 3);
            assert_true(json_equal((json_t *)(uintptr_t)scores, (json_t *)(uintptr_t)members_of(each, i, k)));
            double r[3], mean = 0, variance = 0;
            for (size_t m = 0; m < 3; m++) {
                r[m] = json_number_value(json_array_get(scores, m));
                assert_true(r[m] == entry(own[m], i, "score", k));
                mean += r[m] / 3;
            }
            for (size_t m = 0; m < 3; m++)
                variance += (r[m] - mean) * (r[m] - mean) / 3;
            expect_near(entry(all, i, "score", k), mean, 1e-6, "mean", i);
            expect_near(entry(all, i, "std", k), sqrt(variance), 1e-6, "std", i);
            assert_true(entry(least, i, "score", k) == fmin(fmin(r[0], r[1]), r[2]));
            expect_near(entry(uwo, i, "score", k), mean - 0.7 * variance, 1e-5, "uwo", i);
        }
    json_decref(all);
    json_decref(each);
    json_decref(least);
    json_decref(uwo);
    for (size_t m = 0; m < 3; m++)
        json_decref(own[m]);
}

/* The same where all prompts begin alike, so that each member has a stem of its own (model/stem.h). */
static void test_scores_after_a_stem(void **state)
{
    (void)state;
#define SYSTEM " --system 'the lamp was lit before the rain began and the window was open in the hall before the lamp was lit'"
    json_t *all = score("--reward straight" SYSTEM), *plain = score("--reward straight");
    json_t *own[3] = {score("--reward straight/members/1" SYSTEM), score("--reward straight/members/2" SYSTEM),
                      score("--reward straight/members/3" SYSTEM)};
    bool differs = false;
    for (size_t i = 0; i < 240; i++)
        for (size_t m = 0; m < 3; m++) {
            double r = json_number_value(json_array_get(members_of(all, i, 1), m));
            assert_true(r == entry(own[m], i, "score", 1));
            differs |= r != json_number_value(json_array_get(members_of(plain, i, 1), m));
        }
    assert_true(differs);
    json_decref(all);
    json_decref(plain);
    for (size_t m = 0; m < 3; m++)
        json_decref(own[m]);
}

/* Mean 0, variance 1 on the reference answers, or the mean alone; P(a is better) stays what it was. */
static void test_normalized(void **state)
{
    (void)state;
    drop("plain");
    run_ok("$HONE reward " TRAIN "--max-steps 4 --no-normalize-scores --output-dir plain");
    drop("scaled");
    run_ok("$HONE reward " TRAIN "--max-steps 4 --output-dir scaled");
    for (size_t i = 0; i < 2; i++) {
        struct ended e = run("$HONE score " MODEL "--quiet --data pairs.jsonl --reward %s", i ? "scaled" : "plain");
        json_t *rows = json_lines(e.out), *notes = json_load_file(i ? "scaled/adapter/hone.json" : "plain/adapter/hone.json", 0, NULL);
        double sum = 0, squares = 0, t = json_number_value(json_object_get(notes, "temperature"));
        for (size_t r = 0; r < 40; r++) {
            double a = entry(rows, r, "score", 0), b = entry(rows, r, "score", 1);
            sum += a + b;
            squares += a * a + b * b;
            expect_near(json_number_value(json_object_get(json_array_get(rows, r), "p_a")), 1 / (1 + exp((b - a) / t)), 1e-6, "p_a", r);
        }
        expect_near(sum / 80, 0, 1e-6, "mean", i);
        if (i)
            expect_near(squares / 80, 1, 1e-5, "variance", i);
        else
            assert_true(t == 1 && fabs(squares / 80 - 1) > 0.01);
        json_decref(rows);
        json_decref(notes);
        ended_release(&e);
    }
}

/* Adapters from layer 1 on: as in a whole adapter that has not yet learned below, and a file that says so. */
static void test_layers_from(void **state)
{
    (void)state;
    drop("whole");
    drop("upper");
    run_ok("$HONE reward " TRAIN "--max-steps 1 --max-grad-norm 0 --head-learning-rate 1e-2 --no-normalize-scores --output-dir whole");
    run_ok("$HONE reward " TRAIN "--max-steps 1 --max-grad-norm 0 --head-learning-rate 1e-2 --no-normalize-scores --layers-from 1 "
           "--output-dir upper");
    struct err err;
    struct model m;
    struct adapter whole, upper;
    assert_int_equal(model_open(&m, "golden/models/llama", "tokenizer", &err), 0);
    assert_int_equal(adapter_open(&whole, &m, "whole/adapter", &err), 0);
    assert_int_equal(adapter_open(&upper, &m, "upper/adapter", &err), 0);
    assert_int_equal(whole.first_layer, 0);
    assert_int_equal(upper.first_layer, 1);
    assert_true(m.config.layers > 1 && upper.params.n < whole.params.n);
    for (size_t i = 0; i < upper.params.n_list; i++) {
        const struct param *p = &upper.params.list[i], *q = params_find(&whole.params, p->name);
        assert_memory_equal(upper.params.data + p->offset, whole.params.data + q->offset, p->n * sizeof(float));
    }
    json_t *config = json_load_file("upper/adapter/adapter_config.json", 0, NULL), *layers = json_object_get(config, "layers_to_transform");
    assert_int_equal(json_array_size(layers), m.config.layers - 1);
    assert_int_equal(json_integer_value(json_array_get(layers, 0)), 1);
    /* without that, a file that lacks layers is broken */
    json_object_del(config, "layers_to_transform");
    json_dump_file(config, "upper/adapter/adapter_config.json", 0);
    adapter_release(&upper);
    assert_int_equal(adapter_open(&upper, &m, "upper/adapter", &err), -1);
    assert_non_null(strstr(err.text, "layers.0"));
    json_decref(config);
    adapter_release(&whole);
    model_release(&m);
}

/* Nothing goes back below the first adapted layer, and above it the gradients are those of a whole adapter. */
static void test_gradients_from(void **state)
{
    (void)state;
    struct err err;
    struct model m;
    struct adapter whole, upper;
    struct head head;
    struct adapter_options o = {.rank = 3, .alpha = 6, .seed = 7};
    assert_int_equal(model_open(&m, "golden/models/llama", "tokenizer", &err), 0);
    assert_int_equal(adapter_init(&whole, &m, &o, &err), 0);
    o.first_layer = 1;
    assert_int_equal(adapter_init(&upper, &m, &o, &err), 0);
    assert_int_equal(head_init(&head, m.config.width, &err), 0);
    for (size_t i = 0; i < head.width; i++)
        head.params.data[i] = (float)rng_normal(7, RNG_TEST, (uint32_t)i, 0, 0, 0);
    for (size_t i = 0; i < upper.params.n_list; i++) { /* below, B is 0 */
        const struct param *p = &upper.params.list[i], *q = params_find(&whole.params, p->name);
        for (size_t k = 0; k < p->n; k++)
            whole.params.data[q->offset + k] = upper.params.data[p->offset + k] += 0.1f * (float)rng_normal(7, RNG_TEST, (uint32_t)i, (uint32_t)k, 1, 0);
    }
    struct batch b = {0};
    const int32_t ids[] = {5, 99, 41, 7, 300, 12, 8};
    const size_t last = 6;
    const float dscore = 2.385f;
    batch_add(&b, ids, 7, -1);
    struct net nets[2] = {{&m, &whole, &head}, {&m, &upper, &head}};
    struct gradients g[2];
    float score[2];
    for (size_t i = 0; i < 2; i++) {
        struct workspace *w = workspace_new(&m.config, i ? KEEP_INPUTS : KEEP_ALL, &err);
        assert_int_equal(gradients_init(&g[i], &nets[i], false, true, true, &err), 0);
        assert_int_equal(net_forward(w, &nets[i], &b, NULL, 0, &err), 0);
        net_scores(&score[i], w, &nets[i], &last, 1);
        net_backward(&g[i], w, &nets[i], &b, NULL, &dscore, &last, 1);
        workspace_free(w);
    }
    assert_true(score[0] == score[1]);
    double size = 0;
    for (size_t i = 0; i < upper.params.n_list; i++) {
        const struct param *p = &upper.params.list[i], *q = params_find(&whole.params, p->name);
        assert_memory_equal(g[1].adapter + p->offset, g[0].adapter + q->offset, p->n * sizeof(float));
        for (size_t k = 0, n = strstr(p->name, ".layers.1.") ? p->n : 0; k < n; k++)
            size += fabs((double)g[1].adapter[p->offset + k]);
    }
    assert_true(size > 0);
    for (size_t i = 0; i < 2; i++)
        gradients_release(&g[i]);
    batch_release(&b);
    head_release(&head);
    adapter_release(&whole);
    adapter_release(&upper);
    model_release(&m);
}

/* ---- averaging ---- */

/* The change of a weight is the mean of the members' changes, not the product of their mean factors. */
static void test_average_of_deltas(void **state)
{
    (void)state;
    struct err err;
    struct model m;
    struct adapter member[3], average;
    const struct adapter *list[3] = {&member[0], &member[1], &member[2]};
    assert_int_equal(model_open(&m, "golden/models/llama", "tokenizer", &err), 0);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(adapter_open(&member[i], &m, i ? "straight/members/2/adapter" : "straight/members/1/adapter", &err), 0);
    /* one of another rank, scale and of all layers */
    struct adapter_options o = {.rank = 3, .alpha = 2.385f, .seed = 5};
    assert_int_equal(adapter_init(&member[2], &m, &o, &err), 0);
    for (size_t i = 0; i < member[2].params.n; i++)
        member[2].params.data[i] += 0.01f * (float)rng_normal(3, RNG_TEST, (uint32_t)i, 0, 0, 0);
    assert_int_equal(adapter_average(&average, list, 3, &err), 0);
    assert_int_equal(average.rank, 11);
    assert_int_equal(average.first_layer, 0);
    for (size_t l = 0; l < m.config.layers; l++)
        for (int k = 0; k < LINEAR_KINDS; k++) {
            struct lora all = adapter_lora(&average, NULL, l, (enum linear_kind)k);
            for (size_t out = 0; out < all.out; out += 7)
                for (size_t in = 0; in < all.in; in += 5) {
                    double got = 0, want = 0;
                    for (size_t r = 0; r < all.rank; r++)
                        got += (double)all.scale * (double)all.b[out * all.rank + r] * (double)all.a[r * all.in + in];
                    for (size_t i = 0; i < 3; i++) {
                        struct lora own = adapter_lora(&member[i], NULL, l, (enum linear_kind)k);
                        for (size_t r = 0; own.a && r < own.rank; r++)
                            want += (double)own.scale * (double)own.b[out * own.rank + r] * (double)own.a[r * own.in + in] / 3;
                    }
                    expect_near(got, want, 1e-8, "change of a weight", l);
                }
        }
    adapter_release(&average);
    for (size_t i = 0; i < 3; i++)
        adapter_release(&member[i]);
    model_release(&m);
}

static void test_average(void **state)
{
    (void)state;
    drop("average");
    run_ok("$HONE average --reward straight --tokenizer tokenizer --center-data pairs.jsonl --eval-data held-out.jsonl --quiet "
           "--output-dir average");
    json_t *manifest = json_load_file("average/manifest.json", 0, NULL);
    assert_int_equal(json_array_size(json_object_get(manifest, "reward")), 3);
    assert_non_null(json_object_get(json_object_get(manifest, "quality"), "after"));
    json_decref(manifest);
    json_t *rows = score("--reward average");
    assert_int_equal(json_array_size(rows), 240);
    json_decref(rows);
    /* a member with itself is the member */
    drop("twice");
    run_ok("$HONE average --reward straight/members/1 --reward straight/members/1 --tokenizer tokenizer --quiet --output-dir twice");
    json_t *once = score("--reward straight/members/1"), *twice = score("--reward twice");
    for (size_t i = 0; i < 240; i++)
        expect_near(entry(twice, i, "score", 0), entry(once, i, "score", 0), 1e-4, "score", i);
    json_decref(once);
    json_decref(twice);
}

/* ---- what reads an ensemble ---- */

static void test_ppo_and_compare(void **state)
{
    (void)state;
    drop("ppo");
    run_ok("$HONE ppo " MODEL "--reward straight --aggregate uwo --uwo-lambda 0.3 --train-data pairs.jsonl --iterations 2 --quiet "
           "--per-device-train-batch-size 4 --response-length 8 --lora-r 4 --output-dir ppo");
    char *text = text_read("ppo/metrics.jsonl", NULL);
    json_t *lines = json_lines(text), *manifest = json_load_file("ppo/manifest.json", 0, NULL);
    assert_true(json_number_value(json_object_get(json_array_get(lines, 0), "objective/score_disagreement")) > 0);
    assert_true(json_number_value(json_object_get(json_array_get(lines, 0), "objective/kl")) == 0);
    json_t *parts = json_object_get(manifest, "reward");
    assert_int_equal(json_array_size(parts), 1);
    assert_int_equal(json_array_size(json_object_get(json_array_get(parts, 0), "heads_sha256")), 3);
    free(text);
    json_decref(lines);
    json_decref(manifest);
    struct ended e = run("$HONE compare ppo golden/models/llama --tokenizer tokenizer --prompts pairs.jsonl --reward straight --reward "
                         "straight/members/1 --response-length 8 --json --quiet");
    if (e.code)
        fail_msg("%s", e.err);
    json_t *o = json_loads(e.out, 0, NULL), *judges = json_object_get(o, "judges");
    assert_int_equal(json_array_size(judges), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(judges, 0), "reward")), "straight");
    json_decref(o);
    ended_release(&e);
}

static void test_refused(void **state)
{
    (void)state;
    drop("nowhere");
    expect_refused("$HONE reward " TRAIN "--layers-from 99 --output-dir nowhere", "has the layers 0 to");
    expect_refused("$HONE reward " TRAIN "--layers-from 1 --full --output-dir nowhere", "--full trains all layers");
    expect_refused("$HONE reward " TRAIN "--layers-from 1 --model straight/members/1 --output-dir nowhere", "is for a fresh adapter");
    expect_refused("$HONE reward " TRAIN "--ensemble 0 --output-dir nowhere", "ensemble");
    assert_false(is_there("nowhere"));
    expect_refused("$HONE reward " TRAIN "--ensemble 2 --output-dir straight", "holds a run already");
    expect_refused("$HONE generate --model straight --prompts pairs.jsonl", "is an ensemble of reward models");
    expect_refused("$HONE score " MODEL "--reward straight --aggregate median --data pairs.jsonl", "aggregate");
    expect_refused("$HONE average --reward straight/members/1 --output-dir nowhere --tokenizer tokenizer", "only one reward model");
    expect_refused("$HONE average --reward straight --output-dir straight --overwrite --tokenizer tokenizer", "would empty");
    expect_refused("$HONE average --reward golden/models/llama --reward straight --output-dir nowhere --tokenizer tokenizer", "has no head");
    assert_false(is_there("nowhere"));
    run_ok("cp -r straight broken; echo '{\"temperature\": -1}' >broken/hone.json");
    expect_refused("$HONE score " MODEL "--reward broken --data pairs.jsonl", "hone.json");
    text_write("broken/hone.json", "{\"temperature\": 1, \"isotonic\": {\"x\": [1, 0.5], \"p\": [0.6, 0.7]}}");
    expect_refused("$HONE score " MODEL "--reward broken --data pairs.jsonl", "hone.json");
    run_ok("echo '{\"members\": []}' >broken/manifest.json");
    expect_refused("$HONE score " MODEL "--reward broken --data pairs.jsonl", "lists no members");
    run_ok("rm -r broken");
}

/* ---- calibration ---- */

enum { N = 6000 };

/* Leads of which sigmoid(lead / t) is the truth. */
static void make_pairs(double *lead, double *outcome, size_t n, double t)
{
    for (size_t i = 0; i < n; i++) {
        lead[i] = 2.385 * rng_normal(5, RNG_TEST, (uint32_t)i, 0, 0, 0);
        outcome[i] = rng_uniform(5, RNG_TEST, (uint32_t)i, 1, 0, 0) < 1 / (1 + exp(-lead[i] / t));
    }
}

static double log_loss(const double *x, const double *y, size_t n, double t)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += log1p(exp(-(y[i] > 0 ? x[i] : -x[i]) / t));
    return sum / (double)n;
}

static void test_temperature(void **state)
{
    (void)state;
    struct err err;
    double *x = xmalloc(N * sizeof *x), *y = xmalloc(N * sizeof *y), t;
    make_pairs(x, y, N, 3.3);
    assert_int_equal(calibrate_temperature(&t, x, y, N, &err), 0);
    expect_near(t, 3.3, 0.15, "temperature", 0); /* its standard error is about 0.1 */
    assert_true(log_loss(x, y, N, t) < log_loss(x, y, N, t * 1.02) && log_loss(x, y, N, t) < log_loss(x, y, N, t / 1.02));
    for (size_t i = 0; i < N; i += 2) { /* which answer is called a does not matter */
        x[i] = -x[i];
        y[i] = 1 - y[i];
    }
    double again;
    assert_int_equal(calibrate_temperature(&again, x, y, N, &err), 0);
    expect_near(again, t, 1e-12, "temperature", 1);
    /* always right, or always wrong: still a number */
    for (int right = 0; right < 2; right++) {
        for (size_t i = 0; i < 20; i++) {
            x[i] = 1 + (double)i;
            y[i] = right;
        }
        assert_int_equal(calibrate_temperature(&t, x, y, 20, &err), 0);
        struct calibrator c = {.temperature = t};
        double p = calibrated(&c, 10.5, NULL);
        assert_true(isfinite(t) && (right ? p > 0.9 && p < 1 : p >= 0.5 && p < 0.51));
    }
    x[3] = NAN;
    assert_int_equal(calibrate_temperature(&t, x, y, 20, &err), -1);
    x[3] = 1;
    y[4] = 0.5;
    assert_int_equal(calibrate_temperature(&t, x, y, 20, &err), -1);
    assert_int_equal(calibrate_temperature(&t, x, y, 0, &err), -1);
    memset(x, 0, N * sizeof *x);
    assert_int_equal(calibrate_temperature(&t, x, y, 3, &err), -1);
    free(x);
    free(y);
}

static void test_isotonic(void **state)
{
    (void)state;
    struct err err;
    struct calibrator c = {.temperature = 1};
    /* |x|:          1, 1 (half right), 2 (wrong), 3 right, 4 right, 4 wrong, 5 right
     * pooled:       {1, 1, 2}: 1/3 -> 0.5;  {3, 4, 4}: 2/3;  {5}: 1 -> 1 - 1/9 */
    const double x[] = {1, -1, -2, 3, -4, 4, 5}, y[] = {1, 1, 1, 1, 0, 0, 1};
    assert_int_equal(calibrate_isotonic(&c, x, y, 7, &err), 0);
    assert_int_equal(c.n_knots, 3);
    const double knot_x[] = {4 / 3., 11 / 3., 5}, knot_p[] = {0.5, 2 / 3., 1 - 1 / 9.};
    for (size_t i = 0; i < 3; i++) {
        expect_near(c.x[i], knot_x[i], 1e-12, "x", i);
        expect_near(c.p[i], knot_p[i], 1e-12, "p", i);
        expect_near(calibrated(&c, knot_x[i], NULL), knot_p[i], 1e-12, "at a knot", i);
        expect_near(calibrated(&c, -knot_x[i], "any"), 1 - knot_p[i], 1e-12, "turned round", i);
    }
    expect_near(calibrated(&c, 0, NULL), 0.5, 0, "at 0", 0);
    expect_near(calibrated(&c, 13 / 3., NULL), (2 / 3. + 8 / 9.) / 2, 1e-12, "between knots", 0);
    expect_near(calibrated(&c, 99, NULL), 8 / 9., 1e-12, "beyond", 0);
    /* many: rising, few knots, near the truth, whatever the order of the pairs */
    double *lead = xmalloc(N * sizeof *lead), *outcome = xmalloc(N * sizeof *outcome);
    make_pairs(lead, outcome, N, 3.3);
    struct calibrator turned = {.temperature = 1};
    assert_int_equal(calibrate_isotonic(&c, lead, outcome, N, &err), 0);
    assert_true(c.n_knots > 3 && c.n_knots <= CALIBRATOR_KNOTS);
    for (size_t i = 1; i < c.n_knots; i++)
        assert_true(c.x[i] > c.x[i - 1] && c.p[i] >= c.p[i - 1]);
    for (double at = 0.5; at < 5; at += 0.5)
        expect_near(calibrated(&c, at, NULL), 1 / (1 + exp(-at / 3.3)), 0.05, "P", (size_t)(at * 2));
    for (size_t i = 0; i < N / 2; i++) {
        double v = lead[i], w = outcome[i];
        lead[i] = -lead[N - 1 - i], outcome[i] = 1 - outcome[N - 1 - i];
        lead[N - 1 - i] = v, outcome[N - 1 - i] = w;
    }
    assert_int_equal(calibrate_isotonic(&turned, lead, outcome, N, &err), 0);
    assert_memory_equal(&turned, &c, sizeof c);
    free(lead);
    free(outcome);
}

/* Overconfident scores, in two groups of which one is worse: calibration mends the ECE on rows that it was not fitted on. */
static void test_calibrated_quality(void **state)
{
    (void)state;
    struct err err;
    enum { PAIRS = 2000 };
    double *lead = xmalloc(PAIRS * sizeof *lead), *y = xmalloc(PAIRS * sizeof *y);
    struct comparison *label = xcalloc(PAIRS, sizeof *label);
    uint32_t *unit = xmalloc(PAIRS * sizeof *unit);
    const char **group = xmalloc(PAIRS * sizeof *group);
    make_pairs(lead, y, PAIRS, 4);
    for (size_t i = 0; i < PAIRS; i++) {
        group[i] = i % 3 ? "sure" : "guess";
        if (i % 3 == 0)
            y[i] = rng_uniform(8, RNG_TEST, (uint32_t)i, 0, 0, 0) < 0.5;
        label[i] = y[i] > 0 ? (struct comparison){.w_a = 1} : (struct comparison){.w_b = 1};
        unit[i] = (uint32_t)(i / 4);
    }
    label[7] = (struct comparison){.w_tie = 1};
    struct scored_pairs pairs = {PAIRS, lead, label, unit, group};
    struct reward_calibration none, t, s;
    assert_int_equal(reward_calibrate(&none, &pairs, 1, CALIBRATION_NONE, 42, &err), 0);
    assert_int_equal(reward_calibrate(&t, &pairs, 1, CALIBRATION_TEMPERATURE, 42, &err), 0);
    assert_int_equal(reward_calibrate(&s, &pairs, 1, CALIBRATION_ISOTONIC, 42, &err), 0);
    assert_int_equal(none.before.decided, PAIRS - 1);
    assert_true(none.fitted.temperature == 1 && none.after.ece.value == none.before.ece.value && none.fitted.n_groups == 0);
    assert_true(t.before.ece.lo > 0.1 && t.after.ece.hi < t.before.ece.lo && t.after.brier.hi < t.before.brier.lo);
    assert_true(s.after.ece.hi < s.before.ece.lo);
    assert_true(t.after.accuracy.value == t.before.accuracy.value); /* it moves no order */
    assert_int_equal(t.fitted.n_groups, 2);
    assert_string_equal(t.fitted.group[0].name, "guess");
    assert_true(t.fitted.group[0].temperature > 3 * t.fitted.group[1].temperature);
    assert_true(fabs(t.fitted.group[1].temperature - 4) < 1);
    assert_true(calibrated(&t.fitted, 4, "guess") < 0.6 && calibrated(&t.fitted, 4, "sure") > 0.68);
    assert_int_equal(t.group[0].before.decided + t.group[1].before.decided, PAIRS - 1);
    /* labels without any relation to the leads: on the pairs that it was fitted on it looks better than on others */
    double fooled = 0, honest = 0;
    pairs = (struct scored_pairs){60, lead, label, NULL, NULL};
    for (uint32_t seed = 0; seed < 20; seed++) {
        struct reward_quality q;
        for (size_t i = 0; i < 60; i++)
            label[i] = rng_below(2, seed, RNG_TEST, (uint32_t)i, 0, 0, 0) ? (struct comparison){.w_a = 1} : (struct comparison){.w_b = 1};
        assert_int_equal(reward_calibrate(&s, &pairs, 1, CALIBRATION_ISOTONIC, 42, &err), 0);
        assert_int_equal(reward_quality(&q, NULL, &pairs, &s.fitted, 42, &err), 0);
        fooled += q.brier.value / 20;
        honest += s.after.brier.value / 20;
    }
    print_message("Brier of chance: %.4f on its own pairs, %.4f on others\n", fooled, honest);
    assert_true(honest > 0.25 && honest > fooled + 0.005);
    free(lead);
    free(y);
    free(label);
    free(unit);
    free(group);
}

/* What the manifest says is what the scores say. */
static void test_manifest(void **state)
{
    (void)state;
    json_t *manifest = json_load_file("straight/manifest.json", 0, NULL), *quality = json_object_get(manifest, "quality");
    json_t *after = json_object_get(quality, "after"), *notes = json_load_file("straight/hone.json", 0, NULL);
    assert_int_equal(json_array_size(json_object_get(manifest, "members")), 3);
    assert_non_null(json_object_get(manifest, "baselines"));
    assert_true(json_number_value(json_object_get(quality, "temperature")) == json_number_value(json_object_get(notes, "temperature")));
    assert_int_equal(json_array_size(json_object_get(quality, "groups")), 2);
    json_t *rows = score("--reward straight");
    char *text = text_read("held-out.jsonl", NULL);
    json_t *data = json_lines(text);
    double right = 0;
    for (size_t i = 0; i < 240; i++) {
        const json_t *row = json_array_get(data, i);
        bool a = !strcmp(json_string_value(json_object_get(row, "label")), "a");
        double lead = entry(rows, i, "score", 0) - entry(rows, i, "score", 1);
        right += lead == 0 ? 0.5 : (lead > 0) == a;
        const char *group = json_string_value(json_object_get(row, "group"));
        double t = json_number_value(json_object_get(json_object_get(notes, "groups"), group));
        expect_near(json_number_value(json_object_get(json_array_get(rows, i), "p_a")), 1 / (1 + exp(-lead / t)), 1e-6, "p_a", i);
    }
    expect_near(json_number_value(json_object_get(json_object_get(after, "accuracy"), "value")), right / 240, 1e-12, "accuracy", 0);
    assert_true(is_there("straight/report.html") && is_there("straight/config.yaml"));
    free(text);
    json_decref(rows);
    json_decref(data);
    json_decref(manifest);
    json_decref(notes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_temperature),
        cmocka_unit_test(test_isotonic),
        cmocka_unit_test(test_calibrated_quality),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_scores_after_a_stem),
        cmocka_unit_test(test_manifest),
        cmocka_unit_test(test_normalized),
        cmocka_unit_test(test_layers_from),
        cmocka_unit_test(test_gradients_from),
        cmocka_unit_test(test_a_member_alone),
        cmocka_unit_test(test_average_of_deltas),
        cmocka_unit_test(test_average),
        cmocka_unit_test(test_ppo_and_compare),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_arrangements),
        cmocka_unit_test(test_killed_and_resumed),
    };
    return cmocka_run_group_tests(tests, enter, sandbox_leave);
}
