#include <stdlib.h>
#include <string.h>

#include "cmd/inspect.h"
#include "cmd/load.h"
#include "data/encode.h"
#include "data/rows.h"
#include "util/mem.h"
#include "util/utf8.h"

#define NAMED 5 /* lines that a problem names */

static json_t *whole(size_t x)
{
    return json_integer((json_int_t)x);
}

/* ---- lists of lines and lengths ---- */

struct sizes {
    size_t *data, n, capacity;
};

static void sizes_add(struct sizes *s, size_t x)
{
    ARRAY_GROW(s->data, s->n + 1, s->capacity);
    s->data[s->n++] = x;
}

static int by_size(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* "12, 15, 20 and 3 more" */
static char *first_lines(const struct sizes *lines)
{
    struct buf b;
    buf_init(&b, 1024);
    for (size_t i = 0; i < lines->n && i < NAMED; i++)
        buf_printf(&b, "%s%zu", i ? ", " : "", lines->data[i]);
    if (lines->n > NAMED)
        buf_printf(&b, " and %zu more", lines->n - NAMED);
    return b.data;
}

/* A row of the table of lengths; quantiles by the nearest rank. */
static void add_lengths(json_t *table, const char *part, struct sizes *s)
{
    if (s->n == 0)
        return;
    double sum = 0;
    qsort(s->data, s->n, sizeof *s->data, by_size);
    for (size_t i = 0; i < s->n; i++)
        sum += (double)s->data[i];
    json_array_append_new(table, json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:f}", "part", part, "n",
                                           whole(s->n), "min", whole(s->data[0]), "median",
                                           whole(s->data[(s->n - 1) / 2]), "p90",
                                           whole(s->data[(s->n * 9 + 9) / 10 - 1]), "max",
                                           whole(s->data[s->n - 1]), "mean", sum / (double)s->n));
}

/* ---- prompts, in this file and in another ---- */

struct hash {
    char hex[65];
};

static int by_hash(const void *a, const void *b)
{
    return strcmp(((const struct hash *)a)->hex, ((const struct hash *)b)->hex);
}

static struct hash *prompt_hashes(const struct dataset *data, bool sorted)
{
    struct hash *list = xcalloc(data->n + 1, sizeof *list);
    for (size_t i = 0; i < data->n; i++)
        row_prompt_hash(list[i].hex, &data->rows[i]);
    if (sorted)
        qsort(list, data->n, sizeof *list, by_hash);
    return list;
}

static size_t count_distinct(const struct dataset *data)
{
    struct hash *list = prompt_hashes(data, true);
    size_t n = 0;
    for (size_t i = 0; i < data->n; i++)
        n += i == 0 || strcmp(list[i].hex, list[i - 1].hex);
    free(list);
    return n;
}

static int add_leakage(json_t *report, const struct dataset *data, const struct inspect_options *o,
                       struct err *err)
{
    struct rows_config config = {.system = o->system, .skip_bad = true};
    struct dataset eval;
    if (dataset_read(&eval, o->eval_data, &config, err))
        return -1;
    struct hash *own = prompt_hashes(data, false), *sorted = prompt_hashes(data, true),
                *others = prompt_hashes(&eval, true);
    struct sizes lines = {0};
    size_t eval_rows = 0;
    for (size_t i = 0; i < data->n; i++)
        if (bsearch(&own[i], others, eval.n, sizeof *others, by_hash))
            sizes_add(&lines, data->rows[i].line);
    for (size_t i = 0; i < eval.n; i++)
        eval_rows += bsearch(&others[i], sorted, data->n, sizeof *sorted, by_hash) != NULL;
    json_object_set_new(report, "leakage",
                        json_pack("{s:o, s:o, s:o, s:o}", "eval_data",
                                  inspect_text(o->eval_data, strlen(o->eval_data)), "eval_rows",
                                  whole(eval.n), "eval_rows_with_a_prompt_from_here",
                                  whole(eval_rows), "rows_with_a_prompt_from_there",
                                  whole(lines.n)));
    if (lines.n) {
        char *named = first_lines(&lines);
        inspect_problem(report,
                        "%zu rows have a prompt that is also in '%s' (lines %s): remove them from "
                        "one of the two",
                        lines.n, o->eval_data, named);
        free(named);
    }
    free(own);
    free(sorted);
    free(others);
    free(lines.data);
    dataset_release(&eval);
    return 0;
}

/* ---- counts ---- */

static void add_report(json_t *report, const struct dataset *data)
{
    const struct data_report *r = &data->report;
    json_object_set_new(report, "format",
                        inspect_text(data->format_name, strlen(data->format_name)));
    json_object_set_new(report, "rows", whole(data->n));
    json_object_set_new(report, "rows_that_cannot_be_used", whole(r->skipped));
    json_object_set_new(report, "duplicates", whole(r->duplicates));
    json_object_set_new(report, "duplicate_ids", whole(r->duplicate_ids));
    if (data->kind == ROWS_PAIR) {
        json_object_set_new(report, "pairs_of_equal_answers", whole(r->equal_pairs));
        json_object_set_new(report, "pairs_without_a_common_prompt", whole(r->no_common_prompt));
    }
    if (data->kind != ROWS_SCORES)
        json_object_set_new(report, "distinct_prompts", whole(count_distinct(data)));
    for (size_t i = 0; i < r->n_texts; i++)
        inspect_problem(report, "%s", r->texts[i]);
    if (r->warnings > r->n_texts)
        inspect_problem(report, "and %zu more of these", r->warnings - r->n_texts);
}

static void add_labels(json_t *report, const struct dataset *data)
{
    size_t labels[4] = {0}, good = 0, steps = 0, soft = 0;
    for (size_t i = 0; i < data->n; i++) {
        const struct row *row = &data->rows[i];
        labels[row->label]++;
        good += row->good;
        soft += data->kind == ROWS_PAIR && row->p_a != 0 && row->p_a != 1 && row->p_a != 0.5;
        for (size_t k = 0; row->step_good && k < row->n_completions; k++) {
            steps++;
            good += row->step_good[k];
        }
    }
    if (data->kind == ROWS_PAIR && (labels[ROW_B] || labels[ROW_TIE] || soft))
        json_object_set_new(report, "labels",
                            json_pack("{s:o, s:o, s:o, s:o}", "a", whole(labels[ROW_A]), "b",
                                      whole(labels[ROW_B]), "tie", whole(labels[ROW_TIE]),
                                      "given_as_p_a", whole(soft)));
    if (data->kind == ROWS_UNPAIRED || data->kind == ROWS_STEPWISE) {
        size_t all = data->kind == ROWS_STEPWISE ? steps : data->n;
        json_object_set_new(report, "labels",
                            json_pack("{s:o, s:o}", "good", whole(good), "bad", whole(all - good)));
        if (good == 0 || good == all)
            inspect_problem(report, "all labels are the same: there is nothing to tell apart");
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_annotators(json_t *report, const struct dataset *data)
{
    const char **names = xcalloc(data->n + 1, sizeof *names);
    size_t n = 0, distinct = 0;
    for (size_t i = 0; i < data->n; i++)
        if (data->rows[i].annotator)
            names[n++] = data->rows[i].annotator;
    qsort(names, n, sizeof *names, by_text);
    for (size_t i = 0; i < n; i++)
        distinct += i == 0 || strcmp(names[i], names[i - 1]);
    if (n)
        json_object_set_new(report, "annotators", whole(distinct));
    free(names);
}

/* ---- tokens ---- */

/* What turns rows into tokens. */
struct encoder {
    struct loaded loaded;
    struct tokenizer *own;
    struct chat_template *own_template;
    struct err problem;
    struct encode_options options;
    int32_t ends[5];
    size_t n_ends;
};

static int encoder_open(struct encoder *e, const struct inspect_options *o, struct err *err)
{
    *e = (struct encoder){0};
    if (o->model) {
        if (load_net(&e->loaded, o->model, NULL, o->tokenizer, err))
            return -1;
        e->options = encode_options_of(&e->loaded.model);
        e->n_ends = model_stop_tokens(&e->loaded.model, e->ends);
    } else {
        e->own = tokenizer_open(o->tokenizer, err);
        if (!e->own)
            return -1;
        e->own_template = chat_template_open(o->tokenizer, &e->problem);
        e->options = (struct encode_options){.tokenizer = e->own,
                                             .chat = e->own_template,
                                             .chat_problem = e->problem.text,
                                             .eos = tokenizer_eos(e->own),
                                             .vocab = tokenizer_size(e->own)};
        int turn_end = e->own_template ? tokenizer_id(e->own, chat_turn_end(e->own_template)) : -1;
        if (turn_end >= 0)
            e->ends[e->n_ends++] = turn_end;
    }
    if (e->options.eos >= 0)
        e->ends[e->n_ends++] = e->options.eos;
    e->options.assistant_only = o->assistant_only;
    return 0;
}

static void encoder_release(struct encoder *e)
{
    tokenizer_free(e->own);
    chat_template_free(e->own_template);
    loaded_release(&e->loaded);
}

/* What is counted over all rows. */
struct counts {
    struct sizes prompt, completion, chosen, rejected, targets, total;
    struct sizes over, failed; /* lines */
    size_t completions, ended; /* with an end token among the targets */
    size_t decided, longer;    /* pairs; whose better answer is the longer one */
    struct err first_failure;
};

static void counts_release(struct counts *c)
{
    free(c->prompt.data);
    free(c->completion.data);
    free(c->chosen.data);
    free(c->rejected.data);
    free(c->targets.data);
    free(c->total.data);
    free(c->over.data);
    free(c->failed.data);
}

static bool trains_end(const struct sequence *s, const struct encoder *e)
{
    for (size_t j = 0; j < s->n; j++)
        for (size_t k = 0; k < e->n_ends; k++)
            if (s->mask[j] && s->ids[j] == e->ends[k])
                return true;
    return false;
}

static void count_example(struct counts *c, const struct example *x, enum rows_kind kind,
                          const struct encoder *e, size_t max_length)
{
    size_t longest = 0, targets = 0;
    for (size_t k = 0; k < x->n_completions; k++) {
        const struct sequence *s = &x->completions[k];
        longest = s->n > longest ? s->n : longest;
        for (size_t j = 0; j < s->n; j++)
            targets += s->mask[j];
        c->completions++;
        c->ended += trains_end(s, e);
        if (kind != ROWS_PAIR)
            sizes_add(&c->completion, s->n);
    }
    if (x->prompt.n)
        sizes_add(&c->prompt, x->prompt.n);
    if (x->n_completions)
        sizes_add(&c->targets, targets);
    sizes_add(&c->total, x->prompt.n + longest);
    if (x->prompt.n + longest > max_length)
        sizes_add(&c->over, x->row->line);
    if (kind == ROWS_PAIR && x->row->label != ROW_TIE && x->row->label != ROW_NO_LABEL) {
        size_t chosen = x->completions[x->row->label == ROW_B].n,
               rejected = x->completions[x->row->label != ROW_B].n;
        sizes_add(&c->chosen, chosen);
        sizes_add(&c->rejected, rejected);
        c->decided++;
        c->longer += chosen > rejected;
    }
}

static void add_counts(json_t *report, struct counts *c, const struct encoder *e,
                       const struct inspect_options *o)
{
    json_t *table = json_array();
    add_lengths(table, "prompt", &c->prompt);
    add_lengths(table, "completion", &c->completion);
    add_lengths(table, "chosen", &c->chosen);
    add_lengths(table, "rejected", &c->rejected);
    add_lengths(table, "targets of a row", &c->targets);
    add_lengths(table, "longest path of a row", &c->total);
    json_object_set_new(report, "tokens", table);
    if (c->decided)
        json_object_set_new(report, "better_is_longer_share",
                            json_real((double)c->longer / (double)c->decided));
    json_object_set_new(report, "max_length", whole(o->max_length));
    json_object_set_new(report, "rows_over_max_length", whole(c->over.n));
    if (c->completions)
        json_object_set_new(report, "completions_with_end_token", whole(c->ended));
    if (c->over.n) {
        char *lines = first_lines(&c->over);
        inspect_problem(report,
                        "%zu rows are longer than --max-length %zu and would be cut (lines %s)",
                        c->over.n, o->max_length, lines);
        free(lines);
    }
    if (c->failed.n) {
        char *lines = first_lines(&c->failed);
        inspect_problem(report, "%zu rows cannot be made into tokens (lines %s): %s", c->failed.n,
                        lines, c->first_failure.text);
        free(lines);
    }
    if (e->n_ends == 0 && c->completions)
        inspect_problem(report, "the model has no end token, so no answer can train one");
    else if (c->ended < c->completions)
        inspect_problem(
            report,
            "%zu of %zu completions do not train an end token: the model would not learn to stop",
            c->completions - c->ended, c->completions);
}

/* ---- masks ---- */

/* Tokens with their text; those that end inside a character go together with the next, if that is
 * trained like they are. */
static json_t *pieces_of(const struct sequence *s, const struct tokenizer *t)
{
    json_t *tokens = json_array(), *ids = json_array();
    struct buf text;
    buf_init(&text, (size_t)1 << 20);
    for (size_t i = 0; i < s->n; i++) {
        if (t)
            tokenizer_decode_more(t, &text, &s->ids[i], 1, false);
        else
            buf_printf(&text, "%d ", s->ids[i]);
        json_array_append_new(ids, json_integer(s->ids[i]));
        bool trained = s->mask && s->mask[i], next = s->mask && i + 1 < s->n && s->mask[i + 1];
        if (i + 1 < s->n && trained == next && utf8_complete_len(text.data, text.len) < text.len)
            continue;
        json_array_append_new(tokens,
                              json_pack("{s:o, s:o, s:b}", "ids", ids, "text",
                                        inspect_text(text.data, text.len), "trained", trained));
        ids = json_array();
        buf_clear(&text);
    }
    json_decref(ids);
    buf_release(&text);
    return tokens;
}

static json_t *shown_row(const struct example *x, enum rows_kind kind, const struct tokenizer *t)
{
    json_t *parts = json_array();
    if (x->prompt.n) {
        struct sequence prompt = x->prompt;
        prompt.mask = NULL;
        json_array_append_new(
            parts, json_pack("{s:s, s:o}", "part", "prompt", "tokens", pieces_of(&prompt, t)));
    }
    for (size_t k = 0; k < x->n_completions; k++) {
        const char *name = kind == ROWS_PAIR
                               ? ((x->row->label == ROW_B) == (k == 1) ? "chosen" : "rejected")
                               : "completion";
        if (x->row->label == ROW_TIE)
            name = k ? "b (tie)" : "a (tie)";
        json_array_append_new(parts, json_pack("{s:s, s:o}", "part", name, "tokens",
                                               pieces_of(&x->completions[k], t)));
    }
    return json_pack("{s:o, s:o, s:o}", "line", whole(x->row->line), "id",
                     inspect_text(x->row->id, strlen(x->row->id)), "parts", parts);
}

/* Each row is encoded by itself, so that one that cannot be does not hide the others. */
static void look_at_tokens(json_t *report, const struct dataset *data, const struct encoder *e,
                           const struct inspect_options *o)
{
    struct counts c = {0};
    json_t *shown = json_array();
    for (size_t i = 0; i < data->n; i++) {
        struct dataset one = *data;
        struct examples x;
        struct err why;
        one.rows = &data->rows[i];
        one.n = 1;
        if (examples_encode(&x, &one, &e->options, &why)) {
            c.first_failure = c.failed.n ? c.first_failure : why;
            sizes_add(&c.failed, data->rows[i].line);
            continue;
        }
        count_example(&c, &x.list[0], data->kind, e, o->max_length);
        if (json_array_size(shown) < o->rows)
            json_array_append_new(shown, shown_row(&x.list[0], data->kind, e->options.tokenizer));
        examples_release(&x);
    }
    add_counts(report, &c, e, o);
    json_object_set_new(report, "rows_shown", shown);
    counts_release(&c);
}

json_t *inspect_data(const char *path, const struct inspect_options *o, struct err *err)
{
    struct rows_config config = {.system = o->system, .skip_bad = true};
    struct dataset data;
    if (dataset_read(&data, path, &config, err))
        return NULL;
    json_t *problems = json_array();
    json_t *report = json_pack("{s:s, s:o, s:O}", "kind", "data", "path",
                               inspect_text(path, strlen(path)), "problems", problems);
    int rc = 0;
    add_report(report, &data);
    add_labels(report, &data);
    add_annotators(report, &data);
    if ((o->model || o->tokenizer) && data.kind != ROWS_SCORES && data.kind != ROWS_STEPWISE) {
        struct encoder e;
        rc = encoder_open(&e, o, err);
        if (rc == 0)
            look_at_tokens(report, &data, &e, o);
        encoder_release(&e);
    }
    if (rc == 0 && o->eval_data)
        rc = add_leakage(report, &data, o, err);
    dataset_release(&data);
    json_object_del(report, "problems");
    json_object_set_new(report, "problems", problems);
    if (rc == 0)
        return report;
    json_decref(report);
    return NULL;
}
