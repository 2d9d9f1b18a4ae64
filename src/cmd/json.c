#include "cmd/json.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "util/buf.h"

json_t *json_finite(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

double json_number(const json_t *v)
{
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

json_t *json_text(const char *s)
{
    struct buf b;
    buf_init(&b, SIZE_MAX / 2);
    buf_json_str(&b, s, strlen(s));
    json_t *v = json_loadb(b.data, b.len, JSON_DECODE_ANY, NULL);
    buf_release(&b);
    return v ? v : json_string("");
}

json_t *json_interval(struct interval x)
{
    return json_pack("{s:o, s:o, s:o}", "value", json_finite(x.value), "lo", json_finite(x.lo), "hi", json_finite(x.hi));
}

struct interval json_to_interval(const json_t *v)
{
    return (struct interval){json_number(json_object_get(v, "value")), json_number(json_object_get(v, "lo")),
                             json_number(json_object_get(v, "hi"))};
}

json_t *json_win_rate(const struct win_rate *w)
{
    return json_pack("{s:o, s:I, s:I, s:I}", "rate", json_interval(w->rate), "wins", (json_int_t)w->wins, "ties",
                     (json_int_t)w->ties, "losses", (json_int_t)w->losses);
}

json_t *json_calibration(const struct calibration *c)
{
    json_t *bins = json_array();
    for (size_t i = 0; i < STATS_BINS; i++)
        json_array_append_new(bins, json_pack("{s:I, s:o, s:o}", "n", (json_int_t)c->bin[i].n, "mean_p",
                                              json_finite(c->bin[i].mean_p), "share", json_interval(c->bin[i].share)));
    return json_pack("{s:I, s:o, s:o, s:o}", "n", (json_int_t)c->n, "ece", json_finite(c->ece), "brier", json_finite(c->brier),
                     "bins", bins);
}

struct calibration json_to_calibration(const json_t *o)
{
    const json_t *bins = json_object_get(o, "bins");
    struct calibration out = {.n = (size_t)json_number(json_object_get(o, "n")), .ece = json_number(json_object_get(o, "ece")),
                              .brier = json_number(json_object_get(o, "brier"))};
    for (size_t i = 0; i < STATS_BINS; i++) {
        const json_t *b = json_array_get(bins, i);
        out.bin[i].n = (size_t)json_number(json_object_get(b, "n"));
        out.bin[i].mean_p = json_number(json_object_get(b, "mean_p"));
        out.bin[i].share = json_to_interval(json_object_get(b, "share"));
    }
    return out;
}
