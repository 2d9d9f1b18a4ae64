/* A whole PPO iteration: rollouts, reference, scores, values, four epochs. */
#include <stdlib.h>

#include "cmd/bench.h"
#include "reward/score.h"
#include "train/ppo.h"
#include "util/mem.h"

#define PROMPTS 32
#define PROMPT_TOKENS 64
#define COMPLETION_TOKENS 64
#define EPOCHS 4

struct job {
    struct adapter adapter, reward_adapter, critic_adapter;
    struct head reward_head, value_head;
    struct net policy, reward, reference;
    struct learner learner;
    struct gradients critic_grads;
    struct optimizer optimizer;
    struct ppo ppo;
    struct examples prompts;
    size_t new_tokens, num_generations;
    uint32_t iteration;
};

static int score(struct job *j, struct experience *x, struct err *err)
{
    float *scores = xmalloc((x->n + 1) * sizeof *scores);
    int rc = score_examples(scores, &j->reward, &x->examples, j->ppo.options.micro_batch_tokens, NULL, NULL, err);
    for (size_t i = 0; rc == 0 && i < x->n; i++)
        x->scores[i] = (double)scores[i];
    free(scores);
    return rc;
}

static int iterate(struct job *j, struct err *err)
{
    struct experience x;
    struct metrics metrics = {0};
    if (bench_rollouts(&x, &j->policy, &j->prompts, j->num_generations, j->new_tokens, j->iteration, err))
        return -1;
    int rc = ppo_logprobs(&j->ppo, &j->reference, &x, x.ref_logps, err);
    if (rc == 0)
        rc = score(j, &x, err);
    if (rc == 0)
        rc = ppo_values(&j->ppo, &x, err);
    if (rc == 0)
        rc = experience_finish(&x, &j->ppo.options.rewards, err);
    if (rc == 0)
        rc = ppo_update(&j->ppo, &x, j->iteration++, 1e-5, true, &j->optimizer, &metrics, NULL, err);
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
    ppo_release(&j->ppo);
    gradients_release(&j->critic_grads);
    learner_release(&j->learner);
    optimizer_release(&j->optimizer);
    examples_release(&j->prompts);
    adapter_release(&j->adapter);
    adapter_release(&j->reward_adapter);
    adapter_release(&j->critic_adapter);
    head_release(&j->reward_head);
    head_release(&j->value_head);
    free(j);
}

/* Policy, reward model and critic over the one base; the reference is the base alone. */
static int open_nets(struct job *j, struct model *m, bool shared, struct err *err)
{
    struct adapter_options own = {.rank = 16, .alpha = 32, .seed = 1}, other = {.rank = 16, .alpha = 32, .seed = 2};
    if (model_pack(m, err) || adapter_init(&j->adapter, m, &own, err) || adapter_init(&j->reward_adapter, m, &other, err) ||
        bench_head(&j->reward_head, m->config.width, 1, err) || head_copy(&j->value_head, &j->reward_head, err))
        return -1;
    if (!shared && adapter_copy(&j->critic_adapter, &j->reward_adapter, err))
        return -1;
    j->reference = (struct net){.model = m};
    j->reward = (struct net){m, &j->reward_adapter, &j->reward_head};
    j->policy = (struct net){m, &j->adapter, shared ? &j->value_head : NULL};
    j->ppo.critic = shared ? j->policy : (struct net){m, &j->critic_adapter, &j->value_head};
    return 0;
}

static int open_training(struct job *j, const struct bench *b, bool shared, struct err *err)
{
    static const char *const names[3] = {"model", "adapter", "head"};
    if (learner_init(&j->learner, &j->policy, b->recompute ? KEEP_INPUTS : KEEP_ALL, false, shared, &j->optimizer, names, 1,
                     err))
        return -1;
    j->ppo.policy = &j->learner;
    if (shared)
        return 0;
    if (gradients_init(&j->critic_grads, &j->ppo.critic, false, true, true, err) ||
        optimizer_add(&j->optimizer, "critic.adapter", &j->critic_adapter.params, j->critic_grads.adapter, 1, err) ||
        optimizer_add(&j->optimizer, "critic.head", &j->value_head.params, j->critic_grads.head, 1, err))
        return -1;
    j->ppo.critic_grads = &j->critic_grads;
    return 0;
}

/* Passes over all tokens: sampling, reference, reward, value (2 FLOP a weight each), then a policy's and a critic's
 * training (4 each) an epoch; a critic on the policy's own trunk costs none.  Attention: a forward each, a training three. */
static void count_work(struct bench *b, const struct job *j, bool shared)
{
    size_t prompts = j->prompts.n, prompt = j->prompts.longest;
    double targets = (double)(prompts * j->num_generations * j->new_tokens), computed = (double)(prompts * prompt) + targets;
    double blocks = 4 * 2 + EPOCHS * (shared ? 4 : 8), outputs = 2 * 2 + EPOCHS * 4;
    b->tokens = targets;
    b->flop = blocks * b->block_weights * computed + outputs * b->output_weights * targets;
    b->attention = (4 + EPOCHS * (shared ? 3 : 6)) * (double)prompts *
                   bench_attention_flop(b, prompt, j->num_generations, j->new_tokens);
}

static int open_job(struct bench *b, bool shared, struct err *err)
{
    struct model *m = &b->base.model;
    struct job *j = xcalloc(1, sizeof *j);
    b->self = j;
    b->step = step;
    b->close = close_job;
    size_t prompt = bench_or_else(b->shape.length, PROMPT_TOKENS);
    j->new_tokens = bench_or_else(b->shape.new_tokens, COMPLETION_TOKENS);
    j->num_generations = bench_or_else(b->shape.num_generations, 1);
    j->optimizer = (struct optimizer){.adamw = {0.9, 0.999, 1e-8}, .max_grad_norm = 1};
    j->ppo.options = (struct ppo_options){.num_ppo_epochs = EPOCHS,
                                          .num_mini_batches = 1,
                                          .shuffle = true,
                                          .seed = 1,
                                          .micro_batch_tokens = b->micro_batch_tokens,
                                          .temperature = 1,
                                          .loss = {.cliprange = 0.2, .cliprange_value = 0.2, .vf_coef = 0.1},
                                          .rewards = {.kl_coef = 0.05, .gamma = 1, .lam = 0.95, .whiten_advantages = true}};
    if (bench_check_positions(b, prompt + j->new_tokens, err))
        return -1;
    j->prompts = bench_examples(m, bench_or_else(b->shape.rows, PROMPTS), prompt, 0, 0);
    count_work(b, j, shared);
    return open_nets(j, m, shared, err) || open_training(j, b, shared, err) ? -1 : 0;
}

int bench_open_ppo(struct bench *b, struct err *err)
{
    return open_job(b, false, err);
}

int bench_open_ppo_shared(struct bench *b, struct err *err)
{
    return open_job(b, true, err);
}
