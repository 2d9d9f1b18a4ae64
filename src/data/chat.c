#include "data/chat.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "util/file.h"
#include "util/mem.h"
#include "util/utf8.h"

#define MAX_TEMPLATE ((size_t)1 << 20)
#define MAX_CONFIG ((size_t)64 << 20)
#define MAX_TEXT ((size_t)1 << 30)

static const char turn_start[] = "<|im_start|>", turn_end[] = "<|im_end|>";

struct chat_template {
    char *default_system; /* NULL: none */
};

/* Reading a template.
 *
 * Jinja is text with {{ expressions }}, {% statements %} and {# comments #}.  What a ChatML
 * template writes is collected by region, with a placeholder for each message's role and content,
 * and must come out as ChatML; its statements must be those of next_region().  transformers runs
 * Jinja with trim_blocks and lstrip_blocks: a line break after a statement and spaces before one at
 * the start of a line are not text. */
#define ROLE "\001"
#define CONTENT "\002"

enum region { BEFORE, GUARD, LOOP, DEFAULT_SYSTEM, AFTER, GENERATION, N_REGIONS };

struct token {
    enum { NAME, STRING, SIGN } kind;
    size_t at, len; /* in the reader's `words`; of a string, without its quotes */
};

#define MAX_TOKENS 32 /* in a tag; ChatML's longest statement has 14 */

struct reader {
    const char *s, *end; /* what is left of the template */
    enum region region;
    struct buf out[N_REGIONS];
    struct token tokens[MAX_TOKENS]; /* of the tag being read; a.b is read as a['b'] */
    size_t n_tokens;
    struct buf words;
};

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool add_token(struct reader *r, int kind, const char *word, size_t len)
{
    if (r->n_tokens == MAX_TOKENS)
        return false;
    r->tokens[r->n_tokens++] = (struct token){.kind = kind, .at = r->words.len, .len = len};
    buf_add(&r->words, word, len);
    return true;
}

/* The string literal at r->s. */
static bool read_string(struct reader *r)
{
    static const char names[] = "nrt\\'\"", values[] = "\n\r\t\\'\"";
    char quote = *r->s++;
    if (!add_token(r, STRING, "", 0))
        return false;
    for (; r->s < r->end && *r->s != quote; r->s++) {
        char c = *r->s;
        if (c == '\\') {
            const char *name = ++r->s < r->end && *r->s ? strchr(names, *r->s) : NULL;
            if (!name)
                return false;
            c = values[name - names];
        }
        buf_add(&r->words, &c, 1);
        r->tokens[r->n_tokens - 1].len++;
    }
    return r->s++ < r->end;
}

static bool read_name(struct reader *r)
{
    bool is_field = *r->s == '.';
    const char *name = r->s += is_field;
    while (r->s < r->end && is_name_char(*r->s))
        r->s++;
    if (!is_field)
        return add_token(r, NAME, name, (size_t)(r->s - name));
    return add_token(r, SIGN, "[", 1) && add_token(r, STRING, name, (size_t)(r->s - name)) &&
           add_token(r, SIGN, "]", 1);
}

static bool at_tag_end(const struct reader *r, char kind)
{
    const char *s = r->s;
    if (s < r->end && (*s == '-' || *s == '+'))
        s++;
    return r->end - s >= 2 && s[0] == kind && s[1] == '}';
}

/* Read the tokens of a tag, up to its end. */
static bool read_tokens(struct reader *r, char kind)
{
    r->n_tokens = 0;
    buf_clear(&r->words);
    while (!at_tag_end(r, kind)) {
        if (r->s == r->end)
            return false;
        bool ok = true;
        if (is_space(*r->s)) {
            r->s++;
        } else if (*r->s == '\'' || *r->s == '"') {
            ok = read_string(r);
        } else if (is_name_char(*r->s) || *r->s == '.') {
            ok = read_name(r);
        } else {
            size_t len = r->end - r->s >= 2 && r->s[1] == '=' && strchr("=!<>", *r->s) ? 2 : 1;
            ok = add_token(r, SIGN, r->s, len);
            r->s += len;
        }
        if (!ok)
            return false;
    }
    return true;
}

/* Are the n tokens from `first` on these?  Written with a space between, strings in single quotes.
 */
static bool tokens_are(const struct reader *r, size_t first, size_t n, const char *expected)
{
    if (first > r->n_tokens || n > r->n_tokens - first)
        return false;
    for (size_t i = first; i < first + n; i++) {
        const struct token *t = &r->tokens[i];
        size_t len = strcspn(expected, " ");
        bool quoted = *expected == '\'';
        if (quoted != (t->kind == STRING) || t->len + 2 * quoted != len ||
            memcmp(r->words.data + t->at, expected + quoted, t->len) != 0)
            return false;
        expected += len;
        expected += *expected == ' ';
    }
    return !*expected;
}

/* What an expression writes: strings, the message's role and its content, put together with + or ~.
 */
static bool read_expression(struct reader *r)
{
    struct buf *out = &r->out[r->region];
    for (size_t i = 0; i < r->n_tokens; i++) {
        if (r->tokens[i].kind == STRING) {
            buf_add(out, r->words.data + r->tokens[i].at, r->tokens[i].len);
            i++;
        } else if (tokens_are(r, i, 4, "message [ 'role' ]")) {
            buf_str(out, ROLE);
            i += 4;
        } else if (tokens_are(r, i, 4, "message [ 'content' ]")) {
            buf_str(out, CONTENT);
            i += 4;
        } else {
            return false;
        }
        if (i == r->n_tokens)
            return true;
        if (!tokens_are(r, i, 1, "+") && !tokens_are(r, i, 1, "~"))
            return false;
    }
    return false;
}

/* Where a statement leads. */
static bool next_region(struct reader *r)
{
    static const struct {
        enum region from;
        const char *statement;
        enum region to;
    } known[] = {
        {BEFORE, "if not add_generation_prompt is defined", GUARD},
        {GUARD, "set add_generation_prompt = false", GUARD},
        {GUARD, "endif", BEFORE},
        {BEFORE, "for message in messages", LOOP},
        {LOOP, "if loop [ 'first' ] and messages [ 0 ] [ 'role' ] != 'system'", DEFAULT_SYSTEM},
        {DEFAULT_SYSTEM, "endif", LOOP},
        {LOOP, "endfor", AFTER},
        {AFTER, "if add_generation_prompt", GENERATION},
        {GENERATION, "endif", AFTER},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].from == r->region && tokens_are(r, 0, r->n_tokens, known[i].statement)) {
            /* The default system message stands in front of all else that the loop writes, and
             * once. */
            if (known[i].to == DEFAULT_SYSTEM && (r->out[LOOP].len || r->out[DEFAULT_SYSTEM].len))
                return false;
            r->region = known[i].to;
            return true;
        }
    return false;
}

/* Where the next tag begins, or the end. */
static const char *find_tag(const struct reader *r)
{
    const char *s = r->s;
    while (r->end - s >= 2 && !(s[0] == '{' && (s[1] == '{' || s[1] == '%' || s[1] == '#')))
        s++;
    return r->end - s >= 2 ? s : r->end;
}

/* The text before a tag (or the end): what of it is written. */
static bool read_text(struct reader *r, const char *tag, bool line_starts)
{
    const char *text = r->s, *end = tag;
    bool has_tag = tag < r->end;
    char modifier = has_tag && r->end - tag > 2 ? tag[2] : 0;
    if (has_tag && modifier == '-') {
        while (end > text && is_space(end[-1]))
            end--;
    } else if (has_tag && tag[1] != '{' && modifier != '+') {
        const char *s = end;
        while (s > text && (s[-1] == ' ' || s[-1] == '\t'))
            s--;
        if (s > text ? s[-1] == '\n' : line_starts)
            end = s;
    }
    for (const char *s = text; s < end; s++)
        if (*s == *ROLE || *s == *CONTENT)
            return false;
    buf_add(&r->out[r->region], text, (size_t)(end - text));
    return true;
}

static bool read_template(struct reader *r)
{
    bool line_starts = true;
    while (r->s < r->end) {
        const char *tag = find_tag(r);
        if (!read_text(r, tag, line_starts))
            return false;
        if (tag == r->end)
            break;
        char kind = tag[1] == '{' ? '}' : tag[1];
        r->s = tag + 2;
        if (r->s < r->end && (*r->s == '-' || *r->s == '+'))
            r->s++;
        if (kind == '#') {
            while (r->s < r->end && !at_tag_end(r, kind))
                r->s++;
            if (r->s == r->end)
                return false;
        } else if (!read_tokens(r, kind) || !(kind == '%' ? next_region(r) : read_expression(r))) {
            return false;
        }
        char modifier = *r->s;
        r->s += modifier == '-' || modifier == '+' ? 3 : 2;
        if (modifier == '-')
            while (r->s < r->end && is_space(*r->s))
                r->s++;
        else if (kind != '}' && modifier != '+' && r->s < r->end && *r->s == '\n')
            r->s++;
        line_starts = r->s[-1] == '\n';
    }
    return r->region == AFTER;
}

static bool starts_with(const char *s, const char *start)
{
    return strncmp(s, start, strlen(start)) == 0;
}

/* Is what was read ChatML?  *default_system: a fresh string, or NULL. */
static bool is_chatml(const struct reader *r, char **default_system)
{
    static const char loop[] = "<|im_start|>" ROLE "\n" CONTENT "<|im_end|>\n";
    static const char system_start[] = "<|im_start|>system\n", system_end[] = "<|im_end|>\n";
    const struct buf *system = &r->out[DEFAULT_SYSTEM];
    if (r->out[BEFORE].len || r->out[GUARD].len || r->out[AFTER].len ||
        strcmp(r->out[LOOP].data, loop) != 0 ||
        strcmp(r->out[GENERATION].data, "<|im_start|>assistant\n") != 0)
        return false;
    for (int i = 0; i < N_REGIONS; i++)
        if (strlen(r->out[i].data) != r->out[i].len)
            return false;
    *default_system = NULL;
    if (system->len == 0)
        return true;
    size_t around = sizeof system_start - 1 + sizeof system_end - 1;
    if (system->len < around || !starts_with(system->data, system_start) ||
        strpbrk(system->data, ROLE CONTENT) ||
        strcmp(system->data + system->len - (sizeof system_end - 1), system_end) != 0)
        return false;
    *default_system = xstrndup(system->data + sizeof system_start - 1, system->len - around);
    return true;
}

/* The first words of a template, on one line. */
static void refuse(const char *text, size_t n, struct err *err)
{
    char words[61];
    size_t len = n < sizeof words - 1 ? n : sizeof words - 1;
    for (size_t i = 0; i < len; i++)
        words[i] = text[i] == '\n' || text[i] == '\r' || !text[i] ? ' ' : text[i];
    words[utf8_complete_len(words, len)] = 0;
    err_set(err,
            "the chat template that starts '%s' is not supported: ChatML (<|im_start|>role .. "
            "<|im_end|>) is what is supported so far",
            words);
}

struct chat_template *chat_template_new(const char *text, size_t n, struct err *err)
{
    if (n == 0 || n > MAX_TEMPLATE) {
        err_set(err,
                n ? "the chat template has %zu bytes, more than %zu" : "the chat template is empty",
                n, MAX_TEMPLATE);
        return NULL;
    }
    /* Jinja reads every line break as \n, and drops one at the end. */
    struct buf lines;
    buf_init(&lines, MAX_TEMPLATE);
    for (size_t i = 0; i < n; i++)
        if (text[i] != '\r')
            buf_add(&lines, text + i, 1);
        else if (i + 1 == n || text[i + 1] != '\n')
            buf_add(&lines, "\n", 1);
    if (lines.len && lines.data[lines.len - 1] == '\n')
        lines.len--;

    struct reader r = {.s = lines.data, .end = lines.data + lines.len, .region = BEFORE};
    for (int i = 0; i < N_REGIONS; i++)
        buf_init(&r.out[i], MAX_TEMPLATE);
    buf_init(&r.words, MAX_TEMPLATE);
    struct chat_template *t = NULL;
    char *default_system;
    if (read_template(&r) && is_chatml(&r, &default_system)) {
        t = xmalloc(sizeof *t);
        t->default_system = default_system;
    } else {
        refuse(text, n, err);
    }
    for (int i = 0; i < N_REGIONS; i++)
        buf_release(&r.out[i]);
    buf_release(&r.words);
    buf_release(&lines);
    return t;
}

void chat_template_free(struct chat_template *t)
{
    if (!t)
        return;
    free(t->default_system);
    free(t);
}

/* chat_template of tokenizer_config.json: a string, or [{"name": "default", "template": ".."}, ..].
 */
static const json_t *find_in_config(const json_t *root)
{
    const json_t *value = json_object_get(root, "chat_template");
    size_t i;
    json_t *named;
    json_array_foreach((json_t *)value, i, named)
    {
        const char *name = json_string_value(json_object_get(named, "name"));
        if (name && strcmp(name, "default") == 0)
            return json_object_get(named, "template");
    }
    return value;
}

static struct chat_template *from_config(const char *path, struct err *err)
{
    struct buf text;
    buf_init(&text, MAX_CONFIG);
    struct chat_template *t = NULL;
    json_t *root = NULL;
    if (file_read(path, &text, err))
        goto out;
    json_error_t why;
    /* model_max_length may be 10^30, which is no integer to jansson. */
    root = json_loadb(text.data, text.len, JSON_DECODE_INT_AS_REAL, &why);
    if (!root) {
        err_set(err, "'%s' line %d: %s", path, why.line, why.text);
        goto out;
    }
    const json_t *value = find_in_config(root);
    if (!json_is_string(value)) {
        err_set(err, "'%s' has no chat_template, and there is no chat_template.jinja beside it",
                path);
        goto out;
    }
    t = chat_template_new(json_string_value(value), json_string_length(value), err);
    if (!t)
        err_prefix(err, "'%s'", path);
out:
    json_decref(root);
    buf_release(&text);
    return t;
}

static struct chat_template *from_jinja(const char *path, struct err *err)
{
    struct buf text;
    buf_init(&text, MAX_TEMPLATE);
    struct chat_template *t = NULL;
    if (!file_read(path, &text, err)) {
        t = chat_template_new(text.data, text.len, err);
        if (!t)
            err_prefix(err, "'%s'", path);
    }
    buf_release(&text);
    return t;
}

struct chat_template *chat_template_open(const char *folder, struct err *err)
{
    char *jinja = path_join(folder, "chat_template.jinja"),
         *config = path_join(folder, "tokenizer_config.json");
    struct chat_template *t = NULL;
    if (file_exists(jinja))
        t = from_jinja(jinja, err);
    else if (file_exists(config))
        t = from_config(config, err);
    else
        err_set(err,
                "'%s' has no chat template: neither chat_template.jinja nor tokenizer_config.json "
                "is there",
                folder);
    free(jinja);
    free(config);
    return t;
}

const char *chat_turn_end(const struct chat_template *t)
{
    (void)t;
    return turn_end;
}

const char *chat_default_system(const struct chat_template *t)
{
    return t->default_system;
}

void chat_spans_release(struct chat_spans *spans)
{
    free(spans->data);
    *spans = (struct chat_spans){0};
}

/* The text from the last span's end (or `start`, where there is none yet) to here is one. */
static void end_span(struct chat_spans *spans, size_t *start, const struct buf *text,
                     size_t message, enum chat_span_kind kind)
{
    if (spans) {
        ARRAY_GROW(spans->data, spans->n + 1, spans->capacity);
        spans->data[spans->n++] = (struct chat_span){*start, text->len, message, kind};
    }
    *start = text->len;
}

static void add_header(struct buf *text, const char *role)
{
    buf_str(text, turn_start);
    buf_str(text, role);
    buf_str(text, "\n");
}

static void add_content(struct buf *text, const char *content)
{
    buf_str(text, content);
    buf_str(text, turn_end);
    buf_str(text, "\n");
}

int chat_render(const struct chat_template *t, const struct message *messages, size_t n,
                bool add_generation_prompt, struct chat_spans *spans, struct buf *text,
                struct err *err)
{
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    for (size_t i = 0; i < n; i++) {
        size_t role = 0;
        while (role < 4 && strcmp(messages[i].role, roles[role]) != 0)
            role++;
        if (role == 4)
            return err_set(
                err,
                "message %zu has the role '%.40s': only system, user, assistant and tool are known",
                i, messages[i].role);
    }
    size_t start = text->len;
    if (n && t->default_system && strcmp(messages[0].role, "system") != 0) {
        add_header(text, "system");
        add_content(text, t->default_system);
        end_span(spans, &start, text, CHAT_NO_MESSAGE, CHAT_CONTEXT);
    }
    for (size_t i = 0; i < n; i++) {
        bool is_answer = strcmp(messages[i].role, "assistant") == 0;
        add_header(text, messages[i].role);
        if (is_answer)
            end_span(spans, &start, text, i, CHAT_CONTEXT);
        add_content(text, messages[i].content);
        end_span(spans, &start, text, i, is_answer ? CHAT_ANSWER : CHAT_CONTEXT);
    }
    if (add_generation_prompt) {
        add_header(text, "assistant");
        end_span(spans, &start, text, CHAT_NO_MESSAGE, CHAT_CONTEXT);
    }
    if (text->overflow)
        return err_set(err, "the conversation is longer than %zu bytes", text->ceiling);
    return 0;
}

int chat_encode(const struct chat_template *t, const struct tokenizer *tokenizer,
                const struct message *messages, size_t n, bool add_generation_prompt,
                size_t first_trained, struct ids *ids, struct buf *mask, struct err *err)
{
    struct buf text;
    struct chat_spans spans = {0};
    buf_init(&text, MAX_TEXT);
    int result = chat_render(t, messages, n, add_generation_prompt, &spans, &text, err);
    for (size_t i = 0, next; result == 0 && i < spans.n; i = next) {
        /* Neighbours of one kind are one piece: only answers have borders. */
        const struct chat_span *span = &spans.data[i];
        for (next = i + 1; next < spans.n && spans.data[next].kind == span->kind; next++)
            continue;
        size_t n_before = ids->n;
        result = tokenizer_encode(tokenizer, ids, text.data + span->start,
                                  spans.data[next - 1].end - span->start, err);
        char trained = span->kind == CHAT_ANSWER && span->message >= first_trained;
        for (size_t k = n_before; mask && k < ids->n; k++)
            buf_add(mask, &trained, 1);
    }
    if (result == 0 && mask && mask->overflow)
        result = err_set(err, "the conversation has more tokens than the mask can hold: %zu",
                         mask->ceiling);
    chat_spans_release(&spans);
    buf_release(&text);
    return result;
}
