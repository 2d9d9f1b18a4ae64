#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/bench.h"
#include "cmd/commands.h"
#include "cmd/progress.h"
#include "util/file.h"
#include "util/mem.h"

#define MAX_REPEATS 1000

struct bench_args {
    struct strings what;
    const char *model;
    int64_t length, rows, new_tokens, num_generations, repeats, micro_batch_tokens, threads;
    bool recompute, json, quiet;
};

#define FIELD(name) offsetof(struct bench_args, name)
static const struct option own[] = {
    {"what", OPTION_LIST, FIELD(what), NULL,
     "sft, sft-lora, reward, dpo, ppo (two rows: its own critic, and ppo-shared), grpo, generate-1, generate-32, prompt; otherwise all",
     .commas = true, .value = "NAME"},
    {"model", OPTION_STRING, FIELD(model), NULL, "the model; otherwise HONE_MODEL, or the one that tools/get-model.sh fetched",
     .value = "PATH"},
    {"length", OPTION_INT, FIELD(length), "0",
     "tokens of a sequence (dpo: a half of it prompt; generation, ppo and grpo: of the prompt); 0: the row's own, here and below", .min = 0, .max = 1e6},
    {"rows", OPTION_INT, FIELD(rows), "0", "sequences, pairs, prompts or streams at a time (generate-1 has one)", .min = 0, .max = 1e5},
    {"new_tokens", OPTION_INT, FIELD(new_tokens), "0", "of generate-1, generate-32, ppo and grpo: tokens after the prompt", .min = 0, .max = 1e6},
    {"num_generations", OPTION_INT, FIELD(num_generations), "0", "of ppo and grpo: completions of a prompt", .min = 0, .max = 1024},
    {"repeats", OPTION_INT, FIELD(repeats), "3", "steps that are timed after one that is not; their median counts", .min = 1,
     .max = MAX_REPEATS},
    {"micro_batch_tokens", OPTION_INT, FIELD(micro_batch_tokens), "512", "as in training", .min = 1, .max = 1e7},
    {"recompute", OPTION_BOOL, FIELD(recompute), "false", "as in training; the limit stays the same: nothing computed twice"},
    {"threads", OPTION_INT, FIELD(threads), "0", "threads; 0: OMP_NUM_THREADS, or all cores", .min = 0, .max = 1024},
    {"json", OPTION_BOOL, FIELD(json), "false", "one JSON object a row instead of a table"},
    {"quiet", OPTION_BOOL, FIELD(quiet), "false", "no progress"},
};
#undef FIELD
static const struct option_group groups[] = {{"Bench", own, ARRAY_LEN(own), 0}};
static const struct option_spec spec = {
    .command = "bench",
    .summary = "Speed of training and generation on generated data, against what this machine could do at best: "
               "its F32 multiply-add peak, measured before and after each row, over the arithmetic that the row cannot do "
               "without. Decoding one sequence is held against the memory instead: its measured speed (read_gb_s) over the bytes "
               "of the weights as they are stored. Where --length is given the limit counts attention as well (4 FLOP a head's number, "
               "query and key in a forward, 8 in a backward; keys and values read where memory is the limit), and attention_share "
               "is its part. Each row runs in a process of its own, so peak_rss_mib is the row's.",
    .usage = "hone bench [--what NAME,..] [--model M] [--flags]",
    .example = "hone bench --what sft-lora,generate-32 --model model.gguf --json",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

static const struct bench_row rows[] = {
    {"sft", NULL, bench_open_sft, false},
    {"sft-lora", NULL, bench_open_sft_lora, false},
    {"reward", NULL, bench_open_reward, false},
    {"dpo", NULL, bench_open_dpo, false},
    {"ppo", NULL, bench_open_ppo, false},
    {"ppo-shared", "ppo", bench_open_ppo_shared, false},
    {"grpo", NULL, bench_open_grpo, false},
    {"generate-1", NULL, bench_open_generate_1, true},
    {"generate-32", NULL, bench_open_generate_32, false},
    {"prompt", NULL, bench_open_prompt, false},
};
#define N_ROWS ARRAY_LEN(rows)

/* ---- in the child ---- */

struct job {
    const struct bench_args *args;
    const char *model;
    const struct bench_row *row;
};

/* What a child tells its parent. */
struct outcome {
    int rc;
    struct err err;
    double seconds, tokens, flop, bytes, attention, fma_peak, read_peak; /* attention: share of the limit's work */
};

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, size_t n)
{
    qsort(x, n, sizeof *x, ascending);
    return 0.5 * (x[(n - 1) / 2] + x[n / 2]);
}

static int time_row(struct outcome *o, struct bench *b, size_t repeats, struct err *err)
{
    double seconds[MAX_REPEATS], warm_up;
    double before = bench_fma_peak();
    if (b->step(b, &warm_up, err))
        return -1;
    for (size_t i = 0; i < repeats; i++)
        if (b->step(b, &seconds[i], err))
            return -1;
    o->seconds = median(seconds, repeats);
    o->fma_peak = fmax(before, bench_fma_peak());
    o->tokens = b->tokens;
    o->flop = b->flop;
    o->bytes = b->bytes;
    if (b->shape.length) {
        double *work = b->bytes > 0 ? &o->bytes : &o->flop;
        *work += b->attention;
        o->attention = b->attention / *work;
    }
    return 0;
}

static int run_row(struct outcome *o, const struct job *j, struct err *err)
{
    const struct bench_args *a = j->args;
    struct bench b = {.shape = {(size_t)a->length, (size_t)a->rows, (size_t)a->new_tokens, (size_t)a->num_generations},
                      .micro_batch_tokens = (size_t)a->micro_batch_tokens,
                      .recompute = a->recompute};
    if (load_net(&b.base, j->model, NULL, NULL, err))
        return -1;
    bench_measure_model(&b);
    int rc = j->row->open(&b, err);
    if (rc == 0)
        rc = time_row(o, &b, (size_t)j->args->repeats, err);
    if (b.close)
        b.close(&b);
    loaded_release(&b.base);
    return rc;
}

static int run_reading(struct outcome *o, const struct job *j, struct err *err)
{
    (void)j;
    return bench_read_peak(&o->read_peak, err);
}

/* ---- in the parent, which never starts a thread: a child could not use them ---- */

static void read_outcome(int from, struct outcome *o, size_t *have)
{
    ssize_t n;
    *have = 0;
    while (*have < sizeof *o && ((n = read(from, (char *)o + *have, sizeof *o - *have)) > 0 || (n < 0 && errno == EINTR)))
        *have += n > 0 ? (size_t)n : 0;
}

static _Noreturn void be_child(int to, int (*work)(struct outcome *, const struct job *, struct err *), const struct job *j)
{
    struct outcome o = {0};
    o.rc = work(&o, j, &o.err);
    ssize_t n = write(to, &o, sizeof o); /* less than a pipe holds, so whole */
    _exit(n == (ssize_t)sizeof o ? 0 : 1);
}

/* Run `work` in a process of its own.  rss_mib: out, its largest resident set. */
static int in_child(struct outcome *o, double *rss_mib, int (*work)(struct outcome *, const struct job *, struct err *),
                    const struct job *j, struct err *err)
{
    int ends[2], status = 0;
    size_t have;
    struct rusage usage;
    fflush(stdout);
    if (pipe(ends))
        return err_set(err, "cannot make a pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0) {
        err_set(err, "cannot start a process: %s", strerror(errno));
        close(ends[0]);
        close(ends[1]);
        return -1;
    }
    if (child == 0) {
        close(ends[0]);
        be_child(ends[1], work, j);
    }
    close(ends[1]);
    read_outcome(ends[0], o, &have);
    close(ends[0]);
    while (wait4(child, &status, 0, &usage) < 0)
        if (errno != EINTR)
            return err_set(err, "cannot wait for a process: %s", strerror(errno));
    if (WIFSIGNALED(status))
        return err_set(err, "its process was ended by signal %d (%s)%s", WTERMSIG(status), strsignal(WTERMSIG(status)),
                       WTERMSIG(status) == SIGKILL ? ": was there too little memory?" : "");
    if (have < sizeof *o)
        return err_set(err, "its process ended without a result");
    if (o->rc) {
        *err = o->err;
        return -1;
    }
    *rss_mib = (double)usage.ru_maxrss / 1024.0;
    return 0;
}

struct measured {
    const char *what;
    double tokens_per_s, seconds, rss_mib, fma_peak, read_peak, limit, attention;
};

static int measure_row(struct measured *m, const struct job *j, struct err *err)
{
    struct outcome o, before = {0}, after = {0};
    double unused;
    if (j->row->reads && in_child(&before, &unused, run_reading, j, err))
        return -1;
    if (in_child(&o, &m->rss_mib, run_row, j, err))
        return -1;
    if (j->row->reads && in_child(&after, &unused, run_reading, j, err))
        return -1;
    m->what = j->row->what;
    m->seconds = o.seconds;
    m->tokens_per_s = o.tokens / o.seconds;
    m->fma_peak = o.fma_peak;
    m->read_peak = fmax(before.read_peak, after.read_peak);
    m->attention = o.attention;
    m->limit = o.bytes > 0 ? o.tokens * 1e9 * m->read_peak / o.bytes : o.tokens * 1e9 * m->fma_peak / o.flop;
    return 0;
}

/* The shape that was asked for. */
static void print_shape(const struct measured *m, const struct bench_args *a)
{
    const struct {
        const char *name;
        int64_t value;
    } given[] = {{"length", a->length}, {"rows", a->rows}, {"new_tokens", a->new_tokens}, {"num_generations", a->num_generations}};
    for (size_t i = 0; i < ARRAY_LEN(given); i++)
        if (given[i].value)
            printf(", \"%s\": %lld", given[i].name, (long long)given[i].value);
    if (a->recompute)
        printf(", \"recompute\": true");
    if (a->length)
        printf(", \"attention_share\": %.6g", m->attention);
}

static void print_json(const struct measured *m, const struct bench_args *a)
{
    printf("{\"what\": \"%s\", \"tokens_per_s\": %.6g, \"seconds\": %.6g, \"peak_rss_mib\": %.6g, \"fma_peak_gflops\": %.6g, "
           "\"limit_tokens_per_s\": %.6g, \"share_of_limit\": %.6g",
           m->what, m->tokens_per_s, m->seconds, m->rss_mib, m->fma_peak, m->limit, m->tokens_per_s / m->limit);
    if (m->read_peak > 0)
        printf(", \"read_gb_s\": %.6g", m->read_peak);
    print_shape(m, a);
    puts("}");
}

static void print_line(const struct measured *m, bool first)
{
    if (first)
        printf("%-12s %10s %10s %9s %12s %13s %9s\n", "what", "tokens/s", "seconds", "RSS MiB", "peak GFLOPS", "limit tok/s",
               "of limit");
    printf("%-12s %10.1f %10.3f %9.0f %12.1f %13.1f %8.1f%%", m->what, m->tokens_per_s, m->seconds, m->rss_mib, m->fma_peak,
           m->limit, 100 * m->tokens_per_s / m->limit);
    if (m->read_peak > 0)
        printf("  (memory: %.1f GB/s)", m->read_peak);
    puts("");
}

/* Which rows were asked for. */
static int choose(bool chosen[N_ROWS], const struct strings *what, struct err *err)
{
    const char *names[N_ROWS];
    for (size_t i = 0; i < N_ROWS; i++) {
        names[i] = rows[i].what;
        chosen[i] = what->n == 0;
    }
    for (size_t k = 0; k < what->n; k++) {
        const char *name = what->data[k];
        bool found = false;
        for (size_t i = 0; i < N_ROWS; i++)
            if (!strcmp(name, rows[i].what) || (rows[i].asked_by && !strcmp(name, rows[i].asked_by)))
                chosen[i] = found = true;
        if (!found) {
            const char *near = options_nearest(name, names, N_ROWS);
            return err_set(err, "--what %s: there is no such row%s%s%s", name, near ? ": did you mean '" : "", near ? near : "",
                           near ? "'?" : "");
        }
    }
    return 0;
}

/* The model that was named, or the one that the tests and the demo use: a fresh string. */
static char *find_model(const char *named, struct err *err)
{
    const char *home = getenv("HOME"), *cache = getenv("XDG_CACHE_HOME"), *own_cache = getenv("HONE_CACHE");
    if (!named)
        named = getenv("HONE_MODEL");
    if (named && *named)
        return xstrdup(named);
    char *dir = own_cache && *own_cache ? xstrdup(own_cache)
                : cache && *cache       ? path_join(cache, "hone")
                                        : path_join(home ? home : ".", ".cache/hone");
    char *path = path_join(dir, "SmolLM2-135M-Instruct.Q4_1.gguf");
    free(dir);
    if (file_exists(path))
        return path;
    err_set(err, "no model is named, and '%s' is not there: name one with --model, or fetch that one with tools/get-model.sh", path);
    free(path);
    return NULL;
}

static int run(const struct bench_args *args, const bool chosen[N_ROWS], const char *model, struct err *err)
{
    struct progress progress;
    size_t total = 0, done = 0;
    int rc = 0;
    for (size_t i = 0; i < N_ROWS; i++)
        total += chosen[i];
    progress_start(&progress, "bench", "rows", 0, total, args->quiet);
    for (size_t i = 0; rc == 0 && i < N_ROWS; i++) {
        if (!chosen[i])
            continue;
        const struct job j = {args, model, &rows[i]};
        struct measured m;
        progress_update(&progress, done, rows[i].what);
        rc = measure_row(&m, &j, err);
        progress_clear(&progress);
        if (rc)
            err_prefix(err, "%s", rows[i].what);
        else if (args->json)
            print_json(&m, args);
        else
            print_line(&m, done == 0);
        done++;
    }
    fflush(stdout);
    progress_clear(&progress);
    return rc;
}

int cmd_bench(int argc, char **argv)
{
    struct bench_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct err err;
    bool chosen[N_ROWS];
    char *model = NULL;
    if (args.threads)
        omp_set_num_threads((int)args.threads);
    if (choose(chosen, &args.what, &err)) {
        code = command_misused("bench", &err);
    } else {
        model = find_model(args.model, &err);
        code = model && run(&args, chosen, model, &err) == 0 ? EXIT_DONE : command_failed("bench", &err);
    }
    free(model);
    options_release(&o);
    return code;
}
