#include "train/sft.h"

static int begin(void *self, const struct examples *e, const size_t *rows, size_t n, bool train, struct err *err)
{
    (void)err;
    struct sft *s = self;
    *s = (struct sft){.learner = s->learner};
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < e->list[rows[i]].n_completions; k++)
            s->targets += example_targets(&e->list[rows[i]], k);
    }
    if (train)
        learner_clear_gradients(s->learner);
    return 0;
}

static int micro(void *self, const struct examples *e, const size_t *rows, size_t n, bool train, struct err *err)
{
    struct sft *s = self;
    struct learner *l = s->learner;
    if (learner_forward(l, e, rows, n, err) || learner_logprobs(l, 1.0f, train, err))
        return -1;
    for (size_t i = 0; i < l->forest.n_targets; i++) {
        s->nll -= (double)l->logp[i];
        s->entropy += (double)l->info[i].entropy;
        s->right += l->info[i].best == l->forest.targets[i].token;
        l->dlogp[i] = (float)(-1.0 / (double)s->targets);
    }
    s->seen += l->forest.n_targets;
    if (train)
        net_backward(&l->grads, l->workspace, &l->net, &l->forest.batch, l->dlogp, NULL, NULL, 0);
    return 0;
}

static int end(void *self, struct metrics *m, bool train, struct err *err)
{
    (void)err;
    struct sft *s = self;
    ENSURE(s->seen == s->targets);
    if (train)
        gradients_finish(&s->learner->grads, &s->learner->net);
    metrics_put(m, "loss", s->nll / (double)s->targets);
    metrics_put(m, "entropy", s->entropy / (double)s->targets);
    metrics_put(m, "mean_token_accuracy", (double)s->right / (double)s->targets);
    return 0;
}

struct method sft_method(struct sft *s, struct learner *l)
{
    *s = (struct sft){.learner = l};
    return (struct method){.name = "sft", .learner = l, .self = s, .begin = begin, .micro = micro, .end = end};
}
