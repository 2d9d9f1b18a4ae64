#include "model/batch.h"

#include <stdlib.h>
#include <string.h>

#include "model/stem.h"
#include "util/mem.h"

void batch_clear(struct batch *b)
{
    for (size_t i = 0; i < b->n_runs; i++)
        free(b->runs[i].tiles);
    b->n_rows = b->n_runs = b->n_adapters = b->n_tiles = 0;
    b->stem = NULL;
}

void batch_release(struct batch *b)
{
    batch_clear(b);
    free(b->tokens);
    free(b->pos);
    free(b->runs);
    free(b->adapters);
    *b = (struct batch){0};
}

static void add_rows(struct batch *b, const int32_t *tokens, size_t n, size_t pos)
{
    if (b->n_rows + n > b->rows_capacity) {
        b->rows_capacity = b->n_rows + n > 2 * b->rows_capacity ? b->n_rows + n : 2 * b->rows_capacity;
        b->tokens = xreallocarray(b->tokens, b->rows_capacity, sizeof *b->tokens);
        b->pos = xreallocarray(b->pos, b->rows_capacity, sizeof *b->pos);
    }
    for (size_t i = 0; i < n; i++) {
        b->tokens[b->n_rows + i] = tokens[i];
        b->pos[b->n_rows + i] = (int32_t)(pos + i);
    }
    b->n_rows += n;
}

static struct run *add_run(struct batch *b, size_t n, size_t pos, size_t n_tiles)
{
    ARRAY_GROW(b->runs, b->n_runs + 1, b->runs_capacity);
    struct run *r = &b->runs[b->n_runs++];
    *r = (struct run){.row = b->n_rows, .n = n, .pos = pos, .copy_from = -1, .parent = -1};
    r->tiles = xmalloc(n_tiles * sizeof *r->tiles);
    return r;
}

/* The stem's tiles come first in the batch's numbering: its run is in its own batch what it would be in this one. */
void batch_set_stem(struct batch *b, struct stem *stem)
{
    ENSURE(b->n_runs == 0);
    b->stem = stem;
    b->n_tiles = stem ? stem->batch.n_tiles : 0;
}

int32_t batch_add(struct batch *b, const int32_t *tokens, size_t n, int32_t parent)
{
    ENSURE(n > 0 && parent < (int32_t)b->n_runs);
    for (size_t i = b->n_runs; parent >= 0 && i-- > (size_t)parent + 1;)
        ENSURE(b->runs[i].parent >= 0); /* a tree's runs stand together */
    const struct run *past = parent >= 0 ? &b->runs[parent] : b->stem ? &b->stem->batch.runs[0] : NULL;
    size_t pos = past ? past->pos + past->n : 0;
    const int32_t *before = past ? past->tiles : NULL;
    size_t tiles = (pos + n + KV_TILE - 1) / KV_TILE, whole = pos / KV_TILE;
    struct run *r = add_run(b, n, pos, tiles);
    r->parent = parent;
    if (past) {
        memcpy(r->tiles, before, whole * sizeof *before); /* full tiles of the past are shared */
        if (pos % KV_TILE)
            r->copy_from = before[whole];
    }
    for (size_t t = whole; t < tiles; t++)
        r->tiles[t] = (int32_t)b->n_tiles++;
    add_rows(b, tokens, n, pos);
    return (int32_t)b->n_runs - 1;
}

size_t batch_last_row(const struct batch *b, int32_t run)
{
    return b->runs[run].row + b->runs[run].n - 1;
}

void batch_add_cached(struct batch *b, const int32_t *tokens, size_t n, size_t pos, const int32_t *tiles,
                      size_t n_tiles, int32_t copy_from, const struct adapter *adapter)
{
    struct run *r = add_run(b, n, pos, n_tiles);
    memcpy(r->tiles, tiles, n_tiles * sizeof *tiles);
    r->copy_from = copy_from;
    size_t row = b->n_rows;
    add_rows(b, tokens, n, pos);
    if (b->n_adapters && b->adapters[b->n_adapters - 1].adapter == adapter) {
        b->adapters[b->n_adapters - 1].n += n;
        return;
    }
    ARRAY_GROW(b->adapters, b->n_adapters + 1, b->adapters_capacity);
    b->adapters[b->n_adapters++] = (struct adapter_rows){row, n, adapter};
}
