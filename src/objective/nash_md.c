#include "objective/nash_md.h"

#include "objective/check.h"

int nash_md_loss(struct nash_md_loss *out, double *dlogp, const double *logp, const double *ref_logp, size_t n,
                 double probability, double beta, struct err *err)
{
    if (n == 0)
        return err_set(err, "there are no tokens: a completion has at least one");
    if (check_finite("logp", logp, NULL, n, err) || check_finite("ref_logp", ref_logp, NULL, n, err) ||
        check_fraction("probability", probability, err) || check_not_negative("beta", beta, err))
        return -1;
    struct nash_md_loss sum = {0};
    double won = probability - 0.5;
    for (size_t t = 0; t < n; t++) {
        double r = logp[t] - ref_logp[t];
        sum.score += won * logp[t];
        sum.kl += r;
        sum.loss += (beta * r - won) * logp[t];
        dlogp[t] = beta * r - won;
    }
    *out = sum;
    return 0;
}
