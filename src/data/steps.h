/* The steps of an answer: where each ends, and what their probabilities say of the whole.
 *
 * An answer is its steps with a separator (a line break, mostly) between them.  Step k ends at the token in which the separator after it
 * ends, the last one at the answer's last token, with what the template writes after it; a blank step is none.  The same is found in
 * rows to learn from and in answers that were sampled. */
#ifndef HONE_DATA_STEPS_H
#define HONE_DATA_STEPS_H

#include <stdbool.h>

#include "data/encode.h"

#define STEP_SEPARATOR "\n"
#define STEP_SEPARATOR_MOST 31 /* bytes */

enum step_aggregate {
    STEPS_MIN,  /* as good as its worst step (Wang et al. 2023, "Math-Shepherd", arXiv:2312.08935) */
    STEPS_PROD, /* the chance that all are right (Lightman et al. 2023) */
    STEPS_LAST,
    STEPS_MEAN,
};
extern const char *const step_aggregate_names[]; /* ends with NULL */

/* p: (n) probabilities, n > 0. */
double steps_together(const double *p, size_t n, enum step_aggregate how);

/* Where the steps of n tokens end: ends (n): out, indices of tokens, rising.  Returns how many, at least 1 where n > 0. */
size_t step_ends(size_t *ends, const struct tokenizer *t, const int32_t *ids, size_t n, const char *separator);

/* Those of each example's completions, numbered through: end[start[c]] .. end[start[c + 1] - 1]. */
struct steps {
    size_t *start, *end;
    size_t n; /* completions */
};
void steps_find(struct steps *s, const struct examples *e, const struct tokenizer *t, const char *separator);
void steps_release(struct steps *s);

/* Stepwise rows as rows with one completion, the steps with the separator between them.  -1 and a sentence that names the line where a
 * step holds the separator.  joined: its rows borrow all else from `rows`; stepwise_release(), and not dataset_release(). */
int stepwise_join(struct dataset *joined, const struct dataset *rows, const char *separator, struct err *err);
void stepwise_release(struct dataset *joined);

/* After stepwise_join() and examples_encode(): the steps of each row are as many as it has labels, or a sentence. */
int stepwise_check(const struct steps *s, const struct examples *e, const struct dataset *rows, struct err *err);

#endif
