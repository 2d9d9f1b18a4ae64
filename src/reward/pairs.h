/* Which two of k answers to a prompt are shown to whoever judges them.
 *
 *     all         every two
 *     random      two drawn at random
 *     extreme     the best and the worst by the reward model's mean score
 *     uncertain   the two of which the reward models know least who wins: with p = sigmoid((score a - score b) / temperature) the
 *                 variance of p over the members (Christiano et al. 2017, "Deep reinforcement learning from human preferences",
 *                 section 2.2.4); of one reward model p (1 - p), which is largest where it calls a tie
 *
 * Answers that say the same are never a pair, empty ones stand in none.  Which of two answers is called a is drawn, too, so that whoever judges
 * cannot tell from it. */
#ifndef HONE_REWARD_PAIRS_H
#define HONE_REWARD_PAIRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pairs_how { PAIRS_RANDOM, PAIRS_ALL, PAIRS_EXTREME, PAIRS_UNCERTAIN };
extern const char *const pairs_names[]; /* as above, then NULL */

/* Do they ask for scores? */
bool pairs_want_scores(enum pairs_how how);

struct pair {
    size_t a, b;
    double uncertainty; /* 0 without scores */
};

struct pairs_config {
    enum pairs_how how;
    double temperature; /* > 0 */
    uint32_t seed;
};

/* The k answers of a prompt.  scores: (members, k), members 0: none.  same: (k) equal numbers for equal texts,
 * PAIRS_NO_ANSWER for one that is empty.  key: the prompt's, for random numbers. */
#define PAIRS_NO_ANSWER UINT32_MAX
struct pairs_answers {
    const float *scores;
    size_t members, k;
    const uint32_t *same;
    uint32_t key;
};

/* pairs: out, room for k (k - 1) / 2.  Returns how many.  Without scores extreme and uncertain are random. */
size_t pairs_choose(struct pair *pairs, const struct pairs_answers *x, const struct pairs_config *c);

/* Of n pairs of many prompts `most` are kept: with uncertain the most uncertain, else some drawn at random.  keep: (n) out. */
void pairs_limit(bool *keep, const struct pair *pairs, size_t n, size_t most, const struct pairs_config *c);

#endif
