/* Two baselines that a reward model has to beat on the same pairs: how far does length alone get,
 * and how far do the words, without their order?
 *
 * Both are logistic regressions on a difference between the two answers, without an intercept, so
 * that swapping the answers flips the prediction:  P(a is better) = sigmoid(theta . (f(a) - f(b))).
 *   length: f is the number of words;
 *   words:  f is how often each word stands in the answer.  The vocabulary is every word that the
 *           answers of the training pairs have at least twice.  The L2 strength is the one of
 *           {0.1, 1, 10, 100} with the lowest log-loss in 5-fold cross-validation on the training
 *           pairs, where pairs of one prompt stay in one fold (1 if there is only one prompt). */
#ifndef HONE_EVAL_BASELINE_H
#define HONE_EVAL_BASELINE_H

#include <stddef.h>
#include <stdint.h>

#include "util/stats.h"
#include "util/err.h"

/* Strings are borrowed.  p_a: 1 a is better, 0 b is, 0.5 a tie, or in between where raters differ.
 * weight: in training; 1 if nothing is known, 0 leaves the pair out. */
struct baseline_pair {
    const char *prompt, *a, *b;
    double p_a, weight;
};

struct baseline_result {
    size_t pairs;             /* held out and not a tie */
    struct interval accuracy; /* Wilson; a margin of exactly 0 counts as half */
    double l2;                /* strength in use */
    size_t vocabulary;        /* words known (words), 0 (length) */
    double coefficient;       /* log-odds a word (length), NaN (words) */
};

/* Fit on train, judge on held_out.  correct: (n_held_out) out, or NULL: 1, 0.5 or 0, and NaN for a
 * tie (p_a == 0.5), for a paired comparison with a reward model.  seed: of the folds. Returns -1 if
 * either set is empty, a string is missing, p_a is outside [0, 1], or a weight is negative or not
 * finite. */
int baseline_length(struct baseline_result *out, double *correct, const struct baseline_pair *train,
                    size_t n_train, const struct baseline_pair *held_out, size_t n_held_out,
                    struct err *err);
int baseline_words(struct baseline_result *out, double *correct, const struct baseline_pair *train,
                   size_t n_train, const struct baseline_pair *held_out, size_t n_held_out,
                   uint32_t seed, struct err *err);

#endif
