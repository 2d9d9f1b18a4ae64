/* Alignment via optimal transport (Melnyk, Mroueh, Belgodere, Rigotti, Nitsure, Yurochkin,
 * Greenewald, Navratil and Ross 2024, "Distributional preference alignment of LLMs via optimal
 * transport"), loss_type "aot" and "aot_unpaired": not each pair is to win, but the distribution of
 * the one side over the other, quantile by quantile.  x_(k) is the k-th smallest of the step:
 *
 *     aot:           x = chosen - rejected,    y = ref_chosen - ref_rejected
 *     aot_unpaired:  x = chosen - ref_chosen,  y = rejected - ref_rejected
 *     loss = mean over k of -(1 - e) log sigmoid(beta (x_(k) - y_(k)))
 *                           - e log sigmoid(-beta (x_(k) - y_(k)))
 *
 * e is label_smoothing.  Of equal values the earlier pair is the smaller one.  The order of a step
 * is the order of all its pairs, so these losses see the whole step at once. */
#ifndef HONE_OBJECTIVE_AOT_H
#define HONE_OBJECTIVE_AOT_H

#include "objective/objective.h"

/* The contract of both is preference_step_function's. */
double aot_step(double *dchosen, double *drejected, const struct preference_pairs *pairs,
                const struct preference_config *cfg);
double aot_unpaired_step(double *dchosen, double *drejected, const struct preference_pairs *pairs,
                         const struct preference_config *cfg);

#endif
