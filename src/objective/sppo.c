#include "objective/sppo.h"

struct pair_loss sppo_pair(double chosen, double rejected, const struct preference_config *cfg)
{
    double c = chosen - 1 / (2 * cfg->beta), r = rejected + 1 / (2 * cfg->beta);
    return (struct pair_loss){c * c + r * r, 2 * c, 2 * r};
}
