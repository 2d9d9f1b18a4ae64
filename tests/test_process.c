/* Process reward models: where steps end, the loss and its gradients beside transformers', and `hone reward` on stepwise rows from outside:
 * it learns, what it says of a step is what its head says at the step's end, and a run that is killed and resumed leaves the same bytes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reward/score.h"
#include "support/program.h"
#include "train/process.h"
#include "util/mem.h"

enum { ROWS = 90, HELD_OUT = 30 };
#define MODEL "--model golden/models/llama --tokenizer tokenizer "
#define TRAIN                                                                                      \
    "$HONE reward " MODEL "--quiet --train-data steps.jsonl --eval-data held-out.jsonl --lora-r 4 --learning-rate 1e-2 --num-train-epochs 4 " \
    "--save-steps 10 --output-dir "

/* Answers of one to four steps; one with rain in it is wrong. */
static void write_rows(const char *path, int first, int n)
{
    static const char *const words[] = {"the lamp was lit", "before the rain", "a hall", "the window was open", "it began", "after rain"};
    FILE *f = fopen(path, "w");
    for (int i = first; i < first + n; i++) {
        int count = 1 + i % 4;
        fprintf(f, "{\"prompt\": \"%s, %d\", \"completions\": [", words[i % 5], i);
        for (int k = 0; k < count; k++)
            fprintf(f, "%s\"%s\"", k ? ", " : "", words[(i * 7 + k * (1 + i % 3)) % 6]);
        fputs("], \"labels\": [", f);
        for (int k = 0; k < count; k++)
            fprintf(f, "%s%s", k ? ", " : "", strstr(words[(i * 7 + k * (1 + i % 3)) % 6], "rain") ? "false" : "true");
        fputs("]}\n", f);
    }
    fclose(f);
}

static int enter(void **state)
{
    if (sandbox_enter(state))
        return -1;
    write_tokenizer("tokenizer");
    write_rows("steps.jsonl", 0, ROWS);
    write_rows("held-out.jsonl", ROWS, HELD_OUT);
    write_twenty_judgements("pairs.jsonl");
    run_ok(TRAIN "prm");
    return 0;
}

/* ---- steps ---- */

static void test_aggregates(void **state)
{
    (void)state;
    const double p[] = {0.9, 0.25, 0.5};
    expect_near(steps_together(p, 3, STEPS_MIN), 0.25, 0, "min", 0);
    expect_near(steps_together(p, 3, STEPS_PROD), 0.1125, 1e-15, "prod", 0);
    expect_near(steps_together(p, 3, STEPS_LAST), 0.5, 0, "last", 0);
    expect_near(steps_together(p, 3, STEPS_MEAN), 0.55, 1e-15, "mean", 0);
    for (int how = STEPS_MIN; how <= STEPS_MEAN; how++)
        expect_near(steps_together(p, 1, (enum step_aggregate)how), 0.9, 0, step_aggregate_names[how], 1);
}

/* What stands up to each end, decoded. */
static void test_ends(void **state)
{
    static const struct {
        const char *text, *separator, *upto[5];
    } cases[] = {
        {"one\ntwo\nthree", "\n", {"one\n", "one\ntwo\n", "one\ntwo\nthree"}},
        {"one", "\n", {"one"}},
        {"one\n", "\n", {"one\n"}},
        {"\none\ntwo\n", "\n", {"\none\n", "\none\ntwo\n"}}, /* blank ones are none */
        {"a b; c; d", "; ", {NULL}},                           /* where tokens cross the separator the end is the token's: counted below */
        {"   ", "\n", {"   "}},
    };
    struct model m;
    struct err err;
    (void)state;
    assert_int_equal(model_open(&m, "golden/models/llama", "tokenizer", &err), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ids ids = {0};
        size_t ends[64], n;
        assert_int_equal(tokenizer_encode(m.tokenizer, &ids, cases[i].text, strlen(cases[i].text), &err), 0);
        n = step_ends(ends, m.tokenizer, ids.data, ids.n, cases[i].separator);
        assert_true(n > 0 && ends[n - 1] < ids.n);
        if (!cases[i].upto[0])
            assert_int_equal(n, 3);
        for (size_t k = 0; cases[i].upto[0] && (k < n || cases[i].upto[k]); k++) {
            struct buf text;
            buf_init(&text, 4096);
            tokenizer_decode(m.tokenizer, &text, ids.data, k < n ? ends[k] + 1 : 0, true);
            if (k >= n || !cases[i].upto[k] || strcmp(text.data, cases[i].upto[k]))
                fail_msg("'%s': step %zu of %zu ends with '%s'", cases[i].text, k + 1, n, text.data);
            buf_release(&text);
        }
        ids_release(&ids);
    }
    model_release(&m);
}

/* ---- beside transformers ---- */

static struct sequence sequence_of(const json_t *ids)
{
    struct sequence s = {0};
    s.n = json_ids(ids, &s.ids);
    s.mask = xmalloc(s.n + 1);
    memset(s.mask, 1, s.n);
    return s;
}

static void expect_golden(const json_t *golden, const char *key, bool last_only, size_t at_a_time)
{
    const json_t *want = json_object_get(golden, key), *list = json_object_get(golden, "rows"), *norms = json_object_get(want, "gradient_norms");
    struct model m;
    struct head head;
    struct err err;
    assert_true(model_open(&m, "golden/models/llama", NULL, &err) == 0 && model_make_trainable(&m, &err) == 0);
    assert_int_equal(head_init(&head, m.config.width, &err), 0);
    double *w, *dw;
    assert_int_equal(json_doubles(json_object_get(golden, "head"), &w), head.width);
    for (size_t i = 0; i < head.width; i++)
        head.params.data[i] = (float)w[i];

    enum { MOST = 4 };
    struct examples e = {.list = xcalloc(MOST, sizeof *e.list), .n = json_array_size(list)};
    struct row rows[MOST] = {0};
    bool good[MOST][MOST];
    struct dataset data = {.rows = rows, .n = e.n};
    struct steps steps = {.start = xcalloc(MOST + 1, sizeof *steps.start), .end = xcalloc(MOST * MOST, sizeof *steps.end), .n = e.n};
    for (size_t i = 0; i < e.n; i++) {
        const json_t *r = json_array_get(list, i);
        e.list[i] = (struct example){.row = &rows[i], .prompt = sequence_of(json_object_get(r, "prompt")), .n_completions = 1};
        e.list[i].completions = xcalloc(1, sizeof *e.list[i].completions);
        e.list[i].completions[0] = sequence_of(json_object_get(r, "completion"));
        int32_t *ends, *labels;
        size_t n = json_ids(json_object_get(r, "ends"), &ends);
        json_ids(json_object_get(r, "labels"), &labels);
        for (size_t k = 0; k < n; k++) {
            steps.end[steps.start[i] + k] = (size_t)ends[k];
            good[i][k] = labels[k];
        }
        steps.start[i + 1] = steps.start[i] + n;
        rows[i].step_good = good[i];
        free(ends);
        free(labels);
    }
    struct optimizer o = {.adamw = {0.9, 0.999, 1e-8}};
    struct learner l;
    struct net net = {.model = &m, .head = &head};
    static const char *const names[3] = {"model", "", "head"};
    assert_int_equal(learner_init(&l, &net, KEEP_ALL, true, true, &o, names, 1, &err), 0);
    struct process p = {.learner = &l, .train_rows = &data, .train = &steps, .last_only = last_only};
    struct method method = process_method(&p);
    struct metrics metrics = {0};
    const size_t order[] = {0, 1, 2};
    assert_int_equal(method.begin(&p, &e, order, e.n, true, &err), 0);
    for (size_t at = 0; at < e.n; at += at_a_time)
        assert_int_equal(method.micro(&p, &e, order + at, at_a_time < e.n - at ? at_a_time : e.n - at, true, &err), 0);
    assert_int_equal(method.end(&p, &metrics, true, &err), 0);
    expect_near(metrics_get(&metrics, "loss"), json_number_value(json_object_get(want, "loss")), 2e-5, key, 0);
    json_doubles(json_object_get(want, "head_gradient"), &dw);
    for (size_t i = 0; i < head.width; i++)
        expect_near((double)l.grads.head[i], dw[i], 1e-4 * fmax(1, fabs(dw[i])), "gradient of the head", i);
    for (size_t i = 0; i < m.params.n_list; i++) {
        const struct param *t = &m.params.list[i];
        double sum = 0, norm = json_number_value(json_object_get(norms, t->name));
        for (size_t j = 0; j < t->n; j++)
            sum += pow((double)l.grads.model[t->offset + j], 2);
        assert_non_null(json_object_get(norms, t->name));
        expect_near(sqrt(sum), norm, 1e-4 * norm, t->name, i);
    }
    free(w);
    free(dw);
    steps_release(&steps);
    examples_release(&e);
    learner_release(&l);
    optimizer_release(&o);
    head_release(&head);
    model_release(&m);
}

static void test_golden(void **state)
{
    (void)state;
    json_t *golden = golden_json("golden/process.json");
    expect_golden(golden, "all", false, 3);
    expect_golden(golden, "all", false, 1);
    expect_golden(golden, "last", true, 2);
    json_decref(golden);
}

/* ---- from outside ---- */

static json_t *scores_of(const char *flags)
{
    struct ended e = run("$HONE score " MODEL "--quiet %s", flags);
    if (e.code)
        fail_msg("score %s: %s", flags, e.err);
    json_t *lines = json_lines(e.out);
    ended_release(&e);
    return lines;
}

/* Held-out numbers are those that the scores of `hone score` come to. */
static void test_learns(void **state)
{
    (void)state;
    json_t *lines = metrics_of("prm"), *scored = scores_of("--reward prm --data held-out.jsonl"), *rows = json_lines_of("held-out.jsonl");
    size_t last = json_array_size(lines) - 1, all = 0;
    double loss = 0, right = 0, found = 0, bin_p[10] = {0}, bin_good[10] = {0}, ece = 0;
    for (size_t i = 0; i < HELD_OUT; i++) {
        const json_t *steps = json_object_get(json_array_get(scored, i), "steps"), *labels = json_object_get(json_array_get(rows, i), "labels");
        size_t n = json_array_size(steps), wrong = n, told = n;
        assert_int_equal(n, json_array_size(labels));
        for (size_t k = n; k-- > 0; all++) {
            double p = json_number_value(json_array_get(steps, k));
            bool good = json_is_true(json_array_get(labels, k));
            size_t bin = p > 0 ? (size_t)ceil(p * 10) - 1 : 0;
            loss -= log(good ? p : 1 - p);
            right += (p > 0.5) == good;
            wrong = good ? wrong : k;
            told = p > 0.5 ? told : k;
            bin_p[bin] += p;
            bin_good[bin] += good;
        }
        found += wrong == told;
    }
    for (size_t b = 0; b < 10; b++)
        ece += fabs(bin_p[b] - bin_good[b]);
    expect_near(metric(lines, last, "eval_steps"), (double)all, 0, "steps", 0);
    expect_near(metric(lines, last, "eval_loss"), loss / (double)all, 1e-5, "loss", 0);
    expect_near(metric(lines, last, "eval_accuracy"), right / (double)all, 1e-12, "accuracy", 0);
    expect_near(metric(lines, last, "eval_first_error_accuracy"), found / HELD_OUT, 1e-12, "first error", 0);
    expect_near(metric(lines, last, "eval_ece"), ece / (double)all, 1e-5, "ece", 0);
    expect_near(metric(lines, 0, "loss"), log(2), 1e-6, "the loss of a head of zeros", 0);
    if (!(metric(lines, last, "eval_accuracy") > 0.9))
        fail_msg("of the held-out steps it tells %g only", metric(lines, last, "eval_accuracy"));
    json_t *manifest = json_load_file("prm/manifest.json", 0, NULL), *quality = json_object_get(manifest, "step_quality");
    expect_near(json_number_value(json_object_get(json_object_get(quality, "step_accuracy"), "value")), right / (double)all, 1e-12, "manifest", 0);
    json_decref(manifest);
    json_decref(lines);
    json_decref(scored);
    json_decref(rows);
}

/* The probability of a step is the sigmoid of what the head, as a plain reward model's, says of the answer up to that step's end. */
static void test_places(void **state)
{
    (void)state;
    struct model m;
    struct dataset data, joined;
    struct examples e;
    struct steps steps;
    struct err err;
    assert_int_equal(model_open(&m, "golden/models/llama", "tokenizer", &err), 0);
    assert_int_equal(dataset_read(&data, "held-out.jsonl", NULL, &err), 0);
    assert_int_equal(stepwise_join(&joined, &data, "\n", &err), 0);
    struct encode_options o = {.tokenizer = m.tokenizer, .chat = m.template, .eos = -1, .vocab = m.config.vocab};
    assert_int_equal(examples_encode(&e, &joined, &o, &err), 0);
    steps_find(&steps, &e, m.tokenizer, "\n");
    assert_int_equal(stepwise_check(&steps, &e, &data, &err), 0);
    struct buf out;
    buf_init(&out, 1 << 24);
    for (size_t i = 0; i < e.n; i++) {
        const struct sequence *p = &e.list[i].prompt, *c = &e.list[i].completions[0];
        buf_str(&out, "{\"prompt_ids\": [");
        for (size_t t = 0; t < p->n; t++)
            buf_printf(&out, "%s%d", t ? ", " : "", p->ids[t]);
        buf_str(&out, "], \"completions\": [");
        for (size_t k = steps.start[i]; k < steps.start[i + 1]; k++) {
            buf_str(&out, k > steps.start[i] ? ", [" : "[");
            for (size_t t = 0; t <= steps.end[k]; t++)
                buf_printf(&out, "%s%d", t ? ", " : "", c->ids[t]);
            buf_str(&out, "]");
        }
        buf_str(&out, "]}\n");
        assert_int_equal(steps.end[steps.start[i + 1] - 1], c->n - 1);
    }
    bytes_write("prefixes.jsonl", out.data, out.len);
    run_ok("rm -rf plain && cp -r prm/adapter plain && echo '{\"score_bias\": 0, \"tie_parameter\": 0}' >plain/hone.json");
    json_t *plain = scores_of("--reward plain --data prefixes.jsonl"), *own = scores_of("--reward prm --data held-out.jsonl");
    for (size_t i = 0; i < e.n; i++) {
        double *p, *s;
        size_t n = json_doubles(json_object_get(json_array_get(own, i), "steps"), &p);
        json_t *score = json_object_get(json_array_get(plain, i), "score"), *one = json_is_array(score) ? json_incref(score) : json_pack("[O]", score);
        assert_int_equal(json_doubles(one, &s), n);
        for (size_t k = 0; k < n; k++)
            expect_near(p[k], 1 / (1 + exp(-s[k])), 1e-7, "a step", i);
        free(p);
        free(s);
        json_decref(one);
    }
    json_decref(plain);
    json_decref(own);
    buf_release(&out);
    steps_release(&steps);
    examples_release(&e);
    stepwise_release(&joined);
    dataset_release(&data);
    model_release(&m);
}

static void test_scores(void **state)
{
    (void)state;
    for (int how = STEPS_MIN; how <= STEPS_MEAN; how++) {
        char *flags = xasprintf("--reward prm --data held-out.jsonl --step-aggregate %s", step_aggregate_names[how]);
        json_t *scored = scores_of(flags);
        for (size_t i = 0; i < HELD_OUT; i++) {
            double *p;
            size_t n = json_doubles(json_object_get(json_array_get(scored, i), "steps"), &p);
            expect_near(metric(scored, i, "score"), steps_together(p, n, (enum step_aggregate)how), 1e-6, flags, i);
            free(p);
        }
        json_decref(scored);
        free(flags);
    }
    /* whole answers are the same answers */
    text_write("whole.jsonl", "{\"prompt\": \"a hall\", \"completion\": \"it began\\nafter rain\\na hall\"}\n"
                              "{\"prompt\": \"a hall\", \"completion\": \"it began\"}\n");
    text_write("apart.jsonl", "{\"prompt\": \"a hall\", \"completions\": [\"it began\", \"after rain\", \"a hall\"], \"labels\": [true, true, true]}\n"
                              "{\"prompt\": \"a hall\", \"completions\": [\"it began\"], \"labels\": [true]}\n");
    json_t *whole = scores_of("--reward prm --data whole.jsonl"), *apart = scores_of("--reward prm --data apart.jsonl");
    for (size_t i = 0; i < 2; i++)
        assert_true(json_equal(json_object_get(json_array_get(whole, i), "steps"), json_object_get(json_array_get(apart, i), "steps")));
    assert_int_equal(json_array_size(json_object_get(json_array_get(whole, 0), "steps")), 3);
    json_decref(whole);
    json_decref(apart);
}

/* As a reward: of generate, and of the methods that learn from their own answers; several together. */
static void test_as_reward(void **state)
{
    (void)state;
    run_ok("$HONE generate " MODEL "--quiet --prompts pairs.jsonl --num-generations 4 --max-new-tokens 10 --missing-eos-penalty 0 --reward prm "
           "--step-aggregate prod --select all >all.jsonl");
    json_t *all = json_lines_of("all.jsonl");
    bool differ = false;
    for (size_t i = 0; i < json_array_size(all); i++) {
        double s = metric(all, i, "score");
        assert_true(s > 0 && s < 1);
        differ |= s != metric(all, 0, "score");
    }
    assert_true(differ);
    json_decref(all);
    static const char *const lines[] = {"grpo --num-generations 4 --reward prm", "ppo --reward prm",
                                        "grpo --num-generations 4 --reward prm --reward prm --reward rule:length:target=4",
                                        "grpo --num-generations 4 --reward rule:length:target=4 --gold prm"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        run_ok("$HONE %s " MODEL "--quiet --lora-r 4 --train-data pairs.jsonl --iterations 2 --per-device-train-batch-size 4 --response-length 8 "
               "--output-dir out --overwrite", lines[i]);
        json_t *metrics = metrics_of("out");
        if (i < 2)
            assert_true(metric(metrics, 0, "rewards/prm/mean") > 0 && metric(metrics, 0, "rewards/prm/mean") < 1);
        json_decref(metrics);
    }
}

static void expect_same_run(const char *dir)
{
    expect_same_file("prm", dir, "metrics.jsonl");
    expect_same_file("prm/adapter", "out/adapter", "adapter_model.safetensors");
    expect_same_file("prm/adapter", "out/adapter", "hone.json");
}

static void test_same_bytes(void **state)
{
    static const char *const flags[] = {"--threads 2", "--micro-batch-tokens 16", "--micro-batch-tokens 200 --recompute --threads 2"};
    (void)state;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        run_ok(TRAIN "out --overwrite %s", flags[i]);
        expect_same_run("out");
    }
    for (size_t line = 5; line < 45; line += 13) {
        drop("out");
        run_and_kill_at_line(TRAIN "out", "out/metrics.jsonl", line);
        run_ok(TRAIN "out --resume");
        expect_same_run("out");
    }
    run_ok(TRAIN "out --resume"); /* one that was finished is judged again, and is the same */
    expect_same_run("out");
}

static void test_variants(void **state)
{
    static const char *const flags[] = {"--train-on-last-step-only", "--step-separator ' ; '", "--full --learning-rate 1e-3", "--step-separator '\\n\\n'"};
    (void)state;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        run_ok(TRAIN "out --overwrite --max-steps 3 %s", flags[i]);
        json_t *lines = metrics_of("out"), *notes = json_load_file(i == 2 ? "out/model/hone.json" : "out/adapter/hone.json", 0, NULL);
        const char *separator = json_string_value(json_object_get(json_object_get(notes, "steps"), "separator"));
        assert_string_equal(separator, i == 1 ? " ; " : i == 3 ? "\n\n" : "\n");
        if (i == 0)
            assert_true(metric(lines, 0, "steps") == 8 && metric(lines, 2, "eval_steps") > HELD_OUT);
        json_decref(lines);
        json_decref(notes);
        json_decref(scores_of("--reward out --data held-out.jsonl"));
    }
}

static void test_refuses(void **state)
{
    static const char *const cases[][2] = {
        {"are for comparisons", "reward " MODEL "--train-data steps.jsonl --ensemble 2 --output-dir no"},
        {"--learn-annotators", "reward " MODEL "--train-data steps.jsonl --learn-annotators --output-dir no"},
        {"--center-data", "reward " MODEL "--train-data steps.jsonl --center-data steps.jsonl --output-dir no"},
        {"step 2 holds the separator", "reward " MODEL "--train-data broken.jsonl --output-dir no"},
        {"--step-separator has no bytes", "reward " MODEL "--train-data steps.jsonl --step-separator '' --output-dir no"},
        {"too many bytes", "reward " MODEL "--train-data steps.jsonl --step-separator 01234567890123456789012345678901 --output-dir no"},
        {"do not fit max_length", "reward " MODEL "--train-data steps.jsonl --max-length 36 --output-dir no"},
        {"both must be of one kind", "reward " MODEL "--train-data steps.jsonl --eval-data pairs.jsonl --output-dir no"},
        {"no tokenizer", "reward --model golden/models/llama --train-data steps.jsonl --output-dir no"},
        {"is no process reward model", "score " MODEL "--reward plain --data held-out.jsonl"},
        {"is a process reward model", "average " MODEL "--reward prm --reward prm --output-dir no"},
        {"step-aggregate", "score " MODEL "--reward prm --data held-out.jsonl --step-aggregate most"},
        {"belongs to a head", "score " MODEL "--reward broken --data held-out.jsonl"},
    };
    (void)state;
    text_write("broken.jsonl", "{\"prompt\": \"a hall\", \"completions\": [\"one\", \"two\\nthree\"], \"labels\": [true, false]}\n");
    run_ok("rm -rf plain broken && cp -r prm/adapter plain && cp -r prm/adapter broken && echo '{\"score_bias\": 0, \"tie_parameter\": 0}' >plain/hone.json "
           "&& echo '{\"score_bias\": 0, \"tie_parameter\": 0, \"steps\": {\"separator\": \"\"}}' >broken/hone.json");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ended e = run("$HONE %s --quiet", cases[i][1]);
        const char *what = cases[i][0];
        if (e.code == 0 || !strstr(e.err, what) || is_there("no"))
            fail_msg("%s: ended with %d, and no '%s' in: %s", cases[i][1], e.code, what, e.err);
        ended_release(&e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aggregates), cmocka_unit_test(test_ends),       cmocka_unit_test(test_golden),
        cmocka_unit_test(test_learns),     cmocka_unit_test(test_places),     cmocka_unit_test(test_scores),
        cmocka_unit_test(test_as_reward),  cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_variants),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, enter, sandbox_leave);
}
