#include "eval/baseline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "util/textstats.h"
#include "util/mem.h"
#include "util/rng.h"

enum { FOLDS = 5, MAX_ITERATIONS = 300, HISTORY = 8 };

static const double strengths[] = {0.1, 1, 10, 100};
enum { N_STRENGTHS = sizeof strengths / sizeof *strengths };

/* The differences f(a) - f(b), a row a pair, sparse: row i begins at entry start[i]. */
struct design {
    size_t rows, columns, capacity;
    size_t *start;
    struct entry {
        uint32_t column;
        float x;
    } *entry;
};

/* sigmoid(theta . x) fitted to target y with weight w; rows with weight 0 are not read. */
struct problem {
    const struct design *x;
    const double *y, *w; /* (rows) */
    double l2;
};

static void design_release(struct design *d)
{
    free(d->start);
    free(d->entry);
    *d = (struct design){0};
}

static void design_add(struct design *d, size_t *n, uint32_t column, double x)
{
    ARRAY_GROW(d->entry, *n + 1, d->capacity);
    d->entry[(*n)++] = (struct entry){column, (float)x};
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static double margin(const struct design *d, size_t row, const double *theta)
{
    double z = 0;
    for (size_t k = d->start[row]; k < d->start[row + 1]; k++)
        z += theta[d->entry[k].column] * (double)d->entry[k].x;
    return z;
}

/* -(y log sigmoid(z) + (1 - y) log sigmoid(-z)), without overflow. */
static double log_loss(double z, double y)
{
    return fmax(z, 0) - y * z + log1p(exp(-fabs(z)));
}

/* sum_i w_i log_loss(z_i, y_i) + l2 / 2 |theta|^2, and its gradient. */
static double objective(double *grad, const struct problem *p, const double *theta)
{
    const struct design *d = p->x;
    double loss = 0.5 * p->l2 * dot(theta, theta, d->columns);
    for (size_t j = 0; j < d->columns; j++)
        grad[j] = p->l2 * theta[j];
    for (size_t i = 0; i < d->rows; i++) {
        if (p->w[i] == 0)
            continue;
        double z = margin(d, i, theta);
        loss += p->w[i] * log_loss(z, p->y[i]);
        double dz = p->w[i] * (1 / (1 + exp(-z)) - p->y[i]);
        for (size_t k = d->start[i]; k < d->start[i + 1]; k++)
            grad[d->entry[k].column] += dz * (double)d->entry[k].x;
    }
    return loss;
}

/* L-BFGS (Nocedal & Wright, algorithms 7.4 and 7.5): the last HISTORY steps s and gradient changes
 * y stand in for the curvature.  Steps are halved until the loss falls enough (Armijo). */
static void fit(double *theta, const struct problem *p)
{
    size_t n = p->x->columns;
    double *block = xcalloc((n + 1) * (4 + 2 * HISTORY), sizeof *block);
    double *grad = block, *direction = grad + n, *next = direction + n, *next_grad = next + n;
    double *s = next_grad + n, *y = s + HISTORY * n, rho[HISTORY], alpha[HISTORY];
    memset(theta, 0, n * sizeof *theta);
    double loss = objective(grad, p, theta);
    double tolerance = 1e-5 * fmax(1, sqrt(dot(grad, grad, n)));
    size_t kept = 0;
    for (int it = 0; it < MAX_ITERATIONS && sqrt(dot(grad, grad, n)) > tolerance; it++) {
        size_t depth = kept < HISTORY ? kept : HISTORY;
        memcpy(direction, grad, n * sizeof *grad);
        for (size_t k = kept; k-- > kept - depth;) {
            size_t h = k % HISTORY;
            alpha[h] = rho[h] * dot(s + h * n, direction, n);
            for (size_t j = 0; j < n; j++)
                direction[j] -= alpha[h] * y[h * n + j];
        }
        double scale = 1 / fmax(1, sqrt(dot(grad, grad, n)));
        if (kept) {
            size_t h = (kept - 1) % HISTORY;
            scale = 1 / (rho[h] * dot(y + h * n, y + h * n, n));
        }
        for (size_t j = 0; j < n; j++)
            direction[j] *= scale;
        for (size_t k = kept - depth; k < kept; k++) {
            size_t h = k % HISTORY;
            double beta = rho[h] * dot(y + h * n, direction, n);
            for (size_t j = 0; j < n; j++)
                direction[j] += (alpha[h] - beta) * s[h * n + j];
        }
        double slope = dot(grad, direction, n), step = 1, next_loss = loss;
        for (int halvings = 0; halvings < 40; halvings++, step *= 0.5) {
            for (size_t j = 0; j < n; j++)
                next[j] = theta[j] - step * direction[j];
            next_loss = objective(next_grad, p, next);
            if (next_loss <= loss - 1e-4 * step * slope)
                break;
        }
        if (!(next_loss < loss))
            break;
        size_t h = kept % HISTORY;
        for (size_t j = 0; j < n; j++) {
            s[h * n + j] = next[j] - theta[j];
            y[h * n + j] = next_grad[j] - grad[j];
        }
        double curvature = dot(s + h * n, y + h * n, n);
        if (curvature > 0) {
            rho[h] = 1 / curvature;
            kept++;
        }
        memcpy(theta, next, n * sizeof *theta);
        memcpy(grad, next_grad, n * sizeof *grad);
        loss = next_loss;
    }
    free(block);
}

/* ---- features ---- */

static void length_design(struct design *d, const struct baseline_pair *pairs, size_t n)
{
    *d = (struct design){.rows = n, .columns = 1, .start = xcalloc(n + 1, sizeof *d->start)};
    size_t entries = 0;
    for (size_t i = 0; i < n; i++) {
        double x = (double)text_word_count(pairs[i].a) - (double)text_word_count(pairs[i].b);
        if (x != 0)
            design_add(d, &entries, 0, x);
        d->start[i + 1] = entries;
    }
}

static void count_words(size_t **count, size_t *capacity, struct word_table *table,
                        const char *text)
{
    struct words w;
    words_init(&w, text);
    for (size_t i = 0; i < w.n; i++) {
        size_t known = table->n, id = word_table_id(table, w.word[i], true);
        ARRAY_GROW(*count, table->n, *capacity);
        (*count)[id] = id == known ? 1 : (*count)[id] + 1;
    }
    words_release(&w);
}

static void vocabulary_of(struct word_table *vocabulary, const struct baseline_pair *pairs,
                          size_t n)
{
    struct word_table all;
    size_t *count = NULL, capacity = 0;
    word_table_init(&all);
    word_table_init(vocabulary);
    for (size_t i = 0; i < n; i++) {
        count_words(&count, &capacity, &all, pairs[i].a);
        count_words(&count, &capacity, &all, pairs[i].b);
    }
    for (size_t k = 0; k < all.n; k++)
        if (count[k] >= 2)
            word_table_id(vocabulary, all.word[k], true);
    word_table_release(&all);
    free(count);
}

static void word_design(struct design *d, struct word_table *vocabulary,
                        const struct baseline_pair *pairs, size_t n)
{
    *d = (struct design){
        .rows = n, .columns = vocabulary->n, .start = xcalloc(n + 1, sizeof *d->start)};
    /* Entry of each word in the present row: those before the row's start are of earlier rows. */
    size_t *place = xcalloc(vocabulary->n + 1, sizeof *place), entries = 0;
    for (size_t k = 0; k < vocabulary->n; k++)
        place[k] = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        for (int side = 0; side < 2; side++) {
            struct words w;
            words_init(&w, side ? pairs[i].b : pairs[i].a);
            for (size_t k = 0; k < w.n; k++) {
                uint32_t id = word_table_id(vocabulary, w.word[k], false);
                if (id == WORD_TABLE_NONE)
                    continue;
                if (place[id] == SIZE_MAX || place[id] < d->start[i]) {
                    place[id] = entries;
                    design_add(d, &entries, id, 0);
                }
                d->entry[place[id]].x += side ? -1.0f : 1.0f;
            }
            words_release(&w);
        }
        d->start[i + 1] = entries;
    }
    free(place);
}

/* The strength with the lowest log-loss on the folds that were left out. */
static double choose_strength(const struct design *x, const double *y, const double *w,
                              const struct baseline_pair *pairs, uint32_t seed)
{
    size_t n = x->rows;
    struct word_table prompts;
    word_table_init(&prompts);
    size_t *group = xcalloc(n, sizeof *group);
    for (size_t i = 0; i < n; i++)
        group[i] = word_table_id(&prompts, pairs[i].prompt, true);
    size_t n_groups = prompts.n, folds = n_groups < FOLDS ? n_groups : FOLDS;
    size_t *place = xcalloc(n_groups, sizeof *place), best = 1;
    rng_permutation(place, n_groups, seed, RNG_SPLIT, 0);

    double loss[N_STRENGTHS] = {0};
    double *fold_w = xcalloc(n, sizeof *fold_w), *theta = xcalloc(x->columns + 1, sizeof *theta);
    for (size_t f = 0; f < folds && folds > 1; f++) {
        for (size_t i = 0; i < n; i++)
            fold_w[i] = place[group[i]] % folds == f ? 0 : w[i];
        for (size_t k = 0; k < N_STRENGTHS; k++) {
            fit(theta, &(struct problem){x, y, fold_w, strengths[k]});
            for (size_t i = 0; i < n; i++)
                if (place[group[i]] % folds == f)
                    loss[k] += w[i] * log_loss(margin(x, i, theta), y[i]);
        }
    }
    for (size_t k = 0; k < N_STRENGTHS; k++)
        if (loss[k] < loss[best])
            best = k;
    word_table_release(&prompts);
    free(group);
    free(place);
    free(fold_w);
    free(theta);
    return strengths[best];
}

/* ---- the two baselines ---- */

static int check(const struct baseline_pair *pairs, size_t n, const char *what, struct err *err)
{
    if (n == 0)
        return err_set(err, "the %s set has no pairs: give at least one", what);
    for (size_t i = 0; i < n; i++) {
        const struct baseline_pair *p = &pairs[i];
        if (!p->prompt || !p->a || !p->b)
            return err_set(err, "%s pair %zu: prompt, a and b must be texts", what, i + 1);
        if (!(p->p_a >= 0 && p->p_a <= 1))
            return err_set(err, "%s pair %zu: p_a is %g, but must be between 0 and 1", what, i + 1,
                           p->p_a);
        if (!(p->weight >= 0) || !isfinite(p->weight))
            return err_set(err, "%s pair %zu: weight is %g, but must be 0 or more", what, i + 1,
                           p->weight);
    }
    return 0;
}

static void targets_of(double **y, double **w, const struct baseline_pair *pairs, size_t n)
{
    *y = xcalloc(n, sizeof **y);
    *w = xcalloc(n, sizeof **w);
    for (size_t i = 0; i < n; i++) {
        (*y)[i] = pairs[i].p_a;
        (*w)[i] = pairs[i].weight;
    }
}

static void judge(struct baseline_result *out, double *correct, const struct design *x,
                  const double *theta, const struct baseline_pair *pairs)
{
    double right = 0;
    for (size_t i = 0; i < x->rows; i++) {
        double z = margin(x, i, theta), c = NAN;
        if (pairs[i].p_a != 0.5) {
            c = z == 0 ? 0.5 : (z > 0) == (pairs[i].p_a > 0.5);
            right += c;
            out->pairs++;
        }
        if (correct)
            correct[i] = c;
    }
    out->accuracy = stats_wilson(right, (double)out->pairs);
}

int baseline_length(struct baseline_result *out, double *correct, const struct baseline_pair *train,
                    size_t n_train, const struct baseline_pair *held_out, size_t n_held_out,
                    struct err *err)
{
    if (check(train, n_train, "training", err) || check(held_out, n_held_out, "held-out", err))
        return -1;
    struct design x, x_held_out;
    double *y, *w, theta;
    length_design(&x, train, n_train);
    length_design(&x_held_out, held_out, n_held_out);
    targets_of(&y, &w, train, n_train);
    /* One coefficient needs no more than what keeps it finite when length decides every pair. */
    *out = (struct baseline_result){.l2 = 1e-3};
    fit(&theta, &(struct problem){&x, y, w, out->l2});
    out->coefficient = theta;
    judge(out, correct, &x_held_out, &theta, held_out);
    free(y);
    free(w);
    design_release(&x);
    design_release(&x_held_out);
    return 0;
}

int baseline_words(struct baseline_result *out, double *correct, const struct baseline_pair *train,
                   size_t n_train, const struct baseline_pair *held_out, size_t n_held_out,
                   uint32_t seed, struct err *err)
{
    if (check(train, n_train, "training", err) || check(held_out, n_held_out, "held-out", err))
        return -1;
    struct word_table vocabulary;
    struct design x, x_held_out;
    double *y, *w;
    vocabulary_of(&vocabulary, train, n_train);
    word_design(&x, &vocabulary, train, n_train);
    word_design(&x_held_out, &vocabulary, held_out, n_held_out);
    targets_of(&y, &w, train, n_train);
    double *theta = xcalloc(vocabulary.n + 1, sizeof *theta);
    *out = (struct baseline_result){.coefficient = NAN, .vocabulary = vocabulary.n};
    out->l2 = choose_strength(&x, y, w, train, seed);
    fit(theta, &(struct problem){&x, y, w, out->l2});
    judge(out, correct, &x_held_out, theta, held_out);
    free(theta);
    free(y);
    free(w);
    design_release(&x);
    design_release(&x_held_out);
    word_table_release(&vocabulary);
    return 0;
}
