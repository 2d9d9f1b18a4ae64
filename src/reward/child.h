/* Other programs as child processes: several at a time, each with something to read, a ceiling on what it writes, and a deadline.
 *
 * A child leads a process group of its own, and what is ended is the group.  Its file descriptors are 0, 1 and 2 alone. */
#ifndef HONE_REWARD_CHILD_H
#define HONE_REWARD_CHILD_H

#include <stdbool.h>
#include <stddef.h>

#include "util/buf.h"

enum child_end {
    CHILD_ENDED,       /* by itself: status */
    CHILD_LATE,        /* its time was over */
    CHILD_WORDY,       /* it wrote more than `out` may hold */
    CHILD_NOT_STARTED, /* error */
};

struct child_job {
    char *const *argv;    /* the program, found as a shell finds it, and its arguments; ends with NULL */
    const struct buf *in; /* its standard input; it need not read it */
    struct buf *out;      /* what it writes on standard output is added here, up to the buffer's ceiling */
    double seconds;       /* from its start to its end */
    bool mute;            /* standard error goes nowhere, instead of where ours goes */
    enum child_end end;   /* out, as are: */
    int status;           /* as wait() has it */
    int error;            /* an errno */
};

/* Run n jobs to their ends, `at_once` of them at a time. */
void children_run(struct child_job *jobs, size_t n, size_t at_once);

/* The code that it ended with; a signal as 128 and its number, which is also how a shell passes one on. */
int child_code(const struct child_job *job);

#endif
