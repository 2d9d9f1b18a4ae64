/* Rounds: the policy answers, somebody judges, a reward model learns from the judgements, the policy learns from the reward model, and
 * what came of it is measured.  `hone iterate` asks people (or whoever stands for them) which answer is better; `hone irl` takes
 * people's demonstrations for better than the policy's answers.  All else is the same:
 *
 *     cmd_iterate.c, cmd_irl.c   options                  rounds_collect.c    answers, and pairs of them
 *     rounds.c                   stages in their order,   rounds_label.c      labels; the judgements so far; a look before the start
 *                                what they depend on      rounds_evaluate.c   what a round is worth: figures.json
 *     rounds_report.c            lineage.json, report.html, the table at the end
 *
 * Everything of round K stands in round-K/ of the output folder; round 0 is the reward model of the comparisons that are there at
 * the start.  Which commands make reward model and policy is docs/methods/iterate.md. */
#ifndef HONE_CMD_ROUNDS_H
#define HONE_CMD_ROUNDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cmd/judging.h"
#include "cmd/options.h"
#include "cmd/stages.h"
#include "eval/rounds.h"

enum round_labels { LABELS_PEOPLE, LABELS_REWARD, LABELS_JUDGE, LABELS_PROGRAM, LABELS_DEMONSTRATIONS };
enum round_method { METHOD_PPO, METHOD_GRPO, METHOD_RLOO, METHOD_DPO, METHOD_BEST_OF_N };
enum label_choice { CHOICE_SAMPLE, CHOICE_ARGMAX };
enum { REFERENCE_START, REFERENCE_LAST };

struct rounds_args {
    const char *model, *tokenizer, *output_dir, *system;
    const char *prompts, *eval_prompts, *train_data, *eval_data; /* of irl prompts and eval_prompts are the demonstrations' */
    const char *reward_config, *method_config, *gold, *label_reward, *label_program;
    struct strings add_reward;
    struct judge_args judge;
    int labels, label_choice, pairs, method, reference;
    int64_t rounds, prompts_per_round, pairs_per_round, num_generations, response_length, slots, ensemble, seed, threads;
    int64_t rounds_kept; /* of whose judgements the reward model learns; 0: all */
    double temperature, label_temperature, least_gain, enough_agreement, reward_timeout;
    bool restart, balance_length, resume, quiet;
};

/* Options that both commands have, groups of rows with offset 0. */
enum { N_ROUND_MODEL_OPTIONS = 6, N_ROUND_LEARN_OPTIONS = 5, N_ROUND_OPTIONS = 9, N_ROUND_RUN_OPTIONS = 3 };
extern const struct option round_model_options[N_ROUND_MODEL_OPTIONS], round_learn_options[N_ROUND_LEARN_OPTIONS],
    round_options[N_ROUND_OPTIONS], round_run_options[N_ROUND_RUN_OPTIONS];
#define ROUND_GROUPS                                                                               \
    {"Model", round_model_options, N_ROUND_MODEL_OPTIONS, 0}, {"Rounds", round_options, N_ROUND_OPTIONS, 0}, \
        {"Learning", round_learn_options, N_ROUND_LEARN_OPTIONS, 0}, {"The run", round_run_options, N_ROUND_RUN_OPTIONS, 0}
extern const char *const round_method_names[]; /* ends with NULL */

struct rounds {
    const char *command;
    const struct rounds_args *args;
    const struct options *options;
    struct stages stages;
    char start_hash[65];
    struct round_figures *figures; /* of rounds 1 .. n */
    json_t *all;                   /* their figures.json, an array */
    json_t *made;                  /* what stages left: {name: {"key", "product", "sha256"}} */
    size_t n;
    double start_gold;
    enum round_stop stop;
    char *waits_for;   /* the file that people are to write, or NULL */
    struct buf words;  /* why it ended */
};

/* The whole command; returns the exit code. */
int rounds_command(const char *command, const struct rounds_args *args, const struct options *options);

/* ---- paths: fresh strings ---- */

char *round_name(size_t round, const char *name);                              /* "round-2/policy" */
char *round_path(const struct rounds *r, size_t round, const char *name); /* .. in the output folder */
/* After a round: the policy, which is `safe` where the training's monitor tripped, and the reward model; NULL: there is none.
 * After round 0 they are what there is at the start. */
char *policy_after(const struct rounds *r, size_t round);
char *reward_after(const struct rounds *r, size_t round);

/* What the tables of options cannot say of the groups above; an error is one of usage. */
int rounds_check_options(const struct rounds_args *args, struct err *err);

/* Does the method learn from a reward model?  dpo learns from the judgements themselves. */
bool rounds_want_reward(const struct rounds_args *args);

/* ---- the work of stages, each in a process of its own ---- */

struct round_work {
    const struct rounds *rounds;
    size_t round;
};

int rounds_check(void *user, struct err *err);    /* of struct round_work: look at all that is read before anything is begun */
int rounds_collect(void *user, struct err *err);  /* round-K/to-label.jsonl; of demonstrations also labels.jsonl and heldout.jsonl */
int rounds_label(void *user, struct err *err);    /* round-K/labels.jsonl; of an AI judge also judge.json */
int rounds_gather(void *user, struct err *err);   /* round-K/judgements.jsonl, and with those before comparisons.jsonl */
int rounds_evaluate(void *user, struct err *err); /* round-K/figures.json */

/* Write a file of the round, of at most ROUND_LONGEST_FILE bytes. */
#define ROUND_LONGEST_FILE ((size_t)1 << 30)
int round_put(const struct round_work *w, const char *name, const struct buf *text, struct err *err);

/* Was an alarm on when the round's training ended? */
bool round_alarmed(const struct rounds *r, size_t round);

/* ---- the end ---- */

int rounds_lineage(const struct rounds *r, struct err *err);
int rounds_report(const struct rounds *r, struct err *err);

#endif
