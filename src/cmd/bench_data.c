#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/bench.h"
#include "util/mem.h"
#include "util/rng.h"

static void measure(struct bench *b, const struct weight *w, double *weights)
{
    *weights += (double)w->out * (double)w->in;
    b->weight_bytes += (double)w->out * (double)w->row_bytes;
}

void bench_measure_model(struct bench *b)
{
    const struct model *m = &b->base.model;
    b->block_weights = b->output_weights = b->weight_bytes = 0;
    for (size_t l = 0; l < m->config.layers; l++)
        for (int k = 0; k < LINEAR_KINDS; k++)
            measure(b, &m->layers[l].linear[k], &b->block_weights);
    measure(b, &m->output, &b->output_weights);
}

double bench_attention_flop(const struct bench *b, size_t prompt, size_t completions, size_t n)
{
    const struct config *c = &b->base.model.config;
    double p = (double)prompt, own = (double)n;
    double seen = p * (p + 1) / 2 + (double)completions * (own * p + own * (own + 1) / 2);
    return 4 * (double)(c->layers * c->heads * c->head_dim) * seen;
}

/* Sequence number `which` of the data. */
static struct sequence random_sequence(const struct model *m, size_t n, uint32_t which)
{
    struct sequence s = {.ids = xmalloc((n + 1) * sizeof *s.ids), .mask = xmalloc(n + 1), .n = n};
    for (size_t i = 0; i < n; i++)
        s.ids[i] = (int32_t)rng_below((uint32_t)m->config.vocab, 1, RNG_TEST, which, (uint32_t)i, 0, 0);
    memset(s.mask, 1, n + 1);
    return s;
}

struct examples bench_examples(const struct model *m, size_t n, size_t prompt, size_t completions, size_t completion)
{
    struct examples e = {.list = xcalloc(n, sizeof *e.list), .n = n, .longest = prompt + completion};
    uint32_t which = 0;
    for (size_t i = 0; i < n; i++) {
        struct example *x = &e.list[i];
        *x = (struct example){.prompt = random_sequence(m, prompt, which++), .n_completions = completions};
        x->completions = xcalloc(completions, sizeof *x->completions);
        for (size_t k = 0; k < completions; k++)
            x->completions[k] = random_sequence(m, completion, which++);
    }
    return e;
}

int bench_check_positions(const struct bench *b, size_t positions, struct err *err)
{
    const struct model *m = &b->base.model;
    if (m->rope.positions >= positions)
        return 0;
    return err_set(err, "'%s' has %zu positions and sequences of %zu tokens are timed: name another model", m->path,
                   m->rope.positions, positions);
}

int bench_head(struct head *h, size_t width, uint32_t seed, struct err *err)
{
    if (head_init(h, width, err))
        return -1;
    for (size_t i = 0; i < width; i++)
        h->params.data[i] = (float)(rng_normal(seed, RNG_TEST, (uint32_t)i, 0, 0, 0) / sqrt((double)width));
    return 0;
}

int bench_rollouts(struct experience *x, const struct net *policy, const struct examples *prompts, size_t num_generations,
                   size_t new_tokens, uint32_t round, struct err *err)
{
    size_t n = prompts->n, slots = n * num_generations < BENCH_SLOTS ? n * num_generations : BENCH_SLOTS;
    struct request *requests = xcalloc(n, sizeof *requests);
    for (size_t i = 0; i < n; i++)
        requests[i] = (struct request){.prompt = prompts->list[i].prompt.ids,
                                       .n_prompt = prompts->list[i].prompt.n,
                                       .n_samples = num_generations,
                                       .max_new_tokens = new_tokens,
                                       .sampling = {.temperature = 1, .top_p = 1, .seed = 1, .round = round},
                                       .adapter = policy->adapter,
                                       .key = (uint32_t)i};
    int rc = generate_all(policy->model, requests, n, slots, NULL, NULL, err);
    if (rc == 0)
        experience_init(x, requests, n);
    for (size_t i = 0; i < n; i++)
        request_release(&requests[i]);
    free(requests);
    return rc;
}
