/* Another program as a reward: JSON lines in, a number a line out.
 *
 * A line of its standard input is one answer:
 *
 *     {"prompt": [{"role": .., "content": ..}, ..] or "text", "completion": "..", "finished": true, "tokens": 12, "row": {..}}
 *
 * row: all fields of the row that the prompt comes from, as they stand in the data file.  On its standard output it writes one
 * finite number a line, as many as it was given lines and in their order; what it writes on standard error goes to ours.
 * It is started anew for each batch (sh -c, in a process group of its own), reads to the end of its input, and ends with 0. */
#ifndef HONE_REWARD_PROGRAM_H
#define HONE_REWARD_PROGRAM_H

#include "reward/rule.h"
#include "util/buf.h"

/* scores (n): out.  -1 and a sentence if the program cannot be run, ends otherwise than with 0, writes anything else than n
 * numbers (the line is named), or takes longer than `seconds`: it is then ended, with all that it started. */
int program_score(double *scores, const char *command, const struct answer_text *answers, size_t n, double seconds,
                  struct err *err);

/* What this stands on: run `sh -c command`, with `in` as its standard input, until it ends with 0; what it writes is added to `out`,
 * whose ceiling is the most that it may write. */
int program_run(struct buf *out, const char *command, const struct buf *in, double seconds, struct err *err);

/* The first word of a command, its program's file if it is one: fresh. */
char *program_file(const char *command);

#endif
