/* Decoding at one sequence and at many, and reading prompts. */
#include <stdlib.h>

#include "cmd/bench.h"
#include "rollout/generate.h"
#include "util/mem.h"

#define PROMPT_TOKENS 64
#define NEW_TOKENS 64
#define LONG_PROMPT 512

struct job {
    struct examples prompts;
    struct request *requests;
    size_t new_tokens; /* that are timed */
};

static int submit(struct job *j, struct generator *g, size_t new_tokens, struct err *err)
{
    for (size_t i = 0; i < j->prompts.n; i++) {
        const struct sequence *prompt = &j->prompts.list[i].prompt;
        j->requests[i] = (struct request){.prompt = prompt->ids,
                                          .n_prompt = prompt->n,
                                          .n_samples = 1,
                                          .max_new_tokens = new_tokens,
                                          .sampling = {.temperature = 1, .top_p = 1, .seed = 1},
                                          .key = (uint32_t)i};
        if (generator_submit(g, &j->requests[i], err))
            return -1;
    }
    return 0;
}

static bool all_read(const struct job *j)
{
    for (size_t i = 0; i < j->prompts.n; i++)
        if (j->requests[i].samples[0].n == 0)
            return false;
    return true;
}

/* Prompts are read a few at a step, one at least, and the first of them are continued meanwhile: steps until all are read. */
static size_t reading(const struct job *j)
{
    return j->prompts.n + 1;
}

/* Steps in which every sequence gets one token each. */
static int decode(struct job *j, struct generator *g, double *seconds, struct err *err)
{
    if (submit(j, g, j->new_tokens + reading(j), err))
        return -1;
    while (!all_read(j))
        if (generator_step(g, err) < 0)
            return -1;
    double started = bench_clock();
    for (size_t i = 0; i < j->new_tokens; i++)
        if (generator_step(g, err) < 0)
            return -1;
    *seconds = bench_clock() - started;
    for (size_t i = 0; i < j->prompts.n; i++)
        ENSURE(j->requests[i].samples[0].n > j->new_tokens);
    return 0;
}

/* The prompts' keys and values, and the token after each. */
static int read_prompt(struct job *j, struct generator *g, double *seconds, struct err *err)
{
    if (submit(j, g, 1, err))
        return -1;
    double started = bench_clock();
    while (!all_read(j))
        if (generator_step(g, err) < 0)
            return -1;
    *seconds = bench_clock() - started;
    return 0;
}

static int generate(struct bench *b, size_t new_tokens, int (*run)(struct job *, struct generator *, double *, struct err *),
                    double *seconds, struct err *err)
{
    struct job *j = b->self;
    struct generator g;
    struct generator_limits limits = {.slots = j->prompts.n, .positions = j->prompts.longest + new_tokens};
    if (generator_init(&g, &b->base.model, &limits, err))
        return -1;
    int rc = run(j, &g, seconds, err);
    generator_release(&g);
    for (size_t i = 0; i < j->prompts.n; i++)
        request_release(&j->requests[i]);
    return rc;
}

static int step_decode(struct bench *b, double *seconds, struct err *err)
{
    const struct job *j = b->self;
    return generate(b, j->new_tokens + reading(j), decode, seconds, err);
}

static int step_prompt(struct bench *b, double *seconds, struct err *err)
{
    return generate(b, 1, read_prompt, seconds, err);
}

static void close_job(struct bench *b)
{
    struct job *j = b->self;
    examples_release(&j->prompts);
    free(j->requests);
    free(j);
}

static int open_job(struct bench *b, size_t n, size_t prompt, struct err *err)
{
    struct job *j = xcalloc(1, sizeof *j);
    b->self = j;
    b->close = close_job;
    j->prompts = bench_examples(&b->base.model, n, prompt, 0, 0);
    j->requests = xcalloc(n, sizeof *j->requests);
    return model_pack(&b->base.model, err);
}

static int open_decode(struct bench *b, size_t n, struct err *err)
{
    size_t prompt = bench_or_else(b->shape.length, PROMPT_TOKENS);
    size_t new_tokens = bench_or_else(b->shape.new_tokens, NEW_TOKENS);
    if (bench_check_positions(b, prompt + new_tokens + n + 1, err) || open_job(b, n, prompt, err))
        return -1;
    struct job *j = b->self;
    j->new_tokens = new_tokens;
    b->step = step_decode;
    b->tokens = (double)(n * new_tokens);
    b->flop = 2 * (b->block_weights + b->output_weights) * b->tokens;
    b->attention = (double)n * (bench_attention_flop(b, prompt, 1, new_tokens) - bench_attention_flop(b, prompt, 0, 0));
    return 0;
}

/* One row uses a weight once: what must be read, not what must be computed, is the limit. */
int bench_open_generate_1(struct bench *b, struct err *err)
{
    if (open_decode(b, 1, err))
        return -1;
    const struct config *c = &b->base.model.config;
    b->bytes = b->weight_bytes * b->tokens;
    /* a key and a value of F32 serve a whole group of heads, for which 4 FLOP a float of the head were counted */
    b->attention *= 2 * sizeof(float) / 4.0 * (double)c->kv_heads / (double)c->heads;
    return 0;
}

int bench_open_generate_32(struct bench *b, struct err *err)
{
    return open_decode(b, bench_or_else(b->shape.rows, 32), err);
}

/* A model with fewer positions reads as many as it has. */
int bench_open_prompt(struct bench *b, struct err *err)
{
    size_t positions = b->base.model.rope.positions, rows = bench_or_else(b->shape.rows, 1);
    size_t n = b->shape.length ? b->shape.length : positions > LONG_PROMPT ? LONG_PROMPT : positions - 1;
    if (bench_check_positions(b, n + 1, err) || open_job(b, rows, n, err))
        return -1;
    b->step = step_prompt;
    b->tokens = (double)(rows * n);
    b->flop = 2 * b->block_weights * b->tokens;
    b->attention = (double)rows * bench_attention_flop(b, n, 0, 0);
    return 0;
}
