/* The AI judge (reward/judge.h) in the commands that ask one: its options, its model. */
#ifndef HONE_CMD_JUDGING_H
#define HONE_CMD_JUDGING_H

#include <jansson.h>

#include "cmd/options.h"
#include "cmd/policy.h"
#include "reward/judge.h"

struct judge_args {
    const char *judge, *judge_adapter, *judge_criterion;
};

/* The group "Judge", at `offset` of its judge_args. */
enum { N_JUDGE_OPTIONS = 3 };
extern const struct option judge_options[N_JUDGE_OPTIONS];
#define JUDGE_GROUP(offset) {"Judge", judge_options, N_JUDGE_OPTIONS, (offset)}

struct judge_model {
    struct policy policy;
    struct judge judge; /* points into this struct, which therefore stays where it is */
    char *criterion;    /* of a file */
};

/* The judge that the options name (args->judge is not NULL).  base: where the judge stands on the same model, that one is used
 * (law 4).  On failure there is nothing to release. */
int judge_model_open(struct judge_model *m, const struct judge_args *args, const struct loaded *base, size_t micro_tokens,
                     struct err *err);
void judge_model_release(struct judge_model *m);

/* What a manifest says of it: a fresh object. */
json_t *judge_model_about(const struct judge_model *m);

#endif
