#define _GNU_SOURCE
#include "data/steps.h"

#include <stdlib.h>
#include <string.h>

#include "util/mem.h"

const char *const step_aggregate_names[] = {[STEPS_MIN] = "min", [STEPS_PROD] = "prod", [STEPS_LAST] = "last", [STEPS_MEAN] = "mean", NULL};

double steps_together(const double *p, size_t n, enum step_aggregate how)
{
    double x = p[n - 1];
    for (size_t i = n - 1; how != STEPS_LAST && i-- > 0;)
        x = how == STEPS_MIN ? (p[i] < x ? p[i] : x) : how == STEPS_PROD ? x * p[i] : x + p[i];
    return how == STEPS_MEAN ? x / (double)n : x;
}

static bool is_blank(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strchr(" \t\r\n\f\v", text[i]))
            return false;
    return true;
}

size_t step_ends(size_t *ends, const struct tokenizer *t, const int32_t *ids, size_t n, const char *separator)
{
    struct buf text;
    size_t found = 0, step = 0, length = strlen(separator); /* step: where the one under way begins */
    buf_init(&text, SIZE_MAX / 2);
    for (size_t i = 0; i < n; i++) {
        tokenizer_decode_more(t, &text, ids + i, 1, true);
        bool ended = false;
        for (const char *at; (at = memmem(text.data + step, text.len - step, separator, length));) {
            ended |= !is_blank(text.data + step, (size_t)(at - text.data) - step);
            step = (size_t)(at - text.data) + length;
        }
        if (ended || (i == n - 1 && (found == 0 || !is_blank(text.data + step, text.len - step))))
            ends[found++] = i;
    }
    buf_release(&text);
    return found;
}

void steps_find(struct steps *s, const struct examples *e, const struct tokenizer *t, const char *separator)
{
    size_t count = 0, capacity = 0, found = 0;
    for (size_t i = 0; i < e->n; i++)
        count += e->list[i].n_completions;
    *s = (struct steps){.start = xcalloc(count + 1, sizeof *s->start)};
    for (size_t i = 0; i < e->n; i++)
        for (size_t k = 0; k < e->list[i].n_completions; k++) {
            const struct sequence *c = &e->list[i].completions[k];
            ARRAY_GROW(s->end, found + c->n + 1, capacity);
            found += step_ends(s->end + found, t, c->ids, c->n, separator);
            s->start[++s->n] = found;
        }
}

void steps_release(struct steps *s)
{
    free(s->start);
    free(s->end);
    *s = (struct steps){0};
}

/* ---- rows ---- */

static int join(struct row_part *part, const struct row *row, const char *separator, const char *path, struct err *err)
{
    struct buf text;
    int rc = 0;
    buf_init(&text, SIZE_MAX / 2);
    for (size_t k = 0; rc == 0 && k < row->n_completions; k++) {
        const char *step = row->completions[k].text;
        if (strstr(step, separator))
            rc = err_set(err, "'%s' line %zu: step %zu holds the separator that steps are told apart by: take it out, or choose another "
                              "(--step-separator)", path, row->line, k + 1);
        buf_str(&text, k ? separator : "");
        buf_str(&text, step);
    }
    if (rc == 0 && row->prompt.n_messages) {
        part->messages = xcalloc(1, sizeof *part->messages);
        part->messages[part->n_messages++] = (struct message){xstrdup("assistant"), xstrdup(text.data)};
    } else if (rc == 0) {
        part->text = xstrdup(text.data);
    }
    buf_release(&text);
    return rc;
}

int stepwise_join(struct dataset *joined, const struct dataset *rows, const char *separator, struct err *err)
{
    *joined = (struct dataset){.path = rows->path, .format_name = rows->format_name, .kind = ROWS_COMPLETION};
    joined->rows = xcalloc(rows->n + 1, sizeof *joined->rows);
    for (size_t i = 0; i < rows->n; i++) {
        struct row *row = &joined->rows[joined->n++];
        *row = rows->rows[i];
        row->completions = xcalloc(1, sizeof *row->completions);
        row->n_completions = 1;
        if (join(row->completions, &rows->rows[i], separator, rows->path, err)) {
            stepwise_release(joined);
            return -1;
        }
    }
    return 0;
}

void stepwise_release(struct dataset *joined)
{
    for (size_t i = 0; i < joined->n; i++) {
        struct row_part *part = joined->rows[i].completions;
        if (part->n_messages) {
            free(part->messages[0].role);
            free(part->messages[0].content);
        }
        free(part->messages);
        free(part->text);
        free(part);
    }
    free(joined->rows);
    *joined = (struct dataset){0};
}

int stepwise_check(const struct steps *s, const struct examples *e, const struct dataset *rows, struct err *err)
{
    if (e->truncated)
        return err_set(err, "'%s': %zu rows do not fit max_length, and an answer that is cut has lost some of its steps: raise --max-length, "
                            "or leave these rows out", rows->path, e->truncated);
    for (size_t i = 0; i < rows->n; i++)
        if (s->start[i + 1] - s->start[i] != rows->rows[i].n_completions)
            return err_set(err, "'%s' line %zu: of its %zu steps %zu are found again in the answer that they make: one ends within the "
                                "separator, or a token goes beyond one: choose another (--step-separator)", rows->path, rows->rows[i].line,
                           rows->rows[i].n_completions, s->start[i + 1] - s->start[i]);
    return 0;
}
