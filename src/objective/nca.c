#include "objective/nca.h"

#include "objective/scalar.h"

struct pair_loss nca_pair(double chosen, double rejected, const struct preference_config *cfg)
{
    double beta = cfg->beta, c = beta * chosen, r = beta * rejected;
    return (struct pair_loss){-log_sigmoid(c) - 0.5 * log_sigmoid(-c) - 0.5 * log_sigmoid(-r),
                              beta * (0.5 * sigmoid(c) - sigmoid(-c)), 0.5 * beta * sigmoid(r)};
}
