/* A set of byte strings, each with a number, that is walked byte by byte. */
#ifndef HONE_TOKENIZER_TRIE_H
#define HONE_TOKENIZER_TRIE_H

#include <stddef.h>
#include <stdint.h>

#define TRIE_ROOT 0

/* Node 0 is the root. */
struct trie_node {
    int32_t child, sibling; /* 0: none */
    int32_t value;          /* of the string that ends here, or -1 */
    uint8_t byte;
};

struct trie {
    struct trie_node *nodes;
    size_t n, capacity;
    int32_t first[256]; /* the root's child for each byte, 0: none */
};

void trie_init(struct trie *t);
void trie_release(struct trie *t);

/* The place of the number of s[0..n), n > 0: -1 where the string is new.  Good until the next trie_add(). */
int32_t *trie_add(struct trie *t, const char *s, size_t n);

/* The node one byte on from `node`, or 0. */
int32_t trie_step(const struct trie *t, int32_t node, uint8_t byte);

#endif
