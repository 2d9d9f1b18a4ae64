#include <math.h>
#include <stdlib.h>

#include "cmd/json.h"
#include "cmd/training.h"
#include "eval/reward_quality.h"
#include "train/reward.h"

struct reward_args {
    struct train_args train;
    double label_smoothing, center_rewards_coefficient, tie_learning_rate;
    const char *center_data;
};

static const struct option own[] = {
    {"label_smoothing", OPTION_FLOAT, offsetof(struct reward_args, label_smoothing), "0", "share of labels thought to be wrong",
     .min = 0, .max = 0.499},
    {"center_rewards_coefficient", OPTION_FLOAT, offsetof(struct reward_args, center_rewards_coefficient), "0",
     "weight of (score a + score b)^2, which keeps scores near 0; 0.01 is advised", .min = 0, .max = 100},
    {"tie_learning_rate", OPTION_FLOAT, offsetof(struct reward_args, tie_learning_rate), "1e-2",
     "rate of the threshold between ties and wins, where the data has ties", .min = 0, .max = 10},
    {"center_data", OPTION_STRING, offsetof(struct reward_args, center_data), NULL,
     "rows whose completions get a mean score of 0; otherwise the training pairs do", .value = "FILE"},
};
static const struct option_group groups[] = {{"Reward model", own, ARRAY_LEN(own), 0},
                                             TRAIN_GROUPS(offsetof(struct reward_args, train))};
static const struct option_spec spec = {
    .command = "reward",
    .summary = "Train a reward model on comparisons of answers.",
    .usage = "hone reward --model M --train-data F --output-dir D [--flags]",
    .example = "hone reward --model runs/sft --train-data examples/helpdesk/comparisons.jsonl --output-dir runs/reward",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

/* Shift the head so that the completions of `e` score 0 on average. */
static int center(struct training *t, const struct examples *e, struct err *err)
{
    struct learner pass;
    double sum = 0;
    size_t n = 0;
    int rc = learner_init_forward(&pass, &t->net, err);
    size_t *rows = malloc((e->n + 1) * sizeof *rows), most = e->n < 200 ? e->n : 200;
    for (size_t i = 0; i < most; i++)
        rows[i] = i;
    if (rc == 0)
        rc = learner_stem(&pass, e, rows, most, false, err);
    for (size_t at = 0; rc == 0 && at < most;) {
        size_t count = loop_micro(&t->loop, e, rows, most, at, pass.stem.n);
        rc = learner_forward(&pass, e, rows + at, count, err);
        for (size_t i = 0; rc == 0 && i < pass.forest.n_completions; i++) {
            float score;
            net_scores(&score, pass.workspace, &pass.net, &pass.forest.last_row[i], 1);
            sum += (double)score;
            n++;
        }
        at += count;
    }
    free(rows);
    learner_release(&pass);
    t->head.bias = n ? (float)(-sum / (double)n) : 0;
    t->notes.score_bias = (double)t->head.bias;
    return rc;
}

/* The rows of --center-data, which must be good before any work starts. */
static int read_center_data(struct training *t, const char *path, struct dataset *data, struct examples *e, struct err *err)
{
    struct rows_config config = {.system = t->args->system};
    struct encode_options o = encode_options_of(&t->base.model);
    o.max_length = (size_t)t->args->max_length;
    o.truncation = (enum truncation)t->args->truncation;
    if (dataset_read(data, path, &config, err) || training_about_file(t->about, "center_data", path, err) ||
        examples_encode(e, data, &o, err))
        return -1;
    return data->rows[0].n_completions
               ? 0 : err_set(err, "'%s' holds %s, but scores are of completions: give rows that have some", path, data->format_name);
}

static bool any_ties(const struct comparison *c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (c[i].w_tie > 0)
            return true;
    return false;
}

/* Say what length and words alone make of the held-out pairs: a reward model that is no better has learned nothing else.
 * Only of text; where nothing is decided there is nothing to say. */
static void show_baselines(struct training *t, const struct comparison *train, const struct comparison *eval)
{
    struct labelled a = {&t->train_data, train, t->train_data.n}, b = {&t->eval_data, eval, t->eval_data.n};
    struct reward_baselines base;
    struct err ignored;
    if (b.n == 0 || b.data->rows[0].completions[0].n_ids ||
        reward_baselines(&base, NULL, NULL, &a, &b, (uint32_t)t->args->seed, &ignored) || base.length.pairs == 0)
        return;
    json_object_set_new(t->about, "baselines", json_pack("{s:o, s:o}", "length_only", json_interval(base.length.accuracy),
                                                         "bag_of_words", json_interval(base.words.accuracy)));
    if (!t->args->quiet)
        fprintf(stderr, "reward: of %zu held-out pairs, length alone gets %.3f (%.3f to %.3f) right, a bag of words %.3f (%.3f to "
                        "%.3f)\n", base.length.pairs, base.length.accuracy.value, base.length.accuracy.lo, base.length.accuracy.hi,
                base.words.accuracy.value, base.words.accuracy.lo, base.words.accuracy.hi);
}

int cmd_reward(int argc, char **argv)
{
    struct reward_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct training t;
    struct err err;
    struct reward reward = {0};
    struct comparison *train = NULL, *eval = NULL;
    struct dataset center_data = {0};
    struct examples center_rows = {0};
    int rc = training_open(&t, "reward", &args.train, &o, &err);
    if (rc == 0)
        rc = training_add_head(&t, &err);
    if (rc == 0)
        rc = training_read(&t, 1u << ROWS_PAIR, "pairs of completions", &err);
    struct dataset all_train = t.train_data, all_eval = t.eval_data;
    if (rc == 0) {
        train = comparisons_merge(&all_train, &t.train_data.n);
        if (all_eval.n)
            eval = comparisons_merge(&all_eval, &t.eval_data.n);
        rc = training_encode(&t, false, &err);
    }
    if (rc == 0 && args.center_data)
        rc = read_center_data(&t, args.center_data, &center_data, &center_rows, &err);
    if (rc == 0)
        rc = training_begin(&t, &err);
    if (rc == 0) {
        bool ties = any_ties(train, t.train_data.n) || (eval && any_ties(eval, t.eval_data.n));
        double ratio = args.train.learning_rate > 0 ? args.tie_learning_rate / args.train.learning_rate : 1;
        rc = reward_init(&reward, &t.learner, ties, ratio, &t.optimizer, &err);
    }
    if (rc == 0) {
        reward.train = train;
        reward.eval = eval;
        reward.label_smoothing = args.label_smoothing;
        reward.center_rewards_coefficient = args.center_rewards_coefficient;
        show_baselines(&t, train, eval);
        struct method method = reward_method(&reward);
        rc = training_run(&t, &method, &err);
    }
    if (rc == 0)
        rc = center(&t, args.center_data ? &center_rows : &t.train, &err);
    if (rc == 0) {
        t.notes.tie_parameter = reward_eta(&reward);
        rc = training_finish(&t, &err);
    }
    t.train_data = all_train; /* to release the merged rows, too */
    t.eval_data = all_eval;
    examples_release(&center_rows);
    dataset_release(&center_data);
    reward_release(&reward);
    free(train);
    free(eval);
    code = training_close(&t, rc, &err);
    options_release(&o);
    return code;
}
