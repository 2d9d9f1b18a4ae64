#include "objective/dpo.h"

#include <math.h>

#include "objective/scalar.h"

static double logit(const struct preference_pairs *p, size_t i, double beta)
{
    return beta * ((p->chosen[i] - p->ref_chosen[i]) - (p->rejected[i] - p->ref_rejected[i]));
}

int dpo_loss(double *loss, double *dchosen, double *drejected, const struct preference_pairs *pairs,
             const struct preference_config *cfg, struct err *err)
{
    if (preference_check(pairs, cfg, err))
        return -1;
    double e = cfg->label_smoothing, n = (double)pairs->n, sum = 0;
    for (size_t i = 0; i < pairs->n; i++) {
        double z = logit(pairs, i, cfg->beta);
        sum += -(1 - e) * log_sigmoid(z) - e * log_sigmoid(-z);
        if (!isfinite(sum))
            return preference_overflow(i, err);
    }
    for (size_t i = 0; i < pairs->n; i++) {
        double z = logit(pairs, i, cfg->beta);
        dchosen[i] = cfg->beta * (e * sigmoid(z) - (1 - e) * sigmoid(-z)) / n;
        drejected[i] = -dchosen[i];
    }
    *loss = sum / n;
    return 0;
}
