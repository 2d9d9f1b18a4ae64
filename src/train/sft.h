/* Supervised fine-tuning on demonstrations: the mean negative log-likelihood of the targets of a step,
 *
 *     loss = - 1/N sum over the step's N target tokens of log p(token | what is before it)
 *
 * normalised by the step's token count, however it is cut into rows and micro-batches (docs/methods/sft.md). */
#ifndef HONE_TRAIN_SFT_H
#define HONE_TRAIN_SFT_H

#include "train/learner.h"
#include "train/loop.h"

struct sft {
    struct learner *learner;
    /* of the step under way */
    size_t targets, seen, right;
    double nll, entropy;
};

struct method sft_method(struct sft *s, struct learner *l);

#endif
