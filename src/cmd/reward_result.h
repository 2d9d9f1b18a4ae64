/* The scores of a finished reward model: their scale, what they are worth on held-out pairs, and how they become
 * probabilities.  For hone reward and hone average. */
#ifndef HONE_CMD_REWARD_RESULT_H
#define HONE_CMD_REWARD_RESULT_H

#include <jansson.h>

#include "checkpoint/save.h"
#include "data/encode.h"
#include "eval/reward_quality.h"
#include "eval/style_bias.h"
#include "model/ood.h"
#include "model/net.h"

/* Change the head, the net's, so that the completions of some of the reference rows (SCORES_REFERENCE at most, the same for all
 * seeds, so that members of an ensemble have one scale) score 0 on average, and with `scale` have variance 1.  notes: the bias.
 * *temperature: out, the factor; sigmoid(lead / temperature) is what sigmoid(lead) was. */
enum { SCORES_REFERENCE = 256 };
int scores_normalize(double *temperature, struct head *head, struct head_notes *notes, const struct net *net,
                     const struct examples *reference, bool scale, struct err *err);

/* What the net's training texts look like (model/ood.h), for the reward model to know what is unlike them: fitted to the completions
 * of OOD_ROWS of the rows at most, those that scores_normalize() would draw.  The threshold is the quantile of held-out completions'
 * distances, where there are OOD_HELD_OUT of them, else of the training texts' own, cross-fitted.  about["ood"] says which, and with
 * a command's name standard error does.  Where there is nothing to fit, o->width is 0 and the reason is said.  quantile 0: not asked for. */
enum { OOD_ROWS = 256, OOD_HELD_OUT = 100 };
int scores_ood(struct ood *o, json_t *about, const struct net *net, const struct examples *train, const struct examples *held_out,
               double quantile, const char *command, struct err *err);

#define OOD_QUANTILE_OPTION(offset)                                                                \
    {"ood_quantile", OPTION_FLOAT, (offset), "0.99",                                               \
     "share of texts like those of training that are not out of distribution; 0: nothing is kept to tell", .min = 0, .max = 0.9999}

/* Held-out comparisons, apart from the rows that they came from. */
struct held_out {
    struct scored_pairs pairs; /* points to the rest */
    double *lead;              /* (n) zeros, for the caller: held_out_leads() */
    size_t (*scores)[2];       /* (n) where a's and b's scores stand */
    struct comparison *label;
    uint32_t *unit;
    char **group;
    struct pair_traits *traits;
};
/* rows: those that the labels' rows count.  tokenizer: NULL: there are no traits. */
void held_out_init(struct held_out *h, const struct examples *e, const struct judgements *labels, const struct row *rows,
                   const struct tokenizer *tokenizer);

/* lead = factor (score a - score b), from the scores of all completions. */
void held_out_leads(double *lead, const struct held_out *h, const float *scores, double factor);
void held_out_release(struct held_out *h);

/* The options of hone reward and hone average that say which styles are taken off the scores: bits 1 << enum style_feature of the names
 * "length" and "format" (all the others).  -1 and a sentence where one is neither. */
int debias_styles(unsigned *which, const char *const *names, size_t n, struct err *err);

/* Take style off the scores: the head, notes->style, and the leads, which are corrected as style_correction() says.  What style was
 * worth before stands in about["debias"].  Where it cannot be, that is said, and nothing is changed.  temperature: of the leads. */
void scores_debias(json_t *about, struct head *head, struct held_out *h, unsigned which, double temperature, uint32_t seed,
                   const char *command);

/* Fit a calibrator to the pairs and put what they say into about["quality"].  temperature: as trained.  Where there is nothing to
 * fit it to, it is that.  Where the model is right and where not (reward_slices()), and what it makes of style
 * (eval/style_bias.h), stand there too.  command: whose name the words on standard error carry; NULL: no words. */
struct calibrator scores_judge(json_t *about, const struct scored_pairs *p, double temperature, int method, uint32_t seed,
                               const char *command);

#endif
