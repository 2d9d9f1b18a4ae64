/* Random numbers from a counter: Philox4x32-10 (Salmon et al., SC'11, "Parallel random numbers: as easy as
 * 1, 2, 3").  A number is a function of its key (seed, stream) and counter (four words), so nothing has to
 * be saved for a resume and no thread order can matter (law 2). */
#ifndef HONE_UTIL_RNG_H
#define HONE_UTIL_RNG_H

#include <stddef.h>
#include <stdint.h>

/* One stream a purpose, so that no two purposes share numbers. */
enum rng_stream {
    RNG_INIT = 1,    /* adapter and head initialisation: (tensor, index) */
    RNG_SHUFFLE = 2, /* epoch permutations: (epoch, index) */
    RNG_SAMPLE = 3,  /* tokens: (prompt, sample, position, round) */
    RNG_BOOTSTRAP = 4,
    RNG_SPLIT = 5,
    RNG_DROPOUT = 6,
    RNG_TEST = 7,
    RNG_SELECT = 8,  /* answers that are accepted: (prompt, sample, round) */
    RNG_PAIRS = 12,  /* pairs that are judged: (prompt, sample, sample, purpose) */
    RNG_LABEL = 13,  /* labels that are drawn: (pair) */
};

void rng_philox(uint32_t out[4], uint32_t seed, uint32_t stream, const uint32_t counter[4]);

/* Uniform in (0, 1), 53 bits of resolution. */
double rng_uniform(uint32_t seed, uint32_t stream, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3);

/* Normal with mean 0 and variance 1 (Box-Muller). */
double rng_normal(uint32_t seed, uint32_t stream, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3);

/* Whole number in [0, n). */
uint32_t rng_below(uint32_t n, uint32_t seed, uint32_t stream, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3);

/* A permutation of 0..n-1 as a function of (seed, stream, epoch): Fisher-Yates. */
void rng_permutation(size_t *order, size_t n, uint32_t seed, uint32_t stream, uint32_t epoch);

#endif
