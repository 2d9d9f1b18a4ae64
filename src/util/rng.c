#include "util/rng.h"

#include <math.h>

void rng_philox(uint32_t out[4], uint32_t seed, uint32_t stream, const uint32_t counter[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = seed, k1 = stream;
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static double unit(uint32_t hi, uint32_t lo)
{
    uint64_t bits = ((uint64_t)hi << 21) ^ (lo >> 11);
    return ((double)bits + 0.5) * 0x1p-53;
}

double rng_uniform(uint32_t seed, uint32_t stream, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3)
{
    uint32_t out[4], counter[4] = {c0, c1, c2, c3};
    rng_philox(out, seed, stream, counter);
    return unit(out[0], out[1]);
}

double rng_normal(uint32_t seed, uint32_t stream, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3)
{
    uint32_t out[4], counter[4] = {c0, c1, c2, c3};
    rng_philox(out, seed, stream, counter);
    return sqrt(-2.0 * log(unit(out[0], out[1]))) * cos(6.283185307179586 * unit(out[2], out[3]));
}

uint32_t rng_below(uint32_t n, uint32_t seed, uint32_t stream, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3)
{
    return (uint32_t)(rng_uniform(seed, stream, c0, c1, c2, c3) * n);
}

void rng_permutation(size_t *order, size_t n, uint32_t seed, uint32_t stream, uint32_t epoch)
{
    for (size_t i = 0; i < n; i++)
        order[i] = i;
    for (size_t i = n; i > 1; i--) {
        size_t j = rng_below((uint32_t)i, seed, stream, epoch, (uint32_t)i, 0, 0);
        size_t t = order[i - 1];
        order[i - 1] = order[j];
        order[j] = t;
    }
}
