#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/rewarding.h"
#include "cmd/training.h"
#include "reward/score.h"
#include "rollout/score_input.h"
#include "train/ppo.h"
#include "util/mem.h"

struct ppo_args {
    struct train_args train;
    struct strings reward;
    int64_t iterations, num_generations, response_length, num_ppo_epochs, num_mini_batches, slots;
    double temperature, kl_coef, kl_target, kl_horizon, stop_kl, missing_eos_penalty;
    double cliprange, cliprange_value, vf_coef, gamma, lam;
    bool whiten_rewards, whiten_advantages, share_value_trunk;
    struct aggregate_args aggregate;
};

#define FIELD(name) offsetof(struct ppo_args, name)
static const struct option rollout_table[] = {
    {"reward", OPTION_LIST, FIELD(reward), NULL, "a reward model (a run's folder or a model with a head); several, and a run with several members, are an ensemble",
     .required = true, .value = "PATH", .alias = "reward_model_path"},
    {"iterations", OPTION_INT, FIELD(iterations), "10", "times that fresh rollouts are made and learned from", .min = 1, .max = 1e7},
    {"num_generations", OPTION_INT, FIELD(num_generations), "1", "completions of each prompt (per_device_train_batch_size prompts an iteration)",
     .min = 1, .max = 1024},
    {"response_length", OPTION_INT, FIELD(response_length), "64", "tokens of a completion at most", .min = 1, .max = 1e5,
     .alias = "max_new_tokens"},
    {"temperature", OPTION_FLOAT, FIELD(temperature), "1", "of the rollouts and of the policy that is trained", .min = 0.05, .max = 10},
    {"slots", OPTION_INT, FIELD(slots), "32", "completions sampled at the same time", .min = 1, .max = 1024},
    {"missing_eos_penalty", OPTION_FLOAT, FIELD(missing_eos_penalty), "1", "taken off the score of a completion that was cut by length",
     .min = 0, .max = 1e6},
};
static const struct option ppo_table[] = {
    {"kl_coef", OPTION_FLOAT, FIELD(kl_coef), "0.05", "weight of the KL to the reference in the reward (k1, a token)", .min = 0, .max = 100,
     .alias = "init_kl_coef"},
    {"kl_target", OPTION_FLOAT, FIELD(kl_target), "0", "nats a sequence that kl_coef is steered towards; 0: it stays fixed", .min = 0, .max = 1e6},
    {"kl_horizon", OPTION_FLOAT, FIELD(kl_horizon), "10000", "episodes in which kl_coef may change by a fifth", .min = 1, .max = 1e12},
    {"stop_kl", OPTION_FLOAT, FIELD(stop_kl), "0", "stop when the mean KL a sequence is above this; 0: never", .min = 0, .max = 1e6},
    {"num_ppo_epochs", OPTION_INT, FIELD(num_ppo_epochs), "4", "passes over each batch of rollouts", .min = 1, .max = 100},
    {"num_mini_batches", OPTION_INT, FIELD(num_mini_batches), "1", "optimiser steps of a pass", .min = 1, .max = 1e4},
    {"cliprange", OPTION_FLOAT, FIELD(cliprange), "0.2", "of the policy's ratio", .min = 0, .max = 10, .above_min = true},
    {"cliprange_value", OPTION_FLOAT, FIELD(cliprange_value), "0.2", "of the critic's values", .min = 0, .max = 1e6, .above_min = true},
    {"vf_coef", OPTION_FLOAT, FIELD(vf_coef), "0.1", "weight of the critic's loss", .min = 0, .max = 1e3},
    {"gamma", OPTION_FLOAT, FIELD(gamma), "1", "discount a token", .min = 0, .max = 1},
    {"lam", OPTION_FLOAT, FIELD(lam), "0.95", "of generalised advantage estimation", .min = 0, .max = 1},
    {"whiten_rewards", OPTION_BOOL, FIELD(whiten_rewards), "false", "scale rewards to variance 1 (their mean stays)"},
    {"whiten_advantages", OPTION_BOOL, FIELD(whiten_advantages), "true", "scale and shift advantages to mean 0, variance 1"},
    {"share_value_trunk", OPTION_BOOL, FIELD(share_value_trunk), "false", "a value head on the policy's own trunk instead of a critic beside it"},
};
#undef FIELD
static const struct option_group groups[] = {{"Rollouts", rollout_table, ARRAY_LEN(rollout_table), 0},
                                             AGGREGATE_GROUP(offsetof(struct ppo_args, aggregate)),
                                             {"PPO", ppo_table, ARRAY_LEN(ppo_table), 0},
                                             TRAIN_GROUPS(offsetof(struct ppo_args, train))};
static const struct option_spec spec = {
    .command = "ppo",
    .summary = "Proximal policy optimisation: the policy samples, reward models score, the policy learns.",
    .usage = "hone ppo --model M --reward R --train-data PROMPTS --output-dir D [--flags]",
    .example = "hone ppo --model runs/sft --reward runs/reward --train-data examples/helpdesk/prompts.jsonl --output-dir runs/ppo",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

struct job {
    const struct ppo_args *args;
    struct training t;
    struct rewards rewards;
    struct adapter critic_adapter;
    struct head value_head;
    struct gradients critic_grads;
    struct loaded frozen; /* of full fine-tuning: the model as it was, for reference, reward models and critic */
    bool has_frozen;
    struct net reference;
    struct ppo ppo;
    struct kl_controller kl;
    int32_t stop[4];
    size_t n_stop;
};

static int open_rewards(struct job *j, struct err *err)
{
    const struct strings *names = &j->args->reward;
    return load_rewards(&j->rewards, names->data, names->n, j->has_frozen ? &j->frozen : &j->t.base, err);
}

/* The critic starts as the first reward model: what it scores at the end, it foresees before. */
static int open_critic(struct job *j, struct err *err)
{
    const struct reward_model *first = &j->rewards.list[0];
    struct net *critic = &j->ppo.critic;
    if (head_copy(&j->value_head, &first->head, err))
        return -1;
    if (j->args->share_value_trunk) {
        *critic = j->t.net;
        memset(j->value_head.params.data, 0, j->value_head.width * sizeof(float)); /* it reads another trunk */
        j->value_head.bias = 0;
    } else {
        struct adapter_options o = {.rank = (size_t)j->args->train.lora_r, .alpha = (float)j->args->train.lora_alpha,
                                    .seed = (uint32_t)j->args->train.seed + 1};
        critic->model = first->net.model;
        if (!config_same_shape(&critic->model->config, &j->t.base.model.config))
            return err_set(err, "'%s' has another shape than the policy, whose critic it would become: give --share-value-trunk",
                           first->path);
        if (first->net.adapter ? adapter_copy(&j->critic_adapter, &first->adapter, err)
                               : adapter_init(&j->critic_adapter, first->net.model, &o, err))
            return -1;
        critic->adapter = &j->critic_adapter;
    }
    critic->head = &j->value_head;
    return 0;
}

static int open_frozen(struct job *j, struct err *err)
{
    if (j->args->train.full) {
        if (load_net(&j->frozen, j->args->train.model, NULL, j->args->train.tokenizer, err))
            return -1;
        j->has_frozen = true;
    }
    j->reference = j->has_frozen ? j->frozen.net : j->t.base.net;
    return 0;
}

static int prepare(struct job *j, struct err *err)
{
    const struct ppo_args *a = j->args;
    struct training *t = &j->t;
    if (open_frozen(j, err) || open_rewards(j, err) || open_critic(j, err))
        return -1;
    if (a->share_value_trunk) {
        t->net.head = &j->value_head;
        t->has_head = true;
    }
    if (training_begin(t, err))
        return -1;
    if (!a->share_value_trunk) {
        if (gradients_init(&j->critic_grads, &j->ppo.critic, false, true, true, err) ||
            optimizer_add(&t->optimizer, "critic.adapter", &j->critic_adapter.params, j->critic_grads.adapter, 1, err) ||
            optimizer_add(&t->optimizer, "critic.head", &j->value_head.params, j->critic_grads.head, 1, err))
            return -1;
        j->ppo.critic_grads = &j->critic_grads;
    }
    j->ppo.policy = &t->learner;
    j->ppo.options = (struct ppo_options){.num_ppo_epochs = (size_t)a->num_ppo_epochs,
                                          .num_mini_batches = (size_t)a->num_mini_batches,
                                          .shuffle = a->train.shuffle,
                                          .seed = (uint32_t)a->train.seed,
                                          .micro_batch_tokens = (size_t)a->train.micro_batch_tokens,
                                          .temperature = (float)a->temperature,
                                          .loss = {a->cliprange, a->cliprange_value, a->vf_coef},
                                          .rewards = {.gamma = a->gamma, .lam = a->lam, .whiten_rewards = a->whiten_rewards,
                                                      .whiten_advantages = a->whiten_advantages}};
    j->kl = (struct kl_controller){a->kl_coef, a->kl_target, a->kl_horizon};
    j->n_stop = model_stop_tokens(&t->base.model, j->stop);
    return 0;
}

static int sample(struct job *j, struct experience *x, const size_t *rows, size_t n, uint32_t iteration, struct err *err)
{
    const struct ppo_args *a = j->args;
    struct request *requests = xcalloc(n, sizeof *requests);
    for (size_t i = 0; i < n; i++) {
        const struct example *e = &j->t.train.list[rows[i]];
        requests[i] = (struct request){.prompt = e->prompt.ids,
                                       .n_prompt = e->prompt.n,
                                       .n_samples = (size_t)a->num_generations,
                                       .max_new_tokens = (size_t)a->response_length,
                                       .sampling = {.temperature = (float)a->temperature, .top_p = 1,
                                                    .seed = (uint32_t)a->train.seed, .round = iteration},
                                       .stop = j->stop,
                                       .n_stop = j->n_stop,
                                       .adapter = j->t.net.adapter,
                                       .key = row_rng_key(e->row)};
    }
    int rc = generate_all(&j->t.base.model, requests, n, (size_t)a->slots, NULL, NULL, err);
    if (rc == 0)
        experience_init(x, requests, n);
    for (size_t i = 0; i < n; i++)
        request_release(&requests[i]);
    free(requests);
    return rc;
}

/* What the reward models say together, less the penalty for completions without an end. */
static int score(struct job *j, struct experience *x, struct metrics *m, struct err *err)
{
    struct examples input;
    if (score_input(&input, x, &j->t.base.model, err))
        return -1;
    size_t k = j->rewards.n;
    const struct aggregate_config aggregate = aggregate_of(&j->args->aggregate);
    float *scores = xcalloc(k * x->n + 1, sizeof *scores), *own = xcalloc(k + 1, sizeof *own);
    double spread = 0;
    int rc = score_ensemble(scores, j->rewards.nets, k, &input, j->ppo.options.micro_batch_tokens, NULL, NULL, err);
    for (size_t i = 0; rc == 0 && i < x->n; i++) {
        for (size_t r = 0; r < k; r++)
            own[r] = scores[r * x->n + i];
        struct score_summary s = score_summary(own, k, &aggregate);
        if (!isfinite(s.score))
            rc = err_set(err, "the score of a completion is not finite");
        x->scores[i] = (double)s.score - (x->finished[i] ? 0 : j->args->missing_eos_penalty);
        spread += (double)s.std;
    }
    if (rc == 0 && k > 1)
        metrics_put(m, "objective/score_disagreement", spread / (double)x->n);
    free(scores);
    free(own);
    examples_release(&input);
    return rc;
}

static int iterate(struct job *j, uint32_t iteration, size_t total, struct metrics *m, bool *stop, struct err *err)
{
    const struct ppo_args *a = j->args;
    struct training *t = &j->t;
    size_t n, warmup = t->loop.warmup_steps ? t->loop.warmup_steps : (size_t)ceil(t->loop.warmup_ratio * (double)total);
    size_t *rows = loop_rows(&t->loop, t->train.n, iteration, &n);
    double lr = a->train.learning_rate * schedule_factor(t->loop.schedule, iteration, warmup, total);
    struct experience x;
    metrics_put(m, "step", iteration + 1.0);
    metrics_put(m, "episode", (iteration + 1.0) * (double)(n * (size_t)a->num_generations));
    int rc = sample(j, &x, rows, n, iteration, err);
    free(rows);
    if (rc)
        return -1;
    rc = ppo_logprobs(&j->ppo, &j->reference, &x, x.ref_logps, err);
    if (rc == 0)
        rc = score(j, &x, m, err);
    if (rc == 0)
        rc = ppo_values(&j->ppo, &x, err);
    j->ppo.options.rewards.kl_coef = j->kl.kl_coef;
    if (rc == 0)
        rc = experience_finish(&x, &j->ppo.options.rewards, err);
    if (rc == 0) {
        ppo_describe(&x, &j->ppo.options.rewards, m);
        metrics_put(m, "learning_rate", lr);
        *stop = a->stop_kl > 0 && metrics_get(m, "objective/kl") > a->stop_kl;
        if (!*stop)
            rc = ppo_update(&j->ppo, &x, iteration, lr, true, &t->optimizer, m, NULL, err);
    }
    if (rc == 0)
        rc = kl_controller_update(&j->kl, metrics_get(m, "objective/kl"), x.n, err);
    experience_release(&x);
    return rc;
}

static void show(struct job *j, const struct metrics *m, size_t done)
{
    char line[160];
    snprintf(line, sizeof line, "score %.3f  kl %.2f  length %.0f", metrics_get(m, "objective/scores"),
             metrics_get(m, "objective/kl"), metrics_get(m, "completions/mean_length"));
    progress_update(&j->t.progress, done, line);
}

static int run(struct job *j, struct err *err)
{
    struct training *t = &j->t;
    size_t total = t->loop.max_steps ? t->loop.max_steps : (size_t)j->args->iterations, done = 0;
    json_t *extra = NULL;
    int rc = 0;
    if (t->loop.resume) {
        rc = run_load(&t->run, &done, &t->optimizer, &extra, err);
        if (extra)
            j->kl.kl_coef = json_number_value(json_object_get(extra, "kl_coef"));
        if (json_is_true(json_object_get(extra, "stopped")))
            done = total;
        json_decref(extra);
    }
    progress_start(&t->progress, "ppo", "iterations", done, total, j->args->train.quiet);
    for (bool stop = false; rc == 0 && done < total && !stop;) {
        struct metrics m = {0};
        rc = iterate(j, (uint32_t)done, total, &m, &stop, err);
        if (rc) {
            err_prefix(err, "iteration %zu: the last checkpoint stands", done + 1);
            break;
        }
        done++;
        rc = run_log(&t->run, &m, err);
        show(j, &m, done);
        if (stop && !j->args->train.quiet)
            fprintf(stderr, "ppo: stopped: the KL of %.2f nats a sequence is above stop_kl %.2f; the policy is the one from before "
                            "this iteration\n", metrics_get(&m, "objective/kl"), j->args->stop_kl);
        bool due = t->loop.save_steps && done % t->loop.save_steps == 0;
        if (rc == 0 && (stop || done == total || due)) {
            json_t *own = json_pack("{s:f, s:b}", "kl_coef", j->kl.kl_coef, "stopped", stop);
            rc = run_save(&t->run, done, &t->optimizer, own, err);
            json_decref(own);
        }
    }
    progress_end(&t->progress);
    return rc;
}

static void release(struct job *j)
{
    ppo_release(&j->ppo);
    gradients_release(&j->critic_grads);
    adapter_release(&j->critic_adapter);
    head_release(&j->value_head);
    rewards_release(&j->rewards);
    if (j->has_frozen)
        loaded_release(&j->frozen);
}

static int about_rewards(struct job *j, struct err *err)
{
    json_t *list = json_array();
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < j->rewards.n; i++) {
        char hash[65];
        sha256_hex(hash, j->rewards.list[i].head.params.data, j->rewards.list[i].head.params.n * sizeof(float));
        json_array_append_new(list, json_pack("{s:s, s:s}", "path", j->rewards.list[i].path, "head_sha256", hash));
    }
    json_object_set_new(j->t.about, "reward", list);
    (void)err;
    return rc;
}

int cmd_ppo(int argc, char **argv)
{
    struct ppo_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct err err;
    struct job *j = xcalloc(1, sizeof *j);
    j->args = &args;
    int rc = training_open(&j->t, "ppo", &args.train, &o, &err);
    if (rc == 0)
        rc = training_read_prompts(&j->t, &err);
    if (rc == 0)
        rc = prepare(j, &err);
    if (rc == 0)
        rc = run(j, &err);
    if (rc == 0)
        rc = about_rewards(j, &err);
    if (rc == 0) {
        if (args.share_value_trunk)
            j->t.has_head = false; /* the value head is not part of the policy */
        rc = training_finish(&j->t, &err);
    }
    release(j);
    code = training_close(&j->t, rc, &err);
    free(j);
    options_release(&o);
    return code;
}
