#include "objective/exo.h"

#include "objective/scalar.h"

struct pair_loss exo_pair(double chosen, double rejected, const struct preference_config *cfg)
{
    double e = cfg->label_smoothing, z = cfg->beta * (chosen - rejected);
    double win = log_sigmoid(z) - log1p(-e), lose = log_sigmoid(-z) - log(e);
    double loss = sigmoid(z) * win + sigmoid(-z) * lose;
    double slope = cfg->beta * sigmoid(z) * sigmoid(-z) * (win - lose);
    return (struct pair_loss){loss, slope, -slope};
}
