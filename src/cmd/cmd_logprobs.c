#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/base.h"
#include "cmd/commands.h"
#include "cmd/progress.h"
#include "model/forest.h"
#include "reward/score.h"
#include "util/mem.h"

struct logprobs_args {
    struct base_args base;
    const char *ids;
    bool logits;
    double temperature;
};

static const struct option own[] = {
    {"ids", OPTION_STRING, offsetof(struct logprobs_args, ids), NULL,
     "rows of token ids, or of text or conversations in any format that training takes; - is "
     "standard input",
     .required = true, .value = "FILE", .alias = "data"},
    {"logits", OPTION_BOOL, offsetof(struct logprobs_args, logits), "false",
     "write the logits after the last token too (as they are, whatever the temperature)"},
    {"temperature", OPTION_FLOAT, offsetof(struct logprobs_args, temperature), "1",
     "of the distribution; 0 is 1, as in generate", .min = 0, .max = 100},
};
static const struct option_group groups[] = {{"Input", own, ARRAY_LEN(own), 0},
                                             BASE_GROUPS(offsetof(struct logprobs_args, base))};
static const struct option_spec spec = {
    .command = "logprobs",
    .summary =
        "Log-probs of given tokens: rows {\"input_ids\", \"prompt_length\"} or {\"prompt_ids\", "
        "\"completions\"} in, one JSON line a row out: {\"id\", \"token_logprobs\": log p of each "
        "token after the first, \"nll\": the mean over tokens from prompt_length on, "
        "\"logits_last\"}. Of a prompt with completions token_logprobs is the prompt's, and "
        "\"completions\" has {\"token_logprobs\", \"sum\", \"nll\", \"logits_last\"} of each. "
        "Rows of text come with the ids they became.",
    .usage = "hone logprobs --model M --ids FILE [--flags]",
    .example = "echo '{\"input_ids\": [1, 4093, 198], \"prompt_length\": 1}' | hone logprobs "
               "--model model.gguf --ids -",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

/* Rows that are run together.  Log-probs come in the order in which pass_add() asks for them. */
struct pass {
    const struct model *model;
    struct workspace *workspace;
    struct batch batch;
    struct target *targets;
    float *logp;
    size_t *last_rows; /* of each completion, or of a prompt that has none */
    size_t n_targets, targets_capacity, n_last_rows, last_rows_capacity;
};

static void pass_release(struct pass *p)
{
    workspace_free(p->workspace);
    batch_release(&p->batch);
    free(p->targets);
    free(p->logp);
    free(p->last_rows);
}

static void add_target(struct pass *p, size_t row, int32_t token)
{
    ARRAY_GROW(p->targets, p->n_targets + 1, p->targets_capacity);
    p->targets[p->n_targets++] = (struct target){row, token};
}

static void add_last_row(struct pass *p, size_t row)
{
    ARRAY_GROW(p->last_rows, p->n_last_rows + 1, p->last_rows_capacity);
    p->last_rows[p->n_last_rows++] = row;
}

/* A run of tokens, all but the first of them targets. */
static int32_t add_run(struct pass *p, const struct sequence *s, int32_t parent)
{
    int32_t run = batch_add(&p->batch, s->ids, s->n, parent);
    size_t first = p->batch.runs[run].row;
    for (size_t i = 1; i < s->n; i++)
        add_target(p, first + i - 1, s->ids[i]);
    return run;
}

/* The prompt's tokens, then the first token of each completion, then the others of each. */
static void pass_add(struct pass *p, const struct example *e)
{
    int32_t prompt = e->prompt.n ? add_run(p, &e->prompt, -1) : -1;
    size_t before = prompt >= 0 ? batch_last_row(&p->batch, prompt) : 0;
    for (size_t k = 0; prompt >= 0 && k < e->n_completions; k++)
        add_target(p, before, e->completions[k].ids[0]);
    for (size_t k = 0; k < e->n_completions; k++)
        add_last_row(p, batch_last_row(&p->batch, add_run(p, &e->completions[k], prompt)));
    if (e->n_completions == 0)
        add_last_row(p, before);
}

static int pass_run(struct pass *p, const struct net *net, float temperature, struct err *err)
{
    if (net_forward(p->workspace, net, &p->batch, NULL, 0, err))
        return -1;
    p->logp = xreallocarray(p->logp, p->n_targets + 1, sizeof *p->logp);
    return net_logprobs(p->logp, NULL, p->workspace, net, p->targets, p->n_targets, temperature,
                        false, err);
}

/* ---- writing ---- */

static void add_floats(struct buf *out, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_str(out, i ? ", " : "");
        buf_json_float(out, x[i]);
    }
}

static void add_ids(struct buf *out, const char *key, const int32_t *ids, size_t n)
{
    buf_printf(out, "\"%s\": [", key);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s%d", i ? ", " : "", ids[i]);
    buf_str(out, "], ");
}

static void add_logits(struct buf *out, const struct pass *p, size_t row)
{
    size_t vocab = p->model->config.vocab;
    float *logits = xmalloc(vocab * sizeof *logits), one = 1;
    struct logprob_row info;
    logits_forward(logits, &info, net_hidden(p->workspace, row), 1, &p->model->output, p->model->config.final_cap, &one);
    buf_str(out, ", \"logits_last\": [");
    add_floats(out, logits, vocab);
    buf_str(out, "]");
    free(logits);
}

struct style {
    bool logits, ids;
    bool trees; /* completions are written one by one, even a single one */
};

/* What a row's log-probs are, in the order of pass_add(). */
struct parts {
    const float *prompt, *firsts, *rest,
        *end; /* firsts (n_completions): of the completions' first tokens */
    bool has_prompt;
};

static struct parts parts_of(const struct example *e, const float *logp)
{
    struct parts p = {.prompt = logp, .has_prompt = e->prompt.n > 0};
    p.firsts = p.prompt + (p.has_prompt ? e->prompt.n - 1 : 0);
    p.end = p.rest = p.firsts + (p.has_prompt ? e->n_completions : 0);
    for (size_t k = 0; k < e->n_completions; k++)
        p.end += e->completions[k].n - 1;
    return p;
}

/* Sum and number of targets. */
struct sum {
    double sum;
    size_t n;
};

/* rest: log-probs of the completion's tokens after its first. */
static struct sum sum_targets(const struct parts *p, size_t k, const struct sequence *c,
                              const float *rest)
{
    struct sum s = {0};
    for (size_t j = p->has_prompt ? 0 : 1; j < c->n; j++) {
        if (!c->mask[j])
            continue;
        s.sum += (double)(j ? rest[j - 1] : p->firsts[k]);
        s.n++;
    }
    return s;
}

static void add_nll(struct buf *out, struct sum s)
{
    buf_str(out, "\"nll\": ");
    if (s.n)
        buf_json_double(out, -s.sum / (double)s.n);
    else
        buf_str(out, "null");
}

static void add_completion(struct buf *out, const struct parts *p, size_t k,
                           const struct sequence *c, const float *rest, struct sum sum, bool ids)
{
    if (ids)
        add_ids(out, "ids", c->ids, c->n);
    buf_str(out, "\"token_logprobs\": [");
    add_floats(out, &p->firsts[k], p->has_prompt);
    buf_str(out, p->has_prompt && c->n > 1 ? ", " : "");
    add_floats(out, rest, c->n - 1);
    buf_str(out, "], \"sum\": ");
    buf_json_double(out, sum.sum);
    buf_str(out, ", ");
    add_nll(out, sum);
}

/* The ids of the prompt and, if `completion` is not NULL, of that. */
static void add_path(struct buf *out, const char *key, const struct sequence *prompt,
                     const struct sequence *completion)
{
    struct ids all = {0};
    for (size_t i = 0; i < prompt->n; i++)
        ids_add(&all, prompt->ids[i]);
    for (size_t i = 0; completion && i < completion->n; i++)
        ids_add(&all, completion->ids[i]);
    add_ids(out, key, all.data, all.n);
    ids_release(&all);
}

/* One row, whose log-probs begin at logp and whose last rows at last_row; returns where the next
 * one's log-probs begin. */
static const float *write_row(struct buf *out, const struct pass *pass, const struct example *e,
                              const struct style *style, const float *logp, const size_t *last_row)
{
    struct parts p = parts_of(e, logp);
    bool tree = style->trees || e->n_completions > 1;
    struct sum all = {0};
    struct buf list;
    buf_init(&list, SIZE_MAX / 2);
    const float *rest = p.rest;
    for (size_t k = 0; k < e->n_completions; k++) {
        const struct sequence *c = &e->completions[k];
        struct sum sum = sum_targets(&p, k, c, rest);
        all.sum += sum.sum;
        all.n += sum.n;
        if (tree) {
            buf_str(&list, k ? ", {" : "{");
            add_completion(&list, &p, k, c, rest, sum, style->ids);
            if (style->logits)
                add_logits(&list, pass, last_row[k]);
            buf_str(&list, "}");
        }
        rest += c->n - 1;
    }
    buf_str(out, "{\"id\": ");
    buf_json_str(out, e->row->id, strlen(e->row->id));
    buf_str(out, ", ");
    if (style->ids)
        add_path(out, tree ? "prompt_ids" : "input_ids", &e->prompt,
                 tree || !e->n_completions ? NULL : e->completions);
    buf_str(out, "\"token_logprobs\": [");
    add_floats(out, p.prompt, (size_t)((tree ? p.firsts : p.end) - p.prompt));
    buf_str(out, "], ");
    add_nll(out, all);
    if (tree)
        buf_printf(out, ", \"completions\": [%s]", list.data);
    else if (style->logits)
        add_logits(out, pass, *last_row);
    buf_str(out, "}\n");
    buf_release(&list);
    return p.end;
}

/* ---- rows ---- */

static struct sequence sequence_of_ids(const struct row_part *part)
{
    struct sequence s = {.ids = xmalloc((part->n_ids + 1) * sizeof *s.ids),
                         .mask = xmalloc(part->n_ids + 1),
                         .n = part->n_ids};
    if (part->n_ids)
        memcpy(s.ids, part->ids, part->n_ids * sizeof *s.ids);
    memset(s.mask, 1, part->n_ids + 1);
    return s;
}

static int check_ids(const struct row_part *part, size_t vocab, struct err *err)
{
    for (size_t i = 0; i < part->n_ids; i++)
        if (part->ids[i] < 0 || (size_t)part->ids[i] >= vocab)
            return err_set(err, "token id %d is outside the model's vocabulary of %zu",
                           part->ids[i], vocab);
    return 0;
}

/* Rows of ids as they are: unlike in training, a row may have nothing to learn from. */
static int examples_of_ids(struct examples *e, const struct dataset *data, size_t vocab,
                           struct err *err)
{
    *e = (struct examples){.list = xcalloc(data->n, sizeof *e->list)};
    for (size_t i = 0; i < data->n; i++) {
        const struct row *row = &data->rows[i];
        struct example *x = &e->list[e->n++];
        *x = (struct example){.row = row,
                              .prompt = sequence_of_ids(&row->prompt),
                              .n_completions = row->n_completions};
        x->completions = xcalloc(row->n_completions + 1, sizeof *x->completions);
        int rc = check_ids(&row->prompt, vocab, err);
        for (size_t k = 0; k < row->n_completions; k++) {
            x->completions[k] = sequence_of_ids(&row->completions[k]);
            rc = rc ? rc : check_ids(&row->completions[k], vocab, err);
        }
        if (rc) {
            err_prefix(err, "'%s' line %zu", data->path, row->line);
            examples_release(e);
            return -1;
        }
    }
    return 0;
}

/* A run of tokens cannot be empty. */
static int check_empty(const struct examples *e, const char *path, struct err *err)
{
    for (size_t i = 0; i < e->n; i++) {
        bool empty = e->list[i].prompt.n == 0 && e->list[i].n_completions == 0;
        for (size_t k = 0; k < e->list[i].n_completions; k++)
            empty |= e->list[i].completions[k].n == 0;
        if (empty)
            return err_set(err, "'%s' line %zu: a part of it has no tokens: remove the row", path,
                           e->list[i].row->line);
    }
    return 0;
}

static int encode(struct examples *e, const struct dataset *data, const struct model *m,
                  struct err *err)
{
    int rc;
    if (data->kind == ROWS_IDS) {
        rc = examples_of_ids(e, data, m->config.vocab, err);
    } else {
        struct encode_options o = encode_options_of(m);
        if (data->kind == ROWS_TEXT)
            o.eos = -1; /* a text is taken as it stands */
        rc = examples_encode(e, data, &o, err);
    }
    if (rc)
        return rc;
    if (check_empty(e, data->path, err) ||
        base_check_lengths(e, 0, m, data->path, "shorten the row", err)) {
        examples_release(e);
        return -1;
    }
    return 0;
}

static int run(const struct logprobs_args *args, const struct net *net, const struct examples *e,
               const struct style *style, struct err *err)
{
    struct progress progress;
    struct pass p = {.model = net->model,
                     .workspace = workspace_new(&net->model->config, KEEP_NOTHING, err)};
    struct buf out;
    buf_init(&out, SIZE_MAX / 2);
    int rc = p.workspace ? 0 : -1;
    progress_start(&progress, "logprobs", "rows", 0, e->n, args->base.quiet);
    for (size_t at = 0; rc == 0 && at < e->n && !ferror(stdout);) {
        size_t n = 0;
        batch_clear(&p.batch);
        p.n_targets = p.n_last_rows = 0;
        while (at + n < e->n &&
               (n == 0 || p.batch.n_rows + example_rows(&e->list[at + n]) <= SCORE_MICRO_TOKENS))
            pass_add(&p, &e->list[at + n++]);
        rc = pass_run(&p, net, args->temperature > 0 ? (float)args->temperature : 1.0f, err);
        const float *logp = p.logp;
        const size_t *last_row = p.last_rows;
        buf_clear(&out);
        for (size_t i = 0; rc == 0 && i < n; i++) {
            logp = write_row(&out, &p, &e->list[at + i], style, logp, last_row);
            last_row += e->list[at + i].n_completions ? e->list[at + i].n_completions : 1;
        }
        progress_clear(&progress);
        fwrite(out.data, 1, out.len, stdout);
        at += n;
        progress_update(&progress, at, NULL);
    }
    progress_end(&progress);
    buf_release(&out);
    pass_release(&p);
    return rc;
}

int cmd_logprobs(int argc, char **argv)
{
    struct logprobs_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct err err;
    struct loaded l = {0};
    struct dataset data = {0};
    struct examples e = {0};
    unsigned kinds = 1u << ROWS_IDS | 1u << ROWS_TEXT | 1u << ROWS_CHAT | 1u << ROWS_PROMPT |
                     1u << ROWS_COMPLETION | 1u << ROWS_PAIR | 1u << ROWS_UNPAIRED;
    int rc = base_open(&l, &args.base, &err);
    if (rc == 0)
        rc = base_read(&data, "logprobs", args.ids, NULL, kinds,
                       "token ids, text, conversations, prompts and completions", args.base.quiet,
                       &err);
    if (rc == 0)
        rc = encode(&e, &data, &l.model, &err);
    if (rc == 0) {
        /* One "completions" a row is a list all the same. */
        struct style style = {.logits = args.logits,
                              .ids = data.kind != ROWS_IDS,
                              .trees = data.kind == ROWS_IDS &&
                                       strstr(data.format_name, "prompt_ids") != NULL};
        rc = run(&args, &l.net, &e, &style, &err);
    }
    examples_release(&e);
    dataset_release(&data);
    loaded_release(&l);
    options_release(&o);
    return rc ? command_failed("logprobs", &err) : EXIT_DONE;
}
