#include "cmd/online.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "objective/advantages.h"
#include "util/file.h"
#include "util/mem.h"

#define FIELD(name) offsetof(struct online_args, name)
const struct option online_options[N_ONLINE_OPTIONS] = {
    {"reward", OPTION_LIST, FIELD(reward), NULL,
     "what answers are scored by: a reward model (a run's folder or a model with a head), rule:.. or program:.. "
     "(docs/methods/rewards.md); several: their sum",
     .required = true, .value = "REWARD", .alias = "reward_model_path"},
    {"reward_weights", OPTION_LIST, FIELD(reward_weights), NULL, "a weight for each reward; otherwise all 1", .commas = true, .value = "X"},
    {"reward_timeout", OPTION_FLOAT, FIELD(reward_timeout), "60", "seconds that a program may take to score a batch", .min = 0.1, .max = 1e5},
    REF_MODEL_OPTION(FIELD(ref_model)),
    {"iterations", OPTION_INT, FIELD(iterations), "10", "times that fresh rollouts are made and learned from", .min = 1, .max = 1e7},
    {"temperature", OPTION_FLOAT, FIELD(temperature), "1", "of the rollouts and of the policy that is trained", .min = 0.05, .max = 10},
    {"ema_decay", OPTION_FLOAT, FIELD(ema_decay), "0",
     "keep a moving average of the policy as well, of which each iteration leaves this share; 0: none; 0.9 is usual", .min = 0, .max = 0.9999},
    {"slots", OPTION_INT, FIELD(slots), "32", "completions sampled at the same time", .min = 1, .max = 1024},
};
#undef FIELD

/* ---- opening ---- */

static int open_frozen(struct online *o, struct err *err)
{
    if (o->args->train.full) {
        if (load_net(&o->frozen, o->args->train.model, NULL, o->args->train.tokenizer, err))
            return -1;
        o->has_frozen = true;
    }
    o->reference = o->has_frozen ? o->frozen.net : o->t.base.net;
    if (!o->args->ref_model)
        return 0;
    if (training_open_reference(&o->t, &o->ref_model, o->args->ref_model, o->has_frozen ? &o->frozen : &o->t.base, err))
        return -1;
    o->reference = o->ref_model.net;
    return 0;
}

const struct loaded *online_base(const struct online *o)
{
    return o->has_frozen ? &o->frozen : &o->t.base;
}

static int parse_rewards(struct online *o, struct err *err)
{
    const struct online_args *a = o->args;
    if (reward_mix_parse(&o->mix, a->reward.data, a->reward.n, a->reward_weights.data, a->reward_weights.n, err))
        return -1;
    o->mix.program_seconds = a->reward_timeout;
    o->mix.max_tokens = (size_t)a->response_length;
    o->mix.micro_tokens = (size_t)a->train.micro_batch_tokens;
    return aggregate_of(&o->mix.aggregate, &a->aggregate, err);
}

/* Room for an answer behind each prompt. */
static int check_lengths(const struct online *o, struct err *err)
{
    size_t positions = o->t.base.model.rope.positions, room = (size_t)o->args->response_length;
    for (size_t i = 0; i < o->t.train.n; i++)
        if (o->t.train.list[i].prompt.n + room > positions)
            return err_set(err, "'%s' line %zu: the prompt has %zu tokens, and with answers of up to %zu they are more than the %zu "
                                "positions of the model: shorten the prompt, or allow shorter answers", o->t.train_data.path,
                           o->t.train.list[i].row->line, o->t.train.list[i].prompt.n, room, positions);
    return 0;
}

int online_open(struct online *o, const char *command, const struct online_args *args, const struct options *options,
                struct err *err)
{
    *o = (struct online){.command = command, .args = args};
    int parsed = parse_rewards(o, err);
    if (parsed == 0 && args->ema_decay > 0 && args->train.full)
        parsed = err_set(err, "--ema-decay is for adapters: leave it out, or --full");
    if (parsed)
        o->t.command = command;
    if (parsed || training_open(&o->t, command, &args->train, options, err) ||
        training_read_prompts(&o->t, reward_mix_reads_rows(&o->mix), err) || check_lengths(o, err) ||
        reward_mix_check(&o->mix, &o->t.train_data, &o->t.base.model, err) || open_frozen(o, err) ||
        mix_models_open(&o->models, &o->mix, online_base(o), err) || watch_open(&o->watch, &args->watch, &o->t, &o->mix, online_base(o), err))
        return -1;
    o->n_stop = model_stop_tokens(&o->t.base.model, o->stop);
    return 0;
}

/* ---- rollouts ---- */

int online_sample(struct online *o, struct experience *x, uint32_t draw, const struct online_player *player, struct err *err)
{
    const struct online_args *a = o->args;
    size_t n, *rows = loop_rows(&o->t.loop, o->t.train.n, draw, &n);
    struct request *requests = xcalloc(n + 1, sizeof *requests);
    *x = (struct experience){0};
    for (size_t i = 0; i < n; i++) {
        const struct example *e = &o->t.train.list[rows[i]];
        requests[i] = (struct request){.prompt = e->prompt.ids,
                                       .n_prompt = e->prompt.n,
                                       .n_samples = player->n,
                                       .max_new_tokens = (size_t)a->response_length,
                                       .sampling = {.temperature = (float)a->temperature, .top_p = 1,
                                                    .seed = (uint32_t)a->train.seed, .round = draw},
                                       .stop = o->stop,
                                       .n_stop = o->n_stop,
                                       .adapter = player->adapter,
                                       .mixture_coef = player->mixture_coef,
                                       .mix_adapter = player->mix_adapter,
                                       .key = row_rng_key(e->row),
                                       .first_sample = player->first_sample};
    }
    int rc = generate_all(player->model, requests, n, (size_t)a->slots, NULL, NULL, err);
    if (rc == 0)
        experience_init(x, requests, n);
    for (size_t i = 0; rc == 0 && i < n; i++)
        x->examples.list[i].row = o->t.train.list[rows[i]].row;
    for (size_t i = 0; i < n; i++)
        request_release(&requests[i]);
    free(requests);
    free(rows);
    return rc;
}

static void log_scores(struct online *o, const double *scores, const double *spread, const bool *ood, size_t n)
{
    for (size_t c = 0; c < n; c++)
        o->disagreement += spread[c], o->ood += ood[c];
    for (size_t i = 0; i < o->mix.n; i++) {
        ARRAY_GROW(o->scores[i], o->n_scores + n, o->capacity[i]);
        memcpy(o->scores[i] + o->n_scores, scores + i * n, n * sizeof *scores);
    }
    o->n_scores += n;
}

int online_score(struct online *o, struct experience *x, bool logged, struct err *err)
{
    double *scores = xcalloc((o->mix.n + 1) * x->n + 1, sizeof *scores), *spread = scores + o->mix.n * x->n;
    bool *ood = xcalloc(x->n + 1, sizeof *ood);
    int rc = reward_mix_score(scores, spread, ood, &o->mix, x, &o->t.base.model, err);
    if (rc == 0)
        rc = reward_mix_total(x->scores, scores, &o->mix, x, o->args->missing_eos_penalty, err);
    if (rc == 0 && logged)
        log_scores(o, scores, spread, ood, x->n);
    free(scores);
    free(ood);
    return rc;
}

int online_rollouts(struct online *o, struct experience *x, uint32_t draw, struct err *err)
{
    const struct online_player policy = {.model = &o->t.base.model, .adapter = o->t.net.adapter,
                                         .n = (size_t)o->args->num_generations};
    int rc = online_sample(o, x, draw, &policy, err);
    if (rc == 0)
        rc = online_score(o, x, true, err);
    if (rc)
        experience_release(x);
    return rc;
}

void online_put_rewards(struct online *o, struct metrics *m)
{
    double n = (double)o->n_scores;
    for (size_t i = 0; i < o->mix.n; i++) {
        char key[56];
        double sum = 0;
        for (size_t c = 0; c < o->n_scores; c++)
            sum += o->scores[i][c];
        snprintf(key, sizeof key, "rewards/%s/mean", o->mix.list[i].name);
        metrics_put(m, key, sum / n);
        snprintf(key, sizeof key, "rewards/%s/std", o->mix.list[i].name);
        metrics_put(m, key, sample_std(o->scores[i], o->n_scores));
    }
    if (reward_mix_disagrees(&o->mix))
        metrics_put(m, "objective/score_disagreement", o->disagreement / n);
    if (reward_mix_knows_ood(&o->mix))
        metrics_put(m, "objective/ood_share", (double)o->ood / n);
    o->n_scores = 0;
    o->disagreement = 0;
    o->ood = 0;
}

/* ---- the loop ---- */

static double learning_rate(const struct online *o, size_t iteration, size_t total)
{
    const struct loop_options *l = &o->t.loop;
    size_t warmup = l->warmup_steps ? l->warmup_steps : (size_t)ceil(l->warmup_ratio * (double)total);
    return l->learning_rate * schedule_factor(l->schedule, iteration, warmup, total);
}

static int resume(struct online *o, const struct online_method *method, size_t *done, size_t total, struct err *err)
{
    json_t *state = NULL;
    int rc = run_load(&o->t.run, done, &o->t.optimizer, &state, err);
    if (rc == 0 && state) {
        if (method->restore)
            method->restore(method->self, state);
        rc = watch_restore(&o->watch, state, err);
        if (json_is_true(json_object_get(state, "stopped")))
            *done = total;
    }
    json_decref(state);
    return rc;
}

static int save(struct online *o, const struct online_method *method, size_t done, bool stopped, struct err *err)
{
    json_t *state = method->state ? method->state(method->self) : json_object();
    json_object_set_new(state, "stopped", json_boolean(stopped));
    watch_save(&o->watch, state);
    int rc = run_save(&o->t.run, done, &o->t.optimizer, state, err);
    json_decref(state);
    return rc;
}

int online_run(struct online *o, const struct online_method *method, struct err *err)
{
    struct training *t = &o->t;
    size_t total = t->loop.max_steps ? t->loop.max_steps : (size_t)o->args->iterations, done = 0;
    int rc = o->args->ema_decay > 0 ? adapter_copy(&o->ema, &t->adapter, err) : 0;
    if (rc == 0 && o->args->ema_decay > 0)
        optimizer_keep(&t->optimizer, "ema", &o->ema.params);
    if (rc == 0 && t->loop.resume)
        rc = resume(o, method, &done, total, err);
    progress_start(&t->progress, o->command, "iterations", done, total, o->args->train.quiet);
    for (bool stop = false; rc == 0 && done < total && !stop;) {
        struct metrics m = {0};
        char line[160];
        double lr = learning_rate(o, done, total);
        metrics_put(&m, "step", (double)done + 1);
        rc = method->iterate(method->self, (uint32_t)done, lr, &m, &stop, err);
        if (rc) {
            err_prefix(err, "iteration %zu: the last checkpoint stands", done + 1);
            break;
        }
        done++;
        if (o->args->ema_decay > 0 && !stop)
            params_mix(&o->ema.params, &t->adapter.params, 1 - o->args->ema_decay);
        rc = run_log(&t->run, &m, err);
        method->line(line, sizeof line, &m);
        progress_update(&t->progress, done, line);
        bool due = t->loop.save_steps && done % t->loop.save_steps == 0;
        if (rc == 0 && (stop || done == total || due))
            rc = save(o, method, done, stop, err);
    }
    progress_end(&t->progress);
    return rc;
}

/* ---- the end ---- */

/* What the answers were scored by, with its hash where it is a file or a model. */
static json_t *about_reward(const struct reward_part *r)
{
    char hash[65];
    json_t *about = json_pack("{s:s, s:f}", "reward", r->text, "weight", r->weight), *heads = json_array();
    for (size_t i = 0; i < r->n_nets; i++) {
        const struct params *head = &r->nets[i]->head->params;
        sha256_hex(hash, head->data, head->n * sizeof(float));
        json_array_append_new(heads, json_string(hash));
    }
    if (r->n_nets)
        json_object_set(about, "heads_sha256", heads);
    json_decref(heads);
    char *file = reward_text_file(r->text);
    if (file && file_sha256(hash, file, NULL) == 0)
        json_object_set_new(about, "sha256", json_string(hash));
    free(file);
    return about;
}

static int save_ema(const struct online *o, struct err *err)
{
    char *folder = path_join(o->t.run.dir, "ema");
    int rc = adapter_save(&o->ema, NULL, NULL, o->t.base.model_path, folder, err);
    free(folder);
    return rc;
}

int online_finish(struct online *o, struct err *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < o->mix.n; i++)
        json_array_append_new(list, about_reward(&o->mix.list[i]));
    json_object_set_new(o->t.about, "reward", list);
    return (o->args->ema_decay > 0 && save_ema(o, err)) || training_finish(&o->t, err) ? -1 : 0;
}

int online_close(struct online *o, int rc, const struct err *err)
{
    mix_models_release(&o->models);
    for (size_t i = 0; i < MAX_REWARDS; i++)
        free(o->scores[i]);
    reward_mix_release(&o->mix);
    watch_release(&o->watch);
    adapter_release(&o->ema);
    policy_release(&o->ref_model);
    if (o->has_frozen)
        loaded_release(&o->frozen);
    return training_close(&o->t, rc, err);
}
