/* What an ensemble of reward models says of one completion.
 *
 *     mean   sum_k w_k r_k
 *     min    min_k r_k                        worst-case optimisation (Coste et al. 2023, arXiv:2310.02743); with a member for each group
 *                                             of people, maximin welfare (MaxMin-RLHF: Chakraborty et al. 2024, arXiv:2402.08925)
 *     uwo    mean_k r_k - lambda var_k r_k    uncertainty-weighted optimisation (Coste et al.)
 *     nash   ln 2 + sum_k w_k ln u_k          Nash's product of utilities above the point of disagreement, as a logarithm (Nash 1950;
 *                                             Conitzer et al. 2024, arXiv:2404.10271, on social choice for RLHF)
 *
 * u_k = sigmoid(r_k) is the chance that member k prefers the answer to one of score 0, the mean of the reference answers; the point of
 * disagreement is an answer that it never prefers, u = 0.  So nash is 0 where all r_k are, rises ever more slowly with what a
 * member likes already, and falls as min does with what one hates: no majority can outvote that.
 *
 * All but mean take scores for what they are, so they ask for members whose scores have one scale (`hone reward` makes them mean 0,
 * variance 1 on the same answers).  The weights w_k sum to 1; they are equal unless said otherwise; min has none. */
#ifndef HONE_REWARD_AGGREGATE_H
#define HONE_REWARD_AGGREGATE_H

#include "data/steps.h"
#include "util/err.h"

enum aggregate { AGGREGATE_MEAN, AGGREGATE_MIN, AGGREGATE_UWO, AGGREGATE_NASH };
extern const char *const aggregate_names[]; /* ends with NULL */

enum { AGGREGATE_WEIGHTS = 64 };
struct aggregate_config {
    enum aggregate kind;
    double uwo_lambda; /* >= 0 */
    size_t n_weights;  /* 0: all alike */
    double weight[AGGREGATE_WEIGHTS]; /* > 0, of any sum */
    enum step_aggregate steps; /* of a process reward model's steps, before all else */
};

/* Weights as they were written, into the config.  -1 and a sentence where one is no number above 0, or there are too many. */
int aggregate_weights(struct aggregate_config *cfg, const char *const *texts, size_t n, struct err *err);

/* Are there as many weights as members (or none)?  name: whose members, for the sentence. */
int aggregate_check(const struct aggregate_config *cfg, size_t members, const char *name, struct err *err);

/* k > 0 scores, summed in order.  std: over k, not k - 1: the members are all there are. */
struct score_summary {
    float score; /* the aggregate */
    float mean, std; /* without weights */
};
struct score_summary score_summary(const float *scores, size_t k, const struct aggregate_config *cfg);

#endif
