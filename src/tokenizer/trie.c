#include "tokenizer/trie.h"

#include <stdlib.h>

#include "util/mem.h"

void trie_init(struct trie *t)
{
    *t = (struct trie){.n = 1, .capacity = 64};
    t->nodes = xcalloc(t->capacity, sizeof *t->nodes);
    t->nodes[TRIE_ROOT].value = -1;
}

void trie_release(struct trie *t)
{
    free(t->nodes);
    *t = (struct trie){0};
}

int32_t trie_step(const struct trie *t, int32_t node, uint8_t byte)
{
    if (node == TRIE_ROOT)
        return t->first[byte];
    int32_t child = t->nodes[node].child;
    while (child && t->nodes[child].byte != byte)
        child = t->nodes[child].sibling;
    return child;
}

int32_t *trie_add(struct trie *t, const char *s, size_t n)
{
    int32_t node = TRIE_ROOT;
    for (size_t i = 0; i < n; i++) {
        uint8_t byte = (uint8_t)s[i];
        int32_t child = trie_step(t, node, byte);
        if (!child) {
            ARRAY_GROW(t->nodes, t->n + 1, t->capacity);
            child = (int32_t)t->n++;
            t->nodes[child] = (struct trie_node){
                .sibling = node ? t->nodes[node].child : 0, .value = -1, .byte = byte};
            if (node)
                t->nodes[node].child = child;
            else
                t->first[byte] = child;
        }
        node = child;
    }
    return &t->nodes[node].value;
}
