#define _GNU_SOURCE /* memmem */
#include "data/records.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <zlib.h>

#include "util/mem.h"
#include "util/utf8.h"

/* ---- the bytes ---- */

static int read_all(struct records *r, const char *path, struct err *err)
{
    errno = 0;
    gzFile f = strcmp(path, "-") ? gzopen(path, "rb") : gzdopen(dup(STDIN_FILENO), "rb");
    if (!f)
        return err_set(err, "cannot open '%s': %s", path,
                       errno ? strerror(errno) : "out of memory");
    const unsigned size = 1 << 18;
    char *block = xmalloc(size);
    int rc = 0, got;
    while ((got = gzread(f, block, size)) > 0 && !r->bytes.overflow)
        buf_add(&r->bytes, block, (size_t)got);
    r->gzipped = !gzdirect(f);
    if (r->bytes.overflow)
        rc = err_set(err, "'%s' is larger than the %zu MiB that are read of a data file: split it",
                     path, r->bytes.ceiling >> 20);
    else if (got < 0) {
        int code;
        const char *why = gzerror(f, &code);
        if (code == Z_ERRNO)
            rc = err_set(err, "cannot read '%s': %s", path, strerror(errno));
        else
            rc = err_set(err, "cannot unpack '%s': %s: get the file again", path, why);
    }
    free(block);
    /* a gzip stream without its end is reported here */
    if (gzclose(f) == Z_BUF_ERROR && rc == 0)
        rc = err_set(err, "'%s' is cut off: its gzip stream has no end: get the file again", path);
    return rc;
}

static void skip_space(struct records *r)
{
    for (; r->pos < r->n && strchr(" \t\r\n", r->data[r->pos]) && r->data[r->pos]; r->pos++)
        r->line += r->data[r->pos] == '\n';
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcasecmp(s + n - k, end);
}

static bool is_csv(const char *name)
{
    return ends_with(name, ".csv") || ends_with(name, ".csv.gz");
}

static int line_too_long(const struct records *r, size_t line, struct err *err)
{
    return err_set(err,
                   "'%s' line %zu: the row is longer than the %zu bytes that are read of one: "
                   "split or remove it",
                   r->name, line, r->max_line);
}

/* ---- JSON ---- */

static const char *json_kind(const json_t *v)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list",  [JSON_STRING] = "a string",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number", [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null",
    };
    return names[json_typeof(v)];
}

static json_t *parse_object(const struct records *r, const char *text, size_t n, size_t line,
                            struct err *err)
{
    json_error_t e;
    if (n > r->max_line) {
        line_too_long(r, line, err);
        return NULL;
    }
    size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | (r->allow_nul ? JSON_ALLOW_NUL : 0);
    json_t *row = json_loadb(text, n, flags, &e);
    size_t at = line + (e.line > 1 ? (size_t)e.line - 1 : 0);
    if (!row && json_error_code(&e) == json_error_premature_end_of_input)
        err_set(err,
                "'%s' line %zu: the row breaks off (%s): is the file cut off? each line must be "
                "one whole JSON object",
                r->name, at, e.text);
    else if (!row && (memmem(text, n, "NaN", 3) || memmem(text, n, "Infinity", 8)))
        err_set(err, "'%s' line %zu: not JSON: %s: if a number is not finite, remove the row",
                r->name, at, e.text);
    else if (!row)
        err_set(err, "'%s' line %zu: not JSON: %s: correct the line", r->name, at, e.text);
    else if (!json_is_object(row)) {
        err_set(err, "'%s' line %zu: expected an object like {\"prompt\": ..}, found %s", r->name,
                line, json_kind(row));
        json_decref(row);
        row = NULL;
    }
    return row;
}

static int next_line(struct records *r, json_t **row, size_t *line, struct err *err)
{
    skip_space(r);
    if (r->pos == r->n)
        return 0;
    const char *start = r->data + r->pos, *end = memchr(start, '\n', r->n - r->pos);
    size_t n = end ? (size_t)(end - start) : r->n - r->pos;
    *line = r->line;
    *row = parse_object(r, start, n, r->line, err);
    r->pos += n;
    return *row ? 1 : -1;
}

/* Where the value that begins at pos ends (after its last bracket), or 0 if it breaks off.  Only
 * brackets and strings are looked at: the JSON parser sees the rest. */
static size_t value_end(const struct records *r, size_t pos)
{
    size_t depth = 0;
    bool in_string = false;
    for (; pos < r->n; pos++) {
        char c = r->data[pos];
        if (in_string) {
            if (c == '\\')
                pos++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if ((c == '}' || c == ']') && --depth == 0) {
            return pos + 1;
        }
    }
    return 0;
}

static int next_element(struct records *r, json_t **row, size_t *line, struct err *err)
{
    if (r->pos == r->n && r->index == SIZE_MAX)
        return 0;
    skip_space(r);
    char c = r->pos < r->n ? r->data[r->pos] : 0;
    if (r->index > 0 && c == ',') {
        r->pos++;
        skip_space(r);
        c = r->pos < r->n ? r->data[r->pos] : 0;
    } else if (c == ']') {
        r->pos++;
        skip_space(r);
        if (r->pos < r->n)
            return err_set(err, "'%s' line %zu: something follows after the array's end: remove it",
                           r->name, r->line);
        r->index = SIZE_MAX;
        return 0;
    } else if (r->index > 0 && r->pos < r->n) {
        return err_set(err, "'%s' line %zu: expected ',' or ']' after an object of the array",
                       r->name, r->line);
    }
    *line = r->line;
    if (r->pos < r->n && c != '{')
        return err_set(err, "'%s' line %zu: expected an object like {\"prompt\": ..} in the array",
                       r->name, r->line);
    size_t end = r->pos < r->n ? value_end(r, r->pos) : 0;
    if (!end)
        return err_set(err, "'%s' line %zu: the array breaks off here: is the file cut off?",
                       r->name, r->line);
    *row = parse_object(r, r->data + r->pos, end - r->pos, r->line, err);
    for (; r->pos < end; r->pos++)
        r->line += r->data[r->pos] == '\n';
    r->index++;
    return *row ? 1 : -1;
}

/* ---- CSV ---- */

#define MAX_COLUMNS 1000
#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-;\t"

struct cells {
    struct buf text; /* each with its 0 byte */
    size_t *starts;
    size_t n, capacity;
};

static void cells_release(struct cells *c)
{
    buf_release(&c->text);
    free(c->starts);
}

static const char *cell(const struct cells *c, size_t i)
{
    return c->text.data + c->starts[i];
}

static int check_text(const struct records *r, const char *s, size_t n, size_t line,
                      struct err *err)
{
    for (size_t i = 0; i < n;) {
        size_t k = s[i] ? utf8_char_len(s + i, n - i) : 0;
        if (!k)
            return err_set(err,
                           "'%s' line %zu: byte 0x%02x is not UTF-8 text: save the file as UTF-8",
                           r->name, line, (unsigned)(unsigned char)s[i]);
        line += s[i] == '\n';
        i += k;
    }
    return 0;
}

/* One row of cells at pos, up to and including its line's end. */
static int next_cells(struct records *r, struct cells *c, struct err *err)
{
    const char *s = r->data;
    size_t start = r->pos, first_line = r->line;
    c->n = 0;
    buf_clear(&c->text);
    for (bool more = true; more;) {
        ARRAY_GROW(c->starts, c->n + 1, c->capacity);
        c->starts[c->n++] = c->text.len;
        if (r->pos < r->n && s[r->pos] == '"') {
            size_t quote_line = r->line;
            for (r->pos++;; r->pos++) {
                const char *q = memchr(s + r->pos, '"', r->n - r->pos);
                if (!q)
                    return err_set(err,
                                   "'%s' line %zu: a quoted field begins here and never ends: is "
                                   "the file cut off?",
                                   r->name, quote_line);
                buf_add(&c->text, s + r->pos, (size_t)(q - s) - r->pos);
                for (; s + r->pos < q; r->pos++)
                    r->line += s[r->pos] == '\n';
                r->pos++;
                if (r->pos == r->n || s[r->pos] != '"')
                    break;
                buf_add(&c->text, "\"", 1);
            }
            if (r->pos < r->n && !strchr(",\r\n", s[r->pos]))
                return err_set(
                    err,
                    "'%s' line %zu: text after a closing quote: double the quotes inside a field",
                    r->name, r->line);
        }
        size_t plain = r->pos;
        while (r->pos < r->n && s[r->pos] != ',' && s[r->pos] != '\n' &&
               !(s[r->pos] == '\r' && (r->pos + 1 == r->n || s[r->pos + 1] == '\n')))
            r->pos++;
        buf_add(&c->text, s + plain, r->pos - plain);
        buf_add(&c->text, "", 1);
        more = r->pos < r->n && s[r->pos] == ',';
        r->pos += more;
        if (r->pos - start > r->max_line)
            return line_too_long(r, first_line, err);
    }
    if (check_text(r, s + start, r->pos - start, first_line, err))
        return -1;
    if (r->pos < r->n && s[r->pos] == '\r')
        r->pos++;
    if (r->pos < r->n && s[r->pos] == '\n') {
        r->pos++;
        r->line++;
    }
    return 0;
}

static void cells_init(struct cells *c, const struct records *r)
{
    *c = (struct cells){0};
    buf_init(&c->text, r->n * 2 + 2); /* no cell is longer than the file; each has one 0 byte */
}

static int read_header(struct records *r, struct err *err)
{
    struct cells c;
    cells_init(&c, r);
    int rc = next_cells(r, &c, err);
    if (rc == 0 && c.n > MAX_COLUMNS)
        rc = err_set(err, "'%s' line 1: more than the %d columns that are read: is it a CSV file?",
                     r->name, MAX_COLUMNS);
    for (size_t i = 0; rc == 0 && i < c.n; i++) {
        for (size_t j = 0; j < i && rc == 0; j++)
            if (*cell(&c, i) && !strcmp(cell(&c, i), cell(&c, j)))
                rc = err_set(err, "'%s' line 1: the column '%s' stands there twice: rename one",
                             r->name, cell(&c, i));
    }
    if (rc == 0 && c.n == 1 && !is_csv(r->name) &&
        strspn(cell(&c, 0), NAME_CHARACTERS) != strlen(cell(&c, 0)))
        rc = err_set(err,
                     "'%s' line 1 is neither JSON, where a row begins with '{', nor a CSV header",
                     r->name);
    if (rc == 0 && c.n == 1 && strpbrk(cell(&c, 0), ";\t"))
        rc = err_set(
            err, "'%s' line 1: the header has no comma: save the file with ',' between the fields",
            r->name);
    if (rc == 0) {
        r->columns = xcalloc(c.n, sizeof *r->columns);
        r->n_columns = c.n;
        for (size_t i = 0; i < c.n; i++)
            r->columns[i] = xstrdup(cell(&c, i));
    }
    cells_release(&c);
    return rc;
}

static int next_csv(struct records *r, json_t **row, size_t *line, struct err *err)
{
    while (r->pos < r->n &&
           (r->data[r->pos] == '\n' ||
            (r->data[r->pos] == '\r' && r->pos + 1 < r->n && r->data[r->pos + 1] == '\n'))) {
        r->line += r->data[r->pos] == '\n';
        r->pos++;
    }
    if (r->pos == r->n)
        return 0;
    struct cells c;
    cells_init(&c, r);
    *line = r->line;
    int rc = next_cells(r, &c, err);
    if (rc == 0 && c.n != r->n_columns)
        rc = err_set(err,
                     "'%s' line %zu: %zu fields, but the header has %zu: quote fields that have "
                     "commas in them",
                     r->name, *line, c.n, r->n_columns);
    if (rc == 0) {
        *row = json_object();
        for (size_t i = 0; i < c.n; i++)
            if (*r->columns[i])
                json_object_set_new(*row, r->columns[i], json_string(cell(&c, i)));
    }
    cells_release(&c);
    return rc ? -1 : 1;
}

/* ---- the whole ---- */

static int recognise(struct records *r, struct err *err)
{
    if (r->n >= 3 && !memcmp(r->data, "\xef\xbb\xbf", 3))
        r->pos = 3; /* byte-order mark */
    if (r->n >= 2 && (!memcmp(r->data, "\xff\xfe", 2) || !memcmp(r->data, "\xfe\xff", 2)))
        return err_set(err, "'%s' is UTF-16 text: save it as UTF-8", r->name);
    if (r->n >= 4 && !memcmp(r->data, "PAR1", 4))
        return err_set(err, "'%s' is a Parquet file: convert it to JSON lines", r->name);
    size_t start = r->pos;
    skip_space(r);
    if (r->pos == r->n)
        return err_set(err, "'%s' is empty: it must have at least one row", r->name);
    char c = r->data[r->pos];
    if (is_csv(r->name) || (c != '{' && c != '[')) {
        r->form = RECORDS_CSV;
        r->pos = start;
        r->line = 1;
        return read_header(r, err);
    }
    r->form = c == '[' ? RECORDS_JSON_ARRAY : RECORDS_JSON_LINES;
    r->pos += c == '[';
    return 0;
}

static int open_done(struct records *r, struct err *err)
{
    int rc = recognise(r, err);
    if (rc)
        records_close(r);
    return rc;
}

int records_open(struct records *r, const char *path, size_t max_line, size_t max_file,
                 struct err *err)
{
    *r = (struct records){.max_line = max_line,
                          .line = 1,
                          .name = xstrdup(strcmp(path, "-") ? path : "standard input")};
    buf_init(&r->bytes, max_file);
    if (read_all(r, path, err)) {
        records_close(r);
        return -1;
    }
    r->data = r->bytes.data;
    r->n = r->bytes.len;
    return open_done(r, err);
}

int records_open_bytes(struct records *r, const char *name, const char *bytes, size_t n,
                       size_t max_line, struct err *err)
{
    *r = (struct records){
        .max_line = max_line, .line = 1, .name = xstrdup(name), .data = bytes, .n = n};
    return open_done(r, err);
}

int records_next(struct records *r, json_t **row, size_t *line, struct err *err)
{
    *row = NULL;
    switch (r->form) {
    case RECORDS_JSON_LINES:
        return next_line(r, row, line, err);
    case RECORDS_JSON_ARRAY:
        return next_element(r, row, line, err);
    case RECORDS_CSV:
        return next_csv(r, row, line, err);
    }
    BUG("records of no form");
}

void records_close(struct records *r)
{
    for (size_t i = 0; i < r->n_columns; i++)
        free(r->columns[i]);
    free(r->columns);
    if (r->bytes.data)
        buf_release(&r->bytes);
    free(r->name);
    *r = (struct records){0};
}
