#include "tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "tokenizer/nfc.h"
#include "tokenizer/tokenizer_build.h"
#include "util/mem.h"

#define MAX_TEXT ((size_t)1 << 30) /* bytes in one call: positions in a word are 31 bits */

/* GGUF's types of token. */
enum { GGUF_CONTROL = 3, GGUF_USER_DEFINED = 4 };

/* One call of tokenizer_encode. */
struct encoding {
    const struct tokenizer *t;
    struct ids *out;
    struct bpe_scratch bpe;
    struct pretokenizer_scratch pretokenizer;
    struct buf normalized;
};

struct tokenizer *tokenizer_new(void)
{
    struct tokenizer *t = xcalloc(1, sizeof *t);
    vocab_init(&t->vocab);
    added_init(&t->added);
    added_init(&t->added_normalized);
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
    pretokenizer_release(&t->pretokenizer);
    bpe_release(&t->bpe);
    free(t);
}

int tokenizer_add_token(struct tokenizer *t, const struct added_token *token, bool special,
                        bool normalized, struct err *err)
{
    size_t n;
    const char *content = vocab_spelling(&t->vocab, token->id, &n);
    vocab_set_added(&t->vocab, token->id, special);
    if (!normalized)
        return added_add(&t->added, content, n, token, err);
    if (!t->nfc)
        return added_add(&t->added_normalized, content, n, token, err);
    struct buf form_c;
    buf_init(&form_c, MAX_TEXT);
    nfc_append(&form_c, content, n);
    int result = added_add(&t->added_normalized, form_c.data, form_c.len, token, err);
    buf_release(&form_c);
    return result;
}

int tokenizer_make_special(struct tokenizer *t, int32_t id, struct err *err)
{
    if (!t->vocab.tokens[id].added)
        return tokenizer_add_token(t, &(struct added_token){.id = id}, true, false, err);
    t->vocab.tokens[id].special = true;
    return 0;
}

static int check_parts(const struct tokenizer_parts *parts, struct err *err)
{
    if (!parts->model || strcmp(parts->model, "gpt2") != 0)
        return err_set(err,
                       "the tokenizer model '%.60s' is not supported: byte-level BPE ('gpt2') is",
                       parts->model ? parts->model : "");
    if (parts->n_tokens == 0 || parts->n_tokens > VOCAB_MAX_TOKENS)
        return err_set(err, "the vocabulary has %zu tokens; 1 to %zu are possible", parts->n_tokens,
                       VOCAB_MAX_TOKENS);
    if (parts->n_merges > UINT32_MAX / 2)
        return err_set(err, "the vocabulary has %zu merges, which is too many", parts->n_merges);
    for (int i = 0; i < 2; i++) {
        int id = i ? parts->eos : parts->bos;
        if (id != -1 && (id < 0 || (size_t)id >= parts->n_tokens || parts->token_lens[id] == 0))
            return err_set(err, "the %s token's id %d is not in the vocabulary of %zu tokens",
                           i ? "eos" : "bos", id, parts->n_tokens);
    }
    return 0;
}

static int read_parts(struct tokenizer *t, const struct tokenizer_parts *parts, struct err *err)
{
    bool ignore_merges;
    if (check_parts(parts, err) ||
        pretokenizer_add_named(&t->pretokenizer, parts->pre, &ignore_merges, &t->nfc, err))
        return -1;
    for (size_t i = 0; i < parts->n_tokens; i++)
        if (parts->token_lens[i] &&
            vocab_add(&t->vocab, (int64_t)i, parts->tokens[i], parts->token_lens[i], err))
            return -1;
    bpe_init(&t->bpe, &t->vocab);
    t->bpe.ignore_merges = ignore_merges;
    for (size_t i = 0; i < parts->n_merges; i++) {
        const char *left = parts->merges[i], *space = *left ? strchr(left + 1, ' ') : NULL;
        if (!space)
            return err_set(err, "merge %zu, '%.60s', is not two tokens with a space between", i,
                           left);
        if (bpe_add_merge(&t->bpe, &t->vocab, left, (size_t)(space - left), space + 1,
                          strlen(space + 1), (uint32_t)i, err))
            return -1;
    }
    for (size_t i = 0; parts->types && i < parts->n_tokens; i++) {
        bool special = parts->types[i] == GGUF_CONTROL;
        if ((special || parts->types[i] == GGUF_USER_DEFINED) && parts->token_lens[i] &&
            tokenizer_add_token(t, &(struct added_token){.id = (int32_t)i}, special, false, err))
            return -1;
    }
    t->bos = parts->bos;
    t->eos = parts->eos;
    return (t->bos >= 0 && tokenizer_make_special(t, t->bos, err)) ||
                   (t->eos >= 0 && tokenizer_make_special(t, t->eos, err))
               ? -1
               : 0;
}

struct tokenizer *tokenizer_from_parts(const struct tokenizer_parts *parts, struct err *err)
{
    struct tokenizer *t = tokenizer_new();
    if (read_parts(t, parts, err)) {
        tokenizer_free(t);
        return NULL;
    }
    return t;
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

int tokenizer_id(const struct tokenizer *t, const char *token)
{
    return vocab_find(&t->vocab, token, strlen(token));
}

bool tokenizer_finds_added(const struct tokenizer *t, const char *text, size_t n, size_t from, size_t *start, size_t *end)
{
    size_t other_start, other_end;
    bool found = added_find(&t->added, text, n, from, start, end) >= 0;
    if (added_find(&t->added_normalized, text, n, from, &other_start, &other_end) >= 0 && (!found || other_start < *start)) {
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
    bpe_encode_word(&e->t->bpe, &e->t->vocab, &e->bpe, e->out, word, n);
    return 0;
}

static int encode_words(struct encoding *e, const char *text, size_t n, struct err *err)
{
    return pretokenizer_run(&e->t->pretokenizer, &e->pretokenizer, text, n, encode_word, e, err);
}

/* Text without added tokens of the first kind. */
static int encode_normalized(struct encoding *e, const char *text, size_t n, struct err *err)
{
    if (e->t->nfc && nfc_may_change(text, n)) {
        buf_clear(&e->normalized);
        nfc_append(&e->normalized, text, n);
        text = e->normalized.data;
        n = e->normalized.len;
    }
    size_t at = 0, start, end;
    int32_t id;
    while ((id = added_find(&e->t->added_normalized, text, n, at, &start, &end)) >= 0) {
        if (encode_words(e, text + at, start - at, err))
            return -1;
        ids_add(e->out, id);
        at = end;
    }
    return encode_words(e, text + at, n - at, err);
}

static int encode_text(struct encoding *e, const char *text, size_t n, struct err *err)
{
    size_t at = 0, start, end;
    int32_t id;
    while ((id = added_find(&e->t->added, text, n, at, &start, &end)) >= 0) {
        if (encode_normalized(e, text + at, start - at, err))
            return -1;
        ids_add(e->out, id);
        at = end;
    }
    return encode_normalized(e, text + at, n - at, err);
}

int tokenizer_encode(const struct tokenizer *t, struct ids *out, const char *text, size_t n,
                     struct err *err)
{
    if (n > MAX_TEXT)
        return err_set(err, "a text of %zu bytes is too long to tokenise at once: the limit is %zu",
                       n, MAX_TEXT);
    struct encoding e = {.t = t, .out = out};
    size_t n_before = out->n;
    buf_init(&e.normalized, SIZE_MAX);
    int result = encode_text(&e, text, n, err);
    if (result)
        out->n = n_before;
    buf_release(&e.normalized);
    bpe_scratch_release(&e.bpe);
    pretokenizer_scratch_release(&e.pretokenizer);
    return result;
}

void tokenizer_decode(const struct tokenizer *t, struct buf *out, const int32_t *ids, size_t n,
                      bool skip_special)
{
    for (size_t i = 0; i < n; i++) {
        if (skip_special && tokenizer_is_special(t, ids[i]))
            continue;
        size_t len;
        const char *bytes = vocab_bytes(&t->vocab, ids[i], &len);
        buf_add(out, bytes, len);
    }
}
