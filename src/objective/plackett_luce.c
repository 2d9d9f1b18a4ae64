#include "objective/plackett_luce.h"

#include <math.h>

#include "objective/check.h"

/* log( e^s_i + sum over those below i of e^s_j ), without overflow. */
static double log_total(const double *s, const size_t *ranks, size_t k, size_t i)
{
    double top = s[i], sum = 0;
    for (size_t j = 0; j < k; j++)
        if (ranks[j] > ranks[i])
            top = fmax(top, s[j]);
    for (size_t j = 0; j < k; j++)
        if (j == i || ranks[j] > ranks[i])
            sum += exp(s[j] - top);
    return top + log(sum);
}

int plackett_luce_loss(double *nll, double *dscores, const double *scores, const size_t *ranks, size_t k, struct err *err)
{
    if (k < 2)
        return err_set(err, "a ranking of %zu answers says nothing: it takes two or more", k);
    if (check_finite("scores", scores, NULL, k, err))
        return -1;
    double sum = 0;
    size_t compared = 0;
    for (size_t i = 0; i < k; i++) {
        sum += log_total(scores, ranks, k, i) - scores[i];
        compared += ranks[i] != ranks[0];
    }
    if (compared == 0)
        return err_set(err, "all %zu answers have the rank %zu: there is nothing to learn", k, ranks[0]);
    if (!isfinite(sum))
        return err_set(err, "the loss of a ranking is not finite: its scores are too far apart; lower the learning rate");
    for (size_t j = 0; j < k; j++)
        dscores[j] = 0;
    for (size_t i = 0; i < k; i++) { /* d nll / d s_j = P(j is chosen out of i and those below) - [j is i] */
        double total = log_total(scores, ranks, k, i);
        for (size_t j = 0; j < k; j++)
            if (j == i || ranks[j] > ranks[i])
                dscores[j] += exp(scores[j] - total) - (j == i);
    }
    *nll = sum;
    return 0;
}
