/* Float arithmetic, by instruction set, with the same bits on all of them (laws 1 and 2).
 *
 * Every sum has one order that belongs to the algorithm, not to the machine:
 * - a matrix product sums over k in order, with one accumulator an output and a fused multiply-add a step;
 * - a reduction of a row uses 16 virtual lanes (element i goes to lane i % 16), added in a fixed tree;
 * - exp is one polynomial of our own, evaluated lane by lane with fused multiply-adds.
 * The number of rows, their neighbours, threads and the width of the vectors never enter.  simd.c is compiled
 * once an instruction set; `plain` is the reference twin of the others, and tests compare them bit for bit. */
#ifndef HONE_KERNEL_KERNEL_H
#define HONE_KERNEL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

#include "kernel/dtype.h"

/* Columns of a panel of weights: [k][PANEL], k in order. */
#define PANEL 32

struct adamw_step {
    float lr, beta1, beta2, eps, weight_decay;
    float correction1, correction2_sqrt; /* 1 - beta1^t and sqrt(1 - beta2^t) */
    float grad_scale;                    /* global-norm clipping */
};

struct kernel {
    const char *name;
    int vector_floats;

    /* Rows of a register tile: of a strip of packed x. */
    size_t tile_rows;

    /* y[r][c] = start[r][c] + sum over k of x[r*x_row + k*x_col] * panel[k*panel_ld + c], r < rows, c < cols <= PANEL.
     * The panel has PANEL readable columns.  start: rows as far apart as y's; may be y; NULL: zeros. */
    void (*gemm)(float *y, size_t y_ld, const float *start, const float *x, size_t x_row, size_t x_col, const float *panel,
                 size_t panel_ld, size_t k, size_t rows, size_t cols);

    /* The same for packed x: strips of tile_rows rows, [k][tile_rows] each, as pack makes them, `strip` floats apart.  It is
     * read in one straight run, whatever the distance of x's rows was. */
    void (*gemm_strips)(float *y, size_t y_ld, const float *start, const float *strips, size_t strip, const float *panel,
                        size_t panel_ld, size_t k, size_t rows, size_t cols);
    void (*pack)(float *strips, const float *x, size_t x_row, size_t x_col, size_t k, size_t rows);

    /* The same for up to few_rows rows and a packed panel (panel.h), unpacked on the way; not for types that are packed as
     * plain floats. */
    size_t few_rows;
    void (*gemm_few)(float *y, size_t y_ld, const float *start, const float *x, size_t x_row, const void *packed,
                     enum dtype type, size_t k, size_t rows, size_t cols);

    /* Rows, which may lie anywhere, as the columns of a panel: panel[i][r] = number i of rows[r], i < n. */
    void (*turn)(float *panel, const char *const rows[PANEL], size_t n);

    /* A packed panel of k rows as floats [k][PANEL]; not for types that are packed as plain floats. */
    void (*unpack)(float *panel, const void *packed, enum dtype type, size_t k);

    float (*dot)(const float *a, const float *b, size_t n);
    float (*max)(const float *x, size_t n); /* n > 0 */
    /* y = exp(x - shift); returns the sum of y.  exp(-inf) is exactly 0, exp(0) exactly 1.  y may be x. */
    float (*exp_sum)(float *y, const float *x, float shift, size_t n);
    /* p = exp(s - shift) * factor */
    void (*exp_scale)(float *p, const float *s, float shift, float factor, size_t n);
    void (*axpy)(float *y, float a, const float *x, size_t n);        /* y += a x, fused */
    void (*scale)(float *y, float a, size_t n);                       /* y *= a */
    void (*add)(float *y, const float *x, size_t n);                  /* y += x */
    void (*norm_scale)(float *y, const float *x, float s, const float *w, size_t n); /* y = (x s) w */
    /* dx += s (w dy) - x c */
    void (*norm_backward)(float *dx, const float *dy, const float *x, const float *w, float s, float c, size_t n);
    /* dw += dy (x s), summed row after row */
    void (*norm_backward_weight)(float *dw, const float *dy, const float *x, float s, size_t n);
    float (*dot3)(const float *a, const float *b, const float *c, size_t n); /* sum of a (b c) */
    void (*swiglu)(float *h, const float *gate, const float *up, size_t n);  /* h = silu(gate) up */
    /* dgate, dup from dh; h is recomputed by the caller where it needs it */
    void (*swiglu_backward)(float *dgate, float *dup, const float *dh, const float *gate, const float *up, size_t n);
    /* h = gelu(gate) up, with gelu in the form with tanh (Hendrycks and Gimpel 2016); up NULL: ones, and then no dup */
    void (*geglu)(float *h, const float *gate, const float *up, size_t n);
    void (*geglu_backward)(float *dgate, float *dup, const float *dh, const float *gate, const float *up, size_t n);
    void (*softcap)(float *x, float cap, size_t n); /* x = cap tanh(x / cap), cap > 0; of -inf: -cap */
    /* d *= the cap's slope where it gave y: 1 - (y / cap)^2 */
    void (*softcap_backward)(float *d, const float *y, float cap, size_t n);
    /* rotate the pairs (x[i], x[i + half]) by angles with cosine c[i] and sine s[i] (sine negated: backward) */
    void (*rope)(float *x, const float *c, const float *s, size_t half, bool backward);
    void (*softmax_backward)(float *ds, const float *p, const float *dp, float delta, float scale, size_t n);
    void (*adamw)(float *p, const float *g, float *m, float *v, const struct adamw_step *step, size_t n);
    /* FMA throughput probe for benches: n rounds of independent multiply-adds; returns the number of FLOP */
    double (*fma_peak)(size_t n, float *sink);
};

/* The kernels in use: the widest that this machine has, or what kernel_select() chose. */
const struct kernel *kernel(void);

/* All that were compiled in and that this machine can run; returns how many. */
size_t kernel_list(const struct kernel *out[4]);

/* By name ("avx512", "avx2", "neon", "plain"): 0, or -1 where it is unknown or the machine cannot run it. */
int kernel_select(const char *name);

#endif
