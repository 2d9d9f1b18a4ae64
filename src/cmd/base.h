/* What the commands share that run a model without training it: logprobs, generate, score, chat. */
#ifndef HONE_CMD_BASE_H
#define HONE_CMD_BASE_H

#include "cmd/load.h"
#include "cmd/options.h"
#include "data/rows.h"

struct base_args {
    const char *model, *adapter, *tokenizer;
    int64_t threads;
    bool quiet;
};

/* The groups "Model" and "The run": two rows of the table of groups; `offset`: of its base_args. */
enum { N_BASE_OPTIONS = 3, N_BASE_RUN_OPTIONS = 2 };
extern const struct option base_options[N_BASE_OPTIONS], base_run_options[N_BASE_RUN_OPTIONS];
#define BASE_GROUPS(offset)                                                                        \
    {"Model", base_options, N_BASE_OPTIONS, (offset)},                                             \
    {                                                                                              \
        "The run", base_run_options, N_BASE_RUN_OPTIONS, (offset)                                  \
    }

/* Set the number of threads; load the model. */
int base_open(struct loaded *l, const struct base_args *args, struct err *err);

/* Read a file of rows and say on standard error what was found.  kinds: bits 1 << enum rows_kind
 * that the command takes, `wanted` in words. */
int base_read(struct dataset *data, const char *command, const char *path,
              const struct rows_config *config, unsigned kinds, const char *wanted, bool quiet,
              struct err *err);

/* Whether every example (with `more` tokens behind it) fits the model's positions; the sentence
 * names the line, and `remedy`. */
int base_check_lengths(const struct examples *e, size_t more, const struct model *m,
                       const char *path, const char *remedy, struct err *err);

#endif
