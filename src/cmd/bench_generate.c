/* Decoding at one sequence and at many, and reading a prompt. */
#include <stdlib.h>

#include "cmd/bench.h"
#include "rollout/generate.h"
#include "util/mem.h"

#define PROMPT_TOKENS 64
#define NEW_TOKENS 64
#define LONG_PROMPT 512

/* Prompts are read a few at a step, and the first of them are continued meanwhile. */
#define STEPS_OF_READING 16

struct job {
    struct examples prompts;
    struct request *requests;
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

/* Steps in which every sequence gets one token each. */
static int decode(struct job *j, struct generator *g, double *seconds, struct err *err)
{
    if (submit(j, g, NEW_TOKENS + STEPS_OF_READING, err))
        return -1;
    while (!all_read(j))
        if (generator_step(g, err) < 0)
            return -1;
    double started = bench_clock();
    for (size_t i = 0; i < NEW_TOKENS; i++)
        if (generator_step(g, err) < 0)
            return -1;
    *seconds = bench_clock() - started;
    for (size_t i = 0; i < j->prompts.n; i++)
        ENSURE(j->requests[i].samples[0].n > NEW_TOKENS);
    return 0;
}

/* The prompt's keys and values, and the token after it. */
static int read_prompt(struct job *j, struct generator *g, double *seconds, struct err *err)
{
    if (submit(j, g, 1, err))
        return -1;
    double started = bench_clock();
    if (generator_step(g, err) < 0)
        return -1;
    *seconds = bench_clock() - started;
    ENSURE(all_read(j));
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
    return generate(b, NEW_TOKENS + STEPS_OF_READING, decode, seconds, err);
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
    if (bench_check_positions(b, PROMPT_TOKENS + NEW_TOKENS + STEPS_OF_READING, err) || open_job(b, n, PROMPT_TOKENS, err))
        return -1;
    b->step = step_decode;
    b->tokens = (double)(n * NEW_TOKENS);
    b->flop = 2 * (b->block_weights + b->output_weights) * b->tokens;
    return 0;
}

/* One row uses a weight once: what must be read, not what must be computed, is the limit. */
int bench_open_generate_1(struct bench *b, struct err *err)
{
    if (open_decode(b, 1, err))
        return -1;
    b->bytes = b->weight_bytes * b->tokens;
    return 0;
}

int bench_open_generate_32(struct bench *b, struct err *err)
{
    return open_decode(b, 32, err);
}

/* A model with fewer positions reads as many as it has. */
int bench_open_prompt(struct bench *b, struct err *err)
{
    size_t positions = b->base.model.rope.positions, n = positions > LONG_PROMPT ? LONG_PROMPT : positions - 1;
    if (bench_check_positions(b, 2, err) || open_job(b, 1, n, err))
        return -1;
    b->step = step_prompt;
    b->tokens = (double)n;
    b->flop = 2 * b->block_weights * b->tokens;
    return 0;
}
