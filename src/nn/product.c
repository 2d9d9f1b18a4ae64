#include "nn/product.h"

#include <omp.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "nn/scratch.h"
#include "util/mem.h"

/* Rows that are worked on together: packed x of so many fits a cache. */
#define ROWS 512

/* So few rows are taken as they lie. */
#define FEW 4

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t depth(const struct term *t)
{
    return t->turned ? t->w.out : t->w.in;
}

struct term term_forward(const float *x, const struct weight *w)
{
    return (struct term){.x = x, .x_row = w->in, .x_col = 1, .w = *w};
}

struct term term_backward(const float *dy, const struct weight *w)
{
    return (struct term){.x = dy, .x_row = w->out, .x_col = 1, .w = *w, .turned = true};
}

struct term term_weight(const float *dy, size_t dy_ld, const float *x, size_t rows, size_t in)
{
    return (struct term){.x = dy, .x_row = 1, .x_col = dy_ld, .w = weight_of_floats(x, rows, in), .turned = true};
}

/* Whether a tile's rows of x, taken as they lie, would push each other out of the nearest cache (64 sets of 8 lines at
 * least): columns always, rows at distances that few sets share. */
static bool wants_packing(const struct term *t, size_t rows)
{
    size_t bytes = t->x_row * sizeof(float), sets = 64;
    if (rows <= FEW)
        return false;
    if (t->x_col != 1)
        return true;
    if (bytes % 64)
        return false;
    for (size_t lines = bytes / 64; sets > 1 && lines % 2 == 0; lines /= 2)
        sets /= 2;
    return 8 * sets < 2 * kernel()->tile_rows;
}

/* x of one or more terms, `rows` rows of it, packed into strips. */
struct packed {
    const float *x;
    size_t x_row, x_col, k, rows;
    float *strips;
};

/* A part of a product's block of rows: one panel of columns, n rows from `first`. */
struct unit {
    const struct product *p;
    const struct packed *packed[PRODUCT_TERMS];
    size_t first, n, panel, strip; /* strip: the packed row that `first` is */
    double cost;
};

/* Columns of its panel that the product has. */
static size_t columns_of(const struct unit *u)
{
    return smaller(PANEL, u->p->columns - u->panel * PANEL);
}

/* Rows of whole register tiles, which these rows fill. */
static size_t whole_tiles(size_t rows)
{
    size_t tile = kernel()->tile_rows;
    return (rows + tile - 1) / tile * tile;
}

struct block {
    struct packed *packed;
    size_t n_packed, floats;
    struct unit *units;
    size_t n_units;
    double cost;
};

/* The packed x of a term, shared with a term that has the same. */
static size_t find_packed(struct block *b, const struct term *t, size_t first, size_t rows)
{
    const float *x = t->x + first * t->x_row;
    for (size_t i = 0; i < b->n_packed; i++) {
        const struct packed *p = &b->packed[i];
        if (p->x == x && p->x_row == t->x_row && p->x_col == t->x_col && p->k == depth(t) && p->rows == rows)
            return i;
    }
    b->packed[b->n_packed] = (struct packed){.x = x, .x_row = t->x_row, .x_col = t->x_col, .k = depth(t), .rows = rows};
    b->floats += whole_tiles(rows) * depth(t);
    return b->n_packed++;
}

/* The units of rows first .. of a product, which are cut into parts. */
static void add_units(struct block *b, const struct product *p, size_t first, size_t parts)
{
    size_t rows = smaller(ROWS, p->rows - first), tile = kernel()->tile_rows, panels = panels_of(p->columns);
    size_t part = whole_tiles((rows + parts - 1) / parts), total = 0;
    struct unit u = {.p = p};
    for (size_t i = 0; i < p->n_terms; i++) {
        total += depth(&p->terms[i]);
        if (wants_packing(&p->terms[i], rows))
            u.packed[i] = &b->packed[find_packed(b, &p->terms[i], first, rows)];
    }
    for (size_t from = 0; from < rows; from += part)
        for (u.panel = 0; u.panel < panels; u.panel++) {
            u.first = first + from;
            u.strip = from / tile;
            u.n = smaller(part, rows - from);
            u.cost = (double)(u.n * total);
            b->cost += u.cost;
            b->units[b->n_units++] = u;
        }
}

/* ---- a thread's work: panels of a product, in pieces that stay in its own cache (half a megabyte and more) ---- */

/* Panels that go through the same rows of x one after the other, k of them at a time, and rows. */
#define GROUP 2
#define NEAR_K 1024
#define NEAR_ROWS 48

/* Where few rows pass, a piece of a panel should not leave the nearest cache before the last of them is through; more panels go through
 * the same x then, which comes from further away than they do. */
#define SHORT_ROWS 48
#define SHORT_K 128
#define SHORT_GROUP 4

/* Some k of a panel. */
struct piece {
    const float *data;
    size_t ld;
};

static struct piece piece_of(const struct term *t, const struct unit *u, size_t from, size_t n, float *room)
{
    if (!t->turned)
        return (struct piece){weight_tile_forward(&t->w, u->panel, from, n, room), PANEL};
    if (t->w.type == DTYPE_F32 && !t->w.panels && columns_of(u) == PANEL && u->n <= 2 * kernel()->tile_rows) /* not worth a copy */
        return (struct piece){(const float *)t->w.data + from * t->w.in + u->panel * PANEL, t->w.in};
    return (struct piece){weight_tile_backward(&t->w, u->panel, from, n, room), PANEL};
}

/* A piece of a panel times rows first .. first + n of the unit. */
static void multiply(const struct unit *u, size_t which, const float *start, struct piece piece, size_t from, size_t depth_here,
                     size_t first, size_t n)
{
    const struct kernel *k = kernel();
    const struct product *p = u->p;
    const struct term *t = &p->terms[which];
    size_t at = (u->first + first) * p->y_ld + u->panel * PANEL;
    float *y = p->y + at;
    start = start ? start + at : NULL;
    if (u->packed[which]) {
        size_t strip = k->tile_rows * depth(t);
        const float *x = u->packed[which]->strips + (u->strip + first / k->tile_rows) * strip + from * k->tile_rows;
        k->gemm_strips(y, p->y_ld, start, x, strip, piece.data, piece.ld, depth_here, n, columns_of(u));
    } else {
        const float *x = t->x + (u->first + first) * t->x_row + from * t->x_col;
        k->gemm(y, p->y_ld, start, x, t->x_row, t->x_col, piece.data, piece.ld, depth_here, n, columns_of(u));
    }
}

/* One term of a few rows through packed panels, unpacked on the way; false: not for such. */
static bool run_few(const struct unit *u, size_t n_units, size_t which, const float *start)
{
    const struct kernel *k = kernel();
    const struct product *p = u->p;
    const struct term *t = &p->terms[which];
    if (t->turned || !t->w.panels || panel_is_plain(t->w.type) || u->packed[which] || u->n > k->few_rows)
        return false;
    for (size_t i = 0; i < n_units; i++) {
        size_t at = u[i].first * p->y_ld + u[i].panel * PANEL;
        k->gemm_few(p->y + at, p->y_ld, start ? start + at : NULL, t->x + u->first * t->x_row, t->x_row,
                    t->w.panels + u[i].panel * panel_bytes(t->w.type, depth(t)), t->w.type, depth(t), u->n,
                    columns_of(&u[i]));
    }
    return true;
}

/* Neighbouring units of the same rows. */
static void run_units(const struct unit *u, size_t n_units)
{
    const struct product *p = u->p;
    const float *start = p->start;
    float *room = scratch(SCRATCH_TILE, SHORT_GROUP * NEAR_K * PANEL);
    for (size_t which = 0; which < p->n_terms; which++, start = p->y) {
        const struct term *t = &p->terms[which];
        if (run_few(u, n_units, which, start))
            continue;
        /* stored blocks can be wider than a short piece */
        bool short_pieces = u->n <= SHORT_ROWS && (t->turned || t->w.panels || t->w.type == DTYPE_F32);
        size_t step = short_pieces ? SHORT_K : NEAR_K;
        for (size_t from = 0; from < depth(t); from += step, start = p->y) {
            size_t some = smaller(step, depth(t) - from);
            struct piece pieces[SHORT_GROUP];
            for (size_t i = 0; i < n_units; i++) {
                pieces[i] = piece_of(t, &u[i], from, some, room + (short_pieces ? 0 : i) * NEAR_K * PANEL);
                if (short_pieces)
                    multiply(&u[i], which, start, pieces[i], from, some, 0, u->n);
            }
            for (size_t first = 0; !short_pieces && first < u->n; first += NEAR_ROWS)
                for (size_t i = 0; i < n_units; i++)
                    multiply(&u[i], which, start, pieces[i], from, some, first, smaller(NEAR_ROWS, u->n - first));
        }
    }
    for (size_t i = 0; i < n_units && p->scale != 0 && p->scale != 1; i++)
        for (size_t r = 0; r < u->n; r++)
            kernel()->scale(p->y + (u->first + r) * p->y_ld + u[i].panel * PANEL, p->scale,
                            columns_of(&u[i]));
}

/* ---- who does which units: a stretch of about the same cost each, and then what others have not come to ---- */

/* Units from .. to of a block that nobody has taken yet, in one word: from in its lower half. */
typedef _Atomic uint64_t stretch;

static void stretch_set(stretch *s, size_t from, size_t to)
{
    atomic_store_explicit(s, (uint64_t)to << 32 | from, memory_order_relaxed);
}

/* The owner takes units that go together from the front, others one from the back, so that they meet at the end only.
 * Returns how many, the first of them in *at. */
static size_t take(stretch *s, const struct block *b, bool own, size_t *at)
{
    uint64_t now = atomic_load_explicit(s, memory_order_relaxed);
    for (;;) {
        size_t from = (uint32_t)now, to = now >> 32, n = 1;
        if (from >= to)
            return 0;
        const struct unit *u = &b->units[from];
        while (own && n < (u->n <= SHORT_ROWS ? SHORT_GROUP : GROUP) && from + n < to && u[n].p == u->p && u[n].first == u->first)
            n++;
        *at = own ? from : to - 1;
        uint64_t rest = own ? (uint64_t)to << 32 | (from + n) : (uint64_t)(to - 1) << 32 | from;
        if (atomic_compare_exchange_weak_explicit(s, &now, rest, memory_order_relaxed, memory_order_relaxed))
            return n;
    }
}

/* Cut the block's units into n stretches. */
static void share_out(stretch *s, size_t n, const struct block *b)
{
    double done = 0;
    for (size_t i = 0, from = 0, at = 0; i < n; i++, from = at) {
        while (at < b->n_units && (i + 1 == n || done + 0.5 * b->units[at].cost < b->cost * (double)(i + 1) / (double)n))
            done += b->units[at++].cost;
        stretch_set(&s[i], from, at);
    }
}

static void run_block(struct block *b, stretch *stretches, size_t threads)
{
    const struct kernel *k = kernel();
    float *strips = b->n_packed ? scratch(SCRATCH_STRIPS, b->floats) : NULL;
    for (size_t i = 0; i < b->n_packed; i++) {
        struct packed *p = &b->packed[i];
        p->strips = strips;
        strips += whole_tiles(p->rows) * p->k;
    }
    share_out(stretches, threads, b);
#pragma omp parallel num_threads((int)threads)
    {
        for (size_t i = 0; i < b->n_packed; i++) {
            const struct packed *p = &b->packed[i];
#pragma omp for schedule(static) nowait
            for (size_t r = 0; r < p->rows; r += k->tile_rows)
                k->pack(p->strips + r * p->k, p->x + r * p->x_row, p->x_row, p->x_col, p->k,
                        smaller(k->tile_rows, p->rows - r));
        }
        if (b->n_packed) {
#pragma omp barrier
        }
        size_t me = (size_t)omp_get_thread_num(), at;
        for (size_t i = 0, n; i < threads; i++)
            while ((n = take(&stretches[(me + i) % threads], b, i == 0, &at)))
                run_units(&b->units[at], n);
    }
}

void products_run(const struct product *p, size_t n)
{
    size_t rows = 0, panels = 0, terms = 0, threads = (size_t)omp_get_max_threads();
    for (size_t i = 0; i < n; i++) {
        rows = p[i].rows > rows ? p[i].rows : rows;
        panels += panels_of(p[i].columns);
        terms += p[i].n_terms;
    }
    size_t parts = threads > 1 && panels < 4 * threads && rows >= 24 * threads ? threads : 1;
    stretch *stretches = xmalloc(threads * sizeof *stretches);
    struct block b = {.packed = xmalloc(terms * sizeof *b.packed), .units = xmalloc(panels * parts * sizeof *b.units)};
    for (size_t first = 0; first < rows; first += ROWS) {
        b.n_packed = b.n_units = b.floats = 0;
        b.cost = 0;
        for (size_t i = 0; i < n; i++)
            if (first < p[i].rows)
                add_units(&b, &p[i], first, parts);
        run_block(&b, stretches, threads);
    }
    free(b.packed);
    free(b.units);
    free(stretches);
}
