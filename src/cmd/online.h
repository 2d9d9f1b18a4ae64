/* What the commands share that learn from their own answers (ppo, grpo, rloo, online-dpo): options, any mix of rewards, sampling and
 * scoring, the loop over iterations with its checkpoints. */
#ifndef HONE_CMD_ONLINE_H
#define HONE_CMD_ONLINE_H

#include "cmd/policy.h"
#include "cmd/rewarding.h"
#include "cmd/watch.h"
#include "rollout/experience.h"

struct online_args {
    struct train_args train;
    struct strings reward, reward_weights;
    const char *ref_model;
    int64_t iterations, num_generations, response_length, slots;
    double temperature, missing_eos_penalty, reward_timeout, ema_decay;
    struct aggregate_args aggregate;
    struct watch_args watch;
};

/* The groups "Rollouts", "Ensembles and steps" and "Monitor"; num_generations, the length and missing_eos_penalty have defaults of their own in each command:
 * rows for its own table, of a struct that begins with online_args. */
enum { N_ONLINE_OPTIONS = 8 };
extern const struct option online_options[N_ONLINE_OPTIONS];
#define ONLINE_GROUPS                                                                              \
    {"Rollouts", online_options, N_ONLINE_OPTIONS, 0},                                             \
        AGGREGATE_GROUP(offsetof(struct online_args, aggregate)),                                  \
        {"Monitor", watch_options, N_WATCH_OPTIONS, offsetof(struct online_args, watch)}
#define ONLINE_NUM_GENERATIONS(value, least)                                                       \
    {"num_generations", OPTION_INT, offsetof(struct online_args, num_generations), value,          \
     "completions of each prompt (per_device_train_batch_size prompts an iteration)", .min = (least), .max = 1024}
#define ONLINE_LENGTH(name, other_name, value)                                                     \
    {name, OPTION_INT, offsetof(struct online_args, response_length), value, "tokens of a completion at most", .min = 1, \
     .max = 1e5, .alias = other_name}
#define ONLINE_MISSING_EOS_PENALTY(value)                                                          \
    {"missing_eos_penalty", OPTION_FLOAT, offsetof(struct online_args, missing_eos_penalty), value, \
     "taken off the score of a completion that was cut by length", .min = 0, .max = 1e6}

struct online {
    const char *command;
    const struct online_args *args;
    struct training t;
    struct reward_mix mix;
    struct mix_models models;
    struct loaded frozen; /* of full fine-tuning: the model as it was, for reference, reward models and critic */
    bool has_frozen;
    struct policy ref_model; /* where it is not what the policy starts from */
    struct net reference;
    struct watch watch;
    struct adapter ema; /* with ema_decay: the policy's moving average */
    int32_t stop[4];
    size_t n_stop;
    /* of the iteration under way: each reward of each completion, reward by reward */
    double *scores[MAX_REWARDS];
    size_t n_scores, capacity[MAX_REWARDS];
    double disagreement; /* of the reward models, summed over completions */
    size_t ood;          /* completions out of their distribution */
};

/* What a command adds to the loop.  self: its own struct. */
struct online_method {
    /* One iteration; lr: the rate of its steps.  *stop: the policy shall stay as it is, and the run end. */
    int (*iterate)(void *self, uint32_t iteration, double lr, struct metrics *m, bool *stop, struct err *err);
    /* What the progress line says. */
    void (*line)(char *line, size_t size, const struct metrics *m);
    /* What a checkpoint holds of it, beside the parts of the optimiser: a new object, and back.  NULL, both: nothing. */
    json_t *(*state)(const void *self);
    void (*restore)(void *self, const json_t *state);
    void *self;
};

/* Model, prompts, rewards and reference; all that the rewards need is checked. */
int online_open(struct online *o, const char *command, const struct online_args *args, const struct options *options,
                struct err *err);

/* Completions to the prompts of one draw and their scores: the weighted sum of the rewards, less the penalty for completions
 * that were cut.  draw: which rows, and which random numbers. */
int online_rollouts(struct online *o, struct experience *x, uint32_t draw, struct err *err);

/* The two halves of it, for methods in which somebody else answers, too: `n` completions to each prompt of a draw, of which the
 * first has the number first_sample for random numbers .. */
struct online_player {
    const struct model *model;
    const struct adapter *adapter, *mix_adapter; /* the latter read where mixture_coef > 0 (rollout/generate.h) */
    float mixture_coef;
    size_t n, first_sample;
};
int online_sample(struct online *o, struct experience *x, uint32_t draw, const struct online_player *player, struct err *err);
/* .. and their scores.  logged: they count in online_put_rewards(). */
int online_score(struct online *o, struct experience *x, bool logged, struct err *err);

/* What reward models and judges stand on. */
const struct loaded *online_base(const struct online *o);

/* rewards/NAME/mean and std, over all rollouts since the last call. */
void online_put_rewards(struct online *o, struct metrics *m);

/* Iterations to the end, resumed where that is asked for. */
int online_run(struct online *o, const struct online_method *method, struct err *err);

/* Write the result and the manifest. */
int online_finish(struct online *o, struct err *err);

/* Release all; returns the exit code, as training_close(). */
int online_close(struct online *o, int rc, const struct err *err);

#endif
