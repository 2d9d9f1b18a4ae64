#include "eval/perplexity.h"

#include <math.h>
#include <stdlib.h>

#include "util/file.h"
#include "util/mem.h"
#include "util/textstats.h"

/* One window: its tokens' nll are added to p. */
static int run_window(struct perplexity *p, struct workspace *w, struct batch *b, const struct net *net, const int32_t *ids,
                      size_t n, uint32_t number, struct err *err)
{
    struct target targets[PERPLEXITY_WINDOW];
    float logp[PERPLEXITY_WINDOW];
    batch_clear(b);
    batch_add(b, ids, n, -1);
    for (size_t i = 0; i + 1 < n; i++)
        targets[i] = (struct target){i, ids[i + 1]};
    if (net_forward(w, net, b, NULL, 0, err) || net_logprobs(logp, NULL, w, net, targets, n - 1, 1.0f, false, err))
        return -1;
    for (size_t i = 0; i + 1 < n; i++) {
        p->nll[p->n] = -(double)logp[i];
        p->window[p->n++] = number;
    }
    return 0;
}

static int run_windows(struct perplexity *p, const struct net *net, const struct ids *ids, struct err *err)
{
    struct workspace *w = workspace_new(&net->model->config, KEEP_NOTHING, err);
    struct batch b = {0};
    uint32_t number = 0;
    size_t window = net->model->rope.positions < PERPLEXITY_WINDOW ? net->model->rope.positions : PERPLEXITY_WINDOW;
    int rc = w ? 0 : -1;
    p->nll = xcalloc(ids->n + 1, sizeof *p->nll);
    p->window = xcalloc(ids->n + 1, sizeof *p->window);
    for (size_t at = 0; rc == 0 && at + 1 < ids->n; at += window, number++) {
        size_t n = ids->n - at < window ? ids->n - at : window;
        rc = run_window(p, w, &b, net, ids->data + at, n, number, err);
    }
    batch_release(&b);
    workspace_free(w);
    return rc;
}

static struct interval exp_of(struct interval x, double scale)
{
    return (struct interval){exp(scale * x.value), exp(scale * x.lo), exp(scale * x.hi)};
}

int perplexity_of_text(struct perplexity *p, const struct net *net, const char *text, size_t n, uint32_t seed,
                       struct err *err)
{
    *p = (struct perplexity){0};
    if (!net->model->tokenizer)
        return err_set(err, "'%s' has no tokenizer to read a text with: name one with --tokenizer", net->model->path);
    struct ids ids = {0};
    char *copy = xstrndup(text, n);
    p->words = text_word_count(copy);
    free(copy);
    int rc = tokenizer_encode_whole(net->model->tokenizer, &ids, text, n, err);
    if (rc == 0 && (ids.n < 2 || p->words == 0))
        rc = err_set(err, "the text has %zu words and %zu tokens: a perplexity needs a word and two tokens", p->words, ids.n);
    if (rc == 0)
        rc = run_windows(p, net, &ids, err);
    if (rc == 0) {
        struct stats_sample s = {p->nll, p->window, p->n};
        struct interval mean = stats_bootstrap_mean(&s, seed);
        p->token = exp_of(mean, 1);
        p->word = exp_of(mean, (double)ids.n / (double)p->words);
    } else {
        perplexity_release(p);
    }
    ids_release(&ids);
    return rc;
}

int perplexity_of_file(struct perplexity *p, const struct net *net, const char *path, uint32_t seed, struct err *err)
{
    struct buf text;
    buf_init(&text, (size_t)64 << 20);
    int rc = file_read(path, &text, err);
    if (rc == 0 && perplexity_of_text(p, net, text.data, text.len, seed, err))
        rc = err_prefix(err, "'%s'", path);
    buf_release(&text);
    return rc;
}

void perplexity_release(struct perplexity *p)
{
    free(p->nll);
    free(p->window);
    *p = (struct perplexity){0};
}

struct interval perplexity_ratio(const struct perplexity *a, const struct perplexity *b, uint32_t seed)
{
    ENSURE(a->n == b->n);
    double *d = xmalloc((a->n + 1) * sizeof *d);
    for (size_t i = 0; i < a->n; i++)
        d[i] = a->nll[i] - b->nll[i];
    struct stats_sample s = {d, a->window, a->n};
    struct interval mean = stats_bootstrap_mean(&s, seed);
    free(d);
    return exp_of(mean, 1);
}
