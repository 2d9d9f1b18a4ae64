/* report.html of a run: its curves, drawn from metrics.jsonl, and what its manifest, `about`, says of a reward model's quality. */
#ifndef HONE_CMD_RUN_REPORT_H
#define HONE_CMD_RUN_REPORT_H

#include <jansson.h>

#include "util/err.h"

int run_report(const char *dir, const char *command, const json_t *about, struct err *err);

#endif
