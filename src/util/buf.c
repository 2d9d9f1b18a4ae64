#include "util/buf.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/mem.h"
#include "util/utf8.h"

void buf_init(struct buf *b, size_t ceiling)
{
    *b = (struct buf){.ceiling = ceiling, .capacity = 64};
    b->data = xmalloc(b->capacity);
    b->data[0] = 0;
}

void buf_release(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->overflow = false;
    b->data[0] = 0;
}

void buf_add(struct buf *b, const void *bytes, size_t n)
{
    if (n > b->ceiling || b->len > b->ceiling - n) {
        b->overflow = true;
        return;
    }
    ARRAY_GROW(b->data, b->len + n + 1, b->capacity);
    if (n)
        memcpy(b->data + b->len, bytes, n);
    b->len += n;
    b->data[b->len] = 0;
}

void buf_str(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char small[512];
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    if ((size_t)n < sizeof small) {
        buf_add(b, small, (size_t)n);
        return;
    }
    char *large = xmalloc((size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(large, (size_t)n + 1, fmt, ap);
    va_end(ap);
    buf_add(b, large, (size_t)n);
    free(large);
}

void buf_json_str(struct buf *b, const char *s, size_t n)
{
    buf_add(b, "\"", 1);
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\') {
            char two[2] = {'\\', (char)c};
            buf_add(b, two, 2);
            i++;
        } else if (c == '\n') {
            buf_add(b, "\\n", 2);
            i++;
        } else if (c == '\t') {
            buf_add(b, "\\t", 2);
            i++;
        } else if (c < 0x20 || c == 0x7f) {
            buf_printf(b, "\\u%04x", c);
            i++;
        } else {
            size_t k = utf8_char_len(s + i, n - i);
            if (k) {
                buf_add(b, s + i, k);
                i += k;
            } else {
                buf_add(b, "\xef\xbf\xbd", 3);
                i++;
            }
        }
    }
    buf_add(b, "\"", 1);
}

void buf_json_float(struct buf *b, float x)
{
    if (isfinite(x))
        buf_printf(b, "%.9g", (double)x);
    else
        buf_str(b, "null");
}

void buf_json_double(struct buf *b, double x)
{
    if (!isfinite(x)) {
        buf_str(b, "null");
        return;
    }
    char s[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, x);
        if (strtod(s, NULL) == x)
            break;
    }
    buf_str(b, s);
}

const char *bytes_text(char out[BYTES_TEXT], size_t n)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double x = (double)n;
    size_t u = 0;
    for (; x >= 999.5 && u + 1 < sizeof units / sizeof *units; u++)
        x /= 1000;
    snprintf(out, BYTES_TEXT, u == 0 ? "%.0f %s" : x < 9.995 ? "%.2f %s" : x < 99.95 ? "%.1f %s" : "%.0f %s", x, units[u]);
    return out;
}
