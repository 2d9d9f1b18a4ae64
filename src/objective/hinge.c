#include "objective/hinge.h"

struct pair_loss hinge_pair(double chosen, double rejected, const struct preference_config *cfg)
{
    double gap = 1 - cfg->beta * (chosen - rejected);
    if (gap <= 0)
        return (struct pair_loss){0};
    return (struct pair_loss){gap, -cfg->beta, cfg->beta};
}
