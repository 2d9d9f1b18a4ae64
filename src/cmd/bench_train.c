/* Supervised, reward and DPO steps: forward, backward and optimiser over one batch. */
#include <stdlib.h>

#include "cmd/bench.h"
#include "cmd/options.h"
#include "train/pairwise.h"
#include "train/reward.h"
#include "train/sft.h"
#include "util/mem.h"

#define ROWS 8

struct shape {
    bool full, head;
    size_t rows, prompt, completions, completion;
};

struct job {
    struct adapter adapter;
    struct head head;
    struct net net;
    struct learner learner, reference; /* reference: of DPO */
    struct optimizer optimizer;
    struct loop_options loop;
    struct examples examples;
    size_t *order;
    struct method method;
    struct sft sft;
    struct reward reward;
    struct judgements labels;
    struct pairwise dpo;
};

static int train(struct job *j, struct err *err)
{
    struct metrics metrics = {0};
    double grad_norm;
    size_t n = j->examples.n;
    void *self = j->method.self;
    if (j->method.begin(self, &j->examples, j->order, n, true, err))
        return -1;
    for (size_t at = 0; at < n;) {
        size_t count = loop_micro(&j->loop, &j->examples, j->order, n, at, 0);
        if (j->method.micro(self, &j->examples, j->order + at, count, true, err))
            return -1;
        at += count;
    }
    return j->method.end(self, &metrics, true, err) || optimizer_step(&j->optimizer, 1e-5, &grad_norm, err) ? -1 : 0;
}

static int step(struct bench *b, double *seconds, struct err *err)
{
    struct job *j = b->self;
    double started = bench_clock(), *reference = NULL;
    if (j->reference.workspace) {
        reference = sequence_logprobs(&j->reference, &j->loop, &j->examples, NULL, j->examples.n, 2, 1, NULL, NULL, err);
        if (!reference)
            return -1;
        j->dpo.train_ref = reference;
    }
    int rc = train(j, err);
    *seconds = bench_clock() - started;
    free(reference);
    return rc;
}

static void close_job(struct bench *b)
{
    struct job *j = b->self;
    pairwise_release(&j->dpo);
    reward_release(&j->reward);
    examples_release(&j->examples);
    learner_release(&j->learner);
    learner_release(&j->reference);
    optimizer_release(&j->optimizer);
    adapter_release(&j->adapter);
    head_release(&j->head);
    free(j->order);
    judgements_release(&j->labels);
    free(j);
}

/* Everything but the method. */
static int open_job(struct bench *b, const struct shape *s, struct err *err)
{
    static const char *const names[3] = {"model", "adapter", "head"};
    const struct adapter_options o = {.rank = 16, .alpha = 32, .seed = 1};
    struct model *m = &b->base.model;
    struct job *j = xcalloc(1, sizeof *j);
    b->self = j;
    b->step = step;
    b->close = close_job;
    b->tokens = (double)(s->rows * s->completions * (s->prompt + s->completion));
    if (bench_check_positions(b, s->prompt + s->completion, err))
        return -1;
    if (s->full ? model_make_trainable(m, err) : model_pack(m, err) || adapter_init(&j->adapter, m, &o, err))
        return -1;
    if (s->head && bench_head(&j->head, m->config.width, 1, err))
        return -1;
    j->net = (struct net){.model = m, .adapter = s->full ? NULL : &j->adapter, .head = s->head ? &j->head : NULL};
    j->examples = bench_examples(m, s->rows, s->prompt, s->completions, s->completion);
    j->optimizer = (struct optimizer){.adamw = {0.9, 0.999, 1e-8}, .max_grad_norm = 1};
    j->loop = (struct loop_options){.micro_batch_tokens = b->micro_batch_tokens};
    j->order = xmalloc(s->rows * sizeof *j->order);
    for (size_t i = 0; i < s->rows; i++)
        j->order[i] = i;
    return learner_init(&j->learner, &j->net, b->recompute ? KEEP_INPUTS : KEEP_ALL, s->full, s->head, &j->optimizer, names, 1,
                        err);
}

static int open_supervised(struct bench *b, bool full, struct err *err)
{
    const struct shape s = {.full = full, .rows = bench_or_else(b->shape.rows, ROWS), .completions = 1,
                            .completion = bench_or_else(b->shape.length, 256)};
    if (open_job(b, &s, err))
        return -1;
    struct job *j = b->self;
    j->method = sft_method(&j->sft, &j->learner);
    b->flop = (full ? 6 : 4) * (b->block_weights + b->output_weights) * b->tokens;
    b->attention = 3 * (double)s.rows * bench_attention_flop(b, 0, 1, s.completion);
    return 0;
}

int bench_open_sft(struct bench *b, struct err *err)
{
    return open_supervised(b, true, err);
}

int bench_open_sft_lora(struct bench *b, struct err *err)
{
    return open_supervised(b, false, err);
}

int bench_open_reward(struct bench *b, struct err *err)
{
    const struct shape s = {.head = true, .rows = bench_or_else(b->shape.rows, ROWS), .completions = 2,
                            .completion = bench_or_else(b->shape.length, 250)};
    if (open_job(b, &s, err))
        return -1;
    struct job *j = b->self;
    if (reward_init(&j->reward, &j->learner, false, TIES_RAO_KUPPER, 1, &j->optimizer, err))
        return -1;
    struct comparison *won = xcalloc(s.rows, sizeof *won);
    for (size_t i = 0; i < s.rows; i++)
        won[i].w_a = 1;
    judgements_of_pairs(&j->labels, won, s.rows);
    free(won);
    j->reward.train = &j->labels;
    j->method = reward_method(&j->reward);
    b->flop = 4 * b->block_weights * b->tokens;
    b->attention = 3 * (double)s.rows * bench_attention_flop(b, 0, 2, s.completion);
    return 0;
}

/* Computed are the prompt once and both completions; the reference costs one more forward. */
int bench_open_dpo(struct bench *b, struct err *err)
{
    size_t length = bench_or_else(b->shape.length, 256);
    const struct shape s = {.rows = bench_or_else(b->shape.rows, ROWS), .prompt = length / 2, .completions = 2,
                            .completion = length - length / 2};
    struct pairwise_config config = {.loss = {.beta = 0.1}, .ld_alpha = 1, .reference = true};
    const struct preference_loss *sigmoid = preference_loss_find("sigmoid", err);
    if (!sigmoid || preference_mixture_add(&config.losses, sigmoid, 1, err) || open_job(b, &s, err))
        return -1;
    struct job *j = b->self;
    struct net reference = {.model = j->net.model};
    pairwise_init(&j->dpo, &j->learner, &j->loop, &config);
    if (learner_init_forward(&j->reference, &reference, err))
        return -1;
    j->method = pairwise_method(&j->dpo, "dpo");
    double targets = (double)(s.rows * 2 * s.completion), computed = (double)(s.rows * s.prompt) + targets;
    b->flop = 6 * b->block_weights * computed + 6 * b->output_weights * targets;
    b->attention = 4 * (double)s.rows * bench_attention_flop(b, s.prompt, 2, s.completion);
    return 0;
}
