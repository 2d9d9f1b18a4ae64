/* What a method trains: a net over a base, its gradients, its working memory. */
#ifndef HONE_TRAIN_LEARNER_H
#define HONE_TRAIN_LEARNER_H

#include "model/forest.h"
#include "train/optimizer.h"

struct learner {
    struct net net;
    struct gradients grads;
    enum keep keep; /* in a pass that is trained on */
    struct workspace *workspace;
    struct forest forest;
    struct stem stem; /* of the step's prompts */
    /* of the forest's targets, after learner_logprobs */
    float *logp, *dlogp;
    struct logprob_row *info;
    size_t capacity;
};

/* What of the net is trained: the model (which is trainable then), its adapter, its head.  keep: KEEP_ALL or KEEP_INPUTS.
 * The parts are added to the optimiser under names[0] .. [2], in that order.  The learner stays where it is: the optimiser points into it. */
int learner_init(struct learner *l, const struct net *net, enum keep keep, bool train_model, bool train_head,
                 struct optimizer *o, const char *const names[3], double head_lr_ratio, struct err *err);
void learner_release(struct learner *l);
void learner_clear_gradients(struct learner *l);

/* Compute once what the prompts of these rows (NULL: the first n) begin with: learner_forward() of any of them goes on from
 * there.  Before the next optimiser step learner_stem_end(), which adds the stem's gradients where `grad` was said. */
int learner_stem(struct learner *l, const struct examples *e, const size_t *rows, size_t n, bool grad, struct err *err);
void learner_stem_end(struct learner *l, bool grad);

/* Build the forest of some rows and run the trunk. */
int learner_forward(struct learner *l, const struct examples *e, const size_t *rows, size_t n, struct err *err);

/* Log-probs of the forest's targets into l->logp and l->info; dlogp is cleared. */
int learner_logprobs(struct learner *l, float temperature, bool grad, struct err *err);

/* Scores that the head reads at n rows of the forest, in a fresh array; and back from them: the gradient of each over `divisor`. */
double *learner_scores(const struct learner *l, const size_t *rows, size_t n);
void learner_scores_backward(struct learner *l, const double *dscores, double divisor, const size_t *rows, size_t n);

/* A workspace that keeps nothing for a backward, for reference and scoring passes. */
int learner_init_forward(struct learner *l, const struct net *net, struct err *err);

/* The name, in a fresh string, of the first tensor of the net that holds a number that is not finite; NULL: all are. */
char *net_not_finite(const struct net *net);

#endif
