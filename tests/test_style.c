/* What a reward model makes of style: the numbers of a text, regressions against numpy's, slices counted by hand, and a reward model
 * that learned to like length and is corrected on held-out pairs, in every command that scores. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/style_bias.h"
#include "support/program.h"
#include "util/mem.h"
#include "util/rng.h"

#define MODEL "--model golden/models/llama --tokenizer tokenizer "
#define TRAIN                                                                                                                  \
    "$HONE reward " MODEL                                                                                                      \
    "--lora-r 4 --quiet --learning-rate 1e-2 --max-length 128 --train-data confounded.jsonl --max-steps 8 --save-steps 2 "

static void test_style(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double count[STYLES]; /* before the logarithm */
    } cases[] = {
        {"", {0}},
        {"one two three", {3}},
        {"**Bold** and __too__, 2 * 3 ** is not", {7, 0, 2}},
        {"# Title\n\n- one\n* two\n  + three\n1. four\n12) five\n-six\n####### seven\n#eight\n1.5 nine\n", {14, 5, 0, 1}},
        {"Hi! Great!! Is it so?", {5, 0, 0, 0, 3, 1}},
        {"He said \"why?\"\n", {3, 0, 0, 0, 0, 1}},
        {"why? because", {2}},
        {"\xE2\x80\xA2 dot\n\xE2\x80\xA2no", {2, 1}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        double x[STYLES];
        text_style(x, cases[c].text);
        for (size_t s = 0; s < STYLES; s++)
            expect_near(x[s], s == STYLE_QUESTION ? cases[c].count[s] : log1p(cases[c].count[s]), 1e-15, style_names[s], c);
    }
}

enum { N = 60 };

static void make_pairs(struct scored_pairs *p, double *lead, struct comparison *label, struct pair_traits *traits)
{
    *p = (struct scored_pairs){.n = N, .lead = lead, .label = label, .traits = traits};
    memset(traits, 0, N * sizeof *traits);
    for (size_t i = 0; i < N; i++) {
        double x = (double)i, length = log1p((double)(5 + i * 7 % 23)) - log1p((double)(5 + i * 11 % 19));
        traits[i].style[STYLE_LENGTH] = length;
        traits[i].style[STYLE_LISTS] = log1p((double)(i % 3)) - log1p((double)(i * 5 % 4));
        traits[i].strength = NAN;
        lead[i] = 1.5 * sin(0.9 * x) + 0.8 * length + 0.3 * cos(2.3 * x);
        bool a = sin(0.9 * x) + 0.1 * length + 0.5 * cos(1.7 * x) > 0;
        label[i] = i % 13 == 5 ? (struct comparison){.w_tie = 1} : (struct comparison){.w_a = a, .w_b = !a};
    }
}

/* Values: numpy 2.4, the normal equations and Newton's method with the same penalties, to 1e-13. */
static void test_golden_regressions(void **state)
{
    (void)state;
    static const double score[] = {0.4028949869188882, -0.0133004924292768},
                        people[] = {0.1202212612344473, -0.069002259999513},
                        excess[] = {0.3154950564976238, 0.0157305993950679};
    struct scored_pairs p;
    double lead[N], corrected[N], weight[STYLES];
    struct comparison label[N];
    struct pair_traits traits[N];
    struct style_bias b;
    struct err err;
    make_pairs(&p, lead, label, traits);
    assert_int_equal(style_bias(&b, &p, 2, 42, &err), 0);
    for (size_t s = 0; s < 2; s++) {
        expect_near(b.style[s].score.value, score[s], 1e-8, "score", s);
        expect_near(b.style[s].people.value, people[s], 1e-8, "people", s);
        expect_near(b.style[s].excess.value, excess[s], 1e-8, "excess", s);
        assert_true(b.style[s].excess.lo < excess[s] && b.style[s].excess.hi > excess[s]);
    }
    assert_true(isnan(b.style[STYLE_BOLD].score.value)); /* no text has any */
    expect_near(b.explained.value, 0.1826896821721946, 1e-12, "explained", 0);
    assert_int_equal(style_correction(weight, corrected, &p, 1u << STYLE_LENGTH, 42, &err), 0);
    expect_near(weight[STYLE_LENGTH], -0.6246929310061374, 1e-8, "correction", 0);
    assert_true(weight[STYLE_LISTS] == 0);
    /* which answer is called a does not matter */
    for (size_t i = 0; i < N; i += 2) {
        lead[i] = -lead[i];
        label[i] = (struct comparison){label[i].w_b, label[i].w_a, label[i].w_tie, 0};
        for (size_t s = 0; s < STYLES; s++)
            traits[i].style[s] = -traits[i].style[s];
    }
    struct style_bias turned;
    assert_int_equal(style_bias(&turned, &p, 2, 42, &err), 0);
    expect_near(turned.style[0].excess.value, excess[0], 1e-8, "excess", 9);
    assert_true(turned.longer_right.value == b.longer_right.value && turned.longer_scored.value == b.longer_scored.value);
    /* scores that say the opposite of people cannot be mended */
    for (size_t i = 0; i < N; i++)
        lead[i] = label[i].w_b - label[i].w_a + 0.1 * sin((double)i);
    assert_int_equal(style_correction(weight, corrected, &p, 1u << STYLE_LENGTH, 42, &err), -1);
    memset(lead, 0, sizeof lead);
    assert_int_equal(style_bias(&b, &p, 2, 42, &err), -1);
}

/* Intervals hold what they are of: people who do not care for length, and scores that do by a known amount. */
static void test_excess_is_found(void **state)
{
    (void)state;
    enum { PAIRS = 1500, TIMES = 20 };
    double *lead = xmalloc(PAIRS * sizeof *lead), *corrected = xmalloc(PAIRS * sizeof *corrected), weight[STYLES], most = 0;
    struct comparison *label = xcalloc(PAIRS, sizeof *label);
    struct pair_traits *traits = xcalloc(PAIRS, sizeof *traits);
    size_t inside = 0;
    struct err err;
    for (uint32_t time = 0; time < TIMES; time++) {
        for (uint32_t i = 0; i < PAIRS; i++) {
            double quality = 1.5 * rng_normal(time, RNG_TEST, i, 0, 0, 0), length = rng_normal(time, RNG_TEST, i, 1, 0, 0);
            bool a = rng_uniform(time, RNG_TEST, i, 2, 0, 0) < 1 / (1 + exp(-quality));
            traits[i].style[STYLE_LENGTH] = length;
            lead[i] = quality + 0.7 * length;
            label[i] = (struct comparison){.w_a = a, .w_b = !a};
        }
        struct scored_pairs p = {.n = PAIRS, .lead = lead, .label = label, .traits = traits};
        if (time < 5) {
            struct style_bias b;
            assert_int_equal(style_bias(&b, &p, 1, 42, &err), 0);
            inside += b.style[STYLE_LENGTH].excess.lo < 0.7 && b.style[STYLE_LENGTH].excess.hi > 0.7;
            assert_true(b.longer_right.lo > b.shorter_right.hi);
        }
        assert_int_equal(style_correction(weight, corrected, &p, 1u << STYLE_LENGTH, 42, &err), 0);
        most = fmax(most, fabs(weight[STYLE_LENGTH] + 0.7));
    }
    print_message("the correction is off by %.3f at most; %zu of 5 intervals hold it\n", most, inside);
    assert_true(most < 0.2 && inside >= 4);
    free(lead);
    free(corrected);
    free(label);
    free(traits);
}

static const struct reward_slice *slice(const struct reward_slice *list, size_t n, const char *by, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(list[i].by, by) && !strcmp(list[i].name, name))
            return &list[i];
    fail_msg("there is no slice '%s' by %s", name, by);
    return NULL;
}

static void test_slices(void **state)
{
    (void)state;
    enum { PAIRS = 40 };
    double lead[PAIRS];
    struct comparison label[PAIRS];
    struct pair_traits traits[PAIRS] = {0};
    const char *group[PAIRS];
    struct reward_slice list[SLICES];
    struct scored_pairs p = {.n = PAIRS, .lead = lead, .label = label, .traits = traits, .group = group};
    for (size_t i = 0; i < PAIRS;
         i++) { /* always right, but where the shorter of two prompt-lengths' answer was preferred by a */
        traits[i].style[STYLE_LENGTH] = i % 4 == 3 ? 0.05 : i % 2 ? 1 : -1;
        traits[i].prompt_words = (double)(i % 8);
        traits[i].strength = i < 8 ? NAN : (double)(i / 20);
        group[i] = i < 15 ? "few" : i < 36 ? "many" : i % 2 ? "two" : NULL;
        label[i] = (struct comparison){.w_a = i % 5 ? 1 : 0.6, .w_b = i % 5 ? 0 : 0.4};
        lead[i] = i % 4 ? 1 : -1;
    }
    label[39] = (struct comparison){.w_tie = 1};
    size_t n = reward_slices(list, &p);
    const struct reward_slice *longer = slice(list, n, "length", "the longer one preferred"),
                              *same = slice(list, n, "length", "about the same length"),
                              *shorter = slice(list, n, "length", "the shorter one preferred");
    assert_true(longer->decided == 10 && longer->accuracy.value == 1 && same->decided == 9 && same->accuracy.value == 1);
    assert_true(shorter->decided == 20 && shorter->accuracy.value == 0.5);
    assert_int_equal(slice(list, n, "prompt", "lowest quarter")->decided, 10);
    assert_int_equal(slice(list, n, "prompt", "highest quarter")->decided, 9);
    assert_true(slice(list, n, "strength", "lowest quarter")->decided > 0);
    assert_int_equal(slice(list, n, "group", "few")->decided, 15);
    assert_int_equal(slice(list, n, "group", "many")->decided, 21);
    assert_int_equal(slice(list, n, "raters", "split")->decided, 8);
    assert_int_equal(slice(list, n, "raters", "unanimous")->decided, 31);
    for (size_t i = 0; i < n; i++) /* all are a, which is no slice, and a group of two is too small to be one */
        assert_true(strcmp(list[i].by, "position") && strcmp(list[i].name, "two"));
    label[0] = (struct comparison){.w_b = 1};
    n = reward_slices(list, &p);
    assert_true(slice(list, n, "position", "b preferred")->accuracy.value == 1);
}

/* ---- from outside ---- */

static const char *word(uint32_t row, uint32_t what)
{
    static const char *const words[] = {"the", "lamp", "hall", "was", "rain", "began", "window", "open"};
    return words[rng_below(8, 23, RNG_TEST, row, what, 0, 0)];
}

/* The better answer says "lit" somewhere, the other one "dark"; it is the longer one in `longer` of 10 pairs, and `wrong` of 20 labels
 * are. */
static void write_rows(const char *path, uint32_t first, uint32_t n, uint32_t longer, uint32_t wrong)
{
    FILE *f = fopen(path, "w");
    for (uint32_t i = first; i < first + n; i++) {
        uint32_t better = rng_below(2, 29, RNG_TEST, i, 0, 0, 0),
                 is_long = rng_below(10, 29, RNG_TEST, i, 1, 0, 0) < longer ? better : 1 - better;
        fprintf(f, "{\"prompt\": \"%s %u\"", word(i, 0), i);
        for (uint32_t side = 0; side < 2; side++) {
            fprintf(f, ", \"%s\": \"", side ? "b" : "a");
            uint32_t words = side == is_long ? 12 + i % 5 : 3, place = rng_below(words + 1, 29, RNG_TEST, i, 2 + side, 0, 0);
            for (uint32_t k = 0; k <= words; k++)
                fprintf(f, "%s%s", k ? " " : "", k != place ? word(i, 2 + side * 20 + k) : side == better ? "lit" : "dark");
            fputs("\"", f);
        }
        bool turned = rng_below(20, 29, RNG_TEST, i, 4, 0, 0) < wrong;
        fprintf(f, ", \"label\": \"%c\"}\n", better != turned ? 'b' : 'a');
    }
    fclose(f);
}

static int enter(void **state)
{
    if (sandbox_enter(state))
        return -1;
    write_tokenizer("tokenizer");
    write_rows("confounded.jsonl", 0, 60, 9, 0);
    write_rows("held-out.jsonl", 100, 200, 5, 3);
    write_rows("test.jsonl", 400, 300, 5, 0);
    run_ok(TRAIN "--eval-data held-out.jsonl --output-dir plain");
    run_ok(TRAIN "--eval-data held-out.jsonl --debias length,format --output-dir debiased");
    return 0;
}

static json_t *score_of(const char *data, const char *reward)
{
    struct ended e = run("$HONE score " MODEL "--quiet --data %s --reward %s", data, reward);
    if (e.code)
        fail_msg("%s", e.err);
    json_t *rows = json_lines(e.out);
    ended_release(&e);
    return rows;
}

static json_t *score(const char *reward)
{
    return score_of("test.jsonl", reward);
}

static double entry(const json_t *rows, size_t row, size_t answer)
{
    return json_number_value(json_array_get(json_object_get(json_array_get(rows, row), "score"), answer));
}

/* Accuracy on rows that nothing was fitted to; of those whose shorter answer is the better one in *shorter. */
static double accuracy(const char *reward, double *shorter)
{
    char *text = text_read("test.jsonl", NULL);
    json_t *rows = score(reward), *data = json_lines(text);
    double right = 0, right_short = 0, n_short = 0, n = (double)json_array_size(rows);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(data, i);
        bool a = !strcmp(json_string_value(json_object_get(row, "label")), "a");
        bool a_longer = json_string_length(json_object_get(row, "a")) > json_string_length(json_object_get(row, "b"));
        bool ok = (entry(rows, i, 0) > entry(rows, i, 1)) == a;
        right += ok;
        n_short += a != a_longer;
        right_short += a != a_longer && ok;
    }
    json_decref(rows);
    json_decref(data);
    free(text);
    *shorter = right_short / n_short;
    return right / n;
}

static double number_at(const json_t *o, const char *const *keys)
{
    for (; *keys; keys++)
        o = json_object_get(o, *keys);
    return json_number_value(o);
}

static void test_debias(void **state)
{
    (void)state;
    double plain_short, debiased_short, plain = accuracy("plain", &plain_short),
                                        debiased = accuracy("debiased", &debiased_short);
    print_message("accuracy %.3f, of pairs whose shorter answer is better %.3f; debiased %.3f and %.3f\n", plain, plain_short,
                  debiased, debiased_short);
    assert_true(debiased > plain + 0.03 && debiased_short > plain_short + 0.1);
    json_t *manifest = json_load_file("debiased/manifest.json", 0, NULL),
           *before = json_load_file("plain/manifest.json", 0, NULL);
    json_t *notes = json_load_file("debiased/adapter/hone.json", 0, NULL);
    static const char *const was[] = {"debias", "styles", "length", "excess", "lo", NULL}, *const is[] = {"quality", "style",
                                                                                                          "styles",  "length",
                                                                                                          "excess",  "lo",
                                                                                                          NULL};
    static const char *const explained[] = {"quality", "style", "length_explains", "value", NULL};
    assert_true(number_at(manifest, was) > 0 && number_at(before, is) > 0 && number_at(manifest, is) < 0);
    assert_true(number_at(manifest, explained) < number_at(before, explained));
    assert_true(json_number_value(json_object_get(json_object_get(notes, "style"), "length")) < 0);
    assert_null(json_object_get(before, "debias"));
    assert_true(json_array_size(json_object_get(json_object_get(before, "quality"), "slices")) == 4);
    json_decref(manifest);
    json_decref(before);
    json_decref(notes);
}

/* Scores are normalised with the style's part in them: mean 0, variance 1 on the training rows. */
static void test_normalized(void **state)
{
    (void)state;
    json_t *rows = score_of("confounded.jsonl", "debiased");
    double sum = 0, squares = 0, n = 2 * (double)json_array_size(rows);
    for (size_t i = 0; i < json_array_size(rows); i++)
        for (size_t k = 0; k < 2; k++) {
            sum += entry(rows, i, k);
            squares += entry(rows, i, k) * entry(rows, i, k);
        }
    json_decref(rows);
    expect_near(sum / n, 0, 1e-5, "mean", 0);
    expect_near(squares / n, 1, 1e-4, "variance", 0);
}

/* A score is the head's number and the style's part, in every command. */
static void test_one_place(void **state)
{
    (void)state;
    json_t *notes = json_load_file("debiased/adapter/hone.json", 0, NULL), *style = json_object_get(notes, "style");
    double w[STYLES];
    for (size_t s = 0; s < STYLES; s++)
        w[s] = json_number_value(json_object_get(style, style_names[s]));
    run_ok("rm -rf stripped && cp -r debiased stripped");
    json_object_del(notes, "style");
    json_dump_file(notes, "stripped/adapter/hone.json", 0);
    json_decref(notes);
    char *text = text_read("test.jsonl", NULL);
    json_t *with = score("debiased"), *without = score("stripped"), *data = json_lines(text);
    for (size_t i = 0; i < json_array_size(data); i++)
        for (size_t k = 0; k < 2; k++) {
            double x[STYLES], sum = 0;
            text_style(x, json_string_value(json_object_get(json_array_get(data, i), k ? "b" : "a")));
            for (size_t s = 0; s < STYLES; s++)
                sum += w[s] * x[s];
            expect_near(entry(with, i, k) - entry(without, i, k), sum, 1e-5, "style", i);
        }
    json_decref(with);
    json_decref(without);
    json_decref(data);
    free(text);
    static const char *const rewards[] = {"debiased", "stripped"};
    double mean[2][3];
    for (size_t r = 0; r < 2; r++) {
        static const char *const methods[] = {"ppo", "grpo"}, *const keys[] = {"objective/scores", "reward"};
        for (size_t k = 0; k < 2; k++) {
            run_ok("$HONE %s " MODEL
                   "--lora-r 4 --reward %s --train-data test.jsonl --per-device-train-batch-size 4 --iterations 1 "
                   "--num-generations 2 --response-length 8 --quiet --overwrite --output-dir policy",
                   methods[k], rewards[r]);
            json_t *lines = metrics_of("policy");
            mean[r][k] = metric(lines, 0, keys[k]);
            json_decref(lines);
        }
        struct ended e =
            run("$HONE generate " MODEL "--prompts test.jsonl --max-new-tokens 8 --num-generations 2 --reward %s --quiet",
                rewards[r]);
        json_t *rows = json_lines(e.out);
        mean[r][2] = json_number_value(json_object_get(json_array_get(rows, 0), "score"));
        json_decref(rows);
        ended_release(&e);
    }
    for (size_t k = 0; k < 3; k++) /* the same answers: shorter is better now */
        assert_true(mean[0][k] < mean[1][k]);
    /* an average has the mean of its members' */
    run_ok("$HONE average --reward debiased --reward stripped --tokenizer tokenizer --quiet --overwrite --output-dir average");
    notes = json_load_file("average/adapter/hone.json", 0, NULL);
    expect_near(json_number_value(json_object_get(json_object_get(notes, "style"), "length")), w[0] / 2, 1e-9, "average", 0);
    json_decref(notes);
}

static void test_laws(void **state)
{
    (void)state;
    run_ok(
        TRAIN
        "--eval-data held-out.jsonl --debias length,format --overwrite --output-dir other --threads 2 --micro-batch-tokens 20");
    expect_same_file("debiased/adapter", "other/adapter", "hone.json");
    for (size_t line = 1; line < 8; line += 3) {
        drop("other");
        run_and_kill_at_line(TRAIN "--eval-data held-out.jsonl --debias length,format --output-dir other",
                             "other/metrics.jsonl", line);
        run_ok(TRAIN "--eval-data held-out.jsonl --debias length,format --output-dir other --resume");
        expect_same_file("debiased/adapter", "other/adapter", "hone.json");
        expect_same_file("debiased/adapter", "other/adapter", "adapter_model.safetensors");
    }
    /* training goes on from the scores as they were trained, without the correction */
    run_ok("$HONE reward --model debiased --tokenizer tokenizer --train-data confounded.jsonl --quiet --max-steps 1 "
           "--overwrite --output-dir other");
    char *text = text_read("other/adapter/hone.json", NULL);
    assert_null(strstr(text, "style"));
    free(text);
}

static void test_refused(void **state)
{
    (void)state;
    expect_refused(TRAIN "--debias tone --eval-data held-out.jsonl --output-dir nowhere", "length, format, or length,format");
    expect_refused(TRAIN "--debias length --output-dir nowhere", "give --eval-data or --eval-split");
    assert_false(is_there("nowhere"));
    run_ok("rm -rf broken && cp -r debiased broken");
    static const char *const bad[] = {"{\"style\": {\"smell\": 1}}", "{\"style\": {\"length\": \"much\"}}"};
    for (size_t i = 0; i < 2; i++) {
        text_write("broken/adapter/hone.json", "%s", bad[i]);
        expect_refused("$HONE score " MODEL "--reward broken --data test.jsonl", "hone.json");
    }
    text_write("ids.jsonl", "{\"prompt_ids\": [1, 9], \"completions\": [[5, 2], [7, 2]]}\n");
    expect_refused("$HONE score --model golden/models/llama --reward debiased --data ids.jsonl", "has no tokenizer");
    /* labels that say the opposite of the scores: that is said, and nothing is taken off */
    run_ok("sed -e 's/\"label\": \"a\"/\"label\": \"x\"/; s/\"label\": \"b\"/\"label\": \"a\"/; s/\"label\": \"x\"/\"label\": "
           "\"b\"/' held-out.jsonl >turned.jsonl");
    struct ended e =
        run("$HONE reward " MODEL
            "--lora-r 4 --learning-rate 1e-2 --max-length 128 --train-data confounded.jsonl --max-steps 8 --eval-data "
            "turned.jsonl --debias length --output-dir turned");
    if (e.code || !strstr(e.err, "no style is taken off"))
        fail_msg("%s", e.err);
    ended_release(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_style),
        cmocka_unit_test(test_golden_regressions),
        cmocka_unit_test(test_excess_is_found),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_debias), cmocka_unit_test(test_normalized),
        cmocka_unit_test(test_one_place),
        cmocka_unit_test(test_laws),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, enter, sandbox_leave);
}
