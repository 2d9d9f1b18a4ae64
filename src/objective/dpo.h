/* Direct preference optimisation (Rafailov, Sharma, Mitchell, Ermon, Manning and Finn 2023, "Your
 * language model is secretly a reward model", eq. 7), loss_type "sigmoid".  With h the difference
 * of the two scores (objective.h), (chosen - ref_chosen) - (rejected - ref_rejected):
 *
 *     loss = -(1 - e) log sigmoid(beta h) - e log sigmoid(-beta h)
 *
 * e is label_smoothing, the share of labels thought to be swapped: 0 is DPO, more is conservative
 * DPO (Mitchell 2023, "A note on DPO with noisy preferences", eq. 3), whose loss is least where
 * sigmoid(beta h) = 1 - e.  Where the policy is the reference, h = 0 and the loss is log 2.
 *
 * loss_type "sigmoid_norm" is the same on scores per token, so that long answers do not weigh more.
 *
 * loss_type "robust" (Chowdhury, Kini and Natarajan 2024, "Provably robust DPO: aligning language
 * models with noisy feedback") is the loss whose mean over labels swapped with chance e is DPO's
 * loss on the true ones:
 *
 *     loss = (-(1 - e) log sigmoid(beta h) + e log sigmoid(-beta h)) / (1 - 2 e) */
#ifndef HONE_OBJECTIVE_DPO_H
#define HONE_OBJECTIVE_DPO_H

#include "objective/objective.h"

/* -(1 - e) log sigmoid(z) - e log sigmoid(-z); *slope: out, its derivative. */
double logistic_loss(double z, double e, double *slope);

/* The contract of both is preference_pair_function's. */
struct pair_loss dpo_pair(double chosen, double rejected, const struct preference_config *cfg);
struct pair_loss robust_pair(double chosen, double rejected, const struct preference_config *cfg);

#endif
