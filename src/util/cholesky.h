/* Small dense algebra in double: the Cholesky factor of a symmetric positive definite matrix.  Matrices are (n, n), row after
 * row.  Each element is one sum in the order of k, whatever the threads (law 2). */
#ifndef HONE_UTIL_CHOLESKY_H
#define HONE_UTIL_CHOLESKY_H

#include <stddef.h>

/* a <- L with a = L L^T: the lower triangle; what is above it becomes 0.  Only the lower triangle of a is read.  -1 where a is not
 * positive definite, or not finite: a is then of no use. */
int cholesky(double *a, size_t n);

/* inverse <- L^-1, lower triangular too. */
void cholesky_inverse(double *inverse, const double *l, size_t n);

/* x <- the solution of L L^T x = x, n numbers. */
void cholesky_solve(double *x, const double *l, size_t n);

#endif
