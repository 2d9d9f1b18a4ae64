#include "data/chat.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "jinja/jinja.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/utf8.h"

#define MAX_TEMPLATE ((size_t)1 << 20)
#define MAX_CONFIG ((size_t)64 << 20)
#define MAX_TEXT ((size_t)1 << 30)

struct chat_template {
    struct jinja *jinja;
    json_t *variables;
    /* What conversations of our own show of it; see look_at(). */
    char *generation_prompt; /* NULL: it cannot be told */
    char *headers[2];        /* what stands before the last answer, and before one that is not, where that is
                              * something else */
    char *turn_end;
    char *default_system; /* NULL: none */
    char *default_part;   /* how it stands in front of the first message, within its round */
    char *problem;        /* why answers cannot be told; NULL: they can */
};

/* ---- messages and rows ---- */

bool message_needs_content(const json_t *record)
{
    const char *role = json_string_value(json_object_get(record, "role"));
    return !role || strcmp(role, "assistant") != 0 || json_array_size(json_object_get(record, "tool_calls")) == 0;
}

json_t *message_fields(const json_t *record)
{
    json_t *fields = json_object(), *value;
    const char *key;
    json_object_foreach((json_t *)record, key, value)
        if (strcmp(key, "role") != 0 && strcmp(key, "content") != 0 && !json_is_null(value))
            json_object_set(fields, key, value);
    if (!json_is_string(json_object_get(record, "content")))
        json_object_set_new(fields, "content", json_null());
    if (json_object_size(fields))
        return fields;
    json_decref(fields);
    return NULL;
}

void message_fields_add(struct buf *b, const struct message *m)
{
    char *text = m->fields ? json_dumps(m->fields, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    if (text) {
        buf_str(b, text);
        buf_str(b, "\n");
    }
    free(text);
}

int chat_row_variables(json_t **out, const json_t *record, struct err *err)
{
    static const char *const lists[] = {"tools", "documents"};
    json_t *variables = json_object(), *kwargs = json_object_get(record, "chat_template_kwargs");
    *out = NULL;
    for (size_t i = 0; i < 2; i++) {
        json_t *v = json_object_get(record, lists[i]), *parsed = NULL;
        if (json_is_string(v))
            v = parsed = json_loads(json_string_value(v), JSON_REJECT_DUPLICATES, NULL);
        else
            json_incref(v);
        if (json_is_array(v)) {
            json_object_set(variables, lists[i], v);
        } else if (parsed || !(json_is_null(v) || !json_object_get(record, lists[i]))) {
            json_decref(v);
            json_decref(variables);
            return err_set(err, "the field \"%s\" must be a list of objects", lists[i]);
        }
        json_decref(v);
    }
    if (kwargs && !json_is_null(kwargs) && !json_is_object(kwargs)) {
        json_decref(variables);
        return err_set(err, "the field \"chat_template_kwargs\" must be an object");
    }
    if (json_is_object(kwargs))
        json_object_update(variables, kwargs);
    if (json_object_size(variables))
        *out = variables;
    else
        json_decref(variables);
    return 0;
}

/* ---- rendering ---- */

/* Names that a message's reasoning is passed under, in the order in which transformers takes them. */
static void alias_reasoning(json_t *message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    json_t *reasoning = NULL;
    for (size_t i = 0; i < 3 && !reasoning; i++)
        reasoning = json_object_get(message, names[i]);
    if (reasoning && !json_object_get(message, "thinking"))
        json_object_set(message, "thinking", reasoning);
    if (reasoning)
        json_object_set(message, "reasoning_content", reasoning);
}

/* The message as the template sees it: fields that are null are not there. */
static json_t *message_json(const struct message *m)
{
    json_t *o = json_object(), *value;
    const char *key;
    json_object_set_new(o, "role", json_string_nocheck(m->role));
    if (!json_object_get(m->fields, "content"))
        json_object_set_new(o, "content", json_string_nocheck(m->content));
    json_object_foreach(m->fields, key, value)
        if (!json_is_null(value))
            json_object_set(o, key, value);
    alias_reasoning(o);
    return o;
}

static int check_roles(const struct message *messages, size_t n, struct err *err)
{
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    for (size_t i = 0; i < n; i++) {
        size_t role = 0;
        while (role < 4 && strcmp(messages[i].role, roles[role]) != 0)
            role++;
        if (role == 4)
            return err_set(err, "message %zu has the role '%.40s': only system, user, assistant and tool are known", i,
                           messages[i].role);
    }
    return 0;
}

static int render(const struct chat_template *t, const json_t *more, const struct message *messages, size_t n,
                  bool add_generation_prompt, struct jinja_marks *marks, struct buf *text, struct err *err)
{
    json_t *variables = json_object(), *list = json_array();
    json_object_set_new(variables, "tools", json_null());
    json_object_set_new(variables, "documents", json_null());
    json_object_update(variables, t->variables);
    if (more)
        json_object_update(variables, (json_t *)more);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, message_json(&messages[i]));
    json_object_set_new(variables, "messages", list);
    json_object_set_new(variables, "add_generation_prompt", json_boolean(add_generation_prompt));
    int rc = jinja_render(t->jinja, variables, "messages", marks, text, err);
    if (rc)
        err_prefix(err, "the chat template");
    json_decref(variables);
    return rc;
}

/* ---- who wrote what ---- */

static bool is_blank(const struct buf *text, const struct jinja_mark *m)
{
    size_t at = m->start;
    while (at < m->end && strchr(" \t\r\n", text->data[at]) && text->data[at])
        at++;
    return at == m->end;
}

/* The round of a loop in which a message was written.  A template may go through the messages several
 * times, but must write each in one round. */
struct place {
    size_t start, end;
    bool found, unclear;
};

static void find_places(struct place *places, size_t n, const struct jinja_marks *marks, const struct buf *text)
{
    size_t covered = 0;
    for (size_t i = 0; i < marks->n; i++) {
        const struct jinja_mark *m = &marks->data[i];
        if (m->kind != JINJA_ITEM || m->item >= n || is_blank(text, m))
            continue;
        struct place *p = &places[m->item];
        if (m->start < covered) { /* within another round */
            p->unclear = p->unclear || !(p->found && m->end <= p->end);
            continue;
        }
        p->unclear = p->unclear || p->found;
        p->found = true;
        p->start = m->start;
        p->end = covered = m->end;
    }
}

static bool begins(const struct buf *text, size_t at, size_t end, const char *word)
{
    size_t n = strlen(word);
    return end - at >= n && memcmp(text->data + at, word, n) == 0;
}

/* Where in the round of an assistant's message the answer begins. */
static int find_answer(const struct chat_template *t, const struct place *p, size_t message, const struct buf *text,
                       size_t *start, struct err *err)
{
    const char *words[] = {t->generation_prompt, t->headers[0], t->headers[1]};
    for (size_t i = 0; i < 3; i++) {
        if (!words[i])
            continue;
        size_t at = p->start;
        /* The first round may begin with other things: the first token, a system message. */
        while (message == 0 && at < p->end && !begins(text, at, p->end, words[i]))
            at++;
        if (begins(text, at, p->end, words[i])) {
            *start = at + strlen(words[i]);
            return 0;
        }
    }
    return err_set(err,
                   "it cannot be told where in message %zu the answer begins: the chat template writes "
                   "something else in front of it than its generation prompt",
                   message);
}

static void add_span(struct chat_spans *spans, size_t *at, size_t end, size_t message, enum chat_span_kind kind)
{
    if (end <= *at)
        return;
    ARRAY_GROW(spans->data, spans->n + 1, spans->capacity);
    spans->data[spans->n++] = (struct chat_span){*at, end, message, kind};
    *at = end;
}

/* The spans of one message, whose round ends at `end`; *g: the next generation block. */
static int add_message(struct chat_spans *spans, size_t *at, const struct chat_template *t, const struct message *m, size_t i,
                       const struct place *p, const struct jinja_marks *marks, size_t *g, bool needed, const struct buf *text,
                       struct err *err)
{
    size_t start = 0;
    struct err why;
    if (jinja_has_generation(t->jinja)) {
        for (; *g < marks->n && marks->data[*g].start < p->end; ++*g)
            if (marks->data[*g].kind == JINJA_GENERATION) {
                add_span(spans, at, marks->data[*g].start, i, CHAT_CONTEXT);
                add_span(spans, at, marks->data[*g].end, i, CHAT_ANSWER);
            }
    } else if (strcmp(m->role, "assistant") == 0) {
        if (find_answer(t, p, i, text, &start, &why) == 0) {
            add_span(spans, at, start, i, CHAT_CONTEXT);
            add_span(spans, at, p->end, i, CHAT_ANSWER);
        } else if (needed) {
            return err_set(err, "%s", why.text);
        }
    }
    add_span(spans, at, p->end, i, CHAT_CONTEXT);
    return 0;
}

/* first_needed: from which message on answers must be told. */
static int find_spans(struct chat_spans *spans, const struct chat_template *t, const struct message *messages, size_t n,
                      const struct jinja_marks *marks, size_t start, const struct buf *text, size_t first_needed,
                      struct err *err)
{
    struct place *places = xcalloc(n, sizeof *places);
    size_t at = start, g = 0;
    int rc = 0;
    find_places(places, n, marks, text);
    bool hopeless = t->problem && !jinja_has_generation(t->jinja);
    for (size_t i = first_needed; rc == 0 && i < n; i++)
        if (strcmp(messages[i].role, "assistant") == 0 && (hopeless || !places[i].found || places[i].unclear))
            rc = err_set(err, "it cannot be told what of the text is message %zu: %s", i,
                         t->problem          ? t->problem
                         : places[i].unclear ? "the chat template writes it in several places"
                                             : "the chat template leaves it out");
    if (rc == 0 && first_needed < n && marks->hidden)
        rc = err_set(err, "the chat template has {%% generation %%} within a macro or a set block: it "
                          "cannot be told what of the text that is");
    for (size_t k = 0; rc == 0 && k < marks->n; k++) {
        const struct jinja_mark *m = &marks->data[k];
        if (m->kind != JINJA_ITEM || m->item >= n || !places[m->item].found || places[m->item].unclear ||
            places[m->item].start != m->start || places[m->item].end != m->end || m->start < at)
            continue;
        size_t i = m->item;
        add_span(spans, &at, m->start, CHAT_NO_MESSAGE, CHAT_CONTEXT);
        if (i == 0 && t->default_part && strcmp(messages[0].role, "system") != 0 && begins(text, at, m->end, t->default_part))
            add_span(spans, &at, at + strlen(t->default_part), CHAT_NO_MESSAGE, CHAT_CONTEXT);
        rc = add_message(spans, &at, t, &messages[i], i, &places[i], marks, &g, i >= first_needed, text, err);
    }
    add_span(spans, &at, text->len, CHAT_NO_MESSAGE, CHAT_CONTEXT);
    free(places);
    return rc;
}

/* ---- what a template does, seen by what it makes of conversations of our own ---- */

#define SYSTEM_SAYS "hone-system-words"
#define USER_SAYS "hone-user-words"
#define ANSWER_SAYS "hone-answer-words"

struct look {
    struct buf text;
    struct jinja_marks marks;
    struct place places[3];
    struct err err;
    bool done;
};

static void look_at(struct look *l, const struct chat_template *t, const struct message *messages, size_t n,
                    bool add_generation_prompt)
{
    memset(l, 0, sizeof *l);
    buf_init(&l->text, MAX_TEMPLATE);
    l->done = render(t, NULL, messages, n, add_generation_prompt, &l->marks, &l->text, &l->err) == 0;
    if (l->done)
        find_places(l->places, n, &l->marks, &l->text);
}

static void look_end(struct look *l)
{
    buf_release(&l->text);
    jinja_marks_release(&l->marks);
}

static char *without_space(const char *s, size_t n)
{
    static const char space[] = " \t\r\n";
    while (n && strchr(space, s[n - 1]))
        n--;
    while (n && strchr(space, *s)) {
        s++;
        n--;
    }
    return xstrndup(s, n);
}

/* What is written in the round of the second message, an answer, before its words; NULL: it is not there.
 * *after, *n_after: what comes after them. */
static char *before_answer(const struct look *l, const char **after, size_t *n_after)
{
    const struct place *p = &l->places[1];
    if (!l->done || !p->found || p->unclear)
        return NULL;
    const char *from = l->text.data + p->start, *end = l->text.data + p->end, *words = strstr(from, ANSWER_SAYS);
    if (!words || words >= end)
        return NULL;
    *after = words + strlen(ANSWER_SAYS);
    *n_after = (size_t)(end - *after);
    return xstrndup(from, (size_t)(words - from));
}

/* What the render that asks has after the user's message, which some templates write in its round: that is as long as
 * where an answer follows it.  NULL: it cannot be told. */
static char *after_question(const struct look *ask, const struct look *told)
{
    const struct place *p = &ask->places[0], *plain = &told->places[0];
    if (!ask->done || !p->found || p->unclear)
        return NULL;
    size_t end = p->end, n = plain->end - plain->start;
    if (told->done && plain->found && !plain->unclear && n <= p->end - p->start &&
        memcmp(ask->text.data + p->start, told->text.data + plain->start, n) == 0)
        end = p->start + n;
    return xstrndup(ask->text.data + end, ask->text.len - end);
}

static void learn_answers(struct chat_template *t, const struct message *user, const struct message *answer)
{
    const struct message talk[3] = {*user, *answer, *user};
    struct look ask, told, more;
    const char *after;
    size_t n_after;
    look_at(&ask, t, talk, 1, true);
    look_at(&told, t, talk, 2, false);
    look_at(&more, t, talk, 3, false);
    t->generation_prompt = after_question(&ask, &told);
    t->headers[1] = before_answer(&more, &after, &n_after);
    t->headers[0] = before_answer(&told, &after, &n_after);
    if (t->headers[0]) {
        t->turn_end = without_space(after, n_after);
    } else if (!told.done) {
        t->problem = xasprintf("%.400s", told.err.text);
    } else {
        t->problem = xstrdup("the chat template does not write it in a loop over the messages");
    }
    if (!t->turn_end)
        t->turn_end = xstrdup("");
    look_end(&ask);
    look_end(&told);
    look_end(&more);
}

/* What stands where a system message would stand, in a conversation that has none. */
static void learn_default_system(struct chat_template *t, const struct message *system, const struct message *user)
{
    const struct message talk[2] = {*system, *user};
    struct look with, without;
    look_at(&with, t, talk, 2, false);
    look_at(&without, t, talk + 1, 1, false);
    const char *words = with.done && without.done ? strstr(with.text.data, SYSTEM_SAYS) : NULL;
    size_t before = words ? (size_t)(words - with.text.data) : 0;
    size_t after = words ? with.text.len - before - strlen(SYSTEM_SAYS) : 0;
    if (words && without.text.len > before + after && memcmp(without.text.data, with.text.data, before) == 0 &&
        memcmp(without.text.data + without.text.len - after, words + strlen(SYSTEM_SAYS), after) == 0) {
        t->default_system = xstrndup(without.text.data + before, without.text.len - before - after);
        const struct place *alone = &without.places[0], *second = &with.places[1];
        size_t whole = alone->end - alone->start, own = second->end - second->start;
        if (alone->found && second->found && whole > own &&
            memcmp(without.text.data + alone->end - own, with.text.data + second->start, own) == 0)
            t->default_part = xstrndup(without.text.data + alone->start, whole - own);
    }
    look_end(&with);
    look_end(&without);
}

static void forget(struct chat_template *t)
{
    free(t->generation_prompt);
    free(t->headers[0]);
    free(t->headers[1]);
    free(t->turn_end);
    free(t->default_system);
    free(t->default_part);
    free(t->problem);
    t->generation_prompt = t->headers[0] = t->headers[1] = t->turn_end = t->default_system = t->default_part = t->problem =
        NULL;
}

static void learn(struct chat_template *t)
{
    char roles[3][10] = {"system", "user", "assistant"};
    char words[3][20] = {SYSTEM_SAYS, USER_SAYS, ANSWER_SAYS};
    const struct message system = {roles[0], words[0], NULL}, user = {roles[1], words[1], NULL},
                         answer = {roles[2], words[2], NULL};
    forget(t);
    learn_answers(t, &user, &answer);
    learn_default_system(t, &system, &user);
}

/* ---- templates ---- */

/* The first words of a template, on one line. */
static void name_template(const char *text, size_t n, struct err *err)
{
    char words[61];
    size_t len = n < sizeof words - 1 ? n : sizeof words - 1;
    for (size_t i = 0; i < len; i++)
        words[i] = text[i] == '\n' || text[i] == '\r' || !text[i] ? ' ' : text[i];
    words[utf8_complete_len(words, len)] = 0;
    err_prefix(err, "the chat template that starts '%s'", words);
}

struct chat_template *chat_template_new(const char *text, size_t n, struct err *err)
{
    if (n == 0 || n > MAX_TEMPLATE) {
        err_set(err, n ? "the chat template has %zu bytes, more than %zu" : "the chat template is empty", n, MAX_TEMPLATE);
        return NULL;
    }
    struct jinja *jinja = jinja_new(text, n, err);
    if (!jinja) {
        name_template(text, n, err);
        return NULL;
    }
    struct chat_template *t = xcalloc(1, sizeof *t);
    t->jinja = jinja;
    t->variables = json_object();
    learn(t);
    return t;
}

void chat_template_free(struct chat_template *t)
{
    if (!t)
        return;
    forget(t);
    json_decref(t->variables);
    jinja_free(t->jinja);
    free(t);
}

void chat_template_set(struct chat_template *t, const char *name, json_t *value)
{
    json_object_set_new(t->variables, name, value);
    learn(t);
}

/* A string, or a list of named templates, of which "default" is taken. */
static const json_t *find_in_config(const json_t *root)
{
    const json_t *value = json_object_get(root, "chat_template");
    size_t i;
    json_t *named;
    json_array_foreach((json_t *)value, i, named) {
        const char *name = json_string_value(json_object_get(named, "name"));
        if (name && strcmp(name, "default") == 0)
            return json_object_get(named, "template");
    }
    return value;
}

/* The special tokens that a folder's file names, as text or as {"content": text}. */
static void set_tokens(struct chat_template *t, const json_t *root)
{
    static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_t *token = json_object_get(root, names[i]);
        if (json_is_object(token))
            token = json_object_get(token, "content");
        if (json_is_string(token))
            json_object_set(t->variables, names[i], token);
    }
    learn(t);
}

/* NULL where the file is not there or no JSON: the tokenizer says so. */
static json_t *read_json(const char *folder, const char *name, struct err *err)
{
    char *path = path_join(folder, name);
    struct buf text;
    json_t *root = NULL;
    json_error_t why;
    buf_init(&text, MAX_CONFIG);
    if (!file_exists(path))
        err_set(err, "'%s' is not there", path);
    else if (!file_read(path, &text, err)) {
        /* model_max_length may be 10^30, which is no integer to jansson. */
        root = json_loadb(text.data, text.len, JSON_DECODE_INT_AS_REAL, &why);
        if (!root)
            err_set(err, "'%s' line %d: %s", path, why.line, why.text);
    }
    buf_release(&text);
    free(path);
    return root;
}

/* The text of a folder's template, and its tokenizer_config.json (owned; NULL where there is none): 1, 0 where there is no template, -1. */
static int read_source(struct buf *out, json_t **config, const char *folder, struct err *err)
{
    char *path = path_join(folder, "chat_template.jinja"), *config_path = path_join(folder, "tokenizer_config.json");
    struct err why = {""};
    bool has_config = file_exists(config_path);
    int rc = 0;
    buf_clear(out);
    *config = has_config ? read_json(folder, "tokenizer_config.json", &why) : NULL;
    const json_t *value = find_in_config(*config);
    if (file_exists(path)) {
        rc = file_read(path, out, err) ? -1 : 1;
    } else if (has_config && !*config) {
        rc = err_set(err, "%s", why.text);
    } else if (json_is_string(value)) {
        buf_add(out, json_string_value(value), json_string_length(value));
        rc = 1;
    }
    if (rc == 1 && out->overflow)
        rc = err_set(err, "the chat template of '%s' is longer than %zu bytes", folder, out->ceiling);
    free(path);
    free(config_path);
    return rc;
}

int chat_template_source(struct buf *out, const char *folder, struct err *err)
{
    json_t *config;
    int rc = read_source(out, &config, folder, err);
    json_decref(config);
    return rc;
}

struct chat_template *chat_template_open(const char *folder, struct err *err)
{
    struct chat_template *t = NULL;
    struct buf text;
    json_t *config;
    buf_init(&text, MAX_TEMPLATE);
    int found = read_source(&text, &config, folder, err);
    if (found == 0)
        err_set(err, "'%s' has no chat template: there is no chat_template.jinja, and no chat_template in a tokenizer_config.json", folder);
    if (found > 0 && !(t = chat_template_new(text.data, text.len, err))) {
        char *own = path_join(folder, "chat_template.jinja");
        err_prefix(err, "'%s/%s'", folder, file_exists(own) ? "chat_template.jinja" : "tokenizer_config.json");
        free(own);
    }
    if (t) {
        json_t *map = read_json(folder, "special_tokens_map.json", NULL);
        set_tokens(t, config);
        set_tokens(t, map);
        json_decref(map);
    }
    json_decref(config);
    buf_release(&text);
    return t;
}

const char *chat_turn_end(const struct chat_template *t)
{
    return t->turn_end;
}

const char *chat_generation_prompt(const struct chat_template *t)
{
    return t->generation_prompt;
}

const char *chat_default_system(const struct chat_template *t)
{
    return t->default_system;
}

const char *chat_spans_problem(const struct chat_template *t)
{
    return t->problem;
}

/* ---- conversations ---- */

void chat_spans_release(struct chat_spans *spans)
{
    free(spans->data);
    *spans = (struct chat_spans){0};
}

static int render_spans(const struct chat_template *t, const json_t *variables, const struct message *messages, size_t n,
                        bool add_generation_prompt, size_t first_needed, struct chat_spans *spans, struct buf *text,
                        struct err *err)
{
    struct jinja_marks marks = {0};
    size_t start = text->len;
    int rc = check_roles(messages, n, err);
    if (rc == 0)
        rc = render(t, variables, messages, n, add_generation_prompt, spans ? &marks : NULL, text, err);
    if (rc == 0 && spans)
        rc = find_spans(spans, t, messages, n, &marks, start, text, first_needed, err);
    jinja_marks_release(&marks);
    return rc;
}

int chat_render_with(const struct chat_template *t, const json_t *variables, const struct message *messages, size_t n,
                     bool add_generation_prompt, struct chat_spans *spans, struct buf *text, struct err *err)
{
    return render_spans(t, variables, messages, n, add_generation_prompt, 0, spans, text, err);
}

int chat_render(const struct chat_template *t, const struct message *messages, size_t n, bool add_generation_prompt,
                struct chat_spans *spans, struct buf *text, struct err *err)
{
    return chat_render_with(t, NULL, messages, n, add_generation_prompt, spans, text, err);
}

int chat_encode_with(const struct chat_template *t, const struct tokenizer *tokenizer, const json_t *variables,
                     const struct message *messages, size_t n, bool add_generation_prompt, size_t first_trained,
                     struct ids *ids, struct buf *mask, struct err *err)
{
    struct buf text;
    struct chat_spans spans = {0};
    buf_init(&text, MAX_TEXT);
    int result = render_spans(t, variables, messages, n, add_generation_prompt, mask ? first_trained : n, &spans, &text, err);
    for (size_t i = 0, next; result == 0 && i < spans.n; i = next) {
        /* Neighbours of one kind are one piece: only answers have borders. */
        const struct chat_span *span = &spans.data[i];
        for (next = i + 1; next < spans.n && spans.data[next].kind == span->kind &&
                           (span->kind == CHAT_CONTEXT || spans.data[next].message == span->message);
             next++)
            continue;
        size_t n_before = ids->n;
        int previous = i && ids->n ? ids->data[ids->n - 1] : -1;
        result = tokenizer_encode_after(tokenizer, ids, previous, text.data + span->start,
                                        spans.data[next - 1].end - span->start, err);
        char trained = span->kind == CHAT_ANSWER && span->message >= first_trained;
        for (size_t k = n_before; mask && k < ids->n; k++)
            buf_add(mask, &trained, 1);
    }
    if (result == 0 && mask && mask->overflow)
        result = err_set(err, "the conversation has more tokens than the mask can hold: %zu", mask->ceiling);
    chat_spans_release(&spans);
    buf_release(&text);
    return result;
}

int chat_encode(const struct chat_template *t, const struct tokenizer *tokenizer, const struct message *messages, size_t n,
                bool add_generation_prompt, size_t first_trained, struct ids *ids, struct buf *mask, struct err *err)
{
    return chat_encode_with(t, tokenizer, NULL, messages, n, add_generation_prompt, first_trained, ids, mask, err);
}
