#include <math.h>
#include <time.h>

#include "cmd/bench.h"
#include "kernel/kernel.h"
#include "util/mem.h"

/* Many and short, so that on a machine with other work one of them has all cores to itself. */
#define BURSTS 32
#define BURST_SECONDS 2e-3
#define PASSES 24

double bench_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* GFLOPS of one burst of all threads; seconds: from the first one's start to the last one's end. */
static double burst(size_t rounds, double *seconds)
{
    double flop = 0, started = INFINITY, ended = -INFINITY;
#pragma omp parallel reduction(+ : flop) reduction(min : started) reduction(max : ended)
    {
        float sink = 0;
#pragma omp barrier
        started = bench_clock();
        flop = kernel()->fma_peak(rounds, &sink);
        ended = bench_clock();
        if (sink == 0.5f) /* never, but the compiler cannot know */
            flop = 0;
    }
    *seconds = ended - started;
    return *seconds > 0 ? 1e-9 * flop / *seconds : 0;
}

/* The best of some bursts; shortest: out, the seconds of the quickest. */
static double best_burst(size_t rounds, int bursts, double *shortest)
{
    double best = 0, seconds;
    *shortest = INFINITY;
    for (int i = 0; i < bursts; i++) {
        best = fmax(best, burst(rounds, &seconds));
        *shortest = fmin(*shortest, seconds);
    }
    return best;
}

double bench_fma_peak(void)
{
    size_t rounds = 1 << 8;
    double seconds;
    best_burst(rounds, 3, &seconds); /* of three, for one may have been held up */
    for (; seconds < BURST_SECONDS; best_burst(rounds, 3, &seconds))
        rounds *= 2;
    return best_burst(rounds, BURSTS, &seconds);
}

int bench_read_peak(double *gb_s, struct err *err)
{
    const size_t chunk = 1 << 15, chunks = 2048; /* 256 MiB */
    float *block = mem_block(chunks, chunk * sizeof(float), "a block to read", err);
    if (!block)
        return -1;
    double best = 0;
#pragma omp parallel for schedule(static) /* written by whom it will be read: pages are real, and near */
    for (size_t i = 0; i < chunks; i++)
        for (size_t j = 0; j < chunk; j++)
            block[i * chunk + j] = 1;
    for (int pass = 0; pass < PASSES; pass++) {
        double started = bench_clock();
        size_t right = 0;
#pragma omp parallel for schedule(static) reduction(+ : right)
        for (size_t i = 0; i < chunks; i++) /* little arithmetic a float, so that memory decides */
            right += kernel()->dot(block + i * chunk, block + i * chunk, chunk) == (float)chunk;
        ENSURE(right == chunks);
        double rate = 1e-9 * (double)(chunks * chunk * sizeof(float)) / (bench_clock() - started);
        best = rate > best ? rate : best;
    }
    mem_block_free(block);
    *gb_s = best;
    return 0;
}
