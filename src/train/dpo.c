#include "train/dpo.h"

#include <stdlib.h>
#include <string.h>

#include "util/mem.h"

int dpo_init(struct dpo *d, struct learner *l, const char *loss_type, const struct preference_config *config,
             size_t width, struct err *err)
{
    *d = (struct dpo){.learner = l, .config = *config, .loss = preference_loss_find(loss_type, err)};
    if (!d->loss)
        return -1;
    d->mean_projection = xcalloc(width, sizeof(float));
    return 0;
}

void dpo_release(struct dpo *d)
{
    free(d->mean_projection);
    *d = (struct dpo){0};
}

double *sequence_logprobs(struct learner *l, const struct loop_options *o, const struct examples *e, size_t per_example,
                          void (*progress)(void *user, size_t done), void *user, struct err *err)
{
    double *sums = xcalloc(e->n * per_example + 1, sizeof *sums);
    size_t *rows = xmalloc((e->n + 1) * sizeof *rows);
    for (size_t i = 0; i < e->n; i++)
        rows[i] = i;
    int rc = learner_stem(l, e, rows, e->n, false, err);
    for (size_t at = 0; rc == 0 && at < e->n;) {
        size_t n = loop_micro(o, e, rows, e->n, at, l->stem.n);
        rc = learner_forward(l, e, rows + at, n, err);
        if (rc == 0)
            rc = learner_logprobs(l, 1.0f, false, err);
        for (size_t i = 0; rc == 0 && i < l->forest.n_targets; i++)
            sums[at * per_example + l->forest.owner[i]] += (double)l->logp[i];
        at += n;
        if (rc == 0 && progress)
            progress(user, at);
    }
    learner_stem_end(l, false);
    free(rows);
    if (rc) {
        free(sums);
        return NULL;
    }
    return sums;
}

static int begin(void *self, const struct examples *e, const size_t *rows, size_t n, bool train, struct err *err)
{
    (void)e, (void)rows, (void)err;
    struct dpo *d = self;
    struct learner *l = d->learner;
    d->n = n;
    d->targets[0] = d->targets[1] = d->right = 0;
    d->sum = d->entropy = d->logits[0] = d->logits[1] = 0;
    d->stats = (struct preference_stats){0};
    if (l->net.model->trainable || !d->mean_known)
        projection_mean(d->mean_projection, &l->net.model->output);
    d->mean_known = true;
    if (train)
        learner_clear_gradients(l);
    return 0;
}

static void add_stats(struct preference_stats *sum, const struct preference_stats *s)
{
    sum->rewards_chosen += s->rewards_chosen;
    sum->rewards_rejected += s->rewards_rejected;
    sum->rewards_margins += s->rewards_margins;
    sum->rewards_accuracies += s->rewards_accuracies;
    sum->logps_chosen += s->logps_chosen;
    sum->logps_rejected += s->logps_rejected;
}

static int micro(void *self, const struct examples *e, const size_t *rows, size_t n, bool train, struct err *err)
{
    struct dpo *d = self;
    struct learner *l = d->learner;
    if (learner_forward(l, e, rows, n, err) || learner_logprobs(l, 1.0f, train, err))
        return -1;
    const struct forest *f = &l->forest;
    double *logp = xcalloc(2 * n, sizeof *logp), *grad = xcalloc(2 * n, sizeof *grad);
    size_t *len = xcalloc(2 * n, sizeof *len);
    for (size_t i = 0; i < f->n_targets; i++) {
        uint32_t k = f->owner[i];
        logp[k] += (double)l->logp[i];
        len[k]++;
        d->entropy += (double)l->info[i].entropy;
        d->right += l->info[i].best == f->targets[i].token;
        d->targets[k % 2]++;
        d->logits[k % 2] += (double)kernel()->dot(net_hidden(l->workspace, f->targets[i].row), d->mean_projection,
                                                  l->net.model->config.width);
    }
    const double *ref = train ? d->train_ref : d->eval_ref;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) { /* pair by pair, so that micro-batches do not matter */
        double loss;
        struct preference_stats s;
        struct preference_pairs pair = {.n = 1, .chosen = &logp[2 * i], .rejected = &logp[2 * i + 1],
                                        .ref_chosen = &ref[2 * rows[i]], .ref_rejected = &ref[2 * rows[i] + 1],
                                        .chosen_len = &len[2 * i], .rejected_len = &len[2 * i + 1]};
        rc = d->loss->function(&loss, &grad[2 * i], &grad[2 * i + 1], &pair, &d->config, err);
        if (rc == 0)
            rc = preference_stats(&s, &pair, &d->config, err);
        if (rc == 0) {
            d->sum += loss;
            add_stats(&d->stats, &s);
        }
    }
    for (size_t i = 0; rc == 0 && i < f->n_targets; i++)
        l->dlogp[i] = (float)(grad[f->owner[i]] / (double)d->n);
    if (rc == 0 && train)
        net_backward(&l->grads, l->workspace, &l->net, &f->batch, l->dlogp, NULL, NULL, 0);
    free(logp);
    free(grad);
    free(len);
    return rc;
}

static int end(void *self, struct metrics *m, bool train, struct err *err)
{
    (void)err;
    struct dpo *d = self;
    double n = (double)d->n, all = (double)(d->targets[0] + d->targets[1]);
    if (train)
        gradients_finish(&d->learner->grads, &d->learner->net);
    metrics_put(m, "loss", d->sum / n);
    metrics_put(m, "entropy", d->entropy / all);
    metrics_put(m, "mean_token_accuracy", (double)d->right / all);
    metrics_put(m, "logits/chosen", d->logits[0] / (double)d->targets[0]);
    metrics_put(m, "logits/rejected", d->logits[1] / (double)d->targets[1]);
    metrics_put(m, "rewards/chosen", d->stats.rewards_chosen / n);
    metrics_put(m, "rewards/rejected", d->stats.rewards_rejected / n);
    metrics_put(m, "rewards/margins", d->stats.rewards_margins / n);
    metrics_put(m, "rewards/accuracies", d->stats.rewards_accuracies / n);
    metrics_put(m, "logps/chosen", d->stats.logps_chosen / n);
    metrics_put(m, "logps/rejected", d->stats.logps_rejected / n);
    return 0;
}

struct method dpo_method(struct dpo *d)
{
    return (struct method){.name = "dpo", .learner = d->learner, .self = d, .begin = begin, .micro = micro, .end = end};
}
