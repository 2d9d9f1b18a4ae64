#include "cmd/reward_result.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/json.h"
#include "reward/score.h"
#include "util/mem.h"
#include "util/rng.h"
#include "util/textstats.h"

/* The first rows of an order that is the same for all seeds; they stay those of `e`, the list is fresh. */
static struct examples draw_rows(const struct examples *e, size_t most)
{
    struct examples some = {.n = e->n < most ? e->n : most};
    size_t *order = xmalloc((e->n + 1) * sizeof *order);
    some.list = xmalloc((some.n + 1) * sizeof *some.list);
    rng_permutation(order, e->n, 0, RNG_SPLIT, 1);
    for (size_t i = 0; i < some.n; i++)
        some.list[i] = e->list[order[i]];
    free(order);
    return some;
}

int scores_normalize(double *temperature, struct head *head, struct head_notes *notes, const struct net *net,
                     const struct examples *reference, bool scale, struct err *err)
{
    struct examples some = draw_rows(reference, SCORES_REFERENCE);
    size_t n = score_count(&some);
    float *scores = xmalloc((n + 1) * sizeof *scores), bias = head->bias;
    int rc = score_examples(scores, net, &some, SCORE_MICRO_TOKENS, NULL, NULL, err);
    double sum = 0, squares = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        sum += (double)scores[i];
    double mean = n ? sum / (double)n : 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        squares += ((double)scores[i] - mean) * ((double)scores[i] - mean);
    double deviation = n ? sqrt(squares / (double)n) : 0;
    *temperature = scale && deviation > 0 ? 1 / deviation : 1;
    if (rc == 0)
        head_scale(head, *temperature, *temperature * ((double)bias - mean));
    notes->score_bias = (double)head->bias;
    memcpy(notes->style, head->style, sizeof notes->style);
    free(scores);
    free(some.list);
    return rc;
}

/* ---- out of distribution ---- */

/* The hidden states of some rows' completions, a fresh block, and which of the folds each is in. */
static float *hidden_states(size_t *n, size_t **fold, const struct net *net, const struct examples *e, struct err *err)
{
    struct examples some = draw_rows(e, OOD_ROWS);
    struct word_table prompts;
    *n = score_count(&some);
    *fold = xmalloc((*n + 1) * sizeof **fold);
    word_table_init(&prompts);
    for (size_t i = 0, at = 0; i < some.n; i++) {
        char hash[65];
        row_prompt_hash(hash, some.list[i].row);
        size_t unit = word_table_id(&prompts, hash, true);
        for (size_t k = 0; k < some.list[i].n_completions; k++)
            (*fold)[at++] = unit % OOD_FOLDS;
    }
    word_table_release(&prompts);
    float *hidden = mem_block(*n + 1, net->model->config.width * sizeof *hidden, "hidden states", err);
    if (hidden && score_hidden(hidden, net, &some, SCORE_MICRO_TOKENS, err)) {
        mem_block_free(hidden);
        hidden = NULL;
    }
    free(some.list);
    return hidden;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int scores_ood(struct ood *o, json_t *about, const struct net *net, const struct examples *train, const struct examples *held_out,
               double quantile, const char *command, struct err *err)
{
    *o = (struct ood){0};
    if (quantile == 0)
        return 0;
    bool apart = held_out->n && score_count(held_out) >= OOD_HELD_OUT;
    size_t width = net->model->config.width, n, n_others = 0, *fold, *fold_others = NULL;
    struct err why;
    float *hidden = hidden_states(&n, &fold, net, train, err), *others = NULL;
    if (hidden && apart)
        others = hidden_states(&n_others, &fold_others, net, held_out, err);
    int rc = !hidden || (apart && !others) ? -1 : 0;
    size_t count = apart ? n_others : n;
    double *distance = xcalloc(count + 1, sizeof *distance);
    if (rc == 0 && (ood_fit(o, hidden, n, width, &why) || (!apart && ood_cross_fit(distance, hidden, fold, n, width, &why)))) {
        ood_release(o);
        if (command)
            fprintf(stderr, "%s: texts out of distribution will not be told: %s\n", command, why.text);
    }
    for (size_t i = 0; o->width && apart && i < count; i++)
        distance[i] = ood_distance(o, others + i * width);
    if (o->width) {
        qsort(distance, count, sizeof *distance, by_size);
        o->threshold = (float)stats_quantile(distance, count, quantile);
        json_object_set_new(about, "ood", json_pack("{s:I, s:f, s:f, s:f, s:s, s:I}", "texts", (json_int_t)n, "shrinkage", o->shrinkage,
                                                    "quantile", quantile, "threshold", (double)o->threshold, "threshold_from",
                                                    apart ? "held_out" : "cross_fit", "threshold_texts", (json_int_t)count));
    }
    if (o->width && command)
        fprintf(stderr, "%s: out of distribution is what lies further from %zu training texts than %.4g, as %.3g of %zu %s do not\n", command,
                n, (double)o->threshold, quantile, count, apart ? "held-out ones" : "of them, each left out,");
    mem_block_free(hidden);
    mem_block_free(others);
    free(fold);
    free(fold_others);
    free(distance);
    return rc;
}

/* ---- held-out pairs ---- */

static struct pair_traits traits_of(const struct example *e, const struct judged *j, const struct row *row, const struct tokenizer *tokenizer)
{
    struct pair_traits t = {.prompt_words = (double)text_word_count(row_prompt_text(row)),
                            .strength = !isnan(row->strength) ? row->strength : row->margin > 0 ? row->margin : NAN};
    double b[STYLES];
    completion_style(t.style, tokenizer, &e->completions[j->a]);
    completion_style(b, tokenizer, &e->completions[j->b]);
    for (size_t s = 0; s < STYLES; s++)
        t.style[s] -= b[s];
    return t;
}

void held_out_init(struct held_out *h, const struct examples *e, const struct judgements *labels, const struct row *rows,
                   const struct tokenizer *tokenizer)
{
    size_t n = labels->n_rows ? labels->start[labels->n_rows] : 0;
    struct word_table prompts;
    word_table_init(&prompts);
    h->lead = xcalloc(n + 1, sizeof *h->lead);
    h->label = xcalloc(n + 1, sizeof *h->label);
    h->unit = xcalloc(n + 1, sizeof *h->unit);
    h->group = xcalloc(n + 1, sizeof *h->group);
    h->scores = xcalloc(n + 1, sizeof *h->scores);
    h->traits = tokenizer ? xcalloc(n + 1, sizeof *h->traits) : NULL;
    for (size_t row = 0, at = 0; row < e->n; at += e->list[row++].n_completions) {
        const struct row *r = e->list[row].row;
        char hash[65];
        row_prompt_hash(hash, r);
        uint32_t unit = word_table_id(&prompts, hash, true);
        for (size_t i = labels->start[row]; i < labels->start[row + 1]; i++) {
            const struct judged *j = &labels->list[i];
            h->unit[i] = unit;
            h->label[i] = j->c;
            h->group[i] = rows[j->row].group ? xstrdup(rows[j->row].group) : NULL;
            if (tokenizer)
                h->traits[i] = traits_of(&e->list[row], j, &rows[j->row], tokenizer);
            h->scores[i][0] = at + j->a;
            h->scores[i][1] = at + j->b;
        }
    }
    word_table_release(&prompts);
    h->pairs = (struct scored_pairs){n, h->lead, h->label, h->unit, (const char *const *)h->group, h->traits};
}

void held_out_leads(double *lead, const struct held_out *h, const float *scores, double factor)
{
    for (size_t i = 0; i < h->pairs.n; i++)
        lead[i] = factor * ((double)scores[h->scores[i][0]] - (double)scores[h->scores[i][1]]);
}

void held_out_release(struct held_out *h)
{
    for (size_t i = 0; i < h->pairs.n; i++)
        free(h->group[i]);
    free(h->lead);
    free(h->label);
    free(h->unit);
    free(h->group);
    free(h->scores);
    free(h->traits);
}

static json_t *quality_json(const struct reward_quality *q)
{
    return json_pack("{s:I, s:I, s:o, s:o, s:o, s:o}", "comparisons", (json_int_t)q->comparisons, "decided", (json_int_t)q->decided,
                     "accuracy", json_interval(q->accuracy), "ece", json_interval(q->ece), "brier", json_interval(q->brier),
                     "calibration", json_calibration(&q->calibration));
}

static void say_quality(const char *command, const char *name, const struct reward_quality *q)
{
    fprintf(stderr, "%s: %s: of %zu held-out pairs %.3f (%.3f to %.3f) right, ECE %.3f (%.3f to %.3f), Brier %.3f (%.3f to %.3f)\n",
            command, name, q->decided, q->accuracy.value, q->accuracy.lo, q->accuracy.hi, q->ece.value, q->ece.lo, q->ece.hi, q->brier.value,
            q->brier.lo, q->brier.hi);
}

/* ---- style ---- */

static json_t *style_json(const struct style_bias *b)
{
    json_t *styles = json_object();
    for (size_t s = 0; s < STYLES; s++)
        if (isfinite(b->style[s].score.value))
            json_object_set_new(styles, style_names[s], json_pack("{s:o, s:o, s:o}", "score", json_interval(b->style[s].score), "people",
                                                                  json_interval(b->style[s].people), "excess",
                                                                  json_interval(b->style[s].excess)));
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "pairs", (json_int_t)b->pairs, "length_explains", json_interval(b->explained),
                     "longer_scored", json_interval(b->longer_scored), "longer_preferred", json_interval(b->longer_preferred),
                     "accuracy_longer_preferred", json_interval(b->longer_right), "accuracy_shorter_preferred",
                     json_interval(b->shorter_right), "styles", styles);
}

static void say_style(const char *command, const struct style_bias *b)
{
    fprintf(stderr, "%s: length alone explains %.2f (%.2f to %.2f) of the scores' variance; the longer answer scores higher in %.2f (%.2f to "
                    "%.2f) of the pairs and is preferred in %.2f (%.2f to %.2f)\n", command, b->explained.value, b->explained.lo,
            b->explained.hi, b->longer_scored.value, b->longer_scored.lo, b->longer_scored.hi, b->longer_preferred.value,
            b->longer_preferred.lo, b->longer_preferred.hi);
    for (size_t s = 0; s < STYLES; s++) { /* what is surely too much, or too little */
        struct interval x = b->style[s].excess;
        if (x.lo > 0 || x.hi < 0)
            fprintf(stderr, "%s: it likes %s %s than people do: excess %.2f (%.2f to %.2f)\n", command, style_names[s],
                    x.value > 0 ? "more" : "less", x.value, x.lo, x.hi);
    }
}

int debias_styles(unsigned *which, const char *const *names, size_t n, struct err *err)
{
    const unsigned length = 1u << STYLE_LENGTH, all = (1u << STYLES) - 1;
    *which = 0;
    for (size_t i = 0; i < n; i++) {
        bool is_length = !strcmp(names[i], "length");
        if (!is_length && strcmp(names[i], "format"))
            return err_set(err, "--debias '%s': it takes length, format, or length,format", names[i]);
        *which |= is_length ? length : all & ~length;
    }
    return 0;
}

void scores_debias(json_t *about, struct head *head, struct held_out *h, unsigned which, double temperature, uint32_t seed,
                   const char *command)
{
    struct err why;
    struct scored_pairs pairs = h->pairs;
    struct style_bias before;
    double weight[STYLES], *corrected = xmalloc((pairs.n + 1) * sizeof *corrected);
    pairs.lead = h->lead;
    int rc = style_bias(&before, &pairs, temperature, seed, &why);
    if (rc == 0)
        rc = style_correction(weight, corrected, &pairs, which, seed, &why);
    if (rc == 0) {
        memcpy(h->lead, corrected, pairs.n * sizeof *corrected);
        memcpy(head->style, weight, sizeof weight);
        json_object_set_new(about, "debias", style_json(&before));
    } else if (command) {
        fprintf(stderr, "%s: no style is taken off the scores: %s\n", command, why.text);
    }
    free(corrected);
}

/* ---- slices ---- */

static json_t *slices_json(const struct reward_slice *list, size_t n)
{
    json_t *all = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(all, json_pack("{s:s, s:o, s:I, s:o}", "by", list[i].by, "slice", json_text(list[i].name), "decided",
                                             (json_int_t)list[i].decided, "accuracy", json_interval(list[i].accuracy)));
    return all;
}

static void say_slices(const char *command, const struct reward_slice *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fprintf(stderr, "%s:   %-9s %-26s %6zu pairs   %.3f (%.3f to %.3f) right\n", command,
                i && !strcmp(list[i].by, list[i - 1].by) ? "" : list[i].by, list[i].name, list[i].decided, list[i].accuracy.value, list[i].accuracy.lo, list[i].accuracy.hi);
}

/* What else the pairs say, into the manifest's "quality". */
static void judge_slices(json_t *quality, const struct scored_pairs *p, double temperature, uint32_t seed, const char *command)
{
    struct reward_slice slices[SLICES];
    struct style_bias style;
    struct err ignored;
    size_t n = reward_slices(slices, p);
    json_object_set_new(quality, "slices", slices_json(slices, n));
    if (command)
        say_slices(command, slices, n);
    if (!p->traits || style_bias(&style, p, temperature, seed, &ignored))
        return;
    json_object_set_new(quality, "style", style_json(&style));
    if (command)
        say_style(command, &style);
}

struct calibrator scores_judge(json_t *about, const struct scored_pairs *p, double temperature, int method, uint32_t seed,
                               const char *command)
{
    const struct calibrator trained = {.temperature = temperature};
    struct reward_calibration *c = xcalloc(1, sizeof *c);
    struct err why;
    int rc = p->n ? reward_calibrate(c, p, temperature, method, seed, &why) : -1;
    if (rc && p->n && command)
        fprintf(stderr, "%s: the held-out pairs say nothing of the scores: %s\n", command, why.text);
    if (rc) {
        free(c);
        return trained;
    }
    json_t *groups = json_array();
    for (size_t g = 0; g < c->fitted.n_groups; g++)
        json_array_append_new(groups, json_pack("{s:o, s:f, s:o, s:o}", "group", json_text(c->group[g].name), "temperature",
                                                c->fitted.group[g].temperature, "before", quality_json(&c->group[g].before),
                                                "after", quality_json(&c->group[g].after)));
    json_object_set_new(about, "quality", json_pack("{s:s, s:f, s:o, s:o, s:o}", "calibration", calibration_names[method],
                                                    "temperature", c->fitted.temperature, "before", quality_json(&c->before),
                                                    "after", quality_json(&c->after), "groups", groups));
    if (command)
        say_quality(command, "as trained", &c->before);
    if (command && method != CALIBRATION_NONE)
        say_quality(command, "calibrated", &c->after);
    judge_slices(json_object_get(about, "quality"), p, temperature, seed, command);
    struct calibrator fitted = c->fitted;
    free(c);
    return fitted;
}
