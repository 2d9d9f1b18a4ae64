#include "jinja/text.h"

#include "jinja/text_table.h"
#include "util/utf8.h"

#define N(array) (sizeof(array) / sizeof *(array))

size_t char_at(struct str s, size_t at, uint32_t *c)
{
    unsigned char first = (unsigned char)s.data[at];
    if (first < 0x80) {
        *c = first;
        return 1;
    }
    size_t n = utf8_char_len(s.data + at, s.n - at);
    *c = n ? utf8_decode(s.data + at, n) : 0xdc00u + first;
    return n ? n : 1;
}

size_t char_before(struct str s, size_t end, uint32_t *c)
{
    size_t at = end - 1;
    while (at > 0 && end - at < 4 && ((unsigned char)s.data[at] & 0xc0) == 0x80)
        at--;
    if (char_at((struct str){s.data, end}, at, c) == end - at)
        return end - at;
    return char_at((struct str){s.data, end}, end - 1, c);
}

bool char_is_space(uint32_t c)
{
    return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool char_is_hidden(uint32_t c)
{
    size_t low = 0, high = N(text_hidden);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c > text_hidden[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < N(text_hidden) && c >= text_hidden[low].first;
}

/* What the tables make of c, in image[0..3); returns how many characters, 1 where c is in neither. */
static size_t mapped(uint32_t image[3], uint32_t c, const struct text_run *runs, size_t n_runs, const struct text_more *more,
                     size_t n_more)
{
    for (size_t i = 0; i < n_more; i++)
        if (more[i].c == c) {
            image[0] = more[i].first;
            image[1] = more[i].second;
            image[2] = more[i].third;
            return image[2] ? 3 : image[1] ? 2 : 1;
        }
    image[0] = c;
    for (size_t i = 0; i < n_runs; i++)
        if (c >= runs[i].first && c <= runs[i].last && (c - runs[i].first) % runs[i].step == 0) {
            image[0] = (uint32_t)((int64_t)c + runs[i].delta);
            break;
        }
    return 1;
}

static size_t to_upper(uint32_t image[3], uint32_t c)
{
    if (c < 0x80) {
        image[0] = c >= 'a' && c <= 'z' ? c - 32 : c;
        return 1;
    }
    return mapped(image, c, text_upper_runs, N(text_upper_runs), text_upper_more, N(text_upper_more));
}

size_t char_to_lower(uint32_t image[3], uint32_t c)
{
    if (c < 0x80) {
        image[0] = c >= 'A' && c <= 'Z' ? c + 32 : c;
        return 1;
    }
    return mapped(image, c, text_lower_runs, N(text_lower_runs), text_lower_more, N(text_lower_more));
}

static size_t to_title(uint32_t image[3], uint32_t c)
{
    for (size_t i = 0; c >= 0x80 && i < N(text_title_more); i++)
        if (text_title_more[i].c == c)
            return mapped(image, c, NULL, 0, text_title_more, N(text_title_more));
    return to_upper(image, c);
}

bool char_is_upper(uint32_t c)
{
    uint32_t image[3];
    return char_to_lower(image, c) != 1 || image[0] != c;
}

bool char_is_lower(uint32_t c)
{
    uint32_t image[3];
    return to_upper(image, c) != 1 || image[0] != c;
}

size_t text_length(struct arena *a, struct str s)
{
    size_t n = 0;
    uint32_t c;
    for (size_t at = 0; at < s.n; n++)
        at += char_at(s, at, &c);
    arena_charge(a, s.n / 64);
    return n;
}

struct str text_slice(struct arena *a, struct str s, int64_t start, int64_t stop, int64_t step)
{
    uint32_t c;
    struct text out = {.arena = a};
    if (step == 1) {
        size_t from = 0, to;
        for (int64_t i = 0; i < start; i++)
            from += char_at(s, from, &c);
        to = from;
        for (int64_t i = start; i < stop; i++)
            to += char_at(s, to, &c);
        arena_charge(a, to / 64);
        return (struct str){s.data + from, to - from};
    }
    size_t n = text_length(a, s);
    size_t *places = arena_alloc(a, (n + 1) * sizeof *places);
    for (size_t i = 0, at = 0; i < n; i++) {
        places[i] = at;
        at += char_at(s, at, &c);
    }
    places[n] = s.n;
    for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step)
        text_add(&out, s.data + places[i], places[i + 1] - places[i]);
    return text_done(&out);
}

static void add_chars(struct text *out, const uint32_t *image, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char bytes[4];
        text_add(out, bytes, utf8_encode(bytes, image[i]));
    }
}

/* A sigma that ends a word has a lower case of its own. */
static bool ends_word(struct str s, size_t at, size_t len)
{
    uint32_t before = 0, after = 0;
    if (at > 0)
        char_before(s, at, &before);
    if (at + len < s.n)
        char_at(s, at + len, &after);
    return at > 0 && (char_is_upper(before) || char_is_lower(before)) &&
           !(after && (char_is_upper(after) || char_is_lower(after)));
}

struct str text_to_case(struct arena *a, struct str s, enum text_case to)
{
    struct text out = {.arena = a};
    bool in_word = false;
    for (size_t at = 0, len; at < s.n; at += len) {
        uint32_t c, image[3];
        len = char_at(s, at, &c);
        bool first = to == TEXT_TITLE ? !in_word : at == 0;
        in_word = char_is_upper(c) || char_is_lower(c);
        if (c >= 0xdc00 && c < 0xe000)
            text_add(&out, s.data + at, len);
        else if (to == TEXT_UPPER)
            add_chars(&out, image, to_upper(image, c));
        else if (to != TEXT_LOWER && first)
            add_chars(&out, image, to_title(image, c));
        else if (c == 0x3a3 && ends_word(s, at, len))
            add_chars(&out, &(uint32_t){0x3c2}, 1);
        else
            add_chars(&out, image, char_to_lower(image, c));
    }
    return text_done(&out);
}

static bool among(uint32_t c, const struct str *chars)
{
    if (!chars)
        return char_is_space(c);
    uint32_t other;
    for (size_t at = 0; at < chars->n;) {
        at += char_at(*chars, at, &other);
        if (other == c)
            return true;
    }
    return false;
}

struct str text_strip(struct str s, const struct str *chars, bool left, bool right)
{
    uint32_t c;
    while (left && s.n) {
        size_t len = char_at(s, 0, &c);
        if (!among(c, chars))
            break;
        s.data += len;
        s.n -= len;
    }
    while (right && s.n) {
        size_t len = char_before(s, s.n, &c);
        if (!among(c, chars))
            break;
        s.n -= len;
    }
    return s;
}

size_t text_find(struct arena *a, struct str s, struct str word, size_t from)
{
    if (word.n > s.n || from > s.n - word.n)
        return SIZE_MAX;
    if (word.n == 0)
        return from;
    const char *at = s.data + from, *last = s.data + s.n - word.n;
    while (at <= last && (at = memchr(at, word.data[0], (size_t)(last - at) + 1))) {
        if (memcmp(at, word.data, word.n) == 0) {
            arena_charge(a, (size_t)(at - s.data - from) / 64 + 1);
            return (size_t)(at - s.data);
        }
        arena_charge(a, 1);
        at++;
    }
    arena_charge(a, (s.n - from) / 64 + 1);
    return SIZE_MAX;
}

size_t text_rfind(struct arena *a, struct str s, struct str word)
{
    if (word.n > s.n)
        return SIZE_MAX;
    size_t at = s.n - word.n;
    arena_charge(a, s.n / 64 + 1);
    while (word.n && memcmp(s.data + at, word.data, word.n) != 0) {
        if (at == 0)
            return SIZE_MAX;
        at--;
    }
    return at;
}

bool text_starts(struct str s, struct str start)
{
    return start.n <= s.n && (start.n == 0 || memcmp(s.data, start.data, start.n) == 0);
}

bool text_ends(struct str s, struct str end)
{
    return end.n <= s.n && (end.n == 0 || memcmp(s.data + s.n - end.n, end.data, end.n) == 0);
}

struct str text_replace(struct arena *a, struct str s, struct str from, struct str to, size_t max)
{
    struct text out = {.arena = a};
    size_t at = 0;
    uint32_t c;
    for (; max > 0; max--) {
        size_t place = text_find(a, s, from, at);
        if (place == SIZE_MAX)
            break;
        text_add(&out, s.data + at, place - at);
        text_str(&out, to);
        at = place + from.n;
        if (from.n == 0) { /* between all characters */
            if (at == s.n)
                return text_done(&out);
            size_t len = char_at(s, at, &c);
            text_add(&out, s.data + at, len);
            at += len;
        }
    }
    if (at == 0)
        return s;
    text_add(&out, s.data + at, s.n - at);
    return text_done(&out);
}

size_t text_line(struct str s, size_t from, size_t *next)
{
    uint32_t c;
    for (size_t at = from, len; at < s.n; at += len) {
        len = char_at(s, at, &c);
        bool ends = (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
        if (ends) {
            *next = at + len;
            if (c == '\r' && *next < s.n && s.data[*next] == '\n')
                ++*next;
            return at - from;
        }
    }
    *next = s.n;
    return s.n - from;
}
