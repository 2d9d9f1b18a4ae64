/* Advantages without a critic: what a completion's reward is worth beside those of the other
 * completions to the same prompt, its group.
 *
 * rewards: groups one after the other, k completions each, n = groups * k.  All of a completion's
 * tokens have its advantage.  Standard deviations are the samples' (k - 1), as TRL's are, and 1e-4
 * is added to them.  Outputs may be the inputs.  All return 0, or -1 with a sentence if there is
 * too little to compare or a number is not finite (outputs untouched). */
#ifndef HONE_OBJECTIVE_ADVANTAGES_H
#define HONE_OBJECTIVE_ADVANTAGES_H

#include <stdbool.h>
#include <stddef.h>

#include "util/err.h"

/* What GRPO divides by, under TRL's names. */
enum scale_rewards {
    SCALE_GROUP, /* the group's own standard deviation */
    SCALE_BATCH, /* that of all rewards (Liu et al. 2025, "Tricks or traps?") */
    SCALE_NONE,  /* 1 */
};

/* "group", "batch", "none", then NULL. */
extern const char *const scale_rewards_names[];

/* Group relative policy optimisation (Shao et al. 2024, "DeepSeekMath", section 4.1.2):
 *
 *     advantage = (reward - mean of the group) / (standard deviation + 1e-4)
 *
 * Dr. GRPO (Liu et al. 2025, "Understanding R1-Zero-like training") does not divide: groups that
 * are nearly all right or all wrong would count for more than the others.  k at least 2. */
int grpo_advantages(double *advantages, const double *rewards, size_t groups, size_t k,
                    enum scale_rewards scale, struct err *err);

/* REINFORCE leave-one-out (Ahmadian et al. 2024, "Back to basics", eq. 8), k at least 2:
 *
 *     advantage = reward - mean of the group's other rewards
 */
int rloo_advantages(double *advantages, const double *rewards, size_t groups, size_t k,
                    struct err *err);

/* Several rewards, each made comparable in its group before they are added up (GDPO: Liu et al. 2026, "Group reward-decoupled
 * normalization policy optimization", arXiv:2601.05242; TRL's multi_objective_aggregation "normalize_then_sum"):
 *
 *     sum over the parts of weight * (reward - mean of the group) / (standard deviation of the group + 1e-4)
 *
 * which normalize_advantages() then makes advantages.  Added up first, rewards of unlike scale drown each other, and groups that
 * differ in one of them alone look like others.  parts: n_parts arrays of groups * k rewards, none of them
 * `rewards` itself.  k at least 2. */
int gdpo_rewards(double *rewards, const double *const *parts, const double *weights, size_t n_parts, size_t groups, size_t k,
                 struct err *err);

/* (x - mean) / (standard deviation + 1e-4) over all n: TRL's normalize_advantages, and, on plain
 * rewards, the baseline of REINFORCE++ (Hu 2025).  n at least 2. */
int normalize_advantages(double *y, const double *x, size_t n, struct err *err);

/* Are the rewards of one group all the same?  Then it teaches nothing: its advantages are 0. */
bool group_is_flat(const double *rewards, size_t k);

/* Standard deviation (n - 1) of n numbers, 0 where n < 2. */
double sample_std(const double *x, size_t n);

#endif
