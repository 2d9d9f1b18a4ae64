/* Identity preference optimisation (Azar, Rowland, Piot, Guo, Calandriello, Valko and Munos 2023,
 * "A general theoretical paradigm to understand learning from human preferences", eq. 17),
 * loss_type "ipo":
 *
 *     h    = (chosen - ref_chosen) / chosen_len - (rejected - ref_rejected) / rejected_len
 *     loss = mean of (h - 1 / (2 beta))^2
 *
 * The paper's h is a difference of sums; TRL divides each log-ratio by its completion's tokens,
 * after a word with the authors, and so do we.  A pair is pushed until its margin is 1 / (2 beta)
 * and no further, where DPO pushes for ever.  It has no label_smoothing. */
#ifndef HONE_OBJECTIVE_IPO_H
#define HONE_OBJECTIVE_IPO_H

#include "objective/objective.h"

/* *loss, dchosen, drejected: out; the contract is preference_loss_function's. */
int ipo_loss(double *loss, double *dchosen, double *drejected, const struct preference_pairs *pairs,
             const struct preference_config *cfg, struct err *err);

#endif
