/* Efficient exact optimisation on pairs (Ji, Lu, Niu, Ke, Wang, Zhu, Tang and Huang 2024, "Towards
 * efficient exact optimization of language model alignment", eq. 16), loss_type "exo_pair".  With
 * h the difference of the two scores (objective.h) and q = sigmoid(beta h), the chance that the
 * policy's own reward gives the chosen one:
 *
 *     loss = KL(q || 1 - e) = q (log q - log(1 - e)) + (1 - q) (log(1 - q) - log e)
 *
 * e is label_smoothing, above 0: without it the KL has no bound.  The direction of the KL is the
 * other one than DPO's: it seeks a mode instead of covering. */
#ifndef HONE_OBJECTIVE_EXO_H
#define HONE_OBJECTIVE_EXO_H

#include "objective/objective.h"

/* The contract is preference_pair_function's. */
struct pair_loss exo_pair(double chosen, double rejected, const struct preference_config *cfg);

#endif
