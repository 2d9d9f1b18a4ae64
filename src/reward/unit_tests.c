#include "reward/unit_tests.h"

#include <ctype.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "reward/child.h"
#include "reward/rule.h"
#include "util/embed.h"
#include "util/mem.h"

enum { NONCE = 32, MOST_TESTS = 10000, VERDICT = 1 << 20 };

/* ---- options ---- */

static int parse_number(size_t *out, const char *name, const char *value, size_t most, struct err *err)
{
    char *end;
    double x = strtod(value, &end);
    if (end == value || *end || !(x >= 1 && x <= (double)most) || x != floor(x))
        return err_set(err, "'%s' is '%.40s': it must be a whole number from 1 to %zu", name, value, most);
    *out = (size_t)x;
    return 0;
}

static int parse_option(struct unit_tests *t, const char *name, const char *value, struct err *err)
{
    if (!strcmp(name, "field") && *value) {
        free(t->field);
        t->field = xstrdup(value);
        return 0;
    }
    if (!strcmp(name, "score")) {
        t->all = !strcmp(value, "all");
        return t->all || !strcmp(value, "share") ? 0 : err_set(err, "'score' is '%.40s': it must be share or all", value);
    }
    if (!strcmp(name, "timeout"))
        return parse_number(&t->limits.seconds, name, value, 3600, err);
    if (!strcmp(name, "memory"))
        return parse_number(&t->limits.memory_mib, name, value, 1 << 20, err);
    if (!strcmp(name, "jobs"))
        return parse_number(&t->at_once, name, value, 256, err);
    return err_set(err, "'%.40s=%.40s' is not understood: rule:tests takes field=NAME, score=share or all, timeout=SECONDS, memory=MIB, "
                        "jobs=N, and last command=LINE", name, value);
}

int unit_tests_parse(struct unit_tests *t, const char *options, struct err *err)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    *t = (struct unit_tests){.field = xstrdup("tests"), .limits = {.seconds = 4, .memory_mib = 512},
                             .at_once = processors > 0 && processors < 256 ? (size_t)processors : 1};
    int rc = 0;
    while (rc == 0 && *options) {
        if (!strncmp(options, "command=", 8)) {
            t->command = xstrdup(options + 8);
            return *t->command ? 0 : err_set(err, "'command=' names no program");
        }
        size_t n = strcspn(options, ",");
        char *option = xstrndup(options, n), *equals = strchr(option, '=');
        if (equals)
            *equals = 0;
        rc = parse_option(t, option, equals ? equals + 1 : "", err);
        free(option);
        options += n;
        options += *options == ',';
    }
    return rc;
}

void unit_tests_release(struct unit_tests *t)
{
    free(t->field);
    free(t->command);
    *t = (struct unit_tests){0};
}

/* ---- rows ---- */

/* A row's tests: a fresh list of texts, NULL where it has none.  *split: the one text in it may be several tests. */
static json_t *tests_of(const struct unit_tests *t, const struct row *row, bool *split)
{
    json_t *own = json_object_get(row->fields, t->field), *test = json_object_get(row->fields, "test"), *one;
    const char *entry = json_string_value(json_object_get(row->fields, "entry_point"));
    size_t i;
    *split = json_is_string(own);
    if (*split)
        return json_pack("[O]", own);
    if (!own && json_is_string(test) && entry)
        return json_pack("[o]", json_sprintf("%s\ncheck(%s)\n", json_string_value(test), entry));
    if (!json_is_array(own) || json_array_size(own) == 0 || json_array_size(own) > MOST_TESTS)
        return NULL;
    json_array_foreach(own, i, one)
        if (!json_is_string(one))
            return NULL;
    return json_incref(own);
}

int unit_tests_check_row(const struct unit_tests *t, const struct row *row, const char *path, struct err *err)
{
    bool split;
    json_t *tests = tests_of(t, row, &split);
    json_decref(tests);
    if (tests)
        return 0;
    return err_set(err, "'%s' line %zu: there is no field \"%s\" with tests, a text or a list of texts (nor HumanEval's \"test\" and "
                        "\"entry_point\"): add it, or name another (rule:tests:field=NAME)", path, row->line, t->field);
}

/* ---- code ---- */

/* Does a line of n bytes begin with ``` ? */
static bool is_fence(const char *line, size_t n)
{
    size_t i = 0;
    while (i < n && (line[i] == ' ' || line[i] == '\t'))
        i++;
    return n - i >= 3 && !memcmp(line + i, "```", 3);
}

const char *unit_tests_code(const char *text, size_t n, size_t *length)
{
    const char *code = text, *open = NULL, *stop = text + n;
    *length = n;
    for (const char *line = text; line < stop;) {
        const char *end = memchr(line, '\n', (size_t)(stop - line)), *next = end ? end + 1 : stop;
        bool fence = is_fence(line, (size_t)(next - line));
        if (fence && open) {
            code = open;
            *length = (size_t)(line - open);
            open = NULL;
        } else if (fence) {
            open = next;
        }
        line = next;
    }
    if (open) {
        code = open;
        *length = (size_t)(stop - open);
    }
    return code;
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* Is there a "def NAME" in it? */
static bool defines(const struct buf *code, const char *name)
{
    char *start = xasprintf("def %s", name);
    bool found = false;
    for (const char *at = code->data; !found && (at = strstr(at, start)); at++)
        found = !is_word(at[strlen(start)]) && (at == code->data || !is_word(at[-1]));
    free(start);
    return found;
}

/* The code to run: the answer's, after HumanEval's beginning where it lacks that.  Bytes 0, which no language has, are left out. */
static void add_code(struct buf *out, const struct answer_text *a)
{
    size_t n;
    const char *code = unit_tests_code(a->text, a->n, &n);
    const char *entry = json_string_value(json_object_get(a->row->fields, "entry_point"));
    const char *start = json_string_value(json_object_get(a->row->fields, "prompt"));
    struct buf own;
    buf_init(&own, SIZE_MAX / 2);
    for (size_t i = 0; i < n; i++)
        if (code[i])
            buf_add(&own, code + i, 1);
    if (entry && start && !defines(&own, entry))
        buf_str(out, start);
    buf_add(out, own.data, own.len);
    buf_release(&own);
}

/* ---- Python ---- */

static char **python_argv(const struct unit_tests *t)
{
    const char *const command[] = {"python3", "-B", "-s", "-c", (const char *)embed_unit_tests_py, NULL};
    return sandbox_argv(&t->limits, command);
}

static void make_nonce(char nonce[NONCE + 1])
{
    unsigned char bytes[NONCE / 2];
    randombytes_buf(bytes, sizeof bytes);
    sodium_bin2hex(nonce, NONCE + 1, bytes, sizeof bytes);
}

/* The line that says `word` behind the nonce, from its end on; NULL where none does. */
static const char *said(const struct buf *out, const char *nonce, const char *word)
{
    char *start = xasprintf("%s %s", nonce, word);
    const char *at = out->len ? strstr(out->data, start) : NULL;
    at = at ? at + strlen(start) : NULL;
    free(start);
    return at;
}

static double count_held(const struct buf *out, const char *nonce, double all)
{
    double held = 0;
    for (size_t k = 1; (double)k <= all; k++) {
        char word[32];
        snprintf(word, sizeof word, "+ %zu\n", k);
        held += said(out, nonce, word) != NULL;
    }
    return held;
}

/* What goes into a sandbox, and what comes out. */
struct run {
    struct buf in, out;
    char nonce[NONCE + 1];
};

static void python_init(struct run *p, json_t *job)
{
    buf_init(&p->in, SIZE_MAX / 2);
    buf_init(&p->out, VERDICT);
    make_nonce(p->nonce);
    json_object_set_new(job, "nonce", json_string(p->nonce));
    char *text = json_dumps(job, JSON_COMPACT);
    buf_str(&p->in, text ? text : "");
    free(text);
    json_decref(job);
}

static void run_release(struct run *p)
{
    buf_release(&p->in);
    buf_release(&p->out);
}

static struct child_job job_of(const struct unit_tests *t, char **argv, struct run *p)
{
    return (struct child_job){.argv = argv, .in = &p->in, .out = &p->out, .seconds = sandbox_seconds(&t->limits), .mute = true};
}

static int no_start(const struct unit_tests *t, struct err *err)
{
    return err_set(err, "%s did not start in the sandbox, with %zu MiB and %zu seconds: is it installed, and are memory= and timeout= "
                        "enough for it?", t->command ? "sh" : "python3", t->limits.memory_mib, t->limits.seconds);
}

/* JSON's text from bytes that may not be UTF-8. */
static json_t *text_json(const struct buf *text)
{
    struct buf quoted;
    buf_init(&quoted, SIZE_MAX / 2);
    buf_json_str(&quoted, text->data, text->len);
    json_t *value = json_loads(quoted.data, JSON_DECODE_ANY, NULL);
    buf_release(&quoted);
    return value;
}

static int python_score(double *scores, const struct unit_tests *t, const struct answer_text *answers, size_t n, struct err *err)
{
    struct run *runs = xcalloc(n + 1, sizeof *runs);
    struct child_job *jobs = xcalloc(n + 1, sizeof *jobs);
    char **argv = python_argv(t);
    for (size_t i = 0; i < n; i++) {
        bool split;
        struct buf code;
        buf_init(&code, SIZE_MAX / 2);
        add_code(&code, &answers[i]);
        json_t *tests = tests_of(t, answers[i].row, &split);
        python_init(&runs[i], json_pack("{s:o, s:o, s:b}", "code", text_json(&code), "tests", tests, "split", (int)split));
        jobs[i] = job_of(t, argv, &runs[i]);
        buf_release(&code);
    }
    children_run(jobs, n, t->at_once);
    int rc = 0;
    for (size_t i = 0; i < n; i++) {
        const char *of = said(&runs[i].out, runs[i].nonce, "of ");
        double all = of ? strtod(of, NULL) : 0, held = count_held(&runs[i].out, runs[i].nonce, all);
        if (rc == 0 && !(all > 0))
            rc = no_start(t, err);
        scores[i] = t->all ? held >= all : held / all;
        run_release(&runs[i]);
    }
    sandbox_argv_free(argv);
    free(jobs);
    free(runs);
    return rc;
}

/* Are the rows' tests Python?  All in one run; nothing of them is executed. */
static int python_check(const struct unit_tests *t, const struct dataset *rows, struct err *err)
{
    json_t *texts = json_array(), *lines = json_array();
    for (size_t i = 0; i < rows->n; i++) {
        bool split;
        json_t *tests = tests_of(t, &rows->rows[i], &split);
        for (size_t k = 0; k < json_array_size(tests); k++)
            json_array_append_new(lines, json_integer((json_int_t)rows->rows[i].line));
        json_array_extend(texts, tests);
        json_decref(tests);
    }
    struct run run;
    python_init(&run, json_pack("{s:o}", "check", texts));
    struct unit_tests patient = *t;
    patient.limits.seconds += 60; /* for all rows */
    char **argv = python_argv(&patient);
    struct child_job job = job_of(&patient, argv, &run);
    children_run(&job, 1, 1);
    int rc = said(&run.out, run.nonce, "of ") ? 0 : no_start(t, err);
    const char *bad = said(&run.out, run.nonce, "bad ");
    if (rc == 0 && bad) {
        char *why;
        size_t at = strtoul(bad, &why, 10);
        rc = err_set(err, "'%s' line %lld: its tests are not Python: %.*s", rows->path,
                     (long long)json_integer_value(json_array_get(lines, at)), (int)strcspn(why + 1, "\n"), why + 1);
    }
    sandbox_argv_free(argv);
    run_release(&run);
    json_decref(lines);
    return rc;
}

/* ---- any other language ---- */

static int command_score(double *scores, const struct unit_tests *t, const struct answer_text *answers, size_t n, struct err *err)
{
    const char *const command[] = {"sh", "-c", "exec >/dev/null; eval \"$0\"", t->command, NULL};
    char **argv = sandbox_argv(&t->limits, command);
    struct child_job *jobs = NULL;
    struct run *runs = NULL;
    size_t *first = xcalloc(n + 1, sizeof *first), n_jobs = 0;
    for (size_t i = 0; i < n; i++) {
        bool split;
        json_t *tests = tests_of(t, answers[i].row, &split), *test;
        size_t k, count = json_array_size(tests);
        first[i] = n_jobs;
        runs = xreallocarray(runs, n_jobs + count, sizeof *runs);
        json_array_foreach(tests, k, test) {
            struct run *r = &runs[n_jobs++];
            buf_init(&r->in, SIZE_MAX / 2);
            buf_init(&r->out, VERDICT);
            add_code(&r->in, &answers[i]);
            buf_printf(&r->in, "\n%s\n", json_string_value(test));
        }
        json_decref(tests);
    }
    first[n] = n_jobs;
    jobs = xcalloc(n_jobs + 1, sizeof *jobs);
    for (size_t k = 0; k < n_jobs; k++)
        jobs[k] = job_of(t, argv, &runs[k]);
    children_run(jobs, n_jobs, t->at_once);
    int rc = 0;
    for (size_t i = 0; i < n; i++) {
        size_t held = 0, all = first[i + 1] - first[i];
        for (size_t k = first[i]; k < first[i + 1]; k++) {
            held += jobs[k].end == CHILD_ENDED && child_code(&jobs[k]) == 0;
            rc = rc || jobs[k].end == CHILD_NOT_STARTED ? -1 : 0;
            run_release(&runs[k]);
        }
        scores[i] = t->all ? held == all : (double)held / (double)all;
    }
    sandbox_argv_free(argv);
    free(jobs);
    free(runs);
    free(first);
    return rc ? no_start(t, err) : 0;
}

/* Is there such a program? */
static int command_check(const struct unit_tests *t, struct err *err)
{
    char *program = xstrndup(t->command, strcspn(t->command, " \t"));
    const char *const command[] = {"sh", "-c", "command -v \"$0\" >/dev/null", program, NULL};
    char **argv = sandbox_argv(&t->limits, command);
    struct run run;
    buf_init(&run.in, 1);
    buf_init(&run.out, VERDICT);
    struct child_job job = job_of(t, argv, &run);
    children_run(&job, 1, 1);
    int rc = job.end == CHILD_ENDED && child_code(&job) == 0
                 ? 0 : err_set(err, "there is no program '%.100s' in the sandbox, which has /usr and /bin alone", program);
    sandbox_argv_free(argv);
    run_release(&run);
    free(program);
    return rc;
}

/* ---- both ---- */

int unit_tests_check(const struct unit_tests *t, const struct dataset *rows, struct err *err)
{
    if (sandbox_check(err))
        return -1;
    return t->command ? command_check(t, err) : python_check(t, rows, err);
}

int unit_tests_score(double *scores, const struct unit_tests *t, const struct answer_text *answers, size_t n, struct err *err)
{
    return t->command ? command_score(scores, t, answers, n, err) : python_score(scores, t, answers, n, err);
}
