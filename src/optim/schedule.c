#include "optim/schedule.h"

#include <math.h>

const char *const schedule_names[] = {
    [SCHEDULE_CONSTANT] = "constant",
    [SCHEDULE_CONSTANT_WITH_WARMUP] = "constant_with_warmup",
    [SCHEDULE_LINEAR] = "linear",
    [SCHEDULE_COSINE] = "cosine",
    NULL,
};

double schedule_factor(enum schedule schedule, size_t step, size_t warmup_steps, size_t max_steps)
{
    if (schedule == SCHEDULE_CONSTANT)
        return 1;
    if (step < warmup_steps)
        return (double)step / (double)warmup_steps;
    if (schedule == SCHEDULE_CONSTANT_WITH_WARMUP)
        return 1;
    if (step >= max_steps)
        return 0;
    double span = (double)(max_steps - warmup_steps); /* > 0: warmup_steps <= step < max_steps */
    if (schedule == SCHEDULE_LINEAR)
        return (double)(max_steps - step) / span;
    return 0.5 * (1 + cos(M_PI * ((double)(step - warmup_steps) / span)));
}
