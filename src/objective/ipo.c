#include "objective/ipo.h"

#include <math.h>

/* How far the margin is from where it should be. */
static double gap(const struct preference_pairs *p, size_t i, double beta)
{
    double chosen = (p->chosen[i] - p->ref_chosen[i]) / (double)p->chosen_len[i];
    double rejected = (p->rejected[i] - p->ref_rejected[i]) / (double)p->rejected_len[i];
    return chosen - rejected - 1 / (2 * beta);
}

int ipo_loss(double *loss, double *dchosen, double *drejected, const struct preference_pairs *pairs,
             const struct preference_config *cfg, struct err *err)
{
    if (preference_check(pairs, cfg, err))
        return -1;
    if (cfg->label_smoothing != 0)
        return err_set(err,
                       "'label_smoothing' is %g: loss_type 'ipo' has none; set it to 0 or use "
                       "'sigmoid'",
                       cfg->label_smoothing);
    double n = (double)pairs->n, sum = 0;
    for (size_t i = 0; i < pairs->n; i++) {
        double g = gap(pairs, i, cfg->beta);
        sum += g * g;
        if (!isfinite(sum))
            return preference_overflow(i, err);
    }
    for (size_t i = 0; i < pairs->n; i++) {
        double g = gap(pairs, i, cfg->beta);
        dchosen[i] = 2 * g / (double)pairs->chosen_len[i] / n;
        drejected[i] = -2 * g / (double)pairs->rejected_len[i] / n;
    }
    *loss = sum / n;
    return 0;
}
