/* A policy's answers to a set of prompts, and what can be measured of them: scores under reward models, the KL to another
 * policy, lengths, variety.
 *
 * Answers are numbered prompt by prompt, and within a prompt sample by sample; unit[i] is the prompt of answer i, which is
 * what intervals draw again (util/stats.h).  The same seed gives each prompt and sample the same random numbers for every
 * policy, so answers of two policies are paired by their number. */
#ifndef HONE_EVAL_ANSWERS_H
#define HONE_EVAL_ANSWERS_H

#include "rollout/experience.h"
#include "util/stats.h"

struct answers_config {
    size_t num_generations; /* answers a prompt */
    size_t response_length; /* tokens at most */
    size_t slots;           /* sampled at the same time: memory, not results, depend on it */
    float temperature;      /* 0: the likeliest tokens, with log-probs at temperature 1 */
    uint32_t seed;
};

struct answers {
    struct net net; /* who answered; borrowed */
    struct answers_config config;
    struct experience x; /* trees, token ids, log-probs as sampled, finished */
    size_t n;            /* answers */
    uint32_t *unit;      /* (n) */
    char **texts;        /* (n), without end tokens; "" where the model has no tokenizer */
};

/* Sample.  The prompts' completions, if any, are not looked at; their rows must outlive the answers.  progress, if not NULL,
 * is called with the number of answers done.  On failure there is nothing to release. */
int answers_sample(struct answers *a, const struct net *net, const struct examples *prompts,
                   const struct answers_config *config, void (*progress)(void *user, size_t done), void *user,
                   struct err *err);
void answers_release(struct answers *a);

/* For several policies' answers to the same prompts, of which each prompt is computed once for all (law 3); the numbers are
 * those of each policy alone.
 *
 * scores: (n_list) arrays of (n), out, the mean over n_rewards nets with heads that read the same tokens. */
int answers_score(double *const *scores, const struct answers *const *list, size_t n_list, const struct net *const *rewards,
                  size_t n_rewards, struct err *err);

/* kl: (n_list) arrays of (n), out: log p(answer) - log q(answer) in nats, p the one who answered, q the reference, both at
 * the temperature of sampling, which is the same for all (k1: its mean over answers estimates KL(p || q)).  Exactly 0 where
 * both have the same weights. */
int answers_kl(double *const *kl, const struct answers *const *list, size_t n_list, const struct net *reference,
               struct err *err);

struct answers_measure {
    struct interval tokens, words; /* mean length; the end token counts */
    struct interval finished;      /* share that ended by itself */
    double distinct_2;             /* different pairs of words / all, over the whole set */
};
void answers_measure(struct answers_measure *out, const struct answers *a, uint32_t seed);

/* mean(x) over the answers, and mean(x - y) paired, with the bootstrap's interval over prompts. */
struct interval answers_mean(const struct answers *a, const double *x, uint32_t seed);
struct interval answers_difference(const struct answers *a, const double *x, const double *y, uint32_t seed);

/* How often the answers with scores x beat their partners with scores y. */
void answers_win_rate(struct win_rate *out, const struct answers *a, const double *x, const double *y, uint32_t seed);

#endif
