/* A run's numbers over its steps, read from its metrics.jsonl, as series for charts. */
#ifndef HONE_EVAL_CURVES_H
#define HONE_EVAL_CURVES_H

#include "eval/report.h"

struct curves {
    void **lines; /* JSON objects, one a logged step */
    size_t n, capacity;
    double **owned; /* the series' numbers, which live as long as the curves */
    size_t n_owned, owned_capacity;
};

/* folder: the run's.  A last line that is cut is left out.  On failure there is nothing to release. */
int curves_read(struct curves *c, const char *folder, struct err *err);
void curves_release(struct curves *c);

/* `y` over `x` at the steps that have both; n is 0 where there is none.  name is borrowed. */
struct report_series curves_series(struct curves *c, const char *name, const char *x, const char *y);

#endif
