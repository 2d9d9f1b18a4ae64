/* Process reward models: one step of an answer, called right or wrong.
 *
 *     loss = -log sigmoid(s) where the step is right, -log sigmoid(-s) where it is wrong
 *
 * with s the score at the step's end, so sigmoid(s) is the probability that the step is right (Uesato et al. 2022, arXiv:2211.14275;
 * Lightman et al. 2023, "Let's verify step by step", arXiv:2305.20050).  A classifier of two classes, as TRL's PRMTrainer has it, gives the
 * same with s the difference of its two logits. */
#ifndef HONE_OBJECTIVE_STEPWISE_H
#define HONE_OBJECTIVE_STEPWISE_H

#include <stdbool.h>

#include "util/err.h"

/* loss, dscore: out, in nats.  Returns 0, or -1 with a sentence (outputs untouched) if the score is not finite. */
int stepwise_loss(double *loss, double *dscore, double score, bool right, struct err *err);

#endif
