#include "eval/rounds.h"

#include <math.h>

const char *const round_stop_names[] = {[ROUND_GO_ON] = "",
                                        [ROUND_LAST] = "rounds",
                                        [ROUND_ALARM] = "monitor",
                                        [ROUND_GOLD] = "gold",
                                        [ROUND_AGREEMENT] = "agreement",
                                        [ROUND_TOLD_APART] = "told_apart",
                                        NULL};

enum round_stop round_stop(struct buf *words, const struct round_figures *list, size_t n, const struct round_rules *rules)
{
    const struct round_figures *r = &list[n - 1];
    struct interval gain = r->gold_gain, agreement = r->agreement, apart = r->told_apart;
    if (r->alarmed) {
        buf_printf(words, "in round %zu the monitor of the training tripped: answers got worse while the reward rose", n);
        return ROUND_ALARM;
    }
    if (gain.hi < rules->least_gain) { /* false where it is not known */
        buf_printf(
            words,
            "in round %zu the gold rose by %.3g (%.3g to %.3g) over the policy before, which is less than the least gain of "
            "%g",
            n, gain.value, gain.lo, gain.hi, rules->least_gain);
        return ROUND_GOLD;
    }
    if (rules->imitates && apart.lo <= 0.5) {
        buf_printf(
            words,
            "in round %zu the reward model told demonstrations from the answers of the policy before in %.3f (%.3f to %.3f) of "
            "held-out cases, which may be guessing: there is nothing left for it to teach",
            n, apart.value, apart.lo, apart.hi);
        return ROUND_TOLD_APART;
    }
    if (rules->enough_agreement > 0 && agreement.lo >= rules->enough_agreement) {
        buf_printf(words, "in round %zu the reward model had foreseen %.3f (%.3f to %.3f) of the new labels, and %g is enough",
                   n, agreement.value, agreement.lo, agreement.hi, rules->enough_agreement);
        return ROUND_AGREEMENT;
    }
    if (n >= rules->rounds) {
        buf_printf(words, "round %zu was the last that was asked for", n);
        return ROUND_LAST;
    }
    return ROUND_GO_ON;
}

size_t round_best(const struct round_figures *list, size_t n, double start_gold)
{
    size_t best = 0;
    double highest = start_gold;
    for (size_t i = 0; i < n; i++) {
        if (isfinite(start_gold) ? list[i].gold > highest : !list[i].alarmed) {
            best = i + 1;
            highest = list[i].gold;
        }
    }
    return best;
}
