#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/demo.h"
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
    const char *key = json_string_value(json_object_get(json_object_get(d->stages.record, name), "key"));
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

/* The command line of a run: a fresh array of fresh strings that ends with NULL. */
static char **command_line(const struct demo *d, const struct demo_stage *s, struct err *err)
{
    char **argv = xcalloc(32, sizeof *argv), *flags[5];
    size_t n = 0;
    if (full_flags(flags, d, s, err)) {
        free(argv);
        return NULL;
    }
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
    argv[n++] = xstrdup(d->system);
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

/* ---- a stage ---- */

struct work {
    const struct demo *d;
    const struct demo_stage *s;
};

static int do_work(void *user, struct err *err)
{
    const struct work *w = user;
    return w->s->work(w->d, err);
}

static int run(struct demo *d, const struct demo_stage *s, struct stage *stage, const char *key, struct err *err)
{
    enum stage_state state = stage_state(&d->stages, stage, key);
    if (state == STAGE_DONE) {
        fputs("      done before (", stderr);
        stage_print_time(&d->stages, s->name);
        fputs("), and nothing that it depends on has changed\n", stderr);
        return 0;
    }
    fprintf(stderr, "      look for: %s; it takes about %.3g min on two cores\n", s->watch,
            s->minutes * (d->args->full && s->command ? 3 : 1));
    if (state == STAGE_BEGUN && s->command)
        fputs("      begun before: it goes on from its last checkpoint\n", stderr);
    if (stage_run(&d->stages, stage, key, err))
        return -1;
    fputs("      done in ", stderr);
    stage_print_time(&d->stages, s->name);
    fputc('\n', stderr);
    return 0;
}

int demo_stage_run(struct demo *d, size_t index, struct err *err)
{
    const struct demo_stage *s = &demo_stages[index];
    struct work work = {d, s};
    char key[65], **argv = NULL;
    if (stage_key(key, d, s, err) || (s->command && !(argv = command_line(d, s, err))))
        return err_prefix(err, "stage '%s'", s->name);
    fprintf(stderr, "\n[%zu/%d] %s\n", index + 1, N_DEMO_STAGES, s->title);
    char *product = s->command ? xasprintf("%s/manifest.json", s->name) : xstrdup(s->product);
    struct stage stage = {.name = s->name, .product = product, .run = s->command ? s->name : NULL, .argv = argv, .work = do_work,
                          .user = &work};
    int rc = run(d, s, &stage, key, err);
    for (char **a = argv; a && *a; a++)
        free(*a);
    free(argv);
    free(product);
    return rc;
}
