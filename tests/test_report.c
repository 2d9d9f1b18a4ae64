/* The report: hostile text stays text, the data of charts is JSON, the file is whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "eval/report.h"
#include "util/embed.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/rng.h"

#define HOSTILE                                                                                    \
    "</script><script>alert(1)</script><!-- <img src=x onerror='a'> & \"q\" \xff\x01\xe2\x80"

/* Every part there is, each with `text` wherever it takes one. */
static void fill(struct report *r, const char *text)
{
    double x[] = {0, 1, 2}, y[] = {0.5, NAN, 1.5}, lo[] = {0.4, 0.5, 1.4},
           hi[] = {0.6, 0.7, INFINITY};
    double p[] = {0.2, 0.8, 0.85}, outcome[] = {0, 1, 1};
    struct report_series series[] = {
        {text, x, y, lo, hi, 3}, {text, x, y, NULL, NULL, 3}, {text, x, y, NULL, NULL, 0}};
    struct interval bars[] = {{0.5, 0.4, 0.6}, {0.7, NAN, NAN}, {NAN, NAN, NAN}};
    struct calibration c;
    assert_int_equal(stats_calibration(&c, p, outcome, 3, NULL), 0);
    for (int i = 0; i < 3; i++)
        report_heading(r, text);
    report_text(r, "%s", text);
    report_note(r, REPORT_BAD, "%s", text);
    report_figure(r, REPORT_GOOD, text, text, text);
    report_figure(r, REPORT_NEUTRAL, text, text, NULL);
    report_table(r, text, 2, (const char *[]){text, text});
    for (int i = 0; i < 4; i++)
        report_cell(r, (enum report_verdict)(i % 3), "%s", text);
    report_table_end(r);
    report_table(r, NULL, 1, (const char *[]){text});
    report_table_end(r);
    report_line_chart(r, text, text, text, series, 3);
    report_xy_chart(r, text, text, text, series, 3);
    report_bar_chart(r, text, text, (const char *[]){text, text, text}, bars, 3, 0.5);
    report_bar_chart(r, text, text, NULL, NULL, 0, NAN);
    report_reliability(r, text, &c);
    report_side_by_side(r, text,
                        (struct report_answer[]){{text, text, text, REPORT_GOOD},
                                                 {text, text, NULL, REPORT_NEUTRAL}},
                        2);
}

static size_t occurrences(const char *s, const char *what)
{
    size_t n = 0;
    for (; (s = strstr(s, what)) != NULL; s += strlen(what))
        n++;
    return n;
}

/* The whole file without Chart.js and our own script and style, in which anything may stand. */
static char *page_of(const char *text)
{
    struct report r;
    struct buf out;
    struct err err;
    report_init(&r, text, text);
    fill(&r, text);
    buf_init(&out, (size_t)64 << 20);
    assert_int_equal(report_html(&r, &out, &err), 0);
    const struct {
        const unsigned char *data;
        size_t n;
    } ours[] = {{embed_chart_min_js, embed_chart_min_js_size},
                {embed_report_js, embed_report_js_size},
                {embed_report_css, embed_report_css_size}};
    for (int i = 0; i < 3; i++) {
        char *at = strstr(out.data, (const char *)ours[i].data);
        if (ours[i].n == 0 || !at)
            continue;
        memmove(at, at + ours[i].n, strlen(at + ours[i].n) + 1);
    }
    report_release(&r);
    char *page = xstrdup(out.data);
    buf_release(&out);
    return page;
}

static void hostile_text_stays_text(void **state)
{
    (void)state;
    char *hostile = page_of(HOSTILE), *harmless = page_of("harmless");
    /* The same tags, whatever the text. */
    static const char *const tags[] = {"<script", "</script>", "<img", "<!--",
                                       "<p",      "<td",       "<h2",  "<"};
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        assert_int_equal(occurrences(hostile, tags[i]), occurrences(harmless, tags[i]));
    assert_null(strstr(hostile, "aria-label=\"</"));
    assert_non_null(strstr(hostile, "&lt;/script&gt;&lt;script&gt;alert(1)"));
    assert_non_null(
        strstr(hostile, "&amp; &quot;q&quot; \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"));
    assert_non_null(strstr(hostile, "Content-Security-Policy"));
    assert_null(strstr(hostile, "http://"));
    assert_null(strstr(hostile, "https://"));
    free(hostile);
    free(harmless);
}

static void data_of_charts_is_json(void **state)
{
    (void)state;
    static const char *const kinds[] = {"line", "xy", "bar", "bar", "reliability"};
    static const char open[] = "<script type=\"application/json\">";
    char *page = page_of(HOSTILE), *at = page;
    for (size_t i = 0; i < 5; i++) {
        json_error_t why;
        at = strstr(at, open);
        assert_non_null(at);
        at += strlen(open);
        json_t *o = json_loadb(at, (size_t)(strstr(at, "</script>") - at), 0, &why);
        if (!o)
            fail_msg("%s", why.text);
        assert_string_equal(json_string_value(json_object_get(o, "kind")), kinds[i]);
        if (i < 2) {
            json_t *s = json_array_get(json_object_get(o, "series"), 0);
            assert_int_equal(json_array_size(json_object_get(s, "y")), 3);
            assert_true(json_is_null(json_array_get(json_object_get(s, "y"), 1)));
            assert_true(json_is_null(json_array_get(json_object_get(s, "hi"), 2)));
            assert_true(strncmp(json_string_value(json_object_get(s, "name")), "</script><script>",
                                17) == 0);
        } else if (i == 2) {
            assert_true(json_real_value(json_object_get(o, "reference")) == 0.5);
            assert_int_equal(json_array_size(json_object_get(o, "labels")), 3);
        } else if (i == 3) {
            assert_true(json_is_null(json_object_get(o, "reference")));
        } else {
            assert_int_equal(json_array_size(json_object_get(o, "p")), STATS_BINS);
        }
        json_decref(o);
    }
    assert_null(strstr(at, open));
    free(page);
}

static void random_bytes(void **state)
{
    (void)state;
    char text[64];
    char *harmless = page_of("harmless");
    for (uint32_t k = 0; k < 50; k++) {
        uint32_t n = rng_below(60, 4, RNG_TEST, k, 0, 0, 0);
        for (uint32_t i = 0; i < n; i++)
            text[i] = (char)(1 + rng_below(255, 4, RNG_TEST, k, i + 1, 0, 0));
        text[n] = 0;
        char *page = page_of(text);
        assert_int_equal(occurrences(page, "<"), occurrences(harmless, "<"));
        free(page);
    }
    free(harmless);
}

static void numbers_are_aligned(void **state)
{
    (void)state;
    static const struct {
        const char *cell;
        bool number;
    } cases[] = {{"12", true},
                 {"-0.5", true},
                 {"\xe2\x88\x92"
                  "0.5",
                  true},
                 {"0.63 [0.58, 0.68]", true},
                 {"+3 %", true},
                 {"\xe2\x80\x93", true},
                 {"", true},
                 {"< 0.001", true},
                 {"SFT", false},
                 {"- none", false},
                 {"+", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct report r;
        report_init(&r, "t", NULL);
        report_table(&r, NULL, 1, (const char *[]){"head"});
        report_cell(&r, REPORT_NEUTRAL, "7");
        report_cell(&r, REPORT_NEUTRAL, "%s", cases[i].cell);
        report_table_end(&r);
        assert_int_equal(strstr(r.body.data, "<td class=\"number") != NULL, cases[i].number);
        report_release(&r);
    }
}

static void long_series_are_thinned_in_the_table_only(void **state)
{
    (void)state;
    enum { N = 1000 };
    double x[N], y[N];
    for (int i = 0; i < N; i++)
        x[i] = y[i] = i;
    struct report r;
    report_init(&r, "t", NULL);
    report_line_chart(&r, "c", "x", "y", &(struct report_series){"s", x, y, NULL, NULL, N}, 1);
    assert_int_equal(occurrences(r.body.data, "<tr>"), 41);
    assert_non_null(strstr(r.body.data, ">999<"));
    assert_non_null(strstr(r.body.data, ",501,502,"));
    report_release(&r);
}

static void writing(void **state)
{
    (void)state;
    struct report r;
    struct err err;
    struct buf out, small;
    char path[] = "/tmp/hone-report-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    report_init(&r, "Title", NULL);
    report_figure(&r, REPORT_GOOD, "label", "1",
                  NULL); /* a run of figures may be what comes last */
    assert_int_equal(report_write(&r, path, &err), 0);
    buf_init(&out, 1 << 20);
    assert_int_equal(file_read(path, &out, &err), 0);
    assert_int_equal(occurrences(out.data, "<div"), occurrences(out.data, "</div>"));
    assert_non_null(strstr(out.data, "<title>Title</title>"));
    assert_non_null(strstr(out.data, "</html>"));
    assert_non_null(strstr(out.data, "script-src 'none'")); /* no chart, no script */
    assert_int_equal(report_write(&r, "no/such/folder/report.html", &err), -1);
    assert_non_null(strstr(err.text, "no/such/folder"));
    buf_init(&small, 100);
    assert_int_equal(report_html(&r, &small, &err), -1);
    assert_non_null(strstr(err.text, "larger than"));
    buf_release(&small);
    buf_release(&out);
    report_release(&r);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_text_stays_text),
        cmocka_unit_test(data_of_charts_is_json),
        cmocka_unit_test(random_bytes),
        cmocka_unit_test(numbers_are_aligned),
        cmocka_unit_test(long_series_are_thinned_in_the_table_only),
        cmocka_unit_test(writing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
