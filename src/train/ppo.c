#include "train/ppo.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "objective/gae.h"
#include "train/online.h"
#include "util/mem.h"

void ppo_release(struct ppo *p)
{
    free(p->values);
    free(p->d_logp);
    free(p->d_value);
    stem_release(&p->critic_stem);
}

static size_t cut(const struct ppo *p, const struct stem *stem, const struct experience *x, const size_t *trees, size_t n,
                  size_t at)
{
    return online_cut(x, trees, n, at, stem, p->options.micro_batch_tokens);
}

/* online_plant(), and room for the targets. */
static size_t *plant(struct ppo *p, struct stem *stem, const struct experience *x, const size_t *trees, size_t n)
{
    size_t *at = online_plant(p->policy, stem, x, trees, n), targets = p->policy->forest.n_targets;
    if (targets > p->capacity) {
        p->capacity = targets;
        p->values = xreallocarray(p->values, p->capacity, sizeof *p->values);
        p->d_logp = xreallocarray(p->d_logp, p->capacity, sizeof *p->d_logp);
        p->d_value = xreallocarray(p->d_value, p->capacity, sizeof *p->d_value);
    }
    return at;
}

static int forward(struct ppo *p, const struct net *net, struct err *err)
{
    return net_forward(p->policy->workspace, net, &p->policy->forest.batch, NULL, 0, err);
}

/* Rows that predict the tokens, where log-probs and values are read. */
static size_t *target_rows(const struct forest *f)
{
    size_t *rows = xmalloc((f->n_targets + 1) * sizeof *rows);
    for (size_t i = 0; i < f->n_targets; i++)
        rows[i] = f->targets[i].row;
    return rows;
}

int ppo_logprobs(struct ppo *p, const struct net *net, struct experience *x, double *to, struct err *err)
{
    return online_logprobs(p->policy, net, x, p->options.temperature, p->options.micro_batch_tokens, to, err);
}

int ppo_values(struct ppo *p, struct experience *x, struct err *err)
{
    size_t *trees = online_trees(x->examples.n);
    struct stem *stem = &p->critic_stem;
    int rc = stem_of_examples(stem, &p->critic, &x->examples, trees, x->examples.n, KEEP_NOTHING, err);
    for (size_t at = 0; rc == 0 && at < x->examples.n;) {
        size_t n = cut(p, stem, x, trees, x->examples.n, at), *where = plant(p, stem, x, trees + at, n);
        rc = forward(p, &p->critic, err);
        if (rc == 0) {
            size_t *rows = target_rows(&p->policy->forest);
            net_scores(p->values, p->policy->workspace, &p->critic, rows, p->policy->forest.n_targets);
            for (size_t i = 0; i < p->policy->forest.n_targets; i++)
                x->values[where[i]] = (double)p->values[i];
            free(rows);
        }
        free(where);
        at += n;
    }
    free(trees);
    return rc;
}

/* Arrays of a mini-batch's tokens in the order of its targets. */
struct tokens {
    double *logp, *old, *advantage, *value, *old_value, *ret;
};

static void pick(double *to, const double *from, const size_t *where, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = from[where[i]];
}

/* Some trees of a mini-batch of `count` tokens: forward and backward of policy and critic. */
static int micro(struct ppo *p, const struct experience *x, const size_t *trees, size_t n, size_t count,
                 struct ppo_sums *sums, double *entropy, double *ratio, double *new_values, struct err *err)
{
    struct learner *l = p->policy;
    const struct ppo_config *cfg = &p->options.loss;
    size_t *where = plant(p, &l->stem, x, trees, n), m = l->forest.n_targets, *rows = target_rows(&l->forest);
    double *block = xmalloc((6 * m + 1) * sizeof *block), loss;
    struct tokens t = {block, block + m, block + 2 * m, block + 3 * m, block + 4 * m, block + 5 * m};
    float *dv = xmalloc((m + 1) * sizeof *dv);
    pick(t.old, x->old_logps, where, m);
    pick(t.advantage, x->advantages, where, m);
    pick(t.old_value, x->values, where, m);
    pick(t.ret, x->returns, where, m);
    bool shared = !p->critic_grads;
    int rc = forward(p, &l->net, err);
    if (rc == 0)
        rc = learner_logprobs(l, p->options.temperature, true, err);
    for (size_t i = 0; rc == 0 && i < m; i++) {
        t.logp[i] = (double)l->logp[i];
        *entropy += (double)l->info[i].entropy;
        ratio[where[i]] = exp(t.logp[i] - t.old[i]);
    }
    if (rc == 0)
        rc = ppo_policy_loss(&loss, p->d_logp, sums, t.logp, t.old, t.advantage, NULL, m, count, cfg, err);
    for (size_t i = 0; rc == 0 && i < m; i++)
        l->dlogp[i] = p->options.critic_only ? 0 : (float)p->d_logp[i];
    if (rc == 0 && !shared) {
        if (!p->options.critic_only)
            net_backward(&l->grads, l->workspace, &l->net, &l->forest.batch, l->dlogp, NULL, NULL, 0);
        l->forest.batch.stem = l->stem.n ? &p->critic_stem : NULL; /* the same tokens, through the critic */
        rc = forward(p, &p->critic, err);
    }
    if (rc == 0) {
        net_scores(p->values, l->workspace, &p->critic, rows, m);
        for (size_t i = 0; i < m; i++) {
            t.value[i] = (double)p->values[i];
            new_values[where[i]] = t.value[i];
        }
        rc = ppo_value_loss(&loss, p->d_value, sums, t.value, t.old_value, t.ret, NULL, m, count, cfg, err);
    }
    if (rc == 0) {
        for (size_t i = 0; i < m; i++)
            dv[i] = (float)p->d_value[i];
        net_backward(shared ? &l->grads : p->critic_grads, l->workspace, &p->critic, &l->forest.batch,
                     shared ? l->dlogp : NULL, dv, rows, m);
    }
    free(dv);
    free(block);
    free(rows);
    free(where);
    return rc;
}

static void report(const struct ppo_watch *w, const struct experience *x, const size_t *trees, size_t n, size_t epoch,
                   size_t b, const struct ppo_stats *s, double norm, const double *ratio, const double *values)
{
    size_t tokens = online_tokens(x, trees, n), at = 0;
    double *r = xmalloc((tokens + 1) * sizeof *r), *v = xmalloc((tokens + 1) * sizeof *v);
    for (size_t i = 0; i < n; i++)
        for (size_t t = x->first[x->tree[trees[i]]]; t < x->first[x->tree[trees[i] + 1]]; t++, at++) {
            r[at] = ratio[t];
            v[at] = values[t];
        }
    w->mini_batch(w->user, epoch, b, s, norm, r, v, tokens);
    free(r);
    free(v);
}

/* What the mini-batch's prompts begin with, through the policy and, where it is another net, the critic. */
static int plant_stems(struct ppo *p, const struct experience *x, const size_t *trees, size_t n, struct err *err)
{
    if (learner_stem(p->policy, &x->examples, trees, n, true, err))
        return -1;
    return p->critic_grads
               ? stem_of_examples(&p->critic_stem, &p->critic, &x->examples, trees, n, p->policy->keep, err) : 0;
}

static void end_stems(struct ppo *p, bool grad)
{
    learner_stem_end(p->policy, grad);
    if (grad && p->critic_grads)
        stem_backward(p->critic_grads, &p->critic_stem, &p->critic);
    stem_clear(&p->critic_stem);
}

/* The demonstrations of step number `step`. */
static int mix(struct ppo *p, size_t step, double *loss, struct err *err)
{
    size_t n, *rows = loop_rows(&p->ptx.rows, p->ptx.examples->n, step, &n);
    double own;
    int rc = online_mix(&own, p->policy, p->ptx.examples, rows, n, p->options.micro_batch_tokens, p->ptx.coef, err);
    *loss += own;
    free(rows);
    return rc;
}

int ppo_update(struct ppo *p, struct experience *x, uint32_t iteration, double lr, bool sampled, struct optimizer *o,
               struct metrics *m, const struct ppo_watch *watch, struct err *err)
{
    const struct ppo_options *opt = &p->options;
    size_t n = x->examples.n, tokens = x->first[x->n], parts = opt->num_mini_batches < n ? opt->num_mini_batches : n;
    size_t *order = xmalloc((n + 1) * sizeof *order);
    double *ratio = xcalloc(tokens + 1, sizeof *ratio), *values = xcalloc(tokens + 1, sizeof *values), entropy = 0;
    struct ppo_sums all = {0};
    double norms = 0, ptx = 0;
    bool mixes = p->ptx.examples && !opt->critic_only;
    int rc = 0;
    for (size_t epoch = 0; rc == 0 && epoch < opt->num_ppo_epochs; epoch++) {
        online_order(order, n, opt->shuffle, opt->seed, iteration, opt->num_ppo_epochs, epoch);
        for (size_t b = 0; rc == 0 && b < parts; b++) {
            size_t from = n * b / parts, to = n * (b + 1) / parts, count = online_tokens(x, order + from, to - from);
            struct ppo_sums sums = {0};
            struct ppo_stats stats;
            double norm = 0;
            learner_clear_gradients(p->policy);
            if (p->critic_grads)
                gradients_clear(p->critic_grads, &p->critic);
            rc = plant_stems(p, x, order + from, to - from, err);
            for (size_t at = from; rc == 0 && at < to;) {
                size_t k = cut(p, &p->policy->stem, x, order, to, at);
                rc = micro(p, x, order + at, k, count, &sums, &entropy, ratio, values, err);
                at += k;
            }
            end_stems(p, rc == 0);
            if (rc == 0 && sampled && epoch == 0 && b == 0)
                rc = online_check_ratios(x, order + from, to - from, ONLINE_ALL, ratio, err);
            if (rc == 0 && mixes)
                rc = mix(p, (iteration * opt->num_ppo_epochs + epoch) * parts + b, &ptx, err);
            if (rc == 0) {
                gradients_finish(&p->policy->grads, &p->policy->net);
                if (p->critic_grads)
                    gradients_finish(p->critic_grads, &p->critic);
                rc = optimizer_step(o, lr, &norm, err);
            }
            ppo_stats(&stats, &sums);
            norms += norm;
            if (rc == 0 && watch && watch->mini_batch)
                report(watch, x, order + from, to - from, epoch, b, &stats, norm, ratio, values);
            all.policy_tokens += sums.policy_tokens;
            all.value_tokens += sums.value_tokens;
            all.policy_loss += sums.policy_loss;
            all.clipped += sums.clipped;
            all.approxkl += sums.approxkl;
            all.ratio += sums.ratio;
            all.ratio_sq += sums.ratio_sq;
            all.value_loss += sums.value_loss;
            all.value_clipped += sums.value_clipped;
        }
    }
    if (rc == 0) {
        struct ppo_stats s;
        double steps = (double)(parts * opt->num_ppo_epochs), ev = NAN;
        ppo_stats(&s, &all);
        explained_variance(&ev, x->values, x->returns, tokens, NULL);
        metrics_put(m, "loss/policy_avg", s.policy_loss);
        metrics_put(m, "loss/value_avg", s.value_loss);
        metrics_put(m, "policy/approxkl_avg", s.approxkl);
        metrics_put(m, "policy/clipfrac_avg", s.clipfrac);
        metrics_put(m, "policy/entropy_avg", entropy / (double)all.policy_tokens);
        metrics_put(m, "val/clipfrac_avg", s.vf_clipfrac);
        metrics_put(m, "val/ratio", s.ratio);
        metrics_put(m, "val/ratio_var", s.ratio_var);
        metrics_put(m, "val/explained_variance", ev);
        metrics_put(m, "grad_norm", norms / steps);
        if (mixes)
            metrics_put(m, "loss/ptx_avg", ptx / steps);
    }
    free(order);
    free(ratio);
    free(values);
    return rc;
}

void ppo_describe(const struct experience *x, const struct experience_config *c, struct metrics *m)
{
    size_t tokens = x->first[x->n], stopped = 0;
    double n = (double)x->n, score = 0, score_sq = 0, kl = 0, k2 = 0, k3 = 0, surprise = 0;
    for (size_t i = 0; i < x->n; i++) {
        score += x->scores[i];
        score_sq += x->scores[i] * x->scores[i];
        kl += x->ref_kl[i];
        stopped += x->finished[i];
    }
    for (size_t t = 0; t < tokens; t++) {
        double d = x->old_logps[t] - x->ref_logps[t];
        k2 += 0.5 * d * d;
        k3 += exp(-d) - 1 + d;
        surprise -= x->old_logps[t];
    }
    metrics_put(m, "objective/kl", kl / n);
    metrics_put(m, "objective/kl_k2", k2 / n);
    metrics_put(m, "objective/kl_k3", k3 / n);
    metrics_put(m, "objective/entropy", surprise / n);
    metrics_put(m, "objective/non_score_reward", -c->kl_coef * kl / n);
    metrics_put(m, "objective/rlhf_reward", score / n - c->kl_coef * kl / n);
    metrics_put(m, "objective/scores", score / n);
    metrics_put(m, "objective/scores_std", sqrt(fmax(0, score_sq / n - score / n * (score / n))));
    metrics_put(m, "objective/kl_coef", c->kl_coef);
    metrics_put(m, "val/num_eos_tokens", (double)stopped);
    online_describe(x, m);
}
