/* Nash mirror descent (Munos et al. 2023, "Nash learning from human feedback", arXiv:2312.00886, its Nash-MD-PG): the
 * policy plays against a mixture of itself and the reference, and makes likelier what beats it.
 *
 * For a completion y of the policy, P the chance that it is better than the opponent's completion to the same prompt, and a
 * token t of it with r_t = logp_t - ref_logp_t taken as a constant:
 *
 *     loss = beta sum_t r_t logp_t - (P - 1/2) sum_t logp_t          d loss / d logp_t = beta r_t - (P - 1/2)
 *
 * Its gradient, not its value, means something: REINFORCE with 1/2 as the baseline (what P is between equals), and a KL of
 * which each token pays its own part, as in TRL's NashMDTrainer.  It is right for completions of the policy as it is: one step
 * a batch. */
#ifndef HONE_OBJECTIVE_NASH_MD_H
#define HONE_OBJECTIVE_NASH_MD_H

#include <stddef.h>

#include "util/err.h"

struct nash_md_loss {
    double loss;
    double score; /* (P - 1/2) sum of logp: TRL's loss/score */
    double kl;    /* sum of r: loss/kl */
};

/* logp, ref_logp (n): of a completion's tokens.  dlogp (n): out, the gradient.  Returns 0, or -1 with a sentence if n is 0, a
 * number is not finite or probability is not in [0, 1] (outputs untouched). */
int nash_md_loss(struct nash_md_loss *out, double *dlogp, const double *logp, const double *ref_logp, size_t n,
                 double probability, double beta, struct err *err);

#endif
