/* Odds ratio preference optimisation (Hong, Lee and Thorne 2024, "ORPO: monolithic preference
 * optimization without reference model", eq. 7), the pairwise term of `hone orpo`.  With p the mean
 * log-prob of a completion's tokens and odds(p) = e^p / (1 - e^p):
 *
 *     loss = -beta log sigmoid(log odds(p_chosen) - log odds(p_rejected))
 *
 * beta is the paper's lambda.  To it comes the negative log-likelihood of the chosen text, which is
 * the larger part; there is no reference. */
#ifndef HONE_OBJECTIVE_ORPO_H
#define HONE_OBJECTIVE_ORPO_H

#include "objective/objective.h"

/* log odds of the chosen one less log odds of the rejected one. */
double orpo_log_odds(double chosen, double rejected);

/* The contract is preference_pair_function's.  A log-prob of 0 (p = 1) has no odds: not finite. */
struct pair_loss orpo_pair(double chosen, double rejected, const struct preference_config *cfg);

#endif
