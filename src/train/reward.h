/* Reward modelling: a scalar head on the net, trained on comparisons (docs/methods/reward.md).
 *
 * The score of a completion is read at its last token, in the conversation as the template renders it.  All completions of a
 * row are in one tree, so their prompt is computed once.  Labels are weights of "a wins", "b wins", "tie" for two of a row's
 * completions; with ties in the data a threshold is learned with the scores: Rao-Kupper's eta = exp(log_eta), or Davidson's
 * ln_nu.  Ratings have thresholds, too (objective/ordinal.h).  Rankings of a row's completions may be learned as a whole (Plackett-Luce). */
#ifndef HONE_TRAIN_REWARD_H
#define HONE_TRAIN_REWARD_H

#include "objective/bradley_terry.h"
#include "objective/crowd_bt.h"
#include "objective/ordinal.h"
#include "objective/plackett_luce.h"
#include "train/comparisons.h"
#include "train/learner.h"
#include "train/loop.h"

struct reward {
    struct learner *learner;
    const struct judgements *train, *eval; /* by row */
    bool rankings;                         /* the loss is a mean over rows, not over comparisons .. */
    bool plackett_luce;                    /* .. and each row's is that of its ranks */
    float *eval_scores;                    /* (eval completions) out, of the last evaluation; NULL: not wanted */
    bool evaluated;
    size_t n_ratings;                      /* rows are rated 1 .. n_ratings: the loss is a mean over answers; 0: they are not */
    enum bradley_terry_ties ties;
    struct params threshold; /* "log_eta" or "ln_nu", or of ratings the first threshold and the logs of the steps to the next */
    float *threshold_grad;
    struct params annotators; /* logits of their reliability; empty where it is not learned */
    float *annotators_grad;
    double votes;             /* to learn from, in all */
    double label_smoothing, center_rewards_coefficient;
    /* of the step under way */
    size_t n, decided, right, scored;
    double loss, margin, sum, min, max;
};

/* has_ties: the threshold is trained, as part "ties" of the optimiser, at `tie_lr_ratio` times the common rate. */
int reward_init(struct reward *r, struct learner *l, bool has_ties, enum bradley_terry_ties ties, double tie_lr_ratio,
                struct optimizer *o, struct err *err);
void reward_release(struct reward *r);
struct method reward_method(struct reward *r);

/* For ratings 1 .. n: the thresholds are trained, as part "thresholds".  count: (n) how often each rating stands in the data,
 * which they start from. */
int reward_init_ratings(struct reward *r, struct learner *l, const size_t *count, size_t n, double lr_ratio, struct optimizer *o,
                        struct err *err);

/* After reward_init(): the reliability of n annotators is trained, as part "annotators", with the scores (objective/crowd_bt.h).
 * votes: comparisons to learn from, which the prior is weighed against. */
int reward_init_annotators(struct reward *r, size_t n, double votes, double lr_ratio, struct optimizer *o, struct err *err);

/* Annotator k's, from 0. */
double reward_reliability(const struct reward *r, size_t k);

/* The thresholds of ratings: (n_ratings - 1), out. */
void reward_thresholds(const struct reward *r, double *theta);

/* eta, or ln nu; 0 where there are no ties. */
double reward_tie_parameter(const struct reward *r);

#endif
