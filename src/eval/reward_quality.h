/* How well a reward model agrees with people on comparisons it has not seen, and how far its probabilities may be trusted. */
#ifndef HONE_EVAL_REWARD_QUALITY_H
#define HONE_EVAL_REWARD_QUALITY_H

#include "data/rows.h"
#include "eval/baseline.h"
#include "train/comparisons.h"
#include "util/calibrate.h"
#include "util/err.h"
#include "util/stats.h"
#include "util/style.h"

/* What most raters said: 1 a is better, -1 b is, 0 a tie or no majority (more votes than for either other answer). */
int comparison_majority(const struct comparison *c);

/* What is known of a pair beside its scores and its label. */
struct pair_traits {
    double style[STYLES]; /* a's less b's */
    double prompt_words;
    double strength;      /* the row's, or its margin; NAN where it has neither */
};

/* Comparisons that a reward model has scored; the caller's arrays, (n). */
struct scored_pairs {
    size_t n;
    const double *lead;             /* score a - score b */
    const struct comparison *label;
    const uint32_t *unit;           /* the prompt of each, for intervals and folds; NULL: each is its own */
    const char *const *group;       /* the rows' groups, entries may be NULL; NULL: none */
    const struct pair_traits *traits; /* NULL: the rows are ids without a text */
};

/* A fold for each pair, in a fresh array; all pairs of a prompt are in one. */
enum { SCORED_FOLDS = 5 };
uint32_t *scored_folds(const struct scored_pairs *p, uint32_t seed);

struct reward_quality {
    size_t comparisons, decided; /* with a majority; the others are left out of all that follows */
    struct interval accuracy;    /* Wilson; equal scores count as half */
    /* of the probability that the answer with the higher score is the better one, which is at least 0.5: so it does not
     * matter which of the two is called a */
    struct calibration calibration;
    struct interval ece, brier;
};

/* Under a calibrator's probabilities.  correct: (n) out, or NULL: 1, 0.5 or 0, and NAN without a majority.  -1 if nothing is
 * decided. */
int reward_quality(struct reward_quality *out, double *correct, const struct scored_pairs *p, const struct calibrator *c,
                   uint32_t seed, struct err *err);

/* Calibration on held-out pairs: `fitted` on all of them, to be kept; `after` is what it promises, each fifth of the prompts
 * judged by a calibrator fitted on the other four (cross-fitting).  Groups with CALIBRATION_GROUP decided pairs or more get a
 * temperature of their own. */
enum { CALIBRATION_GROUP = 50 };
struct reward_group {
    const char *name; /* borrowed from the pairs */
    struct reward_quality before, after;
};
struct reward_calibration {
    struct reward_quality before, after;
    struct calibrator fitted;
    struct reward_group group[CALIBRATOR_GROUPS]; /* those with a temperature of their own: fitted.n_groups */
};

/* temperature: as trained (1 where scores are as training left them), for `before`.  method: CALIBRATION_.. (util/calibrate.h);
 * with none `fitted` is `temperature`, and `after` equals `before`. */
int reward_calibrate(struct reward_calibration *out, const struct scored_pairs *p, double temperature, int method,
                     uint32_t seed, struct err *err);

/* ---- where it is right, and where not ---- */

/* Accuracy of the decided pairs that have something in common:
 *
 *     length      the longer answer was preferred, or the shorter; about the same: words within a tenth
 *     strength    quarters of the field strength (or margin), where the rows have it
 *     prompt      quarters of the prompt's words
 *     group       of GROUP_LEAST decided pairs or more, SLICE_GROUPS at most
 *     raters      unanimous, or split (with several annotators of a pair)
 *     position    which of the two answers was preferred, a or b
 *
 * Quarters are of the pairs at hand, cut at their quartiles; where values are alike there are fewer.  What all pairs share is left
 * out, it says nothing. */
enum { SLICE_GROUPS = 16, SLICES = 2 * 4 + 3 + 2 + 2 + SLICE_GROUPS, SLICE_NAME = 64, GROUP_LEAST = 10 };
struct reward_slice {
    const char *by;
    char name[SLICE_NAME];
    size_t decided;
    struct interval accuracy; /* Wilson */
};

/* slices: (SLICES) out; returns how many. */
size_t reward_slices(struct reward_slice *slices, const struct scored_pairs *p);

/* The first n rows of a data set of pairs, with what their raters said (train/comparisons.h). */
struct labelled {
    const struct dataset *data;
    const struct comparison *labels;
    size_t n;
};

/* What a reward model has to beat (eval/baseline.h): fitted on the raters' shares of the training pairs, BASELINE_PAIRS of
 * them at most, evenly spread, and judged by the majority on the held-out ones.  length_correct, words_correct:
 * (held_out->n) out, or NULL, as `correct` above. */
enum { BASELINE_PAIRS = 20000 };
struct reward_baselines {
    struct baseline_result length, words;
    size_t n_train; /* pairs that they were fitted on */
};
int reward_baselines(struct reward_baselines *out, double *length_correct, double *words_correct,
                     const struct labelled *train, const struct labelled *held_out, uint32_t seed, struct err *err);

#endif
