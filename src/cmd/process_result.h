/* What a process reward model is worth on held-out steps.  For hone reward. */
#ifndef HONE_CMD_PROCESS_RESULT_H
#define HONE_CMD_PROCESS_RESULT_H

#include <jansson.h>

#include "data/steps.h"

/* The separator as it was given, with \n and \t for what they stand for; -1 and a sentence if it is empty or too long. */
int separator_read(char out[STEP_SEPARATOR_MOST + 1], const char *given, struct err *err);

/* Held-out rows with their steps, each of which is right with probability p and is or is not (right, 1 or 0): how many of the steps are
 * told right, in how many answers the first wrong one is found (or that there is none), ECE and Brier score, each with its interval, into
 * about["step_quality"], and on standard error unless quiet. */
void process_judge(json_t *about, const double *p, const double *right, const struct steps *steps, const struct dataset *rows,
                   uint32_t seed, bool quiet);

#endif
