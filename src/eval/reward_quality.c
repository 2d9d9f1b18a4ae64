#include "eval/reward_quality.h"

#include <math.h>
#include <stdlib.h>

#include "util/mem.h"

int comparison_majority(const struct comparison *c)
{
    if (c->w_a > c->w_b && c->w_a > c->w_tie)
        return 1;
    return c->w_b > c->w_a && c->w_b > c->w_tie ? -1 : 0;
}

int reward_quality(struct reward_quality *out, double *correct, const double *score_a, const double *score_b,
                   const struct comparison *c, size_t n, struct err *err)
{
    *out = (struct reward_quality){.comparisons = n};
    double *p = xmalloc((n + 1) * sizeof *p), *outcome = xmalloc((n + 1) * sizeof *outcome), right = 0;
    for (size_t i = 0; i < n; i++) {
        int majority = comparison_majority(&c[i]);
        double lead = score_a[i] - score_b[i];
        correct[i] = NAN;
        if (majority == 0)
            continue;
        p[out->decided] = 1 / (1 + exp(-lead));
        outcome[out->decided++] = majority > 0;
        correct[i] = lead == 0 ? 0.5 : (lead > 0) == (majority > 0);
        right += correct[i];
    }
    int rc = out->decided ? stats_calibration(&out->calibration, p, outcome, out->decided, err)
                          : err_set(err, "of %zu comparisons none has a majority: there is nothing to hold scores against", n);
    out->accuracy = stats_wilson(right, (double)out->decided);
    free(p);
    free(outcome);
    return rc;
}

static const char *part_text(const struct row_part *p)
{
    return p->n_messages ? p->messages[p->n_messages - 1].content : p->text ? p->text : "";
}

/* soft: the raters' shares, for training; else the majority, and ties 0.5. */
static struct baseline_pair *baseline_pairs(const struct labelled *p, bool soft)
{
    struct baseline_pair *list = xcalloc(p->n + 1, sizeof *list);
    for (size_t i = 0; i < p->n; i++) {
        const struct row *r = &p->data->rows[i];
        const struct comparison *c = &p->labels[i];
        double all = c->w_a + c->w_b + c->w_tie;
        list[i] = (struct baseline_pair){.prompt = part_text(&r->prompt), .a = part_text(&r->completions[0]),
                                         .b = part_text(&r->completions[1]), .weight = soft ? all : 1};
        list[i].p_a = soft && all > 0 ? (c->w_a + 0.5 * c->w_tie) / all : 0.5 + 0.5 * comparison_majority(c);
    }
    return list;
}

int reward_baselines(struct reward_baselines *out, double *length_correct, double *words_correct,
                     const struct labelled *train, const struct labelled *held_out, uint32_t seed, struct err *err)
{
    struct baseline_pair *a = baseline_pairs(train, true), *b = baseline_pairs(held_out, false);
    int rc = baseline_length(&out->length, length_correct, a, train->n, b, held_out->n, err);
    if (rc == 0)
        rc = baseline_words(&out->words, words_correct, a, train->n, b, held_out->n, seed, err);
    free(a);
    free(b);
    return rc;
}
