#include "tokenizer/added.h"

#include <stdlib.h>
#include <string.h>

#include "util/mem.h"
#include "util/utf8.h"

/* What counts as part of a word beside a single_word token: \w as Unicode's TR 18 defines it. */
static const char word_pattern[] = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]";

void added_init(struct added_set *set)
{
    *set = (struct added_set){.n_nodes = 1, .nodes_capacity = 64};
    set->nodes = xcalloc(set->nodes_capacity, sizeof *set->nodes);
    set->nodes[0].token = -1;
}

void added_release(struct added_set *set)
{
    free(set->tokens);
    free(set->nodes);
    regex_free(set->word_char);
    *set = (struct added_set){0};
}

static int32_t find_child(const struct added_set *set, int32_t node, uint8_t byte)
{
    if (node == 0)
        return set->first[byte];
    int32_t child = set->nodes[node].child;
    while (child && set->nodes[child].byte != byte)
        child = set->nodes[child].sibling;
    return child;
}

int added_add(struct added_set *set, const char *content, size_t n, const struct added_token *token,
              struct err *err)
{
    if (token->single_word && !set->word_char) {
        set->word_char = regex_new(word_pattern, strlen(word_pattern), false, err);
        if (!set->word_char)
            return -1;
    }
    int32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t byte = (uint8_t)content[i];
        int32_t child = find_child(set, node, byte);
        if (!child) {
            ARRAY_GROW(set->nodes, set->n_nodes + 1, set->nodes_capacity);
            child = (int32_t)set->n_nodes++;
            set->nodes[child] = (struct added_node){
                .sibling = node ? set->nodes[node].child : 0, .token = -1, .byte = byte};
            if (node)
                set->nodes[node].child = child;
            else
                set->first[byte] = child;
        }
        node = child;
    }
    if (set->nodes[node].token >= 0)
        return 0;
    ARRAY_GROW(set->tokens, set->n_tokens + 1, set->tokens_capacity);
    set->nodes[node].token = (int32_t)set->n_tokens;
    set->tokens[set->n_tokens++] = *token;
    return 0;
}

static bool is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

/* The bytes of the character that ends at text[at], not reaching below text[from]; 0 if there is
 * none. */
static size_t char_len_before(const char *text, size_t from, size_t at)
{
    for (size_t k = 1; k <= 4 && k <= at - from; k++)
        if (utf8_char_len(text + at - k, k) == k)
            return k;
    return 0;
}

static size_t skip_spaces_back(const char *text, size_t from, size_t at)
{
    size_t k;
    while ((k = char_len_before(text, from, at)) && is_space(utf8_decode(text + at - k, k)))
        at -= k;
    return at;
}

static size_t skip_spaces(const char *text, size_t n, size_t at)
{
    size_t k;
    while ((k = utf8_char_len(text + at, n - at)) && is_space(utf8_decode(text + at, k)))
        at += k;
    return at;
}

static bool is_word_char(const struct added_set *set, const char *s, size_t len)
{
    size_t start, end;
    struct regex_scratch scratch = {0};
    bool is = len && regex_find(set->word_char, &scratch, s, len, 0, &start, &end, NULL) == 1;
    regex_scratch_release(&scratch);
    return is;
}

static bool touches_word(const struct added_set *set, const char *text, size_t n, size_t start,
                         size_t end)
{
    size_t before = char_len_before(text, 0, start);
    return is_word_char(set, text + start - before, before) ||
           is_word_char(set, text + end, utf8_char_len(text + end, n - end));
}

/* The longest token at text[at..n), as an index, or -1. */
static int32_t longest_at(const struct added_set *set, const char *text, size_t n, size_t at,
                          size_t *end)
{
    int32_t found = -1;
    for (int32_t node = set->first[(uint8_t)text[at]]; node;) {
        at++;
        if (set->nodes[node].token >= 0) {
            found = set->nodes[node].token;
            *end = at;
        }
        if (at == n)
            break;
        node = find_child(set, node, (uint8_t)text[at]);
    }
    return found;
}

int32_t added_find(const struct added_set *set, const char *text, size_t n, size_t from,
                   size_t *start, size_t *end)
{
    if (set->n_tokens == 0)
        return -1;
    for (size_t at = from; at < n; at++) {
        size_t stop;
        int32_t found = longest_at(set, text, n, at, &stop);
        if (found < 0)
            continue;
        const struct added_token *token = &set->tokens[found];
        if (token->single_word && touches_word(set, text, n, at, stop)) {
            at = stop - 1; /* what it covers is not looked at again */
            continue;
        }
        *start = token->lstrip ? skip_spaces_back(text, from, at) : at;
        *end = token->rstrip ? skip_spaces(text, n, stop) : stop;
        return token->id;
    }
    return -1;
}
