/* Rounds of collect, label, learn, evaluate: when they are to end, and which of their policies is the best. */
#ifndef HONE_EVAL_ROUNDS_H
#define HONE_EVAL_ROUNDS_H

#include <stdbool.h>
#include <stddef.h>

#include "util/buf.h"
#include "util/stats.h"

/* What is known after a round; NAN where it is not. */
struct round_figures {
    double gold;               /* mean of the round's policy */
    struct interval gold_gain; /* of the gold over the policy before, paired */
    bool alarmed;              /* the monitor of its training tripped */
    struct interval agreement; /* of the reward model before with the round's labels: accuracy */
    struct interval told_apart; /* held-out accuracy of demonstrations against the answers of the policy before */
};

enum round_stop { ROUND_GO_ON, ROUND_LAST, ROUND_ALARM, ROUND_GOLD, ROUND_AGREEMENT, ROUND_TOLD_APART };
extern const char *const round_stop_names[]; /* "", "rounds", "monitor", "gold", "agreement", "told_apart" */

struct round_rules {
    size_t rounds;            /* the last one */
    double least_gain;        /* of the gold: stop where the interval's upper end is below */
    double enough_agreement;  /* stop where the interval's lower end is at least this; 0: never */
    bool imitates;            /* stop where the interval of told_apart begins at 0.5 or below */
};

/* After round number `n` (from 1), list[n - 1] being its figures.  words: why, where it is not ROUND_GO_ON. */
enum round_stop round_stop(struct buf *words, const struct round_figures *list, size_t n, const struct round_rules *rules);

/* The best of n rounds, from 1; 0: none is better than the start, whose gold is start_gold.  By the gold where there is one; else
 * the last that no alarm was of. */
size_t round_best(const struct round_figures *list, size_t n, double start_gold);

#endif
