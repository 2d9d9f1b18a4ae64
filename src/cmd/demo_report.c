#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/demo.h"
#include "cmd/json.h"
#include "eval/curves.h"
#include "eval/report.h"
#include "util/mem.h"

#define DASH "\xe2\x80\x93"

static const char *name_of(const json_t *policy)
{
    static const char *const names[][2] = {{"base", "Base"}, {"sft", "SFT"}, {"ppo", "PPO"}, {"dpo", "DPO"}};
    const char *name = json_string_value(json_object_get(policy, "name"));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (name && !strcmp(name, names[i][0]))
            return names[i][1];
    return name ? name : "?";
}

/* ---- numbers as text ---- */

/* "62.1 % [58.0, 66.2]" (scale 100), "1.04 [1.02, 1.06]" (digits 2). */
static void add_interval(struct buf *b, struct interval x, double scale, int digits, const char *unit)
{
    if (!isfinite(x.value)) {
        buf_str(b, DASH);
        return;
    }
    buf_printf(b, "%.*f%s", digits, scale * x.value, unit);
    if (isfinite(x.lo) && isfinite(x.hi))
        buf_printf(b, " [%.*f, %.*f]", digits, scale * x.lo, digits, scale * x.hi);
}

static void cell(struct report *r, enum report_verdict verdict, struct interval x, double scale, int digits, const char *unit)
{
    struct buf b;
    buf_init(&b, 256);
    add_interval(&b, x, scale, digits, unit);
    report_cell(r, verdict, "%s", b.data);
    buf_release(&b);
}

static void percent_cell(struct report *r, struct interval x)
{
    cell(r, REPORT_NEUTRAL, x, 100, 1, " %");
}

static struct interval at(const json_t *o, const char *key)
{
    return json_to_interval(json_object_get(o, key));
}

static struct interval win_rate(const json_t *policy, size_t reward)
{
    return at(json_array_get(json_object_get(policy, "win_rates_over_sft"), reward), "rate");
}

static struct interval rubric_share(const json_t *policy)
{
    return at(json_object_get(json_object_get(policy, "rubric"), "all"), "share");
}

static const json_t *find(const json_t *list, const char *name)
{
    size_t i;
    json_t *o;
    json_array_foreach(list, i, o)
        if (!strcmp(json_string_value(json_object_get(o, "name")), name))
            return o;
    return NULL;
}

/* ---- sections ---- */

struct page {
    struct report r;
    const struct demo *d;
    json_t *results;
    const json_t *rewards, *policies, *goals;
};

static void figure(struct page *p, enum report_verdict verdict, const char *label, struct interval x, double scale, int digits,
                   const char *unit, const char *note)
{
    char *value = xasprintf("%.*f%s", digits, scale * x.value, unit);
    char *small = isfinite(x.lo) ? xasprintf("[%.*f, %.*f] %s", digits, scale * x.lo, digits, scale * x.hi, note) : xstrdup(note);
    report_figure(&p->r, verdict, label, value, small);
    free(value);
    free(small);
}

static enum report_verdict verdict_of(bool met)
{
    return met ? REPORT_GOOD : REPORT_BAD;
}

static double total_seconds(const struct demo *d)
{
    const char *name;
    json_t *o;
    double sum = 0;
    json_object_foreach(d->stages.record, name, o)
        sum += json_number(json_object_get(o, "seconds"));
    return sum;
}

static double largest_peak(const struct demo *d)
{
    const char *name;
    json_t *o;
    double peak = 0;
    json_object_foreach(d->stages.record, name, o)
        peak = fmax(peak, json_number(json_object_get(o, "peak_mib")));
    return peak;
}

static void top(struct page *p)
{
    const json_t *ppo = find(p->policies, "ppo"), *dpo = find(p->policies, "dpo");
    struct interval accuracy = at(find(p->rewards, "reward"), "accuracy"), a = win_rate(ppo, 1), b = win_rate(dpo, 1);
    struct interval ratio = at(json_object_get(ppo, "perplexity"), "over_base");
    figure(p, verdict_of(accuracy.value >= 0.75), "Reward model", accuracy, 100, 1, " %", "of held-out comparisons right");
    figure(p, verdict_of(a.lo > 0.5), "PPO beats SFT", a, 100, 1, " %", "under the second reward model");
    figure(p, verdict_of(b.lo > 0.5), "DPO beats SFT", b, 100, 1, " %", "under the second reward model");
    figure(p, REPORT_NEUTRAL, "Rules kept by PPO", rubric_share(ppo), 100, 1, " %", "of answers pass the whole rubric");
    figure(p, verdict_of(ratio.value <= 1.1), "Unlearned", ratio, 1, 3, " x", "PPO's perplexity on plain text over the base's");
    double variety = json_number(json_object_get(ppo, "distinct_2")) /
                     json_number(json_object_get(find(p->policies, "sft"), "distinct_2"));
    figure(p, verdict_of(variety >= 0.8), "Variety", (struct interval){variety, NAN, NAN}, 1, 2, " x",
           "PPO's distinct-2 over SFT's");
    char *time = xasprintf("%.1f min", total_seconds(p->d) / 60), *memory = xasprintf("%.0f MiB", largest_peak(p->d));
    report_figure(&p->r, REPORT_NEUTRAL, "Time", time, "all stages together");
    report_figure(&p->r, REPORT_NEUTRAL, "Memory", memory, "the largest peak of a stage");
    free(time);
    free(memory);
}

static void introduction(struct page *p)
{
    report_text(&p->r, "A small language model was taught the manners of a garden shop's help desk, in the way that chat models are "
                       "made. First it imitated demonstrations (SFT). Then a reward model learned from comparisons which of two "
                       "answers people prefer. Then the model learned to give preferred answers, in two ways: PPO tries answers "
                       "and is scored by the reward model; DPO learns from the comparisons directly. Everything below was "
                       "measured on prompts and comparisons that no training has seen.");
    report_text(&p->r, "Numbers in brackets are 95 %% intervals: with other prompts of the same kind the number would probably have "
                       "fallen between the two. A win rate whose interval reaches below 50 %% proves nothing.");
}

static const char *against_chance(struct interval rate)
{
    return rate.lo > 0.5 ? "more than chance" : rate.hi < 0.5 ? "less than chance" : "which may be chance";
}

/* The result in plain words. */
static void meaning(struct page *p)
{
    const json_t *base = find(p->policies, "base"), *sft = find(p->policies, "sft"), *ppo = find(p->policies, "ppo"),
                 *dpo = find(p->policies, "dpo"), *first = find(p->rewards, "reward");
    struct interval a = win_rate(ppo, 1), b = win_rate(dpo, 1), ratio = at(json_object_get(ppo, "perplexity"), "over_base");
    report_heading(&p->r, "What came of it");
    report_text(&p->r, "Out of 100 answers to new prompts, the judge prefers PPO's to SFT's about %.0f times (between %.0f and %.0f), "
                       "%s; DPO's about %.0f times (between %.0f and %.0f), %s.",
                100 * a.value, 100 * a.lo, 100 * a.hi, against_chance(a), 100 * b.value, 100 * b.lo, 100 * b.hi, against_chance(b));
    report_text(&p->r, "Of the answers, %.0f %% of the base model's keep every rule of the house; after SFT %.0f %%, after PPO %.0f %%, "
                       "after DPO %.0f %%.",
                100 * rubric_share(base).value, 100 * rubric_share(sft).value, 100 * rubric_share(ppo).value,
                100 * rubric_share(dpo).value);
    report_text(&p->r, "The reward model picks the answer that people picked in %.0f of 100 new comparisons. Taking the longer or the "
                       "shorter answer, whichever worked best in training, gets %.0f; going by single words gets %.0f; guessing gets "
                       "50.",
                100 * at(first, "accuracy").value, 100 * at(first, "length_only").value, 100 * at(first, "bag_of_words").value);
    report_text(&p->r, "What it cost: PPO's model is %.1f %% %s surprised by ordinary English text than the base model, and its "
                       "answers have %.0f %% of the variety of SFT's.",
                100 * fabs(ratio.value - 1), ratio.value >= 1 ? "more" : "less",
                100 * json_number(json_object_get(ppo, "distinct_2")) / json_number(json_object_get(sft, "distinct_2")));
}

static void goals(struct page *p)
{
    static const char *const header[] = {"Goal", "Figure", "Met"};
    size_t i;
    json_t *o;
    report_heading(&p->r, "Goals");
    report_table(&p->r, NULL, 3, header);
    json_array_foreach(p->goals, i, o)
    {
        bool met = json_is_true(json_object_get(o, "met"));
        struct interval x = at(o, "interval");
        const char *goal = json_string_value(json_object_get(o, "goal"));
        bool percent = strchr(goal, '%') || strstr(goal, "points");
        report_cell(&p->r, REPORT_NEUTRAL, "%s", goal);
        cell(&p->r, REPORT_NEUTRAL, x, percent ? 100 : 1, percent ? 1 : 3, strstr(goal, "points") ? " points" : percent ? " %" : "");
        report_cell(&p->r, verdict_of(met), met ? "yes" : "no");
    }
    report_table_end(&p->r);
}

static void win_rates(struct page *p)
{
    static const char *const header[] = {"Policy", "Judged by the second reward model", "wins, ties, losses",
                                         "Judged by the first one"};
    static const char *const shown[] = {"base", "ppo", "dpo"};
    const char *labels[3];
    struct interval values[3];
    report_heading(&p->r, "Which answers are preferred");
    for (size_t i = 0; i < 3; i++) {
        labels[i] = name_of(find(p->policies, shown[i]));
        values[i] = win_rate(find(p->policies, shown[i]), 1);
    }
    report_text(&p->r, "How often a policy's answer gets a higher score than SFT's answer to the same prompt; ties count as half. "
                       "The judge is a second reward model, which learned from other comparisons of other prompts, because PPO "
                       "was trained to please the first one.");
    report_bar_chart(&p->r, "Win rate against SFT, under the second reward model", "win rate", labels, values, 3, 0.5);
    report_table(&p->r, "Win rates against SFT", 4, header);
    for (size_t i = 0; i < 3; i++) {
        const json_t *o = find(p->policies, shown[i]), *w = json_array_get(json_object_get(o, "win_rates_over_sft"), 1);
        report_cell(&p->r, REPORT_NEUTRAL, "%s", labels[i]);
        percent_cell(&p->r, values[i]);
        report_cell(&p->r, REPORT_NEUTRAL, "%.0f, %.0f, %.0f", json_number(json_object_get(w, "wins")),
                    json_number(json_object_get(w, "ties")), json_number(json_object_get(w, "losses")));
        percent_cell(&p->r, win_rate(o, 0));
    }
    report_table_end(&p->r);
    report_text(&p->r, "The last column is PPO's own teacher: what PPO optimised. It is shown for the difference between the two, "
                       "not as a result.");
    const json_t *base = find(p->policies, "base"), *sft = find(p->policies, "sft");
    struct interval won = win_rate(base, 1);
    if (won.lo > 0.5 && rubric_share(base).value < rubric_share(sft).value)
        report_text(&p->r, "Read the base model's row with care: the judge prefers its answers in %.0f of 100, though only %.0f %% of "
                           "them keep the rules of the house and SFT's %.0f %%. A reward model knows the differences that its "
                           "comparisons show, between one answer in the shop's voice and another. The base model's text is unlike "
                           "all of them (%.0f nats from SFT), and what a reward model makes of such text is a guess. PPO and DPO "
                           "stay nearer to SFT, where it knows its trade.",
                    100 * won.value, 100 * rubric_share(base).value, 100 * rubric_share(sft).value,
                    at(base, "kl_to_sft").value);
}

static void policies(struct page *p)
{
    static const char *const header[] = {"Policy", "Rubric passed", "KL to SFT, nats", "Words", "Ended by itself", "Distinct-2"};
    size_t i;
    json_t *o;
    report_heading(&p->r, "What the answers are like");
    report_table(&p->r, NULL, 6, header);
    json_array_foreach(p->policies, i, o)
    {
        report_cell(&p->r, REPORT_NEUTRAL, "%s", name_of(o));
        percent_cell(&p->r, rubric_share(o));
        cell(&p->r, REPORT_NEUTRAL, at(o, "kl_to_sft"), 1, 2, "");
        cell(&p->r, REPORT_NEUTRAL, at(o, "words"), 1, 1, "");
        percent_cell(&p->r, at(o, "finished"));
        report_cell(&p->r, REPORT_NEUTRAL, "%.3f", json_number(json_object_get(o, "distinct_2")));
    }
    report_table_end(&p->r);
    report_text(&p->r, "Rubric: the share of answers that keep every rule of rubric.yaml that applies to them; a rule sees form, not "
                       "truth. KL: how far a policy has moved from SFT, on its own answers, at the temperature of sampling. Ended "
                       "by itself: not cut at %d tokens. Distinct-2: different pairs of words over all pairs; it falls when a model "
                       "says the same everywhere.", DEMO_RESPONSE_LENGTH);
}

static void unlearned(struct page *p)
{
    static const char *const header[] = {"Policy", "Perplexity a token", "Perplexity a word", "Over the base's"};
    size_t i;
    json_t *o;
    report_heading(&p->r, "What was unlearned");
    report_table(&p->r, NULL, 4, header);
    json_array_foreach(p->policies, i, o)
    {
        const json_t *x = json_object_get(o, "perplexity");
        report_cell(&p->r, REPORT_NEUTRAL, "%s", name_of(o));
        cell(&p->r, REPORT_NEUTRAL, at(x, "token"), 1, 2, "");
        cell(&p->r, REPORT_NEUTRAL, at(x, "word"), 1, 1, "");
        cell(&p->r, REPORT_NEUTRAL, at(x, "over_base"), 1, 3, "");
    }
    report_table_end(&p->r);
    report_text(&p->r, "Perplexity is how surprised a model is by %.0f words of stories and essays that have nothing to do with the "
                       "shop. What training cost the model of its general language shows as a higher one.",
                json_number(json_object_get(json_object_get(json_array_get(p->policies, 0), "perplexity"), "words")));
}

static void rubric(struct page *p)
{
    const char *header[5] = {"Rule", "Base", "SFT", "PPO", "DPO"};
    const json_t *first = json_object_get(json_object_get(json_array_get(p->policies, 0), "rubric"), "checks");
    report_table(&p->r, "The rubric, rule by rule: share of the answers to which a rule applies", 5, header);
    for (size_t i = 0; i < json_array_size(first); i++) {
        report_cell(&p->r, REPORT_NEUTRAL, "%s", json_string_value(json_object_get(json_array_get(first, i), "name")));
        for (size_t k = 0; k < 4; k++) {
            const json_t *checks = json_object_get(json_object_get(json_array_get(p->policies, k), "rubric"), "checks");
            percent_cell(&p->r, at(json_array_get(checks, i), "share"));
        }
    }
    report_table_end(&p->r);
}

static void kinds(struct page *p)
{
    static const char *const header[] = {"What is wrong with the worse answer", "Comparisons", "First reward model", "Second"};
    const json_t *first = json_object_get(json_array_get(p->rewards, 0), "kinds");
    const json_t *second = json_object_get(json_array_get(p->rewards, 1), "kinds");
    const char *kind;
    json_t *o;
    if (json_object_size(first) == 0)
        return;
    report_table(&p->r, "Right, by kind of comparison", 4, header);
    json_object_foreach((json_t *)(uintptr_t)first, kind, o)
    {
        report_cell(&p->r, REPORT_NEUTRAL, "%s", kind);
        report_cell(&p->r, REPORT_NEUTRAL, "%.0f", json_number(json_object_get(o, "n")));
        percent_cell(&p->r, at(o, "accuracy"));
        percent_cell(&p->r, at(json_object_get(second, kind), "accuracy"));
    }
    report_table_end(&p->r);
}

static void reward_models(struct page *p)
{
    static const char *const header[] = {"Right on held-out comparisons", "First reward model", "Second reward model"};
    static const struct {
        const char *title, *key, *unit;
    } rows[] = {{"the reward model", "accuracy", " %"},
                {"by length alone", "length_only", " %"},
                {"by a bag of words", "bag_of_words", " %"},
                {"the reward model's lead over length", "over_length_only", " points"},
                {"the reward model's lead over a bag of words", "over_bag_of_words", " points"}};
    report_heading(&p->r, "The reward models");
    report_table(&p->r, NULL, 3, header);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        report_cell(&p->r, REPORT_NEUTRAL, "%s", rows[i].title);
        for (size_t k = 0; k < 2; k++)
            cell(&p->r, REPORT_NEUTRAL, at(json_array_get(p->rewards, k), rows[i].key), 100, 1, rows[i].unit);
    }
    for (size_t i = 0; i < 2; i++) {
        report_cell(&p->r, REPORT_NEUTRAL, i ? "Brier score" : "expected calibration error (ECE)");
        for (size_t k = 0; k < 2; k++)
            report_cell(&p->r, REPORT_NEUTRAL, "%.3f", json_number(json_object_get(json_object_get(json_array_get(p->rewards, k),
                                                                                                "calibration"),
                                                                                i ? "brier" : "ece")));
    }
    report_table_end(&p->r);
    const json_t *first = json_array_get(p->rewards, 0);
    report_text(&p->r, "Of %.0f held-out comparisons %.0f have a majority of raters for one answer; ties are left out. The two "
                       "baselines were fitted on the same training comparisons: what a reward model knows beyond length and "
                       "words is the difference.",
                json_number(json_object_get(first, "comparisons")), json_number(json_object_get(first, "decided")));
    kinds(p);
    for (size_t i = 0; i < 2; i++) {
        struct calibration c = json_to_calibration(json_object_get(json_array_get(p->rewards, i), "calibration"));
        report_reliability(&p->r, i ? "Calibration of the second reward model" : "Calibration of the first reward model", &c);
    }
    report_text(&p->r, "Calibration: where the reward model says that an answer wins with probability p, it should win in a share p of "
                       "the cases. ECE is the mean distance from that, Brier the mean squared error of p.");
}

/* ---- curves of the runs ---- */

struct line {
    const char *title, *run, *y_label, *keys[3];
};

static int draw_line(struct page *p, const struct line *l, struct err *err)
{
    struct curves c;
    struct report_series series[3];
    char *folder = demo_path(p->d, l->run);
    int rc = curves_read(&c, folder, err);
    size_t n = 0;
    if (rc == 0) {
        for (size_t i = 0; i < 3 && l->keys[i]; i++) {
            series[n] = curves_series(&c, l->keys[i], "step", l->keys[i]);
            n += series[n].n > 0;
        }
        if (n)
            report_line_chart(&p->r, l->title, "step", l->y_label, series, n);
        curves_release(&c);
    }
    free(folder);
    return rc;
}

static int draw_kl(struct page *p, struct err *err)
{
    struct curves c;
    char *folder = demo_path(p->d, "ppo");
    int rc = curves_read(&c, folder, err);
    if (rc == 0) {
        struct report_series s = curves_series(&c, "PPO, an iteration a point", "objective/kl", "objective/scores");
        if (s.n)
            report_xy_chart(&p->r, "Reward against KL over PPO's iterations", "KL to SFT, nats an answer",
                            "mean score under the first reward model", &s, 1);
        curves_release(&c);
    }
    free(folder);
    return rc;
}

static int training(struct page *p, struct err *err)
{
    static const struct line lines[] = {
        {"SFT: loss", "sft", "nats a token", {"loss", "eval_loss"}},
        {"First reward model: loss", "reward", "nats a comparison", {"loss", "eval_loss"}},
        {"First reward model: accuracy", "reward", "share", {"accuracy", "eval_accuracy"}},
        {"Second reward model: loss", "reward-second", "nats a comparison", {"loss", "eval_loss"}},
        {"PPO: mean score of the rollouts", "ppo", "score", {"objective/scores"}},
        {"PPO: KL to SFT", "ppo", "nats an answer", {"objective/kl"}},
        {"PPO: losses", "ppo", "", {"loss/policy_avg", "loss/value_avg"}},
        {"DPO: loss", "dpo", "nats a comparison", {"loss", "eval_loss"}},
        {"DPO: accuracy of the implicit reward", "dpo", "share", {"rewards/accuracies", "eval_rewards/accuracies"}},
    };
    report_heading(&p->r, "How training went");
    report_text(&p->r, "PPO buys reward with KL: each point is an iteration, and a good run climbs steeply and stops before the "
                       "policy is far from SFT. Where the curve bends over, more KL buys nothing but the reward model's mistakes.");
    if (draw_kl(p, err))
        return -1;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (draw_line(p, &lines[i], err))
            return -1;
    return 0;
}

static void answers(struct page *p)
{
    size_t i, k;
    json_t *o, *a;
    report_heading(&p->r, "Answers side by side");
    report_text(&p->r, "The first held-out prompt of each of five topics, not chosen for looks; the score is the second reward "
                       "model's. All %.0f prompts are in answers.jsonl.", json_number(json_object_get(p->results, "prompts")));
    json_array_foreach(json_object_get(p->results, "side_by_side"), i, o)
    {
        struct report_answer list[4];
        char *notes[4];
        size_t n = 0;
        json_array_foreach(json_object_get(o, "answers"), k, a)
        {
            if (n == 4)
                break;
            notes[n] = xasprintf("score %.2f", json_number(json_object_get(a, "score")));
            list[n] = (struct report_answer){.name = name_of(a), .text = json_string_value(json_object_get(a, "text")),
                                             .note = notes[n], .verdict = REPORT_NEUTRAL};
            n++;
        }
        report_side_by_side(&p->r, json_string_value(json_object_get(o, "prompt")), list, n);
        while (n)
            free(notes[--n]);
    }
}

static void costs(struct page *p)
{
    static const char *const header[] = {"Stage", "Minutes", "Peak memory, MiB"};
    report_heading(&p->r, "What it cost");
    report_table(&p->r, NULL, 3, header);
    for (size_t i = 0; i < N_DEMO_STAGES; i++) {
        const json_t *o = json_object_get(p->d->stages.record, demo_stages[i].name);
        report_cell(&p->r, REPORT_NEUTRAL, "%s", demo_stages[i].title);
        report_cell(&p->r, REPORT_NEUTRAL, "%.1f", json_number(json_object_get(o, "seconds")) / 60);
        report_cell(&p->r, REPORT_NEUTRAL, "%.0f", json_number(json_object_get(o, "peak_mib")));
    }
    report_table_end(&p->r);
}

static int draw(struct page *p, struct err *err)
{
    top(p);
    introduction(p);
    meaning(p);
    goals(p);
    win_rates(p);
    answers(p);
    policies(p);
    rubric(p);
    reward_models(p);
    unlearned(p);
    if (training(p, err))
        return -1;
    costs(p);
    return 0;
}

/* ---- the summary ---- */

static void print_summary(const struct page *p, const char *path)
{
    size_t i, met = 0;
    json_t *o;
    printf("\n%-6s %28s %24s %12s %10s\n", "", "beats SFT (second judge)", "rubric passed", "KL to SFT", "words");
    json_array_foreach(p->policies, i, o)
    {
        struct interval w = win_rate(o, 1), r = rubric_share(o);
        char *win = strcmp(name_of(o), "SFT") ? xasprintf("%.1f %% [%.1f, %.1f]", 100 * w.value, 100 * w.lo, 100 * w.hi) : xstrdup("-");
        char *share = xasprintf("%.1f %% [%.1f, %.1f]", 100 * r.value, 100 * r.lo, 100 * r.hi);
        printf("%-6s %28s %24s %12.2f %10.1f\n", name_of(o), win, share, at(o, "kl_to_sft").value, at(o, "words").value);
        free(win);
        free(share);
    }
    putchar('\n');
    json_array_foreach(p->goals, i, o)
    {
        bool yes = json_is_true(json_object_get(o, "met"));
        met += yes;
        printf("%-8s %8.3f  %s\n", yes ? "met" : "NOT MET", json_number(json_object_get(o, "figure")),
               json_string_value(json_object_get(o, "goal")));
    }
    printf("\n%zu of %zu goals met, in %.1f min.\nThe report: %s\n", met, json_array_size(p->goals), total_seconds(p->d) / 60, path);
}

int demo_report(const struct demo *d, struct err *err)
{
    char *results = demo_path(d, "results.json"), *path = demo_path(d, "report.html");
    json_error_t why;
    struct page p = {.d = d, .results = json_load_file(results, 0, &why)};
    int rc = p.results ? 0 : err_set(err, "'%s' line %d: %s", results, why.line, why.text);
    if (rc == 0) {
        p.rewards = json_object_get(p.results, "reward_models");
        p.policies = json_object_get(p.results, "policies");
        p.goals = json_object_get(p.results, "goals");
        const char *slash = strrchr(d->args->model, '/');
        report_init(&p.r, "hone demo", slash && slash[1] ? slash + 1 : d->args->model);
        rc = draw(&p, err);
        if (rc == 0)
            rc = report_write(&p.r, path, err);
        report_release(&p.r);
    }
    if (rc == 0)
        print_summary(&p, path);
    json_decref(p.results);
    free(results);
    free(path);
    return rc;
}
