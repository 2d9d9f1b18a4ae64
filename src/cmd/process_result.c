#include "cmd/process_result.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/json.h"
#include "util/mem.h"
#include "util/stats.h"
#include "util/textstats.h"

int separator_read(char out[STEP_SEPARATOR_MOST + 1], const char *given, struct err *err)
{
    size_t n = 0;
    for (const char *c = given; *c && n <= STEP_SEPARATOR_MOST; c++) {
        bool escaped = c[0] == '\\' && (c[1] == 'n' || c[1] == 't');
        c += escaped;
        if (n < STEP_SEPARATOR_MOST)
            out[n] = !escaped ? *c : *c == 'n' ? '\n' : '\t';
        n++;
    }
    if (n == 0 || n > STEP_SEPARATOR_MOST)
        return err_set(err, "--step-separator has %s bytes: it takes 1 to %d", n ? "too many" : "no", STEP_SEPARATOR_MOST);
    out[n] = 0;
    return 0;
}

/* The first step that is not right, n where all are. */
static size_t first_wrong(const double *right, size_t n)
{
    size_t k = 0;
    while (k < n && right[k] > 0.5)
        k++;
    return k;
}

void process_judge(json_t *about, const double *p, const double *right, const struct steps *steps, const struct dataset *rows,
                   uint32_t seed, bool quiet)
{
    size_t n = steps->start[steps->n];
    double *told = xmalloc((n + 1) * sizeof *told), found = 0;
    uint32_t *unit = xmalloc((n + 1) * sizeof *unit);
    struct word_table prompts;
    struct calibration c;
    struct err never;
    word_table_init(&prompts);
    for (size_t i = 0; i < steps->n; i++) {
        size_t first = steps->start[i], count = steps->start[i + 1] - first;
        char hash[65];
        row_prompt_hash(hash, &rows->rows[i]);
        for (size_t k = first; k < first + count; k++) {
            told[k] = (p[k] > 0.5) == (right[k] > 0.5);
            unit[k] = word_table_id(&prompts, hash, true);
        }
        found += first_wrong(p + first, count) == first_wrong(right + first, count);
    }
    if (stats_calibration(&c, p, right, n, &never))
        BUG("%s", never.text);
    struct interval accuracy = stats_bootstrap_mean(&(struct stats_sample){told, unit, n}, seed);
    struct interval first = stats_wilson(found, (double)steps->n), ece = stats_bootstrap_ece(p, right, unit, n, seed);
    json_object_set_new(about, "step_quality", json_pack("{s:I, s:I, s:o, s:o, s:o, s:f, s:o}", "answers", (json_int_t)steps->n, "steps",
                                                    (json_int_t)n, "step_accuracy", json_interval(accuracy), "first_error_accuracy",
                                                    json_interval(first), "ece", json_interval(ece), "brier", c.brier, "calibration",
                                                    json_calibration(&c)));
    if (!quiet)
        fprintf(stderr, "reward: of %zu held-out steps %.3f (%.3f to %.3f) right, ECE %.3f (%.3f to %.3f); of %zu answers the first wrong step "
                        "found, or that there is none, in %.3f (%.3f to %.3f)\n", n, accuracy.value, accuracy.lo, accuracy.hi, ece.value,
                ece.lo, ece.hi, steps->n, first.value, first.lo, first.hi);
    word_table_release(&prompts);
    free(told);
    free(unit);
}
