/* Batched generation as a stepped object: init, submit, step until done.
 *
 * A request is a prompt with k completions: the prompt is computed once and its full tiles of keys and values are
 * shared (law 3).  So is what it begins with like another prompt under way: a system message is read once.  Slots join and leave between steps; each request has its own adapter, sampling settings and
 * limits.  The server, best-of-n, evaluation and PPO all drive this one object.
 *
 * A request may draw from the geometric mixture of two nets over the model (mixture_coef): each then reads the prompt and every
 * token that was drawn, with keys and values of its own, and their logits are put together before a token is drawn.
 *
 *     struct generator g;
 *     generator_init(&g, &model, &limits, &err);
 *     generator_submit(&g, &request, &err);          any number of times, also between steps
 *     while ((n = generator_step(&g, &err)) > 0) ;   n: completions still under way or waiting
 *     generator_release(&g);
 *
 * Tokens are drawn by inverting the cumulative sum in vocabulary order with one number from a counter (prompt key,
 * sample, position, round): neither batch nor threads nor the order of requests enter (laws 1 and 2). */
#ifndef HONE_ROLLOUT_GENERATE_H
#define HONE_ROLLOUT_GENERATE_H

#include "model/net.h"

struct sampling {
    float temperature; /* 0: greedy, log-probs at temperature 1 */
    float top_p, min_p; /* 1 and 0: off */
    int top_k;          /* 0: off */
    uint32_t seed, round;
};

enum finish { FINISH_NONE, FINISH_STOP, FINISH_LENGTH, FINISH_CANCELLED };

struct sample {
    int32_t *ids; /* the end token included */
    float *logps; /* of the distribution sampled from */
    size_t n;
    enum finish finish;
};

struct request {
    /* in; the arrays are the caller's and must live until the request is done */
    const int32_t *prompt;
    size_t n_prompt;
    size_t n_samples, max_new_tokens;
    struct sampling sampling;
    const int32_t *stop;
    size_t n_stop;
    const struct adapter *adapter;
    /* above 0: tokens come from p ~ adapter's^(1 - mixture_coef) mix_adapter's^mixture_coef, and so do their log-probs */
    float mixture_coef;
    const struct adapter *mix_adapter;
    uint32_t key; /* of the prompt, for random numbers */
    size_t first_sample; /* number of the first completion, for random numbers: 0, or behind another request's to the prompt */
    /* called after each token, if not NULL; a non-zero answer cancels the request */
    int (*on_token)(void *user, const struct request *r, size_t sample, int32_t token);
    void *user;
    bool cancel; /* may be set at any time between steps */
    /* out */
    struct sample *samples; /* (n_samples), to be freed with request_release */
    size_t n_done;
};
void request_release(struct request *r);

struct generator_limits {
    size_t slots;     /* completions at the same time */
    size_t positions; /* longest prompt + completion */
    bool mixtures;    /* requests may have a mixture_coef: twice the memory */
};

struct generator {
    const struct model *model;
    struct generator_limits limits;
    struct workspace *workspace;
    struct batch batch;
    float *cache; /* (layers, n_tiles, kv_tile_floats) */
    size_t n_tiles, n_tiles_free;
    int32_t *tile_refs, *tiles_free;
    struct group **groups; /* requests that are not done, in order of arrival */
    size_t n_groups, groups_capacity;
    struct slot *slots; /* (limits.slots) */
    float *logits, *hidden, *temperatures; /* of the tokens drawn in a step; with mixtures the second nets' behind all others */
    struct logprob_row *info;
    size_t *drawing; /* the slots that draw */
};

int generator_init(struct generator *g, const struct model *m, const struct generator_limits *limits, struct err *err);
void generator_release(struct generator *g);

/* The request is refused (-1) if it cannot ever fit. */
int generator_submit(struct generator *g, struct request *r, struct err *err);

/* Read waiting prompts, draw a token for every slot.  Returns the completions that are not done yet, or -1. */
long generator_step(struct generator *g, struct err *err);

/* Run many requests to their end.  progress, if not NULL, is called with the number of completions done. */
int generate_all(const struct model *m, struct request *requests, size_t n, size_t slots,
                 void (*progress)(void *user, size_t done), void *user, struct err *err);

/* One draw from a row of logits (scaled by the temperature already, info of logits_forward); the log-prob is of the
 * distribution that was drawn from.  logits are overwritten. */
int32_t sample_token(float *logits, const struct logprob_row *info, size_t vocabulary, const struct sampling *s, double uniform,
                     float *logp);

#endif
