#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/demo.h"
#include "cmd/json.h"
#include "cmd/policy.h"
#include "cmd/progress.h"
#include "eval/answers.h"
#include "eval/perplexity.h"
#include "reward/rubric.h"
#include "util/file.h"
#include "util/mem.h"

enum { BASE, SFT, PPO, DPO, POLICIES };
static const char *const policy_names[POLICIES] = {"base", "sft", "ppo", "dpo"};
enum { FIRST, SECOND, REWARDS };
static const char *const reward_names[REWARDS] = {"reward", "reward-second"};
static const char *const reward_data[REWARDS] = {"comparisons.jsonl", "comparisons-second.jsonl"};

struct verdict {
    const struct demo *d;
    struct loaded base;
    struct policy policies[POLICIES]; /* [BASE] is not used: that is `base` */
    size_t n_policies;                /* opened, BASE counted */
    struct reward_model rewards[REWARDS];
    size_t n_rewards;
    struct demo_prompts prompts;
    struct answers answers[POLICIES];
    double *scores[POLICIES][REWARDS], *kl[POLICIES];
    struct perplexity perplexity[POLICIES];
    json_t *results;
};

static const struct net *net_of(const struct verdict *v, size_t p)
{
    return p == BASE ? &v->base.net : &v->policies[p].net;
}

static int open_all(struct verdict *v, struct err *err)
{
    const struct demo *d = v->d;
    if (d->args->threads)
        omp_set_num_threads((int)d->args->threads);
    int rc = load_net(&v->base, d->args->model, NULL, NULL, err);
    for (v->n_policies = 1; rc == 0 && v->n_policies < POLICIES; v->n_policies++) {
        char *path = demo_path(d, policy_names[v->n_policies]);
        rc = policy_open(&v->policies[v->n_policies], path, &v->base, err);
        free(path);
        if (rc)
            break;
    }
    for (; rc == 0 && v->n_rewards < REWARDS; v->n_rewards++) {
        char *path = demo_path(d, reward_names[v->n_rewards]);
        rc = load_reward(&v->rewards[v->n_rewards], path, &v->base, err);
        free(path);
        if (rc)
            break;
    }
    return rc || model_pack(&v->base.model, err) ? -1 : 0;
}

static int judge_rewards(struct verdict *v, struct err *err)
{
    json_t *list = json_object_get(v->results, "reward_models");
    for (size_t r = 0; r < REWARDS; r++) {
        fprintf(stderr, "      held-out comparisons under %s\n", reward_names[r]);
        json_t *o = demo_judge_reward(v->d, reward_names[r], reward_data[r], &v->rewards[r].net, err);
        if (!o)
            return -1;
        json_array_append_new(list, o);
    }
    return 0;
}

/* ---- policies on held-out prompts ---- */

static void show(void *user, size_t done)
{
    progress_update(user, done, NULL);
}

static int sample_all(struct verdict *v, struct err *err)
{
    struct answers_config config = {1, DEMO_RESPONSE_LENGTH, DEMO_SLOTS, DEMO_TEMPERATURE, DEMO_SEED};
    int rc = demo_prompts_read(&v->prompts, v->d, &v->base.model, err);
    for (size_t p = 0; rc == 0 && p < POLICIES; p++) {
        struct progress progress;
        char *what = xasprintf("      answers of %s", policy_names[p]);
        progress_start(&progress, what, "answers", 0, v->prompts.examples.n, false);
        rc = answers_sample(&v->answers[p], net_of(v, p), &v->prompts.examples, &config, show, &progress, err);
        progress_end(&progress);
        free(what);
    }
    return rc;
}

static int score_all(struct verdict *v, struct err *err)
{
    const struct answers *list[POLICIES];
    double *scores[POLICIES];
    for (size_t p = 0; p < POLICIES; p++) {
        list[p] = &v->answers[p];
        for (size_t r = 0; r < REWARDS; r++)
            v->scores[p][r] = xcalloc(list[p]->n + 1, sizeof *v->scores[p][r]);
        v->kl[p] = xcalloc(list[p]->n + 1, sizeof *v->kl[p]);
    }
    for (size_t r = 0; r < REWARDS; r++) {
        fprintf(stderr, "      scores of the answers under %s\n", reward_names[r]);
        for (size_t p = 0; p < POLICIES; p++)
            scores[p] = v->scores[p][r];
        if (answers_score(scores, list, POLICIES, &(const struct net *){&v->rewards[r].net}, 1, err))
            return -1;
    }
    fputs("      KL to SFT\n", stderr);
    return answers_kl(v->kl, list, POLICIES, net_of(v, SFT), err);
}

static json_t *share_json(const struct rubric_share *s)
{
    return json_pack("{s:I, s:I, s:o}", "applicable", (json_int_t)s->applicable, "passed", (json_int_t)s->passed, "share",
                     json_interval(s->share));
}

static int add_rubric(json_t *o, const struct verdict *v, size_t p, const struct rubric *rubric, struct err *err)
{
    size_t n = v->answers[p].n;
    const char **prompts = xmalloc((n + 1) * sizeof *prompts);
    for (size_t i = 0; i < n; i++)
        prompts[i] = row_prompt_text(&v->prompts.data.rows[i]);
    struct rubric_share *checks = xcalloc(rubric_checks(rubric) + 1, sizeof *checks), all;
    int rc = rubric_shares(rubric, checks, &all, prompts, (const char *const *)v->answers[p].texts, n, err);
    if (rc == 0) {
        json_t *list = json_array();
        for (size_t i = 0; i < rubric_checks(rubric); i++) {
            json_t *c = share_json(&checks[i]);
            json_object_set_new(c, "name", json_string(rubric_check_name(rubric, i)));
            json_array_append_new(list, c);
        }
        json_object_set_new(o, "rubric", json_pack("{s:o, s:o}", "all", share_json(&all), "checks", list));
    }
    free(checks);
    free(prompts);
    return rc;
}

static void add_scores(json_t *o, const struct verdict *v, size_t p)
{
    json_t *means = json_array(), *wins = json_array(), *differences = json_array();
    for (size_t r = 0; r < REWARDS; r++) {
        struct win_rate w;
        json_array_append_new(means, json_interval(answers_mean(&v->answers[p], v->scores[p][r], DEMO_SEED)));
        json_array_append_new(differences, json_interval(answers_difference(&v->answers[p], v->scores[p][r],
                                                                            v->scores[SFT][r], DEMO_SEED)));
        answers_win_rate(&w, &v->answers[p], v->scores[p][r], v->scores[SFT][r], DEMO_SEED);
        json_array_append_new(wins, json_win_rate(&w));
    }
    json_object_set_new(o, "kl_to_sft", json_interval(answers_mean(&v->answers[p], v->kl[p], DEMO_SEED)));
    json_object_set_new(o, "scores", means);
    json_object_set_new(o, "scores_over_sft", differences);
    json_object_set_new(o, "win_rates_over_sft", wins);
}

static int add_perplexity(json_t *o, struct verdict *v, size_t p, struct err *err)
{
    char *path = demo_example(v->d, "plain.txt");
    int rc = perplexity_of_file(&v->perplexity[p], net_of(v, p), path, DEMO_SEED, err);
    free(path);
    if (rc)
        return -1;
    const struct perplexity *x = &v->perplexity[p];
    json_object_set_new(o, "perplexity", json_pack("{s:I, s:I, s:o, s:o, s:o}", "words", (json_int_t)x->words, "tokens",
                                                   (json_int_t)x->n, "token", json_interval(x->token), "word",
                                                   json_interval(x->word), "over_base",
                                                   json_interval(perplexity_ratio(x, &v->perplexity[BASE], DEMO_SEED))));
    return 0;
}

static int judge_policy(struct verdict *v, size_t p, const struct rubric *rubric, struct err *err)
{
    struct answers_measure m;
    answers_measure(&m, &v->answers[p], DEMO_SEED);
    json_t *o = json_pack("{s:s, s:o, s:o, s:o, s:o}", "name", policy_names[p], "tokens", json_interval(m.tokens), "words",
                          json_interval(m.words), "finished", json_interval(m.finished), "distinct_2", json_finite(m.distinct_2));
    add_scores(o, v, p);
    fprintf(stderr, "      rubric and perplexity of %s\n", policy_names[p]);
    int rc = add_rubric(o, v, p, rubric, err) || add_perplexity(o, v, p, err) ? -1 : 0;
    json_array_append_new(json_object_get(v->results, "policies"), o);
    return rc;
}

static int judge_policies(struct verdict *v, struct err *err)
{
    char *path = demo_example(v->d, "rubric.yaml");
    struct rubric *rubric = rubric_load(path, err);
    int rc = rubric ? sample_all(v, err) : -1;
    if (rc == 0)
        rc = score_all(v, err);
    for (size_t p = 0; rc == 0 && p < POLICIES; p++)
        rc = judge_policy(v, p, rubric, err);
    rubric_free(rubric);
    free(path);
    return rc;
}

static void add_shown(struct verdict *v)
{
    json_t *list = json_array();
    for (size_t i = 0; i < v->prompts.n_shown; i++) {
        size_t k = v->prompts.shown[i];
        json_t *answers = json_array();
        for (size_t p = 0; p < POLICIES; p++)
            json_array_append_new(answers, json_pack("{s:s, s:o, s:o}", "name", policy_names[p], "text",
                                                     json_text(v->answers[p].texts[k]), "score",
                                                     json_finite(v->scores[p][SECOND][k])));
        json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "topic", v->prompts.topics[k], "prompt",
                                              row_prompt_text(&v->prompts.data.rows[k]), "answers", answers));
    }
    json_object_set_new(v->results, "side_by_side", list);
}

/* ---- the goals ---- */

static json_t *policy_json(const struct verdict *v, size_t p)
{
    return json_array_get(json_object_get(v->results, "policies"), p);
}

static void add_goal(struct verdict *v, const char *goal, double figure, struct interval interval, bool met)
{
    json_array_append_new(json_object_get(v->results, "goals"),
                          json_pack("{s:s, s:o, s:o, s:b}", "goal", goal, "figure", json_finite(figure), "interval",
                                    json_interval(interval), "met", met));
}

static struct interval interval_at(const json_t *o, const char *key)
{
    return json_to_interval(json_object_get(o, key));
}

static void add_goals(struct verdict *v)
{
    const json_t *first = json_array_get(json_object_get(v->results, "reward_models"), FIRST);
    struct interval x = interval_at(first, "accuracy");
    json_object_set_new(v->results, "goals", json_array());
    add_goal(v, "the reward model is right on at least 75 % of held-out comparisons", x.value, x, x.value >= 0.75);
    x = interval_at(first, "over_length_only");
    add_goal(v, "the reward model is right on at least 10 points more of them than length alone", x.value, x, x.value >= 0.10);
    x = interval_at(first, "over_bag_of_words");
    add_goal(v, "the reward model is right on at least 10 points more of them than a bag of words", x.value, x, x.value >= 0.10);
    static const char *const beats[POLICIES] = {
        [PPO] = "PPO beats SFT under the second reward model: the interval's lower end is above 50 %",
        [DPO] = "DPO beats SFT under the second reward model: the interval's lower end is above 50 %"};
    static const char *const unlearned[POLICIES] = {
        [SFT] = "SFT's perplexity on plain text is at most 1.10 times the base's",
        [PPO] = "PPO's perplexity on plain text is at most 1.10 times the base's",
        [DPO] = "DPO's perplexity on plain text is at most 1.10 times the base's"};
    static const char *const varied[POLICIES] = {[PPO] = "PPO's distinct-2 is at least 0.8 of SFT's",
                                                 [DPO] = "DPO's distinct-2 is at least 0.8 of SFT's"};
    for (size_t p = PPO; p <= DPO; p++) {
        x = interval_at(json_array_get(json_object_get(policy_json(v, p), "win_rates_over_sft"), SECOND), "rate");
        add_goal(v, beats[p], x.value, x, x.lo > 0.5);
    }
    for (size_t p = SFT; p <= DPO; p++) {
        x = interval_at(json_object_get(policy_json(v, p), "perplexity"), "over_base");
        add_goal(v, unlearned[p], x.value, x, x.value <= 1.10);
    }
    double sft = json_number(json_object_get(policy_json(v, SFT), "distinct_2"));
    for (size_t p = PPO; p <= DPO; p++) {
        double share = json_number(json_object_get(policy_json(v, p), "distinct_2")) / sft;
        add_goal(v, varied[p], share, (struct interval){share, NAN, NAN}, share >= 0.8);
    }
}

/* ---- files ---- */

static int write_answers(const struct verdict *v, struct err *err)
{
    struct buf b;
    buf_init(&b, (size_t)256 << 20);
    for (size_t i = 0; i < v->prompts.examples.n; i++)
        for (size_t p = 0; p < POLICIES; p++) {
            const struct row *row = &v->prompts.data.rows[i];
            buf_str(&b, "{\"id\": ");
            buf_json_str(&b, row->id, strlen(row->id));
            buf_printf(&b, ", \"policy\": \"%s\", \"prompt\": ", policy_names[p]);
            buf_json_str(&b, row_prompt_text(row), strlen(row_prompt_text(row)));
            buf_str(&b, ", \"completion\": ");
            buf_json_str(&b, v->answers[p].texts[i], strlen(v->answers[p].texts[i]));
            buf_str(&b, ", \"scores\": [");
            for (size_t r = 0; r < REWARDS; r++) {
                buf_str(&b, r ? ", " : "");
                buf_json_float(&b, (float)v->scores[p][r][i]);
            }
            buf_str(&b, "]}\n");
        }
    char *path = demo_path(v->d, "answers.jsonl");
    int rc = file_write(path, b.data, b.len, err);
    free(path);
    buf_release(&b);
    return rc;
}

static int write_results(const struct verdict *v, struct err *err)
{
    char *path = demo_path(v->d, "results.json"), *text = json_dumps(v->results, JSON_INDENT(2));
    int rc = text ? file_write(path, text, strlen(text), err) : err_set(err, "'%s' cannot be written as JSON", path);
    free(text);
    free(path);
    return rc;
}

static void release(struct verdict *v)
{
    for (size_t p = 0; p < POLICIES; p++) {
        for (size_t r = 0; r < REWARDS; r++)
            free(v->scores[p][r]);
        free(v->kl[p]);
        perplexity_release(&v->perplexity[p]);
        answers_release(&v->answers[p]);
    }
    demo_prompts_release(&v->prompts);
    for (size_t r = 0; r < v->n_rewards; r++)
        reward_model_release(&v->rewards[r]);
    for (size_t p = 1; p < v->n_policies; p++)
        policy_release(&v->policies[p]);
    loaded_release(&v->base);
    json_decref(v->results);
}

int demo_verdict(const struct demo *d, struct err *err)
{
    struct verdict *v = xcalloc(1, sizeof *v);
    v->d = d;
    v->results = json_pack("{s:s, s:s, s:b, s:f, s:i, s:i, s:[], s:[]}", "model", d->args->model, "model_sha256", d->model_hash,
                           "full", d->args->full, "temperature", (double)DEMO_TEMPERATURE, "response_length",
                           DEMO_RESPONSE_LENGTH, "seed", DEMO_SEED, "reward_models", "policies");
    int rc = open_all(v, err);
    if (rc == 0)
        rc = judge_rewards(v, err);
    if (rc == 0)
        rc = judge_policies(v, err);
    if (rc == 0) {
        add_shown(v);
        add_goals(v);
        json_object_set_new(v->results, "prompts", json_integer((json_int_t)v->prompts.examples.n));
        rc = write_answers(v, err) || write_results(v, err) ? -1 : 0;
    }
    release(v);
    free(v);
    return rc;
}
