#include "util/textstats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "util/err.h"
#include "util/mem.h"
#include "util/utf8.h"

enum letter_class { LETTER_NO, LETTER_YES, LETTER_ALONE, LETTER_APOSTROPHE };

static bool between(uint32_t c, uint32_t lo, uint32_t hi)
{
    return c >= lo && c <= hi;
}

static enum letter_class classify(uint32_t c)
{
    if (c == '\'' || c == 0x2019)
        return LETTER_APOSTROPHE;
    if (c < 0x80)
        return between(c | 0x20, 'a', 'z') || between(c, '0', '9') ? LETTER_YES : LETTER_NO;
    if (c == 0xaa || c == 0xb5 || c == 0xba)
        return LETTER_YES;
    /* Latin-1 signs, general punctuation to dingbats, CJK punctuation, wide ASCII signs */
    if (c < 0xc0 || c == 0xd7 || c == 0xf7 || c == 0xfeff || between(c, 0x2000, 0x2bff) ||
        between(c, 0x2e00, 0x2e7f) || between(c, 0x3000, 0x3004) || between(c, 0x3008, 0x3020) ||
        between(c, 0xfe10, 0xfe6f) || between(c, 0xff00, 0xff0f) || between(c, 0xff1a, 0xff20) ||
        between(c, 0xff3b, 0xff40) || between(c, 0xff5b, 0xff65) || between(c, 0x1f000, 0x1faff))
        return LETTER_NO;
    if (between(c, 0x3005, 0x3007) || between(c, 0x3021, 0x30ff) || between(c, 0x3400, 0x9fff) ||
        between(c, 0xf900, 0xfaff) || between(c, 0x20000, 0x3ffff))
        return LETTER_ALONE;
    return LETTER_YES;
}

static uint32_t lower(uint32_t c)
{
    if (between(c, 'A', 'Z') || (between(c, 0xc0, 0xde) && c != 0xd7) || between(c, 0x391, 0x3ab) ||
        between(c, 0x410, 0x42f))
        return c + 32;
    if (between(c, 0x400, 0x40f))
        return c + 80;
    /* Latin Extended-A: pairs of capital and small, even and odd or the other way round */
    if (between(c, 0x100, 0x12f) || between(c, 0x132, 0x137) || between(c, 0x14a, 0x177))
        return c | 1;
    if (between(c, 0x139, 0x148) || between(c, 0x179, 0x17e))
        return c + (c & 1);
    return c;
}

/* Reads words one at a time.  `out` (NULL: only count) gets the word's bytes. */
struct word_reader {
    const char *text;
    size_t n, at;
};

static bool next_char(const struct word_reader *r, size_t at, uint32_t *c, size_t *len)
{
    if (at >= r->n)
        return false;
    *len = utf8_char_len(r->text + at, r->n - at);
    *c = *len ? utf8_decode(r->text + at, *len) : ' ';
    if (*len == 0)
        *len = 1;
    return true;
}

static bool next_word(struct word_reader *r, char *out, size_t *out_len)
{
    uint32_t c, after;
    size_t len, after_len, n = 0;
    while (next_char(r, r->at, &c, &len)) {
        enum letter_class class = classify(c);
        if (class == LETTER_APOSTROPHE && n && next_char(r, r->at + len, &after, &after_len) &&
            classify(after) == LETTER_YES)
            c = '\'';
        else if (class == LETTER_ALONE && n)
            break;
        else if (class == LETTER_NO || class == LETTER_APOSTROPHE) {
            r->at += len;
            if (n)
                break;
            continue;
        }
        char bytes[4];
        size_t k = utf8_encode(bytes, lower(c));
        if (out)
            memcpy(out + n, bytes, k);
        n += k;
        r->at += len;
        if (class == LETTER_ALONE)
            break;
    }
    *out_len = n;
    return n > 0;
}

void words_init(struct words *w, const char *text)
{
    /* Lower-casing keeps a character's length here, and a word's 0 takes the place of what ended
     * it, except after a character that stands alone: those have three bytes or more. */
    struct word_reader r = {text, strlen(text), 0};
    *w = (struct words){.store = xmalloc(2 * r.n + 1)};
    size_t at = 0, len, capacity = 0;
    while (next_word(&r, w->store + at, &len)) {
        w->store[at + len] = 0;
        ARRAY_GROW(w->word, w->n + 1, capacity);
        w->word[w->n++] = w->store + at;
        at += len + 1;
    }
}

void words_release(struct words *w)
{
    free(w->word);
    free(w->store);
    *w = (struct words){0};
}

size_t text_word_count(const char *text)
{
    struct word_reader r = {text, strlen(text), 0};
    size_t n = 0, len;
    while (next_word(&r, NULL, &len))
        n++;
    return n;
}

/* ---- sentences ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

/* Quotes and brackets that may stand between a full stop and the space; returns their bytes. */
static size_t closing_len(const char *s)
{
    static const char *const closing[] = {"\"",
                                          "'",
                                          ")",
                                          "]",
                                          "*",
                                          "_",
                                          "\xe2\x80\x99",
                                          "\xe2\x80\x9d",
                                          "\xc2\xbb",
                                          "\xe3\x80\x8d",
                                          "\xef\xbc\x89"};
    for (size_t i = 0; i < sizeof closing / sizeof *closing; i++)
        if (strncmp(s, closing[i], strlen(closing[i])) == 0)
            return strlen(closing[i]);
    return 0;
}

/* Is the full stop at text[at] that of an abbreviation in the sentence that began at `start`? */
static bool is_abbreviation(const char *text, size_t start, size_t at)
{
    static const char *const known[] = {"mr",  "mrs", "ms", "dr",     "st", "prof", "vs",
                                        "e.g", "i.e", "no", "approx", "jr", "sr"};
    size_t from = at;
    while (from > start && !is_space(text[from - 1]) && text[from - 1] != '(')
        from--;
    size_t n = at - from;
    if (n == 1 && between((unsigned char)text[from], 'A', 'Z'))
        return text[from] != 'I'; /* "so do I." ends a sentence */
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strlen(known[i]) != n)
            continue;
        size_t k = 0;
        while (k < n && (char)lower((unsigned char)text[from + k]) == known[i][k])
            k++;
        /* "No." is an abbreviation before a number, else an answer. */
        if (k == n)
            return strcmp(known[i], "no") != 0 || between((unsigned char)text[at + 2], '0', '9');
    }
    return false;
}

/* Where the sentence that starts at `start` ends. */
static size_t sentence_end(const char *text, size_t start)
{
    static const char *const wide[] = {"\xe3\x80\x82", "\xef\xbc\x81", "\xef\xbc\x9f"};
    for (size_t i = start; text[i]; i++) {
        if (text[i] == '\n')
            return i;
        size_t end = 0;
        if (text[i] == '.' || text[i] == '!' || text[i] == '?')
            end = i + 1;
        for (size_t k = 0; k < 3; k++)
            if (strncmp(text + i, wide[k], 3) == 0)
                end = i + 3;
        if (end == 0)
            continue;
        bool is_wide = end == i + 3;
        for (size_t k; (k = closing_len(text + end)) > 0;)
            end += k;
        if (is_wide || text[end] == 0)
            return end;
        if (is_space(text[end]) && !(text[i] == '.' && is_abbreviation(text, start, i)))
            return end;
    }
    return strlen(text);
}

static bool next_sentence(const char *text, size_t *at, struct text_span *out)
{
    while (is_space(text[*at]))
        ++*at;
    if (text[*at] == 0)
        return false;
    size_t end = sentence_end(text, *at);
    *out = (struct text_span){*at, end - *at};
    while (out->n && is_space(text[out->start + out->n - 1]))
        out->n--;
    *at = end;
    return true;
}

struct text_span text_first_sentence(const char *text)
{
    struct text_span s = {0, 0};
    size_t at = 0;
    next_sentence(text, &at, &s);
    return s;
}

struct text_span text_last_sentence(const char *text)
{
    struct text_span s = {0, 0};
    size_t at = 0;
    while (next_sentence(text, &at, &s))
        ;
    return s;
}

/* ---- word table ---- */

static uint64_t mix(uint64_t h)
{
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

static uint64_t hash_string(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return mix(h);
}

void word_table_init(struct word_table *t)
{
    *t = (struct word_table){.slots = 64};
    t->slot = xcalloc(t->slots, sizeof *t->slot);
}

void word_table_release(struct word_table *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->word[i]);
    free(t->word);
    free(t->slot);
    *t = (struct word_table){0};
}

/* The slot where `word` is, or the free one where it belongs. */
static size_t find_slot(const struct word_table *t, const char *word)
{
    size_t i = hash_string(word) & (t->slots - 1);
    while (t->slot[i] && strcmp(t->word[t->slot[i] - 1], word) != 0)
        i = (i + 1) & (t->slots - 1);
    return i;
}

uint32_t word_table_id(struct word_table *t, const char *word, bool add)
{
    size_t i = find_slot(t, word);
    if (t->slot[i])
        return t->slot[i] - 1;
    if (!add)
        return WORD_TABLE_NONE;
    ENSURE(t->n < WORD_TABLE_NONE - 1);
    ARRAY_GROW(t->word, t->n + 1, t->capacity);
    t->word[t->n++] = xstrdup(word);
    t->slot[i] = (uint32_t)t->n;
    if (2 * t->n > t->slots) {
        free(t->slot);
        t->slots *= 2;
        t->slot = xcalloc(t->slots, sizeof *t->slot);
        for (size_t k = 0; k < t->n; k++)
            t->slot[find_slot(t, t->word[k])] = (uint32_t)k + 1;
    }
    return (uint32_t)t->n - 1;
}

/* ---- n-grams ---- */

/* An n-gram seen: where it starts, and of which text. */
struct ngram {
    size_t at, text; /* text + 1; 0 is a free slot */
};

/* Puts the n-gram into the table, unless an equal one is there (of the same text, if within).
 * Returns whether it was new. */
static bool ngram_add(struct ngram *table, size_t slots, const uint32_t *ids, size_t order,
                      size_t at, size_t text, bool within)
{
    uint64_t h = within ? text + 1 : 0;
    for (size_t k = 0; k < order; k++)
        h = mix(h ^ ids[at + k]) + k;
    size_t i = h & (slots - 1);
    for (; table[i].text; i = (i + 1) & (slots - 1))
        if ((!within || table[i].text == text + 1) &&
            memcmp(ids + table[i].at, ids + at, order * sizeof *ids) == 0)
            return false;
    table[i] = (struct ngram){at, text + 1};
    return true;
}

void ngram_measure(struct ngram_measure *out, const uint32_t *ids, const size_t *start,
                   size_t n_texts, size_t order)
{
    ENSURE(order >= 1);
    size_t slots = 64, distinct = 0, fresh = 0;
    *out = (struct ngram_measure){0};
    for (size_t t = 0; t < n_texts; t++)
        if (start[t + 1] - start[t] >= order)
            out->all += start[t + 1] - start[t] - order + 1;
    while (slots < 2 * out->all)
        slots *= 2;
    struct ngram *anywhere = xcalloc(slots, sizeof *anywhere), *here = xcalloc(slots, sizeof *here);
    for (size_t t = 0; t < n_texts; t++)
        for (size_t i = start[t]; i + order <= start[t + 1]; i++) {
            distinct += ngram_add(anywhere, slots, ids, order, i, t, false);
            fresh += ngram_add(here, slots, ids, order, i, t, true);
        }
    free(anywhere);
    free(here);
    out->distinct = out->all ? (double)distinct / (double)out->all : NAN;
    out->repeated = out->all ? 1 - (double)fresh / (double)out->all : NAN;
}

void text_measure(struct text_measure *out, const char *const *texts, size_t n)
{
    struct word_table table;
    uint32_t *ids = NULL;
    size_t *start = xcalloc(n + 1, sizeof *start), capacity = 0;
    word_table_init(&table);
    for (size_t t = 0; t < n; t++) {
        struct words w;
        words_init(&w, texts[t]);
        start[t + 1] = start[t] + w.n;
        ARRAY_GROW(ids, start[t + 1], capacity);
        for (size_t i = 0; i < w.n; i++)
            ids[start[t] + i] = word_table_id(&table, w.word[i], true);
        words_release(&w);
    }
    struct ngram_measure one, two, three;
    ngram_measure(&one, ids, start, n, 1);
    ngram_measure(&two, ids, start, n, 2);
    ngram_measure(&three, ids, start, n, 3);
    *out = (struct text_measure){n, n ? (double)start[n] / (double)n : NAN, one.distinct,
                                 two.distinct, three.repeated};
    word_table_release(&table);
    free(start);
    free(ids);
}
