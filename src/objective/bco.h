/* Binary classifier optimisation on pairs (Jung, Han, Nam and On 2024, "Binary classifier
 * optimization for large language model alignment"), loss_type "bco_pair".  With a score s
 * (objective.h):
 *
 *     loss = -log sigmoid(beta s_chosen) - log sigmoid(-beta s_rejected)
 *
 * Two answers to "is it a good one?".  The paper moves both scores by a running mean of all
 * rewards; TRL (1.16) leaves that shift out, and so do we: a step's loss would depend on the steps
 * before it. */
#ifndef HONE_OBJECTIVE_BCO_H
#define HONE_OBJECTIVE_BCO_H

#include "objective/objective.h"

/* The contract is preference_pair_function's. */
struct pair_loss bco_pair(double chosen, double rejected, const struct preference_config *cfg);

#endif
