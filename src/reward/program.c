#include "reward/program.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reward/child.h"
#include "util/mem.h"

#define LONGEST_LINE 256 /* bytes that a number may take on its line */

/* ---- what goes in ---- */

static void add_line(struct buf *out, const struct answer_text *a)
{
    char *row = json_dumps(a->row->fields, JSON_COMPACT);
    buf_str(out, "{\"prompt\": ");
    row_part_json(out, &a->row->prompt);
    buf_str(out, ", \"completion\": ");
    buf_json_str(out, a->text, a->n);
    buf_printf(out, ", \"finished\": %s, \"tokens\": %zu, \"row\": %s}\n", a->finished ? "true" : "false", a->tokens,
               row ? row : "{}");
    free(row);
}

/* ---- what comes out ---- */

/* The number that is all of a line. */
static bool read_number(double *x, const char *line, size_t n)
{
    char text[LONGEST_LINE + 1], *end;
    while (n && strchr(" \t\r", line[n - 1]))
        n--;
    if (n == 0 || n > LONGEST_LINE || memchr(line, 0, n))
        return false;
    memcpy(text, line, n);
    text[n] = 0;
    *x = strtod(text, &end);
    return !*end && isfinite(*x);
}

static int read_scores(double *scores, size_t n, const char *command, const struct buf *out, struct err *err)
{
    size_t lines = 0;
    for (const char *at = out->data, *stop = at + out->len; at < stop; lines++) {
        const char *end = memchr(at, '\n', (size_t)(stop - at));
        size_t length = end ? (size_t)(end - at) : (size_t)(stop - at);
        double x;
        if (!read_number(&x, at, length))
            return err_set(err, "line %zu of what the reward program '%.200s' wrote is '%.*s': it must be one finite number, the "
                                "score of the %zu. completion", lines + 1, command, (int)(length < 60 ? length : 60), at, lines + 1);
        if (lines < n)
            scores[lines] = x;
        at += length + 1;
    }
    if (lines == n)
        return 0;
    return err_set(err, "the reward program '%.200s' wrote %zu lines for %zu completions: it must write one number for each, and "
                        "nothing else", command, lines, n);
}

/* ---- running it ---- */

static int ended_well(const struct child_job *job, const char *command, struct err *err)
{
    int code = child_code(job);
    if (code == 0)
        return 0;
    if (code > 128)
        return err_set(err, "the program '%.200s' was ended by signal %d (%s)", command, code - 128, strsignal(code - 128));
    return err_set(err, "the program '%.200s' ended with code %d instead of 0: %s", command, code,
                   code == 127   ? "there is no such program (write its path: ./NAME)"
                   : code == 126 ? "it may not be executed (chmod +x)"
                                 : "what it wrote on standard error says why");
}

int program_run(struct buf *out, const char *command, const struct buf *in, double seconds, struct err *err)
{
    char sh[] = "/bin/sh", flag[] = "-c", *line = xstrdup(command), *argv[] = {sh, flag, line, NULL};
    struct child_job job = {.argv = argv, .in = in, .out = out, .seconds = seconds};
    children_run(&job, 1, 1);
    free(line);
    switch (job.end) {
    case CHILD_NOT_STARTED:
        return err_set(err, "cannot start the program '%.200s': %s", command, strerror(job.error));
    case CHILD_WORDY:
        return err_set(err, "the program '%.200s' wrote far more than one answer for each line that it was given, and must write nothing "
                            "else", command);
    case CHILD_LATE:
        return err_set(err, "the program '%.200s' took more than %g seconds and was ended: make it faster, or raise "
                            "--reward-timeout", command, seconds);
    default:
        return ended_well(&job, command, err);
    }
}

char *program_file(const char *command)
{
    command += strspn(command, " \t");
    return xstrndup(command, strcspn(command, " \t"));
}

int program_score(double *scores, const char *command, const struct answer_text *answers, size_t n, double seconds,
                  struct err *err)
{
    struct buf in, out;
    buf_init(&in, SIZE_MAX / 2);
    buf_init(&out, (n + 16) * (LONGEST_LINE + 1));
    for (size_t i = 0; i < n; i++)
        add_line(&in, &answers[i]);
    int rc = program_run(&out, command, &in, seconds, err);
    if (rc == 0)
        rc = read_scores(scores, n, command, &out, err);
    buf_release(&in);
    buf_release(&out);
    return rc;
}
