#include "nn/linear.h"

#include "nn/product.h"

void linear_forward(float *y, const float *x, const struct weight *w, size_t rows, bool accumulate)
{
    struct product p = {.y = y, .start = accumulate ? y : NULL, .y_ld = w->out, .rows = rows, .columns = w->out,
                        .terms = {term_forward(x, w)}, .n_terms = 1};
    products_run(&p, 1);
}

void linear_backward(float *dx, const float *dy, const struct weight *w, size_t rows, bool accumulate)
{
    struct product p = {.y = dx, .start = accumulate ? dx : NULL, .y_ld = w->in, .rows = rows, .columns = w->in,
                        .terms = {term_backward(dy, w)}, .n_terms = 1};
    products_run(&p, 1);
}

void linear_backward_weight(float *dw, const float *dy, const float *x, size_t rows, size_t out, size_t in)
{
    struct product p = {.y = dw, .start = dw, .y_ld = in, .rows = out, .columns = in,
                        .terms = {term_weight(dy, out, x, rows, in)}, .n_terms = 1};
    products_run(&p, 1);
}
