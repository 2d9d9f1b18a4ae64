/* What the gradient tests share: odd numbers, instruction sets in turn, float results against
 * double ones. */
#ifndef HONE_TESTS_CHECK_H
#define HONE_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Begin a case: what is checked, for messages, which add the instruction set in use.  The arrays
 * of the former case are freed. */
void checking(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Arrays of the case at hand.  Random numbers are normal with the given spread, as a function of
 * the seed. */
float *random_floats(size_t n, uint32_t seed, double spread);
float *constant_floats(size_t n, float value);
double *random_doubles(size_t n, uint32_t seed, double spread);
double *as_doubles(const float *x, size_t n);
double *zeros(size_t n);
void *zeroed(size_t n, size_t size);

/* Run `check` once an instruction set that this machine has. */
void in_each_isa(void (*check)(void));

/* Fail unless gradient[at] (of n) is the slope of f at *x, a fourth-order central difference, to
 * 1e-6. */
void expect_slope(const char *what, const double *gradient, size_t n, size_t at, double *x,
                  double (*f)(void *), void *with);

/* Fail unless |got - want| <= 1e-5 of the largest |want|, or of `floor` where that is larger
 * (for sums whose terms cancel). */
void expect_close(const char *what, const float *got, const double *want, size_t n, double floor);

/* Fail unless the bits are equal. */
void expect_same(const char *what, const float *got, const float *want, size_t n);

#endif
