#include "data/split.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/file.h"
#include "util/mem.h"

/* Uniform in [0, 1): a function of the conversation's opening and the seed. */
static double place(const struct row *row, uint32_t seed)
{
    char text[65 + 16], hash[65];
    row_opening_hash(text, row);
    snprintf(text + 64, 16, "/%u", seed);
    sha256_hex(hash, text, strlen(text));
    hash[13] = 0; /* 52 bits */
    return (double)strtoull(hash, NULL, 16) * 0x1p-52;
}

int split_rows(struct split *split, const struct dataset *data, double fraction, uint32_t seed,
               struct err *err)
{
    *split = (struct split){0};
    if (!(fraction >= 0 && fraction <= 1))
        return err_set(err, "the fraction of held-out rows is %g: it must be between 0 and 1",
                       fraction);
    split->train = xcalloc(data->n, sizeof *split->train);
    split->held_out = xcalloc(data->n, sizeof *split->held_out);
    for (size_t i = 0; i < data->n; i++) {
        if (place(&data->rows[i], seed) < fraction)
            split->held_out[split->n_held_out++] = i;
        else
            split->train[split->n_train++] = i;
    }
    if (fraction > 0 && (!split->n_train || !split->n_held_out)) {
        const char *side = split->n_train ? "held out" : "left to train on";
        split_release(split);
        return err_set(err,
                       "'%s': of its %zu rows, split by prompt at a fraction of %g, none is %s: "
                       "use another fraction or seed, or "
                       "more prompts",
                       data->path, data->n, fraction, side);
    }
    return 0;
}

void split_release(struct split *split)
{
    free(split->train);
    free(split->held_out);
    *split = (struct split){0};
}
