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
    json_array_foreach(json_object_get(golden, "cases"), i, row)
    {
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

int main(void)
{
    setenv("SOURCE_DATE_EPOCH", "1234567890", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
