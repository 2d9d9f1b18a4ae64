/* What a reward model reads of a rollout: the conversation as the template renders it. */
#ifndef HONE_ROLLOUT_SCORE_INPUT_H
#define HONE_ROLLOUT_SCORE_INPUT_H

#include "model/model.h"
#include "rollout/experience.h"

/* Examples of the experience's trees in which each completion that ended by itself is followed by what the template writes after
 * the end of a turn (ChatML: a newline); one that was cut by length stays as it is.  In training the reward model saw the same. */
int score_input(struct examples *out, const struct experience *x, const struct model *m, struct err *err);

#endif
