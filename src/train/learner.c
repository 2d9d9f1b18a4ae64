#include "train/learner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "util/mem.h"

int learner_init(struct learner *l, const struct net *net, enum keep keep, bool train_model, bool train_head,
                 struct optimizer *o, const char *const names[3], double head_lr_ratio, struct err *err)
{
    *l = (struct learner){.net = *net, .keep = keep};
    bool train_adapter = net->adapter && !train_model;
    l->workspace = workspace_new(&net->model->config, keep, err);
    if (gradients_init(&l->grads, net, train_model, train_adapter, train_head, err))
        return -1;
    if (train_model && optimizer_add(o, names[0], &net->model->params, l->grads.model, 1, err))
        return -1;
    if (train_adapter && optimizer_add(o, names[1], &net->adapter->params, l->grads.adapter, 1, err))
        return -1;
    if (train_head && optimizer_add(o, names[2], &net->head->params, l->grads.head, head_lr_ratio, err))
        return -1;
    return 0;
}

int learner_init_forward(struct learner *l, const struct net *net, struct err *err)
{
    *l = (struct learner){.net = *net};
    l->workspace = workspace_new(&net->model->config, KEEP_NOTHING, err);
    return l->workspace ? 0 : -1;
}

void learner_release(struct learner *l)
{
    gradients_release(&l->grads);
    workspace_free(l->workspace);
    forest_release(&l->forest);
    stem_release(&l->stem);
    free(l->logp);
    free(l->dlogp);
    free(l->info);
    *l = (struct learner){0};
}

void learner_clear_gradients(struct learner *l)
{
    gradients_clear(&l->grads, &l->net);
}

int learner_stem(struct learner *l, const struct examples *e, const size_t *rows, size_t n, bool grad, struct err *err)
{
    return stem_of_examples(&l->stem, &l->net, e, rows, n, grad ? l->keep : KEEP_NOTHING, err);
}

void learner_stem_end(struct learner *l, bool grad)
{
    if (grad)
        stem_backward(&l->grads, &l->stem, &l->net);
    stem_clear(&l->stem);
}

int learner_forward(struct learner *l, const struct examples *e, const size_t *rows, size_t n, struct err *err)
{
    forest_clear(&l->forest);
    if (l->stem.n)
        batch_set_stem(&l->forest.batch, &l->stem);
    for (size_t i = 0; i < n; i++)
        forest_add(&l->forest, &e->list[rows[i]]);
    return net_forward(l->workspace, &l->net, &l->forest.batch, NULL, 0, err);
}

int learner_logprobs(struct learner *l, float temperature, bool grad, struct err *err)
{
    size_t n = l->forest.n_targets;
    if (n > l->capacity) {
        l->capacity = n;
        l->logp = xreallocarray(l->logp, n, sizeof *l->logp);
        l->dlogp = xreallocarray(l->dlogp, n, sizeof *l->dlogp);
        l->info = xreallocarray(l->info, n, sizeof *l->info);
    }
    memset(l->dlogp, 0, n * sizeof *l->dlogp);
    return net_logprobs(l->logp, l->info, l->workspace, &l->net, l->forest.targets, n, temperature, grad, err);
}

double *learner_scores(const struct learner *l, const size_t *rows, size_t n)
{
    float *scores = xmalloc((n + 1) * sizeof *scores);
    double *x = xmalloc((n + 1) * sizeof *x);
    net_scores(scores, l->workspace, &l->net, rows, n);
    for (size_t k = 0; k < n; k++)
        x[k] = (double)scores[k];
    free(scores);
    return x;
}

void learner_scores_backward(struct learner *l, const double *dscores, double divisor, const size_t *rows, size_t n)
{
    float *d = xmalloc((n + 1) * sizeof *d);
    for (size_t k = 0; k < n; k++)
        d[k] = (float)(dscores[k] / divisor);
    net_backward(&l->grads, l->workspace, &l->net, &l->forest.batch, NULL, d, rows, n);
    free(d);
}

static const char *file_not_finite(const struct tensor_file *f)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct tensor *t = &f->tensors[i];
        if (t->type == DTYPE_COUNT)
            continue;
        size_t n = tensor_elements(t), j = 0;
        float *x = xmalloc(n * sizeof *x);
        tensor_unpack(x, t);
        while (j < n && isfinite(x[j]))
            j++;
        free(x);
        if (j < n)
            return t->name;
    }
    return NULL;
}

char *net_not_finite(const struct net *net)
{
    const struct params *params[] = {&net->model->params, net->adapter ? &net->adapter->params : NULL,
                                     net->head ? &net->head->params : NULL};
    const char *name = NULL;
    for (size_t i = 0; i < 3 && !name; i++) {
        const struct param *p = params[i] && params[i]->n ? params_not_finite(params[i], params[i]->data) : NULL;
        name = p ? p->name : NULL;
    }
    if (!name && !net->model->trainable) /* those of a trainable model are what it was read from */
        name = file_not_finite(net->model->gguf.tensors.n ? &net->model->gguf.tensors : &net->model->tensors);
    return name ? xstrdup(name) : NULL;
}
