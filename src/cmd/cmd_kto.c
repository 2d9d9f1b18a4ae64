#include <stdlib.h>

#include "cmd/pairwise.h"
#include "train/kto.h"

struct kto_args {
    struct train_args train;
    double beta, desirable_weight, undesirable_weight;
    int loss_type;
};

#define FIELD(name) offsetof(struct kto_args, name)

enum { KTO_KTO, KTO_APO_ZERO_UNPAIRED };
static const char *const loss_types[] = {[KTO_KTO] = "kto", [KTO_APO_ZERO_UNPAIRED] = "apo_zero_unpaired", NULL};

static const struct option own[] = {
    {"beta", OPTION_FLOAT, FIELD(beta), "0.1", "how strongly the policy is held to the reference", .min = 0, .max = 100,
     .above_min = true},
    {"loss_type", OPTION_CHOICE, FIELD(loss_type), "kto", "apo_zero_unpaired is the same without the KL as reference point",
     .choices = loss_types},
    {"desirable_weight", OPTION_FLOAT, FIELD(desirable_weight), "1", "weight of good answers", .min = 0, .max = 1000},
    {"undesirable_weight", OPTION_FLOAT, FIELD(undesirable_weight), "1", "weight of bad answers", .min = 0, .max = 1000},
};
static const struct option_group groups[] = {{"KTO", own, ARRAY_LEN(own), 0}, TRAIN_GROUPS(FIELD(train))};
static const struct option_spec spec = {
    .command = "kto",
    .summary = "Kahneman-Tversky optimisation: learn from answers that are each called good or bad (thumbs up and down); a "
               "pair is one of each.",
    .usage = "hone kto --model M --train-data F --output-dir D [--flags]",
    .example = "hone kto --model runs/sft --train-data examples/helpdesk/comparisons.jsonl --output-dir runs/kto",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

struct job {
    const struct kto_args *args;
    struct training t;
    struct kto kto;
    struct reference reference;
    struct learner look;
    struct fall_watch fall;
    double *train_ref, *eval_ref;
};

/* The paper asks that good and bad answers weigh about the same in all, good ones up to a third more (eq. 8 there). */
static void show_balance(const struct job *j)
{
    const struct dataset *data = &j->t.train_data;
    double count[2] = {0, 0};
    for (size_t i = 0; i < data->n; i++)
        for (size_t k = 0; k < data->rows[i].n_completions; k++)
            count[!kto_desirable(&data->rows[i], k)]++;
    double good = count[0] * j->args->desirable_weight, bad = count[1] * j->args->undesirable_weight;
    if (j->t.args->quiet || (count[0] == count[1] && good == bad) || (good >= bad && good <= 4.0 / 3 * bad))
        return;
    if (count[0] == 0 || count[1] == 0)
        fprintf(stderr, "kto: all %.0f answers are %s: there is nothing to tell them from; add some of the other kind\n",
                count[0] + count[1], count[0] > 0 ? "good" : "bad");
    else
        fprintf(stderr, "kto: %.0f good and %.0f bad answers weigh %.4g to %.4g; the method's authors ask for 1 to 1.33 times as "
                        "much for the good ones: --desirable-weight %.3g to %.3g\n",
                count[0], count[1], good, bad, bad / count[0], 4.0 / 3 * bad / count[0]);
}

static int set_reference(struct job *j, struct err *err)
{
    struct training *t = &j->t;
    struct kto *k = &j->kto;
    j->train_ref = reference_logprobs(t, &t->net, &t->train, 1, err);
    if (j->train_ref && t->eval.n)
        j->eval_ref = reference_logprobs(t, &t->net, &t->eval, 1, err);
    if (!j->train_ref || (t->eval.n && !j->eval_ref))
        return -1;
    k->train_ref = j->train_ref;
    k->eval_ref = j->eval_ref;
    if (k->no_kl)
        return 0;
    if (reference_open(&j->reference, t, false, err) || learner_init_forward(&j->look, &t->net, err))
        return -1;
    k->reference = &j->reference.pass;
    k->look = &j->look;
    return 0;
}

static int train(struct job *j, struct err *err)
{
    struct training *t = &j->t;
    size_t positions = t->base.model.rope.positions, longest = (size_t)t->args->max_length;
    if (training_begin(t, err))
        return -1;
    j->kto = (struct kto){.learner = &t->learner, .options = &t->loop,
                          .config = {j->args->beta, j->args->desirable_weight, j->args->undesirable_weight},
                          .no_kl = j->args->loss_type == KTO_APO_ZERO_UNPAIRED,
                          .max_length = longest < positions ? longest : positions};
    if (set_reference(j, err))
        return -1;
    show_balance(j);
    fall_watch_begin(&j->fall, t, j->args->beta, "raise --desirable-weight");
    struct method method = kto_method(&j->kto);
    return training_run(t, &method, err) || training_finish(t, err) ? -1 : 0;
}

/* The KL needs prompts with other rows' answers. */
static int check_step(const struct kto_args *a, struct err *err)
{
    if (a->loss_type != KTO_KTO || a->train.per_device_train_batch_size * a->train.gradient_accumulation_steps > 1)
        return 0;
    return err_set(err, "a step of one row has no other row's answer to measure the KL with: raise "
                        "--per-device-train-batch-size, or take --loss-type apo_zero_unpaired");
}

int cmd_kto(int argc, char **argv)
{
    struct kto_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct err err;
    if (check_step(&args, &err)) {
        code = command_misused("kto", &err);
        options_release(&o);
        return code;
    }
    struct job j = {.args = &args};
    struct pairs_left_out left = {0};
    int rc = training_open(&j.t, "kto", &args.train, &o, &err);
    if (rc == 0)
        rc = training_read(&j.t, 1u << ROWS_UNPAIRED | 1u << ROWS_PAIR, "answers that are called good or bad, or pairs", &err);
    if (rc == 0)
        rc = pairs_decide(&left, &j.t, &err);
    if (rc == 0)
        rc = training_encode(&j.t, false, &err);
    if (rc == 0)
        rc = train(&j, &err);
    pairs_restore(&left, &j.t);
    kto_release(&j.kto);
    reference_release(&j.reference);
    learner_release(&j.look);
    free(j.train_ref);
    free(j.eval_ref);
    code = training_close(&j.t, rc, &err);
    options_release(&o);
    return code;
}
