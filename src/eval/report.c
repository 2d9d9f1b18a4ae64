#include "eval/report.h"

#include <math.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/embed.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/utf8.h"

#define CEILING ((size_t)256 << 20)

/* Points of a series in the table below its chart; longer ones are thinned out. */
enum { TABLE_POINTS = 40 };

static const char *const verdict_class[] = {"neutral", "good", "bad"};

/* ---- escaping ---- */

static void html_bytes(struct buf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t len = utf8_char_len(s + i, n - i);
        unsigned char c = (unsigned char)s[i];
        if (c == '&')
            buf_str(b, "&amp;");
        else if (c == '<')
            buf_str(b, "&lt;");
        else if (c == '>')
            buf_str(b, "&gt;");
        else if (c == '"')
            buf_str(b, "&quot;");
        else if (c == '\'')
            buf_str(b, "&#39;");
        else if (len == 0 || (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
            buf_str(b, "\xef\xbf\xbd");
        else
            buf_add(b, s + i, len);
        i += len ? len : 1;
    }
}

static void html(struct buf *b, const char *s)
{
    html_bytes(b, s, strlen(s));
}

/* An element with nothing but text in it; `open` is the tag with its attributes. */
static void element(struct buf *b, const char *open, const char *text, const char *close)
{
    buf_str(b, open);
    html(b, text);
    buf_str(b, close);
}

static void json_str(struct buf *b, const char *s)
{
    buf_json_str(b, s, strlen(s));
}

static void mark(struct buf *b, enum report_verdict verdict)
{
    if (verdict == REPORT_GOOD)
        buf_str(b, "<span class=\"mark\" role=\"img\" aria-label=\"good\">\xe2\x9c\x93</span> ");
    else if (verdict == REPORT_BAD)
        buf_str(b, "<span class=\"mark\" role=\"img\" aria-label=\"bad\">\xe2\x9c\x97</span> ");
}

static char *format(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0), nonnull));
static char *format(const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    ENSURE(n >= 0);
    char *text = xmalloc((size_t)n + 1);
    vsnprintf(text, (size_t)n + 1, fmt, ap);
    return text;
}

/* ---- the parts ---- */

void report_init(struct report *r, const char *title, const char *subtitle)
{
    *r = (struct report){.title = xstrdup(title), .subtitle = subtitle ? xstrdup(subtitle) : NULL};
    buf_init(&r->body, CEILING);
}

static void table_clear(struct report *r)
{
    for (size_t i = 0; i < r->cells; i++)
        free(r->cell[i].text);
    free(r->caption);
    r->caption = NULL;
    r->cells = r->columns = 0;
}

void report_release(struct report *r)
{
    table_clear(r);
    for (size_t i = 0; i < r->headings; i++)
        free(r->heading[i]);
    free(r->heading);
    free(r->cell);
    free(r->title);
    free(r->subtitle);
    buf_release(&r->body);
    *r = (struct report){0};
}

/* Every part begins here: it ends a run of figures, and is not for the inside of a table. */
static struct buf *begin(struct report *r)
{
    ENSURE(r->columns == 0);
    if (r->figures)
        buf_str(&r->body, "</div>\n");
    r->figures = false;
    return &r->body;
}

void report_heading(struct report *r, const char *text)
{
    struct buf *b = begin(r);
    ARRAY_GROW(r->heading, r->headings + 1, r->heading_capacity);
    r->heading[r->headings++] = xstrdup(text);
    buf_printf(b, "<h2 id=\"section-%zu\">", r->headings);
    element(b, "", text, "</h2>\n");
}

void report_text(struct report *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = format(fmt, ap);
    va_end(ap);
    element(begin(r), "<p>", text, "</p>\n");
    free(text);
}

void report_note(struct report *r, enum report_verdict verdict, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = format(fmt, ap);
    va_end(ap);
    struct buf *b = begin(r);
    buf_printf(b, "<p class=\"note %s\">", verdict_class[verdict]);
    mark(b, verdict);
    element(b, "", text, "</p>\n");
    free(text);
}

void report_figure(struct report *r, enum report_verdict verdict, const char *label,
                   const char *value, const char *note)
{
    struct buf *b = &r->body;
    if (!r->figures)
        buf_str(begin(r), "<div class=\"figures\">\n");
    r->figures = true;
    buf_printf(b, "<div class=\"figure %s\">", verdict_class[verdict]);
    element(b, "<div class=\"label\">", label, "</div><div class=\"value\">");
    mark(b, verdict);
    element(b, "", value, "</div>");
    if (note)
        element(b, "<div class=\"small\">", note, "</div>");
    buf_str(b, "</div>\n");
}

/* ---- tables ---- */

static void add_cell(struct report *r, enum report_verdict verdict, char *text)
{
    ARRAY_GROW(r->cell, r->cells + 1, r->cell_capacity);
    r->cell[r->cells++] = (struct report_cell){text, verdict};
}

void report_table(struct report *r, const char *caption, size_t columns, const char *const *header)
{
    begin(r);
    ENSURE(columns > 0);
    r->columns = columns;
    r->caption = caption ? xstrdup(caption) : NULL;
    for (size_t i = 0; i < columns; i++)
        add_cell(r, REPORT_NEUTRAL, xstrdup(header[i]));
}

void report_cell(struct report *r, enum report_verdict verdict, const char *fmt, ...)
{
    ENSURE(r->columns > 0);
    va_list ap;
    va_start(ap, fmt);
    add_cell(r, verdict, format(fmt, ap));
    va_end(ap);
}

/* Does the cell begin like a number, or stand for a missing one? */
static bool is_number(const char *s)
{
    static const char *const missing[] = {"", "-", "\xe2\x80\x93", "\xe2\x80\x94", "n/a"};
    static const char *const before[] = {"+",
                                         "-",
                                         "<",
                                         ">",
                                         "~",
                                         ".",
                                         "$",
                                         " ",
                                         "\xe2\x88\x92",
                                         "\xc2\xb1",
                                         "\xe2\x89\xa4",
                                         "\xe2\x89\xa5"};
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
        if (strcmp(s, missing[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof before / sizeof *before; i++)
        if (strncmp(s, before[i], strlen(before[i])) == 0) {
            s += strlen(before[i]);
            i = (size_t)-1; /* from the first again: several signs may follow each other */
        }
    return *s >= '0' && *s <= '9';
}

static bool is_number_column(const struct report *r, size_t column)
{
    for (size_t i = r->columns + column; i < r->cells; i += r->columns)
        if (!is_number(r->cell[i].text))
            return false;
    return r->cells > r->columns;
}

void report_table_end(struct report *r)
{
    ENSURE(r->columns > 0 && r->cells % r->columns == 0);
    struct buf *b = &r->body;
    buf_str(b, "<div class=\"table\"><table>\n");
    if (r->caption)
        element(b, "<caption>", r->caption, "</caption>\n");
    bool *number = xcalloc(r->columns, sizeof *number);
    for (size_t i = 0; i < r->columns; i++)
        number[i] = is_number_column(r, i);
    buf_str(b, "<thead>");
    for (size_t i = 0; i < r->cells; i++) {
        size_t column = i % r->columns;
        const struct report_cell *c = &r->cell[i];
        const char *tag = i < r->columns ? "th" : "td";
        if (i == r->columns)
            buf_str(b, "</thead>\n<tbody>\n");
        if (column == 0)
            buf_str(b, "<tr>");
        buf_printf(b, "<%s class=\"%s %s\"%s>", tag, number[column] ? "number" : "text",
                   verdict_class[c->verdict], i < r->columns ? " scope=\"col\"" : "");
        mark(b, c->verdict);
        html(b, c->text);
        buf_printf(b, "</%s>", tag);
        if (column + 1 == r->columns)
            buf_str(b, "</tr>\n");
    }
    buf_str(b, r->cells > r->columns ? "</tbody>" : "</thead>");
    buf_str(b, "</table></div>\n");
    free(number);
    table_clear(r);
}

/* ---- charts ---- */

/* Opens a figure with room for the drawing (if there is something to draw with), then the data,
 * then the table, which report.js folds up once the chart is drawn. */
static void chart(struct report *r, const char *title, const struct buf *data)
{
    struct buf *b = begin(r);
    r->charts++;
    element(b, "<figure><figcaption>", title, "</figcaption>\n");
    if (embed_chart_min_js_size) {
        buf_str(b, "<div class=\"chart\"><canvas role=\"img\" aria-label=\"");
        element(b, "", title, "\"></canvas></div>\n");
    }
    buf_str(b, "<script type=\"application/json\">");
    /* In JSON, '<' only occurs inside strings; so written, it cannot end the script. */
    for (size_t i = 0, from = 0; i <= data->len; i++)
        if (i == data->len || data->data[i] == '<') {
            buf_add(b, data->data + from, i - from);
            from = i + 1;
            if (i < data->len)
                buf_str(b, "\\u003c");
        }
    buf_str(b, "</script>\n<details open><summary>The numbers</summary>\n");
}

static void chart_end(struct report *r)
{
    buf_str(&r->body, "</details>\n</figure>\n");
}

static void number_cell(struct report *r, double x)
{
    if (isfinite(x))
        report_cell(r, REPORT_NEUTRAL, "%.4g", x);
    else
        report_cell(r, REPORT_NEUTRAL, "\xe2\x80\x93");
}

static void range_cell(struct report *r, double lo, double hi)
{
    if (isfinite(lo) && isfinite(hi))
        report_cell(r, REPORT_NEUTRAL, "%.4g to %.4g", lo, hi);
    else
        report_cell(r, REPORT_NEUTRAL, "\xe2\x80\x93");
}

static void json_numbers(struct buf *b, const char *name, const double *x, size_t n)
{
    buf_printf(b, "\"%s\":[", name);
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_str(b, ",");
        buf_json_double(b, x[i]);
    }
    buf_str(b, "]");
}

static void json_head(struct buf *b, const char *kind, const char *x_label, const char *y_label)
{
    buf_printf(b, "{\"kind\":\"%s\",\"x_label\":", kind);
    json_str(b, x_label);
    buf_str(b, ",\"y_label\":");
    json_str(b, y_label);
}

static void series_table(struct report *r, const char *x_label, const char *y_label,
                         const struct report_series *series, size_t n)
{
    bool thinned = false, ranges = false;
    for (size_t s = 0; s < n; s++) {
        thinned |= series[s].n > TABLE_POINTS;
        ranges |= series[s].lo != NULL;
    }
    if (thinned)
        report_text(r, "Longer series are thinned out to %d points.", TABLE_POINTS);
    report_table(r, NULL, ranges ? 4 : 3, (const char *[]){"Series", x_label, y_label, "Interval"});
    for (size_t s = 0; s < n; s++) {
        const struct report_series *line = &series[s];
        size_t rows = line->n < TABLE_POINTS ? line->n : TABLE_POINTS;
        for (size_t i = 0; i < rows; i++) {
            size_t at = rows < 2 ? 0 : i * (line->n - 1) / (rows - 1);
            report_cell(r, REPORT_NEUTRAL, "%s", line->name);
            number_cell(r, line->x[at]);
            number_cell(r, line->y[at]);
            if (ranges)
                range_cell(r, line->lo ? line->lo[at] : NAN, line->hi ? line->hi[at] : NAN);
        }
    }
    report_table_end(r);
}

static void series_chart(struct report *r, const char *kind, const char *title, const char *x_label,
                         const char *y_label, const struct report_series *series, size_t n)
{
    struct buf data;
    buf_init(&data, CEILING);
    json_head(&data, kind, x_label, y_label);
    buf_str(&data, ",\"series\":[");
    for (size_t s = 0; s < n; s++) {
        const struct report_series *line = &series[s];
        ENSURE(!line->lo == !line->hi);
        buf_str(&data, s ? ",{\"name\":" : "{\"name\":");
        json_str(&data, line->name);
        buf_str(&data, ",");
        json_numbers(&data, "x", line->x, line->n);
        buf_str(&data, ",");
        json_numbers(&data, "y", line->y, line->n);
        if (line->lo) {
            buf_str(&data, ",");
            json_numbers(&data, "lo", line->lo, line->n);
            buf_str(&data, ",");
            json_numbers(&data, "hi", line->hi, line->n);
        }
        buf_str(&data, "}");
    }
    buf_str(&data, "]}");
    r->body.overflow |= data.overflow;
    chart(r, title, &data);
    series_table(r, x_label, y_label, series, n);
    chart_end(r);
    buf_release(&data);
}

void report_line_chart(struct report *r, const char *title, const char *x_label,
                       const char *y_label, const struct report_series *series, size_t n)
{
    series_chart(r, "line", title, x_label, y_label, series, n);
}

void report_xy_chart(struct report *r, const char *title, const char *x_label, const char *y_label,
                     const struct report_series *series, size_t n)
{
    series_chart(r, "xy", title, x_label, y_label, series, n);
}

static void json_intervals(struct buf *b, const struct interval *v, size_t n)
{
    static const char *const names[] = {"value", "lo", "hi"};
    double *x = xcalloc(n + 1, sizeof *x);
    for (int k = 0; k < 3; k++) {
        for (size_t i = 0; i < n; i++)
            x[i] = k == 0 ? v[i].value : k == 1 ? v[i].lo : v[i].hi;
        buf_str(b, ",");
        json_numbers(b, names[k], x, n);
    }
    free(x);
}

void report_bar_chart(struct report *r, const char *title, const char *value_label,
                      const char *const *labels, const struct interval *values, size_t n,
                      double reference)
{
    struct buf data;
    buf_init(&data, CEILING);
    json_head(&data, "bar", value_label, "");
    buf_str(&data, ",\"reference\":");
    buf_json_double(&data, reference);
    buf_str(&data, ",\"labels\":[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_str(&data, ",");
        json_str(&data, labels[i]);
    }
    buf_str(&data, "]");
    json_intervals(&data, values, n);
    buf_str(&data, "}");
    r->body.overflow |= data.overflow;
    chart(r, title, &data);
    report_table(r, NULL, 3, (const char *[]){"", value_label, "95 % interval"});
    for (size_t i = 0; i < n; i++) {
        report_cell(r, REPORT_NEUTRAL, "%s", labels[i]);
        number_cell(r, values[i].value);
        range_cell(r, values[i].lo, values[i].hi);
    }
    report_table_end(r);
    chart_end(r);
    buf_release(&data);
}

void report_reliability(struct report *r, const char *title, const struct calibration *c)
{
    double p[STATS_BINS], count[STATS_BINS];
    struct interval share[STATS_BINS];
    struct buf data;
    buf_init(&data, CEILING);
    for (int i = 0; i < STATS_BINS; i++) {
        p[i] = c->bin[i].mean_p;
        count[i] = (double)c->bin[i].n;
        share[i] = c->bin[i].share;
    }
    json_head(&data, "reliability", "Stated probability", "Share that happened");
    buf_str(&data, ",");
    json_numbers(&data, "p", p, STATS_BINS);
    buf_str(&data, ",");
    json_numbers(&data, "n", count, STATS_BINS);
    json_intervals(&data, share, STATS_BINS);
    buf_str(&data, "}");
    chart(r, title, &data);
    report_text(r, "Expected calibration error %.4f, Brier score %.4f, over %zu predictions.",
                c->ece, c->brier, c->n);
    report_table(r, NULL, 5,
                 (const char *[]){"Stated between", "Predictions", "Mean stated",
                                  "Share that happened", "95 % interval"});
    for (int i = 0; i < STATS_BINS; i++) {
        report_cell(r, REPORT_NEUTRAL, "%.1f and %.1f", i / 10.0, (i + 1) / 10.0);
        report_cell(r, REPORT_NEUTRAL, "%zu", c->bin[i].n);
        number_cell(r, p[i]);
        number_cell(r, share[i].value);
        range_cell(r, share[i].lo, share[i].hi);
    }
    report_table_end(r);
    chart_end(r);
    buf_release(&data);
}

void report_side_by_side(struct report *r, const char *prompt, const struct report_answer *answers,
                         size_t n)
{
    struct buf *b = begin(r);
    buf_str(b, "<section class=\"comparison\">\n");
    element(b, "<p class=\"prompt\" dir=\"auto\">", prompt, "</p>\n<div class=\"answers\">\n");
    for (size_t i = 0; i < n; i++) {
        const struct report_answer *a = &answers[i];
        buf_printf(b, "<article class=\"answer %s\"><h3>", verdict_class[a->verdict]);
        mark(b, a->verdict);
        element(b, "", a->name, "</h3>");
        if (a->note)
            element(b, "<p class=\"small\">", a->note, "</p>");
        element(b, "<p class=\"said\" dir=\"auto\">", a->text, "</p></article>\n");
    }
    buf_str(b, "</div>\n</section>\n");
}

/* ---- the file ---- */

/* Only scripts and styles with these hashes count (CSP level 2). */
static void policy_hash(struct buf *b, const unsigned char *data, size_t n)
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    char text[sodium_base64_ENCODED_LEN(sizeof hash, sodium_base64_VARIANT_ORIGINAL)];
    crypto_hash_sha256(hash, data, n);
    sodium_bin2base64(text, sizeof text, hash, sizeof hash, sodium_base64_VARIANT_ORIGINAL);
    buf_printf(b, " 'sha256-%s'", text);
}

static void head(const struct report *r, struct buf *out, bool draw)
{
    buf_str(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                 "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                 "base-uri 'none'; form-action 'none'; style-src");
    policy_hash(out, embed_report_css, embed_report_css_size);
    buf_str(out, "; script-src");
    if (draw) {
        policy_hash(out, embed_chart_min_js, embed_chart_min_js_size);
        policy_hash(out, embed_report_js, embed_report_js_size);
    } else {
        buf_str(out, " 'none'");
    }
    buf_str(out, "\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                 "<meta name=\"color-scheme\" content=\"light dark\">\n");
    element(out, "<title>", r->title, "</title>\n<style>");
    buf_add(out, embed_report_css, embed_report_css_size);
    buf_str(out, "</style>\n</head>\n<body>\n<main>\n");
    element(out, "<header>\n<h1>", r->title, "</h1>\n");
    if (r->subtitle)
        element(out, "<p class=\"subtitle\">", r->subtitle, "</p>\n");
    buf_str(out, "</header>\n");
}

static void contents(const struct report *r, struct buf *out)
{
    if (r->headings < 3)
        return;
    buf_str(out, "<nav aria-label=\"Contents\"><ol>\n");
    for (size_t i = 0; i < r->headings; i++) {
        buf_printf(out, "<li><a href=\"#section-%zu\">", i + 1);
        element(out, "", r->heading[i], "</a></li>\n");
    }
    buf_str(out, "</ol></nav>\n");
}

int report_html(struct report *r, struct buf *out, struct err *err)
{
    begin(r);
    bool draw = r->charts > 0 && embed_chart_min_js_size > 0;
    head(r, out, draw);
    contents(r, out);
    if (r->charts && !draw)
        buf_str(out, "<p class=\"note neutral\">There are tables in place of charts: this hone was "
                     "built without Chart.js (Debian's libjs-chart.js).</p>\n");
    buf_add(out, r->body.data, r->body.len);
    buf_str(out,
            "<footer>Written by hone. This file is whole: it loads nothing.</footer>\n</main>\n");
    if (draw) {
        buf_str(out, "<script>");
        buf_add(out, embed_chart_min_js, embed_chart_min_js_size);
        buf_str(out, "</script>\n<script>");
        buf_add(out, embed_report_js, embed_report_js_size);
        buf_str(out, "</script>\n");
    }
    buf_str(out, "</body>\n</html>\n");
    if (r->body.overflow || out->overflow)
        return err_set(err,
                       "report '%s' is larger than %zu bytes: leave out some samples or points",
                       r->title, out->ceiling);
    return 0;
}

int report_write(struct report *r, const char *path, struct err *err)
{
    struct buf out;
    buf_init(&out, CEILING);
    int failed = report_html(r, &out, err);
    if (!failed)
        failed = file_write(path, out.data, out.len, err);
    buf_release(&out);
    return failed;
}
