#include <stdlib.h>

#include "cmd/commands.h"
#include "cmd/rounds.h"

#define FIELD(name) offsetof(struct rounds_args, name)
static const struct option own[] = {
    {"train_data", OPTION_STRING, FIELD(train_data), NULL, "demonstrations: rows of a prompt and what people answered",
     .required = true, .value = "FILE"},
    {"eval_data", OPTION_STRING, FIELD(eval_data), NULL,
     "held-out demonstrations: can they still be told from the policy's answers?", .required = true, .value = "FILE"},
    {"num_generations", OPTION_INT, FIELD(num_generations), "2", "answers that each demonstration stands beside", .min = 1,
     .max = 1024},
    {"balance_length", OPTION_BOOL, FIELD(balance_length), "false",
     "each demonstration stands only beside the answer that is nearest to it in length, so that the reward model learns less of length"},
    {"rounds_kept", OPTION_INT, FIELD(rounds_kept), "1",
     "rounds whose answers the reward model learns to tell from the demonstrations, the newest counted; 0: all", .min = 0,
     .max = 1000},
};
#undef FIELD
static const struct option_group groups[] = {{"Demonstrations", own, ARRAY_LEN(own), 0}, ROUND_GROUPS};
static const struct option_spec spec = {
    .command = "irl",
    .summary =
        "Inverse reinforcement learning: a reward from demonstrations, where there are no comparisons. In each round a reward model "
        "learns to tell them from the policy's own answers to the same prompts, and the policy learns from it, until held-out "
        "demonstrations can no longer be told apart. It can be stopped at any moment; --resume goes on.",
    .usage = "hone irl --model M --train-data F --eval-data F --output-dir D [--flags]",
    .example = "hone irl --config recipes/helpdesk/irl.yaml --model runs/sft --output-dir runs/irl",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

int cmd_irl(int argc, char **argv)
{
    struct rounds_args args = {0};
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    args.labels = LABELS_DEMONSTRATIONS;
    args.prompts = args.train_data;
    args.eval_prompts = args.eval_data;
    struct err err;
    int wrong = args.balance_length && args.num_generations < 2
                    ? err_set(&err, "--balance-length chooses among several answers: raise --num-generations")
                    : rounds_check_options(&args, &err);
    code = wrong ? command_misused("irl", &err) : rounds_command("irl", &args, &o);
    options_release(&o);
    return code;
}
