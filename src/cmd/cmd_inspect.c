#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/commands.h"
#include "cmd/inspect.h"
#include "cmd/outline.h"
#include "hub/settings.h"
#include "util/file.h"

struct inspect_args {
    const char *model, *tokenizer, *eval_data, *system;
    int64_t max_length, rows;
    bool assistant_only_loss, weights, json;
};

static const struct option own[] = {
    {"json", OPTION_BOOL, offsetof(struct inspect_args, json), "false",
     "one JSON object on a line, for machines"},
};
static const struct option model_rows[] = {
    {"model", OPTION_STRING, offsetof(struct inspect_args, model), NULL,
     "of a data file: the model it is for (lengths, masks); of an adapter: its base",
     .value = "PATH"},
    {"tokenizer", OPTION_STRING, offsetof(struct inspect_args, tokenizer), NULL,
     "a folder with tokenizer and chat template, where the model has none", .value = "DIR"},
    {"weights", OPTION_BOOL, offsetof(struct inspect_args, weights), "true",
     "read all of a model's weights, to find numbers that are not finite"},
};
static const struct option data_rows[] = {
    {"eval_data", OPTION_STRING, offsetof(struct inspect_args, eval_data), NULL,
     "are prompts of this file in the data, too?", .value = "FILE"},
    {"max_length", OPTION_INT, offsetof(struct inspect_args, max_length), "1024",
     "count the rows with more tokens", .min = 2, .max = 1e6},
    {"rows", OPTION_INT, offsetof(struct inspect_args, rows), "3",
     "show so many rows, token by token: what is trained in colour, or in [brackets] where there "
     "is none",
     .min = 0, .max = 1e6},
    {"assistant_only_loss", OPTION_BOOL, offsetof(struct inspect_args, assistant_only_loss),
     "false", "masks as with this flag of hone sft"},
    {"system", OPTION_STRING, offsetof(struct inspect_args, system), NULL,
     "system message for rows that have none", .value = "TEXT"},
};
static const struct option_group groups[] = {{"Output", own, ARRAY_LEN(own), 0},
                                             {"Models", model_rows, ARRAY_LEN(model_rows), 0},
                                             {"Data", data_rows, ARRAY_LEN(data_rows), 0}};
static const struct option_spec spec = {
    .command = "inspect",
    .summary =
        "Look into a model, an adapter, a run's folder or a file of rows, and say what is wrong "
        "with it. Of data, with --model: lengths, and which tokens are trained.",
    .usage = "hone inspect PATH [--model M] [--flags]",
    .example = "hone inspect comparisons.jsonl --model model.gguf --eval-data held-out.jsonl",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
    .operand = "PATH",
    .min_operands = 1,
    .max_operands = 1,
};

static bool holds(const char *folder, const char *name)
{
    char *path = path_join(folder, name);
    bool there = file_exists(path);
    free(path);
    return there;
}

static bool is_gguf(const char *path)
{
    FILE *f = fopen(path, "rb");
    char magic[4] = "";
    bool is = f && fread(magic, 1, 4, f) == 4 && !memcmp(magic, "GGUF", 4);
    if (f)
        fclose(f);
    size_t n = strlen(path);
    return is || (n > 5 && !strcmp(path + n - 5, ".gguf"));
}

static json_t *look(const char *path, const struct inspect_options *o, struct err *err)
{
    if (strcmp(path, "-") && !file_exists(path)) {
        err_set(err, "'%s' is not there", path);
        return NULL;
    }
    if (!file_is_dir(path))
        return strcmp(path, "-") && is_gguf(path) ? inspect_model(path, o, err)
                                                  : inspect_data(path, o, err);
    if (holds(path, "config.json"))
        return inspect_model(path, o, err);
    if (holds(path, "adapter_config.json"))
        return inspect_adapter(path, o, err);
    if (holds(path, "manifest.json") || holds(path, "metrics.jsonl"))
        return inspect_run(path, o, err);
    err_set(err,
            "'%s' is a folder with neither config.json (a model), adapter_config.json (an "
            "adapter), manifest.json nor "
            "metrics.jsonl (a run)",
            path);
    return NULL;
}

/* ---- masks for people ---- */

/* A token's text with its control characters made visible; a line break breaks the line, too. */
static void add_visible(struct buf *out, const char *s, bool *line_break)
{
    *line_break = false;
    for (; *s; s++) {
        if (*s == '\n') {
            buf_str(out, "\\n");
            *line_break = true;
        } else if ((unsigned char)*s < 0x20 || *s == 0x7f) {
            buf_printf(out, "\\x%02x", (unsigned char)*s);
        } else {
            buf_add(out, s, 1);
        }
    }
}

static void add_tokens(struct buf *out, const json_t *tokens, bool colours)
{
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        const json_t *token = json_array_get(tokens, i);
        bool trained = json_is_true(json_object_get(token, "trained")), line_break;
        /* neighbours in two shades, so that their border is seen */
        if (colours)
            buf_printf(out, "\033[%sm",
                       trained ? (i % 2 ? "30;102" : "30;42") : (i % 2 ? "2" : "2;4"));
        else if (trained)
            buf_str(out, "[");
        add_visible(out, json_string_value(json_object_get(token, "text")), &line_break);
        buf_str(out, colours ? "\033[0m" : trained ? "]" : "");
        buf_str(out, line_break ? "\n" : "");
    }
}

static void add_rows(struct buf *out, const json_t *rows, bool colours)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i), *parts = json_object_get(row, "parts");
        buf_printf(out, "\nline %lld, %s (%s: trained)\n",
                   (long long)json_integer_value(json_object_get(row, "line")),
                   json_string_value(json_object_get(row, "id")),
                   colours ? "\033[30;42mgreen\033[0m" : "[brackets]");
        for (size_t k = 0; k < json_array_size(parts); k++) {
            const json_t *part = json_array_get(parts, k);
            buf_printf(out, "--- %s\n", json_string_value(json_object_get(part, "part")));
            add_tokens(out, json_object_get(part, "tokens"), colours);
            if (out->len && out->data[out->len - 1] != '\n')
                buf_str(out, "\n");
        }
    }
}

static void print(json_t *report, bool json)
{
    struct buf out;
    buf_init(&out, SIZE_MAX / 2);
    if (json) {
        char *text = json_dumps(report, JSON_COMPACT | JSON_REAL_PRECISION(9));
        buf_str(&out, text);
        buf_str(&out, "\n");
        free(text);
    } else {
        json_t *rows = json_incref(json_object_get(report, "rows_shown"));
        json_object_del(report, "rows_shown");
        outline_add(&out, report);
        add_rows(&out, rows, isatty(STDOUT_FILENO));
        json_decref(rows);
        if (json_object_get(report, "distinct_prompts") && !json_object_get(report, "tokens"))
            buf_str(&out, "\n(with --model M: lengths in tokens, and which tokens are trained)\n");
    }
    fwrite(out.data, 1, out.len, stdout);
    buf_release(&out);
}

int cmd_inspect(int argc, char **argv)
{
    struct inspect_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct err err;
    struct inspect_options look_for = {.model = args.model,
                                       .tokenizer = args.tokenizer,
                                       .eval_data = args.eval_data,
                                       .system = args.system,
                                       .max_length = (size_t)args.max_length,
                                       .rows = (size_t)args.rows,
                                       .assistant_only = args.assistant_only_loss,
                                       .weights = args.weights};
    char *path = hub_find(o.operands.data[0]);
    json_t *report = look(path, &look_for, &err);
    if (report)
        print(report, args.json);
    json_decref(report);
    free(path);
    options_release(&o);
    return report ? EXIT_DONE : command_failed("inspect", &err);
}
