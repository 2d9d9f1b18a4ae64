#include "objective/ordinal.h"

#include <math.h>
#include <stdbool.h>

#include "objective/check.h"
#include "objective/scalar.h"

int ordinal_loss(double *nll, double *dscore, double *dtheta, double score, size_t rating, const double *theta, size_t n_theta,
                 struct err *err)
{
    if (check_finite("score", &score, NULL, 1, err) || check_finite("theta", theta, NULL, n_theta, err))
        return -1;
    if (rating < 1 || rating > n_theta + 1 || n_theta == 0)
        return err_set(err, "a rating of %zu is none of 1 to %zu", rating, n_theta + 1);
    for (size_t i = 1; i < n_theta; i++)
        if (!(theta[i] > theta[i - 1]))
            return err_set(err, "the thresholds of ratings do not rise: 'theta[%zu]' is %g after %g; lower their learning rate", i,
                           theta[i], theta[i - 1]);
    /* sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - e^(l - u)), which does not cancel */
    bool has_upper = rating <= n_theta, has_lower = rating > 1;
    double u = has_upper ? theta[rating - 1] - score : 0, l = has_lower ? theta[rating - 2] - score : 0, loss = 0, du = 0, dl = 0;
    if (has_upper) {
        loss += softplus(-u);
        du -= sigmoid(-u);
    }
    if (has_lower) {
        loss += softplus(l);
        dl += sigmoid(l);
    }
    if (has_upper && has_lower) {
        loss -= log(-expm1(l - u));
        du -= 1 / expm1(u - l);
        dl += 1 / expm1(u - l);
    }
    if (!isfinite(loss) || !isfinite(du) || !isfinite(dl))
        return err_set(err, "the loss of a rating is not finite: its thresholds are too close, or its score too far off; lower the learning rate");
    for (size_t i = 0; i < n_theta; i++)
        dtheta[i] = 0;
    if (has_upper)
        dtheta[rating - 1] = du;
    if (has_lower)
        dtheta[rating - 2] = dl;
    *dscore = -du - dl;
    *nll = loss;
    return 0;
}
