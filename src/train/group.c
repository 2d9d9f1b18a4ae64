#include "train/group.h"

#include <math.h>
#include <stdlib.h>

#include "objective/scalar.h"
#include "util/mem.h"

bool group_wants_reference(const struct group_options *o)
{
    return o->loss.beta != 0 || o->kl_in_reward != 0;
}

/* ---- advantages ---- */

/* What is maximised: the score, clipped, less the KL. */
static double reward_of(const struct group_options *o, const struct experience *x, size_t c)
{
    bool clipped = o->reward_low != 0 || o->reward_high != 0;
    double reward = clipped ? clamp(x->scores[c], o->reward_low, o->reward_high) : x->scores[c], kl = 0;
    for (size_t t = x->first[c]; o->kl_in_reward != 0 && t < x->first[c + 1]; t++)
        kl += x->old_logps[t] - x->ref_logps[t];
    return reward - o->kl_in_reward * kl;
}

int group_advantages(double *advantages, const struct group_options *o, const struct experience *x, struct err *err)
{
    size_t groups = x->examples.n, k = groups ? x->n / groups : 0;
    bool normal = o->normalize_advantages;
    int rc = 0;
    for (size_t c = 0; c < x->n; c++)
        advantages[c] = reward_of(o, x, c);
    switch (o->advantage_estimator) {
    case ESTIMATOR_GRPO:
        rc = grpo_advantages(advantages, advantages, groups, k, o->scale_rewards, err);
        break;
    case ESTIMATOR_RLOO:
        rc = rloo_advantages(advantages, advantages, groups, k, err);
        break;
    case ESTIMATOR_REINFORCE_BASELINE:
        rc = grpo_advantages(advantages, advantages, groups, k, SCALE_NONE, err);
        normal = true;
        break;
    case ESTIMATOR_REINFORCE:
        normal = true;
        break;
    }
    return rc == 0 && normal ? normalize_advantages(advantages, advantages, x->n, err) : rc;
}

/* ---- steps ---- */

/* One iteration: its arrays of completions, and its steps. */
struct pass {
    const struct experience *x;
    const struct group_options *options;
    double *advantages;
    bool *mask;
    size_t parts;  /* steps of a pass over the trees */
    double tokens; /* of what is not masked */
    struct online_steps steps;
    struct grpo_counts counts; /* of the step under way */
    struct grpo_sums sums;     /* over all steps */
};

/* The completions of a tree. */
static int tree_loss(void *self, size_t tree, struct err *err)
{
    struct pass *p = self;
    const struct experience *x = p->x;
    size_t c = x->tree[tree];
    double loss;
    return grpo_loss(&loss, p->steps.dlogp, &p->sums, p->steps.logp, x->old_logps, x->ref_logps, x->first + c, p->advantages + c,
                     p->mask + c, x->tree[tree + 1] - c, &p->counts, &p->options->loss, err);
}

static void pass_init(struct pass *p, struct group *g, const struct experience *x)
{
    const struct group_options *o = &g->options;
    *p = (struct pass){.x = x, .options = o,
                       .parts = o->steps_per_generation < x->examples.n ? o->steps_per_generation : x->examples.n};
    p->advantages = xcalloc(x->n + 1, sizeof *p->advantages);
    p->mask = xcalloc(x->n + 1, sizeof *p->mask);
    online_steps_init(&p->steps, g->policy, x, o->temperature, o->micro_batch_tokens);
    p->steps.loss = tree_loss;
    p->steps.self = p;
    for (size_t c = 0; c < x->n; c++) {
        p->mask[c] = x->finished[c] || !o->mask_truncated_completions;
        p->tokens += p->mask[c] ? (double)(x->first[c + 1] - x->first[c]) : 0;
    }
}

static void pass_release(struct pass *p)
{
    free(p->advantages);
    free(p->mask);
    online_steps_release(&p->steps);
}

static struct grpo_counts counts_of(const struct group_options *o, const struct pass *p, const size_t *trees, size_t n)
{
    struct grpo_counts counts = {.tokens = p->tokens / (double)p->parts};
    double own = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t c = p->x->tree[trees[i]]; c < p->x->tree[trees[i] + 1]; c++) {
            counts.completions++;
            own += p->mask[c] ? (double)(p->x->first[c + 1] - p->x->first[c]) : 0;
        }
    if (o->loss.loss_type == GRPO_BNPO)
        counts.tokens = own;
    return counts;
}

/* Of trees[0..n) those whose gradient is not 0, into live; returns how many.  The others need not be computed. */
static size_t find_live(size_t *live, const struct group_options *o, const struct pass *p, const size_t *trees, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        bool teaches = false;
        for (size_t c = p->x->tree[trees[i]]; c < p->x->tree[trees[i] + 1]; c++)
            teaches |= p->mask[c] && (p->advantages[c] != 0 || o->loss.beta != 0);
        if (teaches)
            live[count++] = trees[i];
    }
    return count;
}

static void put_clipping(struct metrics *m, const struct grpo_stats *s, const struct grpo_config *cfg)
{
    if (cfg->loss_type == GRPO_CISPO) {
        metrics_put(m, "cispo_clip_ratio", s->high_mean);
        return;
    }
    if (cfg->loss_type == GRPO_VESPO)
        metrics_put(m, "vespo/phi_seq_mean", s->phi);
    if (cfg->loss_type == GRPO_VESPO || cfg->loss_type == GRPO_SAPO)
        return;
    metrics_put(m, "clip_ratio/region_mean", s->region_mean);
    metrics_put(m, "clip_ratio/low_mean", s->low_mean);
    metrics_put(m, "clip_ratio/low_min", s->low_min);
    metrics_put(m, "clip_ratio/high_mean", s->high_mean);
    metrics_put(m, "clip_ratio/high_max", s->high_max);
}

/* The KL a token where it is part of the reward: at sampling (k1). */
static double sampled_kl(const struct experience *x)
{
    double kl = 0;
    for (size_t t = 0; t < x->first[x->n]; t++)
        kl += x->old_logps[t] - x->ref_logps[t];
    return kl / (double)x->first[x->n];
}

static void report(const struct group *g, const struct pass *p, struct metrics *m)
{
    const struct group_options *o = &g->options;
    struct grpo_stats s;
    grpo_stats(&s, &p->sums, &o->loss);
    metrics_put(m, "loss", s.loss / (double)p->steps.n);
    metrics_put(m, "grad_norm", p->steps.norms / (double)p->steps.n);
    metrics_put(m, "entropy", p->steps.entropy / (double)p->steps.entropy_tokens);
    if (o->loss.beta != 0)
        metrics_put(m, "kl", s.kl);
    put_clipping(m, &s, &o->loss);
    if (o->loss.off_policy_mask_threshold > 0)
        metrics_put(m, "off_policy_masked", s.left_behind);
}

int group_update(struct group *g, const struct experience *x, uint32_t iteration, double lr, bool sampled, struct optimizer *o,
                 struct metrics *m, struct err *err)
{
    const struct group_options *opt = &g->options;
    size_t n = x->examples.n, *order = online_trees(n), *live = online_trees(n);
    struct pass p;
    pass_init(&p, g, x);
    int rc = group_advantages(p.advantages, opt, x, err);
    if (rc == 0 && opt->kl_in_reward != 0)
        metrics_put(m, "kl", sampled_kl(x));
    for (size_t pass = 0; rc == 0 && pass < opt->num_iterations; pass++) {
        online_order(order, n, opt->shuffle, opt->seed, iteration, opt->num_iterations, pass);
        for (size_t b = 0; rc == 0 && b < p.parts; b++) {
            size_t from = n * b / p.parts, to = n * (b + 1) / p.parts;
            size_t n_live = find_live(live, opt, &p, order + from, to - from);
            p.counts = counts_of(opt, &p, order + from, to - from);
            if (n_live)
                rc = online_step(&p.steps, live, n_live, sampled && p.steps.n == 0 ? ONLINE_ALL : 0, lr, o, err);
        }
    }
    if (rc == 0 && p.steps.n)
        report(g, &p, m);
    pass_release(&p);
    free(order);
    free(live);
    return rc;
}
