/* Labels of pairs: what people said of a and b, as weights. */
#ifndef HONE_TRAIN_COMPARISONS_H
#define HONE_TRAIN_COMPARISONS_H

#include "data/rows.h"

/* Shares of "a wins", "b wins", "tie", times the row's weight. */
struct comparison {
    double w_a, w_b, w_tie, margin;
};

/* The comparisons of a data set of pairs.  Judgements of the same prompt and answers by several annotators become one,
 * whose weights are the shares of votes: the first of their rows is kept, the others are moved behind the *n kept ones.
 * Returns (*n) comparisons in the order of the rows. */
struct comparison *comparisons_merge(struct dataset *data, size_t *n);

/* For methods that need a chosen and a rejected answer: the first n rows are turned round where b won, and those that are
 * undecided are moved behind the others.  Returns how many are decided. */
size_t comparisons_decide(struct dataset *data, struct comparison *list, size_t n);

#endif
