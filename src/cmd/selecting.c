#include "cmd/selecting.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/json.h"
#include "reward/overoptimization.h"
#include "reward/score.h"
#include "util/file.h"
#include "util/mem.h"

#define FIELD(name) offsetof(struct selecting_args, name)
const struct option selecting_options[N_SELECTING_OPTIONS] = {
    {"reward", OPTION_LIST, FIELD(reward), NULL,
     "score the answers by a reward model (a run's folder or a model with a head), rule:.. or program:.. (docs/methods/rewards.md); "
     "several: their sum",
     .value = "REWARD"},
    {"reward_weights", OPTION_LIST, FIELD(reward_weights), NULL, "a weight for each reward; otherwise all 1", .commas = true, .value = "X"},
    {"reward_timeout", OPTION_FLOAT, FIELD(reward_timeout), "60", "seconds that a program may take to score a batch", .min = 0.1, .max = 1e5},
    {"missing_eos_penalty", OPTION_FLOAT, FIELD(missing_eos_penalty), "1", "taken off the score of an answer that was cut by length",
     .min = 0, .max = 1e6},
    {"select", OPTION_CHOICE, FIELD(select), "best",
     "which answers are written: all; the best; those above the threshold; the best and the worst as a pair; pairs by rejection "
     "sampling (RSO)",
     .choices = select_names},
    {"threshold", OPTION_FLOAT, FIELD(threshold), "0", "least score of above", .min = -1e9, .max = 1e9},
    {"hint", OPTION_STRING, FIELD(hint), NULL,
     "of above: prompts that none was selected for are answered once more with this text behind them, in which {NAME} is the row's field; "
     "what is selected then is written without it (STaR's rationalisation)",
     .value = "TEXT"},
    {"rso_beta", OPTION_FLOAT, FIELD(rso_beta), "0.5", "of rso: small takes the best answers, large any", .min = 0, .max = 1e9, .above_min = true},
    {"rso_keep", OPTION_INT, FIELD(rso_keep), "8", "of rso: answers to a prompt that are accepted at most", .min = 2, .max = 1e6},
    {"gold", OPTION_STRING, FIELD(gold), NULL, "a judge that does not select, written as a reward: what it says of the best of n",
     .value = "REWARD"},
    {"summary", OPTION_STRING, FIELD(summary), NULL, "a file for the best-of-n curve, as JSON", .value = "FILE"},
};
#undef FIELD

bool selecting_wanted(const struct selecting_args *args)
{
    return args->reward.n > 0;
}

static int open_mix(struct reward_mix *mix, struct mix_models *models, const struct selecting *s, const char *const *texts, size_t n,
                    const struct strings *weights, size_t longest, const struct loaded *l, const struct dataset *rows, struct err *err)
{
    if (reward_mix_parse(mix, texts, n, weights ? weights->data : NULL, weights ? weights->n : 0, err))
        return -1;
    mix->program_seconds = s->args->reward_timeout;
    mix->max_tokens = longest;
    mix->micro_tokens = SCORE_MICRO_TOKENS;
    if (aggregate_of(&mix->aggregate, &s->args->aggregate, err))
        return -1;
    mix->aggregate.n_weights = weights ? mix->aggregate.n_weights : 0; /* the gold's members are others */
    return mix_models_open(models, mix, l, err) || reward_mix_check(mix, rows, &l->model, err) ? -1 : 0;
}

int selecting_open(struct selecting *s, const struct selecting_args *args, const struct loaded *l, const struct dataset *rows,
                   uint32_t seed, size_t most, size_t longest, struct err *err)
{
    *s = (struct selecting){.args = args, .model = &l->model, .most = most};
    s->config = (struct select_config){(enum select_how)args->select, args->threshold, args->rso_beta, (size_t)args->rso_keep, seed};
    if (!l->model.tokenizer)
        return err_set(err, "answers are selected as text, but '%s' has no tokenizer: name one with --tokenizer", l->model.path);
    if (args->hint && s->config.how != SELECT_ABOVE)
        return err_set(err, "--hint is for prompts of which nothing was selected, as with --select above alone: add that, or leave it out");
    for (size_t i = 0; args->hint && i < rows->n; i++) {
        char *text = hint_for(args->hint, &rows->rows[i], rows->path, err);
        free(text);
        if (!text)
            return -1;
    }
    if (select_makes_pairs(s->config.how) && most < 2)
        return err_set(err, "a pair takes two answers to a prompt: raise --num-generations");
    for (int i = 0; i < 2; i++) {
        s->sum[i] = xcalloc(most + 1, sizeof *s->sum[i]);
        s->squares[i] = xcalloc(most + 1, sizeof *s->squares[i]);
    }
    if (open_mix(&s->mix, &s->models, s, args->reward.data, args->reward.n, &args->reward_weights, longest, l, rows, err))
        return -1;
    return args->gold && open_mix(&s->gold, &s->gold_models, s, &args->gold, 1, NULL, longest, l, rows, err)
               ? err_prefix(err, "--gold") : 0;
}

void selecting_release(struct selecting *s)
{
    mix_models_release(&s->models);
    mix_models_release(&s->gold_models);
    reward_mix_release(&s->mix);
    reward_mix_release(&s->gold);
    for (int i = 0; i < 2; i++) {
        free(s->sum[i]);
        free(s->squares[i]);
    }
    free(s->missed);
}

void selecting_hint(struct selecting *s)
{
    s->hinting = true;
}

char *hint_for(const char *hint, const struct row *row, const char *path, struct err *err)
{
    struct buf text;
    buf_init(&text, SIZE_MAX / 2);
    while (*hint) {
        size_t plain = strcspn(hint, "{"), length = hint[plain] ? strcspn(hint + plain, "}") : 0;
        buf_add(&text, hint, plain);
        hint += plain;
        if (!*hint)
            break;
        char *name = xstrndup(hint + 1, length - 1), *value = hint[length] ? row_field_text(row, name) : NULL;
        int rc = value ? 0 : err_set(err, "'%s' line %zu: there is no field \"%s\" with text or a number, which the hint has in it", path,
                                     row->line, name);
        buf_str(&text, value ? value : "");
        free(name);
        free(value);
        if (rc) {
            buf_release(&text);
            return NULL;
        }
        hint += length + 1;
    }
    return text.data;
}

/* ---- rows ---- */

/* A prompt's answers, and what they scored. */
struct answered {
    const struct request *request;
    const struct row *row;
    const double *scores;
};

static void add_text(struct buf *out, const char *name, const struct selecting *s, const struct sample *answer)
{
    struct buf text, clean;
    buf_init(&text, SIZE_MAX / 2);
    buf_init(&clean, SIZE_MAX / 2);
    tokenizer_decode(s->model->tokenizer, &text, answer->ids, answer->n - (answer->finish == FINISH_STOP), true);
    for (size_t i = 0; i < text.len; i++) /* rows have no byte 0: it becomes U+FFFD, as what is not UTF-8 does */
        buf_add(&clean, text.data[i] ? &text.data[i] : "\xEF\xBF\xBD", text.data[i] ? 1 : 3);
    buf_printf(out, ", \"%s\": ", name);
    buf_json_str(out, clean.data ? clean.data : "", clean.len);
    buf_release(&text);
    buf_release(&clean);
}

static void begin_row(struct buf *out, const struct answered *a, const char *suffix)
{
    char *id = xasprintf("%s/%s", a->row->id, suffix);
    buf_str(out, "{\"id\": ");
    buf_json_str(out, id, strlen(id));
    buf_str(out, ", \"prompt\": ");
    row_part_json(out, &a->row->prompt);
    char *variables = a->row->variables ? json_dumps(a->row->variables, 0) : NULL;
    if (variables)
        buf_printf(out, ", \"chat_template_kwargs\": %s", variables);
    free(variables);
    free(id);
}

static void add_number(struct buf *out, const char *name, double x)
{
    buf_printf(out, ", \"%s\": %.9g", name, x);
}

static void write_demonstration(struct selecting *s, struct buf *out, const struct answered *a, size_t k)
{
    char suffix[32];
    const struct sample *answer = &a->request->samples[k];
    snprintf(suffix, sizeof suffix, "%s%zu", s->hinting ? "hint-" : "", k);
    begin_row(out, a, suffix);
    add_text(out, "completion", s, answer);
    add_number(out, "score", a->scores[k]);
    buf_printf(out, ", \"finish_reason\": \"%s\"%s}\n", answer->finish == FINISH_STOP ? "stop" : "length",
               s->hinting ? ", \"hint\": true" : "");
    s->written++;
}

static void write_pair(struct selecting *s, struct buf *out, const struct answered *a, size_t chosen, size_t rejected)
{
    char suffix[48];
    snprintf(suffix, sizeof suffix, "%zu-%zu", chosen, rejected);
    begin_row(out, a, suffix);
    add_text(out, "chosen", s, &a->request->samples[chosen]);
    add_text(out, "rejected", s, &a->request->samples[rejected]);
    add_number(out, "score_chosen", a->scores[chosen]);
    add_number(out, "score_rejected", a->scores[rejected]);
    buf_str(out, "}\n");
    s->written++;
}

/* Returns how many answers were selected. */
static size_t write_selected(struct selecting *s, struct buf *out, const struct answered *a)
{
    size_t k = a->request->n_samples, *chosen = xmalloc((k + 1) * sizeof *chosen);
    size_t n = select_answers(chosen, a->scores, k, &s->config, a->request->key);
    bool pairs = select_makes_pairs(s->config.how);
    for (size_t i = 0; i < n; i += pairs ? 2 : 1) {
        if (pairs)
            write_pair(s, out, a, chosen[i], chosen[i + 1]);
        else
            write_demonstration(s, out, a, chosen[i]);
    }
    free(chosen);
    return n;
}

/* ---- scores ---- */

/* Weighted sums of a mix, less the penalty for answers that were cut. */
static int score(double *total, const struct reward_mix *mix, const struct experience *x, const struct selecting *s, struct err *err)
{
    double *parts = xcalloc(mix->n * x->n + 1, sizeof *parts);
    int rc = reward_mix_score(parts, NULL, NULL, mix, x, s->model, err);
    if (rc == 0)
        rc = reward_mix_total(total, parts, mix, x, s->args->missing_eos_penalty, err);
    free(parts);
    return rc;
}

static void add_to_curve(struct selecting *s, int which, const double *proxy, const double *scores, size_t k)
{
    double *mean = xmalloc((k + 1) * sizeof *mean);
    best_of_n_gold(mean, k, proxy, scores, k);
    for (size_t n = 0; n < k; n++) {
        s->sum[which][n] += mean[n];
        s->squares[which][n] += mean[n] * mean[n];
    }
    free(mean);
}

/* Answers are scored as answers to the prompt itself. */
static void forget_hint(struct sequence *hinted, const struct sequence *prompt)
{
    hinted->ids = xreallocarray(hinted->ids, prompt->n + 1, sizeof *hinted->ids);
    hinted->mask = xrealloc(hinted->mask, prompt->n + 1);
    memcpy(hinted->ids, prompt->ids, prompt->n * sizeof *hinted->ids);
    memset(hinted->mask, 1, prompt->n + 1);
    hinted->n = prompt->n;
}

int selecting_take(struct selecting *s, struct buf *out, const struct request *requests, const struct example *e, size_t n,
                   struct err *err)
{
    struct experience x;
    experience_init(&x, requests, n);
    for (size_t i = 0; i < n; i++) {
        x.examples.list[i].row = e[i].row;
        if (s->hinting)
            forget_hint(&x.examples.list[i].prompt, &e[i].prompt);
    }
    double *scores = xcalloc(2 * x.n + 1, sizeof *scores), *gold = scores + x.n;
    int rc = score(scores, &s->mix, &x, s, err);
    if (rc == 0 && s->gold.n)
        rc = score(gold, &s->gold, &x, s, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        size_t first = x.tree[i], k = requests[i].n_samples;
        const struct answered a = {&requests[i], e[i].row, scores + first};
        size_t before = s->written, selected = write_selected(s, out, &a);
        if (s->hinting) {
            s->hinted += selected > 0;
            s->hinted_written += s->written - before;
            continue;
        }
        if (selected == 0) {
            ARRAY_GROW(s->missed, s->n_missed + 1, s->missed_capacity);
            s->missed[s->n_missed++] = s->prompts;
        }
        add_to_curve(s, 0, scores + first, scores + first, k);
        if (s->gold.n)
            add_to_curve(s, 1, scores + first, gold + first, k);
        s->prompts++;
    }
    free(scores);
    experience_release(&x);
    return rc;
}

/* ---- the curve ---- */

/* Mean over prompts of the best of n + 1, and its standard error. */
static double mean_of(const struct selecting *s, int which, size_t n, double *std_err)
{
    double count = (double)s->prompts, mean = s->sum[which][n] / count;
    double variance = fmax(0, s->squares[which][n] / count - mean * mean);
    *std_err = s->prompts > 1 ? sqrt(variance / (count - 1)) : NAN;
    return mean;
}

/* The gold's curve, where there are a gold and enough answers. */
static bool fit_gold(struct gold_fit *fit, const struct selecting *s)
{
    struct err ignored;
    double *column = xmalloc((3 * s->most + 1) * sizeof *column), *kl = column, *gold = column + s->most, *error = gold + s->most, start;
    for (size_t n = 0; s->gold.n && n < s->most; n++) {
        kl[n] = best_of_n_kl(n + 1);
        gold[n] = mean_of(s, 1, n, &error[n]);
    }
    start = s->gold.n ? gold[0] : 0;
    for (size_t n = 0; s->gold.n && n < s->most; n++)
        gold[n] -= start;
    bool there = s->gold.n && s->prompts > 1 && s->most > 3 &&
                 gold_curve_fit(fit, GOLD_CURVE_BEST_OF_N, kl, gold, error, s->most, &ignored) == 0;
    free(column);
    return there;
}

static json_t *curve_json(const struct selecting *s)
{
    static const char *const names[] = {"reward", "gold"};
    json_t *all = json_array();
    for (size_t n = 0; n < s->most; n++) {
        json_t *point = json_pack("{s:I, s:f}", "n", (json_int_t)(n + 1), "kl", best_of_n_kl(n + 1));
        for (int which = 0; which < (s->gold.n ? 2 : 1); which++) {
            double error, mean = mean_of(s, which, n, &error);
            json_object_set_new(point, names[which], json_pack("{s:o, s:o}", "mean", json_finite(mean), "std_err", json_finite(error)));
        }
        json_array_append_new(all, point);
    }
    return all;
}

static int write_summary(const struct selecting *s, struct err *err)
{
    struct gold_fit fit;
    json_t *o = json_pack("{s:I, s:I, s:I, s:o}", "prompts", (json_int_t)s->prompts, "answers_each", (json_int_t)s->most, "rows_written",
                          (json_int_t)s->written, "best_of_n", curve_json(s));
    if (s->hinting)
        json_object_set_new(o, "hint", json_pack("{s:I, s:I, s:I}", "prompts", (json_int_t)s->n_missed, "selected", (json_int_t)s->hinted,
                                                 "rows_written", (json_int_t)s->hinted_written));
    if (fit_gold(&fit, s))
        json_object_set_new(o, "gold_fit", json_pack("{s:f, s:f, s:o}", "alpha", fit.alpha, "beta", fit.beta, "peak_kl",
                                                     json_finite(fit.peak_kl)));
    char *text = json_dumps(o, JSON_INDENT(1));
    int rc = file_write(s->args->summary, text, strlen(text), err);
    free(text);
    json_decref(o);
    return rc;
}

static void print_curve(const struct selecting *s)
{
    struct gold_fit fit;
    fprintf(stderr, "%zu prompts, %zu answers each: %zu rows written\n\n  best of   KL up to   reward%s\n", s->prompts, s->most,
            s->written, s->gold.n ? "              gold" : "");
    if (s->hinting)
        fprintf(stderr, "  of %zu prompts without an answer that was selected %zu have one with the hint: %zu rows\n", s->n_missed, s->hinted,
                s->hinted_written);
    for (size_t n = 1; n <= s->most; n = n < s->most && 2 * n > s->most ? s->most : 2 * n) {
        fprintf(stderr, "  %7zu   %8.3f", n, best_of_n_kl(n));
        for (int which = 0; which < (s->gold.n ? 2 : 1); which++) {
            double error, mean = mean_of(s, which, n - 1, &error);
            fprintf(stderr, "   %7.3f +- %.3f", mean, error);
        }
        fputc('\n', stderr);
    }
    if (fit_gold(&fit, s) && isfinite(fit.peak_kl))
        fprintf(stderr, "  the gold's fitted curve has its peak at a KL of %.2f\n", fit.peak_kl);
}

int selecting_end(const struct selecting *s, bool quiet, struct err *err)
{
    if (s->prompts == 0)
        return 0;
    if (!quiet)
        print_curve(s);
    return s->args->summary ? write_summary(s, err) : 0;
}
