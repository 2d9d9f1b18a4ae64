#include "reward/judge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/forest.h"
#include "model/model.h"
#include "objective/scalar.h"
#include "util/mem.h"

const char judge_default_criterion[] =
    "it does what the user asked for, says only what is true, and harms nobody; between answers "
    "that are equal in this, the clearer and shorter one";

#define CUT_MARK " [..] "
#define LEAST_BYTES 16
#define QUESTION_CEILING ((size_t)1 << 20)

static int label_id(const struct tokenizer *t, const char *label)
{
    struct ids ids = {0};
    struct err ignored;
    int32_t id = tokenizer_encode(t, &ids, label, strlen(label), &ignored) == 0 && ids.n == 1 ? ids.data[0] : -1;
    ids_release(&ids);
    return id;
}

int judge_check_rows(const struct dataset *rows, struct err *err)
{
    for (size_t i = 0; i < rows->n; i++)
        if (!rows->rows[i].prompt.n_messages && !rows->rows[i].prompt.text)
            return err_set(err, "'%s' line %zu: the prompt is no text: a judge reads messages or a text, not token ids",
                           rows->path, rows->rows[i].line);
    return 0;
}

/* ---- a question as text ---- */

static bool inside_character(const char *s)
{
    return ((unsigned char)*s & 0xC0) == 0x80;
}

/* Where the next special token in text[from..n) is to be broken up: behind its first character.  n: nowhere.  One of a single
 * character stays. */
static size_t next_break(const struct tokenizer *t, const char *text, size_t n, size_t from)
{
    for (size_t start, end; tokenizer_finds_added(t, text, n, from, &start, &end); from = end) {
        while (start < end && strchr(" \t\r\n", text[start])) /* it may take spaces around it along */
            start++;
        size_t at = start + 1;
        while (at < end && inside_character(text + at))
            at++;
        if (at < end)
            return at;
    }
    return n;
}

/* Append at most `most` bytes of a text, from its start or its end, with what could pass for the template's marks broken up. */
static void quote(struct buf *out, const struct tokenizer *t, const char *text, size_t most, bool keep_end)
{
    size_t n = strlen(text), from = 0, to = n;
    if (n > most) {
        from = keep_end ? n - most : 0;
        to = from + most;
        while (keep_end && from < to && inside_character(text + from))
            from++;
        while (!keep_end && to > 0 && inside_character(text + to))
            to--;
    }
    if (from > 0)
        buf_str(out, CUT_MARK);
    for (size_t i = from, cut; i < to; i = cut) {
        cut = next_break(t, text, to, i);
        for (size_t k = i; k < cut; k++) {
            buf_add(out, text + k, 1);
            if (k + 1 == cut ? cut < to : text[k] == '<' && text[k + 1] == '|')
                buf_str(out, " ");
        }
    }
    if (to < n)
        buf_str(out, CUT_MARK);
}

static void quote_prompt(struct buf *out, const struct tokenizer *t, const struct row_part *prompt, size_t most)
{
    struct buf all;
    buf_init(&all, SIZE_MAX / 2);
    for (size_t i = 0; i < prompt->n_messages; i++)
        buf_printf(&all, "%s[%s]\n%s", i ? "\n\n" : "", prompt->messages[i].role, prompt->messages[i].content);
    if (!prompt->n_messages)
        buf_printf(&all, "[user]\n%s", prompt->text);
    quote(out, t, all.data, most, true);
    buf_release(&all);
}

/* Ids of a question with its answers in this order; most: bytes of an answer. */
static int ask(struct ids *ids, const struct judge *j, const struct row_part *prompt, const char *first, const char *second,
               size_t most, struct err *err)
{
    const struct model *m = j->net->model;
    char role_system[] = "system", role_user[] = "user";
    struct buf system, user;
    buf_init(&system, QUESTION_CEILING);
    buf_init(&user, QUESTION_CEILING);
    buf_printf(&system,
               "You compare two answers to the same conversation and say which one is better. An answer is better if: %s.",
               j->criterion);
    buf_str(&user, "Conversation:\n");
    quote_prompt(&user, m->tokenizer, prompt, 2 * most);
    buf_printf(&user, "\n\nAnswer %s:\n", j->labels[0]);
    quote(&user, m->tokenizer, first, most, false);
    buf_printf(&user, "\n\nAnswer %s:\n", j->labels[1]);
    quote(&user, m->tokenizer, second, most, false);
    buf_printf(&user, "\n\nWhich answer is better? Reply with %s or %s alone.", j->labels[0], j->labels[1]);
    struct message talk[2] = {{role_system, system.data}, {role_user, user.data}};
    int rc = system.overflow || user.overflow ? err_set(err, "the criterion is too long: shorten it")
                                              : chat_encode(m->template, m->tokenizer, talk, 2, true, 0, ids, NULL, err);
    buf_release(&system);
    buf_release(&user);
    return rc;
}

/* Whatever is asked must fit: the frame and the shortest texts, a token a byte, with their marks. */
static int check_room(const struct judge *j, struct err *err)
{
    char nothing[] = "";
    struct row_part empty = {.text = nothing};
    struct ids ids = {0};
    size_t texts = 4 * LEAST_BYTES, room = texts + texts / 2 + 3 * strlen(CUT_MARK), positions = j->net->model->rope.positions;
    int rc = ask(&ids, j, &empty, "", "", LEAST_BYTES, err);
    if (rc == 0 && ids.n + room > positions)
        rc = err_set(
            err,
            "a question has %zu tokens without its texts, too many for the %zu positions of '%s': shorten the criterion, or "
            "take a judge with more",
            ids.n, positions, j->net->model->path);
    ids_release(&ids);
    return rc;
}

int judge_init(struct judge *j, const struct net *net, const char *criterion, size_t micro_tokens, struct err *err)
{
    static const char *const labels[2][2] = {{"1", "2"}, {"A", "B"}};
    const struct model *m = net->model;
    *j = (struct judge){.net = net, .criterion = criterion ? criterion : judge_default_criterion, .micro_tokens = micro_tokens};
    if (!m->tokenizer)
        return err_set(err, "'%s' has no tokenizer: a judge reads text", m->path);
    if (!m->template)
        return err_set(err, "'%s' cannot be asked: %s", m->path, m->template_problem);
    for (size_t i = 0; i < 2; i++) {
        for (size_t k = 0; k < 2; k++) {
            j->labels[k] = labels[i][k];
            j->label_ids[k] = label_id(m->tokenizer, labels[i][k]);
        }
        if (j->label_ids[0] >= 0 && j->label_ids[1] >= 0 && j->label_ids[0] != j->label_ids[1])
            return check_room(j, err);
    }
    return err_set(
        err, "'%s' has neither '1' and '2' nor 'A' and 'B' as single tokens, so its reply cannot be read: take another judge",
        m->path);
}

static struct sequence take(const struct ids *ids, size_t from, size_t to)
{
    struct sequence s = {.ids = xmalloc((to - from + 1) * sizeof *s.ids), .mask = xcalloc(to - from + 1, 1), .n = to - from};
    memcpy(s.ids, ids->data + from, s.n * sizeof *s.ids);
    return s;
}

/* A question as a tree: what its two orders have in common, and the rest of each. */
static void plant(struct example *e, const struct ids *orders)
{
    size_t n = 0, most = (orders[0].n < orders[1].n ? orders[0].n : orders[1].n) - 1;
    while (n < most && orders[0].data[n] == orders[1].data[n])
        n++;
    *e = (struct example){.prompt = take(&orders[0], 0, n), .n_completions = 2};
    e->completions = xcalloc(2, sizeof *e->completions);
    for (size_t k = 0; k < 2; k++)
        e->completions[k] = take(&orders[k], n, orders[k].n);
}

int judge_ask(struct ids orders[2], const struct judge *j, const struct judge_question *q, struct err *err)
{
    size_t positions = j->net->model->rope.positions, longest = SIZE_MAX;
    int rc = 0;
    for (size_t most = JUDGE_MAX_BYTES; rc == 0 && longest > positions && most >= LEAST_BYTES; most /= 2) {
        orders[0].n = orders[1].n = 0;
        rc = ask(&orders[0], j, q->prompt, q->a, q->b, most, err) || ask(&orders[1], j, q->prompt, q->b, q->a, most, err) ? -1
                                                                                                                          : 0;
        longest = orders[0].n > orders[1].n ? orders[0].n : orders[1].n;
    }
    return rc == 0 && longest > positions
               ? err_set(
                     err,
                     "the question has %zu tokens even with its texts cut short, more than the %zu positions of '%s': shorten "
                     "the criterion, or take a judge with more",
                     longest, positions, j->net->model->path)
               : rc;
}

/* ---- answers ---- */

struct pass {
    const struct judge *judge;
    struct workspace *workspace;
    struct forest forest;
    struct stem stem;
};

/* Of both orders of each question the log-probs of both labels: logp (n, 2, 2). */
static int read_some(float *logp, struct pass *p, const struct examples *e, size_t first, size_t n, struct err *err)
{
    struct forest *f = &p->forest;
    forest_clear(f);
    if (p->stem.n)
        batch_set_stem(&f->batch, &p->stem);
    for (size_t i = 0; i < n; i++)
        forest_add(f, &e->list[first + i]);
    struct target *targets = xmalloc(4 * n * sizeof *targets);
    for (size_t i = 0; i < 4 * n; i++)
        targets[i] = (struct target){f->last_row[i / 2], p->judge->label_ids[i % 2]};
    int rc = net_forward(p->workspace, p->judge->net, &f->batch, NULL, 0, err);
    if (rc == 0)
        rc = net_logprobs(logp, NULL, p->workspace, p->judge->net, targets, 4 * n, 1.0f, false, err);
    free(targets);
    return rc;
}

static int read_all(float *logp, const struct judge *j, const struct examples *e, struct err *err)
{
    struct pass p = {.judge = j, .workspace = workspace_new(&j->net->model->config, KEEP_NOTHING, err)};
    int rc = p.workspace ? stem_of_examples(&p.stem, j->net, e, NULL, e->n, KEEP_NOTHING, err) : -1;
    for (size_t at = 0; rc == 0 && at < e->n;) {
        size_t n = 0, tokens = 0;
        while (at + n < e->n && (n == 0 || tokens + example_rows(&e->list[at + n]) - p.stem.n <= j->micro_tokens))
            tokens += example_rows(&e->list[at + n++]) - p.stem.n;
        rc = read_some(logp + 4 * at, &p, e, at, n, err);
        at += n;
    }
    stem_release(&p.stem);
    forest_release(&p.forest);
    workspace_free(p.workspace);
    return rc;
}

/* One question from its four log-probs: order by order, label by label. */
static int decide(double *p_a, struct judge_stats *stats, const float *logp, size_t question, struct err *err)
{
    double first[2], mass = 0;
    for (size_t k = 0; k < 4; k++)
        if (!isfinite(logp[k]))
            return err_set(err, "question %zu: the judge's log-prob of a label is not finite: its weights are broken",
                           question + 1);
    for (size_t k = 0; k < 2; k++) {
        first[k] = sigmoid((double)logp[2 * k] - (double)logp[2 * k + 1]);
        mass += exp((double)logp[2 * k]) + exp((double)logp[2 * k + 1]);
    }
    *p_a = (first[0] + 1 - first[1]) / 2;
    if (stats) {
        stats->n++;
        stats->disagree += (first[0] > 0.5) != (first[1] < 0.5);
        stats->first += (first[0] + first[1]) / 2;
        stats->mass += mass / 2;
    }
    return 0;
}

int judge_pairs(double *p_a, struct judge_stats *stats, const struct judge *j, const struct judge_question *questions, size_t n,
                struct err *err)
{
    struct examples e = {.list = xcalloc(n + 1, sizeof *e.list)};
    float *logp = xcalloc(4 * n + 1, sizeof *logp);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct ids orders[2] = {{0}, {0}};
        rc = judge_ask(orders, j, &questions[i], err) ? err_prefix(err, "question %zu", i + 1) : 0;
        if (rc == 0)
            plant(&e.list[e.n++], orders);
        ids_release(&orders[0]);
        ids_release(&orders[1]);
    }
    if (rc == 0)
        rc = read_all(logp, j, &e, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = decide(&p_a[i], stats, logp + 4 * i, i, err);
    examples_release(&e);
    free(logp);
    return rc;
}

double judge_by_scores(double a, double b, double temperature)
{
    return temperature > 0 ? sigmoid((a - b) / temperature) : a > b ? 1 : a < b ? 0 : 0.5;
}
