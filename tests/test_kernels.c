/* The kernels: the same bits in each instruction set, sums in the order that kernel.h lays down,
 * exp against libm, and panels of weights against their rows. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/weight.h"
#include "ref/check.h"
#include "util/rng.h"

#define UNTOUCHED 12345.675f
#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* ---- products and sums, as kernel.h defines them ---- */

/* Of a product's start: what y holds, another array, or none. */
enum start { NO_START, IN_PLACE, ELSEWHERE };

static void product_by_definition(float *want, const float *start, size_t y_ld, const float *x, size_t x_row, size_t x_col,
                                  const float *panel, size_t panel_ld, size_t depth, size_t rows, size_t cols)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++) {
            float sum = start ? start[r * y_ld + c] : 0;
            for (size_t k = 0; k < depth; k++)
                sum = fmaf(x[r * x_row + k * x_col], panel[k * panel_ld + c], sum);
            want[r * y_ld + c] = sum;
        }
}

static void gemm_case(size_t rows, size_t cols, size_t depth, enum start how, bool turned, size_t panel_ld)
{
    checking("gemm, %zu rows, %zu columns, depth %zu, start %d, turned %d", rows, cols, depth, how, turned);
    const struct kernel *k = kernel();
    size_t y_ld = cols + 3, x_row = turned ? 1 : depth + 1, x_col = turned ? rows + 1 : 1;
    size_t packed = (rows + k->tile_rows - 1) / k->tile_rows * k->tile_rows * depth;
    float *x = random_floats((rows + 1) * (depth + 1), 1, 1.115),
          *panel = random_floats(depth * panel_ld, 2, 0.815);
    float *y = random_floats(rows * y_ld, 3, 1.315), *want = random_floats(rows * y_ld, 3, 1.315);
    float *strips_y = random_floats(rows * y_ld, 3, 1.315), *other = random_floats(rows * y_ld, 4, 1.315);
    float *strips = constant_floats(packed + 1, UNTOUCHED);
    product_by_definition(want, how == NO_START ? NULL : how == IN_PLACE ? want : other, y_ld, x, x_row, x_col, panel, panel_ld,
                          depth, rows, cols);
    k->gemm(y, y_ld, how == NO_START ? NULL : how == IN_PLACE ? y : other, x, x_row, x_col, panel, panel_ld, depth, rows, cols);
    expect_same("y", y, want, rows * y_ld);
    k->pack(strips, x, x_row, x_col, depth, rows);
    assert_true(strips[packed] == UNTOUCHED);
    k->gemm_strips(strips_y, y_ld, how == NO_START ? NULL : how == IN_PLACE ? strips_y : other, strips, k->tile_rows * depth,
                   panel, panel_ld, depth, rows, cols);
    expect_same("y of packed x", strips_y, want, rows * y_ld);
}

static void check_gemm(void)
{
    static const size_t columns[] = {1, 3, 4, 5, 8, 9, 15, 16, 17, 24, 25, 31, 32},
                        depths[] = {1, 17, 64};
    for (size_t rows = 1; rows <= 25; rows += rows < 13 ? 1 : 6)
        for (const size_t *cols = columns; cols < columns + LENGTH(columns); cols++)
            for (const size_t *depth = depths; depth < depths + LENGTH(depths); depth++)
                for (int how = 0; how < 6; how++)
                    gemm_case(rows, *cols, *depth, (enum start)(how % 3), how >= 3, how == 1 ? 2 * PANEL : PANEL);
}

static const size_t sizes[] = {1, 2, 15, 16, 17, 31, 33, 48, 100, 257};

static float lanes_sum(float lane[16])
{
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}

static void check_sums(void)
{
    for (const size_t *n = sizes; n < sizes + LENGTH(sizes); n++) {
        checking("sums of %zu", *n);
        float *a = random_floats(*n, 1, 1.115), *b = random_floats(*n, 2, 1.315),
              *c = random_floats(*n, 3, 0.815);
        float *e = constant_floats(*n, NAN), dot[16] = {0}, dot3[16] = {0}, exps[16] = {0},
              max = a[0];
        float sum = kernel()->exp_sum(e, a, 1.5f, *n);
        for (size_t i = 0; i < *n; i++) {
            dot[i % 16] = fmaf(a[i], b[i], dot[i % 16]);
            dot3[i % 16] = fmaf(a[i], b[i] * c[i], dot3[i % 16]);
            exps[i % 16] += e[i];
            max = fmaxf(max, a[i]);
        }
        float got[4] = {kernel()->dot(a, b, *n), kernel()->dot3(a, b, c, *n), sum,
                        kernel()->max(a, *n)};
        float want[4] = {lanes_sum(dot), lanes_sum(dot3), lanes_sum(exps), max};
        expect_same("dot, dot3, exp_sum, max", got, want, 4);
    }
}

/* ---- the other kernels: the plain one is the twin ---- */

/* Each runs one kernel on inputs x[0..3] (n), and leaves results in y and z (n). */
struct operation {
    const char *name;
    void (*run)(const struct kernel *k, float *y, float *z, float *const x[4], size_t n);
};

#define RUN(name)                                                                                  \
    static void run_##name(const struct kernel *k, float *y, float *z, float *const x[4], size_t n)

RUN(exp_sum)
{
    z[0] = k->exp_sum(y, x[3], 1.25f, n);
}
RUN(exp_sum_in_place)
{
    memcpy(y, x[3], n * sizeof *y);
    z[0] = k->exp_sum(y, y, -0.75f, n);
}
RUN(exp_scale)
{
    memcpy(y, x[3], n * sizeof *y);
    k->exp_scale(y, y, 1.25f, 0.315f, n);
    k->exp_scale(z, x[3], 1.25f, -0.315f, n);
}
RUN(axpy)
{
    memcpy(y, x[0], n * sizeof *y);
    k->axpy(y, 0.715f, x[1], n);
    (void)z;
}
RUN(scale)
{
    memcpy(y, x[0], n * sizeof *y);
    k->scale(y, 0.715f, n);
    (void)z;
}
RUN(add)
{
    memcpy(y, x[0], n * sizeof *y);
    k->add(y, x[1], n);
    (void)z;
}
RUN(norm_scale)
{
    k->norm_scale(y, x[0], 0.715f, x[1], n);
    (void)z;
}
RUN(norm_backward)
{
    memcpy(y, x[0], n * sizeof *y);
    memcpy(z, x[1], n * sizeof *z);
    k->norm_backward(y, x[1], x[2], x[3], 0.715f, 0.315f, n);
    k->norm_backward_weight(z, x[0], x[2], 0.715f, n);
}
RUN(swiglu)
{
    k->swiglu(y, x[3], x[0], n);
    (void)z;
}
RUN(swiglu_backward)
{
    memcpy(z, x[0], n * sizeof *z);
    k->swiglu_backward(y, z, z, x[3], x[1], n);
}
RUN(geglu)
{
    k->geglu(y, x[3], x[0], n);
    k->geglu(z, x[3], NULL, n);
}
RUN(geglu_backward)
{
    memcpy(z, x[0], n * sizeof *z);
    k->geglu_backward(y, z, z, x[3], x[1], n);
    k->geglu_backward(y, NULL, y, x[2], NULL, n);
}
RUN(softcap)
{
    memcpy(y, x[3], n * sizeof *y);
    k->softcap(y, 1.715f, n);
    memcpy(z, x[1], n * sizeof *z);
    k->softcap_backward(z, y, 1.715f, n);
}
RUN(rope)
{
    memcpy(y, x[0], n * sizeof *y);
    memcpy(z, x[0], n * sizeof *z);
    k->rope(y, x[1], x[2], n / 2, false);
    k->rope(z, x[1], x[2], n / 2, true);
}
RUN(softmax_backward)
{
    memcpy(y, x[0], n * sizeof *y);
    k->softmax_backward(y, y, x[1], 0.315f, 0.715f, n);
    k->softmax_backward(z, x[0], x[1], 0.315f, 0.715f, n);
}
RUN(adamw)
{
    const struct adamw_step step = {.lr = 0.0315f,
                                    .beta1 = 0.915f,
                                    .beta2 = 0.985f,
                                    .eps = 1.5e-8f,
                                    .weight_decay = 0.115f,
                                    .correction1 = 0.235f,
                                    .correction2_sqrt = 0.185f,
                                    .grad_scale = 0.815f};
    float *m = random_floats(n, 7, 0.5), *v = random_floats(n, 8, 0.5);
    for (size_t i = 0; i < n; i++)
        v[i] *= v[i];
    memcpy(y, x[0], n * sizeof *y);
    k->adamw(y, x[1], m, v, &step, n);
    for (size_t i = 0; i < n; i++)
        z[i] = m[i] + v[i];
}

static const struct operation operations[] = {
    {"exp_sum", run_exp_sum},
    {"exp_sum in place", run_exp_sum_in_place},
    {"exp_scale", run_exp_scale},
    {"axpy", run_axpy},
    {"scale", run_scale},
    {"add", run_add},
    {"norm_scale", run_norm_scale},
    {"norm_backward", run_norm_backward},
    {"swiglu", run_swiglu},
    {"swiglu_backward", run_swiglu_backward},
    {"geglu", run_geglu},
    {"geglu_backward", run_geglu_backward},
    {"softcap", run_softcap},
    {"rope", run_rope},
    {"softmax_backward", run_softmax_backward},
    {"adamw", run_adamw},
};

static void check_operations(void)
{
    const struct kernel *all[4], *plain = all[kernel_list(all) - 1];
    assert_string_equal(plain->name, "plain");
    for (const struct operation *o = operations; o < operations + LENGTH(operations); o++)
        for (const size_t *n = sizes; n < sizes + LENGTH(sizes); n++) {
            checking("%s of %zu", o->name, *n);
            float *x[4]; /* the last goes where exp is 0 or infinite, too */
            for (uint32_t i = 0; i < 4; i++)
                x[i] =
                    random_floats(*n + 1, 1 + i, i == 3 ? 30.5 : 1.115) + 1; /* at odd addresses */
            float *got = constant_floats(2 * *n + 4, UNTOUCHED),
                  *want = constant_floats(2 * *n + 4, UNTOUCHED);
            o->run(kernel(), got + 1, got + 3 + *n, x, *n);
            o->run(plain, want + 1, want + 3 + *n, x, *n);
            expect_same("results and what lies around them", got, want, 2 * *n + 4);
        }
}

/* ---- exp ---- */

static void check_exp(void)
{
    enum { POINTS = 100003 };
    const double from = -87.3, to = 88.3;
    checking("exp");
    float *x = constant_floats(POINTS, 0), *y = constant_floats(POINTS, NAN);
    for (size_t i = 0; i < POINTS; i++)
        x[i] = (float)(from + (to - from) * ((double)i + 0.5) / POINTS);
    kernel()->exp_scale(y, x, 0, 1, POINTS);
    for (size_t i = 0; i < POINTS; i++) {
        double want = exp((double)x[i]);
        if (!(fabs((double)y[i] - want) < 2e-7 * want))
            fail_msg("exp(%.9g) is %.9g instead of %.9g (%s)", (double)x[i], (double)y[i], want,
                     kernel()->name);
    }
    const float edges[] = {0, -0.0f, -INFINITY, -88, -1e30f, 1e-30f, INFINITY, NAN};
    enum { EDGES = LENGTH(edges) };
    const float want[EDGES - 2] = {1, 1, 0, 0, 0, 1};
    float whole[16 + EDGES], got[16 + EDGES];
    for (size_t i = 0; i < 16 + EDGES; i++) /* in a whole vector and in a tail */
        whole[i] = edges[i % EDGES];
    kernel()->exp_scale(got, whole, 0, 1, 16 + EDGES);
    for (size_t i = 0; i < 16 + EDGES; i += EDGES) {
        expect_same("edges", got + i, want, EDGES - 2);
        assert_true(got[i + EDGES - 2] > 3e38f);
        assert_true(isnan(got[i + EDGES - 1]));
    }
    kernel()->exp_sum(got, &edges[EDGES - 1], 0, 1);
    assert_true(isnan(got[0]));
    const float large[] = {1e6f, -1e6f, 1e30f, -INFINITY}, ones[] = {1, 0, 1, 0};
    for (size_t i = 0; i < 4; i++) {
        kernel()->exp_sum(got, &large[i], large[i / 2 * 2], 1);
        expect_same("exp of differences", got, &ones[i], 1);
    }
}

/* ---- gelu and caps ---- */

static void expect_relative(const char *what, float x, float got, double want, double floor)
{
    if (!(fabs((double)got - want) <= 1e-6 * fabs(want) + floor))
        fail_msg("%s at %.9g is %.9g instead of %.9g (%s)", what, (double)x, (double)got, want, kernel()->name);
}

static void check_gelu_and_caps(void)
{
    enum { POINTS = 20011 };
    const double z = sqrt(2 / 3.14159265358979323846);
    checking("gelu, softcap");
    float *x = constant_floats(POINTS, 0), *h = constant_floats(POINTS, NAN), *d = constant_floats(POINTS, 1), *du = constant_floats(POINTS, NAN),
          *two = constant_floats(POINTS, 2), *capped = constant_floats(POINTS, NAN), *slope = constant_floats(POINTS, 1);
    for (size_t i = 0; i < POINTS; i++) /* closer together near 0 */
        capped[i] = x[i] = (float)(8 * pow(((double)i - POINTS / 2) / (POINTS / 2), 3));
    kernel()->geglu(h, x, two, POINTS);
    kernel()->geglu_backward(d, du, d, x, two, POINTS);
    kernel()->softcap(capped, 1.5f, POINTS);
    kernel()->softcap_backward(slope, capped, 1.5f, POINTS);
    for (size_t i = 0; i < POINTS; i++) {
        double v = (double)x[i], t = tanh(z * (v + 0.044715 * v * v * v)), c = tanh(v / 1.5);
        double dt = (1 - t * t) * z * (1 + 3 * 0.044715 * v * v);
        expect_relative("gelu", x[i], h[i], v * (1 + t), 3e-7); /* far left its digits are those of 1 + t */
        expect_relative("gelu'", x[i], d[i], (1 + t) + v * dt, 3e-6);
        expect_relative("gelu for up", x[i], du[i], v / 2 * (1 + t), 3e-7);
        expect_relative("softcap", x[i], capped[i], 1.5 * c, 1e-30);
        expect_relative("softcap'", x[i], slope[i], 1 - c * c, 3e-7);
    }
    float ends[] = {INFINITY, -INFINITY, 1e30f, -1e30f, 0};
    const float want[] = {50, -50, 50, -50, 0};
    kernel()->softcap(ends, 50, 5);
    expect_same("ends", ends, want, 5);
}

/* ---- panels of weights ---- */

/* Tiles of the rows from `first` on, beside the rows that are known. */
static void expect_backward(const struct weight *w, const float *rows, size_t first)
{
    size_t in = w->in, n = w->out - first;
    float *back = constant_floats(w->out * in, UNTOUCHED), *room = constant_floats(n * PANEL, NAN);
    memcpy(back, rows, first * in * sizeof *back);
    for (size_t j = 0; j < panels_of(in); j++) {
        const float *panel = weight_tile_backward(w, j, first, n, room);
        for (size_t r = 0; r < n; r++)
            for (size_t c = 0; c < PANEL; c++) {
                if (j * PANEL + c < in)
                    back[(first + r) * in + j * PANEL + c] = panel[r * PANEL + c];
                else
                    assert_true(panel[r * PANEL + c] == 0);
            }
    }
    expect_same(w->panels ? "backward, packed" : "backward", back, rows, w->out * in);
}

/* `rows` stored rows of random blocks. */
static unsigned char *random_blocks(enum dtype type, size_t rows, size_t in)
{
    size_t bytes = dtype_row_bytes(type, in), block = dtype_table[type].bytes;
    unsigned char *data = zeroed(rows * bytes, 1);
    for (size_t i = 0; i < rows * bytes; i++)
        data[i] = (unsigned char)rng_below(256, 5, RNG_TEST, (uint32_t)i, 0, 0, 0);
    for (size_t i = 0; i < rows * bytes; i += block) { /* finite numbers and scales */
        size_t upper = type == DTYPE_Q6_K   ? 209
                       : type == DTYPE_Q2_K ? 81
                       : type == DTYPE_Q3_K ? 109
                       : type == DTYPE_F32  ? 3
                                            : 1;
        data[i + upper] &= 0xbb;
        if (type == DTYPE_Q4_1 || type == DTYPE_Q5_1 || type == DTYPE_Q2_K || type == DTYPE_Q4_K || type == DTYPE_Q5_K)
            data[i + upper + 2] &= 0xbb;
    }
    return data;
}

/* A few rows through a panel that is unpacked on the way, beside the same panel unpacked and its definition. */
static void few_case(enum dtype type, size_t in, size_t rows, size_t cols, enum start how)
{
    checking("%zu rows through a packed panel of %s, %zu in, %zu columns, start %d", rows, dtype_table[type].name, in, cols, how);
    size_t bytes = dtype_row_bytes(type, in), y_ld = cols + 3;
    unsigned char *data = random_blocks(type, PANEL, in);
    const void *stored[PANEL];
    for (size_t c = 0; c < PANEL; c++)
        stored[c] = c < cols ? data + c * bytes : NULL;
    void *packed = constant_floats((panel_bytes(type, in) + 3) / sizeof(float), NAN);
    panel_pack(packed, type, stored, in);
    float *panel = constant_floats(in * PANEL, NAN), *x = random_floats(rows * (in + 1), 1, 1.115);
    kernel()->unpack(panel, packed, type, in);
    float *y = random_floats(rows * y_ld, 3, 1.315), *want = random_floats(rows * y_ld, 3, 1.315);
    float *other = random_floats(rows * y_ld, 4, 1.315);
    product_by_definition(want, how == NO_START ? NULL : how == IN_PLACE ? want : other, y_ld, x, in + 1, 1, panel, PANEL, in,
                          rows, cols);
    kernel()->gemm_few(y, y_ld, how == NO_START ? NULL : how == IN_PLACE ? y : other, x, in + 1, packed, type, in, rows, cols);
    expect_same("y", y, want, rows * y_ld);
    float *row = constant_floats(in, NAN);
    for (size_t c = 0; c < cols; c++) {
        dtype_unpack(type, row, stored[c], 0, in);
        for (size_t i = 0; i < in; i++)
            assert_true(row[i] == panel[i * PANEL + c] || (isnan(row[i]) && isnan(panel[i * PANEL + c])));
    }
}

static void check_few(void)
{
    static const size_t columns[] = {1, 17, 31, 32};
    for (int type = 0; type < DTYPE_COUNT; type++) {
        size_t block = dtype_table[type].block;
        if (panel_is_plain((enum dtype)type))
            continue;
        for (size_t rows = 1; rows <= kernel()->few_rows; rows++)
            for (size_t c = 0; c < LENGTH(columns); c++) {
                few_case((enum dtype)type, block == 1 ? 1 : block, rows, columns[c], NO_START);
                few_case((enum dtype)type, block == 1 ? 17 : 3 * block, rows, columns[c], (enum start)(c % 3));
                few_case((enum dtype)type, block == 1 ? 70 : block, rows, columns[c], IN_PLACE);
            }
    }
}

/* Packed weights take an eighth of a byte more than they are stored in, at most (panel.h). */
static void test_panel_bytes(void **state)
{
    (void)state;
    for (int type = 0; type < DTYPE_COUNT; type++) {
        size_t stored = PANEL * dtype_row_bytes((enum dtype)type, 512), packed = panel_bytes((enum dtype)type, 512);
        size_t more = type == DTYPE_Q6_K ? PANEL * 512 * 7 / 16 : PANEL * 512 / 8;
        if (packed < stored || packed > stored + more)
            fail_msg("%s: %zu bytes packed, %zu stored", dtype_table[type].name, packed, stored);
        assert_int_equal(panel_offset((enum dtype)type, 512), packed);
    }
}

static void tile_case(enum dtype type, size_t out, size_t in, size_t interleaved)
{
    checking("panels of %s, %zu out, %zu in, heads of %zu", dtype_table[type].name, out, in,
             interleaved);
    size_t bytes = dtype_row_bytes(type, in);
    unsigned char *data = random_blocks(type, out, in);
    struct weight w = {.type = type,
                       .out = out,
                       .in = in,
                       .data = data,
                       .row_bytes = bytes,
                       .interleaved = interleaved};
    float *rows = constant_floats(out * in, NAN);
    float *turned = constant_floats(out * in, UNTOUCHED);
    for (size_t o = 0; o < out; o++)
        weight_row(&w, o, rows + o * in);
    float *room = constant_floats((in > out ? in : out) * PANEL, NAN);
    void *panels = constant_floats(weight_panel_bytes(&w) / sizeof(float), NAN);
    for (int packed = 0; packed < 2; packed++) {
        if (packed)
            weight_pack(&w, panels);
        size_t step = packed ? PANEL : 256; /* as fine as the pieces may be */
        for (size_t j = 0; j < panels_of(out); j++)
            for (size_t i = 0; i < in; i++) {
                size_t from = i / step * step;
                const float *piece = weight_tile_forward(&w, j, from, in - from < step ? in - from : step, room);
                for (size_t c = 0; c < PANEL; c++) {
                    float v = piece[(i - from) * PANEL + c];
                    if (j * PANEL + c < out)
                        turned[(j * PANEL + c) * in + i] = v;
                    else
                        assert_true(v == 0);
                }
            }
        expect_same(packed ? "packed" : "forward", turned, rows, out * in);
        expect_backward(&w, rows, out / 3); /* from the middle, and from where a panel begins */
        expect_backward(&w, rows, out / 2 / PANEL * PANEL);
    }
    if (interleaved) { /* the order of storage: (0, half, 1, half + 1, ..) */
        struct weight stored = w;
        stored.interleaved = 0;
        float *row = constant_floats(in, NAN);
        for (size_t o = 0; o < out; o++) {
            size_t head = o / interleaved * interleaved, j = o % interleaved,
                   half = interleaved / 2;
            weight_row(&stored, o, row);
            expect_same("interleaved", rows + (head + j / 2 + j % 2 * half) * in, row, in);
        }
    }
}

static void check_tiles(void)
{
    static const size_t outs[] = {1, 17, 33, 70}, counts[] = {1, 3, 9};
    for (int type = 0; type < DTYPE_COUNT; type++) {
        size_t block = dtype_table[type].block;
        for (const size_t *out = outs; out < outs + LENGTH(outs); out++)
            for (const size_t *n = counts; n < counts + LENGTH(counts); n++)
                tile_case((enum dtype)type, *out,
                          block == 1               ? *n * 31
                          : block == 256 && *n > 3 ? 512
                                                   : *n * block,
                          0);
        tile_case((enum dtype)type, 48, block == 1 ? 33 : 2 * block, 16);
    }
}

#define TEST(what)                                                                                 \
    static void test_##what(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        in_each_isa(check_##what);                                                                 \
    }
TEST(gemm)
TEST(sums)
TEST(operations)
TEST(exp)
TEST(gelu_and_caps)
TEST(tiles)
TEST(few)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm),       cmocka_unit_test(test_sums),
        cmocka_unit_test(test_operations), cmocka_unit_test(test_exp),
        cmocka_unit_test(test_gelu_and_caps), cmocka_unit_test(test_tiles),
        cmocka_unit_test(test_few),
        cmocka_unit_test(test_panel_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
