/* What every objective asks of its inputs (law 9: a non-finite number is never trained on).
 *
 * All return 0, or -1 and a sentence. */
#ifndef HONE_OBJECTIVE_CHECK_H
#define HONE_OBJECTIVE_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "util/err.h"

/* Every entry of x (n) is finite; the sentence names the first that is not as 'name[index]'.  Where
 * mask (n) is given, only entries with mask[i] are looked at; NULL: all of them. */
int check_finite(const char *name, const double *x, const bool *mask, size_t n, struct err *err);

/* The same, and none is below 0.  x NULL is fine. */
int check_weights(const char *name, const double *x, size_t n, struct err *err);

/* Settings: finite; finite and > 0; finite and >= 0; in [0, 1]; label_smoothing in [0, 0.5). */
int check_number(const char *name, double x, struct err *err);
int check_positive(const char *name, double x, struct err *err);
int check_not_negative(const char *name, double x, struct err *err);
int check_fraction(const char *name, double x, struct err *err);
int check_label_smoothing(double x, struct err *err);

#endif
