/* Anchored preference optimisation (D'Oosterlinck, Xu, Develder, Demeester, Singh, Potts, Kiela and
 * Mehri 2024, "Anchored preference optimization and contrastive revisions: addressing
 * underspecification in alignment", eq. 7 and 8), loss_type "apo_zero" and "apo_down".  With a
 * score s (objective.h):
 *
 *     apo_zero:  loss = 1 - sigmoid(beta s_chosen) + sigmoid(beta s_rejected)
 *     apo_down:  loss = sigmoid(beta s_chosen) + 1 - sigmoid(beta (s_chosen - s_rejected))
 *
 * They say which way the chosen answer goes, which DPO leaves open: up where the chosen answers are
 * better than what the model writes by itself (zero), down, but less than the rejected one, where
 * they are worse (down). */
#ifndef HONE_OBJECTIVE_APO_H
#define HONE_OBJECTIVE_APO_H

#include "objective/objective.h"

/* The contract of both is preference_pair_function's. */
struct pair_loss apo_zero_pair(double chosen, double rejected, const struct preference_config *cfg);
struct pair_loss apo_down_pair(double chosen, double rejected, const struct preference_config *cfg);

#endif
