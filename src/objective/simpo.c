#include "objective/simpo.h"

#include "objective/dpo.h"

struct pair_loss simpo_pair(double chosen, double rejected, const struct preference_config *cfg)
{
    double slope, z = cfg->beta * (chosen - rejected) - cfg->simpo_gamma;
    double loss = logistic_loss(z, cfg->label_smoothing, &slope);
    return (struct pair_loss){loss, cfg->beta * slope, -cfg->beta * slope};
}
