#include "tokenizer/added.h"

#include <stdlib.h>
#include <string.h>

#include "tokenizer/normalizer.h"
#include "util/mem.h"
#include "util/utf8.h"

/* What counts as part of a word beside a single_word token: \w as Unicode's TR 18 defines it. */
static const char word_pattern[] = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]";

void added_init(struct added_set *set)
{
    *set = (struct added_set){0};
    trie_init(&set->trie);
}

void added_release(struct added_set *set)
{
    free(set->tokens);
    trie_release(&set->trie);
    regex_free(set->word_char);
    *set = (struct added_set){0};
}

int added_add(struct added_set *set, const char *content, size_t n, const struct added_token *token,
              struct err *err)
{
    if (token->single_word && !set->word_char) {
        set->word_char = regex_new(word_pattern, strlen(word_pattern), REGEX_FILE, err);
        if (!set->word_char)
            return -1;
    }
    int32_t *place = trie_add(&set->trie, content, n);
    if (*place >= 0) {
        set->tokens[*place] = *token;
        return 0;
    }
    *place = (int32_t)set->n_tokens;
    ARRAY_GROW(set->tokens, set->n_tokens + 1, set->tokens_capacity);
    set->tokens[set->n_tokens++] = *token;
    return 0;
}

void added_remove(struct added_set *set, const char *content, size_t n)
{
    *trie_add(&set->trie, content, n) = -1;
}

static size_t skip_spaces_back(const char *text, size_t from, size_t at)
{
    size_t k;
    while ((k = utf8_char_len_before(text, from, at)) && char_is_white(utf8_decode(text + at - k, k)))
        at -= k;
    return at;
}

static size_t skip_spaces(const char *text, size_t n, size_t at)
{
    size_t k;
    while ((k = utf8_char_len(text + at, n - at)) && char_is_white(utf8_decode(text + at, k)))
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
    size_t before = utf8_char_len_before(text, 0, start);
    return is_word_char(set, text + start - before, before) ||
           is_word_char(set, text + end, utf8_char_len(text + end, n - end));
}

/* The longest token at text[at..n), as an index, or -1. */
static int32_t longest_at(const struct added_set *set, const char *text, size_t n, size_t at,
                          size_t *end)
{
    int32_t found = -1;
    for (int32_t node = TRIE_ROOT; at < n && (node = trie_step(&set->trie, node, (uint8_t)text[at]));) {
        at++;
        if (set->trie.nodes[node].value >= 0) {
            found = set->trie.nodes[node].value;
            *end = at;
        }
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
