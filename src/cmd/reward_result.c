#include "cmd/reward_result.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/json.h"
#include "reward/score.h"
#include "util/mem.h"
#include "util/rng.h"
#include "util/textstats.h"

int scores_normalize(double *temperature, struct head *head, struct head_notes *notes, const struct net *net,
                     const struct examples *reference, bool scale, struct err *err)
{
    struct examples some = {.n = reference->n < SCORES_REFERENCE ? reference->n : SCORES_REFERENCE};
    size_t *order = xmalloc((reference->n + 1) * sizeof *order);
    some.list = xmalloc((some.n + 1) * sizeof *some.list);
    rng_permutation(order, reference->n, 0, RNG_SPLIT, 1);
    for (size_t i = 0; i < some.n; i++)
        some.list[i] = reference->list[order[i]];
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
    free(scores);
    free(order);
    free(some.list);
    return rc;
}

void held_out_init(struct held_out *h, const struct examples *e, const struct judgements *labels)
{
    size_t n = labels->n_rows ? labels->start[labels->n_rows] : 0;
    struct word_table prompts;
    word_table_init(&prompts);
    h->lead = xcalloc(n + 1, sizeof *h->lead);
    h->label = xcalloc(n + 1, sizeof *h->label);
    h->unit = xcalloc(n + 1, sizeof *h->unit);
    h->group = xcalloc(n + 1, sizeof *h->group);
    h->scores = xcalloc(n + 1, sizeof *h->scores);
    for (size_t row = 0, at = 0; row < e->n; at += e->list[row++].n_completions) {
        const struct row *r = e->list[row].row;
        char hash[65];
        row_prompt_hash(hash, r);
        uint32_t unit = word_table_id(&prompts, hash, true);
        for (size_t i = labels->start[row]; i < labels->start[row + 1]; i++) {
            const struct judged *j = &labels->list[i];
            h->unit[i] = unit;
            h->label[i] = j->c;
            h->group[i] = r->group ? xstrdup(r->group) : NULL;
            h->scores[i][0] = at + j->a;
            h->scores[i][1] = at + j->b;
        }
    }
    word_table_release(&prompts);
    h->pairs = (struct scored_pairs){n, h->lead, h->label, h->unit, (const char *const *)h->group};
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
    struct calibrator fitted = c->fitted;
    free(c);
    return fitted;
}
