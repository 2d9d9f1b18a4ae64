#include "train/sequence.h"

#include <stdlib.h>

#include "kernel/kernel.h"
#include "util/mem.h"

void sequence_weights(double *weights, size_t *lens, const struct forest *f, size_t per_example, double ld_alpha)
{
    size_t *seen = xcalloc(f->n_completions + 1, sizeof *seen), *shared = xcalloc(f->n_completions + 1, sizeof *shared);
    for (size_t k = 0; k < f->n_completions; k++)
        lens[k] = 0;
    for (size_t i = 0; i < f->n_targets; i++)
        if (f->owner[i] != FOREST_PROMPT)
            lens[f->owner[i]]++;
    for (size_t k = 0; k < f->n_completions; k++) {
        size_t first = k - k % per_example;
        shared[k] = lens[first];
        for (size_t j = first; j < first + per_example; j++)
            shared[k] = lens[j] < shared[k] ? lens[j] : shared[k];
    }
    for (size_t i = 0; i < f->n_targets; i++) { /* a completion's targets stand in their order */
        uint32_t k = f->owner[i];
        weights[i] = k == FOREST_PROMPT ? 0 : seen[k]++ < shared[k] ? 1 : ld_alpha;
    }
    free(seen);
    free(shared);
}

static void add_sums(double *sums, const struct learner *l, size_t per_example, double ld_alpha)
{
    const struct forest *f = &l->forest;
    double *weights = xmalloc((f->n_targets + 1) * sizeof *weights);
    size_t *lens = xmalloc((f->n_completions + 1) * sizeof *lens);
    sequence_weights(weights, lens, f, per_example, ld_alpha);
    for (size_t i = 0; i < f->n_targets; i++)
        if (f->owner[i] != FOREST_PROMPT)
            sums[f->owner[i]] += weights[i] * (double)l->logp[i];
    free(weights);
    free(lens);
}

double *sequence_logprobs(struct learner *l, const struct loop_options *o, const struct examples *e, const size_t *rows, size_t n,
                          size_t per_example, double ld_alpha, void (*progress)(void *user, size_t done), void *user,
                          struct err *err)
{
    double *sums = xcalloc(n * per_example + 1, sizeof *sums);
    size_t *own = xmalloc((n + 1) * sizeof *own);
    for (size_t i = 0; i < n; i++)
        own[i] = rows ? rows[i] : i;
    int rc = learner_stem(l, e, own, n, false, err);
    for (size_t at = 0; rc == 0 && at < n;) {
        size_t count = loop_micro(o, e, own, n, at, l->stem.n);
        rc = learner_forward(l, e, own + at, count, err);
        if (rc == 0)
            rc = learner_logprobs(l, 1.0f, false, err);
        if (rc == 0)
            add_sums(sums + at * per_example, l, per_example, ld_alpha);
        at += count;
        if (rc == 0 && progress)
            progress(user, at);
    }
    learner_stem_end(l, false);
    free(own);
    if (rc) {
        free(sums);
        return NULL;
    }
    return sums;
}

void sequence_tally_begin(struct sequence_tally *t, const struct learner *l)
{
    if (!t->mean_projection)
        t->mean_projection = xcalloc(l->net.model->config.width, sizeof(float));
    if (l->net.model->trainable || !t->mean_known)
        projection_mean(t->mean_projection, &l->net.model->output);
    *t = (struct sequence_tally){.mean_projection = t->mean_projection, .mean_known = true};
}

void sequence_tally_add(struct sequence_tally *t, const struct learner *l, const unsigned char *sides)
{
    const struct forest *f = &l->forest;
    for (size_t i = 0; i < f->n_targets; i++) {
        if (f->owner[i] == FOREST_PROMPT)
            continue;
        size_t side = sides[f->owner[i]];
        t->targets[side]++;
        t->entropy += (double)l->info[i].entropy;
        t->right += side == 0 && l->info[i].best == f->targets[i].token;
        t->logits[side] += (double)kernel()->dot(net_hidden(l->workspace, f->targets[i].row), t->mean_projection,
                                                 l->net.model->config.width);
    }
}

void sequence_tally_put(const struct sequence_tally *t, struct metrics *m)
{
    metrics_put(m, "entropy", t->entropy / (double)(t->targets[0] + t->targets[1]));
    metrics_put(m, "mean_token_accuracy", (double)t->right / (double)t->targets[0]);
    metrics_put(m, "logits/chosen", t->logits[0] / (double)t->targets[0]);
    metrics_put(m, "logits/rejected", t->logits[1] / (double)t->targets[1]);
}

void sequence_tally_release(struct sequence_tally *t)
{
    free(t->mean_projection);
    *t = (struct sequence_tally){0};
}

void sequence_stats_put(const struct preference_stats *sum, double n, struct metrics *m)
{
    metrics_put(m, "rewards/chosen", sum->rewards_chosen / n);
    metrics_put(m, "rewards/rejected", sum->rewards_rejected / n);
    metrics_put(m, "rewards/margins", sum->rewards_margins / n);
    metrics_put(m, "rewards/accuracies", sum->rewards_accuracies / n);
    metrics_put(m, "logps/chosen", sum->logps_chosen / n);
    metrics_put(m, "logps/rejected", sum->logps_rejected / n);
}
