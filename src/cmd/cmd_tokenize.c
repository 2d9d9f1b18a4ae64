#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/commands.h"
#include "cmd/load.h"
#include "data/records.h"
#include "data/rows.h"
#include "util/mem.h"

struct tokenize_args {
    const char *model, *tokenizer;
    bool add_generation_prompt, add_special_tokens;
};

static const struct option own[] = {
    {"model", OPTION_STRING, offsetof(struct tokenize_args, model), NULL,
     "the model whose tokenizer and chat template are used: a Hugging Face folder, a .gguf file or "
     "a run's folder",
     .value = "PATH"},
    {"tokenizer", OPTION_STRING, offsetof(struct tokenize_args, tokenizer), NULL,
     "a folder with tokenizer.json (and the chat template), instead of or beside --model",
     .value = "DIR"},
    {"add_generation_prompt", OPTION_BOOL, offsetof(struct tokenize_args, add_generation_prompt),
     "false", "end conversations with the beginning of the assistant's answer"},
    {"add_special_tokens", OPTION_BOOL, offsetof(struct tokenize_args, add_special_tokens), "false",
     "put around a text what transformers' tokenizer(text) does: BOS where the family has one there"},
};
static const struct option_group groups[] = {{"Options", own, ARRAY_LEN(own), 0}};
static const struct option_spec spec = {
    .command = "tokenize",
    .summary =
        "Text and conversations to token ids, as training and generation see them. Reads rows "
        "{\"text\": ..} or {\"messages\": ..} from FILE, or from standard input, and writes "
        "{\"ids\": [..], \"text\": ..} a row. Special tokens in a text are recognised; nothing is "
        "added to it unless --add-special-tokens asks for it.",
    .usage = "hone tokenize --model M [FILE] [--flags]",
    .example = "echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}' | hone tokenize "
               "--model model.gguf",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
    .operand = "FILE",
    .max_operands = 1,
};

struct tools {
    struct loaded loaded; /* where the tokenizer is a model's */
    struct tokenizer *own;
    struct chat_template *own_template;
    const struct tokenizer *tokenizer;
    const struct chat_template *chat; /* NULL: why is in `chat_problem` */
    struct err chat_problem;
};

static int tools_open(struct tools *t, const struct tokenize_args *args, struct err *err)
{
    *t = (struct tools){0};
    if (!args->model) {
        t->tokenizer = t->own = tokenizer_open(args->tokenizer, err);
        t->chat = t->own_template =
            t->own ? chat_template_open(args->tokenizer, &t->chat_problem) : NULL;
        return t->own ? 0 : -1;
    }
    if (load_net(&t->loaded, args->model, NULL, args->tokenizer, err))
        return -1;
    const struct model *m = &t->loaded.model;
    t->tokenizer = m->tokenizer;
    t->chat = m->template;
    err_set(&t->chat_problem, "%s", m->template_problem);
    return m->tokenizer ? 0 : err_set(err, "%s", m->template_problem);
}

static void tools_release(struct tools *t)
{
    tokenizer_free(t->own);
    chat_template_free(t->own_template);
    loaded_release(&t->loaded);
}

/* Both strings stay the JSON's; the fields are the caller's. */
static int message_of(struct message *m, const json_t *o, size_t number, struct err *err)
{
    static char no_content[] = "";
    const json_t *role = json_object_get(o, "role"), *content = json_object_get(o, "content");
    bool none = (!content || json_is_null(content)) && !message_needs_content(o);
    if (!json_is_string(role) || !(json_is_string(content) || none))
        return err_set(err,
                       "message %zu must be {\"role\": \"..\", \"content\": \"..\"}, both as text",
                       number);
    *m = (struct message){(char *)json_string_value(role), none ? no_content : (char *)json_string_value(content),
                          message_fields(o)};
    if (strlen(m->content) < json_string_length(content))
        return err_set(err, "message %zu has a 0 byte in it: remove it", number);
    return 0;
}

static int tokenize_messages(struct ids *ids, struct buf *text, const struct tools *t,
                             const json_t *row, bool add_generation_prompt, struct err *err)
{
    const json_t *list = json_object_get(row, "messages");
    if (!t->chat)
        return err_set(err, "the row is a conversation, but there is no chat template: %s",
                       t->chat_problem.text);
    size_t n = json_array_size(list);
    if (n == 0)
        return err_set(
            err, "\"messages\" must be a list of at least one {\"role\": .., \"content\": ..}");
    struct message *messages = xcalloc(n, sizeof *messages);
    json_t *variables;
    int rc = chat_row_variables(&variables, row, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = message_of(&messages[i], json_array_get(list, i), i + 1, err);
    if (rc == 0)
        rc = chat_render_with(t->chat, variables, messages, n, add_generation_prompt, NULL, text, err);
    if (rc == 0)
        rc = chat_encode_with(t->chat, t->tokenizer, variables, messages, n, add_generation_prompt, 0, ids,
                              NULL, err);
    for (size_t i = 0; i < n; i++)
        json_decref(messages[i].fields);
    json_decref(variables);
    free(messages);
    return rc;
}

static int encode_around(struct ids *ids, const struct tokenizer *t, const struct buf *text, struct err *err)
{
    if (tokenizer_encode_whole(t, ids, text->data, text->len, err))
        return -1;
    const struct ids *suffix = tokenizer_suffix(t);
    for (size_t i = 0; i < suffix->n; i++)
        ids_add(ids, suffix->data[i]);
    return 0;
}

static int tokenize_row(struct buf *out, const struct tools *t, const json_t *row,
                        const struct tokenize_args *args, struct err *err)
{
    const json_t *plain = json_object_get(row, "text"), *list = json_object_get(row, "messages");
    if (!plain == !list)
        return err_set(err, plain
                                ? "both \"text\" and \"messages\" are there: leave one"
                                : "neither \"text\" nor \"messages\" is there: write one of them");
    if (plain && !json_is_string(plain))
        return err_set(err, "\"text\" must be text");
    struct ids ids = {0};
    struct buf text;
    buf_init(&text, ROWS_MAX_LINE);
    int rc = 0;
    if (plain) {
        buf_add(&text, json_string_value(plain), json_string_length(plain));
        rc = args->add_special_tokens ? encode_around(&ids, t->tokenizer, &text, err)
                                      : tokenizer_encode(t->tokenizer, &ids, text.data, text.len, err);
    } else {
        rc = tokenize_messages(&ids, &text, t, row, args->add_generation_prompt, err);
    }
    if (rc == 0) {
        buf_str(out, "{\"ids\": [");
        for (size_t i = 0; i < ids.n; i++)
            buf_printf(out, "%s%d", i ? ", " : "", ids.data[i]);
        buf_str(out, "], \"text\": ");
        buf_json_str(out, text.data, text.len);
        buf_str(out, "}\n");
    }
    ids_release(&ids);
    buf_release(&text);
    return rc;
}

static int tokenize(struct buf *out, const struct tools *t, const char *path,
                    const struct tokenize_args *args, struct err *err)
{
    struct records records;
    if (records_open(&records, path, ROWS_MAX_LINE, ROWS_MAX_FILE, err))
        return -1;
    records.allow_nul = true;
    json_t *row;
    size_t line;
    int rc;
    while ((rc = records_next(&records, &row, &line, err)) > 0) {
        rc = tokenize_row(out, t, row, args, err);
        json_decref(row);
        if (rc) {
            err_prefix(err, "'%s' line %zu", records.name, line);
            break;
        }
    }
    records_close(&records);
    return rc;
}

int cmd_tokenize(int argc, char **argv)
{
    struct tokenize_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct err err;
    if (!args.model && !args.tokenizer) {
        err_set(
            &err,
            "--model is missing: give a model, or --tokenizer and a folder with tokenizer.json");
        options_release(&o);
        return command_misused("tokenize", &err);
    }
    struct tools tools;
    struct buf out;
    buf_init(&out, SIZE_MAX / 2);
    int rc = tools_open(&tools, &args, &err);
    if (rc == 0 && !o.operands.n && isatty(STDIN_FILENO))
        fputs("hone: tokenize: reading rows from standard input, to Ctrl-D\n", stderr);
    if (rc == 0)
        rc = tokenize(&out, &tools, o.operands.n ? o.operands.data[0] : "-",
                      &args, &err);
    if (rc == 0)
        fwrite(out.data, 1, out.len, stdout); /* main looks for a full disk */
    tools_release(&tools);
    buf_release(&out);
    options_release(&o);
    return rc ? command_failed("tokenize", &err) : EXIT_DONE;
}
