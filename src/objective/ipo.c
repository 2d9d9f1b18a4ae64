#include "objective/ipo.h"

struct pair_loss ipo_pair(double chosen, double rejected, const struct preference_config *cfg)
{
    double gap = chosen - rejected - 1 / (2 * cfg->beta);
    return (struct pair_loss){gap * gap, 2 * gap, -2 * gap};
}
