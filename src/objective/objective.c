#include "objective/objective.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "objective/aot.h"
#include "objective/apo.h"
#include "objective/bco.h"
#include "objective/check.h"
#include "objective/discopop.h"
#include "objective/dpo.h"
#include "objective/exo.h"
#include "objective/hinge.h"
#include "objective/ipo.h"
#include "objective/nca.h"
#include "objective/orpo.h"
#include "objective/simpo.h"
#include "objective/sppo.h"
#include "util/buf.h"
#include "util/mem.h"

const struct preference_loss preference_losses[] = {
    {"sigmoid", .pair = dpo_pair, .smooths = true, .diverges = true,
     .paper = "Rafailov et al. 2023, eq. 7; with label_smoothing Mitchell 2023, eq. 3"},
    {"sigmoid_norm", .pair = dpo_pair, .per_token = true, .smooths = true, .diverges = true,
     .paper = "the same on log-ratios per token, as TRL"},
    {"robust", .pair = robust_pair, .smooths = true, .diverges = true,
     .paper = "Chowdhury, Kini and Natarajan 2024"},
    {"hinge", .pair = hinge_pair, .diverges = true, .paper = "Zhao et al. 2023; Liu et al. 2023"},
    {"ipo", .pair = ipo_pair, .per_token = true, .diverges = true,
     .paper = "Azar et al. 2023, eq. 17, on log-ratios per token as TRL"},
    {"exo_pair", .pair = exo_pair, .smooths = true, .must_smooth = true, .diverges = true,
     .paper = "Ji et al. 2024, eq. 16"},
    {"nca_pair", .pair = nca_pair, .paper = "Chen et al. 2024"},
    {"bco_pair", .pair = bco_pair, .paper = "Jung et al. 2024, without the shift, as TRL"},
    {"sppo_hard", .pair = sppo_pair, .paper = "Wu et al. 2024, eq. 4.7 with P 1 and 0"},
    {"aot", .step = aot_step, .smooths = true, .paper = "Melnyk et al. 2024, paired"},
    {"aot_unpaired", .step = aot_unpaired_step, .smooths = true,
     .paper = "Melnyk et al. 2024, unpaired"},
    {"apo_zero", .pair = apo_zero_pair, .paper = "D'Oosterlinck et al. 2024, eq. 7"},
    {"apo_down", .pair = apo_down_pair, .paper = "D'Oosterlinck et al. 2024, eq. 8"},
    {"discopop", .pair = discopop_pair, .diverges = true, .paper = "Lu et al. 2024, eq. 5"},
    {"sft", .diverges = true, .paper = "negative log-likelihood of the chosen tokens"},
    {"simpo", .pair = simpo_pair, .per_token = true, .smooths = true, .free = true,
     .paper = "Meng, Xia and Chen 2024, eq. 6"},
    {"orpo", .pair = orpo_pair, .per_token = true, .free = true,
     .paper = "Hong, Lee and Thorne 2024, eq. 7"},
};
const size_t preference_losses_n = sizeof preference_losses / sizeof *preference_losses;

const struct preference_loss *preference_loss_find(const char *name, struct err *err)
{
    for (size_t i = 0; i < preference_losses_n; i++)
        if (!strcmp(preference_losses[i].name, name))
            return &preference_losses[i];

    struct buf names;
    buf_init(&names, sizeof err->text / 2);
    for (size_t i = 0; i < preference_losses_n; i++)
        if (!preference_losses[i].free)
            buf_printf(&names, "%s'%s'", i ? ", " : "", preference_losses[i].name);
    err_set(err, "loss_type '%.100s' is not known: choose one of %s", name, names.data);
    buf_release(&names);
    return NULL;
}

/* ---- checks ---- */

int preference_loss_check(const struct preference_loss *row, const struct preference_config *cfg,
                          struct err *err)
{
    if (check_positive("beta", cfg->beta, err) || check_label_smoothing(cfg->label_smoothing, err))
        return -1;
    if (cfg->label_smoothing != 0 && !row->smooths)
        return err_set(err,
                       "'label_smoothing' is %g: loss_type '%s' has none; set it to 0 or use "
                       "'sigmoid'",
                       cfg->label_smoothing, row->name);
    if (cfg->label_smoothing == 0 && row->must_smooth)
        return err_set(err,
                       "'label_smoothing' is 0: loss_type '%s' needs some; its paper uses 0.001",
                       row->name);
    if (cfg->f_divergence_type != DIVERGENCE_REVERSE_KL && !row->diverges)
        return err_set(err,
                       "'f_divergence_type' is '%s': loss_type '%s' knows 'reverse_kl' only; use "
                       "'sigmoid' or another loss of the scores' difference",
                       divergence_names[cfg->f_divergence_type], row->name);
    if (check_number("f_alpha_divergence_coef", cfg->f_alpha_divergence_coef, err) ||
        check_number("alpha", cfg->alpha, err) ||
        (row->pair == discopop_pair && check_positive("discopop_tau", cfg->discopop_tau, err)))
        return -1;
    return row->pair == simpo_pair ? check_not_negative("simpo_gamma", cfg->simpo_gamma, err) : 0;
}

static int check_pairs(const struct preference_pairs *pairs, struct err *err)
{
    if (pairs->n == 0)
        return err_set(err, "there are no pairs: a preference loss is a mean over at least one");
    if (check_finite("chosen", pairs->chosen, NULL, pairs->n, err) ||
        check_finite("rejected", pairs->rejected, NULL, pairs->n, err) ||
        check_finite("ref_chosen", pairs->ref_chosen, NULL, pairs->n, err) ||
        check_finite("ref_rejected", pairs->ref_rejected, NULL, pairs->n, err))
        return -1;
    for (size_t i = 0; i < pairs->n; i++)
        if (!pairs->chosen_len[i] || !pairs->rejected_len[i])
            return err_set(err,
                           "'%s[%zu]' is 0: a completion without tokens has no log-prob; drop "
                           "this row",
                           pairs->chosen_len[i] ? "rejected_len" : "chosen_len", i);
    return 0;
}

static int overflow(size_t pair, struct err *err)
{
    return err_set(err,
                   "the loss of pair %zu is not finite: its log-probs are too far from the "
                   "reference's; lower the learning rate or beta",
                   pair);
}

/* ---- one loss ---- */

/* AlphaPO's reward of a log-prob or log-ratio; the same transform as the alpha-divergence's. */
static double reward(double u, double *slope, const struct preference_config *cfg)
{
    if (cfg->alpha == 0) {
        *slope = 1;
        return u;
    }
    return divergence_score(u, slope, DIVERGENCE_ALPHA, 1 - cfg->alpha);
}

static double score(double u, size_t len, double *slope, const struct preference_loss *row,
                    const struct preference_config *cfg)
{
    double inner, outer, tokens = row->per_token ? (double)len : 1;
    double s = divergence_score(reward(u, &inner, cfg), &outer, cfg->f_divergence_type,
                                cfg->f_alpha_divergence_coef);
    *slope = inner * outer / tokens;
    return s / tokens;
}

/* The mean over the pairs, each by itself; -1 where one of them is not finite. */
static int pair_by_pair(double *loss, double *dchosen, double *drejected,
                        const struct preference_loss *row, const struct preference_pairs *p,
                        const struct preference_config *cfg, struct err *err)
{
    double sum = 0, n = (double)p->n;
    for (size_t i = 0; i < p->n; i++) {
        double slope[2];
        double chosen =
            score(p->chosen[i] - p->ref_chosen[i], p->chosen_len[i], &slope[0], row, cfg);
        double rejected =
            score(p->rejected[i] - p->ref_rejected[i], p->rejected_len[i], &slope[1], row, cfg);
        struct pair_loss l = row->pair(chosen, rejected, cfg);
        sum += l.loss;
        dchosen[i] = l.dchosen * slope[0] / n;
        drejected[i] = l.drejected * slope[1] / n;
        if (!isfinite(sum) || !isfinite(dchosen[i]) || !isfinite(drejected[i]))
            return overflow(i, err);
    }
    *loss = sum / n;
    return 0;
}

static int step_at_once(double *loss, double *dchosen, double *drejected,
                        const struct preference_loss *row, const struct preference_pairs *p,
                        const struct preference_config *cfg, struct err *err)
{
    *loss = row->step(dchosen, drejected, p, cfg);
    for (size_t i = 0; i < p->n; i++)
        if (!isfinite(*loss) || !isfinite(dchosen[i]) || !isfinite(drejected[i]))
            return overflow(i, err);
    return 0;
}

int preference_loss(double *loss, double *dchosen, double *drejected,
                    const struct preference_loss *row, const struct preference_pairs *pairs,
                    const struct preference_config *cfg, struct err *err)
{
    ENSURE(row->pair || row->step);
    if (preference_loss_check(row, cfg, err) || check_pairs(pairs, err))
        return -1;
    double own = 0, *d = xmalloc(2 * pairs->n * sizeof *d);
    int rc = row->pair ? pair_by_pair(&own, d, d + pairs->n, row, pairs, cfg, err)
                       : step_at_once(&own, d, d + pairs->n, row, pairs, cfg, err);
    if (rc == 0) {
        *loss = own;
        memcpy(dchosen, d, pairs->n * sizeof *d);
        memcpy(drejected, d + pairs->n, pairs->n * sizeof *d);
    }
    free(d);
    return rc;
}

/* ---- several ---- */

int preference_mixture_add(struct preference_mixture *m, const struct preference_loss *row,
                           double weight, struct err *err)
{
    if (check_not_negative("loss_weights", weight, err))
        return -1;
    for (size_t i = 0; i < m->n; i++)
        if (m->rows[i] == row)
            return err_set(err, "loss_type '%s' is given twice: say it once, with its weight",
                           row->name);
    if (m->n == PREFERENCE_MIXED)
        return err_set(err, "more than %d loss types: leave some out", PREFERENCE_MIXED);
    m->rows[m->n] = row;
    m->weights[m->n++] = weight;
    return 0;
}

/* The settings as one row of a mixture gets them. */
static struct preference_config own_config(const struct preference_loss *row,
                                           const struct preference_config *cfg)
{
    struct preference_config own = *cfg;
    if (!row->smooths)
        own.label_smoothing = 0;
    return own;
}

int preference_mixture_check(const struct preference_mixture *m,
                             const struct preference_config *cfg, struct err *err)
{
    bool smooths = false;
    for (size_t i = 0; i < m->n; i++)
        smooths |= m->rows[i]->smooths;
    for (size_t i = 0; i < m->n; i++) {
        struct preference_config own = smooths ? own_config(m->rows[i], cfg) : *cfg;
        if (preference_loss_check(m->rows[i], &own, err))
            return -1;
    }
    return 0;
}

bool preference_mixture_by_step(const struct preference_mixture *m)
{
    bool by_step = false;
    for (size_t i = 0; i < m->n; i++)
        by_step |= m->rows[i]->step != NULL;
    return by_step;
}

double preference_mixture_nll_weight(const struct preference_mixture *m)
{
    double weight = 0;
    for (size_t i = 0; i < m->n; i++)
        if (!m->rows[i]->pair && !m->rows[i]->step)
            weight += m->weights[i];
    return weight;
}

int preference_mixture_loss(double *loss, double *dchosen, double *drejected,
                            const struct preference_mixture *m,
                            const struct preference_pairs *pairs,
                            const struct preference_config *cfg, struct err *err)
{
    if (preference_mixture_check(m, cfg, err) || check_pairs(pairs, err))
        return -1;
    size_t n = pairs->n;
    double sum = 0, *d = xcalloc(4 * n, sizeof *d), *own = d + 2 * n;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < m->n; i++) {
        struct preference_config c = own_config(m->rows[i], cfg);
        double l;
        if (!m->rows[i]->pair && !m->rows[i]->step)
            continue;
        rc = preference_loss(&l, own, own + n, m->rows[i], pairs, &c, err);
        if (rc == 0)
            sum += m->weights[i] * l;
        for (size_t j = 0; rc == 0 && j < 2 * n; j++)
            d[j] += m->weights[i] * own[j];
    }
    if (rc == 0) {
        *loss = sum;
        memcpy(dchosen, d, n * sizeof *d);
        memcpy(drejected, d + n, n * sizeof *d);
    }
    free(d);
    return rc;
}

/* ---- what is logged ---- */

int preference_stats(struct preference_stats *stats, const struct preference_pairs *pairs,
                     const struct preference_config *cfg, struct err *err)
{
    if (check_positive("beta", cfg->beta, err) || check_pairs(pairs, err))
        return -1;
    struct preference_stats sum = {0};
    for (size_t i = 0; i < pairs->n; i++) {
        double slope, u = pairs->chosen[i] - pairs->ref_chosen[i],
                      v = pairs->rejected[i] - pairs->ref_rejected[i];
        double chosen = cfg->beta * reward(u, &slope, cfg);
        double rejected = cfg->beta * reward(v, &slope, cfg);
        sum.rewards_chosen += chosen;
        sum.rewards_rejected += rejected;
        sum.rewards_margins += chosen - rejected;
        sum.rewards_accuracies += chosen > rejected;
        sum.logps_chosen += pairs->chosen[i];
        sum.logps_rejected += pairs->rejected[i];
        sum.logps_both_fell += u < 0 && v < 0;
    }
    double n = (double)pairs->n;
    *stats = (struct preference_stats){
        .rewards_chosen = sum.rewards_chosen / n,
        .rewards_rejected = sum.rewards_rejected / n,
        .rewards_margins = sum.rewards_margins / n,
        .rewards_accuracies = sum.rewards_accuracies / n,
        .logps_chosen = sum.logps_chosen / n,
        .logps_rejected = sum.logps_rejected / n,
        .logps_both_fell = sum.logps_both_fell / n,
    };
    return 0;
}

void preference_stats_add(struct preference_stats *sum, const struct preference_stats *s)
{
    sum->rewards_chosen += s->rewards_chosen;
    sum->rewards_rejected += s->rewards_rejected;
    sum->rewards_margins += s->rewards_margins;
    sum->rewards_accuracies += s->rewards_accuracies;
    sum->logps_chosen += s->logps_chosen;
    sum->logps_rejected += s->logps_rejected;
    sum->logps_both_fell += s->logps_both_fell;
}
