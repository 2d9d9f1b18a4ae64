#include "objective/discopop.h"

#include "objective/scalar.h"

/* m e^-z.  Far below 0 the one overflows while their product does not. */
static double modulated_exponential(double z, double tau)
{
    return exp(log_sigmoid(z / tau) - z);
}

struct pair_loss discopop_pair(double chosen, double rejected, const struct preference_config *cfg)
{
    double tau = cfg->discopop_tau, z = cfg->beta * (chosen - rejected);
    double m = sigmoid(z / tau), rest = sigmoid(-z / tau), e = modulated_exponential(z, tau);
    double loss = -rest * log_sigmoid(z) + e;
    /* m' is m (1 - m) / tau */
    double slope = -rest * sigmoid(-z) + m * rest / tau * log_sigmoid(z) + e * (rest / tau - 1);
    return (struct pair_loss){loss, cfg->beta * slope, -cfg->beta * slope};
}
