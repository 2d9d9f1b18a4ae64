#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/base.h"
#include "cmd/commands.h"
#include "cmd/progress.h"
#include "cmd/rewarding.h"
#include "reward/score.h"
#include "util/mem.h"

struct score_args {
    struct base_args base;
    struct strings reward;
    const char *data, *system;
    int64_t max_length;
    int truncation;
    struct aggregate_args aggregate;
};

static const char *const truncation_names[] = {"keep_start", "keep_end", NULL};

static const struct option own[] = {
    {"reward", OPTION_LIST, offsetof(struct score_args, reward), NULL,
     "a reward model: a run's folder, an adapter with a head, or a model with score.weight; "
     "several, and a run with several members, are an ensemble",
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
                                             AGGREGATE_GROUP(offsetof(struct score_args, aggregate)),
                                             BASE_GROUPS(offsetof(struct score_args, base))};
static const struct option_spec spec = {
    .command = "score",
    .summary = "Scores of answers under one reward model or several, one JSON line a row: {\"id\", "
               "\"score\": what the reward models say together, \"scores\": [one each], \"std\": their "
               "standard deviation (over k), \"ood_distance\": how far the answer is from those of training, 1 being where it "
               "begins to be out of distribution (the mean over reward models; null where they do not know), \"ood\": whether it "
               "is}. Of a row with several answers (a pair, a prompt with "
               "completions) each of these is a list with an entry an answer; of a pair also \"p_a\": "
               "the probability that the first is the better one, where the reward model was calibrated. Under one process reward "
               "model also \"steps\": the probability of each step of each answer that it is right.",
    .usage = "hone score --model M --reward R [--reward R2 ..] --data FILE [--flags]",
    .example = "hone score --model model.gguf --reward runs/reward-1 --reward runs/reward-2 --data "
               "answers.jsonl",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

/* (models, scores) */
struct table {
    float *scores, *ood;
    size_t models, count;
    struct aggregate_config aggregate;
    struct calibrator calibrator;
    double *p; /* of one process reward model: what it says of each step */
    struct steps steps;
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

static int score(struct table *t, const struct score_args *args, const struct rewards *r,
                 const struct examples *e, const char *path, struct err *err)
{
    struct progress progress;
    progress_start(&progress, "score", "rows", 0, e->n, args->base.quiet);
    int rc;
    if (r->n == 1 && *r->list[0].head.step_separator) {
        for (size_t i = 0; i < t->count; i++)
            t->ood[i] = NAN; /* it does not know */
        rc = score_steps(t->scores, &t->p, &t->steps, r->nets[0], e, SCORE_MICRO_TOKENS, show, &progress, err);
    } else {
        rc = score_ensemble(t->scores, t->ood, r->nets, r->n, e, SCORE_MICRO_TOKENS, show, &progress, err);
    }
    if (rc)
        err_prefix(err, "'%s'", path);
    progress_end(&progress);
    return rc;
}

/* What one completion's entry is, by field. */
enum field { FIELD_SCORE, FIELD_SCORES, FIELD_STD, FIELD_DISTANCE, FIELD_OOD, FIELDS };

/* What is said of one completion: its members' scores, what they come to, and its distance from the training texts. */
struct entry {
    const float *scores;
    struct score_summary summary;
    float distance;
};

static void add_entry(struct buf *out, enum field field, const struct entry *e, size_t k)
{
    const float *scores = e->scores;
    const struct score_summary *s = &e->summary;
    if (field == FIELD_OOD || field == FIELD_DISTANCE) {
        if (isnan(e->distance))
            buf_str(out, "null");
        else if (field == FIELD_OOD)
            buf_str(out, e->distance > 1 ? "true" : "false");
        else
            buf_json_float(out, e->distance);
        return;
    }
    if (field != FIELD_SCORES) {
        buf_json_float(out, field == FIELD_SCORE ? s->score : s->std);
        return;
    }
    for (size_t r = 0; r < k; r++) {
        buf_str(out, r ? ", " : "[");
        buf_json_float(out, scores[r]);
    }
    buf_str(out, "]");
}

/* The steps of a row's completions, the first of which is completion `first` of all. */
static void write_steps(struct buf *out, const struct table *t, size_t first, size_t n)
{
    buf_printf(out, ", \"steps\": %s", n > 1 ? "[" : "");
    for (size_t c = first; c < first + n; c++) {
        buf_str(out, c > first ? ", [" : "[");
        for (size_t k = t->steps.start[c]; k < t->steps.start[c + 1]; k++) {
            buf_str(out, k > t->steps.start[c] ? ", " : "");
            buf_json_double(out, t->p[k]);
        }
        buf_str(out, "]");
    }
    buf_str(out, n > 1 ? "]" : "");
}

/* entries: (n_completions), the row's; first: its first completion's number. */
static void write_row(struct buf *out, const struct table *t, const struct example *e, size_t first, const struct entry *entries)
{
    static const char *const names[] = {"score", "scores", "std", "ood_distance", "ood"};
    buf_str(out, "{\"id\": ");
    buf_json_str(out, e->row->id, strlen(e->row->id));
    for (enum field f = FIELD_SCORE; f < FIELDS; f++) {
        buf_printf(out, ", \"%s\": %s", names[f], e->n_completions > 1 ? "[" : "");
        for (size_t k = 0; k < e->n_completions; k++) {
            buf_str(out, k ? ", " : "");
            add_entry(out, f, &entries[k], t->models);
        }
        buf_str(out, e->n_completions > 1 ? "]" : "");
    }
    if (t->p)
        write_steps(out, t, first, e->n_completions);
    if (e->n_completions == 2 && t->calibrator.temperature > 0) {
        buf_str(out, ", \"p_a\": ");
        buf_json_double(out, calibrated(&t->calibrator, (double)entries[0].summary.mean - (double)entries[1].summary.mean, e->row->group));
    }
    buf_str(out, "}\n");
}

static void write_all(const struct table *t, const struct examples *e)
{
    struct buf out;
    buf_init(&out, SIZE_MAX / 2);
    for (size_t i = 0, at = 0; i < e->n; at += e->list[i++].n_completions) {
        size_t n = e->list[i].n_completions;
        float *scores = xmalloc(n * t->models * sizeof *scores);
        struct entry *entries = xmalloc(n * sizeof *entries);
        for (size_t k = 0; k < n; k++) {
            float *numbers = scores + k * t->models;
            for (size_t r = 0; r < t->models; r++)
                numbers[r] = t->ood[r * t->count + at + k];
            float distance = score_ood(numbers, t->models);
            for (size_t r = 0; r < t->models; r++)
                numbers[r] = t->scores[r * t->count + at + k];
            entries[k] = (struct entry){numbers, score_summary(numbers, t->models, &t->aggregate), distance};
        }
        write_row(&out, t, &e->list[i], at, entries);
        free(scores);
        free(entries);
    }
    fwrite(out.data, 1, out.len, stdout);
    buf_release(&out);
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

/* Answers in steps, as whole answers. */
static int join(struct dataset *joined, const struct dataset *data, const struct rewards *r, struct err *err)
{
    const char *separator = r->list[0].head.step_separator;
    if (!*separator)
        return err_set(err, "'%s' holds %s, but '%s' is no process reward model: give one, or rows with whole answers", data->path,
                       data->format_name, r->list[0].path);
    return stepwise_join(joined, data, separator, err);
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
    struct dataset data = {0}, joined = {0};
    struct examples e = {0};
    struct table t = {0};
    struct rewards rewards = {0};
    struct rows_config config = {.system = args.system};
    unsigned kinds = 1u << ROWS_TEXT | 1u << ROWS_CHAT | 1u << ROWS_COMPLETION | 1u << ROWS_PAIR |
                     1u << ROWS_UNPAIRED | 1u << ROWS_IDS | 1u << ROWS_RANKING | 1u << ROWS_RATING | 1u << ROWS_STEPWISE;
    int rc = aggregate_of(&t.aggregate, &args.aggregate, &err);
    if (rc == 0)
        rc = base_open(&l, &args.base, &err);
    if (rc == 0)
        rc = load_rewards(&rewards, args.reward.data, args.reward.n, &l, &err);
    if (rc == 0)
        rc = aggregate_check(&t.aggregate, rewards.n, args.reward.data[0], &err);
    if (rc == 0)
        rc = base_read(&data, "score", args.data, &config, kinds, "rows with answers",
                       args.base.quiet, &err);
    if (rc == 0)
        rewards_aggregate_steps(&rewards, t.aggregate.steps);
    if (rc == 0 && data.kind == ROWS_STEPWISE)
        rc = join(&joined, &data, &rewards, &err);
    if (rc == 0)
        rc = encode(&e, joined.n ? &joined : &data, &args, &l.model, &err);
    if (rc == 0) {
        t.models = rewards.n;
        t.calibrator = rewards.calibrator;
        t.count = score_count(&e);
        t.scores = xcalloc(t.models * t.count, sizeof *t.scores);
        t.ood = xcalloc(t.models * t.count, sizeof *t.ood);
        rc = score(&t, &args, &rewards, &e, data.path, &err);
    }
    if (rc == 0)
        write_all(&t, &e);
    free(t.scores);
    free(t.ood);
    free(t.p);
    steps_release(&t.steps);
    rewards_release(&rewards);
    examples_release(&e);
    stepwise_release(&joined);
    dataset_release(&data);
    loaded_release(&l);
    options_release(&o);
    return rc ? command_failed("score", &err) : EXIT_DONE;
}
