#include "objective/kto.h"

#include <math.h>

#include "objective/check.h"
#include "objective/scalar.h"

int kto_kl(double *kl, const double *logp, const double *ref_logp, size_t n, struct err *err)
{
    if (check_finite("kl_logp", logp, NULL, n, err) ||
        check_finite("ref_kl_logp", ref_logp, NULL, n, err))
        return -1;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += logp[i] - ref_logp[i];
    *kl = n ? fmax(0, sum / (double)n) : 0;
    return 0;
}

static int check(const struct kto_completions *c, double kl, const struct kto_config *cfg,
                 struct err *err)
{
    if (c->n == 0)
        return err_set(err, "there are no completions: a mean needs at least one");
    return check_positive("beta", cfg->beta, err) ||
                   check_not_negative("desirable_weight", cfg->desirable_weight, err) ||
                   check_not_negative("undesirable_weight", cfg->undesirable_weight, err) ||
                   check_not_negative("kl", kl, err) ||
                   check_finite("logp", c->logp, NULL, c->n, err) ||
                   check_finite("ref_logp", c->ref_logp, NULL, c->n, err)
               ? -1
               : 0;
}

int kto_loss(double *loss, double *dlogp, const struct kto_completions *c, double kl,
             const struct kto_config *cfg, struct err *err)
{
    if (check(c, kl, cfg, err))
        return -1;
    double sum = 0, n = (double)c->n;
    for (size_t i = 0; i < c->n; i++) {
        double sign = c->desirable[i] ? 1 : -1;
        double weight = c->desirable[i] ? cfg->desirable_weight : cfg->undesirable_weight;
        double z = sign * cfg->beta * (c->logp[i] - c->ref_logp[i] - kl);
        sum += weight * sigmoid(-z); /* 1 - sigmoid(z) */
        dlogp[i] = -weight * sign * cfg->beta * sigmoid(z) * sigmoid(-z) / n;
    }
    *loss = sum / n;
    return 0;
}
