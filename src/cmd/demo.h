/* hone demo: the whole loop on a small real model.
 *
 *     cmd_demo.c      options and the sequence            demo_verdict.c   what came of it: results.json, answers.jsonl
 *     demo_stages.c   the stages, what they depend on     demo_report.c    report.html from results.json, and the summary
 *     demo_look.c     the base model's answers            demo_reward.c    .. of it, what the reward models know
 *
 * How stages are run, skipped and gone on with: cmd/stages.h. */
#ifndef HONE_CMD_DEMO_H
#define HONE_CMD_DEMO_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cmd/stages.h"
#include "data/encode.h"
#include "model/net.h"
#include "util/err.h"

struct demo_args {
    const char *model, *output_dir, *examples, *recipes;
    int64_t threads;
    bool full;
};

struct demo {
    const struct demo_args *args;
    char *system;        /* the help desk's system message */
    char model_hash[65];
    struct stages stages;
};

/* Paths, as fresh strings: in the output folder, among the examples. */
char *demo_path(const struct demo *d, const char *name);
char *demo_example(const struct demo *d, const char *name);

/* ---- stages ---- */

struct demo_stage {
    const char *name;     /* the key in stages.json, and the folder where it is a run */
    const char *title;    /* for people */
    const char *watch;    /* what to look for */
    double minutes;       /* on two cores */
    const char *command;  /* of a run: the hone command; NULL: `work` is done */
    const char *train, *eval, *from, *reward; /* of a run; from NULL: the base model */
    int (*work)(const struct demo *d, struct err *err);
    const char *product;  /* of work: the file in the output folder that it leaves */
    const char *files[8], *parents[8]; /* .. and the example files and runs that it reads */
};

enum { N_DEMO_STAGES = 7 };
extern const struct demo_stage demo_stages[N_DEMO_STAGES];

int demo_stage_run(struct demo *d, size_t index, struct err *err);

/* ---- the work of stages ---- */

/* Prompts of an example file with the system message, encoded. */
struct demo_prompts {
    struct dataset data;
    struct examples examples;
    char **topics;      /* (n), "" where a row has none */
    size_t shown[5], n_shown; /* the prompts that are shown: the first of each of five topics spread over the file's */
};
int demo_prompts_read(struct demo_prompts *p, const struct demo *d, const struct model *m, struct err *err);
void demo_prompts_release(struct demo_prompts *p);

/* What the results say of a reward model: its accuracy on the held-out comparisons, calibration, right by kind, and the
 * baselines fitted on what it learned from.  NULL and a sentence on failure. */
json_t *demo_judge_reward(const struct demo *d, const char *name, const char *train_data, const struct net *reward,
                          struct err *err);

int demo_look(const struct demo *d, struct err *err);
int demo_verdict(const struct demo *d, struct err *err);

/* How all answers are sampled. */
enum { DEMO_RESPONSE_LENGTH = 64, DEMO_SLOTS = 32, DEMO_SEED = 42 };
#define DEMO_TEMPERATURE 0.7f

/* ---- the end ---- */

/* Write report.html from results.json, stages.json and the runs' metrics, and print the summary. */
int demo_report(const struct demo *d, struct err *err);

#endif
