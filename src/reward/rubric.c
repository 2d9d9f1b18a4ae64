#include "reward/rubric.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <yaml.h>

#include "util/textstats.h"
#include "util/file.h"
#include "util/mem.h"

/* Aliases can make a small file mean a large rubric. */
enum { MAX_BYTES = 1 << 20, MAX_CHECKS = 1000, MAX_CONDITIONS = 10000, MAX_PATTERNS = 10000 };

/* What a pattern may cost on one text: well above any sane use, far below a second. */
enum { MATCH_LIMIT = 1000000, HEAP_LIMIT_KIB = 16384 };

struct patterns {
    pcre2_code **code;
    size_t n, capacity;
};

enum scope { SCOPE_ANSWER, SCOPE_FIRST_SENTENCE, SCOPE_LAST_SENTENCE };

struct condition {
    enum scope scope;
    size_t min_words, max_words;
    struct patterns must, must_not;
};

struct check {
    char *name;
    struct patterns when, unless;
    struct condition *conditions;
    size_t n, capacity;
};

struct rubric {
    struct check *checks;
    size_t n, capacity, conditions, patterns;
    pcre2_match_context *limits;
};

static void patterns_release(struct patterns *p)
{
    for (size_t i = 0; i < p->n; i++)
        pcre2_code_free(p->code[i]);
    free(p->code);
}

void rubric_free(struct rubric *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n; i++) {
        struct check *c = &r->checks[i];
        for (size_t k = 0; k < c->n; k++) {
            patterns_release(&c->conditions[k].must);
            patterns_release(&c->conditions[k].must_not);
        }
        patterns_release(&c->when);
        patterns_release(&c->unless);
        free(c->conditions);
        free(c->name);
    }
    free(r->checks);
    pcre2_match_context_free(r->limits);
    free(r);
}

/* ---- reading ---- */

struct reader {
    struct rubric *r;
    yaml_document_t doc;
    const char *name;
    struct err *err;
};

#define COMPLAIN(reader, node, ...)                                                                \
    (err_set((reader)->err, __VA_ARGS__),                                                          \
     err_prefix((reader)->err, "'%s' line %zu", (reader)->name, (node)->start_mark.line + 1))

/* The text of a scalar, or NULL: a list, a mapping, or text with a 0 byte in it. */
static const char *scalar(const yaml_node_t *node)
{
    const char *s = node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value : NULL;
    return s && strlen(s) == node->data.scalar.length ? s : NULL;
}

static int read_pattern(struct reader *rd, struct patterns *out, const yaml_node_t *node,
                        const char *setting)
{
    const char *text = scalar(node);
    int code;
    PCRE2_SIZE at;
    if (!text || !*text)
        return COMPLAIN(rd, node, "'%s' must be a regular expression or a list of them", setting);
    if (++rd->r->patterns > MAX_PATTERNS)
        return COMPLAIN(rd, node, "more than %d patterns: join some with |", MAX_PATTERNS);
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_CASELESS | PCRE2_MATCH_INVALID_UTF,
                                   &code, &at, NULL);
    if (!re) {
        PCRE2_UCHAR why[200];
        pcre2_get_error_message(code, why, sizeof why);
        return COMPLAIN(rd, node, "'%s' is not a regular expression: %s at character %zu", setting,
                        (const char *)why, (size_t)at);
    }
    ARRAY_GROW(out->code, out->n + 1, out->capacity);
    out->code[out->n++] = re;
    return 0;
}

static int read_patterns(struct reader *rd, struct patterns *out, const yaml_node_t *node,
                         const char *setting)
{
    if (out->n)
        return COMPLAIN(rd, node, "'%s' is there twice: make it one list", setting);
    if (node->type != YAML_SEQUENCE_NODE)
        return read_pattern(rd, out, node, setting);
    const yaml_node_item_t *item = node->data.sequence.items.start;
    for (; item < node->data.sequence.items.top; item++)
        if (read_pattern(rd, out, yaml_document_get_node(&rd->doc, *item), setting))
            return -1;
    if (out->n == 0)
        return COMPLAIN(rd, node, "'%s' is an empty list: name a pattern or leave it out", setting);
    return 0;
}

static int read_count(struct reader *rd, size_t *out, const yaml_node_t *node, const char *setting)
{
    const char *text = scalar(node);
    char *end;
    errno = 0;
    unsigned long long x = text ? strtoull(text, &end, 10) : 0;
    if (!text || *text < '0' || *text > '9' || *end || errno || x > INT_MAX)
        return COMPLAIN(rd, node, "'%s' must be a whole number of words, 0 or more", setting);
    *out = (size_t)x;
    return 0;
}

static int read_scope(struct reader *rd, enum scope *out, const yaml_node_t *node)
{
    static const char *const names[] = {"answer", "first_sentence", "last_sentence"};
    const char *text = scalar(node);
    for (size_t i = 0; text && i < 3; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (enum scope)i;
            return 0;
        }
    return COMPLAIN(rd, node, "'scope' must be answer, first_sentence or last_sentence");
}

static int read_condition(struct reader *rd, struct condition *c, const yaml_node_t *node)
{
    *c = (struct condition){.max_words = SIZE_MAX};
    if (node->type != YAML_MAPPING_NODE)
        return COMPLAIN(rd, node, "a condition must be a mapping, such as 'must_match: ..'");
    bool any = false;
    const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
    for (; pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(&rd->doc, pair->key);
        const yaml_node_t *value = yaml_document_get_node(&rd->doc, pair->value);
        const char *name = scalar(key);
        int failed;
        if (name && strcmp(name, "scope") == 0)
            failed = read_scope(rd, &c->scope, value);
        else if (name && strcmp(name, "min_words") == 0)
            failed = read_count(rd, &c->min_words, value, name);
        else if (name && strcmp(name, "max_words") == 0)
            failed = read_count(rd, &c->max_words, value, name);
        else if (name && strcmp(name, "must_match") == 0)
            failed = read_patterns(rd, &c->must, value, name);
        else if (name && strcmp(name, "must_not_match") == 0)
            failed = read_patterns(rd, &c->must_not, value, name);
        else
            return COMPLAIN(rd, key,
                            "'%s' is not a setting of a condition: known are scope, min_words, "
                            "max_words, must_match and must_not_match",
                            name ? name : "this");
        if (failed)
            return -1;
        any |= strcmp(name, "scope") != 0;
    }
    if (!any)
        return COMPLAIN(rd, node,
                        "the condition asks for nothing: give it min_words, max_words, "
                        "must_match or must_not_match");
    if (c->min_words > c->max_words)
        return COMPLAIN(rd, node, "min_words %zu is more than max_words %zu", c->min_words,
                        c->max_words);
    return 0;
}

static int read_conditions(struct reader *rd, struct check *c, const yaml_node_t *node)
{
    if (node->type != YAML_SEQUENCE_NODE ||
        node->data.sequence.items.start == node->data.sequence.items.top || c->n)
        return COMPLAIN(rd, node, "'conditions' must be one list, with at least one condition");
    const yaml_node_item_t *item = node->data.sequence.items.start;
    for (; item < node->data.sequence.items.top; item++) {
        if (++rd->r->conditions > MAX_CONDITIONS)
            return COMPLAIN(rd, node, "more than %d conditions: split the rubric", MAX_CONDITIONS);
        ARRAY_GROW(c->conditions, c->n + 1, c->capacity);
        if (read_condition(rd, &c->conditions[c->n++], yaml_document_get_node(&rd->doc, *item)))
            return -1;
    }
    return 0;
}

static int read_name(struct reader *rd, struct check *c, const yaml_node_t *node)
{
    const char *text = scalar(node);
    if (!text || !*text || c->name)
        return COMPLAIN(rd, node, "'name' must be one text, not empty");
    for (size_t i = 0; i + 1 < rd->r->n; i++)
        if (strcmp(rd->r->checks[i].name, text) == 0)
            return COMPLAIN(rd, node, "two checks are named '%s': rename one", text);
    c->name = xstrdup(text);
    return 0;
}

static int read_check(struct reader *rd, struct check *c, const yaml_node_t *node)
{
    *c = (struct check){0};
    if (node->type != YAML_MAPPING_NODE)
        return COMPLAIN(rd, node, "a check must be a mapping with 'name' and 'conditions'");
    const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
    for (; pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(&rd->doc, pair->key);
        const yaml_node_t *value = yaml_document_get_node(&rd->doc, pair->value);
        const char *name = scalar(key);
        int failed;
        if (name && strcmp(name, "name") == 0)
            failed = read_name(rd, c, value);
        else if (name && strcmp(name, "when_prompt") == 0)
            failed = read_patterns(rd, &c->when, value, name);
        else if (name && strcmp(name, "unless_prompt") == 0)
            failed = read_patterns(rd, &c->unless, value, name);
        else if (name && strcmp(name, "conditions") == 0)
            failed = read_conditions(rd, c, value);
        else
            return COMPLAIN(rd, key,
                            "'%s' is not a setting of a check: known are name, when_prompt, "
                            "unless_prompt and conditions",
                            name ? name : "this");
        if (failed)
            return -1;
    }
    if (!c->name || !c->n)
        return COMPLAIN(rd, node, "the check has no '%s'", c->name ? "conditions" : "name");
    return 0;
}

static int read_root(struct reader *rd)
{
    const yaml_node_t *root = yaml_document_get_root_node(&rd->doc), *list = NULL;
    if (!root)
        return err_set(rd->err, "'%s' is empty: expected 'checks:' with a list", rd->name);
    const yaml_node_pair_t *pair = root->data.mapping.pairs.start;
    if (root->type == YAML_MAPPING_NODE && root->data.mapping.pairs.top == pair + 1) {
        const char *key = scalar(yaml_document_get_node(&rd->doc, pair->key));
        if (key && strcmp(key, "checks") == 0)
            list = yaml_document_get_node(&rd->doc, pair->value);
    }
    if (!list || list->type != YAML_SEQUENCE_NODE)
        return COMPLAIN(rd, root, "expected 'checks:' with a list, and nothing beside it");
    const yaml_node_item_t *item = list->data.sequence.items.start;
    if (item == list->data.sequence.items.top)
        return COMPLAIN(rd, list, "the list of checks is empty: add one");
    if (list->data.sequence.items.top - item > MAX_CHECKS)
        return COMPLAIN(rd, list, "more than %d checks: split the rubric", MAX_CHECKS);
    struct rubric *r = rd->r;
    for (; item < list->data.sequence.items.top; item++) {
        ARRAY_GROW(r->checks, r->n + 1, r->capacity);
        if (read_check(rd, &r->checks[r->n++], yaml_document_get_node(&rd->doc, *item)))
            return -1;
    }
    return 0;
}

struct rubric *rubric_parse(const char *text, size_t n, const char *name, struct err *err)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        BUG("out of memory");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
    struct reader rd = {.name = name, .err = err};
    if (!yaml_parser_load(&parser, &rd.doc)) {
        err_set(err, "'%s' line %zu: not YAML: %s", name, parser.problem_mark.line + 1,
                parser.problem ? parser.problem : "cannot be read");
        yaml_parser_delete(&parser);
        return NULL;
    }
    rd.r = xcalloc(1, sizeof *rd.r);
    rd.r->limits = pcre2_match_context_create(NULL);
    ENSURE(rd.r->limits);
    pcre2_set_match_limit(rd.r->limits, MATCH_LIMIT);
    pcre2_set_heap_limit(rd.r->limits, HEAP_LIMIT_KIB);
    if (read_root(&rd)) {
        rubric_free(rd.r);
        rd.r = NULL;
    }
    yaml_document_delete(&rd.doc);
    yaml_parser_delete(&parser);
    return rd.r;
}

struct rubric *rubric_load(const char *path, struct err *err)
{
    struct buf text;
    buf_init(&text, MAX_BYTES);
    struct rubric *r = NULL;
    if (file_read(path, &text, err) == 0)
        r = rubric_parse(text.data, text.len, path, err);
    buf_release(&text);
    return r;
}

size_t rubric_checks(const struct rubric *r)
{
    return r->n;
}

const char *rubric_check_name(const struct rubric *r, size_t i)
{
    return r->checks[i].name;
}

/* ---- judging ---- */

/* A copy with curly apostrophes made straight. */
static char *straighten(const char *text)
{
    char *out = xstrdup(text), *to = out;
    for (const char *from = text; *from; to++) {
        bool curly = strncmp(from, "\xe2\x80\x99", 3) == 0;
        *to = curly ? '\'' : *from;
        from += curly ? 3 : 1;
    }
    *to = 0;
    return out;
}

/* 1 if one of the patterns is found, 0 if none is, -1 if one gave up. */
static int find_any(const struct rubric *r, const struct patterns *p, const char *text,
                    struct text_span span, struct err *err)
{
    for (size_t i = 0; i < p->n; i++) {
        pcre2_match_data *match = pcre2_match_data_create(1, NULL);
        ENSURE(match);
        int found =
            pcre2_match(p->code[i], (PCRE2_SPTR)text + span.start, span.n, 0, 0, match, r->limits);
        pcre2_match_data_free(match);
        if (found >= 0)
            return 1;
        if (found != PCRE2_ERROR_NOMATCH) {
            PCRE2_UCHAR why[200];
            pcre2_get_error_message(found, why, sizeof why);
            return err_set(err, "pattern %zu gave up on a text of %zu bytes: %s; make it simpler",
                           i + 1, span.n, (const char *)why);
        }
    }
    return 0;
}

/* 1 if the condition holds, 0 if not, -1 on error. */
static int holds(const struct rubric *r, const struct condition *c, const char *answer,
                 struct err *err)
{
    struct text_span span = {0, strlen(answer)};
    if (c->scope == SCOPE_FIRST_SENTENCE)
        span = text_first_sentence(answer);
    else if (c->scope == SCOPE_LAST_SENTENCE)
        span = text_last_sentence(answer);
    if (c->min_words > 0 || c->max_words < SIZE_MAX) {
        char *part = xstrndup(answer + span.start, span.n);
        size_t words = text_word_count(part);
        free(part);
        if (words < c->min_words || words > c->max_words)
            return 0;
    }
    int found = 1;
    if (c->must.n)
        found = find_any(r, &c->must, answer, span, err);
    if (found <= 0 || c->must_not.n == 0)
        return found;
    found = find_any(r, &c->must_not, answer, span, err);
    return found < 0 ? -1 : !found;
}

static int judge_check(const struct rubric *r, const struct check *c, enum rubric_verdict *verdict,
                       const char *prompt, const char *answer, struct err *err)
{
    struct text_span whole = {0, strlen(prompt)};
    int found = c->when.n ? find_any(r, &c->when, prompt, whole, err) : 1;
    if (found == 1 && c->unless.n) {
        found = find_any(r, &c->unless, prompt, whole, err);
        found = found < 0 ? -1 : !found;
    }
    *verdict = found ? RUBRIC_PASS : RUBRIC_NOT_APPLICABLE;
    for (size_t i = 0; found == 1 && i < c->n; i++) {
        found = holds(r, &c->conditions[i], answer, err);
        if (found == 0)
            *verdict = RUBRIC_FAIL;
    }
    return found < 0 ? err_prefix(err, "check '%s'", c->name) : 0;
}

int rubric_judge(const struct rubric *r, enum rubric_verdict *verdicts, const char *prompt,
                 const char *answer, struct err *err)
{
    char *p = straighten(prompt), *a = straighten(answer);
    int failed = 0;
    for (size_t i = 0; i < r->n && !failed; i++)
        failed = judge_check(r, &r->checks[i], &verdicts[i], p, a, err);
    free(p);
    free(a);
    return failed;
}

enum rubric_verdict rubric_overall(const struct rubric *r, const enum rubric_verdict *verdicts)
{
    enum rubric_verdict overall = RUBRIC_NOT_APPLICABLE;
    for (size_t i = 0; i < r->n; i++) {
        if (verdicts[i] == RUBRIC_FAIL)
            return RUBRIC_FAIL;
        if (verdicts[i] == RUBRIC_PASS)
            overall = RUBRIC_PASS;
    }
    return overall;
}

static void count(struct rubric_share *s, enum rubric_verdict verdict)
{
    s->applicable += verdict != RUBRIC_NOT_APPLICABLE;
    s->passed += verdict == RUBRIC_PASS;
    s->share = stats_wilson((double)s->passed, (double)s->applicable);
}

int rubric_shares(const struct rubric *r, struct rubric_share *check, struct rubric_share *all,
                  const char *const *prompts, const char *const *answers, size_t n, struct err *err)
{
    enum rubric_verdict *verdicts = xcalloc(r->n, sizeof *verdicts);
    int failed = 0;
    memset(check, 0, r->n * sizeof *check);
    *all = (struct rubric_share){0};
    for (size_t k = 0; k < r->n; k++)
        check[k].share = stats_wilson(0, 0);
    all->share = stats_wilson(0, 0);
    for (size_t i = 0; i < n && !failed; i++) {
        failed = rubric_judge(r, verdicts, prompts[i], answers[i], err);
        if (failed) {
            err_prefix(err, "answer %zu", i + 1);
            break;
        }
        for (size_t k = 0; k < r->n; k++)
            count(&check[k], verdicts[k]);
        count(all, rubric_overall(r, verdicts));
    }
    free(verdicts);
    return failed;
}
