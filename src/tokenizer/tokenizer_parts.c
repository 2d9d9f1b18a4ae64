/* A tokenizer from the parts that a GGUF file holds, with the rules that llama.cpp reads them by. */
#include <math.h>
#include <string.h>

#include "tokenizer/spm.h"
#include "tokenizer/tokenizer_build.h"

#define SPACE "\u2581" /* SentencePiece's sign for a space */

enum kind { KIND_BYTE_LEVEL, KIND_CHARACTERS, KIND_SPM, KIND_UNIGRAM };

static const char *const kinds[] = {"gpt2", "gemma4", "llama", "t5"};

static int check_parts(const struct tokenizer_parts *parts, enum kind *kind, struct err *err)
{
    size_t k = 0;
    while (k < 4 && (!parts->model || strcmp(parts->model, kinds[k]) != 0))
        k++;
    if (k == 4)
        return err_set(err,
                       "the tokenizer model '%.60s' is not supported: gpt2 (byte-level BPE), gemma4, llama (SentencePiece's "
                       "BPE) and t5 (Unigram) are", parts->model ? parts->model : "");
    *kind = (enum kind)k;
    if (parts->n_tokens == 0 || parts->n_tokens > VOCAB_MAX_TOKENS)
        return err_set(err, "the vocabulary has %zu tokens; 1 to %zu are possible", parts->n_tokens,
                       VOCAB_MAX_TOKENS);
    if (parts->n_merges > UINT32_MAX / 2)
        return err_set(err, "the vocabulary has %zu merges, which is too many", parts->n_merges);
    static const char *const names[] = {"bos", "eos", "unk"};
    for (int i = 0; i < 3; i++) {
        int id = i == 0 ? parts->bos : i == 1 ? parts->eos : parts->unk;
        if (id != -1 && (id < 0 || (size_t)id >= parts->n_tokens || parts->token_lens[id] == 0))
            return err_set(err, "the %s token's id %d is not in the vocabulary of %zu tokens", names[i], id, parts->n_tokens);
    }
    if (k < KIND_SPM)
        return 0;
    if (parts->n_scores != parts->n_tokens)
        return err_set(err, "the vocabulary has %zu tokens and %zu scores", parts->n_tokens, parts->n_scores);
    for (size_t i = 0; i < parts->n_scores; i++)
        if (!isfinite(parts->scores[i]))
            return err_set(err, "the score of token %zu is not a number", i);
    return 0;
}

static int read_merges(struct tokenizer *t, const struct tokenizer_parts *parts, struct err *err)
{
    for (size_t i = 0; i < parts->n_merges; i++) {
        const char *left = parts->merges[i], *space = *left ? strchr(left + 1, ' ') : NULL;
        if (!space)
            return err_set(err, "merge %zu, '%.60s', is not two tokens with a space between", i,
                           left);
        if (bpe_add_merge(&t->bpe, &t->vocab, left, (size_t)(space - left), space + 1,
                          strlen(space + 1), (uint32_t)i, err))
            return -1;
    }
    return 0;
}

/* What SentencePiece does to a text: its map of characters, spaces in a row as one, a space in front, and spaces that can be
 * seen. */
static int read_spaces(struct tokenizer *t, const struct tokenizer_parts *parts, enum kind kind, struct err *err)
{
    struct normalizer *z = &t->normalizer;
    if (kind == KIND_UNIGRAM && parts->charsmap_len) {
        struct normalizer_step *step = normalizer_add(z, NORMALIZER_CHARSMAP, err);
        if (!step || !(step->charsmap = charsmap_new(parts->charsmap, parts->charsmap_len, false, err)))
            return -1;
    }
    bool one_space = kind == KIND_UNIGRAM && parts->remove_extra_whitespaces != 0;
    bool prefix = kind != KIND_CHARACTERS && parts->add_space_prefix != 0;
    static const char extra[] = "^ +| +\\z|(?<= ) +";
    if ((one_space && normalizer_add_replace(z, extra, sizeof extra - 1, REGEX_OWN, "", 0, err)) ||
        (prefix && normalizer_add_prepend(z, " ", 1, err)) ||
        normalizer_add_replace(z, " ", 1, REGEX_LITERAL, SPACE, strlen(SPACE), err) ||
        !decoder_add(&t->decoder, DECODER_METASPACE, SPACE, strlen(SPACE), err) ||
        !decoder_add(&t->decoder, DECODER_BYTE_FALLBACK, "", 0, err))
        return -1;
    t->decoder.fused = true;
    struct decoder_step *strip = prefix ? decoder_add(&t->decoder, DECODER_STRIP, " ", 1, err) : NULL;
    if (strip)
        strip->left = 1;
    return 0;
}

static int read_model(struct tokenizer *t, const struct tokenizer_parts *parts, enum kind kind, bool ignore_merges,
                      struct err *err)
{
    if (kind == KIND_UNIGRAM) {
        int unk = parts->unk;
        for (size_t i = 0; unk < 0 && parts->types && i < parts->n_tokens; i++)
            unk = parts->types[i] == TOKEN_UNKNOWN ? (int)i : unk;
        if (unk < 0)
            return err_set(err, "the vocabulary has no unknown token, which Unigram needs");
        t->is_unigram = true;
        unigram_init(&t->unigram, &t->vocab, unk);
        t->unigram.byte_fallback = true;
        for (size_t i = 0; i < parts->n_tokens; i++)
            if (parts->token_lens[i] && (!parts->types || token_is_text(parts->types[i])))
                unigram_add(&t->unigram, &t->vocab, (int32_t)i,
                            parts->types && parts->types[i] == TOKEN_USER_DEFINED ? 0 : (double)parts->scores[i]);
        return 0;
    }
    bpe_init(&t->bpe, &t->vocab, kind != KIND_BYTE_LEVEL || t->pretokenizer.letters);
    t->bpe.ignore_merges = ignore_merges;
    t->bpe.byte_fallback = kind != KIND_BYTE_LEVEL;
    t->bpe.fuse_unk = kind != KIND_BYTE_LEVEL;
    t->bpe.unk = kind == KIND_BYTE_LEVEL ? -1 : parts->unk;
    if (kind != KIND_SPM)
        return read_merges(t, parts, err);
    spm_add_merges(&t->bpe, &t->vocab, parts->scores, parts->types, parts->n_tokens);
    return 0;
}

static void add_around(struct tokenizer *t, const struct tokenizer_parts *parts, enum kind kind, bool pre_adds_bos)
{
    bool bos = parts->add_bos < 0 ? pre_adds_bos || kind == KIND_SPM : parts->add_bos;
    bool eos = parts->add_eos < 0 ? kind == KIND_UNIGRAM : parts->add_eos;
    if (bos && t->bos >= 0)
        ids_add(&t->prefix, t->bos);
    if (eos && t->eos >= 0)
        ids_add(&t->suffix, t->eos);
}

static int read_parts(struct tokenizer *t, const struct tokenizer_parts *parts, struct err *err)
{
    enum kind kind = KIND_BYTE_LEVEL;
    struct pretokenizer_traits traits = {0};
    if (check_parts(parts, &kind, err))
        return -1;
    if (kind == KIND_BYTE_LEVEL) {
        t->decoder.byte_level = true;
        if (pretokenizer_add_named(&t->pretokenizer, parts->pre, &traits, err) ||
            (traits.nfc && !normalizer_add(&t->normalizer, NORMALIZER_FORM, err)))
            return -1;
    } else if (read_spaces(t, parts, kind, err)) {
        return -1;
    }
    for (size_t i = 0; i < parts->n_tokens; i++)
        if (parts->token_lens[i] &&
            vocab_add(&t->vocab, (int64_t)i, parts->tokens[i], parts->token_lens[i], err))
            return -1;
    if (read_model(t, parts, kind, traits.ignore_merges, err))
        return -1;
    for (size_t i = 0; parts->types && i < parts->n_tokens; i++) {
        bool special = parts->types[i] == TOKEN_CONTROL || (parts->types[i] == TOKEN_UNKNOWN && kind != KIND_BYTE_LEVEL);
        if ((special || parts->types[i] == TOKEN_USER_DEFINED) && parts->token_lens[i] &&
            tokenizer_add_token(t, &(struct added_token){.id = (int32_t)i}, special, false, err))
            return -1;
    }
    t->bos = parts->bos;
    t->eos = parts->eos;
    if ((t->bos >= 0 && tokenizer_make_special(t, t->bos, err)) ||
        (t->eos >= 0 && tokenizer_make_special(t, t->eos, err)))
        return -1;
    add_around(t, parts, kind, traits.add_bos);
    return decoder_fill(&t->decoder, &t->vocab, err);
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
