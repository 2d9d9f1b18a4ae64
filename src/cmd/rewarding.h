/* Options of commands that ask several reward models at once. */
#ifndef HONE_CMD_REWARDING_H
#define HONE_CMD_REWARDING_H

#include "cmd/options.h"
#include "reward/aggregate.h"

struct aggregate_args {
    int aggregate;
    double uwo_lambda;
};

/* The group "Ensembles", at `offset` of its aggregate_args. */
enum { N_AGGREGATE_OPTIONS = 2 };
extern const struct option aggregate_options[N_AGGREGATE_OPTIONS];
#define AGGREGATE_GROUP(offset) {"Ensembles", aggregate_options, N_AGGREGATE_OPTIONS, (offset)}

struct aggregate_config aggregate_of(const struct aggregate_args *args);

#endif
