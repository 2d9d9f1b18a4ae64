#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/demo.h"
#include "util/file.h"
#include "util/mem.h"

static const struct option own[] = {
    {"model", OPTION_STRING, offsetof(struct demo_args, model), NULL, "the base model: a .gguf file or a Hugging Face folder",
     .required = true, .value = "PATH"},
    {"output_dir", OPTION_STRING, offsetof(struct demo_args, output_dir), "demo", "where runs, report.html and results.json go",
     .value = "DIR"},
    {"examples", OPTION_STRING, offsetof(struct demo_args, examples), "examples/helpdesk", "the data", .value = "DIR"},
    {"recipes", OPTION_STRING, offsetof(struct demo_args, recipes), "recipes/helpdesk", "the settings of each stage", .value = "DIR"},
    {"full", OPTION_BOOL, offsetof(struct demo_args, full), "false", "train about three times as long"},
    {"threads", OPTION_INT, offsetof(struct demo_args, threads), "0",
     "threads; 0: OMP_NUM_THREADS, or all cores; results do not depend on it", .min = 0, .max = 1024},
};
static const struct option_group groups[] = {{"Demo", own, ARRAY_LEN(own), 0}};
static const struct option_spec spec = {
    .command = "demo",
    .summary = "The whole loop on a small real model: look at it, SFT, two reward models, PPO, DPO, and a verdict on held-out data with a "
               "report. It can be stopped at any moment; the same line again does what is missing.",
    .usage = "hone demo --model M [--flags]",
    .example = "hone demo --model SmolLM2-135M-Instruct.Q4_1.gguf",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

static int read_system(struct demo *d, struct err *err)
{
    char *path = demo_example(d, "system.txt");
    struct buf text;
    buf_init(&text, 1 << 16);
    int rc = file_read(path, &text, err);
    if (rc == 0 && text.overflow)
        rc = err_set(err, "'%s' is longer than 64 KiB, which is more than a system message", path);
    while (text.len && strchr(" \n\r\t", text.data[text.len - 1]))
        text.len--;
    d->system = xstrndup(text.data, text.len);
    buf_release(&text);
    free(path);
    return rc;
}

static void print_plan(const struct demo *d)
{
    double minutes = 0;
    for (size_t i = 0; i < N_DEMO_STAGES; i++)
        minutes += demo_stages[i].minutes * (d->args->full && demo_stages[i].command ? 3 : 1);
    fprintf(stderr, "hone demo: %d stages, about %.0f min on two cores, in '%s'; it can be stopped and started again at any "
                    "moment\n", N_DEMO_STAGES, minutes, d->args->output_dir);
}

int cmd_demo(int argc, char **argv)
{
    struct demo_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct err err;
    struct demo d = {.args = &args};
    int rc = stages_open(&d.stages, "demo", args.output_dir, &err);
    if (rc == 0)
        rc = read_system(&d, &err);
    if (rc == 0)
        rc = model_hash(args.model, d.model_hash, &err);
    if (rc == 0)
        print_plan(&d);
    for (size_t i = 0; rc == 0 && i < N_DEMO_STAGES; i++)
        rc = demo_stage_run(&d, i, &err);
    if (rc == 0)
        rc = demo_report(&d, &err);
    stages_release(&d.stages);
    free(d.system);
    options_release(&o);
    return rc ? command_failed("demo", &err) : EXIT_DONE;
}
