#include "data/encode.h"

#include <stdlib.h>
#include <string.h>

#include "util/mem.h"

static void sequence_release(struct sequence *s)
{
    free(s->ids);
    free(s->mask);
    *s = (struct sequence){0};
}

static void example_release(struct example *e)
{
    sequence_release(&e->prompt);
    for (size_t i = 0; i < e->n_completions; i++)
        sequence_release(&e->completions[i]);
    free(e->completions);
}

void examples_release(struct examples *e)
{
    for (size_t i = 0; i < e->n; i++)
        example_release(&e->list[i]);
    free(e->list);
    *e = (struct examples){0};
}

static struct sequence sequence_of(const int32_t *ids, const uint8_t *mask, size_t n)
{
    struct sequence s = {.ids = xmalloc((n + 1) * sizeof *s.ids), .mask = xmalloc(n + 1), .n = n};
    if (n)
        memcpy(s.ids, ids, n * sizeof *ids);
    if (mask)
        memcpy(s.mask, mask, n);
    else
        memset(s.mask, 1, n + 1);
    return s;
}

/* Messages of the prompt, then of the completion (which may be NULL). */
static int encode_chat(struct sequence *out, const struct encode_options *o, const struct row *row,
                       const struct row_part *completion, bool all_tokens, struct err *err)
{
    const struct row_part *prompt = &row->prompt;
    if (!o->chat)
        return err_set(err, "the row is a conversation, but there is no chat template: %s", o->chat_problem);
    size_t n = prompt->n_messages, m = completion ? completion->n_messages : 0;
    struct message *all = xmalloc((n + m + 1) * sizeof *all);
    if (n)
        memcpy(all, prompt->messages, n * sizeof *all);
    if (m)
        memcpy(all + n, completion->messages, m * sizeof *all);
    struct ids ids = {0};
    struct buf mask;
    buf_init(&mask, (size_t)1 << 30);
    int rc = chat_encode_with(o->chat, o->tokenizer, row->variables, all, n + m, !completion, n, &ids,
                              all_tokens ? NULL : &mask, err);
    if (rc == 0)
        *out = sequence_of(ids.data, all_tokens ? NULL : (const uint8_t *)mask.data, ids.n);
    ids_release(&ids);
    buf_release(&mask);
    free(all);
    return rc;
}

/* Text without a template, by itself or after a prompt. */
static int encode_text(struct sequence *out, const struct encode_options *o, const struct sequence *prompt, const char *text,
                       bool end, struct err *err)
{
    struct ids ids = {0};
    int rc = prompt && prompt->n
                 ? tokenizer_encode_after(o->tokenizer, &ids, prompt->ids[prompt->n - 1], text, strlen(text), err)
                 : tokenizer_encode_whole(o->tokenizer, &ids, text, strlen(text), err);
    if (rc == 0 && end && o->eos >= 0 && (ids.n == 0 || ids.data[ids.n - 1] != o->eos))
        ids_add(&ids, o->eos);
    if (rc == 0)
        *out = sequence_of(ids.data, NULL, ids.n);
    ids_release(&ids);
    return rc;
}

static int check_ids(const struct row_part *part, const struct encode_options *o, struct err *err)
{
    for (size_t i = 0; i < part->n_ids; i++)
        if (part->ids[i] < 0 || (size_t)part->ids[i] >= o->vocab)
            return err_set(err, "token id %d is outside the model's vocabulary of %zu", part->ids[i], o->vocab);
    return 0;
}

static int encode_prompt(struct sequence *out, const struct encode_options *o, const struct row *row, struct err *err)
{
    const struct row_part *p = &row->prompt;
    if (p->n_ids) {
        *out = sequence_of(p->ids, NULL, p->n_ids);
        return check_ids(p, o, err);
    }
    if (!o->tokenizer)
        return err_set(err, "the row is text, but the model has no tokenizer: give one with --tokenizer");
    if (p->n_messages)
        return encode_chat(out, o, row, NULL, true, err);
    return p->text ? encode_text(out, o, NULL, p->text, false, err) : 0;
}

/* The completion's own tokens: what prompt and completion together have after the prompt's. */
static int encode_completion(struct sequence *out, const struct sequence *prompt, const struct encode_options *o,
                             const struct row *row, const struct row_part *c, struct err *err)
{
    bool alone = prompt->n == 0; /* language modelling */
    if (c->n_ids) {
        *out = sequence_of(c->ids, NULL, c->n_ids);
        return check_ids(c, o, err);
    }
    if (!o->tokenizer)
        return err_set(err, "the row is text, but the model has no tokenizer: give one with --tokenizer");
    if (!c->n_messages)
        return encode_text(out, o, prompt, c->text ? c->text : "", true, err);
    struct sequence whole = {0};
    if (encode_chat(&whole, o, row, c, alone && !o->assistant_only, err))
        return -1;
    if (whole.n < prompt->n || (prompt->n && memcmp(whole.ids, prompt->ids, prompt->n * sizeof *whole.ids))) {
        sequence_release(&whole);
        return err_set(err, "the prompt's tokens are not the beginning of the tokens of prompt and completion: the chat "
                            "template renders them differently; take one that writes its generation prompt in front of "
                            "answers, too");
    }
    *out = sequence_of(whole.ids + prompt->n, whole.mask + prompt->n, whole.n - prompt->n);
    sequence_release(&whole);
    return 0;
}

static void drop_front(struct sequence *s, size_t n)
{
    s->n -= n;
    memmove(s->ids, s->ids + n, s->n * sizeof *s->ids);
    memmove(s->mask, s->mask + n, s->n);
}

/* Cut to max_length: the end of completions, or the front of the prompt (and of a completion that is too long by
 * itself).  A prompt is cut once for all its completions. */
static bool truncate_example(struct example *e, const struct encode_options *o)
{
    size_t longest = 0;
    for (size_t i = 0; i < e->n_completions; i++)
        longest = e->completions[i].n > longest ? e->completions[i].n : longest;
    if (!o->max_length || e->prompt.n + longest <= o->max_length)
        return false;
    if (o->truncation == TRUNCATE_KEEP_START) {
        if (e->prompt.n > o->max_length)
            e->prompt.n = o->max_length;
        for (size_t i = 0; i < e->n_completions; i++) {
            size_t room = o->max_length - e->prompt.n;
            if (e->completions[i].n > room)
                e->completions[i].n = room;
        }
        return true;
    }
    for (size_t i = 0; i < e->n_completions; i++)
        if (e->completions[i].n > o->max_length)
            drop_front(&e->completions[i], e->completions[i].n - o->max_length);
    longest = longest > o->max_length ? o->max_length : longest;
    if (e->prompt.n + longest > o->max_length)
        drop_front(&e->prompt, e->prompt.n + longest - o->max_length);
    return true;
}

size_t example_targets(const struct example *e, size_t k)
{
    size_t targets = 0;
    for (size_t j = e->prompt.n ? 0 : 1; j < e->completions[k].n; j++)
        targets += e->completions[k].mask[j];
    return targets;
}

static int check_targets(const struct example *e, const struct encode_options *o, struct err *err)
{
    for (size_t i = 0; i < e->n_completions; i++) {
        size_t targets = example_targets(e, i);
        if (targets == 0 && o->max_length)
            return err_set(err, "nothing to learn from is left of it within max_length %zu: raise --max-length, or leave the "
                                "row out", o->max_length);
        if (targets == 0)
            return err_set(err, "there is nothing in it to learn from: it has no completion");
    }
    return 0;
}

int examples_encode(struct examples *out, const struct dataset *data, const struct encode_options *o, struct err *err)
{
    *out = (struct examples){.list = xcalloc(data->n, sizeof *out->list)};
    for (size_t i = 0; i < data->n; i++) {
        struct example *e = &out->list[out->n++];
        const struct row *row = &data->rows[i];
        *e = (struct example){.row = row, .n_completions = row->n_completions};
        e->completions = xcalloc(row->n_completions, sizeof *e->completions);
        int rc = encode_prompt(&e->prompt, o, row, err);
        for (size_t k = 0; rc == 0 && k < row->n_completions; k++)
            rc = encode_completion(&e->completions[k], &e->prompt, o, row, &row->completions[k], err);
        if (rc == 0) {
            out->truncated += truncate_example(e, o);
            rc = check_targets(e, o, err);
        }
        if (rc) {
            err_prefix(err, "'%s' line %zu", data->path, row->line);
            examples_release(out);
            return -1;
        }
        for (size_t k = 0; k < e->n_completions || k == 0; k++) {
            size_t n = e->prompt.n + (e->n_completions ? e->completions[k].n : 0);
            out->longest = n > out->longest ? n : out->longest;
        }
    }
    return 0;
}
