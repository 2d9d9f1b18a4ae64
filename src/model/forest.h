/* Examples as a batch: where each completion's targets and last rows are. */
#ifndef HONE_MODEL_FOREST_H
#define HONE_MODEL_FOREST_H

#include "data/encode.h"
#include "model/stem.h"

/* The owner of a prompt's own tokens, where they are learned. */
#define FOREST_PROMPT UINT32_MAX

struct forest {
    struct batch batch;
    struct target *targets; /* by row: a prompt's last row carries the first target of each completion */
    uint32_t *owner;        /* (n_targets): which completion, counted over the whole forest, or FOREST_PROMPT */
    size_t n_targets, capacity;
    size_t *last_row; /* (n_completions): the row of a completion's last token */
    size_t n_completions, completions_capacity;
};

void forest_clear(struct forest *f);
void forest_release(struct forest *f);

/* Append an example's tree; completions without tokens are left out of it (their last row is the prompt's).  What its
 * prompt shares with the batch's stem is left out, too. */
void forest_add(struct forest *f, const struct example *e);

/* Rows that an example takes, without a stem. */
size_t example_rows(const struct example *e);

/* Plant what the prompts of rows[0..n) begin with (rows NULL: the first n examples) as a stem, or clear it where that is
 * too little to be worth it.  keep: as stem_plant() has it. */
int stem_of_examples(struct stem *s, const struct net *net, const struct examples *e, const size_t *rows, size_t n, enum keep keep,
                     struct err *err);

#endif
