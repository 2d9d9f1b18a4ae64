/* f-divergences between policy and reference (Wang, Jiang, Yang, Liu and Chen 2023, "Beyond reverse
 * KL: generalizing direct preference optimization with diverse divergence constraints"): the reward
 * that a divergence with the function f gives a completion is beta f'(r), r = e^u, u = logp -
 * ref_logp, up to a term that is the same for both sides of a pair.
 *
 *     f_divergence_type    f'(r), written in u
 *     reverse_kl           u                            DPO
 *     forward_kl           1 - e^-u
 *     js_divergence        log 2 + log sigmoid(u)
 *     alpha_divergence     (e^((a - 1) u) - 1) / (a - 1)    a is f_alpha_divergence_coef; a = 1: u
 *
 * The paper's alpha-divergence has (1 - r^-alpha) / alpha: TRL's coefficient a is 1 - alpha, and so
 * is ours. */
#ifndef HONE_OBJECTIVE_DIVERGENCE_H
#define HONE_OBJECTIVE_DIVERGENCE_H

enum divergence {
    DIVERGENCE_REVERSE_KL,
    DIVERGENCE_FORWARD_KL,
    DIVERGENCE_JS,
    DIVERGENCE_ALPHA,
};
extern const char *const divergence_names[]; /* TRL's; ends with NULL */

/* f' at u; *slope: out, its derivative by u.  Infinite where u is too far off: the caller looks. */
double divergence_score(double u, double *slope, enum divergence type, double coef);

#endif
