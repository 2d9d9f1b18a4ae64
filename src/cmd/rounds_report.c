#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/json.h"
#include "cmd/load.h"
#include "cmd/rounds.h"
#include "eval/report.h"
#include "util/file.h"
#include "util/mem.h"

/* ---- lineage.json ---- */

static int add_input(json_t *inputs, const char *name, const char *path, struct err *err)
{
    char hash[65];
    if (!path)
        return 0;
    if (!file_exists(path)) { /* a rule, a program's command line */
        json_object_set_new(inputs, name, json_pack("{s:s}", "path", path));
        return 0;
    }
    if (file_is_dir(path) ? artefact_hash(hash, path, err) : file_sha256(hash, path, err))
        return -1;
    json_object_set_new(inputs, name, json_pack("{s:s, s:s}", "path", path, "sha256", hash));
    return 0;
}

static const char *policy_of(const struct rounds *r, size_t round)
{
    return round ? json_string_value(json_object_get(json_array_get(r->all, round - 1), "policy")) : r->args->model;
}

static void why_best(struct buf *words, const struct rounds *r, size_t best)
{
    if (best == 0)
        buf_str(words, isfinite(r->start_gold) ? "no round's gold is above the start's" : "in every round the monitor tripped");
    else if (isfinite(r->start_gold))
        buf_printf(words, "the highest gold of all rounds, %.4g; the start has %.4g", r->figures[best - 1].gold, r->start_gold);
    else
        buf_str(words, "the last round in which no alarm was on: without a gold nobody says which is the best");
}

static json_t *best_json(const struct rounds *r)
{
    size_t best = round_best(r->figures, r->n, r->start_gold);
    struct buf words;
    buf_init(&words, 1 << 12);
    why_best(&words, r, best);
    json_t *o = json_pack("{s:I, s:s, s:s}", "round", (json_int_t)best, "policy", policy_of(r, best), "why", words.data);
    buf_release(&words);
    return o;
}

int rounds_lineage(const struct rounds *r, struct err *err)
{
    const struct rounds_args *a = r->args;
    const struct {
        const char *name, *path;
    } files[] = {{"prompts", a->prompts},
                 {"eval_prompts", a->eval_prompts},
                 {"train_data", a->train_data},
                 {"eval_data", a->eval_data},
                 {"reward_config", a->reward_config},
                 {"method_config", a->method_config},
                 {"gold", a->gold},
                 {"label_reward", a->label_reward},
                 {"label_program", a->label_program},
                 {"judge", a->judge.judge}};
    json_t *inputs = json_object();
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof files / sizeof *files; i++)
        rc = add_input(inputs, files[i].name, files[i].path, err);
    json_t *o = json_pack("{s:s, s:s, s:I, s:{s:s, s:s}, s:o, s:O, s:O}", "command", r->command, "version", HONE_VERSION,
                          "seed", (json_int_t)a->seed, "model", "path", a->model, "sha256", r->start_hash, "inputs", inputs,
                          "stages", r->made, "rounds", r->all);
    if (r->stop)
        json_object_set_new(o, "stopped", json_pack("{s:s, s:s}", "rule", round_stop_names[r->stop], "why", r->words.data));
    if (r->waits_for) {
        char *name = round_name(r->n + 1, "labels.jsonl");
        json_object_set_new(o, "waits_for", json_string(name));
        free(name);
    }
    if (r->n)
        json_object_set_new(o, "best", best_json(r));
    char *path = path_join(a->output_dir, "lineage.json"), *text = json_dumps(o, JSON_INDENT(1));
    if (rc == 0)
        rc = text ? file_write(path, text, strlen(text), err) : err_set(err, "'%s' cannot be written as JSON", path);
    free(text);
    free(path);
    json_decref(o);
    return rc;
}

/* ---- figures ---- */

static struct interval figure_at(const json_t *figures, const char *const path[3])
{
    const json_t *v = figures;
    for (size_t i = 0; i < 3 && path[i]; i++)
        v = json_object_get(v, path[i]);
    return json_to_interval(v);
}

/* What is shown of a round: a column of the table, and a curve.  start: where the start's own stands, or nowhere. */
static const struct shown {
    const char *title, *label;
    const char *path[3], *start[3];
    double scale;
    int digits;
} shown[] = {
    {"Gold", "mean of the gold", {"policies", "new", "gold"}, {"policies", "start", "gold"}, 1, 3},
    {"Gold over the policy before", "difference, paired", {"gold", "over_last", "difference"}, {NULL}, 1, 3},
    {"Score under the round's reward model", "mean score", {"policies", "new", "score"}, {"policies", "start", "score"}, 1, 3},
    {"KL to the start", "nats an answer", {"policies", "new", "kl"}, {"policies", "start", "kl"}, 1, 2},
    {"New labels that the reward model before foresaw", "share", {"agreement", "accuracy"}, {NULL}, 1, 3},
    {"Demonstrations told from answers of the policy before", "share of held-out pairs", {"told_apart"}, {NULL}, 1, 3},
    {".. by length alone", "share of held-out pairs", {"told_apart_by_length"}, {NULL}, 1, 3},
    {"Held-out demonstrations", "nats a token", {"logps", "new"}, {"logps", "start"}, 1, 3},
    {"The longer answer was preferred", "share of judgements", {"lengths", "longer_wins"}, {NULL}, 1, 3},
    {"Length of the answers", "tokens", {"policies", "new", "tokens"}, {"policies", "start", "tokens"}, 1, 1},
};
enum { SHOWN = sizeof shown / sizeof *shown };

/* A point a round that has the figure, the start's as round 0 first. */
static size_t points(double *x, struct interval *y, const struct rounds *r, const struct shown *s)
{
    size_t n = 0;
    for (size_t k = s->start[0] && r->n ? 0 : 1; k <= r->n; k++) {
        struct interval v = figure_at(json_array_get(r->all, k ? k - 1 : 0), k ? s->path : s->start);
        if (isfinite(v.value)) {
            x[n] = (double)k;
            y[n++] = v;
        }
    }
    return n > (s->start[0] != NULL) ? n : 0;
}

static void draw_curve(struct report *page, const struct rounds *r, const struct shown *s)
{
    size_t most = r->n + 1;
    double *x = xmalloc(4 * most * sizeof *x), *y = x + most, *lo = y + most, *hi = lo + most;
    struct interval *v = xmalloc(most * sizeof *v);
    size_t n = points(x, v, r, s);
    for (size_t i = 0; i < n; i++) {
        y[i] = v[i].value;
        lo[i] = v[i].lo;
        hi[i] = v[i].hi;
    }
    const struct report_series series = {.name = s->title, .x = x, .y = y, .lo = lo, .hi = hi, .n = n};
    if (n)
        report_line_chart(page, s->title, "round", s->label, &series, 1);
    free(x);
    free(v);
}

static void draw_table(struct report *page, const struct rounds *r)
{
    const char *header[SHOWN + 1] = {"Round"};
    const struct shown *columns[SHOWN];
    size_t n = 0;
    double *x = xmalloc((r->n + 1) * sizeof *x);
    struct interval *v = xmalloc((r->n + 1) * sizeof *v);
    for (size_t i = 0; i < SHOWN; i++)
        if (points(x, v, r, &shown[i])) {
            columns[n++] = &shown[i];
            header[n] = shown[i].title;
        }
    report_table(page, NULL, n + 1, header);
    for (size_t k = 1; k <= r->n; k++) {
        report_cell(page, REPORT_NEUTRAL, "%zu", k);
        for (size_t i = 0; i < n; i++) {
            struct interval y = figure_at(json_array_get(r->all, k - 1), columns[i]->path);
            if (isfinite(y.value))
                report_cell(page, REPORT_NEUTRAL, "%.*f [%.*f, %.*f]", columns[i]->digits, y.value, columns[i]->digits, y.lo,
                            columns[i]->digits, y.hi);
            else
                report_cell(page, REPORT_NEUTRAL, "-");
        }
    }
    report_table_end(page);
    free(x);
    free(v);
}

static void draw_costs(struct report *page, const struct rounds *r)
{
    static const char *const header[] = {"Stage", "Minutes", "Peak memory, MiB"};
    const char *name;
    json_t *o;
    report_heading(page, "What it cost");
    report_table(page, NULL, 3, header);
    json_object_foreach(r->stages.record, name, o) {
        report_cell(page, REPORT_NEUTRAL, "%s", name);
        report_cell(page, REPORT_NEUTRAL, "%.1f", json_number(json_object_get(o, "seconds")) / 60);
        report_cell(page, REPORT_NEUTRAL, "%.0f", json_number(json_object_get(o, "peak_mib")));
    }
    report_table_end(page);
}

static int write_report(const struct rounds *r, const char *path, struct err *err)
{
    struct report page;
    struct buf why;
    char *title = xasprintf("hone %s", r->command);
    size_t best = round_best(r->figures, r->n, r->start_gold);
    report_init(&page, title, r->args->model);
    buf_init(&why, 1 << 12);
    why_best(&why, r, best);
    report_heading(&page, "How it ended");
    if (r->waits_for)
        report_text(&page, "Round %zu waits for labels: '%s'.", r->n + 1, r->waits_for);
    else
        report_text(&page, "Stopped after round %zu: %s.", r->n, r->words.data);
    if (r->n) {
        report_text(&page, "The best policy is %s: %s.", best ? policy_of(r, best) : "the start's", why.data);
        report_heading(&page, "Round by round");
        draw_table(&page, r);
        report_text(
            &page,
            "In brackets: 95 %% intervals, over prompts where answers are measured. Held-out prompts: %.0f. The score of a "
            "round's own reward model is what its policy was trained on: only the gold can say whether answers got better.",
            json_number(json_object_get(json_array_get(r->all, 0), "prompts")));
        report_heading(&page, "Curves");
        for (size_t i = 0; i < SHOWN; i++)
            draw_curve(&page, r, &shown[i]);
    }
    draw_costs(&page, r);
    int rc = report_write(&page, path, err);
    report_release(&page);
    buf_release(&why);
    free(title);
    return rc;
}

/* ---- the table at the end ---- */

static void print_figure(const json_t *figures, size_t which, int width)
{
    struct interval y = figure_at(figures, shown[which].path);
    char text[64] = "-";
    if (isfinite(y.value))
        snprintf(text, sizeof text, isfinite(y.lo) ? "%.*f [%.*f, %.*f]" : "%.*f", shown[which].digits, y.value,
                 shown[which].digits, y.lo, shown[which].digits, y.hi);
    fprintf(stderr, "  %*s", width, text);
}

static void print_summary(const struct rounds *r, const char *path)
{
    bool imitates = r->args->labels == LABELS_DEMONSTRATIONS;
    enum { GOLD = 0, OVER_LAST = 1, SCORE = 2, KL = 3, FORESEEN = 4, APART = 5, DEMONSTRATIONS = 7 };
    struct buf why;
    buf_init(&why, 1 << 12);
    size_t best = round_best(r->figures, r->n, r->start_gold);
    why_best(&why, r, best);
    if (r->n)
        fprintf(stderr, "\n  round  %24s  %24s  %18s  %24s\n", "gold over the one before", "score over the start",
                "KL to the start", imitates ? "told apart" : "labels foreseen");
    for (size_t k = 1; k <= r->n; k++) {
        const json_t *o = json_array_get(r->all, k - 1);
        struct interval score = figure_at(o, (const char *const[]){"score", "over_start", "difference"});
        char text[64] = "-";
        if (isfinite(score.value))
            snprintf(text, sizeof text, "%.3f [%.3f, %.3f]", score.value, score.lo, score.hi);
        fprintf(stderr, "  %5zu", k);
        print_figure(o, OVER_LAST, 24);
        fprintf(stderr, "  %24s", text);
        print_figure(o, KL, 18);
        print_figure(o, imitates ? APART : FORESEEN, 24);
        fputc('\n', stderr);
    }
    if (r->waits_for)
        fprintf(
            stderr,
            "\n%s: round %zu waits for people: say for each pair in '%s/round-%zu/to-label.jsonl' which answer is better, as lines "
            "{\"id\": .., \"label\": \"a\", \"b\" or \"tie\", \"annotator\": ..} in '%s', and go on with --resume\n",
            r->command, r->n + 1, r->args->output_dir, r->n + 1, r->waits_for);
    else
        fprintf(stderr, "\n%s: stopped: %s\n", r->command, r->words.data);
    if (r->n)
        fprintf(stderr, "%s: the best policy: %s%s%s (%s)\n", r->command, best ? r->args->output_dir : r->args->model,
                best ? "/best, which is " : "", best ? policy_of(r, best) : "", why.data);
    fprintf(stderr, "%s: the report: %s\n", r->command, path);
    buf_release(&why);
}

int rounds_report(const struct rounds *r, struct err *err)
{
    char *path = path_join(r->args->output_dir, "report.html");
    int rc = write_report(r, path, err);
    if (rc == 0)
        print_summary(r, path);
    free(path);
    return rc;
}
