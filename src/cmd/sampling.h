/* How answers are drawn: the options that generate and chat share. */
#ifndef HONE_CMD_SAMPLING_H
#define HONE_CMD_SAMPLING_H

#include "cmd/options.h"
#include "rollout/generate.h"

struct sampling_args {
    int64_t max_new_tokens, top_k, seed;
    double temperature, top_p, min_p;
};

/* The group "Sampling": SAMPLING_GROUP(offset of a sampling_args) is a row of a command's groups.
 */
enum { N_SAMPLING_OPTIONS = 6 };
extern const struct option sampling_options[N_SAMPLING_OPTIONS];
#define SAMPLING_GROUP(offset)                                                                     \
    {                                                                                              \
        "Sampling", sampling_options, N_SAMPLING_OPTIONS, (offset)                                 \
    }

/* What the table cannot say; an error is one of usage. */
int sampling_check(const struct sampling_args *a, struct err *err);

struct sampling sampling_of(const struct sampling_args *a);

/* New tokens that fit behind a prompt of n: what was asked for, or, where max_new_tokens is the
 * default, what there is room for.  0: none. */
size_t sampling_room(const struct sampling_args *a, bool asked, const struct model *m,
                     size_t n_prompt);

#endif
