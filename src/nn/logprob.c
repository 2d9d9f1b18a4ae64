#include "nn/logprob.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/product.h"
#include "nn/scratch.h"
#include "util/mem.h"

/* Columns of a chunk, and rows that are worked on together: constants of the order of summation (chunk) and of
 * memory (rows). */
#define CHUNK 1024
#define ROWS 512

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* A running sum over chunks: exps are relative to the largest logit so far. */
struct running {
    float max, sum, weighted; /* weighted: sum of exp(l) l, for the entropy */
    int32_t best;
};

/* slopes (rows, ld), out: the cap's; NULL: not wanted, or there is no cap. */
static void chunk_logits(float *logits, float *slopes, size_t ld, const float *h, size_t rows, const struct weight *w, size_t from,
                         size_t n, float cap, float inverse_temperature)
{
    const struct kernel *k = kernel();
    struct weight part = weight_rows(w, from, n);
    struct product p = {.y = logits, .y_ld = ld, .rows = rows, .columns = n, .scale = cap > 0 ? 1 : inverse_temperature,
                        .terms = {term_forward(h, &part)}, .n_terms = 1};
    products_run(&p, 1);
    if (cap == 0)
        return;
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < rows; r++) {
        float *row = logits + r * ld;
        k->softcap(row, cap, n);
        if (slopes) {
            for (size_t i = 0; i < n; i++)
                slopes[r * ld + i] = 1;
            k->softcap_backward(slopes + r * ld, row, cap, n);
        }
        k->scale(row, inverse_temperature, n);
    }
}

static void multiply(float *x, const float *by, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= by[i];
}

/* Take a chunk of one row's logits into its running sum.  exps: exp(l - max), out (may be the logits
 * themselves).  Returns what the former chunks' exps must be multiplied by. */
static float absorb(struct running *s, float *exps, const float *logits, size_t from, size_t n)
{
    const struct kernel *k = kernel();
    float max = k->max(logits, n), keep = 1;
    if (max > s->max) {
        size_t i = 0;
        while (i + 1 < n && logits[i] != max)
            i++;
        s->best = (int32_t)(from + i);
        k->exp_sum(&keep, &s->max, max, 1);
        s->max = max;
    }
    float copy[CHUNK];
    memcpy(copy, logits, n * sizeof(float));
    s->sum = s->sum * keep + k->exp_sum(exps, logits, s->max, n);
    s->weighted = s->weighted * keep + k->dot(exps, copy, n);
    return keep;
}

static struct logprob_row finish(const struct running *s)
{
    double lse = (double)s->max + log((double)s->sum);
    return (struct logprob_row){
        .max = s->max, .lse = lse, .entropy = (float)(lse - (double)s->weighted / (double)s->sum), .best = s->best};
}

static void start(struct running *s, size_t rows)
{
    for (size_t r = 0; r < rows; r++)
        s[r] = (struct running){.max = -INFINITY};
}

/* y (rows, width) += x (rows, n) W[from .. from + n), with x's rows ld apart. */
static void add_mixture(float *y, const float *x, size_t ld, size_t rows, const struct weight *w, size_t from, size_t n)
{
    struct weight part = weight_rows(w, from, n);
    struct product p = {.y = y, .start = y, .y_ld = w->in, .rows = rows, .columns = w->in,
                        .terms = {term_backward(x, &part)}, .n_terms = 1};
    p.terms[0].x_row = ld;
    products_run(&p, 1);
}

static void forward_rows(float *logp, struct logprob_row *rows, float *mean_w, const float *h, size_t n_rows,
                         const struct target *targets, size_t n_targets, size_t first_row, const struct weight *w,
                         float cap, float inverse_temperature)
{
    const struct kernel *k = kernel();
    size_t width = w->in;
    float *logits = scratch(SCRATCH_LOGPROB, 2 * n_rows * CHUNK), *slopes = cap > 0 && mean_w ? logits + n_rows * CHUNK : NULL;
    struct running *sums = xmalloc(n_rows * sizeof *sums);
    start(sums, n_rows);
    if (mean_w)
        memset(mean_w, 0, n_rows * width * sizeof(float));
    for (size_t from = 0; from < w->out; from += CHUNK) {
        size_t n = smaller(CHUNK, w->out - from);
        chunk_logits(logits, slopes, CHUNK, h, n_rows, w, from, n, cap, inverse_temperature);
        for (size_t i = 0; i < n_targets; i++) {
            size_t t = (size_t)targets[i].token;
            if (t >= from && t < from + n)
                logp[i] = logits[(targets[i].row - first_row) * CHUNK + t - from];
        }
#pragma omp parallel for schedule(static)
        for (size_t r = 0; r < n_rows; r++) {
            float keep = absorb(&sums[r], logits + r * CHUNK, logits + r * CHUNK, from, n);
            if (mean_w && keep != 1)
                k->scale(mean_w + r * width, keep, width);
            if (slopes)
                multiply(logits + r * CHUNK, slopes + r * CHUNK, n);
        }
        if (mean_w)
            add_mixture(mean_w, logits, CHUNK, n_rows, w, from, n);
    }
    for (size_t r = 0; r < n_rows; r++) {
        rows[r] = finish(&sums[r]);
        if (mean_w)
            k->scale(mean_w + r * width, 1.0f / sums[r].sum, width);
    }
    for (size_t i = 0; i < n_targets; i++)
        logp[i] = (float)((double)logp[i] - rows[targets[i].row - first_row].lse);
    free(sums);
}

/* The targets of rows first .. stop; advances *at past them. */
static size_t targets_of(const struct target *targets, size_t n_targets, size_t *at, size_t stop)
{
    size_t n = 0;
    while (*at < n_targets && targets[*at].row < stop) {
        (*at)++;
        n++;
    }
    return n;
}

void logprob_forward(float *logp, struct logprob_row *rows, float *mean_w, const float *h, size_t n_rows,
                     const struct target *targets, size_t n_targets, const struct weight *w, float cap, float temperature)
{
    size_t at = 0;
    for (size_t first = 0; first < n_rows; first += ROWS) {
        size_t n = smaller(ROWS, n_rows - first), from = at, count = targets_of(targets, n_targets, &at, first + n);
        forward_rows(logp + from, rows + first, mean_w ? mean_w + first * w->in : NULL, h + first * w->in, n,
                     targets + from, count, first, w, cap, 1.0f / temperature);
    }
}

/* The projection's own gradient: dl_v = sum of the row's dlogp times (1[v = t] - p_v), logits computed anew. */
static void backward_projection(float *dw, const float *dlogp, const float *row_sum, const struct logprob_row *rows,
                                const float *h, size_t n_rows, const struct target *targets, size_t n_targets,
                                size_t first_row, const struct weight *w, float cap, float inverse_temperature)
{
    const struct kernel *k = kernel();
    float *dl = scratch(SCRATCH_LOGPROB, 2 * n_rows * CHUNK), *slopes = cap > 0 ? dl + n_rows * CHUNK : NULL;
    for (size_t from = 0; from < w->out; from += CHUNK) {
        size_t n = smaller(CHUNK, w->out - from);
        chunk_logits(dl, slopes, CHUNK, h, n_rows, w, from, n, cap, inverse_temperature);
#pragma omp parallel for schedule(static)
        for (size_t r = 0; r < n_rows; r++)
            k->exp_scale(dl + r * CHUNK, dl + r * CHUNK, (float)rows[r].lse, -row_sum[r] * inverse_temperature, n);
        for (size_t i = 0; i < n_targets; i++) {
            size_t t = (size_t)targets[i].token;
            if (t >= from && t < from + n)
                dl[(targets[i].row - first_row) * CHUNK + t - from] += dlogp[i] * inverse_temperature;
        }
        for (size_t r = 0; slopes && r < n_rows; r++)
            multiply(dl + r * CHUNK, slopes + r * CHUNK, n);
        struct product p = {.y = dw + from * w->in, .start = dw + from * w->in, .y_ld = w->in, .rows = n, .columns = w->in,
                            .terms = {term_weight(dl, CHUNK, h, n_rows, w->in)}, .n_terms = 1};
        products_run(&p, 1);
    }
}

void logprob_backward(float *dh, float *dw, const float *dlogp, const struct logprob_row *rows, const float *mean_w,
                      const float *h, size_t n_rows, const struct target *targets, size_t n_targets,
                      const struct weight *w, float cap, float temperature)
{
    const struct kernel *k = kernel();
    size_t width = w->in, at = 0;
    float *row_sum = xcalloc(n_rows, sizeof *row_sum), inverse = 1.0f / temperature;
    float *w_t = xmalloc(width * sizeof *w_t);
    memset(dh, 0, n_rows * width * sizeof(float));
    for (size_t i = 0; i < n_targets; i++) {
        size_t r = targets[i].row;
        weight_row(w, (size_t)targets[i].token, w_t);
        float d = dlogp[i] * inverse;
        if (cap > 0) {
            float logit = k->dot(h + r * width, w_t, width);
            k->softcap(&logit, cap, 1);
            k->softcap_backward(&d, &logit, cap, 1);
        }
        k->axpy(dh + r * width, d, w_t, width);
        row_sum[r] += dlogp[i];
    }
    for (size_t r = 0; r < n_rows; r++)
        k->axpy(dh + r * width, -row_sum[r] * inverse, mean_w + r * width, width);
    for (size_t first = 0; dw && first < n_rows; first += ROWS) {
        size_t n = smaller(ROWS, n_rows - first), from = at, count = targets_of(targets, n_targets, &at, first + n);
        backward_projection(dw, dlogp + from, row_sum + first, rows + first, h + first * width, n, targets + from,
                            count, first, w, cap, inverse);
    }
    free(w_t);
    free(row_sum);
}

/* What is known of a row of logits that is there as a whole. */
static struct logprob_row describe(const float *logits, size_t vocabulary)
{
    struct running s;
    float exps[CHUNK];
    start(&s, 1);
    for (size_t from = 0; from < vocabulary; from += CHUNK)
        absorb(&s, exps, logits + from, from, smaller(CHUNK, vocabulary - from));
    return finish(&s);
}

void logits_forward(float *logits, struct logprob_row *rows, const float *h, size_t n_rows, const struct weight *w, float cap,
                    const float *temperatures)
{
    size_t vocabulary = w->out;
    chunk_logits(logits, NULL, vocabulary, h, n_rows, w, 0, vocabulary, cap, 1.0f);
#pragma omp parallel for schedule(static)
    for (size_t r = 0; r < n_rows; r++) {
        kernel()->scale(logits + r * vocabulary, 1.0f / temperatures[r], vocabulary);
        rows[r] = describe(logits + r * vocabulary, vocabulary);
    }
}

void logits_mix(float *logits, struct logprob_row *row, const float *other, float coef, size_t vocabulary)
{
    kernel()->scale(logits, 1.0f - coef, vocabulary);
    kernel()->axpy(logits, coef, other, vocabulary);
    *row = describe(logits, vocabulary);
}

void projection_mean(float *mean, const struct weight *w)
{
    const size_t block = 2048 / PANEL, panels = panels_of(w->out), blocks = (panels + block - 1) / block;
    double *sums = xcalloc(blocks * w->in, sizeof *sums);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < blocks; i++)
        for (size_t p = i * block; p < smaller((i + 1) * block, panels); p++) {
            const float *panel = weight_tile_forward(w, p, 0, w->in, scratch(SCRATCH_TILE, w->in * PANEL));
            size_t cols = smaller(PANEL, w->out - p * PANEL);
            for (size_t j = 0; j < w->in; j++)
                for (size_t c = 0; c < cols; c++)
                    sums[i * w->in + j] += (double)panel[j * PANEL + c];
        }
    for (size_t j = 0; j < w->in; j++) {
        double sum = 0;
        for (size_t i = 0; i < blocks; i++)
            sum += sums[i * w->in + j];
        mean[j] = (float)(sum / (double)w->out);
    }
    free(sums);
}
