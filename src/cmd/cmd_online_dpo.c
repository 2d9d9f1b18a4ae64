#include <stdlib.h>
#include <string.h>

#include "cmd/judging.h"
#include "cmd/online.h"
#include "train/online_dpo.h"
#include "util/mem.h"

struct online_dpo_args {
    struct online_args online;
    struct judge_args judge;
    int method;
    const char *loss_type;
    int64_t num_iterations, steps_per_generation;
    double beta, label_smoothing, alpha, mixture_coef, preference_temperature;
    bool soft_labels;
};

/* In the order of enum online_pair_method. */
static const char *const methods[] = {"online_dpo", "xpo", "nash_md", NULL};

#define FIELD(name) offsetof(struct online_dpo_args, name)
static const struct option own[] = {
    {"method", OPTION_CHOICE, FIELD(method), NULL,
     "who answers beside the policy: itself; the reference, with a bonus for what is new; a mixture of both, played against "
     "(Nash-MD)",
     .choices = methods},
    {"reward", OPTION_LIST, FIELD(online.reward), NULL,
     "what answers are compared by: a reward model, rule:.. or program:.. (docs/methods/rewards.md); several: their sum. Or "
     "else --judge",
     .value = "REWARD", .alias = "reward_model_path"},
    ONLINE_LENGTH("max_new_tokens", "response_length", "64"),
    ONLINE_MISSING_EOS_PENALTY("0"),
    {"beta", OPTION_FLOAT, FIELD(beta), "0.1", "how strongly the policy is held to the reference", .min = 0, .max = 100,
     .above_min = true},
    {"loss_type", OPTION_STRING, FIELD(loss_type), "sigmoid",
     "of online_dpo and xpo: sigmoid, sigmoid_norm, robust, hinge, ipo, exo_pair, nca_pair, bco_pair, sppo_hard, apo_zero, "
     "apo_down, "
     "discopop (docs/methods/dpo.md)",
     .value = "NAME"},
    {"label_smoothing", OPTION_FLOAT, FIELD(label_smoothing), "0",
     "share of labels thought to be wrong (sigmoid, sigmoid_norm, robust; "
     "exo_pair needs some: 0.001)",
     .min = 0, .max = 0.499},
    {"soft_labels", OPTION_BOOL, FIELD(soft_labels), "false",
     "let a chance of 0.7 count as 0.7, not as 1 (nash_md always does)"},
    {"preference_temperature", OPTION_FLOAT, FIELD(preference_temperature), "1",
     "chances from rewards: sigmoid of their difference over this; 0: the higher one wins", .min = 0, .max = 1e6},
    {"alpha", OPTION_FLOAT, FIELD(alpha), "1e-5", "of xpo: the bonus for what the reference would not write", .min = 0,
     .max = 100},
    {"mixture_coef", OPTION_FLOAT, FIELD(mixture_coef), "0.5", "of nash_md: the reference's share in the opponent", .min = 0,
     .max = 1},
    {"num_iterations", OPTION_INT, FIELD(num_iterations), "1", "passes over each batch of rollouts", .min = 1, .max = 100},
    {"steps_per_generation", OPTION_INT, FIELD(steps_per_generation), "1", "optimiser steps of a pass", .min = 1, .max = 1e4},
};
#undef FIELD
static const struct option_group groups[] = {
    {"Rollouts", online_options + 1, N_ONLINE_OPTIONS - 1, 0}, /* all but --reward, which is required there */
    JUDGE_GROUP(offsetof(struct online_dpo_args, judge)),
    {"Online DPO", own, ARRAY_LEN(own), 0},
    AGGREGATE_GROUP(offsetof(struct online_args, aggregate)),
    {"Monitor", watch_options, N_WATCH_OPTIONS, offsetof(struct online_args, watch)},
    TRAIN_GROUPS(offsetof(struct online_args, train))};
static const struct option_spec spec = {
    .command = "online-dpo",
    .summary = "Preference optimisation on the policy's own answers: each prompt is answered twice, a reward or an AI judge "
               "says which "
               "answer is better, and the policy learns from the pair. Online DPO, XPO, Nash-MD.",
    .usage = "hone online-dpo --model M (--reward R | --judge J) --train-data PROMPTS --output-dir D [--flags]",
    .example =
        "hone online-dpo --model runs/sft --reward runs/reward --train-data examples/helpdesk/prompts.jsonl --output-dir "
        "runs/online-dpo",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

struct job {
    const struct online_dpo_args *args;
    struct online online;
    struct online_dpo method;
    struct judge_model judge;
    bool has_judge, said_alike;
};

/* ---- before work starts ---- */

/* What the table cannot say. */
static int check(struct online_dpo_options *o, const struct online_dpo_args *a, struct err *err)
{
    bool judged = a->judge.judge != NULL;
    if (judged == (a->online.reward.n > 0))
        return err_set(err, judged ? "both --reward and --judge are given: answers are compared by one of them"
                                   : "neither --reward nor --judge is given: say what answers are compared by");
    if (!judged && (a->judge.judge_adapter || a->judge.judge_criterion))
        return err_set(err, "--judge-adapter and --judge-criterion are of a --judge, and there is none");
    if (judged && a->online.missing_eos_penalty > 0)
        return err_set(err,
                       "--missing-eos-penalty is taken off a score, and a judge gives none: leave it out, or take --reward");
    *o = (struct online_dpo_options){
        .method = (enum online_pair_method)a->method,
        .num_iterations = (size_t)a->num_iterations,
        .steps_per_generation = (size_t)a->steps_per_generation,
        .shuffle = a->online.train.shuffle,
        .seed = (uint32_t)a->online.train.seed,
        .micro_batch_tokens = (size_t)a->online.train.micro_batch_tokens,
        .temperature = (float)a->online.temperature,
        .loss = preference_loss_find(a->loss_type, err),
        .config = {.beta = a->beta, .label_smoothing = a->label_smoothing, .discopop_tau = 0.05, .f_alpha_divergence_coef = 1},
        .alpha = a->method == ONLINE_XPO ? a->alpha : 0,
        .soft_labels = a->soft_labels,
    };
    if (!o->loss || online_dpo_check(o, err))
        return -1;
    if (a->method == ONLINE_NASH_MD && a->online.train.full)
        return err_set(
            err, "nash_md mixes two nets over one model, and with --full the policy is a model of its own: leave --full out");
    return 0;
}

static int open_judge(struct job *j, struct err *err)
{
    struct online *o = &j->online;
    if (!j->args->judge.judge)
        return 0;
    if (!o->t.base.model.tokenizer)
        return err_set(err, "a judge reads answers as text, but '%s' has no tokenizer: name one with --tokenizer",
                       o->t.base.model.path);
    if (judge_check_rows(&o->t.train_data, err) ||
        judge_model_open(&j->judge, &j->args->judge, online_base(o), (size_t)j->args->online.train.micro_batch_tokens, err))
        return -1;
    j->has_judge = true;
    json_object_set_new(o->t.about, "judge", judge_model_about(&j->judge));
    return 0;
}

/* ---- an iteration ---- */

/* One answer of the opponent to each prompt of the draw, and its score. */
static int answer_back(struct job *j, struct experience *x, uint32_t draw, struct err *err)
{
    struct online *o = &j->online;
    const struct net *reference = &o->reference;
    struct online_player player = {.model = reference->model, .adapter = reference->adapter, .n = 1, .first_sample = 1};
    if (j->args->method == ONLINE_NASH_MD) {
        player.adapter = o->t.net.adapter;
        player.mix_adapter = reference->adapter;
        player.mixture_coef = (float)j->args->mixture_coef;
    }
    int rc = online_sample(o, x, draw, &player, err);
    return rc == 0 ? online_score(o, x, false, err) : rc;
}

/* Each tree's two answers: those of x, or one of x and one of the opponent. */
struct duel {
    const struct experience *side[2];
    size_t offset[2];
};

static size_t completion_of(const struct duel *d, size_t side, size_t tree)
{
    return d->side[side]->tree[tree] + d->offset[side];
}

static double score_of(const struct duel *d, size_t side, size_t tree)
{
    return d->side[side]->scores[completion_of(d, side, tree)];
}

/* The chance that the first answer is better, by the judge. */
static int ask_judge(double *probability, struct job *j, const struct duel *d, struct judge_stats *stats, struct err *err)
{
    size_t n = d->side[0]->examples.n;
    struct judge_question *questions = xcalloc(n + 1, sizeof *questions);
    char **texts = xcalloc(2 * n + 1, sizeof *texts);
    for (size_t i = 0; i < n; i++) {
        for (size_t side = 0; side < 2; side++)
            texts[2 * i + side] =
                experience_text(d->side[side], i, completion_of(d, side, i), j->online.t.base.model.tokenizer, NULL);
        questions[i] = (struct judge_question){&d->side[0]->examples.list[i].row->prompt, texts[2 * i], texts[2 * i + 1]};
    }
    int rc = judge_pairs(probability, stats, &j->judge.judge, questions, n, err);
    for (size_t i = 0; i < 2 * n; i++)
        free(texts[i]);
    free(texts);
    free(questions);
    return rc;
}

static int compare(double *probability, struct job *j, const struct duel *d, struct metrics *m, struct err *err)
{
    size_t n = d->side[0]->examples.n, ties = 0;
    struct judge_stats stats = {0};
    double sum = 0;
    if (j->has_judge && ask_judge(probability, j, d, &stats, err))
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (!j->has_judge)
            probability[i] = judge_by_scores(score_of(d, 0, i), score_of(d, 1, i), j->args->preference_temperature);
        ties += probability[i] == 0.5;
        sum += probability[i];
    }
    metrics_put(m, "rewards/probabilities", sum / (double)n);
    metrics_put(m, "pairs/tied", (double)ties / (double)n);
    if (j->has_judge) {
        metrics_put(m, "judge/disagreement", (double)stats.disagree / (double)n);
        metrics_put(m, "judge/first", stats.first / (double)n);
        metrics_put(m, "judge/label_mass", stats.mass / (double)n);
    }
    if (ties == n && !j->args->soft_labels && j->args->method == ONLINE_DPO && !j->said_alike && !j->args->online.train.quiet) {
        j->said_alike = true;
        progress_clear(&j->online.t.progress);
        fprintf(
            stderr,
            "online-dpo: warning: iteration %.0f: no answer is better than the other one to its prompt, so there is nothing to "
            "learn from them\n",
            metrics_get(m, "step"));
    }
    return 0;
}

static double share_finished(const struct experience *x)
{
    size_t finished = 0;
    for (size_t c = 0; c < x->n; c++)
        finished += x->finished[c];
    return (double)finished / (double)x->n;
}

static double mean_score(const struct experience *x)
{
    double sum = 0;
    for (size_t c = 0; c < x->n; c++)
        sum += x->scores[c];
    return sum / (double)x->n;
}

/* The scores' keys. */
static void describe_scores(const struct job *j, const struct duel *d, double non_score_reward, struct metrics *m)
{
    const struct experience *x = d->side[0], *y = d->side[1];
    double margin = 0, score = mean_score(x);
    for (size_t i = 0; i < x->examples.n; i++) {
        double lead = score_of(d, 0, i) - score_of(d, 1, i);
        margin += j->args->method == ONLINE_DPO && lead < 0 ? -lead : lead;
    }
    if (x == y) {
        metrics_put(m, "objective/scores", score);
    } else {
        metrics_put(m, "objective/model_scores", score);
        metrics_put(m, "objective/ref_scores", mean_score(y));
    }
    metrics_put(m, "objective/scores_margin", margin / (double)x->examples.n);
    metrics_put(m, "objective/rlhf_reward", score + non_score_reward);
}

/* The policy's answers as they were sampled, with the reference's log-probs. */
static void describe(const struct job *j, const struct duel *d, struct metrics *m)
{
    const struct experience *x = d->side[0];
    double kl = 0, surprise = 0, n = (double)x->n, beta = j->args->beta;
    for (size_t t = 0; t < x->first[x->n]; t++) {
        kl += x->old_logps[t] - x->ref_logps[t];
        surprise -= x->old_logps[t];
    }
    metrics_put(m, "objective/kl", kl / n);
    metrics_put(m, "objective/entropy", surprise / n);
    metrics_put(m, "objective/non_score_reward", -beta * kl / n);
    if (!j->has_judge)
        describe_scores(j, d, -beta * kl / n, m);
    metrics_put(m, d->side[1] == x ? "val/contain_eos_token" : "val/model_contain_eos_token", share_finished(x));
    if (d->side[1] != x)
        metrics_put(m, "val/ref_contain_eos_token", share_finished(d->side[1]));
    metrics_put(m, "beta", beta);
    if (j->args->method == ONLINE_XPO)
        metrics_put(m, "alpha", j->args->alpha);
    if (j->args->method == ONLINE_NASH_MD)
        metrics_put(m, "mixture_coef", j->args->mixture_coef);
}

static int refer(struct job *j, struct experience *x, struct err *err)
{
    const struct online_dpo_options *o = &j->method.options;
    return online_logprobs(&j->online.t.learner, &j->online.reference, x, o->temperature, o->micro_batch_tokens, x->ref_logps,
                           err);
}

/* To the policy's answers those of the reference, whose log-probs are its sampler's (law 1). */
static void join_reference(struct experience *x, struct experience *answers)
{
    memcpy(answers->ref_logps, answers->old_logps, answers->first[answers->n] * sizeof *answers->old_logps);
    experience_join(x, answers);
}

static int learn(struct job *j, struct experience *x, struct experience *other, uint32_t iteration, double lr,
                 struct metrics *m, bool *stop, struct err *err)
{
    struct duel d = {.side = {x, other->n ? other : x}, .offset = {0, other->n ? 0 : 1}};
    double *probability = xcalloc(x->examples.n + 1, sizeof *probability);
    int rc = compare(probability, j, &d, m, err);
    if (rc == 0)
        rc = refer(j, x, err);
    if (rc == 0) {
        describe(j, &d, m);
        online_describe(x, m);
        rc = watch_rollouts(&j->online.watch, x, true, m, stop, err);
    }
    if (rc == 0 && !*stop) {
        if (j->args->method == ONLINE_XPO)
            join_reference(x, other);
        rc = online_dpo_update(&j->method, x, probability, iteration, lr, &j->online.t.optimizer, m, err);
    }
    free(probability);
    return rc;
}

static int iterate(void *self, uint32_t iteration, double lr, struct metrics *m, bool *stop, struct err *err)
{
    struct job *j = self;
    struct experience x, other = {0};
    if (online_rollouts(&j->online, &x, iteration, err))
        return -1;
    metrics_put(m, "learning_rate", lr);
    online_put_rewards(&j->online, m);
    int rc = j->args->method == ONLINE_DPO ? 0 : answer_back(j, &other, iteration, err);
    if (rc == 0)
        rc = learn(j, &x, &other, iteration, lr, m, stop, err);
    experience_release(&x);
    experience_release(&other);
    return rc;
}

/* ---- the command ---- */

static void show(char *line, size_t size, const struct metrics *m)
{
    static const char *const shown[] = {"objective/scores", "objective/model_scores", "rewards/probabilities",
                                        "rewards/accuracies", "objective/kl"};
    size_t at = 0;
    line[0] = 0;
    for (size_t i = 0; i < ARRAY_LEN(shown) && at < size; i++) {
        double v = metrics_get(m, shown[i]);
        if (v == v)
            at += (size_t)snprintf(line + at, size - at, "%s%s %.3f", at ? "  " : "", strchr(shown[i], '/') + 1, v);
    }
}

static int run(struct job *j, const struct options *options, struct err *err)
{
    struct online *o = &j->online;
    struct online_method method = {.iterate = iterate, .line = show, .self = j};
    if (online_open(o, "online-dpo", &j->args->online, options, err) || open_judge(j, err) || training_begin(&o->t, err))
        return -1;
    j->method.policy = &o->t.learner;
    return online_run(o, &method, err) || online_finish(o, err) ? -1 : 0;
}

int cmd_online_dpo(int argc, char **argv)
{
    struct online_dpo_args args = {0};
    struct options options;
    struct err err;
    int code = command_options(&options, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct job *j = xcalloc(1, sizeof *j);
    j->args = &args;
    args.online.num_generations = args.method == ONLINE_DPO ? 2 : 1;
    if (check(&j->method.options, &args, &err)) {
        code = command_misused("online-dpo", &err);
    } else {
        int rc = run(j, &options, &err);
        code = online_close(&j->online, rc, &err);
        if (j->has_judge)
            judge_model_release(&j->judge);
    }
    free(j);
    options_release(&options);
    return code;
}
