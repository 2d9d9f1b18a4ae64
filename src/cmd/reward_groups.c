#include "cmd/reward_groups.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/json.h"
#include "reward/score.h"
#include "util/file.h"
#include "util/mem.h"

int groups_open(struct reward_groups *g, const struct train_args *args, const struct options *options, struct err *err)
{
    *g = (struct reward_groups){.args = *args, .opened = true};
    g->args.quiet = true; /* the models' own runs read the same rows aloud */
    struct training *t = &g->t;
    if (training_open(t, "reward", &g->args, options, err) ||
        training_read(t, 1u << ROWS_PAIR, "pairs of completions, with --by-group", err))
        return -1;
    const struct dataset *const both[] = {&t->train_data, &t->eval_data};
    if (group_votes_read(&g->votes, both, 1, err)) /* groups are those to learn from */
        return -1;
    size_t n_groups = g->votes.n_groups;
    group_votes_release(&g->votes);
    if (group_votes_read(&g->votes, both, 2, err))
        return -1;
    for (size_t k = n_groups; k < g->votes.n_groups; k++)
        return err_set(err, "'%s' has rows of the group '%s', which '%s' has none of to learn from: leave them out",
                       t->eval_data.path, g->votes.name[k], t->train_data.path);
    g->n_eval = t->eval_data.n;
    if (g->n_eval) {
        size_t n;
        struct comparison *labels = comparisons_merge(&t->eval_data, &n, true);
        judgements_of_pairs(&g->held_out, labels, n);
        t->eval_data.n = n;
        free(labels);
    }
    return training_encode(t, false, err);
}

void groups_release(struct reward_groups *g)
{
    const struct err none = {""};
    if (!g->opened)
        return;
    if (g->n_eval)
        g->t.eval_data.n = g->n_eval;
    training_close(&g->t, 0, &none);
    group_votes_release(&g->votes);
    judgements_release(&g->held_out);
}

/* ---- the votes ---- */

static json_t *conflicts_json(const struct reward_groups *g, const struct group_agreement *a)
{
    json_t *list = json_array();
    for (size_t i = 0; i < a->n_conflicts; i++) {
        const struct group_conflict *c = &a->conflict[i];
        json_t *shares = json_object();
        for (size_t k = 0; k < g->votes.n_groups; k++)
            if (!isnan(c->share[k]))
                json_object_set_new(shares, g->votes.name[k], json_real(c->share[k]));
        json_array_append_new(list, json_pack("{s:o, s:f, s:o}", "id", json_text(g->votes.list[c->pair].id), "distance",
                                              c->distance, "share_for_one", shares));
    }
    return list;
}

static void say_agreement(const char *command, const struct group_agreement *a)
{
    fprintf(stderr,
            "%s: annotators agree to Krippendorff's alpha %.2f (%.2f to %.2f); of %zu pairs that groups share their majorities "
            "differ on %.2f "
            "(%.2f to %.2f)\n",
            command, a->alpha.value, a->alpha.lo, a->alpha.hi, a->shared, a->between.value, a->between.lo, a->between.hi);
}

/* ---- the models ---- */

/* Right or not on group k's decided held-out pairs, under two models' leads: (n) out, and their prompts. */
static size_t of_group(double *own, double *pooled, uint32_t *unit, const struct scored_pairs *p, const char *name,
                       const double *own_lead, const double *pooled_lead)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        int most = comparison_majority(&p->label[i]);
        if (most == 0 || !p->group[i] || strcmp(p->group[i], name))
            continue;
        own[n] = own_lead[i] == 0 ? 0.5 : (own_lead[i] > 0) == (most > 0);
        pooled[n] = pooled_lead[i] == 0 ? 0.5 : (pooled_lead[i] > 0) == (most > 0);
        unit[n++] = p->unit[i];
    }
    return n;
}

static double sum_of(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

static struct interval gain_of(const double *own, const double *pooled, const uint32_t *unit, size_t n, uint32_t seed)
{
    double *d = xmalloc((n + 1) * sizeof *d);
    for (size_t i = 0; i < n; i++)
        d[i] = own[i] - pooled[i];
    struct interval gain = stats_bootstrap_mean(&(struct stats_sample){d, unit, n}, seed);
    free(d);
    return gain;
}

/* leads: (1 + groups, n), the pooled model's first. */
static void judge_groups(const struct reward_groups *g, json_t *about, const struct scored_pairs *p, const double *leads,
                         const char *command)
{
    uint32_t seed = (uint32_t)g->args.seed, *unit = xmalloc((p->n + 1) * sizeof *unit);
    double *own = xmalloc((p->n + 1) * sizeof *own), *pooled = xmalloc((p->n + 1) * sizeof *pooled);
    struct group_agreement *a = xcalloc(1, sizeof *a);
    size_t all = 0;
    json_t *groups = json_array();
    group_agreement(a, &g->votes, seed);
    if (command)
        say_agreement(command, a);
    for (size_t k = 0; k < g->votes.n_groups; k++) {
        const char *name = g->votes.name[k];
        size_t n = of_group(own + all, pooled + all, unit + all, p, name, leads + (k + 1) * p->n, leads);
        struct interval o = stats_wilson(sum_of(own + all, n), (double)n), q = stats_wilson(sum_of(pooled + all, n), (double)n);
        struct interval gain = gain_of(own + all, pooled + all, unit + all, n, seed);
        json_array_append_new(groups, json_pack("{s:o, s:I, s:o, s:I, s:o, s:o, s:o}", "group", json_text(name), "votes",
                                                (json_int_t)g->votes.rows[k], "alpha", json_interval(a->within[k]), "held_out",
                                                (json_int_t)n, "own", json_interval(o), "pooled", json_interval(q), "gain",
                                                json_interval(gain)));
        if (command && n)
            fprintf(stderr,
                    "%s: group %s: %zu votes, alpha %.2f; of %zu held-out pairs its own model gets %.3f right, the pooled one "
                    "%.3f: %+.3f (%+.3f "
                    "to %+.3f)\n",
                    command, name, g->votes.rows[k], a->within[k].value, n, o.value, q.value, gain.value, gain.lo, gain.hi);
        all += n;
    }
    struct interval gain = gain_of(own, pooled, unit, all, seed);
    if (command && all)
        fprintf(stderr, "%s: groups' own models are right %+.3f (%+.3f to %+.3f) more often than one for all\n", command,
                gain.value, gain.lo, gain.hi);
    json_object_set_new(about, "by_group",
                        json_pack("{s:o, s:I, s:o, s:o, s:o, s:o}", "alpha", json_interval(a->alpha), "shared_pairs",
                                  (json_int_t)a->shared, "majorities_differ", json_interval(a->between), "gain",
                                  json_interval(gain), "groups", groups, "conflicts", conflicts_json(g, a)));
    free(own);
    free(pooled);
    free(unit);
    free(a);
}

int groups_judge(const struct reward_groups *g, const char *dir, json_t *about, struct held_out *h, const char *command,
                 struct err *err)
{
    const struct training *t = &g->t;
    size_t n_models = 1 + g->votes.n_groups, count = score_count(&t->eval);
    char **paths = xcalloc(n_models + 1, sizeof *paths);
    for (size_t k = 0; k < n_models; k++)
        paths[k] = k ? xasprintf("%s/members/%zu", dir, k) : path_join(dir, "pooled");
    struct rewards models;
    float *scores = xcalloc(n_models * count + 1, sizeof *scores);
    int rc = load_rewards(&models, (const char *const *)paths, n_models, &t->base, err);
    if (rc == 0)
        rc = score_ensemble(scores, NULL, models.nets, models.n, &t->eval, SCORE_MICRO_TOKENS, NULL, NULL, err);
    held_out_init(h, &t->eval, &g->held_out, t->eval_data.rows, t->base.model.tokenizer);
    size_t n = h->pairs.n;
    double *leads = xcalloc(n_models * n + 1, sizeof *leads);
    for (size_t k = 0; rc == 0 && k < n_models; k++) {
        held_out_leads(leads + k * n, h, scores + k * count, 1);
        for (size_t i = 0; k && i < n; i++)
            h->lead[i] += leads[k * n + i] / (double)g->votes.n_groups;
    }
    if (rc == 0)
        judge_groups(g, about, &h->pairs, leads, command);
    rewards_release(&models);
    for (size_t k = 0; k < n_models; k++)
        free(paths[k]);
    free(paths);
    free(scores);
    free(leads);
    return rc;
}
