#include "cmd/pairwise.h"

struct orpo_args {
    struct train_args train;
    double beta;
};

static const struct option own[] = {
    {"beta", OPTION_FLOAT, offsetof(struct orpo_args, beta), "0.1",
     "weight of the odds ratio beside the likelihood of the better answers (the paper's lambda)", .min = 0, .max = 100,
     .above_min = true},
};
static const struct option_group groups[] = {{"ORPO", own, ARRAY_LEN(own), 0}, TRAIN_GROUPS(offsetof(struct orpo_args, train))};
static const struct option_spec spec = {
    .command = "orpo",
    .summary = "Odds ratio preference optimisation: learn the better answers as demonstrations, and away from the worse ones.",
    .usage = "hone orpo --model M --train-data F --output-dir D [--flags]",
    .example = "hone orpo --model model.gguf --train-data examples/helpdesk/comparisons.jsonl --output-dir runs/orpo",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

int cmd_orpo(int argc, char **argv)
{
    struct orpo_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct err err;
    struct pairwise_plan plan = {
        .command = "orpo",
        .config = {.loss = {.beta = args.beta}, .nll_weight = 1, .average_log_prob = true, .ld_alpha = 1, .nll_key = true,
                   .odds_keys = true},
        .learn_prompt = true,
    };
    const struct preference_loss *row = preference_loss_find("orpo", &err);
    ENSURE(row && preference_mixture_add(&plan.config.losses, row, 1, &err) == 0);
    return pairwise_run(&plan, &args.train, &o);
}
