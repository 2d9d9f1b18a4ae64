#include "eval/reward_quality.h"

#include <math.h>
#include <stdlib.h>

#include "util/mem.h"

int comparison_majority(const struct comparison *c)
{
    if (c->w_a > c->w_b && c->w_a > c->w_tie)
        return 1;
    return c->w_b > c->w_a && c->w_b > c->w_tie ? -1 : 0;
}

int reward_quality(struct reward_quality *out, double *correct, const double *score_a, const double *score_b,
                   const struct comparison *c, size_t n, struct err *err)
{
    *out = (struct reward_quality){.comparisons = n};
    double *p = xmalloc((n + 1) * sizeof *p), *outcome = xmalloc((n + 1) * sizeof *outcome), right = 0;
    for (size_t i = 0; i < n; i++) {
        int majority = comparison_majority(&c[i]);
        double lead = score_a[i] - score_b[i];
        correct[i] = NAN;
        if (majority == 0)
            continue;
        p[out->decided] = 1 / (1 + exp(-lead));
        outcome[out->decided++] = majority > 0;
        correct[i] = lead == 0 ? 0.5 : (lead > 0) == (majority > 0);
        right += correct[i];
    }
    int rc = out->decided ? stats_calibration(&out->calibration, p, outcome, out->decided, err)
                          : err_set(err, "of %zu comparisons none has a majority: there is nothing to hold scores against", n);
    out->accuracy = stats_wilson(right, (double)out->decided);
    free(p);
    free(outcome);
    return rc;
}
