#include "objective/dpo.h"

#include "objective/scalar.h"

double logistic_loss(double z, double e, double *slope)
{
    *slope = e * sigmoid(z) - (1 - e) * sigmoid(-z);
    return -(1 - e) * log_sigmoid(z) - e * log_sigmoid(-z);
}

struct pair_loss dpo_pair(double chosen, double rejected, const struct preference_config *cfg)
{
    double slope, z = cfg->beta * (chosen - rejected);
    double loss = logistic_loss(z, cfg->label_smoothing, &slope);
    return (struct pair_loss){loss, cfg->beta * slope, -cfg->beta * slope};
}

struct pair_loss robust_pair(double chosen, double rejected, const struct preference_config *cfg)
{
    double e = cfg->label_smoothing, z = cfg->beta * (chosen - rejected);
    double loss = (-(1 - e) * log_sigmoid(z) + e * log_sigmoid(-z)) / (1 - 2 * e);
    double slope = (-(1 - e) * sigmoid(-z) - e * sigmoid(z)) / (1 - 2 * e);
    return (struct pair_loss){loss, cfg->beta * slope, -cfg->beta * slope};
}
