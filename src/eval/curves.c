#include "eval/curves.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "util/file.h"
#include "util/mem.h"

int curves_read(struct curves *c, const char *folder, struct err *err)
{
    *c = (struct curves){0};
    char *path = path_join(folder, "metrics.jsonl");
    struct buf b;
    buf_init(&b, (size_t)1 << 30);
    int rc = file_read(path, &b, err);
    for (char *line = b.data, *end; rc == 0 && (end = strchr(line, '\n')); line = end + 1) {
        json_t *o = json_loadb(line, (size_t)(end - line), 0, NULL);
        if (!o)
            continue;
        ARRAY_GROW(c->lines, c->n + 1, c->capacity);
        c->lines[c->n++] = o;
    }
    buf_release(&b);
    free(path);
    return rc;
}

void curves_release(struct curves *c)
{
    for (size_t i = 0; i < c->n; i++)
        json_decref(c->lines[i]);
    for (size_t i = 0; i < c->n_owned; i++)
        free(c->owned[i]);
    free(c->lines);
    free(c->owned);
    *c = (struct curves){0};
}

static double *fresh(struct curves *c)
{
    double *x = xmalloc((c->n + 1) * sizeof *x);
    ARRAY_GROW(c->owned, c->n_owned + 1, c->owned_capacity);
    c->owned[c->n_owned++] = x;
    return x;
}

struct report_series curves_series(struct curves *c, const char *name, const char *x, const char *y)
{
    double *xs = fresh(c), *ys = fresh(c);
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) {
        const json_t *vx = json_object_get(c->lines[i], x), *vy = json_object_get(c->lines[i], y);
        if (json_is_number(vx) && json_is_number(vy)) {
            xs[n] = json_number_value(vx);
            ys[n++] = json_number_value(vy);
        }
    }
    return (struct report_series){.name = name, .x = xs, .y = ys, .n = n};
}
