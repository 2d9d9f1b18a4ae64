#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/json.h"
#include "cmd/judged.h"
#include "cmd/policy.h"
#include "cmd/progress.h"
#include "cmd/prompts.h"
#include "cmd/reward_result.h"
#include "cmd/rewarding.h"
#include "cmd/rounds.h"
#include "eval/answers.h"
#include "reward/score.h"
#include "train/sequence.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/textstats.h"

/* The policy at the start, before the round, after it.  In the first round the first two are one. */
enum { START, LAST, NEW, POLICIES };
static const char *const policy_names[POLICIES] = {"start", "last", "new"};

struct evaluation {
    const struct round_work *w;
    const struct rounds_args *args;
    struct loaded start;
    struct policy policies[POLICIES]; /* [START] is not used: that is `start` */
    struct prompts prompts;
    struct answers answers[POLICIES];
    double *proxy[POLICIES], *gold[POLICIES], *kl[POLICIES]; /* proxy, gold: NULL where there is none */
    struct rewards rewards;                                  /* after the round */
    struct reward_mix mix;                                   /* the gold */
    struct mix_models models;
    json_t *figures;
};

static bool first_round(const struct evaluation *v)
{
    return v->w->round == 1;
}

/* Who stands for a policy: the start for the last one in the first round. */
static size_t stands_for(const struct evaluation *v, size_t p)
{
    return p == LAST && first_round(v) ? START : p;
}

static const struct net *net_of(const struct evaluation *v, size_t p)
{
    return p == START ? &v->start.net : &v->policies[p].net;
}

static int open_policy(struct evaluation *v, size_t p, size_t round, struct err *err)
{
    char *path = policy_after(v->w->rounds, round);
    int rc = policy_open(&v->policies[p], path, &v->start, err);
    if (rc == 0 && v->policies[p].own)
        rc = model_pack(v->policies[p].own, err);
    free(path);
    return rc;
}

static int open_rewards(struct rewards *r, const struct evaluation *v, size_t round, struct err *err)
{
    char *path = reward_after(v->w->rounds, round);
    int rc = path ? load_rewards(r, (const char *const *)&path, 1, &v->start, err) : 0;
    free(path);
    return rc;
}

static int open_all(struct evaluation *v, struct err *err)
{
    const struct rounds_args *args = v->args;
    const struct rows_config config = {.prompts = true, .system = args->system, .keep_fields = true};
    if (args->threads)
        omp_set_num_threads((int)args->threads);
    if (load_net(&v->start, args->model, NULL, args->tokenizer, err) ||
        (!first_round(v) && open_policy(v, LAST, v->w->round - 1, err)) || open_policy(v, NEW, v->w->round, err) ||
        open_rewards(&v->rewards, v, v->w->round, err))
        return -1;
    if (args->gold &&
        (reward_mix_parse(&v->mix, &args->gold, 1, NULL, 0, err) || mix_models_open(&v->models, &v->mix, &v->start, err)))
        return err_prefix(err, "--gold");
    v->mix.program_seconds = args->reward_timeout;
    v->mix.max_tokens = (size_t)args->response_length;
    v->mix.micro_tokens = SCORE_MICRO_TOKENS;
    if (prompts_read(&v->prompts, v->w->rounds->command, args->eval_prompts, &config, ~(1u << ROWS_SCORES), &v->start.model,
                     (size_t)args->response_length, true, err))
        return -1;
    return model_pack(&v->start.model, err);
}

/* ---- answers to held-out prompts ---- */

static void show(void *user, size_t done)
{
    progress_update(user, done, NULL);
}

static int sample(struct evaluation *v, size_t p, struct err *err)
{
    const struct rounds_args *args = v->args;
    struct answers_config config = {1, (size_t)args->response_length, (size_t)args->slots, (float)args->temperature,
                                    (uint32_t)args->seed};
    struct progress progress;
    char *what = xasprintf("evaluate: %s", policy_names[p]);
    progress_start(&progress, what, "answers", 0, v->prompts.examples.n, args->quiet);
    int rc = answers_sample(&v->answers[p], net_of(v, p), &v->prompts.examples, &config, show, &progress, err);
    progress_end(&progress);
    free(what);
    return rc;
}

static int score_gold(struct evaluation *v, size_t p, struct err *err)
{
    const struct experience *x = &v->answers[p].x;
    v->gold[p] = xcalloc(x->n + 1, sizeof *v->gold[p]);
    return reward_mix_score(v->gold[p], NULL, NULL, &v->mix, x, &v->start.model, err) ? err_prefix(err, "--gold") : 0;
}

static int measure_answers(struct evaluation *v, struct err *err)
{
    const struct answers *list[POLICIES];
    double *proxy[POLICIES], *kl[POLICIES];
    size_t n = 0;
    for (size_t p = 0; p < POLICIES; p++) {
        if (stands_for(v, p) != p)
            continue;
        if (sample(v, p, err) || (v->args->gold && score_gold(v, p, err)))
            return -1;
        v->kl[p] = xcalloc(v->answers[p].n + 1, sizeof *v->kl[p]);
        if (v->rewards.n)
            v->proxy[p] = xcalloc(v->answers[p].n + 1, sizeof *v->proxy[p]);
        list[n] = &v->answers[p];
        proxy[n] = v->proxy[p];
        kl[n++] = v->kl[p];
    }
    if (v->rewards.n && answers_score(proxy, list, n, v->rewards.nets, v->rewards.n, err))
        return -1;
    return answers_kl(kl, list, n, &v->start.net, err);
}

static json_t *policy_json(const struct evaluation *v, size_t p)
{
    uint32_t seed = (uint32_t)v->args->seed;
    const struct answers *a = &v->answers[p];
    struct answers_measure m;
    answers_measure(&m, a, seed);
    json_t *o = json_pack("{s:o, s:o, s:o, s:o, s:o}", "tokens", json_interval(m.tokens), "words", json_interval(m.words),
                          "finished", json_interval(m.finished), "distinct_2", json_finite(m.distinct_2), "kl",
                          json_interval(answers_mean(a, v->kl[p], seed)));
    if (v->proxy[p])
        json_object_set_new(o, "score", json_interval(answers_mean(a, v->proxy[p], seed)));
    if (v->gold[p])
        json_object_set_new(o, "gold", json_interval(answers_mean(a, v->gold[p], seed)));
    return o;
}

/* What a judge says of the new policy beside another. */
static json_t *beside(const struct evaluation *v, double *const *scores, size_t p)
{
    uint32_t seed = (uint32_t)v->args->seed;
    struct win_rate w;
    answers_win_rate(&w, &v->answers[NEW], scores[NEW], scores[p], seed);
    return json_pack("{s:o, s:o}", "difference",
                     json_interval(answers_difference(&v->answers[NEW], scores[NEW], scores[p], seed)), "win_rate",
                     json_win_rate(&w));
}

static void put_answers(struct evaluation *v)
{
    json_t *policies = json_object();
    for (size_t p = 0; p < POLICIES; p++)
        json_object_set_new(policies, policy_names[p], policy_json(v, stands_for(v, p)));
    json_object_set_new(v->figures, "prompts", json_integer((json_int_t)v->prompts.examples.n));
    json_object_set_new(v->figures, "policies", policies);
    double *const *const judges[] = {v->proxy, v->gold};
    for (size_t i = 0; i < 2; i++)
        if (judges[i][NEW])
            json_object_set_new(v->figures, i ? "gold" : "score",
                                json_pack("{s:o, s:o}", "over_last", beside(v, judges[i], stands_for(v, LAST)), "over_start",
                                          beside(v, judges[i], START)));
}

/* ---- the round's judgements ---- */

static int judged_read(struct judged_pairs *p, const struct evaluation *v, struct err *err)
{
    char *path = round_path(v->w->rounds, v->w->round, "judgements.jsonl");
    int rc = judged_pairs_read(p, path, v->args->system, &v->start.model, err);
    free(path);
    return rc;
}

/* Did the reward model of before foresee what was said of answers that it had not seen? */
static int foresee(struct evaluation *v, const struct judged_pairs *p, struct err *err)
{
    struct rewards before = {0};
    struct held_out h = {0};
    struct judgements labels = {0};
    struct reward_quality q;
    struct err undecided;
    if (open_rewards(&before, v, v->w->round - 1, err))
        return -1;
    if (before.n == 0)
        return 0;
    judgements_of_pairs(&labels, p->labels, p->n);
    held_out_init(&h, &p->examples, &labels, p->data.rows, NULL);
    size_t n = score_count(&p->examples);
    float *scores = xcalloc(before.n * n + 1, sizeof *scores), *mean = xcalloc(n + 1, sizeof *mean);
    int rc = score_ensemble(scores, NULL, before.nets, before.n, &p->examples, SCORE_MICRO_TOKENS, NULL, NULL, err);
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t k = 0; k < before.n; k++)
            sum += (double)scores[k * n + i];
        mean[i] = (float)(sum / (double)before.n);
    }
    held_out_leads(h.lead, &h, mean, 1);
    struct calibrator c = before.calibrator;
    if (!(c.temperature > 0))
        c = (struct calibrator){.temperature = 1};
    if (rc == 0 && reward_quality(&q, NULL, &h.pairs, &c, (uint32_t)v->args->seed, &undecided) == 0)
        json_object_set_new(v->figures, "agreement",
                            json_pack("{s:I, s:o, s:o, s:o}", "decided", (json_int_t)q.decided, "accuracy",
                                      json_interval(q.accuracy), "ece", json_interval(q.ece), "brier", json_interval(q.brier)));
    free(scores);
    free(mean);
    held_out_release(&h);
    judgements_release(&labels);
    rewards_release(&before);
    return rc;
}

static size_t words_in(const struct row_part *p)
{
    size_t n = p->text ? text_word_count(p->text) : 0;
    for (size_t i = 0; i < p->n_messages; i++)
        n += text_word_count(p->messages[i].content);
    return n;
}

/* How long the better and the worse answers are: what a reward model learns first. */
static json_t *lengths_json(const struct judged_pairs *p, uint32_t seed)
{
    double *words[2] = {xcalloc(p->n + 1, sizeof(double)), xcalloc(p->n + 1, sizeof(double))}, longer = 0;
    size_t decided = 0;
    for (size_t i = 0; i < p->n; i++) {
        int majority = comparison_majority(&p->labels[i]);
        if (majority == 0)
            continue;
        const struct row *row = &p->data.rows[i];
        double a = (double)words_in(&row->completions[0]), b = (double)words_in(&row->completions[1]);
        words[0][decided] = majority > 0 ? a : b;
        words[1][decided] = majority > 0 ? b : a;
        longer += words[0][decided] > words[1][decided] ? 1 : words[0][decided] == words[1][decided] ? 0.5 : 0;
        decided++;
    }
    json_t *o =
        json_pack("{s:I, s:o, s:o, s:o}", "decided", (json_int_t)decided, "better_words",
                  json_interval(stats_bootstrap_mean(&(struct stats_sample){words[0], NULL, decided}, seed)), "worse_words",
                  json_interval(stats_bootstrap_mean(&(struct stats_sample){words[1], NULL, decided}, seed)), "longer_wins",
                  json_interval(stats_wilson(longer, (double)decided)));
    free(words[0]);
    free(words[1]);
    return o;
}

static int look_at_judgements(struct evaluation *v, struct err *err)
{
    struct judged_pairs p = {0};
    int rc = judged_read(&p, v, err);
    if (rc == 0) {
        struct word_table who;
        word_table_init(&who);
        for (size_t i = 0; i < p.rows; i++)
            if (p.data.rows[i].annotator)
                word_table_id(&who, p.data.rows[i].annotator, true);
        json_object_set_new(v->figures, "labels",
                            json_pack("{s:I, s:I, s:I}", "rows", (json_int_t)p.rows, "pairs", (json_int_t)p.n, "annotators",
                                      (json_int_t)who.n));
        json_object_set_new(v->figures, "lengths", lengths_json(&p, (uint32_t)v->args->seed));
        word_table_release(&who);
        if (v->args->labels != LABELS_DEMONSTRATIONS)
            rc = foresee(v, &p, err);
    }
    judged_pairs_release(&p);
    return rc;
}

/* ---- demonstrations ---- */

/* Held-out demonstrations under a policy: nats a token of each. */
static double *logps_of(const struct evaluation *v, size_t p, const struct examples *e, struct err *err)
{
    struct learner pass;
    const struct loop_options o = {.micro_batch_tokens = SCORE_MICRO_TOKENS};
    double *logps = NULL;
    if (learner_init_forward(&pass, net_of(v, p), err) == 0)
        logps = sequence_logprobs(&pass, &o, e, NULL, e->n, 1, 1, NULL, NULL, err);
    learner_release(&pass);
    for (size_t i = 0; logps && i < e->n; i++)
        logps[i] /= (double)example_targets(&e->list[i], 0);
    return logps;
}

static json_t *mean_of_difference(const double *x, const double *y, size_t n, uint32_t seed)
{
    double *d = xmalloc((n + 1) * sizeof *d);
    for (size_t i = 0; i < n; i++)
        d[i] = x[i] - y[i];
    json_t *o = json_interval(stats_bootstrap_mean(&(struct stats_sample){d, NULL, n}, seed));
    free(d);
    return o;
}

static int look_at_demonstrations(struct evaluation *v, struct err *err)
{
    struct dataset data;
    struct examples e = {0};
    double *logps[POLICIES] = {NULL};
    uint32_t seed = (uint32_t)v->args->seed;
    const struct rows_config config = {.system = v->args->system};
    struct encode_options o = encode_options_of(&v->start.model);
    o.max_length = v->start.model.rope.positions;
    if (dataset_read(&data, v->args->eval_data, &config, err))
        return -1;
    int rc = examples_encode(&e, &data, &o, err);
    json_t *all = json_pack("{s:I}", "demonstrations", (json_int_t)data.n);
    for (size_t p = 0; rc == 0 && p < POLICIES; p++) {
        logps[p] = logps_of(v, stands_for(v, p), &e, err);
        rc = logps[p] ? 0 : -1;
        if (rc == 0)
            json_object_set_new(all, policy_names[p],
                                json_interval(stats_bootstrap_mean(&(struct stats_sample){logps[p], NULL, e.n}, seed)));
    }
    if (rc == 0) {
        json_object_set_new(all, "over_last", mean_of_difference(logps[NEW], logps[LAST], e.n, seed));
        json_object_set_new(all, "over_start", mean_of_difference(logps[NEW], logps[START], e.n, seed));
    }
    json_object_set_new(v->figures, "logps", all);
    for (size_t p = 0; p < POLICIES; p++)
        free(logps[p]);
    examples_release(&e);
    dataset_release(&data);
    return rc;
}

/* How well the round's reward model told held-out demonstrations from answers of the policy before: its run has judged that, beside
 * what length alone can. */
static int look_at_discriminator(struct evaluation *v, struct err *err)
{
    char *path = round_path(v->w->rounds, v->w->round, "reward/manifest.json");
    json_t *o = json_load_file(path, 0, NULL),
           *accuracy = json_object_get(json_object_get(json_object_get(o, "quality"), "before"), "accuracy");
    json_t *by_length = json_object_get(json_object_get(o, "baselines"), "length_only");
    int rc = o ? 0 : err_set(err, "'%s' cannot be read", path);
    if (accuracy)
        json_object_set(v->figures, "told_apart", accuracy);
    if (by_length)
        json_object_set(v->figures, "told_apart_by_length", by_length);
    json_decref(o);
    free(path);
    return rc;
}

/* How far an AI judge is to be believed, as it wrote itself. */
static void look_at_judge(struct evaluation *v)
{
    char *path = round_path(v->w->rounds, v->w->round, "judge.json");
    json_t *o = v->args->labels == LABELS_JUDGE ? json_load_file(path, 0, NULL) : NULL;
    if (o)
        json_object_set_new(v->figures, "judge", o);
    free(path);
}

/* ---- the whole ---- */

static int write_figures(const struct evaluation *v, struct err *err)
{
    char *path = round_path(v->w->rounds, v->w->round, "figures.json"), *text = json_dumps(v->figures, JSON_INDENT(1));
    int rc = text ? file_write(path, text, strlen(text), err) : err_set(err, "'%s' cannot be written as JSON", path);
    free(text);
    free(path);
    return rc;
}

static void release(struct evaluation *v)
{
    for (size_t p = 0; p < POLICIES; p++) {
        answers_release(&v->answers[p]);
        policy_release(&v->policies[p]);
        free(v->proxy[p]);
        free(v->gold[p]);
        free(v->kl[p]);
    }
    mix_models_release(&v->models);
    reward_mix_release(&v->mix);
    rewards_release(&v->rewards);
    prompts_release(&v->prompts);
    loaded_release(&v->start);
    json_decref(v->figures);
}

int rounds_evaluate(void *user, struct err *err)
{
    const struct round_work *w = user;
    struct evaluation *v = xcalloc(1, sizeof *v);
    bool alarmed = round_alarmed(w->rounds, w->round), imitates = w->rounds->args->labels == LABELS_DEMONSTRATIONS;
    v->w = w;
    v->args = w->rounds->args;
    char *policy = round_name(w->round, alarmed ? "policy/safe" : "policy");
    v->figures = json_pack("{s:I, s:s, s:b}", "round", (json_int_t)w->round, "policy", policy, "alarmed", alarmed);
    int rc = open_all(v, err);
    if (rc == 0)
        rc = measure_answers(v, err);
    if (rc == 0) {
        put_answers(v);
        look_at_judge(v);
        rc = look_at_judgements(v, err);
    }
    if (rc == 0 && imitates)
        rc = look_at_demonstrations(v, err) || (rounds_want_reward(v->args) && look_at_discriminator(v, err)) ? -1 : 0;
    if (rc == 0)
        rc = write_figures(v, err);
    free(policy);
    release(v);
    free(v);
    return rc;
}
