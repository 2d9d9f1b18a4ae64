/* Kahneman-Tversky optimisation (Ethayarajh, Xu, Muennighoff, Jurafsky and Kiela 2024, "KTO: model
 * alignment as prospect theoretic optimization", eq. 7): completions with a thumb up or down,
 * no pairs.  With u = logp - ref_logp and the reference point z0 (`kl`):
 *
 *     loss of a desirable one    = desirable_weight   (1 - sigmoid(beta (u - z0)))
 *     loss of an undesirable one = undesirable_weight (1 - sigmoid(beta (z0 - u)))
 *
 * and the mean over the completions.  z0 stands for the KL between policy and reference: the mean
 * of u over prompts with completions that belong to other prompts, not below 0; nothing is
 * differentiated through it.  With z0 = 0 this is apo_zero for completions without a partner
 * (objective/apo.h), TRL's "apo_zero_unpaired". */
#ifndef HONE_OBJECTIVE_KTO_H
#define HONE_OBJECTIVE_KTO_H

#include <stdbool.h>
#include <stddef.h>

#include "util/err.h"

/* All arrays are the caller's, (n). */
struct kto_completions {
    size_t n;
    const double *logp, *ref_logp; /* nats, sums over completions */
    const bool *desirable;
};

/* TRL's names. */
struct kto_config {
    double beta;                                 /* > 0 */
    double desirable_weight, undesirable_weight; /* >= 0 */
};

/* *kl: out, the reference point z0 of n mismatched completions, at least 0; 0 where there are none.
 * Returns 0, or -1 and a sentence if a number is not finite. */
int kto_kl(double *kl, const double *logp, const double *ref_logp, size_t n, struct err *err);

/* *loss: out, the mean.  dlogp: out, (n), overwritten, with 1/n in it.  Returns 0, or -1 and a
 * sentence if n == 0, an input is not finite or a setting out of its range (outputs untouched). */
int kto_loss(double *loss, double *dlogp, const struct kto_completions *c, double kl,
             const struct kto_config *cfg, struct err *err);

#endif
