#include "nn/linear.h"

#include "nn/product.h"
#include "nn/scratch.h"

/* y (rows, columns), all of it. */
static struct product product_of(float *y, const float *start, size_t rows, size_t columns)
{
    return (struct product){.y = y, .start = start, .y_ld = columns, .rows = rows, .columns = columns};
}

static void add_term(struct product *p, struct term t)
{
    p->terms[p->n_terms++] = t;
}

void linears_forward(const struct linear *l, size_t n, const float *x, size_t rows)
{
    struct product inner[LINEARS], outer[LINEARS];
    size_t n_inner = 0;
    ENSURE(n <= LINEARS);
    for (size_t i = 0; i < n; i++) {
        const struct lora *a = &l[i].lora;
        outer[i] = product_of(l[i].y, l[i].start, rows, l[i].w->out);
        add_term(&outer[i], term_forward(x, l[i].w));
        if (!a->a)
            continue;
        struct weight down = weight_of_floats(a->a, a->rank, a->in), up = weight_of_floats(a->b, a->out, a->rank);
        inner[n_inner] = product_of(l[i].t, NULL, rows, a->rank);
        inner[n_inner].scale = a->scale;
        add_term(&inner[n_inner++], term_forward(x, &down));
        add_term(&outer[i], term_forward(l[i].t, &up));
    }
    products_run(inner, n_inner);
    products_run(outer, n);
}

void linears_backward(float *dx, const struct linear *l, size_t n, const float *x, size_t rows)
{
    struct product first[3 * LINEARS], then[LINEARS + 1], to_x = product_of(dx, NULL, rows, l[0].w->in);
    size_t n_first = 0, n_then = 0, ranks = 0;
    ENSURE(n <= LINEARS && 2 * n <= PRODUCT_TERMS);
    for (size_t i = 0; i < n; i++)
        ranks += l[i].lora.a ? l[i].lora.rank : 0;
    float *dt = ranks ? scratch(SCRATCH_LORA, ranks * rows) : NULL; /* s dy B, adapter after adapter */
    for (size_t i = 0; i < n; i++) {
        const struct lora *a = &l[i].lora;
        size_t in = l[i].w->in, out = l[i].w->out;
        add_term(&to_x, term_backward(l[i].dy, l[i].w));
        if (l[i].dw) {
            first[n_first] = product_of(l[i].dw, l[i].dw, out, in);
            add_term(&first[n_first++], term_weight(l[i].dy, out, x, rows, in));
        }
        if (!a->a)
            continue;
        struct weight down = weight_of_floats(a->a, a->rank, in), up = weight_of_floats(a->b, out, a->rank);
        first[n_first] = product_of(dt, NULL, rows, a->rank);
        first[n_first].scale = a->scale;
        add_term(&first[n_first++], term_backward(l[i].dy, &up));
        if (a->db) {
            first[n_first] = product_of(a->db, a->db, out, a->rank);
            add_term(&first[n_first++], term_weight(l[i].dy, out, l[i].t, rows, a->rank));
        }
        if (a->da) {
            then[n_then] = product_of(a->da, a->da, a->rank, in);
            add_term(&then[n_then++], term_weight(dt, a->rank, x, rows, in));
        }
        add_term(&to_x, term_backward(dt, &down));
        dt += rows * a->rank;
    }
    if (dx)
        then[n_then++] = to_x;
    products_run(first, n_first);
    products_run(then, n_then);
}
