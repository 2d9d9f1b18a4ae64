#include "cmd/options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "util/file.h"
#include "util/mem.h"

#define CONFIG_CEILING ((size_t)4 << 20)

/* Where a value came from; a stronger source is not overwritten by a weaker one. */
enum { FROM_DEFAULT, FROM_FILE, FROM_COMMAND_LINE };

/* An option with its place: the index counts over all groups. */
struct slot {
    const struct option *option;
    size_t index;
    void *field;
};

static char fold(char c)
{
    return c == '-' ? '_' : c;
}

static bool same_name(const char *name, const char *word, size_t n)
{
    if (!name || strlen(name) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (fold(name[i]) != fold(word[i]))
            return false;
    return true;
}

static bool next_slot(const struct options *o, struct slot *slot, size_t *group, size_t *row)
{
    const struct option_spec *spec = o->spec;
    while (*group < spec->n_groups && *row == spec->groups[*group].n) {
        ++*group;
        *row = 0;
    }
    if (*group == spec->n_groups)
        return false;
    const struct option_group *g = &spec->groups[*group];
    slot->option = &g->options[*row];
    slot->field = (char *)o->args + g->offset + slot->option->offset;
    ++*row;
    return true;
}

/* for (each slot) */
#define FOR_SLOTS(o, slot)                                                                         \
    for (struct { size_t group, row; } at = {0, 0}; next_slot((o), &(slot), &at.group, &at.row);   \
         (slot).index++)

static bool find(const struct options *o, struct slot *slot, const char *word, size_t n)
{
    *slot = (struct slot){0};
    FOR_SLOTS(o, *slot)
        if (same_name(slot->option->name, word, n) || same_name(slot->option->alias, word, n))
            return true;
    return false;
}

/* ---- the nearest name ---- */

/* Damerau-Levenshtein distance (optimal string alignment) of two short words. */
static size_t distance(const char *a, const char *b)
{
    enum { LONGEST = 64 };
    size_t na = strlen(a), nb = strlen(b);
    if (na >= LONGEST || nb >= LONGEST)
        return LONGEST;
    size_t d[3][LONGEST];
    for (size_t j = 0; j <= nb; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t *row = d[i % 3], *up = d[(i + 2) % 3], *up2 = d[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t best = up[j - 1] + (fold(a[i - 1]) != fold(b[j - 1]));
            if (up[j] + 1 < best)
                best = up[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) &&
                fold(a[i - 2]) == fold(b[j - 1]) && up2[j - 2] + 1 < best)
                best = up2[j - 2] + 1;
            row[j] = best;
        }
    }
    return d[na % 3][nb];
}

const char *options_nearest(const char *word, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t length = strlen(word), least = 2 + length / 4; /* farther away it is no misspelling */
    for (size_t i = 0; i < n; i++) {
        size_t d = distance(word, names[i]);
        if (length >= 3 && d > 1 && !strncmp(word, names[i], length))
            d = 1; /* an abbreviation */
        if (d < least && d < strlen(names[i])) {
            least = d;
            best = names[i];
        }
    }
    return best;
}

static const char *nearest_option(const struct options *o, const char *word)
{
    const char **names = NULL;
    size_t n = 0, capacity = 0;
    struct slot slot = {0};
    FOR_SLOTS(o, slot) {
        ARRAY_GROW(names, n + 2, capacity);
        names[n++] = slot.option->name;
        if (slot.option->alias)
            names[n++] = slot.option->alias;
    }
    const char *best = options_nearest(word, names, n);
    free(names);
    return best;
}

/* ---- values ---- */

static void *own(struct options *o, void *p)
{
    ARRAY_GROW(o->owned, o->n_owned + 1, o->capacity);
    o->owned[o->n_owned++] = p;
    return p;
}

static const char *own_string(struct options *o, const char *s)
{
    return own(o, xstrdup(s));
}

/* A list grows by a copy; the old array lives until the release, which short lists can afford. */
static void list_add(struct options *o, struct strings *list, const char *s)
{
    const char **data = own(o, xcalloc(list->n + 1, sizeof *data));
    if (list->n)
        memcpy(data, list->data, list->n * sizeof *data);
    data[list->n] = own_string(o, s);
    *list = (struct strings){data, list->n + 1};
}

static int parse_bool(bool *out, const char *s)
{
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no",
                                                                                "off", "0"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (!strcasecmp(s, yes[i]) || !strcasecmp(s, no[i])) {
            *out = !strcasecmp(s, yes[i]);
            return 0;
        }
    }
    return -1;
}

static int parse_number(double *out, const char *s)
{
    char *end;
    if (!*s || isspace((unsigned char)*s))
        return -1;
    *out = strtod(s, &end);
    return *end || !isfinite(*out) ? -1 : 0;
}

static int parse_int(int64_t *out, const char *s)
{
    char *end;
    if (!*s || isspace((unsigned char)*s))
        return -1;
    errno = 0;
    long long whole = strtoll(s, &end, 10);
    if (!*end && !errno) {
        *out = whole;
        return 0;
    }
    double x;
    if (parse_number(&x, s) || x != floor(x) || fabs(x) > 0x1p53)
        return -1;
    *out = (int64_t)x;
    return 0;
}

static int check_range(const struct option *option, double x, const char *s, const char *what,
                       struct err *err)
{
    bool any = option->min == 0 && option->max == 0 && !option->above_min, upper = option->max != 0;
    bool low = option->above_min ? x <= option->min : x < option->min;
    if (any || (!low && (!upper || x <= option->max)))
        return 0;
    const char *least = option->above_min ? "more than" : "at least";
    if (!upper || isinf(option->max))
        return err_set(err, "%s is %s, out of range: it must be %s %g", what, s, least,
                       option->min);
    if (isinf(option->min))
        return err_set(err, "%s is %s, out of range: it must be at most %g", what, s, option->max);
    return err_set(err, "%s is %s, out of range: it must be %s %g and at most %g", what, s, least,
                   option->min, option->max);
}

/* Store the value `s` of an option; `what` names it in sentences, as the user wrote it. */
static int set_value(struct options *o, const struct slot *slot, const char *s, const char *what,
                     struct err *err)
{
    const struct option *option = slot->option;
    switch (option->type) {
    case OPTION_BOOL:
        if (parse_bool(slot->field, s))
            return err_set(err, "%s is '%s': it must be true or false", what, s);
        return 0;
    case OPTION_INT: {
        int64_t x;
        if (parse_int(&x, s))
            return err_set(err, "%s is '%s': it must be a whole number", what, s);
        *(int64_t *)slot->field = x;
        return check_range(option, (double)x, s, what, err);
    }
    case OPTION_FLOAT: {
        double x;
        if (parse_number(&x, s))
            return err_set(err, "%s is '%s': it must be a finite number", what, s);
        *(double *)slot->field = x;
        return check_range(option, x, s, what, err);
    }
    case OPTION_STRING:
        *(const char **)slot->field = own_string(o, s);
        return 0;
    case OPTION_LIST: {
        const char *rest = s;
        for (const char *comma; option->commas && (comma = strchr(rest, ',')); rest = comma + 1) {
            char *one = own(o, xstrndup(rest, (size_t)(comma - rest)));
            list_add(o, slot->field, one);
        }
        list_add(o, slot->field, rest);
        return 0;
    }
    case OPTION_CHOICE: {
        struct buf all;
        size_t n = 0;
        for (; option->choices[n]; n++) {
            if (same_name(option->choices[n], s, strlen(s))) {
                *(int *)slot->field = (int)n;
                return 0;
            }
        }
        buf_init(&all, 512);
        for (size_t i = 0; i < n; i++)
            buf_printf(&all, "%s%s", i ? ", " : "", option->choices[i]);
        const char *near = options_nearest(s, option->choices, n);
        if (near)
            err_set(err, "%s is '%s': did you mean '%s'? (there are %s)", what, s, near, all.data);
        else
            err_set(err, "%s is '%s': choose one of %s", what, s, all.data);
        buf_release(&all);
        return -1;
    }
    }
    BUG("option '%s' has no type", option->name);
}

static void set_default(struct options *o, const struct slot *slot)
{
    const struct option *option = slot->option;
    static const size_t sizes[] = {
        [OPTION_BOOL] = sizeof(bool),           [OPTION_INT] = sizeof(int64_t),
        [OPTION_FLOAT] = sizeof(double),        [OPTION_STRING] = sizeof(char *),
        [OPTION_LIST] = sizeof(struct strings), [OPTION_CHOICE] = sizeof(int),
    };
    memset(slot->field, 0, sizes[option->type]);
    struct err err;
    if (option->default_value && set_value(o, slot, option->default_value, option->name, &err))
        BUG("the default of an option is wrong: %s", err.text);
}

/* A list that comes from a stronger source replaces the weaker one's; from the same source it is
 * added to. */
static int assign(struct options *o, const struct slot *slot, const char *s, unsigned char source,
                  const char *what, struct err *err)
{
    if (slot->option->type == OPTION_LIST && o->sources[slot->index] != source)
        *(struct strings *)slot->field = (struct strings){0};
    o->sources[slot->index] = source;
    return set_value(o, slot, s, what, err);
}

/* ---- the command line ---- */

static int unknown_flag(const struct options *o, const char *word, struct err *err)
{
    const char *near = nearest_option(o, word);
    if (!near)
        return err_set(err, "there is no option '--%s'", word);
    char *flag = xstrdup(near);
    for (char *c = flag; *c; c++)
        *c = *c == '_' ? '-' : *c;
    err_set(err, "there is no option '--%s': did you mean '--%s'?", word, flag);
    free(flag);
    return -1;
}

/* One "--flag" at argv[*i], and its value; *i moves to the last argument used. */
static int parse_flag(struct options *o, int argc, char **argv, int *i, const char **config,
                      struct err *err)
{
    const char *flag = argv[*i], *word = flag + 2, *equals = strchr(word, '=');
    size_t n = equals ? (size_t)(equals - word) : strlen(word);
    const char *value = equals ? equals + 1 : NULL;
    char *name = xstrndup(flag, n + 2);
    int rc = 0;
    struct slot slot;
    bool is_config = same_name("config", word, n);

    if (!is_config && !find(o, &slot, word, n)) {
        if (!value && n > 3 && fold(word[2]) == '_' && !strncmp(word, "no", 2) &&
            find(o, &slot, word + 3, n - 3) && slot.option->type == OPTION_BOOL)
            rc = assign(o, &slot, "false", FROM_COMMAND_LINE, name, err);
        else
            rc = unknown_flag(o, name + 2, err);
    } else if (!is_config && slot.option->type == OPTION_BOOL) {
        bool ignored;
        if (!value && *i + 1 < argc &&
            (!strcasecmp(argv[*i + 1], "true") || !strcasecmp(argv[*i + 1], "false")) &&
            parse_bool(&ignored, argv[*i + 1]) == 0)
            value = argv[++*i];
        rc = assign(o, &slot, value ? value : "true", FROM_COMMAND_LINE, name, err);
    } else {
        if (!value) {
            if (*i + 1 >= argc || !strncmp(argv[*i + 1], "--", 2))
                rc = err_set(err, "'%s' needs a value", name);
            else
                value = argv[++*i];
        }
        if (rc == 0 && is_config)
            *config = value;
        else if (rc == 0)
            rc = assign(o, &slot, value, FROM_COMMAND_LINE, name, err);
    }
    free(name);
    return rc;
}

/* ---- the file ---- */

struct yaml_file {
    const char *path;
    yaml_parser_t parser;
    yaml_event_t event;
};

static size_t event_line(const struct yaml_file *f)
{
    return f->event.start_mark.line + 1;
}

static int yaml_next(struct yaml_file *f, struct err *err)
{
    yaml_event_delete(&f->event);
    if (yaml_parser_parse(&f->parser, &f->event))
        return 0;
    return err_set(err, "'%s' line %zu is not YAML: %s", f->path, f->parser.problem_mark.line + 1,
                   f->parser.problem ? f->parser.problem : "it cannot be parsed");
}

static const char *scalar(const struct yaml_file *f)
{
    return (const char *)f->event.data.scalar.value;
}

static bool scalar_is_null(const struct yaml_file *f)
{
    const char *s = scalar(f);
    return f->event.data.scalar.plain_implicit &&
           (!*s || !strcmp(s, "~") || !strcasecmp(s, "null"));
}

/* The value of one key, which is the current event. */
static int yaml_value(struct options *o, struct yaml_file *f, const struct slot *slot,
                      struct err *err)
{
    const struct option *option = slot->option;
    char *what = xasprintf("'%s' line %zu: %s", f->path, event_line(f), option->name);
    bool skip = o->sources[slot->index] == FROM_COMMAND_LINE;
    int rc = 0;
    if (f->event.type == YAML_SCALAR_EVENT) {
        if (strlen(scalar(f)) != f->event.data.scalar.length)
            rc = err_set(err, "%s has a 0 byte in it", what);
        else if (!scalar_is_null(f) && !skip)
            rc = assign(o, slot, scalar(f), FROM_FILE, what, err);
    } else if (f->event.type == YAML_SEQUENCE_START_EVENT && option->type == OPTION_LIST) {
        if (!skip) {
            *(struct strings *)slot->field = (struct strings){0};
            o->sources[slot->index] = FROM_FILE;
        }
        while (rc == 0 && (rc = yaml_next(f, err)) == 0 &&
               f->event.type != YAML_SEQUENCE_END_EVENT) {
            if (f->event.type != YAML_SCALAR_EVENT ||
                strlen(scalar(f)) != f->event.data.scalar.length)
                rc = err_set(err, "%s: an entry of the list is no plain value", what);
            else if (!skip)
                rc = assign(o, slot, scalar(f), FROM_FILE, what, err);
        }
    } else if (f->event.type == YAML_SEQUENCE_START_EVENT) {
        rc = err_set(err, "%s takes one value, not a list", what);
    } else if (f->event.type == YAML_ALIAS_EVENT) {
        rc = err_set(err,
                     "%s is a YAML alias (*name), which is not supported: write the value itself",
                     what);
    } else {
        rc = err_set(err, "%s must be a plain value: options are one flat mapping", what);
    }
    free(what);
    return rc;
}

static int yaml_mapping(struct options *o, struct yaml_file *f, struct err *err)
{
    size_t *seen = NULL, n_seen = 0, capacity = 0;
    int rc;
    while ((rc = yaml_next(f, err)) == 0 && f->event.type != YAML_MAPPING_END_EVENT) {
        struct slot slot;
        if (f->event.type != YAML_SCALAR_EVENT) {
            rc = err_set(err, "'%s' line %zu: expected the name of an option", f->path,
                         event_line(f));
            break;
        }
        const char *key = scalar(f);
        if (!find(o, &slot, key, strlen(key))) {
            const char *near = nearest_option(o, key);
            rc = near ? err_set(err, "'%s' line %zu: there is no option '%s': did you mean '%s'?",
                                f->path, event_line(f), key, near)
                      : err_set(err, "'%s' line %zu: there is no option '%s' of hone %s: remove it",
                                f->path, event_line(f), key, o->spec->command);
            break;
        }
        for (size_t i = 0; i < n_seen && rc == 0; i++)
            if (seen[i] == slot.index)
                rc = err_set(err, "'%s' line %zu: '%s' stands there twice: remove one", f->path,
                             event_line(f), key);
        ARRAY_GROW(seen, n_seen + 1, capacity);
        seen[n_seen++] = slot.index;
        if (rc || (rc = yaml_next(f, err)) || (rc = yaml_value(o, f, &slot, err)))
            break;
    }
    free(seen);
    return rc;
}

static int yaml_document(struct options *o, struct yaml_file *f, struct err *err)
{
    do {
        if (yaml_next(f, err))
            return -1;
        if (f->event.type == YAML_STREAM_END_EVENT)
            return 0; /* nothing but comments */
    } while (f->event.type == YAML_STREAM_START_EVENT ||
             f->event.type == YAML_DOCUMENT_START_EVENT);
    if (f->event.type == YAML_SCALAR_EVENT && scalar_is_null(f))
        return 0;
    if (f->event.type != YAML_MAPPING_START_EVENT)
        return err_set(err, "'%s' line %zu: expected lines like 'learning_rate: 1e-4'", f->path,
                       event_line(f));
    if (yaml_mapping(o, f, err))
        return -1;
    while (f->event.type != YAML_STREAM_END_EVENT) {
        if (yaml_next(f, err))
            return -1;
        if (f->event.type == YAML_DOCUMENT_START_EVENT)
            return err_set(err, "'%s' line %zu: a second document begins: only one is read",
                           f->path, event_line(f));
    }
    return 0;
}

static int parse_file(struct options *o, const char *path, struct err *err)
{
    struct buf text;
    struct yaml_file f = {.path = path};
    buf_init(&text, CONFIG_CEILING);
    int rc = file_read(path, &text, err);
    if (rc == 0) {
        if (!yaml_parser_initialize(&f.parser))
            BUG("out of memory");
        yaml_parser_set_input_string(&f.parser, (const unsigned char *)text.data, text.len);
        rc = yaml_document(o, &f, err);
        yaml_event_delete(&f.event);
        yaml_parser_delete(&f.parser);
    }
    buf_release(&text);
    return rc;
}

/* ---- the whole ---- */

static int check_required(const struct options *o, struct err *err)
{
    struct slot slot = {0};
    FOR_SLOTS(o, slot) {
        if (!slot.option->required || o->sources[slot.index] != FROM_DEFAULT)
            continue;
        char *flag = xstrdup(slot.option->name);
        for (char *c = flag; *c; c++)
            *c = *c == '_' ? '-' : *c;
        err_set(err, "--%s is missing: give %s", flag, slot.option->help);
        free(flag);
        return -1;
    }
    size_t n = o->operands.n;
    const char *operand = o->spec->operand;
    if (n < o->spec->min_operands)
        return err_set(err, "%s is missing: usage: %s", operand, o->spec->usage);
    if (n > o->spec->max_operands && operand)
        return err_set(err, "'%s' is one %s too many", o->operands.data[o->spec->max_operands],
                       operand);
    if (n > o->spec->max_operands)
        return err_set(err, "'%s' stands there without a flag: options begin with --",
                       o->operands.data[0]);
    return 0;
}

int options_parse(struct options *o, const struct option_spec *spec, void *args, int argc,
                  char **argv, struct err *err)
{
    *o = (struct options){.spec = spec, .args = args};
    size_t n = 0;
    for (size_t i = 0; i < spec->n_groups; i++)
        n += spec->groups[i].n;
    o->sources = own(o, xcalloc(n, 1));
    struct slot slot = {0};
    FOR_SLOTS(o, slot)
        set_default(o, &slot);

    const char *config = NULL;
    bool only_operands = false, only_check = false;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (only_operands || arg[0] != '-' || !strcmp(arg, "-")) {
            list_add(o, &o->operands, arg);
        } else if (!strcmp(arg, "--")) {
            only_operands = true;
        } else if (!strcmp(arg, "--help") || !strcmp(arg, "-h")) {
            return 1;
        } else if (!strcmp(arg, "--check")) {
            only_check = true;
        } else if (arg[1] != '-') {
            return err_set(err, "there is no option '%s': options begin with --", arg);
        } else if (parse_flag(o, argc, argv, &i, &config, err)) {
            return -1;
        }
    }
    if ((config && parse_file(o, config, err)) || check_required(o, err))
        return -1;
    return only_check ? 2 : 0;
}

void options_release(struct options *o)
{
    for (size_t i = 0; i < o->n_owned; i++)
        free(o->owned[i]);
    free(o->owned);
    *o = (struct options){0};
}

bool options_given(const struct options *o, const char *name)
{
    struct slot slot;
    if (!find(o, &slot, name, strlen(name)))
        BUG("no option '%s'", name);
    return o->sources[slot.index] != FROM_DEFAULT;
}

/* ---- help and YAML ---- */

/* Add text, broken at spaces, where column `from` is reached already and lines go on at `indent`.
 */
static void add_wrapped(struct buf *out, const char *text, size_t from, size_t indent)
{
    enum { WIDTH = 100 };
    size_t column = from;
    while (*text) {
        size_t n = strcspn(text, " ");
        if (column + n > WIDTH && column > indent) {
            buf_printf(out, "\n%*s", (int)indent, "");
            column = indent;
        }
        buf_add(out, text, n);
        column += n;
        text += n;
        if (*text == ' ') {
            text++;
            if (column < WIDTH) {
                buf_str(out, " ");
                column++;
            }
        }
    }
    buf_str(out, "\n");
}

static void help_option(const struct option *option, struct buf *out)
{
    enum { INDENT = 34 };
    static const char *const values[] = {
        [OPTION_INT] = "N",
        [OPTION_FLOAT] = "X",
        [OPTION_STRING] = "S",
        [OPTION_LIST] = "S",
    };
    struct buf left, right;
    buf_init(&left, 512);
    buf_init(&right, 4096);
    buf_printf(&left, "  --%s", option->type == OPTION_BOOL ? "[no-]" : "");
    for (const char *c = option->name; *c; c++)
        buf_printf(&left, "%c", *c == '_' ? '-' : *c);
    if (option->value && option->type != OPTION_BOOL)
        buf_printf(&left, " %s", option->value);
    else if (option->type == OPTION_CHOICE)
        buf_str(&left, " NAME");
    else if (option->type != OPTION_BOOL)
        buf_printf(&left, " %s", values[option->type]);
    if (option->type == OPTION_LIST)
        buf_str(&left, option->commas ? ",.." : " ..");

    buf_str(&right, option->help);
    if (option->type == OPTION_CHOICE) {
        for (size_t i = 0; option->choices[i]; i++)
            buf_printf(&right, "%s%s", i ? ", " : ": ", option->choices[i]);
    }
    if (option->required)
        buf_str(&right, " (required)");
    else if (option->default_value && *option->default_value)
        buf_printf(&right, " (default: %s)", option->default_value);
    else if (option->type == OPTION_CHOICE)
        buf_printf(&right, " (default: %s)", option->choices[0]);
    else if (option->type == OPTION_BOOL)
        buf_str(&right, " (default: false)");
    else if (option->type == OPTION_INT || option->type == OPTION_FLOAT)
        buf_str(&right, " (default: 0)");

    if (left.len + 2 > INDENT)
        buf_printf(out, "%s\n%*s", left.data, INDENT, "");
    else
        buf_printf(out, "%-*s", INDENT, left.data);
    add_wrapped(out, right.data, INDENT, INDENT);
    buf_release(&left);
    buf_release(&right);
}

static const struct option always[] = {
    {.name = "config",
     .type = OPTION_STRING,
     .value = "FILE.yaml",
     .help = "options from a file, as lines 'name: value'; the command line wins"},
};

void options_help(const struct option_spec *spec, struct buf *out)
{
    buf_printf(out, "usage: %s\n\n", spec->usage);
    add_wrapped(out, spec->summary, 0, 0);
    if (spec->example)
        buf_printf(out, "\nexample:\n  %s\n", spec->example);
    for (size_t g = 0; g < spec->n_groups; g++) {
        buf_printf(out, "\n%s:\n", spec->groups[g].title);
        for (size_t i = 0; i < spec->groups[g].n; i++)
            help_option(&spec->groups[g].options[i], out);
    }
    buf_str(out, "\nAll commands:\n");
    help_option(&always[0], out);
    buf_printf(out, "  %-32s%s\n", "--check", "read the options and do nothing: says what is wrong with them, or ends with 0");
    buf_printf(out, "  %-32s%s\n", "--help", "this text");
}

static void yaml_string(struct buf *out, const char *s)
{
    if (s)
        buf_json_str(out, s, strlen(s)); /* a JSON string is a YAML string */
    else
        buf_str(out, "null");
}

/* With a point in it: YAML 1.1 takes 1e-05 for text. */
static void yaml_number(struct buf *out, double x)
{
    struct buf s;
    buf_init(&s, 64);
    buf_json_double(&s, x);
    char *e = strchr(s.data, 'e');
    if (e && !strchr(s.data, '.')) {
        buf_add(out, s.data, (size_t)(e - s.data));
        buf_printf(out, ".0%s", e);
    } else {
        buf_str(out, s.data);
    }
    buf_release(&s);
}

void options_write_yaml(const struct options *o, struct buf *out)
{
    struct slot slot = {0};
    FOR_SLOTS(o, slot) {
        const struct option *option = slot.option;
        if (option->momentary)
            continue;
        buf_printf(out, "%s: ", option->name);
        switch (option->type) {
        case OPTION_BOOL:
            buf_str(out, *(bool *)slot.field ? "true" : "false");
            break;
        case OPTION_INT:
            buf_printf(out, "%" PRId64, *(int64_t *)slot.field);
            break;
        case OPTION_FLOAT:
            yaml_number(out, *(double *)slot.field);
            break;
        case OPTION_STRING:
            yaml_string(out, *(const char **)slot.field);
            break;
        case OPTION_LIST: {
            const struct strings *list = slot.field;
            for (size_t i = 0; i < list->n; i++) {
                buf_str(out, i ? ", " : "[");
                yaml_string(out, list->data[i]);
            }
            buf_str(out, list->n ? "]" : "[]");
            break;
        }
        case OPTION_CHOICE:
            yaml_string(out, option->choices[*(int *)slot.field]);
            break;
        }
        buf_str(out, "\n");
    }
}
