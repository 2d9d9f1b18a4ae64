#include "objective/crowd_bt.h"

#include <math.h>

#include "objective/check.h"
#include "objective/scalar.h"

int crowd_bt_loss(double *nll, double *dx, double *deta, double x, double eta, double w_a, double w_b, struct err *err)
{
    if (check_finite("x", &x, NULL, 1, err) || check_fraction("eta", eta, err) || check_weights("w_a", &w_a, 1, err) ||
        check_weights("w_b", &w_b, 1, err))
        return -1;
    double a = sigmoid(x), b = sigmoid(-x), p_a = eta * a + (1 - eta) * b, p_b = eta * b + (1 - eta) * a;
    double loss = (w_a > 0 ? -w_a * log(p_a) : 0) + (w_b > 0 ? -w_b * log(p_b) : 0);
    /* d loss / d p_a, with p_b = 1 - p_a */
    double dp = (w_a > 0 ? -w_a / p_a : 0) + (w_b > 0 ? w_b / p_b : 0);
    if (!isfinite(loss) || !isfinite(dp))
        return err_set(err, "the loss of a vote is not finite: its scores are too far apart; lower the learning rate");
    *dx = dp * (2 * eta - 1) * a * b;
    *deta = dp * (a - b);
    *nll = loss;
    return 0;
}

/* One annotator's votes, at a scale of the leads. */
struct votes {
    const double *x, *w_a, *w_b;
    size_t n;
    double scale;
};

/* The log-likelihood, concave in eta, and its derivative. */
static double likelihood(double *slope, const struct votes *v, double eta)
{
    double sum = 0;
    *slope = 0;
    for (size_t i = 0; i < v->n; i++) {
        double a = sigmoid(v->scale * v->x[i]), b = sigmoid(-v->scale * v->x[i]), p_a = eta * a + (1 - eta) * b, p_b = 1 - p_a;
        sum += (v->w_a[i] > 0 ? v->w_a[i] * log(p_a) : 0) + (v->w_b[i] > 0 ? v->w_b[i] * log(p_b) : 0);
        *slope += ((v->w_a[i] > 0 ? v->w_a[i] / p_a : 0) - (v->w_b[i] > 0 ? v->w_b[i] / p_b : 0)) * (a - b);
    }
    return sum;
}

#define LEAST 1e-9 /* of eta and of 1 - eta, so that nothing is impossible */

static double likeliest(double *most, const struct votes *v)
{
    double lo = LEAST, hi = 1 - LEAST, slope;
    for (int step = 0; step < 40; step++) {
        double middle = (lo + hi) / 2;
        likelihood(&slope, v, middle);
        if (slope > 0)
            lo = middle;
        else
            hi = middle;
    }
    *most = likelihood(&slope, v, (lo + hi) / 2);
    return (lo + hi) / 2;
}

static struct votes votes_of(const double *x, const double *w_a, const double *w_b, const size_t *start, size_t k, double scale)
{
    return (struct votes){x + start[k], w_a + start[k], w_b + start[k], start[k + 1] - start[k], scale};
}

static struct interval around(const struct votes *v)
{
    const double half_chi2 = 1.920729410347062;
    struct interval out = {NAN, 0, 1};
    double most, slope;
    if (v->n == 0)
        return out;
    out.value = likeliest(&most, v);
    for (int side = 0; side < 2; side++) {
        double in = out.value, away = side ? 1 - LEAST : LEAST;
        if (likelihood(&slope, v, away) >= most - half_chi2)
            continue;
        for (int step = 0; step < 40; step++) {
            double middle = (in + away) / 2;
            if (likelihood(&slope, v, middle) >= most - half_chi2)
                in = middle;
            else
                away = middle;
        }
        *(side ? &out.hi : &out.lo) = in;
    }
    return out;
}

void crowd_bt_reliability(struct interval *reliability, double *scale, const double *x, const double *w_a, const double *w_b,
                          const size_t *start, size_t n)
{
    enum { ROUNDS = 8, POINTS = 13 };
    const double least = log(0.05), most = log(50);
    double lo = least, hi = most, centre = 0;
    for (int round = 0; round < ROUNDS; round++) { /* a grid over log scale, then a finer one around the best point */
        double step = (hi - lo) / (POINTS - 1), best = -INFINITY;
        for (int p = 0; p < POINTS; p++) {
            double sum = 0, own;
            for (size_t k = 0; k < n; k++) {
                struct votes v = votes_of(x, w_a, w_b, start, k, exp(lo + step * p));
                likeliest(&own, &v);
                sum += own;
            }
            if (sum > best) {
                best = sum;
                centre = lo + step * p;
            }
        }
        lo = fmax(least, centre - step);
        hi = fmin(most, centre + step);
    }
    *scale = exp(centre);
    for (size_t k = 0; k < n; k++) {
        struct votes v = votes_of(x, w_a, w_b, start, k, *scale);
        reliability[k] = around(&v);
    }
}

double crowd_bt_prior(double eta, double *dlogit)
{
    *dlogit = -(4 * (1 - eta) - eta);
    return -(4 * log(eta) + log1p(-eta));
}
