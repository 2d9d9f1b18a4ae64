#include "train/online.h"

#include <math.h>
#include <stdlib.h>

#include "train/loop.h"
#include "util/mem.h"
#include "util/rng.h"
#include "util/textstats.h"

size_t online_cut(const struct experience *x, const size_t *trees, size_t n, size_t at, const struct stem *stem,
                  size_t micro_batch_tokens)
{
    struct loop_options o = {.micro_batch_tokens = micro_batch_tokens};
    return loop_micro(&o, &x->examples, trees, n, at, stem->n);
}

size_t *online_plant(struct learner *l, struct stem *stem, const struct experience *x, const size_t *trees, size_t n)
{
    struct forest *f = &l->forest;
    forest_clear(f);
    if (stem->n)
        batch_set_stem(&f->batch, stem);
    size_t *completion = xmalloc((x->n + 1) * sizeof *completion), *seen, count = 0;
    for (size_t i = 0; i < n; i++) {
        forest_add(f, &x->examples.list[trees[i]]);
        for (size_t c = x->tree[trees[i]]; c < x->tree[trees[i] + 1]; c++)
            completion[count++] = c;
    }
    seen = xcalloc(count + 1, sizeof *seen);
    size_t *at = xmalloc((f->n_targets + 1) * sizeof *at);
    for (size_t i = 0; i < f->n_targets; i++)
        at[i] = x->first[completion[f->owner[i]]] + seen[f->owner[i]]++;
    free(seen);
    free(completion);
    return at;
}

int online_logprobs(struct learner *l, const struct net *net, const struct experience *x, float temperature,
                    size_t micro_batch_tokens, double *to, struct err *err)
{
    size_t *trees = online_trees(x->examples.n);
    struct net own = l->net;
    l->net = *net;
    int rc = learner_stem(l, &x->examples, trees, x->examples.n, false, err);
    for (size_t at = 0; rc == 0 && at < x->examples.n;) {
        size_t n = online_cut(x, trees, x->examples.n, at, &l->stem, micro_batch_tokens);
        size_t *where = online_plant(l, &l->stem, x, trees + at, n);
        rc = net_forward(l->workspace, net, &l->forest.batch, NULL, 0, err);
        if (rc == 0)
            rc = learner_logprobs(l, temperature, false, err);
        for (size_t i = 0; rc == 0 && i < l->forest.n_targets; i++)
            to[where[i]] = (double)l->logp[i];
        free(where);
        at += n;
    }
    learner_stem_end(l, false);
    l->net = own;
    free(trees);
    return rc;
}

size_t *online_trees(size_t n)
{
    size_t *trees = xmalloc((n + 1) * sizeof *trees);
    for (size_t i = 0; i < n; i++)
        trees[i] = i;
    return trees;
}

void online_order(size_t *order, size_t n, bool shuffle, uint32_t seed, uint32_t iteration, size_t epochs, size_t epoch)
{
    for (size_t i = 0; i < n; i++)
        order[i] = i;
    if (shuffle)
        rng_permutation(order, n, seed, RNG_SHUFFLE, (uint32_t)(0x80000000u + iteration * epochs + epoch));
}

size_t online_tokens(const struct experience *x, const size_t *trees, size_t n)
{
    size_t tokens = 0;
    for (size_t i = 0; i < n; i++)
        tokens += x->first[x->tree[trees[i] + 1]] - x->first[x->tree[trees[i]]];
    return tokens;
}

int online_check_ratios(const struct experience *x, const size_t *trees, size_t n, size_t fresh, const double *ratio,
                        struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        size_t first = x->tree[trees[i]], all = x->tree[trees[i] + 1] - first, own = fresh < all ? fresh : all;
        for (size_t t = x->first[first]; t < x->first[first + own]; t++)
            if (ratio[t] != 1.0)
                return err_set(err, "the ratio of a freshly sampled token is %.9g instead of exactly 1: sampler and trainer "
                                    "do not run the same policy", ratio[t]);
    }
    return 0;
}

void online_steps_init(struct online_steps *s, struct learner *l, const struct experience *x, float temperature,
                       size_t micro_batch_tokens)
{
    size_t tokens = x->first[x->n];
    *s = (struct online_steps){.learner = l, .x = x, .temperature = temperature, .micro_batch_tokens = micro_batch_tokens};
    s->logp = xcalloc(tokens + 1, sizeof *s->logp);
    s->dlogp = xcalloc(tokens + 1, sizeof *s->dlogp);
    s->ratio = xcalloc(tokens + 1, sizeof *s->ratio);
}

void online_steps_release(struct online_steps *s)
{
    free(s->logp);
    free(s->dlogp);
    free(s->ratio);
}

/* Some trees of a step: forward, loss, backward. */
static int step_micro(struct online_steps *s, const size_t *trees, size_t n, struct err *err)
{
    const struct experience *x = s->x;
    struct learner *l = s->learner;
    size_t *where = online_plant(l, &l->stem, x, trees, n);
    int rc = net_forward(l->workspace, &l->net, &l->forest.batch, NULL, 0, err);
    if (rc == 0)
        rc = learner_logprobs(l, s->temperature, true, err);
    for (size_t i = 0; rc == 0 && i < l->forest.n_targets; i++) {
        s->logp[where[i]] = (double)l->logp[i];
        s->ratio[where[i]] = exp(s->logp[where[i]] - x->old_logps[where[i]]);
        s->entropy += (double)l->info[i].entropy;
    }
    s->entropy_tokens += l->forest.n_targets;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = s->loss(s->self, trees[i], err);
    for (size_t i = 0; rc == 0 && i < l->forest.n_targets; i++)
        l->dlogp[i] = (float)s->dlogp[where[i]];
    if (rc == 0)
        net_backward(&l->grads, l->workspace, &l->net, &l->forest.batch, l->dlogp, NULL, NULL, 0);
    free(where);
    return rc;
}

int online_step(struct online_steps *s, const size_t *trees, size_t n, size_t fresh, double lr, struct optimizer *o,
                struct err *err)
{
    struct learner *l = s->learner;
    double norm = 0;
    learner_clear_gradients(l);
    int rc = learner_stem(l, &s->x->examples, trees, n, true, err);
    for (size_t at = 0; rc == 0 && at < n;) {
        size_t k = online_cut(s->x, trees, n, at, &l->stem, s->micro_batch_tokens);
        rc = step_micro(s, trees + at, k, err);
        at += k;
    }
    learner_stem_end(l, rc == 0);
    if (rc == 0)
        rc = online_check_ratios(s->x, trees, n, fresh, s->ratio, err);
    if (rc == 0) {
        gradients_finish(&l->grads, &l->net);
        rc = optimizer_step(o, lr, &norm, err);
    }
    s->norms += norm;
    s->n++;
    return rc;
}

int online_mix(double *loss, struct learner *l, const struct examples *e, const size_t *rows, size_t n, size_t micro_batch_tokens,
               double coef, struct err *err)
{
    struct loop_options o = {.micro_batch_tokens = micro_batch_tokens};
    double targets = 0, sum = 0;
    int rc = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < e->list[rows[i]].n_completions; k++)
            targets += (double)example_targets(&e->list[rows[i]], k);
    for (size_t at = 0, k; rc == 0 && targets > 0 && at < n; at += k) {
        k = loop_micro(&o, e, rows, n, at, 0);
        rc = learner_forward(l, e, rows + at, k, err);
        if (rc == 0)
            rc = learner_logprobs(l, 1.0f, true, err);
        for (size_t i = 0; rc == 0 && i < l->forest.n_targets; i++) {
            sum -= (double)l->logp[i];
            l->dlogp[i] = (float)(-coef / targets);
        }
        if (rc == 0)
            net_backward(&l->grads, l->workspace, &l->net, &l->forest.batch, l->dlogp, NULL, NULL, 0);
    }
    *loss = targets > 0 ? sum / targets : 0;
    return rc;
}

/* The completions' ids, one after the other: a fresh array. */
static uint32_t *all_ids(const struct experience *x)
{
    uint32_t *ids = xmalloc((x->first[x->n] + 1) * sizeof *ids);
    for (size_t i = 0, c = 0; i < x->examples.n; i++)
        for (size_t k = 0; k < x->examples.list[i].n_completions; k++, c++)
            for (size_t t = 0; t < x->examples.list[i].completions[k].n; t++)
                ids[x->first[c] + t] = (uint32_t)x->examples.list[i].completions[k].ids[t];
    return ids;
}

void online_describe(const struct experience *x, struct metrics *m)
{
    size_t stopped = 0, stopped_tokens = 0, shortest = SIZE_MAX, longest = 0;
    uint32_t *ids = all_ids(x);
    struct ngram_measure two;
    for (size_t i = 0; i < x->n; i++) {
        size_t length = x->first[i + 1] - x->first[i];
        stopped += x->finished[i];
        stopped_tokens += x->finished[i] ? length : 0;
        shortest = length < shortest ? length : shortest;
        longest = length > longest ? length : longest;
    }
    ngram_measure(&two, ids, x->first, x->n, 2);
    free(ids);
    metrics_put(m, "completions/mean_length", (double)x->first[x->n] / (double)x->n);
    metrics_put(m, "completions/min_length", (double)shortest);
    metrics_put(m, "completions/max_length", (double)longest);
    metrics_put(m, "completions/mean_terminated_length", stopped ? (double)stopped_tokens / (double)stopped : 0);
    metrics_put(m, "completions/clipped_ratio", 1 - (double)stopped / (double)x->n);
    metrics_put(m, "completions/distinct_2", two.distinct);
    metrics_put(m, "completions/repeated_2", two.repeated);
}
