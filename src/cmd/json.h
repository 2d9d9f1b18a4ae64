/* Numbers in JSON as commands write and read them: what is not finite is null. */
#ifndef HONE_CMD_JSON_H
#define HONE_CMD_JSON_H

#include <jansson.h>

#include "util/stats.h"

json_t *json_finite(double x);
double json_number(const json_t *v); /* NAN where it is no number */

/* A string; bytes that are not UTF-8 (a text that was cut) become U+FFFD. */
json_t *json_text(const char *s);

/* {"value", "lo", "hi"} */
json_t *json_interval(struct interval x);
struct interval json_to_interval(const json_t *v);

/* {"n", "ece", "brier", "bins": [{"n", "mean_p", "share": interval}, ..]} */
json_t *json_calibration(const struct calibration *c);
struct calibration json_to_calibration(const json_t *o);

/* {"rate": interval, "wins", "ties", "losses"} */
json_t *json_win_rate(const struct win_rate *w);

#endif
