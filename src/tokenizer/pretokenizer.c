#include "tokenizer/pretokenizer.h"

#include <stdint.h>
#include <string.h>

#include "util/utf8.h"

/* The rules that models were published with. */
static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
static const char llama3_pattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char qwen2_pattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* One run over one text. */
struct run {
    const struct pretokenizer *p;
    struct pretokenizer_scratch *s;
    int (*word)(void *context, const char *word, size_t n);
    void *context;
    struct err *err;
};

void pretokenizer_release(struct pretokenizer *p)
{
    for (size_t i = 0; i < p->n; i++)
        regex_free(p->steps[i].pattern);
    *p = (struct pretokenizer){0};
}

void pretokenizer_scratch_release(struct pretokenizer_scratch *s)
{
    regex_scratch_release(&s->regex);
    for (size_t i = 0; i < PRETOKENIZER_MAX_STEPS; i++)
        buf_release(&s->prefixed[i]);
}

static struct pretokenizer_step *add_step(struct pretokenizer *p, struct err *err)
{
    if (p->n == PRETOKENIZER_MAX_STEPS) {
        err_set(err, "more than %d pre-tokenizers in sequence are not supported",
                PRETOKENIZER_MAX_STEPS);
        return NULL;
    }
    p->steps[p->n] = (struct pretokenizer_step){0};
    return &p->steps[p->n++];
}

int pretokenizer_add_split(struct pretokenizer *p, const char *pattern, size_t n, bool literal,
                           enum split_behavior behavior, bool invert, struct err *err)
{
    struct pretokenizer_step *step = add_step(p, err);
    if (!step)
        return -1;
    step->behavior = behavior;
    step->invert = invert;
    step->pattern = regex_new(pattern, n, literal, err);
    return step->pattern ? 0 : -1;
}

static int add_isolated(struct pretokenizer *p, const char *pattern, struct err *err)
{
    return pretokenizer_add_split(p, pattern, strlen(pattern), false, SPLIT_ISOLATED, false, err);
}

int pretokenizer_add_digits(struct pretokenizer *p, bool individual_digits, struct err *err)
{
    return add_isolated(p, individual_digits ? "\\p{N}" : "\\p{N}+", err);
}

int pretokenizer_add_byte_level(struct pretokenizer *p, bool add_prefix_space, bool use_regex,
                                struct err *err)
{
    if (use_regex ? add_isolated(p, gpt2_pattern, err) : !add_step(p, err))
        return -1;
    p->steps[p->n - 1].add_prefix_space = add_prefix_space;
    return 0;
}

int pretokenizer_add_named(struct pretokenizer *p, const char *name, bool *ignore_merges, bool *nfc,
                           struct err *err)
{
    enum rule { GPT2, DIGITS_GPT2, LLAMA3, QWEN2 };
    static const struct {
        const char *name;
        enum rule rule;
    } known[] = {
        {"default", GPT2},
        {"gpt-2", GPT2},
        {"gpt2", GPT2},
        {"smollm", DIGITS_GPT2},
        {"starcoder", DIGITS_GPT2},
        {"llama-bpe", LLAMA3},
        {"llama-v3", LLAMA3},
        {"llama3", LLAMA3},
        {"qwen2", QWEN2},
    };
    *ignore_merges = *nfc = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, name ? name : "default") != 0)
            continue;
        switch (known[i].rule) {
        case GPT2:
            return add_isolated(p, gpt2_pattern, err);
        case DIGITS_GPT2:
            return pretokenizer_add_digits(p, true, err) ? -1 : add_isolated(p, gpt2_pattern, err);
        case LLAMA3:
            *ignore_merges = true;
            return add_isolated(p, llama3_pattern, err);
        case QWEN2:
            *nfc = true;
            return add_isolated(p, qwen2_pattern, err);
        }
    }
    return err_set(err,
                   "the pre-tokenizer '%.60s' is not supported: supported are smollm, starcoder, "
                   "gpt-2, llama-bpe and qwen2",
                   name);
}

static int run_step(const struct run *r, size_t k, const char *text, size_t n);

static int split(const struct run *r, size_t k, const char *text, size_t n)
{
    const struct pretokenizer_step *step = &r->p->steps[k];
    size_t piece = 0,
           from = 0; /* text before `piece` is dealt with; the next match is looked for at `from` */
    bool has_piece = false, piece_matches = false;
    size_t piece_start = 0; /* contiguous: the piece that may still grow is [piece_start, piece) */

    while (piece < n) {
        size_t start = n, end = n;
        int found =
            from < n ? regex_find(step->pattern, &r->s->regex, text, n, from, &start, &end, r->err)
                     : 0;
        if (found < 0)
            return -1;
        size_t borders[3] = {piece, start, end};
        for (int i = 0; i < 2; i++) {
            size_t a = borders[i], b = borders[i + 1];
            bool matches = (i == 1) != step->invert;
            if (a == b || (step->behavior == SPLIT_REMOVED && matches))
                continue;
            if (step->behavior != SPLIT_CONTIGUOUS) {
                if (run_step(r, k + 1, text + a, b - a))
                    return -1;
                continue;
            }
            if (has_piece && piece_matches == matches)
                continue;
            if (has_piece && run_step(r, k + 1, text + piece_start, a - piece_start))
                return -1;
            has_piece = true;
            piece_matches = matches;
            piece_start = a;
        }
        piece = end;
        /* An empty match splits here; the next one is looked for a character on. */
        from = end > start || end == n ? end : end + utf8_char_len(text + end, n - end);
    }
    return has_piece ? run_step(r, k + 1, text + piece_start, n - piece_start) : 0;
}

static int run_step(const struct run *r, size_t k, const char *text, size_t n)
{
    if (n == 0)
        return 0;
    if (k == r->p->n)
        return r->word(r->context, text, n);
    const struct pretokenizer_step *step = &r->p->steps[k];
    if (step->add_prefix_space && text[0] != ' ') {
        struct buf *b = &r->s->prefixed[k];
        if (!b->data)
            buf_init(b, SIZE_MAX);
        buf_clear(b);
        buf_add(b, " ", 1);
        buf_add(b, text, n);
        text = b->data;
        n = b->len;
    }
    return step->pattern ? split(r, k, text, n) : run_step(r, k + 1, text, n);
}

int pretokenizer_run(const struct pretokenizer *p, struct pretokenizer_scratch *s, const char *text,
                     size_t n, int (*word)(void *context, const char *word, size_t n),
                     void *context, struct err *err)
{
    struct run r = {.p = p, .s = s, .word = word, .context = context, .err = err};
    for (size_t i = 0, end; i < n; i = end) {
        size_t k;
        for (end = i; end < n && (k = utf8_char_len(text + end, n - end)); end += k)
            continue;
        if (run_step(&r, 0, text + i, end - i))
            return -1;
        for (i = end; end < n && !utf8_char_len(text + end, n - end); end++)
            continue;
        if (end > i && word(context, text + i, end - i))
            return -1;
    }
    return 0;
}
