/* The work that `hone bench` times, and what the machine could do at best.
 *
 * A row of the bench is a fixed shape of generated data: opened once, then a step again and again.  The limit counts
 * the arithmetic that a step cannot do without (nothing computed twice) against the machine's peak, so that a share
 * of 1 cannot be passed; decoding a single sequence, where memory is the limit, counts bytes instead.
 *
 *     struct bench b = {.micro_batch_tokens = 512};
 *     load_net(&b.base, ..); bench_measure_model(&b);
 *     row->open(&b, &err); b.step(&b, &seconds, &err); ..; b.close(&b);
 */
#ifndef HONE_CMD_BENCH_H
#define HONE_CMD_BENCH_H

#include "cmd/load.h"
#include "data/encode.h"

struct bench {
    /* in */
    struct loaded base; /* the model: this bench's own, to pack or to train */
    size_t micro_batch_tokens;
    bool recompute; /* as in training */
    double block_weights, output_weights; /* N_b: linear layers of all blocks; N_o: the output projection */
    double weight_bytes;                  /* of both, as they are stored */
    /* out, of open */
    double tokens, flop, bytes; /* of a step: tokens as they are counted, work of the limit; bytes 0: FLOP is the limit */
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
int bench_open_generate_1(struct bench *b, struct err *err);
int bench_open_generate_32(struct bench *b, struct err *err);
int bench_open_prompt(struct bench *b, struct err *err);

/* Generated data: trees of random token ids, all completion tokens targets; `prompt` may be 0. */
struct examples bench_examples(const struct model *m, size_t n, size_t prompt, size_t completions, size_t completion);

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
