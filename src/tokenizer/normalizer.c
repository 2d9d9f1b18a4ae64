#include "tokenizer/normalizer.h"

#include <stdlib.h>
#include <string.h>

#include "jinja/text.h"
#include "util/mem.h"
#include "util/utf8.h"

bool char_is_white(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

void normalizer_release(struct normalizer *z)
{
    for (size_t i = 0; i < z->n; i++) {
        regex_free(z->steps[i].pattern);
        buf_release(&z->steps[i].text);
        charsmap_free(z->steps[i].charsmap);
    }
    *z = (struct normalizer){0};
}

void normalizer_scratch_init(struct normalizer_scratch *s)
{
    *s = (struct normalizer_scratch){0};
    buf_init(&s->text[0], NORMALIZER_MAX_TEXT);
    buf_init(&s->text[1], NORMALIZER_MAX_TEXT);
}

void normalizer_scratch_release(struct normalizer_scratch *s)
{
    regex_scratch_release(&s->regex);
    buf_release(&s->text[0]);
    buf_release(&s->text[1]);
}

struct normalizer_step *normalizer_add(struct normalizer *z, enum normalizer_kind kind, struct err *err)
{
    if (z->n == NORMALIZER_MAX_STEPS) {
        err_set(err, "more than %d normalizers in sequence are not supported", NORMALIZER_MAX_STEPS);
        return NULL;
    }
    struct normalizer_step *step = &z->steps[z->n++];
    *step = (struct normalizer_step){.kind = kind};
    buf_init(&step->text, SIZE_MAX);
    return step;
}

int normalizer_add_replace(struct normalizer *z, const char *pattern, size_t n, enum regex_syntax syntax, const char *by,
                           size_t by_len, struct err *err)
{
    struct normalizer_step *step = normalizer_add(z, NORMALIZER_REPLACE, err);
    if (!step)
        return -1;
    buf_add(&step->text, by, by_len);
    step->pattern = regex_new(pattern, n, syntax, err);
    return step->pattern ? 0 : -1;
}

int normalizer_add_prepend(struct normalizer *z, const char *text, size_t n, struct err *err)
{
    struct normalizer_step *step = normalizer_add(z, NORMALIZER_PREPEND, err);
    if (!step)
        return -1;
    buf_add(&step->text, text, n);
    return 0;
}

/* text[0..n) is valid UTF-8 here and in charsmap_append(). */
static int replace(const struct normalizer_step *step, struct regex_scratch *s, struct buf *out, const char *text, size_t n,
                   struct err *err)
{
    size_t at = 0, from = 0, start, end;
    while (from < n) {
        int found = regex_find(step->pattern, s, text, n, from, &start, &end, err);
        if (found < 0)
            return -1;
        if (!found)
            break;
        buf_add(out, text + at, start - at);
        buf_add(out, step->text.data, step->text.len);
        at = end;
        from = end > start || end == n ? end : end + utf8_char_len(text + end, n - end);
    }
    buf_add(out, text + at, n - at);
    return 0;
}

/* The valid stretches of the text, and the bytes between them as they are. */
static int run_on_valid(const struct normalizer_step *step, struct regex_scratch *s, struct buf *out, const char *text,
                        size_t n, struct err *err)
{
    for (size_t i = 0, end; i < n; i = end) {
        size_t k;
        for (end = i; end < n && (k = utf8_char_len(text + end, n - end)); end += k)
            continue;
        int rc = step->kind == NORMALIZER_REPLACE ? replace(step, s, out, text + i, end - i, err)
                                                  : charsmap_append(step->charsmap, s, out, text + i, end - i, err);
        if (rc)
            return -1;
        for (i = end; end < n && !utf8_char_len(text + end, n - end); end++)
            continue;
        buf_add(out, text + i, end - i);
    }
    return 0;
}

static void lowercase(struct buf *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t k = utf8_char_len(text + i, n - i);
        if (k < 2) {
            char c = text[i++];
            if (k && c >= 'A' && c <= 'Z')
                c = (char)(c - 'A' + 'a');
            buf_add(out, &c, 1);
            continue;
        }
        uint32_t image[3];
        size_t count = char_to_lower(image, utf8_decode(text + i, k));
        for (size_t j = 0; j < count; j++) {
            char s[4];
            buf_add(out, s, utf8_encode(s, image[j]));
        }
        i += k;
    }
}

static void strip(const struct normalizer_step *step, const char **text, size_t *n)
{
    size_t k;
    while (step->left && (k = utf8_char_len(*text, *n)) && char_is_white(utf8_decode(*text, k))) {
        *text += k;
        *n -= k;
    }
    while (step->right && (k = utf8_char_len_before(*text, 0, *n)) && char_is_white(utf8_decode(*text + *n - k, k)))
        *n -= k;
}

int normalizer_run(const struct normalizer *z, struct normalizer_scratch *s, const char **text, size_t *n,
                   enum piece_place *place, struct err *err)
{
    size_t other = 0; /* the buffer that the text is not in */
    for (size_t i = 0; i < z->n && *n; i++) {
        const struct normalizer_step *step = &z->steps[i];
        const char *before = *text;
        struct buf *out = &s->text[other];
        buf_clear(out);
        switch (step->kind) {
        case NORMALIZER_FORM:
            if (!forms_may_change(step->form, *text, *n))
                continue;
            forms_append(out, step->form, *text, *n);
            break;
        case NORMALIZER_LOWERCASE:
            lowercase(out, *text, *n);
            break;
        case NORMALIZER_STRIP:
            strip(step, text, n);
            if (*place == PIECE_START && *text != before)
                *place = PIECE_LATER;
            continue;
        case NORMALIZER_PREPEND:
            if (*place == PIECE_MIDDLE)
                continue;
            buf_add(out, step->text.data, step->text.len);
            buf_add(out, *text, *n);
            break;
        case NORMALIZER_REPLACE:
        case NORMALIZER_CHARSMAP:
            if (run_on_valid(step, &s->regex, out, *text, *n, err))
                return -1;
            break;
        }
        if (out->overflow)
            return err_set(err, "the tokenizer's normalizer makes more than %zu bytes of a text", NORMALIZER_MAX_TEXT);
        *text = out->data;
        *n = out->len;
        other = 1 - other;
    }
    return 0;
}
