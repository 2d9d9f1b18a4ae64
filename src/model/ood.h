/* Out of distribution: how far a text is from those that a reward model was trained on, by the hidden state that its head reads.
 *
 *     distance(h) = sqrt( (h - mean)^T C^-1 (h - mean) )                Mahalanobis (Lee et al. 2018, arXiv:1807.03888, eq. 2;
 *                                                                       one class)
 *     C = D ((1 - s) R + s 1) D                                         D the standard deviations, R the correlations
 *
 * s is Ledoit and Wolf's (2004, "A well-conditioned estimator for large-dimensional covariance matrices"), of the standardised
 * states: with fewer texts than numbers R alone has no inverse.  It shrinks correlations and not covariances, because a few numbers
 * of a hidden state are far larger than the others, and would be all that a common variance knows.
 *
 * Kept is W = L^-1 D^-1 with L L^T the shrunk R, so that the distance is the length of W (h - mean), and the `threshold` beyond
 * which a text counts as out of distribution. */
#ifndef HONE_MODEL_OOD_H
#define HONE_MODEL_OOD_H

#include <stddef.h>

#include "util/err.h"

struct ood {
    size_t width; /* 0: nothing is known */
    float *mean;  /* (width) */
    float *whitener; /* (width, width): W, lower triangular */
    float threshold; /* > 0 */
    double shrinkage; /* s; of a fit, not kept in files */
};

/* Fewer texts than that say nothing. */
enum { OOD_LEAST = 20 };

/* h: (n, width).  The threshold is left 0.  -1 and a sentence where n < OOD_LEAST or all states are the same. */
int ood_fit(struct ood *o, const float *h, size_t n, size_t width, struct err *err);

/* distance: (n) out, those of n states held out: each is measured by a fit to the others, of the folds 0 .. FOLDS - 1 that fold
 * (n) gives; texts of one prompt belong into one fold. */
enum { OOD_FOLDS = 5 };
int ood_cross_fit(double *distance, const float *h, const size_t *fold, size_t n, size_t width, struct err *err);

double ood_distance(const struct ood *o, const float *h);

void ood_release(struct ood *o);

#endif
