#include "objective/bco.h"

#include "objective/scalar.h"

struct pair_loss bco_pair(double chosen, double rejected, const struct preference_config *cfg)
{
    double beta = cfg->beta, c = beta * chosen, r = beta * rejected;
    return (struct pair_loss){-log_sigmoid(c) - log_sigmoid(-r), -beta * sigmoid(-c),
                              beta * sigmoid(r)};
}
