/* How far long work has come, on standard error: one line that redraws itself on a terminal, a
 * plain line about every ten seconds elsewhere (and one at the end), nothing when quiet.
 *
 *     sft  120/400 [=======>                ] 30%  2.41 steps/s  1:56 left  loss 1.93
 */
#ifndef HONE_CMD_PROGRESS_H
#define HONE_CMD_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct progress {
    FILE *out;
    bool terminal, quiet;
    const char *what, *unit; /* the caller's: "sft", "steps"; "B" is shown as kB, MB, .. */
    size_t first, total, done;
    double started, shown; /* seconds of the monotonic clock */
    char metrics[160];
};

/* `first`: how much was done before (a resumed run), which the rate leaves out.  total 0: not
 * known. */
void progress_start(struct progress *p, const char *what, const char *unit, size_t first,
                    size_t total, bool quiet);

/* metrics: what to show beside it ("loss 1.93  lr 1e-4"), copied; NULL keeps the last. */
void progress_update(struct progress *p, size_t done, const char *metrics);

/* Take the line away before something else is printed; the next update draws it again. */
void progress_clear(struct progress *p);

/* The last state as a line that stays. */
void progress_end(struct progress *p);

#endif
