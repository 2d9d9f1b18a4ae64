/* Stages of work that run in turn and can be stopped at any moment: those of `hone demo`, `iterate` and `irl`.
 *
 * Every stage is a child process, so that wait4() tells its peak memory; the parent keeps small, for a child is charged
 * with its parent's memory at the fork.  A stage has a key: the hash of all that its result depends on.  Where key and
 * product are there, it is skipped; where the key is there alone, it goes on; where the key differs, it is made anew.
 * stages.json in the folder says of each stage {"key", "seconds", "peak_mib"}. */
#ifndef HONE_CMD_STAGES_H
#define HONE_CMD_STAGES_H

#include <jansson.h>
#include <stdbool.h>

#include "util/err.h"

struct stages {
    const char *command; /* whose stages: "demo" */
    const char *dir;
    json_t *record;      /* stages.json */
    int lock;
};

/* Read stages.json (or begin with an empty one) in the folder, which is made, and locked until the release. */
int stages_open(struct stages *s, const char *command, const char *dir, struct err *err);
void stages_release(struct stages *s);

struct stage {
    const char *name;    /* its key in stages.json; in sentences */
    const char *product; /* the file in the folder that is there when it is done */
    const char *run;     /* of a training command: its output folder in the folder, which is emptied where the key differs; or NULL */
    char *const *argv;   /* the hone command, from "hone" to NULL; argv NULL: `work` is done */
    bool prints;         /* what the command prints is the product */
    int (*work)(void *user, struct err *err);
    void *user;
};

enum stage_state { STAGE_DONE, STAGE_BEGUN, STAGE_FRESH };
enum stage_state stage_state(const struct stages *s, const struct stage *stage, const char *key);

/* Do what is missing of it.  Work and commands that print begin again; training goes on from its last checkpoint (its argv
 * has --resume). */
int stage_run(struct stages *s, const struct stage *stage, const char *key, struct err *err);

/* "1:07 min, peak memory 512 MiB", on standard error. */
void stage_print_time(const struct stages *s, const char *name);

/* Run a child to its end without any record of it: what comes first, a look at the inputs. */
int stage_check(const struct stages *s, const struct stage *stage, struct err *err);

#endif
