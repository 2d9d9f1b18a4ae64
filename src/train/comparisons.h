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
 * Returns (*n) comparisons in the order of the rows.  by_group: those of two groups of annotators stay two. */
struct comparison *comparisons_merge(struct dataset *data, size_t *n, bool by_group);

/* SHA-256 of a prompt or an answer, in hex. */
void row_part_hash(char out[65], const struct row_part *part);

/* For methods that need a chosen and a rejected answer: the first n rows are turned round where b won, and those that are
 * undecided are moved behind the others.  Returns how many are decided. */
size_t comparisons_decide(struct dataset *data, struct comparison *list, size_t n);

/* A comparison of two completions of a row, a and b by their places in it. */
struct judged {
    struct comparison c;
    size_t a, b;
    size_t row;         /* whose label it is; of joined rows: where that was */
    uint32_t annotator; /* whose reliability is learned, from 1; 0: none */
};

/* Those of row i are list[start[i]] .. list[start[i + 1] - 1]. */
struct judgements {
    struct judged *list;
    size_t *start; /* (n_rows + 1) */
    size_t n_rows;
};
void judgements_release(struct judgements *j);

/* Of n rows of pairs: one each. */
void judgements_of_pairs(struct judgements *j, const struct comparison *c, size_t n);

/* Of rankings: every two answers of different rank.  A row's weight is shared among its pairs. */
void judgements_of_rankings(struct judgements *j, const struct dataset *data);

/* Of n rows of pairs, of which those with one prompt become one row with all their answers, each once, so that nothing of it is
 * computed twice and no two steps learn from it.  joined: its rows borrow their parts from `pairs`; joined_release(), and not
 * dataset_release(). */
void judgements_join(struct dataset *joined, struct judgements *j, const struct dataset *pairs, const struct comparison *c, size_t n);
void joined_release(struct dataset *joined);

/* Each row of a data set of pairs by itself: what one annotator said; a tie is half a vote for each.  Fresh, (data->n). */
struct comparison *comparisons_votes(const struct dataset *data);

/* Of rated answers, those of one prompt become one row; its comparisons are every two answers of different rating, for what is
 * counted and judged. */
void judgements_join_ratings(struct dataset *joined, struct judgements *j, const struct dataset *rated);

#endif
