#include "objective/online_dpo.h"

#include "objective/check.h"
#include "util/mem.h"

struct preference_pairs judged_pairs_view(const struct judged_pair *p, size_t chosen)
{
    size_t rejected = 1 - chosen;
    return (struct preference_pairs){.n = 1,
                                     .chosen = &p->logp[chosen],
                                     .rejected = &p->logp[rejected],
                                     .ref_chosen = &p->ref_logp[chosen],
                                     .ref_rejected = &p->ref_logp[rejected],
                                     .chosen_len = &p->len[chosen],
                                     .rejected_len = &p->len[rejected]};
}

int online_dpo_loss(struct judged_loss *out, const struct preference_loss *row, const struct judged_pair *pair, double alpha,
                    const struct preference_config *cfg, struct err *err)
{
    ENSURE(row->pair);
    if (check_not_negative("alpha", alpha, err) || check_finite("logp", pair->logp, NULL, 2, err) ||
        check_weights("weight", pair->weight, 2, err))
        return -1;
    struct judged_loss sum = {.xpo = alpha * pair->logp[1], .dlogp = {0, alpha}};
    for (size_t chosen = 0; chosen < 2; chosen++) {
        struct preference_pairs view = judged_pairs_view(pair, chosen);
        double loss, d[2], w = pair->weight[chosen];
        if (w == 0)
            continue;
        if (preference_loss(&loss, &d[0], &d[1], row, &view, cfg, err))
            return -1;
        sum.dpo += w * loss;
        sum.dlogp[chosen] += w * d[0];
        sum.dlogp[1 - chosen] += w * d[1];
    }
    *out = sum;
    return 0;
}
