#include "optim/adamw.h"

#include <math.h>
#include <stdlib.h>

#include "kernel/kernel.h"
#include "util/mem.h"

#define BLOCK 16384

static size_t blocks_of(size_t n)
{
    return (n + BLOCK - 1) / BLOCK;
}

static size_t block_size(size_t n, size_t i)
{
    return n - i * BLOCK < BLOCK ? n - i * BLOCK : BLOCK;
}

void adamw_apply(const struct adamw *a, float *p, const float *g, float *m, float *v, size_t n, double lr,
                 double weight_decay, uint64_t t, double grad_scale)
{
    const struct kernel *k = kernel();
    struct adamw_step s = {.lr = (float)lr,
                           .beta1 = (float)a->beta1,
                           .beta2 = (float)a->beta2,
                           .eps = (float)a->eps,
                           .weight_decay = (float)weight_decay,
                           .correction1 = (float)(1.0 - pow(a->beta1, (double)t)),
                           .correction2_sqrt = (float)sqrt(1.0 - pow(a->beta2, (double)t)),
                           .grad_scale = (float)grad_scale};
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < blocks_of(n); i++) {
        size_t at = i * BLOCK;
        k->adamw(p + at, g + at, m + at, v + at, &s, block_size(n, i));
    }
}

double sum_of_squares(const float *g, size_t n)
{
    size_t blocks = blocks_of(n);
    double *sums = xcalloc(blocks, sizeof *sums), sum = 0;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < blocks; i++) {
        double s = 0;
        for (size_t j = 0; j < block_size(n, i); j++)
            s += (double)g[i * BLOCK + j] * (double)g[i * BLOCK + j];
        sums[i] = s;
    }
    for (size_t i = 0; i < blocks; i++)
        sum += sums[i];
    free(sums);
    return sum;
}

double clip_scale(double norm, double max_norm)
{
    return max_norm > 0 && norm > max_norm ? max_norm / (norm + 1e-6) : 1.0;
}
