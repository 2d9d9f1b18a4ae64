#include "cmd/judged.h"

#include <stdlib.h>

#include "cmd/load.h"

int judged_pairs_read(struct judged_pairs *p, const char *path, const char *system, const struct model *m, struct err *err)
{
    *p = (struct judged_pairs){0};
    struct rows_config config = {.system = system};
    struct encode_options o = encode_options_of(m);
    if (dataset_read(&p->data, path, &config, err))
        return -1;
    p->rows = p->data.n;
    if (p->data.kind != ROWS_PAIR)
        return err_set(err, "'%s' holds %s instead of comparisons", path, p->data.format_name);
    p->labels = comparisons_merge(&p->data, &p->n, false);
    p->data.n = p->n;
    return examples_encode(&p->examples, &p->data, &o, err);
}

void judged_pairs_release(struct judged_pairs *p)
{
    examples_release(&p->examples);
    free(p->labels);
    p->data.n = p->rows;
    if (p->data.rows)
        dataset_release(&p->data);
    *p = (struct judged_pairs){0};
}
