/* The scores of a finished reward model: their scale, what they are worth on held-out pairs, and how they become
 * probabilities.  For hone reward and hone average. */
#ifndef HONE_CMD_REWARD_RESULT_H
#define HONE_CMD_REWARD_RESULT_H

#include <jansson.h>

#include "checkpoint/save.h"
#include "data/encode.h"
#include "eval/reward_quality.h"
#include "model/net.h"

/* Change the head, the net's, so that the completions of some of the reference rows (SCORES_REFERENCE at most, the same for all
 * seeds, so that members of an ensemble have one scale) score 0 on average, and with `scale` have variance 1.  notes: the bias.
 * *temperature: out, the factor; sigmoid(lead / temperature) is what sigmoid(lead) was. */
enum { SCORES_REFERENCE = 256 };
int scores_normalize(double *temperature, struct head *head, struct head_notes *notes, const struct net *net,
                     const struct examples *reference, bool scale, struct err *err);

/* Held-out comparisons, apart from the rows that they came from. */
struct held_out {
    struct scored_pairs pairs; /* points to the rest */
    double *lead;              /* (n) zeros, for the caller: held_out_leads() */
    size_t (*scores)[2];       /* (n) where a's and b's scores stand */
    struct comparison *label;
    uint32_t *unit;
    char **group;
};
void held_out_init(struct held_out *h, const struct examples *e, const struct judgements *labels);

/* lead = factor (score a - score b), from the scores of all completions. */
void held_out_leads(double *lead, const struct held_out *h, const float *scores, double factor);
void held_out_release(struct held_out *h);

/* Fit a calibrator to the pairs and put what they say into about["quality"].  temperature: as trained.  Where there is nothing to
 * fit it to, it is that.  command: whose name the words on standard error carry; NULL: no words. */
struct calibrator scores_judge(json_t *about, const struct scored_pairs *p, double temperature, int method, uint32_t seed,
                               const char *command);

#endif
