#include "cmd/rewarding.h"

#include <stddef.h>

#define FIELD(name) offsetof(struct aggregate_args, name)
const struct option aggregate_options[N_AGGREGATE_OPTIONS] = {
    {"aggregate", OPTION_CHOICE, FIELD(aggregate), "mean",
     "what several reward models say together: their mean, the least of them, or the mean less uwo_lambda times their variance",
     .choices = aggregate_names},
    {"uwo_lambda", OPTION_FLOAT, FIELD(uwo_lambda), "0.5", "of uwo: how much a disagreement costs", .min = 0, .max = 1e6},
};

struct aggregate_config aggregate_of(const struct aggregate_args *args)
{
    return (struct aggregate_config){(enum aggregate)args->aggregate, args->uwo_lambda};
}
