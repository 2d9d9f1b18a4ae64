#include "objective/apo.h"

#include "objective/scalar.h"

/* Derivative of sigmoid, which is even. */
static double slope(double x)
{
    return sigmoid(x) * sigmoid(-x);
}

struct pair_loss apo_zero_pair(double chosen, double rejected, const struct preference_config *cfg)
{
    double beta = cfg->beta, c = beta * chosen, r = beta * rejected;
    return (struct pair_loss){sigmoid(-c) + sigmoid(r), -beta * slope(c), beta * slope(r)};
}

struct pair_loss apo_down_pair(double chosen, double rejected, const struct preference_config *cfg)
{
    double beta = cfg->beta, c = beta * chosen, z = beta * (chosen - rejected);
    return (struct pair_loss){sigmoid(c) + sigmoid(-z), beta * (slope(c) - slope(z)),
                              beta * slope(z)};
}
