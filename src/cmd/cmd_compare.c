#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/json.h"
#include "cmd/policy.h"
#include "cmd/progress.h"
#include "cmd/prompts.h"
#include "eval/answers.h"
#include "util/file.h"
#include "util/mem.h"

struct compare_args {
    const char *prompts, *system, *tokenizer, *samples;
    struct strings reward;
    int64_t num_generations, response_length, slots, seed, threads;
    double temperature;
    bool json, quiet;
};

#define FIELD(name) offsetof(struct compare_args, name)
static const struct option own[] = {
    {"prompts", OPTION_STRING, FIELD(prompts), NULL, "prompts that both answer; answers in the file are not looked at; - is standard input",
     .required = true, .value = "FILE"},
    {"reward", OPTION_LIST, FIELD(reward), NULL,
     "a reward model that judges: a run's folder, an adapter with a head, or a model with score.weight; each judges for itself, "
     "a run with several members by their mean",
     .required = true, .value = "PATH"},
    {"num_generations", OPTION_INT, FIELD(num_generations), "1", "answers of each model to a prompt", .min = 1, .max = 1024},
    {"temperature", OPTION_FLOAT, FIELD(temperature), "1", "0: always the likeliest token", .min = 0, .max = 100},
    {"response_length", OPTION_INT, FIELD(response_length), "64", "tokens of an answer at most", .min = 1, .max = 1e5,
     .alias = "max_new_tokens"},
    {"seed", OPTION_INT, FIELD(seed), "42", "of everything random", .min = 0, .max = 4294967295.0},
    {"system", OPTION_STRING, FIELD(system), NULL, "system message for prompts that have none", .value = "TEXT"},
    {"tokenizer", OPTION_STRING, FIELD(tokenizer), NULL, "a folder with tokenizer and chat template, where A has none", .value = "DIR"},
    {"json", OPTION_BOOL, FIELD(json), "false", "one JSON line instead of the table"},
    {"samples", OPTION_STRING, FIELD(samples), NULL, "write every pair of answers with its scores to this file, as JSON lines",
     .value = "FILE"},
    {"slots", OPTION_INT, FIELD(slots), "32", "answers in the making at the same time: memory, not results, depend on it", .min = 1,
     .max = 1024},
    {"threads", OPTION_INT, FIELD(threads), "0", "threads; 0: OMP_NUM_THREADS, or all cores; results do not depend on it", .min = 0,
     .max = 1024},
    {"quiet", OPTION_BOOL, FIELD(quiet), "false", "no progress and no remarks"},
};
#undef FIELD
static const struct option_group groups[] = {{"Comparing", own, ARRAY_LEN(own), 0}};
static const struct option_spec spec = {
    .command = "compare",
    .summary = "Let two models answer the same prompts and reward models judge: how often A beats B (ties count as half), paired by "
               "prompt and sample, with 95 % intervals by prompt; beside it lengths, variety, and the KL of A to B.",
    .usage = "hone compare A B --prompts F --reward R [--flags]",
    .example = "hone compare runs/ppo runs/sft --prompts examples/helpdesk/prompts-heldout.jsonl --reward runs/reward-second",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
    .operand = "MODEL",
    .min_operands = 2,
    .max_operands = 2,
};

/* What a reward model says of the answers. */
struct judge {
    const char *path;
    struct rewards rewards; /* one, or the members of an ensemble */
    double *scores[2]; /* (answers) of A and of B */
    struct win_rate win;
    struct interval mean[2], difference;
};

struct comparison_job {
    const struct compare_args *args;
    const char *names[2];
    struct loaded a;
    struct policy b;
    struct judge *judges;
    size_t n_opened;
    struct prompts prompts;
    struct answers answers[2];
    struct answers_measure measure[2];
    struct interval kl;
};

static int open_models(struct comparison_job *j, struct err *err)
{
    if (j->args->threads)
        omp_set_num_threads((int)j->args->threads);
    if (load_net(&j->a, j->names[0], NULL, j->args->tokenizer, err) || policy_open(&j->b, j->names[1], &j->a, err))
        return -1;
    for (; j->n_opened < j->args->reward.n; j->n_opened++) {
        struct judge *judge = &j->judges[j->n_opened];
        judge->path = j->args->reward.data[j->n_opened];
        if (load_rewards(&judge->rewards, &judge->path, 1, &j->a, err))
            return -1;
    }
    return 0;
}

static int read_prompts(struct comparison_job *j, struct err *err)
{
    const struct compare_args *args = j->args;
    const struct rows_config config = {.prompts = true, .system = args->system};
    size_t length = (size_t)args->response_length;
    return prompts_read(&j->prompts, "compare", args->prompts, &config, ~(1u << ROWS_SCORES), &j->a.model, length, args->quiet, err) ||
                   prompts_check_lengths(&j->prompts, length, j->b.net.model, err)
               ? -1
               : 0;
}

static void show(void *user, size_t done)
{
    progress_update(user, done, NULL);
}

static int sample(struct comparison_job *j, struct err *err)
{
    const struct compare_args *args = j->args;
    struct answers_config config = {.num_generations = (size_t)args->num_generations,
                                    .response_length = (size_t)args->response_length,
                                    .slots = (size_t)args->slots,
                                    .temperature = (float)args->temperature,
                                    .seed = (uint32_t)args->seed};
    const struct net *nets[2] = {&j->a.net, &j->b.net};
    int rc = model_pack(&j->a.model, err);
    if (rc == 0 && j->b.own)
        rc = model_pack(j->b.own, err);
    for (size_t s = 0; rc == 0 && s < 2; s++) {
        struct progress progress;
        progress_start(&progress, s ? "answers of B" : "answers of A", "answers", 0, j->prompts.examples.n * config.num_generations,
                       args->quiet);
        rc = answers_sample(&j->answers[s], nets[s], &j->prompts.examples, &config, show, &progress, err);
        progress_end(&progress);
    }
    return rc;
}

static int judge(struct comparison_job *j, struct judge *judge, struct err *err)
{
    uint32_t seed = (uint32_t)j->args->seed;
    const struct answers *both[2] = {&j->answers[0], &j->answers[1]};
    for (size_t s = 0; s < 2; s++)
        judge->scores[s] = xcalloc(both[s]->n + 1, sizeof *judge->scores[s]);
    if (answers_score(judge->scores, both, 2, judge->rewards.nets, judge->rewards.n, err))
        return err_prefix(err, "'%s'", judge->path);
    for (size_t s = 0; s < 2; s++)
        judge->mean[s] = answers_mean(both[s], judge->scores[s], seed);
    judge->difference = answers_difference(&j->answers[0], judge->scores[0], judge->scores[1], seed);
    answers_win_rate(&judge->win, &j->answers[0], judge->scores[0], judge->scores[1], seed);
    return 0;
}

static int measure(struct comparison_job *j, struct err *err)
{
    uint32_t seed = (uint32_t)j->args->seed;
    double *kl = xcalloc(j->answers[0].n + 1, sizeof *kl);
    int rc = answers_kl(&kl, &(const struct answers *){&j->answers[0]}, 1, &j->b.net, err);
    j->kl = answers_mean(&j->answers[0], kl, seed);
    free(kl);
    for (size_t s = 0; s < 2; s++)
        answers_measure(&j->measure[s], &j->answers[s], seed);
    return rc;
}

/* ---- output ---- */

static void print_interval(const char *name, struct interval x, double scale, const char *unit)
{
    printf("  %-24s %8.*f%s", name, scale > 1 ? 1 : 3, scale * x.value, unit);
    if (isfinite(x.lo))
        printf("  [%.*f, %.*f]", scale > 1 ? 1 : 3, scale * x.lo, scale > 1 ? 1 : 3, scale * x.hi);
    putchar('\n');
}

static void print_sides(const char *name, struct interval a, struct interval b, double scale, const char *unit)
{
    int digits = scale > 1 ? 1 : 2;
    printf("  %-24s %8.*f%s %-18s %8.*f%s %s\n", name, digits, scale * a.value, unit, "", digits, scale * b.value, unit, "");
}

static void print_table(const struct comparison_job *j)
{
    const struct answers_measure *m = j->measure;
    printf("A: %s\nB: %s\n%zu prompts, %zu answers each, temperature %g; in brackets: 95 %% intervals by prompt\n", j->names[0],
           j->names[1], j->prompts.examples.n, j->answers[0].n, j->args->temperature);
    for (size_t r = 0; r < j->n_opened; r++) {
        const struct judge *k = &j->judges[r];
        printf("\nJudged by %s\n", k->path);
        print_interval("A beats B", k->win.rate, 100, " %");
        printf("  %-24s %zu, %zu, %zu\n", "wins, ties, losses", k->win.wins, k->win.ties, k->win.losses);
        print_interval("score of A - score of B", k->difference, 1, "");
        print_interval("score of A", k->mean[0], 1, "");
        print_interval("score of B", k->mean[1], 1, "");
    }
    putchar('\n');
    print_interval("KL of A to B, nats", j->kl, 1, "");
    printf("\n  %-24s %8s %-18s %10s\n", "", "A", "", "B");
    print_sides("tokens", m[0].tokens, m[1].tokens, 1, "");
    print_sides("words", m[0].words, m[1].words, 1, "");
    print_sides("ended by itself", m[0].finished, m[1].finished, 100, " %");
    print_sides("distinct-2", (struct interval){.value = m[0].distinct_2}, (struct interval){.value = m[1].distinct_2}, 1, "");
}

static json_t *side_json(const char *path, const struct answers_measure *m)
{
    return json_pack("{s:s, s:o, s:o, s:o, s:o}", "path", path, "tokens", json_interval(m->tokens), "words",
                     json_interval(m->words), "finished", json_interval(m->finished), "distinct_2", json_finite(m->distinct_2));
}

static void print_json(const struct comparison_job *j)
{
    json_t *judges = json_array();
    for (size_t r = 0; r < j->n_opened; r++) {
        const struct judge *k = &j->judges[r];
        json_array_append_new(judges, json_pack("{s:s, s:o, s:o, s:o, s:o}", "reward", k->path, "win_rate",
                                                json_win_rate(&k->win), "score_difference", json_interval(k->difference),
                                                "score_a", json_interval(k->mean[0]), "score_b", json_interval(k->mean[1])));
    }
    json_t *o = json_pack("{s:o, s:o, s:I, s:I, s:f, s:I, s:I, s:o, s:o}", "a", side_json(j->names[0], &j->measure[0]), "b",
                          side_json(j->names[1], &j->measure[1]), "prompts", (json_int_t)j->prompts.examples.n, "num_generations",
                          (json_int_t)j->args->num_generations, "temperature", j->args->temperature, "response_length",
                          (json_int_t)j->args->response_length, "seed", (json_int_t)j->args->seed, "judges", judges, "kl",
                          json_interval(j->kl));
    char *text = json_dumps(o, 0);
    puts(text);
    free(text);
    json_decref(o);
}

static int write_samples(const struct comparison_job *j, struct err *err)
{
    struct file_out out;
    if (file_out_open(&out, j->args->samples, err))
        return -1;
    struct buf line;
    buf_init(&line, SIZE_MAX / 2);
    for (size_t i = 0; i < j->answers[0].n; i++) {
        const struct row *row = j->prompts.examples.list[j->answers[0].unit[i]].row;
        buf_clear(&line);
        buf_str(&line, "{\"id\": ");
        buf_json_str(&line, row->id, strlen(row->id));
        buf_printf(&line, ", \"sample\": %zu", i % (size_t)j->args->num_generations);
        for (size_t s = 0; s < 2; s++) {
            buf_printf(&line, ", \"%s\": ", s ? "b" : "a");
            buf_json_str(&line, j->answers[s].texts[i], strlen(j->answers[s].texts[i]));
        }
        for (size_t s = 0; s < 2; s++) {
            buf_printf(&line, ", \"scores_%s\": [", s ? "b" : "a");
            for (size_t r = 0; r < j->n_opened; r++) {
                buf_str(&line, r ? ", " : "");
                buf_json_float(&line, (float)j->judges[r].scores[s][i]);
            }
            buf_str(&line, "]");
        }
        buf_str(&line, "}\n");
        fwrite(line.data, 1, line.len, out.f);
    }
    buf_release(&line);
    return file_out_commit(&out, err);
}

static void release(struct comparison_job *j)
{
    for (size_t r = 0; r < j->args->reward.n; r++) {
        free(j->judges[r].scores[0]);
        free(j->judges[r].scores[1]);
        if (r < j->n_opened)
            rewards_release(&j->judges[r].rewards);
    }
    free(j->judges);
    answers_release(&j->answers[0]);
    answers_release(&j->answers[1]);
    prompts_release(&j->prompts);
    policy_release(&j->b);
    loaded_release(&j->a);
}

int cmd_compare(int argc, char **argv)
{
    struct compare_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct err err;
    if (args.temperature > 0 && args.temperature < 0.001) {
        err_set(&err, "--temperature is %g: it must be 0 (always the likeliest token) or at least 0.001", args.temperature);
        options_release(&o);
        return command_misused("compare", &err);
    }
    struct comparison_job j = {.args = &args, .names = {o.operands.data[0], o.operands.data[1]}};
    j.judges = xcalloc(args.reward.n, sizeof *j.judges);
    int rc = open_models(&j, &err);
    if (rc == 0)
        rc = read_prompts(&j, &err);
    if (rc == 0)
        rc = sample(&j, &err);
    for (size_t r = 0; rc == 0 && r < args.reward.n; r++)
        rc = judge(&j, &j.judges[r], &err);
    if (rc == 0)
        rc = measure(&j, &err);
    if (rc == 0 && args.samples)
        rc = write_samples(&j, &err);
    if (rc == 0 && args.json)
        print_json(&j);
    else if (rc == 0)
        print_table(&j);
    release(&j);
    options_release(&o);
    return rc ? command_failed("compare", &err) : EXIT_DONE;
}
