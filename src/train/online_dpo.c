#include "train/online_dpo.h"

#include <stdlib.h>

#include "objective/nash_md.h"
#include "objective/online_dpo.h"
#include "train/sequence.h"
#include "util/mem.h"

int online_dpo_check(const struct online_dpo_options *o, struct err *err)
{
    if (!o->loss->pair)
        return err_set(err, "loss_type '%s' %s: take one of single pairs, as 'sigmoid' or 'ipo'", o->loss->name,
                       o->loss->step ? "compares all pairs of a step" : "has no pairs");
    if (o->loss->free)
        return err_set(err, "loss_type '%s' has no reference: take 'sigmoid' or 'ipo'", o->loss->name);
    if (o->method == ONLINE_NASH_MD && (o->num_iterations > 1 || o->steps_per_generation > 1))
        return err_set(
            err, "nash_md learns from answers of the policy as it is, so it makes one step a batch: leave num_iterations and "
                 "steps_per_generation at 1");
    return preference_loss_check(o->loss, &o->config, err);
}

/* ---- the loss of a tree ---- */

/* One iteration: its steps, and what is logged of them. */
struct pass {
    const struct experience *x;
    const struct online_dpo_options *options;
    const double *probability;
    size_t parts; /* steps of a pass over the trees */
    struct online_steps steps;
    double n; /* pairs of the step under way, over which its loss is a mean */
    /* sums over pairs, of all steps */
    double pairs, computed;
    struct judged_loss loss;
    struct nash_md_loss nash;
    struct preference_stats stats;
};

static size_t tokens_of(const struct experience *x, size_t c)
{
    return x->first[c + 1] - x->first[c];
}

static double sum_of(const double *logp, const struct experience *x, size_t c)
{
    double sum = 0;
    for (size_t t = x->first[c]; t < x->first[c + 1]; t++)
        sum += logp[t];
    return sum;
}

/* What is known of who is better: the loss's weights of either being the chosen one. */
static void set_weights(double weight[2], double probability, bool soft)
{
    weight[0] = soft ? probability : probability > 0.5;
    weight[1] = soft ? 1 - probability : probability < 0.5;
}

static int pair_loss(void *self, size_t tree, struct err *err)
{
    struct pass *p = self;
    const struct experience *x = p->x;
    const struct online_dpo_options *o = p->options;
    size_t c = x->tree[tree];
    struct judged_pair pair;
    struct judged_loss loss;
    struct preference_stats stats;
    for (size_t side = 0; side < 2; side++) {
        pair.logp[side] = sum_of(p->steps.logp, x, c + side);
        pair.ref_logp[side] = sum_of(x->ref_logps, x, c + side);
        pair.len[side] = tokens_of(x, c + side);
    }
    set_weights(pair.weight, p->probability[tree], o->soft_labels);
    struct preference_pairs view = judged_pairs_view(&pair, p->probability[tree] < 0.5);
    if (online_dpo_loss(&loss, o->loss, &pair, o->alpha, &o->config, err) || preference_stats(&stats, &view, &o->config, err))
        return -1;
    for (size_t side = 0; side < 2; side++)
        for (size_t t = x->first[c + side]; t < x->first[c + side + 1]; t++)
            p->steps.dlogp[t] = loss.dlogp[side] / p->n;
    p->loss.dpo += loss.dpo;
    p->loss.xpo += loss.xpo;
    p->computed++;
    preference_stats_add(&p->stats, &stats);
    return 0;
}

static int nash_loss(void *self, size_t tree, struct err *err)
{
    struct pass *p = self;
    const struct experience *x = p->x;
    size_t first = x->first[x->tree[tree]], n = tokens_of(x, x->tree[tree]);
    struct nash_md_loss loss;
    if (nash_md_loss(&loss, p->steps.dlogp + first, p->steps.logp + first, x->ref_logps + first, n, p->probability[tree],
                     p->options->config.beta, err))
        return -1;
    for (size_t t = 0; t < n; t++)
        p->steps.dlogp[first + t] /= p->n;
    p->nash.loss += loss.loss;
    p->nash.score += loss.score;
    p->nash.kl += loss.kl;
    p->computed++;
    return 0;
}

/* Of trees[0..n) those that teach something, into live; returns how many. */
static size_t find_live(size_t *live, const struct pass *p, const size_t *trees, size_t n)
{
    const struct online_dpo_options *o = p->options;
    bool all = o->method == ONLINE_NASH_MD || o->soft_labels || o->alpha > 0;
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (all || p->probability[trees[i]] != 0.5)
            live[count++] = trees[i];
    return count;
}

/* ---- what is logged ---- */

static void report(const struct pass *p, struct metrics *m)
{
    const struct online_dpo_options *o = p->options;
    double pairs = p->pairs;
    metrics_put(m, "grad_norm", p->steps.norms / (double)p->steps.n);
    metrics_put(m, "entropy", p->steps.entropy / (double)p->steps.entropy_tokens);
    if (o->method == ONLINE_NASH_MD) {
        metrics_put(m, "loss", p->nash.loss / pairs);
        metrics_put(m, "loss/score", p->nash.score / pairs);
        metrics_put(m, "loss/kl", p->nash.kl / pairs);
        return;
    }
    metrics_put(m, "loss", (p->loss.dpo + p->loss.xpo) / pairs);
    if (o->method == ONLINE_XPO) {
        metrics_put(m, "loss/dpo", p->loss.dpo / pairs);
        metrics_put(m, "loss/xpo", p->loss.xpo / pairs);
    }
    sequence_stats_put(&p->stats, p->computed, m);
    metrics_put(m, "logps/both_fell", p->stats.logps_both_fell / p->computed);
}

/* ---- steps ---- */

static void pass_init(struct pass *p, struct online_dpo *d, const struct experience *x, const double *probability)
{
    const struct online_dpo_options *o = &d->options;
    *p = (struct pass){.x = x,
                       .options = o,
                       .probability = probability,
                       .parts = o->steps_per_generation < x->examples.n ? o->steps_per_generation : x->examples.n};
    online_steps_init(&p->steps, d->policy, x, o->temperature, o->micro_batch_tokens);
    p->steps.loss = o->method == ONLINE_NASH_MD ? nash_loss : pair_loss;
    p->steps.self = p;
}

int online_dpo_update(struct online_dpo *d, const struct experience *x, const double *probability, uint32_t iteration,
                      double lr, struct optimizer *o, struct metrics *m, struct err *err)
{
    const struct online_dpo_options *opt = &d->options;
    size_t n = x->examples.n, *order = online_trees(n), *live = online_trees(n), fresh = opt->method == ONLINE_DPO ? 2 : 1;
    struct pass p;
    int rc = 0;
    pass_init(&p, d, x, probability);
    for (size_t pass = 0; rc == 0 && pass < opt->num_iterations; pass++) {
        online_order(order, n, opt->shuffle, opt->seed, iteration, opt->num_iterations, pass);
        for (size_t b = 0; rc == 0 && b < p.parts; b++) {
            size_t from = n * b / p.parts, to = n * (b + 1) / p.parts, n_live = find_live(live, &p, order + from, to - from);
            if (n_live == 0)
                continue;
            p.n = (double)(to - from);
            p.pairs += p.n;
            rc = online_step(&p.steps, live, n_live, p.steps.n == 0 ? fresh : 0, lr, o, err);
        }
    }
    if (rc == 0 && p.steps.n)
        report(&p, m);
    online_steps_release(&p.steps);
    free(order);
    free(live);
    return rc;
}
