/* Direct preference optimisation (Rafailov, Sharma, Mitchell, Ermon, Manning and Finn 2023, "Your
 * language model is secretly a reward model", eq. 7), loss_type "sigmoid":
 *
 *     h    = (chosen - ref_chosen) - (rejected - ref_rejected)
 *     loss = mean of -(1 - e) log sigmoid(beta h) - e log sigmoid(-beta h)
 *
 * e is label_smoothing, the share of labels thought to be swapped: 0 is DPO, more is conservative
 * DPO (Mitchell 2023, "A note on DPO with noisy preferences", eq. 3), whose loss is least where
 * sigmoid(beta h) = 1 - e.  Where the policy is the reference, h = 0 and the loss is log 2. */
#ifndef HONE_OBJECTIVE_DPO_H
#define HONE_OBJECTIVE_DPO_H

#include "objective/objective.h"

/* *loss, dchosen, drejected: out; the contract is preference_loss_function's. */
int dpo_loss(double *loss, double *dchosen, double *drejected, const struct preference_pairs *pairs,
             const struct preference_config *cfg, struct err *err);

#endif
