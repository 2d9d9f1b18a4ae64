#include "ref/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/kernel.h"
#include "util/mem.h"
#include "util/rng.h"

static char label[200];
static void **arrays;
static size_t n_arrays, capacity;

static void drop_arrays(void)
{
    while (n_arrays)
        free(arrays[--n_arrays]);
    free(arrays);
    arrays = NULL;
    capacity = 0;
}

void checking(const char *fmt, ...)
{
    va_list ap;
    drop_arrays();
    va_start(ap, fmt);
    vsnprintf(label, sizeof label, fmt, ap);
    va_end(ap);
}

void *zeroed(size_t n, size_t size)
{
    ARRAY_GROW(arrays, n_arrays + 1, capacity);
    return arrays[n_arrays++] = xcalloc(n, size);
}

double *zeros(size_t n)
{
    return zeroed(n, sizeof(double));
}

float *random_floats(size_t n, uint32_t seed, double spread)
{
    float *x = zeroed(n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(spread * rng_normal(seed, RNG_TEST, (uint32_t)i, 0, 0, 0));
    return x;
}

float *constant_floats(size_t n, float value)
{
    float *x = zeroed(n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = value;
    return x;
}

double *random_doubles(size_t n, uint32_t seed, double spread)
{
    return as_doubles(random_floats(n, seed, spread), n);
}

double *as_doubles(const float *x, size_t n)
{
    double *y = zeros(n);
    for (size_t i = 0; i < n; i++)
        y[i] = (double)x[i];
    return y;
}

void in_each_isa(void (*check)(void))
{
    const struct kernel *all[4];
    size_t n = kernel_list(all);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(kernel_select(all[i]->name), 0);
        check();
    }
    assert_int_equal(kernel_select(all[0]->name), 0);
    drop_arrays();
}

void expect_slope(const char *what, const double *gradient, size_t n, size_t at, double *x,
                  double (*f)(void *), void *with)
{
    static const double steps[4] = {-2, -1, 1, 2}, factors[4] = {1, -8, 8, -1};
    const double h = 1e-3, was = *x;
    double slope = 0, largest = 0;
    for (int k = 0; k < 4; k++) {
        *x = was + steps[k] * h;
        slope += factors[k] * f(with) / (12 * h);
    }
    *x = was;
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(gradient[i]));
    if (!(fabs(slope - gradient[at]) <= 1e-6 * (fabs(gradient[at]) + 1e-3 * largest) + 1e-12))
        fail_msg("%s, %s: gradient [%zu] is %.12g, finite differences say %.12g", label, what, at,
                 gradient[at], slope);
}

void expect_close(const char *what, const float *got, const double *want, size_t n, double floor)
{
    double scale = floor;
    for (size_t i = 0; i < n; i++)
        scale = fmax(scale, fabs(want[i]));
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= 1e-5 * scale))
            fail_msg("%s, %s (%s): [%zu] is %.9g instead of %.9g, off by %.2g of the largest",
                     label, what, kernel()->name, i, (double)got[i], want[i],
                     fabs((double)got[i] - want[i]) / scale);
}

void expect_same(const char *what, const float *got, const float *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(got + i, want + i, sizeof *got) != 0)
            fail_msg("%s, %s (%s): [%zu] is %.9g instead of %.9g: not the same bits", label, what,
                     kernel()->name, i, (double)got[i], (double)want[i]);
}
