#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/save_gguf.h"
#include "cmd/base.h"
#include "cmd/commands.h"
#include "kernel/kernel.h"
#include "kernel/pack.h"
#include "tokenizer/same.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/rng.h"

struct export_args {
    struct base_args base;
    const char *output;
    int format, type;
    bool overwrite;
};

enum { FORMAT_HF, FORMAT_GGUF, FORMAT_PEFT };
static const char *const format_names[] = {"hf", "gguf", "peft", NULL};

static const struct {
    const char *name;
    enum dtype type;
    double most_kl; /* that the self-check lets pass, nats a token: what rounding alone may do, and no more */
} types[] = {{"f32", DTYPE_F32, 1e-4},  {"f16", DTYPE_F16, 1e-3},   {"bf16", DTYPE_BF16, 2e-2},
             {"q8_0", DTYPE_Q8_0, 2e-2}, {"q4_0", DTYPE_Q4_0, 3.0}, {"q4_1", DTYPE_Q4_1, 3.0}};
static const char *const type_names[] = {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", NULL};

#define FIELD(name) offsetof(struct export_args, name)
static const struct option own[] = {
    {"output", OPTION_STRING, FIELD(output), NULL, "where to: a folder, or a file NAME.gguf", .required = true, .value = "PATH"},
    {"format", OPTION_CHOICE, FIELD(format), "hf", "hf: a Hugging Face folder, the adapter added to the weights; gguf: the same in one file for "
     "llama.cpp; peft: the adapter alone, for peft", .choices = format_names},
    {"type", OPTION_CHOICE, FIELD(type), "f32", "what numbers of matrices are stored as; hf: f32, f16 or bf16", .choices = type_names},
    {"overwrite", OPTION_BOOL, FIELD(overwrite), "false", "replace what is at output"},
};
#undef FIELD
static const struct option_group groups[] = {{"Export", own, ARRAY_LEN(own), 0}, BASE_GROUPS(offsetof(struct export_args, base))};
static const struct option_spec spec = {
    .command = "export",
    .summary = "Write a model for other tools: transformers, peft, llama.cpp. What was written is read again at the end, and both are asked the same: "
               "the largest difference between their logits is printed.",
    .usage = "hone export --model M --output PATH [--format hf|gguf|peft] [--type T] [--flags]",
    .example = "hone export --model runs/dpo --format gguf --type q8_0 --output dpo.gguf",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

struct export_job {
    const struct export_args *args;
    struct loaded from;
    struct head head;
    struct head_notes notes;
    struct ood ood;
    bool has_head;
};

/* ---- the self-check ---- */

enum { SEQUENCES = 4, LENGTH = 24, ROWS = SEQUENCES * LENGTH };

/* Logits (ROWS, vocabulary) and, with a head, scores (ROWS) on texts of `length` random ids. */
static int run(float *logits, float *scores, const struct net *net, size_t length, struct err *err)
{
    const struct model *m = net->model;
    struct workspace *w = workspace_new(&m->config, KEEP_NOTHING, err);
    struct batch b = {0};
    int32_t ids[LENGTH];
    size_t row_list[ROWS];
    float ones[ROWS];
    for (size_t s = 0; s < SEQUENCES; s++) {
        for (size_t i = 0; i < length; i++)
            ids[i] = (int32_t)rng_below((uint32_t)m->config.vocab, 1, RNG_TEST, (uint32_t)s, (uint32_t)i, 0, 0);
        batch_add(&b, ids, length, -1);
    }
    int rc = net_forward(w, net, &b, NULL, 0, err);
    if (rc == 0) {
        struct logprob_row *info = xcalloc(b.n_rows, sizeof *info);
        for (size_t i = 0; i < b.n_rows; i++) {
            ones[i] = 1;
            row_list[i] = i;
        }
        logits_forward(logits, info, net_hidden(w, 0), b.n_rows, &m->output, m->config.final_cap, ones);
        if (net->head)
            net_scores(scores, w, net, row_list, b.n_rows);
        free(info);
    }
    batch_release(&b);
    workspace_free(w);
    return rc;
}

/* KL(p || q) of two rows of logits, nats. */
static double divergence(const float *p, const float *q, size_t n)
{
    double max_p = (double)kernel()->max(p, n), max_q = (double)kernel()->max(q, n), sum_p = 0, sum_q = 0, kl = 0;
    for (size_t i = 0; i < n; i++) {
        sum_p += exp((double)p[i] - max_p);
        sum_q += exp((double)q[i] - max_q);
    }
    double shift = (max_q + log(sum_q)) - (max_p + log(sum_p));
    for (size_t i = 0; i < n; i++)
        kl += exp((double)p[i] - max_p) / sum_p * ((double)p[i] - (double)q[i] + shift);
    return kl;
}

static double largest_difference(const float *a, const float *b, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= most))
            most = isfinite(d) ? d : INFINITY;
    }
    return most;
}

static int compare(const struct export_job *j, const struct net *from, const struct net *to, struct err *err)
{
    size_t vocab = from->model->config.vocab, n = ROWS * vocab, length = LENGTH;
    const size_t positions[] = {from->model->rope.positions, to->model->rope.positions}; /* a GGUF of Mistral has no more than the window */
    for (size_t i = 0; i < 2; i++)
        length = positions[i] < length ? positions[i] : length;
    if (to->model->config.vocab != vocab)
        return err_set(err, "'%s' has %zu tokens where '%s' has %zu: it is not what was to be written", j->args->output, to->model->config.vocab,
                       j->args->base.model, vocab);
    float *logits = xcalloc(2 * n, sizeof *logits), scores[2][ROWS] = {{0}, {0}};
    int rc = run(logits, scores[0], from, length, err) || run(logits + n, scores[1], to, length, err) ? -1 : 0;
    if (rc == 0) {
        double kl = 0, most = largest_difference(logits, logits + n, n), most_score = largest_difference(scores[0], scores[1], ROWS);
        for (size_t i = 0; i < ROWS; i++)
            kl += divergence(logits + i * vocab, logits + n + i * vocab, vocab) / ROWS;
        bool gives_logits = from->model->output.data != from->model->embed.data || from->model->config.tied;
        double limit = types[j->args->type].most_kl;
        if (gives_logits && !(kl <= limit))
            rc = err_set(err, "'%s' was written, but does not compute what it should: KL %.3g nats a token from '%s', where %s may cost %.3g: "
                              "please report this, and do not use it", j->args->output, kl, j->args->base.model, types[j->args->type].name, limit);
        else if (from->head && !(most_score <= 0.05 + 0.5 * sqrt(limit)))
            rc = err_set(err, "'%s' was written, but its scores are up to %.3g away from those of '%s': please report this, and do not use it",
                         j->args->output, most_score, j->args->base.model);
        else if (from->head)
            printf("{\"output\": \"%s\", \"largest_score_difference\": %.3g}\n", j->args->output, most_score);
        else
            printf("{\"output\": \"%s\", \"largest_logit_difference\": %.3g, \"kl\": %.3g}\n", j->args->output, most, fmax(kl, 0));
    }
    free(logits);
    return rc;
}

/* Do both read texts in the same way?  Says on standard error where they do not: numbers are one thing, what they stand for another. */
static int compare_text(const struct export_job *j, const struct model *to, struct err *err)
{
    const struct model *from = &j->from.model;
    const char *output = j->args->output;
    struct buf text;
    if (!from->tokenizer)
        return 0;
    if (!to->tokenizer) {
        fprintf(stderr, "export: warning: '%s' has no tokenizer, as its format has no place for the one of '%s': name one with --tokenizer\n", output,
                j->args->base.model);
        return 0;
    }
    buf_init(&text, 1 << 20);
    int plain = tokenizer_same(from->tokenizer, to->tokenizer, SAME_PLAIN_TEXTS, &text, err);
    int same = plain > 0 ? tokenizer_same(from->tokenizer, to->tokenizer, SAME_ALL_TEXTS, &text, err) : plain;
    if (same == 0) {
        struct buf quoted;
        buf_init(&quoted, 1 << 20);
        buf_json_str(&quoted, text.data, text.len);
        fprintf(stderr, "export: warning: '%s' does not make the same tokens of every text%s, as its format cannot say all that the tokenizer does; such a text is %s\n",
                output, plain ? " with special tokens in it" : "", quoted.data);
        buf_release(&quoted);
    }
    buf_release(&text);
    return same < 0 ? -1 : 0;
}

static int check(const struct export_job *j, struct err *err)
{
    const struct export_args *a = j->args;
    struct net from = j->from.net, to = {0};
    struct model model = {0};
    struct adapter adapter = {0};
    struct head head = {0};
    struct head_notes notes;
    int rc = 0;
    from.head = j->has_head ? &j->head : NULL;
    if (a->format == FORMAT_PEFT) {
        rc = adapter_open(&adapter, &j->from.model, a->output, err);
        to = (struct net){.model = &j->from.model, .adapter = &adapter};
    } else {
        rc = model_open(&model, a->output, a->base.tokenizer, err);
        to.model = &model;
    }
    if (rc == 0 && j->has_head) {
        rc = head_open(&head, j->from.model.config.width, a->output, &notes, err) < 0 ? -1 : 0;
        to.head = &head;
    }
    if (rc == 0)
        rc = compare(j, &from, &to, err);
    if (rc == 0 && to.model == &model)
        rc = compare_text(j, &model, err);
    head_release(&head);
    adapter_release(&adapter);
    model_release(&model);
    return rc;
}

/* ---- writing ---- */

static bool is_gguf_name(const char *path)
{
    size_t n = strlen(path);
    return n > 5 && !strcmp(path + n - 5, ".gguf");
}

/* What the table of options cannot tell. */
static int misused(const struct export_args *a, struct err *err)
{
    enum dtype type = types[a->type].type;
    if ((a->format == FORMAT_GGUF) != is_gguf_name(a->output))
        return err_set(err, a->format == FORMAT_GGUF ? "--output '%s' does not end in .gguf" : "--output '%s' ends in .gguf: say --format gguf", a->output);
    if (a->format == FORMAT_HF && type != DTYPE_F32 && type != DTYPE_F16 && type != DTYPE_BF16)
        return err_set(err, "--type %s is for --format gguf: a Hugging Face folder holds f32, f16 or bf16", types[a->type].name);
    if (a->format == FORMAT_PEFT && type != DTYPE_F32)
        return err_set(err, "--type is not for --format peft: adapters are written as f32");
    return 0;
}

static int write_out(struct export_job *j, struct err *err)
{
    const struct export_args *a = j->args;
    const struct model *m = &j->from.model;
    const struct adapter *adapter = j->from.net.adapter;
    const struct head *head = j->has_head ? &j->head : NULL;
    switch (a->format) {
    case FORMAT_PEFT:
        if (!adapter)
            return err_set(err, "'%s' has no adapter to write: take --format hf or gguf for the whole model", a->base.model);
        return adapter_save(adapter, head, &j->notes, j->from.model_path, a->output, err);
    case FORMAT_GGUF:
        if (head)
            return err_set(err, "'%s' is a reward model: a GGUF has no place for its head; take --format hf or peft", a->base.model);
        return model_save_gguf(m, adapter, types[a->type].type, a->output, err);
    default:
        return model_save(m, adapter, head, &j->notes, types[a->type].type, a->output, err);
    }
}

static int open_job(struct export_job *j, struct err *err)
{
    const struct export_args *a = j->args;
    if (!a->overwrite && file_exists(a->output))
        return err_set(err, "'%s' is there: name another place, or replace it with --overwrite", a->output);
    if (file_exists(a->output) && file_is_dir(a->output) == (a->format == FORMAT_GGUF))
        return err_set(err, "'%s' is a %s, which a %s does not replace: name another place", a->output, file_is_dir(a->output) ? "folder" : "file",
                       a->format == FORMAT_GGUF ? "file" : "folder");
    if (base_open(&j->from, &a->base, err))
        return -1;
    const char *folder = j->from.adapter_path ? j->from.adapter_path : j->from.model_path;
    int found = file_is_dir(folder) ? head_open(&j->head, j->from.model.config.width, folder, &j->notes, err) : 0;
    if (found > 0 && ood_open(&j->ood, j->from.model.config.width, folder, err) < 0)
        found = -1;
    j->has_head = found > 0;
    j->notes.ood = j->ood.width ? &j->ood : NULL;
    return found < 0 ? -1 : 0;
}

int cmd_export(int argc, char **argv)
{
    struct options o;
    struct export_args args;
    struct err err = {""};
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    if (misused(&args, &err)) {
        options_release(&o);
        return command_misused("export", &err);
    }
    struct export_job j = {.args = &args};
    int rc = open_job(&j, &err);
    if (rc == 0)
        rc = write_out(&j, &err);
    if (rc == 0)
        rc = check(&j, &err);
    head_release(&j.head);
    ood_release(&j.ood);
    loaded_release(&j.from);
    options_release(&o);
    return rc ? command_failed("export", &err) : EXIT_DONE;
}
