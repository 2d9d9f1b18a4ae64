#include "cmd/group.h"

#include <stdlib.h>
#include <string.h>

#include "util/mem.h"

struct job {
    struct online online;
    struct group group;
    size_t dynamic_sampling;
    size_t draws;             /* of prompts so far: part of a checkpoint */
    size_t iterations, alike; /* of this process; in how many of them no answers differed */
};

static bool is_flat(const struct experience *x, size_t tree)
{
    return group_is_flat(x->scores + x->tree[tree], x->tree[tree + 1] - x->tree[tree]);
}

static size_t count_flat(const struct experience *x)
{
    size_t flat = 0;
    for (size_t i = 0; i < x->examples.n; i++)
        flat += is_flat(x, i);
    return flat;
}

/* Draw rollouts, with dynamic sampling until there are as many groups that teach something as the first draw had groups:
 * *wanted. */
static int draw(struct job *j, struct experience *all, size_t *wanted, struct err *err)
{
    *all = (struct experience){0};
    for (size_t n = 0; n <= j->dynamic_sampling && (n == 0 || all->examples.n - count_flat(all) < *wanted); n++) {
        struct experience more;
        if (online_rollouts(&j->online, &more, (uint32_t)j->draws, err)) {
            experience_release(all);
            return -1;
        }
        j->draws++;
        bool *keep = xmalloc(more.examples.n + 1);
        for (size_t i = 0; i < more.examples.n; i++)
            keep[i] = true;
        *wanted = n == 0 ? more.examples.n : *wanted;
        experience_take(all, &more, keep);
        free(keep);
    }
    return 0;
}

/* What is learned from where each reward is made comparable by itself: scores (all->n), out. */
static int normalise_parts(double *scores, const struct job *j, const struct experience *all, struct err *err)
{
    const struct reward_mix *mix = &j->online.mix;
    const double *parts[MAX_REWARDS];
    double weights[MAX_REWARDS];
    ENSURE(j->online.n_scores == all->n);
    for (size_t i = 0; i < mix->n; i++) {
        parts[i] = j->online.scores[i];
        weights[i] = mix->list[i].weight;
    }
    return gdpo_rewards(scores, parts, weights, mix->n, all->examples.n, all->n / all->examples.n, err);
}

/* Of what was drawn, with dynamic sampling the first `wanted` groups that teach something. */
static void choose(const struct job *j, struct experience *x, struct experience *all, size_t wanted)
{
    bool *keep = xcalloc(all->examples.n + 1, 1);
    for (size_t i = 0, kept = 0; i < all->examples.n && kept < wanted; i++)
        kept += keep[i] = !j->dynamic_sampling || !is_flat(all, i);
    *x = (struct experience){0};
    experience_take(x, all, keep);
    free(keep);
}

/* The numbers of all that was drawn; says where nothing can be learned from it. */
static void describe(struct job *j, const struct experience *all, struct metrics *m)
{
    size_t flat = count_flat(all), groups = all->examples.n;
    bool baseline_is_batch = j->group.options.advantage_estimator == ESTIMATOR_REINFORCE && !j->group.options.normalize_parts, quiet = j->online.args->train.quiet;
    bool alike = baseline_is_batch ? group_is_flat(all->scores, all->n) : flat == groups;
    double sum = 0;
    for (size_t c = 0; c < all->n; c++)
        sum += all->scores[c];
    metrics_put(m, "reward", sum / (double)all->n);
    metrics_put(m, "reward_std", sample_std(all->scores, all->n));
    if (all->n > groups)
        metrics_put(m, "frac_reward_zero_std", (double)flat / (double)groups);
    online_put_rewards(&j->online, m);
    online_describe(all, m);
    j->iterations++;
    j->alike += alike;
    if (alike && j->alike == 1 && !quiet) {
        progress_clear(&j->online.t.progress);
        fprintf(stderr, "%s: warning: iteration %.0f: all answers to %s have the same reward, so there is nothing to learn from them\n",
                j->online.command, metrics_get(m, "step"), baseline_is_batch ? "all prompts" : "each prompt");
    }
}

/* The reference's log-probs. */
static int refer(struct job *j, struct experience *x, struct err *err)
{
    const struct group_options *o = &j->group.options;
    return online_logprobs(&j->online.t.learner, &j->online.reference, x, o->temperature, o->micro_batch_tokens, x->ref_logps, err);
}

static int iterate(void *self, uint32_t iteration, double lr, struct metrics *m, bool *stop, struct err *err)
{
    struct job *j = self;
    struct training *t = &j->online.t;
    const struct group_options *o = &j->group.options;
    struct experience all, x;
    size_t wanted;
    if (draw(j, &all, &wanted, err))
        return -1;
    bool watched = watch_wants_reference(&j->online.watch);
    double *scores = o->normalize_parts ? xmalloc(all.n * sizeof *scores) : NULL;
    int rc = scores ? normalise_parts(scores, j, &all, err) : 0;
    metrics_put(m, "learning_rate", lr);
    describe(j, &all, m);
    if (rc == 0 && watched)
        rc = refer(j, &all, err);
    if (rc == 0)
        rc = watch_rollouts(&j->online.watch, &all, watched, m, stop, err);
    if (scores)
        memcpy(all.scores, scores, all.n * sizeof *scores);
    free(scores);
    choose(j, &x, &all, wanted);
    if (j->dynamic_sampling)
        metrics_put(m, "dynamic_sampling/groups", (double)x.examples.n);
    if (rc == 0 && x.n && group_wants_reference(o) && !watched)
        rc = refer(j, &x, err);
    if (rc == 0 && x.n && !*stop)
        rc = group_update(&j->group, &x, iteration, lr, true, &t->optimizer, m, err);
    experience_release(&x);
    return rc;
}

static void show(char *line, size_t size, const struct metrics *m)
{
    snprintf(line, size, "reward %.3f  length %.0f", metrics_get(m, "reward"), metrics_get(m, "completions/mean_length"));
}

static json_t *state(const void *self)
{
    const struct job *j = self;
    return json_pack("{s:I}", "draws", (json_int_t)j->draws);
}

static void restore(void *self, const json_t *from)
{
    struct job *j = self;
    json_int_t draws = json_integer_value(json_object_get(from, "draws"));
    j->draws = draws > 0 ? (size_t)draws : 0;
}

static void prepare(struct job *j, const struct group_options *own)
{
    const struct online_args *a = j->online.args;
    j->group.policy = &j->online.t.learner;
    j->group.options = *own;
    j->group.options.shuffle = a->train.shuffle;
    j->group.options.seed = (uint32_t)a->train.seed;
    j->group.options.micro_batch_tokens = (size_t)a->train.micro_batch_tokens;
    j->group.options.temperature = (float)a->temperature;
    j->group.options.loss.max_completion_length = (size_t)a->response_length;
}

int group_command(const char *command, const struct online_args *args, const struct options *options,
                  const struct group_options *group, size_t dynamic_sampling)
{
    struct err err;
    struct job *j = xcalloc(1, sizeof *j);
    struct online_method method = {iterate, show, state, restore, j};
    int rc = online_open(&j->online, command, args, options, &err);
    if (rc == 0)
        rc = training_begin(&j->online.t, &err);
    if (rc == 0) {
        prepare(j, group);
        j->dynamic_sampling = dynamic_sampling;
        rc = online_run(&j->online, &method, &err);
    }
    if (rc == 0 && j->iterations && j->alike == j->iterations && !args->train.quiet)
        fprintf(stderr, "%s: warning: in no iteration did rewards differ, so nothing was learned: raise num_generations or temperature, "
                        "take prompts that the policy gets right sometimes, or a reward that tells answers apart\n", command);
    if (rc == 0)
        rc = online_finish(&j->online, &err);
    int code = online_close(&j->online, rc, &err);
    free(j);
    return code;
}
