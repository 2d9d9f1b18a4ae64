#include "tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "tokenizer/tokenizer_build.h"
#include "util/mem.h"

#define MAX_TEXT ((size_t)1 << 30) /* bytes in one call, and in one word: its positions are 31 bits */

/* One call of tokenizer_encode. */
struct encoding {
    const struct tokenizer *t;
    struct ids *out;
    struct bpe_scratch bpe;
    struct unigram_scratch unigram;
    struct pretokenizer_scratch pretokenizer;
    struct normalizer_scratch normalizer;
    struct err *err;
};

struct tokenizer *tokenizer_new(void)
{
    struct tokenizer *t = xcalloc(1, sizeof *t);
    vocab_init(&t->vocab);
    decoder_init(&t->decoder);
    added_init(&t->added);
    added_init(&t->added_normalized);
    added_init(&t->added_written);
    t->bos = t->eos = -1;
    return t;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    vocab_release(&t->vocab);
    added_release(&t->added);
    added_release(&t->added_normalized);
    added_release(&t->added_written);
    normalizer_release(&t->normalizer);
    pretokenizer_release(&t->pretokenizer);
    decoder_release(&t->decoder);
    bpe_release(&t->bpe);
    unigram_release(&t->unigram);
    ids_release(&t->prefix);
    ids_release(&t->suffix);
    free(t);
}

int tokenizer_add_token(struct tokenizer *t, const struct added_token *token, bool special,
                        bool normalized, struct err *err)
{
    size_t n_raw;
    const char *spelling = vocab_spelling(&t->vocab, token->id, &n_raw);
    char *raw = xstrndup(spelling, n_raw); /* the vocabulary may move */
    const char *content = raw;
    size_t n = n_raw;
    struct normalizer_scratch scratch;
    normalizer_scratch_init(&scratch);
    enum piece_place place = PIECE_START;
    int result = normalizer_run(&t->normalizer, &scratch, &content, &n, &place, err);
    if (result == 0) {
        added_remove(&t->added, raw, n_raw);
        added_remove(&t->added_written, raw, n_raw);
        if (n)
            added_remove(&t->added_normalized, content, n);
        vocab_set_added(&t->vocab, token->id, special);
        if (normalized && (n != n_raw || memcmp(raw, content, n) != 0))
            vocab_set_content(&t->vocab, token->id, content, n);
        if (!normalized)
            result = added_add(&t->added, raw, n_raw, token, err);
        else if (n)
            result = added_add(&t->added_normalized, content, n, token, err) ||
                             added_add(&t->added_written, raw, n_raw, token, err)
                         ? -1
                         : 0;
    }
    normalizer_scratch_release(&scratch);
    free(raw);
    return result;
}

int tokenizer_make_special(struct tokenizer *t, int32_t id, struct err *err)
{
    if (!t->vocab.tokens[id].added)
        return tokenizer_add_token(t, &(struct added_token){.id = id}, true, false, err);
    t->vocab.tokens[id].special = true;
    return 0;
}

const char *tokenizer_kind(const struct tokenizer *t)
{
    return t->is_unigram ? "Unigram" : t->decoder.byte_level ? "byte-level BPE" : "BPE of characters";
}

size_t tokenizer_size(const struct tokenizer *t)
{
    return t->vocab.n;
}

int tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}

int tokenizer_eos(const struct tokenizer *t)
{
    return t->eos;
}

const struct ids *tokenizer_prefix(const struct tokenizer *t)
{
    return &t->prefix;
}

const struct ids *tokenizer_suffix(const struct tokenizer *t)
{
    return &t->suffix;
}

int tokenizer_id(const struct tokenizer *t, const char *token)
{
    return vocab_find(&t->vocab, token, strlen(token));
}

bool tokenizer_finds_added(const struct tokenizer *t, const char *text, size_t n, size_t from, size_t *start, size_t *end)
{
    size_t other_start, other_end;
    bool found = added_find(&t->added, text, n, from, start, end) >= 0;
    if (added_find(&t->added_written, text, n, from, &other_start, &other_end) >= 0 && (!found || other_start < *start)) {
        *start = other_start;
        *end = other_end;
        found = true;
    }
    return found;
}

bool tokenizer_is_special(const struct tokenizer *t, int id)
{
    return id >= 0 && (size_t)id < t->vocab.n && t->vocab.tokens[id].special;
}

void ids_release(struct ids *ids)
{
    free(ids->data);
    *ids = (struct ids){0};
}

void ids_add(struct ids *ids, int32_t id)
{
    ARRAY_GROW(ids->data, ids->n + 1, ids->capacity);
    ids->data[ids->n++] = id;
}

static int encode_word(void *context, const char *word, size_t n)
{
    struct encoding *e = context;
    if (n > MAX_TEXT)
        return err_set(e->err, "a word of %zu bytes is too long to tokenise: the limit is %zu", n, MAX_TEXT);
    if (e->t->is_unigram)
        unigram_encode_word(&e->t->unigram, &e->t->vocab, &e->unigram, e->out, word, n);
    else
        bpe_encode_word(&e->t->bpe, &e->t->vocab, &e->bpe, e->out, word, n);
    return 0;
}

static int encode_words(struct encoding *e, const char *text, size_t n, enum piece_place place)
{
    return pretokenizer_run(&e->t->pretokenizer, &e->pretokenizer, text, n, place, encode_word, e, e->err);
}

/* Text without added tokens of the first kind. */
static int encode_normalized(struct encoding *e, const char *text, size_t n, enum piece_place place)
{
    if (normalizer_run(&e->t->normalizer, &e->normalizer, &text, &n, &place, e->err))
        return -1;
    size_t at = 0, start, end;
    int32_t id;
    while ((id = added_find(&e->t->added_normalized, text, n, at, &start, &end)) >= 0) {
        if (encode_words(e, text + at, start - at, at ? PIECE_LATER : place))
            return -1;
        ids_add(e->out, id);
        at = end;
    }
    return encode_words(e, text + at, n - at, at ? PIECE_LATER : place);
}

static int encode_text(struct encoding *e, const char *text, size_t n, enum piece_place place)
{
    size_t at = 0, start, end;
    int32_t id;
    while ((id = added_find(&e->t->added, text, n, at, &start, &end)) >= 0) {
        if (encode_normalized(e, text + at, start - at, at ? PIECE_LATER : place))
            return -1;
        ids_add(e->out, id);
        at = end;
    }
    return encode_normalized(e, text + at, n - at, at ? PIECE_LATER : place);
}

int tokenizer_encode_after(const struct tokenizer *t, struct ids *out, int previous, const char *text, size_t n,
                           struct err *err)
{
    if (n > MAX_TEXT)
        return err_set(err, "a text of %zu bytes is too long to tokenise at once: the limit is %zu",
                       n, MAX_TEXT);
    struct encoding e = {.t = t, .out = out, .err = err};
    size_t n_before = out->n;
    normalizer_scratch_init(&e.normalizer);
    bool after_added = previous >= 0 && (size_t)previous < t->vocab.n && t->vocab.tokens[previous].added;
    int result = encode_text(&e, text, n, previous < 0 ? PIECE_START : after_added ? PIECE_LATER : PIECE_MIDDLE);
    if (result)
        out->n = n_before;
    bpe_scratch_release(&e.bpe);
    unigram_scratch_release(&e.unigram);
    normalizer_scratch_release(&e.normalizer);
    pretokenizer_scratch_release(&e.pretokenizer);
    return result;
}

int tokenizer_encode(const struct tokenizer *t, struct ids *out, const char *text, size_t n,
                     struct err *err)
{
    return tokenizer_encode_after(t, out, -1, text, n, err);
}

int tokenizer_encode_whole(const struct tokenizer *t, struct ids *out, const char *text, size_t n, struct err *err)
{
    const struct ids *prefix = &t->prefix;
    struct ids ids = {0};
    int result = tokenizer_encode(t, &ids, text, n, err);
    bool is_there = ids.n >= prefix->n && prefix->n && memcmp(ids.data, prefix->data, prefix->n * sizeof *ids.data) == 0;
    for (size_t i = 0; result == 0 && i < prefix->n && !is_there; i++)
        ids_add(out, prefix->data[i]);
    for (size_t i = 0; result == 0 && i < ids.n; i++)
        ids_add(out, ids.data[i]);
    ids_release(&ids);
    return result;
}

void tokenizer_decode_more(const struct tokenizer *t, struct buf *out, const int32_t *ids, size_t n, bool skip_special)
{
    for (size_t i = 0; i < n; i++) {
        if (skip_special && tokenizer_is_special(t, ids[i]))
            continue;
        size_t len;
        const char *bytes = vocab_bytes(&t->vocab, ids[i], &len);
        buf_add(out, bytes, len);
    }
}

void tokenizer_decode(const struct tokenizer *t, struct buf *out, const int32_t *ids, size_t n,
                      bool skip_special)
{
    size_t start = out->len, first = 0, len;
    while (skip_special && first < n && tokenizer_is_special(t, ids[first]))
        first++;
    if (first < n && !t->decoder.byte_level) {
        const char *spelling = vocab_content(&t->vocab, ids[first], &len);
        decoder_first(&t->decoder, out, spelling, len);
        first++;
    }
    if (first < n)
        tokenizer_decode_more(t, out, ids + first, n - first, skip_special);
    decoder_strip(&t->decoder, out, start);
}
