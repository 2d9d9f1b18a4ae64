/* The log-ratio modulated loss, found by a search that a language model did (Lu, Holt, Fanconi,
 * Chan, Foerster, van der Schaar and Lange 2024, "Discovering preference optimization algorithms
 * with and for large language models", eq. 5), loss_type "discopop".  With h the difference of the
 * two scores (objective.h), z = beta h and m = sigmoid(z / discopop_tau):
 *
 *     loss = -(1 - m) log sigmoid(z) + m e^-z
 *
 * Logistic where the pair is wrong, exponential where it is right.  It is not convex. */
#ifndef HONE_OBJECTIVE_DISCOPOP_H
#define HONE_OBJECTIVE_DISCOPOP_H

#include "objective/objective.h"

/* The contract is preference_pair_function's. */
struct pair_loss discopop_pair(double chosen, double rejected, const struct preference_config *cfg);

#endif
