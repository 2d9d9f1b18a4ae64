#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/base.h"
#include "cmd/commands.h"
#include "cmd/json.h"
#include "cmd/load.h"
#include "cmd/reward_result.h"
#include "cmd/run_report.h"
#include "reward/score.h"
#include "train/run.h"
#include "util/file.h"
#include "util/mem.h"

struct average_args {
    struct strings reward;
    const char *model, *tokenizer, *output_dir, *center_data, *eval_data, *system;
    bool normalize_scores, overwrite, quiet;
    int calibration, truncation;
    int64_t max_length, seed, threads;
    double ood_quantile;
};

static const char *const truncation_names[] = {"keep_start", "keep_end", NULL};

#define FIELD(name) offsetof(struct average_args, name)
static const struct option own[] = {
    {"reward", OPTION_LIST, FIELD(reward), NULL, "the reward models: a run with several members, or one name each", .required = true,
     .value = "PATH"},
    {"model", OPTION_STRING, FIELD(model), NULL, "their base, where it is not where their runs found it", .value = "PATH"},
    {"tokenizer", OPTION_STRING, FIELD(tokenizer), NULL, "a folder with tokenizer and chat template, where the model has none", .value = "DIR"},
    {"output_dir", OPTION_STRING, FIELD(output_dir), NULL, "the folder of the average, which is a run's", .required = true, .value = "DIR"},
    {"center_data", OPTION_STRING, FIELD(center_data), NULL, "rows whose completions get scores of mean 0 and variance 1, and which other texts may be unlike; otherwise scores stay as they average",
     .value = "FILE"},
    {"normalize_scores", OPTION_BOOL, FIELD(normalize_scores), "true", "scale the scores to variance 1 on center_data; if not, they are only centred"},
    {"eval_data", OPTION_STRING, FIELD(eval_data), NULL, "comparisons that no member has learned from, to judge and calibrate by", .value = "FILE"},
    {"calibration", OPTION_CHOICE, FIELD(calibration), "temperature", "how probabilities are fitted to them", .choices = calibration_names},
    OOD_QUANTILE_OPTION(FIELD(ood_quantile)),
    {"system", OPTION_STRING, FIELD(system), NULL, "system message for rows that have none", .value = "TEXT"},
    {"max_length", OPTION_INT, FIELD(max_length), "1024", "tokens of prompt and completion at most", .min = 2, .max = 1e6},
    {"truncation", OPTION_CHOICE, FIELD(truncation), "keep_start", "which end of an over-long row is kept", .choices = truncation_names},
    {"seed", OPTION_INT, FIELD(seed), "42", "of the folds of the calibration and the intervals", .min = 0, .max = 4294967295.0},
    {"overwrite", OPTION_BOOL, FIELD(overwrite), "false", "replace the run that is in output_dir", .momentary = true},
    {"threads", OPTION_INT, FIELD(threads), "0", "threads; 0: OMP_NUM_THREADS, or all cores", .min = 0, .max = 1024},
    {"quiet", OPTION_BOOL, FIELD(quiet), "false", "no remarks"},
};
#undef FIELD
static const struct option_group groups[] = {{"Averaging", own, ARRAY_LEN(own), 0}};
static const struct option_spec spec = {
    .command = "average",
    .summary = "Average the weights of reward models that were trained from one base: one reward model, which costs one pass.",
    .usage = "hone average --reward R [--reward R2 ..] --output-dir D [--flags]",
    .example = "hone average --reward runs/ensemble --eval-data comparisons-heldout.jsonl --output-dir runs/average",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

struct average_job {
    const struct average_args *args;
    struct loaded base;
    struct rewards rewards;
    struct adapter adapter;
    struct head head;
    struct head_notes notes;
    struct ood ood;
    struct net net;
    struct dataset center_data, eval_data;
    struct examples center, eval;
    struct judgements labels;
    json_t *about;
};

static int open_members(struct average_job *j, struct err *err)
{
    const struct average_args *a = j->args;
    char *first = NULL;
    if (!a->model) {
        char *member = xasprintf("%s/members/1", a->reward.data[0]);
        struct artefact found;
        int rc = artefact_find(&found, file_exists(member) ? member : a->reward.data[0], err);
        if (rc == 0 && found.model)
            first = xstrdup(found.model);
        artefact_release(&found);
        free(member);
        if (rc)
            return -1;
    }
    if (!a->model && !first)
        return err_set(err, "'%s' does not say which model it belongs to: name it with --model", a->reward.data[0]);
    int rc = load_net(&j->base, a->model ? a->model : first, NULL, a->tokenizer, err);
    free(first);
    if (rc || load_rewards(&j->rewards, a->reward.data, a->reward.n, &j->base, err))
        return -1;
    for (size_t i = 0; i < j->rewards.n; i++)
        if (!j->rewards.nets[i]->adapter || j->rewards.nets[i]->model != &j->base.model)
            return err_set(err, "'%s' is no adapter on '%s': only adapters on one base can be averaged", j->rewards.list[i].path,
                           j->base.model_path);
    for (size_t i = 0; i < j->rewards.n; i++)
        if (*j->rewards.list[i].head.step_separator)
            return err_set(err, "'%s' is a process reward model: the probabilities of several can be put together (--aggregate), their weights "
                                "are not averaged", j->rewards.list[i].path);
    return j->rewards.n > 1 ? 0 : err_set(err, "there is only one reward model, '%s': give two or more", j->rewards.list[0].path);
}

/* Weights, bias and temperature: the mean over the members. */
static int average(struct average_job *j, struct err *err)
{
    size_t n = j->rewards.n;
    const struct adapter **adapters = xmalloc(n * sizeof *adapters);
    for (size_t i = 0; i < n; i++)
        adapters[i] = j->rewards.nets[i]->adapter;
    int rc = adapter_average(&j->adapter, adapters, n, err);
    free(adapters);
    if (rc || head_init(&j->head, j->base.model.config.width, err))
        return -1;
    double bias = 0, temperature = 0;
    for (size_t w = 0; w < j->head.width; w++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += (double)j->rewards.list[i].head.params.data[w];
        j->head.params.data[w] = (float)(sum / (double)n);
    }
    for (size_t i = 0; i < n; i++) {
        const struct head_notes *notes = &j->rewards.list[i].notes;
        bias += (double)j->rewards.list[i].head.bias / (double)n;
        temperature += (notes->calibrator.temperature > 0 ? notes->calibrator.temperature : 1) / (double)n;
        for (size_t s = 0; s < STYLES; s++)
            j->head.style[s] += j->rewards.list[i].head.style[s] / (double)n;
        j->notes.tie_parameter += notes->tie_parameter / (double)n;
    }
    j->head.bias = (float)bias;
    memcpy(j->notes.style, j->head.style, sizeof j->notes.style);
    j->notes.score_bias = (double)j->head.bias;
    j->notes.calibrator.temperature = temperature;
    j->net = (struct net){&j->base.model, &j->adapter, &j->head};
    return 0;
}

static int about_file(struct average_job *j, const char *key, const char *path, struct err *err)
{
    char hash[65];
    if (file_sha256(hash, path, err))
        return -1;
    json_object_set_new(j->about, key, json_pack("{s:s, s:s}", "path", path, "sha256", hash));
    return 0;
}

static int read_rows(struct average_job *j, struct dataset *data, struct examples *e, const char *key, const char *path, bool pairs,
                     struct err *err)
{
    const struct average_args *a = j->args;
    struct rows_config config = {.system = a->system};
    struct encode_options o = encode_options_of(&j->base.model);
    size_t positions = j->base.model.rope.positions;
    o.max_length = (size_t)a->max_length < positions ? (size_t)a->max_length : positions;
    o.truncation = (enum truncation)a->truncation;
    if (base_read(data, "average", path, &config, pairs ? 1u << ROWS_PAIR : ~(1u << ROWS_SCORES | 1u << ROWS_PROMPT),
                  pairs ? "pairs of completions" : "rows with answers", a->quiet, err) ||
        about_file(j, key, path, err))
        return -1;
    struct dataset some = *data; /* without the merged rows, which `data` has to release, too */
    if (pairs) {
        struct comparison *labels = comparisons_merge(data, &some.n, false);
        judgements_of_pairs(&j->labels, labels, some.n);
        free(labels);
    }
    return examples_encode(e, &some, &o, err);
}

static int read_data(struct average_job *j, struct err *err)
{
    const struct average_args *a = j->args;
    if (a->center_data && read_rows(j, &j->center_data, &j->center, "center_data", a->center_data, false, err))
        return -1;
    return a->eval_data ? read_rows(j, &j->eval_data, &j->eval, "eval_data", a->eval_data, true, err) : 0;
}

static int judge(struct average_job *j, struct err *err)
{
    size_t n = j->eval.n;
    struct held_out h;
    float *scores = xmalloc((2 * n + 1) * sizeof *scores);
    int rc = score_examples(scores, &j->net, &j->eval, SCORE_MICRO_TOKENS, NULL, NULL, err);
    held_out_init(&h, &j->eval, &j->labels, j->eval_data.rows, j->base.model.tokenizer);
    if (rc == 0) {
        held_out_leads(h.lead, &h, scores, 1);
        j->notes.calibrator = scores_judge(j->about, &h.pairs, j->notes.calibrator.temperature, j->args->calibration,
                                           (uint32_t)j->args->seed, j->args->quiet ? NULL : "average");
    }
    held_out_release(&h);
    free(scores);
    return rc;
}

static int write_run(struct average_job *j, struct run_folder *run, const struct options *o, struct err *err)
{
    struct buf yaml;
    char hash[65], *folder = path_join(run->dir, "adapter"), *weights = path_join(folder, "adapter_model.safetensors");
    buf_init(&yaml, 1 << 20);
    options_write_yaml(o, &yaml);
    int rc = run_write(run, "config.yaml", yaml.data, yaml.len, err);
    if (rc == 0)
        rc = adapter_save(&j->adapter, &j->head, &j->notes, j->base.model_path, folder, err);
    if (rc == 0)
        rc = file_sha256(hash, weights, err);
    if (rc == 0) {
        json_object_set_new(j->about, "result", json_pack("{s:s, s:s}", "path", "adapter", "sha256", hash));
        rc = run_report(run->dir, "average", j->about, err);
    }
    if (rc == 0)
        rc = run_manifest(run, j->about, err);
    buf_release(&yaml);
    free(weights);
    free(folder);
    return rc;
}

static int describe(struct average_job *j, struct err *err)
{
    char hash[65];
    json_t *list = json_array();
    j->about = json_pack("{s:s, s:I}", "command", "average", "seed", (json_int_t)j->args->seed);
    json_object_set_new(j->about, "reward", list);
    for (size_t i = 0; i < j->rewards.n; i++) {
        const struct params *p = &j->rewards.list[i].head.params;
        sha256_hex(hash, p->data, p->n * sizeof *p->data);
        json_array_append_new(list, json_pack("{s:s, s:s}", "path", j->rewards.list[i].path, "head_sha256", hash));
    }
    if (model_hash(j->base.model_path, hash, err))
        return -1;
    json_object_set_new(j->about, "model", json_pack("{s:s, s:s}", "path", j->base.model_path, "sha256", hash));
    return 0;
}

/* What --overwrite removes must not be what the average is made from. */
static int check_overwrite(const struct average_job *j, struct err *err)
{
    const struct average_args *a = j->args;
    const char *const files[] = {a->center_data, a->eval_data, j->base.model_path};
    const char *inside = NULL;
    for (size_t i = 0; i < j->rewards.n; i++)
        if (file_lies_in(j->rewards.list[i].path, a->output_dir))
            inside = j->rewards.list[i].path;
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        if (files[i] && file_lies_in(files[i], a->output_dir))
            inside = files[i];
    return inside && a->overwrite ? err_set(err, "'%s' lies in '%s', which --overwrite would empty: give another --output-dir", inside,
                                            a->output_dir) : 0;
}

static int run(struct average_job *j, const struct options *o, struct err *err)
{
    const struct average_args *a = j->args;
    struct run_folder folder = {0};
    double factor = 1;
    if (open_members(j, err) || average(j, err) || describe(j, err) || read_data(j, err) ||
        check_overwrite(j, err) || run_open(&folder, a->output_dir, false, a->overwrite, err))
        return -1;
    int rc = a->center_data ? scores_normalize(&factor, &j->head, &j->notes, &j->net, &j->center, a->normalize_scores, err) : 0;
    j->notes.calibrator.temperature *= factor;
    if (rc == 0 && a->center_data) /* its hidden states are no member's */
        rc = scores_ood(&j->ood, j->about, &j->net, &j->center, &j->eval, a->ood_quantile, a->quiet ? NULL : "average", err);
    j->notes.ood = j->ood.width ? &j->ood : NULL;
    if (rc == 0 && a->eval_data)
        rc = judge(j, err);
    if (rc == 0)
        rc = write_run(j, &folder, o, err);
    if (rc == 0 && !a->quiet)
        fprintf(stderr, "average: %zu reward models, rank %zu: written to '%s'\n", j->rewards.n, j->adapter.rank, a->output_dir);
    run_close(&folder);
    return rc;
}

int cmd_average(int argc, char **argv)
{
    struct average_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct err err;
    struct average_job *j = xcalloc(1, sizeof *j);
    j->args = &args;
    if (args.threads)
        omp_set_num_threads((int)args.threads);
    int rc = run(j, &o, &err);
    code = rc ? command_failed("average", &err) : EXIT_DONE;
    examples_release(&j->center);
    examples_release(&j->eval);
    dataset_release(&j->center_data);
    dataset_release(&j->eval_data);
    judgements_release(&j->labels);
    adapter_release(&j->adapter);
    head_release(&j->head);
    ood_release(&j->ood);
    rewards_release(&j->rewards);
    loaded_release(&j->base);
    json_decref(j->about);
    free(j);
    options_release(&o);
    return code;
}
