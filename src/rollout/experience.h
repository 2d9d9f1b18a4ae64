/* A batch of experience: what PPO (and, without a critic, GRPO) knows of the completions that its policy gave.
 *
 * examples: trees of a prompt and its completions, in the order of the prompts.  Completions are numbered through all
 * trees; tokens are numbered through all completions.  Roles:
 *
 *     of a completion   scores (the reward models' number, penalties included), finished, ref_kl (nats, k1, summed)
 *     of a token        old_logps, ref_logps (policy at sampling, reference), values (critic, at the position that
 *                       predicts the token), rewards (after the KL term), advantages, returns
 *
 * All in double: sums over the whole buffer are made here, once an iteration. */
#ifndef HONE_ROLLOUT_EXPERIENCE_H
#define HONE_ROLLOUT_EXPERIENCE_H

#include "data/encode.h"
#include "rollout/generate.h"

struct experience {
    struct examples examples; /* owned */
    size_t n;                 /* completions */
    size_t *first;            /* (n + 1): a completion's first token */
    size_t *tree;             /* (examples.n + 1): a tree's first completion */
    double *scores, *ref_kl;
    bool *finished;           /* it ended with an end token, not by length */
    double *old_logps, *ref_logps, *values, *rewards, *advantages, *returns;
};

/* From finished requests, request by request, whose samples become completions; the prompts are copied. */
void experience_init(struct experience *x, const struct request *requests, size_t n);

/* From examples given (their completions' log-probs are to be filled in): takes the list over. */
void experience_from_examples(struct experience *x, struct examples *e);

void experience_release(struct experience *x);

/* A completion of a tree as text, without its end token: fresh, *n bytes (n may be NULL), not always UTF-8 to the last one. */
char *experience_text(const struct experience *x, size_t tree, size_t completion, const struct tokenizer *t, size_t *n);

/* Move the trees of `from` with keep[tree] to the end of x (which may be empty, all 0); `from` is released. */
void experience_take(struct experience *x, struct experience *from, const bool *keep);

struct experience_config {
    double kl_coef, gamma, lam;
    bool whiten_rewards, whiten_advantages;
};

/* Fill rewards, advantages, returns and ref_kl from the rest: the KL term (k1) a token, the score at the last one,
 * whitening of rewards without shift of the mean, GAE, whitening of advantages over all tokens of the buffer. */
int experience_finish(struct experience *x, const struct experience_config *c, struct err *err);

#endif
