/* Identity preference optimisation (Azar, Rowland, Piot, Guo, Calandriello, Valko and Munos 2023,
 * "A general theoretical paradigm to understand learning from human preferences", eq. 17),
 * loss_type "ipo":
 *
 *     loss = (h - 1 / (2 beta))^2,  h the difference of the two scores per token (objective.h)
 *
 * The paper's h is a difference of sums; TRL divides each log-ratio by its completion's tokens,
 * after a word with the authors, and so do we.  A pair is pushed until its margin is 1 / (2 beta)
 * and no further, where DPO pushes for ever.  It has no label_smoothing. */
#ifndef HONE_OBJECTIVE_IPO_H
#define HONE_OBJECTIVE_IPO_H

#include "objective/objective.h"

/* The contract is preference_pair_function's. */
struct pair_loss ipo_pair(double chosen, double rejected, const struct preference_config *cfg);

#endif
