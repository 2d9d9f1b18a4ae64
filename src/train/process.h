/* Process reward models: a scalar head on the net, trained on answers whose steps are each called right or wrong (docs/methods/process.md;
 * the loss is in objective/stepwise.h).  The model reads an answer once, and its head gives a score at the end of each step. */
#ifndef HONE_TRAIN_PROCESS_H
#define HONE_TRAIN_PROCESS_H

#include "data/steps.h"
#include "train/learner.h"
#include "train/loop.h"

struct process {
    struct learner *learner;
    const struct dataset *train_rows, *eval_rows; /* stepwise; their order is the examples' */
    const struct steps *train, *eval;
    bool last_only;                  /* train_on_last_step_only; evaluations look at all */
    double *eval_p, *eval_right;     /* (eval steps) out, of the last evaluation: probability that the step is right; 1 where it is */
    bool evaluated;
    /* of the step under way */
    size_t n, right, rows, found;    /* steps, told right; answers, whose first wrong step was found (or that there is none) */
    double loss;
};

struct method process_method(struct process *p);

#endif
