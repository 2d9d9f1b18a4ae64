
#include "cmd/pairwise.h"

struct cpo_args {
    struct train_args train;
    double beta, label_smoothing, cpo_alpha, simpo_gamma, alpha;
    int loss_type;
};

#define FIELD(name) offsetof(struct cpo_args, name)

/* alphapo is a name for simpo without the likelihood term. */
enum { CPO_SIGMOID, CPO_HINGE, CPO_IPO, CPO_SIMPO, CPO_ALPHAPO };
static const char *const loss_types[] = {[CPO_SIGMOID] = "sigmoid", [CPO_HINGE] = "hinge",     [CPO_IPO] = "ipo",
                                         [CPO_SIMPO] = "simpo",     [CPO_ALPHAPO] = "alphapo", NULL};

static const struct option own[] = {
    {"beta", OPTION_FLOAT, FIELD(beta), "0.1",
     "how steep the loss is in the difference of log-probs; 2 to 2.5 for simpo and alphapo", .min = 0, .max = 100, .above_min = true},
    {"loss_type", OPTION_CHOICE, FIELD(loss_type), "sigmoid",
     "the loss; ipo, simpo and alphapo go by log-probs per token, alphapo leaves cpo_alpha out", .choices = loss_types},
    {"label_smoothing", OPTION_FLOAT, FIELD(label_smoothing), "0",
     "share of labels thought to be wrong (sigmoid, simpo, alphapo)", .min = 0, .max = 0.499},
    {"cpo_alpha", OPTION_FLOAT, FIELD(cpo_alpha), "1", "weight of the better answers' negative log-likelihood; 0 for plain SimPO",
     .min = 0, .max = 100},
    {"simpo_gamma", OPTION_FLOAT, FIELD(simpo_gamma), "0.5", "the lead that simpo and alphapo ask of a pair", .min = 0, .max = 100},
    {"alpha", OPTION_FLOAT, FIELD(alpha), "0",
     "AlphaPO's shape of the reward, (1 - p^-alpha) / alpha for log p; 0: log p itself", .min = -10, .max = 10},
};
static const struct option_group groups[] = {{"CPO", own, ARRAY_LEN(own), 0}, TRAIN_GROUPS(FIELD(train))};
static const struct option_spec spec = {
    .command = "cpo",
    .summary = "Contrastive preference optimisation: learn from pairs of answers without a reference; SimPO and AlphaPO.",
    .usage = "hone cpo --model M --train-data F --output-dir D [--flags]",
    .example = "hone cpo --model runs/sft --train-data examples/helpdesk/comparisons.jsonl --output-dir runs/cpo",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

int cmd_cpo(int argc, char **argv)
{
    struct cpo_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct err err;
    bool simpo = args.loss_type == CPO_SIMPO || args.loss_type == CPO_ALPHAPO;
    struct pairwise_plan plan = {
        .command = "cpo",
        .config = {.loss = {.beta = args.beta, .label_smoothing = args.label_smoothing, .simpo_gamma = args.simpo_gamma,
                            .alpha = args.alpha},
                   .nll_weight = args.loss_type == CPO_ALPHAPO ? 0 : args.cpo_alpha, .nll_key = true,
                   .average_log_prob = simpo || args.loss_type == CPO_IPO, .ld_alpha = 1},
    };
    const struct preference_loss *row = preference_loss_find(simpo ? "simpo" : loss_types[args.loss_type], &err);
    if (!row || preference_mixture_add(&plan.config.losses, row, 1, &err) ||
        preference_mixture_check(&plan.config.losses, &plan.config.loss, &err)) {
        code = command_misused("cpo", &err);
        options_release(&o);
        return code;
    }
    return pairwise_run(&plan, &args.train, &o);
}
