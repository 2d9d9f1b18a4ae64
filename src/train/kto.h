/* Learning from thumbs up and down: completions that are each called good or bad, without pairs (docs/methods/kto.md; the
 * loss is in objective/kto.h).  Rows that are pairs count as one good and one bad completion, whose prompt is computed once.
 *
 * The reference point is the KL between policy and reference, measured on mismatches: each prompt of the step with the
 * completions of the row before it (of the first one with those of the last), under both nets, before the first gradient.
 * As TRL does it, but over the whole step: micro-batches and accumulation do not matter (law 2).  A step of one row has no
 * mismatch, and its reference point is 0. */
#ifndef HONE_TRAIN_KTO_H
#define HONE_TRAIN_KTO_H

#include "objective/kto.h"
#include "train/sequence.h"

struct kto {
    struct learner *learner;
    const struct loop_options *options;
    struct kto_config config;
    bool no_kl;                /* the reference point is 0 (apo_zero_unpaired) */
    size_t max_length;         /* prompt and completion of a mismatch: what is longer is cut */
    const double *train_ref, *eval_ref; /* (rows, completions of a row): the reference's log-probs */
    struct learner *look, *reference;   /* forward passes with the policy's and the reference's net; NULL with no_kl */
    /* of the step under way */
    size_t per_example; /* completions of a row: 1, or 2 (good, bad) */
    size_t n, count[2]; /* completions: all; good, bad */
    double kl, loss, reward[2], logp[2];
    struct sequence_tally tally;
};

/* Whether completion k of a row is a good one. */
bool kto_desirable(const struct row *row, size_t k);

void kto_release(struct kto *k);
struct method kto_method(struct kto *k);

#endif
