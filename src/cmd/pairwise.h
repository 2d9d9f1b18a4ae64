/* What the commands share that learn from given answers: dpo, cpo and orpo from pairs, and with kto the reference and the
 * warning about answers that become less likely. */
#ifndef HONE_CMD_PAIRWISE_H
#define HONE_CMD_PAIRWISE_H

#include "cmd/training.h"
#include "train/pairwise.h"

/* A command on pairs from its settings to its result. */
struct pairwise_plan {
    const char *command;
    struct pairwise_config config;
    const char *ref_model;  /* NULL: the reference is what the policy starts from */
    bool learn_prompt;      /* the likelihood of the chosen text runs over its prompt, too */
    bool sync_ref_model;    /* the reference follows: */
    double ref_model_mixup_alpha;
    int64_t ref_model_sync_steps;
};
/* Returns the exit code; the options are released. */
int pairwise_run(const struct pairwise_plan *plan, const struct train_args *args, struct options *o);

/* Of data sets of pairs: each with the better answer first; votes are put together, judgements turned round, undecided ones left out
 * (they are moved behind the others).  train_n, eval_n: out, how many rows there were, for pairs_restore() before
 * training_close(). */
struct pairs_left_out {
    size_t train_n, eval_n;
};
int pairs_decide(struct pairs_left_out *left, struct training *t, struct err *err);
void pairs_restore(const struct pairs_left_out *left, struct training *t);

/* The reference's log-probs: (rows, completions) in a fresh array.  Before the first step the policy's own net is the reference,
 * where no other is named. */
double *reference_logprobs(struct training *t, const struct net *reference, const struct examples *e, double ld_alpha, struct err *err);

/* A reference that is asked during the training, after training_begin().  own: it has numbers of its own, `params`, which
 * may change; else it stays what the policy started from.  With --full it is the model read a second time. */
struct reference {
    struct loaded frozen;
    struct adapter adapter;
    struct params *params;
    struct net net;
    struct learner pass;
    bool has_frozen;
};
int reference_open(struct reference *r, struct training *t, bool own, struct err *err);
void reference_release(struct reference *r);

/* Says once, in words, that good and bad answers have become less likely together. */
struct fall_watch {
    struct training *training;
    double beta;
    size_t steps; /* in a row */
    bool said;
    const char *remedy;
};
void fall_watch_begin(struct fall_watch *w, struct training *t, double beta, const char *remedy);

#endif
