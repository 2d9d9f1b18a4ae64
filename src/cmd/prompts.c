#include "cmd/prompts.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/base.h"
#include "util/mem.h"

int prompts_check_lengths(const struct prompts *p, size_t length, const struct model *m, struct err *err)
{
    /* reward models may read a token more */
    return base_check_lengths(&p->examples, length + 1, m, p->data.path, "shorten the prompt or lower --response-length", err);
}

int prompts_encode(struct prompts *p, const char *command, const char *path, const struct rows_config *config, unsigned kinds,
                   const struct model *m, bool quiet, struct err *err)
{
    *p = (struct prompts){0};
    if (base_read(&p->data, command, path, config, kinds, "prompts", quiet, err)) {
        p->data = (struct dataset){0};
        return -1;
    }
    p->rows = xmalloc((p->data.n + 1) * sizeof *p->rows);
    for (size_t i = 0; i < p->data.n; i++) {
        p->rows[i] = p->data.rows[i];
        p->rows[i].n_completions = 0;
    }
    struct dataset view = p->data;
    view.rows = p->rows;
    struct encode_options o = encode_options_of(m);
    return examples_encode(&p->examples, &view, &o, err);
}

int prompts_read(struct prompts *p, const char *command, const char *path, const struct rows_config *config, unsigned kinds,
                 const struct model *m, size_t length, bool quiet, struct err *err)
{
    if (prompts_encode(p, command, path, config, kinds, m, quiet, err))
        return -1;
    for (size_t i = 0; i < p->examples.n; i++)
        if (p->examples.list[i].prompt.n == 0)
            return err_set(err, "'%s' line %zu: its prompt is empty: there is nothing to go on from", p->data.path,
                           p->rows[i].line);
    return prompts_check_lengths(p, length, m, err);
}

void prompts_release(struct prompts *p)
{
    examples_release(&p->examples);
    free(p->rows);
    dataset_release(&p->data);
    *p = (struct prompts){0};
}
