#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/demo.h"
#include "cmd/json.h"
#include "cmd/judged.h"
#include "data/records.h"
#include "eval/reward_quality.h"
#include "reward/score.h"
#include "util/mem.h"

/* Mean of x - y where both are known. */
static struct interval paired_difference(const double *x, const double *y, size_t n)
{
    double *d = xmalloc((n + 1) * sizeof *d);
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (isfinite(x[i]) && isfinite(y[i]))
            d[k++] = x[i] - y[i];
    struct stats_sample s = {d, NULL, k};
    struct interval out = stats_bootstrap_mean(&s, DEMO_SEED);
    free(d);
    return out;
}

static int add_baselines(json_t *o, const double *correct, const struct judged_pairs *train, const struct judged_pairs *held_out,
                         struct err *err)
{
    size_t n = held_out->n;
    double *length = xcalloc(n + 1, sizeof *length), *words = xcalloc(n + 1, sizeof *words);
    struct reward_baselines b;
    int rc = reward_baselines(&b, length, words, &(struct labelled){&train->data, train->labels, train->n},
                              &(struct labelled){&held_out->data, held_out->labels, n}, DEMO_SEED, err);
    if (rc == 0) {
        json_object_set_new(o, "length_only", json_interval(b.length.accuracy));
        json_object_set_new(o, "over_length_only", json_interval(paired_difference(correct, length, n)));
        json_object_set_new(o, "bag_of_words", json_interval(b.words.accuracy));
        json_object_set_new(o, "over_bag_of_words", json_interval(paired_difference(correct, words, n)));
    }
    free(length);
    free(words);
    return rc;
}

/* The "kind" of each comparison, which dataset_read() does not keep: {kind: [right, n]}. */
static int add_kinds(json_t *o, const double *correct, const struct judged_pairs *p, struct err *err)
{
    struct records r;
    if (records_open(&r, p->data.path, ROWS_MAX_LINE, ROWS_MAX_FILE, err))
        return -1;
    json_t *row, *kinds = json_object();
    size_t line;
    int more;
    while ((more = records_next(&r, &row, &line, err)) > 0) {
        const char *kind = json_string_value(json_object_get(row, "kind"));
        for (size_t i = 0; kind && i < p->n; i++) {
            if (p->data.rows[i].line != line || !isfinite(correct[i]))
                continue;
            json_t *k = json_object_get(kinds, kind);
            if (!k)
                json_object_set_new(kinds, kind, k = json_pack("{s:f, s:f}", "right", 0.0, "n", 0.0));
            json_object_set_new(k, "right", json_real(json_number(json_object_get(k, "right")) + correct[i]));
            json_object_set_new(k, "n", json_real(json_number(json_object_get(k, "n")) + 1));
        }
        json_decref(row);
    }
    records_close(&r);
    const char *name;
    json_t *k;
    json_object_foreach(kinds, name, k)
        json_object_set_new(k, "accuracy", json_interval(stats_wilson(json_number(json_object_get(k, "right")),
                                                                      json_number(json_object_get(k, "n")))));
    json_object_set_new(o, "kinds", kinds);
    return more;
}

/* Everything that is said of a reward model with these scores. */
static int judge(json_t *o, const struct judged_pairs *train, const struct judged_pairs *held_out, const float *scores, struct err *err)
{
    size_t n = held_out->n;
    struct reward_quality q;
    double *lead = xcalloc(n + 1, sizeof *lead), *correct = xcalloc(n + 1, sizeof *correct);
    for (size_t i = 0; i < n; i++)
        lead[i] = (double)scores[2 * i] - (double)scores[2 * i + 1];
    struct scored_pairs pairs = {.n = n, .lead = lead, .label = held_out->labels};
    int rc = reward_quality(&q, correct, &pairs, &(struct calibrator){.temperature = 1}, DEMO_SEED, err);
    if (rc == 0) {
        json_object_set_new(o, "comparisons", json_integer((json_int_t)q.comparisons));
        json_object_set_new(o, "decided", json_integer((json_int_t)q.decided));
        json_object_set_new(o, "accuracy", json_interval(q.accuracy));
        json_object_set_new(o, "calibration", json_calibration(&q.calibration));
        rc = add_baselines(o, correct, train, held_out, err) || add_kinds(o, correct, held_out, err) ? -1 : 0;
    }
    free(lead);
    free(correct);
    return rc;
}

json_t *demo_judge_reward(const struct demo *d, const char *name, const char *train_data, const struct net *reward,
                          struct err *err)
{
    struct judged_pairs train = {0}, held_out = {0};
    json_t *o = json_pack("{s:s}", "name", name);
    char *train_path = demo_example(d, train_data), *held_out_path = demo_example(d, "comparisons-heldout.jsonl");
    int rc = judged_pairs_read(&train, train_path, d->system, reward->model, err);
    if (rc == 0)
        rc = judged_pairs_read(&held_out, held_out_path, d->system, reward->model, err);
    float *scores = xcalloc(2 * held_out.n + 1, sizeof *scores);
    if (rc == 0)
        rc = score_examples(scores, reward, &held_out.examples, SCORE_MICRO_TOKENS, NULL, NULL, err);
    if (rc == 0)
        rc = judge(o, &train, &held_out, scores, err);
    free(scores);
    free(train_path);
    free(held_out_path);
    judged_pairs_release(&train);
    judged_pairs_release(&held_out);
    if (rc == 0)
        return o;
    json_decref(o);
    return NULL;
}
