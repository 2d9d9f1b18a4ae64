#include "tokenizer/same.h"

#include <string.h>

#include "tokenizer/tokenizer_build.h"
#include "util/mem.h"
#include "util/rng.h"
#include "util/utf8.h"

#define TEXTS 1500
#define MOST_PIECES 12

static const char *const pieces[] = {
    " ", " ", " ", "  ", "   ", "\n", "\n\n", " \n", "\t", "\r\n", "\r", "\u00a0", "\u3000", "\u2028", "\v", "the", " The", "HOUSE", "iPhone", "don't", "I'LL",
    "we've", "'s", "'S", "'T", "'re", "''", "it\u2019s", "1", "22", "333", "4444", " 55", "6.75", "1,000", "\u0664\u0665", "\u00bd", "\u2460", "\u00b2",
    "\u4e8c", ".", "..", "...", ",", "!", "?!", "-", "--", "(", ")", "[x]", "{", "}", "_", "a_b", "/", "\\", "//", "$", "+", "<", "=>", "^", "~", "|", "#",
    "##", "@", "&", "*", "**", "`", "```", "\"", ":", ";", "\u2014", "\u2026", "\u3002", "\uff0c", "\uff01", "\u060c", "\u0964", "\u20ac", "\u00e9", "e\u0301", "\u00c5",
    "A\u030a", "\ufb01", "\uff21", "\u1e9b\u0323", "\u0130", "\u01c5", "\u02b0", "\u5ddd", "\u6d77\u306e", "\u30ab\u30bf", "\uac01", "\u1112\u1161\u11ab", "\u0e41\u0e21\u0e48",
    "\u0627\u0644", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u05d0", "\u0394\u03bf", "\u0416\u0443\u043a", "\u00df", "\U0001f642", "\U0001f469\u200d\U0001f52c", "\U0001f1e9\U0001f1ea",
    "\u200b", "\ufeff", "\u0301", "x", "Z", "http://a.b/c?d=1", "\u2581", "\u0120", "<0x41>", "\x01", "\x7f",
};

/* What numbers the texts are made of. */
struct maker {
    const struct vocab *vocab;
    const int32_t *added;
    size_t n_added;
    uint32_t text, at;
};

static size_t below(struct maker *m, size_t n)
{
    return rng_below((uint32_t)n, 1, RNG_TEST, m->text, m->at++, 0, 0);
}

static void add_token(const struct maker *m, struct buf *out, int32_t id)
{
    size_t n;
    const char *s = vocab_bytes(m->vocab, id, &n);
    size_t whole = 0, k;
    while (whole < n && (k = utf8_char_len(s + whole, n - whole)))
        whole += k;
    if (whole == n)
        buf_add(out, s, n);
}

static void make_text(struct maker *m, struct buf *out)
{
    buf_clear(out);
    m->at = 0;
    for (size_t k = 1 + below(m, MOST_PIECES); k; k--) {
        size_t kind = below(m, 4);
        if (kind == 0)
            add_token(m, out, (int32_t)below(m, m->vocab->n));
        else if (kind == 1 && m->n_added)
            add_token(m, out, m->added[below(m, m->n_added)]);
        else
            buf_str(out, pieces[below(m, sizeof pieces / sizeof *pieces)]);
    }
}

static bool is_one_of(enum same_texts which, const struct tokenizer *a, const struct tokenizer *b, const struct buf *text)
{
    size_t start, end;
    if (which == SAME_ALL_TEXTS)
        return true;
    if (which == SAME_INNER_TEXTS && (*text->data == ' ' || strncmp(text->data, "\u2581", 3) == 0)) /* SentencePiece's sign for one, too */
        return false;
    return !tokenizer_finds_added(a, text->data, text->len, 0, &start, &end) && !tokenizer_finds_added(b, text->data, text->len, 0, &start, &end);
}

static int same_on(const struct tokenizer *a, const struct tokenizer *b, struct ids *x, struct ids *y, const struct buf *text, struct err *err)
{
    x->n = y->n = 0;
    if (tokenizer_encode(a, x, text->data, text->len, err) || tokenizer_encode(b, y, text->data, text->len, err))
        return -1;
    return x->n == y->n && (x->n == 0 || memcmp(x->data, y->data, x->n * sizeof *x->data) == 0);
}

int tokenizer_same(const struct tokenizer *a, const struct tokenizer *b, enum same_texts which, struct buf *text, struct err *err)
{
    struct maker m = {.vocab = &a->vocab};
    struct ids added = {0}, x = {0}, y = {0};
    int same = 1;
    for (size_t i = 0; which == SAME_ALL_TEXTS && i < a->vocab.n; i++)
        if (a->vocab.tokens[i].added)
            ids_add(&added, (int32_t)i);
    m.added = added.data;
    m.n_added = added.n;
    for (m.text = 0; same == 1 && m.text < TEXTS; m.text++) {
        make_text(&m, text);
        if (is_one_of(which, a, b, text))
            same = same_on(a, b, &x, &y, text, err);
    }
    ids_release(&added);
    ids_release(&x);
    ids_release(&y);
    return same;
}
