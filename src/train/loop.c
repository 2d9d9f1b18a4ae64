#include "train/loop.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "util/mem.h"
#include "util/rng.h"

static size_t rows_a_step(const struct loop_options *o)
{
    return o->per_device_train_batch_size * o->gradient_accumulation_steps;
}

static size_t steps_an_epoch(const struct loop_options *o, size_t n_rows)
{
    return (n_rows + rows_a_step(o) - 1) / rows_a_step(o);
}

size_t loop_total_steps(const struct loop_options *o, size_t n_rows)
{
    if (o->max_steps)
        return o->max_steps;
    return (size_t)ceil(o->num_train_epochs * (double)steps_an_epoch(o, n_rows));
}

size_t *loop_rows(const struct loop_options *o, size_t n_rows, size_t step, size_t *n)
{
    size_t epoch = step / steps_an_epoch(o, n_rows), first = step % steps_an_epoch(o, n_rows) * rows_a_step(o);
    size_t *order = xmalloc(n_rows * sizeof *order);
    if (o->shuffle)
        rng_permutation(order, n_rows, o->seed, RNG_SHUFFLE, (uint32_t)epoch);
    else
        for (size_t i = 0; i < n_rows; i++)
            order[i] = i;
    *n = n_rows - first < rows_a_step(o) ? n_rows - first : rows_a_step(o);
    memmove(order, order + first, *n * sizeof *order);
    for (size_t i = 0; o->draw && i < *n; i++)
        order[i] = o->draw[order[i]];
    return order;
}

size_t loop_micro(const struct loop_options *o, const struct examples *e, const size_t *rows, size_t n, size_t at, size_t stem)
{
    size_t tokens = 0, count = 0;
    while (at + count < n) {
        tokens += example_rows(&e->list[rows[at + count]]) - stem;
        if (count && tokens > o->micro_batch_tokens)
            break;
        count++;
    }
    return count;
}

static int run_rows(const struct loop_options *o, const struct method *method, const struct examples *e,
                    const size_t *rows, size_t n, bool train, struct metrics *m, struct err *err)
{
    struct learner *l = method->learner;
    if (method->begin(method->self, e, rows, n, train, err))
        return -1;
    int rc = learner_stem(l, e, rows, n, train, err);
    for (size_t at = 0; rc == 0 && at < n;) {
        size_t count = loop_micro(o, e, rows, n, at, l->stem.n);
        rc = method->micro(method->self, e, rows + at, count, train, err);
        at += count;
    }
    learner_stem_end(l, train && rc == 0);
    return rc ? -1 : method->end(method->self, m, train, err);
}

int loop_evaluate(struct metrics *m, const struct loop_options *o, const struct method *method,
                  const struct examples *eval, struct err *err)
{
    size_t *rows = xmalloc(eval->n * sizeof *rows);
    for (size_t i = 0; i < eval->n; i++)
        rows[i] = i;
    struct metrics own = {0};
    int rc = run_rows(o, method, eval, rows, eval->n, false, &own, err);
    for (size_t i = 0; rc == 0 && i < own.n; i++) {
        char key[sizeof own.list[0].key + 8];
        snprintf(key, sizeof key, "eval_%s", own.list[i].key);
        metrics_put(m, key, own.list[i].value);
    }
    free(rows);
    return rc ? err_prefix(err, "in the evaluation") : 0;
}

/* Which rows a step that went wrong was made of. */
static void name_rows(const struct examples *e, const size_t *rows, size_t n, size_t step, struct err *err)
{
    struct buf b;
    buf_init(&b, 400);
    for (size_t i = 0; i < n; i++)
        buf_printf(&b, "%s%s", i ? ", " : "", e->list[rows[i]].row ? e->list[rows[i]].row->id : "?");
    err_prefix(err, "step %zu (rows %s): nothing was changed by it, the last checkpoint stands", step + 1, b.data);
    buf_release(&b);
}

/* Where a weight is to blame, say that instead. */
static void name_tensor(const struct net *net, struct err *err)
{
    char *name = net_not_finite(net);
    if (name)
        err_set(err, "tensor '%s' holds a number that is not finite: get the model again", name);
    free(name);
}

static size_t warmup_of(const struct loop_options *o, size_t total)
{
    return o->warmup_steps ? o->warmup_steps : (size_t)ceil(o->warmup_ratio * (double)total);
}

static bool due(size_t every, size_t step)
{
    return every && step % every == 0;
}

/* As a peer counts them: every completion with its prompt. */
static size_t count_tokens(const struct examples *e, const size_t *rows, size_t n)
{
    size_t tokens = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < e->list[rows[i]].n_completions; k++)
            tokens += e->list[rows[i]].prompt.n + e->list[rows[i]].completions[k].n;
    return tokens;
}

int loop_run(struct run_folder *run, const struct loop_options *o, const struct method *method, const struct examples *train,
             const struct examples *eval, struct optimizer *opt, const struct loop_watch *watch, struct err *err)
{
    size_t total = loop_total_steps(o, train->n), step = 0, tokens = 0;
    json_t *extra = NULL;
    if (o->resume && run_load(run, &step, opt, &extra, err))
        return -1;
    json_decref(extra);
    for (size_t s = 0; s < step; s++) { /* num_tokens goes on where it was */
        size_t n, *rows = loop_rows(o, train->n, s, &n);
        tokens += count_tokens(train, rows, n);
        free(rows);
    }
    int rc = 0;
    for (; rc == 0 && step < total; step++) {
        struct metrics m = {0};
        size_t n, *rows = loop_rows(o, train->n, step, &n);
        double grad_norm = 0, lr = o->learning_rate * schedule_factor(o->schedule, step, warmup_of(o, total), total);
        metrics_put(&m, "step", (double)(step + 1));
        metrics_put(&m, "epoch", (double)(step + 1) / (double)steps_an_epoch(o, train->n));
        rc = run_rows(o, method, train, rows, n, true, &m, err);
        if (rc == 0 && !isfinite(metrics_get(&m, "loss")))
            rc = err_set(err, "the loss is not finite: lower the learning rate");
        if (rc == 0)
            rc = optimizer_step(opt, lr, &grad_norm, err);
        if (rc == 0 && method->stepped)
            method->stepped(method->self, step + 1);
        if (rc) {
            name_tensor(&method->learner->net, err);
            name_rows(train, rows, n, step, err);
        }
        tokens += count_tokens(train, rows, n);
        free(rows);
        metrics_put(&m, "grad_norm", grad_norm);
        metrics_put(&m, "learning_rate", lr);
        metrics_put(&m, "num_tokens", (double)tokens);
        bool last = step + 1 == total;
        if (rc == 0 && eval && (last || due(o->eval_steps, step + 1)))
            rc = loop_evaluate(&m, o, method, eval, err);
        if (rc == 0 && (last || due(o->logging_steps, step + 1) || metrics_get(&m, "eval_loss") == metrics_get(&m, "eval_loss")))
            rc = run_log(run, &m, err);
        if (rc == 0 && watch && watch->step)
            watch->step(watch->user, step + 1, total, &m);
        if (rc == 0 && (last || due(o->save_steps, step + 1)))
            rc = run_save(run, step + 1, opt, NULL, err);
    }
    return rc;
}
