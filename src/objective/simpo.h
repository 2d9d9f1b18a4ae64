/* Simple preference optimisation (Meng, Xia and Chen 2024, "SimPO: simple preference optimization
 * with a reference-free reward", eq. 6), loss_type "simpo" of `hone cpo`.  With h the difference of
 * the two log-probs per token:
 *
 *     loss = -(1 - e) log sigmoid(beta h - gamma) - e log sigmoid(-(beta h - gamma))
 *
 * gamma is simpo_gamma, the lead that a pair should have; e is label_smoothing (TRL's addition).
 * There is no reference.  AlphaPO (Gupta et al. 2025, "AlphaPO: reward shape matters for LLM
 * alignment") is the same on (1 - p^-alpha) / alpha in the place of each log p. */
#ifndef HONE_OBJECTIVE_SIMPO_H
#define HONE_OBJECTIVE_SIMPO_H

#include "objective/objective.h"

/* The contract is preference_pair_function's. */
struct pair_loss simpo_pair(double chosen, double rejected, const struct preference_config *cfg);

#endif
