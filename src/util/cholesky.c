#include "util/cholesky.h"

#include <math.h>
#include <string.h>

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += a[k] * b[k];
    return sum;
}

int cholesky(double *a, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        double pivot = a[j * n + j] - dot(a + j * n, a + j * n, j);
        if (!(pivot > 0) || !isfinite(pivot))
            return -1;
        double root = sqrt(pivot);
        a[j * n + j] = root;
        memset(a + j * n + j + 1, 0, (n - j - 1) * sizeof *a);
#pragma omp parallel for schedule(static) if (n - j > 64)
        for (size_t i = j + 1; i < n; i++)
            a[i * n + j] = (a[i * n + j] - dot(a + i * n, a + j * n, j)) / root;
    }
    return 0;
}

void cholesky_inverse(double *inverse, const double *l, size_t n)
{
    memset(inverse, 0, n * n * sizeof *inverse);
    for (size_t i = 0; i < n; i++) { /* row i of L times the inverse is row i of 1 */
        double *row = inverse + i * n;
        row[i] = 1;
        for (size_t k = 0; k < i; k++)
            for (size_t j = 0; j <= k; j++)
                row[j] -= l[i * n + k] * inverse[k * n + j];
        for (size_t j = 0; j <= i; j++)
            row[j] /= l[i * n + i];
    }
}

void cholesky_solve(double *x, const double *l, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (x[i] - dot(l + i * n, x, i)) / l[i * n + i];
    for (size_t i = n; i-- > 0;) {
        for (size_t k = i + 1; k < n; k++)
            x[i] -= l[k * n + i] * x[k];
        x[i] /= l[i * n + i];
    }
}
