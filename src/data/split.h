/* Train and held-out rows, by a hash of what stands before the first answer: neither a prompt nor two cuts of one
 * conversation stand on both sides, the order of the file does not matter, and a row stays on its side when others
 * are added. */
#ifndef HONE_DATA_SPLIT_H
#define HONE_DATA_SPLIT_H

#include <stddef.h>
#include <stdint.h>

#include "data/rows.h"
#include "util/err.h"

/* Indices into the data set's rows, in its order. */
struct split {
    size_t *train, *held_out;
    size_t n_train, n_held_out;
};

/* fraction: of the prompts that are held out, 0 to 1, on average.  0 holds nothing out.  Returns 0,
 * or -1 if it is out of range, or positive and one of the sides would be empty. */
int split_rows(struct split *split, const struct dataset *data, double fraction, uint32_t seed,
               struct err *err);
void split_release(struct split *split);

#endif
