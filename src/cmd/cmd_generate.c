#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/base.h"
#include "cmd/commands.h"
#include "cmd/progress.h"
#include "cmd/prompts.h"
#include "cmd/sampling.h"
#include "cmd/selecting.h"
#include "util/mem.h"

struct generate_args {
    struct base_args base;
    struct sampling_args sampling;
    struct selecting_args selecting;
    const char *prompts, *system;
    int64_t num_generations, slots;
    bool plain, ignore_eos, pack;
};

static const struct option own[] = {
    {"prompts", OPTION_STRING, offsetof(struct generate_args, prompts), NULL,
     "rows with a prompt, in any format that training takes (answers are not looked at); - is "
     "standard input",
     .required = true, .value = "FILE"},
    {"system", OPTION_STRING, offsetof(struct generate_args, system), NULL,
     "system message for conversations that have none", .value = "TEXT"},
    {"plain", OPTION_BOOL, offsetof(struct generate_args, plain), "false",
     "go on from a prompt's text as it stands, without the chat template"},
    {"num_generations", OPTION_INT, offsetof(struct generate_args, num_generations), "1",
     "answers to each prompt", .min = 1, .max = 1e6},
    {"ignore_eos", OPTION_BOOL, offsetof(struct generate_args, ignore_eos), "false",
     "go on after an end token"},
};
static const struct option speed[] = {
    {"slots", OPTION_INT, offsetof(struct generate_args, slots), "32",
     "answers that are drawn at the same time: memory and speed, not results, depend on it",
     .min = 1, .max = 65536},
    {"pack", OPTION_BOOL, offsetof(struct generate_args, pack), "true",
     "keep the weights as floats too (4 bytes each), which is faster; results do not depend on it"},
};
static const struct option_group groups[] = {
    {"Prompts", own, ARRAY_LEN(own), 0},
    SAMPLING_GROUP(offsetof(struct generate_args, sampling)),
    SELECTING_GROUPS(offsetof(struct generate_args, selecting)),
    BASE_GROUPS(offsetof(struct generate_args, base)),
    {"Speed", speed, ARRAY_LEN(speed), 0}};
static const struct option_spec spec = {
    .command = "generate",
    .summary =
        "Sample answers to prompts: rows {\"prompt\": ..}, {\"messages\": ..} or {\"input_ids\": "
        "..} in, one JSON line an answer out, in the order of the prompts: {\"id\", "
        "\"completion\", \"ids\", \"logprobs\", \"finish_reason\": \"stop\" or \"length\"}; with "
        "--num-generations also \"index\" (of the row) and \"sample\", both from 0. ids and "
        "logprobs have an entry a sampled token, the end token included; log-probs are of the "
        "distribution that was drawn from. The same seed gives the same answers: the random "
        "numbers of a row belong to its \"id\", or else to its line. With --reward the answers are scored, and "
        "rows to learn from are written instead: {\"id\", \"prompt\", \"completion\", \"score\"}, or pairs {\"prompt\", "
        "\"chosen\", \"rejected\"}, as --select says; what the best of n answers is worth stands on standard error.",
    .usage = "hone generate --model M --prompts FILE [--flags]",
    .example = "hone generate --model model.gguf --prompts prompts.jsonl --temperature 0.7 "
               "--num-generations 4",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

/* Prompts and their requests, one a row. */
struct asked {
    struct prompts prompts;
    const struct example *written; /* as which their answers are scored and written; NULL: the examples */
    struct request *requests;
};

static void asked_release_requests(struct asked *p)
{
    for (size_t i = 0; p->requests && i < p->prompts.examples.n; i++)
        request_release(&p->requests[i]);
    free(p->requests);
}

static int asked_read(struct asked *p, const struct generate_args *args, const struct model *m, struct err *err)
{
    const struct rows_config config = {
        .prompts = true, .keep_plain = args->plain, .keep_fields = selecting_wanted(&args->selecting), .system = args->system};
    return prompts_encode(&p->prompts, "generate", args->prompts, &config, ~(1u << ROWS_SCORES), m, args->base.quiet, err);
}

static int asked_request(struct asked *p, const struct generate_args *args, bool length_given,
                           const struct loaded *l, const int32_t *stop, size_t n_stop,
                           struct err *err)
{
    const struct examples *e = &p->prompts.examples;
    if (length_given &&
        base_check_lengths(e, (size_t)args->sampling.max_new_tokens, &l->model, p->prompts.data.path,
                           "shorten the prompt or lower --max-new-tokens", err))
        return -1;
    if (base_check_lengths(e, 1, &l->model, p->prompts.data.path, "shorten the prompt", err))
        return -1;
    p->requests = xcalloc(e->n, sizeof *p->requests);
    for (size_t i = 0; i < e->n; i++) {
        const struct example *x = &e->list[i];
        if (x->prompt.n == 0)
            return err_set(err,
                           "'%s' line %zu: its prompt is empty: there is nothing to go on from",
                           p->prompts.data.path, x->row->line);
        p->requests[i] = (struct request){
            .prompt = x->prompt.ids,
            .n_prompt = x->prompt.n,
            .n_samples = (size_t)args->num_generations,
            .max_new_tokens = sampling_room(&args->sampling, length_given, &l->model, x->prompt.n),
            .sampling = sampling_of(&args->sampling),
            .stop = stop,
            .n_stop = n_stop,
            .adapter = l->net.adapter,
            .key = row_rng_key(x->row),
        };
    }
    return 0;
}

static void write_sample(struct buf *out, const struct asked *p, size_t index, size_t k,
                         const struct model *m)
{
    const struct request *r = &p->requests[index];
    const struct sample *s = &r->samples[k];
    const char *id = p->prompts.examples.list[index].row->id;
    struct buf text;
    buf_init(&text, SIZE_MAX / 2);
    if (m->tokenizer) /* the end token is no part of the answer, be it special or not */
        tokenizer_decode(m->tokenizer, &text, s->ids, s->n - (s->finish == FINISH_STOP), true);
    buf_str(out, "{\"id\": ");
    buf_json_str(out, id, strlen(id));
    if (r->n_samples > 1)
        buf_printf(out, ", \"index\": %zu, \"sample\": %zu", index, k);
    buf_str(out, ", \"completion\": ");
    buf_json_str(out, text.data, text.len);
    buf_str(out, ", \"ids\": [");
    for (size_t i = 0; i < s->n; i++)
        buf_printf(out, "%s%d", i ? ", " : "", s->ids[i]);
    buf_str(out, "], \"logprobs\": [");
    for (size_t i = 0; i < s->n; i++) {
        buf_str(out, i ? ", " : "");
        buf_json_float(out, s->logps[i]);
    }
    buf_printf(out, "], \"finish_reason\": \"%s\"}\n",
               s->finish == FINISH_STOP ? "stop" : "length");
    buf_release(&text);
}

/* Prompts whose answers are scored together. */
#define SCORED_TOGETHER 16

/* Write the rows that are through and have no unfinished ones before them, from *next, which becomes
 * the first that is not.  s: what selects from them, or NULL. */
static int write_done(struct asked *p, size_t *next, const struct model *m, struct selecting *s,
                      struct progress *progress, struct err *err)
{
    size_t first = *next, to = first;
    while (to < p->prompts.examples.n && p->requests[to].n_done == p->requests[to].n_samples)
        to++;
    if (s && to < p->prompts.examples.n && to - first < SCORED_TOGETHER)
        return 0;
    struct buf out;
    buf_init(&out, SIZE_MAX / 2);
    const struct example *written = p->written ? p->written : p->prompts.examples.list;
    int rc = s && to > first ? selecting_take(s, &out, p->requests + first, written + first, to - first, err) : 0;
    for (; *next < to; ++*next) {
        for (size_t k = 0; !s && k < p->requests[*next].n_samples; k++)
            write_sample(&out, p, *next, k, m);
        request_release(&p->requests[*next]);
    }
    if (out.len) {
        progress_clear(progress);
        fwrite(out.data, 1, out.len, stdout);
        fflush(stdout);
    }
    buf_release(&out);
    return rc;
}

static int generate(struct asked *p, const struct generate_args *args, const struct model *m,
                    struct selecting *s, struct err *err)
{
    size_t n = p->prompts.examples.n, total = n * (size_t)args->num_generations, next = 0;
    struct generator_limits limits = {.slots = (size_t)args->slots < total ? (size_t)args->slots
                                                                           : total};
    for (size_t i = 0; i < n; i++) {
        size_t positions = p->requests[i].n_prompt + p->requests[i].max_new_tokens;
        limits.positions = positions > limits.positions ? positions : limits.positions;
    }
    struct generator g;
    if (generator_init(&g, m, &limits, err))
        return -1;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = generator_submit(&g, &p->requests[i], err);
    struct progress progress;
    progress_start(&progress, "generate", "answers", 0, total, args->base.quiet);
    for (long left = 1; rc == 0 && left > 0 && !ferror(stdout);) {
        left = generator_step(&g, err);
        rc = left < 0 ? -1 : 0;
        if (rc == 0)
            rc = write_done(p, &next, m, s, &progress, err);
        if (rc == 0)
            progress_update(&progress, total - (size_t)left, NULL);
    }
    progress_end(&progress);
    generator_release(&g);
    return rc;
}

/* ---- the hint ---- */

/* The text behind what the prompt ends with: a message, or the text. */
static int add_hint(struct row_part *part, const char *hint, size_t line, const char *path, struct err *err)
{
    if (!part->text && part->n_messages == 0)
        return err_set(err, "'%s' line %zu: the prompt is token ids, which no hint can be written behind: give it as text", path, line);
    char **text = part->text ? &part->text : &part->messages[part->n_messages - 1].content;
    *text = xasprintf("%s%s", *text, hint);
    return 0;
}

/* The prompts that were missed, with the hint.  Rows and written point into p; what is fresh is in `parts`, for hinted_release(). */
struct hinted {
    struct asked asked;
    struct example *written;
    struct row_part *parts;
};

static void hinted_release(struct hinted *h)
{
    for (size_t i = 0; h->parts && i < h->asked.prompts.data.n; i++) {
        struct row_part *part = &h->parts[i];
        free(part->text ? part->text : part->n_messages ? part->messages[part->n_messages - 1].content : NULL);
        free(part->messages);
    }
    asked_release_requests(&h->asked);
    examples_release(&h->asked.prompts.examples);
    free(h->asked.prompts.rows);
    free(h->written);
    free(h->parts);
}

static int hinted_init(struct hinted *h, const struct asked *p, const struct selecting *s, const struct model *m, struct err *err)
{
    size_t n = s->n_missed;
    *h = (struct hinted){.asked.prompts.data = p->prompts.data, .written = xcalloc(n + 1, sizeof *h->written), .parts = xcalloc(n + 1, sizeof *h->parts)};
    h->asked.prompts.rows = xcalloc(n + 1, sizeof *h->asked.prompts.rows);
    h->asked.prompts.data.rows = h->asked.prompts.rows;
    h->asked.prompts.data.n = 0;
    h->asked.written = h->written;
    for (size_t i = 0; i < n; i++) {
        const struct example *x = &p->prompts.examples.list[s->missed[i]];
        struct row_part *part = &h->parts[i];
        char *hint = hint_for(s->args->hint, x->row, p->prompts.data.path, err);
        ENSURE(hint); /* rows were checked */
        *part = x->row->prompt;
        if (part->n_messages) {
            part->messages = xmalloc(part->n_messages * sizeof *part->messages);
            memcpy(part->messages, x->row->prompt.messages, part->n_messages * sizeof *part->messages);
        }
        int rc = add_hint(part, hint, x->row->line, p->prompts.data.path, err);
        free(hint);
        if (rc) {
            free(part->messages);
            *part = (struct row_part){0};
            return -1;
        }
        h->written[i] = *x;
        h->asked.prompts.rows[i] = *x->row;
        h->asked.prompts.rows[i].prompt = *part;
        h->asked.prompts.data.n++;
    }
    struct encode_options o = encode_options_of(m);
    return examples_encode(&h->asked.prompts.examples, &h->asked.prompts.data, &o, err);
}

/* Answer once more, with the hint and other random numbers, the prompts of which nothing was selected. */
static int generate_hinted(const struct asked *p, const struct generate_args *args, bool length_given, const struct loaded *l,
                           const int32_t *stop, size_t n_stop, struct selecting *s, struct err *err)
{
    struct hinted h;
    selecting_hint(s);
    if (s->n_missed == 0)
        return 0;
    int rc = hinted_init(&h, p, s, &l->model, err);
    if (rc == 0)
        rc = asked_request(&h.asked, args, length_given, l, stop, n_stop, err);
    for (size_t i = 0; rc == 0 && i < h.asked.prompts.examples.n; i++)
        h.asked.requests[i].sampling.round = 1;
    if (rc == 0)
        rc = generate(&h.asked, args, &l->model, s, err);
    hinted_release(&h);
    return rc;
}

int cmd_generate(int argc, char **argv)
{
    struct generate_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct err err;
    if (sampling_check(&args.sampling, &err)) {
        options_release(&o);
        return command_misused("generate", &err);
    }
    struct loaded l = {0};
    struct asked p = {0};
    int32_t stop[4];
    int rc = base_open(&l, &args.base, &err);
    if (rc == 0)
        rc = asked_read(&p, &args, &l.model, &err);
    size_t n_stop = rc || args.ignore_eos ? 0 : model_stop_tokens(&l.model, stop);
    if (rc == 0)
        rc =
            asked_request(&p, &args, options_given(&o, "max_new_tokens"), &l, stop, n_stop, &err);
    struct selecting s = {0};
    bool selects = selecting_wanted(&args.selecting);
    if (rc == 0 && args.selecting.hint && !selects)
        rc = err_set(&err, "--hint is for answers that a reward says no to: name one with --reward");
    if (rc == 0 && selects)
        rc = selecting_open(&s, &args.selecting, &l, &p.prompts.data, (uint32_t)args.sampling.seed, (size_t)args.num_generations,
                            (size_t)args.sampling.max_new_tokens, &err);
    if (rc == 0 && args.pack)
        rc = model_pack(&l.model, &err);
    if (rc == 0)
        rc = generate(&p, &args, &l.model, selects ? &s : NULL, &err);
    if (rc == 0 && selects && args.selecting.hint)
        rc = generate_hinted(&p, &args, options_given(&o, "max_new_tokens"), &l, stop, n_stop, &s, &err);
    if (rc == 0 && selects)
        rc = selecting_end(&s, args.base.quiet, &err);
    selecting_release(&s);
    asked_release_requests(&p);
    prompts_release(&p.prompts);
    loaded_release(&l);
    options_release(&o);
    return rc ? command_failed("generate", &err) : EXIT_DONE;
}
