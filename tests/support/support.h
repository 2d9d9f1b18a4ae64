/* What several tests need: golden files as JSON, comparisons with a tolerance, sequences as batches. */
#ifndef HONE_TESTS_SUPPORT_H
#define HONE_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "model/net.h"

/* The folder of golden values and data beside the project, or NULL where it is absent. */
const char *shared_folder(void);

json_t *golden_json(const char *path);

/* A JSON array of numbers (nested ones one after the other) as doubles or ids; returns how many. */
size_t json_doubles(const json_t *a, double **out);
size_t json_ids(const json_t *a, int32_t **out);

/* Print where two numbers differ too much, and fail. */
void expect_near(double got, double want, double tolerance, const char *what, size_t index);

/* A root run of ids, and targets for the tokens from `first` on. */
void add_sequence(struct batch *b, struct target *targets, size_t *n_targets, const int32_t *ids, size_t n, size_t first);

#endif
