/* Group relative policy optimisation (Shao et al. 2024, "DeepSeekMath", eq. 3) and its kin: the loss
 * of completions whose advantages (objective/advantages.h) are given.
 *
 * For the token t of a completion o with advantage A, with low = 1 - epsilon, high = 1 + epsilon_high:
 *
 *     w    = e^(logp - old_logp)                                       importance_sampling_level "token"
 *     w    = e^(mean over the completion of logp - old_logp)           "sequence" (GSPO: Zheng et al.
 *                                                                      2025, eq. 7)
 *     w    = e^(sum over the completion of logp - old_logp)            "completion": RLOO, below
 *     loss = max(-A min(w, delta), -A clip(w, low, high))              all but cispo; see clip.h
 *     loss = -min(w, epsilon_high) A logp, w a constant                cispo (MiniMax 2025, "MiniMax-M1",
 *                                                                      eq. 4)
 *     loss = -A f(w), loss = -phi A logp                               sapo, vespo: objective/soft.h
 *     loss = loss + beta kl,  kl = e^(ref_logp - logp) - (ref_logp - logp) - 1              (k3)
 *
 * With use_bias_correction_kl kl is w kl (DeepSeek-AI 2025, "DeepSeek-V3.2", section 3.1): its
 * gradient at w = 1 is then that of the KL itself, which k3's alone is not.
 *
 * What the sum over tokens is divided by makes the loss_type:
 *
 *     grpo      a completion's own tokens, and then the number of completions (eq. 3)
 *     bnpo      the tokens of the step
 *     dr_grpo   completions * max_completion_length (Liu et al. 2025, "Understanding R1-Zero-like
 *               training"): long wrong answers are not let off
 *     dapo      the tokens of the whole batch of rollouts over its number of steps (Yu et al. 2025,
 *               "DAPO", eq. 8); cispo and vespo have the same.  With one step it is bnpo
 *     sapo      as grpo
 *     luspo     the number of completions alone (arXiv:2602.05261): a long answer counts for as much as it has
 *               tokens, which GSPO's mean takes from it; asks for the level "sequence"
 *
 * off_policy_mask_threshold (DeepSeek-AI 2025, "DeepSeek-V3.2", section 3.1): a completion with A < 0 whose mean of
 * old_logp - logp is above it, which the policy has left behind already, is not pushed down any further; its KL still counts.
 *
 * RLOO (Ahmadian et al. 2024, "Back to basics", as TRL's RLOOTrainer has it) is loss_type grpo at the
 * level "completion": a completion is one action with one ratio, and at w = 1 the gradient is
 * REINFORCE's, -A a token over the number of completions.  Its KL is part of the reward, so beta is 0.
 *
 * Tokens of completions with mask false count in no sum and no number of tokens; the completions
 * themselves still count, as in TRL.
 *
 * A step may come in several calls: grpo_counts are those of the whole step, so losses and gradients
 * of the calls add up, and the sums go on in the order of completions. */
#ifndef HONE_OBJECTIVE_GRPO_H
#define HONE_OBJECTIVE_GRPO_H

#include <stdbool.h>
#include <stddef.h>

#include "util/err.h"

enum grpo_loss_type { GRPO, GRPO_BNPO, GRPO_DR, GRPO_DAPO, GRPO_CISPO, GRPO_SAPO, GRPO_LUSPO, GRPO_VESPO };
enum importance_sampling_level { LEVEL_TOKEN, LEVEL_SEQUENCE, LEVEL_COMPLETION };

/* TRL's names in the order of the enums, then NULL; it has none for the last level. */
extern const char *const grpo_loss_type_names[], *const importance_sampling_level_names[];

struct grpo_config {
    enum grpo_loss_type loss_type;
    enum importance_sampling_level importance_sampling_level;
    double epsilon;      /* 0.2; not read by cispo, sapo and vespo */
    double epsilon_high; /* as epsilon; cispo: the cap of the ratio itself, 5 */
    double sapo_temperature[2];       /* A > 0, else: 1, 1.05; read by sapo */
    double vespo_k[2], vespo_lambda[2]; /* A >= 0, else: 2, 3 and 3, 2; read by vespo */
    double off_policy_mask_threshold; /* nats a token; 0: none */
    double delta;        /* above 1 + epsilon_high; 0: none */
    double beta;         /* 0: no KL, and ref_logp is not read */
    bool use_bias_correction_kl;
    size_t max_completion_length; /* read by dr_grpo */
};

/* What means are taken over. */
struct grpo_counts {
    size_t completions; /* of the step, masked ones too */
    double tokens;      /* not masked: bnpo the step's; dapo and cispo the batch's over its steps */
};

/* Sums over what is not masked.  Zero at first; each call adds to its own. */
struct grpo_sums {
    size_t tokens, completions;
    double loss; /* of the calls; with the division above */
    double kl;   /* over tokens */
    double low, high;         /* clipped with A < 0 and w < low, with A > 0 and w > high: tokens, or
                                 completions where they have one ratio; cispo: high alone */
    double low_min, high_max; /* the same as a share of one completion */
    double phi;               /* vespo: over completions */
    size_t left_behind;       /* completions that off_policy_mask_threshold took out */
};

/* Means, under TRL's keys. */
struct grpo_stats {
    double loss, kl;
    double region_mean, low_mean, low_min, high_mean, high_max; /* clip_ratio/.. */
    double phi;         /* vespo/phi_seq_mean */
    double left_behind; /* share of completions */
};
void grpo_stats(struct grpo_stats *stats, const struct grpo_sums *sums,
                const struct grpo_config *cfg);

/* n completions; completion c has the tokens first[c] .. first[c + 1] - 1 of the arrays logp,
 * old_logp and ref_logp (NULL where beta is 0).  advantages, mask (n); mask NULL: all count.  *loss:
 * out, these completions' part.  dlogp: out, overwritten at these tokens: the gradient of *loss.
 * Returns 0, or -1 with a sentence if n is 0, a number or a loss is not finite or a setting is out
 * of its range (outputs and sums untouched). */
int grpo_loss(double *loss, double *dlogp, struct grpo_sums *sums, const double *logp,
              const double *old_logp, const double *ref_logp, const size_t *first,
              const double *advantages, const bool *mask, size_t n,
              const struct grpo_counts *counts, const struct grpo_config *cfg, struct err *err);

/* The settings alone, so that they can be refused before any work. */
int grpo_check(const struct grpo_config *cfg, struct err *err);

#endif
