#include "data/labels.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/records.h"
#include "data/rows.h"
#include "util/mem.h"
#include "util/textstats.h"

/* What is taken over from a row that came back. */
static const char *const taken[] = {"label", "p_a", "annotator", "weight", "strength", "margin", "group"};
static const char *const sent[] = {"prompt", "a", "b"};

struct label {
    json_t *row;
    size_t line, pair, after; /* after: the next one of the same pair, from 1 */
};

struct join {
    const char *pairs_path, *labels_path;
    json_t **pairs;
    size_t n_pairs, pair_capacity;
    struct label *labels;
    size_t n_labels, label_capacity;
    size_t *first, *last;                     /* (n_pairs) labels, from 1 */
    struct word_table ids, annotators, given; /* given: "ID\nANNOTATOR" of each label */
};

static int refuse(const char *path, size_t line, struct err *err, const char *why, const char *what)
{
    return err_set(err, "'%s' line %zu: %s%.200s", path, line, why, what);
}

static int read_pairs(struct join *j, struct err *err)
{
    struct records r;
    json_t *row;
    size_t line;
    int more;
    if (records_open(&r, j->pairs_path, ROWS_MAX_LINE, ROWS_MAX_FILE, err))
        return -1;
    while ((more = records_next(&r, &row, &line, err)) > 0) {
        const char *id = json_string_value(json_object_get(row, "id"));
        ARRAY_GROW(j->pairs, j->n_pairs + 1, j->pair_capacity);
        j->pairs[j->n_pairs++] = row;
        if (!id || word_table_id(&j->ids, id, true) != j->n_pairs - 1) {
            more = refuse(j->pairs_path, line, err, "a pair without an id of its own: the file is not what was written", "");
            break;
        }
    }
    records_close(&r);
    return more;
}

/* Does a row hold a label?  -1: something that is none. */
static int has_label(const json_t *row, const char *path, size_t line, struct err *err)
{
    const json_t *label = json_object_get(row, "label"), *p = json_object_get(row, "p_a");
    const char *word = json_string_value(label);
    bool no_label = !label || json_is_null(label) || (word && !*word), no_p = !p || json_is_null(p);
    if (!no_label && (!word || (strcmp(word, "a") && strcmp(word, "b") && strcmp(word, "tie"))))
        return refuse(path, line, err, "the field \"label\" must be \"a\", \"b\" or \"tie\", or null where nobody has decided",
                      "");
    if (!no_p && (!json_is_number(p) || !(json_number_value(p) >= 0 && json_number_value(p) <= 1)))
        return refuse(path, line, err, "the field \"p_a\" must be a number from 0 to 1: the chance that a is the better one",
                      "");
    return !no_label || !no_p;
}

/* Is it a label of a pair that was sent out, and nobody's second one? */
static int take(struct join *j, json_t *row, size_t line, struct err *err)
{
    const char *id = json_string_value(json_object_get(row, "id")), *path = j->labels_path;
    const json_t *who = json_object_get(row, "annotator");
    if (!id)
        return refuse(path, line, err, "the field \"id\" is missing: it says which pair the label is of", "");
    uint32_t pair = word_table_id(&j->ids, id, false);
    if (pair == WORD_TABLE_NONE)
        return err_set(err, "'%s' line %zu: no pair has the id \"%.100s\": the labels must be of the pairs in '%s'", path, line,
                       id, j->pairs_path);
    for (size_t i = 0; i < sizeof sent / sizeof *sent; i++) {
        const json_t *text = json_object_get(row, sent[i]);
        if (text && !json_equal(text, json_object_get(j->pairs[pair], sent[i])))
            return err_set(
                err,
                "'%s' line %zu: the field \"%s\" is not what was sent out for \"%.100s\" ('%s'): leave texts as they are, or out",
                path, line, sent[i], id, j->pairs_path);
    }
    if (who && !json_is_null(who) && !json_is_string(who))
        return refuse(path, line, err, "the field \"annotator\" must be a name", "");
    int labelled = has_label(row, path, line, err);
    if (labelled <= 0)
        return labelled;
    char *key = xasprintf("%s\n%s", id, json_string_length(who) ? json_string_value(who) : "");
    uint32_t number = word_table_id(&j->given, key, true);
    free(key);
    if (number != j->n_labels)
        return err_set(
            err,
            "'%s' line %zu: \"%.100s\" is labelled a second time by %s%.60s (line %zu): remove one, or name the annotators",
            path, line, id, json_string_length(who) ? "annotator " : "nobody in particular",
            json_string_length(who) ? json_string_value(who) : "", j->labels[number].line);
    if (json_string_length(who))
        word_table_id(&j->annotators, json_string_value(who), true);
    ARRAY_GROW(j->labels, j->n_labels + 1, j->label_capacity);
    j->labels[j->n_labels++] = (struct label){json_incref(row), line, pair, 0};
    if (j->last[pair])
        j->labels[j->last[pair] - 1].after = j->n_labels;
    else
        j->first[pair] = j->n_labels;
    j->last[pair] = j->n_labels;
    return 0;
}

static int read_labels(struct join *j, struct err *err)
{
    struct records r;
    json_t *row;
    size_t line;
    int more;
    j->first = xcalloc(j->n_pairs + 1, sizeof *j->first);
    j->last = xcalloc(j->n_pairs + 1, sizeof *j->last);
    if (records_open(&r, j->labels_path, ROWS_MAX_LINE, ROWS_MAX_FILE, err))
        return -1;
    while ((more = records_next(&r, &row, &line, err)) > 0) {
        int rc = take(j, row, line, err);
        json_decref(row);
        if (rc) {
            more = -1;
            break;
        }
    }
    records_close(&r);
    return more;
}

static void write_judgement(struct buf *out, const json_t *pair, const struct label *l)
{
    json_t *o = json_object();
    const char *who = json_string_value(json_object_get(l->row, "annotator"));
    const char *id = json_string_value(json_object_get(pair, "id"));
    char *full = who && *who ? xasprintf("%s-%s", id, who) : xstrdup(id);
    json_object_set_new(o, "id", json_string(full));
    for (size_t i = 0; i < sizeof sent / sizeof *sent; i++)
        json_object_set(o, sent[i], json_object_get(pair, sent[i]));
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        json_t *value = json_object_get(l->row, taken[i]);
        if (value && !json_is_null(value) && !(json_is_string(value) && json_string_length(value) == 0))
            json_object_set(o, taken[i], value);
    }
    char *text = json_dumps(o, 0);
    buf_str(out, text);
    buf_str(out, "\n");
    free(text);
    free(full);
    json_decref(o);
}

static void write_all(struct buf *out, struct labels_report *report, const struct join *j)
{
    *report = (struct labels_report){.pairs = j->n_pairs, .rows = j->n_labels, .annotators = j->annotators.n};
    size_t named = 0;
    for (size_t i = 0; i < j->n_pairs; i++) {
        for (size_t l = j->first[i]; l; l = j->labels[l - 1].after)
            write_judgement(out, j->pairs[i], &j->labels[l - 1]);
        report->labelled += j->first[i] > 0;
        if (j->first[i] == 0 && named++ < 3) {
            size_t at = strlen(report->missing);
            snprintf(report->missing + at, sizeof report->missing - at, "%s%.38s", at ? ", " : "",
                     json_string_value(json_object_get(j->pairs[i], "id")));
        }
    }
}

/* Other fields than these are checked by whoever reads judgements. */
static int check(const struct buf *out, size_t from, const char *path, struct err *err)
{
    struct dataset data;
    char *name = xasprintf("%s, beside its pairs", path); /* its lines are counted anew */
    int rc = dataset_parse(&data, name, out->data + from, out->len - from, NULL, err);
    if (rc == 0)
        dataset_release(&data);
    free(name);
    return rc;
}

int labels_join(struct buf *out, struct labels_report *report, const char *pairs_path, const char *labels_path, struct err *err)
{
    struct join j = {.pairs_path = pairs_path, .labels_path = labels_path};
    size_t from = out->len;
    word_table_init(&j.ids);
    word_table_init(&j.annotators);
    word_table_init(&j.given);
    int rc = read_pairs(&j, err) || read_labels(&j, err) ? -1 : 0;
    if (rc == 0 && j.n_labels == 0)
        rc = err_set(err, "'%s' has no label for any of the %zu pairs in '%s': fill some in", labels_path, j.n_pairs,
                     pairs_path);
    if (rc == 0) {
        write_all(out, report, &j);
        rc = check(out, from, labels_path, err);
    }
    for (size_t i = 0; i < j.n_pairs; i++)
        json_decref(j.pairs[i]);
    for (size_t i = 0; i < j.n_labels; i++)
        json_decref(j.labels[i].row);
    word_table_release(&j.ids);
    word_table_release(&j.annotators);
    word_table_release(&j.given);
    free(j.pairs);
    free(j.labels);
    free(j.first);
    free(j.last);
    return rc;
}
