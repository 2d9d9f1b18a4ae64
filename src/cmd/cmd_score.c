#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/base.h"
#include "cmd/commands.h"
#include "cmd/progress.h"
#include "reward/score.h"
#include "util/mem.h"

struct score_args {
    struct base_args base;
    struct strings reward;
    const char *data, *system;
    int64_t max_length;
    int truncation;
};

static const char *const truncation_names[] = {"keep_start", "keep_end", NULL};

static const struct option own[] = {
    {"reward", OPTION_LIST, offsetof(struct score_args, reward), NULL,
     "a reward model: a run's folder, an adapter with a head, or a model with score.weight; "
     "several are an ensemble",
     .required = true, .value = "PATH"},
    {"data", OPTION_STRING, offsetof(struct score_args, data), NULL,
     "rows with answers, in any format that training takes; - is standard input", .required = true,
     .value = "FILE"},
    {"system", OPTION_STRING, offsetof(struct score_args, system), NULL,
     "system message for rows that have none", .value = "TEXT"},
    {"max_length", OPTION_INT, offsetof(struct score_args, max_length), "0",
     "rows are cut to so many tokens; 0: they are not, and must fit the model", .min = 0,
     .max = 1e6},
    {"truncation", OPTION_CHOICE, offsetof(struct score_args, truncation), NULL,
     "which end of an over-long row is kept", .choices = truncation_names},
};
static const struct option_group groups[] = {{"Scoring", own, ARRAY_LEN(own), 0},
                                             BASE_GROUPS(offsetof(struct score_args, base))};
static const struct option_spec spec = {
    .command = "score",
    .summary = "Scores of answers under one reward model or several, one JSON line a row: {\"id\", "
               "\"score\": the mean over the reward models, \"scores\": [one each], \"std\": their "
               "standard deviation (over k)}. Of a row with several answers (a pair, a prompt with "
               "completions) each of the three is a list with an entry an answer.",
    .usage = "hone score --model M --reward R [--reward R2 ..] --data FILE [--flags]",
    .example = "hone score --model model.gguf --reward runs/reward-1 --reward runs/reward-2 --data "
               "answers.jsonl",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

/* (models, scores) */
struct table {
    float *scores;
    size_t models, count;
};

static void show(void *user, size_t done)
{
    progress_update(user, done, NULL);
}

static int check_rows(const struct examples *e, const char *path, struct err *err)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->list[i].n_completions == 0)
            return err_set(err,
                           "'%s' line %zu: it has no answer to score: add one, or remove the row",
                           path, e->list[i].row->line);
    return 0;
}

static int score(struct table *t, const struct score_args *args, const struct reward_model *models,
                 const struct examples *e, const char *path, struct err *err)
{
    int rc = 0;
    for (size_t r = 0; rc == 0 && r < t->models; r++) {
        struct progress progress;
        char *what =
            t->models > 1 ? xasprintf("score %zu of %zu", r + 1, t->models) : xstrdup("score");
        progress_start(&progress, what, "rows", 0, e->n, args->base.quiet);
        rc = score_examples(t->scores + r * t->count, &models[r].net, e, SCORE_MICRO_TOKENS, show,
                            &progress, err);
        if (rc)
            err_prefix(err, "'%s'", path);
        progress_end(&progress);
        free(what);
    }
    return rc;
}

/* What one completion's entry is, by field. */
enum field { FIELD_SCORE, FIELD_SCORES, FIELD_STD };

static void add_entry(struct buf *out, enum field field, const float *scores, size_t k)
{
    struct score_summary s = score_summary(scores, k);
    if (field != FIELD_SCORES) {
        buf_json_float(out, field == FIELD_SCORE ? s.mean : s.std);
        return;
    }
    for (size_t r = 0; r < k; r++) {
        buf_str(out, r ? ", " : "[");
        buf_json_float(out, scores[r]);
    }
    buf_str(out, "]");
}

static void write_row(struct buf *out, const struct table *t, const struct example *e, size_t first)
{
    static const char *const names[] = {"score", "scores", "std"};
    float *scores = xmalloc(t->models * sizeof *scores); /* of one completion */
    buf_str(out, "{\"id\": ");
    buf_json_str(out, e->row->id, strlen(e->row->id));
    for (enum field f = FIELD_SCORE; f <= FIELD_STD; f++) {
        buf_printf(out, ", \"%s\": %s", names[f], e->n_completions > 1 ? "[" : "");
        for (size_t k = 0; k < e->n_completions; k++) {
            for (size_t r = 0; r < t->models; r++)
                scores[r] = t->scores[r * t->count + first + k];
            buf_str(out, k ? ", " : "");
            add_entry(out, f, scores, t->models);
        }
        buf_str(out, e->n_completions > 1 ? "]" : "");
    }
    buf_str(out, "}\n");
    free(scores);
}

static void write_all(const struct table *t, const struct examples *e)
{
    struct buf out;
    buf_init(&out, SIZE_MAX / 2);
    for (size_t i = 0, at = 0; i < e->n; at += e->list[i++].n_completions)
        write_row(&out, t, &e->list[i], at);
    fwrite(out.data, 1, out.len, stdout);
    buf_release(&out);
}

static int open_rewards(struct reward_model *models, const struct score_args *args,
                        const struct loaded *l, struct err *err)
{
    for (size_t i = 0; i < args->reward.n; i++)
        if (load_reward(&models[i], args->reward.data[i], l, err))
            return -1;
    return 0;
}

static int encode(struct examples *e, const struct dataset *data, const struct score_args *args,
                  const struct model *m, struct err *err)
{
    struct encode_options o = encode_options_of(m);
    o.max_length = (size_t)args->max_length;
    o.truncation = (enum truncation)args->truncation;
    if (examples_encode(e, data, &o, err) || check_rows(e, data->path, err))
        return -1;
    if (e->truncated && !args->base.quiet)
        fprintf(stderr, "%s: %zu rows are longer than --max-length %lld and were cut\n", data->path,
                e->truncated, (long long)args->max_length);
    return 0;
}

int cmd_score(int argc, char **argv)
{
    struct score_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct err err;
    struct loaded l = {0};
    struct dataset data = {0};
    struct examples e = {0};
    struct table t = {.models = args.reward.n};
    struct reward_model *models = xcalloc(args.reward.n, sizeof *models);
    struct rows_config config = {.system = args.system};
    unsigned kinds = 1u << ROWS_TEXT | 1u << ROWS_CHAT | 1u << ROWS_COMPLETION | 1u << ROWS_PAIR |
                     1u << ROWS_UNPAIRED | 1u << ROWS_IDS;
    int rc = base_open(&l, &args.base, &err);
    if (rc == 0)
        rc = open_rewards(models, &args, &l, &err);
    if (rc == 0)
        rc = base_read(&data, "score", args.data, &config, kinds, "rows with answers",
                       args.base.quiet, &err);
    if (rc == 0)
        rc = encode(&e, &data, &args, &l.model, &err);
    if (rc == 0) {
        t.count = score_count(&e);
        t.scores = xcalloc(t.models * t.count, sizeof *t.scores);
        rc = score(&t, &args, models, &e, data.path, &err);
    }
    if (rc == 0)
        write_all(&t, &e);
    free(t.scores);
    for (size_t i = 0; i < args.reward.n; i++)
        reward_model_release(&models[i]);
    free(models);
    examples_release(&e);
    dataset_release(&data);
    loaded_release(&l);
    options_release(&o);
    return rc ? command_failed("score", &err) : EXIT_DONE;
}
