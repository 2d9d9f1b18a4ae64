/* The operations of src/nn, forward and backward: double twins against finite differences, then
 * the float code against the twins, in each instruction set. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/batch.h"
#include "nn/attention.h"
#include "nn/linear.h"
#include "nn/logprob.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "nn/rope.h"
#include "ref/check.h"
#include "ref/ref.h"
#include "util/mem.h"
#include "util/rng.h"

/* ---- the twins against finite differences ---- */

#define MAX_INPUTS 3

/* A prompt of three with completions of two and three, and another sequence of two. */
static const int32_t forest_10[10] = {-1, 0, 1, 2, 3, 2, 5, 6, -1, 8};
static const int32_t alone_1[1] = {-1};
static const float inv_freq_4[4] = {1.0f, 0.31f, 0.097f, 0.0123f};
static const struct ref_target targets_5[5] = {{0, 3}, {1, 0}, {1, 16}, {1, 7}, {2, 7}};

struct op {
    const char *name;
    size_t n[MAX_INPUTS], n_out; /* sizes of the inputs and of the output */
    void (*forward)(double *y, double *const *in, const struct op *o);
    void (*backward)(double *const *din, const double *dy, double *const *in, const struct op *o);
    size_t rows, out, in;
    struct ref_heads heads;
    const int32_t *before;
};

static void linear_f(double *y, double *const *in, const struct op *o)
{
    ref_linear_forward(y, in[0], in[1], o->rows, o->out, o->in);
}

static void linear_b(double *const *din, const double *dy, double *const *in, const struct op *o)
{
    ref_linear_backward(din[0], din[1], dy, in[0], in[1], o->rows, o->out, o->in);
}

static struct ref_lora lora_op(double *const *in, const struct op *o)
{
    return (struct ref_lora){o->out, o->in, 2, 0.715, in[1], in[2]};
}

static void lora_f(double *y, double *const *in, const struct op *o)
{
    struct ref_lora l = lora_op(in, o);
    memset(y, 0, o->n_out * sizeof *y);
    ref_lora_forward(y, in[0], &l, o->rows);
}

static void lora_b(double *const *din, const double *dy, double *const *in, const struct op *o)
{
    struct ref_lora l = lora_op(in, o);
    ref_lora_backward(din[0], din[1], din[2], dy, in[0], &l, o->rows);
}

static void rmsnorm_f(double *y, double *const *in, const struct op *o)
{
    ref_rmsnorm_forward(y, in[0], in[1], 0.0385, o->rows, o->in);
}

static void rmsnorm_b(double *const *din, const double *dy, double *const *in, const struct op *o)
{
    ref_rmsnorm_backward(din[0], din[1], dy, in[0], in[1], 0.0385, o->rows, o->in);
}

static void rope_f(double *y, double *const *in, const struct op *o)
{
    ref_rope_forward(y, in[0], o->before, inv_freq_4, o->rows, o->heads.heads, 4);
}

static void rope_b(double *const *din, const double *dy, double *const *in, const struct op *o)
{
    (void)in;
    ref_rope_backward(din[0], dy, o->before, inv_freq_4, o->rows, o->heads.heads, 4);
}

static void swiglu_f(double *y, double *const *in, const struct op *o)
{
    ref_swiglu_forward(y, in[0], in[1], o->n_out);
}

static void swiglu_b(double *const *din, const double *dy, double *const *in, const struct op *o)
{
    ref_swiglu_backward(din[0], din[1], dy, in[0], in[1], o->n_out);
}

static void attention_f(double *y, double *const *in, const struct op *o)
{
    ref_attention_forward(y, in[0], in[1], in[2], o->before, o->rows, &o->heads);
}

static void attention_b(double *const *din, const double *dy, double *const *in, const struct op *o)
{
    ref_attention_backward(din[0], din[1], din[2], dy, in[0], in[1], in[2], o->before, o->rows,
                           &o->heads);
}

static void logprob_f(double *y, double *const *in, const struct op *o)
{
    ref_logprob_forward(y, in[0], targets_5, 5, in[1], o->out, o->in, 0.7);
}

static void logprob_b(double *const *din, const double *dy, double *const *in, const struct op *o)
{
    ref_logprob_backward(din[0], din[1], dy, in[0], targets_5, 5, in[1], o->out, o->in, 0.7);
}

static void head_f(double *y, double *const *in, const struct op *o)
{
    ref_head_forward(y, in[0], in[1], o->rows, o->in);
}

static void head_b(double *const *din, const double *dy, double *const *in, const struct op *o)
{
    ref_head_backward(din[0], din[1], dy, in[0], in[1], o->rows, o->in);
}

static const struct op ops[] = {
    {"linear", {1 * 17, 5 * 17}, 1 * 5, linear_f, linear_b, .rows = 1, .out = 5, .in = 17},
    {"linear", {3 * 7, 17 * 7}, 3 * 17, linear_f, linear_b, .rows = 3, .out = 17, .in = 7},
    {"lora", {1 * 17, 2 * 17, 3 * 2}, 1 * 3, lora_f, lora_b, .rows = 1, .out = 3, .in = 17},
    {"lora", {4 * 5, 2 * 5, 17 * 2}, 4 * 17, lora_f, lora_b, .rows = 4, .out = 17, .in = 5},
    {"rmsnorm", {1 * 17, 17}, 1 * 17, rmsnorm_f, rmsnorm_b, .rows = 1, .in = 17},
    {"rmsnorm", {3 * 17, 17}, 3 * 17, rmsnorm_f, rmsnorm_b, .rows = 3, .in = 17},
    {"rope",
     {10 * 24},
     10 * 24,
     rope_f,
     rope_b,
     .rows = 10,
     .heads = {3, 3, 8},
     .before = forest_10},
    {"swiglu", {17, 17}, 17, swiglu_f, swiglu_b, .rows = 1},
    {"attention",
     {8, 8, 8},
     8,
     attention_f,
     attention_b,
     .rows = 1,
     .heads = {1, 1, 8},
     .before = alone_1},
    {"attention, groups of 1",
     {10 * 16, 10 * 16, 10 * 16},
     10 * 16,
     attention_f,
     attention_b,
     .rows = 10,
     .heads = {2, 2, 8},
     .before = forest_10},
    {"attention, groups of 3",
     {10 * 48, 10 * 16, 10 * 16},
     10 * 48,
     attention_f,
     attention_b,
     .rows = 10,
     .heads = {6, 2, 8},
     .before = forest_10},
    {"logprob", {3 * 5, 17 * 5}, 5, logprob_f, logprob_b, .rows = 3, .out = 17, .in = 5},
    {"head", {3 * 17, 17}, 3, head_f, head_b, .rows = 3, .in = 17},
};

/* An operation at work: dy . y is the function whose gradient its backward gives. */
struct trial {
    const struct op *op;
    double *in[MAX_INPUTS], *y, *dy;
};

static double objective(void *with)
{
    struct trial *t = with;
    double s = 0;
    t->op->forward(t->y, t->in, t->op);
    for (size_t i = 0; i < t->op->n_out; i++)
        s += t->dy[i] * t->y[i];
    return s;
}

static void twin_gradients(void **state)
{
    (void)state;
    for (const struct op *o = ops; o < ops + sizeof ops / sizeof *ops; o++) {
        checking("the twin of %s", o->name);
        struct trial t = {.op = o, .y = zeros(o->n_out), .dy = random_doubles(o->n_out, 1, 1.385)};
        double *din[MAX_INPUTS];
        for (uint32_t i = 0; i < MAX_INPUTS; i++) {
            t.in[i] = random_doubles(o->n[i], 2 + i, 0.815);
            din[i] = zeros(o->n[i]);
        }
        o->backward(din, t.dy, t.in, o);
        for (size_t i = 0; i < MAX_INPUTS; i++)
            for (size_t j = 0; j < o->n[i]; j++)
                expect_slope("input", din[i], o->n[i], j, &t.in[i][j], objective, &t);
    }
    checking("nothing");
}

/* ---- the float code against the twins ---- */

enum { COUNTS = 4 };
static const size_t row_counts[COUNTS] = {1, 7, 13, 65}, column_counts[COUNTS] = {1, 17, 33, 64};

static double largest(const float *x, size_t n)
{
    double m = 0;
    for (size_t i = 0; i < n; i++) {
        double a = fabs((double)x[i]);
        m = a > m ? a : m; /* with fmax, gcc 12 breaks off where it compiles for aarch64 */
    }
    return m;
}

/* n layers side by side; rank 0: without an adapter.  start: y goes on from something, dw is wanted. */
static void linears_case(size_t rows, size_t in, size_t n, const size_t *outs, const size_t *ranks, bool start)
{
    checking("%zu layers, %zu rows, %zu in, %zu out, rank %zu, start %d", n, rows, in, outs[0], ranks[0], start);
    float *x = random_floats(rows * in, 1, 0.915), *dx = constant_floats(rows * in, NAN);
    float *dx_fixed = constant_floats(rows * in, NAN);
    double *x2 = as_doubles(x, rows * in), *dx2 = zeros(rows * in);
    struct weight weights[LINEARS];
    struct linear layers[LINEARS], fixed[LINEARS];
    double *want_y[LINEARS], *want_dw[LINEARS], *want_da[LINEARS], *want_db[LINEARS];
    for (size_t i = 0; i < n; i++) {
        size_t out = outs[i], rank = ranks[i];
        uint32_t seed = 10 * (uint32_t)i;
        float *w = random_floats(out * in, seed + 2, 0.515), *dy = random_floats(rows * out, seed + 3, 1.315);
        float *y = start ? random_floats(rows * out, seed + 4, 1.1) : constant_floats(rows * out, NAN);
        float *dw = random_floats(out * in, seed + 5, 1.1);
        double *dy2 = as_doubles(dy, rows * out), *y2 = zeros(rows * out), *w2 = as_doubles(w, out * in);
        want_dw[i] = as_doubles(dw, out * in);
        weights[i] = weight_of_floats(w, out, in);
        layers[i] = (struct linear){.w = &weights[i], .start = start ? y : NULL, .y = y, .dy = dy, .dw = start ? dw : NULL};
        ref_linear_forward(y2, x2, w2, rows, out, in);
        ref_linear_backward(dx2, start ? want_dw[i] : NULL, dy2, x2, w2, rows, out, in);
        for (size_t k = 0; start && k < rows * out; k++)
            y2[k] += (double)y[k];
        if (rank) {
            float *a = random_floats(rank * in, seed + 6, 0.315), *b = random_floats(out * rank, seed + 7, 0.515);
            float *da = random_floats(rank * in, seed + 8, 1.1), *db = random_floats(out * rank, seed + 9, 1.1);
            struct ref_lora l2 = {out, in, rank, 1.625, as_doubles(a, rank * in), as_doubles(b, out * rank)};
            want_da[i] = as_doubles(da, rank * in);
            want_db[i] = as_doubles(db, out * rank);
            layers[i].lora = (struct lora){a, b, da, db, in, out, rank, 1.625f};
            layers[i].t = constant_floats(rows * rank, NAN);
            ref_lora_forward(y2, x2, &l2, rows);
            ref_lora_backward(dx2, want_da[i], want_db[i], dy2, x2, &l2, rows);
            ref_lora_backward(zeros(rows * in), want_da[i], want_db[i], dy2, x2, &l2, rows);
        }
        if (start)
            ref_linear_backward(zeros(rows * in), want_dw[i], dy2, x2, w2, rows, out, in);
        want_y[i] = y2;
        fixed[i] = layers[i];
        fixed[i].dw = fixed[i].lora.da = fixed[i].lora.db = NULL;
    }
    linears_forward(layers, n, x, rows);
    linears_backward(NULL, layers, n, x, rows);
    linears_backward(dx, layers, n, x, rows); /* the weights' gradients twice */
    linears_backward(dx_fixed, fixed, n, x, rows);
    expect_close("dx", dx, dx2, rows * in, 0);
    expect_same("dx where nothing is trained", dx_fixed, dx, rows * in);
    for (size_t i = 0; i < n; i++) {
        size_t out = outs[i], rank = ranks[i];
        expect_close("y", layers[i].y, want_y[i], rows * out, 0);
        if (start)
            expect_close("dw", layers[i].dw, want_dw[i], out * in, 0);
        if (rank) {
            expect_close("da", layers[i].lora.da, want_da[i], rank * in, 0);
            expect_close("db", layers[i].lora.db, want_db[i], out * rank, 0);
        }
    }
}

static void check_linear(void)
{
    static const size_t none[] = {0}, some[][LINEARS] = {{33, 64, 1}, {17, 300, 16}}, ranks[][LINEARS] = {{1, 5, 16}, {16, 0, 3}};
    for (int rows = 0; rows < COUNTS; rows++) {
        for (int out = 0; out < COUNTS; out++)
            for (int in = 0; in < COUNTS; in++) {
                linears_case(row_counts[rows], column_counts[in], 1, (const size_t[]){column_counts[out]}, none, false);
                linears_case(row_counts[rows], column_counts[in], 1, (const size_t[]){column_counts[out]}, none, true);
            }
        for (int i = 0; i < 2; i++)
            for (size_t n = 1; n <= LINEARS; n++)
                linears_case(row_counts[rows], 33, n, some[i], ranks[i], n % 2);
    }
    linears_case(65, 290, 2, some[1], ranks[1], true);
    linears_case(131, 1100, 2, some[0], ranks[0], true); /* in several pieces of rows and k */
    linears_case(29, 600, 3, (const size_t[]){700, 33, 160}, ranks[0], false);
    linears_case(531, 64, 3, some[0], ranks[0], false); /* more rows than are worked on together */
}


static void rmsnorm_case(size_t rows, size_t n, double spread)
{
    checking("rmsnorm, %zu rows of %zu, spread %g", rows, n, spread);
    float *x = random_floats(rows * n, 1, spread), *w = random_floats(n, 2, 0.515),
          *dy = random_floats(rows * n, 3, 1.315);
    float *y = constant_floats(rows * n, NAN), *again = constant_floats(rows * n, NAN),
          *s = constant_floats(2 * rows, NAN);
    float *dx = random_floats(rows * n, 4, 1 / spread), *dw = random_floats(n, 5, 1.1);
    double *x2 = as_doubles(x, rows * n), *w2 = as_doubles(w, n), *dy2 = as_doubles(dy, rows * n),
           *y2 = zeros(rows * n);
    double *dx2 = as_doubles(dx, rows * n), *dw2 = as_doubles(dw, n);
    float eps = 1.1e-5f;
    struct norm norm = {.w = w, .eps = eps, .n = n};
    norm_forward(y, s, x, &norm, rows);
    ref_rmsnorm_forward(y2, x2, w2, (double)eps, rows, n);
    expect_close("y", y, y2, rows * n, 0);
    norm_apply(again, x, &norm, s, rows);
    expect_same("y again", again, y, rows * n);
    norm_backward(dx, NULL, NULL, dy, x, &norm, s, rows);
    norm_backward(dx, dw, NULL, dy, x, &norm, s, rows);
    ref_rmsnorm_backward(dx2, NULL, dy2, x2, w2, (double)eps, rows, n);
    ref_rmsnorm_backward(dx2, dw2, dy2, x2, w2, (double)eps, rows, n);
    expect_close("dx", dx, dx2, rows * n, 0);
    expect_close("dw", dw, dw2, n, 0);
}

static void check_rmsnorm(void)
{
    for (int rows = 0; rows < COUNTS; rows++)
        for (int n = 0; n < COUNTS; n++) {
            rmsnorm_case(row_counts[rows], column_counts[n], 1.215);
            rmsnorm_case(row_counts[rows], column_counts[n], 0.0085); /* where eps is felt */
        }
}

static void rope_case(size_t rows, size_t heads, size_t half)
{
    checking("rope, %zu rows, %zu heads of %zu", rows, heads, 2 * half);
    float inv_freq[32];
    struct rope r;
    struct err err;
    size_t n = rows * heads * 2 * half;
    int32_t *before = zeroed(rows, sizeof *before), *pos = zeroed(rows, sizeof *pos);
    for (size_t i = 0; i < rows; i++) {
        before[i] = (int32_t)i - 1;
        pos[i] = (int32_t)i;
    }
    for (size_t i = 0; i < half; i++)
        inv_freq[i] = powf(10000.0f, -(float)i / (float)half);
    assert_int_equal(rope_init(&r, inv_freq, 2 * half, half, rows, 1, &err), 0);
    float *x = random_floats(n, 1, 1.115), *dy = random_floats(n, 2, 1.315);
    double *x2 = as_doubles(x, n), *dy2 = as_doubles(dy, n), *y2 = zeros(n), *dx2 = zeros(n);
    rope_rotate(&r, x, pos, rows, heads, false);
    ref_rope_forward(y2, x2, before, inv_freq, rows, heads, half);
    expect_close("y", x, y2, n, 0);
    rope_rotate(&r, dy, pos, rows, heads, true);
    ref_rope_backward(dx2, dy2, before, inv_freq, rows, heads, half);
    expect_close("dx", dy, dx2, n, 0);
    rope_release(&r);
}

static void check_rope(void)
{
    for (int rows = 0; rows < COUNTS; rows++) {
        rope_case(row_counts[rows], 1, 1);
        rope_case(row_counts[rows], 3, 17);
        rope_case(row_counts[rows], 2, 32);
    }
}

static void check_swiglu(void)
{
    for (int size = 0; size < COUNTS; size++) {
        size_t n = column_counts[size];
        checking("swiglu of %zu", n);
        float *gate = random_floats(n, 1, 3.15), *up = random_floats(n, 2, 1.215),
              *dh = random_floats(n, 3, 1.315);
        if (n > 8) {
            gate[1] = 95.5f;
            gate[3] = -95.5f;
            gate[5] = 0;
        }
        float *h = constant_floats(n, NAN), *dgate = constant_floats(n, NAN);
        double *gate2 = as_doubles(gate, n), *up2 = as_doubles(up, n), *dh2 = as_doubles(dh, n);
        double *h2 = zeros(n), *dgate2 = zeros(n), *dup2 = zeros(n);
        kernel()->swiglu(h, gate, up, n);
        ref_swiglu_forward(h2, gate2, up2, n);
        expect_close("h", h, h2, n, 0);
        kernel()->swiglu_backward(dgate, dh, dh, gate, up,
                                  n); /* dup in the place of dh, as the trunk has it */
        ref_swiglu_backward(dgate2, dup2, dh2, gate2, up2, n);
        expect_close("dgate", dgate, dgate2, n, 0);
        expect_close("dup", dh, dup2, n, 0);
    }
}

/* Segments in the order of batch_add: lengths (0 ends) and parents. */
struct forest {
    const char *name;
    size_t n[6];
    int parent[6];
};

static const struct forest forests[] = {
    {"one token", {1}, {-1}},
    {"13 tokens", {13}, {-1}},
    {"65 tokens", {65}, {-1}},
    {"130 tokens and 7", {130, 7}, {-1, -1}},
    {"a prompt of 70 with completions of 5, 60 and 1", {70, 5, 60, 1}, {-1, 0, 0, 0}},
    {"a prompt of 64 with completions of 1 and 65", {64, 1, 65}, {-1, 0, 0}},
    {"a chain of 40, 30 and 70", {40, 30, 70}, {-1, 0, 1}},
    {"two trees, one of three levels", {7, 3, 60, 2, 65, 9}, {-1, 0, 1, 1, -1, 4}},
};

static int32_t *plant(struct batch *b, const struct forest *f)
{
    int32_t *tokens = zeroed(200, sizeof *tokens);
    for (size_t i = 0; i < 6 && f->n[i]; i++)
        batch_add(b, tokens, f->n[i], f->parent[i]);
    int32_t *before = zeroed(b->n_rows, sizeof *before);
    for (size_t i = 0; i < b->n_runs; i++) {
        const struct run *r = &b->runs[i];
        for (size_t j = 1; j < r->n; j++)
            before[r->row + j] = (int32_t)(r->row + j - 1);
        before[r->row] = r->parent < 0 ? -1 : (int32_t)batch_last_row(b, r->parent);
    }
    return before;
}

static void attention_case(const struct forest *f, size_t heads, size_t kv_heads, size_t d)
{
    checking("attention over %s, %zu heads, %zu of keys, size %zu", f->name, heads, kv_heads, d);
    struct batch b = {0};
    int32_t *before = plant(&b, f);
    struct attention_shape s = {heads, kv_heads, d, 1.0f / sqrtf((float)d)};
    struct ref_heads s2 = {heads, kv_heads, d};
    size_t rows = b.n_rows, n = rows * heads * d, m = rows * kv_heads * d;
    float *q = random_floats(n, 1, 1.215), *k = random_floats(m, 2, 1.115),
          *v = random_floats(m, 3, 0.915);
    float *dout = random_floats(n, 4, 1.315), *out = constant_floats(n, NAN),
          *stats = constant_floats(2 * rows * heads, NAN);
    float *without = constant_floats(n, NAN);
    float *dq = constant_floats(n, NAN), *dk = constant_floats(m, NAN),
          *dv = constant_floats(m, NAN);
    float *layer =
        random_floats(b.n_tiles * kv_tile_floats(&s), 5, 1000); /* stale numbers of another batch */
    double *q2 = as_doubles(q, n), *k2 = as_doubles(k, m), *v2 = as_doubles(v, m),
           *dout2 = as_doubles(dout, n);
    double *out2 = zeros(n), *dq2 = zeros(n), *dk2 = zeros(m), *dv2 = zeros(m);
    kv_fill(layer, &s, b.runs, b.n_runs, k, v);
    attention_forward(out, stats, q, layer, &s, b.runs, b.n_runs);
    ref_attention_forward(out2, q2, k2, v2, before, rows, &s2);
    expect_close("out", out, out2, n, 0);
    attention_forward(without, NULL, q, layer, &s, b.runs, b.n_runs);
    expect_same("out without stats", without, out, n);
    attention_backward(dq, dk, dv, &(struct kv_gradients){0}, dout, out, stats, q, layer, &s, b.runs, b.n_runs);
    ref_attention_backward(dq2, dk2, dv2, dout2, q2, k2, v2, before, rows, &s2);
    double floor =
        rows == 1 ? 1 : 0; /* alone, its probability is 1 whatever q and k are: dq and dk are 0 */
    expect_close("dq", dq, dq2, n, floor);
    expect_close("dk", dk, dk2, m, floor);
    expect_close("dv", dv, dv2, m, 0);
    batch_release(&b);
}

static void check_attention(void)
{
    for (size_t i = 0; i < sizeof forests / sizeof *forests; i++) {
        attention_case(&forests[i], 2, 2, 8);
        attention_case(&forests[i], 3, 1, 33);
        attention_case(&forests[i], 6, 2, 17);
        attention_case(&forests[i], 4, 2, 64);
    }
}

struct logprob_case {
    size_t rows, vocab, width;
    float temperature;
    double spread; /* of the logits, about */
};

/* One row with three targets, one of three rows without any. */
static size_t make_targets(struct target *t, size_t rows, size_t vocab)
{
    size_t n = 0;
    for (size_t r = 0; r < rows; r++) {
        if (r % 3 == 1)
            continue;
        t[n++] = (struct target){
            r, (int32_t)rng_below((uint32_t)vocab, 9, RNG_TEST, (uint32_t)r, 0, 0, 0)};
        if (r == 0) {
            t[n++] = (struct target){r, (int32_t)vocab - 1};
            t[n++] = (struct target){r, (int32_t)vocab / 2};
        }
    }
    return n;
}

/* What is known of each row: of log-probs, and the same bits where logits are asked for. */
static void check_rows(const struct logprob_row *rows, const float *h, const double *h2,
                       const struct weight *w, const double *w2, const struct logprob_case *c)
{
    size_t vocab = c->vocab, width = c->width;
    float *logits = constant_floats(c->rows * vocab, NAN),
          *temperatures = constant_floats(c->rows, c->temperature);
    struct logprob_row *again = zeroed(c->rows, sizeof *again);
    double *p = zeros(vocab), *want = zeros(vocab);
    logits_forward(logits, again, h, c->rows, w, 0, temperatures);
    for (size_t r = 0; r < c->rows; r++) {
        double lse = ref_softmax(p, h2 + r * width, w2, vocab, width, (double)c->temperature),
               entropy = 0;
        size_t best = 0;
        for (size_t v = 0; v < vocab; v++) {
            want[v] = log(p[v]) + lse;
            entropy -= p[v] * log(p[v]);
            best = p[v] > p[best] ? v : best;
        }
        float got[3] = {rows[r].max, (float)rows[r].lse, rows[r].entropy};
        float same[4] = {again[r].max, (float)again[r].lse, again[r].entropy, (float)again[r].best};
        float as[4] = {got[0], got[1], got[2], (float)rows[r].best};
        double facts[3] = {want[best], lse, entropy};
        expect_close("logits", logits + r * vocab, want, vocab, c->spread);
        expect_close("a row's maximum, sum and entropy", got, facts, 3, c->spread);
        expect_same("a row of logits_forward", same, as, 4);
        assert_true(again[r].lse == rows[r].lse);
        assert_int_equal(rows[r].best, best);
    }
}

static void logprob_one(const struct logprob_case *c)
{
    checking("logprob, %zu rows, vocabulary %zu, width %zu, temperature %g, spread %g", c->rows,
             c->vocab, c->width, (double)c->temperature, c->spread);
    size_t rows = c->rows, vocab = c->vocab, width = c->width, n_h = rows * width,
           n_w = vocab * width;
    struct target *t = zeroed(rows + 2, sizeof *t);
    size_t n = make_targets(t, rows, vocab);
    struct ref_target *t2 = zeroed(n, sizeof *t2);
    for (size_t i = 0; i < n; i++)
        t2[i] = (struct ref_target){t[i].row, t[i].token};
    float *h = random_floats(n_h, 1, c->spread / sqrt((double)width)),
          *table = random_floats(n_w, 2, 1.015);
    float *dlogp = random_floats(n, 3, 1.315), *logp = constant_floats(n, NAN),
          *without = constant_floats(n, NAN);
    float *mean_w = constant_floats(n_h, NAN), *dh = constant_floats(n_h, NAN),
          *frozen = constant_floats(n_h, NAN);
    float *dw = random_floats(n_w, 4, 0.1);
    struct weight w = weight_of_floats(table, vocab, width);
    struct logprob_row *info = zeroed(rows, sizeof *info);
    double *h2 = as_doubles(h, n_h), *w2 = as_doubles(table, n_w), *dlogp2 = as_doubles(dlogp, n),
           *logp2 = zeros(n);
    double *dh2 = zeros(n_h), *dw2 = as_doubles(dw, n_w), temperature = (double)c->temperature;
    logprob_forward(without, info, NULL, h, rows, t, n, &w, 0, c->temperature);
    logprob_forward(logp, info, mean_w, h, rows, t, n, &w, 0, c->temperature);
    expect_same("logp without a gradient", without, logp, n);
    ref_logprob_forward(logp2, h2, t2, n, w2, vocab, width, temperature);
    expect_close("logp", logp, logp2, n, c->spread);
    check_rows(info, h, h2, &w, w2, c);
    logprob_backward(frozen, NULL, dlogp, info, mean_w, h, rows, t, n, &w, 0, c->temperature);
    logprob_backward(dh, dw, dlogp, info, mean_w, h, rows, t, n, &w, 0, c->temperature);
    ref_logprob_backward(dh2, dw2, dlogp2, h2, t2, n, w2, vocab, width, temperature);
    /* The gradient is a difference of two means of rows of w, and 0 for a vocabulary of one. */
    expect_close("dh", dh, dh2, n_h,
                 vocab == 1 ? largest(dlogp, n) / temperature * largest(table, n_w) : 0);
    expect_close("dw", dw, dw2, n_w,
                 vocab == 1 ? largest(dlogp, n) / temperature * largest(h, n_h) : 0);
    expect_same("dh of a frozen projection", frozen, dh, n_h);
}

static void check_logprob(void)
{
    for (int rows = 0; rows < COUNTS; rows++)
        for (int vocab = 0; vocab < COUNTS; vocab++)
            for (int width = 0; width < COUNTS; width++)
                logprob_one(&(struct logprob_case){row_counts[rows], column_counts[vocab],
                                                   column_counts[width], 0.7f, 2.15});
    logprob_one(
        &(struct logprob_case){7, 2500, 17, 1.0f, 3.15}); /* three chunks of the vocabulary */
    logprob_one(
        &(struct logprob_case){7, 1025, 33, 0.7f, 30.15}); /* one token in the last chunk; peaked */
    logprob_one(&(struct logprob_case){515, 33, 17, 1.315f,
                                       1.15}); /* more rows than are worked on together */
}

#define TEST(op)                                                                                   \
    static void test_##op(void **state)                                                            \
    {                                                                                              \
        (void)state;                                                                               \
        in_each_isa(check_##op);                                                                   \
    }
TEST(linear)
TEST(rmsnorm)
TEST(rope)
TEST(swiglu)
TEST(attention)
TEST(logprob)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twin_gradients), cmocka_unit_test(test_linear),
        cmocka_unit_test(test_rmsnorm),
        cmocka_unit_test(test_rope),      cmocka_unit_test(test_swiglu),
        cmocka_unit_test(test_attention), cmocka_unit_test(test_logprob),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
