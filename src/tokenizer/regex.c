#include "tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "util/buf.h"
#include "util/mem.h"

struct regex {
    pcre2_code *code;
};

/* The two engines differ in what white space is (PCRE2 counts U+180E in, which is none since
 * Unicode 6.3): say what is meant.  A class inside a class is a union in Oniguruma, and a letter to PCRE2: its brackets go. */
static int translate(struct buf *out, const char *pattern, size_t n, struct err *err)
{
    int depth = 0; /* of brackets */
    for (size_t i = 0; i < n; i++) {
        char c = pattern[i], next = i + 1 < n ? pattern[i + 1] : 0;
        if (c == '&' && next == '&')
            return err_set(err, "the pattern '%.100s' uses '&&', which is not supported", pattern);
        const char *named = depth && c == '[' && next == ':' ? strstr(pattern + i, ":]") : NULL;
        if (named) { /* [:alpha:] */
            buf_add(out, pattern + i, (size_t)(named + 2 - (pattern + i)));
            i = (size_t)(named + 1 - pattern);
            continue;
        }
        if (c == '[' && depth && (next == '^' || depth == 2))
            return err_set(err, "the pattern '%.100s' has '%c%c' inside brackets, which is not supported", pattern, c, next);
        if ((c == '[' && depth++) || (c == ']' && depth && --depth))
            continue;
        if (c != '\\' || i + 1 == n) {
            buf_add(out, pattern + i, 1);
            continue;
        }
        c = pattern[++i];
        if (c == 's')
            buf_str(out, "\\p{White_Space}");
        else if (c == 'S')
            buf_str(out, "\\P{White_Space}");
        else if (strchr("wWbBhHRXKQECGyYO", c))
            return err_set(err, "the pattern '%.100s' uses '\\%c', which is not supported", pattern,
                           c);
        else
            buf_add(out, pattern + i - 1, 2);
    }
    return 0;
}

struct regex *regex_new(const char *pattern, size_t n, enum regex_syntax syntax, struct err *err)
{
    if (n == 0 || n > 10000) {
        err_set(err, "a pattern of %zu bytes is not supported", n);
        return NULL;
    }
    struct regex *r = NULL;
    struct buf translated;
    buf_init(&translated, 20 * n);
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
    if (syntax != REGEX_FILE) {
        buf_add(&translated, pattern, n);
        options = syntax == REGEX_LITERAL ? PCRE2_UTF | PCRE2_LITERAL : options;
    } else if (translate(&translated, pattern, n, err)) {
        goto out;
    }
    int code;
    PCRE2_SIZE at;
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)translated.data, translated.len, options, &code, &at, NULL);
    if (!compiled) {
        PCRE2_UCHAR why[200];
        pcre2_get_error_message(code, why, sizeof why);
        err_set(err, "the pattern '%.100s' cannot be compiled: %s", pattern, (const char *)why);
        goto out;
    }
    pcre2_jit_compile(compiled,
                      PCRE2_JIT_COMPLETE); /* where it cannot, matching is slower, not other */
    r = xmalloc(sizeof *r);
    r->code = compiled;
out:
    buf_release(&translated);
    return r;
}

void regex_free(struct regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    free(r);
}

void regex_scratch_release(struct regex_scratch *s)
{
    pcre2_match_data_free(s->match);
    s->match = NULL;
}

int regex_find(const struct regex *r, struct regex_scratch *s, const char *text, size_t n,
               size_t from, size_t *start, size_t *end, struct err *err)
{
    if (!s->match) {
        s->match = pcre2_match_data_create(1, NULL); /* the whole match is all that is asked for */
        if (!s->match)
            BUG("out of memory");
    }
    uint32_t options = PCRE2_NO_UTF_CHECK;
    int found = pcre2_match(r->code, (PCRE2_SPTR)text, n, from, options, s->match, NULL);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
        found =
            pcre2_match(r->code, (PCRE2_SPTR)text, n, from, options | PCRE2_NO_JIT, s->match, NULL);
    if (found == PCRE2_ERROR_NOMATCH)
        return 0;
    if (found < 0) {
        PCRE2_UCHAR why[200];
        pcre2_get_error_message(found, why, sizeof why);
        return err_set(
            err, "the tokenizer's pattern cannot be matched at byte %zu of a text of %zu bytes: %s",
            from, n, (const char *)why);
    }
    const PCRE2_SIZE *place = pcre2_get_ovector_pointer(s->match);
    *start = place[0];
    *end = place[1];
    return 1;
}
