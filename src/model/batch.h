/* A batch is a forest of segments, without padding (law 3).
 *
 * A segment is a run of tokens with a parent (or none) whose end it goes on from; a sequence is a path from a root
 * to a leaf.  A preference pair is a prompt with two leaves, a group a prompt with k, plain SFT one segment. Rows
 * of all activations are tokens in the order of the segments. */
#ifndef HONE_MODEL_BATCH_H
#define HONE_MODEL_BATCH_H

#include "model/adapter.h"
#include "nn/attention.h"

/* Rows that go through the same adapter (NULL: the base alone). */
struct adapter_rows {
    size_t row, n;
    const struct adapter *adapter;
};

struct batch {
    size_t n_rows, rows_capacity;
    int32_t *tokens, *pos;
    struct run *runs;
    size_t n_runs, runs_capacity;
    struct adapter_rows *adapters;
    size_t n_adapters, adapters_capacity;
    size_t n_tiles; /* numbered 0 .. n_tiles - 1 by batch_add */
    struct stem *stem; /* what its roots go on from (model/stem.h), or NULL: they begin at position 0 */
};

/* The stem is forgotten, too. */
void batch_clear(struct batch *b);
void batch_release(struct batch *b);

/* Append a segment after run `parent` (-1: a root); returns its run's index.  n > 0.  Trees are added one after the
 * other: once a new root is there, nothing may be added to an older tree. */
int32_t batch_add(struct batch *b, const int32_t *tokens, size_t n, int32_t parent);

/* All roots go on from the stem, which is not the batch's own and must outlive its use.  Before the first batch_add. */
void batch_set_stem(struct batch *b, struct stem *stem);

/* The row of the last token of a run. */
size_t batch_last_row(const struct batch *b, int32_t run);

/* Append a run whose tiles somebody else keeps (a KV cache): tiles is copied. */
void batch_add_cached(struct batch *b, const int32_t *tokens, size_t n, size_t pos, const int32_t *tiles,
                      size_t n_tiles, int32_t copy_from, const struct adapter *adapter);

#endif
