#define _GNU_SOURCE
#include "reward/child.h"

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

#include "util/mem.h"

extern char **environ;

struct child {
    struct child_job *job;
    pid_t pid;
    int in, out; /* our ends: what it reads, what it writes; -1: closed */
    size_t written;
    double deadline;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void close_end(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int spawn(struct child *c, const int in[2], const int out[2])
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t defaults;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in[0], 0);
    posix_spawn_file_actions_adddup2(&files, out[1], 1);
    if (c->job->mute)
        posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_init(&attributes);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
    int error = posix_spawnp(&c->pid, c->job->argv[0], &files, &attributes, c->job->argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return error;
}

static bool start(struct child *c, struct child_job *job)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    *c = (struct child){.job = job, .in = -1, .out = -1, .deadline = now() + job->seconds};
    job->error = pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) ? errno : spawn(c, in, out);
    close_end(&in[0]);
    close_end(&out[1]);
    if (job->error) {
        close_end(&in[1]);
        close_end(&out[0]);
        job->end = CHILD_NOT_STARTED;
        return false;
    }
    c->in = in[1];
    c->out = out[0];
    fcntl(c->in, F_SETFL, O_NONBLOCK);
    return true;
}

static void feed(struct child *c)
{
    const struct buf *in = c->job->in;
    ssize_t k = write(c->in, in->data + c->written, in->len - c->written);
    c->written += k > 0 ? (size_t)k : 0;
    if (c->written == in->len || (k < 0 && errno != EAGAIN && errno != EINTR))
        close_end(&c->in); /* all is said, or it does not want to hear more */
}

static void listen_to(struct child *c)
{
    char some[4096];
    ssize_t k = read(c->out, some, sizeof some);
    if (k > 0)
        buf_add(c->job->out, some, (size_t)k);
    if (k == 0 || (k < 0 && errno != EINTR))
        close_end(&c->out);
}

/* Is it through?  It ends itself once its output has ended; until then its time may be over, or it writes too much. */
static bool is_through(struct child *c)
{
    struct child_job *job = c->job;
    bool wordy = job->out->overflow;
    pid_t got = c->out < 0 && !wordy ? waitpid(c->pid, &job->status, WNOHANG) : 0;
    if (got > 0) {
        job->end = CHILD_ENDED;
    } else if (wordy || now() > c->deadline) {
        job->end = wordy ? CHILD_WORDY : CHILD_LATE;
        kill(-c->pid, SIGKILL);
        waitpid(c->pid, &job->status, 0);
    } else {
        return false;
    }
    close_end(&c->in);
    close_end(&c->out);
    return true;
}

/* Wait until something happens to one of them, a millisecond at most where one is about to end. */
static void attend(struct child *running, size_t n, struct pollfd *ends)
{
    double wait = INFINITY;
    for (size_t i = 0; i < n; i++) {
        ends[2 * i] = (struct pollfd){.fd = running[i].out, .events = POLLIN};
        ends[2 * i + 1] = (struct pollfd){.fd = running[i].in, .events = POLLOUT};
        wait = fmin(wait, running[i].out < 0 ? 1e-3 : running[i].deadline - now());
    }
    if (poll(ends, (nfds_t)(2 * n), (int)fmin(fmax(wait, 0) * 1000 + 1, 1e9)) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        if (ends[2 * i + 1].revents)
            feed(&running[i]);
        if (ends[2 * i].revents)
            listen_to(&running[i]);
    }
}

void children_run(struct child_job *jobs, size_t n, size_t at_once)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    struct child *running = xcalloc(at_once, sizeof *running);
    struct pollfd *ends = xcalloc(2 * at_once, sizeof *ends);
    sigaction(SIGPIPE, &ignore, &before); /* a child may end without reading all */
    for (size_t next = 0, n_running = 0; next < n || n_running;) {
        while (next < n && n_running < at_once)
            n_running += start(&running[n_running], &jobs[next++]);
        if (n_running)
            attend(running, n_running, ends);
        for (size_t i = 0; i < n_running;) {
            if (is_through(&running[i]))
                running[i] = running[--n_running];
            else
                i++;
        }
    }
    sigaction(SIGPIPE, &before, NULL);
    free(running);
    free(ends);
}

int child_code(const struct child_job *job)
{
    return WIFSIGNALED(job->status) ? 128 + WTERMSIG(job->status) : WEXITSTATUS(job->status);
}
