#include "cmd/run_report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/json.h"
#include "cmd/options.h"
#include "eval/report.h"
#include "util/file.h"
#include "util/mem.h"

/* A chart and the keys whose curves it shows, of which it draws those that the run has. */
static const struct {
    const char *title, *label, *keys[5];
} charts[] = {
    {"Loss", "nats", {"loss", "eval_loss", "nll_loss"}},
    {"Accuracy", "share", {"accuracy", "eval_accuracy", "rewards/accuracies", "eval_rewards/accuracies"}},
    {"Token accuracy", "share", {"mean_token_accuracy", "eval_mean_token_accuracy"}},
    {"Score of the rollouts", "score", {"objective/scores", "objective/rlhf_reward"}},
    {"KL to the reference", "nats a sequence", {"objective/kl"}},
    {"Reward of the rollouts", "reward", {"reward", "reward_std"}},
    {"KL to the reference", "nats (grpo, rloo: a token; kto: a sequence)", {"kl"}},
    {"Gold, not learned from", "gold", {"monitor/gold"}},
    {"Answers out of the reward's distribution", "share", {"objective/ood_share"}},
    {"Entropy as sampled", "nats a token", {"monitor/entropy"}},
    {"Groups whose answers have one reward", "share", {"frac_reward_zero_std"}},
    {"Clipped", "share", {"clip_ratio/region_mean", "cispo_clip_ratio"}},
    {"Rewards", "beta times log-ratio", {"rewards/chosen", "rewards/rejected", "rewards/margins"}},
    {"Log-probs of the answers", "nats", {"logps/chosen", "logps/rejected"}},
    {"Pairs whose answers both became less likely", "share", {"logps/both_fell", "eval_logps/both_fell"}},
    {"Log odds of chosen over rejected", "nats", {"log_odds_chosen", "eval_log_odds_chosen"}},
    {"Scores", "score", {"min_reward", "mean_reward", "max_reward"}},
    {"Policy", "share", {"policy/clipfrac_avg", "val/clipfrac_avg"}},
    {"KL to the policy before the update", "nats", {"policy/approxkl_avg"}},
    {"Value function", "", {"loss/value_avg", "val/explained_variance"}},
    {"Length of the answers", "tokens", {"completions/mean_length"}},
    {"Variety", "share of token pairs that differ", {"completions/distinct_2"}},
    {"Entropy", "nats a token", {"entropy", "policy/entropy_avg"}},
    {"Gradient norm", "before clipping", {"grad_norm"}},
    {"Learning rate", "", {"learning_rate"}},
};

struct curves {
    json_t **lines;
    size_t n, capacity;
};

static int read_lines(struct curves *c, const char *dir, struct err *err)
{
    char *path = path_join(dir, "metrics.jsonl");
    struct buf b;
    buf_init(&b, (size_t)1 << 30);
    int rc = file_read(path, &b, err);
    for (char *line = b.data, *end; rc == 0 && *line; line = end + 1) {
        end = strchr(line, '\n');
        if (!end)
            break;
        json_t *o = json_loadb(line, (size_t)(end - line), 0, NULL);
        if (o) {
            ARRAY_GROW(c->lines, c->n + 1, c->capacity);
            c->lines[c->n++] = o;
        }
    }
    buf_release(&b);
    free(path);
    return rc;
}

/* The points of one key; n is 0 where the run does not have it. */
static struct report_series series_of(const struct curves *c, const char *key)
{
    double *x = xmalloc((c->n + 1) * sizeof *x), *y = xmalloc((c->n + 1) * sizeof *y);
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) {
        const json_t *v = json_object_get(c->lines[i], key), *step = json_object_get(c->lines[i], "step");
        if (json_is_number(v)) {
            x[n] = json_number_value(step);
            y[n++] = json_number_value(v);
        }
    }
    return (struct report_series){.name = key, .x = x, .y = y, .n = n};
}

static void draw(struct report *r, const struct curves *c)
{
    for (size_t i = 0; i < ARRAY_LEN(charts); i++) {
        struct report_series s[ARRAY_LEN(charts[0].keys)];
        size_t n = 0;
        for (size_t k = 0; k < ARRAY_LEN(charts[i].keys) && charts[i].keys[k]; k++) {
            s[n] = series_of(c, charts[i].keys[k]);
            if (s[n].n) {
                n++;
            } else {
                free((double *)(uintptr_t)s[n].x);
                free((double *)(uintptr_t)s[n].y);
            }
        }
        if (n)
            report_line_chart(r, charts[i].title, "step", charts[i].label, s, n);
        for (size_t k = 0; k < n; k++) {
            free((double *)(uintptr_t)s[k].x);
            free((double *)(uintptr_t)s[k].y);
        }
    }
}

static void last_values(struct report *r, const struct curves *c)
{
    static const char *const header[] = {"Metric", "First step", "Last step"};
    if (c->n == 0)
        return;
    report_table(r, "First and last", 3, header);
    const char *key;
    json_t *v;
    json_object_foreach(c->lines[c->n - 1], key, v)
    {
        const json_t *first = json_object_get(c->lines[0], key);
        report_cell(r, REPORT_NEUTRAL, "%s", key);
        if (json_is_number(first))
            report_cell(r, REPORT_NEUTRAL, "%.5g", json_number_value(first));
        else
            report_cell(r, REPORT_NEUTRAL, "-");
        if (json_is_number(v))
            report_cell(r, REPORT_NEUTRAL, "%.5g", json_number_value(v));
        else
            report_cell(r, REPORT_NEUTRAL, "-");
    }
    report_table_end(r);
}

static void interval_cell(struct report *r, const json_t *o, const char *key)
{
    struct interval x = json_to_interval(json_object_get(o, key));
    report_cell(r, REPORT_NEUTRAL, "%.3f [%.3f, %.3f]", x.value, x.lo, x.hi);
}

static void quality_row(struct report *r, const char *name, const json_t *o)
{
    report_cell(r, REPORT_NEUTRAL, "%s", name);
    interval_cell(r, o, "accuracy");
    interval_cell(r, o, "ece");
    interval_cell(r, o, "brier");
}

static void draw_slices(struct report *r, const json_t *slices)
{
    static const char *const header[] = {"By", "Held-out pairs", "How many", "Accuracy"};
    if (json_array_size(slices) == 0)
        return;
    report_table(r, "Where it is right", 4, header);
    for (size_t i = 0; i < json_array_size(slices); i++) {
        const json_t *s = json_array_get(slices, i);
        report_cell(r, REPORT_NEUTRAL, "%s", json_string_value(json_object_get(s, "by")));
        report_cell(r, REPORT_NEUTRAL, "%s", json_string_value(json_object_get(s, "slice")));
        report_cell(r, REPORT_NEUTRAL, "%.0f", json_number(json_object_get(s, "decided")));
        interval_cell(r, s, "accuracy");
    }
    report_table_end(r);
}

static void draw_style(struct report *r, const char *title, json_t *style)
{
    static const char *const header[] = {"Style", "The scores give it", "People give it", "Excess"};
    const char *name;
    const json_t *v;
    if (!style)
        return;
    report_table(r, title, 4, header);
    json_object_foreach(json_object_get(style, "styles"), name, v)
    {
        report_cell(r, REPORT_NEUTRAL, "%s", name);
        interval_cell(r, v, "score");
        interval_cell(r, v, "people");
        interval_cell(r, v, "excess");
    }
    report_table_end(r);
    struct interval explained = json_to_interval(json_object_get(style, "length_explains"));
    report_text(r, "Log-odds a unit of each style (docs/methods/trust.md). Length alone explains %.2f [%.2f, %.2f] of the scores' variance. "
                   "An excess whose interval does not hold 0 is a style that the scores like more, or less, than people do.",
                explained.value, explained.lo, explained.hi);
}

/* What held-out pairs say of a reward model ("quality" of the manifest). */
static void draw_quality(struct report *r, const json_t *quality)
{
    static const char *const header[] = {"Held-out pairs", "Accuracy", "ECE", "Brier score"};
    const json_t *before = json_object_get(quality, "before"), *after = json_object_get(quality, "after");
    const json_t *groups = json_object_get(quality, "groups");
    report_heading(r, "Quality");
    report_table(r, NULL, 4, header);
    quality_row(r, "as trained", before);
    if (after)
        quality_row(r, "calibrated", after);
    for (size_t i = 0; i < json_array_size(groups); i++) {
        const json_t *g = json_array_get(groups, i);
        const char *name = json_string_value(json_object_get(g, "group"));
        char *title = xasprintf("%s, as trained", name);
        quality_row(r, title, json_object_get(g, "before"));
        free(title);
        title = xasprintf("%s, calibrated", name);
        quality_row(r, title, json_object_get(g, "after"));
        free(title);
    }
    report_table_end(r);
    struct calibration c = json_to_calibration(json_object_get(before, "calibration"));
    report_reliability(r, "Calibration as trained", &c);
    if (after) {
        c = json_to_calibration(json_object_get(after, "calibration"));
        report_reliability(r, "Calibration after fitting", &c);
    }
    report_text(r, "The probability is that of the answer with the higher score being the better one, so it begins at 0.5. What is "
                   "said of the calibrated scores is of pairs that the calibration was not fitted on.");
    draw_slices(r, json_object_get(quality, "slices"));
    draw_style(r, "Style", json_object_get(quality, "style"));
}

/* How groups of annotators agree, and what their own models are worth ("by_group" of the manifest). */
static void draw_groups(struct report *r, json_t *by_group)
{
    static const char *const header[] = {"Group", "Votes", "Alpha within", "Its own model", "The pooled model", "Gain"};
    static const char *const conflict_header[] = {"Pair", "For one of its two answers, by group"};
    const json_t *groups = json_object_get(by_group, "groups"), *conflicts = json_object_get(by_group, "conflicts");
    if (!by_group)
        return;
    report_heading(r, "Groups");
    report_table(r, "Accuracy on held-out votes", 6, header);
    for (size_t i = 0; i < json_array_size(groups); i++) {
        const json_t *g = json_array_get(groups, i);
        report_cell(r, REPORT_NEUTRAL, "%s", json_string_value(json_object_get(g, "group")));
        report_cell(r, REPORT_NEUTRAL, "%.0f", json_number(json_object_get(g, "votes")));
        interval_cell(r, g, "alpha");
        interval_cell(r, g, "own");
        interval_cell(r, g, "pooled");
        interval_cell(r, g, "gain");
    }
    report_table_end(r);
    struct interval alpha = json_to_interval(json_object_get(by_group, "alpha"));
    struct interval differ = json_to_interval(json_object_get(by_group, "majorities_differ"));
    report_text(r, "Over all votes Krippendorff's alpha is %.2f [%.2f, %.2f]; of the %.0f pairs that groups share their majorities "
                   "differ on %.2f [%.2f, %.2f].", alpha.value, alpha.lo, alpha.hi, json_number(json_object_get(by_group, "shared_pairs")), differ.value, differ.lo,
                differ.hi);
    if (json_array_size(conflicts) == 0)
        return;
    report_table(r, "Where groups are furthest apart", 2, conflict_header);
    for (size_t i = 0; i < json_array_size(conflicts); i++) {
        const json_t *c = json_array_get(conflicts, i);
        char *shares = json_dumps(json_object_get(c, "share_for_one"), JSON_REAL_PRECISION(3));
        report_cell(r, REPORT_NEUTRAL, "%s", json_string_value(json_object_get(c, "id")));
        report_cell(r, REPORT_NEUTRAL, "%s", shares);
        free(shares);
    }
    report_table_end(r);
}

int run_report(const char *dir, const char *command, const json_t *about, struct err *err)
{
    struct curves c = {0};
    if (read_lines(&c, dir, err))
        return -1;
    struct report r;
    char *title = xasprintf("hone %s", command), *path = path_join(dir, "report.html");
    report_init(&r, title, dir);
    report_text(&r, "%zu steps were logged. What each metric means, and its healthy range, is in docs/metrics.md.", c.n);
    if (json_object_get(about, "quality"))
        draw_quality(&r, json_object_get(about, "quality"));
    draw_style(&r, "Style, before it was taken off", json_object_get(about, "debias"));
    draw_groups(&r, json_object_get(about, "by_group"));
    report_heading(&r, "Curves");
    draw(&r, &c);
    report_heading(&r, "Numbers");
    last_values(&r, &c);
    int rc = report_write(&r, path, err);
    report_release(&r);
    for (size_t i = 0; i < c.n; i++)
        json_decref(c.lines[i]);
    free(c.lines);
    free(title);
    free(path);
    return rc;
}
