#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "util/file.h"
#include "util/mem.h"

const char *shared_folder(void)
{
    const char *s = getenv("HONE_SHARED");
    if (!s)
        s = "../shared";
    return file_is_dir(s) ? s : NULL;
}

json_t *golden_json(const char *path)
{
    json_error_t why;
    json_t *o = json_load_file(path, 0, &why);
    if (!o)
        fail_msg("%s: %s", path, why.text);
    return o;
}

static void collect(const json_t *a, double **out, size_t *n, size_t *capacity)
{
    size_t i;
    json_t *v;
    json_array_foreach(a, i, v)
    {
        if (json_is_array(v)) {
            collect(v, out, n, capacity);
            continue;
        }
        ARRAY_GROW(*out, *n + 1, *capacity);
        (*out)[(*n)++] = json_number_value(v);
    }
}

size_t json_doubles(const json_t *a, double **out)
{
    size_t n = 0, capacity = 0;
    *out = NULL;
    collect(a, out, &n, &capacity);
    return n;
}

size_t json_ids(const json_t *a, int32_t **out)
{
    double *d;
    size_t n = json_doubles(a, &d);
    *out = xmalloc((n + 1) * sizeof **out);
    for (size_t i = 0; i < n; i++)
        (*out)[i] = (int32_t)d[i];
    free(d);
    return n;
}

void expect_near(double got, double want, double tolerance, const char *what, size_t index)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%s[%zu]: %.9g instead of %.9g (allowed %.3g)", what, index, got, want, tolerance);
}

void add_sequence(struct batch *b, struct target *targets, size_t *n_targets, const int32_t *ids, size_t n, size_t first)
{
    size_t row = b->n_rows;
    batch_add(b, ids, n, -1);
    for (size_t i = first; i < n; i++)
        targets[(*n_targets)++] = (struct target){row + i - 1, ids[i]};
}
