#include "cmd/outline.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/mem.h"

#define NAME_WIDTH 32 /* at most */
#define LINE_WIDTH 100
#define INDENT 2

/* Columns a text takes: its characters. */
static size_t width_of(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void add_padded(struct buf *out, const char *s, size_t width, bool right)
{
    size_t n = width_of(s);
    int pad = n < width ? (int)(width - n) : 0;
    if (right)
        buf_printf(out, "%*s%s", pad, "", s);
    else
        buf_printf(out, "%s%*s", s, pad, "");
}

static void add_whole(struct buf *out, json_int_t x)
{
    char digits[32];
    snprintf(digits, sizeof digits, "%lld", x < 0 ? -(long long)x : (long long)x);
    size_t n = strlen(digits);
    buf_str(out, x < 0 ? "-" : "");
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s%c", i && (n - i) % 3 == 0 && n > 4 ? "," : "", digits[i]);
}

/* Text on one line. */
static void add_text(struct buf *out, const char *s)
{
    for (; *s; s++) {
        if (*s == '\n')
            buf_str(out, "\\n");
        else if ((unsigned char)*s < 0x20 || *s == 0x7f)
            buf_printf(out, "\\x%02x", (unsigned char)*s);
        else
            buf_add(out, s, 1);
    }
}

static void add_scalar(struct buf *out, const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_STRING:
        add_text(out, json_string_value(v));
        break;
    case JSON_INTEGER:
        add_whole(out, json_integer_value(v));
        break;
    case JSON_REAL: {
        double x = json_real_value(v);
        if (x == floor(x) && fabs(x) < 1e15)
            add_whole(out, (json_int_t)x);
        else
            buf_printf(out, "%.4g", x);
        break;
    }
    case JSON_TRUE:
    case JSON_FALSE:
        buf_str(out, json_is_true(v) ? "yes" : "no");
        break;
    default:
        buf_str(out, "-");
    }
}

static char *scalar_text(const json_t *v)
{
    struct buf b;
    buf_init(&b, (size_t)1 << 20);
    add_scalar(&b, v);
    return b.data; /* the caller's */
}

static char *label(const char *key)
{
    char *s = xstrdup(key);
    for (char *c = s; *c; c++)
        *c = *c == '_' ? ' ' : *c;
    return s;
}

static void add_table(struct buf *out, const json_t *rows, size_t indent)
{
    size_t n_columns = json_object_size(json_array_get(rows, 0)), n_rows = json_array_size(rows);
    size_t *widths = xcalloc(n_columns + 1, sizeof *widths);
    const char *key;
    json_t *v;
    for (int draw = 0; draw < 2; draw++) { /* measure, then write */
        for (size_t r = 0; r <= n_rows; r++) {
            size_t c = 0;
            if (draw)
                buf_printf(out, "%*s", (int)indent, "");
            json_object_foreach(json_array_get(rows, 0), key, v) {
                const json_t *cell = r ? json_object_get(json_array_get(rows, r - 1), key) : v;
                char *text = !r ? label(key) : cell ? scalar_text(cell) : xstrdup("");
                if (!draw && width_of(text) > widths[c])
                    widths[c] = width_of(text);
                bool last = c + 1 == n_columns, right = json_is_number(v);
                if (draw)
                    add_padded(out, text, last && !right ? 0 : widths[c], right);
                if (draw && !last)
                    buf_str(out, "  ");
                free(text);
                c++;
            }
            if (draw)
                buf_str(out, "\n");
        }
    }
    free(widths);
}

static void add_object(struct buf *out, const json_t *object, size_t indent);

/* Short entries share a line, if there is room; sentences have one each. */
static bool fits_line(const json_t *list, size_t from)
{
    size_t width = from;
    for (size_t i = 0; i < json_array_size(list); i++) {
        char *text = scalar_text(json_array_get(list, i));
        size_t n = width_of(text);
        free(text);
        if (n > 40)
            return false;
        width += n + 2;
    }
    return width <= LINE_WIDTH;
}

static void add_list(struct buf *out, const json_t *list, size_t indent, size_t from)
{
    size_t n = json_array_size(list);
    bool line = fits_line(list, from);
    buf_str(out, n == 0 ? "none" : line ? "" : "\n");
    for (size_t i = 0; i < n; i++) {
        if (line)
            buf_str(out, i ? ", " : "");
        else
            buf_printf(out, "%*s- ", (int)(indent + INDENT), "");
        add_scalar(out, json_array_get(list, i));
        buf_str(out, line ? "" : "\n");
    }
    buf_str(out, line ? "\n" : "");
}

static bool is_table(const json_t *v)
{
    return json_is_array(v) && json_is_object(json_array_get(v, 0));
}

/* names: width of the column of names. */
static void add_member(struct buf *out, const char *key, const json_t *v, size_t indent,
                       size_t names)
{
    char *name = label(key);
    buf_printf(out, "%*s", (int)indent, "");
    if (is_table(v) || json_is_object(v)) {
        buf_printf(out, "%s\n", name);
        if (json_is_object(v))
            add_object(out, v, indent + INDENT);
        else
            add_table(out, v, indent + INDENT);
    } else if (json_is_array(v)) {
        bool line = fits_line(v, indent + names + 2);
        add_padded(out, name, line ? names + 2 : 0, false);
        add_list(out, v, indent, indent + names + 2);
    } else {
        add_padded(out, name, names + 2, false);
        add_scalar(out, v);
        buf_str(out, "\n");
    }
    free(name);
}

static void add_object(struct buf *out, const json_t *object, size_t indent)
{
    const char *key;
    json_t *v;
    size_t names = 0;
    json_object_foreach((json_t *)object, key, v)
        if (!is_table(v) && !json_is_object(v) && width_of(key) > names &&
            width_of(key) <= NAME_WIDTH)
            names = width_of(key);
    json_object_foreach((json_t *)object, key, v)
        add_member(out, key, v, indent, names);
}

void outline_add(struct buf *out, const json_t *object)
{
    add_object(out, object, 0);
}
