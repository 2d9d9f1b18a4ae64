#include "jinja/lexer.h"

#include <stdbool.h>
#include <stdlib.h>

#include "jinja/text.h"
#include "util/utf8.h"

#define MAX_BRACKETS 200

struct lexer {
    struct arena *arena;
    struct tokens *out;
    struct str s;
    size_t at;
    bool line_starts; /* what was read last ended a line */
    char brackets[MAX_BRACKETS];
    size_t n_brackets;
};

static void emit(struct lexer *l, struct token t)
{
    struct tokens *out = l->out;
    out->data = arena_grow(l->arena, out->data, out->n, &out->capacity, sizeof *out->data);
    t.line = (uint32_t)l->arena->line;
    out->data[out->n++] = t;
}

/* Move on by n bytes, counting lines. */
static void skip(struct lexer *l, size_t n)
{
    for (size_t i = 0; i < n; i++)
        l->arena->line += l->s.data[l->at + i] == '\n';
    l->at += n;
    if (n)
        l->line_starts = l->s.data[l->at - 1] == '\n';
}

static bool next_is(const struct lexer *l, const char *word)
{
    size_t n = strlen(word);
    return l->s.n - l->at >= n && memcmp(l->s.data + l->at, word, n) == 0;
}

static size_t space_len(const struct lexer *l, size_t at)
{
    uint32_t c;
    size_t from = at;
    while (at < l->s.n) {
        size_t n = char_at(l->s, at, &c);
        if (!char_is_space(c))
            break;
        at += n;
    }
    return at - from;
}

/* The end of a statement, comment or raw block stands `at` there: its length with the white space
 * that it takes, or 0. */
static size_t end_len(const struct lexer *l, size_t at, char kind, bool trim)
{
    char sign = at < l->s.n ? l->s.data[at] : 0;
    size_t n = sign == '-' || (sign == '+' && kind != '}') ? 1 : 0;
    if (l->s.n - at < n + 2 || l->s.data[at + n] != kind || l->s.data[at + n + 1] != '}')
        return 0;
    if (sign == '-')
        return n + 2 + space_len(l, at + n + 2);
    n += 2;
    return n + (trim && n == 2 && kind != '}' && at + n < l->s.n && l->s.data[at + n] == '\n');
}

/* The text up to a tag, whose second character is `kind` and whose sign follows it. */
static void emit_data(struct lexer *l, size_t end, char kind, char sign)
{
    struct str text = {l->s.data + l->at, end - l->at};
    if (kind && sign == '-') {
        text = text_strip(text, NULL, false, true);
    } else if (kind && kind != '{' && sign != '+') {
        size_t line = text.n;
        while (line > 0 && text.data[line - 1] != '\n')
            line--;
        struct str last = {text.data + line, text.n - line};
        if ((line > 0 || l->line_starts) && text_strip(last, NULL, true, false).n == 0)
            text.n = line;
    }
    if (text.n)
        emit(l, (struct token){.kind = TOKEN_DATA, .text = text});
    skip(l, end - l->at);
}

static bool is_name_char(uint32_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool is_digit(const struct lexer *l, size_t at)
{
    return at < l->s.n && l->s.data[at] >= '0' && l->s.data[at] <= '9';
}

/* 12 or 1_000 from `at` on. */
static size_t digits_len(const struct lexer *l, size_t at)
{
    size_t from = at;
    while (is_digit(l, at) || (at > from && at < l->s.n && l->s.data[at] == '_' && is_digit(l, at + 1)))
        at++;
    return at - from;
}

static void read_number(struct lexer *l)
{
    size_t at = l->at + digits_len(l, l->at);
    bool real = false;
    if (at < l->s.n && l->s.data[at] == '.' && is_digit(l, at + 1)) {
        real = true;
        at += 1 + digits_len(l, at + 1);
    }
    if (at < l->s.n && (l->s.data[at] | 32) == 'e') {
        size_t sign = at + 1 < l->s.n && (l->s.data[at + 1] == '+' || l->s.data[at + 1] == '-');
        if (is_digit(l, at + 1 + sign)) {
            real = true;
            at += 1 + sign + digits_len(l, at + 1 + sign);
        }
    }
    char digits[400];
    size_t n = 0;
    for (size_t i = l->at; i < at; i++)
        if (l->s.data[i] != '_') {
            if (n + 1 == sizeof digits)
                arena_fail(l->arena, "a number with more than %zu digits", sizeof digits - 1);
            digits[n++] = l->s.data[i];
        }
    digits[n] = 0;
    struct token t = {.kind = real ? TOKEN_FLOAT : TOKEN_INT, .text = {l->s.data + l->at, at - l->at}};
    if (real) {
        t.real = strtod(digits, NULL);
    } else {
        uint32_t after = 0;
        if (at < l->s.n)
            char_at(l->s, at, &after);
        if ((digits[0] == '0' && n > 1 && strspn(digits, "0") < n) || is_name_char(after))
            arena_fail(l->arena, "the number '%.*s' is not supported: write it in decimal", STR_ARG(t.text));
        for (size_t i = 0; i < n; i++)
            if (__builtin_mul_overflow(t.whole, 10, &t.whole) || __builtin_add_overflow(t.whole, digits[i] - '0', &t.whole))
                arena_fail(l->arena, "the number '%.*s' has more than 64 bits", STR_ARG(t.text));
    }
    emit(l, t);
    skip(l, at - l->at);
}

/* n hexadecimal (or octal) digits; fails where one is missing. */
static uint32_t read_digits(struct lexer *l, size_t *at, size_t n, int base)
{
    char digits[9] = "";
    size_t k = 0;
    for (; k < n && *at < l->s.n; k++, ++*at) {
        char c = l->s.data[*at];
        bool ok = base == 8 ? c >= '0' && c <= '7' : is_digit(l, *at) || ((c | 32) >= 'a' && (c | 32) <= 'f');
        if (!ok)
            break;
        digits[k] = c;
    }
    if (base == 16 && k < n)
        arena_fail(l->arena, "a string has a broken \\x, \\u or \\U in it");
    return (uint32_t)strtoul(digits, NULL, base);
}

static void read_string(struct lexer *l)
{
    static const char names[] = "nrt\\'\"abfv", values[] = "\n\r\t\\'\"\a\b\f\v";
    char quote = l->s.data[l->at];
    struct text out = {.arena = l->arena};
    size_t at = l->at + 1;
    while (at < l->s.n && l->s.data[at] != quote) {
        char c = l->s.data[at++];
        if (c != '\\') {
            text_add(&out, &c, 1);
            continue;
        }
        if (at == l->s.n)
            break;
        c = l->s.data[at++];
        const char *name = c ? strchr(names, c) : NULL;
        if (name) {
            text_add(&out, &values[name - names], 1);
        } else if (c == 'x' || c == 'u' || c == 'U' || (c >= '0' && c <= '7')) {
            at -= c >= '0' && c <= '7';
            uint32_t code = c == 'x'   ? read_digits(l, &at, 2, 16)
                            : c == 'u' ? read_digits(l, &at, 4, 16)
                            : c == 'U' ? read_digits(l, &at, 8, 16)
                                       : read_digits(l, &at, 3, 8);
            if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
                arena_fail(l->arena, "a string has the escape of no character in it: U+%X", code);
            char bytes[4];
            text_add(&out, bytes, utf8_encode(bytes, code));
        } else if (c == 'N') {
            arena_fail(l->arena, "\\N in a string is not supported: write the character itself");
        } else if (c != '\n') { /* an escaped line break is none */
            text_add(&out, "\\", 1);
            text_add(&out, &c, 1);
        }
    }
    if (at >= l->s.n)
        arena_fail(l->arena, "a string has no end");
    emit(l, (struct token){.kind = TOKEN_STRING, .text = text_done(&out)});
    skip(l, at + 1 - l->at);
}

static void read_sign(struct lexer *l)
{
    static const struct {
        char text[3];
        int sign;
    } two[] = {{"**", SIGN_POWER}, {"//", SIGN_FLOOR}, {"==", SIGN_EQ}, {"!=", SIGN_NE}, {"<=", SIGN_LE}, {">=", SIGN_GE}};
    char c = l->s.data[l->at];
    int sign = (unsigned char)c;
    size_t n = 1;
    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
        if (next_is(l, two[i].text)) {
            sign = two[i].sign;
            n = 2;
        }
    if (n == 1 && (!c || !strchr("+-/*%~[](){}><=.:|,;", c))) {
        uint32_t code;
        char_at(l->s, l->at, &code);
        arena_fail(l->arena, "the character U+%04X has no place in an expression", code);
    }
    if (c == '(' || c == '[' || c == '{') {
        if (l->n_brackets == MAX_BRACKETS)
            arena_fail(l->arena, "more than %d brackets are open", MAX_BRACKETS);
        l->brackets[l->n_brackets++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        if (!l->n_brackets || l->brackets[--l->n_brackets] != c)
            arena_fail(l->arena, "a '%c' closes nothing", c);
    }
    emit(l, (struct token){.kind = TOKEN_SIGN, .sign = sign, .text = {l->s.data + l->at, n}});
    skip(l, n);
}

/* What stands in a tag, up to and including its end. */
static void read_tag(struct lexer *l, char kind)
{
    char close = kind == '{' ? '}' : kind;
    l->n_brackets = 0;
    for (;;) {
        size_t end = l->n_brackets ? 0 : end_len(l, l->at, close, true), space = space_len(l, l->at);
        uint32_t c;
        if (end) {
            emit(l, (struct token){.kind = kind == '{' ? TOKEN_PRINT_END : TOKEN_BLOCK_END});
            skip(l, end);
            return;
        }
        if (space) {
            skip(l, space);
            continue;
        }
        if (l->at == l->s.n)
            arena_fail(l->arena, "the tag has no end: '%c}' is missing", close);
        char_at(l->s, l->at, &c);
        if (is_digit(l, l->at)) {
            read_number(l);
        } else if (is_name_char(c)) {
            size_t n = 0;
            while (l->at + n < l->s.n && is_name_char((unsigned char)l->s.data[l->at + n]))
                n++;
            emit(l, (struct token){.kind = TOKEN_NAME, .text = {l->s.data + l->at, n}});
            skip(l, n);
        } else if (c == '\'' || c == '"') {
            read_string(l);
        } else {
            read_sign(l);
        }
    }
}

static void read_comment(struct lexer *l)
{
    for (; l->at < l->s.n; skip(l, 1)) {
        size_t end = end_len(l, l->at, '#', true);
        if (end) {
            skip(l, end);
            return;
        }
    }
    arena_fail(l->arena, "the comment has no end: '#}' is missing");
}

/* "{% raw %}" stands at `at` (after "{%" and its sign)?  Its length up to the text. */
static size_t word_len(const struct lexer *l, size_t at, const char *word, bool trim)
{
    size_t from = at, n = strlen(word);
    at += space_len(l, at);
    if (l->s.n - at < n || memcmp(l->s.data + at, word, n) != 0)
        return 0;
    at += n;
    at += space_len(l, at);
    if (!trim && at < l->s.n && l->s.data[at] == '+')
        return 0;
    size_t end = end_len(l, at, '%', trim);
    return end ? at + end - from : 0;
}

static size_t sign_len(const struct lexer *l, size_t at)
{
    return at < l->s.n && (l->s.data[at] == '-' || l->s.data[at] == '+');
}

static void read_raw(struct lexer *l)
{
    for (size_t at = l->at; at + 2 < l->s.n; at++) {
        if (l->s.data[at] != '{' || l->s.data[at + 1] != '%')
            continue;
        size_t sign = sign_len(l, at + 2), n = word_len(l, at + 2 + sign, "endraw", true);
        if (n) {
            emit_data(l, at, '%', sign ? l->s.data[at + 2] : 0);
            skip(l, 2 + sign + n);
            return;
        }
    }
    arena_fail(l->arena, "the raw block has no end: {%% endraw %%} is missing");
}

static void read_all(struct lexer *l)
{
    while (l->at < l->s.n) {
        size_t tag = l->at;
        char kind = 0;
        for (; tag + 1 < l->s.n; tag++)
            if (l->s.data[tag] == '{' && strchr("{%#", l->s.data[tag + 1]) && l->s.data[tag + 1]) {
                kind = l->s.data[tag + 1];
                break;
            }
        if (!kind) {
            emit_data(l, l->s.n, 0, 0);
            return;
        }
        size_t sign = sign_len(l, tag + 2);
        emit_data(l, tag, kind, sign ? l->s.data[tag + 2] : 0);
        skip(l, 2 + sign);
        size_t raw = kind == '%' ? word_len(l, l->at, "raw", false) : 0;
        if (raw) {
            skip(l, raw);
            read_raw(l);
        } else if (kind == '#') {
            read_comment(l);
        } else {
            emit(l, (struct token){.kind = kind == '{' ? TOKEN_PRINT_BEGIN : TOKEN_BLOCK_BEGIN});
            read_tag(l, kind);
        }
    }
}

void lexer_read(struct arena *a, struct tokens *out, const char *text, size_t n)
{
    char *lines = arena_alloc(a, n + 1);
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (text[i] != '\r')
            lines[k++] = text[i];
        else if (i + 1 == n || text[i + 1] != '\n')
            lines[k++] = '\n';
    k -= k > 0 && lines[k - 1] == '\n';
    struct lexer l = {.arena = a, .out = out, .s = {lines, k}, .line_starts = true};
    a->line = 1;
    read_all(&l);
    emit(&l, (struct token){.kind = TOKEN_END});
}
