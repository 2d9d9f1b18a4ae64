#include "rollout/experience.h"

#include <stdlib.h>
#include <string.h>

#include "objective/gae.h"
#include "objective/kl.h"
#include "util/mem.h"

static double *doubles(size_t n)
{
    return xcalloc(n + 1, sizeof(double));
}

static void allocate(struct experience *x)
{
    x->tree = xcalloc(x->examples.n + 1, sizeof *x->tree);
    for (size_t i = 0; i < x->examples.n; i++)
        x->tree[i + 1] = x->tree[i] + x->examples.list[i].n_completions;
    x->n = x->tree[x->examples.n];
    x->first = xcalloc(x->n + 1, sizeof *x->first);
    for (size_t i = 0; i < x->examples.n; i++)
        for (size_t k = 0; k < x->examples.list[i].n_completions; k++) {
            size_t c = x->tree[i] + k;
            x->first[c + 1] = x->first[c] + x->examples.list[i].completions[k].n;
        }
    size_t tokens = x->first[x->n];
    x->scores = doubles(x->n);
    x->ref_kl = doubles(x->n);
    x->finished = xcalloc(x->n + 1, sizeof *x->finished);
    x->old_logps = doubles(tokens);
    x->ref_logps = doubles(tokens);
    x->values = doubles(tokens);
    x->rewards = doubles(tokens);
    x->advantages = doubles(tokens);
    x->returns = doubles(tokens);
}

static struct sequence copy_ids(const int32_t *ids, size_t n)
{
    struct sequence s = {.ids = xmalloc((n + 1) * sizeof *s.ids), .mask = xmalloc(n + 1), .n = n};
    memcpy(s.ids, ids, n * sizeof *ids);
    memset(s.mask, 1, n + 1);
    return s;
}

void experience_init(struct experience *x, const struct request *requests, size_t n)
{
    *x = (struct experience){0};
    x->examples.list = xcalloc(n + 1, sizeof *x->examples.list);
    x->examples.n = n;
    for (size_t i = 0; i < n; i++) {
        const struct request *r = &requests[i];
        struct example *e = &x->examples.list[i];
        e->prompt = copy_ids(r->prompt, r->n_prompt);
        e->n_completions = r->n_samples;
        e->completions = xcalloc(r->n_samples, sizeof *e->completions);
        for (size_t k = 0; k < r->n_samples; k++)
            e->completions[k] = copy_ids(r->samples[k].ids, r->samples[k].n);
    }
    allocate(x);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < requests[i].n_samples; k++) {
            const struct sample *s = &requests[i].samples[k];
            size_t c = x->tree[i] + k;
            x->finished[c] = s->finish == FINISH_STOP;
            for (size_t t = 0; t < s->n; t++)
                x->old_logps[x->first[c] + t] = (double)s->logps[t];
        }
}

void experience_from_examples(struct experience *x, struct examples *e)
{
    *x = (struct experience){.examples = *e};
    *e = (struct examples){0};
    allocate(x);
}

void experience_release(struct experience *x)
{
    examples_release(&x->examples);
    free(x->tree);
    free(x->first);
    free(x->scores);
    free(x->ref_kl);
    free(x->finished);
    free(x->old_logps);
    free(x->ref_logps);
    free(x->values);
    free(x->rewards);
    free(x->advantages);
    free(x->returns);
    *x = (struct experience){0};
}

char *experience_text(const struct experience *x, size_t tree, size_t completion, const struct tokenizer *t, size_t *n)
{
    const struct sequence *s = &x->examples.list[tree].completions[completion - x->tree[tree]];
    struct buf text;
    buf_init(&text, SIZE_MAX / 2);
    tokenizer_decode(t, &text, s->ids, s->n - x->finished[completion], true);
    char *copy = xstrndup(text.data, text.len);
    if (n)
        *n = text.len;
    buf_release(&text);
    return copy;
}

static void copy_completion(struct experience *x, size_t to, const struct experience *from, size_t c)
{
    double *const own[] = {x->old_logps, x->ref_logps, x->values, x->rewards, x->advantages, x->returns};
    const double *const theirs[] = {from->old_logps, from->ref_logps, from->values, from->rewards, from->advantages, from->returns};
    size_t n = from->first[c + 1] - from->first[c];
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        memcpy(own[i] + x->first[to], theirs[i] + from->first[c], n * sizeof **own);
    x->scores[to] = from->scores[c];
    x->ref_kl[to] = from->ref_kl[c];
    x->finished[to] = from->finished[c];
}

void experience_take(struct experience *x, struct experience *from, const bool *keep)
{
    struct experience both = {0}, *sources[] = {x, from};
    both.examples.list = xcalloc(x->examples.n + from->examples.n + 1, sizeof *both.examples.list);
    size_t at = 0;
    for (size_t s = 0; s < 2; s++)
        for (size_t i = 0; i < sources[s]->examples.n; i++)
            if (s == 0 || keep[i])
                both.examples.list[both.examples.n++] = sources[s]->examples.list[i];
    allocate(&both);
    for (size_t s = 0; s < 2; s++)
        for (size_t i = 0; i < sources[s]->examples.n; i++)
            for (size_t c = sources[s]->tree[i]; (s == 0 || keep[i]) && c < sources[s]->tree[i + 1]; c++)
                copy_completion(&both, at++, sources[s], c);
    for (size_t s = 0; s < 2; s++) /* what was moved is not theirs any more */
        for (size_t i = 0; i < sources[s]->examples.n; i++)
            if (s == 0 || keep[i])
                sources[s]->examples.list[i] = (struct example){0};
    experience_release(x);
    experience_release(from);
    *x = both;
}

int experience_finish(struct experience *x, const struct experience_config *c, struct err *err)
{
    size_t tokens = x->first[x->n];
    double *kl = doubles(tokens);
    int rc = kl_estimate(kl, NULL, x->old_logps, x->ref_logps, tokens, KL_K1, err);
    for (size_t i = 0; rc == 0 && i < x->n; i++) {
        size_t at = x->first[i], n = x->first[i + 1] - at;
        x->ref_kl[i] = 0;
        for (size_t t = 0; t < n; t++)
            x->ref_kl[i] += kl[at + t];
        rc = gae_rewards(x->rewards + at, kl + at, n, x->scores[i], c->kl_coef, err);
    }
    if (rc == 0 && c->whiten_rewards)
        rc = whiten(x->rewards, x->rewards, tokens, false, err);
    for (size_t i = 0; rc == 0 && i < x->n; i++) {
        size_t at = x->first[i], n = x->first[i + 1] - at;
        rc = gae_advantages(x->advantages + at, x->returns + at, x->rewards + at, x->values + at, n, c->gamma, c->lam, err);
    }
    if (rc == 0 && c->whiten_advantages)
        rc = whiten(x->advantages, x->advantages, tokens, true, err);
    free(kl);
    return rc;
}
