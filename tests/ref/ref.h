/* Reference twins: what src/nn and src/model compute in float and fast, here in double and as
 * plainly as it can be written.  Tests hold the float code against them, and hold their backwards
 * against finite differences.
 *
 * Arrays are row-major.  A forward overwrites its outputs (a LoRA adds to y); a backward adds to
 * every gradient (+=) and leaves out those that are NULL.
 *
 * A forest of sequences is an array `before` (rows): the row of the token that comes before, -1
 * where a sequence begins; a shared prompt's last row comes before the first row of each of its
 * completions.  A row's position is the number of rows before it. */
#ifndef HONE_TESTS_REF_H
#define HONE_TESTS_REF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* y (rows, out) = x (rows, in) w^T, w (out, in) */
void ref_linear_forward(double *y, const double *x, const double *w, size_t rows, size_t out,
                        size_t in);
void ref_linear_backward(double *dx, double *dw, const double *dy, const double *x, const double *w,
                         size_t rows, size_t out, size_t in);

/* y (rows, out) += scale (x a^T) b^T, a (rank, in), b (out, rank) */
struct ref_lora {
    size_t out, in, rank;
    double scale;
    const double *a, *b;
};
void ref_lora_forward(double *y, const double *x, const struct ref_lora *l, size_t rows);
void ref_lora_backward(double *dx, double *da, double *db, const double *dy, const double *x,
                       const struct ref_lora *l, size_t rows);

/* y = x w / sqrt(mean(x^2) + eps), rows of n */
void ref_rmsnorm_forward(double *y, const double *x, const double *w, double eps, size_t rows,
                         size_t n);
void ref_rmsnorm_backward(double *dx, double *dw, const double *dy, const double *x,
                          const double *w, double eps, size_t rows, size_t n);

/* y (rows, heads, 2 half) = x rotated.  The angle is rounded to float, as the field computes it. */
void ref_rope_forward(double *y, const double *x, const int32_t *before, const float *inv_freq,
                      size_t rows, size_t heads, size_t half);
void ref_rope_backward(double *dx, const double *dy, const int32_t *before, const float *inv_freq,
                       size_t rows, size_t heads, size_t half);

/* h = gate sigmoid(gate) up */
void ref_swiglu_forward(double *h, const double *gate, const double *up, size_t n);
void ref_swiglu_backward(double *dgate, double *dup, const double *dh, const double *gate,
                         const double *up, size_t n);

/* Causal attention: out, q (rows, heads, head_dim); k, v (rows, kv_heads, head_dim).  A row
 * attends to itself and to all rows before it in its sequence, scaled by 1 / sqrt(head_dim). */
struct ref_heads {
    size_t heads, kv_heads, head_dim;
};
void ref_attention_forward(double *out, const double *q, const double *k, const double *v,
                           const int32_t *before, size_t rows, const struct ref_heads *s);
void ref_attention_backward(double *dq, double *dk, double *dv, const double *dout, const double *q,
                            const double *k, const double *v, const int32_t *before, size_t rows,
                            const struct ref_heads *s);

/* p (vocab) = softmax of (h w^T) / temperature for one row h (width), w (vocab, width); returns
 * log sum exp. */
double ref_softmax(double *p, const double *h, const double *w, size_t vocab, size_t width,
                   double temperature);

/* logp (n) = log p of each target's token at its row of h (rows, width) */
struct ref_target {
    size_t row;
    int32_t token;
};
void ref_logprob_forward(double *logp, const double *h, const struct ref_target *targets, size_t n,
                         const double *w, size_t vocab, size_t width, double temperature);
void ref_logprob_backward(double *dh, double *dw, const double *dlogp, const double *h,
                          const struct ref_target *targets, size_t n, const double *w, size_t vocab,
                          size_t width, double temperature);

/* score (rows) = h (rows, width) . w (width) */
void ref_head_forward(double *score, const double *h, const double *w, size_t rows, size_t width);
void ref_head_backward(double *dh, double *dw, const double *dscore, const double *h,
                       const double *w, size_t rows, size_t width);

/* ---- a whole model of the llama family ---- */

struct ref_config {
    size_t vocab, width, layers, ffn;
    struct ref_heads heads;
    double norm_eps;
    const float *inv_freq; /* (head_dim / 2); not owned */
    bool tied;             /* the output projection is the embedding */
    size_t rank;           /* of an adapter beside every linear layer; 0: none */
    double lora_scale;
    bool head;
};

/* A tensor under its name in a Hugging Face or PEFT file, and its gradient. */
struct ref_tensor {
    char name[96];
    size_t rows, cols, n; /* a vector has one row */
    double *w, *grad;
};

struct ref_batch {
    size_t rows;
    const int32_t *tokens, *before;
    const struct ref_target *targets;
    size_t n_targets;
    double temperature;
    const size_t *score_rows;
    size_t n_scores;
};

struct ref_model {
    struct ref_config config;
    struct ref_tensor *tensors;
    size_t n_tensors;
    struct ref_layer *layers; /* tensors and kept activations */
    double *last, *h;         /* the last residual, and it normalised */
};

void ref_model_init(struct ref_model *m, const struct ref_config *c); /* all zeros */
void ref_model_release(struct ref_model *m);

struct ref_tensor *ref_model_find(const struct ref_model *m, const char *name);

/* logp (n_targets); scores (n_scores).  Keeps what the backward of the same batch needs. */
void ref_model_forward(struct ref_model *m, const struct ref_batch *b, double *logp,
                       double *scores);
void ref_model_backward(struct ref_model *m, const struct ref_batch *b, const double *dlogp,
                        const double *dscores);

#endif
