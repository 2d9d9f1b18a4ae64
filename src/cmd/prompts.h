/* Prompts that several models answer, or one model several times. */
#ifndef HONE_CMD_PROMPTS_H
#define HONE_CMD_PROMPTS_H

#include "data/encode.h"
#include "model/model.h"

struct prompts {
    struct dataset data;
    struct row *rows; /* those of `data` without completions */
    struct examples examples;
};

/* Read a file for `command` and encode its prompts; answers in it are not looked at.  kinds: bits 1 << enum rows_kind that are taken.
 * Released in all cases. */
int prompts_encode(struct prompts *p, const char *command, const char *path, const struct rows_config *config, unsigned kinds,
                   const struct model *m, bool quiet, struct err *err);

/* The same; -1 and a sentence too where a prompt is empty, or leaves no room for an answer of `length` tokens. */
int prompts_read(struct prompts *p, const char *command, const char *path, const struct rows_config *config, unsigned kinds,
                 const struct model *m, size_t length, bool quiet, struct err *err);
void prompts_release(struct prompts *p);

/* The same look at the lengths, for another model. */
int prompts_check_lengths(const struct prompts *p, size_t length, const struct model *m, struct err *err);

#endif
