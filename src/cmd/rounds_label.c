#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/prompts.h"
#include "cmd/rewarding.h"
#include "cmd/rounds.h"
#include "data/labels.h"
#include "objective/scalar.h"
#include "reward/program.h"
#include "reward/score.h"
#include "rollout/score_input.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/rng.h"

/* ---- labels ---- */

/* What was sent out, as a data set of pairs that are all undecided. */
static int read_sent(struct dataset *data, const struct round_work *w, struct err *err)
{
    char *path = round_path(w->rounds, w->round, "to-label.jsonl");
    struct buf text, rows;
    buf_init(&text, ROUND_LONGEST_FILE);
    buf_init(&rows, 2 * ROUND_LONGEST_FILE);
    int rc = file_read(path, &text, err);
    for (char *line = text.data, *end; rc == 0 && (end = strchr(line, '\n')); line = end + 1) {
        buf_add(&rows, line, (size_t)(end - line) - 1); /* without its closing brace */
        buf_str(&rows, ", \"label\": \"tie\"}\n");
    }
    const struct rows_config config = {.system = w->rounds->args->system, .keep_fields = true};
    if (rc == 0)
        rc = dataset_parse(data, path, rows.data, rows.len, &config, err);
    buf_release(&text);
    buf_release(&rows);
    free(path);
    return rc;
}

/* Answers given as text become what a policy would have said: they end with the end of the turn, which came by itself. */
static void as_said(struct experience *x, struct examples *e, const struct model *m)
{
    int32_t stop[4];
    size_t n_stop = model_stop_tokens(m, stop), at = 0;
    bool *ends = xcalloc(2 * e->n + 1, 1);
    for (size_t i = 0; i < e->n; i++)
        for (size_t k = 0; k < e->list[i].n_completions; k++, at++) {
            struct sequence *s = &e->list[i].completions[k];
            for (size_t t = s->n; t > 0 && !ends[at]; t--)
                for (size_t j = 0; j < n_stop; j++)
                    if (s->ids[t - 1] == stop[j]) {
                        s->n = t;
                        ends[at] = true;
                    }
        }
    experience_from_examples(x, e);
    memcpy(x->finished, ends, x->n * sizeof *ends);
    free(ends);
}

static int open_mix(struct reward_mix *mix, struct mix_models *models, const char *text, const struct rounds_args *args,
                    const struct loaded *start, struct err *err)
{
    if (reward_mix_parse(mix, &text, 1, NULL, 0, err))
        return -1;
    mix->program_seconds = args->reward_timeout;
    mix->max_tokens = (size_t)args->response_length;
    mix->micro_tokens = SCORE_MICRO_TOKENS;
    return mix_models_open(models, mix, start, err);
}

/* A pair's label by what another reward says of its answers: drawn as Bradley and Terry have it, or the higher score. */
static const char *label_of(double lead, const struct rounds_args *args, uint32_t key)
{
    if (args->label_choice == CHOICE_ARGMAX)
        return lead > 0 ? "a" : lead < 0 ? "b" : "tie";
    return rng_uniform((uint32_t)args->seed, RNG_LABEL, key, 0, 0, 0) < sigmoid(lead / args->label_temperature) ? "a" : "b";
}

static int label_by_reward(struct buf *out, const struct round_work *w, struct err *err)
{
    const struct rounds_args *args = w->rounds->args;
    struct loaded start = {0};
    struct dataset data = {0};
    struct examples e = {0};
    struct experience x = {0};
    struct reward_mix mix = {0};
    struct mix_models models = {0};
    double *scores = NULL;
    if (args->threads)
        omp_set_num_threads((int)args->threads);
    int rc = load_net(&start, args->model, NULL, args->tokenizer, err);
    if (rc == 0)
        rc = open_mix(&mix, &models, args->label_reward, args, &start, err);
    if (rc == 0)
        rc = read_sent(&data, w, err);
    struct encode_options o = rc ? (struct encode_options){0} : encode_options_of(&start.model);
    if (rc == 0)
        rc = examples_encode(&e, &data, &o, err);
    if (rc == 0) {
        as_said(&x, &e, &start.model);
        scores = xcalloc(x.n + 1, sizeof *scores);
        rc = reward_mix_score(scores, NULL, NULL, &mix, &x, &start.model, err);
    }
    for (size_t i = 0; rc == 0 && i < data.n; i++) {
        const char *id = data.rows[i].id;
        buf_str(out, "{\"id\": ");
        buf_json_str(out, id, strlen(id));
        buf_printf(out, ", \"label\": \"%s\"}\n",
                   label_of(scores[2 * i] - scores[2 * i + 1], args, row_rng_key(&data.rows[i])));
    }
    free(scores);
    experience_release(&x);
    dataset_release(&data);
    mix_models_release(&models);
    reward_mix_release(&mix);
    loaded_release(&start);
    return rc;
}

static int label_by_program(struct buf *out, const struct round_work *w, struct err *err)
{
    char *path = round_path(w->rounds, w->round, "to-label.jsonl");
    struct buf in;
    buf_init(&in, ROUND_LONGEST_FILE);
    int rc = file_read(path, &in, err);
    if (rc == 0)
        rc = program_run(out, w->rounds->args->label_program, &in, w->rounds->args->reward_timeout, err);
    buf_release(&in);
    free(path);
    return rc;
}

static const char *text_of(const struct row_part *p)
{
    return p->n_messages ? p->messages[0].content : p->text;
}

/* How often the judge's two orders disagreed, and what it thinks of the first place. */
static int write_stats(const struct round_work *w, const struct judge_stats *stats, struct err *err)
{
    struct buf text;
    double n = (double)stats->n;
    buf_init(&text, 1 << 10);
    buf_printf(&text, "{\"pairs\": %zu, \"orders_disagree\": %.6g, \"first_place\": %.6g, \"label_mass\": %.6g}\n", stats->n,
               (double)stats->disagree / n, stats->first / n, stats->mass / n);
    int rc = round_put(w, "judge.json", &text, err);
    if (!w->rounds->args->quiet)
        fprintf(stderr,
                "judge: of %zu pairs %zu are judged otherwise when the answers change places; the first place gets %.3f\n",
                stats->n, stats->disagree, stats->first / n);
    buf_release(&text);
    return rc;
}

/* A language model's own opinion, as the chance that a is the better answer. */
static int label_by_judge(struct buf *out, const struct round_work *w, struct err *err)
{
    const struct rounds_args *args = w->rounds->args;
    struct loaded start = {0};
    struct dataset data = {0};
    struct judge_model judge = {0};
    struct judge_stats stats = {0};
    if (args->threads)
        omp_set_num_threads((int)args->threads);
    int rc = load_net(&start, args->model, NULL, args->tokenizer, err);
    if (rc == 0)
        rc = judge_model_open(&judge, &args->judge, &start, SCORE_MICRO_TOKENS, err);
    if (rc == 0 && !judge.policy.own)
        rc = model_pack(&start.model, err);
    if (rc == 0)
        rc = read_sent(&data, w, err);
    struct judge_question *questions = xcalloc(data.n + 1, sizeof *questions);
    double *p_a = xcalloc(data.n + 1, sizeof *p_a);
    for (size_t i = 0; i < data.n; i++) {
        const struct row *row = &data.rows[i];
        questions[i] = (struct judge_question){&row->prompt, text_of(&row->completions[0]), text_of(&row->completions[1])};
    }
    if (rc == 0)
        rc = judge_check_rows(&data, err) || judge_pairs(p_a, &stats, &judge.judge, questions, data.n, err) ||
                     write_stats(w, &stats, err)
                 ? -1
                 : 0;
    for (size_t i = 0; rc == 0 && i < data.n; i++) {
        const char *id = data.rows[i].id;
        buf_str(out, "{\"id\": ");
        buf_json_str(out, id, strlen(id));
        buf_str(out, ", \"p_a\": ");
        buf_json_double(out, p_a[i]);
        buf_str(out, "}\n");
    }
    free(questions);
    free(p_a);
    judge_model_release(&judge);
    dataset_release(&data);
    loaded_release(&start);
    return rc;
}

int rounds_label(void *user, struct err *err)
{
    const struct round_work *w = user;
    struct buf out;
    buf_init(&out, ROUND_LONGEST_FILE);
    int labels = w->rounds->args->labels;
    int rc = labels == LABELS_PROGRAM ? label_by_program(&out, w, err)
             : labels == LABELS_JUDGE ? label_by_judge(&out, w, err)
                                      : label_by_reward(&out, w, err);
    if (rc == 0)
        rc = round_put(w, "labels.jsonl", &out, err);
    buf_release(&out);
    return rc;
}

/* ---- judgements ---- */

static void add_field(struct buf *out, const char *name, const char *text)
{
    if (!text)
        return;
    buf_printf(out, ", \"%s\": ", name);
    buf_json_str(out, text, strlen(text));
}

static void add_number(struct buf *out, const char *name, double x, double usual)
{
    if (!isfinite(x) || x == usual)
        return;
    buf_printf(out, ", \"%s\": ", name);
    buf_json_double(out, x);
}

/* A row of comparisons, whatever its format was, as a judgement. */
static void write_row(struct buf *out, const struct row *row)
{
    buf_str(out, "{\"id\": ");
    buf_json_str(out, row->id, strlen(row->id));
    buf_str(out, ", \"prompt\": ");
    row_part_json(out, &row->prompt);
    for (size_t k = 0; k < 2; k++) {
        buf_printf(out, ", \"%s\": ", k ? "b" : "a");
        row_part_json(out, &row->completions[k]);
    }
    if (row->label == ROW_TIE)
        buf_str(out, ", \"label\": \"tie\"");
    else
        add_number(out, "p_a", row->p_a, NAN);
    add_field(out, "annotator", row->annotator);
    add_field(out, "group", row->group);
    add_number(out, "weight", row->weight, 1);
    add_number(out, "margin", row->margin, 0);
    add_number(out, "strength", row->strength, NAN);
    buf_str(out, "}\n");
}

/* The comparisons that were there at the start. */
static int add_first(struct buf *out, const struct rounds_args *args, struct err *err)
{
    struct dataset data;
    const struct rows_config config = {.system = args->system};
    if (dataset_read(&data, args->train_data, &config, err))
        return -1;
    for (size_t i = 0; i < data.n; i++)
        write_row(out, &data.rows[i]);
    dataset_release(&data);
    return 0;
}

int rounds_gather(void *user, struct err *err)
{
    const struct round_work *w = user;
    const struct rounds_args *args = w->rounds->args;
    char *sent = round_path(w->rounds, w->round, "to-label.jsonl"), *back = round_path(w->rounds, w->round, "labels.jsonl");
    struct labels_report report;
    struct buf own, all;
    buf_init(&own, ROUND_LONGEST_FILE);
    buf_init(&all, ROUND_LONGEST_FILE);
    int rc = labels_join(&own, &report, sent, back, err);
    if (rc == 0 && report.labelled < report.pairs)
        fprintf(stderr, "%s: %zu of %zu pairs have no label (%s%s) and are left out\n", back, report.pairs - report.labelled,
                report.pairs, report.missing, report.pairs - report.labelled > 3 ? ", .." : "");
    if (rc == 0 && args->labels != LABELS_DEMONSTRATIONS && args->train_data)
        rc = add_first(&all, args, err);
    size_t first = args->rounds_kept && (size_t)args->rounds_kept < w->round ? w->round - (size_t)args->rounds_kept + 1 : 1;
    for (size_t k = first; rc == 0 && k < w->round; k++) {
        char *before = round_path(w->rounds, k, "judgements.jsonl");
        rc = file_read(before, &all, err);
        free(before);
    }
    buf_add(&all, own.data, own.len);
    if (rc == 0)
        rc = round_put(w, "judgements.jsonl", &own, err) || round_put(w, "comparisons.jsonl", &all, err) ? -1 : 0;
    buf_release(&own);
    buf_release(&all);
    free(sent);
    free(back);
    return rc;
}

/* ---- before anything is begun ---- */

static int check_rows(const struct rounds_args *args, const char *path, enum rows_kind kind, const char *option,
                      const char *wanted, struct err *err)
{
    struct dataset data;
    const struct rows_config config = {.system = args->system};
    if (!path)
        return 0;
    if (dataset_read(&data, path, &config, err))
        return -1;
    int rc = data.kind == kind ? 0 : err_set(err, "'%s' holds %s, but %s takes %s", path, data.format_name, option, wanted);
    dataset_release(&data);
    return rc;
}

static int check_mix(const char *text, const struct rounds_args *args, const struct loaded *start, const struct dataset *rows,
                     const char *option, struct err *err)
{
    struct reward_mix mix;
    struct mix_models models = {0};
    if (!text)
        return 0;
    int rc = open_mix(&mix, &models, text, args, start, err);
    if (rc == 0 && !rows && mix.list[0].kind == REWARD_RULE && reward_mix_reads_rows(&mix))
        rc = err_set(err, "'%s' compares with a field of the prompt's row, which pairs do not have: take another", text);
    if (rc == 0 && rows)
        rc = reward_mix_check(&mix, rows, &start->model, err);
    mix_models_release(&models);
    reward_mix_release(&mix);
    return rc ? err_prefix(err, "%s", option) : 0;
}

int rounds_check(void *user, struct err *err)
{
    const struct round_work *w = user;
    const struct rounds_args *args = w->rounds->args;
    bool demonstrations = args->labels == LABELS_DEMONSTRATIONS;
    enum rows_kind kind = demonstrations ? ROWS_COMPLETION : ROWS_PAIR;
    const char *wanted = demonstrations ? "demonstrations (prompt, completion)" : "pairs of answers with labels";
    const unsigned kinds = demonstrations ? 1u << ROWS_COMPLETION : ~(1u << ROWS_SCORES);
    struct loaded start = {0};
    struct prompts p = {0}, eval = {0};
    const struct rows_config config = {.prompts = true, .system = args->system, .keep_fields = true};
    size_t length = (size_t)args->response_length;
    int rc = check_rows(args, args->train_data, kind, "--train-data", wanted, err) ||
                     check_rows(args, args->eval_data, kind, "--eval-data", wanted, err)
                 ? -1
                 : load_net(&start, args->model, NULL, args->tokenizer, err);
    if (rc == 0 && !start.model.tokenizer)
        rc = err_set(err, "answers are judged as text, but '%s' has no tokenizer: name one with --tokenizer", args->model);
    if (rc == 0)
        rc = prompts_read(&p, w->rounds->command, args->prompts, &config, kinds, &start.model, length, args->quiet, err) ||
                     prompts_read(&eval, w->rounds->command, args->eval_prompts, &config, kinds, &start.model, length,
                                  args->quiet, err) ||
                     check_mix(args->gold, args, &start, &eval.data, "--gold", err) ||
                     check_mix(args->label_reward, args, &start, NULL, "--label-reward", err)
                 ? -1
                 : 0;
    for (size_t i = 0; rc == 0 && i < args->add_reward.n; i++)
        rc = check_mix(args->add_reward.data[i], args, &start, &p.data, "--add-reward", err);
    if (rc == 0 && args->judge.judge) {
        struct judge_model judge;
        rc = judge_model_open(&judge, &args->judge, &start, SCORE_MICRO_TOKENS, err);
        if (rc == 0)
            judge_model_release(&judge);
    }
    prompts_release(&eval);
    prompts_release(&p);
    loaded_release(&start);
    return rc;
}
