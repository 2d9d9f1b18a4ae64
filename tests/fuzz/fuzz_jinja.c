/* Any bytes as a template: it is refused with a sentence, or renders a conversation to the same text twice, with marks that lie
 * in it; spans cover it. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/chat.h"
#include "jinja/jinja.h"
#include "util/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char variables_text[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"Be kind.\"}, {\"role\": \"user\", \"content\": \" H\u00ef\\n\"},"
    " {\"role\": \"assistant\", \"content\": \"Yes\", \"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": {\"x\": "
    "[1, 2.5, null, true]}}}]}, {\"role\": \"user\", \"content\": \"\"}], \"tools\": [{\"name\": \"f\"}], \"bos_token\": "
    "\"<s>\","
    " \"n\": 42, \"s\": \"a b,c\", \"add_generation_prompt\": true}";

static int render(const struct jinja *t, const json_t *variables, struct jinja_marks *marks, struct buf *out)
{
    struct err err = {""};
    buf_init(out, 1 << 20);
    int rc = jinja_render(t, variables, "messages", marks, out, &err);
    ENSURE(rc == 0 || (err.text[0] && out->len == 0));
    return rc;
}

static void check_marks(const struct jinja_marks *marks, const struct buf *out)
{
    size_t start = 0;
    for (size_t i = 0; i < marks->n; i++) {
        const struct jinja_mark *m = &marks->data[i];
        ENSURE(m->start >= start && m->end >= m->start && m->end <= out->len);
        ENSURE(m->item < 4 || m->item == JINJA_NO_ITEM);
        start = m->start;
    }
}

static void check_spans(const char *text, size_t size)
{
    static const struct message talk[] = {{(char *)"user", (char *)"one"}, {(char *)"assistant", (char *)"two"}};
    struct err err = {""};
    struct chat_template *t = chat_template_new(text, size, &err);
    struct chat_spans spans = {0};
    struct buf out;
    ENSURE(t || err.text[0]);
    if (!t)
        return;
    buf_init(&out, 1 << 20);
    if (chat_render(t, talk, 2, false, &spans, &out, &err) == 0) {
        size_t at = 0;
        for (size_t i = 0; i < spans.n; i++) {
            ENSURE(spans.data[i].start == at && spans.data[i].end > at);
            at = spans.data[i].end;
        }
        ENSURE(at == out.len);
    }
    chat_spans_release(&spans);
    buf_release(&out);
    chat_template_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static json_t *variables;
    if (!variables)
        variables = json_loads(variables_text, 0, NULL);
    setenv("SOURCE_DATE_EPOCH", "1234567890", 1);
    struct err err = {""};
    const char *text = (const char *)data;
    struct jinja *t = jinja_new(text, size, &err);
    ENSURE(t || err.text[0]);
    if (!t)
        return 0;
    struct jinja_marks marks = {0}, again = {0};
    struct buf first, second;
    int rc = render(t, variables, &marks, &first);
    ENSURE(render(t, variables, &again, &second) == rc);
    ENSURE(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    ENSURE(marks.n == again.n);
    check_marks(&marks, &first);
    jinja_marks_release(&marks);
    jinja_marks_release(&again);
    buf_release(&first);
    buf_release(&second);
    jinja_free(t);
    if (rc == 0)
        check_spans(text, size);
    return 0;
}
