#include "rollout/score_input.h"

#include <stdlib.h>
#include <string.h>

#include "util/mem.h"

/* Ids that the template writes after the end token of an answer; none without a template. */
static int answer_tail(struct ids *tail, const struct model *m, struct err *err)
{
    if (!m->template || !m->tokenizer)
        return 0;
    char user[] = "user", assistant[] = "assistant", word[] = "a";
    struct message talk[2] = {{user, word}, {assistant, word}};
    struct ids ids = {0};
    int end = tokenizer_id(m->tokenizer, chat_turn_end(m->template));
    int rc = chat_encode(m->template, m->tokenizer, talk, 2, false, 0, &ids, NULL, err);
    size_t from = ids.n;
    while (rc == 0 && from > 0 && ids.data[from - 1] != end)
        from--;
    for (size_t i = from; rc == 0 && from > 0 && i < ids.n; i++)
        ids_add(tail, ids.data[i]);
    ids_release(&ids);
    return rc;
}

static struct sequence join(const struct sequence *s, const struct ids *tail)
{
    struct sequence j = {.n = s->n + tail->n};
    j.ids = xmalloc((j.n + 1) * sizeof *j.ids);
    j.mask = xmalloc(j.n + 1);
    memcpy(j.ids, s->ids, s->n * sizeof *j.ids);
    if (tail->n)
        memcpy(j.ids + s->n, tail->data, tail->n * sizeof *j.ids);
    memset(j.mask, 1, j.n + 1);
    return j;
}

int score_input(struct examples *out, const struct experience *x, const struct model *m, struct err *err)
{
    struct ids tail = {0}, none = {0};
    if (answer_tail(&tail, m, err)) {
        ids_release(&tail);
        return -1;
    }
    *out = (struct examples){.list = xcalloc(x->examples.n + 1, sizeof *out->list), .n = x->examples.n};
    for (size_t i = 0; i < out->n; i++) {
        const struct example *from = &x->examples.list[i];
        struct example *e = &out->list[i];
        *e = (struct example){.row = from->row, .prompt = join(&from->prompt, &none), .n_completions = from->n_completions};
        e->completions = xcalloc(e->n_completions, sizeof *e->completions);
        for (size_t k = 0; k < e->n_completions; k++)
            e->completions[k] = join(&from->completions[k], x->finished[x->tree[i] + k] ? &tail : &none);
    }
    ids_release(&tail);
    return 0;
}
