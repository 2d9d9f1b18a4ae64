#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/rounds.h"
#include "reward/pairs.h"

static const char *const label_names[] = {
    [LABELS_PEOPLE] = "people", [LABELS_REWARD] = "reward", [LABELS_JUDGE] = "judge", [LABELS_PROGRAM] = "program", NULL};
static const char *const choice_names[] = {[CHOICE_SAMPLE] = "sample", [CHOICE_ARGMAX] = "argmax", NULL};

#define FIELD(name) offsetof(struct rounds_args, name)
static const struct option own[] = {
    {"prompts", OPTION_STRING, FIELD(prompts), NULL,
     "prompts to answer and to learn from; answers in the file are not looked at", .required = true, .value = "FILE"},
    {"eval_prompts", OPTION_STRING, FIELD(eval_prompts), NULL, "held-out prompts, on which each round's policy is judged",
     .required = true, .value = "FILE"},
    {"train_data", OPTION_STRING, FIELD(train_data), NULL,
     "the first comparisons; without them round 1 chooses pairs at random", .value = "FILE"},
    {"eval_data", OPTION_STRING, FIELD(eval_data), NULL,
     "held-out comparisons, on which reward models are judged and calibrated", .value = "FILE"},
};
static const struct option labels[] = {
    {"num_generations", OPTION_INT, FIELD(num_generations), "2", "answers to each prompt", .min = 2, .max = 1024},
    {"pairs", OPTION_CHOICE, FIELD(pairs), NULL,
     "which two answers to a prompt are judged: any; every two; the best and the worst by the reward model; those of which the reward "
     "models know least which is better",
     .choices = pairs_names},
    {"pairs_per_round", OPTION_INT, FIELD(pairs_per_round), "0",
     "pairs that are judged in a round at most: with uncertain the most uncertain, else any; 0: all", .min = 0, .max = 1e7},
    {"labels", OPTION_CHOICE, FIELD(labels), NULL,
     "who says which is better: people, for whom it stops and who answer in round-K/labels.jsonl; another reward; an AI judge; a "
     "program",
     .choices = label_names},
    {"label_reward", OPTION_STRING, FIELD(label_reward), NULL, "of reward: a reward model, rule:.. or program:..",
     .value = "REWARD"},
    {"label_choice", OPTION_CHOICE, FIELD(label_choice), NULL,
     "of reward: labels drawn as Bradley and Terry have it, or always the higher score", .choices = choice_names},
    {"label_temperature", OPTION_FLOAT, FIELD(label_temperature), "1", "of sample: P(a) = sigmoid((score a - score b) / it)",
     .min = 0, .max = 1e6, .above_min = true},
    {"label_program", OPTION_STRING, FIELD(label_program), NULL,
     "of program: a command line that reads the pairs, a JSON line each, and writes the lines of labels.jsonl",
     .value = "LINE"},
    {"enough_agreement", OPTION_FLOAT, FIELD(enough_agreement), "0",
     "stop when the reward model before foresaw at least this share of the new labels (its interval's lower end); 0: never",
     .min = 0, .max = 1},
};
#undef FIELD
static const struct option_group groups[] = {{"Data", own, ARRAY_LEN(own), 0},
                                             {"Labels", labels, ARRAY_LEN(labels), 0},
                                             JUDGE_GROUP(offsetof(struct rounds_args, judge)),
                                             ROUND_GROUPS};
static const struct option_spec spec = {
    .command = "iterate",
    .summary =
        "Rounds of collect, label, learn, evaluate: the policy answers, people say which of two answers is better, a reward model "
        "learns from all judgements so far and the policy from the reward model, and held-out prompts show what it was worth. It "
        "can be stopped at any moment, and waits for people as long as they like; --resume goes on.",
    .usage = "hone iterate --model M --prompts F --eval-prompts F --labels WHO --output-dir D [--flags]",
    .example = "hone iterate --config recipes/helpdesk/iterate.yaml --model runs/sft --output-dir runs/iterate",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

/* What the table cannot say. */
static int check(const struct rounds_args *a, struct err *err)
{
    if ((a->labels == LABELS_REWARD) != (a->label_reward != NULL))
        return err_set(err, "--labels reward and --label-reward belong together: give both or neither");
    if ((a->labels == LABELS_PROGRAM) != (a->label_program != NULL))
        return err_set(err, "--labels program and --label-program belong together: give both or neither");
    if ((a->labels == LABELS_JUDGE) != (a->judge.judge != NULL))
        return err_set(err, "--labels judge and --judge belong together: give both or neither");
    if (a->method == METHOD_DPO && pairs_want_scores((enum pairs_how)a->pairs))
        return err_set(err, "--pairs %s asks a reward model, but with --method dpo there is none: take random or all",
                       pairs_names[a->pairs]);
    return 0;
}

int cmd_iterate(int argc, char **argv)
{
    struct rounds_args args = {0};
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct err err;
    code = check(&args, &err) || rounds_check_options(&args, &err) ? command_misused("iterate", &err) : rounds_command("iterate", &args, &o);
    options_release(&o);
    return code;
}
