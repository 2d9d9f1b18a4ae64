#include "train/optimizer.h"

#include <math.h>
#include <string.h>

#include "util/mem.h"

int optimizer_add(struct optimizer *o, const char *name, const struct params *p, const float *grads, double lr_ratio,
                  struct err *err)
{
    ENSURE(o->n < sizeof o->parts / sizeof *o->parts);
    struct part *part = &o->parts[o->n++];
    *part = (struct part){.name = name, .params = p, .grads = grads, .lr_ratio = lr_ratio};
    part->m = params_twin(p, "the optimiser's moments", err);
    part->v = params_twin(p, "the optimiser's moments", err);
    return part->m && part->v ? 0 : -1;
}

void optimizer_keep(struct optimizer *o, const char *name, const struct params *p)
{
    ENSURE(o->n < sizeof o->parts / sizeof *o->parts);
    o->parts[o->n++] = (struct part){.name = name, .params = p};
}

void optimizer_freeze(struct optimizer *o, const char *name, bool frozen)
{
    for (size_t i = 0; i < o->n; i++)
        if (!strcmp(o->parts[i].name, name))
            o->parts[i].frozen = frozen;
}

/* Does a step change it? */
static bool learns(const struct part *p)
{
    return p->grads && !p->frozen;
}

void optimizer_release(struct optimizer *o)
{
    for (size_t i = 0; i < o->n; i++) {
        mem_block_free(o->parts[i].m);
        mem_block_free(o->parts[i].v);
    }
    *o = (struct optimizer){0};
}

int optimizer_step(struct optimizer *o, double lr, double *grad_norm, struct err *err)
{
    double sum = 0;
    for (size_t i = 0; i < o->n; i++)
        sum += !learns(&o->parts[i]) ? 0 : sum_of_squares(o->parts[i].grads, o->parts[i].params->n);
    *grad_norm = sqrt(sum);
    if (!isfinite(sum)) {
        for (size_t i = 0; i < o->n; i++) {
            const struct part *p = &o->parts[i];
            const struct param *bad = learns(p) ? params_not_finite(p->params, p->grads) : NULL;
            if (bad)
                return err_set(err, "the gradient of '%s' (%s) is not finite", bad->name, p->name);
        }
        return err_set(err, "the norm of the gradients is not finite");
    }
    double scale = clip_scale(*grad_norm, o->max_grad_norm);
    o->t++;
    for (size_t i = 0; i < o->n; i++) {
        struct part *p = &o->parts[i];
        for (size_t j = 0; learns(p) && j < p->params->n_list; j++) {
            const struct param *t = &p->params->list[j];
            adamw_apply(&o->adamw, p->params->data + t->offset, p->grads + t->offset, p->m + t->offset,
                        p->v + t->offset, t->n, lr * p->lr_ratio, t->decay ? o->weight_decay : 0, o->t, scale);
        }
    }
    return 0;
}
