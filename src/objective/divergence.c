#include "objective/divergence.h"

#include <math.h>
#include <stddef.h>

#include "objective/scalar.h"

const char *const divergence_names[] = {[DIVERGENCE_REVERSE_KL] = "reverse_kl",
                                        [DIVERGENCE_FORWARD_KL] = "forward_kl",
                                        [DIVERGENCE_JS] = "js_divergence",
                                        [DIVERGENCE_ALPHA] = "alpha_divergence",
                                        NULL};

/* Nearer to the limit than this it is the limit (TRL's border, too). */
#define AT_LIMIT 1e-6

double divergence_score(double u, double *slope, enum divergence type, double coef)
{
    double k = coef - 1;
    *slope = 1;
    switch (type) {
    case DIVERGENCE_FORWARD_KL:
        *slope = exp(-u);
        return -expm1(-u);
    case DIVERGENCE_JS:
        *slope = sigmoid(-u);
        return log(2) + log_sigmoid(u);
    case DIVERGENCE_ALPHA:
        if (fabs(k) < AT_LIMIT)
            return u;
        *slope = exp(k * u);
        return expm1(k * u) / k;
    default:
        return u;
    }
}
