/* `hone generate --reward ..`: answers are scored, and those that are to be learned from are written as rows that training
 * takes: best of n, rejection sampling, pairs (reward/select.h).  What n answers are worth is measured on the way: the
 * best-of-n curve of the reward and, with a gold, of the gold (reward/overoptimization.h). */
#ifndef HONE_CMD_SELECTING_H
#define HONE_CMD_SELECTING_H

#include "cmd/rewarding.h"
#include "reward/select.h"
#include "rollout/generate.h"

struct selecting_args {
    struct strings reward, reward_weights;
    const char *gold, *summary, *hint;
    double reward_timeout, missing_eos_penalty, threshold, rso_beta;
    int select;
    int64_t rso_keep;
    struct aggregate_args aggregate;
};

/* The groups "Selection" and "Ensembles and steps": two rows of a command's groups, at the offset of its selecting_args. */
enum { N_SELECTING_OPTIONS = 11 };
extern const struct option selecting_options[N_SELECTING_OPTIONS];
#define SELECTING_GROUPS(offset)                                                                   \
    {"Selection", selecting_options, N_SELECTING_OPTIONS, (offset)},                               \
        AGGREGATE_GROUP((offset) + offsetof(struct selecting_args, aggregate))

struct selecting {
    const struct selecting_args *args;
    const struct model *model;
    struct reward_mix mix, gold;
    struct mix_models models, gold_models;
    struct select_config config;
    /* the curve: for n = 1 .. most, over prompts, sums of what the best of n has in reward and gold, and of its square */
    size_t most, prompts, written;
    size_t *missed, n_missed, missed_capacity; /* prompts, by their number, of which nothing was selected */
    size_t hinted, hinted_written;             /* after selecting_hint(): prompts that had something selected then, and the rows */
    bool hinting;
    double *sum[2], *squares[2];
};

/* Is there anything to select? */
bool selecting_wanted(const struct selecting_args *args);

/* rows: the prompts', with all their fields; most: answers to each; longest: tokens of an answer at most.  Released in all
 * cases. */
int selecting_open(struct selecting *s, const struct selecting_args *args, const struct loaded *l, const struct dataset *rows,
                   uint32_t seed, size_t most, size_t longest, struct err *err);
void selecting_release(struct selecting *s);

/* Score n requests that are done, to the prompts of e[0 .. n), and add what is selected to `out`, a line a row. */
int selecting_take(struct selecting *s, struct buf *out, const struct request *requests, const struct example *e, size_t n,
                   struct err *err);

/* From here on answers were given with the hint, to prompts that were missed: they are no part of the curve, and their rows say so.  The
 * prompts of `e` are without it, and so are the rows. */
void selecting_hint(struct selecting *s);

/* The hint for a row, its fields in the place of {names}: a fresh string; NULL and a sentence where it lacks one. */
char *hint_for(const char *hint, const struct row *row, const char *path, struct err *err);

/* The curve on standard error (unless quiet) and in the summary's file. */
int selecting_end(const struct selecting *s, bool quiet, struct err *err);

#endif
