#include "tokenizer/charsmap.h"

#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "util/mem.h"
#include "util/utf8.h"

#define MAX_GRAPHEME 6 /* bytes; from here on a grapheme is taken apart */

struct charsmap {
    unsigned char *bytes; /* the trie's, then the strings' */
    size_t n_units;
    const char *strings;
    size_t strings_len;
    struct regex *grapheme; /* NULL: the longest string counts */
};

void charsmap_free(struct charsmap *m)
{
    if (!m)
        return;
    free(m->bytes);
    regex_free(m->grapheme);
    free(m);
}

static uint32_t unit_at(const struct charsmap *m, size_t i)
{
    const unsigned char *p = m->bytes + 4 * i;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

struct charsmap *charsmap_new(const void *bytes, size_t n, bool by_grapheme, struct err *err)
{
    const unsigned char *p = bytes;
    size_t size = n < 4 ? 0 : (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
    if (size == 0 || size % 4 || size > n - 4) {
        err_set(err, "the charsmap is broken: of its %zu bytes its trie would take %zu", n, size);
        return NULL;
    }
    if (size == n - 4 || p[n - 1] != 0) {
        err_set(err, "the charsmap is broken: its last string has no end");
        return NULL;
    }
    struct charsmap *m = xcalloc(1, sizeof *m);
    m->bytes = xmalloc(n - 4);
    memcpy(m->bytes, p + 4, n - 4);
    m->n_units = size / 4;
    m->strings = (const char *)m->bytes + size;
    m->strings_len = n - 4 - size;
    for (size_t i = 0, k; i < m->strings_len; i += k)
        if (!(k = utf8_char_len(m->strings + i, m->strings_len - i))) {
            err_set(err, "the charsmap is broken: byte %zu of its strings is not UTF-8", i);
            charsmap_free(m);
            return NULL;
        }
    if (by_grapheme && !(m->grapheme = regex_new("\\X", 2, REGEX_OWN, err))) {
        charsmap_free(m);
        return NULL;
    }
    return m;
}

struct charsmap *charsmap_from_base64(const char *text, size_t n, bool by_grapheme, struct err *err)
{
    unsigned char *bytes = xmalloc(n + 1);
    size_t size;
    const char *end;
    struct charsmap *m = NULL;
    if (sodium_base642bin(bytes, n, text, n, NULL, &size, &end, sodium_base64_VARIANT_ORIGINAL) || end != text + n)
        err_set(err, "the charsmap is broken: it is not base64");
    else
        m = charsmap_new(bytes, size, by_grapheme, err);
    free(bytes);
    return m;
}

/* What the shortest or the longest known string at the beginning of text[0..n) becomes, and its length; NULL if there is
 * none. */
static const char *find(const struct charsmap *m, const char *text, size_t n, bool longest, size_t *len)
{
    const char *found = NULL;
    size_t at = 0;
    uint32_t unit = unit_at(m, 0);
    for (size_t i = 0; i < n && text[i]; i++) {
        at ^= (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6) ^ (unsigned char)text[i];
        if (at >= m->n_units)
            break;
        unit = unit_at(m, at);
        if ((unit & (1u << 31 | 0xff)) != (unsigned char)text[i])
            break;
        size_t leaf = at ^ (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
        if (!(unit >> 8 & 1) || leaf >= m->n_units)
            continue;
        size_t value = unit_at(m, leaf) & 0x7fffffff;
        if (value >= m->strings_len)
            continue;
        found = m->strings + value;
        *len = i + 1;
        if (!longest)
            break;
    }
    return found;
}

static void append_longest(const struct charsmap *m, struct buf *out, const char *text, size_t n)
{
    for (size_t i = 0, len; i < n; i += len) {
        const char *by = find(m, text + i, n - i, true, &len);
        if (by) {
            buf_str(out, by);
            continue;
        }
        len = utf8_char_len(text + i, n - i);
        buf_add(out, text + i, len);
    }
}

int charsmap_append(const struct charsmap *m, struct regex_scratch *s, struct buf *out, const char *text, size_t n,
                    struct err *err)
{
    if (!m->grapheme) {
        append_longest(m, out, text, n);
        return 0;
    }
    size_t start, end, len;
    for (size_t i = 0; i < n; i += end) {
        /* From its own beginning on: flags are counted back to the text's beginning otherwise. */
        int found = regex_find(m->grapheme, s, text + i, n - i, 0, &start, &end, err);
        if (found < 0)
            return -1;
        ENSURE(found && end);
        const char *by = end < MAX_GRAPHEME ? find(m, text + i, end, false, &len) : NULL;
        if (by) {
            buf_str(out, by);
            continue;
        }
        for (size_t j = 0, k; j < end; j += k) {
            k = utf8_char_len(text + i + j, n - i - j);
            by = find(m, text + i + j, k, false, &len);
            if (by)
                buf_str(out, by);
            else
                buf_add(out, text + i + j, k);
        }
    }
    return 0;
}
