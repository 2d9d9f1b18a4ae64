/* Self-play preference optimisation with hard labels (Wu, Sun, Yuan, Ji, Yang and Gu 2024,
 * "Self-play preference optimization for language model alignment", eq. 4.7 with the chances of
 * winning 1 and 0), loss_type "sppo_hard".  With a score s (objective.h):
 *
 *     loss = (s_chosen - 1 / (2 beta))^2 + (s_rejected + 1 / (2 beta))^2
 *
 * Each completion has its own place to go to, 1 / (2 beta) nats up or down: with beta 0.1 five. */
#ifndef HONE_OBJECTIVE_SPPO_H
#define HONE_OBJECTIVE_SPPO_H

#include "objective/objective.h"

/* The contract is preference_pair_function's. */
struct pair_loss sppo_pair(double chosen, double rejected, const struct preference_config *cfg);

#endif
