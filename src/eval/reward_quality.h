/* How well a reward model agrees with people on comparisons it has not seen. */
#ifndef HONE_EVAL_REWARD_QUALITY_H
#define HONE_EVAL_REWARD_QUALITY_H

#include "data/rows.h"
#include "eval/baseline.h"
#include "train/comparisons.h"
#include "util/err.h"
#include "util/stats.h"

/* What most raters said: 1 a is better, -1 b is, 0 a tie or no majority (more votes than for either other answer). */
int comparison_majority(const struct comparison *c);

struct reward_quality {
    size_t comparisons, decided; /* with a majority; the others are left out of all that follows */
    struct interval accuracy;    /* Wilson; equal scores count as half */
    struct calibration calibration; /* of sigmoid(score a - score b), against "a is better" */
};

/* score_a, score_b, c: (n).  correct: (n) out: 1, 0.5 or 0, and NAN without a majority.  -1 if nothing is decided. */
int reward_quality(struct reward_quality *out, double *correct, const double *score_a, const double *score_b,
                   const struct comparison *c, size_t n, struct err *err);

/* The first n rows of a data set of pairs, with what their raters said (train/comparisons.h). */
struct labelled {
    const struct dataset *data;
    const struct comparison *labels;
    size_t n;
};

/* What a reward model has to beat (eval/baseline.h): fitted on the raters' shares of the training pairs, judged by the
 * majority on the held-out ones.  length_correct, words_correct: (held_out->n) out, or NULL, as `correct` above. */
struct reward_baselines {
    struct baseline_result length, words;
};
int reward_baselines(struct reward_baselines *out, double *length_correct, double *words_correct,
                     const struct labelled *train, const struct labelled *held_out, uint32_t seed, struct err *err);

#endif
