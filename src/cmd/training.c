#include "cmd/training.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/run_report.h"
#include "data/split.h"
#include "util/file.h"
#include "util/mem.h"

#define FIELD(name) offsetof(struct train_args, name)

static const char *const truncation_names[] = {"keep_start", "keep_end", NULL};

const struct option model_options[N_MODEL_OPTIONS] = {
    {"model", OPTION_STRING, FIELD(model), NULL, "the model: a Hugging Face folder, a .gguf file or a run's folder",
     .required = true, .value = "PATH"},
    {"adapter", OPTION_STRING, FIELD(adapter), NULL, "a LoRA adapter to start from", .value = "PATH"},
    {"tokenizer", OPTION_STRING, FIELD(tokenizer), NULL, "a folder with tokenizer and chat template, where the model has none",
     .value = "DIR"},
    {"train_data", OPTION_STRING, FIELD(train_data), NULL, "rows to learn from (JSON lines, JSON, CSV; also gzipped)",
     .required = true, .value = "FILE", .alias = "dataset_name"},
    {"eval_data", OPTION_STRING, FIELD(eval_data), NULL, "rows that are only evaluated", .value = "FILE"},
    {"eval_split", OPTION_FLOAT, FIELD(eval_split), "0",
     "where there is no eval_data: share of the conversations that are held out of train_data", .min = 0, .max = 0.9},
    {"split_seed", OPTION_INT, FIELD(split_seed), "-1", "of which those are; -1: seed. Members of an ensemble hold out the same", .min = -1,
     .max = 4294967295.0},
    {"skip_bad_rows", OPTION_BOOL, FIELD(skip_bad_rows), "false", "leave out rows with a missing or empty field instead of stopping"},
    {"output_dir", OPTION_STRING, FIELD(output_dir), NULL, "the run's folder", .required = true, .value = "DIR"},
    {"system", OPTION_STRING, FIELD(system), NULL, "system message for rows that have none", .value = "TEXT"},
    {"max_length", OPTION_INT, FIELD(max_length), "1024", "tokens of prompt and completion at most", .min = 2, .max = 1e6},
    {"truncation", OPTION_CHOICE, FIELD(truncation), "keep_start", "which end of an over-long row is kept",
     .choices = truncation_names},
};

const struct option loop_option_table[N_LOOP_OPTIONS] = {
    {"lora_r", OPTION_INT, FIELD(lora_r), "16", "rank of the adapter", .min = 1, .max = 1024},
    {"lora_alpha", OPTION_FLOAT, FIELD(lora_alpha), "32", "its scale is lora_alpha / lora_r", .min = 0, .max = 1e4, .above_min = true},
    {"layers_from", OPTION_INT, FIELD(layers_from), "0",
     "the first layer that the adapter is in, of 0, 1, ..: training is quicker, and several such reward models share what is below",
     .min = 0, .max = 1e4},
    {"full", OPTION_BOOL, FIELD(full), "false", "train all weights instead of an adapter"},
    {"max_steps", OPTION_INT, FIELD(max_steps), "0", "steps in all; 0: num_train_epochs decides", .min = 0, .max = 1e9},
    {"num_train_epochs", OPTION_FLOAT, FIELD(num_train_epochs), "3", "passes over the rows", .min = 0, .max = 1e5, .above_min = true},
    {"per_device_train_batch_size", OPTION_INT, FIELD(per_device_train_batch_size), "8", "rows of a step", .min = 1, .max = 1e6},
    {"gradient_accumulation_steps", OPTION_INT, FIELD(gradient_accumulation_steps), "1", "times as many rows a step", .min = 1, .max = 1e6},
    {"learning_rate", OPTION_FLOAT, FIELD(learning_rate), "1e-4", "highest rate of the schedule", .min = 0, .max = 10},
    {"head_learning_rate", OPTION_FLOAT, FIELD(head_learning_rate), "0", "rate of a scalar head; 0: learning_rate", .min = 0, .max = 10},
    {"lr_scheduler_type", OPTION_CHOICE, FIELD(lr_scheduler_type), "linear", "how the rate falls", .choices = schedule_names},
    {"warmup_steps", OPTION_INT, FIELD(warmup_steps), "0", "steps in which the rate rises from 0", .min = 0, .max = 1e9},
    {"warmup_ratio", OPTION_FLOAT, FIELD(warmup_ratio), "0", "the same as a share of all steps, where warmup_steps is 0", .min = 0, .max = 1},
    {"weight_decay", OPTION_FLOAT, FIELD(weight_decay), "0", "AdamW's; never on norms and biases", .min = 0, .max = 100},
    {"max_grad_norm", OPTION_FLOAT, FIELD(max_grad_norm), "1", "gradients are scaled down to this norm; 0: never", .min = 0, .max = 1e9},
    {"adam_beta1", OPTION_FLOAT, FIELD(adam_beta1), "0.9", "AdamW's", .min = 0, .max = 0.99999},
    {"adam_beta2", OPTION_FLOAT, FIELD(adam_beta2), "0.999", "AdamW's", .min = 0, .max = 0.99999999},
    {"adam_epsilon", OPTION_FLOAT, FIELD(adam_epsilon), "1e-8", "AdamW's", .min = 0, .max = 1},
    {"shuffle", OPTION_BOOL, FIELD(shuffle), "true", "a new order of the rows in each epoch"},
    {"micro_batch_tokens", OPTION_INT, FIELD(micro_batch_tokens), "512", "tokens that are worked on together: memory, not results, depend on it", .min = 1, .max = 1e7},
    {"recompute", OPTION_BOOL, FIELD(recompute), "false",
     "compute each layer again on the way back: far less memory for long rows, the same results, some slower",
     .alias = "gradient_checkpointing"},
    {"seed", OPTION_INT, FIELD(seed), "42", "of everything random", .min = 0, .max = 4294967295.0},
};

const struct option run_options[N_RUN_OPTIONS] = {
    {"logging_steps", OPTION_INT, FIELD(logging_steps), "1", "a line in metrics.jsonl every so many steps", .min = 1, .max = 1e9},
    {"eval_steps", OPTION_INT, FIELD(eval_steps), "0", "evaluate every so many steps; 0: at the end", .min = 0, .max = 1e9},
    {"save_steps", OPTION_INT, FIELD(save_steps), "50", "a checkpoint every so many steps; 0: at the end", .min = 0, .max = 1e9},
    {"resume", OPTION_BOOL, FIELD(resume), "false", "go on from the newest checkpoint in output_dir",
     .alias = "resume_from_checkpoint", .momentary = true},
    {"overwrite", OPTION_BOOL, FIELD(overwrite), "false", "replace the run that is in output_dir",
     .alias = "overwrite_output_dir", .momentary = true},
    {"threads", OPTION_INT, FIELD(threads), "0", "threads; 0: OMP_NUM_THREADS, or all cores", .min = 0, .max = 1024},
    {"quiet", OPTION_BOOL, FIELD(quiet), "false", "no progress"},
};

static struct loop_options loop_of(const struct train_args *a)
{
    return (struct loop_options){.max_steps = (size_t)a->max_steps,
                                 .num_train_epochs = a->num_train_epochs,
                                 .per_device_train_batch_size = (size_t)a->per_device_train_batch_size,
                                 .gradient_accumulation_steps = (size_t)a->gradient_accumulation_steps,
                                 .learning_rate = a->learning_rate,
                                 .schedule = (enum schedule)a->lr_scheduler_type,
                                 .warmup_steps = (size_t)a->warmup_steps,
                                 .warmup_ratio = a->warmup_ratio,
                                 .micro_batch_tokens = (size_t)a->micro_batch_tokens,
                                 .logging_steps = (size_t)a->logging_steps,
                                 .save_steps = (size_t)a->save_steps,
                                 .eval_steps = (size_t)a->eval_steps,
                                 .shuffle = a->shuffle,
                                 .resume = a->resume,
                                 .seed = (uint32_t)a->seed};
}

int training_about_file(json_t *about, const char *key, const char *path, struct err *err)
{
    char hash[65];
    if (file_sha256(hash, path, err))
        return -1;
    json_object_set_new(about, key, json_pack("{s:s, s:s}", "path", path, "sha256", hash));
    return 0;
}

static int about_model(struct training *t, struct err *err)
{
    char hash[65];
    if (model_hash(t->base.model_path, hash, err))
        return -1;
    json_object_set_new(t->about, "command", json_string(t->command));
    json_object_set_new(t->about, "seed", json_integer((json_int_t)t->args->seed));
    json_object_set_new(t->about, "model", json_pack("{s:s, s:s}", "path", t->base.model_path, "sha256", hash));
    if (!t->base.adapter_path)
        return 0;
    char *weights = path_join(t->base.adapter_path, "adapter_model.safetensors");
    int rc = training_about_file(t->about, "adapter", weights, err);
    free(weights);
    return rc;
}

int training_open(struct training *t, const char *command, const struct train_args *args, const struct options *options,
                  struct err *err)
{
    *t = (struct training){.command = command, .args = args, .options = options, .loop = loop_of(args)};
    if (args->threads)
        omp_set_num_threads((int)args->threads);
    t->optimizer.adamw = (struct adamw){args->adam_beta1, args->adam_beta2, args->adam_epsilon};
    t->optimizer.weight_decay = args->weight_decay;
    t->optimizer.max_grad_norm = args->max_grad_norm;
    t->about = json_object();
    if (load_net(&t->base, args->model, args->adapter, args->tokenizer, err))
        return -1;
    t->opened = true;
    t->net.model = &t->base.model;
    if (args->full && t->base.net.adapter)
        return err_set(err, "'%s' has an adapter: full fine-tuning starts from whole weights: leave --full out", args->model);
    if (args->layers_from && (args->full || t->base.net.adapter))
        return err_set(err, "--layers-from is for a fresh adapter: %s: leave it out",
                       args->full ? "--full trains all layers" : "the one that training starts from is in its own layers");
    if ((size_t)args->layers_from >= t->base.model.config.layers)
        return err_set(err, "--layers-from is %lld, but '%s' has the layers 0 to %zu", (long long)args->layers_from, args->model,
                       t->base.model.config.layers - 1);
    if (args->full)
        return about_model(t, err) || model_make_trainable(&t->base.model, err) ? -1 : 0;
    struct adapter_options o = {.rank = (size_t)args->lora_r, .alpha = (float)args->lora_alpha, .seed = (uint32_t)args->seed,
                                .first_layer = (size_t)args->layers_from};
    int rc = t->base.net.adapter ? adapter_copy(&t->adapter, &t->base.adapter, err)
                                 : adapter_init(&t->adapter, &t->base.model, &o, err);
    if (rc)
        return -1;
    t->net.adapter = &t->adapter;
    return about_model(t, err);
}

int training_add_head(struct training *t, struct err *err)
{
    const char *folder = t->base.adapter_path ? t->base.adapter_path : t->base.model_path;
    int found = file_is_dir(folder) ? head_open(&t->head, t->base.model.config.width, folder, &t->notes, err) : 0;
    if (found < 0 || (found == 0 && head_init(&t->head, t->base.model.config.width, err)))
        return -1;
    double temperature = t->notes.calibrator.temperature;
    if (temperature > 0)
        head_scale(&t->head, 1 / temperature, 0);
    t->head.bias = 0;
    memset(t->head.style, 0, sizeof t->head.style);
    *t->head.step_separator = 0; /* what it scores is the command's to say */
    t->net.head = &t->head;
    t->has_head = true;
    return 0;
}

/* Any rows but scores have prompts. */
#define ONLY_PROMPTS (~(1u << ROWS_SCORES))

static int read_rows(struct training *t, struct dataset *data, const char *path, unsigned kinds, const char *wanted,
                     bool keep_fields, struct err *err)
{
    struct rows_config config = {.system = t->args->system, .prompts = kinds == ONLY_PROMPTS, .keep_fields = keep_fields,
                                 .skip_bad = t->args->skip_bad_rows};
    if (dataset_read(data, path, &config, err))
        return -1;
    if (!(kinds >> data->kind & 1))
        return err_set(err, "'%s' holds %s, but 'hone %s' learns from %s", path, data->format_name, t->command, wanted);
    if (!t->args->quiet) {
        fprintf(stderr, "%s: %zu rows: %s\n", path, data->n, data->format_name);
        for (size_t i = 0; i < data->report.n_texts && i < 3; i++)
            fprintf(stderr, "  warning: %s\n", data->report.texts[i]);
        if (data->report.warnings > 3)
            fprintf(stderr, "  and %zu more warnings: see 'hone inspect %s --model M'\n", data->report.warnings - 3, path);
    }
    return 0;
}

/* Move the held-out rows from train_data to eval_data. */
static int split_off(struct training *t, struct err *err)
{
    struct dataset *from = &t->train_data, *to = &t->eval_data;
    struct split s;
    int64_t seed = t->args->split_seed >= 0 ? t->args->split_seed : t->args->seed;
    if (split_rows(&s, from, t->args->eval_split, (uint32_t)seed, err))
        return -1;
    *to = (struct dataset){.path = xstrdup(from->path), .format_name = xstrdup(from->format_name), .kind = from->kind};
    to->rows = xcalloc(s.n_held_out + 1, sizeof *to->rows);
    struct row *kept = xcalloc(s.n_train + 1, sizeof *kept);
    for (size_t i = 0; i < s.n_held_out; i++)
        to->rows[to->n++] = from->rows[s.held_out[i]];
    for (size_t i = 0; i < s.n_train; i++)
        kept[i] = from->rows[s.train[i]];
    free(from->rows);
    from->rows = kept;
    from->n = s.n_train;
    split_release(&s);
    if (!t->args->quiet)
        fprintf(stderr, "%s: %zu rows to learn from, %zu held out\n", from->path, from->n, to->n);
    return 0;
}

int training_read(struct training *t, unsigned kinds, const char *wanted, struct err *err)
{
    if (read_rows(t, &t->train_data, t->args->train_data, kinds, wanted, false, err) ||
        training_about_file(t->about, "train_data", t->args->train_data, err))
        return -1;
    if (!t->args->eval_data)
        return t->args->eval_split > 0 ? split_off(t, err) : 0;
    return read_rows(t, &t->eval_data, t->args->eval_data, kinds, wanted, false, err) ||
                   training_about_file(t->about, "eval_data", t->args->eval_data, err)
               ? -1
               : 0;
}

static int encode(struct training *t, struct examples *to, const struct dataset *data, bool assistant_only, struct err *err)
{
    struct encode_options o = encode_options_of(&t->base.model);
    size_t positions = t->base.model.rope.positions;
    o.max_length = (size_t)t->args->max_length < positions ? (size_t)t->args->max_length : positions;
    o.truncation = (enum truncation)t->args->truncation;
    o.assistant_only = assistant_only;
    if (examples_encode(to, data, &o, err))
        return -1;
    if (to->truncated && !t->args->quiet)
        fprintf(stderr, "%s: %zu rows are longer than %zu tokens (%s) and were cut\n", data->path, to->truncated, o.max_length,
                o.max_length < positions ? "max_length" : "the model's positions");
    return 0;
}

/* Rows to learn from: each must have something behind its prompt. */
static int encode_answers(struct training *t, struct examples *to, const struct dataset *data, bool assistant_only,
                          struct err *err)
{
    if (encode(t, to, data, assistant_only, err))
        return -1;
    for (size_t i = 0; i < to->n; i++)
        if (to->list[i].n_completions == 0)
            return err_set(err, "'%s' line %zu: the row ends with its prompt, so there is nothing to learn from: leave it out",
                           data->path, to->list[i].row->line);
    return 0;
}

int training_encode(struct training *t, bool assistant_only, struct err *err)
{
    if (encode_answers(t, &t->train, &t->train_data, assistant_only, err))
        return -1;
    return t->eval_data.n ? encode_answers(t, &t->eval, &t->eval_data, assistant_only, err) : 0;
}

int training_read_prompts(struct training *t, bool keep_fields, struct err *err)
{
    if (read_rows(t, &t->train_data, t->args->train_data, ONLY_PROMPTS, "prompts", keep_fields, err) ||
        training_about_file(t->about, "train_data", t->args->train_data, err))
        return -1;
    struct encode_options o = encode_options_of(&t->base.model); /* whole: a prompt that is cut ends anywhere */
    return examples_encode(&t->train, &t->train_data, &o, err);
}

int training_open_reference(struct training *t, struct policy *reference, const char *path, const struct loaded *base, struct err *err)
{
    char hash[65];
    if (policy_open(reference, path, base, err) || (reference->own && model_pack(reference->own, err)) ||
        artefact_hash(hash, path, err))
        return -1;
    json_object_set_new(t->about, "ref_model", json_pack("{s:s, s:s}", "path", path, "sha256", hash));
    return 0;
}

static int write_config(struct run_folder *run, const struct options *options, struct err *err)
{
    struct buf yaml;
    buf_init(&yaml, 1 << 20);
    options_write_yaml(options, &yaml);
    int rc = run_write(run, "config.yaml", yaml.data, yaml.len, err);
    buf_release(&yaml);
    return rc;
}

/* What --overwrite removes must not be what the run is made from. */
static int check_overwrite(const struct training *t, const char *dir, struct err *err)
{
    const char *const inputs[] = {t->base.model_path, t->base.adapter_path, t->args->train_data, t->args->eval_data};
    for (size_t i = 0; i < ARRAY_LEN(inputs); i++)
        if (inputs[i] && file_lies_in(inputs[i], dir))
            return err_set(err, "'%s' lies in '%s', which --overwrite would empty: give another --output-dir", inputs[i], dir);
    return 0;
}

int training_open_folder(const struct training *t, struct run_folder *run, const char *dir, bool overwrite, const struct options *options,
                         struct err *err)
{
    if ((overwrite && check_overwrite(t, dir, err)) || run_open(run, dir, t->args->resume, overwrite, err))
        return -1;
    /* a run that is gone on with keeps its own until it is done: it may yet be refused */
    char *config = path_join(dir, "config.yaml");
    int rc = t->args->resume && file_exists(config) ? 0 : write_config(run, options, err);
    free(config);
    return rc;
}

int training_read_completions(struct training *t, const char *key, const char *path, struct dataset *data, struct examples *e,
                              struct err *err)
{
    struct rows_config config = {.system = t->args->system};
    struct encode_options o = encode_options_of(&t->base.model);
    o.max_length = (size_t)t->args->max_length;
    o.truncation = (enum truncation)t->args->truncation;
    if (dataset_read(data, path, &config, err) || training_about_file(t->about, key, path, err) || examples_encode(e, data, &o, err))
        return -1;
    return data->rows[0].n_completions
               ? 0 : err_set(err, "'%s' holds %s, but %s wants completions: give rows that have some", path, data->format_name, key);
}

int training_begin(struct training *t, struct err *err)
{
    static const char *const names[3] = {"model", "adapter", "head"};
    double ratio = t->args->head_learning_rate > 0 && t->args->learning_rate > 0
                       ? t->args->head_learning_rate / t->args->learning_rate : 1;
    if (t->args->overwrite && check_overwrite(t, t->args->output_dir, err))
        return -1;
    if (learner_init(&t->learner, &t->net, t->args->recompute ? KEEP_INPUTS : KEEP_ALL, t->args->full, t->has_head,
                     &t->optimizer, names, ratio, err))
        return -1;
    if (!t->args->full && model_pack(&t->base.model, err))
        return -1;
    return training_open_folder(t, &t->run, t->args->output_dir, t->args->overwrite, t->options, err);
}

static void show_step(void *user, size_t step, size_t total, const struct metrics *m)
{
    (void)total;
    struct training *t = user;
    char line[160];
    size_t at = (size_t)snprintf(line, sizeof line, "loss %.4f", metrics_get(m, "loss"));
    static const char *const shown[] = {"accuracy", "rewards/accuracies", "mean_token_accuracy", "eval_loss", "eval_accuracy"};
    for (size_t i = 0; i < ARRAY_LEN(shown) && at < sizeof line; i++) {
        double v = metrics_get(m, shown[i]);
        if (v == v)
            at += (size_t)snprintf(line + at, sizeof line - at, "  %s %.3f", shown[i], v);
    }
    progress_update(&t->progress, step, line);
    if (t->watch)
        t->watch(t->watch_user, m);
}

int training_run(struct training *t, const struct method *method, struct err *err)
{
    size_t total = loop_total_steps(&t->loop, t->train.n);
    struct loop_watch watch = {show_step, t};
    progress_start(&t->progress, t->command, "steps", 0, total, t->args->quiet);
    int rc = loop_run(&t->run, &t->loop, method, &t->train, t->eval.n ? &t->eval : NULL, &t->optimizer, &watch, err);
    progress_end(&t->progress);
    return rc;
}

int training_finish(struct training *t, struct err *err)
{
    char *folder = path_join(t->run.dir, t->args->full ? "model" : "adapter"), hash[65];
    const struct head *head = t->has_head ? &t->head : NULL;
    int rc = t->args->full ? model_save(&t->base.model, NULL, head, &t->notes, DTYPE_F32, folder, err)
                           : adapter_save(&t->adapter, head, &t->notes, t->base.model_path, folder, err);
    char *weights = path_join(folder, t->args->full ? "model.safetensors" : "adapter_model.safetensors");
    if (rc == 0)
        rc = file_sha256(hash, weights, err);
    if (rc == 0) {
        json_object_set_new(t->about, "result", json_pack("{s:s, s:s}", "path", t->args->full ? "model" : "adapter", "sha256", hash));
        rc = run_report(t->run.dir, t->command, t->about, err);
    }
    if (rc == 0)
        rc = write_config(&t->run, t->options, err);
    if (rc == 0)
        rc = run_manifest(&t->run, t->about, err);
    if (rc)
        err_prefix(err, "the run is done, but its result could not be written (--resume tries again)");
    else if (!t->args->quiet)
        fprintf(stderr, "%s: written to '%s'\n", t->command, folder);
    free(weights);
    free(folder);
    return rc;
}

int training_close(struct training *t, int rc, const struct err *err)
{
    int code = rc ? command_failed(t->command, err) : EXIT_DONE;
    examples_release(&t->train);
    examples_release(&t->eval);
    dataset_release(&t->train_data);
    dataset_release(&t->eval_data);
    learner_release(&t->learner);
    optimizer_release(&t->optimizer);
    run_close(&t->run);
    adapter_release(&t->adapter);
    head_release(&t->head);
    if (t->opened)
        loaded_release(&t->base);
    json_decref(t->about);
    return code;
}
