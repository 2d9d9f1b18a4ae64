#define _GNU_SOURCE
#include "reward/program.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "util/buf.h"
#include "util/mem.h"

#define LONGEST_LINE 256 /* bytes that a number may take on its line */

extern char **environ;

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

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct child {
    pid_t pid;
    int in, out; /* our ends: what it reads, what it writes; -1: closed */
};

static void close_end(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int start(struct child *c, const char *command, struct err *err)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, rc;
    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC)) {
        err_set(err, "cannot make a pipe to the program '%.200s': %s", command, strerror(errno));
        close_end(&in[0]);
        close_end(&in[1]);
        return -1;
    }
    char sh[] = "sh", flag[] = "-c", *line = xstrdup(command), *argv[] = {sh, flag, line, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t defaults;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in[0], 0);
    posix_spawn_file_actions_adddup2(&files, out[1], 1);
    posix_spawnattr_init(&attributes);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
    rc = posix_spawn(&c->pid, "/bin/sh", &files, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    free(line);
    close_end(&in[0]);
    close_end(&out[1]);
    c->in = in[1];
    c->out = out[0];
    if (rc) {
        close_end(&c->in);
        close_end(&c->out);
        return err_set(err, "cannot start the program '%.200s': %s", command, strerror(rc));
    }
    fcntl(c->in, F_SETFL, O_NONBLOCK);
    return 0;
}

/* Feed and read until its output ends, or there is far too much of it.  1: the time is over. */
static int exchange(struct child *c, const struct buf *in, struct buf *out, double deadline)
{
    size_t written = 0;
    while (c->out >= 0 && !out->overflow) {
        double left = deadline - now();
        struct pollfd ends[2] = {{.fd = c->out, .events = POLLIN}, {.fd = c->in, .events = POLLOUT}};
        if (left <= 0)
            return 1;
        if (poll(ends, 2, (int)fmin(left * 1000 + 1, 1e9)) < 0 && errno != EINTR)
            return 0;
        if (ends[1].revents) {
            ssize_t k = write(c->in, in->data + written, in->len - written);
            written += k > 0 ? (size_t)k : 0;
            if (written == in->len || (k < 0 && errno != EAGAIN && errno != EINTR))
                close_end(&c->in); /* all is said, or it does not want to hear more */
        }
        if (ends[0].revents) {
            char some[4096];
            ssize_t k = read(c->out, some, sizeof some);
            if (k > 0)
                buf_add(out, some, (size_t)k);
            if (k == 0 || (k < 0 && errno != EINTR))
                close_end(&c->out);
        }
    }
    return 0;
}

/* Wait for its end until the deadline.  1: the time is over. */
static int await(pid_t pid, int *status, double deadline)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    pid_t got;
    while ((got = waitpid(pid, status, WNOHANG)) == 0 || (got < 0 && errno == EINTR)) {
        if (now() > deadline)
            return 1;
        nanosleep(&pause, NULL);
    }
    return 0;
}

/* Its end as wait() has it; a shell passes on a signal as 128 and its number. */
static int ended_well(int status, const char *command, struct err *err)
{
    int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
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
    struct child c;
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    int status = 0;
    double deadline = now() + seconds;
    if (start(&c, command, err))
        return -1;
    sigaction(SIGPIPE, &ignore, &before); /* it may end without reading all */
    int late = exchange(&c, in, out, deadline);
    close_end(&c.in);
    close_end(&c.out);
    sigaction(SIGPIPE, &before, NULL);
    late = late || (!out->overflow && await(c.pid, &status, deadline));
    if (late || out->overflow) {
        kill(-c.pid, SIGKILL);
        waitpid(c.pid, &status, 0);
    }
    if (out->overflow)
        return err_set(err, "the program '%.200s' wrote far more than one answer for each line that it was given, and must write nothing "
                            "else", command);
    if (late)
        return err_set(err, "the program '%.200s' took more than %g seconds and was ended: make it faster, or raise "
                            "--reward-timeout", command, seconds);
    return ended_well(status, command, err);
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
