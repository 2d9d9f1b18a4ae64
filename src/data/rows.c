#include "data/rows.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "data/records.h"
#include "util/file.h"
#include "util/mem.h"

/* What a reader works on: the current record and where its row goes. */
struct reader {
    struct dataset *data;
    const struct rows_config *config;
    const char *name;
    bool csv;
    const struct form *form;
    json_t *record;
    struct row *row;
    struct err *err;
};

/* A format: recognised by the presence of `mark` (and of `and`, if not NULL), and perhaps a look at
 * the values. */
struct form {
    const char *mark, *and;
    bool (*matches)(const json_t *record);
    enum rows_kind kind;
    const char *name;
    int (*convert)(struct reader *r);
};

/* ---- refusals: one sentence with file, line and field ---- */

static int refuse(const struct reader *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static int refuse(const struct reader *r, const char *fmt, ...)
{
    char why[768];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    return err_set(r->err, "'%s' line %zu: %s", r->name, r->row->line, why);
}

static const char *kind_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "text";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    default:
        return "null";
    }
}

static int wrong_type(const struct reader *r, const char *field, const char *want,
                      const json_t *found)
{
    if (json_is_string(found))
        return refuse(r, "the field \"%s\" must be %s, found \"%.40s\"", field, want,
                      json_string_value(found));
    return refuse(r, "the field \"%s\" must be %s, found %s", field, want, kind_name(found));
}

static int missing(const struct reader *r, const char *field)
{
    return refuse(r, "the field \"%s\" is missing, which %s need: add it or remove the row", field,
                  r->form->name);
}

static void warn(struct dataset *data, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void warn(struct dataset *data, const char *fmt, ...)
{
    struct data_report *report = &data->report;
    report->warnings++;
    if (report->n_texts == DATA_WARNINGS)
        return;
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    report->texts[report->n_texts++] = xstrdup(text);
}

/* ---- fields ---- */

/* A field's value; NULL where it is absent, null, or an empty cell of a CSV file. */
static json_t *field(const struct reader *r, const char *name)
{
    json_t *v = json_object_get(r->record, name);
    if (!v || json_is_null(v) || (r->csv && json_is_string(v) && json_string_length(v) == 0))
        return NULL;
    return v;
}

/* An optional number; *out stays where it is absent. */
static int number(const struct reader *r, double *out, const char *name, double min, double max)
{
    json_t *v = field(r, name);
    if (!v)
        return 0;
    double x = json_number_value(v);
    if (r->csv && json_is_string(v)) {
        const char *s = json_string_value(v);
        char *end;
        x = strtod(s, &end);
        if (*end || isspace((unsigned char)*s) || !isfinite(x))
            return wrong_type(r, name, "a finite number", v);
    } else if (!json_is_number(v)) {
        return wrong_type(r, name, "a number", v);
    }
    if (x < min || x > max)
        return isinf(max)
                   ? refuse(r, "the field \"%s\" is %g, but must be at least %g", name, x, min)
                   : refuse(r, "the field \"%s\" is %g, but must be between %g and %g", name, x,
                            min, max);
    *out = x;
    return 0;
}

/* An optional name: text or a whole number; *out is NULL where it is absent. */
static int name_field(const struct reader *r, char **out, const char *name)
{
    json_t *v = field(r, name);
    if (v && !json_is_string(v) && !json_is_integer(v))
        return wrong_type(r, name, "text or a whole number", v);
    if (v && json_is_string(v) && json_string_length(v) == 0)
        return refuse(r, "the field \"%s\" is empty: write one or remove the field", name);
    *out = !v                  ? NULL
           : json_is_string(v) ? xstrdup(json_string_value(v))
                               : xasprintf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
    return 0;
}

static int truth(const struct reader *r, bool *out, const json_t *v, const char *name)
{
    const char *s = r->csv && json_is_string(v) ? json_string_value(v) : NULL;
    if (json_is_boolean(v))
        *out = json_is_true(v);
    else if (json_is_integer(v) && (json_integer_value(v) == 0 || json_integer_value(v) == 1))
        *out = json_integer_value(v) == 1;
    else if (s && (!strcasecmp(s, "true") || !strcmp(s, "1")))
        *out = true;
    else if (s && (!strcasecmp(s, "false") || !strcmp(s, "0")))
        *out = false;
    else
        return wrong_type(r, name, "true or false", v);
    return 0;
}

/* A cell of a CSV file that holds a list as JSON text becomes that list. */
static void parse_cells(json_t *record)
{
    static const char *const lists[] = {"messages",   "prompt",      "completion", "chosen",
                                        "rejected",   "a",           "b",          "input_ids",
                                        "prompt_ids", "completions", "labels", "ranks"};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        const char *s = json_string_value(json_object_get(record, lists[i]));
        bool ids = strstr(lists[i], "_ids") || !strcmp(lists[i], "completions") ||
                   !strcmp(lists[i], "labels") || !strcmp(lists[i], "ranks");
        if (!s || strncmp(s, "[{", ids ? 1 : 2) != 0)
            continue;
        json_t *list = json_loads(s, JSON_REJECT_DUPLICATES, NULL);
        if (json_is_array(list))
            json_object_set_new(record, lists[i], list);
        else
            json_decref(list);
    }
}

/* ---- parts ---- */

static void part_release(struct row_part *part)
{
    for (size_t i = 0; i < part->n_messages; i++) {
        free(part->messages[i].role);
        free(part->messages[i].content);
        json_decref(part->messages[i].fields);
    }
    free(part->messages);
    free(part->text);
    free(part->ids);
    *part = (struct row_part){0};
}

static bool is_blank(const char *s)
{
    return s[strspn(s, " \t\r\n\f\v")] == 0;
}

static struct message *part_add(struct row_part *part, const char *role, const char *content, size_t n)
{
    part->messages = xreallocarray(part->messages, part->n_messages + 1, sizeof *part->messages);
    struct message *m = &part->messages[part->n_messages++];
    *m = (struct message){xstrdup(role), xstrndup(content ? content : "", n)};
    return m;
}

/* The first n messages of one part moved to the end of another. */
static void part_move(struct row_part *to, struct row_part *from, size_t n)
{
    if (n == 0)
        return;
    for (size_t i = 0; i < n; i++) {
        to->messages = xreallocarray(to->messages, to->n_messages + 1, sizeof *to->messages);
        to->messages[to->n_messages++] = from->messages[i];
    }
    from->n_messages -= n;
    memmove(from->messages, from->messages + n, from->n_messages * sizeof *from->messages);
}

/* The last n messages thrown away. */
static void part_cut(struct row_part *part, size_t n)
{
    for (; n; n--) {
        struct message *last = &part->messages[--part->n_messages];
        free(last->role);
        free(last->content);
        json_decref(last->fields);
    }
}

/* A text part made one message. */
static void part_to_message(struct row_part *part, const char *role)
{
    if (!part->text)
        return;
    char *text = part->text;
    part->text = NULL;
    part_add(part, role, text, strlen(text));
    free(text);
}

static bool same_message(const struct message *a, const struct message *b)
{
    return !strcmp(a->role, b->role) && !strcmp(a->content, b->content) &&
           (a->fields == b->fields || json_equal(a->fields, b->fields));
}

static bool same_part(const struct row_part *a, const struct row_part *b)
{
    if (a->n_messages != b->n_messages || !a->text != !b->text)
        return false;
    for (size_t i = 0; i < a->n_messages; i++)
        if (!same_message(&a->messages[i], &b->messages[i]))
            return false;
    return !a->text || !strcmp(a->text, b->text);
}

static bool known_role(const char *role)
{
    return !strcmp(role, "system") || !strcmp(role, "user") || !strcmp(role, "assistant") ||
           !strcmp(role, "tool");
}

static int messages_from(const struct reader *r, struct row_part *part, json_t *list,
                         const char *name)
{
    if (json_array_size(list) == 0)
        return refuse(
            r, "the field \"%s\" is an empty list: give at least one message or remove the row",
            name);
    size_t i;
    json_t *m;
    json_array_foreach(list, i, m) {
        if (!json_is_object(m))
            return refuse(
                r,
                "the field \"%s\": message %zu must be {\"role\": .., \"content\": ..}, found %s",
                name, i + 1, kind_name(m));
        json_t *role = json_object_get(m, "role"), *content = json_object_get(m, "content");
        if (!json_is_string(role) || !known_role(json_string_value(role)))
            return refuse(r,
                          "the field \"%s\": the \"role\" of message %zu must be system, user, "
                          "assistant or tool, found %s%.40s",
                          name, i + 1, role ? "" : "none",
                          !role                  ? ""
                          : json_is_string(role) ? json_string_value(role)
                                                 : kind_name(role));
        if (!json_is_string(content) &&
            ((content && !json_is_null(content)) || message_needs_content(m)))
            return refuse(r,
                          "the field \"%s\": the \"content\" of message %zu must be text, found %s",
                          name, i + 1, content ? kind_name(content) : "none");
        part_add(part, json_string_value(role), content ? json_string_value(content) : "",
                 json_string_length(content))
            ->fields = message_fields(m);
    }
    return 0;
}

/* A part that is text or a list of messages. */
static int part_of(const struct reader *r, struct row_part *part, json_t *v, const char *name)
{
    if (json_is_array(v))
        return messages_from(r, part, v, name);
    if (!json_is_string(v))
        return wrong_type(r, name, "text or a list of messages", v);
    part->text = xstrdup(json_string_value(v));
    return 0;
}

/* A required part. */
static int part_from(const struct reader *r, struct row_part *part, const char *name)
{
    json_t *v = field(r, name);
    return v ? part_of(r, part, v, name) : missing(r, name);
}

static int prompt_from(const struct reader *r, const char *name)
{
    if (part_from(r, &r->row->prompt, name))
        return -1;
    if (r->row->prompt.text && !*r->row->prompt.text && !r->config->keep_plain)
        return refuse(r, "the field \"%s\" is empty: write a prompt or remove the row", name);
    return 0;
}

static struct row_part *add_completions(struct row *row, size_t n)
{
    row->completions = xcalloc(n, sizeof *row->completions);
    row->n_completions = n;
    return row->completions;
}

/* An answer that says nothing cannot be learnt from. */
static int check_completion(const struct reader *r, const struct row_part *part, const char *name)
{
    bool empty = part->text && is_blank(part->text);
    for (size_t i = 0; i < part->n_messages; i++)
        if (!strcmp(part->messages[i].role, "assistant") && is_blank(part->messages[i].content) &&
            !json_object_get(part->messages[i].fields, "tool_calls"))
            empty = true;
    if (empty)
        return refuse(r, "the answer in \"%s\" is empty: write one or remove the row", name);
    if (part->n_messages && strcmp(part->messages[part->n_messages - 1].role, "assistant") != 0)
        return refuse(r,
                      "the conversation in \"%s\" ends with a message of the %s: it must end with "
                      "the assistant's answer",
                      name, part->messages[part->n_messages - 1].role);
    return 0;
}

static int completion_from(const struct reader *r, struct row_part *part, const char *name)
{
    return part_from(r, part, name) || check_completion(r, part, name) ? -1 : 0;
}

/* Chat form, unless the row is plain throughout and is to stay so. */
static void to_chat_form(const struct reader *r)
{
    struct row *row = r->row;
    bool plain = row->prompt.n_messages == 0;
    for (size_t i = 0; i < row->n_completions; i++)
        plain = plain && row->completions[i].n_messages == 0;
    if (plain && r->config->keep_plain)
        return;
    part_to_message(&row->prompt, "user");
    for (size_t i = 0; i < row->n_completions; i++)
        part_to_message(&row->completions[i], "assistant");
}

/* ---- pairs ---- */

/* An hh-rlhf transcript: "\n\nHuman: ..\n\nAssistant: ..".  Returns the length of the turn's mark
 * at s and its role. */
static size_t turn_mark(const char *s, const char **role)
{
    static const struct {
        const char *mark, *role;
    } marks[] = {{"\n\nHuman:", "user"}, {"\n\nAssistant:", "assistant"}};
    for (size_t i = 0; i < 2; i++) {
        size_t n = strlen(marks[i].mark);
        if (!strncmp(s, marks[i].mark, n)) {
            *role = marks[i].role;
            return n;
        }
    }
    return 0;
}

static bool is_transcript(const char *s)
{
    const char *role;
    return turn_mark(s, &role) && !strcmp(role, "user");
}

static bool are_transcripts(const json_t *record)
{
    const char *chosen = json_string_value(json_object_get(record, "chosen"));
    return chosen && is_transcript(chosen);
}

static void transcript_to_messages(struct row_part *part)
{
    char *text = part->text;
    const char *role, *next_role, *s = text;
    part->text = NULL;
    for (size_t n = turn_mark(s, &role); n; role = next_role) {
        s += n;
        const char *end = s;
        while (*end && !(n = turn_mark(end, &next_role)))
            end++;
        if (!*end)
            n = 0;
        const char *first = s, *last = end;
        while (first < last && isspace((unsigned char)*first))
            first++;
        while (last > first && isspace((unsigned char)last[-1]))
            last--;
        part_add(part, role, first, (size_t)(last - first));
        s = end;
    }
    free(text);
}

/* The prompt of two conversations is what both begin with, as far as an answer follows in both. */
static void common_messages(const struct reader *r)
{
    struct row *row = r->row;
    struct row_part *a = &row->completions[0], *b = &row->completions[1];
    size_t least = a->n_messages < b->n_messages ? a->n_messages : b->n_messages, n = 0;
    while (n + 1 < least && same_message(&a->messages[n], &b->messages[n]))
        n++;
    while (n && (strcmp(a->messages[n].role, "assistant") != 0 ||
                 strcmp(b->messages[n].role, "assistant") != 0))
        n--;
    part_move(&row->prompt, a, n);
    struct row_part copy = {0};
    part_move(&copy, b, n);
    part_release(&copy);
    if (n == 0) {
        r->data->report.no_common_prompt++;
        warn(r->data, "line %zu: chosen and rejected have no common prompt", row->line);
    }
}

static size_t trimmed_length(const char *s)
{
    size_t n = strlen(s);
    while (n && isspace((unsigned char)s[n - 1]))
        n--;
    return n;
}

/* The same for texts: up to the last white space before they differ, so that no word, and no
 * character, is cut and both completions have something in them. */
static void common_text(const struct reader *r)
{
    struct row *row = r->row;
    char *a = row->completions[0].text, *b = row->completions[1].text;
    size_t na = trimmed_length(a), nb = trimmed_length(b), least = na < nb ? na : nb, n = 0;
    while (n + 1 < least && a[n] == b[n])
        n++;
    while (n && !(isspace((unsigned char)a[n]) && isspace((unsigned char)b[n])))
        n--;
    row->prompt.text = xstrndup(a, n);
    memmove(a, a + n, strlen(a + n) + 1);
    memmove(b, b + n, strlen(b + n) + 1);
}

static const char *const pair_fields[] = {"chosen", "rejected"};

/* Both sides as they stand, with the label. */
static int read_pair(const struct reader *r)
{
    struct row *row = r->row;
    struct row_part *parts = add_completions(row, 2);
    row->label = ROW_A;
    row->p_a = 1;
    return part_from(r, &parts[0], pair_fields[0]) || part_from(r, &parts[1], pair_fields[1]) ? -1
                                                                                              : 0;
}

static int check_pair(const struct reader *r)
{
    struct row_part *parts = r->row->completions;
    return check_completion(r, &parts[0], pair_fields[0]) ||
                   check_completion(r, &parts[1], pair_fields[1])
               ? -1
               : 0;
}

static bool pair_is_whole(const struct reader *r)
{
    const struct row_part *parts = r->row->completions;
    return parts[0].n_messages && parts[1].n_messages &&
           strcmp(parts[0].messages[0].role, "assistant") != 0 &&
           strcmp(parts[1].messages[0].role, "assistant") != 0;
}

static int convert_preference(struct reader *r)
{
    if (read_pair(r))
        return -1;
    if (pair_is_whole(r)) /* they carry their prompt, whatever stands in "prompt" */
        common_messages(r);
    else if (prompt_from(r, "prompt"))
        return -1;
    to_chat_form(r);
    return check_pair(r);
}

static int convert_implicit(struct reader *r)
{
    if (read_pair(r))
        return -1;
    if (pair_is_whole(r))
        common_messages(r);
    else if (r->row->completions[0].text && r->row->completions[1].text)
        common_text(r);
    else
        return refuse(r, "without a \"prompt\", the fields \"chosen\" and \"rejected\" must both "
                         "be text or both whole "
                         "conversations: add the prompt");
    return check_pair(r);
}

static int convert_transcripts(struct reader *r)
{
    if (read_pair(r))
        return -1;
    for (size_t i = 0; i < 2; i++) {
        struct row_part *part = &r->row->completions[i];
        if (!part->text || !is_transcript(part->text))
            return refuse(
                r, "the field \"%s\" must begin with \"\\n\\nHuman:\" as in the file's first row",
                pair_fields[i]);
        transcript_to_messages(part);
    }
    common_messages(r);
    return check_pair(r);
}

static int convert_judgement(struct reader *r)
{
    struct row *row = r->row;
    struct row_part *parts = add_completions(row, 2);
    if (prompt_from(r, "prompt") || completion_from(r, &parts[0], "a") ||
        completion_from(r, &parts[1], "b"))
        return -1;
    to_chat_form(r);
    json_t *label = field(r, "label");
    if (label) {
        static const char *const names[] = {[ROW_A] = "a", [ROW_B] = "b", [ROW_TIE] = "tie"};
        for (int i = ROW_A; i <= ROW_TIE; i++)
            if (json_is_string(label) && !strcasecmp(json_string_value(label), names[i]))
                row->label = i;
        if (row->label == ROW_NO_LABEL)
            return wrong_type(r, "label", "\"a\", \"b\" or \"tie\"", label);
        row->p_a = row->label == ROW_A ? 1 : row->label == ROW_B ? 0 : 0.5;
    }
    if (field(r, "p_a")) {
        if (number(r, &row->p_a, "p_a", 0, 1))
            return -1;
        if (!label)
            row->label = row->p_a > 0.5 ? ROW_A : row->p_a < 0.5 ? ROW_B : ROW_TIE;
    } else if (!label) {
        return refuse(r,
                      "neither \"label\" nor \"p_a\" is there, one of which %s need: add it or "
                      "remove the row",
                      r->form->name);
    }
    return 0;
}

/* ---- the other formats ---- */

static int convert_text(struct reader *r)
{
    struct row *row = r->row;
    struct row_part *part = r->config->prompts ? &row->prompt : add_completions(row, 1);
    json_t *v = field(r, "text");
    if (!v)
        return missing(r, "text");
    if (!json_is_string(v))
        return wrong_type(r, "text", "text", v);
    if (is_blank(json_string_value(v)))
        return refuse(r, "the field \"text\" is empty: write a text or remove the row");
    part->text = xstrdup(json_string_value(v));
    return 0;
}

static int convert_messages(struct reader *r)
{
    struct row *row = r->row;
    struct row_part *part = r->config->prompts ? &row->prompt : add_completions(row, 1);
    json_t *v = field(r, "messages");
    if (!v)
        return missing(r, "messages");
    if (!json_is_array(v))
        return wrong_type(r, "messages", "a list of messages", v);
    if (messages_from(r, part, v, "messages"))
        return -1;
    if (!r->config->prompts)
        return 0;
    if (!strcmp(part->messages[part->n_messages - 1].role, "assistant"))
        part_cut(part, 1);
    if (part->n_messages == 0)
        return refuse(
            r, "the field \"messages\" has nothing but an answer: put the user's message in front");
    return 0;
}

static int convert_prompt(struct reader *r)
{
    if (prompt_from(r, "prompt"))
        return -1;
    to_chat_form(r);
    return 0;
}

static int convert_completion(struct reader *r)
{
    struct row_part *part = add_completions(r->row, 1);
    if (prompt_from(r, "prompt") || completion_from(r, part, "completion"))
        return -1;
    to_chat_form(r);
    return 0;
}

static int convert_unpaired(struct reader *r)
{
    if (convert_completion(r))
        return -1;
    json_t *label = field(r, "label");
    return label ? truth(r, &r->row->good, label, "label") : missing(r, "label");
}

static int convert_rating(struct reader *r)
{
    double rating = 0;
    if (convert_completion(r) || number(r, &rating, "rating", 1, ROWS_MAX_RATING))
        return -1;
    if (rating != floor(rating) || rating == 0)
        return refuse(r, "the field \"rating\" must be a whole number from 1, the worst, to %d", ROWS_MAX_RATING);
    r->row->ratings = xcalloc(1, sizeof *r->row->ratings);
    r->row->ratings[0] = (size_t)rating;
    return 0;
}

static int convert_alpaca(struct reader *r)
{
    struct row_part *part = add_completions(r->row, 1);
    json_t *input = field(r, "input");
    if (input && !json_is_string(input))
        return wrong_type(r, "input", "text", input);
    if (prompt_from(r, "instruction") || completion_from(r, part, "output"))
        return -1;
    char **prompt = &r->row->prompt.text;
    if (!*prompt)
        return wrong_type(r, "instruction", "text", field(r, "instruction"));
    if (input && !is_blank(json_string_value(input))) {
        char *both = xasprintf("%s\n\n%s", *prompt, json_string_value(input));
        free(*prompt);
        *prompt = both;
    }
    to_chat_form(r);
    return 0;
}

static int convert_stepwise(struct reader *r)
{
    struct row *row = r->row;
    if (prompt_from(r, "prompt"))
        return -1;
    if (!r->config->keep_plain)
        part_to_message(&row->prompt, "user");
    json_t *steps = field(r, "completions"), *labels = field(r, "labels");
    if (!steps || !labels)
        return missing(r, steps ? "labels" : "completions");
    if (!json_is_array(steps) || json_array_size(steps) == 0)
        return wrong_type(r, "completions", "a list of texts, one a step", steps);
    if (!json_is_array(labels))
        return wrong_type(r, "labels", "a list of true and false, one a step", labels);
    size_t n = json_array_size(steps);
    if (json_array_size(labels) != n)
        return refuse(
            r, "\"completions\" has %zu steps but \"labels\" has %zu entries: they must be as many",
            n, json_array_size(labels));
    struct row_part *parts = add_completions(row, n);
    row->step_good = xcalloc(n, sizeof *row->step_good);
    for (size_t i = 0; i < n; i++) {
        json_t *step = json_array_get(steps, i);
        if (!json_is_string(step))
            return wrong_type(r, "completions", "a list of texts, one a step", step);
        parts[i].text = xstrdup(json_string_value(step));
        if (check_completion(r, &parts[i], "completions") ||
            truth(r, &row->step_good[i], json_array_get(labels, i), "labels"))
            return -1;
    }
    return 0;
}

static int convert_ranking(struct reader *r)
{
    struct row *row = r->row;
    json_t *answers = field(r, "completions"), *ranks = field(r, "ranks");
    if (!answers || !ranks)
        return missing(r, answers ? "ranks" : "completions");
    if (!json_is_array(answers) || json_array_size(answers) < 2)
        return wrong_type(r, "completions", "a list of two answers or more", answers);
    size_t n = json_array_size(answers), others = 0;
    if (!json_is_array(ranks) || json_array_size(ranks) != n)
        return refuse(r, "the field \"ranks\" must be a list of as many whole numbers as there are completions, %zu", n);
    struct row_part *parts = add_completions(row, n);
    row->ranks = xcalloc(n, sizeof *row->ranks);
    if (prompt_from(r, "prompt"))
        return -1;
    for (size_t i = 0; i < n; i++) {
        json_t *rank = json_array_get(ranks, i);
        if (!json_is_integer(rank) || json_integer_value(rank) < 1)
            return wrong_type(r, "ranks", "a list of whole numbers from 1, the best", rank);
        row->ranks[i] = (size_t)json_integer_value(rank);
        others += row->ranks[i] != row->ranks[0];
        if (part_of(r, &parts[i], json_array_get(answers, i), "completions") || check_completion(r, &parts[i], "completions"))
            return -1;
    }
    if (others == 0)
        return refuse(r, "all answers have one rank, which orders nothing: remove the row");
    to_chat_form(r);
    return 0;
}

static int ids_from(const struct reader *r, struct row_part *part, const json_t *list,
                    const char *name)
{
    if (!json_is_array(list))
        return wrong_type(r, name, "a list of token ids", list);
    size_t n = json_array_size(list), i;
    json_t *id;
    if (n == 0)
        return refuse(
            r, "the list in \"%s\" is empty: give at least one token id or remove the row", name);
    part->ids = xcalloc(n, sizeof *part->ids);
    part->n_ids = n;
    json_array_foreach(list, i, id) {
        json_int_t x = json_integer_value(id);
        if (!json_is_integer(id) || x < 0 || x > INT32_MAX)
            return refuse(
                r, "the field \"%s\": entry %zu is no token id: ids are whole numbers from 0 on",
                name, i + 1);
        part->ids[i] = (int32_t)x;
    }
    return 0;
}

static int convert_input_ids(struct reader *r)
{
    struct row *row = r->row;
    double length = 0;
    json_t *list = field(r, "input_ids");
    if (!list)
        return missing(r, "input_ids");
    if (ids_from(r, &row->prompt, list, "input_ids") ||
        number(r, &length, "prompt_length", 0, (double)row->prompt.n_ids))
        return -1;
    size_t n = row->prompt.n_ids, n_prompt = (size_t)length;
    if ((double)n_prompt != length)
        return refuse(r, "the field \"prompt_length\" is %g, but must be a whole number", length);
    if (r->config->prompts || n_prompt == n)
        return 0;
    struct row_part *part = add_completions(row, 1);
    part->n_ids = n - n_prompt;
    part->ids = xcalloc(part->n_ids, sizeof *part->ids);
    memcpy(part->ids, row->prompt.ids + n_prompt, part->n_ids * sizeof *part->ids);
    row->prompt.n_ids = n_prompt;
    return 0;
}

static int convert_prompt_ids(struct reader *r)
{
    json_t *list = field(r, "prompt_ids"), *completions = field(r, "completions");
    if (!list)
        return missing(r, "prompt_ids");
    if (ids_from(r, &r->row->prompt, list, "prompt_ids"))
        return -1;
    if (!completions || r->config->prompts)
        return 0;
    if (!json_is_array(completions))
        return wrong_type(r, "completions", "a list of lists of token ids", completions);
    size_t n = json_array_size(completions);
    struct row_part *parts = add_completions(r->row, n);
    for (size_t i = 0; i < n; i++)
        if (ids_from(r, &parts[i], json_array_get(completions, i), "completions"))
            return -1;
    return 0;
}

static int convert_score(struct reader *r)
{
    return field(r, "score") ? 0 : missing(r, "score"); /* read_common has it */
}

/* In the order they are tried. */
static const struct form forms[] = {
    {"input_ids", NULL, NULL, ROWS_IDS, "token ids (input_ids)", convert_input_ids},
    {"prompt_ids", NULL, NULL, ROWS_IDS, "token ids (prompt_ids, completions)", convert_prompt_ids},
    {"chosen", "prompt", NULL, ROWS_PAIR, "preference pairs (prompt, chosen, rejected)",
     convert_preference},
    {"rejected", "prompt", NULL, ROWS_PAIR, "preference pairs (prompt, chosen, rejected)",
     convert_preference},
    {"chosen", NULL, are_transcripts, ROWS_PAIR, "hh-rlhf transcripts (chosen, rejected)",
     convert_transcripts},
    {"chosen", NULL, NULL, ROWS_PAIR, "preference pairs with an implicit prompt (chosen, rejected)",
     convert_implicit},
    {"rejected", NULL, NULL, ROWS_PAIR,
     "preference pairs with an implicit prompt (chosen, rejected)", convert_implicit},
    {"completions", "ranks", NULL, ROWS_RANKING, "rankings (prompt, completions, ranks)", convert_ranking},
    {"completions", "labels", NULL, ROWS_STEPWISE, "stepwise rows (prompt, completions, labels)",
     convert_stepwise},
    {"completion", "label", NULL, ROWS_UNPAIRED, "unpaired preferences (prompt, completion, label)",
     convert_unpaired},
    {"completion", "rating", NULL, ROWS_RATING, "ratings (prompt, completion, rating)", convert_rating},
    {"completion", NULL, NULL, ROWS_COMPLETION, "demonstrations (prompt, completion)",
     convert_completion},
    {"a", "b", NULL, ROWS_PAIR, "judgements (prompt, a, b, label or p_a)", convert_judgement},
    {"messages", NULL, NULL, ROWS_CHAT, "conversations (messages)", convert_messages},
    {"instruction", NULL, NULL, ROWS_COMPLETION, "Alpaca rows (instruction, input, output)",
     convert_alpaca},
    {"prompt", NULL, NULL, ROWS_PROMPT, "prompts (prompt)", convert_prompt},
    {"text", NULL, NULL, ROWS_TEXT, "texts (text)", convert_text},
    {"score", NULL, NULL, ROWS_SCORES, "scores (score)", convert_score},
};

/* ---- a row ---- */

static void row_release(struct row *row)
{
    part_release(&row->prompt);
    for (size_t i = 0; i < row->n_completions; i++)
        part_release(&row->completions[i]);
    free(row->completions);
    free(row->step_good);
    free(row->ranks);
    free(row->ratings);
    free(row->id);
    free(row->annotator);
    free(row->group);
    json_decref(row->variables);
    json_decref(row->fields);
    *row = (struct row){0};
}

/* What any row may have. */
static int read_common(struct reader *r)
{
    struct row *row = r->row;
    row->score = row->strength = NAN;
    row->weight = 1;
    if (name_field(r, &row->id, "id") || name_field(r, &row->annotator, "annotator") ||
        name_field(r, &row->group, "group"))
        return -1;
    row->id_given = row->id != NULL;
    struct err why;
    if (chat_row_variables(&row->variables, r->record, &why))
        return refuse(r, "%s", why.text);
    return number(r, &row->score, "score", -INFINITY, INFINITY) ||
                   number(r, &row->strength, "strength", -INFINITY, INFINITY) ||
                   number(r, &row->weight, "weight", 0, INFINITY) ||
                   number(r, &row->margin, "margin", -INFINITY, INFINITY)
               ? -1
               : 0;
}

/* The config's system message in front of a conversation that has none. */
static void add_system(const struct reader *r)
{
    struct row *row = r->row;
    struct row_part *part =
        row->prompt.n_messages || row->n_completions == 0 ? &row->prompt : &row->completions[0];
    bool pair_without_prompt =
        r->form->kind == ROWS_PAIR && !row->prompt.n_messages && part->n_messages;
    if (!r->config->system || !part->n_messages || !strcmp(part->messages[0].role, "system"))
        return;
    struct row_part with = {0};
    part_add(&with, "system", r->config->system, strlen(r->config->system));
    if (!pair_without_prompt) {
        part_move(&with, part, part->n_messages);
        free(part->messages);
        *part = with;
    } else {
        row->prompt = with;
    }
    row->system_added = true;
}

/* SHA-256 of the record without its id, fields in alphabetical order. */
static void content_hash(char out[65], json_t *record)
{
    json_object_del(record, "id");
    char *text = json_dumps(record, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        BUG("a parsed row cannot be written");
    sha256_hex(out, text, strlen(text));
    free(text);
}

static int read_row(struct reader *r, char hash[65])
{
    int rc = read_common(r) || r->form->convert(r) ? -1 : 0;
    if (rc)
        return -1;
    add_system(r);
    content_hash(hash, r->record);
    if (!r->row->id)
        r->row->id = xasprintf("row-%.16s", hash);
    if (r->config->keep_fields) {
        r->row->fields = json_incref(r->record);
        json_object_set_new(r->row->fields, "id", json_string(r->row->id)); /* the hash went without it */
    }
    return 0;
}

/* ---- the data set ---- */

/* A set of 64-bit hashes; 0 stands for none. */
struct hash_set {
    uint64_t *slots;
    size_t n, capacity;
};

/* Add the first 16 digits of a hex hash; false if it was there. */
static bool hash_set_add(struct hash_set *set, const char *hex)
{
    char first[17];
    memcpy(first, hex, 16);
    first[16] = 0;
    uint64_t hash = strtoull(first, NULL, 16) | 1;
    if (2 * set->n >= set->capacity) {
        struct hash_set larger = {.capacity = set->capacity ? 2 * set->capacity : 256};
        larger.slots = xcalloc(larger.capacity, sizeof *larger.slots);
        larger.n = set->n;
        for (size_t i = 0; i < set->capacity; i++) {
            if (!set->slots[i])
                continue;
            size_t at = (set->slots[i] >> 8) % larger.capacity;
            while (larger.slots[at])
                at = (at + 1) % larger.capacity;
            larger.slots[at] = set->slots[i];
        }
        free(set->slots);
        *set = larger;
    }
    size_t at = (hash >> 8) % set->capacity;
    for (; set->slots[at]; at = (at + 1) % set->capacity)
        if (set->slots[at] == hash)
            return false;
    set->slots[at] = hash;
    set->n++;
    return true;
}

static const struct form *recognise(const json_t *record)
{
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (json_object_get(record, forms[i].mark) &&
            (!forms[i].and || json_object_get(record, forms[i].and)) &&
            (!forms[i].matches || forms[i].matches(record)))
            return &forms[i];
    return NULL;
}

static int unknown_format(const struct reader *r)
{
    struct buf found;
    buf_init(&found, 200);
    const char *key;
    json_t *value;
    json_object_foreach(r->record, key, value)
        buf_printf(&found, "%s%.40s", found.len ? ", " : "", key);
    int rc = refuse(r,
                    "the fields are not of a known format (found: %s): rename them, for example to "
                    "prompt and completion, or to "
                    "prompt, chosen and rejected, or to messages",
                    found.len ? found.data : "none");
    buf_release(&found);
    return rc;
}

static char *format_name(const struct records *records, const struct form *form,
                         const struct row *first)
{
    static const char *const files[] = {"JSON lines", "JSON array", "CSV"};
    bool chat =
        first->prompt.n_messages || (first->n_completions && first->completions[0].n_messages);
    bool plain = first->prompt.text || (first->n_completions && first->completions[0].text);
    return xasprintf("%s%s of %s%s", records->gzipped ? "gzipped " : "", files[records->form],
                     form->name,
                     chat    ? " as messages"
                     : plain ? " as plain text"
                             : "");
}

struct seen {
    struct hash_set contents, ids;
};

/* Count what is odd about a row that is otherwise good. */
static void inspect_row(struct dataset *data, struct seen *seen, const struct row *row,
                        const char *hash)
{
    struct data_report *report = &data->report;
    if (data->kind != ROWS_SCORES && !hash_set_add(&seen->contents, hash)) {
        report->duplicates++;
        warn(data, "line %zu: an earlier row is the same", row->line);
    }
    if (row->id_given) {
        char id_hash[65];
        sha256_hex(id_hash, row->id, strlen(row->id));
        if (!hash_set_add(&seen->ids, id_hash)) {
            report->duplicate_ids++;
            warn(data, "line %zu: an earlier row has the id '%.80s' too", row->line, row->id);
        }
    }
    if (data->kind == ROWS_PAIR && same_part(&row->completions[0], &row->completions[1])) {
        report->equal_pairs++;
        warn(data, "line %zu: both answers are the same", row->line);
    }
}

static int read_records(struct dataset *data, struct records *records,
                        const struct rows_config *config, struct err *err)
{
    struct seen seen = {0};
    struct reader r = {.data = data,
                       .config = config,
                       .name = records->name,
                       .csv = records->form == RECORDS_CSV,
                       .err = err};
    size_t line;
    int rc;
    while ((rc = records_next(records, &r.record, &line, err)) > 0) {
        struct row row = {.line = line};
        char hash[65];
        r.row = &row;
        if (r.csv)
            parse_cells(r.record);
        if (!r.form)
            r.form = recognise(r.record);
        rc = r.form ? read_row(&r, hash) : unknown_format(&r);
        json_decref(r.record);
        if (!r.form)
            break;
        if (rc == 0) {
            if (!data->format_name) {
                bool prompts =
                    config->prompts && (r.form->kind == ROWS_TEXT || r.form->kind == ROWS_CHAT);
                data->kind = prompts ? ROWS_PROMPT : r.form->kind;
                data->format_name = format_name(records, r.form, &row);
            }
            inspect_row(data, &seen, &row, hash);
            ARRAY_GROW(data->rows, data->n + 1, data->capacity);
            data->rows[data->n++] = row;
            continue;
        }
        row_release(&row);
        if (!config->skip_bad)
            break;
        data->report.skipped++;
        warn(data, "%s (left out)", err->text);
    }
    free(seen.contents.slots);
    free(seen.ids.slots);
    data->report.rows = data->n;
    if (rc == 0 && data->n == 0 && data->report.skipped)
        return err_set(err, "no row of '%s' can be used: %s", records->name, data->report.texts[0]);
    if (rc == 0 && data->n == 0)
        return err_set(err, "'%s' has no rows: it must have at least one", records->name);
    return rc;
}

static int dataset_from(struct dataset *data, const char *path, const char *bytes, size_t n,
                        const struct rows_config *config, struct err *err)
{
    static const struct rows_config defaults;
    struct err own; /* sentences are kept as warnings too, so there must be one */
    err = err ? err : &own;
    config = config ? config : &defaults;
    size_t max_line = config->max_line ? config->max_line : ROWS_MAX_LINE;
    size_t max_file = config->max_file ? config->max_file : ROWS_MAX_FILE;
    *data = (struct dataset){0};
    struct records records;
    if (bytes ? records_open_bytes(&records, path, bytes, n, max_line, err)
              : records_open(&records, path, max_line, max_file, err))
        return -1;
    data->path = xstrdup(path);
    int rc = read_records(data, &records, config, err);
    records_close(&records);
    if (rc)
        dataset_release(data);
    return rc;
}

int dataset_read(struct dataset *data, const char *path, const struct rows_config *config,
                 struct err *err)
{
    return dataset_from(data, path, NULL, 0, config, err);
}

int dataset_parse(struct dataset *data, const char *name, const char *bytes, size_t n,
                  const struct rows_config *config, struct err *err)
{
    return dataset_from(data, name, bytes, n, config, err);
}

void dataset_keep_group(struct dataset *data, const char *group)
{
    size_t n = 0;
    for (size_t i = 0; i < data->n; i++) {
        struct row row = data->rows[i];
        if (row.group && !strcmp(row.group, group))
            data->rows[n++] = row;
        else
            row_release(&row);
    }
    data->n = n;
}

void dataset_release(struct dataset *data)
{
    for (size_t i = 0; i < data->n; i++)
        row_release(&data->rows[i]);
    free(data->rows);
    for (size_t i = 0; i < data->report.n_texts; i++)
        free(data->report.texts[i]);
    free(data->path);
    free(data->format_name);
    *data = (struct dataset){0};
}

/* ---- hashes of rows ---- */

const char *row_prompt_text(const struct row *row)
{
    const struct row_part *p = &row->prompt;
    return p->n_messages ? p->messages[p->n_messages - 1].content : p->text ? p->text : "";
}

static void message_fields_json(struct buf *out, const struct message *m)
{
    const char *key;
    json_t *value;
    json_object_foreach(m->fields, key, value) {
        char *text = strcmp(key, "content") != 0 ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
        if (!text)
            continue;
        buf_str(out, ", ");
        buf_json_str(out, key, strlen(key));
        buf_str(out, ": ");
        buf_str(out, text);
        free(text);
    }
}

void row_part_json(struct buf *out, const struct row_part *p)
{
    if (p->text) {
        buf_json_str(out, p->text, strlen(p->text));
        return;
    }
    buf_str(out, "[");
    for (size_t i = 0; i < p->n_messages; i++) {
        buf_str(out, i ? ", {\"role\": " : "{\"role\": ");
        buf_json_str(out, p->messages[i].role, strlen(p->messages[i].role));
        buf_str(out, ", \"content\": ");
        if (json_object_get(p->messages[i].fields, "content"))
            buf_str(out, "null");
        else
            buf_json_str(out, p->messages[i].content, strlen(p->messages[i].content));
        message_fields_json(out, &p->messages[i]);
        buf_str(out, "}");
    }
    for (size_t i = 0; i < p->n_ids; i++)
        buf_printf(out, "%s%d", i ? ", " : "", p->ids[i]);
    buf_str(out, "]");
}

char *row_field_text(const struct row *row, const char *name)
{
    json_t *v = json_object_get(row->fields, name);
    if (json_is_string(v))
        return xstrndup(json_string_value(v), json_string_length(v));
    return json_is_number(v) ? json_dumps(v, JSON_ENCODE_ANY) : NULL;
}

uint32_t row_rng_key(const struct row *row)
{
    if (!row->id_given)
        return (uint32_t)row->line;
    char hash[65];
    sha256_hex(hash, row->id, strlen(row->id));
    hash[8] = 0;
    return (uint32_t)strtoul(hash, NULL, 16);
}

static void hash_prompt(char out[65], const struct row *row, bool opening)
{
    const struct row_part *part = &row->prompt;
    bool own = part->n_messages > row->system_added || part->text || part->n_ids ||
               row->n_completions == 0;
    bool skip_first = row->system_added && (own || part->n_messages == 0);
    if (!own)
        part = &row->completions[0];
    struct buf text;
    buf_init(&text, SIZE_MAX / 2);
    for (size_t i = 0; i < part->n_messages; i++) {
        if (i == 0 && skip_first)
            continue;
        if ((opening || !own) && i && !strcmp(part->messages[i].role, "assistant"))
            break;
        /* lengths keep the borders of the messages apart */
        buf_printf(&text, "%s %zu\n%s\n", part->messages[i].role, strlen(part->messages[i].content),
                   part->messages[i].content);
        message_fields_add(&text, &part->messages[i]);
    }
    if (part->text)
        buf_str(&text, part->text);
    for (size_t i = 0; i < part->n_ids; i++)
        buf_printf(&text, "%d ", part->ids[i]);
    sha256_hex(out, text.data, text.len);
    buf_release(&text);
}

void row_prompt_hash(char out[65], const struct row *row)
{
    hash_prompt(out, row, false);
}

void row_opening_hash(char out[65], const struct row *row)
{
    hash_prompt(out, row, true);
}
