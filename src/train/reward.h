/* Reward modelling: a scalar head on the net, trained on comparisons (docs/methods/reward.md).
 *
 * The score of a completion is read at its last token, in the conversation as the template renders it.  Both
 * completions of a prompt are in one tree, so the prompt is computed once.  Labels are weights of "a wins", "b wins",
 * "tie"; with ties in the data Rao-Kupper's threshold eta = exp(log_eta) is learned with the scores. */
#ifndef HONE_TRAIN_REWARD_H
#define HONE_TRAIN_REWARD_H

#include "objective/bradley_terry.h"
#include "train/comparisons.h"
#include "train/learner.h"
#include "train/loop.h"

struct reward {
    struct learner *learner;
    const struct comparison *train, *eval; /* by row */
    struct params ties;                    /* "log_eta"; empty where there are no ties */
    float *ties_grad;
    double label_smoothing, center_rewards_coefficient;
    /* of the step under way */
    size_t n, decided, right, scored;
    double loss, margin, sum, min, max;
};

/* has_ties: log_eta is trained, as part "ties" of the optimiser, at `tie_lr_ratio` times the common rate. */
int reward_init(struct reward *r, struct learner *l, bool has_ties, double tie_lr_ratio, struct optimizer *o,
                struct err *err);
void reward_release(struct reward *r);
struct method reward_method(struct reward *r);
double reward_eta(const struct reward *r);

#endif
