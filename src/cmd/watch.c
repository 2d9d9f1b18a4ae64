#include "cmd/watch.h"

#include <math.h>
#include <stdlib.h>

#include "util/file.h"
#include "util/mem.h"

static const char *const reactions[] = {[WATCH_WARN] = "warn", [WATCH_STOP] = "stop", [WATCH_OFF] = "off", NULL};

#define FIELD(name) offsetof(struct watch_args, name)
const struct option watch_options[N_WATCH_OPTIONS] = {
    {"gold", OPTION_STRING, FIELD(gold), NULL, "a judge that is not learned from, written as a reward: is what it says still rising?",
     .value = "REWARD"},
    {"monitor", OPTION_CHOICE, FIELD(monitor), NULL, "what happens when answers get worse while the reward rises (docs/methods/monitor.md)",
     .choices = reactions},
    {"monitor_warmup", OPTION_INT, FIELD(monitor_warmup), "5", "iterations whose mean is what later ones are compared with", .min = 1, .max = 1e6},
    {"monitor_patience", OPTION_INT, FIELD(monitor_patience), "3", "iterations in a row that something must be wrong", .min = 1, .max = 1e6},
    {"gold_errors", OPTION_FLOAT, FIELD(gold_errors), "2", "standard errors that the gold may fall below its best; 0: any", .min = 0, .max = 100},
    {"disagreement_ratio", OPTION_FLOAT, FIELD(disagreement_ratio), "2", "times the first iterations' disagreement of the reward models; 0: any",
     .min = 0, .max = 1e6},
    {"length_ratio", OPTION_FLOAT, FIELD(length_ratio), "2", "times the first iterations' length; 0: any", .min = 0, .max = 1e6},
    {"repetition_more", OPTION_FLOAT, FIELD(repetition_more), "0.2", "on top of the first iterations' share of repeated pairs of tokens; 0: any",
     .min = 0, .max = 1},
    {"entropy_ratio", OPTION_FLOAT, FIELD(entropy_ratio), "0.3", "of the first iterations' entropy a token; 0: any", .min = 0, .max = 1},
    {"distinct_ratio", OPTION_FLOAT, FIELD(distinct_ratio), "0.5", "of the first iterations' different pairs of tokens; 0: any", .min = 0,
     .max = 1},
    {"ood_share", OPTION_FLOAT, FIELD(ood_share), "0.5", "share of answers that no reward model was trained on the like of; 0: any", .min = 0,
     .max = 1},
};
#undef FIELD

int watch_open(struct watch *w, const struct watch_args *args, struct training *t, const struct reward_mix *mix,
               const struct loaded *base, struct err *err)
{
    *w = (struct watch){.args = args, .training = t};
    w->monitor.config = (struct monitor_config){.warmup = (size_t)args->monitor_warmup, .patience = (size_t)args->monitor_patience,
                                                .gold_errors = args->gold ? args->gold_errors : 0,
                                                .disagreement_ratio = args->disagreement_ratio, .length_ratio = args->length_ratio,
                                                .repetition_more = args->repetition_more, .entropy_ratio = args->entropy_ratio,
                                                .distinct_ratio = args->distinct_ratio, .ood_share = args->ood_share};
    if (!args->gold || args->monitor == WATCH_OFF)
        return 0;
    if (reward_mix_parse(&w->gold, &args->gold, 1, NULL, 0, err))
        return err_prefix(err, "--gold");
    w->gold.program_seconds = mix->program_seconds;
    w->gold.max_tokens = mix->max_tokens;
    w->gold.micro_tokens = mix->micro_tokens;
    return mix_models_open(&w->models, &w->gold, base, err) || reward_mix_check(&w->gold, &t->train_data, &t->base.model, err)
               ? err_prefix(err, "--gold") : 0;
}

void watch_release(struct watch *w)
{
    mix_models_release(&w->models);
    reward_mix_release(&w->gold);
    monitor_release(&w->monitor);
}

bool watch_wants_reference(const struct watch *w)
{
    return w->gold.n > 0;
}

/* ---- a point ---- */

/* Mean over the answers, and its standard error with the prompts as what was drawn. */
static double mean_by_prompt(const double *x, const struct experience *e, double *std_err)
{
    size_t n = e->examples.n;
    double sum = 0, squares = 0;
    for (size_t c = 0; c < e->n; c++)
        sum += x[c];
    double mean = sum / (double)e->n;
    for (size_t i = 0; i < n; i++) { /* trees may differ in answers: each one's part of the sum */
        double part = 0;
        for (size_t c = e->tree[i]; c < e->tree[i + 1]; c++)
            part += x[c] - mean;
        squares += part * part;
    }
    *std_err = n > 1 ? sqrt(squares * (double)n / (double)(n - 1)) / (double)e->n : NAN;
    return mean;
}

static int measure(struct monitor_point *p, const struct watch *w, const struct experience *x, bool has_reference,
                   const struct metrics *m, struct err *err)
{
    double kl = 0, entropy = 0, tokens = (double)x->first[x->n], ignored;
    for (size_t t = 0; t < x->first[x->n]; t++) {
        kl += has_reference ? x->old_logps[t] - x->ref_logps[t] : NAN;
        entropy -= x->old_logps[t];
    }
    *p = (struct monitor_point){
        .kl = kl / (double)x->n,
        .proxy = mean_by_prompt(x->scores, x, &ignored),
        .gold = NAN,
        .gold_std_err = NAN,
        .value = {[ALARM_GOLD] = NAN, [ALARM_DISAGREEMENT] = metrics_get(m, "objective/score_disagreement"),
                  [ALARM_LENGTH] = metrics_get(m, "completions/mean_length"), [ALARM_REPETITION] = metrics_get(m, "completions/repeated_2"),
                  [ALARM_ENTROPY] = entropy / tokens, [ALARM_DISTINCT] = metrics_get(m, "completions/distinct_2"),
                  [ALARM_OOD] = metrics_get(m, "objective/ood_share")},
    };
    if (w->gold.n == 0)
        return 0;
    double *gold = xcalloc(x->n + 1, sizeof *gold);
    int rc = reward_mix_score(gold, NULL, NULL, &w->gold, x, &w->training->base.model, err);
    if (rc == 0)
        p->gold = mean_by_prompt(gold, x, &p->gold_std_err);
    free(gold);
    return rc ? err_prefix(err, "the gold") : 0;
}

/* ---- what follows from it ---- */

/* Folder of the policy to go back to. */
static char *safe_folder(const struct watch *w)
{
    return path_join(w->training->run.dir, "safe");
}

/* The policy of the last point is a good one: keep it.  With --full it would be the whole model each time: it is not. */
static int keep(const struct watch *w, struct err *err)
{
    const struct training *t = w->training;
    char *folder = safe_folder(w);
    int rc = t->args->full ? 0 : adapter_save(&t->adapter, NULL, NULL, t->base.model_path, folder, err);
    free(folder);
    return rc;
}

static void say(struct watch *w, unsigned alarms, bool stop)
{
    struct training *t = w->training;
    struct buf words;
    char *folder = safe_folder(w);
    if (t->args->quiet || (alarms & ~w->said) == 0)
        goto done;
    buf_init(&words, 1 << 16);
    monitor_words(&w->monitor, alarms, &words);
    progress_clear(&t->progress);
    fprintf(stderr, "%s: %s: iteration %zu: %s. Nothing was wrong up to iteration %zu", t->command, stop ? "stopped" : "warning",
            w->monitor.n, words.data, w->monitor.good);
    if (t->args->full)
        fputs("\n", stderr);
    else
        fprintf(stderr, ": go back to '%s'\n", folder);
    buf_release(&words);
done:
    free(folder);
}

static void put(struct metrics *m, const struct watch *w, const struct monitor_point *p, unsigned alarms)
{
    double peak = w->gold.n ? monitor_peak_kl(&w->monitor) : NAN;
    if (w->gold.n) {
        metrics_put(m, "monitor/gold", p->gold);
        metrics_put(m, "monitor/gold_std_err", p->gold_std_err);
        metrics_put(m, "monitor/kl", p->kl);
    }
    if (isfinite(peak))
        metrics_put(m, "monitor/peak_kl", peak);
    metrics_put(m, "monitor/entropy", p->value[ALARM_ENTROPY]);
    metrics_put(m, "monitor/alarms", __builtin_popcount(alarms));
    metrics_put(m, "monitor/good_iteration", (double)w->monitor.good);
}

int watch_rollouts(struct watch *w, const struct experience *x, bool has_reference, struct metrics *m, bool *stop, struct err *err)
{
    struct monitor_point p;
    if (w->args->monitor == WATCH_OFF)
        return 0;
    if (measure(&p, w, x, has_reference, m, err))
        return -1;
    monitor_add(&w->monitor, &p);
    unsigned alarms = monitor_alarms(&w->monitor);
    bool ends = alarms && w->args->monitor == WATCH_STOP;
    put(m, w, &p, alarms);
    if (w->monitor.good == w->monitor.n - 1 && keep(w, err))
        return -1;
    say(w, alarms, ends);
    w->said |= alarms;
    *stop |= ends;
    return 0;
}

void watch_save(const struct watch *w, json_t *state)
{
    if (w->args->monitor == WATCH_OFF)
        return;
    json_object_set_new(state, "monitor", monitor_state(&w->monitor));
    json_object_set_new(state, "monitor_said", json_integer(w->said));
}

int watch_restore(struct watch *w, const json_t *state, struct err *err)
{
    const json_t *points = json_object_get(state, "monitor");
    if (w->args->monitor == WATCH_OFF || !points)
        return 0;
    w->said = (unsigned)json_integer_value(json_object_get(state, "monitor_said"));
    return monitor_restore(&w->monitor, points) ? err_set(err, "the checkpoint's monitor is broken: start over with --overwrite") : 0;
}
