/* Noise contrastive alignment on pairs (Chen, He, Yuan, Cui, Su and Zhu 2024, "Noise contrastive
 * alignment of language models with explicit rewards"), loss_type "nca_pair".  With a score s (objective.h):
 *
 *     loss = -log sigmoid(beta s_chosen) - 1/2 log sigmoid(-beta s_chosen)
 *                                        - 1/2 log sigmoid(-beta s_rejected)
 *
 * It looks at each completion by itself, not at the difference: the chosen one's log-prob is kept
 * from falling. */
#ifndef HONE_OBJECTIVE_NCA_H
#define HONE_OBJECTIVE_NCA_H

#include "objective/objective.h"

/* The contract is preference_pair_function's. */
struct pair_loss nca_pair(double chosen, double rejected, const struct preference_config *cfg);

#endif
