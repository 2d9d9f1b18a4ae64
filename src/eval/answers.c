#include "eval/answers.h"

#include <stdlib.h>
#include <string.h>

#include "reward/score.h"
#include "rollout/score_input.h"
#include "train/learner.h"
#include "train/loop.h"
#include "util/mem.h"
#include "util/textstats.h"

static char *text_of(const struct model *m, const struct sample *s)
{
    struct buf text;
    buf_init(&text, SIZE_MAX / 2);
    if (m->tokenizer) /* the end token is not part of the answer, whatever the vocabulary calls it */
        tokenizer_decode(m->tokenizer, &text, s->ids, s->n - (s->finish == FINISH_STOP), true);
    char *copy = xstrndup(text.data, text.len);
    buf_release(&text);
    return copy;
}

/* Finished requests to answers. */
static void collect(struct answers *a, const struct request *requests, const struct examples *prompts)
{
    experience_init(&a->x, requests, prompts->n);
    a->n = a->x.n;
    a->unit = xcalloc(a->n + 1, sizeof *a->unit);
    a->texts = xcalloc(a->n + 1, sizeof *a->texts);
    for (size_t i = 0; i < prompts->n; i++) {
        a->x.examples.list[i].row = prompts->list[i].row;
        for (size_t k = 0; k < requests[i].n_samples; k++) {
            a->unit[a->x.tree[i] + k] = (uint32_t)i;
            a->texts[a->x.tree[i] + k] = text_of(a->net.model, &requests[i].samples[k]);
        }
    }
}

int answers_sample(struct answers *a, const struct net *net, const struct examples *prompts,
                   const struct answers_config *config, void (*progress)(void *user, size_t done), void *user,
                   struct err *err)
{
    *a = (struct answers){.net = *net, .config = *config};
    int32_t stop[4];
    size_t n_stop = model_stop_tokens(net->model, stop);
    struct request *requests = xcalloc(prompts->n + 1, sizeof *requests);
    for (size_t i = 0; i < prompts->n; i++) {
        const struct example *e = &prompts->list[i];
        requests[i] = (struct request){.prompt = e->prompt.ids,
                                       .n_prompt = e->prompt.n,
                                       .n_samples = config->num_generations,
                                       .max_new_tokens = config->response_length,
                                       .sampling = {.temperature = config->temperature, .top_p = 1, .seed = config->seed},
                                       .stop = stop,
                                       .n_stop = n_stop,
                                       .adapter = net->adapter,
                                       .key = row_rng_key(e->row)};
    }
    int rc = generate_all(net->model, requests, prompts->n, config->slots, progress, user, err);
    if (rc == 0)
        collect(a, requests, prompts);
    for (size_t i = 0; i < prompts->n; i++)
        request_release(&requests[i]);
    free(requests);
    return rc;
}

void answers_release(struct answers *a)
{
    for (size_t i = 0; i < a->n; i++)
        free(a->texts[i]);
    free(a->texts);
    free(a->unit);
    experience_release(&a->x);
    *a = (struct answers){0};
}

/* Several policies' answers as one experience: trees of a prompt and all its answers, policy by policy. */
struct joined {
    struct experience x;
    const struct answers **of; /* (x.n): whose answer it is, */
    size_t *policy, *number;   /* .. the policy's place in the list, and the answer's number there */
};

static struct sequence copy_sequence(const struct sequence *s)
{
    struct sequence c = {.ids = xmalloc((s->n + 1) * sizeof *c.ids), .mask = xmalloc(s->n + 1), .n = s->n};
    memcpy(c.ids, s->ids, s->n * sizeof *c.ids);
    memset(c.mask, 1, s->n + 1);
    return c;
}

static void join_tree(struct joined *j, struct example *e, const struct answers *const *list, size_t n_list, size_t tree,
                      size_t first)
{
    const struct example *own = &list[0]->x.examples.list[tree];
    *e = (struct example){.row = own->row, .prompt = copy_sequence(&own->prompt)};
    for (size_t p = 0; p < n_list; p++)
        e->n_completions += list[p]->x.examples.list[tree].n_completions;
    e->completions = xcalloc(e->n_completions + 1, sizeof *e->completions);
    for (size_t p = 0, at = 0; p < n_list; p++)
        for (size_t k = 0; k < list[p]->x.examples.list[tree].n_completions; k++, at++) {
            e->completions[at] = copy_sequence(&list[p]->x.examples.list[tree].completions[k]);
            j->of[first + at] = list[p];
            j->policy[first + at] = p;
            j->number[first + at] = list[p]->x.tree[tree] + k;
        }
}

static void join(struct joined *j, const struct answers *const *list, size_t n_list)
{
    struct examples e = {.n = list[0]->x.examples.n};
    size_t all = 0;
    for (size_t p = 0; p < n_list; p++) {
        ENSURE(list[p]->x.examples.n == e.n && list[p]->config.temperature == list[0]->config.temperature);
        all += list[p]->n;
    }
    e.list = xcalloc(e.n + 1, sizeof *e.list);
    j->of = xcalloc(all + 1, sizeof *j->of);
    j->policy = xcalloc(all + 1, sizeof *j->policy);
    j->number = xcalloc(all + 1, sizeof *j->number);
    for (size_t i = 0, first = 0; i < e.n; first += e.list[i++].n_completions)
        join_tree(j, &e.list[i], list, n_list, i, first);
    experience_from_examples(&j->x, &e);
    for (size_t c = 0; c < j->x.n; c++) {
        const struct experience *own = &j->of[c]->x;
        j->x.finished[c] = own->finished[j->number[c]];
        memcpy(j->x.old_logps + j->x.first[c], own->old_logps + own->first[j->number[c]],
               (j->x.first[c + 1] - j->x.first[c]) * sizeof *own->old_logps);
    }
}

static void joined_release(struct joined *j)
{
    experience_release(&j->x);
    free(j->of);
    free(j->policy);
    free(j->number);
}

int answers_score(double *const *scores, const struct answers *const *list, size_t n_list, const struct net *const *rewards,
                  size_t n_rewards, struct err *err)
{
    struct joined j;
    struct examples input;
    join(&j, list, n_list);
    int rc = score_input(&input, &j.x, list[0]->net.model, err);
    if (rc == 0) {
        float *own = xcalloc(n_rewards * j.x.n + 1, sizeof *own);
        rc = score_ensemble(own, NULL, rewards, n_rewards, &input, SCORE_MICRO_TOKENS, NULL, NULL, err);
        for (size_t c = 0; rc == 0 && c < j.x.n; c++) {
            double sum = 0;
            for (size_t r = 0; r < n_rewards; r++)
                sum += (double)own[r * j.x.n + c];
            scores[j.policy[c]][j.number[c]] = sum / (double)n_rewards;
        }
        free(own);
        examples_release(&input);
    }
    joined_release(&j);
    return rc;
}

/* Take the reference's log-probs of the trees in the forest off kl; tree: the first of them. */
static void take_off(double *const *kl, const struct joined *j, const struct learner *l, size_t tree)
{
    const struct forest *f = &l->forest;
    size_t *seen = xcalloc(f->n_completions + 1, sizeof *seen);
    for (size_t i = 0; i < f->n_targets; i++) {
        size_t c = j->x.tree[tree] + f->owner[i], token = j->x.first[c] + seen[f->owner[i]]++;
        kl[j->policy[c]][j->number[c]] += j->x.old_logps[token] - (double)l->logp[i];
    }
    free(seen);
}

int answers_kl(double *const *kl, const struct answers *const *list, size_t n_list, const struct net *reference,
               struct err *err)
{
    struct joined j;
    struct learner pass;
    struct loop_options o = {.micro_batch_tokens = SCORE_MICRO_TOKENS};
    float temperature = list[0]->config.temperature > 0 ? list[0]->config.temperature : 1.0f;
    join(&j, list, n_list);
    size_t n = j.x.examples.n, *rows = xmalloc((n + 1) * sizeof *rows);
    for (size_t i = 0; i < n; i++)
        rows[i] = i;
    for (size_t p = 0; p < n_list; p++)
        memset(kl[p], 0, list[p]->n * sizeof *kl[p]);
    int rc = learner_init_forward(&pass, reference, err);
    if (rc == 0)
        rc = learner_stem(&pass, &j.x.examples, rows, n, false, err);
    for (size_t at = 0; rc == 0 && at < n;) {
        size_t count = loop_micro(&o, &j.x.examples, rows, n, at, pass.stem.n);
        rc = learner_forward(&pass, &j.x.examples, rows + at, count, err);
        if (rc == 0)
            rc = learner_logprobs(&pass, temperature, false, err);
        if (rc == 0)
            take_off(kl, &j, &pass, at);
        at += count;
    }
    learner_release(&pass);
    free(rows);
    joined_release(&j);
    return rc;
}

struct interval answers_mean(const struct answers *a, const double *x, uint32_t seed)
{
    struct stats_sample s = {x, a->unit, a->n};
    return stats_bootstrap_mean(&s, seed);
}

struct interval answers_difference(const struct answers *a, const double *x, const double *y, uint32_t seed)
{
    double *d = xmalloc((a->n + 1) * sizeof *d);
    for (size_t i = 0; i < a->n; i++)
        d[i] = x[i] - y[i];
    struct interval out = answers_mean(a, d, seed);
    free(d);
    return out;
}

void answers_win_rate(struct win_rate *out, const struct answers *a, const double *x, const double *y, uint32_t seed)
{
    signed char *outcome = xmalloc(a->n + 1);
    for (size_t i = 0; i < a->n; i++)
        outcome[i] = (signed char)((x[i] > y[i]) - (x[i] < y[i]));
    stats_win_rate(out, outcome, a->unit, a->n, seed);
    free(outcome);
}

void answers_measure(struct answers_measure *out, const struct answers *a, uint32_t seed)
{
    double *tokens = xmalloc((a->n + 1) * sizeof *tokens), *words = xmalloc((a->n + 1) * sizeof *words);
    signed char *finished = xmalloc(a->n + 1);
    for (size_t i = 0; i < a->n; i++) {
        tokens[i] = (double)(a->x.first[i + 1] - a->x.first[i]);
        words[i] = (double)text_word_count(a->texts[i]);
        finished[i] = a->x.finished[i] ? 1 : -1;
    }
    struct win_rate ends; /* for its interval, which does not collapse where all are the same */
    stats_win_rate(&ends, finished, a->unit, a->n, seed);
    struct text_measure m;
    text_measure(&m, (const char *const *)a->texts, a->n);
    *out = (struct answers_measure){answers_mean(a, tokens, seed), answers_mean(a, words, seed),
                                    ends.rate, m.distinct_2};
    free(tokens);
    free(words);
    free(finished);
}
