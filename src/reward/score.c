#include "reward/score.h"

#include <math.h>

#include "model/forest.h"

size_t score_count(const struct examples *e)
{
    size_t n = 0;
    for (size_t i = 0; i < e->n; i++)
        n += e->list[i].n_completions;
    return n;
}

static int check(const struct net *net, const struct examples *e, struct err *err)
{
    size_t positions = net->model->rope.positions;
    for (size_t i = 0; i < e->n; i++) {
        const struct example *x = &e->list[i];
        for (size_t k = 0; k < x->n_completions; k++) {
            size_t n = x->prompt.n + x->completions[k].n;
            if (n == 0)
                return err_set(
                    err, "line %zu: there is nothing to score: prompt and completion are empty",
                    x->row->line);
            if (n > positions)
                return err_set(err,
                               "line %zu: prompt and completion have %zu tokens, more than the %zu "
                               "positions of '%s': "
                               "shorten the row, or cut it (max_length)",
                               x->row->line, n, positions, net->model->path);
        }
    }
    return 0;
}

/* Run the examples first .. first + n - 1 together. */
static int score_some(float *scores, struct workspace *w, struct forest *f, struct stem *stem, const struct net *net,
                      const struct examples *e, size_t first, size_t n, struct err *err)
{
    forest_clear(f);
    if (stem->n)
        batch_set_stem(&f->batch, stem);
    for (size_t i = 0; i < n; i++)
        forest_add(f, &e->list[first + i]);
    if (f->n_completions == 0)
        return 0;
    if (net_forward(w, net, &f->batch, NULL, 0, err))
        return -1;
    net_scores(scores, w, net, f->last_row, f->n_completions);
    for (size_t i = 0, at = 0; i < n; i++)
        for (size_t k = 0; k < e->list[first + i].n_completions; k++, at++)
            if (!isfinite(scores[at]))
                return err_set(err,
                               "line %zu: its score is not a finite number: the reward model's "
                               "weights are broken",
                               e->list[first + i].row->line);
    return 0;
}

int score_examples(float *scores, const struct net *net, const struct examples *e,
                   size_t micro_tokens, void (*progress)(void *user, size_t done), void *user,
                   struct err *err)
{
    ENSURE(net->head);
    if (check(net, e, err))
        return -1;
    struct workspace *w = workspace_new(&net->model->config, KEEP_NOTHING, err);
    if (!w)
        return -1;
    struct forest f = {0};
    struct stem stem = {0};
    int rc = stem_of_examples(&stem, net, e, NULL, e->n, KEEP_NOTHING, err);
    for (size_t at = 0; rc == 0 && at < e->n;) {
        size_t n = 0, tokens = 0;
        while (at + n < e->n && (n == 0 || tokens + example_rows(&e->list[at + n]) - stem.n <= micro_tokens))
            tokens += example_rows(&e->list[at + n++]) - stem.n;
        rc = score_some(scores, w, &f, &stem, net, e, at, n, err);
        scores += f.n_completions;
        at += n;
        if (rc == 0 && progress)
            progress(user, at);
    }
    forest_release(&f);
    stem_release(&stem);
    workspace_free(w);
    return rc;
}

struct score_summary score_summary(const float *scores, size_t k)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < k; i++)
        sum += (double)scores[i];
    double mean = sum / (double)k;
    for (size_t i = 0; i < k; i++)
        squares += ((double)scores[i] - mean) * ((double)scores[i] - mean);
    return (struct score_summary){(float)mean, (float)sqrt(squares / (double)k)};
}
