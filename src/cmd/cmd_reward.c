#include <stdlib.h>
#include <string.h>

#include "cmd/json.h"
#include "cmd/process_result.h"
#include "cmd/reward_groups.h"
#include "cmd/reward_result.h"
#include "cmd/run_report.h"
#include "cmd/training.h"
#include "reward/score.h"
#include "train/process.h"
#include "train/reward.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/rng.h"
#include "util/textstats.h"

struct reward_args {
    struct train_args train;
    double label_smoothing, center_rewards_coefficient, tie_learning_rate, annotator_learning_rate, strength_margin, ood_quantile;
    const char *center_data, *step_separator;
    bool normalize_scores, bootstrap, join_prompts, learn_annotators, train_on_last_step_only, by_group;
    const char *group;
    int calibration, ties, ranking_loss;
    int64_t ensemble;
    struct strings debias;
};

enum { RANKING_PLACKETT_LUCE, RANKING_PAIRS };
static const char *const ranking_names[] = {"plackett_luce", "pairs", NULL};

#define FIELD(name) offsetof(struct reward_args, name)
static const struct option own[] = {
    {"label_smoothing", OPTION_FLOAT, FIELD(label_smoothing), "0", "share of labels thought to be wrong", .min = 0, .max = 0.499},
    {"center_rewards_coefficient", OPTION_FLOAT, FIELD(center_rewards_coefficient), "0",
     "weight of (score a + score b)^2, which keeps scores near 0; 0.01 is advised", .min = 0, .max = 100},
    {"strength_margin", OPTION_FLOAT, FIELD(strength_margin), "0",
     "rows without a margin get so many times their strength as one: the better answer should lead by it", .min = 0, .max = 1e6},
    {"ties", OPTION_CHOICE, FIELD(ties), "rao_kupper", "whose model of ties, where the data has any", .choices = bradley_terry_ties_names},
    {"tie_learning_rate", OPTION_FLOAT, FIELD(tie_learning_rate), "1e-2",
     "rate of the threshold between ties and wins, and of those between ratings", .min = 0, .max = 10},
    {"learn_annotators", OPTION_BOOL, FIELD(learn_annotators), "false",
     "learn with the scores how reliable each annotator is, instead of counting votes"},
    {"annotator_learning_rate", OPTION_FLOAT, FIELD(annotator_learning_rate), "0.1", "rate of the logits of their reliability",
     .min = 0, .max = 10},
    {"ranking_loss", OPTION_CHOICE, FIELD(ranking_loss), "plackett_luce", "what is learned from rankings: the order as a whole, or all its pairs",
     .choices = ranking_names},
    {"join_prompts", OPTION_BOOL, FIELD(join_prompts), "false",
     "all comparisons of one prompt are one row: it is computed once, and no two steps learn from it"},
    {"center_data", OPTION_STRING, FIELD(center_data), NULL,
     "rows whose completions get scores of mean 0 and variance 1; otherwise the training rows do", .value = "FILE"},
    {"normalize_scores", OPTION_BOOL, FIELD(normalize_scores), "true",
     "scale the scores to variance 1 on those rows; if not, they are only centred"},
    {"calibration", OPTION_CHOICE, FIELD(calibration), "temperature",
     "how probabilities are fitted to the held-out pairs: by one number, or by a rising curve, which asks for some hundred pairs",
     .choices = calibration_names},
    {"debias", OPTION_LIST, FIELD(debias), NULL,
     "take off the scores what held-out pairs show that they give length, format (lists, bold, headings, exclamation marks, a question "
     "at the end), or both, beyond what people give it", .commas = true, .value = "STYLE"},
    OOD_QUANTILE_OPTION(FIELD(ood_quantile)),
};
static const struct option step_table[] = {
    {"step_separator", OPTION_STRING, FIELD(step_separator), "\\n", "what stands between two steps, \\n for a line break", .value = "TEXT"},
    {"train_on_last_step_only", OPTION_BOOL, FIELD(train_on_last_step_only), "false", "learn from each answer's last step alone"},
};
static const struct option ensemble_table[] = {
    {"ensemble", OPTION_INT, FIELD(ensemble), "1", "train so many reward models, each with a seed of its own, into one run", .min = 1, .max = 64},
    {"bootstrap", OPTION_BOOL, FIELD(bootstrap), "false", "learn from as many rows drawn with replacement, other ones for each member"},
    {"by_group", OPTION_BOOL, FIELD(by_group), "false",
     "a reward model for each group of annotators (field \"group\"), learned from its own votes, from one for all of them on; scored "
     "together as --aggregate says"},
    {"group", OPTION_STRING, FIELD(group), NULL, "learn from the rows of this group alone", .value = "NAME"},
};
#undef FIELD
static const struct option_group groups[] = {{"Reward model", own, ARRAY_LEN(own), 0},
                                             {"Steps", step_table, ARRAY_LEN(step_table), 0},
                                             {"Ensembles", ensemble_table, ARRAY_LEN(ensemble_table), 0},
                                             TRAIN_GROUPS(offsetof(struct reward_args, train))};
static const struct option_spec spec = {
    .command = "reward",
    .summary = "Train a reward model, or an ensemble of them, on comparisons of answers, rankings or ratings; or a process reward model on "
               "answers whose steps are each called right or wrong.",
    .usage = "hone reward --model M --train-data F --output-dir D [--flags]",
    .example = "hone reward --model runs/sft --train-data examples/helpdesk/comparisons.jsonl --output-dir runs/reward",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

/* Rows with their labels: of training, or held out. */
struct side {
    struct dataset all;         /* as read; merged rows, too */
    struct comparison *pairs;   /* of pairs: the first `n` rows' */
    size_t n;
    struct dataset joined;      /* with --join-prompts; of stepwise rows, whole answers */
    struct steps steps;         /* .. and where theirs end */
    struct judgements labels;
    struct word_table annotators; /* whose reliability is learned */
};

/* One reward model: the run itself, or a member of the ensemble. */
struct member {
    struct reward_args args;
    struct options options; /* resolved to its args */
    struct training t;
    struct reward reward;
    struct process process; /* of stepwise rows, in its place */
    char separator[STEP_SEPARATOR_MOST + 1];
    struct side train, eval;
    struct dataset center_data;
    struct examples center_rows;
    size_t rating_count[ROWS_MAX_RATING], n_ratings; /* of rated answers */
    size_t *draw;       /* the bootstrap sample */
    struct ood ood;     /* what its training texts look like */
    unsigned debias;    /* bits of styles */
    float *eval_scores; /* of all held-out completions, at the scale of training */
    double temperature; /* as trained: what scaling the scores has made of 1 */
};

struct job {
    const struct reward_args *args;
    const struct options *options;
    struct held_out held_out; /* lead: summed over members */
    double temperatures;      /* the same */
    struct reward_groups groups; /* with by_group */
    /* of an ensemble */
    struct run_folder run;
    json_t *about, *members;
};

/* ---- reading ---- */

/* The margins of rows that only say how strong the preference is. */
static int strength_margins(const struct dataset *data, struct comparison *c, size_t n, double times, struct err *err)
{
    for (size_t i = 0; times > 0 && i < n; i++) {
        double strength = data->rows[i].strength;
        if (strength < 0)
            return err_set(err, "'%s' line %zu: the field \"strength\" is %g, but a margin is made of it: it must be 0 or more", data->path,
                           data->rows[i].line, strength);
        if (c[i].margin == 0 && strength > 0)
            c[i].margin = times * strength;
    }
    return 0;
}

/* All votes on a prompt in one row, each with its annotator. */
static int find_annotators(struct side *s, struct err *err)
{
    struct comparison *votes = comparisons_votes(&s->all);
    word_table_init(&s->annotators);
    judgements_join(&s->joined, &s->labels, &s->all, votes, s->all.n);
    free(votes);
    for (size_t i = 0; i < s->all.n; i++) { /* numbered in the order of the votes that are learned from */
        struct judged *j = &s->labels.list[i];
        const char *name = s->all.rows[j->row].annotator;
        j->annotator = name ? word_table_id(&s->annotators, name, true) + 1 : 0;
    }
    return s->annotators.n > 1 ? 0 : err_set(err, "'%s' has %zu annotators (field \"annotator\"), but --learn-annotators tells "
                                                  "several apart: leave it out", s->all.path, s->annotators.n);
}

/* What the rows say, and `data` as it is to be encoded. */
static int side_init(struct side *s, struct dataset *data, const struct reward_args *args, bool learn_annotators,
                     const char *separator, struct err *err)
{
    s->all = *data;
    if (data->n == 0)
        return 0;
    if (data->kind == ROWS_STEPWISE) {
        if (stepwise_join(&s->joined, &s->all, separator, err))
            return -1;
        *data = s->joined;
        return 0;
    }
    if (learn_annotators && data->kind != ROWS_PAIR)
        return err_set(err, "--learn-annotators is for judgements of pairs, but '%s' holds %s: leave it out", data->path, data->format_name);
    if (data->kind == ROWS_RANKING) {
        judgements_of_rankings(&s->labels, data);
        return 0;
    }
    if (data->kind == ROWS_RATING) {
        judgements_join_ratings(&s->joined, &s->labels, &s->all);
        *data = s->joined;
        return 0;
    }
    s->pairs = comparisons_merge(&s->all, &s->n, false);
    if (strength_margins(&s->all, s->pairs, s->n, args->strength_margin, err))
        return -1;
    for (size_t i = 0; args->learn_annotators && i < s->n; i++) /* a tie is half a vote, held out too */
        s->pairs[i] = (struct comparison){s->pairs[i].w_a + s->pairs[i].w_tie / 2, s->pairs[i].w_b + s->pairs[i].w_tie / 2, 0,
                                          s->pairs[i].margin};
    data->n = s->n;
    if (learn_annotators) {
        if (find_annotators(s, err))
            return -1;
        *data = s->joined;
    } else if (args->join_prompts) {
        judgements_join(&s->joined, &s->labels, &s->all, s->pairs, s->n);
        *data = s->joined;
    } else {
        judgements_of_pairs(&s->labels, s->pairs, s->n);
    }
    return 0;
}

/* Give `data` back as it was read, to be released. */
static void side_release(struct side *s, struct dataset *data)
{
    if (s->all.rows)
        *data = s->all;
    if (s->all.kind == ROWS_STEPWISE)
        stepwise_release(&s->joined);
    else
        joined_release(&s->joined);
    steps_release(&s->steps);
    judgements_release(&s->labels);
    word_table_release(&s->annotators);
    free(s->pairs);
}

/* How often each rating stands in the rows to learn from; they go up to the highest of all rows. */
static int count_ratings(struct member *m, struct err *err)
{
    const struct dataset *both[] = {&m->train.all, &m->eval.all};
    for (size_t s = 0; s < 2; s++)
        for (size_t i = 0; i < both[s]->n; i++) {
            size_t rating = both[s]->rows[i].ratings[0];
            m->n_ratings = rating > m->n_ratings ? rating : m->n_ratings;
            m->rating_count[rating - 1] += s == 0;
        }
    return m->n_ratings > 1 ? 0 : err_set(err, "'%s': all ratings are 1, which tells nothing apart: give rows of at least two",
                                          m->t.train_data.path);
}

/* Of stepwise rows, where the steps end in the answers as they were encoded. */
static int find_steps(struct side *s, const struct examples *e, const struct member *m, struct err *err)
{
    if (s->all.n == 0)
        return 0;
    steps_find(&s->steps, e, m->t.base.model.tokenizer, m->separator);
    return stepwise_check(&s->steps, e, &s->all, err);
}

static bool is_process(const struct member *m)
{
    return m->train.all.kind == ROWS_STEPWISE;
}

/* What is for comparisons alone. */
static int check_process(const struct reward_args *a, struct err *err)
{
    const char *wrong = a->bootstrap ? "--bootstrap" : a->learn_annotators ? "--learn-annotators" : a->join_prompts ? "--join-prompts"
                        : a->center_data ? "--center-data" : NULL;
    return wrong ? err_set(err, "%s is for comparisons, and these rows are answers in steps: leave it out", wrong) : 0;
}

static int member_open(struct member *m, struct err *err)
{
    struct training *t = &m->t;
    if (debias_styles(&m->debias, m->args.debias.data, m->args.debias.n, err)) {
        t->command = "reward";
        return -1;
    }
    if (training_open(t, "reward", &m->args.train, &m->options, err) || training_add_head(t, err) ||
        training_read(t, 1u << ROWS_PAIR | 1u << ROWS_RANKING | 1u << ROWS_RATING | 1u << ROWS_STEPWISE,
                      "pairs of completions, rankings, ratings or steps", err) ||
        separator_read(m->separator, m->args.step_separator, err))
        return -1;
    if (t->train_data.kind == ROWS_STEPWISE && check_process(&m->args, err))
        return -1;
    for (int s = 0; m->args.group && s < 2; s++)
        dataset_keep_group(s ? &t->eval_data : &t->train_data, m->args.group);
    if (t->train_data.n == 0)
        return err_set(err, "'%s' has no rows of the group '%s' to learn from: is its name right?", t->train_data.path, m->args.group);
    if (t->eval_data.n && t->eval_data.kind != t->train_data.kind)
        return err_set(err, "'%s' holds %s and '%s' %s: both must be of one kind", t->train_data.path,
                       t->train_data.format_name, t->eval_data.path, t->eval_data.format_name);
    if (m->debias && (t->eval_data.n == 0 || !t->base.model.tokenizer))
        return err_set(err, "--debias reads held-out answers as text: %s",
                       t->eval_data.n ? "name a --tokenizer" : "give --eval-data or --eval-split");
    if (side_init(&m->train, &t->train_data, &m->args, m->args.learn_annotators, m->separator, err) ||
        side_init(&m->eval, &t->eval_data, &m->args, false, m->separator, err) ||
        (t->train_data.kind == ROWS_RATING && count_ratings(m, err)) || training_encode(t, false, err))
        return -1;
    if (is_process(m))
        return find_steps(&m->train, &t->train, m, err) || find_steps(&m->eval, &t->eval, m, err) ? -1 : 0;
    return m->args.center_data ? training_read_completions(t, "center_data", m->args.center_data, &m->center_data, &m->center_rows, err) : 0;
}

static int member_close(struct member *m, int rc, const struct err *err)
{
    examples_release(&m->center_rows);
    dataset_release(&m->center_data);
    reward_release(&m->reward);
    free(m->draw);
    free(m->eval_scores);
    ood_release(&m->ood);
    free(m->process.eval_p);
    free(m->process.eval_right);
    side_release(&m->train, &m->t.train_data);
    side_release(&m->eval, &m->t.eval_data);
    return training_close(&m->t, rc, err);
}

/* ---- training ---- */

static bool any_ties(const struct side *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->pairs[i].w_tie > 0)
            return true;
    return false;
}

static int member_train(struct member *m, struct err *err)
{
    struct training *t = &m->t;
    const struct train_args *a = &m->args.train;
    if (training_begin(t, err))
        return -1;
    size_t n_annotators = m->train.annotators.n;
    bool ties = any_ties(&m->train) || any_ties(&m->eval);
    double ratio = a->learning_rate > 0 ? m->args.tie_learning_rate / a->learning_rate : 1;
    if (m->n_ratings ? reward_init_ratings(&m->reward, &t->learner, m->rating_count, m->n_ratings, ratio, &t->optimizer, err)
                     : reward_init(&m->reward, &t->learner, ties, (enum bradley_terry_ties)m->args.ties, ratio, &t->optimizer, err))
        return -1;
    if (n_annotators && reward_init_annotators(&m->reward, n_annotators, (double)m->train.all.n,
                                               a->learning_rate > 0 ? m->args.annotator_learning_rate / a->learning_rate : 1,
                                               &t->optimizer, err))
        return -1;
    if (m->args.bootstrap) {
        m->draw = xmalloc(t->train.n * sizeof *m->draw);
        for (size_t i = 0; i < t->train.n; i++)
            m->draw[i] = rng_below((uint32_t)t->train.n, (uint32_t)a->seed, RNG_SPLIT, (uint32_t)i, 1, 0, 0);
        t->loop.draw = m->draw;
    }
    m->reward.train = &m->train.labels;
    m->reward.eval = &m->eval.labels;
    m->reward.rankings = t->train_data.kind == ROWS_RANKING;
    m->reward.plackett_luce = m->reward.rankings && m->args.ranking_loss == RANKING_PLACKETT_LUCE;
    m->reward.eval_scores = m->eval_scores = xmalloc((score_count(&t->eval) + 1) * sizeof *m->eval_scores);
    m->reward.label_smoothing = m->args.label_smoothing;
    m->reward.center_rewards_coefficient = m->args.center_rewards_coefficient;
    struct method method = reward_method(&m->reward);
    return training_run(t, &method, err);
}

/* Of stepwise rows. */
static int process_train(struct member *m, struct err *err)
{
    struct training *t = &m->t;
    size_t eval_steps = t->eval.n ? m->eval.steps.start[m->eval.steps.n] : 0;
    if (training_begin(t, err))
        return -1;
    m->process = (struct process){.learner = &t->learner, .train_rows = &m->train.all, .eval_rows = &m->eval.all, .train = &m->train.steps,
                                  .eval = &m->eval.steps, .last_only = m->args.train_on_last_step_only,
                                  .eval_p = xcalloc(eval_steps + 1, sizeof(double)), .eval_right = xcalloc(eval_steps + 1, sizeof(double))};
    struct method method = process_method(&m->process);
    return training_run(t, &method, err);
}

/* ---- the result ---- */

static int process_finish(struct member *m, struct err *err)
{
    struct training *t = &m->t;
    struct metrics again = {0};
    struct method method = process_method(&m->process);
    if (t->eval.n && !m->process.evaluated && loop_evaluate(&again, &t->loop, &method, &t->eval, err)) /* it was finished already */
        return -1;
    if (t->eval.n)
        process_judge(t->about, m->process.eval_p, m->process.eval_right, &m->eval.steps, &t->eval_data, (uint32_t)t->args->seed,
                      t->args->quiet);
    t->notes = (struct head_notes){0};
    memcpy(t->notes.step_separator, m->separator, sizeof m->separator);
    return training_finish(t, err);
}

/* Say what length and words alone make of the held-out pairs: a reward model that is no better has learned nothing else.
 * Only of text; where nothing is decided there is nothing to say. */
static void show_baselines(struct member *m)
{
    struct training *t = &m->t;
    struct labelled a = {&m->train.all, m->train.pairs, m->train.n}, b = {&m->eval.all, m->eval.pairs, m->eval.n};
    struct reward_baselines base;
    struct err ignored;
    if (a.n == 0 || b.n == 0 || b.data->rows[0].completions[0].n_ids ||
        reward_baselines(&base, NULL, NULL, &a, &b, (uint32_t)t->args->seed, &ignored) || base.length.pairs == 0)
        return;
    json_object_set_new(t->about, "baselines", json_pack("{s:o, s:o, s:I}", "length_only", json_interval(base.length.accuracy),
                                                         "bag_of_words", json_interval(base.words.accuracy), "train_pairs",
                                                         (json_int_t)base.n_train));
    if (t->args->quiet)
        return;
    fprintf(stderr, "reward: of %zu held-out pairs, length alone gets %.3f (%.3f to %.3f) right, a bag of words %.3f (%.3f to "
                    "%.3f)", base.length.pairs, base.length.accuracy.value, base.length.accuracy.lo, base.length.accuracy.hi,
            base.words.accuracy.value, base.words.accuracy.lo, base.words.accuracy.hi);
    if (base.n_train < a.n)
        fprintf(stderr, "; they were fitted to %zu of the %zu training pairs", base.n_train, a.n);
    fputc('\n', stderr);
}

/* What the scores as trained say of each annotator: one pass over the rows that were learned from. */
static int judge_annotators(struct member *m, struct err *err)
{
    struct training *t = &m->t;
    const struct judgements *labels = &m->train.labels;
    size_t n = m->train.all.n, n_annotators = m->train.annotators.n;
    if (n_annotators == 0)
        return 0;
    float *scores = xmalloc((score_count(&t->train) + 1) * sizeof *scores);
    double *x = xmalloc(n * sizeof *x), *w_a = xmalloc(n * sizeof *w_a), *w_b = xmalloc(n * sizeof *w_b), scale;
    size_t *start = xcalloc(n_annotators + 1, sizeof *start), used = 0;
    struct interval *eta = xcalloc(n_annotators, sizeof *eta);
    int rc = score_examples(scores, &t->net, &t->train, (size_t)t->args->micro_batch_tokens, NULL, NULL, err);
    for (size_t k = 0; rc == 0 && k < n_annotators; k++) {
        for (size_t row = 0, at = 0; row < labels->n_rows; at += t->train.list[row++].n_completions)
            for (size_t i = labels->start[row]; i < labels->start[row + 1]; i++) {
                const struct judged *j = &labels->list[i];
                if (j->annotator != k + 1)
                    continue;
                x[used] = (double)scores[at + j->a] - (double)scores[at + j->b];
                w_a[used] = j->c.w_a;
                w_b[used++] = j->c.w_b;
            }
        start[k + 1] = used;
    }
    if (rc == 0)
        crowd_bt_reliability(eta, &scale, x, w_a, w_b, start, n_annotators);
    json_t *list = json_array();
    for (size_t k = 0; rc == 0 && k < n_annotators; k++) {
        const char *name = m->train.annotators.word[k];
        json_array_append_new(list, json_pack("{s:o, s:I, s:f, s:o}", "annotator", json_text(name), "votes",
                                              (json_int_t)(start[k + 1] - start[k]), "learned", reward_reliability(&m->reward, k),
                                              "reliability", json_interval(eta[k])));
        if (!t->args->quiet)
            fprintf(stderr, "reward: annotator %s: reliability %.2f (%.2f to %.2f), %zu votes\n", name, eta[k].value, eta[k].lo,
                    eta[k].hi, start[k + 1] - start[k]);
    }
    json_object_set_new(t->about, "annotators", list);
    free(scores);
    free(x);
    free(w_a);
    free(w_b);
    free(start);
    free(eta);
    return rc;
}

/* At the scale of the scores as they are saved. */
static void keep_thresholds(struct member *m)
{
    struct head_notes *notes = &m->t.notes;
    if (m->reward.n_ratings == 0)
        return;
    notes->n_thresholds = m->reward.n_ratings - 1;
    notes->rating_scale = m->temperature;
    reward_thresholds(&m->reward, notes->threshold);
    for (size_t i = 0; i < notes->n_thresholds; i++)
        notes->threshold[i] = notes->threshold[i] * m->temperature + notes->score_bias;
}

/* The held-out pairs with the leads of the scores as trained; from them, where that is asked for, the style to be taken off. */
static void judge_style(struct member *m, struct held_out *h)
{
    const struct training *t = &m->t;
    held_out_init(h, &t->eval, &m->eval.labels, m->eval.all.rows, t->base.model.tokenizer);
    held_out_leads(h->lead, h, m->eval_scores, 1);
    if (m->debias)
        scores_debias(t->about, &m->t.head, h, m->debias, 1, (uint32_t)t->args->seed, t->args->quiet ? NULL : "reward");
}

/* The scores of the trained model: their scale, what they are worth, and into the folder. */
static int member_finish(struct member *m, struct job *job, size_t number, struct err *err)
{
    struct training *t = &m->t;
    const struct examples *reference = m->args.center_data ? &m->center_rows : &t->train;
    int rc = 0;
    if (!m->reward.evaluated) /* a run that was finished already */
        rc = score_examples(m->eval_scores, &t->net, &t->eval, (size_t)t->args->micro_batch_tokens, NULL, NULL, err);
    if (rc == 0)
        rc = judge_annotators(m, err);
    if (rc == 0)
        rc = scores_ood(&m->ood, t->about, &t->net, &t->train, &t->eval, m->args.ood_quantile, t->args->quiet ? NULL : "reward", err);
    t->notes.ood = m->ood.width ? &m->ood : NULL;
    struct held_out held = {0};
    if (rc == 0)
        judge_style(m, &held);
    if (rc == 0)
        rc = scores_normalize(&m->temperature, &t->head, &t->notes, &t->net, reference, m->args.normalize_scores, err);
    if (rc == 0) {
        bool by_group = job->args->by_group;
        if (number <= 1 && !by_group)
            held_out_init(&job->held_out, &t->eval, &m->eval.labels, m->eval.all.rows, t->base.model.tokenizer);
        if (by_group ? number == 0 : number <= 1)
            show_baselines(m);
        for (size_t i = 0; i < held.pairs.n; i++) {
            held.lead[i] *= m->temperature;
            if (!by_group) /* whose members have other rows each */
                job->held_out.lead[i] += held.lead[i];
        }
        t->notes.calibrator = scores_judge(t->about, &held.pairs, m->temperature, m->args.calibration, (uint32_t)m->args.train.seed,
                                           m->args.train.quiet ? NULL : "reward");
        t->notes.tie_parameter = reward_tie_parameter(&m->reward);
        t->notes.davidson = m->reward.ties == TIES_DAVIDSON;
        keep_thresholds(m);
        job->temperatures += by_group && number == 0 ? 0 : m->temperature;
        rc = training_finish(t, err);
    }
    held_out_release(&held);
    return rc;
}

/* ---- ensembles ---- */

/* The run's folder, before the first member's. */
static int ensemble_begin(struct job *job, const struct training *t, struct err *err)
{
    size_t step;
    json_t *nothing;
    struct optimizer none = {0};
    const struct train_args *a = &job->args->train;
    if (training_open_folder(t, &job->run, a->output_dir, a->overwrite, job->options, err) ||
        run_load(&job->run, &step, &none, &nothing, err)) /* its metrics are written anew */
        return -1;
    json_decref(nothing);
    job->about = json_deep_copy(t->about);
    job->members = json_array();
    return 0;
}

static void add_number(struct metrics *m, const json_t *quality, const char *when, const char *what, const char *key)
{
    metrics_put(m, key, json_number(json_object_get(json_object_get(json_object_get(quality, when), what), "value")));
}

/* A line for a member in the ensemble's metrics, and its place in the manifest. */
static int ensemble_add(struct job *job, const struct member *m, size_t number, struct err *err)
{
    char path[32];
    snprintf(path, sizeof path, "members/%zu", number);
    json_array_append_new(job->members, json_pack("{s:s, s:I, s:O}", "path", path, "seed", (json_int_t)m->args.train.seed, "result",
                                                  json_object_get(m->t.about, "result")));
    if (m->args.group)
        json_object_set_new(json_array_get(job->members, number - 1), "group", json_text(m->args.group));
    const json_t *quality = json_object_get(m->t.about, "quality");
    struct metrics line = {0};
    metrics_put(&line, "step", (double)number);
    add_number(&line, quality, "before", "accuracy", "eval_accuracy");
    add_number(&line, quality, "before", "ece", "eval_ece");
    add_number(&line, quality, "before", "brier", "eval_brier");
    add_number(&line, quality, "after", "ece", "eval_calibrated_ece");
    add_number(&line, quality, "after", "brier", "eval_calibrated_brier");
    return run_log(&job->run, &line, err);
}

static int ensemble_finish(struct job *job, struct err *err)
{
    const struct train_args *a = &job->args->train;
    double k = (double)json_array_size(job->members);
    for (size_t i = 0; !job->args->by_group && i < job->held_out.pairs.n; i++)
        job->held_out.lead[i] /= k;
    if (!a->quiet)
        fprintf(stderr, "reward: the ensemble's mean:\n");
    struct head_notes notes = {.calibrator = scores_judge(job->about, &job->held_out.pairs, job->temperatures / k, job->args->calibration,
                                                          (uint32_t)a->seed, a->quiet ? NULL : "reward")};
    json_object_set(job->about, "members", job->members);
    int rc = head_notes_write(&notes, a->output_dir, err);
    if (rc == 0)
        rc = run_report(a->output_dir, "reward", job->about, err);
    if (rc == 0)
        rc = run_manifest(&job->run, job->about, err);
    if (rc)
        err_prefix(err, "the members are trained, but the run's result could not be written (--resume tries again)");
    else if (!a->quiet)
        fprintf(stderr, "reward: %zu members: written to '%s'\n", json_array_size(job->members), a->output_dir);
    return rc;
}

/* Member `number` of an ensemble, from 1: its settings. */
static void ensemble_settings(struct reward_args *a, const struct job *job, size_t number)
{
    a->train.split_seed = a->train.split_seed >= 0 ? a->train.split_seed : a->train.seed;
    a->train.seed = (int64_t)(uint32_t)(job->args->train.seed + (int64_t)number - 1);
    a->ensemble = 1;
    if (!a->train.quiet)
        fprintf(stderr, "reward: member %zu of %lld\n", number, (long long)job->args->ensemble);
}

/* Of a run by group: 0 is the model for all, from which group `number`'s goes on with its own votes.  All are normalised on the same
 * answers.  pooled: its folder. */
static void group_settings(struct reward_args *a, const struct job *job, size_t number, const char *pooled)
{
    a->by_group = false;
    a->center_data = a->center_data ? a->center_data : a->train.train_data;
    if (!a->train.quiet)
        fprintf(stderr, "reward: %s%s\n", number ? "the group " : "all groups", number ? job->groups.votes.name[number - 1] : "");
    if (number == 0)
        return;
    a->group = job->groups.votes.name[number - 1];
    a->train.model = a->train.full ? pooled : job->groups.t.base.model_path;
    a->train.adapter = a->train.full ? NULL : pooled;
    a->train.layers_from = 0; /* those of the adapter */
}

/* Train reward model `number` of the run, from 1 (0: the run is one, or by group the model for all). */
static int run_one(struct job *job, size_t number)
{
    struct err err;
    struct member *m = xcalloc(1, sizeof *m);
    m->args = *job->args;
    m->options = *job->options;
    m->options.args = &m->args;
    bool by_group = job->args->by_group;
    char *pooled = path_join(job->args->train.output_dir, "pooled");
    char *folder = number ? xasprintf("%s/members/%zu", job->args->train.output_dir, number) : xstrdup(pooled);
    if (number || by_group) {
        m->args.train.output_dir = folder;
        m->args.train.overwrite = false; /* the run's folder is emptied as a whole */
    }
    if (by_group)
        group_settings(&m->args, job, number, pooled);
    else if (number)
        ensemble_settings(&m->args, job, number);
    int rc = member_open(m, &err);
    if (rc == 0 && (number || by_group) && is_process(m))
        rc = err_set(&err, "--ensemble and --by-group are for comparisons, and these rows are answers in steps: leave them out");
    if (rc == 0 && number == 1 && !by_group)
        rc = ensemble_begin(job, &m->t, &err);
    if (rc == 0)
        rc = is_process(m) ? process_train(m, &err) : member_train(m, &err);
    if (rc == 0)
        rc = is_process(m) ? process_finish(m, &err) : member_finish(m, job, number, &err);
    if (rc == 0 && number)
        rc = ensemble_add(job, m, number, &err);
    if (rc == 0 && job->about && number <= 1 && json_object_get(m->t.about, "baselines"))
        json_object_set(job->about, "baselines", json_object_get(m->t.about, "baselines"));
    int code = member_close(m, rc, &err);
    free(pooled);
    free(folder);
    free(m);
    return code;
}

/* What does not go together with groups. */
static int check_groups(const struct reward_args *a, struct err *err)
{
    const char *other = a->ensemble > 1 ? "--ensemble" : a->learn_annotators ? "--learn-annotators" : a->group ? "--group" : NULL;
    return other ? err_set(err, "--by-group trains a reward model for each group: it does not go together with %s", other) : 0;
}

static int run_groups(struct job *job)
{
    struct err err;
    struct reward_groups *g = &job->groups;
    const struct train_args *a = &job->args->train;
    if (check_groups(job->args, &err))
        return command_misused("reward", &err);
    if (groups_open(g, a, job->options, &err) || ensemble_begin(job, &g->t, &err))
        return command_failed("reward", &err);
    int code = EXIT_DONE;
    for (size_t k = 0; code == EXIT_DONE && k <= g->votes.n_groups; k++)
        code = run_one(job, k);
    if (code == EXIT_DONE && (groups_judge(g, a->output_dir, job->about, &job->held_out, a->quiet ? NULL : "reward", &err) ||
                              ensemble_finish(job, &err)))
        code = command_failed("reward", &err);
    return code;
}

int cmd_reward(int argc, char **argv)
{
    struct reward_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct job job = {.args = &args, .options = &o};
    if (args.by_group) {
        code = run_groups(&job);
    } else if (args.ensemble == 1) {
        code = run_one(&job, 0);
    } else {
        struct err err;
        code = EXIT_DONE;
        for (size_t k = 1; code == EXIT_DONE && k <= (size_t)args.ensemble; k++)
            code = run_one(&job, k);
        if (code == EXIT_DONE && ensemble_finish(&job, &err))
            code = command_failed("reward", &err);
    }
    held_out_release(&job.held_out);
    groups_release(&job.groups);
    run_close(&job.run);
    json_decref(job.about);
    json_decref(job.members);
    options_release(&o);
    return code;
}
