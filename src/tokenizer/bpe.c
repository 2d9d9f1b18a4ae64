#include "tokenizer/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "util/mem.h"
#include "util/utf8.h"

/* A word in the making is a doubly linked list in an array; a symbol that was merged into its left
 * neighbour has id -1. */
struct bpe_symbol {
    int32_t id, prev, next; /* prev, next: indices, -1 at the ends */
};

struct bpe_candidate {
    uint64_t order; /* rank << 32 | index of the left symbol */
    int32_t id;     /* of the merged token */
};

void bpe_init(struct bpe *b, const struct vocab *v, bool characters)
{
    *b = (struct bpe){.n_slots = 1024, .unk = -1, .characters = characters};
    b->merges = xmalloc(b->n_slots * sizeof *b->merges);
    for (size_t i = 0; i < b->n_slots; i++)
        b->merges[i].pair = BPE_NO_PAIR;
    for (int i = 0; i < 256; i++)
        b->byte_ids[i] = characters ? vocab_find_hex_byte(v, (uint8_t)i) : vocab_find_byte(v, (uint8_t)i);
}

void bpe_release(struct bpe *b)
{
    free(b->merges);
    *b = (struct bpe){0};
}

void bpe_scratch_release(struct bpe_scratch *s)
{
    free(s->symbols);
    free(s->heap);
    *s = (struct bpe_scratch){0};
}

static struct bpe_merge *find_merge(const struct bpe *b, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint64_t h = pair * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9u;
    size_t i = (size_t)(h >> 32) & (b->n_slots - 1);
    while (b->merges[i].pair != pair && b->merges[i].pair != BPE_NO_PAIR)
        i = (i + 1) & (b->n_slots - 1);
    return &b->merges[i];
}

static void grow(struct bpe *b)
{
    struct bpe_merge *old = b->merges;
    size_t n_old = b->n_slots;
    b->n_slots *= 2;
    b->merges = xreallocarray(NULL, b->n_slots, sizeof *b->merges);
    for (size_t i = 0; i < b->n_slots; i++)
        b->merges[i].pair = BPE_NO_PAIR;
    for (size_t i = 0; i < n_old; i++)
        if (old[i].pair != BPE_NO_PAIR)
            *find_merge(b, (int32_t)(old[i].pair >> 32), (int32_t)(uint32_t)old[i].pair) = old[i];
    free(old);
}

void bpe_add_pair(struct bpe *b, int32_t left, int32_t right, int32_t whole, uint32_t rank)
{
    struct bpe_merge *m = find_merge(b, left, right);
    bool is_new = m->pair == BPE_NO_PAIR;
    *m = (struct bpe_merge){.pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right, .rank = rank, .id = whole};
    if (is_new && ++b->n_used > b->n_slots / 2)
        grow(b);
}

int bpe_add_merge(struct bpe *b, const struct vocab *v, const char *left, size_t left_len,
                  const char *right, size_t right_len, uint32_t rank, struct err *err)
{
    int32_t left_id = vocab_find(v, left, left_len), right_id = vocab_find(v, right, right_len);
    char small[256], *whole = small;
    if (left_len + right_len > sizeof small)
        whole = xmalloc(left_len + right_len);
    memcpy(whole, left, left_len);
    memcpy(whole + left_len, right, right_len);
    int32_t id = vocab_find(v, whole, left_len + right_len);
    if (whole != small)
        free(whole);
    if (left_id < 0 || right_id < 0 || id < 0)
        return err_set(
            err, "merge %u, '%.*s %.*s', has a part or a result that is not in the vocabulary",
            rank, left_len < 60 ? (int)left_len : 60, left, right_len < 60 ? (int)right_len : 60,
            right);
    bpe_add_pair(b, left_id, right_id, id, rank);
    return 0;
}

static int by_rank(const void *a, const void *b)
{
    const struct bpe_merge *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return (x->pair > y->pair) - (x->pair < y->pair);
}

struct bpe_merge *bpe_list(const struct bpe *b)
{
    struct bpe_merge *list = xreallocarray(NULL, b->n_used + 1, sizeof *list);
    size_t n = 0;
    for (size_t i = 0; i < b->n_slots; i++)
        if (b->merges[i].pair != BPE_NO_PAIR)
            list[n++] = b->merges[i];
    qsort(list, n, sizeof *list, by_rank);
    return list;
}

const struct bpe_merge *bpe_find(const struct bpe *b, int32_t left, int32_t right)
{
    const struct bpe_merge *m = find_merge(b, left, right);
    return m->pair == BPE_NO_PAIR ? NULL : m;
}

static void heap_push(struct bpe_scratch *s, struct bpe_candidate c)
{
    ARRAY_GROW(s->heap, s->heap_n + 1, s->heap_capacity);
    size_t i = s->heap_n++;
    for (; i && s->heap[(i - 1) / 2].order > c.order; i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = c;
}

static struct bpe_candidate heap_pop(struct bpe_scratch *s)
{
    struct bpe_candidate top = s->heap[0], last = s->heap[--s->heap_n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < s->heap_n; i = child) {
        if (child + 1 < s->heap_n && s->heap[child + 1].order < s->heap[child].order)
            child++;
        if (s->heap[child].order >= last.order)
            break;
        s->heap[i] = s->heap[child];
    }
    s->heap[i] = last;
    return top;
}

/* Put the pair that starts at symbol `at` on the heap if it may merge. */
static void consider(const struct bpe *b, struct bpe_scratch *s, int32_t at)
{
    int32_t next = s->symbols[at].next;
    if (next < 0)
        return;
    const struct bpe_merge *m = find_merge(b, s->symbols[at].id, s->symbols[next].id);
    if (m->pair != BPE_NO_PAIR)
        heap_push(s, (struct bpe_candidate){.order = (uint64_t)m->rank << 32 | (uint32_t)at,
                                            .id = m->id});
}

/* Symbols before they are linked. */
struct symbols {
    struct bpe_symbol *list;
    size_t n;
};

static void add_symbol(struct symbols *s, int32_t id)
{
    s->list[s->n] = (struct bpe_symbol){id, (int32_t)s->n - 1, (int32_t)s->n + 1};
    s->n++;
}

static void split_bytes(const struct bpe *b, struct symbols *s, const char *word, size_t n)
{
    bool after_unk = false;
    for (size_t i = 0; i < n; i++) {
        int32_t id = b->byte_ids[(unsigned char)word[i]];
        bool is_unk = id < 0;
        if (is_unk && (b->unk < 0 || (after_unk && b->fuse_unk)))
            continue;
        after_unk = is_unk;
        add_symbol(s, is_unk ? b->unk : id);
    }
}

static bool all_bytes_known(const struct bpe *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (b->byte_ids[(unsigned char)s[i]] < 0)
            return false;
    return true;
}

/* An unk waits for the next token that is none: bytes, as Hugging Face's tokenizers have it, go in front of it. */
static void split_characters(const struct bpe *b, const struct vocab *v, struct symbols *s, const char *word, size_t n)
{
    bool waits = false;
    for (size_t i = 0, k; i < n; i += k) {
        k = utf8_char_len(word + i, n - i);
        k += k == 0;
        int32_t id = vocab_find(v, word + i, k);
        if (id < 0 && b->byte_fallback && all_bytes_known(b, word + i, k)) {
            for (size_t j = 0; j < k; j++)
                add_symbol(s, b->byte_ids[(unsigned char)word[i + j]]);
            continue;
        }
        if (waits && (id >= 0 || !b->fuse_unk))
            add_symbol(s, b->unk);
        waits = id < 0 && b->unk >= 0;
        if (id >= 0)
            add_symbol(s, id);
    }
    if (waits)
        add_symbol(s, b->unk);
}

/* The word's first symbols; returns how many. */
static size_t split(const struct bpe *b, const struct vocab *v, struct bpe_scratch *scratch, const char *word, size_t n)
{
    ARRAY_GROW(scratch->symbols, n, scratch->symbols_capacity);
    struct symbols s = {.list = scratch->symbols};
    if (b->characters)
        split_characters(b, v, &s, word, n);
    else
        split_bytes(b, &s, word, n);
    if (s.n)
        s.list[s.n - 1].next = -1;
    return s.n;
}

void bpe_encode_word(const struct bpe *b, const struct vocab *v, struct bpe_scratch *s,
                     struct ids *out, const char *word, size_t n)
{
    if (b->ignore_merges) {
        int32_t id = b->characters ? vocab_find(v, word, n) : vocab_find_bytes(v, word, n);
        if (id >= 0) {
            ids_add(out, id);
            return;
        }
    }
    size_t count = split(b, v, s, word, n);
    if (count == 0)
        return;
    s->heap_n = 0;
    for (size_t i = 0; i + 1 < count; i++)
        consider(b, s, (int32_t)i);
    while (s->heap_n) {
        struct bpe_candidate c = heap_pop(s);
        int32_t at = (int32_t)(uint32_t)c.order;
        struct bpe_symbol *left = &s->symbols[at];
        if (left->id < 0 || left->next < 0)
            continue;
        /* The pair may have changed since: it still counts where it gives the same token. */
        struct bpe_symbol *right = &s->symbols[left->next];
        const struct bpe_merge *m = find_merge(b, left->id, right->id);
        if (m->pair == BPE_NO_PAIR || m->id != c.id)
            continue;
        left->id = c.id;
        left->next = right->next;
        right->id = -1;
        if (left->next >= 0)
            s->symbols[left->next].prev = at;
        if (left->prev >= 0)
            consider(b, s, left->prev);
        consider(b, s, at);
    }
    for (int32_t i = 0; i >= 0; i = s->symbols[i].next)
        ids_add(out, s->symbols[i].id);
}
