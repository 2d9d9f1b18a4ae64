/* What commands share that ask several reward models: their options, and the models that a mix of rewards names. */
#ifndef HONE_CMD_REWARDING_H
#define HONE_CMD_REWARDING_H

#include "cmd/load.h"
#include "cmd/options.h"
#include "reward/mix.h"

struct aggregate_args {
    int aggregate, step_aggregate;
    double uwo_lambda;
    struct strings weights;
};

/* The group "Ensembles and steps", at `offset` of its aggregate_args. */
enum { N_AGGREGATE_OPTIONS = 4 };
extern const struct option aggregate_options[N_AGGREGATE_OPTIONS];
#define AGGREGATE_GROUP(offset) {"Ensembles and steps", aggregate_options, N_AGGREGATE_OPTIONS, (offset)}

int aggregate_of(struct aggregate_config *out, const struct aggregate_args *args, struct err *err);

/* The reward models of a mix, in its order. */
struct mix_models {
    struct rewards list[MAX_REWARDS];
    size_t n;
};

/* How reward models with steps put them together. */
void rewards_aggregate_steps(struct rewards *r, enum step_aggregate how);

/* Load them and tell the mix, which they must outlive.  Released in all cases. */
int mix_models_open(struct mix_models *models, struct reward_mix *mix, const struct loaded *base, struct err *err);
void mix_models_release(struct mix_models *models);

#endif
