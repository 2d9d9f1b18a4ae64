#include <stdlib.h>

#include "cmd/pairwise.h"

struct dpo_args {
    struct train_args train;
    double beta, label_smoothing, discopop_tau, f_alpha_divergence_coef, ld_alpha, ref_model_mixup_alpha;
    struct strings loss_type, loss_weights;
    const char *ref_model;
    int f_divergence_type;
    bool sync_ref_model;
    int64_t ref_model_sync_steps;
};

#define FIELD(name) offsetof(struct dpo_args, name)

static const struct option own[] = {
    {"beta", OPTION_FLOAT, FIELD(beta), "0.1", "how strongly the policy is held to the reference", .min = 0, .max = 100,
     .above_min = true},
    {"loss_type", OPTION_LIST, FIELD(loss_type), "sigmoid",
     "the loss, or several that are added up: sigmoid, sigmoid_norm, robust, hinge, ipo, exo_pair, nca_pair, bco_pair, sppo_hard, "
     "aot, aot_unpaired, apo_zero, apo_down, discopop, sft (docs/methods/dpo.md says when to take which)",
     .value = "NAME", .commas = true},
    {"loss_weights", OPTION_LIST, FIELD(loss_weights), NULL, "a weight for each loss_type, in the same order; otherwise 1 each",
     .value = "X", .commas = true},
    {"label_smoothing", OPTION_FLOAT, FIELD(label_smoothing), "0",
     "share of labels thought to be wrong (sigmoid, sigmoid_norm, robust, aot, aot_unpaired; exo_pair needs some: 0.001)",
     .min = 0, .max = 0.499},
    {"discopop_tau", OPTION_FLOAT, FIELD(discopop_tau), "0.05", "temperature of discopop", .min = 0, .max = 100,
     .above_min = true},
    {"f_divergence_type", OPTION_CHOICE, FIELD(f_divergence_type), "reverse_kl",
     "how a step away from the reference is measured", .choices = divergence_names},
    {"f_alpha_divergence_coef", OPTION_FLOAT, FIELD(f_alpha_divergence_coef), "0.5",
     "coefficient of alpha_divergence; 1 is reverse_kl", .min = -10, .max = 10},
    {"ld_alpha", OPTION_FLOAT, FIELD(ld_alpha), "1",
     "what tokens count beyond the length of the pair's shorter answer: 1 like all others, 0 nothing", .min = 0, .max = 1},
    REF_MODEL_OPTION(FIELD(ref_model)),
    {"sync_ref_model", OPTION_BOOL, FIELD(sync_ref_model), "false", "let the reference follow the policy from time to time"},
    {"ref_model_mixup_alpha", OPTION_FLOAT, FIELD(ref_model_mixup_alpha), "0.6",
     "share of the policy in a reference that follows, each time", .min = 0, .max = 1},
    {"ref_model_sync_steps", OPTION_INT, FIELD(ref_model_sync_steps), "512", "steps from one time to the next", .min = 1,
     .max = 1e9},
};
static const struct option_group groups[] = {{"DPO", own, ARRAY_LEN(own), 0}, TRAIN_GROUPS(FIELD(train))};
static const struct option_spec spec = {
    .command = "dpo",
    .summary = "Direct preference optimisation: learn from pairs of answers without a reward model.",
    .usage = "hone dpo --model M --train-data F --output-dir D [--flags]",
    .example = "hone dpo --model runs/sft --train-data examples/helpdesk/comparisons.jsonl --beta 0.1 --output-dir runs/dpo",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

static int weight_of(double *weight, const struct dpo_args *a, size_t i, struct err *err)
{
    char *end = NULL;
    *weight = a->loss_weights.n ? strtod(a->loss_weights.data[i], &end) : 1;
    return end && (*end || end == a->loss_weights.data[i])
               ? err_set(err, "--loss-weights holds '%.100s': it must be numbers, as in 0.8,0.2", a->loss_weights.data[i]) : 0;
}

static int mix(struct preference_mixture *m, const struct dpo_args *a, struct err *err)
{
    if (a->loss_weights.n && a->loss_weights.n != a->loss_type.n)
        return err_set(err, "--loss-weights has %zu numbers for %zu of --loss-type: give one for each", a->loss_weights.n,
                       a->loss_type.n);
    for (size_t i = 0; i < a->loss_type.n; i++) {
        const struct preference_loss *row = preference_loss_find(a->loss_type.data[i], err);
        double weight;
        if (!row || weight_of(&weight, a, i, err))
            return -1;
        if (row->free)
            return err_set(err, "loss_type '%s' has no reference: it is %s", row->name,
                           row->per_token && !row->smooths ? "'hone orpo'" : "of 'hone cpo'");
        if (preference_mixture_add(m, row, weight, err))
            return -1;
    }
    return 0;
}

int cmd_dpo(int argc, char **argv)
{
    struct dpo_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct err err;
    struct pairwise_plan plan = {
        .command = "dpo",
        .config = {.loss = {.beta = args.beta, .label_smoothing = args.label_smoothing, .discopop_tau = args.discopop_tau,
                            .f_divergence_type = (enum divergence)args.f_divergence_type,
                            .f_alpha_divergence_coef = args.f_alpha_divergence_coef},
                   .ld_alpha = args.ld_alpha, .reference = true},
        .ref_model = args.ref_model,
        .sync_ref_model = args.sync_ref_model,
        .ref_model_mixup_alpha = args.ref_model_mixup_alpha,
        .ref_model_sync_steps = args.ref_model_sync_steps,
    };
    int wrong = args.ref_model && args.sync_ref_model
                    ? err_set(&err, "--ref-model stays as it is and --sync-ref-model follows the policy: give one of them") : 0;
    if (wrong || mix(&plan.config.losses, &args, &err) || preference_mixture_check(&plan.config.losses, &plan.config.loss, &err)) {
        code = command_misused("dpo", &err);
        options_release(&o);
        return code;
    }
    return pairwise_run(&plan, &args.train, &o);
}
