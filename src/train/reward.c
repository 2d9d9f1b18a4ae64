#include "train/reward.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "objective/scalar.h"
#include "util/mem.h"
#include "util/stats.h"

int reward_init(struct reward *r, struct learner *l, bool has_ties, enum bradley_terry_ties ties, double tie_lr_ratio,
                struct optimizer *o, struct err *err)
{
    *r = (struct reward){.learner = l, .ties = has_ties ? ties : TIES_RAO_KUPPER};
    if (!has_ties)
        return 0;
    params_add(&r->threshold, ties == TIES_DAVIDSON ? "ln_nu" : "log_eta", 1, 1, 1, false);
    if (params_allocate(&r->threshold, "the threshold of ties", err))
        return -1;
    r->threshold.data[0] = ties == TIES_DAVIDSON ? -1.0f : logf(0.3f); /* about 15 % ties between equals, either way */
    r->threshold_grad = params_twin(&r->threshold, "the threshold of ties", err);
    return r->threshold_grad ? optimizer_add(o, "ties", &r->threshold, r->threshold_grad, tie_lr_ratio, err) : -1;
}

int reward_init_ratings(struct reward *r, struct learner *l, const size_t *count, size_t n, double lr_ratio, struct optimizer *o,
                        struct err *err)
{
    *r = (struct reward){.learner = l, .n_ratings = n};
    params_add(&r->threshold, "thresholds", 1, n - 1, 1, false);
    if (params_allocate(&r->threshold, "the thresholds of ratings", err))
        return -1;
    double all = 0, below = 0, last = 0;
    for (size_t i = 0; i < n; i++)
        all += (double)count[i] + 1;
    for (size_t i = 0; i + 1 < n; i++) { /* with scores of 0: as often as in the data */
        below += (double)count[i] + 1;
        double theta = log(below / (all - below));
        r->threshold.data[i] = (float)(i ? log(theta - last) : theta);
        last = theta;
    }
    r->threshold_grad = params_twin(&r->threshold, "the thresholds of ratings", err);
    return r->threshold_grad ? optimizer_add(o, "thresholds", &r->threshold, r->threshold_grad, lr_ratio, err) : -1;
}

int reward_init_annotators(struct reward *r, size_t n, double votes, double lr_ratio, struct optimizer *o, struct err *err)
{
    r->votes = votes;
    params_add(&r->annotators, "logits", 1, n, 1, false);
    if (params_allocate(&r->annotators, "the annotators' reliability", err))
        return -1;
    for (size_t k = 0; k < n; k++)
        r->annotators.data[k] = logf(0.9f / 0.1f);
    r->annotators_grad = params_twin(&r->annotators, "the annotators' reliability", err);
    return r->annotators_grad ? optimizer_add(o, "annotators", &r->annotators, r->annotators_grad, lr_ratio, err) : -1;
}

double reward_reliability(const struct reward *r, size_t k)
{
    return sigmoid((double)r->annotators.data[k]);
}

void reward_thresholds(const struct reward *r, double *theta)
{
    for (size_t i = 0; i + 1 < r->n_ratings; i++)
        theta[i] = i ? theta[i - 1] + exp((double)r->threshold.data[i]) : (double)r->threshold.data[0];
}

void reward_release(struct reward *r)
{
    params_release(&r->threshold);
    mem_block_free(r->threshold_grad);
    params_release(&r->annotators);
    mem_block_free(r->annotators_grad);
    *r = (struct reward){0};
}

double reward_tie_parameter(const struct reward *r)
{
    if (r->threshold.n == 0 || r->n_ratings)
        return 0;
    double x = (double)r->threshold.data[0];
    return r->ties == TIES_DAVIDSON ? x : exp(x);
}

static const struct judgements *judgements_of(const struct reward *r, bool train)
{
    return train ? r->train : r->eval;
}

static int begin(void *self, const struct examples *e, const size_t *rows, size_t n, bool train, struct err *err)
{
    (void)err;
    struct reward *r = self;
    const struct judgements *j = judgements_of(r, train);
    r->n = r->rankings ? n : 0;
    for (size_t i = 0; !r->rankings && i < n; i++)
        r->n += r->n_ratings ? e->list[rows[i]].n_completions : j->start[rows[i] + 1] - j->start[rows[i]];
    r->decided = r->right = r->scored = 0;
    r->loss = r->margin = r->sum = 0;
    r->min = INFINITY;
    r->max = -INFINITY;
    if (train) {
        learner_clear_gradients(r->learner);
        if (r->threshold_grad)
            memset(r->threshold_grad, 0, r->threshold.n * sizeof *r->threshold_grad);
        for (size_t k = 0; k < r->annotators.n; k++) { /* a step's share of the prior */
            double dlogit;
            crowd_bt_prior(reward_reliability(r, k), &dlogit);
            r->annotators_grad[k] = (float)(dlogit / r->votes);
        }
    }
    return 0;
}

/* Is the better of two completions in front? */
static void count(struct reward *r, const struct comparison *c, double a, double b)
{
    if (c->w_a == c->w_b)
        return;
    double lead = c->w_a > c->w_b ? a - b : b - a;
    r->decided++;
    r->right += lead > 0;
    r->margin += lead;
}

/* One comparison: loss and gradient as if it were alone, to be divided by the step's count. */
static int compare(struct reward *r, const struct comparison *c, double a, double b, double *da, double *db, struct err *err)
{
    double loss, dtie = 0;
    struct bradley_terry_pairs pair = {.n = 1, .a = &a, .b = &b, .w_a = &c->w_a, .w_b = &c->w_b, .w_tie = &c->w_tie,
                                       .margin = &c->margin};
    struct bradley_terry_config cfg = {.ties = r->ties, .tie_parameter = reward_tie_parameter(r),
                                       .label_smoothing = r->label_smoothing,
                                       .center_rewards_coefficient = r->center_rewards_coefficient};
    if (bradley_terry_loss(&loss, da, db, r->threshold_grad ? &dtie : NULL, &pair, &cfg, err))
        return -1;
    r->loss += loss;
    if (r->threshold_grad) {
        double inner = r->ties == TIES_DAVIDSON ? 1 : cfg.tie_parameter; /* d eta / d log_eta */
        r->threshold_grad[0] += (float)(dtie * inner / (double)r->n);
    }
    count(r, c, a, b);
    return 0;
}

/* The same of an annotator whose reliability is learned. */
static int vote(struct reward *r, const struct judged *j, double a, double b, double *da, double *db, struct err *err)
{
    double nll, dx, deta, c = r->center_rewards_coefficient, eta = reward_reliability(r, j->annotator - 1);
    if (crowd_bt_loss(&nll, &dx, &deta, a - b, eta, j->c.w_a, j->c.w_b, err))
        return -1;
    r->loss += nll + c * ((a + b) * (a + b));
    *da = dx + 2 * c * (a + b);
    *db = -dx + 2 * c * (a + b);
    r->annotators_grad[j->annotator - 1] += (float)(deta * eta * (1 - eta) / (double)r->n);
    count(r, &j->c, a, b);
    return 0;
}

/* A ranking as a whole, with the centering of its mean score: c (2 mean)^2, which for two answers is c (a + b)^2. */
static int rank(struct reward *r, const struct row *row, const double *scores, double *d, size_t k, struct err *err)
{
    double nll, mean = 0, c = r->center_rewards_coefficient;
    double *own = xmalloc(k * sizeof *own);
    int rc = plackett_luce_loss(&nll, own, scores, row->ranks, k, err);
    for (size_t i = 0; i < k; i++)
        mean += scores[i] / (double)k;
    r->loss += rc ? 0 : row->weight * nll + c * (4 * mean * mean);
    for (size_t i = 0; rc == 0 && i < k; i++)
        d[i] = row->weight * own[i] + c * 8 * mean / (double)k;
    free(own);
    return rc;
}

/* A rated answer. */
static int rate(struct reward *r, size_t rating, double score, double weight, double *d, struct err *err)
{
    double nll, theta[ROWS_MAX_RATING], dtheta[ROWS_MAX_RATING], c = r->center_rewards_coefficient, later = 0;
    size_t n = r->n_ratings - 1;
    reward_thresholds(r, theta);
    if (ordinal_loss(&nll, d, dtheta, score, rating, theta, n, err))
        return -1;
    r->loss += weight * nll + c * (4 * score * score);
    *d = weight * *d + c * 8 * score;
    for (size_t i = n; i-- > 0;) { /* raising a step raises all thresholds after it */
        later += dtheta[i];
        double inner = i ? exp((double)r->threshold.data[i]) : 1;
        r->threshold_grad[i] += (float)(weight * later * inner / (double)r->n);
    }
    return 0;
}

/* All of a row: d: (completions) zeros, out, the gradient as if the row were alone. */
static int judge(struct reward *r, const struct example *e, const struct judged *list, size_t n, const double *scores, double *d,
                 struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        double da, db;
        if (r->plackett_luce || r->n_ratings) {
            count(r, &list[i].c, scores[list[i].a], scores[list[i].b]);
            continue;
        }
        double a = scores[list[i].a], b = scores[list[i].b];
        if (list[i].annotator ? vote(r, &list[i], a, b, &da, &db, err) : compare(r, &list[i].c, a, b, &da, &db, err))
            return -1;
        d[list[i].a] += da;
        d[list[i].b] += db;
    }
    for (size_t k = 0; k < e->n_completions; k++) {
        r->sum += scores[k];
        r->min = fmin(r->min, scores[k]);
        r->max = fmax(r->max, scores[k]);
    }
    r->scored += e->n_completions;
    for (size_t k = 0; r->n_ratings && k < e->n_completions; k++)
        if (rate(r, e->row->ratings[k], scores[k], e->row->weight, &d[k], err))
            return -1;
    return r->plackett_luce ? rank(r, e->row, scores, d, e->n_completions, err) : 0;
}

/* Where an evaluation row's scores stand. */
static size_t first_score(const struct examples *e, size_t row)
{
    size_t at = 0;
    for (size_t i = 0; i < row; i++)
        at += e->list[i].n_completions;
    return at;
}

static int micro(void *self, const struct examples *e, const size_t *rows, size_t n, bool train, struct err *err)
{
    struct reward *r = self;
    struct learner *l = r->learner;
    const struct judgements *j = judgements_of(r, train);
    if (learner_forward(l, e, rows, n, err))
        return -1;
    size_t all = l->forest.n_completions;
    double *x = learner_scores(l, l->forest.last_row, all), *dx = xcalloc(all, sizeof *dx);
    size_t evaluated = !train && r->eval_scores ? all : 0, first = evaluated ? first_score(e, rows[0]) : 0;
    for (size_t k = 0; k < evaluated; k++) /* an evaluation has its rows in their order */
        r->eval_scores[first + k] = (float)x[k];
    int rc = 0;
    for (size_t i = 0, at = 0; rc == 0 && i < n; at += e->list[rows[i++]].n_completions) {
        size_t from = j->start[rows[i]];
        rc = judge(r, &e->list[rows[i]], j->list + from, j->start[rows[i] + 1] - from, x + at, dx + at, err);
    }
    if (rc == 0 && train)
        learner_scores_backward(l, dx, (double)r->n, l->forest.last_row, all);
    free(x);
    free(dx);
    return rc;
}

static int end(void *self, struct metrics *m, bool train, struct err *err)
{
    (void)err;
    struct reward *r = self;
    r->evaluated |= !train;
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
    metrics_put(m, "mean_reward", r->sum / (double)r->scored);
    metrics_put(m, "max_reward", r->max);
    if (r->annotators.n) {
        double sum = 0, least = 1;
        for (size_t k = 0; k < r->annotators.n; k++) {
            sum += reward_reliability(r, k);
            least = fmin(least, reward_reliability(r, k));
        }
        metrics_put(m, "reliability_mean", sum / (double)r->annotators.n);
        metrics_put(m, "reliability_min", least);
    }
    if (r->threshold.n && !r->n_ratings)
        metrics_put(m, r->ties == TIES_DAVIDSON ? "tie_ln_nu" : "tie_eta", reward_tie_parameter(r));
    return 0;
}

struct method reward_method(struct reward *r)
{
    return (struct method){.name = "reward", .learner = r->learner, .self = r, .begin = begin, .micro = micro, .end = end};
}
