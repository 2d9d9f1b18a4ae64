/* Scores of completions under a reward model: the head's number at the last token of each
 * completion (of the prompt, where a completion has no tokens), as in training.
 *
 * A process reward model (its head has a step_separator) gives the probability of each step instead, and an answer's score is what these
 * come to: head->step_aggregate, data/steps.h.
 *
 * Several reward models, an ensemble, go through the rows together: what their nets have in common, a model's layers below
 * the first that any of them adapts, is computed once.  A head that weighs style (hone reward --debias) has it added here, and only
 * here, to the score of a whole answer; its model then has a tokenizer.  What they say together is reward/aggregate.h. */
#ifndef HONE_REWARD_SCORE_H
#define HONE_REWARD_SCORE_H

#include "data/steps.h"
#include "model/adapter.h"
#include "model/net.h"

/* What micro-batches of scoring passes hold: memory, not results, depend on it. */
#define SCORE_MICRO_TOKENS 512

/* How many scores the examples come to: one a completion. */
size_t score_count(const struct examples *e);

/* scores (score_count): out, in the order of the examples and their completions.  The net has a
 * head.  All rows are checked to fit the model's positions before the first is run.  progress, if
 * not NULL, is called with the number of examples done.  Returns 0, or -1 with a sentence that
 * names the row's line; nothing of `scores` is to be used then. */
int score_examples(float *scores, const struct net *net, const struct examples *e,
                   size_t micro_tokens, void (*progress)(void *user, size_t done), void *user,
                   struct err *err);

/* The same for n nets that read the same tokens.  scores: (n_nets, score_count), out.  ood: the same, out, or NULL: each
 * completion's distance from the net's training texts over the net's threshold (model/ood.h): above 1 it is out of distribution; NAN
 * where the net knows nothing of them. */
int score_ensemble(float *scores, float *ood, const struct net *const *nets, size_t n_nets, const struct examples *e,
                   size_t micro_tokens, void (*progress)(void *user, size_t done), void *user,
                   struct err *err);

/* The style of a completion, as it is taken off its score. */
void completion_style(double x[STYLES], const struct tokenizer *t, const struct sequence *completion);
bool head_has_style(const struct head *h);

/* hidden: (score_count, width), out: the states that the net's head reads. */
int score_hidden(float *hidden, const struct net *net, const struct examples *e, size_t micro_tokens, struct err *err);

/* What the members of an ensemble say of a completion's distance: the mean of theirs, NAN where any does not know. */
float score_ood(const float *ood, size_t n_nets);
/* The same for one process reward model, with what it says of each step: p (fresh), those of completion c are
 * p[steps->start[c]] .. p[steps->start[c + 1] - 1].  Both are the caller's to release, in all cases. */
int score_steps(float *scores, double **p, struct steps *steps, const struct net *net, const struct examples *e, size_t micro_tokens,
                void (*progress)(void *user, size_t done), void *user, struct err *err);

#endif
