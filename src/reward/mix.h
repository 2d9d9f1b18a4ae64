/* What an answer is worth: any mix of reward models, rules and programs.
 *
 *     reward = sum over the parts of weight * the part's number
 *
 * A part is written as one text (the --reward of ppo, grpo, rloo and online-dpo):
 *
 *     PATH            a reward model: a run's folder, or a model or adapter with a head; a run with several members is one part,
 *                     whose number is what they say together (reward/aggregate.h)
 *     rule:RULE       a rule (reward/rule.h)
 *     program:LINE    another program (reward/program.h)
 */
#ifndef HONE_REWARD_MIX_H
#define HONE_REWARD_MIX_H

#include "model/net.h"
#include "reward/aggregate.h"
#include "reward/rule.h"
#include "rollout/experience.h"

#define MAX_REWARDS 8

enum reward_kind { REWARD_MODEL, REWARD_RULE, REWARD_PROGRAM };

struct reward_part {
    enum reward_kind kind;
    char name[40]; /* in metrics, rewards/NAME/mean: the last part of a path, the rule's, the program's; different for each */
    const char *text; /* as it was written; the caller's */
    double weight;
    const struct net *const *nets; /* (n_nets) of a model, with heads: put there by the caller */
    size_t n_nets;
    struct rule rule;
    const char *command; /* of a program; within text */
};

struct reward_mix {
    struct reward_part list[MAX_REWARDS];
    size_t n;
    double program_seconds; /* what a program may take for a batch */
    struct aggregate_config aggregate; /* of the members of a part */
    size_t max_tokens;      /* of an answer */
    size_t micro_tokens;    /* of a scoring pass */
};

/* Read parts and their weights (n_weights 0: all 1).  The texts must outlive the mix.  Released in all cases. */
int reward_mix_parse(struct reward_mix *mix, const char *const *texts, size_t n, const char *const *weights, size_t n_weights,
                     struct err *err);
void reward_mix_release(struct reward_mix *mix);

/* The file that a part's text names, beside a model's: a rubric's, or a program's own, its first word (which need be no file).  Fresh;
 * NULL: there is none. */
char *reward_text_file(const char *text);

/* Can these rows be scored?  Fields that rules compare with are there; answers can be read as text where that is wanted; each
 * program gives a number for an empty answer to the first row. */
int reward_mix_check(const struct reward_mix *mix, const struct dataset *rows, const struct model *m, struct err *err);

/* Does a part look at the row's own fields? */
bool reward_mix_reads_rows(const struct reward_mix *mix);

/* Are there several reward models, that may disagree? */
bool reward_mix_disagrees(const struct reward_mix *mix);

/* Does a reward model know what its training texts look like (model/ood.h)? */
bool reward_mix_knows_ood(const struct reward_mix *mix);

/* scores (mix->n, x->n): out, each part's number for each completion, without its weight.  spread (x->n): out, or NULL: how
 * far the reward models are apart on it: the standard deviation over the members, weighted and summed over the parts that have
 * several; where none has, that over the parts.  ood (x->n): out, or NULL: whether it is out of distribution for any of the reward
 * models.  The experience's trees have their rows. */
int reward_mix_score(double *scores, double *spread, bool *ood, const struct reward_mix *mix, const struct experience *x, const struct model *m,
                     struct err *err);

/* What each completion is worth: the parts' numbers as reward_mix_score() gave them, weighted and summed, less eos_penalty where it
 * was cut by length.  total (x->n): out.  -1 and a sentence where it is not finite. */
int reward_mix_total(double *total, const double *scores, const struct reward_mix *mix, const struct experience *x, double eos_penalty,
                     struct err *err);

#endif
