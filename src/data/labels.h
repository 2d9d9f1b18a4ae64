/* Labels that come back for pairs of answers that were sent out.
 *
 *     sent out     {"id", "prompt", "a", "b"}
 *     come back    {"id", "label": "a" | "b" | "tie" or "p_a", ["annotator", "weight", "strength", "margin", "group", "prompt", "a", "b"]}
 *
 * What comes back is judged by its id; prompt, a and b, where they are repeated, must be what was sent out.  Several annotators may
 * label one pair, each once.  A row without a label (or with null) is one that nobody has decided yet. */
#ifndef HONE_DATA_LABELS_H
#define HONE_DATA_LABELS_H

#include <stddef.h>

#include "util/buf.h"
#include "util/err.h"

struct labels_report {
    size_t pairs, labelled; /* sent out; those with a label at least */
    size_t rows;            /* labels */
    size_t annotators;      /* who gave a name */
    char missing[128];      /* the first ids without a label, as "x, y, z"; "" where there are none */
};

/* Put the two together: judgements (docs/formats.md), a line a label, in the order of the pairs, are added to `out`.  -1 and a sentence
 * that names file, line and reason: an id that was not sent out, a pair labelled twice by one annotator, a label that is none,
 * other texts than those that were sent out; no label at all. */
int labels_join(struct buf *out, struct labels_report *report, const char *pairs_path, const char *labels_path, struct err *err);

#endif
