#include "train/comparisons.h"

#include <stdlib.h>
#include <string.h>

#include "util/buf.h"
#include "util/file.h"
#include "util/mem.h"

static void hash_part(struct buf *b, const struct row_part *p)
{
    for (size_t i = 0; i < p->n_messages; i++)
        buf_printf(b, "%zu %s\n%zu %s\n", strlen(p->messages[i].role), p->messages[i].role,
                   strlen(p->messages[i].content), p->messages[i].content);
    if (p->text)
        buf_printf(b, "%zu %s\n", strlen(p->text), p->text);
    buf_add(b, p->ids, p->n_ids * sizeof *p->ids);
}

struct key {
    char hash[65];
    size_t row;
};

static int by_hash(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    int c = strcmp(x->hash, y->hash);
    return c ? c : (x->row > y->row) - (x->row < y->row);
}

static void vote(struct comparison *c, const struct row *r)
{
    double w = r->weight;
    if (r->label == ROW_TIE) {
        c->w_tie += w;
    } else {
        c->w_a += w * r->p_a;
        c->w_b += w * (1 - r->p_a);
    }
}

struct comparison *comparisons_merge(struct dataset *data, size_t *n)
{
    struct key *keys = xmalloc((data->n + 1) * sizeof *keys);
    size_t *first = xmalloc((data->n + 1) * sizeof *first), *votes = xcalloc(data->n + 1, sizeof *votes);
    for (size_t i = 0; i < data->n; i++) {
        struct buf b;
        buf_init(&b, (size_t)1 << 30);
        hash_part(&b, &data->rows[i].prompt);
        for (size_t k = 0; k < data->rows[i].n_completions; k++)
            hash_part(&b, &data->rows[i].completions[k]);
        sha256_hex(keys[i].hash, b.data, b.len);
        keys[i].row = i;
        buf_release(&b);
    }
    qsort(keys, data->n, sizeof *keys, by_hash);
    for (size_t i = 0, lead = 0; i < data->n; i++) {
        if (i == 0 || strcmp(keys[i].hash, keys[lead].hash))
            lead = i;
        /* rows without an annotator stand for themselves: a data set may rightly hold a comparison twice */
        first[keys[i].row] = data->rows[keys[i].row].annotator ? keys[lead].row : keys[i].row;
    }
    struct comparison *list = xcalloc(data->n + 1, sizeof *list);
    for (size_t i = 0; i < data->n; i++) {
        vote(&list[first[i]], &data->rows[i]);
        votes[first[i]]++;
        list[first[i]].margin = data->rows[first[i]].margin;
    }
    struct row *dropped = xmalloc((data->n + 1) * sizeof *dropped);
    size_t n_dropped = 0;
    *n = 0;
    for (size_t i = 0; i < data->n; i++) {
        if (first[i] != i) {
            dropped[n_dropped++] = data->rows[i];
            continue;
        }
        double share = 1.0 / (double)votes[i];
        list[*n] = (struct comparison){list[i].w_a * share, list[i].w_b * share, list[i].w_tie * share, list[i].margin};
        data->rows[(*n)++] = data->rows[i];
    }
    memcpy(data->rows + *n, dropped, n_dropped * sizeof *dropped);
    free(dropped);
    free(first);
    free(votes);
    free(keys);
    return list;
}

static void swap_completions(struct row *r)
{
    struct row_part first = r->completions[0];
    r->completions[0] = r->completions[1];
    r->completions[1] = first;
}

size_t comparisons_decide(struct dataset *data, struct comparison *list, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        struct comparison c = list[i];
        if (c.w_a == c.w_b)
            continue;
        if (c.w_b > c.w_a) {
            swap_completions(&data->rows[i]);
            c = (struct comparison){c.w_b, c.w_a, c.w_tie, c.margin};
        }
        struct row r = data->rows[i];
        data->rows[i] = data->rows[kept];
        data->rows[kept] = r;
        list[kept++] = c;
    }
    return kept;
}
