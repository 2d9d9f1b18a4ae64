#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/online.h"
#include "train/ppo.h"
#include "util/mem.h"

struct ppo_args {
    struct online_args online;
    int64_t num_ppo_epochs, num_mini_batches, critic_warmup;
    double kl_coef, kl_target, kl_horizon, stop_kl;
    double cliprange, dual_clip, cliprange_value, vf_coef, gamma, lam;
    bool whiten_rewards, whiten_advantages, share_value_trunk;
    const char *ptx_data;
    double ptx_coef;
    int64_t ptx_batch_size;
};

#define FIELD(name) offsetof(struct ppo_args, name)
static const struct option ppo_table[] = {
    ONLINE_NUM_GENERATIONS("1", 1),
    ONLINE_LENGTH("response_length", "max_new_tokens", "64"),
    ONLINE_MISSING_EOS_PENALTY("1"),
    {"kl_coef", OPTION_FLOAT, FIELD(kl_coef), "0.05", "weight of the KL to the reference in the reward (k1, a token)", .min = 0, .max = 100,
     .alias = "init_kl_coef"},
    {"kl_target", OPTION_FLOAT, FIELD(kl_target), "0", "nats a sequence that kl_coef is steered towards; 0: it stays fixed", .min = 0, .max = 1e6},
    {"kl_horizon", OPTION_FLOAT, FIELD(kl_horizon), "10000", "episodes in which kl_coef may change by a fifth", .min = 1, .max = 1e12},
    {"stop_kl", OPTION_FLOAT, FIELD(stop_kl), "0", "stop when the mean KL a sequence is above this; 0: never", .min = 0, .max = 1e6},
    {"num_ppo_epochs", OPTION_INT, FIELD(num_ppo_epochs), "4", "passes over each batch of rollouts", .min = 1, .max = 100},
    {"num_mini_batches", OPTION_INT, FIELD(num_mini_batches), "1", "optimiser steps of a pass", .min = 1, .max = 1e4},
    {"cliprange", OPTION_FLOAT, FIELD(cliprange), "0.2", "of the policy's ratio", .min = 0, .max = 10, .above_min = true},
    {"dual_clip", OPTION_FLOAT, FIELD(dual_clip), "0", "largest ratio where the advantage is below 0; 3 is usual; 0: none", .min = 0, .max = 1e3},
    {"cliprange_value", OPTION_FLOAT, FIELD(cliprange_value), "0.2", "of the critic's values", .min = 0, .max = 1e6, .above_min = true},
    {"vf_coef", OPTION_FLOAT, FIELD(vf_coef), "0.1", "weight of the critic's loss", .min = 0, .max = 1e3},
    {"gamma", OPTION_FLOAT, FIELD(gamma), "1", "discount a token", .min = 0, .max = 1},
    {"lam", OPTION_FLOAT, FIELD(lam), "0.95", "of generalised advantage estimation", .min = 0, .max = 1},
    {"whiten_rewards", OPTION_BOOL, FIELD(whiten_rewards), "false", "scale rewards to variance 1 (their mean stays)"},
    {"whiten_advantages", OPTION_BOOL, FIELD(whiten_advantages), "true", "scale and shift advantages to mean 0, variance 1"},
    {"ptx_data", OPTION_STRING, FIELD(ptx_data), NULL, "demonstrations whose likelihood is learned beside the reward (PPO-ptx), against forgetting",
     .value = "FILE"},
    {"ptx_coef", OPTION_FLOAT, FIELD(ptx_coef), "0.1", "weight of their mean -logp a token in the loss", .min = 0, .max = 1e3},
    {"ptx_batch_size", OPTION_INT, FIELD(ptx_batch_size), "8", "demonstrations a step", .min = 1, .max = 1e6},
    {"critic_warmup", OPTION_INT, FIELD(critic_warmup), "0", "iterations at first in which the critic alone learns", .min = 0, .max = 1e7},
    {"share_value_trunk", OPTION_BOOL, FIELD(share_value_trunk), "false", "a value head on the policy's own trunk instead of a critic beside it"},
};
#undef FIELD
static const struct option_group groups[] = {ONLINE_GROUPS,
                                             {"PPO", ppo_table, ARRAY_LEN(ppo_table), 0},
                                             TRAIN_GROUPS(offsetof(struct online_args, train))};
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
    struct online online;
    struct adapter critic_adapter;
    struct head value_head;
    struct gradients critic_grads;
    struct ppo ppo;
    struct dataset ptx_data;
    struct examples ptx;
    struct kl_controller kl;
};

/* The critic starts as the first reward model: what it scores at the end, it foresees before.  Without one it starts from
 * nothing. */
static int open_critic(struct job *j, struct err *err)
{
    const struct train_args *a = &j->args->online.train;
    struct online *o = &j->online;
    const struct reward_model *first = o->models.n ? &o->models.list[0].list[0] : NULL;
    struct net *critic = &j->ppo.critic;
    if (first ? head_copy(&j->value_head, &first->head, err) : head_init(&j->value_head, o->t.base.model.config.width, err))
        return -1;
    if (j->args->share_value_trunk) {
        *critic = o->t.net;
        memset(j->value_head.params.data, 0, j->value_head.width * sizeof(float)); /* it reads another trunk */
        j->value_head.bias = 0;
    } else {
        struct adapter_options options = {.rank = (size_t)a->lora_r, .alpha = (float)a->lora_alpha, .seed = (uint32_t)a->seed + 1};
        critic->model = first ? first->net.model : o->reference.model;
        if (!config_same_shape(&critic->model->config, &o->t.base.model.config))
            return err_set(err, "'%s' has another shape than the policy, whose critic it would become: give --share-value-trunk",
                           first->path);
        if (first && first->net.adapter ? adapter_copy(&j->critic_adapter, &first->adapter, err)
                                        : adapter_init(&j->critic_adapter, critic->model, &options, err))
            return -1;
        critic->adapter = &j->critic_adapter;
    }
    critic->head = &j->value_head;
    return 0;
}

static int open_ptx(struct job *j, struct err *err)
{
    const struct ppo_args *a = j->args;
    const struct train_args *t = &a->online.train;
    if (!a->ptx_data)
        return 0;
    if (training_read_completions(&j->online.t, "ptx_data", a->ptx_data, &j->ptx_data, &j->ptx, err))
        return -1;
    j->ppo.ptx = (struct ppo_ptx){.examples = &j->ptx, .coef = a->ptx_coef,
                                  .rows = {.per_device_train_batch_size = (size_t)a->ptx_batch_size, .gradient_accumulation_steps = 1,
                                           .shuffle = t->shuffle, .seed = (uint32_t)t->seed}};
    return 0;
}

static struct ppo_config loss_of(const struct ppo_args *a)
{
    return (struct ppo_config){.cliprange = a->cliprange, .cliprange_value = a->cliprange_value, .vf_coef = a->vf_coef,
                               .dual_clip = a->dual_clip};
}

static int prepare(struct job *j, struct err *err)
{
    const struct ppo_args *a = j->args;
    const struct online_args *shared = &a->online;
    struct training *t = &j->online.t;
    if (open_critic(j, err) || open_ptx(j, err))
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
                                          .shuffle = shared->train.shuffle,
                                          .seed = (uint32_t)shared->train.seed,
                                          .micro_batch_tokens = (size_t)shared->train.micro_batch_tokens,
                                          .temperature = (float)shared->temperature,
                                          .loss = loss_of(a),
                                          .rewards = {.gamma = a->gamma, .lam = a->lam, .whiten_rewards = a->whiten_rewards,
                                                      .whiten_advantages = a->whiten_advantages}};
    j->kl = (struct kl_controller){a->kl_coef, a->kl_target, a->kl_horizon};
    return 0;
}

static int iterate(void *self, uint32_t iteration, double lr, struct metrics *m, bool *stop, struct err *err)
{
    struct job *j = self;
    const struct ppo_args *a = j->args;
    struct online *o = &j->online;
    struct experience x;
    j->ppo.options.critic_only = iteration < (uint64_t)a->critic_warmup;
    optimizer_freeze(&o->t.optimizer, a->online.train.full ? "model" : "adapter", j->ppo.options.critic_only);
    if (online_rollouts(o, &x, iteration, err))
        return -1;
    metrics_put(m, "episode", (iteration + 1.0) * (double)x.n);
    online_put_rewards(o, m);
    int rc = ppo_logprobs(&j->ppo, &o->reference, &x, x.ref_logps, err);
    if (rc == 0)
        rc = ppo_values(&j->ppo, &x, err);
    j->ppo.options.rewards.kl_coef = j->kl.kl_coef;
    if (rc == 0)
        rc = experience_finish(&x, &j->ppo.options.rewards, err);
    if (rc == 0) {
        ppo_describe(&x, &j->ppo.options.rewards, m);
        metrics_put(m, "learning_rate", lr);
        double kl = metrics_get(m, "objective/kl");
        *stop = a->stop_kl > 0 && kl > a->stop_kl;
        if (*stop && !a->online.train.quiet)
            fprintf(stderr, "ppo: stopped: the KL of %.2f nats a sequence is above stop_kl %.2f; the policy is the one from before "
                            "this iteration\n", kl, a->stop_kl);
        rc = watch_rollouts(&o->watch, &x, true, m, stop, err);
        if (rc == 0 && !*stop)
            rc = ppo_update(&j->ppo, &x, iteration, lr, true, &o->t.optimizer, m, NULL, err);
    }
    if (rc == 0)
        rc = kl_controller_update(&j->kl, metrics_get(m, "objective/kl"), x.n, err);
    experience_release(&x);
    return rc;
}

static void show(char *line, size_t size, const struct metrics *m)
{
    snprintf(line, size, "score %.3f  kl %.2f  length %.0f", metrics_get(m, "objective/scores"), metrics_get(m, "objective/kl"),
             metrics_get(m, "completions/mean_length"));
}

static json_t *state(const void *self)
{
    const struct job *j = self;
    return json_pack("{s:f}", "kl_coef", j->kl.kl_coef);
}

static void restore(void *self, const json_t *from)
{
    struct job *j = self;
    j->kl.kl_coef = json_number_value(json_object_get(from, "kl_coef"));
}

/* The critic as a reward model's folder, so that it can be looked at, exported, and begun with again.  With --full the trunk that it shares is
 * the model itself, and the head would stand alone: it is left out. */
static int save_critic(const struct job *j, struct err *err)
{
    const struct net *critic = &j->ppo.critic;
    const struct head_notes notes = {.score_bias = (double)j->value_head.bias};
    if (!critic->adapter)
        return 0;
    char *folder = path_join(j->online.t.run.dir, "critic");
    int rc = adapter_save(critic->adapter, &j->value_head, &notes, critic->model->path, folder, err);
    free(folder);
    return rc;
}

static void release(struct job *j)
{
    ppo_release(&j->ppo);
    gradients_release(&j->critic_grads);
    adapter_release(&j->critic_adapter);
    head_release(&j->value_head);
    examples_release(&j->ptx);
    dataset_release(&j->ptx_data);
}

int cmd_ppo(int argc, char **argv)
{
    struct ppo_args args;
    struct options options;
    int code = command_options(&options, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct err err;
    const struct ppo_config loss = loss_of(&args);
    if (ppo_check(&loss, &err)) {
        options_release(&options);
        return command_misused("ppo", &err);
    }
    struct job *j = xcalloc(1, sizeof *j);
    struct online_method method = {iterate, show, state, restore, j};
    j->args = &args;
    int rc = online_open(&j->online, "ppo", &args.online, &options, &err);
    if (rc == 0)
        rc = prepare(j, &err);
    if (rc == 0)
        rc = online_run(&j->online, &method, &err);
    if (rc == 0) {
        if (args.share_value_trunk)
            j->online.t.has_head = false; /* the value head is not part of the policy */
        rc = save_critic(j, &err) || online_finish(&j->online, &err) ? -1 : 0;
    }
    release(j);
    code = online_close(&j->online, rc, &err);
    free(j);
    options_release(&options);
    return code;
}
