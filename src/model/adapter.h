/* LoRA adapters and scalar heads: what training leaves behind beside the frozen base (law 4). */
#ifndef HONE_MODEL_ADAPTER_H
#define HONE_MODEL_ADAPTER_H

#include <stdint.h>

#include "data/steps.h"
#include "model/model.h"
#include "nn/linear.h"
#include "util/style.h"

struct adapter_options {
    size_t rank;
    float alpha;
    uint32_t seed;
    uint32_t targets; /* bit i: linear_kind i; 0: all */
    size_t first_layer; /* that is adapted, as are all after it: what is below is the base's */
};

struct adapter {
    size_t rank;
    float alpha;
    size_t layers, first_layer;
    size_t *a_at, *b_at; /* (layers, LINEAR_KINDS): offsets in params, SIZE_MAX where there is no adapter */
    const struct config *config; /* the base's */
    struct params params;
};

/* A fresh adapter: A uniform as PEFT's (Kaiming, a = sqrt 5: within 1 / sqrt(in)), B zero. */
int adapter_init(struct adapter *a, const struct model *m, const struct adapter_options *o, struct err *err);
void adapter_release(struct adapter *a);
int adapter_copy(struct adapter *to, const struct adapter *from, struct err *err);

/* The adapter whose change of each weight is the mean of the n adapters' changes, which averaging the weights of the adapted
 * models would give (Rame et al. 2024, WARM, arXiv:2401.12187).  The mean of the products B A is not the product of
 * the means, so the ranks are laid side by side: A = [A_1; A_2; ..], B = [s_1 B_1, s_2 B_2, ..] / n, with alpha = rank = the
 * sum of ranks.  Adapters of one model; they may differ in rank, kinds and layers. */
int adapter_average(struct adapter *to, const struct adapter *const *list, size_t n, struct err *err);

/* The kinds of linear layers that it adapts, a bit each. */
uint32_t adapter_targets(const struct adapter *a);

/* A PEFT folder: adapter_config.json and adapter_model.safetensors.  Of PEFT's layers_to_transform the last n layers are taken. */
int adapter_open(struct adapter *a, const struct model *m, const char *folder, struct err *err);

/* The adapter of one layer's linear; a == NULL where there is none.  grads: a block of params' layout, or NULL. */
struct lora adapter_lora(const struct adapter *a, float *grads, size_t layer, enum linear_kind kind);

/* A scalar head: score = h . w (+ bias, which centres a reward model's scores; not trained).  With a step_separator it is a process
 * reward model's: sigmoid(score) at the end of a step is the probability that the step is right, and an answer is worth what its steps'
 * probabilities come to (data/steps.h). */
struct head {
    struct params params; /* "score.weight" (1, width) */
    float bias;
    size_t width;
    double style[STYLES]; /* what a reward model adds for a unit of each style, to take off what it likes too much; 0: nothing.  Only
                           * scores of whole answers have it (reward/score.h) */
    char step_separator[STEP_SEPARATOR_MOST + 1]; /* "": none */
    enum step_aggregate step_aggregate;
    const struct tokenizer *step_tokenizer; /* that answers were written with, and are read with; borrowed; NULL: none */
};

int head_init(struct head *h, size_t width, struct err *err); /* zeros */
int head_copy(struct head *to, const struct head *from, struct err *err);
void head_release(struct head *h);

/* score <- scale score + bias, for the scores without the bias that it had; the styles' part is scaled with them. */
void head_scale(struct head *h, double scale, double bias);

#endif
