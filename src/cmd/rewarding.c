#include "cmd/rewarding.h"

#include <stddef.h>

#define FIELD(name) offsetof(struct aggregate_args, name)
const struct option aggregate_options[N_AGGREGATE_OPTIONS] = {
    {"aggregate", OPTION_CHOICE, FIELD(aggregate), "mean",
     "what several reward models say together: their mean, the least of them, the mean less uwo_lambda times their variance, or Nash's "
     "product of what each makes of it",
     .choices = aggregate_names},
    {"step_aggregate", OPTION_CHOICE, FIELD(step_aggregate), "min",
     "what a process reward model makes of the probabilities of an answer's steps: the least, their product, the last one, their mean",
     .choices = step_aggregate_names},
    {"uwo_lambda", OPTION_FLOAT, FIELD(uwo_lambda), "0.5", "of uwo: how much a disagreement costs", .min = 0, .max = 1e6},
    {"aggregate_weights", OPTION_LIST, FIELD(weights), NULL, "of mean, uwo and nash: a weight for each of them; otherwise all alike",
     .commas = true, .value = "X"},
};

int aggregate_of(struct aggregate_config *out, const struct aggregate_args *args, struct err *err)
{
    *out = (struct aggregate_config){.kind = (enum aggregate)args->aggregate, .uwo_lambda = args->uwo_lambda,
                                      .steps = (enum step_aggregate)args->step_aggregate};
    return aggregate_weights(out, args->weights.data, args->weights.n, err);
}

void rewards_aggregate_steps(struct rewards *r, enum step_aggregate how)
{
    for (size_t i = 0; i < r->n; i++)
        r->list[i].head.step_aggregate = how;
}

int mix_models_open(struct mix_models *models, struct reward_mix *mix, const struct loaded *base, struct err *err)
{
    *models = (struct mix_models){0};
    for (size_t i = 0; i < mix->n; i++) {
        struct reward_part *r = &mix->list[i];
        if (r->kind != REWARD_MODEL)
            continue;
        struct rewards *own = &models->list[models->n];
        if (load_rewards(own, &r->text, 1, base, err))
            return -1;
        models->n++;
        rewards_aggregate_steps(own, mix->aggregate.steps);
        r->nets = own->nets;
        r->n_nets = own->n;
        if (own->n > 1 && aggregate_check(&mix->aggregate, own->n, r->text, err))
            return -1;
    }
    return 0;
}

void mix_models_release(struct mix_models *models)
{
    for (size_t i = 0; i < models->n; i++)
        rewards_release(&models->list[i]);
    models->n = 0;
}
