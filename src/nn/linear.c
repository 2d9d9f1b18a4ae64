#include "nn/linear.h"

#include <omp.h>

/* Work is cut by panels of columns, and by rows too where there are few panels; never along the sum. */
struct cut {
    size_t panels, blocks, rows_a_block;
};

static struct cut cut_work(size_t columns, size_t rows)
{
    struct cut c = {.panels = panels_of(columns), .blocks = 1};
    size_t threads = (size_t)omp_get_max_threads();
    if (threads > 1 && c.panels < 4 * threads && rows >= 24 * threads)
        c.blocks = threads;
    c.rows_a_block = (rows + c.blocks - 1) / c.blocks;
    c.rows_a_block = (c.rows_a_block + 11) / 12 * 12; /* whole register tiles */
    return c;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

void linear_forward(float *y, const float *x, const struct weight *w, size_t rows, bool accumulate)
{
    struct cut c = cut_work(w->out, rows);
    const struct kernel *k = kernel();
#pragma omp parallel for schedule(static)
    for (size_t unit = 0; unit < c.panels * c.blocks; unit++) {
        size_t j = unit % c.panels, first = unit / c.panels * c.rows_a_block;
        if (first >= rows)
            continue;
        k->gemm(y + first * w->out + j * PANEL, w->out, x + first * w->in, w->in, 1, weight_tile_forward(w, j), PANEL,
                w->in, smaller(rows - first, c.rows_a_block), smaller(PANEL, w->out - j * PANEL), accumulate);
    }
}

void linear_backward(float *dx, const float *dy, const struct weight *w, size_t rows, bool accumulate)
{
    struct cut c = cut_work(w->in, rows);
    const struct kernel *k = kernel();
#pragma omp parallel for schedule(static)
    for (size_t unit = 0; unit < c.panels * c.blocks; unit++) {
        size_t j = unit % c.panels, first = unit / c.panels * c.rows_a_block;
        if (first >= rows)
            continue;
        k->gemm(dx + first * w->in + j * PANEL, w->in, dy + first * w->out, w->out, 1,
                weight_tile_backward(w, j, 0, w->out), PANEL, w->out, smaller(rows - first, c.rows_a_block),
                smaller(PANEL, w->in - j * PANEL), accumulate);
    }
}

void linear_backward_weight(float *dw, const float *dy, const float *x, size_t rows, size_t out, size_t in)
{
    struct cut c = cut_work(in, out);
    const struct kernel *k = kernel();
#pragma omp parallel for schedule(static)
    for (size_t unit = 0; unit < c.panels * c.blocks; unit++) {
        size_t j = unit % c.panels, first = unit / c.panels * c.rows_a_block;
        if (first >= out)
            continue;
        struct weight columns = weight_of_floats(x, rows, in);
        k->gemm(dw + first * in + j * PANEL, in, dy + first, 1, out, weight_tile_backward(&columns, j, 0, rows), PANEL,
                rows, smaller(out - first, c.rows_a_block), smaller(PANEL, in - j * PANEL), true);
    }
}
