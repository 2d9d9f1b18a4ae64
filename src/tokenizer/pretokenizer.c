#include "tokenizer/pretokenizer.h"

#include <stdint.h>
#include <string.h>

#include "tokenizer/vocab.h"
#include "util/utf8.h"

static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
static const char word_pattern[] =
    "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]+"
    "|[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}\\p{White_Space}]+";

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
        buf_release(&s->written[i]);
}

static struct pretokenizer_step *add_step(struct pretokenizer *p, struct err *err)
{
    if (p->n == PRETOKENIZER_MAX_STEPS) {
        err_set(err, "more than %d pre-tokenizers in sequence are not supported",
                PRETOKENIZER_MAX_STEPS);
        return NULL;
    }
    p->steps[p->n] = (struct pretokenizer_step){.prepend = PREPEND_NEVER};
    return &p->steps[p->n++];
}

int pretokenizer_add_split(struct pretokenizer *p, const char *pattern, size_t n, enum regex_syntax syntax,
                           enum split_behavior behavior, bool invert, struct err *err)
{
    struct pretokenizer_step *step = add_step(p, err);
    if (!step)
        return -1;
    step->behavior = behavior;
    step->invert = invert;
    step->pattern = regex_new(pattern, n, syntax, err);
    return step->pattern ? 0 : -1;
}

static int add_isolated(struct pretokenizer *p, const char *pattern, struct err *err)
{
    return pretokenizer_add_split(p, pattern, strlen(pattern), REGEX_FILE, SPLIT_ISOLATED, false, err);
}

int pretokenizer_add_digits(struct pretokenizer *p, bool individual_digits, struct err *err)
{
    return add_isolated(p, individual_digits ? "\\p{N}" : "\\p{N}+", err);
}

int pretokenizer_add_punctuation(struct pretokenizer *p, enum split_behavior behavior, struct err *err)
{
    static const char pattern[] = "[\\p{P}!-/:-@\\[-`{-~]";
    return pretokenizer_add_split(p, pattern, sizeof pattern - 1, REGEX_FILE, behavior, false, err);
}

int pretokenizer_add_whitespace(struct pretokenizer *p, struct err *err)
{
    return pretokenizer_add_split(p, word_pattern, sizeof word_pattern - 1, REGEX_OWN, SPLIT_REMOVED, true, err);
}

int pretokenizer_add_whitespace_split(struct pretokenizer *p, struct err *err)
{
    return pretokenizer_add_split(p, "\\s", 2, REGEX_FILE, SPLIT_REMOVED, false, err);
}

int pretokenizer_add_metaspace(struct pretokenizer *p, const char *replacement, size_t n, enum prepend_scheme prepend,
                               bool split, struct err *err)
{
    if (n == 0 || n >= sizeof p->steps->space)
        return err_set(err, "the replacement '%.60s' of 'Metaspace' is not one character", replacement);
    if (split ? pretokenizer_add_split(p, replacement, n, REGEX_LITERAL, SPLIT_MERGED_WITH_NEXT, false, err)
              : !add_step(p, err))
        return -1;
    struct pretokenizer_step *step = &p->steps[p->n - 1];
    step->prepend = prepend;
    memcpy(step->space, replacement, n);
    return 0;
}

int pretokenizer_add_byte_level(struct pretokenizer *p, bool add_prefix_space, bool use_regex,
                                struct err *err)
{
    if (use_regex ? add_isolated(p, gpt2_pattern, err) : !add_step(p, err))
        return -1;
    struct pretokenizer_step *step = &p->steps[p->n - 1];
    step->prepend = add_prefix_space ? PREPEND_ALWAYS : PREPEND_NEVER;
    step->space[0] = ' ';
    return 0;
}

int pretokenizer_add_letters(struct pretokenizer *p, struct err *err)
{
    struct pretokenizer_step *step = add_step(p, err);
    if (!step)
        return -1;
    p->letters = step->letters = true;
    return 0;
}

static int run_step(const struct run *r, size_t k, const char *text, size_t n, enum piece_place place);

/* Pieces in the making: the last one may still grow by its neighbour. */
struct pieces {
    const struct run *r;
    size_t k; /* the step that takes them */
    const char *text;
    enum piece_place place; /* of the text */
    size_t start, end;      /* of the last piece; empty: there is none */
    bool matches;           /* what was last added to it */
};

static int pieces_flush(struct pieces *p)
{
    size_t start = p->start, n = p->end - start;
    p->start = p->end;
    return n ? run_step(p->r, p->k, p->text + start, n, start ? PIECE_LATER : p->place) : 0;
}

static int pieces_add(struct pieces *p, enum split_behavior behavior, size_t start, size_t end, bool matches)
{
    if (start == end || (behavior == SPLIT_REMOVED && matches))
        return 0;
    bool joins = (behavior == SPLIT_CONTIGUOUS && matches == p->matches) ||
                 (behavior == SPLIT_MERGED_WITH_PREVIOUS && matches && !p->matches) ||
                 (behavior == SPLIT_MERGED_WITH_NEXT && !matches && p->matches);
    if (!joins || p->start == p->end) {
        if (pieces_flush(p))
            return -1;
        p->start = start;
    }
    p->end = end;
    p->matches = matches;
    return 0;
}

static int split(const struct run *r, size_t k, const char *text, size_t n, enum piece_place place)
{
    const struct pretokenizer_step *step = &r->p->steps[k];
    struct pieces pieces = {.r = r, .k = k + 1, .text = text, .place = place};
    size_t piece = 0,
           from = 0; /* text before `piece` is dealt with; the next match is looked for at `from` */

    while (piece < n) {
        size_t start = n, end = n;
        int found =
            from < n ? regex_find(step->pattern, &r->s->regex, text, n, from, &start, &end, r->err)
                     : 0;
        if (found < 0 || pieces_add(&pieces, step->behavior, piece, start, step->invert) ||
            pieces_add(&pieces, step->behavior, start, end, !step->invert))
            return -1;
        piece = end;
        /* An empty match splits here; the next one is looked for a character on. */
        from = end > start || end == n ? end : end + utf8_char_len(text + end, n - end);
        if (found && start == end && pieces_flush(&pieces))
            return -1;
    }
    return pieces_flush(&pieces);
}

/* The piece as the step writes it, in the step's buffer; a piece that stays as it is stays where it is. */
static void write_piece(const struct run *r, size_t k, const char **text, size_t *n, enum piece_place place)
{
    const struct pretokenizer_step *step = &r->p->steps[k];
    size_t space = strlen(step->space);
    bool is_plain = strcmp(step->space, " ") == 0;
    bool prepends = space && (step->prepend == PREPEND_ALWAYS ? place != PIECE_MIDDLE
                                                              : step->prepend == PREPEND_FIRST && place == PIECE_START);
    if (prepends && ((*text)[0] == ' ' || (*n >= space && memcmp(*text, step->space, space) == 0)))
        prepends = false;
    if (!step->letters && !prepends && (!space || is_plain || !memchr(*text, ' ', *n)))
        return;
    struct buf *b = &r->s->written[k];
    if (!b->data)
        buf_init(b, SIZE_MAX);
    buf_clear(b);
    if (step->letters)
        vocab_letters_append(b, *text, *n);
    if (prepends)
        buf_add(b, step->space, space);
    for (size_t i = 0, end; !step->letters && i < *n; i = end) {
        const char *blank = is_plain ? NULL : memchr(*text + i, ' ', *n - i);
        end = blank ? (size_t)(blank - *text) + 1 : *n;
        buf_add(b, *text + i, end - i - (blank != NULL));
        if (blank)
            buf_add(b, step->space, space);
    }
    *text = b->data;
    *n = b->len;
}

static int run_step(const struct run *r, size_t k, const char *text, size_t n, enum piece_place place)
{
    if (n == 0)
        return 0;
    if (k == r->p->n)
        return r->word(r->context, text, n);
    write_piece(r, k, &text, &n, place);
    return r->p->steps[k].pattern ? split(r, k, text, n, place) : run_step(r, k + 1, text, n, place);
}

/* Bytes that are not UTF-8. */
static int odd_word(const struct run *r, const char *text, size_t n)
{
    if (!r->p->letters)
        return r->word(r->context, text, n);
    struct buf letters;
    buf_init(&letters, SIZE_MAX);
    vocab_letters_append(&letters, text, n);
    int rc = r->word(r->context, letters.data, letters.len);
    buf_release(&letters);
    return rc;
}

int pretokenizer_run(const struct pretokenizer *p, struct pretokenizer_scratch *s, const char *text,
                     size_t n, enum piece_place place, int (*word)(void *context, const char *word, size_t n),
                     void *context, struct err *err)
{
    struct run r = {.p = p, .s = s, .word = word, .context = context, .err = err};
    for (size_t i = 0, end; i < n; i = end) {
        size_t k;
        for (end = i; end < n && (k = utf8_char_len(text + end, n - end)); end += k)
            continue;
        if (run_step(&r, 0, text + i, end - i, i ? PIECE_MIDDLE : place))
            return -1;
        for (i = end; end < n && !utf8_char_len(text + end, n - end); end++)
            continue;
        if (end > i && odd_word(&r, text + i, end - i))
            return -1;
    }
    return 0;
}
