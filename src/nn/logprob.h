/* The seam between the model and the objectives: log-probs of targets, and back (law 5).
 *
 * The output projection, log-softmax and the gradient run fused over chunks of the vocabulary: logits of a
 * whole batch are never held.  A target is a (row, token) pair; one row may carry several (the last row of a
 * prompt predicts the first token of every completion).  With logits l = (h . w_v) / temperature:
 *
 *     logp(t) = l_t - log sum_v exp l_v            d logp(t) / d h = (w_t - sum_v p_v w_v) / temperature
 *
 * (with a cap each w_v times the cap's slope there).  The mean sum_v p_v w_v is gathered while the forward has the chunk in hand, so that for a frozen projection the
 * backward does not compute logits again. */
#ifndef HONE_NN_LOGPROB_H
#define HONE_NN_LOGPROB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nn/weight.h"

struct target {
    size_t row; /* of h, in increasing order */
    int32_t token;
};

struct logprob_row {
    float max;     /* of the row's logits */
    double lse;    /* log sum exp of the logits */
    float entropy; /* of the distribution, nats */
    int32_t best;  /* the most likely token, the lowest id among equals */
};

/* cap, in all of the below: logits become cap tanh(logit / cap) before they are divided by the temperature (Gemma 2); 0: they do not.
 *
 * h (n_rows, width).  logp (n_targets), rows (n_rows): out.  mean_w (n_rows, width), out, or NULL where no
 * gradient is wanted. */
void logprob_forward(float *logp, struct logprob_row *rows, float *mean_w, const float *h, size_t n_rows,
                     const struct target *targets, size_t n_targets, const struct weight *w, float cap, float temperature);

/* dh (n_rows, width), overwritten, from dlogp (n_targets).  Where dw is not NULL the projection is trained, and
 * dw (vocabulary, width) is added to; that computes the logits once more. */
void logprob_backward(float *dh, float *dw, const float *dlogp, const struct logprob_row *rows, const float *mean_w,
                      const float *h, size_t n_rows, const struct target *targets, size_t n_targets,
                      const struct weight *w, float cap, float temperature);

/* Logits of a few rows, whole (n_rows, vocabulary), for sampling, each row at its own temperature; with the same
 * bits, maxima and sums as logprob_forward has them. */
void logits_forward(float *logits, struct logprob_row *rows, const float *h, size_t n_rows, const struct weight *w, float cap,
                    const float *temperatures);

/* The geometric mixture of two distributions over the vocabulary, p^(1 - coef) other^coef made to sum to 1: one row of
 * logits_forward becomes 1 - coef of itself and coef of another one, and what is known of it is found anew.  coef in [0, 1]; at
 * its ends, and for two rows that are the same and coef 1/2, it is exactly one of them. */
void logits_mix(float *logits, struct logprob_row *row, const float *other, float coef, size_t vocabulary);

/* The mean of the projection's rows (width): h . mean is the mean over the vocabulary of the logits as they are before a cap. */
void projection_mean(float *mean, const struct weight *w);

#endif
