/* Learning-rate schedules: the factor on `learning_rate` at each step, as transformers computes it.
 *
 * Step s counts from 0; w warm-up steps, T steps in all.  During warm-up (s < w) the factor is s /
 * w, so the very first step has rate 0.  From then on:
 *
 *     constant               1, without any warm-up
 *     constant_with_warmup   1
 *     linear                 (T - s) / (T - w)
 *     cosine                 (1 + cos(pi (s - w) / (T - w))) / 2
 *
 * and 0 from step T on (the constant ones stay 1). */
#ifndef HONE_OPTIM_SCHEDULE_H
#define HONE_OPTIM_SCHEDULE_H

#include <stddef.h>

enum schedule {
    SCHEDULE_CONSTANT,
    SCHEDULE_CONSTANT_WITH_WARMUP,
    SCHEDULE_LINEAR,
    SCHEDULE_COSINE,
};

/* The names above in this order, then NULL: the choices of lr_scheduler_type. */
extern const char *const schedule_names[];

double schedule_factor(enum schedule schedule, size_t step, size_t warmup_steps, size_t max_steps);

#endif
