#include "tokenizer/decoder.h"

#include <stdint.h>
#include <string.h>

void decoder_init(struct decoder *d)
{
    *d = (struct decoder){0};
    buf_init(&d->all.text, SIZE_MAX);
}

void decoder_release(struct decoder *d)
{
    for (size_t i = 0; i < d->n; i++) {
        regex_free(d->steps[i].pattern);
        buf_release(&d->steps[i].text);
    }
    buf_release(&d->all.text);
    *d = (struct decoder){0};
}

struct decoder_step *decoder_add(struct decoder *d, enum decoder_kind kind, const char *text, size_t n, struct err *err)
{
    if (d->fused && (kind != DECODER_STRIP || d->all.text.len)) {
        err_set(err, "after the decoder 'Fuse' only one 'Strip' is supported");
        return NULL;
    }
    if (!d->fused && d->n == DECODER_MAX_STEPS) {
        err_set(err, "more than %d decoders in sequence are not supported", DECODER_MAX_STEPS);
        return NULL;
    }
    struct decoder_step *step = &d->all;
    if (!d->fused) {
        step = &d->steps[d->n++];
        *step = (struct decoder_step){0};
        buf_init(&step->text, SIZE_MAX);
    }
    step->kind = kind;
    buf_add(&step->text, text, n);
    return step;
}

/* text[0..*n) without what it loses at its sides. */
static const char *strip(const struct decoder_step *step, const char *text, size_t *n)
{
    size_t len = step->text.len;
    for (size_t i = 0; i < step->left && *n >= len && memcmp(text, step->text.data, len) == 0; i++) {
        text += len;
        *n -= len;
    }
    for (size_t i = 0; i < step->right && *n >= len && memcmp(text + *n - len, step->text.data, len) == 0; i++)
        *n -= len;
    return text;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int replace(const struct decoder_step *step, struct regex_scratch *s, struct buf *out, const char *text, size_t n,
                   struct err *err)
{
    size_t at = 0, start, end;
    while (at < n) {
        int found = regex_find(step->pattern, s, text, n, at, &start, &end, err);
        if (found < 0)
            return -1;
        if (!found || start == end)
            break;
        buf_add(out, text + at, start - at);
        buf_add(out, step->text.data, step->text.len);
        at = end;
    }
    buf_add(out, text + at, n - at);
    return 0;
}

static int run_step(const struct decoder_step *step, struct regex_scratch *s, struct buf *out, const char *text, size_t n,
                    bool is_first, struct err *err)
{
    switch (step->kind) {
    case DECODER_REPLACE:
        return replace(step, s, out, text, n, err);
    case DECODER_BYTE_FALLBACK:
        if (n == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>' && hex_digit(text[3]) >= 0 && hex_digit(text[4]) >= 0) {
            char byte = (char)(hex_digit(text[3]) << 4 | hex_digit(text[4]));
            buf_add(out, &byte, 1);
        } else {
            buf_add(out, text, n);
        }
        return 0;
    case DECODER_METASPACE:
        for (size_t i = 0, len = step->text.len; i < n;) {
            bool is_space = n - i >= len && memcmp(text + i, step->text.data, len) == 0;
            if (!is_space)
                buf_add(out, text + i, 1);
            else if (!is_first || !step->left)
                buf_add(out, " ", 1);
            i += is_space ? len : 1;
        }
        return 0;
    case DECODER_STRIP:
        text = strip(step, text, &n);
        buf_add(out, text, n);
        return 0;
    }
    return 0;
}

static int run(const struct decoder *d, struct regex_scratch *s, struct buf *out, const char *spelling, size_t n, bool is_first,
               struct err *err)
{
    struct buf texts[2];
    buf_init(&texts[0], SIZE_MAX);
    buf_init(&texts[1], SIZE_MAX);
    int rc = 0;
    for (size_t i = 0; i < d->n && rc == 0; i++) {
        struct buf *to = &texts[i % 2];
        buf_clear(to);
        rc = run_step(&d->steps[i], s, to, spelling, n, is_first, err);
        spelling = to->data;
        n = to->len;
    }
    buf_add(out, spelling, n);
    buf_release(&texts[0]);
    buf_release(&texts[1]);
    return rc;
}

int decoder_fill(const struct decoder *d, struct vocab *v, struct err *err)
{
    if (d->byte_level)
        return 0;
    struct regex_scratch s = {0};
    struct buf text;
    buf_init(&text, SIZE_MAX);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < v->n; i++) {
        size_t n;
        const char *spelling = vocab_content(v, (int32_t)i, &n);
        buf_clear(&text);
        rc = run(d, &s, &text, spelling, n, false, err);
        if (n)
            vocab_set_bytes(v, (int32_t)i, text.data, text.len);
    }
    buf_release(&text);
    regex_scratch_release(&s);
    return rc;
}

int decoder_first(const struct decoder *d, struct buf *out, const char *spelling, size_t n)
{
    struct regex_scratch s = {0};
    int rc = run(d, &s, out, spelling, n, true, NULL);
    regex_scratch_release(&s);
    return rc;
}

void decoder_strip(const struct decoder *d, struct buf *out, size_t start)
{
    if (!d->all.text.len)
        return;
    size_t n = out->len - start;
    const char *text = strip(&d->all, out->data + start, &n);
    memmove(out->data + start, text, n);
    out->len = start + n;
    out->data[out->len] = 0;
}
