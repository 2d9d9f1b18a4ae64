#include "model/forest.h"

#include <stdlib.h>

#include "util/mem.h"

void forest_clear(struct forest *f)
{
    batch_clear(&f->batch);
    f->n_targets = f->n_completions = 0;
}

void forest_release(struct forest *f)
{
    batch_release(&f->batch);
    free(f->targets);
    free(f->owner);
    free(f->last_row);
    *f = (struct forest){0};
}

static void add_target(struct forest *f, size_t row, int32_t token, size_t owner)
{
    if (f->n_targets == f->capacity) {
        f->capacity = f->capacity ? 2 * f->capacity : 256;
        f->targets = xreallocarray(f->targets, f->capacity, sizeof *f->targets);
        f->owner = xreallocarray(f->owner, f->capacity, sizeof *f->owner);
    }
    f->targets[f->n_targets] = (struct target){row, token};
    f->owner[f->n_targets++] = (uint32_t)owner;
}

size_t example_rows(const struct example *e)
{
    size_t n = e->prompt.n;
    for (size_t i = 0; i < e->n_completions; i++)
        n += e->completions[i].n;
    return n;
}

/* How many tokens the prompts begin with, each one's last left out: it predicts the completions.  None where prompts are
 * learned: a stem's rows predict nothing. */
static size_t common_start(const struct examples *e, const size_t *rows, size_t n)
{
    const struct sequence *first = &e->list[rows ? rows[0] : 0].prompt;
    size_t common = first->n;
    for (size_t i = 0; i < n && common; i++) {
        const struct example *x = &e->list[rows ? rows[i] : i];
        const struct sequence *s = &x->prompt;
        size_t most = s->n == 0 || x->learn_prompt ? 0 : s->n - 1 < common ? s->n - 1 : common;
        common = 0;
        while (common < most && s->ids[common] == first->ids[common])
            common++;
    }
    return common;
}

int stem_of_examples(struct stem *s, const struct net *net, const struct examples *e, const size_t *rows, size_t n, enum keep keep,
                     struct err *err)
{
    size_t common = n > 1 ? common_start(e, rows, n) : 0;
    stem_clear(s);
    return common >= STEM_LEAST ? stem_plant(s, net, e->list[rows ? rows[0] : 0].prompt.ids, common, keep, err) : 0;
}

void forest_add(struct forest *f, const struct example *e)
{
    size_t first = f->n_completions, stem = f->batch.stem ? f->batch.stem->n : 0;
    ENSURE(stem == 0 || stem < e->prompt.n);
    int32_t prompt = e->prompt.n ? batch_add(&f->batch, e->prompt.ids + stem, e->prompt.n - stem, -1) : -1;
    size_t before = prompt >= 0 ? batch_last_row(&f->batch, prompt) : 0;
    for (size_t j = 1; e->learn_prompt && j < e->prompt.n; j++)
        add_target(f, before + j - e->prompt.n, e->prompt.ids[j], FOREST_PROMPT);
    ARRAY_GROW(f->last_row, first + e->n_completions, f->completions_capacity);
    f->n_completions += e->n_completions;
    for (size_t i = 0; prompt >= 0 && i < e->n_completions; i++)
        if (e->completions[i].n && e->completions[i].mask[0])
            add_target(f, before, e->completions[i].ids[0], first + i);
    for (size_t i = 0; i < e->n_completions; i++) {
        const struct sequence *c = &e->completions[i];
        size_t row = f->batch.n_rows;
        f->last_row[first + i] = c->n ? row + c->n - 1 : before;
        if (c->n == 0)
            continue;
        batch_add(&f->batch, c->ids, c->n, prompt);
        for (size_t j = 1; j < c->n; j++)
            if (c->mask[j])
                add_target(f, row + j - 1, c->ids[j], first + i);
    }
}
