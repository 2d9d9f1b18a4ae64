#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/progress.h"
#include "hub/pull.h"
#include "hub/settings.h"
#include "model/config.h"
#include "util/file.h"
#include "util/mem.h"

struct pull_args {
    const char *revision, *file, *output_dir, *endpoint;
    int64_t retries;
    double timeout;
    bool overwrite, quiet;
};

#define FIELD(name) offsetof(struct pull_args, name)
static const struct option own[] = {
    {"revision", OPTION_STRING, FIELD(revision), "main", "a branch, a tag or a commit", .value = "REV"},
    {"file", OPTION_STRING, FIELD(file), NULL, "which GGUF, where the hub has several", .value = "NAME.gguf"},
    {"output_dir", OPTION_STRING, FIELD(output_dir), NULL,
     "the folder it goes to, instead of the one where --model OWNER/NAME finds it (~/.cache/hone/OWNER/NAME; HONE_CACHE)", .value = "DIR"},
    {"overwrite", OPTION_BOOL, FIELD(overwrite), "false", "what was pulled there before may be replaced"},
};
static const struct option net[] = {
    {"endpoint", OPTION_STRING, FIELD(endpoint), NULL, "the hub's address, instead of HF_ENDPOINT or " HUB_ENDPOINT, .value = "URL"},
    {"retries", OPTION_INT, FIELD(retries), "5", "attempts after one that broke off, or that the hub was too busy for", .max = 100},
    {"timeout", OPTION_FLOAT, FIELD(timeout), "30", "seconds without a byte after which a connection is dead", .min = 1, .max = 3600},
    {"quiet", OPTION_BOOL, FIELD(quiet), "false", "no progress"},
};
#undef FIELD
static const struct option_group groups[] = {{"Model", own, ARRAY_LEN(own), 0}, {"Network", net, ARRAY_LEN(net), 0}};
static const struct option_spec spec = {
    .command = "pull",
    .summary = "Get a model from a hub: what hone reads of it (configuration, tokenizer, chat template, safetensors, or one GGUF), each file "
               "checked against the hub's hash. What broke off goes on where it was. Its path is printed, and --model OWNER/NAME finds it. For "
               "private and gated models, HF_TOKEN or the field's token file.",
    .usage = "hone pull OWNER/NAME [--revision REV] [--file NAME.gguf] [--flags]",
    .example = "hone pull HuggingFaceTB/SmolLM2-135M-Instruct",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
    .operand = "OWNER/NAME",
    .min_operands = 1,
    .max_operands = 1,
};

static volatile sig_atomic_t stop_asked;

static void on_signal(int signal)
{
    (void)signal;
    stop_asked = 1;
}

struct show {
    struct progress progress;
    const char *name; /* of the file at hand */
    bool on, quiet;
};

static bool stopped(void *ctx)
{
    (void)ctx;
    return stop_asked;
}

static void at(void *ctx, size_t done)
{
    struct show *s = ctx;
    if (s->on)
        progress_update(&s->progress, done, s->name);
}

static void say(void *ctx, const char *phrase)
{
    struct show *s = ctx;
    if (s->quiet)
        return;
    if (s->on)
        progress_clear(&s->progress);
    fprintf(stderr, "pull: %s\n", phrase);
}

static void show_start(struct show *s, const char *what, size_t first, size_t total)
{
    progress_start(&s->progress, what, "B", first, total, s->quiet);
    s->on = true;
}

static void show_end(struct show *s, bool keep)
{
    if (s->on && keep)
        progress_end(&s->progress);
    else if (s->on)
        progress_clear(&s->progress);
    s->on = false;
}

/* Where there are several GGUFs, all of them with their sizes, which are those of all parts. */
static void list_ggufs(const struct hub_listing *l)
{
    for (size_t i = 0; i < l->n; i++) {
        char text[BYTES_TEXT];
        size_t size = 0;
        for (size_t k = 0; k < l->n; k++)
            if (listing_same_gguf(l->files[k].name, l->files[i].name) && (l->files[k].size == SIZE_MAX || __builtin_add_overflow(size, l->files[k].size, &size)))
                size = SIZE_MAX;
        if (listing_starts_gguf(l->files[i].name))
            fprintf(stderr, "  %-50s  %s\n", l->files[i].name, size == SIZE_MAX ? "?" : bytes_text(text, size));
    }
}

/* A model that hone cannot run is told from its configuration, before its weights come. */
static int check_config(struct pull *p, struct err *err)
{
    struct config c;
    if (config_from_folder(&c, p->work, err) == 0) {
        config_release(&c);
        return 0;
    }
    struct err other;
    pull_drop(p, &other);
    return -1;
}

static int fetch(struct pull *p, struct show *s, struct err *err)
{
    int rc = 0;
    show_start(s, "pull", p->done, p->total);
    for (size_t i = 0; rc == 0 && i < p->list.n; i++) {
        s->name = p->list.files[i].name;
        rc = pull_file(p, i, err);
        if (rc == 0 && !p->gguf && !strcmp(s->name, "config.json"))
            rc = check_config(p, err);
    }
    s->name = "";
    at(s, p->done);
    show_end(s, rc == 0);
    return rc;
}

static int stop(const struct pull *p, struct err *err)
{
    char done[BYTES_TEXT], total[BYTES_TEXT];
    if (!p->total)
        return err_set(err, "stopped before anything was fetched");
    return err_set(err, "stopped: what is there of %s stays, %s are complete: the same command goes on from there", bytes_text(total, p->total),
                   bytes_text(done, p->done));
}

/* What to write after --model. */
static void print_result(const struct pull *p, bool own_place, bool quiet)
{
    char size[BYTES_TEXT], *path = pull_result(p);
    if (!quiet && p->all_there)
        fprintf(stderr, "pull: '%s' is there already and as it should be (commit %.12s)\n", path, p->list.commit);
    else if (!quiet)
        fprintf(stderr, "pull: %zu file%s, %s, commit %.12s%s%s\n", p->list.n, p->list.n == 1 ? "" : "s", bytes_text(size, p->total),
                p->list.commit, own_place ? ": --model " : "", own_place ? p->config.model : "");
    puts(path);
    free(path);
}

static int run(const struct pull_config *config, bool own_place, bool quiet, struct err *err)
{
    struct show *s = config->http.watch->ctx;
    struct pull p;
    int rc = pull_open(&p, config, err);
    if (rc && !config->file && p.list.n)
        list_ggufs(&p.list);
    if (rc == 0) {
        show_start(s, "check", 0, 0);
        rc = pull_check(&p, err);
        show_end(s, false);
    }
    if (rc == 0 && !p.all_there)
        rc = fetch(&p, s, err) || pull_finish(&p, err) ? -1 : 0;
    if (rc == 0)
        print_result(&p, own_place, quiet);
    if (rc && stop_asked)
        stop(&p, err);
    pull_release(&p);
    return rc;
}

int cmd_pull(int argc, char **argv)
{
    struct pull_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct err err;
    const char *model = o.operands.data[0];
    char *token = NULL, *endpoint = hub_endpoint(args.endpoint), *place = NULL;
    struct show show = {.quiet = args.quiet, .name = ""};
    struct hub_watch watch = {.stopped = stopped, .at = at, .say = say, .ctx = &show};
    struct sigaction handler = {.sa_handler = on_signal};
    if (!hub_is_model(model)) {
        err_set(&err, "'%s' is no model's name: write it as OWNER/NAME", model);
        code = command_misused("pull", &err);
    } else if (hub_token(&token, &err) || (!args.output_dir && !(place = hub_place(model, args.revision, &err)))) {
        code = command_failed("pull", &err);
    } else {
        struct pull_config config = {.model = model, .revision = args.revision, .file = args.file,
                                     .dir = place ? place : args.output_dir, .overwrite = args.overwrite, .offline = hub_offline(),
                                     .http = {.endpoint = endpoint, .token = token, .retries = (size_t)args.retries,
                                              .timeout = args.timeout, .watch = &watch}};
        sigaction(SIGINT, &handler, NULL);
        sigaction(SIGTERM, &handler, NULL);
        code = run(&config, place && !strcmp(args.revision, "main"), args.quiet, &err) ? command_failed("pull", &err) : EXIT_DONE;
    }
    if (token)
        memset(token, 0, strlen(token));
    free(token);
    free(endpoint);
    free(place);
    options_release(&o);
    return code;
}
