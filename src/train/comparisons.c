#include "train/comparisons.h"

#include <stdlib.h>
#include <string.h>

#include "util/buf.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/textstats.h"

static void hash_part(struct buf *b, const struct row_part *p)
{
    for (size_t i = 0; i < p->n_messages; i++) {
        buf_printf(b, "%zu %s\n%zu %s\n", strlen(p->messages[i].role), p->messages[i].role,
                   strlen(p->messages[i].content), p->messages[i].content);
        message_fields_add(b, &p->messages[i]);
    }
    if (p->text)
        buf_printf(b, "%zu %s\n", strlen(p->text), p->text);
    buf_add(b, p->ids, p->n_ids * sizeof *p->ids);
}

void row_part_hash(char out[65], const struct row_part *part)
{
    struct buf b;
    buf_init(&b, (size_t)1 << 30);
    hash_part(&b, part);
    sha256_hex(out, b.data, b.len);
    buf_release(&b);
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

struct comparison *comparisons_merge(struct dataset *data, size_t *n, bool by_group)
{
    struct key *keys = xmalloc((data->n + 1) * sizeof *keys);
    size_t *first = xmalloc((data->n + 1) * sizeof *first), *votes = xcalloc(data->n + 1, sizeof *votes);
    for (size_t i = 0; i < data->n; i++) {
        struct buf b;
        buf_init(&b, (size_t)1 << 30);
        hash_part(&b, &data->rows[i].prompt);
        for (size_t k = 0; k < data->rows[i].n_completions; k++)
            hash_part(&b, &data->rows[i].completions[k]);
        if (by_group && data->rows[i].group)
            buf_str(&b, data->rows[i].group);
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

struct comparison *comparisons_votes(const struct dataset *data)
{
    struct comparison *list = xcalloc(data->n + 1, sizeof *list);
    for (size_t i = 0; i < data->n; i++) {
        vote(&list[i], &data->rows[i]);
        list[i].w_a += list[i].w_tie / 2;
        list[i].w_b += list[i].w_tie / 2;
        list[i].w_tie = 0;
    }
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

/* ---- several answers a row ---- */

void judgements_release(struct judgements *j)
{
    free(j->list);
    free(j->start);
    *j = (struct judgements){0};
}

void judgements_of_pairs(struct judgements *j, const struct comparison *c, size_t n)
{
    *j = (struct judgements){.list = xcalloc(n + 1, sizeof *j->list), .start = xcalloc(n + 1, sizeof *j->start), .n_rows = n};
    for (size_t i = 0; i < n; i++) {
        j->list[i] = (struct judged){.c = c[i], .a = 0, .b = 1, .row = i};
        j->start[i + 1] = i + 1;
    }
}

void judgements_of_rankings(struct judgements *j, const struct dataset *data)
{
    size_t all = 0, n = 0;
    for (size_t i = 0; i < data->n; i++)
        all += data->rows[i].n_completions * (data->rows[i].n_completions - 1) / 2;
    *j = (struct judgements){.list = xcalloc(all + 1, sizeof *j->list), .start = xcalloc(data->n + 1, sizeof *j->start), .n_rows = data->n};
    for (size_t i = 0; i < data->n; i++) {
        const struct row *row = &data->rows[i];
        for (size_t a = 0; a < row->n_completions; a++)
            for (size_t b = 0; b < row->n_completions; b++)
                if (row->ranks[a] < row->ranks[b])
                    j->list[n++] = (struct judged){.a = a, .b = b, .row = i};
        for (size_t k = j->start[i]; k < n; k++)
            j->list[k].c = (struct comparison){.w_a = row->weight / (double)(n - j->start[i])};
        j->start[i + 1] = n;
    }
}

/* The place of an answer among those that a joined row has; a new one where it is not there. */
static size_t place_of(struct word_table *answers, struct row *row, const struct row_part *part)
{
    char hash[65];
    row_part_hash(hash, part);
    size_t place = word_table_id(answers, hash, true);
    if (place == row->n_completions) {
        row->completions = xreallocarray(row->completions, place + 1, sizeof *row->completions);
        row->completions[row->n_completions++] = *part;
    }
    return place;
}

/* Rows by their prompt: those with prompt r are next[r], then after[..], each + 1, in their order. */
struct chains {
    size_t n; /* prompts */
    size_t *next, *after;
};

static struct chains chain_prompts(const struct dataset *data, size_t n)
{
    struct word_table prompts;
    struct chains c = {.next = xcalloc(n + 1, sizeof *c.next), .after = xcalloc(n + 1, sizeof *c.after)};
    size_t *last = xcalloc(n + 1, sizeof *last);
    word_table_init(&prompts);
    for (size_t i = 0; i < n; i++) {
        char hash[65];
        row_prompt_hash(hash, &data->rows[i]);
        size_t r = word_table_id(&prompts, hash, true);
        if (c.next[r])
            c.after[last[r]] = i + 1;
        else
            c.next[r] = i + 1;
        last[r] = i;
    }
    c.n = prompts.n;
    word_table_release(&prompts);
    free(last);
    return c;
}

static void chains_release(struct chains *c)
{
    free(c->next);
    free(c->after);
}

/* A row for each chain, as its first one is but without completions. */
static void join_rows(struct dataset *joined, struct judgements *j, const struct dataset *from, const struct chains *c, size_t most)
{
    *joined = (struct dataset){.path = from->path, .format_name = from->format_name, .kind = from->kind,
                               .rows = xcalloc(c->n + 1, sizeof *joined->rows), .n = c->n};
    *j = (struct judgements){.list = xcalloc(most + 1, sizeof *j->list), .start = xcalloc(c->n + 1, sizeof *j->start), .n_rows = c->n};
    for (size_t r = 0; r < c->n; r++) {
        joined->rows[r] = from->rows[c->next[r] - 1];
        joined->rows[r].completions = NULL;
        joined->rows[r].ratings = NULL;
        joined->rows[r].n_completions = 0;
    }
}

void judgements_join(struct dataset *joined, struct judgements *j, const struct dataset *pairs, const struct comparison *c, size_t n)
{
    struct chains chains = chain_prompts(pairs, n);
    join_rows(joined, j, pairs, &chains, n);
    for (size_t r = 0, used = 0; r < joined->n; r++) {
        struct word_table answers;
        word_table_init(&answers);
        for (size_t i = chains.next[r]; i; i = chains.after[i - 1]) {
            const struct row *pair = &pairs->rows[i - 1];
            size_t a = place_of(&answers, &joined->rows[r], &pair->completions[0]);
            size_t b = place_of(&answers, &joined->rows[r], &pair->completions[1]);
            j->list[used++] = (struct judged){.c = c[i - 1], .a = a, .b = b, .row = i - 1};
        }
        j->start[r + 1] = used;
        word_table_release(&answers);
    }
    chains_release(&chains);
}

/* Every two answers of different rating, the better one a. */
static size_t rated_pairs(struct judged *list, const struct row *row, size_t first)
{
    size_t n = 0;
    for (size_t a = 0; a < row->n_completions; a++)
        for (size_t b = 0; b < row->n_completions; b++)
            if (row->ratings[a] > row->ratings[b])
                list[n++] = (struct judged){.c = {.w_a = 1}, .a = a, .b = b, .row = first};
    return n;
}

void judgements_join_ratings(struct dataset *joined, struct judgements *j, const struct dataset *rated)
{
    struct chains chains = chain_prompts(rated, rated->n);
    size_t most = 0, used = 0;
    for (size_t r = 0; r < chains.n; r++) {
        size_t n = 0;
        for (size_t i = chains.next[r]; i; i = chains.after[i - 1])
            n++;
        most += n * (n - 1) / 2;
    }
    join_rows(joined, j, rated, &chains, most);
    for (size_t r = 0; r < joined->n; r++) {
        struct row *row = &joined->rows[r];
        for (size_t i = chains.next[r]; i; i = chains.after[i - 1]) {
            size_t k = row->n_completions++;
            row->completions = xreallocarray(row->completions, k + 1, sizeof *row->completions);
            row->ratings = xreallocarray(row->ratings, k + 1, sizeof *row->ratings);
            row->completions[k] = rated->rows[i - 1].completions[0];
            row->ratings[k] = rated->rows[i - 1].ratings[0];
        }
        used += rated_pairs(j->list + used, row, chains.next[r] - 1);
        j->start[r + 1] = used;
    }
    chains_release(&chains);
}

void joined_release(struct dataset *joined)
{
    for (size_t i = 0; i < joined->n; i++) {
        free(joined->rows[i].completions);
        free(joined->rows[i].ratings);
    }
    free(joined->rows);
    *joined = (struct dataset){0};
}
