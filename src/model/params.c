#include "model/params.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "util/mem.h"

size_t params_add(struct params *p, const char *name, size_t rows, size_t cols, int n_dims, bool decay)
{
    ENSURE(!p->data);
    ARRAY_GROW(p->list, p->n_list + 1, p->capacity);
    struct param *t = &p->list[p->n_list++];
    *t = (struct param){.name = xstrdup(name), .shape = {rows, cols}, .n_dims = n_dims, .offset = p->n, .decay = decay};
    if (n_dims == 1) {
        t->shape[0] = cols;
        t->shape[1] = 1;
    }
    t->n = t->shape[0] * t->shape[1];
    p->n += t->n;
    return t->offset;
}

int params_allocate(struct params *p, const char *what, struct err *err)
{
    p->data = params_twin(p, what, err);
    return p->data ? 0 : -1;
}

void params_release(struct params *p)
{
    for (size_t i = 0; i < p->n_list; i++)
        free(p->list[i].name);
    free(p->list);
    mem_block_free(p->data);
    *p = (struct params){0};
}

float *params_twin(const struct params *p, const char *what, struct err *err)
{
    return mem_block(p->n, sizeof(float), what, err);
}

void params_mix(struct params *to, const struct params *from, double alpha)
{
    ENSURE(to->n == from->n);
    for (size_t i = 0; i < to->n; i++)
        to->data[i] = (float)((1 - alpha) * (double)to->data[i] + alpha * (double)from->data[i]);
}

const struct param *params_find(const struct params *p, const char *name)
{
    for (size_t i = 0; i < p->n_list; i++)
        if (!strcmp(p->list[i].name, name))
            return &p->list[i];
    return NULL;
}

const struct param *params_not_finite(const struct params *p, const float *block)
{
    for (size_t i = 0; i < p->n_list; i++)
        for (size_t j = 0; j < p->list[i].n; j++)
            if (!isfinite(block[p->list[i].offset + j]))
                return &p->list[i];
    return NULL;
}
