#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/base.h"
#include "cmd/commands.h"
#include "cmd/sampling.h"
#include "util/mem.h"
#include "util/utf8.h"

struct chat_args {
    struct base_args base;
    struct sampling_args sampling;
    const char *system;
    bool pack;
};

static const struct option own[] = {
    {"system", OPTION_STRING, offsetof(struct chat_args, system), NULL,
     "the conversation's system message", .value = "TEXT"},
    {"pack", OPTION_BOOL, offsetof(struct chat_args, pack), "true",
     "keep the weights as floats too (4 bytes each), which is faster"},
};
static const struct option_group groups[] = {{"Conversation", own, ARRAY_LEN(own), 0},
                                             SAMPLING_GROUP(offsetof(struct chat_args, sampling)),
                                             BASE_GROUPS(offsetof(struct chat_args, base))};
static const struct option_spec spec = {
    .command = "chat",
    .summary =
        "Talk to a model in the terminal. /help lists what can be typed beside messages; Ctrl-C "
        "stops an answer, Ctrl-D ends the program. Where standard input is a pipe or a file, each "
        "of its lines is a message, and nothing but the answers is written to standard output.",
    .usage = "hone chat --model M [--flags]",
    .example = "hone chat --model runs/sft --system 'You are a pirate.' --temperature 0.7",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

/* ---- lines ---- */

/* Lines as a person types them, with editing and history, or as they come through a pipe. */
struct input {
    EditLine *edit; /* NULL: a pipe */
    History *history;
    const char *prompt;
    bool interrupted; /* Ctrl-C at the prompt: the line is thrown away */
    struct buf text;
};

static struct input *input_of(EditLine *edit)
{
    struct input *in;
    el_get(edit, EL_CLIENTDATA, &in);
    return in;
}

static char *prompt_of(EditLine *edit)
{
    return (char *)input_of(edit)->prompt;
}

static unsigned char interrupt_line(EditLine *edit, int key)
{
    (void)key;
    input_of(edit)->interrupted = true;
    return CC_EOF;
}

static void input_open(struct input *in, bool terminal)
{
    *in = (struct input){.prompt = "> "};
    buf_init(&in->text, (size_t)16 << 20);
    if (!terminal)
        return;
    setlocale(LC_CTYPE, "");
    if (MB_CUR_MAX == 1)
        setlocale(LC_CTYPE, "C.UTF-8");
    in->edit = el_init("hone", stdin, stdout, stderr);
    in->history = history_init();
    if (!in->edit || !in->history)
        BUG("out of memory");
    HistEvent event;
    history(in->history, &event, H_SETSIZE, 1000);
    el_set(in->edit, EL_CLIENTDATA, in);
    el_set(in->edit, EL_PROMPT, prompt_of);
    el_set(in->edit, EL_EDITOR, "emacs");
    el_set(in->edit, EL_HIST, history, in->history);
    /* While a line is edited Ctrl-C is a key, not a signal. */
    el_set(in->edit, EL_ADDFN, "interrupt-line", "throw the line away", interrupt_line);
    el_set(in->edit, EL_BIND, "^C", "interrupt-line", NULL);
    el_set(in->edit, EL_SETTY, "-d", "-isig", NULL);
}

static void input_close(struct input *in)
{
    if (in->history)
        history_end(in->history);
    if (in->edit)
        el_end(in->edit);
    buf_release(&in->text);
}

/* One line without its end into in->text, after what is there.  1; 0: the end of input; 2: Ctrl-C.
 */
static int read_line(struct input *in)
{
    if (in->edit) {
        int n;
        in->interrupted = false;
        const char *line = el_gets(in->edit, &n);
        if (in->interrupted) {
            fputs("^C\n", stdout);
            return 2;
        }
        if (!line || n <= 0)
            return 0;
        buf_add(&in->text, line, (size_t)n - (line[n - 1] == '\n'));
        return 1;
    }
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n = getline(&line, &capacity, stdin);
    if (n > 0 && line[n - 1] == '\n')
        n--;
    if (n > 0 && line[n - 1] == '\r')
        n--;
    if (n > 0)
        buf_add(&in->text, line, (size_t)n);
    free(line);
    return n >= 0;
}

/* A message: a line, and as long as it ends with a backslash the next one.  Returns as
 * read_line(). */
static int input_read(struct input *in)
{
    buf_clear(&in->text);
    in->prompt = "> ";
    int rc;
    while ((rc = read_line(in)) == 1) {
        if (!in->text.len || in->text.data[in->text.len - 1] != '\\')
            break;
        in->text.data[in->text.len - 1] = '\n';
        in->prompt = ". ";
    }
    HistEvent event;
    if (in->history && in->text.len)
        history(in->history, &event, H_ENTER, in->text.data);
    return rc == 0 && in->text.len ? 1 : rc;
}

/* ---- the conversation ---- */

struct talk {
    const struct chat_args *args;
    const struct loaded *loaded;
    struct sampling sampling;
    int32_t stop[4];
    size_t n_stop;
    struct message
        *messages; /* the system message, if there is one, then user and assistant in turn */
    size_t n, capacity;
    bool terminal;
    uint32_t answers; /* so far: each has its own random numbers */
};

static volatile sig_atomic_t stop_asked;

static void on_interrupt(int signal)
{
    (void)signal;
    stop_asked = 1;
}

static void talk_add(struct talk *t, const char *role, const char *content)
{
    ARRAY_GROW(t->messages, t->n + 1, t->capacity);
    t->messages[t->n++] = (struct message){xstrdup(role), xstrdup(content)};
}

static void talk_drop(struct talk *t)
{
    struct message *m = &t->messages[--t->n];
    free(m->role);
    free(m->content);
}

static bool has_system(const struct talk *t)
{
    return t->n && !strcmp(t->messages[0].role, "system");
}

static void talk_reset(struct talk *t)
{
    while (t->n > has_system(t))
        talk_drop(t);
}

static void set_system(struct talk *t, const char *text)
{
    if (has_system(t)) {
        free(t->messages[0].content);
        t->messages[0].content = xstrdup(text);
        return;
    }
    talk_add(t, "system", text);
    struct message system = t->messages[t->n - 1];
    memmove(t->messages + 1, t->messages, (t->n - 1) * sizeof system);
    t->messages[0] = system;
}

/* ---- answers ---- */

/* What of an answer has been decoded, and how much of that is printed. */
struct stream {
    const struct talk *talk;
    struct buf text;
    size_t printed;
    bool begun; /* a token that is text was there */
};

/* Whole characters only; on a terminal none that control it. */
static void print_text(const char *s, size_t n, bool terminal)
{
    for (size_t i = 0, k; i < n; i += k ? k : 1) {
        k = utf8_char_len(s + i, n - i);
        uint32_t c = k ? utf8_decode(s + i, k) : 0xfffd;
        bool control = (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c < 0xa0);
        if (!k)
            fputs("\xef\xbf\xbd", stdout);
        else if (!control || !terminal)
            fwrite(s + i, 1, k, stdout);
    }
}

static void print_more(struct stream *s, size_t upto)
{
    print_text(s->text.data + s->printed, upto - s->printed, s->talk->terminal);
    fflush(stdout);
    s->printed = upto;
}

static int on_token(void *user, const struct request *r, size_t sample, int32_t token)
{
    (void)sample;
    struct stream *s = user;
    for (size_t i = 0; i < r->n_stop; i++)
        if (token == r->stop[i])
            return 0;
    const struct tokenizer *t = s->talk->loaded->model.tokenizer;
    if (s->begun)
        tokenizer_decode_more(t, &s->text, &token, 1, true);
    else
        tokenizer_decode(t, &s->text, &token, 1, true);
    s->begun |= !tokenizer_is_special(t, token);
    print_more(s,
               s->printed + utf8_complete_len(s->text.data + s->printed, s->text.len - s->printed));
    return stop_asked;
}

static int draw_answer(struct request *r, const struct model *m, struct err *err)
{
    struct generator_limits limits = {.slots = 1, .positions = r->n_prompt + r->max_new_tokens};
    struct generator g;
    if (generator_init(&g, m, &limits, err))
        return -1;
    long left = generator_submit(&g, r, err) ? -1 : 1;
    while (left > 0) {
        r->cancel |= stop_asked != 0;
        left = generator_step(&g, err);
    }
    generator_release(&g);
    return left < 0 ? -1 : 0;
}

/* The assistant's answer, printed as it comes and added to the conversation. */
static int answer(struct talk *t, const struct ids *prompt, struct err *err)
{
    const struct model *m = &t->loaded->model;
    struct stream s = {.talk = t};
    struct request r = {.prompt = prompt->data,
                        .n_prompt = prompt->n,
                        .n_samples = 1,
                        .sampling = t->sampling,
                        .stop = t->stop,
                        .n_stop = t->n_stop,
                        .adapter = t->loaded->net.adapter,
                        .key = t->answers++,
                        .on_token = on_token,
                        .user = &s};
    r.max_new_tokens = sampling_room(&t->args->sampling, false, m, prompt->n);
    if (r.max_new_tokens == 0)
        return err_set(err,
                       "the conversation has %zu tokens and the model %zu positions: there is no "
                       "room for an answer: /undo "
                       "a message, or /reset",
                       prompt->n, m->rope.positions);
    buf_init(&s.text, (size_t)64 << 20);
    stop_asked = 0;
    struct sigaction handler = {.sa_handler = on_interrupt}, before;
    if (t->terminal)
        sigaction(SIGINT, &handler, &before);
    int rc = draw_answer(&r, m, err);
    if (t->terminal)
        sigaction(SIGINT, &before, NULL);
    if (rc == 0) {
        print_more(&s, s.text.len);
        fputs("\n", stdout);
        fflush(stdout);
        talk_add(t, "assistant", s.text.data);
        if (t->terminal && !t->args->base.quiet && r.samples[0].finish == FINISH_LENGTH)
            fprintf(stderr, "(cut after %zu tokens: --max-new-tokens)\n", r.samples[0].n);
    }
    request_release(&r);
    buf_release(&s.text);
    return rc;
}

static int take_message(struct talk *t, const char *text, struct err *err)
{
    const struct model *m = &t->loaded->model;
    struct ids ids = {0};
    talk_add(t, "user", text);
    int rc = chat_encode(m->template, m->tokenizer, t->messages, t->n, true, 0, &ids, NULL, err);
    if (rc == 0)
        rc = answer(t, &ids, err);
    if (rc)
        talk_drop(t); /* the message */
    ids_release(&ids);
    return rc;
}

/* ---- commands ---- */

static int help(struct talk *t, const char *rest);

static int undo(struct talk *t, const char *rest)
{
    (void)rest;
    if (t->n == has_system(t)) {
        fputs("there is nothing to take back\n", stderr);
        return 0;
    }
    talk_drop(t);
    talk_drop(t);
    fputs("took back your last message and its answer\n", stderr);
    return 0;
}

static int reset(struct talk *t, const char *rest)
{
    (void)rest;
    talk_reset(t);
    fputs("a new conversation\n", stderr);
    return 0;
}

static int system_message(struct talk *t, const char *rest)
{
    const char *standard = chat_default_system(t->loaded->model.template);
    if (*rest)
        set_system(t, rest);
    const char *now = has_system(t) ? t->messages[0].content : standard;
    fprintf(stderr, "system message: %s\n", now ? now : "none");
    return 0;
}

static int quit(struct talk *t, const char *rest)
{
    (void)t, (void)rest;
    return 1;
}

static const struct {
    const char *name, *help;
    int (*run)(struct talk *t, const char *rest); /* 1: leave the program */
} commands[] = {
    {"/reset", "forget the conversation (not the system message)", reset},
    {"/undo", "take back your last message and its answer", undo},
    {"/system", "/system TEXT sets the system message, /system shows it", system_message},
    {"/help", "this list", help},
    {"/quit", "end the program, as Ctrl-D does", quit},
};

static int help(struct talk *t, const char *rest)
{
    (void)t, (void)rest;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(stderr, "  %-8s  %s\n", commands[i].name, commands[i].help);
    fputs("  Ctrl-C stops an answer; a line that ends with \\ goes on in the next\n", stderr);
    return 0;
}

static int run_command(struct talk *t, const char *line)
{
    const char *names[ARRAY_LEN(commands)];
    size_t n = strcspn(line, " \t");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        names[i] = commands[i].name;
        if (strlen(names[i]) == n && !strncmp(names[i], line, n))
            return commands[i].run(t, line + n + strspn(line + n, " \t"));
    }
    char *word = xstrndup(line, n);
    const char *near = options_nearest(word, names, ARRAY_LEN(names));
    if (near)
        fprintf(stderr, "there is no %s: did you mean %s?\n", word, near);
    else
        fprintf(stderr,
                "there is no %s: /help lists what there is; to send it as a message, put a space "
                "in front\n",
                word);
    free(word);
    return 0;
}

/* ---- the program ---- */

static int check_message(const struct buf *text, struct err *err)
{
    if (text->overflow)
        return err_set(err, "the message is longer than %zu bytes", text->ceiling);
    if (strlen(text->data) < text->len)
        return err_set(err, "the message has a 0 byte in it: remove it");
    return 0;
}

static int converse(struct talk *t, struct input *in, struct err *err)
{
    int rc;
    while ((rc = input_read(in)) != 0) {
        const char *text = in->text.data;
        if (rc == 2 || !text[strspn(text, " \t\r\n")])
            continue;
        if (text[0] == '/') {
            if (run_command(t, text))
                return 0;
        } else if (check_message(&in->text, err) || take_message(t, text, err)) {
            if (!t->terminal)
                return -1;
            fprintf(stderr, "%s\n", err->text);
        }
        if (ferror(stdout))
            return 0;
    }
    if (t->terminal)
        fputs("\n", stdout);
    return 0;
}

static int check_model(const struct model *m, struct err *err)
{
    if (!m->tokenizer)
        return err_set(err, "%s", m->template_problem);
    if (!m->template)
        return err_set(err,
                       "the model has no chat template that can be used: %s: give a folder with "
                       "one by --tokenizer, or use 'hone "
                       "generate --plain'",
                       m->template_problem);
    return 0;
}

int cmd_chat(int argc, char **argv)
{
    struct chat_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct err err;
    if (sampling_check(&args.sampling, &err)) {
        options_release(&o);
        return command_misused("chat", &err);
    }
    struct loaded l = {0};
    struct talk t = {.args = &args,
                     .loaded = &l,
                     .sampling = sampling_of(&args.sampling),
                     .terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)};
    int rc = base_open(&l, &args.base, &err);
    if (rc == 0)
        rc = check_model(&l.model, &err);
    if (rc == 0 && args.pack)
        rc = model_pack(&l.model, &err);
    if (rc == 0) {
        struct input in;
        t.n_stop = model_stop_tokens(&l.model, t.stop);
        if (args.system)
            set_system(&t, args.system);
        input_open(&in, t.terminal);
        if (t.terminal && !args.base.quiet)
            fprintf(stderr, "%s: /help lists the commands, Ctrl-D ends the program\n",
                    args.base.model);
        rc = converse(&t, &in, &err);
        input_close(&in);
    }
    while (t.n)
        talk_drop(&t);
    free(t.messages);
    loaded_release(&l);
    options_release(&o);
    return rc ? command_failed("chat", &err) : EXIT_DONE;
}
