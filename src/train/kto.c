#include "train/kto.h"

#include <stdlib.h>

#include "util/mem.h"

bool kto_desirable(const struct row *row, size_t k)
{
    return row->n_completions == 2 ? k == 0 : row->good;
}

void kto_release(struct kto *k)
{
    sequence_tally_release(&k->tally);
}

/* Each prompt with the completions of the row before it, as far as there is room for them.  The ids are borrowed; the
 * completions are one block, that of the first. */
static struct examples mismatch(const struct kto *k, const struct examples *e, const size_t *rows, size_t n)
{
    struct examples wrong = {.list = xmalloc(n * sizeof *wrong.list), .n = n};
    struct sequence *completions = xmalloc(n * k->per_example * sizeof *completions);
    for (size_t i = 0; i < n; i++) {
        struct example *x = &wrong.list[i];
        *x = e->list[rows[i]];
        x->completions = completions + i * k->per_example;
        for (size_t c = 0; c < k->per_example; c++) {
            x->completions[c] = e->list[rows[(i + n - 1) % n]].completions[c];
            size_t room = k->max_length - x->prompt.n;
            if (x->completions[c].n > room)
                x->completions[c].n = room;
        }
    }
    return wrong;
}

static int measure_kl(struct kto *k, const struct examples *e, const size_t *rows, size_t n, struct err *err)
{
    k->kl = 0;
    if (k->no_kl || n < 2)
        return 0;
    struct examples wrong = mismatch(k, e, rows, n);
    double *logp = sequence_logprobs(k->look, k->options, &wrong, NULL, n, k->per_example, 1, NULL, NULL, err), *ref = NULL;
    if (logp)
        ref = sequence_logprobs(k->reference, k->options, &wrong, NULL, n, k->per_example, 1, NULL, NULL, err);
    int rc = ref ? kto_kl(&k->kl, logp, ref, n * k->per_example, err) : -1;
    free(wrong.list[0].completions);
    free(wrong.list);
    free(logp);
    free(ref);
    return rc;
}

static int begin(void *self, const struct examples *e, const size_t *rows, size_t n, bool train, struct err *err)
{
    struct kto *k = self;
    k->per_example = e->list[rows[0]].n_completions;
    k->n = n * k->per_example;
    k->count[0] = k->count[1] = 0;
    k->loss = k->reward[0] = k->reward[1] = k->logp[0] = k->logp[1] = 0;
    sequence_tally_begin(&k->tally, k->learner);
    if (train)
        learner_clear_gradients(k->learner);
    return measure_kl(k, e, rows, n, err);
}

/* One completion by itself, so that micro-batches do not matter. */
static int add_completion(struct kto *k, double logp, double ref, bool good, double *grad, struct err *err)
{
    double loss;
    const struct kto_completions one = {.n = 1, .logp = &logp, .ref_logp = &ref, .desirable = &good};
    if (kto_loss(&loss, grad, &one, k->kl, &k->config, err))
        return -1;
    k->loss += loss;
    k->count[!good]++;
    k->reward[!good] += k->config.beta * (logp - ref);
    k->logp[!good] += logp;
    return 0;
}

static int micro(void *self, const struct examples *e, const size_t *rows, size_t n, bool train, struct err *err)
{
    struct kto *k = self;
    struct learner *l = k->learner;
    const struct forest *f = &l->forest;
    if (learner_forward(l, e, rows, n, err) || learner_logprobs(l, 1.0f, train, err))
        return -1;
    size_t count = n * k->per_example;
    double *logp = xcalloc(count, sizeof *logp), *grad = xcalloc(count, sizeof *grad);
    const double *ref = train ? k->train_ref : k->eval_ref;
    unsigned char *sides = xmalloc(count);
    for (size_t i = 0; i < f->n_targets; i++)
        logp[f->owner[i]] += (double)l->logp[i];
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        size_t row = rows[i / k->per_example], c = i % k->per_example;
        bool good = kto_desirable(e->list[row].row, c);
        sides[i] = !good;
        rc = add_completion(k, logp[i], ref[row * k->per_example + c], good, &grad[i], err);
    }
    if (rc == 0)
        sequence_tally_add(&k->tally, l, sides);
    for (size_t i = 0; rc == 0 && i < f->n_targets; i++)
        l->dlogp[i] = (float)(grad[f->owner[i]] / (double)k->n);
    if (rc == 0 && train)
        net_backward(&l->grads, l->workspace, &l->net, &f->batch, l->dlogp, NULL, NULL, 0);
    free(logp);
    free(grad);
    free(sides);
    return rc;
}

static int end(void *self, struct metrics *m, bool train, struct err *err)
{
    (void)err;
    struct kto *k = self;
    double good = (double)k->count[0], bad = (double)k->count[1];
    if (train)
        gradients_finish(&k->learner->grads, &k->learner->net);
    metrics_put(m, "loss", k->loss / (double)k->n);
    metrics_put(m, "kl", k->kl);
    sequence_tally_put(&k->tally, m);
    metrics_put(m, "rewards/chosen", k->reward[0] / good); /* NAN where the step has none */
    metrics_put(m, "rewards/rejected", k->reward[1] / bad);
    metrics_put(m, "rewards/margins", k->reward[0] / good - k->reward[1] / bad);
    metrics_put(m, "logps/chosen", k->logp[0] / good);
    metrics_put(m, "logps/rejected", k->logp[1] / bad);
    return 0;
}

struct method kto_method(struct kto *k)
{
    return (struct method){.name = "kto", .learner = k->learner, .self = k, .begin = begin, .micro = micro, .end = end};
}
