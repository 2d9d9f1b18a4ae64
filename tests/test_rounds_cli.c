/* `hone iterate` and `hone irl` from outside, on the tiny model: who labels, people's queue, what is refused, when it stops, and the same
 * bytes after a kill. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/program.h"
#include "util/file.h"
#include "util/mem.h"

static const char *const questions[] = {"Is it open",  "Do you ship", "Can I return it",
                                        "Who are you", "Where is it", "What is moss"};

#define SHARED "--model base --response-length 8 --prompts-per-round 6 --quiet --reward-config reward.yaml "
#define ITERATE "$HONE iterate " SHARED "--prompts prompts.jsonl --eval-prompts held-out.jsonl --method-config ppo.yaml "
#define IRL                                                                                                                    \
    "$HONE irl " SHARED "--train-data demonstrations.jsonl --eval-data demonstrations-held-out.jsonl --method-config "         \
                        "ppo.yaml "
/* a labeller who likes the letter e: its labels hardly ever are ties */
#define BY_REWARD "--labels reward --label-reward rule:regex:e "

static void write_rows(const char *path, int n, const char *fmt)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < n; i++) {
        char *row = xstrdup(fmt);
        for (char *at = row; *at; at++) {
            if (*at == '#')
                fprintf(f, "%d", i);
            else if (*at == '?')
                fprintf(f, "%s %d?", questions[i % 6], i);
            else
                fputc(*at, f);
        }
        fputc('\n', f);
        free(row);
    }
    fclose(f);
}

static int enter(void **state)
{
    if (sandbox_enter(state))
        return -1;
    run_ok("mkdir base && cp golden/models/llama/config.json golden/models/llama/model.safetensors base");
    write_tokenizer("base");
    write_rows("prompts.jsonl", 12, "{\"id\": \"p#\", \"prompt\": \"?\"}");
    write_rows("held-out.jsonl", 8, "{\"id\": \"h#\", \"prompt\": \"So, ?\"}");
    write_rows("first.jsonl", 8,
               "{\"id\": \"c#\", \"prompt\": \"?\", \"chosen\": \"Yes, call #.\", \"rejected\": \"Well, moss #.\"}");
    write_rows("demonstrations.jsonl", 12, "{\"id\": \"d#\", \"prompt\": \"?\", \"completion\": \"Yes, call us on day #.\"}");
    write_rows("demonstrations-held-out.jsonl", 8,
               "{\"id\": \"e#\", \"prompt\": \"So, ?\", \"completion\": \"Yes, call us on day #.\"}");
    text_write("reward.yaml", "max_steps: 3\nper_device_train_batch_size: 4\nlora_r: 4\nlearning_rate: 1e-2\nsave_steps: 1\n");
    text_write("dpo.yaml", "max_steps: 3\nper_device_train_batch_size: 4\nlora_r: 4\nlearning_rate: 1e-2\nsave_steps: 1\n");
    text_write("ppo.yaml", "iterations: 2\nnum_ppo_epochs: 1\nresponse_length: 8\nper_device_train_batch_size: 4\nlora_r: 4\n"
                           "learning_rate: 1e-2\nsave_steps: 1\n");
    text_write("grpo.yaml",
               "iterations: 2\nnum_generations: 2\nmax_completion_length: 8\nper_device_train_batch_size: 4\nlora_r: 4\n"
               "learning_rate: 1e-2\nsave_steps: 1\nbeta: 0.1\n");
    return 0;
}

static json_t *load(const char *path)
{
    json_error_t why;
    json_t *o = json_load_file(path, 0, &why);
    if (!o)
        fail_msg("'%s': %s", path, why.text);
    return o;
}

/* What stands at a path of names in a JSON file: {"a", "b", NULL}. */
static double number_in(const char *path, const char *a, const char *b, const char *c, const char *d)
{
    json_t *o = load(path), *v = json_object_get(o, a);
    v = b ? json_object_get(v, b) : v;
    v = c ? json_object_get(v, c) : v;
    v = d ? json_object_get(v, d) : v;
    if (!json_is_number(v))
        fail_msg("'%s' has no number at %s %s %s %s", path, a, b ? b : "", c ? c : "", d ? d : "");
    double x = json_number_value(v);
    json_decref(o);
    return x;
}

static void expect_word(const char *path, const char *a, const char *b, const char *want)
{
    json_t *o = load(path), *v = json_object_get(json_object_get(o, a), b);
    if (!json_is_string(v) || strcmp(json_string_value(v), want))
        fail_msg("'%s': %s.%s is '%s' instead of '%s'", path, a, b, json_is_string(v) ? json_string_value(v) : "nothing", want);
    json_decref(o);
}

static void expect_refusal(const char *sentence, const char *line)
{
    struct ended e = run("%s", line);
    if (e.code == 0 || !strstr(e.err, sentence))
        fail_msg("'%s' ended with %d: %s", line, e.code, e.err);
    ended_release(&e);
}

/* ---- one whole run, and what stands in it ---- */

#define WHOLE                                                                                                                  \
    ITERATE "--train-data first.jsonl " BY_REWARD "--gold rule:regex:r --pairs uncertain --ensemble 2 --num-generations 4 "    \
            "--pairs-per-round 5 --rounds 2 --least-gain -100 --output-dir "

static void test_whole(void **state)
{
    (void)state;
    run_ok(WHOLE "whole");
    json_t *sent = json_lines_of("whole/round-1/to-label.jsonl"), *back = json_lines_of("whole/round-1/labels.jsonl");
    json_t *second = json_lines_of("whole/round-2/to-label.jsonl"), *all = json_lines_of("whole/round-2/comparisons.jsonl");
    assert_int_equal(json_array_size(sent), 5);
    assert_int_equal(json_array_size(back), 5);
    assert_int_equal(json_array_size(all), 8 + 5 + json_array_size(second)); /* the first ones, and all labels so far */
    for (size_t i = 0; i < json_array_size(sent); i++) {
        const json_t *row = json_array_get(sent, i);
        assert_true(json_object_get(row, "prompt") && json_object_get(row, "a") && json_object_get(row, "b") &&
                    !json_object_get(row, "label"));
        for (size_t k = 0; k < json_array_size(second);
             k++) /* other prompts in the second round: 12 are there, a round takes 6 */
            assert_false(json_equal(json_object_get(row, "prompt"), json_object_get(json_array_get(second, k), "prompt")));
    }
    json_decref(sent);
    json_decref(back);
    json_decref(second);
    json_decref(all);
    /* the labels are those of the figures; the start is where it was */
    assert_true(number_in("whole/round-1/figures.json", "labels", "rows", NULL, NULL) == 5);
    assert_true(number_in("whole/round-2/figures.json", "policies", "start", "kl", "value") == 0);
    assert_true(number_in("whole/round-2/figures.json", "policies", "last", "kl", "value") ==
                number_in("whole/round-1/figures.json", "policies", "new", "kl", "value"));
    assert_true(number_in("whole/round-2/figures.json", "policies", "new", "kl", "value") > 0);
    double gain = number_in("whole/round-1/figures.json", "policies", "new", "gold", "value") -
                  number_in("whole/round-1/figures.json", "policies", "start", "gold", "value");
    expect_near(number_in("whole/round-1/figures.json", "gold", "over_last", "difference", "value"), gain, 1e-12, "gain", 0);
    assert_true(is_there("whole/round-1/reward/members/2/manifest.json") && is_there("whole/report.html"));
    expect_word("whole/lineage.json", "stopped", "rule", "rounds");
    /* the lineage knows every stage, and the hash of what it left */
    json_t *o = load("whole/lineage.json"), *stages = json_object_get(o, "stages");
    assert_int_equal(json_object_size(stages), 1 + 2 * 6);
    const char *name;
    json_t *stage;
    json_object_foreach(stages, name, stage) {
        char hash[65], *path = xasprintf("whole/%s", json_string_value(json_object_get(stage, "product")));
        if (!file_is_dir(path)) {
            assert_int_equal(file_sha256(hash, path, NULL), 0);
            assert_string_equal(hash, json_string_value(json_object_get(stage, "sha256")));
        }
        free(path);
    }
    json_decref(o);
}

/* The reward model's accuracy on the newest labels is measured before it has learned from them. */
static void test_foreseen_before(void **state)
{
    (void)state;
    run_ok(
        "$HONE score --model base --reward whole/round-0/reward --data whole/round-1/judgements.jsonl --quiet >scores.jsonl");
    json_t *scores = json_lines_of("scores.jsonl"), *rows = json_lines_of("whole/round-1/judgements.jsonl");
    double right = 0, brier = 0, n = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const char *label = json_string_value(json_object_get(json_array_get(rows, i), "label"));
        const json_t *s = json_object_get(json_array_get(scores, i), "score");
        double lead = json_number_value(json_array_get(s, 0)) - json_number_value(json_array_get(s, 1));
        if (!strcmp(label, "tie"))
            continue;
        double p = json_number_value(json_object_get(json_array_get(scores, i), "p_a")), won = (lead > 0) == !strcmp(label, "a");
        right += lead == 0 ? 0.5 : won;
        p = p > 0.5 ? p : 1 - p; /* that the one with the higher score is the better one */
        brier += (p - won) * (p - won);
        n++;
    }
    expect_near(number_in("whole/round-1/figures.json", "agreement", "accuracy", "value", NULL), right / n, 1e-12, "agreement",
                0);
    expect_near(number_in("whole/round-1/figures.json", "agreement", "brier", "value", NULL), brier / n, 1e-6, "brier", 0);
    assert_true(number_in("whole/round-1/figures.json", "agreement", "decided", NULL, NULL) == n);
    json_decref(scores);
    json_decref(rows);
}

/* A second call does nothing, a change makes anew what depends on it and nothing else. */
static void test_again(void **state)
{
    (void)state;
    char *before = folder_listing("whole");
    run_ok(WHOLE "whole --resume");
    char *after = folder_listing("whole");
    assert_string_equal(after, before);
    free(after);
    free(before);
    run_ok("cp -r whole changed && cp ppo.yaml kept.yaml && printf 'kl_coef: 0.3\n' >>ppo.yaml");
    run_ok(WHOLE "changed --resume");
    expect_same_file("whole", "changed", "round-1/to-label.jsonl");
    expect_same_file("whole", "changed", "round-1/reward/members/2/adapter/adapter_model.safetensors");
    json_t *a = load("whole/lineage.json"), *b = load("changed/lineage.json");
    static const char *const stages[] = {"round-1/reward", "round-1/policy", "round-2/collect"};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(json_equal(json_object_get(json_object_get(a, "stages"), stages[i]),
                                    json_object_get(json_object_get(b, "stages"), stages[i])),
                         i == 0);
    json_decref(a);
    json_decref(b);
    run_ok("mv kept.yaml ppo.yaml");
    drop("changed");
}

static void test_killed(void **state)
{
    (void)state;
    static const char *const places[] = {"round-0/reward/members/2/metrics.jsonl", "round-1/to-label.jsonl",
                                         "round-1/policy/metrics.jsonl",           "round-1/figures.json",
                                         "round-2/reward/members/1/metrics.jsonl", "round-2/policy/metrics.jsonl"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char *path = xasprintf("killed/%s", places[i]);
        run_and_kill_at_line(WHOLE "killed --resume", path, 1);
        run_ok("sleep 0.1");
        free(path);
    }
    run_ok(WHOLE "killed --resume --threads 2");
    static const char *const same[] = {"lineage.json",
                                       "round-2/comparisons.jsonl",
                                       "round-2/figures.json",
                                       "round-2/policy/metrics.jsonl",
                                       "round-2/policy/adapter/adapter_model.safetensors",
                                       "config.yaml"};
    for (size_t i = 0; i + 1 < sizeof same / sizeof *same; i++) /* the last names folder and threads */
        expect_same_file("whole", "killed", same[i]);
    drop("killed");
}

/* Killed before each kind of change that the parent itself makes: its record, its lineage, the link. */
static void test_killed_at_calls(void **state)
{
    (void)state;
#define SHORT ITERATE BY_REWARD "--method dpo --method-config dpo.yaml --rounds 1 --output-dir "
    run_ok(SHORT "short");
    for (size_t n = 2; n < 60; n += 7) {
        drop("cut");
        int killed = run_and_kill_at_call(SHORT "cut", n);
        if (killed < 0)
            skip();
        if (!killed)
            break;
        run_ok(SHORT "cut --resume");
        expect_same_file("short", "cut", "lineage.json");
        expect_same_file("short/best", "cut/best", "adapter/adapter_model.safetensors");
        char *left = folder_listing("cut");
        if (strstr(left, ".tmp-") || strstr(left, ".old-"))
            fail_msg("killed at call %zu: something was left behind: %s", n, left);
        free(left);
    }
#undef SHORT
}

/* ---- who labels ---- */

static void fill_in(const char *folder, size_t leave_out, const char *annotator)
{
    char *from = xasprintf("%s/to-label.jsonl", folder), *to = xasprintf("%s/labels.jsonl", folder);
    json_t *rows = json_lines_of(from);
    FILE *f = fopen(to, "a");
    for (size_t i = leave_out; i < json_array_size(rows); i++)
        fprintf(f, "{\"id\": \"%s\", \"label\": \"%s\", \"annotator\": \"%s\"}\n",
                json_string_value(json_object_get(json_array_get(rows, i), "id")), i % 2 ? "a" : "b", annotator);
    fclose(f);
    json_decref(rows);
    free(from);
    free(to);
}

#define PEOPLE ITERATE "--labels people --rounds 2 --output-dir people "

static void test_people(void **state)
{
    (void)state;
    struct ended e = run(PEOPLE);
    if (e.code || !strstr(e.err, "round 1 waits for people") || !strstr(e.err, "'people/round-1/to-label.jsonl'") ||
        !strstr(e.err, "'people/round-1/labels.jsonl'") || !strstr(e.err, "--resume"))
        fail_msg("ended with %d: %s", e.code, e.err);
    ended_release(&e);
    assert_false(is_there("people/round-1/reward") || is_there("people/best"));
    json_t *o = load("people/lineage.json");
    assert_string_equal(json_string_value(json_object_get(o, "waits_for")), "round-1/labels.jsonl");
    json_decref(o);
    expect_refusal("give --resume to go on", PEOPLE);
    run_ok(PEOPLE "--resume"); /* it still waits, and has touched nothing */
    /* labels of other pairs are refused, and nothing is learned from them */
    text_write("people/round-1/labels.jsonl", "{\"id\": \"1/p0/0-1-00000000\", \"label\": \"a\"}\n");
    expect_refusal("no pair has the id", PEOPLE "--resume");
    assert_false(is_there("people/round-1/reward"));
    run_ok("rm people/round-1/labels.jsonl");
    /* nor are those of other answers to the same prompts: they were labelled, and then other ones were collected */
    fill_in("people/round-1", 0, "ines");
    expect_refusal("no pair has the id", PEOPLE "--resume --seed 7");
    assert_false(is_there("people/round-1/reward"));
    run_ok("rm people/round-1/labels.jsonl");
    run_ok(PEOPLE "--resume");
    fill_in("people/round-1", 2, "ines");
    fill_in("people/round-1", 4, "omar");
    e = run(PEOPLE "--resume");
    if (e.code || !strstr(e.err, "2 of 6 pairs have no label (1/") || !strstr(e.err, "round 2 waits for people"))
        fail_msg("ended with %d: %s", e.code, e.err);
    ended_release(&e);
    assert_true(number_in("people/round-1/figures.json", "labels", "rows", NULL, NULL) == 6);
    assert_true(number_in("people/round-1/figures.json", "labels", "pairs", NULL, NULL) == 4);
    assert_true(number_in("people/round-1/figures.json", "labels", "annotators", NULL, NULL) == 2);
    fill_in("people/round-2", 0, "ines");
    run_ok(PEOPLE "--resume");
    expect_word("people/lineage.json", "stopped", "rule", "rounds");
    json_t *all = json_lines_of("people/round-2/comparisons.jsonl"), *second = json_lines_of("people/round-2/labels.jsonl");
    assert_int_equal(json_array_size(all), 6 + json_array_size(second));
    json_decref(second);
    json_decref(all);
    /* labels that change later: what they taught is made anew */
    run_ok("cp people/round-2/policy/adapter/adapter_model.safetensors before.safetensors");
    run_ok("sed -i 's/\"label\": \"a\"/\"label\": \"b\"/' people/round-2/labels.jsonl");
    run_ok(PEOPLE "--resume");
    struct ended same = run("cmp -s before.safetensors people/round-2/policy/adapter/adapter_model.safetensors");
    assert_int_equal(same.code, 1);
    ended_release(&same);
}

/* By a reward: a sampled label falls as the difference says, argmax always so. */
static void test_by_reward(void **state)
{
    (void)state;
    run_ok(
        ITERATE BY_REWARD
        "--label-choice argmax --pairs all --num-generations 4 --prompts-per-round 0 --rounds 1 --method dpo --method-config "
        "dpo.yaml --output-dir argmax");
    json_t *rows = json_lines_of("argmax/round-1/judgements.jsonl");
    size_t decided = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        bool a = strchr(json_string_value(json_object_get(row, "a")), 'e'),
             b = strchr(json_string_value(json_object_get(row, "b")), 'e');
        assert_string_equal(json_string_value(json_object_get(row, "label")), a == b ? "tie" : a ? "a" : "b");
        decided += a != b;
    }
    assert_in_range(decided, 4, json_array_size(rows) - 1);
    json_decref(rows);
    assert_false(is_there("argmax/round-1/reward")); /* dpo learns from the judgements themselves */
    assert_true(is_there("argmax/best/manifest.json"));
    run_ok("$HONE generate --model argmax/best --prompts held-out.jsonl --max-new-tokens 2 --quiet >/dev/null");
}

static void test_by_program(void **state)
{
    (void)state;
    text_write("label.sh",
               "#!/bin/sh\nsed 's/^{\"id\": \\(\"[^\"]*\"\\).*/{\"id\": \\1, \"label\": \"a\", \"annotator\": \"sed\"}/'\n");
    text_write("bad.sh", "#!/bin/sh\nsed 's/^{\"id\": \\(\"[^\"]*\"\\).*/{\"id\": \\1, \"label\": \"the first\"}/'\n");
    run_ok("chmod +x label.sh bad.sh");
    run_ok(ITERATE "--labels program --label-program ./label.sh --rounds 1 --output-dir program");
    json_t *rows = json_lines_of("program/round-1/judgements.jsonl");
    assert_int_equal(json_array_size(rows), 6);
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 5), "annotator")), "sed");
    json_decref(rows);
    expect_refusal("must be \"a\", \"b\" or \"tie\"",
                   ITERATE "--labels program --label-program ./bad.sh --rounds 1 --output-dir bad");
    expect_refusal("there is no such program",
                   ITERATE "--labels program --label-program ./nowhere.sh --rounds 1 --output-dir none");
}

static void test_by_judge(void **state)
{
    (void)state;
    write_long_model("judge");
    run_ok(ITERATE "--labels judge --judge judge --rounds 1 --output-dir judged");
    json_t *rows = json_lines_of("judged/round-1/judgements.jsonl");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        double p = json_number_value(json_object_get(json_array_get(rows, i), "p_a"));
        assert_true(p > 0 && p < 1);
    }
    json_decref(rows);
    assert_true(number_in("judged/round-1/figures.json", "judge", "pairs", NULL, NULL) == 6);
}

/* ---- how the policy learns ---- */

static void test_methods(void **state)
{
    static const char *const methods[][2] = {{"grpo", "grpo"}, {"rloo", "grpo"}, {"best-of-n", "dpo"}, {"dpo", "dpo"}};
    (void)state;
    run_ok("sed '/beta/d' grpo.yaml >rloo.yaml");
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        drop("method");
        run_ok(ITERATE BY_REWARD "--rounds 2 --method %s --method-config %s.yaml --output-dir method", methods[i][0],
               !strcmp(methods[i][0], "rloo") ? "rloo" : methods[i][1]);
        assert_true(number_in("method/round-2/figures.json", "policies", "new", "kl", "value") > 0);
        assert_int_equal(is_there("method/round-1/best.jsonl"), !strcmp(methods[i][0], "best-of-n"));
    }
    /* whole models in the place of adapters, and demonstrations by the pairs themselves (SPIN) */
    drop("method");
    run_ok("{ sed '/lora_r/d' dpo.yaml; echo 'full: true'; } >full.yaml");
    run_ok(IRL "--method dpo --method-config full.yaml --reference last --rounds 2 --output-dir method");
    assert_true(is_there("method/best/model/model.safetensors") && !is_there("method/round-1/reward"));
    drop("method");
    run_ok("{ sed '/lora_r/d' ppo.yaml; echo 'full: true'; } >full-ppo.yaml");
    run_ok(ITERATE BY_REWARD "--method-config full-ppo.yaml --rounds 2 --output-dir method");
    assert_true(number_in("method/round-2/figures.json", "policies", "new", "kl", "value") > 0);
    /* a rule beside the reward model, with a weight for each */
    drop("method");
    run_ok("{ cat ppo.yaml; echo 'reward_weights: [1, 0.5]'; } >weighted.yaml");
    run_ok(ITERATE BY_REWARD "--method-config weighted.yaml --add-reward rule:length:limit=4 --rounds 1 --output-dir method");
    json_t *o = load("method/round-1/policy/manifest.json"), *rule = json_array_get(json_object_get(o, "reward"), 1);
    assert_string_equal(json_string_value(json_object_get(rule, "reward")), "rule:length:limit=4");
    assert_true(json_number_value(json_object_get(rule, "weight")) == 0.5);
    json_decref(o);
}

/* The reference is the start's policy, not the one before: its manifest says so, and with another one the run is another. */
static void test_reference(void **state)
{
    (void)state;
    static const char *const variants[] = {"", "--reference last ", "--restart ", "--restart --reference last "};
    /* of round 2: starts from, and a reference of its own */
    static const bool from_last[] = {true, true, false, false}, has_reference[] = {true, false, false, true};
    for (size_t i = 0; i < 4; i++) {
        drop("variant");
        run_ok(ITERATE BY_REWARD "--rounds 2 --output-dir variant %s", variants[i]);
        json_t *o = load("variant/round-2/policy/manifest.json");
        assert_int_equal(json_object_get(o, "adapter") != NULL, from_last[i]);
        assert_int_equal(json_object_get(o, "ref_model") != NULL, has_reference[i]);
        json_decref(o);
        if (i == 0) { /* PPO's first answers are those of the policy before, already at its distance from the start */
            json_t *lines = metrics_of("variant/round-2/policy");
            assert_true(metric(lines, 0, "objective/kl") != 0);
            json_decref(lines);
            lines = metrics_of("variant/round-1/policy");
            assert_true(metric(lines, 0, "objective/kl") == 0);
            json_decref(lines);
        }
    }
    /* DPO's rewards are counted from the reference that is named: from another policy than one's own they do not begin at 0 */
    run_ok("$HONE dpo --model variant/round-1/policy --ref-model base --train-data first.jsonl --max-steps 1 --quiet "
           "--output-dir from-base");
    run_ok("$HONE dpo --model variant/round-1/policy --train-data first.jsonl --max-steps 1 --quiet --output-dir from-itself");
    json_t *base = metrics_of("from-base"), *itself = metrics_of("from-itself");
    assert_true(metric(itself, 0, "rewards/chosen") == 0 && metric(base, 0, "rewards/chosen") != 0);
    json_decref(base);
    json_decref(itself);
}

/* ---- when it stops ---- */

static void test_stops(void **state)
{
    (void)state;
    run_ok(ITERATE BY_REWARD "--gold rule:regex:r --least-gain 5 --rounds 3 --output-dir gold");
    expect_word("gold/lineage.json", "stopped", "rule", "gold");
    assert_false(is_there("gold/round-2"));
    /* the first comparisons are not foreseen by anything; any share is enough in round 1, where there is one */
    run_ok(ITERATE "--train-data first.jsonl " BY_REWARD
                   "--label-choice argmax --enough-agreement 0.01 --prompts-per-round 0 --num-generations 4 "
                   "--rounds 3 --output-dir enough");
    json_t *o = load("enough/lineage.json");
    size_t rounds = json_array_size(json_object_get(o, "rounds"));
    assert_string_equal(json_string_value(json_object_get(json_object_get(o, "stopped"), "rule")), "agreement");
    json_decref(o);
    char *last = xasprintf("enough/round-%zu/figures.json", rounds);
    assert_true(number_in(last, "agreement", "accuracy", "lo", NULL) >= 0.01);
    free(last);
    /* a monitor that trips: the policy to go on from is the last good one */
    run_ok("{ cat grpo.yaml; printf 'iterations: 12\\nmonitor: stop\\nmonitor_warmup: 1\\nmonitor_patience: "
           "1\\ndistinct_ratio: 0.999\\n"
           "entropy_ratio: 0.999\\n'; } | sed '0,/iterations: 2/{/iterations: 2/d}' >watched.yaml");
    run_ok(ITERATE BY_REWARD "--method grpo --method-config watched.yaml --rounds 3 --output-dir watched");
    expect_word("watched/lineage.json", "stopped", "rule", "monitor");
    o = load("watched/lineage.json");
    const json_t *first = json_array_get(json_object_get(o, "rounds"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "policy")), "round-1/policy/safe");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "best"), "round")), 0);
    json_decref(o);
    assert_false(is_there("watched/best"));
}

/* ---- demonstrations ---- */

static void test_irl(void **state)
{
    (void)state;
    run_ok(IRL "--gold rule:regex:e --rounds 2 --output-dir irl");
    json_t *rows = json_lines_of("irl/round-1/judgements.jsonl"), *newest = json_lines_of("irl/round-2/comparisons.jsonl"),
           *own = json_lines_of("irl/round-2/judgements.jsonl");
    size_t first = 0;
    assert_true(json_array_size(rows) > 6 && json_equal(newest, own)); /* only the newest answers are told apart */
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const char *label = json_string_value(json_object_get(row, "label"));
        assert_true(!strncmp(json_string_value(json_object_get(row, label)), "Yes, call us", 12)); /* the demonstration wins */
        first += !strcmp(label, "a");
    }
    assert_in_range(first, 1, json_array_size(rows) - 1); /* and stands on either side */
    json_decref(rows);
    json_decref(newest);
    json_decref(own);
    double before = number_in("irl/round-1/figures.json", "logps", "start", "value", NULL);
    double after = number_in("irl/round-1/figures.json", "logps", "new", "value", NULL);
    expect_near(number_in("irl/round-1/figures.json", "logps", "over_start", "value", NULL), after - before, 1e-12, "logps", 0);
    assert_true(number_in("irl/round-1/figures.json", "told_apart", "value", NULL, NULL) >= 0);
    assert_true(number_in("irl/round-1/figures.json", "told_apart_by_length", "value", NULL, NULL) >= 0);
    /* the same log-probs as hone logprobs counts */
    run_ok("$HONE logprobs --model base --ids demonstrations-held-out.jsonl --quiet >logprobs.jsonl");
    json_t *lines = json_lines_of("logprobs.jsonl");
    double sum = 0;
    for (size_t i = 0; i < json_array_size(lines); i++)
        sum -= metric(lines, i, "nll");
    expect_near(before, sum / (double)json_array_size(lines), 1e-6, "start", 0);
    json_decref(lines);
    /* of several answers only the nearest in length: one pair a demonstration */
    run_ok(IRL "--balance-length --num-generations 6 --rounds 1 --output-dir balanced");
    rows = json_lines_of("balanced/round-1/judgements.jsonl");
    assert_in_range(json_array_size(rows), 1, 6);
    json_decref(rows);
    assert_true(number_in("balanced/round-1/figures.json", "lengths", "worse_words", "value", NULL) >
                number_in("irl/round-1/figures.json", "lengths", "worse_words", "value", NULL));
    run_and_kill_at_line(IRL "--gold rule:regex:e --rounds 2 --output-dir irl-killed",
                         "irl-killed/round-2/policy/metrics.jsonl", 1);
    run_ok("sleep 0.1");
    run_ok(IRL "--gold rule:regex:e --rounds 2 --output-dir irl-killed --resume");
    expect_same_file("irl", "irl-killed", "lineage.json");
}

/* A policy that already answers as the demonstrations do cannot be told from them: SFT on one answer, over and over. */
static void test_irl_told_apart(void **state)
{
    (void)state;
    run_ok("$HONE irl --model base --response-length 8 --quiet --reward-config reward.yaml --method-config ppo.yaml "
           "--train-data echo.jsonl --eval-data echo-held-out.jsonl --rounds 3 --output-dir told --check");
    /* demonstrations that the policy itself gave, at the same temperature */
    run_ok("$HONE generate --model base --prompts prompts.jsonl --max-new-tokens 8 --seed 7 --reward rule:length:target=8 "
           "--select all --quiet >echo.jsonl && $HONE generate --model base --prompts held-out.jsonl --max-new-tokens 8 --seed 7 --reward "
           "rule:length:target=8 --select all --quiet >echo-held-out.jsonl");
    run_ok("$HONE irl --model base --response-length 8 --quiet --reward-config reward.yaml --method-config ppo.yaml "
           "--train-data echo.jsonl --eval-data echo-held-out.jsonl --rounds 3 --output-dir told");
    expect_word("told/lineage.json", "stopped", "rule", "told_apart");
}

/* ---- what is refused, before anything is begun ---- */

static void test_refuses(void **state)
{
    static const char *const cases[][2] = {
        {"belong together", ITERATE "--labels reward --output-dir no"},
        {"belong together", ITERATE "--label-reward rule:regex:e --output-dir no"},
        {"asks a reward model", ITERATE BY_REWARD "--method dpo --pairs extreme --method-config dpo.yaml --output-dir no"},
        {"'nowhere.jsonl'",
         "$HONE iterate " SHARED "--prompts nowhere.jsonl --eval-prompts held-out.jsonl " BY_REWARD "--output-dir no"},
        {"--train-data takes pairs", ITERATE "--train-data demonstrations.jsonl " BY_REWARD "--output-dir no"},
        {"there is no option 'max_stebs'", ITERATE "--method-config wrong.yaml " BY_REWARD "--output-dir no"},
        {"there is no option 'iterations'", ITERATE "--reward-config ppo.yaml " BY_REWARD "--output-dir no"},
        {"'nowhere' is not there", ITERATE "--gold nowhere " BY_REWARD "--output-dir no"},
        {"which pairs do not have", ITERATE "--labels reward --label-reward rule:answer --output-dir no"},
        {"--train-data takes demonstrations",
         "$HONE irl " SHARED "--train-data first.jsonl --eval-data first.jsonl --output-dir no"},
        {"is of rewards", IRL "--method dpo --method-config dpo.yaml --add-reward rule:length:limit=3 --output-dir no"},
        {"--add-reward", ITERATE BY_REWARD "--add-reward rule:lenght:limit=3 --output-dir no"},
        {"raise --num-generations", IRL "--balance-length --num-generations 1 --output-dir no"},
        {"more than the",
         "$HONE iterate --model base --response-length 5000 --prompts prompts.jsonl --eval-prompts held-out.jsonl " BY_REWARD
         "--output-dir no"},
    };
    (void)state;
    text_write("wrong.yaml", "max_stebs: 3\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_refusal(cases[i][0], cases[i][1]);
        assert_false(is_there("no/stages.json") || is_there("no/round-1"));
        drop("no");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),          cmocka_unit_test(test_foreseen_before), cmocka_unit_test(test_again),
        cmocka_unit_test(test_killed), cmocka_unit_test(test_killed_at_calls),         cmocka_unit_test(test_people),          cmocka_unit_test(test_by_reward),
        cmocka_unit_test(test_by_program),     cmocka_unit_test(test_by_judge),        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_reference),      cmocka_unit_test(test_stops),           cmocka_unit_test(test_irl),
        cmocka_unit_test(test_irl_told_apart), cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, enter, sandbox_leave);
}
