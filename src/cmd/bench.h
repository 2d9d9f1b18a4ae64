/* The work that `hone bench` times, and what the machine could do at best.
 *
 * A row of the bench is a shape of generated data: opened once, then a step again and again.  The limit counts
 * the arithmetic that a step cannot do without (nothing computed twice) against the machine's peak, so that a share
 * of 1 cannot be passed; decoding a single sequence, where memory is the limit, counts bytes instead.
 *
 * The limits of the rows' own shapes count the products with weights alone, so that they stay comparable.  Where a length
 * is asked for, attention counts as well, for it grows with the square: for each query and each key that it sees, in each
 * layer, a forward has two products of heads * head_dim multiply-adds (q k, p v), so 4 heads head_dim FLOP, and a backward
 * four (dv, dp, dq, dk), so twice that; scores that the backward computes again are not counted, nor is --recompute.
 * Decoding one sequence counts the bytes of the keys and values that it reads.
 *
 *     struct bench b = {.micro_batch_tokens = 512};
 *     load_net(&b.base, ..); bench_measure_model(&b);
 *     row->open(&b, &err); b.step(&b, &seconds, &err); ..; b.close(&b);
 */
#ifndef HONE_CMD_BENCH_H
#define HONE_CMD_BENCH_H

#include "cmd/load.h"
#include "data/encode.h"
#include "rollout/experience.h"

/* What is asked for; 0: the row's own. */
struct bench_shape {
    size_t length;          /* tokens of a sequence; of a prompt where there are new tokens */
    size_t rows;            /* sequences, pairs, prompts, streams */
    size_t new_tokens;      /* of generation, PPO and GRPO */
    size_t num_generations; /* of PPO and GRPO: completions of a prompt */
};

struct bench {
    /* in */
    struct bench_shape shape;
    struct loaded base; /* the model: this bench's own, to pack or to train */
    size_t micro_batch_tokens;
    bool recompute; /* as in training */
    double block_weights, output_weights; /* N_b: linear layers of all blocks; N_o: the output projection */
    double weight_bytes;                  /* of both, as they are stored */
    /* out, of open */
    double tokens, flop, bytes; /* of a step: tokens as they are counted, work of the limit; bytes 0: FLOP is the limit */
    double attention;           /* attention's work, which is not in these: bytes where they are the limit, FLOP elsewhere */
    void *self;
    int (*step)(struct bench *b, double *seconds, struct err *err);
    void (*close)(struct bench *b); /* also after an open that failed, where it is set */
};

/* Fill block_weights, output_weights and weight_bytes from the model's shapes. */
void bench_measure_model(struct bench *b);

struct bench_row {
    const char *what;
    const char *asked_by; /* the name in --what that brings it, beside its own */
    int (*open)(struct bench *b, struct err *err);
    bool reads; /* held against the memory's speed */
};

int bench_open_sft(struct bench *b, struct err *err);
int bench_open_sft_lora(struct bench *b, struct err *err);
int bench_open_reward(struct bench *b, struct err *err);
int bench_open_dpo(struct bench *b, struct err *err);
int bench_open_ppo(struct bench *b, struct err *err);
int bench_open_ppo_shared(struct bench *b, struct err *err);
int bench_open_grpo(struct bench *b, struct err *err);
int bench_open_generate_1(struct bench *b, struct err *err);
int bench_open_generate_32(struct bench *b, struct err *err);
int bench_open_prompt(struct bench *b, struct err *err);

/* FLOP of attention in a forward of one tree: a prompt and `completions` of `n` tokens each after it. */
double bench_attention_flop(const struct bench *b, size_t prompt, size_t completions, size_t n);

/* A part of the shape: what was asked for, or else the row's own. */
static inline size_t bench_or_else(size_t asked_for, size_t own)
{
    return asked_for ? asked_for : own;
}

/* Generated data: trees of random token ids, all completion tokens targets; `prompt` may be 0. */
struct examples bench_examples(const struct model *m, size_t n, size_t prompt, size_t completions, size_t completion);

/* Completions of exactly new_tokens to each prompt, BENCH_SLOTS at the same time. */
#define BENCH_SLOTS 32
int bench_rollouts(struct experience *x, const struct net *policy, const struct examples *prompts, size_t num_generations,
                   size_t new_tokens, uint32_t round, struct err *err);

/* A sentence where the model has fewer positions than the shape asks for. */
int bench_check_positions(const struct bench *b, size_t positions, struct err *err);

/* A head of small random weights. */
int bench_head(struct head *h, size_t width, uint32_t seed, struct err *err);

/* Seconds of the monotonic clock. */
double bench_clock(void);

/* The F32 multiply-add peak of all threads together, in GFLOPS: the best of several short bursts. */
double bench_fma_peak(void);

/* What all threads together read from memory, in GB/s: the best of several passes over a block that no cache holds. */
int bench_read_peak(double *gb_s, struct err *err);

#endif
