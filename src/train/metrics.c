#include "train/metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "util/err.h"

void metrics_put(struct metrics *m, const char *key, double value)
{
    size_t i = 0;
    while (i < m->n && strcmp(m->list[i].key, key))
        i++;
    ENSURE(i < sizeof m->list / sizeof *m->list && strlen(key) < sizeof m->list[0].key);
    if (i == m->n)
        snprintf(m->list[m->n++].key, sizeof m->list[0].key, "%s", key);
    m->list[i].value = value;
}

double metrics_get(const struct metrics *m, const char *key)
{
    for (size_t i = 0; i < m->n; i++)
        if (!strcmp(m->list[i].key, key))
            return m->list[i].value;
    return NAN;
}

void metrics_json(const struct metrics *m, struct buf *out)
{
    for (size_t i = 0; i < m->n; i++) {
        buf_str(out, i ? ", " : "{");
        buf_json_str(out, m->list[i].key, strlen(m->list[i].key));
        buf_str(out, ": ");
        buf_json_double(out, m->list[i].value);
    }
    buf_str(out, "}\n");
}
