/* What an ensemble of reward models says of one completion.
 *
 *     mean   mean_k r_k
 *     min    min_k r_k                        worst-case optimisation (Coste et al. 2023, arXiv:2310.02743)
 *     uwo    mean_k r_k - lambda var_k r_k    uncertainty-weighted optimisation (the same)
 *
 * The last two take a score for what it is surely worth, so they ask for members whose scores have one scale
 * (`hone reward` makes them mean 0, variance 1 on the same answers). */
#ifndef HONE_REWARD_AGGREGATE_H
#define HONE_REWARD_AGGREGATE_H

#include "data/steps.h"

enum aggregate { AGGREGATE_MEAN, AGGREGATE_MIN, AGGREGATE_UWO };
extern const char *const aggregate_names[]; /* ends with NULL */

struct aggregate_config {
    enum aggregate kind;
    double uwo_lambda;         /* >= 0 */
    enum step_aggregate steps; /* of a process reward model's steps, before all else */
};

/* k > 0 scores, summed in order.  std: over k, not k - 1: the members are all there are. */
struct score_summary {
    float score; /* the aggregate */
    float mean, std;
};
struct score_summary score_summary(const float *scores, size_t k, const struct aggregate_config *cfg);

#endif
