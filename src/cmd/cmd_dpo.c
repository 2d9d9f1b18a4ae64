#include <stdlib.h>

#include "cmd/training.h"
#include "train/comparisons.h"
#include "train/dpo.h"

struct dpo_args {
    struct train_args train;
    double beta, label_smoothing;
    const char *loss_type;
};

static const struct option own[] = {
    {"beta", OPTION_FLOAT, offsetof(struct dpo_args, beta), "0.1", "how strongly the policy is held to the reference", .min = 0,
     .max = 100, .above_min = true},
    {"loss_type", OPTION_STRING, offsetof(struct dpo_args, loss_type), "sigmoid", "sigmoid or ipo", .value = "NAME"},
    {"label_smoothing", OPTION_FLOAT, offsetof(struct dpo_args, label_smoothing), "0",
     "share of labels thought to be wrong (sigmoid)", .min = 0, .max = 0.499},
};
static const struct option_group groups[] = {{"DPO", own, ARRAY_LEN(own), 0}, TRAIN_GROUPS(offsetof(struct dpo_args, train))};
static const struct option_spec spec = {
    .command = "dpo",
    .summary = "Direct preference optimisation: learn from pairs of answers without a reward model.",
    .usage = "hone dpo --model M --train-data F --output-dir D [--flags]",
    .example = "hone dpo --model runs/sft --train-data examples/helpdesk/comparisons.jsonl --beta 0.1 --output-dir runs/dpo",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

/* Judgements to chosen and rejected; ties teach DPO nothing and are left out. */
static int decide(struct dataset *data, struct dataset *decided, bool quiet, struct err *err)
{
    size_t n;
    struct comparison *list = comparisons_merge(data, &n);
    *decided = *data;
    decided->n = comparisons_decide(data, list, n);
    free(list);
    if (decided->n == 0)
        return err_set(err, "'%s' has no pair with a better and a worse answer: ties alone teach DPO nothing", data->path);
    if (decided->n < data->n && !quiet)
        fprintf(stderr, "%s: %zu rows are %zu pairs, of which %zu are decided; ties are left out\n", data->path, data->n, n, decided->n);
    return 0;
}


static void show(void *user, size_t done)
{
    struct training *t = user;
    progress_update(&t->progress, done, NULL);
}

/* Before the first step the policy is the reference, so its own net gives the reference's log-probs. */
static double *reference(struct training *t, const struct examples *e, struct err *err)
{
    struct learner pass;
    double *logps = NULL;
    progress_start(&t->progress, "reference", "pairs", 0, e->n, t->args->quiet);
    if (learner_init_forward(&pass, &t->net, err) == 0)
        logps = sequence_logprobs(&pass, &t->loop, e, 2, show, t, err);
    progress_end(&t->progress);
    learner_release(&pass);
    return logps;
}

static int train(struct training *t, struct dpo *dpo, struct err *err)
{
    if (training_begin(t, err))
        return -1;
    double *train_ref = reference(t, &t->train, err);
    double *eval_ref = train_ref && t->eval.n ? reference(t, &t->eval, err) : NULL;
    int rc = !train_ref || (t->eval.n && !eval_ref) ? -1 : 0;
    dpo->train_ref = train_ref;
    dpo->eval_ref = eval_ref;
    if (rc == 0) {
        struct method method = dpo_method(dpo);
        rc = training_run(t, &method, err);
    }
    if (rc == 0)
        rc = training_finish(t, err);
    free(train_ref);
    free(eval_ref);
    return rc;
}

int cmd_dpo(int argc, char **argv)
{
    struct dpo_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct training t;
    struct err err;
    if (!preference_loss_find(args.loss_type, &err)) {
        code = command_misused("dpo", &err);
        options_release(&o);
        return code;
    }
    struct dpo dpo = {0};
    struct preference_config config = {.beta = args.beta, .label_smoothing = args.label_smoothing};
    int rc = training_open(&t, "dpo", &args.train, &o, &err);
    if (rc == 0)
        rc = dpo_init(&dpo, &t.learner, args.loss_type, &config, t.net.model->config.width, &err);
    if (rc == 0)
        rc = training_read(&t, 1u << ROWS_PAIR, "pairs of completions", &err);
    struct dataset all_train = t.train_data, all_eval = t.eval_data;
    if (rc == 0)
        rc = decide(&all_train, &t.train_data, args.train.quiet, &err);
    if (rc == 0 && all_eval.n)
        rc = decide(&all_eval, &t.eval_data, args.train.quiet, &err);
    if (rc == 0)
        rc = training_encode(&t, false, &err);
    if (rc == 0)
        rc = train(&t, &dpo, &err);
    t.train_data = all_train; /* to release the rows that were left out, too */
    t.eval_data = all_eval;
    dpo_release(&dpo);
    code = training_close(&t, rc, &err);
    options_release(&o);
    return code;
}
