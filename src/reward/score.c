#include "reward/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/forest.h"
#include "model/ood.h"
#include "objective/scalar.h"
#include "util/buf.h"
#include "util/mem.h"

bool head_has_style(const struct head *h)
{
    for (size_t i = 0; i < STYLES; i++)
        if (h->style[i] != 0)
            return true;
    return false;
}

void completion_style(double x[STYLES], const struct tokenizer *t, const struct sequence *completion)
{
    struct buf text;
    buf_init(&text, SIZE_MAX / 2);
    tokenizer_decode(t, &text, completion->ids, completion->n, true);
    text_style(x, text.data ? text.data : "");
    buf_release(&text);
}

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
    if (*net->head->step_separator && !net->head->step_tokenizer)
        return err_set(err, "a process reward model reads an answer's text to find its steps, but the model has no tokenizer: name one "
                            "with --tokenizer");
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

/* Nets over one model, and what their passes share. */
struct group {
    const struct net *const *nets;
    size_t n;
    size_t split; /* layers below it are the model's own in all nets */
    struct stem *stems; /* (n) of the same tokens: from `split` on their keys and values differ */
    struct steps *steps; /* (n) of process reward models, for all examples; the others' are empty */
    struct workspace *w;
    struct forest f;
};

/* Where a pass writes: net i's numbers begin at i * stride. */
struct results {
    float *scores, *ood; /* NULL: not wanted */
    float *hidden;       /* of one net; NULL: not wanted */
    double *p;           /* of one net's steps; NULL: not wanted */
    size_t stride;
};

static size_t first_adapted(const struct net *net)
{
    return net->adapter ? net->adapter->first_layer : net->model->config.layers - 1;
}

static void group_release(struct group *g)
{
    for (size_t i = 0; g->stems && i < g->n; i++)
        stem_release(&g->stems[i]);
    for (size_t i = 0; g->steps && i < g->n; i++)
        steps_release(&g->steps[i]);
    free(g->stems);
    free(g->steps);
    forest_release(&g->f);
    workspace_free(g->w);
}

static int group_init(struct group *g, const struct net *const *nets, size_t n, const struct examples *e, struct err *err)
{
    *g = (struct group){.nets = nets, .n = n, .split = first_adapted(nets[0])};
    g->w = workspace_new(&nets[0]->model->config, KEEP_NOTHING, err);
    if (!g->w)
        return -1;
    g->stems = xcalloc(n, sizeof *g->stems);
    g->steps = xcalloc(n, sizeof *g->steps);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (first_adapted(nets[i]) < g->split)
            g->split = first_adapted(nets[i]);
        rc = stem_of_examples(&g->stems[i], nets[i], e, NULL, e->n, KEEP_NOTHING, err);
        if (*nets[i]->head->step_separator)
            steps_find(&g->steps[i], e, nets[i]->head->step_tokenizer, nets[i]->head->step_separator);
    }
    if (rc)
        group_release(g);
    return rc;
}

/* What net m, a process reward model, makes of the forest's completions, the first of which is completion `from` of all. */
static void score_by_steps(const struct results *r, struct group *g, size_t m, const struct examples *e, size_t first, size_t n, size_t from)
{
    const struct steps *s = &g->steps[m];
    const struct head *head = g->nets[m]->head;
    float *scores = r->scores + m * r->stride + from;
    size_t all = s->start[from + g->f.n_completions] - s->start[from], at = 0;
    size_t *row = xmalloc((all + 1) * sizeof *row);
    float *x = xmalloc((all + 1) * sizeof *x);
    double *p = xmalloc((all + 1) * sizeof *p);
    for (size_t i = 0, c = 0; i < n; i++)
        for (size_t k = 0; k < e->list[first + i].n_completions; k++, c++)
            for (size_t j = s->start[from + c]; j < s->start[from + c + 1]; j++)
                row[at++] = g->f.last_row[c] + 1 + s->end[j] - e->list[first + i].completions[k].n;
    net_scores(x, g->w, g->nets[m], row, all);
    for (size_t j = 0; j < all; j++) {
        p[j] = sigmoid((double)x[j]);
        if (r->p)
            r->p[s->start[from] + j] = p[j];
    }
    for (size_t c = 0; c < g->f.n_completions; c++) {
        size_t begin = s->start[from + c] - s->start[from], count = s->start[from + c + 1] - s->start[from + c];
        scores[c] = count ? (float)steps_together(p + begin, count, head->step_aggregate) : 0;
    }
    free(row);
    free(x);
    free(p);
}

/* Net m's numbers of the completions in the forest, from the at-th on. */
static void read_results(const struct results *r, struct group *g, size_t m, const struct examples *e, size_t first, size_t n, size_t at)
{
    const struct forest *f = &g->f;
    size_t width = g->nets[m]->model->config.width;
    const struct ood *ood = g->nets[m]->ood;
    if (r->scores && g->steps[m].start)
        score_by_steps(r, g, m, e, first, n, at);
    else if (r->scores)
        net_scores(r->scores + m * r->stride + at, g->w, g->nets[m], f->last_row, f->n_completions);
#pragma omp parallel for schedule(static) if (r->ood && ood)
    for (size_t k = 0; k < f->n_completions; k++) {
        const float *h = net_hidden(g->w, f->last_row[k]);
        if (r->ood)
            r->ood[m * r->stride + at + k] = ood ? (float)(ood_distance(ood, h) / (double)ood->threshold) : NAN;
        if (r->hidden)
            memcpy(r->hidden + (at + k) * width, h, width * sizeof *h);
    }
}

/* Add what heads give for the style of the examples first .. first + n - 1. */
static void add_style(const struct results *r, const struct group *g, const struct examples *e, size_t first, size_t n, size_t at)
{
    bool any = false;
    for (size_t m = 0; r->scores && m < g->n; m++)
        any |= head_has_style(g->nets[m]->head);
    for (size_t i = 0; any && i < n; i++)
        for (size_t k = 0; k < e->list[first + i].n_completions; k++, at++) {
            double style[STYLES];
            completion_style(style, g->nets[0]->model->tokenizer, &e->list[first + i].completions[k]);
            for (size_t m = 0; m < g->n; m++) {
                double sum = (double)r->scores[m * r->stride + at];
                for (size_t s = 0; s < STYLES; s++)
                    sum += g->nets[m]->head->style[s] * style[s];
                r->scores[m * r->stride + at] = (float)sum;
            }
        }
}

/* Score the examples first .. first + n - 1, whose completions are counted from the at-th on, with each net. */
static int score_some(const struct results *r, struct group *g, const struct examples *e, size_t first, size_t n, size_t at,
                      struct err *err)
{
    struct forest *f = &g->f;
    forest_clear(f);
    if (g->stems[0].n)
        batch_set_stem(&f->batch, &g->stems[0]);
    for (size_t i = 0; i < n; i++)
        forest_add(f, &e->list[first + i]);
    if (f->n_completions == 0)
        return 0;
    if (net_forward_shared(g->w, g->nets[0], &f->batch, g->split, err))
        return -1;
    for (size_t m = 0; m < g->n; m++) {
        if (g->stems[m].n)
            f->batch.stem = &g->stems[m];
        if (net_forward_rest(g->w, g->nets[m], &f->batch, g->split, err))
            return -1;
        read_results(r, g, m, e, first, n, at);
    }
    add_style(r, g, e, first, n, at);
    for (size_t i = 0; r->scores && i < n; i++)
        for (size_t k = 0; k < e->list[first + i].n_completions; k++, at++)
            for (size_t m = 0; m < g->n; m++)
                if (!isfinite(r->scores[m * r->stride + at]))
                    return err_set(err,
                                   "line %zu: its score is not a finite number: the reward model's "
                                   "weights are broken",
                                   e->list[first + i].row->line);
    return 0;
}

static size_t same_model(const struct net *const *nets, size_t n)
{
    size_t k = 1;
    while (k < n && nets[k]->model == nets[0]->model)
        k++;
    return k;
}

/* All examples under the nets of one group; `done` of n_nets nets are through already. */
static int score_group(const struct results *r, struct group *g, const struct examples *e, size_t micro_tokens, size_t done,
                       size_t n_nets, void (*progress)(void *user, size_t done), void *user, struct err *err)
{
    int rc = 0;
    for (size_t at = 0, scored = 0; rc == 0 && at < e->n;) {
        size_t n = 0, tokens = 0, stem = g->stems[0].n;
        while (at + n < e->n && (n == 0 || tokens + example_rows(&e->list[at + n]) - stem <= micro_tokens))
            tokens += example_rows(&e->list[at + n++]) - stem;
        rc = score_some(r, g, e, at, n, scored, err);
        scored += g->f.n_completions;
        at += n;
        if (rc == 0 && progress)
            progress(user, (done * e->n + at * g->n) / n_nets);
    }
    return rc;
}

static int score_all(const struct results *r, const struct net *const *nets, size_t n_nets, const struct examples *e,
                     size_t micro_tokens, void (*progress)(void *user, size_t done), void *user, struct err *err)
{
    for (size_t i = 0; i < n_nets; i++) {
        ENSURE(nets[i]->head && (nets[i]->model->tokenizer || !head_has_style(nets[i]->head)));
        if (check(nets[i], e, err))
            return -1;
    }
    for (size_t i = 0; i < n_nets;) {
        struct group g;
        if (group_init(&g, nets + i, same_model(nets + i, n_nets - i), e, err))
            return -1;
        const struct results own = {r->scores ? r->scores + i * r->stride : NULL, r->ood ? r->ood + i * r->stride : NULL,
                                    r->hidden, r->p, r->stride};
        int rc = score_group(&own, &g, e, micro_tokens, i, n_nets, progress, user, err);
        i += g.n;
        group_release(&g);
        if (rc)
            return -1;
    }
    return 0;
}

int score_ensemble(float *scores, float *ood, const struct net *const *nets, size_t n_nets, const struct examples *e,
                   size_t micro_tokens, void (*progress)(void *user, size_t done), void *user,
                   struct err *err)
{
    const struct results r = {.scores = scores, .ood = ood, .stride = score_count(e)};
    return score_all(&r, nets, n_nets, e, micro_tokens, progress, user, err);
}

int score_hidden(float *hidden, const struct net *net, const struct examples *e, size_t micro_tokens, struct err *err)
{
    const struct results r = {.hidden = hidden, .stride = score_count(e)};
    return score_all(&r, &net, 1, e, micro_tokens, NULL, NULL, err);
}

float score_ood(const float *ood, size_t n_nets)
{
    double sum = 0;
    for (size_t i = 0; i < n_nets; i++)
        sum += (double)ood[i];
    return (float)(sum / (double)n_nets);
}

int score_examples(float *scores, const struct net *net, const struct examples *e,
                   size_t micro_tokens, void (*progress)(void *user, size_t done), void *user,
                   struct err *err)
{
    return score_ensemble(scores, NULL, &net, 1, e, micro_tokens, progress, user, err);
}

int score_steps(float *scores, double **p, struct steps *steps, const struct net *net, const struct examples *e, size_t micro_tokens,
                void (*progress)(void *user, size_t done), void *user, struct err *err)
{
    struct group g;
    *p = NULL;
    *steps = (struct steps){0};
    ENSURE(net->head && *net->head->step_separator);
    if (check(net, e, err) || group_init(&g, &net, 1, e, err))
        return -1;
    *p = xcalloc(g.steps->start[g.steps->n] + 1, sizeof **p);
    const struct results r = {.scores = scores, .p = *p, .stride = score_count(e)};
    int rc = score_group(&r, &g, e, micro_tokens, 0, 1, progress, user, err);
    *steps = *g.steps;
    *g.steps = (struct steps){0};
    group_release(&g);
    return rc;
}
