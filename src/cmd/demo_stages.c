#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cmd/commands.h"
#include "cmd/demo.h"
#include "cmd/json.h"
#include "train/run.h"
#include "util/file.h"
#include "util/mem.h"

const struct demo_stage demo_stages[N_DEMO_STAGES] = {
    {.name = "look", .title = "look at the base model's answers",
     .watch = "they are long, vague, and know nothing of the shop", .minutes = 0.25, .work = demo_look, .product = "look.json",
     .files = {"prompts-heldout.jsonl"}},
    {.name = "sft", .title = "supervised fine-tuning: learn from demonstrations",
     .watch = "eval_loss falls: the model takes on the help desk's voice", .minutes = 3, .command = "sft",
     .train = "demonstrations.jsonl", .eval = "demonstrations-heldout.jsonl"},
    {.name = "reward", .title = "reward model: learn from comparisons what people prefer",
     .watch = "eval_accuracy rises from 0.5, which is guessing", .minutes = 4, .command = "reward",
     .train = "comparisons.jsonl", .eval = "comparisons-heldout.jsonl", .from = "sft"},
    {.name = "reward-second", .title = "a second reward model, from other comparisons of other prompts, to judge what the first one taught",
     .watch = "eval_accuracy again", .minutes = 3, .command = "reward", .train = "comparisons-second.jsonl",
     .eval = "comparisons-heldout.jsonl", .from = "sft"},
    {.name = "ppo", .title = "PPO: answer, be scored by the first reward model, learn",
     .watch = "the score rises while kl, the distance from SFT, stays small", .minutes = 7, .command = "ppo",
     .train = "prompts.jsonl", .from = "sft", .reward = "reward"},
    {.name = "dpo", .title = "DPO: learn from the comparisons directly, without a reward model",
     .watch = "rewards/accuracies rises from 0.5", .minutes = 4, .command = "dpo", .train = "comparisons.jsonl",
     .eval = "comparisons-heldout.jsonl", .from = "sft"},
    {.name = "verdict", .title = "verdict on held-out data", .watch = "the table at the end, and report.html", .minutes = 3,
     .work = demo_verdict, .product = "results.json",
     .files = {"prompts-heldout.jsonl", "comparisons.jsonl", "comparisons-second.jsonl", "comparisons-heldout.jsonl",
               "rubric.yaml", "plain.txt"},
     .parents = {"sft", "reward", "reward-second", "ppo", "dpo"}},
};

char *demo_path(const struct demo *d, const char *name)
{
    return path_join(d->args->output_dir, name);
}

char *demo_example(const struct demo *d, const char *name)
{
    return path_join(d->args->examples, name);
}

/* ---- stages.json ---- */

int demo_stages_open(struct demo *d, struct err *err)
{
    char *path = demo_path(d, "stages.json");
    json_error_t why;
    d->stages = file_exists(path) ? json_load_file(path, 0, &why) : json_object();
    int rc = json_is_object(d->stages) ? 0 : err_set(err, "'%s' line %d: %s: remove it to begin anew", path, why.line, why.text);
    free(path);
    return rc;
}

static int stages_save(const struct demo *d, struct err *err)
{
    char *path = demo_path(d, "stages.json"), *text = json_dumps(d->stages, JSON_INDENT(2));
    int rc = file_write(path, text, strlen(text), err);
    free(text);
    free(path);
    return rc;
}

/* ---- what a stage depends on ---- */

static char *recipe_of(const struct demo *d, const struct demo_stage *s)
{
    return xasprintf("%s/%s.yaml", d->args->recipes, s->name);
}

/* The flags that --full adds, from recipes/full/NAME.yaml: a list that ends with NULL. */
struct full_recipe {
    double num_train_epochs;
    int64_t iterations;
};

static int full_flags(char *flags[5], const struct demo *d, const struct demo_stage *s, struct err *err)
{
    static const struct option table[] = {
        {"num_train_epochs", OPTION_FLOAT, offsetof(struct full_recipe, num_train_epochs), "0", "passes over the rows", .min = 0, .max = 1e5},
        {"iterations", OPTION_INT, offsetof(struct full_recipe, iterations), "0", "of PPO", .min = 0, .max = 1e7},
    };
    static const struct option_group group = {"", table, ARRAY_LEN(table), 0};
    static const struct option_spec spec = {.command = "demo", .groups = &group, .n_groups = 1};
    char *path = xasprintf("%s/full/%s.yaml", d->args->recipes, s->name);
    char *argv[] = {(char[]){"demo"}, (char[]){"--config"}, path};
    size_t n = 0;
    int rc = 0;
    if (d->args->full && file_exists(path)) {
        struct full_recipe full;
        struct options o;
        rc = options_parse(&o, &spec, &full, 3, argv, err);
        if (rc == 0 && options_given(&o, "num_train_epochs")) {
            flags[n++] = xstrdup("--num-train-epochs");
            flags[n++] = xasprintf("%.17g", full.num_train_epochs);
        }
        if (rc == 0 && options_given(&o, "iterations")) {
            flags[n++] = xstrdup("--iterations");
            flags[n++] = xasprintf("%lld", (long long)full.iterations);
        }
        options_release(&o);
    }
    flags[n] = NULL;
    free(path);
    return rc;
}

static void flags_release(char **flags)
{
    for (; *flags; flags++)
        free(*flags);
}

static int add_file(struct buf *b, const char *path, struct err *err)
{
    char hash[65];
    if (file_sha256(hash, path, err))
        return -1;
    buf_printf(b, "%s\n", hash);
    return 0;
}

static int add_example(struct buf *b, const struct demo *d, const char *name, struct err *err)
{
    if (!name)
        return 0;
    char *path = demo_example(d, name);
    int rc = add_file(b, path, err);
    free(path);
    return rc;
}

/* A run that went before: what was put in (its key) and what came out (the hash in its manifest). */
static int add_parent(struct buf *b, const struct demo *d, const char *name, struct err *err)
{
    if (!name)
        return 0;
    char *path = xasprintf("%s/%s/manifest.json", d->args->output_dir, name);
    json_t *o = json_load_file(path, 0, NULL);
    const char *result = json_string_value(json_object_get(json_object_get(o, "result"), "sha256"));
    const char *key = json_string_value(json_object_get(json_object_get(d->stages, name), "key"));
    int rc = result && key ? 0 : err_set(err, "'%s' is not there or does not say its result: remove '%s/%s' to make it anew",
                                         path, d->args->output_dir, name);
    if (rc == 0)
        buf_printf(b, "%s %s\n", key, result);
    json_decref(o);
    free(path);
    return rc;
}

static int stage_key(char key[65], const struct demo *d, const struct demo_stage *s, struct err *err)
{
    struct buf b;
    char *flags[5] = {NULL};
    buf_init(&b, 1 << 20);
    buf_printf(&b, "%s\n%s\n%s\n", s->name, d->model_hash, d->system);
    int rc = 0;
    if (s->command) {
        char *recipe = recipe_of(d, s);
        rc = add_file(&b, recipe, err) || full_flags(flags, d, s, err) ? -1 : 0;
        free(recipe);
    }
    for (char **f = flags; *f; f++)
        buf_printf(&b, "%s\n", *f);
    flags_release(flags);
    if (rc == 0)
        rc = add_example(&b, d, s->train, err) || add_example(&b, d, s->eval, err) || add_parent(&b, d, s->from, err) ||
                     add_parent(&b, d, s->reward, err)
                 ? -1
                 : 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(s->files); i++)
        rc = add_example(&b, d, s->files[i], err) || add_parent(&b, d, s->parents[i], err) ? -1 : 0;
    sha256_hex(key, b.data, b.len);
    buf_release(&b);
    return rc;
}

/* ---- the child ---- */

/* The command line of a run: an array that ends with NULL, and its strings, are freed by nobody: the child becomes it. */
static char **command_line(const struct demo *d, const struct demo_stage *s, struct err *err)
{
    char **argv = xcalloc(32, sizeof *argv), *flags[5];
    size_t n = 0;
    if (full_flags(flags, d, s, err))
        return NULL;
    argv[n++] = xstrdup("hone");
    argv[n++] = xstrdup(s->command);
    argv[n++] = xstrdup("--config");
    argv[n++] = recipe_of(d, s);
    argv[n++] = xstrdup("--model");
    argv[n++] = s->from ? demo_path(d, s->from) : xstrdup(d->args->model);
    argv[n++] = xstrdup("--train-data");
    argv[n++] = demo_example(d, s->train);
    if (s->eval) {
        argv[n++] = xstrdup("--eval-data");
        argv[n++] = demo_example(d, s->eval);
    }
    if (s->reward) {
        argv[n++] = xstrdup("--reward");
        argv[n++] = demo_path(d, s->reward);
    }
    argv[n++] = xstrdup("--system");
    argv[n++] = d->system;
    argv[n++] = xstrdup("--output-dir");
    argv[n++] = demo_path(d, s->name);
    argv[n++] = xstrdup("--resume");
    if (d->args->threads) {
        argv[n++] = xstrdup("--threads");
        argv[n++] = xasprintf("%lld", (long long)d->args->threads);
    }
    for (char **f = flags; *f; f++)
        argv[n++] = *f;
    return argv;
}

static _Noreturn void child(const struct demo *d, const struct demo_stage *s, pid_t parent)
{
    struct err err;
    int code;
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* whoever ends the demo ends its stage, too */
    if (getppid() != parent)
        _exit(EXIT_FAILED);
    if (s->command) {
        char **argv = command_line(d, s, &err);
        if (argv) {
            execv("/proc/self/exe", argv);
            err_set(&err, "cannot start '/proc/self/exe': %s", strerror(errno));
        }
        code = command_failed("demo", &err);
    } else {
        code = s->work(d, &err) ? command_failed("demo", &err) : EXIT_DONE;
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
static int run_child(const struct demo *d, const struct demo_stage *s, json_t *entry, struct err *err)
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
        child(d, s, parent);
    while (wait4(pid, &status, 0, &usage) < 0)
        if (errno != EINTR)
            return err_set(err, "cannot wait for a process: %s", strerror(errno));
    /* json_number_value() of what is not there is 0 */
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

/* ---- a stage ---- */

static char *product_of(const struct demo *d, const struct demo_stage *s)
{
    return s->command ? xasprintf("%s/%s/manifest.json", d->args->output_dir, s->name) : demo_path(d, s->product);
}

/* Take away what another key left. */
static int clear(const struct demo *d, const struct demo_stage *s, bool ours, struct err *err)
{
    int rc = 0;
    char *path = s->command ? demo_path(d, s->name) : product_of(d, s);
    if (s->command && file_exists(path)) {
        struct run_folder run;
        if (run_open(&run, path, false, ours, err))
            rc = ours ? -1 : err_set(err, "'%s' holds a run that is not of this demo (stages.json does not know it): move it "
                                          "away, or give another --output-dir", path);
        else
            run_close(&run);
    } else if (!s->command && unlink(path) && errno != ENOENT) {
        rc = err_set(err, "cannot remove '%s': %s", path, strerror(errno));
    }
    free(path);
    return rc;
}

static void print_time(const json_t *entry)
{
    unsigned long s = (unsigned long)(json_number_value(json_object_get(entry, "seconds")) + 0.5);
    fprintf(stderr, "%lu:%02lu min, peak memory %.0f MiB", s / 60, s % 60, json_number_value(json_object_get(entry, "peak_mib")));
}

int demo_stage_run(struct demo *d, size_t index, struct err *err)
{
    const struct demo_stage *s = &demo_stages[index];
    char key[65];
    if (stage_key(key, d, s, err))
        return err_prefix(err, "stage '%s'", s->name);
    json_t *entry = json_object_get(d->stages, s->name);
    const char *old = json_string_value(json_object_get(entry, "key"));
    char *product = product_of(d, s);
    bool same = old && !strcmp(old, key), done = same && file_exists(product);
    free(product);
    fprintf(stderr, "\n[%zu/%d] %s\n", index + 1, N_DEMO_STAGES, s->title);
    if (done) {
        fputs("      done before (", stderr);
        print_time(entry);
        fputs("), and nothing that it depends on has changed\n", stderr);
        return 0;
    }
    fprintf(stderr, "      look for: %s; it takes about %.3g min on two cores\n", s->watch,
            s->minutes * (d->args->full && s->command ? 3 : 1));
    int rc = 0;
    if (!same) {
        rc = clear(d, s, old, err);
        entry = json_pack("{s:s}", "key", key);
        json_object_set_new(d->stages, s->name, entry);
    } else if (s->command) {
        fputs("      begun before: it goes on from its last checkpoint\n", stderr);
    } else {
        json_object_del(entry, "seconds"); /* work begins again */
    }
    if (rc == 0)
        rc = stages_save(d, err);
    if (rc == 0)
        rc = run_child(d, s, entry, err);
    struct err ignored;
    if (stages_save(d, rc ? &ignored : err))
        rc = -1;
    if (rc)
        return err_prefix(err, "stage '%s'", s->name);
    fputs("      done in ", stderr);
    print_time(entry);
    fputc('\n', stderr);
    return 0;
}
