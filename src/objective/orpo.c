#include "objective/orpo.h"

#include "objective/scalar.h"

double orpo_log_odds(double chosen, double rejected)
{
    return chosen - rejected - (log1mexp(chosen) - log1mexp(rejected));
}

struct pair_loss orpo_pair(double chosen, double rejected, const struct preference_config *cfg)
{
    double odds = orpo_log_odds(chosen, rejected), slope = -cfg->beta * sigmoid(-odds);
    /* the derivative of log odds(p) by p is 1 / (1 - e^p) */
    return (struct pair_loss){-cfg->beta * log_sigmoid(odds), slope / -expm1(chosen),
                              -slope / -expm1(rejected)};
}
