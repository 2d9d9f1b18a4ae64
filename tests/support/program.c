#define _GNU_SOURCE
#include "support/program.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "util/file.h"
#include "util/mem.h"

static char *home, *sandbox; /* where the tests were started, and the fresh folder */

/* ---- the sandbox ---- */

static char *absolute(const char *path)
{
    char *p = realpath(path, NULL);
    if (!p)
        fail_msg("'%s' is not there: %s", path, strerror(errno));
    return p;
}

int sandbox_enter(void **state)
{
    (void)state;
    const char *program = getenv("HONE"), *tmp = getenv("TMPDIR");
    char *hone = absolute(program ? program : "build/hone"), *golden = absolute("tests/golden"), *recipes = absolute("recipes");
    char *shared = shared_folder() ? absolute(shared_folder()) : NULL;
    char *model = real_model() ? absolute(real_model()) : NULL;
    home = absolute(".");
    sandbox = xasprintf("%s/hone-test-XXXXXX", tmp ? tmp : "/tmp");
    setenv("HONE", hone, 1);
    if (model)
        setenv("HONE_MODEL", model, 1);
    setenv("OMP_NUM_THREADS", "1", 1);
    setenv("OMP_WAIT_POLICY", "passive", 1); /* threads that spin slow each other down where cores are busy */
    if (!mkdtemp(sandbox) || chdir(sandbox) || symlink(golden, "golden") || symlink(recipes, "recipes") ||
        (shared && symlink(shared, "shared")))
        fail_msg("cannot make the folder '%s': %s", sandbox, strerror(errno));
    free(hone);
    free(golden);
    free(recipes);
    free(shared);
    free(model);
    return 0;
}

int sandbox_leave(void **state)
{
    (void)state;
    struct err err;
    int rc = chdir(home);
    if (rc == 0 && (rc = dir_remove(sandbox, &err)))
        fprintf(stderr, "%s\n", err.text);
    free(home);
    free(sandbox);
    return rc;
}

const char *real_model(void)
{
    const char *path = getenv("HONE_MODEL");
    return path && *path ? path : NULL;
}

bool sandbox_has_shared(void)
{
    bool there = file_is_dir("shared");
    if (!there)
        printf("skipped: the shared golden values are not there (HONE_SHARED)\n");
    return there;
}

/* ---- running ---- */

/* In the child: become sh with this line.  Its output goes to the files named, or nowhere. */
_Noreturn static void become(const char *line, const char *out, const char *err)
{
    int null = open("/dev/null", O_RDWR), flags = O_WRONLY | O_CREAT | O_TRUNC;
    dup2(null, 0);
    dup2(out ? open(out, flags, 0666) : null, 1);
    dup2(err ? open(err, flags, 0666) : null, 2);
    execl("/bin/sh", "sh", "-c", line, (char *)NULL);
    _exit(127);
}

static int code_of(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static struct ended run_line(const char *line)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        become(line, ".stdout", ".stderr");
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        fail_msg("cannot run '%s': %s", line, strerror(errno));
    struct ended e = {.code = code_of(status), .out = text_read(".stdout", NULL), .err = text_read(".stderr", NULL)};
    unlink(".stdout");
    unlink(".stderr");
    return e;
}

void ended_release(struct ended *e)
{
    free(e->out);
    free(e->err);
}

static char *format(const char *fmt, va_list args)
{
    char *s;
    if (vasprintf(&s, fmt, args) < 0)
        BUG("out of memory");
    return s;
}

struct ended run(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *line = format(fmt, args);
    va_end(args);
    struct ended e = run_line(line);
    free(line);
    return e;
}

void run_ok(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *line = format(fmt, args);
    va_end(args);
    struct ended e = run_line(line);
    if (e.code)
        fail_msg("'%s' ended with %d: %s", line, e.code, e.err);
    ended_release(&e);
    free(line);
}

static size_t count_lines(const char *path)
{
    FILE *f = fopen(path, "rb");
    size_t n = 0;
    for (int c; f && (c = getc(f)) != EOF;)
        n += c == '\n';
    if (f)
        fclose(f);
    return n;
}

bool run_and_kill_at_line(const char *line, const char *path, size_t lines)
{
    char *direct = xasprintf("exec %s", line); /* so that it is the program that is killed, not sh */
    struct timespec pause = {.tv_nsec = 100000};
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        become(direct, NULL, NULL);
    free(direct);
    if (child < 0)
        fail_msg("cannot run '%s': %s", line, strerror(errno));
    bool ended = false;
    while (!ended && count_lines(path) < lines) {
        nanosleep(&pause, NULL);
        ended = waitpid(child, &status, WNOHANG) == child;
    }
    if (ended)
        return false;
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return WIFSIGNALED(status);
}

/* ---- killing at a call ---- */

static bool changes_files(const struct __ptrace_syscall_info *call)
{
    static const long calls[] = {
#ifdef SYS_rename
        SYS_rename,
#endif
#ifdef SYS_renameat
        SYS_renameat,
#endif
#ifdef SYS_mkdir
        SYS_mkdir,
#endif
#ifdef SYS_unlink
        SYS_unlink,
#endif
#ifdef SYS_rmdir
        SYS_rmdir,
#endif
        SYS_renameat2, SYS_mkdirat, SYS_unlinkat, SYS_write, SYS_fsync, SYS_ftruncate,
    };
    if (call->entry.nr == SYS_openat)
        return call->entry.args[2] & (O_CREAT | O_TRUNC);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (call->entry.nr == (uint64_t)calls[i])
            return true;
    return false;
}

/* Let a traced child go on to the start of its next call.  false: it has ended. */
static bool to_next_call(pid_t child, struct __ptrace_syscall_info *call)
{
    int deliver = 0;
    for (;;) {
        int status;
        if (ptrace(PTRACE_SYSCALL, child, NULL, (void *)(intptr_t)deliver) || waitpid(child, &status, __WALL) != child ||
            WIFEXITED(status) || WIFSIGNALED(status))
            return false;
        deliver = WSTOPSIG(status);
        if (deliver == SIGTRAP)
            deliver = 0; /* of exec */
        if (deliver != (SIGTRAP | 0x80))
            continue;
        deliver = 0;
        if (ptrace(PTRACE_GET_SYSCALL_INFO, child, (void *)sizeof *call, call) > 0 && call->op == PTRACE_SYSCALL_INFO_ENTRY)
            return true;
    }
}

int run_and_kill_at_call(const char *line, size_t n)
{
    char *direct = xasprintf("exec %s", line);
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* the leak checker would want to be the tracer */
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
            _exit(126);
        raise(SIGSTOP);
        become(direct, NULL, NULL);
    }
    free(direct);
    if (child < 0 || waitpid(child, &status, 0) != child)
        fail_msg("cannot run '%s': %s", line, strerror(errno));
    if (!WIFSTOPPED(status))
        return -1;
    ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
    struct __ptrace_syscall_info call;
    for (size_t seen = 0; seen < n;) {
        if (!to_next_call(child, &call))
            return 0;
        seen += changes_files(&call);
    }
    kill(child, SIGKILL);
    waitpid(child, &status, __WALL);
    return 1;
}

/* ---- files ---- */

void bytes_write(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f))
        fail_msg("cannot write '%s': %s", path, strerror(errno));
}

void text_write(const char *path, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = format(fmt, args);
    va_end(args);
    bytes_write(path, text, strlen(text));
    free(text);
}

char *text_read(const char *path, size_t *size)
{
    struct buf b;
    struct err err;
    buf_init(&b, (size_t)1 << 30);
    if (file_read(path, &b, &err))
        fail_msg("%s", err.text);
    if (size)
        *size = b.len;
    return b.data;
}

void write_tokenizer(const char *folder)
{
    static const char chatml[] = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
                                 "'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}"
                                 "{{ '<|im_start|>assistant\\n' }}{% endif %}";
    struct err err;
    json_t *golden = json_load_file("golden/tokenizer.json", JSON_ALLOW_NUL, NULL);
    char *json = path_join(folder, "tokenizer.json"), *chat = path_join(folder, "chat_template.jinja");
    if (dir_make(folder, &err) || json_dump_file(json_object_get(golden, "base"), json, 0))
        fail_msg("cannot write '%s'", json);
    text_write(chat, "%s", chatml);
    free(json);
    free(chat);
    json_decref(golden);
}

void write_long_model(const char *folder)
{
    char *config = path_join(folder, "config.json");
    write_tokenizer(folder);
    run_ok("cp golden/models/llama/model.safetensors %s", folder);
    json_t *o = golden_json("golden/models/llama/config.json");
    json_object_set_new(o, "max_position_embeddings", json_integer(2048));
    if (json_dump_file(o, config, 0))
        fail_msg("cannot write '%s'", config);
    json_decref(o);
    free(config);
}

bool is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void list_files(struct buf *out, const char *path)
{
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, by_name);
    for (int i = 0; i < n; i++) {
        char *name = path_join(path, entries[i]->d_name), hash[65];
        struct stat st;
        struct err err;
        bool seen = entries[i]->d_name[0] != '.' && lstat(name, &st) == 0;
        if (seen && S_ISDIR(st.st_mode)) {
            list_files(out, name);
        } else if (seen && S_ISLNK(st.st_mode)) {
            char target[4096] = "";
            if (readlink(name, target, sizeof target - 1) < 0)
                fail_msg("cannot read the link '%s'", name);
            buf_printf(out, "%s -> %s\n", name, target);
        } else if (entries[i]->d_name[0] != '.') {
            if (file_sha256(hash, name, &err))
                fail_msg("%s", err.text);
            buf_printf(out, "%s %lld %s\n", name, (long long)st.st_size, hash);
        }
        free(name);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

char *folder_listing(const char *path)
{
    struct buf b;
    buf_init(&b, 1 << 24);
    list_files(&b, path);
    return b.data;
}

void write_twenty_judgements(const char *path)
{
    static const char *const words[] = {"the lamp was lit", "before the rain", "a hall", "the window was open", "it began"};
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 20; i++)
        fprintf(f, "{\"prompt\": \"%s %s\", \"a\": \"%s\", \"b\": \"%s\", \"label\": \"%s\", \"answer\": %d}\n", words[i % 5],
                words[i / 5], words[(i + 1) % 5], words[(i + 2) % 5], i % 3 ? "a" : "b", i);
    fclose(f);
}

void drop(const char *folder)
{
    struct err err;
    if (dir_remove(folder, &err))
        fail_msg("%s", err.text);
}

json_t *json_lines(const char *text)
{
    json_t *lines = json_array();
    for (const char *at = text, *end; (end = strchr(at, '\n')); at = end + 1) {
        json_t *line = json_loadb(at, (size_t)(end - at), JSON_ALLOW_NUL, NULL);
        if (!line)
            fail_msg("a line is no JSON: %s", at);
        json_array_append_new(lines, line);
    }
    return lines;
}

json_t *json_lines_of(const char *path)
{
    char *text = text_read(path, NULL);
    json_t *lines = json_lines(text);
    free(text);
    return lines;
}

json_t *metrics_of(const char *dir)
{
    char *path = path_join(dir, "metrics.jsonl");
    json_t *lines = json_lines_of(path);
    free(path);
    return lines;
}

double metric(const json_t *lines, size_t line, const char *key)
{
    const json_t *v = json_object_get(json_array_get(lines, line), key);
    if (!json_is_number(v))
        fail_msg("line %zu has no number '%s'", line + 1, key);
    return json_number_value(v);
}

void expect_same_file(const char *a, const char *b, const char *name)
{
    char *x = name ? path_join(a, name) : xstrdup(a), *y = name ? path_join(b, name) : xstrdup(b);
    size_t n, m;
    char *p = text_read(x, &n), *q = text_read(y, &m);
    size_t at = 0;
    while (at < n && at < m && p[at] == q[at])
        at++;
    if (n != m || at < n)
        fail_msg("'%s' (%zu bytes) and '%s' (%zu bytes) differ from byte %zu on", x, n, y, m, at);
    free(p);
    free(q);
    free(x);
    free(y);
}

void expect_equal_runs(const char *straight, const char *dir)
{
    char *x = path_join(straight, "adapter"), *y = path_join(dir, "adapter");
    expect_same_file(straight, dir, "metrics.jsonl");
    expect_same_file(x, y, "adapter_model.safetensors");
    free(x);
    free(y);
}

void expect_refused(const char *line, const char *what)
{
    struct ended e = run("%s", line);
    if (e.code == 0 || !strstr(e.err, what))
        fail_msg("'%s' should be refused with '%s': %s", line, what, e.err);
    ended_release(&e);
}

void expect_refused_early(int code, const char *what, const char *line)
{
    drop("out");
    struct ended e = run("%s --output-dir out", line);
    const char *said = strstr(e.err, "hone: "); /* what sh says of a program may stand before it */
    if (e.code != code || !said || !strstr(said, what) || strchr(said, '\n') != said + strlen(said) - 1)
        fail_msg("%s: ended with %d, and not one line with '%s': %s", line, e.code, what, e.err);
    assert_false(is_there("out"));
    ended_release(&e);
}
