/* From a lead in score to the probability that an answer is the better one, fitted to comparisons that the scores were
 * not trained on.
 *
 *     temperature (Guo et al., ICML'17)          P = sigmoid(x / T), T the maximum likelihood's
 *     isotonic (Zadrozny & Elkan, KDD'02)        P rises with |x| in steps: pool adjacent violators, with straight
 *                                                lines between the steps' middles
 *
 * x is score a - score b.  Both say of (b, a) one less what they say of (a, b), so only |x|, and whether the leading answer
 * was the better one, enter.  Neither claims more than the data can bear: the temperature is fitted as if one more pair
 * of the mean lead had gone against the scores, a step's P is kept within [0.5, 1 - 1 / (n + 2)]. */
#ifndef HONE_UTIL_CALIBRATE_H
#define HONE_UTIL_CALIBRATE_H

#include <stddef.h>

#include "util/err.h"

enum { CALIBRATION_NONE, CALIBRATION_TEMPERATURE, CALIBRATION_ISOTONIC };
extern const char *const calibration_names[]; /* ends with NULL */

enum { CALIBRATOR_KNOTS = 32, CALIBRATOR_GROUPS = 16, CALIBRATOR_NAME = 64 };

/* Without pointers, so that it is copied as it is.  All zero: nothing is known. */
struct calibrator {
    double temperature; /* > 0; 0: nothing is known */
    size_t n_knots;     /* 0: the temperature's sigmoid */
    double x[CALIBRATOR_KNOTS], p[CALIBRATOR_KNOTS]; /* isotonic: rising */
    size_t n_groups;
    struct {
        char name[CALIBRATOR_NAME];
        double temperature;
    } group[CALIBRATOR_GROUPS]; /* of rows whose field "group" is so */
};

/* x: (n) leads; outcome: (n) 1 a is better, 0 b is.  Returns -1 if n == 0, a lead is not finite, or all are 0. */
int calibrate_temperature(double *temperature, const double *x, const double *outcome, size_t n, struct err *err);

/* The knots alone are set. */
int calibrate_isotonic(struct calibrator *c, const double *x, const double *outcome, size_t n, struct err *err);

/* P(a is better) for a lead x.  group: the row's, or NULL; one that is not known is as NULL. */
double calibrated(const struct calibrator *c, double x, const char *group);

#endif
