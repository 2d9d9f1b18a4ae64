/* Every recipe in recipes/ is run for a few steps on the tiny model, so that none of them goes stale.
 *
 * A recipe is named after its command, perhaps with more behind a dash: grpo-dapo.yaml is for `hone grpo`.  It is run by the line that
 * stands in its comment, "#     hone COMMAND --config recipes/.. ..", where $M, the files of rows and the runs that such lines name are
 * there; one without a line, by its command's in `usual`.  A new recipe needs nothing here unless its rows are of a new kind. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/program.h"
#include "util/file.h"
#include "util/mem.h"

enum { ROWS = 80 };
#define QUICKLY "--tokenizer tokenizer --max-steps 1 --quiet"

/* What is laid over every recipe, where its command knows the flag. */
static const char *const shorter[][2] = {
    {"max-steps", "2"},        {"rounds", "2"},        {"num-generations", "4"},  {"max-new-tokens", "12"}, {"max-completion-length", "12"},
    {"response-length", "12"}, {"output-dir", "out"},  {"tokenizer", "tokenizer"}, {"overwrite", ""},        {"quiet", ""},
};

/* Rows and runs of commands whose recipes name none: "" ends the list with any other command. */
static const struct {
    const char *command, *flags;
} usual[] = {
    {"sft", "--model $M --train-data demonstrations.jsonl"},
    {"irl", "--model runs/sft --train-data demonstrations.jsonl"},
    {"reward", "--model runs/sft --train-data comparisons.jsonl"},
    {"dpo", "--model runs/sft --train-data comparisons.jsonl"},
    {"ppo", "--model runs/sft --train-data prompts.jsonl --reward runs/reward"},
    {"", "--model runs/sft --train-data prompts.jsonl"},
};

/* ---- rows ---- */

static void write_rows(const char *path, const char *rest)
{
    static const char *const words[] = {"the lamp was lit", "before the rain", "a hall", "the window was open", "it began"};
    FILE *f = fopen(path, "w");
    for (int i = 0; i < ROWS; i++) {
        const char *one = words[(i + 1) % 5], *other = words[(i + 3) % 5];
        fprintf(f, "{\"prompt\": \"%s, %d\", \"answer\": %d", words[i % 5], i, i);
        for (const char *c = rest; *c; c++) { /* A and B: answers; N: a number from 1 to 3; L: true or false */
            if (*c == 'A' || *c == 'B')
                fprintf(f, "\"%s\"", *c == 'A' ? one : other);
            else if (*c == 'N')
                fprintf(f, "%d", 1 + i % 3);
            else if (*c == 'L')
                fputs(i % 2 ? "true" : "false", f);
            else
                fputc(*c, f);
        }
        fputs("}\n", f);
    }
    fclose(f);
}

static int enter(void **state)
{
    if (sandbox_enter(state))
        return -1;
    write_tokenizer("tokenizer");
    write_rows("prompts.jsonl", "");
    write_rows("problems.jsonl", "");
    write_rows("demonstrations.jsonl", ", \"completion\": A");
    write_rows("comparisons.jsonl", ", \"chosen\": A, \"rejected\": B");
    write_rows("thumbs.jsonl", ", \"completion\": A, \"label\": L");
    write_rows("steps.jsonl", ", \"completions\": [A, B], \"labels\": [L, true]");
    write_rows("ratings.jsonl", ", \"completion\": A, \"rating\": N");
    /* what the recipes of examples/ name */
    run_ok("mkdir -p examples/helpdesk && echo 'Be brief.' >examples/helpdesk/system.txt && for name in prompts demonstrations comparisons; do "
           "cp $name.jsonl examples/helpdesk/; sed 's/^{\"prompt\": \"/&then /' $name.jsonl >examples/helpdesk/$name-heldout.jsonl; done");
    setenv("M", "golden/models/llama", 1);
    run_ok("$HONE sft --model $M --train-data demonstrations.jsonl --output-dir runs/sft " QUICKLY);
    run_ok("$HONE reward --model runs/sft --train-data comparisons.jsonl --output-dir runs/reward " QUICKLY);
    assert_int_equal(symlink("reward", "runs/reward-second"), 0);
    return symlink("runs", "demo"); /* the demo's recipes call it so */
}

/* ---- recipes ---- */

/* Is `name` the recipe of `command`?  "dpo-ipo" is one of dpo, "online-dpo" none. */
static bool belongs(const char *name, const char *command)
{
    size_t n = strlen(command);
    return !strncmp(name, command, n) && (name[n] == 0 || name[n] == '-');
}

/* The longest of hone's commands that the file is named after; fails where there is none. */
static char *command_of(const char *path, const json_t *commands)
{
    const char *last = strrchr(path, '/') + 1, *best = "";
    char *name = xstrndup(last, strcspn(last, "."));
    for (size_t i = 0; i < json_array_size(commands); i++) {
        const char *command = json_string_value(json_array_get(commands, i));
        if (belongs(name, command) && strlen(command) > strlen(best))
            best = command;
    }
    if (!*best)
        fail_msg("%s: no command of hone is called so, nor as its name begins: call it COMMAND.yaml or COMMAND-MORE.yaml", path);
    free(name);
    return xstrdup(best);
}

static const char *usual_flags(const char *command)
{
    size_t i = 0;
    while (*usual[i].command && strcmp(usual[i].command, command))
        i++;
    return usual[i].flags;
}

/* The line to run, without `shorter`. */
static char *line_of(const char *path, const char *command)
{
    char *text = text_read(path, NULL), *start = xasprintf("#     hone %s --config %s ", command, path);
    const char *line = strstr(text, start), *any = strstr(text, "#     hone ");
    if (any && any != line)
        fail_msg("%s: its line is not 'hone %s --config %s ..'", path, command, path);
    const char *reward = strstr(text, "\nreward:") || strcmp(usual_flags(command), usual_flags("")) ? "" : "--reward rule:answer";
    char *made = line ? xasprintf("$HONE %.*s", (int)strcspn(line + 11, "\n"), line + 11)
                      : xasprintf("$HONE %s --config %s %s %s", command, path, usual_flags(command), reward);
    free(start);
    free(text);
    return made;
}

/* Flags in `shorter` that the command has. */
static char *shorten(const char *command)
{
    struct buf flags;
    struct ended help = run("$HONE %s --help", command);
    buf_init(&flags, 4096);
    for (size_t i = 0; i < sizeof shorter / sizeof *shorter; i++) {
        char *flag = xasprintf("--%s ", shorter[i][0]), *negated = xasprintf("--[no-]%s ", shorter[i][0]);
        if (strstr(help.out, flag) || strstr(help.out, negated))
            buf_printf(&flags, " %s%s", flag, shorter[i][1]);
        free(flag);
        free(negated);
    }
    ended_release(&help);
    return flags.data;
}

static json_t *words_of(const char *line)
{
    struct ended e = run("%s", line);
    json_t *words = json_array();
    for (char *rest = e.out, *word; (word = strtok_r(rest, "\n", &rest));)
        json_array_append_new(words, json_string(word));
    ended_release(&e);
    return words;
}

static void test_recipes(void **state)
{
    (void)state;
    json_t *recipes = words_of("find -L recipes -name '*.yaml' | LC_ALL=C sort");
    json_t *commands = words_of("$HONE --help | sed -n 's/^  \\([a-z-]*\\)  .*/\\1/p'");
    assert_true(json_array_size(recipes) > 20 && json_array_size(commands) > 10);
    for (size_t i = 0; i < json_array_size(recipes); i++) {
        const char *path = json_string_value(json_array_get(recipes, i));
        char *command = command_of(path, commands), *line = line_of(path, command), *flags = shorten(command);
        struct ended e = run("%s%s", line, flags);
        if (e.code)
            fail_msg("%s: '%s%s' ended with %d: %s", path, line, flags, e.code, e.err);
        ended_release(&e);
        free(command);
        free(line);
        free(flags);
        drop("out");
    }
    json_decref(recipes);
    json_decref(commands);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_recipes)};
    return cmocka_run_group_tests(tests, enter, sandbox_leave);
}
