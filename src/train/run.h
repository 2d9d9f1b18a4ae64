/* A run's output folder:
 *
 *     config.yaml      the options as resolved                     metrics.jsonl   one object a step, flushed
 *     checkpoints/     step-N/ {state.safetensors, state.json}, the last two; `latest` names the newest
 *     adapter/ | model/   the result                               manifest.json   hashes of what went in and came out
 *
 * A checkpoint holds everything that the rest of the run depends on: parameters, moments, step and the method's own
 * numbers.  Random numbers and the order of rows are functions of seed and step, so `--resume` after a kill at any
 * moment goes on to the same bytes (law 2); metrics.jsonl is cut back to the checkpoint. */
#ifndef HONE_TRAIN_RUN_H
#define HONE_TRAIN_RUN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "train/metrics.h"
#include "train/optimizer.h"

struct run_folder {
    char *dir;
    FILE *metrics;
    json_t *saves; /* for the manifest: [{step, state_sha256}, ..] */
};

/* Make the folder.  One that holds a run, or anything that a run would write over, is refused unless `resume` (of a
 * run; where there is none yet it starts) or `overwrite` is said; overwrite removes the old run's files, and only those.
 * A folder that another program is writing to is refused in any case. */
int run_open(struct run_folder *r, const char *dir, bool resume, bool overwrite, struct err *err);
void run_close(struct run_folder *r);

/* Append a line to metrics.jsonl and flush it. */
int run_log(struct run_folder *r, const struct metrics *m, struct err *err);

/* Save after `step` steps.  extra: the method's own numbers, a JSON object (may be NULL). */
int run_save(struct run_folder *r, size_t step, const struct optimizer *o, const json_t *extra, struct err *err);

/* Read the newest checkpoint into the optimiser's parts.  *step: out, 0 where there is none.  *extra: out, a new
 * reference or NULL. */
int run_load(struct run_folder *r, size_t *step, struct optimizer *o, json_t **extra, struct err *err);

/* Write manifest.json: `about` (an object: command, model, data, ..) with the version, the instruction set, the saves. */
int run_manifest(struct run_folder *r, const json_t *about, struct err *err);

/* Write a text file into the folder. */
int run_write(struct run_folder *r, const char *name, const char *text, size_t n, struct err *err);

#endif
