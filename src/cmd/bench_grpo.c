/* A whole iteration of GRPO: rollouts of groups, reference, one step.  Scores are made up: rules cost nothing beside it. */
#include <stdlib.h>

#include "cmd/bench.h"
#include "train/group.h"
#include "util/mem.h"

#define PROMPTS 4
#define GENERATIONS 8
#define PROMPT_TOKENS 64
#define COMPLETION_TOKENS 64

struct job {
    struct adapter adapter;
    struct net policy, reference;
    struct learner learner;
    struct optimizer optimizer;
    struct group group;
    struct examples prompts;
    size_t new_tokens, num_generations;
    uint32_t iteration;
};

static int iterate(struct job *j, struct err *err)
{
    struct experience x;
    struct metrics metrics = {0};
    const struct group_options *o = &j->group.options;
    if (bench_rollouts(&x, &j->policy, &j->prompts, j->num_generations, j->new_tokens, j->iteration, err))
        return -1;
    for (size_t c = 0; c < x.n; c++)
        x.scores[c] = (double)(c % 7);
    int rc = online_logprobs(&j->learner, &j->reference, &x, o->temperature, o->micro_batch_tokens, x.ref_logps, err);
    if (rc == 0)
        rc = group_update(&j->group, &x, j->iteration++, 1e-5, true, &j->optimizer, &metrics, err);
    experience_release(&x);
    return rc;
}

static int step(struct bench *b, double *seconds, struct err *err)
{
    double started = bench_clock();
    int rc = iterate(b->self, err);
    *seconds = bench_clock() - started;
    return rc;
}

static void close_job(struct bench *b)
{
    struct job *j = b->self;
    learner_release(&j->learner);
    optimizer_release(&j->optimizer);
    examples_release(&j->prompts);
    adapter_release(&j->adapter);
    free(j);
}

/* Passes over all tokens: sampling and reference (2 FLOP a weight each), training (4).  Attention: a forward each, a training
 * three. */
static void count_work(struct bench *b, const struct job *j)
{
    size_t prompts = j->prompts.n, prompt = j->prompts.longest;
    double targets = (double)(prompts * j->num_generations * j->new_tokens), computed = (double)(prompts * prompt) + targets;
    b->tokens = targets;
    b->flop = 8 * (b->block_weights * computed + b->output_weights * targets);
    b->attention = 5 * (double)prompts * bench_attention_flop(b, prompt, j->num_generations, j->new_tokens);
}

static int open_nets(struct job *j, const struct bench *b, struct model *m, struct err *err)
{
    static const char *const names[3] = {"model", "adapter", "head"};
    struct adapter_options own = {.rank = 16, .alpha = 32, .seed = 1};
    if (model_pack(m, err) || adapter_init(&j->adapter, m, &own, err))
        return -1;
    j->reference = (struct net){.model = m};
    j->policy = (struct net){m, &j->adapter, NULL};
    j->group.policy = &j->learner;
    return learner_init(&j->learner, &j->policy, b->recompute ? KEEP_INPUTS : KEEP_ALL, false, false, &j->optimizer, names, 1, err);
}

int bench_open_grpo(struct bench *b, struct err *err)
{
    struct job *j = xcalloc(1, sizeof *j);
    b->self = j;
    b->step = step;
    b->close = close_job;
    size_t prompt = bench_or_else(b->shape.length, PROMPT_TOKENS);
    j->new_tokens = bench_or_else(b->shape.new_tokens, COMPLETION_TOKENS);
    j->num_generations = bench_or_else(b->shape.num_generations, GENERATIONS);
    j->optimizer = (struct optimizer){.adamw = {0.9, 0.999, 1e-8}, .max_grad_norm = 1};
    j->group.options = (struct group_options){.num_iterations = 1,
                                              .steps_per_generation = 1,
                                              .seed = 1,
                                              .micro_batch_tokens = b->micro_batch_tokens,
                                              .temperature = 1,
                                              .advantage_estimator = ESTIMATOR_GRPO,
                                              .loss = {.loss_type = GRPO_DAPO, .epsilon = 0.2, .epsilon_high = 0.2, .beta = 0.04,
                                                       .use_bias_correction_kl = true, .max_completion_length = j->new_tokens}};
    if (bench_check_positions(b, prompt + j->new_tokens, err))
        return -1;
    j->prompts = bench_examples(&b->base.model, bench_or_else(b->shape.rows, PROMPTS), prompt, 0, 0);
    count_work(b, j);
    return open_nets(j, b, &b->base.model, err);
}
