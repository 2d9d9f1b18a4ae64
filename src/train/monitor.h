/* Does a policy still get better while its reward rises?
 *
 * Each iteration is a point: how far the policy is from the start, what its answers get from the reward it learns from (the
 * proxy), from a judge it does not learn from (the gold: another reward model, a rule, a program), and what the answers look like.
 * A point is of the policy that gave the answers, so the k-th one, from 0, is of the policy after k iterations.
 *
 * What is watched (each after `warmup` points, and only where it is so for `patience` points in a row):
 *
 *     gold            its mean over the last `patience` points is below the best such mean by more than `gold_errors` standard
 *                     errors of the difference
 *     disagreement    of the ensemble: above disagreement_ratio times the first points' mean
 *     length          above length_ratio times the first points' mean
 *     repetition      share of repeated pairs of tokens: more than repetition_more above the first points' mean
 *     entropy         below entropy_ratio times the first points' mean: mode collapse
 *     distinct        different pairs of tokens over all: below distinct_ratio times the first points' mean
 *     ood             share of answers out of the reward models' distribution: above ood_share, whatever it was at the start
 *
 * Beside them stands the fit of the gold's curve (reward/overoptimization.h), which says at which KL to expect its peak. */
#ifndef HONE_TRAIN_MONITOR_H
#define HONE_TRAIN_MONITOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "util/buf.h"

enum alarm { ALARM_GOLD, ALARM_DISAGREEMENT, ALARM_LENGTH, ALARM_REPETITION, ALARM_ENTROPY, ALARM_DISTINCT, ALARM_OOD, ALARMS };

/* The names above, in the order of the enum, then NULL. */
extern const char *const alarm_names[];

struct monitor_config {
    size_t warmup, patience; /* at least 1 */
    double gold_errors, disagreement_ratio, length_ratio, repetition_more, entropy_ratio, distinct_ratio, ood_share; /* 0: not watched */
};

/* NAN: not known. */
struct monitor_point {
    double kl;                   /* to the start, nats a completion */
    double proxy;                /* mean over the answers */
    double gold, gold_std_err;   /* mean, and its standard error over prompts */
    double value[ALARMS];        /* of what is watched; the gold's is not read */
};

struct monitor {
    struct monitor_config config;
    struct monitor_point *points;
    size_t n, capacity;
    size_t good; /* the last point at which nothing was beyond its limit and the gold was at its best: to go back to */
};

void monitor_release(struct monitor *m);
void monitor_add(struct monitor *m, const struct monitor_point *p);

/* What is wrong after the last point: bit i for alarm i; 0: nothing. */
unsigned monitor_alarms(const struct monitor *m);

/* The KL at which the fitted curve of the gold is highest; NAN: no fit, or no peak. */
double monitor_peak_kl(const struct monitor *m);

/* What tripped, in words: a clause an alarm, joined by semicolons. */
void monitor_words(const struct monitor *m, unsigned alarms, struct buf *out);

/* For checkpoints: the points as an array, and back; -1: they are none. */
json_t *monitor_state(const struct monitor *m);
int monitor_restore(struct monitor *m, const json_t *state);

#endif
