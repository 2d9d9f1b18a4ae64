#include "tokenizer/forms.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer/forms_table.h"
#include "util/mem.h"
#include "util/utf8.h"

#define N_PAIRS (sizeof forms_pairs / sizeof *forms_pairs)
#define N_COMPOSING (sizeof forms_composing / sizeof *forms_composing)
#define N_CLASSES (sizeof forms_classes / sizeof *forms_classes)
#define N_COMPATIBLE (sizeof forms_compatible / sizeof *forms_compatible)

/* Hangul syllables are made of leading consonant, vowel and perhaps trailing consonant by
 * arithmetic. */
enum {
    S_BASE = 0xac00,
    L_BASE = 0x1100,
    V_BASE = 0x1161,
    T_BASE = 0x11a7,
    L_COUNT = 19,
    V_COUNT = 21,
    T_COUNT = 28,
    S_COUNT = L_COUNT * V_COUNT * T_COUNT,
};

/* A run of decomposed characters: a starter and what combines with it, or several such. */
struct run {
    uint32_t *c;
    uint8_t *class;
    size_t n, c_capacity, class_capacity;
};

static uint8_t combining_class(uint32_t c)
{
    size_t low = 0, high = N_CLASSES;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (c > forms_classes[mid].to)
            low = mid + 1;
        else if (c < forms_classes[mid].from)
            high = mid;
        else
            return forms_classes[mid].class;
    }
    return 0;
}

static void run_add(struct run *r, uint32_t c)
{
    ARRAY_GROW(r->c, r->n + 1, r->c_capacity);
    ARRAY_GROW(r->class, r->n + 1, r->class_capacity);
    r->c[r->n] = c;
    r->class[r->n++] = combining_class(c);
}

/* What forms KC and KD write for c: *n characters, or NULL. */
static const uint32_t *compatible(uint32_t c, size_t *n)
{
    size_t low = 0, high = N_COMPATIBLE;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (forms_compatible[mid].whole < c)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == N_COMPATIBLE || forms_compatible[low].whole != c)
        return NULL;
    *n = forms_compatible[low].n;
    return forms_letters + forms_compatible[low].at;
}

static void decompose(struct run *r, uint32_t c, bool compatibly)
{
    if (c - S_BASE < S_COUNT) {
        uint32_t s = c - S_BASE;
        run_add(r, L_BASE + s / (V_COUNT * T_COUNT));
        run_add(r, V_BASE + s % (V_COUNT * T_COUNT) / T_COUNT);
        if (s % T_COUNT)
            run_add(r, T_BASE + s % T_COUNT);
        return;
    }
    size_t n = 0;
    const uint32_t *letters = compatibly ? compatible(c, &n) : NULL;
    for (size_t i = 0; i < n; i++)
        decompose(r, letters[i], compatibly);
    if (letters)
        return;
    size_t low = 0, high = N_PAIRS;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (forms_pairs[mid].whole < c)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == N_PAIRS || forms_pairs[low].whole != c) {
        run_add(r, c);
        return;
    }
    decompose(r, forms_pairs[low].first, compatibly);
    if (forms_pairs[low].second)
        decompose(r, forms_pairs[low].second, compatibly);
}

/* The character that the two compose to, or 0. */
static uint32_t compose(uint32_t first, uint32_t second)
{
    if (first - L_BASE < L_COUNT && second - V_BASE < V_COUNT)
        return S_BASE + ((first - L_BASE) * V_COUNT + (second - V_BASE)) * T_COUNT;
    if (first - S_BASE < S_COUNT && (first - S_BASE) % T_COUNT == 0 &&
        second - T_BASE - 1 < T_COUNT - 1)
        return first + (second - T_BASE);
    size_t low = 0, high = N_COMPOSING;
    while (low < high) {
        size_t mid = (low + high) / 2, pair = forms_composing[mid];
        if (forms_pairs[pair].first == first && forms_pairs[pair].second == second)
            return forms_pairs[pair].whole;
        if (forms_pairs[pair].first < first ||
            (forms_pairs[pair].first == first && forms_pairs[pair].second < second))
            low = mid + 1;
        else
            high = mid;
    }
    return 0;
}

/* Put each stretch of combining characters in the order of their classes, equals as they stand.  By
 * counting, since a hostile text may have a hundred thousand on one letter. */
static void order_marks(struct run *r)
{
    uint32_t *sorted = NULL;
    size_t capacity = 0;
    for (size_t i = 0; i < r->n;) {
        size_t end = i, count[257] = {0};
        bool in_order = true;
        for (; end < r->n && r->class[end]; end++) {
            count[r->class[end] + 1]++;
            in_order = in_order && (end == i || r->class[end - 1] <= r->class[end]);
        }
        if (!in_order) {
            ARRAY_GROW(sorted, end - i, capacity);
            for (int k = 1; k < 257; k++)
                count[k] += count[k - 1];
            for (size_t j = i; j < end; j++)
                sorted[count[r->class[j]]++] = r->c[j];
            for (size_t j = i; j < end; j++) {
                r->c[j] = sorted[j - i];
                r->class[j] = combining_class(r->c[j]);
            }
        }
        i = end + (end == i);
    }
    free(sorted);
}

/* A character composes with the last starter unless one of its own class or a starter stands
 * between. */
static void compose_run(struct run *r)
{
    size_t kept = 0, starter = SIZE_MAX;
    for (size_t i = 0; i < r->n; i++) {
        uint32_t c = r->c[i];
        uint8_t class = r->class[i];
        bool blocked = starter == SIZE_MAX || (kept - 1 > starter && r->class[kept - 1] >= class);
        uint32_t whole = blocked ? 0 : compose(r->c[starter], c);
        if (whole) {
            r->c[starter] = whole;
            continue;
        }
        if (class == 0)
            starter = kept;
        r->c[kept] = c;
        r->class[kept++] = class;
    }
    r->n = kept;
}

static void flush(struct run *r, struct buf *out, bool composed)
{
    order_marks(r);
    if (composed)
        compose_run(r);
    for (size_t i = 0; i < r->n; i++) {
        char s[4];
        buf_add(out, s, utf8_encode(s, r->c[i]));
    }
    r->n = 0;
}

bool forms_may_change(enum form form, const char *text, size_t n)
{
    /* The first byte of U+0300, U+00C0, U+00A0: below stands nothing that the form knows. */
    unsigned char least = form == FORM_C ? 0xcc : form == FORM_D ? 0xc3 : 0xc2;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] >= least)
            return true;
    return false;
}

void forms_append(struct buf *out, enum form form, const char *text, size_t n)
{
    bool composed = form == FORM_C || form == FORM_KC, compatibly = form == FORM_KC || form == FORM_KD;
    struct run run = {0};
    for (size_t i = 0; i < n;) {
        size_t k = utf8_char_len(text + i, n - i);
        if (k == 0) {
            flush(&run, out, composed);
            buf_add(out, text + i++, 1);
            continue;
        }
        /* Nothing composes with a character below U+0300 that follows it: the run may end before
         * it. */
        uint32_t c = utf8_decode(text + i, k);
        if (c < 0x300 && run.n)
            flush(&run, out, composed);
        decompose(&run, c, compatibly);
        i += k;
    }
    flush(&run, out, composed);
    free(run.c);
    free(run.class);
}
