/* Statistics: every number with its uncertainty (law 8).
 *
 * Intervals cover 95 %.  An observation belongs to a unit, which is what was drawn at random and so
 * what the bootstrap draws again: the prompt.  Answers to one prompt are alike; taking them for
 * independent would make intervals too narrow.  Random numbers come from RNG_BOOTSTRAP with counter
 * (resample, draw), so equal input gives equal intervals. */
#ifndef HONE_UTIL_STATS_H
#define HONE_UTIL_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "util/err.h"

enum { STATS_RESAMPLES = 2000, STATS_BINS = 10 };

/* A value and the borders of its interval.  NaN: nothing to go by (no observations), or, for the
 * borders of a bootstrap alone, fewer than two units. */
struct interval {
    double value, lo, hi;
};

/* n observations x, each of a unit: any numbers, in any order.  unit NULL: each is its own. */
struct stats_sample {
    const double *x;
    const uint32_t *unit;
    size_t n;
};

/* NaN if n == 0. */
double stats_mean(const double *x, size_t n);

/* Quantile q in [0, 1] of n sorted numbers, linear between neighbours (numpy's default); NaN if
 * n == 0. */
double stats_quantile(const double *sorted, size_t n, double q);

/* Share of successes in n with Wilson's interval, which stays inside [0, 1] and does not collapse
 * at 0 or n.  successes may be a fraction (ties count as half). */
struct interval stats_wilson(double successes, double n);

/* Mean, with the percentile bootstrap's interval over units.  Every observation weighs the same. */
struct interval stats_bootstrap_mean(const struct stats_sample *s, uint32_t seed);

/* mean(a) - mean(b), where a and b number the same units alike: one draw of units serves both, so
 * what a prompt does to both sides cancels.  A unit may stand on one side only. */
struct interval stats_bootstrap_difference(const struct stats_sample *a,
                                           const struct stats_sample *b, uint32_t seed);

/* Wins of A over B; a tie counts as half.  The interval is the bootstrap's over units, or Wilson's
 * over units where all outcomes are the same and the bootstrap would see no spread. */
struct win_rate {
    size_t n, units, wins, ties, losses;
    struct interval rate;
};

/* outcome: (n) 1 A won, 0 tie, -1 B won.  unit: (n), or NULL. */
void stats_win_rate(struct win_rate *out, const signed char *outcome, const uint32_t *unit,
                    size_t n, uint32_t seed);

/* How far people agree on n things, beyond chance: Krippendorff's alpha for nominal data (2011, "Computing Krippendorff's
 * alpha-reliability").  count: (n) how many said each of three; those with fewer than two votes do not enter.  1: always, 0: as often as
 * chance would have it, below: less.  NaN where nothing has two votes, or all said the same.  The interval is the bootstrap's over units. */
struct interval stats_krippendorff(double (*count)[3], const uint32_t *unit, size_t n, uint32_t seed);

/* How well stated probabilities agree with what happened.  Bin i holds p in (i/10, (i+1)/10], the
 * first also 0.  ece: mean over observations of |mean p - mean outcome| of their bin (Guo et al.,
 * ICML'17).  brier: mean of (p - outcome)^2. */
struct calibration_bin {
    size_t n;
    double mean_p;         /* NaN where n == 0 */
    struct interval share; /* of outcomes; Wilson */
};
struct calibration {
    size_t n;
    double ece, brier;
    struct calibration_bin bin[STATS_BINS];
};

/* p: (n) probabilities; outcome: (n) 1 it happened, 0 it did not, 0.5 a tie.  Returns -1 if n == 0
 * or a number is outside [0, 1]. */
int stats_calibration(struct calibration *out, const double *p, const double *outcome, size_t n,
                      struct err *err);

/* The same ece, with the bootstrap's interval over units.  Resampling adds to an ECE what chance added to it already, so
 * the interval is the pivotal one, 2 ece - quantile, which takes that off again; within [0, 1], and never without ece. */
struct interval stats_bootstrap_ece(const double *p, const double *outcome, const uint32_t *unit, size_t n,
                                    uint32_t seed);

#endif
