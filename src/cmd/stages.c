#include "cmd/stages.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cmd/commands.h"
#include "cmd/json.h"
#include "train/run.h"
#include "util/file.h"
#include "util/mem.h"

/* ---- what a kill left ---- */

/* Is it a name with ".tmp-PID" behind it, which a file has until it is whole? */
static bool is_leftover(const char *name)
{
    const char *end = strstr(name, ".tmp-");
    return end && end[5] && end[5 + strspn(end + 5, "0123456789")] == 0;
}

static void sweep(const char *dir)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!is_leftover(e->d_name))
            continue;
        char *path = path_join(dir, e->d_name);
        unlink(path); /* of a folder, which this does not remove, its run takes care */
        free(path);
    }
    if (d)
        closedir(d);
}

/* The same where the stage's product stands. */
static void sweep_beside(const struct stages *s, const struct stage *stage)
{
    char *path = path_join(s->dir, stage->product), *slash = strrchr(path, '/');
    *slash = 0;
    sweep(path);
    free(path);
}

/* ---- stages.json ---- */

int stages_open(struct stages *s, const char *command, const char *dir, struct err *err)
{
    *s = (struct stages){.command = command, .dir = dir, .lock = -1};
    if (dir_make(dir, err))
        return -1;
    s->lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->lock < 0 || (flock(s->lock, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK))
        return err_set(err, "another program is writing to '%s': wait for it, or give another --output-dir", dir);
    sweep(dir);
    char *path = path_join(dir, "stages.json");
    json_error_t why = {0};
    s->record = file_exists(path) ? json_load_file(path, 0, &why) : json_object();
    int rc =
        json_is_object(s->record) ? 0 : err_set(err, "'%s' line %d: %s: remove it to begin anew", path, why.line, why.text);
    free(path);
    return rc;
}

void stages_release(struct stages *s)
{
    json_decref(s->record);
    if (s->lock >= 0)
        close(s->lock);
    *s = (struct stages){.lock = -1};
}

static int save(const struct stages *s, struct err *err)
{
    char *path = path_join(s->dir, "stages.json"), *text = json_dumps(s->record, JSON_INDENT(2));
    int rc = file_write(path, text, strlen(text), err);
    free(text);
    free(path);
    return rc;
}

void stage_print_time(const struct stages *s, const char *name)
{
    const json_t *entry = json_object_get(s->record, name); /* json_number_value() of what is not there is 0 */
    unsigned long t = (unsigned long)(json_number_value(json_object_get(entry, "seconds")) + 0.5);
    fprintf(stderr, "%lu:%02lu min, peak memory %.0f MiB", t / 60, t % 60,
            json_number_value(json_object_get(entry, "peak_mib")));
}

/* ---- the child ---- */

/* Where a command's output goes until it has ended well. */
static char *unfinished(const struct stages *s, const struct stage *stage)
{
    return xasprintf("%s/%s.unfinished", s->dir, stage->product);
}

static int redirect(const struct stages *s, const struct stage *stage, struct err *err)
{
    char *path = unfinished(s, stage);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    int rc = fd >= 0 && dup2(fd, 1) == 1 ? 0 : err_set(err, "cannot write '%s': %s", path, strerror(errno));
    free(path);
    return rc;
}

static _Noreturn void child(const struct stages *s, const struct stage *stage, pid_t parent)
{
    struct err err;
    int code;
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* whoever ends the parent ends its stage, too */
    if (getppid() != parent)
        _exit(EXIT_FAILED);
    close(s->lock); /* it is the parent's alone */
    if (stage->argv) {
        if (!stage->prints || redirect(s, stage, &err) == 0) {
            execv("/proc/self/exe", stage->argv);
            err_set(&err, "cannot start '/proc/self/exe': %s", strerror(errno));
        }
        code = command_failed(s->command, &err);
    } else {
        code = stage->work(stage->user, &err) ? command_failed(s->command, &err) : EXIT_DONE;
    }
    fflush(stdout);
    fflush(stderr);
    _exit(code);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Run the child to its end; its time and memory are added to the stage's entry. */
static int run_child(const struct stages *s, const struct stage *stage, json_t *entry, struct err *err)
{
    int status;
    struct rusage usage;
    double started = now();
    fflush(stdout);
    fflush(stderr);
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return err_set(err, "cannot start a process: %s", strerror(errno));
    if (pid == 0)
        child(s, stage, parent);
    while (wait4(pid, &status, 0, &usage) < 0)
        if (errno != EINTR)
            return err_set(err, "cannot wait for a process: %s", strerror(errno));
    double seconds = now() - started + json_number_value(json_object_get(entry, "seconds"));
    double peak = (double)usage.ru_maxrss / 1024, before = json_number_value(json_object_get(entry, "peak_mib"));
    json_object_set_new(entry, "seconds", json_finite(seconds));
    json_object_set_new(entry, "peak_mib", json_finite(peak > before ? peak : before));
    if (WIFSIGNALED(status))
        return err_set(err, "the stage was ended by signal %d: run the same again to go on from its last checkpoint",
                       WTERMSIG(status));
    if (WEXITSTATUS(status) != 0)
        return err_set(err, "the stage failed: see above; run the same again to go on from its last checkpoint");
    return 0;
}

int stage_check(const struct stages *s, const struct stage *stage, struct err *err)
{
    json_t *entry = json_object();
    int rc = run_child(s, stage, entry, err);
    json_decref(entry);
    return rc ? err_set(err, "%s: see above; nothing was begun", stage->name) : 0;
}

/* ---- a stage ---- */

/* Its output is whole: give it its name. */
static int finish_output(const struct stages *s, const struct stage *stage, struct err *err)
{
    char *from = unfinished(s, stage), *to = path_join(s->dir, stage->product);
    int fd = open(from, O_RDONLY | O_CLOEXEC), rc = 0;
    if (fd < 0 || fsync(fd) || rename(from, to))
        rc = err_set(err, "cannot write '%s': %s", to, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(from);
    free(to);
    return rc;
}

/* Take away what another key left. */
static int clear(const struct stages *s, const struct stage *stage, bool ours, struct err *err)
{
    int rc = 0;
    char *path = path_join(s->dir, stage->run ? stage->run : stage->product);
    if (stage->run && file_exists(path)) {
        struct run_folder run;
        if (run_open(&run, path, false, ours, err))
            rc = ours ? -1
                      : err_set(err,
                                "'%s' holds a run that is not of this %s (stages.json does not know it): move it "
                                "away, or give another --output-dir",
                                path, s->command);
        else
            run_close(&run);
    } else if (!stage->run && unlink(path) && errno != ENOENT) {
        rc = err_set(err, "cannot remove '%s': %s", path, strerror(errno));
    }
    free(path);
    return rc;
}

enum stage_state stage_state(const struct stages *s, const struct stage *stage, const char *key)
{
    const char *old = json_string_value(json_object_get(json_object_get(s->record, stage->name), "key"));
    char *product = path_join(s->dir, stage->product);
    bool same = old && !strcmp(old, key), there = file_exists(product);
    free(product);
    return !same ? STAGE_FRESH : there ? STAGE_DONE : STAGE_BEGUN;
}

int stage_run(struct stages *s, const struct stage *stage, const char *key, struct err *err)
{
    enum stage_state state = stage_state(s, stage, key);
    json_t *entry = json_object_get(s->record, stage->name);
    int rc = 0;
    if (state == STAGE_DONE)
        return 0;
    if (state == STAGE_FRESH) {
        rc = clear(s, stage, entry, err);
        entry = json_pack("{s:s}", "key", key);
        json_object_set_new(s->record, stage->name, entry);
    } else if (!stage->run) {
        json_object_del(entry, "seconds"); /* it begins again */
    }
    if (!stage->run)
        sweep_beside(s, stage);
    if (rc == 0)
        rc = save(s, err);
    if (rc == 0)
        rc = run_child(s, stage, entry, err);
    if (rc == 0 && stage->prints)
        rc = finish_output(s, stage, err);
    struct err ignored;
    if (save(s, rc ? &ignored : err))
        rc = -1;
    return rc ? err_prefix(err, "stage '%s'", stage->name) : 0;
}
