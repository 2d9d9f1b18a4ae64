#include "cmd/group.h"

struct grpo_args {
    struct online_args online;
    int loss_type, importance_sampling_level, scale_rewards, multi_objective_aggregation;
    int64_t num_iterations, steps_per_generation, dynamic_sampling;
    double beta, epsilon, epsilon_high, delta, off_policy_mask_threshold;
    double sapo_temperature_pos, sapo_temperature_neg, vespo_k_pos, vespo_lambda_pos, vespo_k_neg, vespo_lambda_neg;
    bool use_bias_correction_kl, mask_truncated_completions;
};

/* The first is the default. */
static const char *const loss_types[] = {"dapo", "grpo", "bnpo", "dr_grpo", "cispo", "sapo", "luspo", "vespo", NULL};
static const enum grpo_loss_type loss_type_of[] = {GRPO_DAPO, GRPO, GRPO_BNPO, GRPO_DR, GRPO_CISPO, GRPO_SAPO, GRPO_LUSPO, GRPO_VESPO};

static const char *const aggregations[] = {"sum_then_normalize", "normalize_then_sum", NULL};

#define FIELD(name) offsetof(struct grpo_args, name)
static const struct option own[] = {
    ONLINE_NUM_GENERATIONS("8", 2),
    ONLINE_LENGTH("max_completion_length", "response_length", "64"),
    ONLINE_MISSING_EOS_PENALTY("0"),
    {"loss_type", OPTION_CHOICE, FIELD(loss_type), NULL, "what the sum over tokens is divided by, and how it is clipped",
     .choices = loss_types},
    {"scale_rewards", OPTION_CHOICE, FIELD(scale_rewards), NULL, "whose standard deviation advantages are divided by",
     .choices = scale_rewards_names},
    {"multi_objective_aggregation", OPTION_CHOICE, FIELD(multi_objective_aggregation), NULL,
     "of several rewards: added up, or each first divided by its own deviation in the group (GDPO), then the sum by that of the batch",
     .choices = aggregations},
    {"importance_sampling_level", OPTION_CHOICE, FIELD(importance_sampling_level), NULL, "one ratio a token, or a completion (GSPO)",
     .choices = importance_sampling_level_names},
    {"num_iterations", OPTION_INT, FIELD(num_iterations), "1", "passes over each batch of rollouts", .min = 1, .max = 100},
    {"steps_per_generation", OPTION_INT, FIELD(steps_per_generation), "1", "optimiser steps of a pass", .min = 1, .max = 1e4},
    {"beta", OPTION_FLOAT, FIELD(beta), "0", "weight of the KL to the reference in the loss (k3); 0: no reference at all", .min = 0,
     .max = 100},
    {"use_bias_correction_kl", OPTION_BOOL, FIELD(use_bias_correction_kl), "true", "that KL times the ratio"},
    {"epsilon", OPTION_FLOAT, FIELD(epsilon), "0.2", "how far below 1 a ratio counts", .min = 0, .max = 1, .above_min = true},
    {"epsilon_high", OPTION_FLOAT, FIELD(epsilon_high), "0",
     "how far above 1; 0: as epsilon. With cispo the largest ratio itself, usually 5", .min = 0, .max = 1e3},
    {"delta", OPTION_FLOAT, FIELD(delta), "0", "largest ratio where the advantage is below 0 (two-sided clipping); 0: none", .min = 0,
     .max = 1e3},
    {"off_policy_mask_threshold", OPTION_FLOAT, FIELD(off_policy_mask_threshold), "0",
     "an answer with an advantage below 0 teaches no more once it has lost so many nats a token; 0: it does", .min = 0, .max = 100},
    {"sapo_temperature_pos", OPTION_FLOAT, FIELD(sapo_temperature_pos), "1", "of sapo: how fast a ratio fades where the advantage is above 0",
     .min = 0, .max = 1e3, .above_min = true},
    {"sapo_temperature_neg", OPTION_FLOAT, FIELD(sapo_temperature_neg), "1.05", "the same elsewhere", .min = 0, .max = 1e3,
     .above_min = true},
    {"vespo_k_pos", OPTION_FLOAT, FIELD(vespo_k_pos), "2", "of vespo: how fast an answer fades as it gets less likely, advantage at least 0",
     .min = 0, .max = 1e3},
    {"vespo_lambda_pos", OPTION_FLOAT, FIELD(vespo_lambda_pos), "3", "as it gets likelier", .min = 0, .max = 100, .above_min = true},
    {"vespo_k_neg", OPTION_FLOAT, FIELD(vespo_k_neg), "3", "as vespo_k_pos, advantage below 0", .min = 0, .max = 1e3},
    {"vespo_lambda_neg", OPTION_FLOAT, FIELD(vespo_lambda_neg), "2", "as vespo_lambda_pos, advantage below 0", .min = 0, .max = 100,
     .above_min = true},
    {"mask_truncated_completions", OPTION_BOOL, FIELD(mask_truncated_completions), "false",
     "learn nothing from completions that were cut by length"},
    {"dynamic_sampling", OPTION_INT, FIELD(dynamic_sampling), "0",
     "draws of more prompts an iteration, in the place of those whose answers all have the same reward (DAPO)", .min = 0, .max = 100},
};
#undef FIELD
static const struct option_group groups[] = {ONLINE_GROUPS,
                                             {"GRPO", own, ARRAY_LEN(own), 0},
                                             TRAIN_GROUPS(offsetof(struct online_args, train))};
static const struct option_spec spec = {
    .command = "grpo",
    .summary = "Group relative policy optimisation: several answers to each prompt are scored, and those above their group's mean "
               "become likelier. No critic, and any mix of reward models, rules and programs as the reward.",
    .usage = "hone grpo --model M --reward R --train-data PROMPTS --output-dir D [--flags]",
    .example = "hone grpo --model runs/sft --reward runs/reward --reward rule:length:limit=48 --train-data "
               "examples/helpdesk/prompts.jsonl --output-dir runs/grpo",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

int cmd_grpo(int argc, char **argv)
{
    struct grpo_args args;
    struct options options;
    struct err err;
    int code = command_options(&options, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    enum grpo_loss_type type = loss_type_of[args.loss_type];
    struct group_options o = {
        .num_iterations = (size_t)args.num_iterations,
        .steps_per_generation = (size_t)args.steps_per_generation,
        .mask_truncated_completions = args.mask_truncated_completions,
        .advantage_estimator = args.multi_objective_aggregation ? ESTIMATOR_REINFORCE : ESTIMATOR_GRPO,
        .normalize_parts = args.multi_objective_aggregation != 0,
        .scale_rewards = (enum scale_rewards)args.scale_rewards,
        .loss = {.loss_type = type,
                 .importance_sampling_level = (enum importance_sampling_level)args.importance_sampling_level,
                 .epsilon = args.epsilon,
                 .epsilon_high = args.epsilon_high > 0 || type == GRPO_CISPO ? args.epsilon_high : args.epsilon,
                 .delta = args.delta,
                 .beta = args.beta,
                 .sapo_temperature = {args.sapo_temperature_pos, args.sapo_temperature_neg},
                 .vespo_k = {args.vespo_k_pos, args.vespo_k_neg},
                 .vespo_lambda = {args.vespo_lambda_pos, args.vespo_lambda_neg},
                 .off_policy_mask_threshold = args.off_policy_mask_threshold,
                 .use_bias_correction_kl = args.use_bias_correction_kl,
                 .max_completion_length = (size_t)args.online.response_length},
    };
    if (type == GRPO_CISPO && args.epsilon_high == 0)
        err_set(&err, "loss_type 'cispo' needs --epsilon-high, the largest ratio that counts: 5 is usual");
    else if (o.normalize_parts && (args.scale_rewards || args.online.missing_eos_penalty > 0))
        err_set(&err, "multi_objective_aggregation 'normalize_then_sum' divides each reward by its group's deviation itself: leave %s out",
                args.scale_rewards ? "scale_rewards" : "missing_eos_penalty (--reward rule:overlong:cache=N says the like)");
    else if (grpo_check(&o.loss, &err) == 0)
        code = group_command("grpo", &args.online, &options, &o, (size_t)args.dynamic_sampling);
    if (code < 0)
        code = command_misused("grpo", &err);
    options_release(&options);
    return code;
}
