#include "tokenizer/describe.h"

#include <stdlib.h>
#include <string.h>

#include "tokenizer/same.h"
#include "tokenizer/spm.h"
#include "tokenizer/tokenizer_build.h"
#include "util/mem.h"

#define POOL_CEILING ((size_t)1 << 30)

void description_release(struct description *d)
{
    free(d->tokens);
    free(d->merges);
    free(d->token_lens);
    free(d->types);
    free(d->scores);
    buf_release(&d->pool);
    buf_release(&d->merge_pool);
    *d = (struct description){0};
}

static bool is_byte_token(const struct tokenizer *t, int32_t id)
{
    for (int i = 0; t->bpe.byte_fallback && i < 256; i++)
        if (t->bpe.byte_ids[i] == id)
            return true;
    return false;
}

static enum token_type type_of(const struct tokenizer *t, int32_t id)
{
    const struct vocab_token *token = &t->vocab.tokens[id];
    if (!t->decoder.byte_level && id == t->bpe.unk)
        return TOKEN_UNKNOWN;
    if (token->added)
        return token->special ? TOKEN_CONTROL : TOKEN_USER_DEFINED;
    return !t->decoder.byte_level && is_byte_token(t, id) ? TOKEN_BYTE : TOKEN_NORMAL;
}

/* Tokens and their types. */
static int describe_tokens(struct description *d, const struct tokenizer *t, size_t n, struct err *err)
{
    struct tokenizer_parts *p = &d->parts;
    d->tokens = xcalloc(n, sizeof *d->tokens);
    d->token_lens = xcalloc(n, sizeof *d->token_lens);
    d->types = xcalloc(n, sizeof *d->types);
    size_t *at = xcalloc(n, sizeof *at);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        size_t len;
        const char *s = vocab_spelling(&t->vocab, (int32_t)i, &len);
        at[i] = d->pool.len;
        d->types[i] = len ? (int32_t)type_of(t, (int32_t)i) : TOKEN_UNUSED;
        if (len)
            buf_add(&d->pool, s, len);
        else
            buf_printf(&d->pool, "[PAD%zu]", i);
        d->token_lens[i] = d->pool.len - at[i];
        if (!len && vocab_find(&t->vocab, d->pool.data + at[i], d->token_lens[i]) >= 0)
            rc = err_set(err, "a vocabulary without a token %zu that calls another one '%s'", i, d->pool.data + at[i]);
    }
    if (rc == 0 && d->pool.overflow)
        rc = err_set(err, "a vocabulary of more than a gigabyte");
    for (size_t i = 0; i < n && rc == 0; i++)
        d->tokens[i] = d->pool.data + at[i];
    free(at);
    p->tokens = d->tokens;
    p->token_lens = d->token_lens;
    p->types = d->types;
    p->n_tokens = n;
    return rc;
}

/* "left right" */
static int describe_merges(struct description *d, const struct tokenizer *t, struct err *err)
{
    struct bpe_merge *list = bpe_list(&t->bpe);
    size_t n = t->bpe.n_used;
    for (size_t i = 0; i < n; i++) {
        size_t left_len, right_len;
        const char *left = vocab_spelling(&t->vocab, (int32_t)(list[i].pair >> 32), &left_len),
                   *right = vocab_spelling(&t->vocab, (int32_t)(uint32_t)list[i].pair, &right_len);
        buf_add(&d->merge_pool, left, left_len);
        buf_add(&d->merge_pool, " ", 1);
        buf_add(&d->merge_pool, right, right_len);
        buf_add(&d->merge_pool, "", 1);
    }
    free(list);
    if (d->merge_pool.overflow)
        return err_set(err, "merges of more than a gigabyte");
    d->merges = xcalloc(n + 1, sizeof *d->merges);
    const char *at = d->merge_pool.data;
    for (size_t i = 0; i < n; i++, at += strlen(at) + 1)
        d->merges[i] = at;
    d->parts.merges = d->merges;
    d->parts.n_merges = n;
    return 0;
}

/* A token's score is minus the place of the merges that make it; what no merge makes comes after all of them. */
static void describe_scores(struct description *d, const struct tokenizer *t)
{
    struct bpe_merge *list = bpe_list(&t->bpe);
    size_t n = d->parts.n_tokens, rank = 0;
    d->scores = xcalloc(n, sizeof *d->scores);
    for (size_t i = 0; i < t->bpe.n_used; i++) {
        rank += i && list[i].id != list[i - 1].id;
        if (d->scores[list[i].id] == 0)
            d->scores[list[i].id] = -1 - (float)rank;
    }
    for (size_t i = 0; i < n; i++)
        if (d->scores[i] == 0 && d->types[i] == TOKEN_NORMAL)
            d->scores[i] = -2 - (float)rank;
    free(list);
    d->parts.scores = d->scores;
    d->parts.n_scores = n;
}

/* Added tokens are found before anything merges: no merge has to do with them, whatever the list says. */
static bool merges_text(const struct tokenizer *t, const struct bpe_merge *m)
{
    const int32_t ids[] = {(int32_t)(m->pair >> 32), (int32_t)(uint32_t)m->pair, m->id};
    for (size_t i = 0; i < 3; i++)
        if (t->vocab.tokens[ids[i]].added)
            return false;
    return true;
}

static size_t text_merges(const struct tokenizer *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->bpe.n_slots; i++)
        n += t->bpe.merges[i].pair != BPE_NO_PAIR && merges_text(t, &t->bpe.merges[i]);
    return n;
}

/* Do the scores give the very same merges, in an order that is the same but for the merges of one token? */
static int check_scores(const struct tokenizer *t, const struct tokenizer *again, struct err *err)
{
    struct bpe_merge *list = bpe_list(&t->bpe);
    bool same = text_merges(t) == text_merges(again);
    uint32_t before = 0;
    for (size_t i = 0; same && i < t->bpe.n_used; i++) {
        if (!merges_text(t, &list[i]))
            continue;
        const struct bpe_merge *m = bpe_find(&again->bpe, (int32_t)(list[i].pair >> 32), (int32_t)(uint32_t)list[i].pair);
        same = m && m->id == list[i].id && m->rank >= before;
        before = same ? m->rank : 0;
    }
    free(list);
    return same ? 0 : err_set(err, "merges of characters that are not those of SentencePiece's scores");
}

/* Give `again` what stands behind a name.  1 if it is t's, 0 if not, -1. */
static int try_name(struct tokenizer *again, const struct tokenizer *t, const char *name, struct buf *text, struct err *err)
{
    struct pretokenizer_traits traits;
    normalizer_release(&again->normalizer);
    pretokenizer_release(&again->pretokenizer);
    if (pretokenizer_add_named(&again->pretokenizer, name, &traits, err) ||
        (traits.nfc && !normalizer_add(&again->normalizer, NORMALIZER_FORM, err)))
        return -1;
    again->bpe.ignore_merges = traits.ignore_merges;
    again->bpe.characters = again->pretokenizer.letters;
    return tokenizer_same(t, again, SAME_PLAIN_TEXTS, text, err);
}

/* Does an earlier name stand for the same? */
static bool is_double(size_t i)
{
    struct pretokenizer_traits own, other;
    const char *const *rule = pretokenizer_patterns(pretokenizer_name(i), &own, NULL);
    for (size_t k = 1; k < i; k++)
        if (pretokenizer_patterns(pretokenizer_name(k), &other, NULL) == rule && other.ignore_merges == own.ignore_merges && other.nfc == own.nfc)
            return true;
    return false;
}

/* Everything but the normalizer and the pre-tokenizer is there: find the name that stands for them, first among those that ignore merges as t
 * does, since often it makes no difference. */
static int describe_pretokenizer(struct description *d, const struct tokenizer *t, struct buf *text, struct err *err)
{
    struct tokenizer *again = tokenizer_from_parts(&d->parts, err);
    struct pretokenizer_traits traits;
    const char *name;
    int same = again ? 0 : -1;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 1; same == 0 && (name = pretokenizer_name(i)); i++) {
            pretokenizer_patterns(name, &traits, NULL);
            if (is_double(i) || (traits.ignore_merges == t->bpe.ignore_merges) != (pass == 0))
                continue;
            same = try_name(again, t, name, text, err);
            d->parts.pre = name;
        }
    tokenizer_free(again);
    return same > 0 ? 0 : same < 0 ? -1 : err_set(err, "a pre-tokenizer that llama.cpp has no name for");
}

/* SentencePiece's: with a space in front of a text or without.  Newer tokenizers put none in front of one that is there, which a GGUF cannot
 * say. */
static int describe_spaces(struct description *d, const struct tokenizer *t, struct buf *text, struct err *err)
{
    int same = 0;
    for (int prefix = 1; prefix >= 0 && same == 0; prefix--) {
        d->parts.add_space_prefix = prefix;
        struct tokenizer *again = tokenizer_from_parts(&d->parts, err);
        same = !again || check_scores(t, again, err) ? -1 : tokenizer_same(t, again, SAME_INNER_TEXTS, text, err);
        tokenizer_free(again);
    }
    return same > 0 ? 0 : same < 0 ? -1 : err_set(err, "a normalizer, a pre-tokenizer or unknown tokens that are not SentencePiece's");
}

/* What stands around a text has to be one token or none: *id, where that is known. */
static int describe_around(int *flag, int *id, const struct ids *ids, const char *what, struct err *err)
{
    *flag = ids->n > 0;
    if (ids->n == 1 && *id < 0)
        *id = ids->data[0];
    return ids->n == 0 || (ids->n == 1 && ids->data[0] == *id) ? 0 : err_set(err, "more tokens around a text than %s", what);
}

int tokenizer_describe(struct description *d, const struct tokenizer *t, size_t n_tokens, struct err *err)
{
    *d = (struct description){.parts = {.bos = t->bos, .eos = t->eos, .unk = -1, .add_space_prefix = -1, .remove_extra_whitespaces = -1}};
    struct buf text;
    buf_init(&d->pool, POOL_CEILING);
    buf_init(&d->merge_pool, POOL_CEILING);
    buf_init(&text, 1 << 20);
    int rc = describe_around(&d->parts.add_bos, &d->parts.bos, &t->prefix, "a BOS", err) ||
                     describe_around(&d->parts.add_eos, &d->parts.eos, &t->suffix, "an EOS", err)
                 ? -1 : 0;
    if (rc == 0 && t->is_unigram)
        rc = err_set(err, "a Unigram vocabulary");
    if (rc == 0)
        rc = describe_tokens(d, t, n_tokens, err);
    if (rc == 0 && t->decoder.byte_level) {
        d->parts.model = "gpt2";
        rc = describe_merges(d, t, err) || describe_pretokenizer(d, t, &text, err) ? -1 : 0;
    } else if (rc == 0) {
        d->parts.model = "llama";
        d->parts.unk = t->bpe.unk;
        describe_scores(d, t);
        rc = describe_spaces(d, t, &text, err);
    }
    buf_release(&text);
    if (rc)
        description_release(d);
    return rc;
}
