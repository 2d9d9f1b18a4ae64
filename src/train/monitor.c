#include "train/monitor.h"

#include <math.h>
#include <stdlib.h>

#include "reward/overoptimization.h"
#include "util/mem.h"

const char *const alarm_names[] = {[ALARM_GOLD] = "gold",     [ALARM_DISAGREEMENT] = "disagreement", [ALARM_LENGTH] = "length",
                                   [ALARM_REPETITION] = "repetition", [ALARM_ENTROPY] = "entropy", [ALARM_DISTINCT] = "distinct", [ALARM_OOD] = "ood",
                                   NULL};

void monitor_release(struct monitor *m)
{
    free(m->points);
    *m = (struct monitor){0};
}

/* ---- the gold ---- */

/* Mean of `patience` points that end with number `last`, and its standard error. */
static double gold_mean(const struct monitor *m, size_t last, double *std_err)
{
    size_t n = m->config.patience;
    double sum = 0, squares = 0;
    for (size_t i = last + 1 - n; i <= last; i++) {
        sum += m->points[i].gold;
        squares += m->points[i].gold_std_err * m->points[i].gold_std_err;
    }
    *std_err = sqrt(squares) / (double)n;
    return sum / (double)n;
}

/* The end of the best stretch of `patience` points. */
static size_t best_gold(const struct monitor *m)
{
    size_t best = m->config.patience - 1;
    double ignored, most = gold_mean(m, best, &ignored);
    for (size_t i = best + 1; i < m->n; i++) {
        double mean = gold_mean(m, i, &ignored);
        if (mean > most) {
            most = mean;
            best = i;
        }
    }
    return best;
}

static bool gold_fell(const struct monitor *m)
{
    const struct monitor_config *c = &m->config;
    if (c->gold_errors == 0 || m->n < 2 * c->patience || m->n <= c->warmup)
        return false;
    double best_error, last_error, best = gold_mean(m, best_gold(m), &best_error), last = gold_mean(m, m->n - 1, &last_error);
    return best - last > c->gold_errors * sqrt(best_error * best_error + last_error * last_error); /* not where it is NAN */
}

/* ---- the others: a number against the first points' mean ---- */

static double first_mean(const struct monitor *m, enum alarm a)
{
    double sum = 0;
    for (size_t i = 0; i < m->config.warmup; i++)
        sum += m->points[i].value[a];
    return sum / (double)m->config.warmup;
}

/* Where the alarm begins; NAN: it is not watched, or nothing is known of the start. */
static double limit_of(const struct monitor *m, enum alarm a)
{
    const struct monitor_config *c = &m->config;
    const double ratio[ALARMS] = {[ALARM_DISAGREEMENT] = c->disagreement_ratio, [ALARM_LENGTH] = c->length_ratio,
                                  [ALARM_REPETITION] = c->repetition_more, [ALARM_ENTROPY] = c->entropy_ratio,
                                  [ALARM_DISTINCT] = c->distinct_ratio, [ALARM_OOD] = c->ood_share};
    if (ratio[a] == 0)
        return NAN;
    if (a == ALARM_OOD)
        return ratio[a];
    return a == ALARM_REPETITION ? first_mean(m, a) + ratio[a] : ratio[a] * first_mean(m, a);
}

static bool is_beyond(const struct monitor *m, enum alarm a, size_t i)
{
    double limit = limit_of(m, a), value = m->points[i].value[a];
    return a == ALARM_ENTROPY || a == ALARM_DISTINCT ? value < limit : value > limit; /* not where either is NAN */
}

/* Points at the end, after the warm-up, that are beyond the limit. */
static size_t streak(const struct monitor *m, enum alarm a)
{
    size_t n = 0;
    while (m->config.warmup + n < m->n && is_beyond(m, a, m->n - 1 - n))
        n++;
    return n;
}

unsigned monitor_alarms(const struct monitor *m)
{
    unsigned alarms = gold_fell(m) ? 1u << ALARM_GOLD : 0;
    for (enum alarm a = ALARM_GOLD + 1; a < ALARMS; a++)
        if (streak(m, a) >= m->config.patience)
            alarms |= 1u << a;
    return alarms;
}

/* Nothing is beyond its limit, and the gold was never better. */
static bool is_good(const struct monitor *m)
{
    for (enum alarm a = ALARM_GOLD + 1; a < ALARMS; a++)
        if (streak(m, a))
            return false;
    bool unknown = m->config.gold_errors == 0 || isnan(m->points[m->n - 1].gold) || m->n < m->config.patience;
    return unknown || best_gold(m) == m->n - 1;
}

void monitor_add(struct monitor *m, const struct monitor_point *p)
{
    ARRAY_GROW(m->points, m->n + 1, m->capacity);
    m->points[m->n++] = *p;
    if (is_good(m))
        m->good = m->n - 1;
}

double monitor_peak_kl(const struct monitor *m)
{
    struct gold_fit fit;
    struct err ignored;
    double *column = xmalloc((3 * m->n + 1) * sizeof *column), *kl = column, *gold = column + m->n, *error = column + 2 * m->n;
    for (size_t i = 0; i < m->n; i++) {
        kl[i] = m->points[i].kl;
        gold[i] = m->points[i].gold - m->points[0].gold;
        error[i] = m->points[i].gold_std_err;
    }
    int rc = m->n < 3 ? -1 : gold_curve_fit(&fit, GOLD_CURVE_RL, kl, gold, error, m->n, &ignored);
    free(column);
    return rc ? NAN : fit.peak_kl;
}

/* ---- words ---- */

static void gold_words(const struct monitor *m, struct buf *out)
{
    size_t best = best_gold(m), last = m->n - 1;
    double ignored, high = gold_mean(m, best, &ignored), now = gold_mean(m, last, &ignored), peak = monitor_peak_kl(m);
    double rise = m->points[last].proxy - m->points[best].proxy;
    buf_printf(out, "the gold fell from %.3f (up to iteration %zu, KL %.1f) to %.3f while the reward %s by %.3f", high, best,
               m->points[best].kl, now, rise >= 0 ? "rose" : "fell", fabs(rise));
    if (isfinite(peak))
        buf_printf(out, " (the fitted curve has its peak at a KL of %.1f)", peak);
}

static void value_words(const struct monitor *m, enum alarm a, struct buf *out)
{
    static const char *const what[ALARMS] = {
        [ALARM_DISAGREEMENT] = "the reward models disagree more", [ALARM_LENGTH] = "answers grow longer",
        [ALARM_REPETITION] = "answers repeat themselves", [ALARM_ENTROPY] = "the policy's entropy collapses",
        [ALARM_DISTINCT] = "answers become alike",
        [ALARM_OOD] = "the reward model was not trained on answers like these"};
    buf_printf(out, "%s: %.3g, beyond %.3g for %zu iterations (%.3g at the start)", what[a], m->points[m->n - 1].value[a], limit_of(m, a),
               streak(m, a), first_mean(m, a));
}

void monitor_words(const struct monitor *m, unsigned alarms, struct buf *out)
{
    const char *between = "";
    for (enum alarm a = 0; a < ALARMS; a++) {
        if (!(alarms >> a & 1))
            continue;
        buf_str(out, between);
        if (a == ALARM_GOLD)
            gold_words(m, out);
        else
            value_words(m, a, out);
        between = "; ";
    }
}

/* ---- state ---- */

enum { COLUMNS = 4 + ALARMS };

static void columns_of(double *column[COLUMNS], struct monitor_point *p)
{
    column[0] = &p->kl;
    column[1] = &p->proxy;
    column[2] = &p->gold;
    column[3] = &p->gold_std_err;
    for (int a = 0; a < ALARMS; a++)
        column[4 + a] = &p->value[a];
}

json_t *monitor_state(const struct monitor *m)
{
    json_t *all = json_array();
    for (size_t i = 0; i < m->n; i++) {
        struct monitor_point p = m->points[i];
        double *column[COLUMNS];
        json_t *one = json_array();
        columns_of(column, &p);
        for (int c = 0; c < COLUMNS; c++) /* JSON has no NAN */
            json_array_append_new(one, isfinite(*column[c]) ? json_real(*column[c]) : json_null());
        json_array_append_new(all, one);
    }
    return all;
}

int monitor_restore(struct monitor *m, const json_t *state)
{
    for (size_t i = 0; i < json_array_size(state); i++) {
        const json_t *one = json_array_get(state, i);
        struct monitor_point p;
        double *column[COLUMNS];
        columns_of(column, &p);
        if (json_array_size(one) != COLUMNS)
            return -1;
        for (size_t c = 0; c < COLUMNS; c++) {
            const json_t *v = json_array_get(one, c);
            *column[c] = json_is_number(v) ? json_number_value(v) : NAN;
        }
        monitor_add(m, &p);
    }
    return json_is_array(state) ? 0 : -1;
}
