/* Groups of people who disagree: what reward models say together, agreement by Krippendorff's alpha and between groups, and a run with
 * a model for each group, of two with opposite tastes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/group_votes.h"
#include "reward/aggregate.h"
#include "support/program.h"
#include "util/mem.h"
#include "util/rng.h"

#define MODEL "--model golden/models/llama --tokenizer tokenizer "
#define SETTINGS MODEL "--lora-r 4 --learning-rate 1e-2 --max-length 128 --max-steps 24 --save-steps 8 "
#define GROUPS "$HONE reward " SETTINGS "--train-data votes.jsonl --eval-data held-out.jsonl --by-group --quiet --output-dir "

/* ---- what they say together ---- */

/* Values: numpy 2.4. */
static void test_aggregates(void **state)
{
    (void)state;
    const float scores[] = {1.25f, -0.5f, 0.75f};
    static const char *const texts[] = {"2", "1", "1"}, *const bad[] = {"1", "0", "x", "-1", "nan", ""};
    struct aggregate_config cfg = {.kind = AGGREGATE_NASH, .uwo_lambda = 0.3};
    struct err err;
    expect_near((double)score_summary(scores, 3, &cfg).score, 0.15552149001315207, 1e-7, "nash", 0);
    assert_int_equal(aggregate_weights(&cfg, texts, 3, &err), 0);
    expect_near((double)score_summary(scores, 3, &cfg).score, 0.22694564231350722, 1e-7, "nash, weighted", 0);
    cfg.kind = AGGREGATE_MEAN;
    expect_near((double)score_summary(scores, 3, &cfg).score, 0.6875, 1e-7, "mean, weighted", 0);
    cfg.kind = AGGREGATE_UWO;
    expect_near((double)score_summary(scores, 3, &cfg).score, 0.533984375, 1e-7, "uwo, weighted", 0);
    cfg.kind = AGGREGATE_MIN;
    struct score_summary s = score_summary(scores, 3, &cfg);
    assert_true(s.score == -0.5f && s.mean == 0.5f);
    expect_near((double)s.std, 0.7359800721939872, 1e-7, "std", 0);
    cfg = (struct aggregate_config){.kind = AGGREGATE_NASH};
    const float nothing[] = {0, 0}, far[] = {90, -90}, fair[] = {-1, -1};
    expect_near((double)score_summary(nothing, 2, &cfg).score, 0, 1e-7, "an answer like the others", 0);
    assert_true(isfinite(score_summary(far, 2, &cfg).score) &&
                score_summary(far, 2, &cfg).score < score_summary(fair, 2, &cfg).score);
    for (size_t i = 1; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(aggregate_weights(&cfg, bad + i, 1, &err), -1);
    assert_int_equal(aggregate_weights(&cfg, texts, 2, &err), 0);
    assert_int_equal(aggregate_check(&cfg, 2, "r", &err), 0);
    assert_int_equal(aggregate_check(&cfg, 3, "r", &err), -1);
}

/* ---- agreement ---- */

/* The value: from the matrix of coincidences, vote by vote, in numpy. */
static void test_krippendorff(void **state)
{
    (void)state;
    double count[][3] = {{3, 0, 0}, {2, 1, 0}, {0, 3, 0}, {1, 0, 0}, {0, 2, 1},
                         {1, 1, 1}, {0, 4, 0}, {2, 2, 0}, {0, 0, 2}, {0, 1, 0}};
    double same[][3] = {{2, 0, 0}, {3, 0, 0}}, apart[][3] = {{1, 1, 0}, {1, 1, 0}, {1, 1, 0}},
           agreed[][3] = {{2, 0, 0}, {0, 2, 0}};
    struct interval a = stats_krippendorff(count, NULL, 10, 42);
    expect_near(a.value, 0.3829787234042553, 1e-12, "alpha", 0);
    assert_true(a.lo < a.value && a.hi > a.value && a.hi <= 1);
    assert_true(isnan(stats_krippendorff(same, NULL, 2, 42).value)); /* nothing to disagree on */
    expect_near(stats_krippendorff(agreed, NULL, 2, 42).value, 1, 1e-12, "alpha", 1);
    assert_true(stats_krippendorff(apart, NULL, 3, 42).value < 0);
}

static void test_votes(void **state)
{
    (void)state;
    struct dataset data;
    struct group_votes v;
    struct err err;
    /* the second pair is called the other way round by y */
    static const char rows[] =
        "{\"id\": \"p\", \"prompt\": \"1\", \"a\": \"s\", \"b\": \"t\", \"label\": \"a\", \"group\": \"x\"}\n"
        "{\"id\": \"q\", \"prompt\": \"1\", \"a\": \"s\", \"b\": \"t\", \"label\": \"a\", \"group\": \"y\"}\n"
        "{\"id\": \"r\", \"prompt\": \"2\", \"a\": \"s\", \"b\": \"t\", \"label\": \"a\", \"group\": \"x\"}\n"
        "{\"id\": \"s\", \"prompt\": \"2\", \"a\": \"t\", \"b\": \"s\", \"label\": \"a\", \"group\": \"y\"}\n"
        "{\"id\": \"t\", \"prompt\": \"2\", \"a\": \"s\", \"b\": \"t\", \"label\": \"tie\"}\n"
        "{\"id\": \"u\", \"prompt\": \"3\", \"a\": \"s\", \"b\": \"t\", \"label\": \"b\", \"group\": \"x\"}\n";
    assert_int_equal(dataset_parse(&data, "votes.jsonl", rows, sizeof rows - 1, NULL, &err), 0);
    const struct dataset *const list[] = {&data};
    assert_int_equal(group_votes_read(&v, list, 1, &err), 0);
    assert_true(v.n == 3 && v.n_groups == 2 && v.rows[0] == 3 && v.rows[1] == 2);
    struct group_agreement a;
    group_agreement(&a, &v, 42);
    assert_true(a.shared == 2 && a.between.value == 0.5 && a.n_conflicts == 1);
    assert_string_equal(v.list[a.conflict[0].pair].id, "r");
    expect_near(a.conflict[0].distance, 1 / 3., 1e-12, "distance", 0);
    assert_true(a.conflict[0].share[0] + a.conflict[0].share[1] == 1);
    group_votes_release(&v);
    dataset_keep_group(&data, "y");
    assert_int_equal(data.n, 2);
    assert_int_equal(group_votes_read(&v, list, 1, &err), -1);
    assert_non_null(strstr(err.text, "have 1 (field \"group\")"));
    dataset_release(&data);
}

/* ---- from outside ---- */

static const char *word(uint32_t row, uint32_t what)
{
    static const char *const words[] = {"the", "lamp", "hall", "was", "rain", "began", "window"};
    return words[rng_below(7, 31, RNG_TEST, row, what, 0, 0)];
}

/* An answer of kind 0, "lit", which the group "day" likes best and "night" least; 2, "dark", the other way round; 1, "open": both take it
 * when they cannot have what they want. */
static void answer(FILE *f, uint32_t row, uint32_t kind)
{
    static const char *const kinds[] = {"lit lit", "open open", "dark dark"};
    fprintf(f, "\"%s %s %s\"", word(row, 10 + kind), kinds[kind], word(row, 20 + kind));
}

static void write_votes(const char *path, uint32_t first, uint32_t n)
{
    FILE *f = fopen(path, "w");
    for (uint32_t i = first; i < first + n; i++) {
        uint32_t a = rng_below(3, 31, RNG_TEST, i, 0, 0, 0), b = (a + 1 + rng_below(2, 31, RNG_TEST, i, 1, 0, 0)) % 3;
        for (uint32_t night = 0; night < 2; night++) {
            fprintf(f, "{\"id\": \"v%u-%u\", \"prompt\": \"%s %u\", \"group\": \"%s\", \"annotator\": \"%u\", \"a\": ", i,
                    night, word(i, 2), i, night ? "night" : "day", night);
            answer(f, i, a);
            fputs(", \"b\": ", f);
            answer(f, i, b);
            fprintf(f, ", \"label\": \"%c\"}\n", (a < b) != night ? 'a' : 'b');
        }
    }
    fclose(f);
}

enum { TRIPLES = 60 };

static int enter(void **state)
{
    if (sandbox_enter(state))
        return -1;
    write_tokenizer("tokenizer");
    write_votes("votes.jsonl", 0, 60);
    write_votes("held-out.jsonl", 100, 60);
    FILE *f = fopen("triples.jsonl", "w");
    for (uint32_t i = 300; i < 300 + TRIPLES; i++) {
        fprintf(f, "{\"prompt\": \"%s %u\", \"completions\": [", word(i, 2), i);
        for (uint32_t kind = 0; kind < 3; kind++) {
            fputs(kind ? ", " : "", f);
            answer(f, i, kind);
        }
        fputs("], \"ranks\": [1, 2, 3]}\n", f);
    }
    fclose(f);
    run_ok("grep day votes.jsonl >day.jsonl");
    run_ok(GROUPS "groups");
    return 0;
}

static json_t *score(const char *flags)
{
    struct ended e = run("$HONE score " MODEL "--quiet --data triples.jsonl %s", flags);
    if (e.code)
        fail_msg("%s", e.err);
    json_t *rows = json_lines(e.out);
    ended_release(&e);
    return rows;
}

/* Share of the triples of which the answer of this kind scores highest. */
static double wins(const char *flags, size_t kind)
{
    json_t *rows = score(flags);
    size_t n = 0;
    for (size_t i = 0; i < TRIPLES; i++) {
        const json_t *s = json_object_get(json_array_get(rows, i), "score");
        size_t best = 0;
        for (size_t k = 1; k < 3; k++)
            best = json_number_value(json_array_get(s, k)) > json_number_value(json_array_get(s, best)) ? k : best;
        n += best == kind;
    }
    json_decref(rows);
    return (double)n / TRIPLES;
}

static double value(const json_t *o, const char *key, const char *part)
{
    return json_number_value(json_object_get(json_object_get(o, key), part));
}

/* One model for all is at chance; each group's own knows its people; and what both can live with is found by min and nash. */
static void test_opposite_tastes(void **state)
{
    (void)state;
    json_t *manifest = json_load_file("groups/manifest.json", 0, NULL), *by = json_object_get(manifest, "by_group");
    json_t *list = json_object_get(by, "groups"), *conflicts = json_object_get(by, "conflicts");
    assert_int_equal(json_array_size(list), 2);
    for (size_t k = 0; k < 2; k++) {
        const json_t *g = json_array_get(list, k);
        print_message("group %s: own %.3f, pooled %.3f, gain %.3f to %.3f\n", json_string_value(json_object_get(g, "group")),
                      value(g, "own", "value"), value(g, "pooled", "value"), value(g, "gain", "lo"), value(g, "gain", "hi"));
        assert_true(value(g, "own", "lo") > 0.8);
        assert_int_equal(json_integer_value(json_object_get(g, "votes")), 120);
        assert_int_equal(json_integer_value(json_object_get(g, "held_out")), 60);
    }
    /* whatever it says, one half of the votes is against it */
    expect_near(value(json_array_get(list, 0), "pooled", "value") + value(json_array_get(list, 1), "pooled", "value"), 1, 1e-12,
                "pooled", 0);
    assert_true(value(by, "gain", "lo") > 0.3);
    assert_true(value(by, "alpha", "hi") < 0 && value(by, "majorities_differ", "value") == 1);
    assert_int_equal(json_array_size(conflicts), 10);
    assert_int_equal(json_array_size(json_object_get(manifest, "members")), 2);
    json_decref(manifest);
    double day = wins("--reward groups/members/1", 0), night = wins("--reward groups/members/2", 2);
    double least = wins("--reward groups --aggregate min", 1), nash = wins("--reward groups --aggregate nash", 1);
    double mostly_day = wins("--reward groups --aggregate mean --aggregate-weights 5,1", 0);
    print_message("highest: lit %.2f by day, dark %.2f by night; open %.2f by min, %.2f by nash; lit %.2f by day's weight\n",
                  day, night, least, nash, mostly_day);
    assert_true(day > 0.8 && night > 0.8 && least > 0.8 && nash > 0.8 && mostly_day > 0.8);
    assert_true(is_there("groups/report.html") && is_there("groups/pooled/manifest.json"));
}

static void test_policies(void **state)
{
    (void)state;
    static const char *const methods[] = {"ppo", "grpo"}, *const aggregates[] = {"nash --aggregate-weights 2,1", "min"};
    for (size_t i = 0; i < 2; i++) {
        run_ok("$HONE %s " MODEL "--lora-r 4 --reward groups --aggregate %s --train-data triples.jsonl "
                                 "--per-device-train-batch-size 4 --iterations 2 "
               "--num-generations 2 --response-length 8 --quiet --overwrite --output-dir policy",
               methods[i], aggregates[i]);
        json_t *lines = metrics_of("policy");
        assert_true(metric(lines, 0, "objective/score_disagreement") > 0);
        json_decref(lines);
    }
    run_ok(
        "$HONE generate " MODEL
        "--prompts triples.jsonl --max-new-tokens 8 --num-generations 2 --reward groups --aggregate nash --quiet >/dev/null");
}

/* Each model is the run that its own settings give. */
static void test_a_group_alone(void **state)
{
    (void)state;
    run_ok("$HONE reward --config groups/members/2/config.yaml --output-dir alone");
    expect_same_file("groups/members/2/adapter", "alone/adapter", "adapter_model.safetensors");
    expect_same_file("groups/members/2/adapter", "alone/adapter", "hone.json");
    run_ok("$HONE reward --config groups/pooled/config.yaml --overwrite --output-dir alone");
    expect_same_file("groups/pooled/adapter", "alone/adapter", "adapter_model.safetensors");
}

static void expect_same_groups(const char *a, const char *b)
{
    static const char *const names[] = {"metrics.jsonl",
                                        "hone.json",
                                        "pooled/metrics.jsonl",
                                        "members/1/metrics.jsonl",
                                        "members/2/metrics.jsonl",
                                        "members/1/adapter/adapter_model.safetensors",
                                        "members/2/adapter/adapter_model.safetensors",
                                        "members/2/adapter/hone.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        expect_same_file(a, b, names[i]);
}

static void test_killed_and_resumed(void **state)
{
    (void)state;
    static const char *const files[] = {"out/pooled/metrics.jsonl", "out/members/1/metrics.jsonl",
                                        "out/members/2/metrics.jsonl"};
    size_t killed = 0;
    for (size_t i = 0; i < 3; i++) {
        drop("out");
        killed += run_and_kill_at_line(GROUPS "out", files[i], 3 + 7 * i);
        run_ok(GROUPS "out --resume --threads %zu", 1 + i % 2);
        expect_same_groups("groups", "out");
    }
    assert_true(killed > 0);
    run_ok(GROUPS "out --overwrite --micro-batch-tokens 20");
    expect_same_groups("groups", "out");
    run_ok(GROUPS "out --resume");
    expect_same_groups("groups", "out");
}

/* Held-out rows that are split off: the same ones for all members of an ensemble, whatever their seeds, and for all groups. */
static void test_split(void **state)
{
    (void)state;
    run_ok("$HONE reward " SETTINGS
           "--train-data day.jsonl --eval-split 0.3 --ensemble 3 --quiet --overwrite --output-dir split");
    long long held_out[3];
    for (size_t k = 0; k < 3; k++) {
        char *path = xasprintf("split/members/%zu/manifest.json", k + 1);
        json_t *manifest = json_load_file(path, 0, NULL);
        held_out[k] =
            json_integer_value(json_object_get(json_object_get(json_object_get(manifest, "quality"), "before"), "comparisons"));
        json_decref(manifest);
        free(path);
    }
    assert_true(held_out[0] > 0 && held_out[0] == held_out[1] && held_out[0] == held_out[2]);
    run_ok("$HONE reward --config split/members/3/config.yaml --overwrite --output-dir alone");
    expect_same_file("split/members/3/adapter", "alone/adapter", "hone.json");
    run_ok("$HONE reward " SETTINGS
           "--train-data votes.jsonl --eval-split 0.3 --by-group --quiet --overwrite --output-dir split");
    json_t *manifest = json_load_file("split/manifest.json", 0, NULL),
           *list = json_object_get(json_object_get(manifest, "by_group"), "groups");
    assert_true(value(json_array_get(list, 1), "own", "value") > 0.8);
    json_decref(manifest);
    run_ok("$HONE reward " SETTINGS "--train-data votes.jsonl --by-group --quiet --overwrite --output-dir split"); /* nothing held out */
    manifest = json_load_file("split/manifest.json", 0, NULL);
    list = json_object_get(json_object_get(manifest, "by_group"), "groups");
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "held_out")), 0);
    assert_null(json_object_get(manifest, "quality"));
    json_decref(manifest);
}

static void test_refused(void **state)
{
    (void)state;
    expect_refused(GROUPS "nowhere --ensemble 2", "does not go together with --ensemble");
    expect_refused(GROUPS "nowhere --group day", "does not go together with --group");
    expect_refused("$HONE reward " SETTINGS "--train-data votes.jsonl --group noon --output-dir nowhere",
                   "no rows of the group 'noon'");
    expect_refused("$HONE reward " SETTINGS "--train-data triples.jsonl --by-group --output-dir nowhere",
                   "pairs of completions, with --by-group");
    expect_refused("$HONE reward " SETTINGS "--train-data day.jsonl --by-group --output-dir nowhere", "its rows have 1 (field");
    expect_refused("$HONE reward " SETTINGS "--train-data day.jsonl --eval-data votes.jsonl --by-group --output-dir nowhere",
                   "its rows have 1 (field");
    run_ok("cp held-out.jsonl noon.jsonl && sed -n '1s/day/noon/p' held-out.jsonl >>noon.jsonl");
    expect_refused("$HONE reward " SETTINGS "--train-data votes.jsonl --eval-data noon.jsonl --by-group --output-dir nowhere",
                   "the group 'noon', which");
    assert_false(is_there("nowhere"));
    expect_refused(GROUPS "groups", "holds a run already");
    expect_refused("$HONE score " MODEL "--reward groups --aggregate-weights 1,2,3 --data triples.jsonl",
                   "3 aggregate_weights for the 2 reward models");
    expect_refused("$HONE score " MODEL "--reward groups --aggregate-weights 1,0 --data triples.jsonl", "no number above 0");
    expect_refused("$HONE grpo " MODEL "--reward groups --aggregate-weights 1 --train-data triples.jsonl --output-dir nowhere",
                   "1 aggregate_weights for the 2");
    expect_refused("$HONE generate --model groups --prompts triples.jsonl", "is an ensemble of reward models");
    assert_false(is_there("nowhere"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aggregates),    cmocka_unit_test(test_krippendorff),  cmocka_unit_test(test_votes),
        cmocka_unit_test(test_opposite_tastes), cmocka_unit_test(test_policies),    cmocka_unit_test(test_a_group_alone),
        cmocka_unit_test(test_killed_and_resumed), cmocka_unit_test(test_split),    cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, enter, sandbox_leave);
}
