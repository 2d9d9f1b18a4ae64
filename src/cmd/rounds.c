#include "cmd/rounds.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/json.h"
#include "cmd/load.h"
#include "eval/curves.h"
#include "reward/mix.h"
#include "reward/pairs.h"
#include "reward/program.h"
#include "util/file.h"
#include "util/mem.h"

const char *const round_method_names[] = {[METHOD_PPO] = "ppo", [METHOD_GRPO] = "grpo",           [METHOD_RLOO] = "rloo",
                                          [METHOD_DPO] = "dpo", [METHOD_BEST_OF_N] = "best-of-n", NULL};
static const char *const reference_names[] = {[REFERENCE_START] = "start", [REFERENCE_LAST] = "last", NULL};

#define FIELD(name) offsetof(struct rounds_args, name)
const struct option round_model_options[N_ROUND_MODEL_OPTIONS] = {
    {"model", OPTION_STRING, FIELD(model), NULL,
     "the policy at the start, SFT's: a run's folder, a Hugging Face folder or a .gguf file", .required = true,
     .value = "PATH"},
    {"tokenizer", OPTION_STRING, FIELD(tokenizer), NULL, "a folder with tokenizer and chat template, where the model has none",
     .value = "DIR"},
    {"system", OPTION_STRING, FIELD(system), NULL, "system message for rows that have none", .value = "TEXT"},
    {"gold", OPTION_STRING, FIELD(gold), NULL,
     "a judge that nothing is learned from, written as a reward: are the answers to held-out prompts still getting better?",
     .value = "REWARD"},
    {"reward_timeout", OPTION_FLOAT, FIELD(reward_timeout), "600",
     "seconds that a program may take to score or label what it is given", .min = 0.1, .max = 1e6},
    {"output_dir", OPTION_STRING, FIELD(output_dir), NULL, "where the rounds go", .required = true, .value = "DIR"},
};
const struct option round_options[N_ROUND_OPTIONS] = {
    {"rounds", OPTION_INT, FIELD(rounds), "3", "rounds at most", .min = 1, .max = 1000},
    {"prompts_per_round", OPTION_INT, FIELD(prompts_per_round), "64",
     "prompts that are answered in a round, other ones each time; 0: all", .min = 0, .max = 1e7},
    {"response_length", OPTION_INT, FIELD(response_length), "64", "tokens of an answer at most", .min = 1, .max = 1e5,
     .alias = "max_new_tokens"},
    {"temperature", OPTION_FLOAT, FIELD(temperature), "1",
     "of the answers that are collected, and of those to held-out prompts", .min = 0.05, .max = 10},
    {"least_gain", OPTION_FLOAT, FIELD(least_gain), "0",
     "stop when the gold rose by less over the policy before: its interval's upper end", .min = -1e9, .max = 1e9},
    {"restart", OPTION_BOOL, FIELD(restart), "false", "each round's policy goes on from the start's, not from the one before"},
    {"reference", OPTION_CHOICE, FIELD(reference), "start",
     "the policy that the KL is to: the start's, or the one before the round", .choices = reference_names},
    {"slots", OPTION_INT, FIELD(slots), "32", "answers in the making at the same time: memory, not results, depend on it",
     .min = 1, .max = 1024},
    {"seed", OPTION_INT, FIELD(seed), "42", "of everything random", .min = 0, .max = 4294967295.0},
};
const struct option round_learn_options[N_ROUND_LEARN_OPTIONS] = {
    {"method", OPTION_CHOICE, FIELD(method), "ppo",
     "how the policy learns: from the reward model by ppo, grpo, rloo or the best of num_generations answers; dpo from the judgements",
     .choices = round_method_names},
    {"method_config", OPTION_STRING, FIELD(method_config), NULL,
     "settings of that command (of sft for best-of-n), as for its --config", .value = "FILE.yaml"},
    {"add_reward", OPTION_LIST, FIELD(add_reward), NULL,
     "what the policy is rewarded for beside the reward model, as its --reward has it: a rule against length, say; weights are "
     "method_config's reward_weights, the reward model's first",
     .value = "REWARD"},
    {"reward_config", OPTION_STRING, FIELD(reward_config), NULL, "settings of hone reward", .value = "FILE.yaml"},
    {"ensemble", OPTION_INT, FIELD(ensemble), "1", "reward models that are trained side by side", .min = 1, .max = 64},
};
const struct option round_run_options[N_ROUND_RUN_OPTIONS] = {
    {"resume", OPTION_BOOL, FIELD(resume), "false", "go on with what is in output_dir", .momentary = true},
    {"threads", OPTION_INT, FIELD(threads), "0", "threads; 0: OMP_NUM_THREADS, or all cores; results do not depend on it",
     .min = 0, .max = 1024},
    {"quiet", OPTION_BOOL, FIELD(quiet), "false", "no progress"},
};
#undef FIELD

int rounds_check_options(const struct rounds_args *args, struct err *err)
{
    if (args->method == METHOD_DPO && (args->ensemble > 1 || args->add_reward.n))
        return err_set(err, "--%s is of rewards, but --method dpo learns from the judgements themselves: leave it out",
                       args->ensemble > 1 ? "ensemble" : "add-reward");
    return 0;
}

/* ---- paths ---- */

char *round_name(size_t round, const char *name)
{
    return xasprintf("round-%zu/%s", round, name);
}

char *round_path(const struct rounds *r, size_t round, const char *name)
{
    return xasprintf("%s/round-%zu/%s", r->args->output_dir, round, name);
}

bool rounds_want_reward(const struct rounds_args *args)
{
    return args->method != METHOD_DPO;
}

char *policy_after(const struct rounds *r, size_t round)
{
    if (round == 0)
        return xstrdup(r->args->model);
    char *safe = round_path(r, round, "policy/safe");
    if (round_alarmed(r, round) && file_exists(safe))
        return safe;
    free(safe);
    return round_path(r, round, "policy");
}

char *reward_after(const struct rounds *r, size_t round)
{
    const struct rounds_args *args = r->args;
    bool first = args->train_data && args->labels != LABELS_DEMONSTRATIONS;
    return rounds_want_reward(args) && (round || first) ? round_path(r, round, "reward") : NULL;
}

bool round_alarmed(const struct rounds *r, size_t round)
{
    char *folder = round_path(r, round, "policy");
    struct curves c;
    struct err ignored;
    bool alarmed = false;
    if (curves_read(&c, folder, &ignored) == 0) {
        const struct report_series s = curves_series(&c, "", "step", "monitor/alarms");
        alarmed = s.n && s.y[s.n - 1] > 0;
        curves_release(&c);
    }
    free(folder);
    return alarmed;
}

/* ---- a stage's command line, and what it depends on ---- */

struct call {
    const struct rounds *r;
    size_t round;
    bool look; /* the command line alone: what it reads may not be there yet */
    char **argv;
    size_t n, capacity;
    struct buf key;
    int rc;
    struct err *err;
};

static void add_word(struct call *c, const char *word)
{
    ARRAY_GROW(c->argv, c->n + 2, c->capacity);
    c->argv[c->n++] = xstrdup(word);
    c->argv[c->n] = NULL;
}

/* A setting, in both. */
static void set(struct call *c, const char *flag, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void set(struct call *c, const char *flag, const char *fmt, ...)
{
    char value[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(value, sizeof value, fmt, ap);
    va_end(ap);
    add_word(c, flag);
    add_word(c, value);
    buf_printf(&c->key, "%s %s\n", flag, value);
}

static void set_text(struct call *c, const char *flag, const char *text)
{
    if (!text)
        return;
    add_word(c, flag);
    add_word(c, text);
    buf_printf(&c->key, "%s %zu %s\n", flag, strlen(text), text);
}

/* A path on the command line, on which nothing depends. */
static void place(struct call *c, const char *flag, const char *path)
{
    add_word(c, flag);
    add_word(c, path);
}

/* What is read: its path on the command line, its hash in the key. */
static void input(struct call *c, const char *flag, const char *path)
{
    char hash[65] = "";
    if (!path)
        return;
    place(c, flag, path);
    if (c->rc || c->look)
        return;
    if (!strcmp(path, c->r->args->model))
        memcpy(hash, c->r->start_hash, sizeof hash);
    else
        c->rc = file_is_dir(path) ? artefact_hash(hash, path, c->err) : file_sha256(hash, path, c->err);
    buf_printf(&c->key, "%s %s\n", flag, hash);
}

/* The same for a file of the round, and for a path that is released. */
static void input_of_round(struct call *c, const char *flag, size_t round, const char *name)
{
    char *path = round_path(c->r, round, name);
    input(c, flag, path);
    free(path);
}

static void input_taken(struct call *c, const char *flag, char *path)
{
    input(c, flag, path);
    free(path);
}

/* The contents of a file, where it is one, in the key. */
static void add_contents(struct call *c, char *file)
{
    char hash[65];
    if (file && !file_is_dir(file) && file_sha256(hash, file, NULL) == 0)
        buf_printf(&c->key, "%s\n", hash);
    free(file);
}

/* A reward: a model by its hash, else as it is written, and the file of a program or a rubric. */
static void reward_input(struct call *c, const char *flag, const char *text)
{
    if (text && file_exists(text)) {
        input(c, flag, text);
    } else if (text) {
        set_text(c, flag, text);
        add_contents(c, reward_text_file(text));
    }
}

static void call_begin(struct call *c, const struct rounds *r, size_t round, const char *what, bool look, struct err *err)
{
    *c = (struct call){.r = r, .round = round, .look = look, .err = err};
    buf_init(&c->key, 1 << 20);
    add_word(c, "hone");
    add_word(c, what);
    buf_printf(&c->key, "%s %zu\n", what, round);
    set(c, "--seed", "%u", (uint32_t)r->args->seed + (uint32_t)round);
    set_text(c, "--system", r->args->system);
    set_text(c, "--tokenizer", r->args->tokenizer);
}

static void call_release(struct call *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->argv[i]);
    free(c->argv);
    buf_release(&c->key);
}

/* The end of a hone command: what its result does not depend on. */
static void call_end(struct call *c, const char *run)
{
    const struct rounds_args *args = c->r->args;
    if (run) {
        char *folder = round_path(c->r, c->round, run);
        place(c, "--output-dir", folder);
        free(folder);
        add_word(c, "--resume");
    }
    if (args->threads) {
        char threads[24];
        snprintf(threads, sizeof threads, "%lld", (long long)args->threads);
        place(c, "--threads", threads);
    }
    if (args->quiet)
        add_word(c, "--quiet");
}

/* ---- the commands ---- */

/* Held-out pairs. */
static void held_out_input(struct call *c)
{
    if (c->r->args->labels == LABELS_DEMONSTRATIONS)
        input_of_round(c, "--eval-data", c->round, "heldout.jsonl");
    else
        input(c, "--eval-data", c->r->args->eval_data);
}

static void reward_call(struct call *c, const struct rounds *r, size_t round, bool look, struct err *err)
{
    const struct rounds_args *args = r->args;
    call_begin(c, r, round, "reward", look, err);
    input(c, "--config", args->reward_config);
    input(c, "--model", args->model);
    if (round)
        input_of_round(c, "--train-data", round, "comparisons.jsonl");
    else
        input(c, "--train-data", args->train_data);
    held_out_input(c);
    if (args->ensemble > 1)
        set(c, "--ensemble", "%lld", (long long)args->ensemble);
    call_end(c, "reward");
}

/* What the policy learns from: the round's reward model, and what is asked beside it. */
static void set_rewards(struct call *c)
{
    const struct strings *more = &c->r->args->add_reward;
    input_taken(c, "--reward", reward_after(c->r, c->round));
    for (size_t i = 0; i < more->n; i++)
        reward_input(c, "--reward", more->data[i]);
}

/* Where the policy starts, and the reference where that is another one. */
static void set_policy(struct call *c, bool has_reference)
{
    const struct rounds_args *args = c->r->args;
    size_t last = c->round - 1, from = args->restart ? 0 : last, reference = args->reference == REFERENCE_LAST ? last : 0;
    input_taken(c, "--model", policy_after(c->r, from));
    if (has_reference && reference != from)
        input_taken(c, "--ref-model", policy_after(c->r, reference));
}

static void best_call(struct call *c, const struct rounds *r, size_t round, bool look, struct err *err)
{
    const struct rounds_args *args = r->args;
    call_begin(c, r, round, "generate", look, err);
    input_taken(c, "--model", policy_after(r, round - 1));
    input(c, "--prompts", args->prompts);
    set_rewards(c);
    set(c, "--select", "best");
    set(c, "--num-generations", "%lld", (long long)args->num_generations);
    set(c, "--max-new-tokens", "%lld", (long long)args->response_length);
    set(c, "--temperature", "%.17g", args->temperature);
    call_end(c, NULL);
}

static void method_call(struct call *c, const struct rounds *r, size_t round, bool look, struct err *err)
{
    const struct rounds_args *args = r->args;
    bool best = args->method == METHOD_BEST_OF_N;
    call_begin(c, r, round, best ? "sft" : round_method_names[args->method], look, err);
    input(c, "--config", args->method_config);
    set_policy(c, !best);
    if (best) {
        input_of_round(c, "--train-data", round, "best.jsonl");
        add_word(c, "--skip-bad-rows"); /* the best of several answers may be empty */
    } else if (args->method == METHOD_DPO) {
        input_of_round(c, "--train-data", round, "comparisons.jsonl");
        held_out_input(c);
    } else {
        set_rewards(c);
        input(c, "--train-data", args->prompts);
    }
    call_end(c, "policy");
}

/* ---- the work ---- */

static void collect_key(struct call *c)
{
    const struct rounds_args *args = c->r->args;
    input(c, "prompts", args->prompts);
    input_taken(c, "policy", policy_after(c->r, c->round - 1));
    if (pairs_want_scores((enum pairs_how)args->pairs))
        input_taken(c, "reward", reward_after(c->r, c->round - 1));
    if (args->labels == LABELS_DEMONSTRATIONS)
        input(c, "eval_data", args->eval_data);
    set(c, "answers", "%lld %lld %lld %.17g", (long long)args->prompts_per_round, (long long)args->num_generations,
        (long long)args->response_length, args->temperature);
    set(c, "pairs", "%d %lld %d", args->pairs, (long long)args->pairs_per_round, args->balance_length);
}

static void label_key(struct call *c)
{
    const struct rounds_args *args = c->r->args;
    input_of_round(c, "pairs", c->round, "to-label.jsonl");
    set_text(c, "label_program", args->label_program);
    if (args->label_program)
        add_contents(c, program_file(args->label_program));
    reward_input(c, "label_reward", args->label_reward);
    input(c, "judge", args->judge.judge);
    input(c, "judge_adapter", args->judge.judge_adapter);
    set_text(c, "judge_criterion", args->judge.judge_criterion);
    if (args->judge.judge_criterion && args->judge.judge_criterion[0] == '@')
        input(c, "judge_criterion", args->judge.judge_criterion + 1);
    set(c, "choice", "%d %.17g", args->label_choice, args->label_temperature);
}

static void gather_key(struct call *c)
{
    const struct rounds_args *args = c->r->args;
    input_of_round(c, "pairs", c->round, "to-label.jsonl");
    input_of_round(c, "labels", c->round, "labels.jsonl");
    for (size_t k = 1; k < c->round; k++)
        input_of_round(c, "judgements", k, "judgements.jsonl");
    if (args->labels != LABELS_DEMONSTRATIONS)
        input(c, "train_data", args->train_data);
    set(c, "rounds_kept", "%lld", (long long)args->rounds_kept);
}

static void evaluate_key(struct call *c)
{
    const struct rounds_args *args = c->r->args;
    input(c, "prompts", args->eval_prompts);
    input(c, "start", args->model);
    input_taken(c, "last", policy_after(c->r, c->round - 1));
    input_taken(c, "new", policy_after(c->r, c->round));
    input_taken(c, "reward before", reward_after(c->r, c->round - 1));
    input_taken(c, "reward", reward_after(c->r, c->round));
    input_of_round(c, "judgements", c->round, "judgements.jsonl");
    if (args->labels == LABELS_DEMONSTRATIONS) {
        input(c, "eval_data", args->eval_data);
        input_of_round(c, "held out", c->round, "heldout.jsonl");
    }
    reward_input(c, "gold", args->gold);
    set(c, "answers", "%lld %.17g", (long long)args->response_length, args->temperature);
}

/* ---- running them ---- */

static const struct {
    const char *name, *title, *product, *run;
    bool prints;
    void (*call)(struct call *c, const struct rounds *r, size_t round, bool look, struct err *err);
    void (*key)(struct call *c);
    int (*work)(void *user, struct err *err);
} plan[] = {
    {"collect", "collect answers", "to-label.jsonl", .key = collect_key, .work = rounds_collect},
    {"label", "label pairs", "labels.jsonl", .key = label_key, .work = rounds_label},
    {"gather", "put the judgements together", "comparisons.jsonl", .key = gather_key, .work = rounds_gather},
    {"reward", "reward model", "reward/manifest.json", "reward", .call = reward_call},
    {"best", "the best of several answers", "best.jsonl", .prints = true, .call = best_call},
    {"policy", "policy", "policy/manifest.json", "policy", .call = method_call},
    {"evaluate", "evaluate", "figures.json", .key = evaluate_key, .work = rounds_evaluate},
};
enum { COLLECT, LABEL, GATHER, REWARD, BEST, POLICY, EVALUATE, STEPS };

static bool belongs(const struct rounds_args *args, size_t step)
{
    return step == LABEL    ? args->labels != LABELS_PEOPLE && args->labels != LABELS_DEMONSTRATIONS
           : step == REWARD ? rounds_want_reward(args)
           : step == BEST   ? args->method == METHOD_BEST_OF_N
                            : true;
}

/* What it left, for the lineage. */
static int note(struct rounds *r, size_t round, size_t step, const char *key, struct err *err)
{
    char hash[65], *path = round_path(r, round, plan[step].run ? plan[step].run : plan[step].product);
    int rc = plan[step].run ? artefact_hash(hash, path, err) : file_sha256(hash, path, err);
    if (rc == 0) {
        char *name = round_name(round, plan[step].name),
             *product = round_name(round, plan[step].run ? plan[step].run : plan[step].product);
        json_object_set_new(r->made, name, json_pack("{s:s, s:s, s:s}", "key", key, "product", product, "sha256", hash));
        free(name);
        free(product);
    }
    free(path);
    return rc;
}

static int step_run(struct rounds *r, size_t round, size_t step, struct err *err)
{
    struct call c;
    struct round_work work = {r, round};
    char key[65], *name = round_name(round, plan[step].name), *product = round_name(round, plan[step].product);
    char *folder = plan[step].run ? round_name(round, plan[step].run) : NULL;
    if (plan[step].call) {
        plan[step].call(&c, r, round, false, err);
    } else {
        call_begin(&c, r, round, plan[step].name, false, err);
        plan[step].key(&c);
    }
    sha256_hex(key, c.key.data, c.key.len);
    const struct stage stage = {.name = name,
                                .product = product,
                                .run = folder,
                                .prints = plan[step].prints,
                                .argv = plan[step].call ? c.argv : NULL,
                                .work = plan[step].work,
                                .user = &work};
    int rc = c.rc;
    enum stage_state state = rc ? STAGE_FRESH : stage_state(&r->stages, &stage, key);
    if (rc == 0 && !r->args->quiet)
        fprintf(stderr, "%s[round %zu] %s%s\n", state == STAGE_DONE ? "" : "\n", round, plan[step].title,
                state == STAGE_DONE                      ? ": done before"
                : state == STAGE_BEGUN && plan[step].run ? ": begun before, goes on from its last checkpoint"
                                                         : "");
    if (rc == 0)
        rc = stage_run(&r->stages, &stage, key, err);
    if (rc == 0)
        rc = note(r, round, step, key, err);
    call_release(&c);
    free(name);
    free(product);
    free(folder);
    return rc;
}

/* ---- a round ---- */

static int round_make(const struct rounds *r, size_t round, struct err *err)
{
    char *folder = round_path(r, round, "");
    int rc = dir_make(folder, err);
    free(folder);
    return rc;
}

static struct interval at(const json_t *o, const char *a, const char *b, const char *c)
{
    const json_t *v = json_object_get(o, a);
    v = b ? json_object_get(v, b) : v;
    return json_to_interval(c ? json_object_get(v, c) : v);
}

static int take_figures(struct rounds *r, size_t round, struct err *err)
{
    char *path = round_path(r, round, "figures.json");
    json_error_t why;
    json_t *o = json_load_file(path, 0, &why);
    int rc = o ? 0 : err_set(err, "'%s' line %d: %s", path, why.line, why.text);
    free(path);
    if (rc)
        return rc;
    json_array_append_new(r->all, o);
    r->figures = xreallocarray(r->figures, round, sizeof *r->figures);
    const json_t *policies = json_object_get(o, "policies");
    r->figures[round - 1] = (struct round_figures){.gold = at(policies, "new", "gold", NULL).value,
                                                   .gold_gain = at(o, "gold", "over_last", "difference"),
                                                   .alarmed = json_is_true(json_object_get(o, "alarmed")),
                                                   .agreement = at(o, "agreement", "accuracy", NULL),
                                                   .told_apart = at(o, "told_apart", NULL, NULL)};
    r->start_gold = at(policies, "start", "gold", NULL).value;
    r->n = round;
    return 0;
}

static bool waits(struct rounds *r, size_t round)
{
    char *path = round_path(r, round, "labels.jsonl");
    if (r->args->labels == LABELS_PEOPLE && !file_exists(path))
        r->waits_for = path;
    else
        free(path);
    return r->waits_for;
}

static int one_round(struct rounds *r, size_t round, struct err *err)
{
    if (round_make(r, round, err))
        return -1;
    for (size_t step = 0; step < STEPS; step++) {
        if (step == GATHER && waits(r, round))
            return 0;
        if (belongs(r->args, step) && step_run(r, round, step, err))
            return -1;
    }
    return take_figures(r, round, err);
}

/* ---- before the first ---- */

/* Of the policy at the start and the model below it, on which all others stand. */
static int hash_start(char out[65], const char *model, struct err *err)
{
    struct artefact a;
    char hash[2][65];
    int rc = artefact_find(&a, model, err);
    if (rc == 0)
        rc = model_hash(a.model, hash[0], err) || artefact_hash(hash[1], model, err) ? -1 : 0;
    if (rc == 0)
        sha256_hex(out, hash, sizeof hash);
    artefact_release(&a);
    return rc;
}

/* Options and files of the commands to come. */
static int look(struct rounds *r, struct err *err)
{
    struct round_work work = {r, 1};
    const struct stage inputs = {.name = "the inputs", .product = "", .work = rounds_check, .user = &work};
    int rc = 0;
    for (size_t step = 0; rc == 0 && step < STEPS; step++) {
        struct call c;
        if (!plan[step].call || !belongs(r->args, step))
            continue;
        plan[step].call(&c, r, 1, true, err);
        add_word(&c, "--check");
        char *name = xasprintf("the settings of 'hone %s'", c.argv[1]);
        const struct stage stage = {.name = name, .product = "", .argv = c.argv};
        rc = stage_check(&r->stages, &stage, err);
        free(name);
        call_release(&c);
    }
    return rc ? rc : stage_check(&r->stages, &inputs, err);
}

static int begin(struct rounds *r, struct err *err)
{
    char *record = path_join(r->args->output_dir, "stages.json"), *config = path_join(r->args->output_dir, "config.yaml");
    bool there = file_exists(record) || file_exists(config);
    int rc = there && !r->args->resume
                 ? err_set(err, "'%s' holds rounds already: give --resume to go on with them, or another --output-dir",
                           r->args->output_dir)
                 : stages_open(&r->stages, r->command, r->args->output_dir, err);
    if (rc == 0)
        rc = look(r, err);
    if (rc == 0)
        rc = hash_start(r->start_hash, r->args->model, err);
    if (rc == 0) {
        struct buf yaml;
        buf_init(&yaml, 1 << 20);
        options_write_yaml(r->options, &yaml);
        rc = file_write(config, yaml.data, yaml.len, err);
        buf_release(&yaml);
    }
    free(config);
    free(record);
    return rc;
}

/* ---- the whole ---- */

/* OUT/best leads to the best policy there is: a link, so that it can be named like a run's folder. */
static int link_best(const struct rounds *r, struct err *err)
{
    size_t best = round_best(r->figures, r->n, r->start_gold);
    char *path = path_join(r->args->output_dir, "best");
    const char *policy = best ? json_string_value(json_object_get(json_array_get(r->all, best - 1), "policy")) : NULL;
    int rc = link_replace(policy, path, err);
    free(path);
    return rc;
}

static int run(struct rounds *r, struct err *err)
{
    const struct rounds_args *args = r->args;
    struct round_rules rules = {.rounds = (size_t)args->rounds,
                                .least_gain = args->least_gain,
                                .enough_agreement = args->enough_agreement,
                                .imitates = args->labels == LABELS_DEMONSTRATIONS};
    int rc = begin(r, err);
    char *first = rc ? NULL : reward_after(r, 0);
    if (first)
        rc = round_make(r, 0, err) || step_run(r, 0, REWARD, err) ? -1 : 0;
    free(first);
    for (size_t round = 1; rc == 0 && !r->stop && !r->waits_for; round++) {
        rc = one_round(r, round, err);
        if (rc == 0 && !r->waits_for)
            r->stop = round_stop(&r->words, r->figures, r->n, &rules);
        if (rc == 0 && r->n)
            rc = link_best(r, err);
        if (rc == 0)
            rc = rounds_lineage(r, err);
    }
    return rc ? rc : rounds_report(r, err);
}

int rounds_command(const char *command, const struct rounds_args *args, const struct options *options)
{
    struct err err;
    struct rounds r = {.command = command,
                       .args = args,
                       .options = options,
                       .stages = {.lock = -1},
                       .all = json_array(),
                       .made = json_object(),
                       .start_gold = NAN};
    buf_init(&r.words, 1 << 16);
    int rc = run(&r, &err);
    stages_release(&r.stages);
    buf_release(&r.words);
    json_decref(r.all);
    json_decref(r.made);
    free(r.figures);
    free(r.waits_for);
    return rc ? command_failed(command, &err) : EXIT_DONE;
}
