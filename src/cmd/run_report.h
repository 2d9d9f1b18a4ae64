/* report.html of a run: its curves, drawn from metrics.jsonl. */
#ifndef HONE_CMD_RUN_REPORT_H
#define HONE_CMD_RUN_REPORT_H

#include "util/err.h"

int run_report(const char *dir, const char *command, struct err *err);

#endif
