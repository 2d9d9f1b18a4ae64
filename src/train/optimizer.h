/* The optimiser's state over the parts that are trained: adapters, heads, whole models.  A part that is only kept goes along
 * in checkpoints, and is left alone by steps. */
#ifndef HONE_TRAIN_OPTIMIZER_H
#define HONE_TRAIN_OPTIMIZER_H

#include "model/params.h"
#include "optim/adamw.h"

struct part {
    const char *name; /* "adapter", "head", "model", "critic.adapter", .. : names of tensors in a checkpoint */
    const struct params *params;
    const float *grads; /* NULL: only kept, and has no moments */
    float *m, *v;
    double lr_ratio; /* of the common rate */
    bool frozen;     /* for now: steps leave it as it is, and its gradients do not count */
};

struct optimizer {
    struct adamw adamw;
    double weight_decay, max_grad_norm;
    uint64_t t; /* steps taken */
    struct part parts[8];
    size_t n;
};

int optimizer_add(struct optimizer *o, const char *name, const struct params *p, const float *grads, double lr_ratio,
                  struct err *err);
/* What changes with the training without being trained, such as a reference that follows. */
void optimizer_keep(struct optimizer *o, const char *name, const struct params *p);
/* Freeze a part, or let it learn again. */
void optimizer_freeze(struct optimizer *o, const char *name, bool frozen);
void optimizer_release(struct optimizer *o);

/* One step.  grad_norm: out, of all parts together, before clipping.  -1, with everything left as it was, if a
 * gradient is not finite: the sentence names the tensor (law 9). */
int optimizer_step(struct optimizer *o, double lr, double *grad_norm, struct err *err);

#endif
