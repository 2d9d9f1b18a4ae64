/* The loop that supervised and pairwise training share: rows in an order, steps, micro-batches, gradients, optimiser,
 * log, checkpoints, evaluation.
 *
 * A step takes per_device_train_batch_size * gradient_accumulation_steps rows.  Its micro-batches are cut by tokens,
 * and only memory knows of them: losses and gradients are sums over the step's rows in order, scaled by what the whole
 * step holds, so 1 x 8 is 8 x 1 to the bit (law 2). */
#ifndef HONE_TRAIN_LOOP_H
#define HONE_TRAIN_LOOP_H

#include <stdbool.h>

#include "train/learner.h"
#include "optim/schedule.h"
#include "train/run.h"

struct loop_options {
    size_t max_steps;        /* 0: num_train_epochs decides */
    double num_train_epochs;
    size_t per_device_train_batch_size, gradient_accumulation_steps;
    double learning_rate;
    enum schedule schedule;
    size_t warmup_steps;
    double warmup_ratio;     /* of all steps, where warmup_steps is 0 */
    size_t micro_batch_tokens;
    size_t logging_steps, save_steps, eval_steps; /* 0: never (but a checkpoint at the end) */
    bool shuffle, resume;
    uint32_t seed;
    const size_t *draw; /* (n_rows) which row stands in each one's place, a bootstrap sample; NULL: itself */
};

/* What a method does with rows.  begin: the rows of a step or of an evaluation (for counts and scales); micro: some of
 * them, forward, and where `train` backward too, gradients summed; end: the step's numbers ("loss" among them).
 * stepped (may be NULL): after the optimiser's step, before the evaluation and the checkpoint that belong to it.
 * learner: what is trained: the loop gives it the step's stem, and asks it which of its tensors it was where a number is
 * not finite. */
struct method {
    const char *name;
    struct learner *learner;
    void *self;
    int (*begin)(void *self, const struct examples *e, const size_t *rows, size_t n, bool train, struct err *err);
    int (*micro)(void *self, const struct examples *e, const size_t *rows, size_t n, bool train, struct err *err);
    int (*end)(void *self, struct metrics *m, bool train, struct err *err);
    void (*stepped)(void *self, size_t step);
};

struct loop_watch {
    void (*step)(void *user, size_t step, size_t total, const struct metrics *m); /* may be NULL */
    void *user;
};

/* Steps that the options come to for n rows. */
size_t loop_total_steps(const struct loop_options *o, size_t n_rows);

/* The rows of step s: *n of them, in a fresh array. */
size_t *loop_rows(const struct loop_options *o, size_t n_rows, size_t step, size_t *n);

/* Cut rows[0..n) into micro-batches: how many of the rows from `at` on go together, of which `stem` tokens each are
 * computed elsewhere. */
size_t loop_micro(const struct loop_options *o, const struct examples *e, const size_t *rows, size_t n, size_t at, size_t stem);

/* Train to the end.  eval may be NULL. */
int loop_run(struct run_folder *run, const struct loop_options *o, const struct method *method, const struct examples *train,
             const struct examples *eval, struct optimizer *opt, const struct loop_watch *watch, struct err *err);

/* Evaluate all rows; keys get the prefix "eval_". */
int loop_evaluate(struct metrics *m, const struct loop_options *o, const struct method *method,
                  const struct examples *eval, struct err *err);

#endif
