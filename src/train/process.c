#include "train/process.h"

#include <math.h>
#include <stdlib.h>

#include "objective/scalar.h"
#include "objective/stepwise.h"
#include "util/mem.h"
#include "util/stats.h"

/* A step's rows, and which of each one's steps count: from first[i] on. */
static size_t first_counted(const struct process *p, const struct steps *s, size_t row, bool train)
{
    return p->last_only && train ? s->start[row + 1] - s->start[row] - 1 : 0;
}

static int begin(void *self, const struct examples *e, const size_t *rows, size_t n, bool train, struct err *err)
{
    (void)e;
    (void)err;
    struct process *p = self;
    const struct steps *s = train ? p->train : p->eval;
    p->n = p->right = p->found = 0;
    p->rows = n;
    p->loss = 0;
    for (size_t i = 0; i < n; i++)
        p->n += s->start[rows[i] + 1] - s->start[rows[i]] - first_counted(p, s, rows[i], train);
    if (train)
        learner_clear_gradients(p->learner);
    return 0;
}

/* One answer: its steps' losses and gradients as if each were alone, and whether the first wrong one is found. */
static int judge(struct process *p, const bool *good, const double *score, double *d, size_t n, struct err *err)
{
    size_t wrong = n, told = n;
    for (size_t k = n; k-- > 0;) {
        double loss;
        if (stepwise_loss(&loss, &d[k], score[k], good[k], err))
            return -1;
        p->loss += loss;
        p->right += (score[k] > 0) == good[k];
        wrong = good[k] ? wrong : k;
        told = score[k] > 0 ? told : k;
    }
    p->found += wrong == told;
    return 0;
}

static int micro(void *self, const struct examples *e, const size_t *rows, size_t n, bool train, struct err *err)
{
    struct process *p = self;
    struct learner *l = p->learner;
    const struct steps *s = train ? p->train : p->eval;
    const struct dataset *data = train ? p->train_rows : p->eval_rows;
    if (learner_forward(l, e, rows, n, err))
        return -1;
    size_t all = 0, at = 0;
    for (size_t i = 0; i < n; i++)
        all += s->start[rows[i] + 1] - s->start[rows[i]];
    size_t *place = xmalloc((all + 1) * sizeof *place);
    for (size_t i = 0; i < n; i++)
        for (size_t k = s->start[rows[i]] + first_counted(p, s, rows[i], train); k < s->start[rows[i] + 1]; k++)
            place[at++] = l->forest.last_row[i] + 1 + s->end[k] - e->list[rows[i]].completions[0].n;
    double *x = learner_scores(l, place, at), *dx = xmalloc((at + 1) * sizeof *dx);
    int rc = 0;
    for (size_t i = 0, from = 0, count; rc == 0 && i < n; i++, from += count) {
        size_t first = first_counted(p, s, rows[i], train);
        const bool *good = data->rows[rows[i]].step_good + first;
        count = s->start[rows[i] + 1] - s->start[rows[i]] - first;
        rc = judge(p, good, x + from, dx + from, count, err);
        for (size_t k = 0; !train && k < count; k++) {
            p->eval_p[s->start[rows[i]] + k] = sigmoid(x[from + k]);
            p->eval_right[s->start[rows[i]] + k] = good[k];
        }
    }
    if (rc == 0 && train)
        learner_scores_backward(l, dx, (double)p->n, place, at);
    free(place);
    free(x);
    free(dx);
    return rc;
}

static int end(void *self, struct metrics *m, bool train, struct err *err)
{
    struct process *p = self;
    struct calibration c;
    p->evaluated |= !train;
    if (train)
        gradients_finish(&p->learner->grads, &p->learner->net);
    else if (stats_calibration(&c, p->eval_p, p->eval_right, p->n, err))
        return -1;
    metrics_put(m, "loss", p->loss / (double)p->n);
    metrics_put(m, "accuracy", (double)p->right / (double)p->n);
    metrics_put(m, "first_error_accuracy", (double)p->found / (double)p->rows);
    metrics_put(m, "steps", (double)p->n);
    if (!train)
        metrics_put(m, "ece", c.ece);
    return 0;
}

struct method process_method(struct process *p)
{
    return (struct method){.name = "reward", .learner = p->learner, .self = p, .begin = begin, .micro = micro, .end = end};
}
