#include "cmd/base.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/mem.h"

#define FIELD(name) offsetof(struct base_args, name)

const struct option base_options[N_BASE_OPTIONS] = {
    {"model", OPTION_STRING, FIELD(model), NULL,
     "the model: a Hugging Face folder, a .gguf file or a run's folder", .required = true,
     .value = "PATH"},
    {"adapter", OPTION_STRING, FIELD(adapter), NULL,
     "a LoRA adapter on top of it (PEFT), or a run's folder", .value = "PATH"},
    {"tokenizer", OPTION_STRING, FIELD(tokenizer), NULL,
     "a folder with tokenizer and chat template, where the model has none", .value = "DIR"},
};

const struct option base_run_options[N_BASE_RUN_OPTIONS] = {
    {"threads", OPTION_INT, FIELD(threads), "0",
     "threads; 0: OMP_NUM_THREADS, or all cores; results do not depend on it", .min = 0,
     .max = 1024},
    {"quiet", OPTION_BOOL, FIELD(quiet), "false", "no progress and no remarks"},
};

int base_open(struct loaded *l, const struct base_args *args, struct err *err)
{
    if (args->threads)
        omp_set_num_threads((int)args->threads);
    return load_net(l, args->model, args->adapter, args->tokenizer, err);
}

int base_read(struct dataset *data, const char *command, const char *path,
              const struct rows_config *config, unsigned kinds, const char *wanted, bool quiet,
              struct err *err)
{
    if (dataset_read(data, path, config, err))
        return -1;
    if (!strcmp(path, "-")) { /* for sentences */
        free(data->path);
        data->path = xstrdup("standard input");
    }
    if (!(kinds >> data->kind & 1)) {
        err_set(err, "'%s' holds %s, but 'hone %s' takes %s", data->path, data->format_name,
                command, wanted);
        dataset_release(data);
        return -1;
    }
    if (quiet)
        return 0;
    enum { SHOWN = 3 };
    fprintf(stderr, "%s: %zu rows: %s\n", data->path, data->n, data->format_name);
    for (size_t i = 0; i < data->report.n_texts && i < SHOWN; i++)
        fprintf(stderr, "  warning: %s\n", data->report.texts[i]);
    if (data->report.warnings > SHOWN)
        fprintf(stderr, "  and %zu more warnings: see 'hone inspect %s'\n",
                data->report.warnings - SHOWN, path);
    return 0;
}

int base_check_lengths(const struct examples *e, size_t more, const struct model *m,
                       const char *path, const char *remedy, struct err *err)
{
    size_t positions = m->rope.positions;
    for (size_t i = 0; i < e->n; i++) {
        const struct example *x = &e->list[i];
        size_t longest = 0;
        for (size_t k = 0; k < x->n_completions; k++)
            longest = x->completions[k].n > longest ? x->completions[k].n : longest;
        if (x->prompt.n + longest + more <= positions)
            continue;
        char extra[64] = "";
        if (more)
            snprintf(extra, sizeof extra, " and %zu new ones", more);
        return err_set(
            err, "'%s' line %zu: its %zu tokens%s are more than the %zu positions of the model: %s",
            path, x->row->line, x->prompt.n + longest, extra, positions, remedy);
    }
    return 0;
}
