#include "train/reward.h"

#include <math.h>
#include <stdlib.h>

#include "util/mem.h"
#include "util/stats.h"

int reward_init(struct reward *r, struct learner *l, bool has_ties, double tie_lr_ratio, struct optimizer *o,
                struct err *err)
{
    *r = (struct reward){.learner = l};
    if (!has_ties)
        return 0;
    params_add(&r->ties, "log_eta", 1, 1, 1, false);
    if (params_allocate(&r->ties, "the threshold of ties", err))
        return -1;
    r->ties.data[0] = logf(0.3f);
    r->ties_grad = params_twin(&r->ties, "the threshold of ties", err);
    return r->ties_grad ? optimizer_add(o, "ties", &r->ties, r->ties_grad, tie_lr_ratio, err) : -1;
}

void reward_release(struct reward *r)
{
    params_release(&r->ties);
    mem_block_free(r->ties_grad);
    *r = (struct reward){0};
}

double reward_eta(const struct reward *r)
{
    return r->ties.n ? exp((double)r->ties.data[0]) : 0;
}

static int begin(void *self, const struct examples *e, const size_t *rows, size_t n, bool train, struct err *err)
{
    (void)e, (void)rows, (void)err;
    struct reward *r = self;
    r->n = n;
    r->decided = r->right = r->scored = 0;
    r->loss = r->margin = r->sum = 0;
    r->min = INFINITY;
    r->max = -INFINITY;
    if (train) {
        learner_clear_gradients(r->learner);
        if (r->ties_grad)
            r->ties_grad[0] = 0;
    }
    return 0;
}

/* One comparison: loss and gradient as if it were alone, to be divided by the step's count. */
static int compare(struct reward *r, const struct comparison *c, double a, double b, double *da, double *db, struct err *err)
{
    double loss, deta = 0;
    struct bradley_terry_pairs pair = {.n = 1, .a = &a, .b = &b, .w_a = &c->w_a, .w_b = &c->w_b, .w_tie = &c->w_tie,
                                       .margin = &c->margin};
    struct bradley_terry_config cfg = {.tie_parameter = reward_eta(r), .label_smoothing = r->label_smoothing,
                                       .center_rewards_coefficient = r->center_rewards_coefficient};
    if (bradley_terry_loss(&loss, da, db, cfg.tie_parameter > 0 ? &deta : NULL, &pair, &cfg, err))
        return -1;
    r->loss += loss;
    if (r->ties_grad)
        r->ties_grad[0] += (float)(deta * cfg.tie_parameter / (double)r->n);
    if (c->w_a != c->w_b) {
        double lead = c->w_a > c->w_b ? a - b : b - a;
        r->decided++;
        r->right += lead > 0;
        r->margin += lead;
    }
    r->sum += a + b;
    r->min = fmin(r->min, fmin(a, b));
    r->max = fmax(r->max, fmax(a, b));
    return 0;
}

static int micro(void *self, const struct examples *e, const size_t *rows, size_t n, bool train, struct err *err)
{
    struct reward *r = self;
    struct learner *l = r->learner;
    if (learner_forward(l, e, rows, n, err))
        return -1;
    size_t count = l->forest.n_completions;
    float *scores = xmalloc(count * sizeof *scores), *d = xmalloc(count * sizeof *d);
    net_scores(scores, l->workspace, &l->net, l->forest.last_row, count);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        double da, db;
        const struct comparison *c = (train ? r->train : r->eval) + rows[i];
        rc = compare(r, c, (double)scores[2 * i], (double)scores[2 * i + 1], &da, &db, err);
        if (rc == 0) {
            d[2 * i] = (float)(da / (double)r->n);
            d[2 * i + 1] = (float)(db / (double)r->n);
        }
    }
    if (rc == 0 && train)
        net_backward(&l->grads, l->workspace, &l->net, &l->forest.batch, NULL, d, l->forest.last_row, count);
    free(scores);
    free(d);
    return rc;
}

static int end(void *self, struct metrics *m, bool train, struct err *err)
{
    (void)err;
    struct reward *r = self;
    if (train)
        gradients_finish(&r->learner->grads, &r->learner->net);
    metrics_put(m, "loss", r->loss / (double)r->n);
    metrics_put(m, "accuracy", r->decided ? (double)r->right / (double)r->decided : NAN);
    if (!train) {
        struct interval share = stats_wilson((double)r->right, (double)r->decided);
        metrics_put(m, "accuracy_low", share.lo);
        metrics_put(m, "accuracy_high", share.hi);
    }
    metrics_put(m, "decided", (double)r->decided);
    metrics_put(m, "margin", r->decided ? r->margin / (double)r->decided : NAN);
    metrics_put(m, "min_reward", r->min);
    metrics_put(m, "mean_reward", r->sum / (2.0 * (double)r->n));
    metrics_put(m, "max_reward", r->max);
    if (r->ties.n)
        metrics_put(m, "tie_eta", reward_eta(r));
    return 0;
}

struct method reward_method(struct reward *r)
{
    return (struct method){.name = "reward", .learner = r->learner, .self = r, .begin = begin, .micro = micro, .end = end};
}
