#include "tokenizer/unigram.h"

#include <math.h>
#include <stdlib.h>

#include "util/mem.h"
#include "util/utf8.h"

#define UNKNOWN_PENALTY 10.0

/* The best way to a place in the word. */
struct unigram_node {
    double score;
    size_t start; /* of its last token; SIZE_MAX: there is no way yet */
    int32_t id;
};

void unigram_init(struct unigram *u, const struct vocab *v, int32_t unk)
{
    *u = (struct unigram){.unk = unk, .least = INFINITY};
    trie_init(&u->trie);
    for (int i = 0; i < 256; i++)
        u->byte_ids[i] = vocab_find_hex_byte(v, (uint8_t)i);
}

void unigram_release(struct unigram *u)
{
    trie_release(&u->trie);
    free(u->scores);
    *u = (struct unigram){0};
}

void unigram_scratch_release(struct unigram_scratch *s)
{
    free(s->nodes);
    ids_release(&s->back);
}

void unigram_add(struct unigram *u, const struct vocab *v, int32_t id, double score)
{
    size_t n;
    const char *spelling = vocab_spelling(v, id, &n);
    *trie_add(&u->trie, spelling, n) = id;
    ARRAY_GROW(u->scores, (size_t)id + 1, u->capacity);
    u->scores[id] = score;
    u->least = score < u->least ? score : u->least;
}

static void offer(struct unigram_node *node, size_t start, int32_t id, double score)
{
    if (node->start == SIZE_MAX || score > node->score)
        *node = (struct unigram_node){score, start, id};
}

static void find_ways(const struct unigram *u, struct unigram_node *nodes, const char *word, size_t n)
{
    for (size_t i = 0; i <= n; i++)
        nodes[i] = (struct unigram_node){.start = SIZE_MAX};
    nodes[0].score = 0;
    for (size_t at = 0, k; at < n; at += k) {
        k = utf8_char_len(word + at, n - at);
        k += k == 0;
        bool has_character = false;
        int32_t node = TRIE_ROOT;
        for (size_t end = at; end < n && (node = trie_step(&u->trie, node, (uint8_t)word[end]));) {
            end++;
            int32_t id = u->trie.nodes[node].value;
            if (id < 0)
                continue;
            offer(&nodes[end], at, id, u->scores[id] + nodes[at].score);
            has_character = has_character || end == at + k;
        }
        if (!has_character)
            offer(&nodes[at + k], at, u->unk, u->least - UNKNOWN_PENALTY + nodes[at].score);
    }
}

/* word[0..n), which is no token, in reverse. */
static void add_unknown(const struct unigram *u, const struct vocab *v, struct ids *back, const char *word, size_t n)
{
    int32_t id = vocab_find(v, word, n); /* several unknowns together may spell one after all */
    bool is_bytes = id < 0 && u->byte_fallback;
    for (size_t i = 0; is_bytes && i < n; i++)
        is_bytes = u->byte_ids[(unsigned char)word[i]] >= 0;
    if (!is_bytes)
        ids_add(back, id < 0 ? u->unk : id);
    else
        while (n--)
            ids_add(back, u->byte_ids[(unsigned char)word[n]]);
}

void unigram_encode_word(const struct unigram *u, const struct vocab *v, struct unigram_scratch *s, struct ids *out,
                         const char *word, size_t n)
{
    ARRAY_GROW(s->nodes, n + 1, s->nodes_capacity);
    find_ways(u, s->nodes, word, n);
    s->back.n = 0;
    for (size_t end = n, start; end; end = start) {
        start = s->nodes[end].start;
        if (s->nodes[end].id != u->unk) {
            ids_add(&s->back, s->nodes[end].id);
            continue;
        }
        while (start && s->nodes[start].id == u->unk)
            start = s->nodes[start].start;
        add_unknown(u, v, &s->back, word + start, end - start);
    }
    while (s->back.n)
        ids_add(out, s->back.data[--s->back.n]);
}
