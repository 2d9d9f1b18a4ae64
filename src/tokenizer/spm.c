#include "tokenizer/spm.h"

#include <stdlib.h>

#include "util/mem.h"
#include "util/utf8.h"

struct scored {
    float score;
    int32_t id;
};

bool token_is_text(int32_t type)
{
    return type == TOKEN_NORMAL || type == TOKEN_USER_DEFINED || type == TOKEN_UNUSED;
}

static bool is_text(const int32_t *types, int32_t id)
{
    return id >= 0 && (!types || token_is_text(types[id]));
}

/* The highest score first. */
static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Wherever the token can be cut into two. */
static void add_cuts(struct bpe *b, const struct vocab *v, const int32_t *types, int32_t id, uint32_t rank)
{
    size_t n;
    const char *s = vocab_spelling(v, id, &n);
    for (size_t cut = 0, k; cut < n; cut += k) {
        k = utf8_char_len(s + cut, n - cut);
        k += k == 0;
        if (cut == 0)
            continue;
        int32_t left = vocab_find(v, s, cut), right = is_text(types, left) ? vocab_find(v, s + cut, n - cut) : -1;
        if (is_text(types, right))
            bpe_add_pair(b, left, right, id, rank);
    }
}

void spm_add_merges(struct bpe *b, const struct vocab *v, const float *scores, const int32_t *types, size_t n)
{
    struct scored *order = xreallocarray(NULL, n, sizeof *order);
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (is_text(types, (int32_t)i))
            order[count++] = (struct scored){scores[i], (int32_t)i};
    qsort(order, count, sizeof *order, by_score);
    uint32_t rank = 0; /* equal scores have one rank: the leftmost pair goes first then */
    for (size_t i = 0; i < count; i++) {
        rank += i && order[i].score != order[i - 1].score;
        add_cuts(b, v, types, order[i].id, rank);
    }
    free(order);
}
