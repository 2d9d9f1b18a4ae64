/* What the training commands share: options under transformers' and TRL's names, reading model and data, the run's folder,
 * and what is written at its end. */
#ifndef HONE_CMD_TRAINING_H
#define HONE_CMD_TRAINING_H

#include "cmd/commands.h"
#include "cmd/load.h"
#include "cmd/policy.h"
#include "cmd/progress.h"
#include "data/rows.h"
#include "train/learner.h"
#include "train/loop.h"

struct train_args {
    const char *model, *adapter, *tokenizer, *train_data, *eval_data, *output_dir, *system;
    int64_t lora_r, layers_from, split_seed;
    double lora_alpha;
    bool full;
    int64_t max_steps, per_device_train_batch_size, gradient_accumulation_steps, warmup_steps;
    double eval_split, num_train_epochs, learning_rate, head_learning_rate, warmup_ratio, weight_decay, max_grad_norm;
    double adam_beta1, adam_beta2, adam_epsilon;
    int lr_scheduler_type, truncation;
    int64_t max_length, micro_batch_tokens, logging_steps, save_steps, eval_steps, seed, threads;
    bool skip_bad_rows, shuffle, recompute, resume, overwrite, quiet;
};

/* The groups "Model and data", "Training", "The run": three rows of a command's groups, at `offset` of its train_args. */
enum { N_MODEL_OPTIONS = 12, N_LOOP_OPTIONS = 22, N_RUN_OPTIONS = 7 };
extern const struct option model_options[N_MODEL_OPTIONS], loop_option_table[N_LOOP_OPTIONS], run_options[N_RUN_OPTIONS];
#define TRAIN_GROUPS(offset)                                                                       \
    {"Model and data", model_options, N_MODEL_OPTIONS, (offset)},                                  \
        {"Training", loop_option_table, N_LOOP_OPTIONS, (offset)},                                 \
        {"The run", run_options, N_RUN_OPTIONS, (offset)}

struct training {
    const char *command;
    const struct train_args *args;
    const struct options *options;
    struct loaded base;     /* the model, and the adapter that training starts from */
    struct adapter adapter; /* the one that is trained */
    struct head head;
    struct head_notes notes;
    struct net net; /* model, the trained adapter (or none), head (or none) */
    struct learner learner;
    struct optimizer optimizer;
    struct loop_options loop;
    struct run_folder run;
    struct progress progress;
    struct dataset train_data, eval_data;
    struct examples train, eval;
    json_t *about; /* for the manifest */
    void (*watch)(void *user, const struct metrics *m); /* of a command, after each step; NULL: nothing */
    void *watch_user;
    bool has_head, opened;
};

/* Read the model and prepare what is trained: its adapter (a fresh one, or a copy of the one it came with), or the model. */
int training_open(struct training *t, const char *command, const struct train_args *args, const struct options *options,
                  struct err *err);

/* A head of zeros, or the one that the model or adapter came with, at the scale that it was trained at. */
int training_add_head(struct training *t, struct err *err);

/* Read --train-data and --eval-data; kinds: bits 1 << enum rows_kind that the command takes, `wanted` in words. */
int training_read(struct training *t, unsigned kinds, const char *wanted, struct err *err);
/* .. and make examples of them. */
int training_encode(struct training *t, bool assistant_only, struct err *err);

/* Read --train-data as prompts, whatever it holds, and encode them.  keep_fields: rows keep all their fields. */
int training_read_prompts(struct training *t, bool keep_fields, struct err *err);

/* Another file of rows with completions, which an option named `key` asks for, and its entry in the manifest.  The rows must outlive
 * the examples. */
int training_read_completions(struct training *t, const char *key, const char *path, struct dataset *data, struct examples *e,
                              struct err *err);

/* A reference that is not what training starts from, on the base at hand where that is its own; its entry in the manifest.  Named
 * by an option ref_model, for which there is a row. */
#define REF_MODEL_OPTION(offset)                                                                   \
    {"ref_model", OPTION_STRING, (offset), NULL,                                                   \
     "the reference, where it is not what the policy starts from: a run's folder, an adapter's or a model", .value = "PATH"}
int training_open_reference(struct training *t, struct policy *reference, const char *path, const struct loaded *base, struct err *err);

/* Inputs are good: make the learner and the run's folder. */
int training_begin(struct training *t, struct err *err);

/* Of training_begin(), the folder alone: open it and write the options as resolved.  For commands whose result is several runs,
 * in folders below this one. */
int training_open_folder(const struct training *t, struct run_folder *run, const char *dir, bool overwrite, const struct options *options,
                         struct err *err);

/* Run the loop with a progress bar. */
int training_run(struct training *t, const struct method *method, struct err *err);

/* Write the result, the manifest and the report. */
int training_finish(struct training *t, struct err *err);

/* Release all; returns the exit code for rc (0, or -1 with the sentence in err, which is printed). */
int training_close(struct training *t, int rc, const struct err *err);

/* Add a file's path and hash to the manifest under `key`. */
int training_about_file(json_t *about, const char *key, const char *path, struct err *err);

#endif
