/* The Jinja interpreter: what Jinja itself makes of templates of our own (tests/golden/make/jinja.py),
 * what is refused, that every template ends, and where the marks are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jinja/jinja.h"
#include "support/support.h"
#include "util/mem.h"

#define GOLDEN "tests/golden/jinja.json"

/* Render; NULL and the sentence in err where it fails. */
static char *render(const char *template, size_t n, const json_t *variables, struct err *err)
{
    struct jinja *t = jinja_new(template, n, err);
    if (!t)
        return NULL;
    struct buf out;
    buf_init(&out, 1 << 20);
    char *text = NULL;
    if (!jinja_render(t, variables, NULL, NULL, &out, err))
        text = xstrndup(out.data, out.len);
    else
        assert_int_equal(out.len, 0);
    buf_release(&out);
    jinja_free(t);
    return text;
}

/* What Jinja can do and hone refuses, with a part of the sentence. */
static const struct {
    const char *template, *sentence;
} refused[] = {
    {"{{ d.items }}", "a function cannot be printed"},
    {"{{ words | map }}", "map needs the name of a filter"},
    {"{{ xs[] }}", "an expression is expected, found ']'"},
};

static const char *refusal(const char *template)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (strcmp(template, refused[i].template) == 0)
            return refused[i].sentence;
    return NULL;
}

static void test_golden(void **state)
{
    (void)state;
    json_t *golden = golden_json(GOLDEN), *row;
    const json_t *variables = json_object_get(golden, "variables");
    size_t i, bad = 0;
    json_array_foreach(json_object_get(golden, "cases"), i, row) {
        struct err err = {""};
        const json_t *template = json_object_get(row, "template"), *text = json_object_get(row, "text");
        const char *source = json_string_value(template), *sentence = refusal(source);
        char *got = render(source, json_string_length(template), variables, &err);
        bool ok = sentence ? !got && strstr(err.text, sentence)
                  : text   ? got && strcmp(got, json_string_value(text)) == 0
                           : !got && strncmp(err.text, "line ", 5) == 0;
        if (!ok) {
            print_message("%s\n    gives  %s\n    wanted %s\n", source, got ? got : err.text,
                          sentence ? sentence
                          : text   ? json_string_value(text)
                                   : json_string_value(json_object_get(row, "error")));
            bad++;
        }
        free(got);
    }
    assert_true(i > 800);
    assert_int_equal(bad, 0);
    json_decref(golden);
}

/* What Jinja knows, or Python, and hone does not: by name, and with the line. */
static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *template, *sentence;
    } cases[] = {
        {"a\n{{ s | wordwrap(10) }}", "line 2: the filter 'wordwrap' is not supported"},
        {"\n\n{{ s | format(1) }}", "line 3: the filter 'format' is not supported"},
        {"{{ xs | groupby('a') }}", "line 1: the filter 'groupby' is not supported"},
        {"{% if no %}{{ s | center }}{% endif %}", "the filter 'center' is not supported"},
        {"{{ xs | map('truncate', 3) | list }}", "the filter 'truncate' is not supported"},
        {"{{ xs | select('escaped') | list }}", "the test 'escaped' is not supported"},
        {"{{ xs | selectattr('a', 'filter') | list }}", "the test 'filter' is not supported"},
        {"{{ s is escaped }}", "the test 'escaped' is not supported"},
        {"{% call f() %}x{% endcall %}", "the statement 'call' is not supported here"},
        {"{% filter upper %}x{% endfilter %}", "the statement 'filter' is not supported here"},
        {"{% block a %}{% endblock %}", "the statement 'block' is not supported here"},
        {"{% extends 'a' %}", "the statement 'extends' is not supported here"},
        {"{% include 'a' %}", "the statement 'include' is not supported here"},
        {"{% import 'a' as b %}", "the statement 'import' is not supported here"},
        {"{% from 'a' import b %}", "the statement 'from' is not supported here"},
        {"{% do x %}", "the statement 'do' is not supported here"},
        {"{% autoescape true %}{% endautoescape %}", "the statement 'autoescape' is not supported here"},
        {"{% trans %}x{% endtrans %}", "the statement 'trans' is not supported here"},
        {"x\n{% for x in xs recursive %}{% endfor %}", "line 2: a recursive for is not supported"},
        {"{% for x in xs %}{{ loop(x) }}{% endfor %}", "a recursive loop is not supported"},
        {"{% for x in xs %}{{ loop.changed(x) }}{% endfor %}", "loop.changed is not supported"},
        {"{{ '{}'.format(1) }}", "the method str.format is not supported"},
        {"{{ s.zfill(9) }}", "the method str.zfill is not supported"},
        {"{{ '%s' % s }}", "% is not supported between a str and a str"},
        {"{{ cycler(1, 2) }}", "'cycler' is not supported"},
        {"{{ joiner() }}", "'joiner' is not supported"},
        {"{{ lipsum() }}", "'lipsum' is not supported"},
        {"{% macro f() %}{{ caller() }}{% endmacro %}{{ f() }}", "'caller' is not supported"},
        {"{% macro f() %}{{ varargs }}{% endmacro %}{{ f() }}", "'varargs' is not supported"},
        {"{% macro f() %}{% endmacro %}{{ f.name }}", "the attribute 'name' of a macro is not supported"},
        {"{{ function() }}", "'function' is undefined and cannot be called"},
        {"{{ (s | safe) + '<' }}", "+ is not supported on the text that safe or escape made"},
        {"{{ s | e | upper }}", "upper is not supported on the text that safe"},
        {"{{ (s | e)[1:] }}", "a slice is not supported on the text that safe"},
        {"{{ (s | e)[0] }}", "an index is not supported on the text that safe"},
        {"{{ (s | e).strip() }}", "an attribute is not supported on the text that safe"},
        {"{{ s | indent(s | e) }}", "indent is not supported on the text that safe"},
        {"{{ '\\N{DASH}' }}", "\\N in a string is not supported"},
        {"{{ '\\ud800' }}", "the escape of no character in it: U+D800"},
        {"{{ 0x10 }}", "the number '0' is not supported: write it in decimal"},
        {"{{ '1f' | int(base=16) }}", "int with a base other than 10 is not supported"},
        {"{{ 5 | round(-1) }}", "round with a precision of -1 is not supported"},
        {"{{ people | sort(attribute='age,name') }}", "sort by several attributes is not supported"},
        {"{{ xs | map('string') }}", "a generator cannot be printed: make it a list with |list"},
        {"{{ range(3) }}", "a range cannot be printed"},
        {"{{ d.keys() }}", "a dict view cannot be printed"},
        {"{{ namespace(a=1) }}", "a namespace cannot be printed"},
        {"{% set g = xs | map('string') %}{{ g | list }}{{ g | list }}", "gone through a second time"},
        {"{{ 'a' is sameas 'a' }}", "'sameas' of two values of type str is not supported"},
        {"{{ 'É' is upper }}", "only supported for ASCII"},
        {"{{ '٣'.isdigit() }}", "only supported for ASCII"},
        {"{{ n.bit_length() }}", "the attribute 'bit_length' of a int is not supported"},
        {"{{ strftime_now('%f') }}", "format %f is not supported"},
        /* the sandbox */
        {"{{ xs.append(1) }}", "list.append (the sandbox lets nothing be changed)"},
        {"{% set _ = d.update({'x': 1}) %}", "dict.update (the sandbox lets nothing be changed)"},
        /* 64 bits */
        {"{{ 9223372036854775808 }}", "has more than 64 bits"},
        {"{{ 9223372036854775807 + 1 }}", "the result of + has more than 64 bits"},
        {"{{ -9223372036854775807 - 2 }}", "the result of - has more than 64 bits"},
        {"{{ 4611686018427387904 * 2 }}", "the result of * has more than 64 bits"},
        {"{{ 2 ** 63 }}", "the result of ** has more than 64 bits"},
        {"{{ -(-9223372036854775807 - 1) }}", "the result of - has more than 64 bits"},
        {"{{ '99999999999999999999' | int }}", "has more than 64 bits"},
        {"{{ 1e300 | int }}", "has more than 64 bits"},
    };
    const json_t *golden = golden_json(GOLDEN);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {""};
        char *got = render(cases[i].template, strlen(cases[i].template), json_object_get(golden, "variables"), &err);
        if (got || !strstr(err.text, cases[i].sentence))
            fail_msg("%s\n    gives  %s\n    wanted %s", cases[i].template, got ? got : err.text, cases[i].sentence);
    }
    json_decref((json_t *)golden);
}

/* Every template ends, and none takes more than its share. */
static void test_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *template, *sentence;
    } cases[] = {
        {"{% set r = range(99999) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}", "steps: does it end?"},
        {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested more than 1000 deep"},
        {"{% set n = namespace(s='0123456789') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
         "bytes of memory are asked for"},
        {"{{ 'x' * 9223372036854775807 }}", "more than"},
        {"{{ [1] * 9223372036854775807 }}", "a list has more than"},
        {"{% set n = namespace(l=[]) %}{% for i in range(3000) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l }}",
         "nested more than 1000 deep"},
        {"{% set n = namespace(l=[]) %}{% for i in range(3000) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l | tojson }}",
         "nested more than 1000 deep"},
        {"{% set n = namespace(l=[], m=[]) %}{% for i in range(3000) %}{% set n.l = [n.l] %}{% set n.m = [n.m] %}"
         "{% endfor %}{{ n.l == n.m }}",
         "nested more than 1000 deep"},
        {"{% for i in range(99999) %}{{ '0123456789' * 100 }}{% endfor %}", "the output is longer than"},
        {"{{ range(100001) }}", "a range with more than 100000 items"},
    };
    json_t *none = json_object();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {""};
        char *got = render(cases[i].template, strlen(cases[i].template), none, &err);
        if (got || !strstr(err.text, cases[i].sentence))
            fail_msg("%s\n    gives  %s\n    wanted %s", cases[i].template, got ? got : err.text, cases[i].sentence);
    }
    /* Brackets, blocks, operators and sheer size, n times. */
    static const struct {
        const char *before, *each, *after, *sentence;
        size_t n;
    } deep[] = {
        {"{{ ", "(", "", "more than 200 brackets are open", 5000},
        {"{{ ", "[", "", "more than 200 brackets are open", 5000},
        {"{{ ", "- ", "1 }}", "nested more than 200 deep", 5000},
        {"{{ ", "not ", "1 }}", "nested more than 200 deep", 5000},
        {"", "{% if 1 %}", "", "nested more than 200 deep", 5000},
        {"{{ 1", " + 1", " }}", "nested more than 1000 deep", 5000},
        {"{{ 1", " if 1 else 1", " }}", "nested more than 200 deep", 5000},
        {"{{ s", ".a", " }}", "nested more than 1000 deep", 5000},
        {"{{ s", " | upper", " }}", "nested more than 1000 deep", 5000},
        {"", "x", "", "it has 2000000 bytes, more than 1048576", 2000000},
    };
    for (size_t i = 0; i < sizeof deep / sizeof *deep; i++) {
        struct err err = {""};
        struct buf text;
        buf_init(&text, 1 << 24);
        buf_str(&text, deep[i].before);
        for (size_t k = 0; k < deep[i].n; k++)
            buf_str(&text, deep[i].each);
        buf_str(&text, deep[i].after);
        char *got = render(text.data, text.len, none, &err);
        if (got || !strstr(err.text, deep[i].sentence))
            fail_msg("%s..\n    gives  %s\n    wanted %s", deep[i].each, got ? got : err.text, deep[i].sentence);
        buf_release(&text);
    }
    /* As many in a row, not in each other, are no trouble. */
    struct buf text;
    struct err err;
    buf_init(&text, 1 << 24);
    for (size_t k = 0; k < 5000; k++)
        buf_str(&text, k ? "{% elif 0 %}" : "{% if 0 %}");
    buf_str(&text, "{% else %}end{% endif %}{{ 1");
    for (size_t k = 0; k < 5000; k++)
        buf_str(&text, " ~ 1");
    buf_str(&text, " }}");
    char *got = render(text.data, text.len, none, &err);
    assert_non_null(got);
    assert_int_equal(strlen(got), 3 + 5001);
    free(got);
    buf_release(&text);
    json_decref(none);
}

static void test_marks(void **state)
{
    (void)state;
    static const struct {
        const char *template, *marks; /* kind and item: text */
        bool hidden;
    } cases[] = {
        {"a{% for m in messages %}[{{ m.role }}]{% endfor %}b", "i0:[system];i1:[user];i2:[assistant];i3:[tool];", false},
        {"{% for m in messages[::-1] %}{{ m.role[0] }}{% endfor %}", "i3:t;i2:a;i1:u;i0:s;", false},
        {"{% set messages = messages[2:] %}{% for m in messages if m.role == 'tool' %}{{ m.name }}{% endfor %}", "i3:f;",
         false},
        {"{% for i in range(2) %}{{ messages[i].role }}{% endfor %}", "", false},
        {"{% set x %}{% for m in messages %}{{ m.role }}{% endfor %}{% endset %}{{ x }}", "", false},
        {"{% for m in messages[:1] %}{% for k in messages[:2] %}{{ k.role[0] }}{% endfor %};{% endfor %}", "i0:su;;i0:s;i1:u;",
         false},
        {"{% for m in messages[1:3] %}{{ m.role }}{% generation %}({{ m.content | trim }}){% endgeneration %};{% endfor %}",
         "i1:user(Hi);;g1:(Hi);i2:assistant(Hello, <you>!);;g2:(Hello, <you>!);", false},
        {"x{% generation %}y{% endgeneration %}", "g-:y;", false},
        {"{% macro f() %}{% generation %}y{% endgeneration %}{% endmacro %}{{ f() }}", "", true},
        {"{% for m in messages | selectattr('role', 'eq', 'user') %}{{ m.role }}{% break %}{% endfor %}", "i1:user;", false},
    };
    json_t *golden = golden_json(GOLDEN);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {""};
        struct jinja_marks marks = {0};
        struct buf out, got;
        buf_init(&out, 1 << 16);
        buf_init(&got, 1 << 16);
        buf_str(&out, "before");
        struct jinja *t = jinja_new(cases[i].template, strlen(cases[i].template), &err);
        if (!t || jinja_render(t, json_object_get(golden, "variables"), "messages", &marks, &out, &err))
            fail_msg("%s", err.text);
        assert_int_equal(jinja_has_generation(t), strstr(cases[i].template, "generation") != NULL);
        for (size_t k = 0; k < marks.n; k++) {
            const struct jinja_mark *m = &marks.data[k];
            buf_str(&got, m->kind == JINJA_ITEM ? "i" : "g");
            if (m->item == JINJA_NO_ITEM)
                buf_str(&got, "-");
            else
                buf_printf(&got, "%zu", m->item);
            buf_printf(&got, ":%.*s;", (int)(m->end - m->start), out.data + m->start);
        }
        assert_string_equal(got.data, cases[i].marks);
        assert_int_equal(marks.hidden, cases[i].hidden);
        jinja_marks_release(&marks);
        jinja_free(t);
        buf_release(&out);
        buf_release(&got);
    }
    json_decref(golden);
}

/* One template, many threads. */
static void test_threads(void **state)
{
    (void)state;
    static const char template[] = "{% for x in range(n) %}{{ x }}{% endfor %}";
    struct err err;
    struct jinja *t = jinja_new(template, strlen(template), &err);
    assert_non_null(t);
    int bad = 0;
#pragma omp parallel for num_threads(4) reduction(+ : bad)
    for (int i = 0; i < 64; i++) {
        json_t *variables = json_pack("{s:i}", "n", i);
        struct buf out, want;
        struct err why;
        buf_init(&out, 1 << 16);
        buf_init(&want, 1 << 16);
        for (int k = 0; k < i; k++)
            buf_printf(&want, "%d", k);
        bad += jinja_render(t, variables, NULL, NULL, &out, &why) != 0 || strcmp(out.data, want.data) != 0;
        json_decref(variables);
        buf_release(&out);
        buf_release(&want);
    }
    assert_int_equal(bad, 0);
    jinja_free(t);
}

int main(void)
{
    setenv("SOURCE_DATE_EPOCH", "1234567890", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden), cmocka_unit_test(test_refused), cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_marks),  cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
