#include <math.h>
#include <stdlib.h>

#include "cmd/group.h"

struct rloo_args {
    struct online_args online;
    struct strings reward_clip_range;
    int advantage_estimator;
    int64_t num_iterations, steps_per_generation;
    double beta, epsilon, epsilon_high;
    bool normalize_advantages, mask_truncated_completions;
};

/* In the order of enum advantage_estimator. */
static const char *const estimators[] = {"rloo", "reinforce", "reinforce_baseline", NULL};

#define FIELD(name) offsetof(struct rloo_args, name)
static const struct option own[] = {
    ONLINE_NUM_GENERATIONS("4", 1),
    ONLINE_LENGTH("max_completion_length", "response_length", "64"),
    ONLINE_MISSING_EOS_PENALTY("0"),
    {"beta", OPTION_FLOAT, FIELD(beta), "0.05", "weight of the KL to the reference in the reward (k1, a completion); 0: no reference at all",
     .min = 0, .max = 100},
    {"advantage_estimator", OPTION_CHOICE, FIELD(advantage_estimator), NULL,
     "what a reward is compared with: the mean of the group's others, of the batch (REINFORCE++), of the group (REINFORCE++-baseline)",
     .choices = estimators},
    {"normalize_advantages", OPTION_BOOL, FIELD(normalize_advantages), "false",
     "scale and shift advantages to mean 0, deviation 1; the two reinforce ones always are"},
    {"reward_clip_range", OPTION_LIST, FIELD(reward_clip_range), NULL, "least and largest reward, before the KL: LOW,HIGH", .commas = true,
     .value = "X"},
    {"num_iterations", OPTION_INT, FIELD(num_iterations), "1", "passes over each batch of rollouts", .min = 1, .max = 100},
    {"steps_per_generation", OPTION_INT, FIELD(steps_per_generation), "1", "optimiser steps of a pass", .min = 1, .max = 1e4},
    {"epsilon", OPTION_FLOAT, FIELD(epsilon), "0.2", "how far below 1 a completion's ratio counts", .min = 0, .max = 1, .above_min = true},
    {"epsilon_high", OPTION_FLOAT, FIELD(epsilon_high), "0", "how far above 1; 0: as epsilon", .min = 0, .max = 1e3},
    {"mask_truncated_completions", OPTION_BOOL, FIELD(mask_truncated_completions), "false",
     "learn nothing from completions that were cut by length"},
};
#undef FIELD
static const struct option_group groups[] = {ONLINE_GROUPS,
                                             {"RLOO", own, ARRAY_LEN(own), 0},
                                             TRAIN_GROUPS(offsetof(struct online_args, train))};
static const struct option_spec spec = {
    .command = "rloo",
    .summary = "REINFORCE leave-one-out: each answer's reward, less its KL, against the mean of the other answers to the same "
               "prompt. No critic, one action a completion.",
    .usage = "hone rloo --model M --reward R --train-data PROMPTS --output-dir D [--flags]",
    .example = "hone rloo --model runs/sft --reward runs/reward --train-data examples/helpdesk/prompts.jsonl --output-dir runs/rloo",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

static int read_range(double range[2], const struct strings *list, struct err *err)
{
    if (list->n == 0)
        return 0;
    for (size_t i = 0; i < 2 && list->n == 2; i++) {
        char *end;
        range[i] = strtod(list->data[i], &end);
        if (end == list->data[i] || *end || !isfinite(range[i]))
            return err_set(err, "--reward-clip-range: '%s' is no finite number", list->data[i]);
    }
    return list->n == 2 && range[0] < range[1]
               ? 0 : err_set(err, "--reward-clip-range wants two numbers, the smaller one first: LOW,HIGH");
}

static int check(const struct rloo_args *a, struct err *err)
{
    if (a->online.num_generations < 2 && a->advantage_estimator != ESTIMATOR_REINFORCE)
        return err_set(err, "--num-generations is 1: '%s' compares the answers to one prompt, so there must be at least 2",
                       estimators[a->advantage_estimator]);
    return 0;
}

int cmd_rloo(int argc, char **argv)
{
    struct rloo_args args;
    struct options options;
    struct err err;
    double range[2] = {0, 0};
    int code = command_options(&options, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    if (check(&args, &err) || read_range(range, &args.reward_clip_range, &err)) {
        code = command_misused("rloo", &err);
    } else {
        struct group_options o = {
            .num_iterations = (size_t)args.num_iterations,
            .steps_per_generation = (size_t)args.steps_per_generation,
            .mask_truncated_completions = args.mask_truncated_completions,
            .advantage_estimator = (enum advantage_estimator)args.advantage_estimator,
            .normalize_advantages = args.normalize_advantages,
            .kl_in_reward = args.beta,
            .reward_low = range[0],
            .reward_high = range[1],
            .loss = {.loss_type = GRPO,
                     .importance_sampling_level = LEVEL_COMPLETION,
                     .epsilon = args.epsilon,
                     .epsilon_high = args.epsilon_high > 0 ? args.epsilon_high : args.epsilon},
        };
        code = group_command("rloo", &args.online, &options, &o, 0);
    }
    options_release(&options);
    return code;
}
