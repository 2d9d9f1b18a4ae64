#include "objective/objective.h"

#include <string.h>

#include "objective/check.h"
#include "objective/dpo.h"
#include "objective/ipo.h"
#include "util/buf.h"

const struct preference_loss preference_losses[] = {
    {"sigmoid", dpo_loss, "Rafailov et al. 2023, eq. 7; with label_smoothing Mitchell 2023, eq. 3"},
    {"ipo", ipo_loss, "Azar et al. 2023, eq. 17, on log-ratios per token as TRL"},
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
        buf_printf(&names, "%s'%s'", i ? ", " : "", preference_losses[i].name);
    err_set(err, "loss_type '%.100s' is not known: choose one of %s", name, names.data);
    buf_release(&names);
    return NULL;
}

int preference_check(const struct preference_pairs *pairs, const struct preference_config *cfg,
                     struct err *err)
{
    if (pairs->n == 0)
        return err_set(err, "there are no pairs: a preference loss is a mean over at least one");
    if (check_positive("beta", cfg->beta, err) ||
        check_label_smoothing(cfg->label_smoothing, err) ||
        check_finite("chosen", pairs->chosen, NULL, pairs->n, err) ||
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

int preference_overflow(size_t pair, struct err *err)
{
    return err_set(err,
                   "the loss of pair %zu is not finite: its log-probs are too far from the "
                   "reference's; lower the learning rate or beta",
                   pair);
}

int preference_stats(struct preference_stats *stats, const struct preference_pairs *pairs,
                     const struct preference_config *cfg, struct err *err)
{
    if (preference_check(pairs, cfg, err))
        return -1;
    struct preference_stats sum = {0};
    for (size_t i = 0; i < pairs->n; i++) {
        double chosen = cfg->beta * (pairs->chosen[i] - pairs->ref_chosen[i]);
        double rejected = cfg->beta * (pairs->rejected[i] - pairs->ref_rejected[i]);
        sum.rewards_chosen += chosen;
        sum.rewards_rejected += rejected;
        sum.rewards_margins += chosen - rejected;
        sum.rewards_accuracies += chosen > rejected;
        sum.logps_chosen += pairs->chosen[i];
        sum.logps_rejected += pairs->rejected[i];
    }
    double n = (double)pairs->n;
    *stats = (struct preference_stats){
        .rewards_chosen = sum.rewards_chosen / n,
        .rewards_rejected = sum.rewards_rejected / n,
        .rewards_margins = sum.rewards_margins / n,
        .rewards_accuracies = sum.rewards_accuracies / n,
        .logps_chosen = sum.logps_chosen / n,
        .logps_rejected = sum.logps_rejected / n,
    };
    return 0;
}
