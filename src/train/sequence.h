/* What methods on whole completions share: log-probs summed by completion, and what is logged of their tokens. */
#ifndef HONE_TRAIN_SEQUENCE_H
#define HONE_TRAIN_SEQUENCE_H

#include "objective/objective.h"
#include "train/learner.h"
#include "train/loop.h"

/* After learner_forward(): what each target of the forest counts in its completion's sum (n_targets), and the targets of
 * each completion (n_completions), both overwritten.  The completions of an example stand in groups of `per_example`; those
 * longer than the shortest of their group count ld_alpha for each token beyond its length (LD-DPO: Liu et al. 2024, "Length
 * desensitization in direct preference optimization"); 1: all count alike.  A prompt's own targets count 0. */
void sequence_weights(double *weights, size_t *lens, const struct forest *f, size_t per_example, double ld_alpha);

/* Log-probs, summed so, of each completion of rows[0..n) (NULL: the first n): (n, per_example) in a fresh array, for
 * examples with `per_example` completions.  progress may be NULL. */
double *sequence_logprobs(struct learner *l, const struct loop_options *o, const struct examples *e, const size_t *rows, size_t n,
                          size_t per_example, double ld_alpha, void (*progress)(void *user, size_t done), void *user,
                          struct err *err);

/* Of a step's target tokens, by side: 0 chosen or desirable, 1 the others. */
struct sequence_tally {
    float *mean_projection; /* (width): for the mean logits that are logged */
    bool mean_known;
    size_t targets[2], right; /* right: of side 0 */
    double entropy, logits[2];
};
void sequence_tally_begin(struct sequence_tally *t, const struct learner *l);
/* After learner_logprobs().  sides: of the forest's completions. */
void sequence_tally_add(struct sequence_tally *t, const struct learner *l, const unsigned char *sides);
void sequence_tally_put(const struct sequence_tally *t, struct metrics *m);
void sequence_tally_release(struct sequence_tally *t);

/* rewards/.. and logps/.. from sums over n pairs. */
void sequence_stats_put(const struct preference_stats *sum, double n, struct metrics *m);

#endif
