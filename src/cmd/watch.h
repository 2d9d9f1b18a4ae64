/* The monitor of over-optimisation (train/monitor.h) in the commands that learn from their own answers: its options, the gold
 * that is asked beside the reward, what is said, and the policy to go back to, which stands in the run's folder `safe`. */
#ifndef HONE_CMD_WATCH_H
#define HONE_CMD_WATCH_H

#include "cmd/rewarding.h"
#include "cmd/training.h"
#include "train/monitor.h"

struct watch_args {
    const char *gold;
    int monitor;
    int64_t monitor_warmup, monitor_patience;
    double gold_errors, disagreement_ratio, length_ratio, repetition_more, entropy_ratio, distinct_ratio, ood_share;
};
enum { WATCH_WARN, WATCH_STOP, WATCH_OFF }; /* monitor */

/* The group "Monitor": a row of a command's groups, at the offset of its watch_args. */
enum { N_WATCH_OPTIONS = 11 };
extern const struct option watch_options[N_WATCH_OPTIONS];

struct watch {
    const struct watch_args *args;
    struct training *training;
    struct reward_mix gold; /* of one part, or of none */
    struct mix_models models;
    struct monitor monitor;
    unsigned said; /* alarms that were told of */
};

/* mix: the rewards' own, whose limits hold for the gold, too.  base: for a gold that is a reward model.  Released in all cases. */
int watch_open(struct watch *w, const struct watch_args *args, struct training *t, const struct reward_mix *mix,
               const struct loaded *base, struct err *err);
void watch_release(struct watch *w);

/* Is the KL to the start asked for, which takes the reference's log-probs? */
bool watch_wants_reference(const struct watch *w);

/* Rollouts of the policy as it is now, with their scores; m: the iteration's numbers so far, to which monitor/.. are added.
 * has_reference: their ref_logps are there.  *stop: set where an alarm is to end the run. */
int watch_rollouts(struct watch *w, const struct experience *x, bool has_reference, struct metrics *m, bool *stop, struct err *err);

/* What a checkpoint holds of it: put into `state`, and back. */
void watch_save(const struct watch *w, json_t *state);
int watch_restore(struct watch *w, const json_t *state, struct err *err);

#endif
