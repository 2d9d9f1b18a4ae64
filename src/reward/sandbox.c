#include "reward/sandbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "reward/child.h"
#include "util/mem.h"

/* Root's rights end at the door, and the kernel counts nobody's processes, as it does not root's. */
static const char *const as_nobody[] = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", NULL};

static const char *const walls[] = {
    "bwrap", "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try",
    "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv",
    /* files */
    "--ro-bind", "/usr", "/usr", "--ro-bind-try", "/bin", "/bin", "--ro-bind-try", "/sbin", "/sbin", "--ro-bind-try", "/lib", "/lib",
    "--ro-bind-try", "/lib64", "/lib64", "--ro-bind-try", "/etc/alternatives", "/etc/alternatives", "--ro-bind-try", "/etc/ld.so.cache",
    "/etc/ld.so.cache", "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev", "--size", "67108864", "--tmpfs", "/tmp",
    "--remount-ro", "/", "--chdir", "/tmp",
    /* its environment: the same for all, and no threads of libraries beside its own */
    "--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin", "--setenv", "HOME", "/tmp", "--setenv", "LANG", "C.UTF-8", "--setenv",
    "PYTHONHASHSEED", "0", "--setenv", "OMP_NUM_THREADS", "1", "--setenv", "OPENBLAS_NUM_THREADS", "1", "--", NULL};

static void add(char ***argv, size_t *n, const char *const *words)
{
    for (; *words; words++) {
        *argv = xreallocarray(*argv, *n + 2, sizeof **argv);
        (*argv)[(*n)++] = xstrdup(*words);
        (*argv)[*n] = NULL;
    }
}

char **sandbox_argv(const struct sandbox_limits *limits, const char *const *command)
{
    char **argv = NULL, cpu[64], as[64];
    size_t n = 0;
    snprintf(cpu, sizeof cpu, "--cpu=%zu:%zu", limits->seconds, limits->seconds + 1);
    snprintf(as, sizeof as, "--as=%zu", limits->memory_mib << 20);
    const char *const rlimits[] = {"prlimit", cpu, as, "--nproc=16", "--fsize=16777216", "--nofile=256", "--core=0", "--", NULL};
    if (geteuid() == 0)
        add(&argv, &n, as_nobody);
    add(&argv, &n, walls);
    add(&argv, &n, rlimits);
    add(&argv, &n, command);
    return argv;
}

void sandbox_argv_free(char **argv)
{
    for (char **word = argv; word && *word; word++)
        free(*word);
    free(argv);
}

double sandbox_seconds(const struct sandbox_limits *limits)
{
    return 3 * (double)limits->seconds;
}

int sandbox_check(struct err *err)
{
    static const char *const nothing[] = {"true", NULL}, *const version[] = {"bwrap", "--version", NULL};
    const struct sandbox_limits limits = {.seconds = 10, .memory_mib = 256};
    struct buf in, out;
    buf_init(&in, 1);
    buf_init(&out, 4096);
    char **argv = sandbox_argv(&limits, nothing), **ask = NULL;
    size_t n = 0;
    add(&ask, &n, version);
    struct child_job there = {.argv = ask, .in = &in, .out = &out, .seconds = 10, .mute = true};
    struct child_job job = {.argv = argv, .in = &in, .out = &out, .seconds = 30};
    int rc = 0;
    children_run(&there, 1, 1);
    if (there.end != CHILD_ENDED || child_code(&there))
        rc = err_set(err, "there is no bwrap (Debian: bubblewrap), and code that nobody has read is not run without it: install it");
    if (rc == 0)
        children_run(&job, 1, 1);
    if (rc == 0 && (job.end != CHILD_ENDED || child_code(&job)))
        rc = err_set(err, "bwrap cannot make a sandbox here, and code that nobody has read is not run without one: what it wrote on standard "
                          "error says why; in most cases the system does not let users make namespaces (user.max_user_namespaces)");
    sandbox_argv_free(argv);
    sandbox_argv_free(ask);
    buf_release(&in);
    buf_release(&out);
    return rc;
}
