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
