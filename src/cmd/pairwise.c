#include "cmd/pairwise.h"

#include <stdlib.h>

#include "train/comparisons.h"

/* ---- pairs ---- */

/* Judgements to chosen and rejected; ties teach nothing here and are left out. */
static int decide(struct training *t, struct dataset *data, struct err *err)
{
    size_t rows = data->n, pairs;
    struct comparison *list = comparisons_merge(data, &pairs, false);
    data->n = comparisons_decide(data, list, pairs);
    free(list);
    if (data->n == 0) {
        data->n = rows;
        return err_set(err, "'%s' has no pair with a better and a worse answer: 'hone %s' learns nothing from ties alone",
                       data->path, t->command);
    }
    if (data->n < rows && !t->args->quiet)
        fprintf(stderr, "%s: %zu rows are %zu pairs, of which %zu are decided; ties are left out\n", data->path, rows, pairs,
                data->n);
    return 0;
}

int pairs_decide(struct pairs_left_out *left, struct training *t, struct err *err)
{
    *left = (struct pairs_left_out){t->train_data.n, t->eval_data.n};
    if (t->train_data.kind == ROWS_PAIR && decide(t, &t->train_data, err))
        return -1;
    return t->eval_data.n && t->eval_data.kind == ROWS_PAIR ? decide(t, &t->eval_data, err) : 0;
}

void pairs_restore(const struct pairs_left_out *left, struct training *t)
{
    if (left->train_n)
        t->train_data.n = left->train_n;
    if (left->eval_n)
        t->eval_data.n = left->eval_n;
}

/* ---- the reference ---- */

static void show(void *user, size_t done)
{
    struct training *t = user;
    progress_update(&t->progress, done, NULL);
}

double *reference_logprobs(struct training *t, const struct net *reference, const struct examples *e, double ld_alpha, struct err *err)
{
    struct learner pass;
    double *logps = NULL;
    progress_start(&t->progress, "reference", "rows", 0, e->n, t->args->quiet);
    if (learner_init_forward(&pass, reference, err) == 0)
        logps = sequence_logprobs(&pass, &t->loop, e, NULL, e->n, e->list[0].n_completions, ld_alpha, show, t, err);
    progress_end(&t->progress);
    learner_release(&pass);
    return logps;
}

int reference_open(struct reference *r, struct training *t, bool own, struct err *err)
{
    if (t->args->full) {
        if (load_net(&r->frozen, t->args->model, NULL, t->args->tokenizer, err))
            return -1;
        r->has_frozen = true;
        if (own ? model_make_trainable(&r->frozen.model, err) : model_pack(&r->frozen.model, err))
            return -1;
        r->net = r->frozen.net;
        r->params = own ? &r->frozen.model.params : NULL;
    } else if (own) {
        if (adapter_copy(&r->adapter, &t->adapter, err))
            return -1;
        r->net = (struct net){.model = &t->base.model, .adapter = &r->adapter};
        r->params = &r->adapter.params;
    } else {
        r->net = t->base.net;
    }
    return learner_init_forward(&r->pass, &r->net, err);
}

void reference_release(struct reference *r)
{
    learner_release(&r->pass);
    adapter_release(&r->adapter);
    if (r->has_frozen)
        loaded_release(&r->frozen);
    *r = (struct reference){0};
}

/* ---- the warning ---- */

/* So many steps in a row, and so many nats a completion, before it is said. */
#define FALL_STEPS 10
#define FALL_NATS 1.0

static void look_for_fall(void *user, const struct metrics *m)
{
    struct fall_watch *w = user;
    double chosen = metrics_get(m, "rewards/chosen") / w->beta, rejected = metrics_get(m, "rewards/rejected") / w->beta;
    if (chosen != chosen || rejected != rejected) /* a step with thumbs of one kind only */
        return;
    w->steps = chosen <= -FALL_NATS && rejected < 0 ? w->steps + 1 : 0;
    if (w->said || w->steps < FALL_STEPS || w->training->args->quiet)
        return;
    w->said = true;
    progress_clear(&w->training->progress);
    fprintf(stderr,
            "warning: the better answers become less likely together with the worse ones: for %d steps now, in this one by %.1f "
            "nats a better answer and %.1f a worse one against the reference. The model moves to other texts than either; if its "
            "answers get worse, %s, or lower --learning-rate\n",
            FALL_STEPS, -chosen, -rejected, w->remedy);
}

void fall_watch_begin(struct fall_watch *w, struct training *t, double beta, const char *remedy)
{
    *w = (struct fall_watch){.training = t, .beta = beta, .remedy = remedy};
    t->watch = look_for_fall;
    t->watch_user = w;
}

/* ---- a command ---- */

struct job {
    const struct pairwise_plan *plan;
    struct training t;
    struct pairwise method;
    struct reference reference;
    struct policy ref_model;
    struct learner look;
    struct fall_watch fall;
    double *train_ref, *eval_ref;
};

static int read_pairs(struct job *j, struct pairs_left_out *left, struct err *err)
{
    struct training *t = &j->t;
    if (training_read(t, 1u << ROWS_PAIR, "pairs of completions", err) || pairs_decide(left, t, err) ||
        training_encode(t, false, err))
        return -1;
    for (size_t i = 0; i < t->train.n; i++)
        t->train.list[i].learn_prompt = j->plan->learn_prompt;
    for (size_t i = 0; i < t->eval.n; i++)
        t->eval.list[i].learn_prompt = j->plan->learn_prompt;
    return 0;
}

/* A reference of the start, whose log-probs are kept, or one that follows. */
static int set_reference(struct job *j, struct err *err)
{
    struct training *t = &j->t;
    struct pairwise *p = &j->method;
    if (!j->plan->sync_ref_model) {
        const struct net *reference = j->plan->ref_model ? &j->ref_model.net : &t->net;
        j->train_ref = reference_logprobs(t, reference, &t->train, j->plan->config.ld_alpha, err);
        if (j->train_ref && t->eval.n)
            j->eval_ref = reference_logprobs(t, reference, &t->eval, j->plan->config.ld_alpha, err);
        p->train_ref = j->train_ref;
        p->eval_ref = j->eval_ref;
        return j->train_ref && (!t->eval.n || j->eval_ref) ? 0 : -1;
    }
    if (reference_open(&j->reference, t, true, err))
        return -1;
    optimizer_keep(&t->optimizer, "reference", j->reference.params);
    p->reference = &j->reference.pass;
    p->ref_params = j->reference.params;
    p->policy_params = t->args->full ? &t->base.model.params : &t->adapter.params;
    p->mixup = j->plan->ref_model_mixup_alpha;
    p->sync_steps = (size_t)j->plan->ref_model_sync_steps;
    return 0;
}

static int train(struct job *j, struct err *err)
{
    struct training *t = &j->t;
    const struct pairwise_config *c = &j->plan->config;
    if (training_begin(t, err))
        return -1;
    pairwise_init(&j->method, &t->learner, &t->loop, c);
    if (c->reference && set_reference(j, err))
        return -1;
    if (preference_mixture_by_step(&c->losses)) {
        if (learner_init_forward(&j->look, &t->net, err))
            return -1;
        j->method.look = &j->look;
    }
    if (c->reference)
        fall_watch_begin(&j->fall, t, c->loss.beta,
                         "add the likelihood of the better ones (--loss-type sigmoid,sft), take --loss-type apo_zero");
    struct method method = pairwise_method(&j->method, j->plan->command);
    return training_run(t, &method, err) || training_finish(t, err) ? -1 : 0;
}

int pairwise_run(const struct pairwise_plan *plan, const struct train_args *args, struct options *o)
{
    struct err err;
    struct job j = {.plan = plan};
    struct pairs_left_out left = {0};
    int rc = training_open(&j.t, plan->command, args, o, &err);
    if (rc == 0)
        rc = read_pairs(&j, &left, &err);
    if (rc == 0 && plan->ref_model)
        rc = training_open_reference(&j.t, &j.ref_model, plan->ref_model, &j.t.base, &err);
    if (rc == 0)
        rc = train(&j, &err);
    pairs_restore(&left, &j.t); /* to release the rows that were left out, too */
    pairwise_release(&j.method);
    reference_release(&j.reference);
    policy_release(&j.ref_model);
    learner_release(&j.look);
    free(j.train_ref);
    free(j.eval_ref);
    int code = training_close(&j.t, rc, &err);
    options_release(o);
    return code;
}
