/* The hinge loss (Zhao, Joshi, Liu, Khalman, Saleh and Liu 2023, "SLiC-HF: sequence likelihood
 * calibration with human feedback"; on log-ratios to a reference Liu et al. 2023, "Statistical
 * rejection sampling improves preference optimization"), loss_type "hinge":
 *
 *     loss = max(0, 1 - beta h),  h the difference of the two scores (objective.h)
 *
 * A pair whose margin beta h has reached 1 is left alone.  At the kink the slope is 0. */
#ifndef HONE_OBJECTIVE_HINGE_H
#define HONE_OBJECTIVE_HINGE_H

#include "objective/objective.h"

/* The contract is preference_pair_function's. */
struct pair_loss hinge_pair(double chosen, double rejected, const struct preference_config *cfg);

#endif
