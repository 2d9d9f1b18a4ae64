#include "nn/lora.h"

#include <string.h>

#include "nn/linear.h"
#include "nn/scratch.h"

static const float *times(const float *x, float s, size_t n)
{
    float *y = scratch(SCRATCH_LORA, n);
    memcpy(y, x, n * sizeof(float));
    kernel()->scale(y, s, n);
    return y;
}

void lora_forward(float *y, float *t, const float *x, const struct lora *l, size_t rows)
{
    struct weight a = weight_of_floats(l->a, l->rank, l->in), b = weight_of_floats(l->b, l->out, l->rank);
    linear_forward(t, x, &a, rows, false);
    linear_forward(y, times(t, l->scale, rows * l->rank), &b, rows, true);
}

void lora_backward(float *dx, const float *dy, const float *x, const float *t, const struct lora *l, size_t rows)
{
    struct weight a = weight_of_floats(l->a, l->rank, l->in), b = weight_of_floats(l->b, l->out, l->rank);
    size_t n = rows * l->rank;
    if (l->db)
        linear_backward_weight(l->db, dy, times(t, l->scale, n), rows, l->out, l->rank);
    float *dt = scratch(SCRATCH_LORA, n);
    linear_backward(dt, dy, &b, rows, false);
    kernel()->scale(dt, l->scale, n);
    if (l->da)
        linear_backward_weight(l->da, dt, x, rows, l->rank, l->in);
    if (dx)
        linear_backward(dx, dt, &a, rows, true);
}
