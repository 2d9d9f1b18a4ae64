#include "reward/rule.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <ctype.h>
#include <math.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "util/buf.h"
#include "util/mem.h"

#define MATCH_STEPS 1000000
#define MATCH_MEMORY_KIB 65536

/* ---- patterns ---- */

struct pattern {
    pcre2_code *code;
    pcre2_match_context *limits;
    pcre2_match_data *match;
};

static void pattern_free(struct pattern *p)
{
    if (!p)
        return;
    pcre2_match_data_free(p->match);
    pcre2_match_context_free(p->limits);
    pcre2_code_free(p->code);
    free(p);
}

static struct pattern *pattern_new(const char *text, struct err *err)
{
    int code;
    PCRE2_SIZE at;
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C;
    if (!*text) {
        err_set(err, "the pattern is empty: write it behind the last ':' or '='");
        return NULL;
    }
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)text, strlen(text), options, &code, &at, NULL);
    if (!compiled) {
        PCRE2_UCHAR why[200];
        pcre2_get_error_message(code, why, sizeof why);
        err_set(err, "the pattern '%.200s' cannot be compiled: %s at character %zu", text, (const char *)why, (size_t)at + 1);
        return NULL;
    }
    struct pattern *p = xmalloc(sizeof *p);
    *p = (struct pattern){compiled, pcre2_match_context_create(NULL), pcre2_match_data_create_from_pattern(compiled, NULL)};
    if (!p->limits || !p->match)
        BUG("out of memory");
    pcre2_set_match_limit(p->limits, MATCH_STEPS);
    pcre2_set_heap_limit(p->limits, MATCH_MEMORY_KIB);
    return p;
}

/* The first match at or after `from`: its first group that is there, or the whole; *next: where to go on. */
static bool pattern_find(const struct pattern *p, const char *text, size_t n, size_t from, const char **found, size_t *length,
                         size_t *next)
{
    if (from > n || pcre2_match(p->code, (PCRE2_SPTR)text, n, from, 0, p->match, p->limits) < 1)
        return false;
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(p->match);
    bool group = pcre2_get_ovector_count(p->match) > 1 && at[2] != PCRE2_UNSET;
    *found = text + at[group ? 2 : 0];
    *length = at[group ? 3 : 1] - at[group ? 2 : 0];
    *next = at[1] > from ? at[1] : from + 1;
    return true;
}

/* ---- numbers as text ---- */

static bool digit(const char *s, size_t n, size_t i)
{
    return i < n && s[i] >= '0' && s[i] <= '9';
}

/* A number that begins at a digit s[*at], put down in one way: no commas, no zeros that say nothing. */
static void read_number(struct buf *to, const char *s, size_t n, size_t *at)
{
    size_t first = *at, i = first;
    buf_clear(to);
    /* a minus is a sign unless something to take away from stands before it */
    if (first > 0 && s[first - 1] == '-' && (first == 1 || !(isalnum((unsigned char)s[first - 2]) || strchr(")].", s[first - 2]))))
        buf_str(to, "-");
    size_t sign = to->len;
    for (; digit(s, n, i) || (i < n && s[i] == ',' && digit(s, n, i + 1) && digit(s, n, i + 2) && digit(s, n, i + 3) &&
                              !digit(s, n, i + 4));
         i++)
        if (s[i] != ',' && !(s[i] == '0' && to->len == sign))
            buf_add(to, s + i, 1);
    if (to->len == sign)
        buf_str(to, "0");
    if (i < n && s[i] == '.' && digit(s, n, i + 1)) {
        size_t end = i + 1;
        while (digit(s, n, end))
            end++;
        size_t last = end;
        while (last > i + 1 && s[last - 1] == '0')
            last--;
        if (last > i + 1)
            buf_add(to, s + i, last - i);
        i = end;
    }
    if (!strcmp(to->data, "-0")) {
        buf_clear(to);
        buf_str(to, "0");
    }
    *at = i;
}

/* The last number in a text; "" where there is none. */
static void last_number(struct buf *to, const char *s, size_t n)
{
    buf_clear(to);
    for (size_t i = 0; i < n;) {
        if (digit(s, n, i))
            read_number(to, s, n, &i);
        else
            i++;
    }
}

/* ---- rules ---- */

static int parse_tokens(double *tokens, const char *text, const char *what, struct err *err)
{
    char *end;
    *tokens = strtod(text, &end);
    if (end == text || *end || !(*tokens >= 1 && *tokens <= 1e6) || *tokens != floor(*tokens))
        return err_set(err, "'%s' is '%.40s': it must be a whole number of tokens, at least 1", what, text);
    return 0;
}

static int parse_answer(struct rule *r, const char *options, struct err *err)
{
    if (!strncmp(options, "field=", 6)) {
        size_t n = strcspn(options + 6, ",");
        if (n == 0)
            return err_set(err, "'field=' names no field of the row");
        free(r->field);
        r->field = xstrndup(options + 6, n);
        options += 6 + n;
        options += *options == ',';
    }
    if (!strncmp(options, "pattern=", 8)) {
        r->pattern = pattern_new(options + 8, err);
        return r->pattern ? 0 : -1;
    }
    return *options ? err_set(err, "'%.60s' is not understood: rule:answer takes field=NAME, then pattern=PATTERN", options) : 0;
}

int rule_parse(struct rule *r, const char *spec, struct err *err)
{
    static const struct {
        const char *start;
        enum rule_kind kind;
    } counted[] = {{"length:target=", RULE_LENGTH_TARGET}, {"length:limit=", RULE_LENGTH_LIMIT}, {"overlong:cache=", RULE_OVERLONG}};
    *r = (struct rule){0};
    int rc = -1;
    for (size_t i = 0; i < sizeof counted / sizeof *counted; i++) {
        size_t n = strlen(counted[i].start);
        if (!strncmp(spec, counted[i].start, n)) {
            r->kind = counted[i].kind;
            return parse_tokens(&r->tokens, spec + n, counted[i].start, err);
        }
    }
    if (!strncmp(spec, "regex:", 6)) {
        r->kind = RULE_REGEX;
        r->pattern = pattern_new(spec + 6, err);
        rc = r->pattern ? 0 : -1;
    } else if (!strcmp(spec, "answer") || !strncmp(spec, "answer:", 7)) {
        r->kind = RULE_ANSWER;
        r->field = xstrdup("answer");
        rc = parse_answer(r, spec[6] ? spec + 7 : "", err);
    } else if (!strncmp(spec, "rubric:", 7)) {
        r->kind = RULE_RUBRIC;
        r->rubric = rubric_load(spec + 7, err);
        rc = r->rubric ? 0 : -1;
    } else if (!strcmp(spec, "tests") || !strncmp(spec, "tests:", 6)) {
        r->kind = RULE_TESTS;
        rc = unit_tests_parse(&r->tests, spec[5] ? spec + 6 : "", err);
    } else {
        err_set(err, "there is no rule '%.60s': there are length:target=N, length:limit=N, overlong:cache=N, regex:PATTERN, answer, "
                     "rubric:FILE and tests", spec);
    }
    if (rc)
        rule_release(r);
    return rc;
}

void rule_release(struct rule *r)
{
    pattern_free(r->pattern);
    free(r->field);
    rubric_free(r->rubric);
    unit_tests_release(&r->tests);
    *r = (struct rule){0};
}

const char *rule_name(const struct rule *r)
{
    static const char *const names[] = {[RULE_LENGTH_TARGET] = "length", [RULE_LENGTH_LIMIT] = "length", [RULE_OVERLONG] = "overlong",
                                        [RULE_REGEX] = "regex", [RULE_ANSWER] = "answer", [RULE_RUBRIC] = "rubric", [RULE_TESTS] = "tests"};
    return names[r->kind];
}

bool rule_reads_text(const struct rule *r)
{
    return r->kind == RULE_REGEX || r->kind == RULE_RUBRIC || rule_reads_row(r);
}

bool rule_reads_row(const struct rule *r)
{
    return r->kind == RULE_ANSWER || r->kind == RULE_TESTS;
}

int rule_check_row(const struct rule *r, const struct row *row, const char *path, struct err *err)
{
    if (r->kind == RULE_TESTS)
        return unit_tests_check_row(&r->tests, row, path, err);
    if (r->kind != RULE_ANSWER)
        return 0;
    struct buf number;
    char *text = row_field_text(row, r->field);
    int rc = 0;
    buf_init(&number, SIZE_MAX / 2);
    if (!text)
        rc = err_set(err, "'%s' line %zu: there is no field \"%s\" with text or a number, which rule:answer compares with: add it, or "
                          "name another (rule:answer:field=NAME)", path, row->line, r->field);
    if (rc == 0 && !r->pattern) {
        last_number(&number, text, strlen(text));
        if (number.len == 0)
            rc = err_set(err, "'%s' line %zu: the field \"%s\" has no number in it, which rule:answer compares with: say how the "
                              "answer is found (rule:answer:field=%s,pattern=PATTERN)", path, row->line, r->field, r->field);
    }
    buf_release(&number);
    free(text);
    return rc;
}

int rule_check(const struct rule *r, const struct dataset *rows, struct err *err)
{
    for (size_t i = 0; i < rows->n; i++)
        if (rule_check_row(r, &rows->rows[i], rows->path, err))
            return -1;
    return r->kind == RULE_TESTS ? unit_tests_check(&r->tests, rows, err) : 0;
}

/* Length of s[*from ..] without the spaces at both ends. */
static size_t trimmed(const char **s, size_t n)
{
    while (n && isspace((unsigned char)**s))
        ++*s, n--;
    while (n && isspace((unsigned char)(*s)[n - 1]))
        n--;
    return n;
}

static bool pattern_answer_is(const struct pattern *p, const struct answer_text *a, const char *wanted)
{
    const char *last = NULL, *found;
    size_t n = 0, length, next = 0, m = strlen(wanted);
    while (pattern_find(p, a->text, a->n, next, &found, &length, &next))
        last = found, n = length;
    if (!last)
        return false;
    n = trimmed(&last, n);
    m = trimmed(&wanted, m);
    return n == m && !memcmp(last, wanted, n);
}

static bool answer_is(const struct rule *r, const struct answer_text *a)
{
    char *wanted = row_field_text(a->row, r->field);
    bool same = false;
    ENSURE(wanted);
    if (r->pattern) {
        same = pattern_answer_is(r->pattern, a, wanted);
    } else {
        struct buf own, other;
        buf_init(&own, SIZE_MAX / 2);
        buf_init(&other, SIZE_MAX / 2);
        last_number(&own, a->text, a->n);
        last_number(&other, wanted, strlen(wanted));
        same = own.len > 0 && !strcmp(own.data, other.data);
        buf_release(&own);
        buf_release(&other);
    }
    free(wanted);
    return same;
}

static int rubric_score(double *score, const struct rubric *rubric, const struct answer_text *a, struct err *err)
{
    size_t n = rubric_checks(rubric), applied = 0, passed = 0;
    enum rubric_verdict *verdicts = xcalloc(n + 1, sizeof *verdicts);
    char *text = xstrndup(a->text, a->n);
    int rc = rubric_judge(rubric, verdicts, row_prompt_text(a->row), text, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        applied += verdicts[i] != RUBRIC_NOT_APPLICABLE;
        passed += verdicts[i] == RUBRIC_PASS;
    }
    if (rc == 0)
        *score = applied ? (double)passed / (double)applied : 1;
    free(text);
    free(verdicts);
    return rc;
}

static double score_one(const struct rule *r, const struct answer_text *a)
{
    double tokens = (double)a->tokens, from;
    const char *found;
    size_t length, next;
    switch (r->kind) {
    case RULE_LENGTH_TARGET:
        return -fabs(tokens - r->tokens) / r->tokens;
    case RULE_LENGTH_LIMIT:
        return tokens > r->tokens ? -(tokens - r->tokens) / r->tokens : 0;
    case RULE_OVERLONG:
        from = (double)a->max_tokens - r->tokens;
        return tokens > from ? fmax(-1, (from - tokens) / r->tokens) : 0;
    case RULE_REGEX:
        return pattern_find(r->pattern, a->text, a->n, 0, &found, &length, &next) ? 1 : 0;
    default:
        return answer_is(r, a) ? 1 : 0;
    }
}

int rule_score(double *scores, const struct rule *r, const struct answer_text *answers, size_t n, struct err *err)
{
    if (r->kind == RULE_TESTS)
        return unit_tests_score(scores, &r->tests, answers, n, err);
    for (size_t i = 0; i < n; i++) {
        if (r->kind != RULE_RUBRIC)
            scores[i] = score_one(r, &answers[i]);
        else if (rubric_score(&scores[i], r->rubric, &answers[i], err))
            return err_prefix(err, "answer %zu", i + 1);
    }
    return 0;
}
