#include "train/pairwise.h"

#include <stdlib.h>
#include <string.h>

#include "objective/orpo.h"
#include "objective/scalar.h"
#include "util/mem.h"

void pairwise_init(struct pairwise *p, struct learner *l, const struct loop_options *o, const struct pairwise_config *config)
{
    *p = (struct pairwise){.learner = l, .options = o, .config = *config};
    p->config.nll_weight += preference_mixture_nll_weight(&config->losses);
}

void pairwise_release(struct pairwise *p)
{
    free(p->ref);
    free(p->grad);
    sequence_tally_release(&p->tally);
    *p = (struct pairwise){0};
}

/* Sums and lengths of completions as the losses see them.  logp, ref: (n, 2); len: (n, 2), 1s where log-probs are means. */
static void point(struct preference_pairs *pairs, double *columns, size_t *lens, const double *logp, const double *ref,
                  const size_t *len, size_t n, bool average)
{
    for (size_t i = 0; i < 2 * n; i++) {
        size_t to = i % 2 * n + i / 2;
        columns[to] = average ? logp[i] / (double)len[i] : logp[i];
        columns[2 * n + to] = ref[i];
        lens[to] = average ? 1 : len[i];
    }
    *pairs = (struct preference_pairs){.n = n, .chosen = columns, .rejected = columns + n, .ref_chosen = columns + 2 * n,
                                       .ref_rejected = columns + 3 * n, .chosen_len = lens, .rejected_len = lens + n};
}

/* Loss and gradients of n pairs as one mean; grad: (n, 2), by the sums of log-probs. */
static int judge(const struct pairwise *p, double *loss, double *grad, const double *logp, const double *ref, const size_t *len,
                 size_t n, struct err *err)
{
    struct preference_pairs pairs;
    double *columns = xmalloc(6 * n * sizeof *columns), *d = columns + 4 * n;
    size_t *lens = xmalloc(2 * n * sizeof *lens);
    point(&pairs, columns, lens, logp, ref, len, n, p->config.average_log_prob);
    int rc = preference_mixture_loss(loss, d, d + n, &p->config.losses, &pairs, &p->config.loss, err);
    for (size_t i = 0; rc == 0 && i < 2 * n; i++)
        grad[i] = d[i % 2 * n + i / 2] / (p->config.average_log_prob ? (double)len[i] : 1);
    free(columns);
    free(lens);
    return rc;
}

/* Before the first micro-batch of a loss that needs the whole step. */
static int judge_step(struct pairwise *p, const struct examples *e, const size_t *rows, struct err *err)
{
    double *logp = sequence_logprobs(p->look, p->options, e, rows, p->n, 2, p->config.ld_alpha, NULL, NULL, err);
    if (!logp)
        return -1;
    size_t *len = xmalloc(2 * p->n * sizeof *len);
    for (size_t i = 0; i < 2 * p->n; i++)
        len[i] = example_targets(&e->list[rows[i / 2]], i % 2);
    int rc = judge(p, &p->loss, p->grad, logp, p->ref, len, p->n, err);
    p->judged = true;
    free(len);
    free(logp);
    return rc;
}

/* The reference's log-probs of the step's rows. */
static int look_up(struct pairwise *p, const struct examples *e, const size_t *rows, bool train, struct err *err)
{
    const double *known = train ? p->train_ref : p->eval_ref;
    if (p->reference) {
        double *now = sequence_logprobs(p->reference, p->options, e, rows, p->n, 2, p->config.ld_alpha, NULL, NULL, err);
        if (now)
            memcpy(p->ref, now, 2 * p->n * sizeof *now);
        free(now);
        return now ? 0 : -1;
    }
    for (size_t i = 0; i < 2 * p->n; i++)
        p->ref[i] = known ? known[2 * rows[i / 2] + i % 2] : 0;
    return 0;
}

static int begin(void *self, const struct examples *e, const size_t *rows, size_t n, bool train, struct err *err)
{
    struct pairwise *p = self;
    p->n = n;
    p->at = p->nll_targets = 0;
    p->judged = false;
    p->loss = p->nll = p->log_odds = p->log_odds_ratio = 0;
    p->stats = (struct preference_stats){0};
    if (2 * n > p->capacity) {
        p->capacity = 2 * n;
        p->ref = xreallocarray(p->ref, p->capacity, sizeof *p->ref);
        p->grad = xreallocarray(p->grad, p->capacity, sizeof *p->grad);
    }
    for (size_t i = 0; i < n; i++) {
        const struct example *x = &e->list[rows[i]];
        p->nll_targets += example_targets(x, 0) + (x->learn_prompt && x->prompt.n ? x->prompt.n - 1 : 0);
    }
    sequence_tally_begin(&p->tally, p->learner);
    if (train)
        learner_clear_gradients(p->learner);
    if (look_up(p, e, rows, train, err))
        return -1;
    return preference_mixture_by_step(&p->config.losses) ? judge_step(p, e, rows, err) : 0;
}

/* One pair by itself, so that micro-batches do not matter. */
static int add_pair(struct pairwise *p, const double *logp, const double *ref, double *grad, const size_t *len, struct err *err)
{
    double columns[4], loss;
    size_t lens[2];
    struct preference_pairs pair;
    struct preference_stats s;
    if (!p->judged) {
        if (judge(p, &loss, grad, logp, ref, len, 1, err))
            return -1;
        p->loss += loss;
        grad[0] /= (double)p->n;
        grad[1] /= (double)p->n;
    }
    point(&pair, columns, lens, logp, ref, len, 1, p->config.average_log_prob);
    if (preference_stats(&s, &pair, &p->config.loss, err))
        return -1;
    preference_stats_add(&p->stats, &s);
    if (p->config.odds_keys) {
        double odds = orpo_log_odds(pair.chosen[0], pair.rejected[0]);
        p->log_odds += odds;
        p->log_odds_ratio += log_sigmoid(odds);
    }
    return 0;
}

/* The mean -logp over the chosen tokens, and what is left for the pairs. */
static void pass_down(struct pairwise *p, const double *grad, const double *weights)
{
    struct learner *l = p->learner;
    const struct forest *f = &l->forest;
    double nll = p->config.nll_weight / (double)p->nll_targets;
    for (size_t i = 0; i < f->n_targets; i++) {
        uint32_t k = f->owner[i];
        bool learned = k == FOREST_PROMPT || k % 2 == 0;
        double d = k == FOREST_PROMPT ? 0 : grad[k] * weights[i];
        p->nll -= learned ? (double)l->logp[i] : 0;
        l->dlogp[i] = (float)(learned && nll != 0 ? d - nll : d);
    }
}

static int micro(void *self, const struct examples *e, const size_t *rows, size_t n, bool train, struct err *err)
{
    struct pairwise *p = self;
    struct learner *l = p->learner;
    const struct forest *f = &l->forest;
    if (learner_forward(l, e, rows, n, err) || learner_logprobs(l, 1.0f, train, err))
        return -1;
    double *logp = xcalloc(2 * n, sizeof *logp), *weights = xmalloc((f->n_targets + 1) * sizeof *weights);
    double *grad = p->grad + 2 * p->at;
    size_t *len = xmalloc(2 * n * sizeof *len);
    unsigned char *sides = xmalloc(2 * n);
    for (size_t k = 0; k < 2 * n; k++)
        sides[k] = k % 2;
    sequence_weights(weights, len, f, 2, p->config.ld_alpha);
    for (size_t i = 0; i < f->n_targets; i++)
        if (f->owner[i] != FOREST_PROMPT)
            logp[f->owner[i]] += weights[i] * (double)l->logp[i];
    sequence_tally_add(&p->tally, l, sides);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = add_pair(p, logp + 2 * i, p->ref + 2 * (p->at + i), grad + 2 * i, len + 2 * i, err);
    if (rc == 0)
        pass_down(p, grad, weights);
    if (rc == 0 && train)
        net_backward(&l->grads, l->workspace, &l->net, &f->batch, l->dlogp, NULL, NULL, 0);
    p->at += n;
    free(logp);
    free(weights);
    free(len);
    free(sides);
    return rc;
}

static int end(void *self, struct metrics *m, bool train, struct err *err)
{
    (void)err;
    struct pairwise *p = self;
    const struct pairwise_config *c = &p->config;
    double n = (double)p->n, nll = p->nll / (double)p->nll_targets, pairs = p->judged ? p->loss : p->loss / n;
    if (train)
        gradients_finish(&p->learner->grads, &p->learner->net);
    metrics_put(m, "loss", c->nll_weight != 0 ? pairs + c->nll_weight * nll : pairs);
    sequence_tally_put(&p->tally, m);
    sequence_stats_put(&p->stats, n, m);
    if (c->reference)
        metrics_put(m, "logps/both_fell", p->stats.logps_both_fell / n);
    if (c->nll_key || c->nll_weight != 0)
        metrics_put(m, "nll_loss", c->nll_weight != 0 ? nll : 0); /* 0 where it is no part of the loss, as TRL */
    if (c->odds_keys) {
        metrics_put(m, "log_odds_chosen", p->log_odds / n);
        metrics_put(m, "log_odds_ratio", p->log_odds_ratio / n);
    }
    return 0;
}

static void stepped(void *self, size_t step)
{
    struct pairwise *p = self;
    if (p->sync_steps && step % p->sync_steps == 0)
        params_mix(p->ref_params, p->policy_params, p->mixup);
}

struct method pairwise_method(struct pairwise *p, const char *name)
{
    return (struct method){.name = name, .learner = p->learner, .self = p, .begin = begin, .micro = micro, .end = end,
                           .stepped = stepped};
}
