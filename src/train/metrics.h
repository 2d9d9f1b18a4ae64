/* The numbers of one step, under TRL's names, in the order they were put. */
#ifndef HONE_TRAIN_METRICS_H
#define HONE_TRAIN_METRICS_H

#include <stddef.h>

#include "util/buf.h"

struct metrics {
    struct {
        char key[56];
        double value;
    } list[64];
    size_t n;
};

/* A key that is there is overwritten. */
void metrics_put(struct metrics *m, const char *key, double value);
/* The value, or NAN. */
double metrics_get(const struct metrics *m, const char *key);
/* One JSON object and a newline. */
void metrics_json(const struct metrics *m, struct buf *out);

#endif
