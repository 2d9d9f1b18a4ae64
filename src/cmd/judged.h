/* Comparisons from a file, judged: those that several annotators gave of one pair put together, and encoded. */
#ifndef HONE_CMD_JUDGED_H
#define HONE_CMD_JUDGED_H

#include "data/encode.h"
#include "model/model.h"
#include "train/comparisons.h"

struct judged_pairs {
    struct dataset data; /* its first n rows are the pairs .. */
    size_t rows, n;      /* .. of so many that were read */
    struct comparison *labels; /* (n) */
    struct examples examples;  /* (n) */
};

/* system: for conversations that have no system message, or NULL.  Released in all cases. */
int judged_pairs_read(struct judged_pairs *p, const char *path, const char *system, const struct model *m, struct err *err);
void judged_pairs_release(struct judged_pairs *p);

#endif
