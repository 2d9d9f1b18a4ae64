#include "nn/rope.h"

#include <math.h>

#include "kernel/kernel.h"
#include "util/mem.h"

int rope_init(struct rope *r, const float *inv_freq, size_t head_dim, size_t half, size_t positions, float amplitude, struct err *err)
{
    float *table = mem_block(2 * positions, half * sizeof(float), "rotary tables", err);
    if (!table)
        return -1;
    *r = (struct rope){.head_dim = head_dim, .half = half, .positions = positions, .cosine = table, .sine = table + positions * half};
    for (size_t p = 0; p < positions; p++)
        for (size_t i = 0; i < half; i++) {
            double angle = (double)((float)p * inv_freq[i]);
            r->cosine[p * half + i] = (float)cos(angle) * amplitude;
            r->sine[p * half + i] = (float)sin(angle) * amplitude;
        }
    return 0;
}

void rope_release(struct rope *r)
{
    mem_block_free(r->cosine);
    *r = (struct rope){0};
}

void rope_rotate(const struct rope *r, float *x, const int32_t *pos, size_t rows, size_t heads, bool backward)
{
    const struct kernel *k = kernel();
#pragma omp parallel for schedule(static) if (rows > 8)
    for (size_t i = 0; i < rows; i++) {
        ENSURE((size_t)pos[i] < r->positions);
        const float *c = r->cosine + (size_t)pos[i] * r->half, *s = r->sine + (size_t)pos[i] * r->half;
        for (size_t h = 0; h < heads; h++)
            k->rope(x + (i * heads + h) * r->head_dim, c, s, r->half, backward);
    }
}
