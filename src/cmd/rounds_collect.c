#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/policy.h"
#include "cmd/progress.h"
#include "cmd/prompts.h"
#include "cmd/rounds.h"
#include "data/labels.h"
#include "eval/answers.h"
#include "reward/pairs.h"
#include "reward/score.h"
#include "rollout/score_input.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/rng.h"
#include "util/textstats.h"

static void show(void *user, size_t done)
{
    progress_update(user, done, NULL);
}

/* ---- who answers ---- */

/* The policy before a round, and the reward models before it where pairs are chosen by them. */
struct side {
    struct loaded start;
    struct policy policy;
    struct rewards rewards;
    const struct net *net;
};

static int side_open(struct side *s, const struct round_work *w, struct err *err)
{
    const struct rounds_args *args = w->rounds->args;
    char *policy = policy_after(w->rounds, w->round - 1), *reward = reward_after(w->rounds, w->round - 1);
    if (args->threads)
        omp_set_num_threads((int)args->threads);
    int rc = load_net(&s->start, args->model, NULL, args->tokenizer, err);
    if (rc == 0)
        rc = policy_open(&s->policy, policy, &s->start, err);
    if (rc == 0 && reward && pairs_want_scores((enum pairs_how)args->pairs))
        rc = load_rewards(&s->rewards, (const char *const *)&reward, 1, &s->start, err);
    if (rc == 0)
        rc = model_pack(s->policy.own ? s->policy.own : &s->start.model, err);
    s->net = &s->policy.net;
    free(policy);
    free(reward);
    return rc;
}

static void side_release(struct side *s)
{
    rewards_release(&s->rewards);
    policy_release(&s->policy);
    loaded_release(&s->start);
}

/* The round's share of n prompts: `most` of them, which go on where the round before ended, in an order drawn once. */
static size_t share(size_t *rows, size_t n, size_t round, size_t most, uint32_t seed)
{
    size_t *order = xmalloc((n + 1) * sizeof *order), count = most && most < n ? most : n;
    rng_permutation(order, n, seed, RNG_PAIRS, 0);
    for (size_t i = 0; i < count; i++)
        rows[i] = order[((round - 1) * count + i) % n];
    free(order);
    return count;
}

static int sample(struct answers *a, const struct round_work *w, const struct net *net, const struct examples *prompts,
                  size_t each, const char *what, struct err *err)
{
    const struct rounds_args *args = w->rounds->args;
    struct answers_config config = {each, (size_t)args->response_length, (size_t)args->slots, (float)args->temperature,
                                    (uint32_t)args->seed + (uint32_t)w->round};
    struct progress progress;
    progress_start(&progress, what, "answers", 0, prompts->n * each, args->quiet);
    int rc = answers_sample(a, net, prompts, &config, show, &progress, err);
    progress_end(&progress);
    return rc;
}

/* ---- pairs that are sent out ---- */

static bool says_nothing(const char *text)
{
    return text[strspn(text, " \t\r\n")] == 0;
}

/* Equal numbers for equal texts of a prompt's k answers. */
static void number_texts(uint32_t *same, char *const *texts, size_t k)
{
    struct word_table t;
    word_table_init(&t);
    for (size_t i = 0; i < k; i++)
        same[i] = says_nothing(texts[i]) ? PAIRS_NO_ANSWER : word_table_id(&t, texts[i], true);
    word_table_release(&t);
}

/* A pair as it is sent out.  Its id, a fresh string, ends with a hash of all that it says, so that no label of other answers to the
 * prompt can be taken for one of these.  a NULL: the part's own form. */
static char *write_pair(struct buf *out, size_t round, const struct row *row, const char *suffix, const struct row_part *part,
                        const char *a, const char *b, bool swap)
{
    struct buf body;
    char hash[65];
    buf_init(&body, ROUND_LONGEST_FILE);
    buf_str(&body, ", \"prompt\": ");
    row_part_json(&body, &row->prompt);
    for (int side = 0; side < 2; side++) {
        const char *text = side == (int)swap ? a : b;
        buf_printf(&body, ", \"%s\": ", side ? "b" : "a");
        if (text)
            buf_json_str(&body, text, strlen(text));
        else
            row_part_json(&body, part);
    }
    sha256_hex(hash, body.data, body.len);
    char *id = xasprintf("%zu/%s/%s-%.8s", round, row->id, suffix, hash);
    buf_str(out, "{\"id\": ");
    buf_json_str(out, id, strlen(id));
    buf_add(out, body.data, body.len);
    buf_str(out, "}\n");
    buf_release(&body);
    return id;
}

/* The scores of the answers under each of the reward models: (members, n). */
static float *member_scores(const struct side *s, const struct answers *a, struct err *err)
{
    struct examples input;
    if (score_input(&input, &a->x, s->net->model, err))
        return NULL;
    float *scores = xcalloc(s->rewards.n * a->n + 1, sizeof *scores);
    int rc = score_ensemble(scores, NULL, s->rewards.nets, s->rewards.n, &input, SCORE_MICRO_TOKENS, NULL, NULL, err);
    examples_release(&input);
    if (rc)
        free(scores);
    return rc ? NULL : scores;
}

/* All prompts' pairs, and whose they are. */
struct chosen {
    struct pair *pairs;
    size_t *prompt, n;
    bool *keep;
};

static void choose(struct chosen *c, const struct round_work *w, const struct side *s, const struct answers *a,
                   const float *scores)
{
    const struct rounds_args *args = w->rounds->args;
    double temperature = s->rewards.calibrator.temperature;
    const struct pairs_config config = {(enum pairs_how)args->pairs, temperature > 0 ? temperature : 1,
                                        (uint32_t)args->seed + (uint32_t)w->round};
    size_t k = (size_t)args->num_generations, most = k * (k - 1) / 2, trees = a->x.examples.n;
    *c = (struct chosen){.pairs = xcalloc(trees * most + 1, sizeof *c->pairs),
                         .prompt = xcalloc(trees * most + 1, sizeof *c->prompt),
                         .keep = xcalloc(trees * most + 1, 1)};
    float *own = xcalloc(s->rewards.n * k + 1, sizeof *own);
    uint32_t *same = xcalloc(k + 1, sizeof *same);
    for (size_t i = 0; i < trees; i++) {
        size_t first = a->x.tree[i];
        for (size_t m = 0; m < s->rewards.n; m++)
            memcpy(own + m * k, scores + m * a->n + first, k * sizeof *own);
        number_texts(same, a->texts + first, k);
        const struct pairs_answers x = {own, s->rewards.n, k, same, row_rng_key(a->x.examples.list[i].row)};
        size_t n = pairs_choose(c->pairs + c->n, &x, &config);
        for (size_t p = 0; p < n; p++)
            c->prompt[c->n++] = i;
    }
    pairs_limit(c->keep, c->pairs, c->n, args->pairs_per_round ? (size_t)args->pairs_per_round : SIZE_MAX, &config);
    free(own);
    free(same);
}

/* Pairs of the policy's answers. */
static int send_answers(struct buf *out, const struct round_work *w, const struct side *s, const struct examples *prompts,
                        struct err *err)
{
    struct answers a = {0};
    struct chosen c = {0};
    float *scores = NULL;
    int rc = sample(&a, w, s->net, prompts, (size_t)w->rounds->args->num_generations, "collect", err);
    if (rc == 0 && s->rewards.n && !(scores = member_scores(s, &a, err)))
        rc = -1;
    if (rc == 0)
        choose(&c, w, s, &a, scores);
    for (size_t p = 0; p < c.n; p++) {
        const struct pair *pair = &c.pairs[p];
        size_t first = a.x.tree[c.prompt[p]];
        char suffix[48];
        snprintf(suffix, sizeof suffix, "%zu-%zu", pair->a, pair->b);
        if (c.keep[p])
            free(write_pair(out, w->round, a.x.examples.list[c.prompt[p]].row, suffix, NULL, a.texts[first + pair->a],
                            a.texts[first + pair->b], false));
    }
    if (rc == 0 && out->len == 0)
        rc = err_set(err,
                     "the policy gave the same answer, or none, to each prompt every time: there are no pairs to judge; raise "
                     "--temperature or --num-generations");
    free(c.pairs);
    free(c.prompt);
    free(c.keep);
    free(scores);
    answers_release(&a);
    return rc;
}

/* ---- demonstrations beside the policy's answers ---- */

static const char *text_of(const struct row_part *p)
{
    return p->text ? p->text : p->n_messages == 1 ? p->messages[0].content : NULL;
}

static size_t words_of(const struct row_part *p)
{
    const char *text = text_of(p);
    return text ? text_word_count(text) : 0;
}

/* Of k answers the one that is nearest in length to so many words. */
static size_t nearest(char *const *texts, size_t k, size_t words)
{
    size_t best = 0, least = SIZE_MAX;
    for (size_t i = 0; i < k; i++) {
        size_t n = text_word_count(texts[i]), distance = n > words ? n - words : words - n;
        if (!says_nothing(texts[i]) && distance < least) {
            least = distance;
            best = i;
        }
    }
    return best;
}

/* Each demonstration beside the answers to its prompt: pairs, and labels that say that it wins.  demonstrations: by the answers'
 * trees.  one: only one answer each. */
static void set_beside(struct buf *pairs, struct buf *labels, const struct round_work *w, const struct answers *a,
                       const struct row_part *const *demonstrations, bool one)
{
    const struct rounds_args *args = w->rounds->args;
    for (size_t i = 0; i < a->x.examples.n; i++) {
        const struct row *row = a->x.examples.list[i].row;
        size_t first = a->x.tree[i], k = a->x.tree[i + 1] - first;
        size_t only = args->balance_length ? nearest(a->texts + first, k, words_of(demonstrations[i])) : 0;
        const char *demonstration = text_of(demonstrations[i]);
        for (size_t s = 0; s < k; s++) {
            const char *answer = a->texts[first + s];
            if (((one || args->balance_length) && s != only) || says_nothing(answer) ||
                (demonstration && !strcmp(answer, demonstration)))
                continue;
            char suffix[24];
            snprintf(suffix, sizeof suffix, "%zu", s);
            bool swap =
                rng_uniform((uint32_t)args->seed + (uint32_t)w->round, RNG_PAIRS, row_rng_key(row), (uint32_t)s, 0, 0) < 0.5;
            char *id = write_pair(pairs, w->round, row, suffix, demonstrations[i], demonstration, answer, swap);
            buf_str(labels, "{\"id\": ");
            buf_json_str(labels, id, strlen(id));
            buf_printf(labels, ", \"label\": \"%s\"}\n", swap ? "b" : "a");
            free(id);
        }
    }
}

int round_put(const struct round_work *w, const char *name, const struct buf *text, struct err *err)
{
    char *path = round_path(w->rounds, w->round, name);
    int rc = text->overflow ? err_set(err, "'%s' would be larger than 1 GiB: lower --prompts-per-round", path)
                            : file_write(path, text->data, text->len, err);
    free(path);
    return rc;
}

static int against_demonstrations(const struct round_work *w, const struct side *s, const struct prompts *p, const size_t *rows,
                                  size_t n, size_t each, struct buf *pairs, struct buf *labels, const char *what,
                                  struct err *err)
{
    struct example *list = xmalloc((n + 1) * sizeof *list);
    const struct row_part **demonstrations = xmalloc((n + 1) * sizeof *demonstrations);
    for (size_t i = 0; i < n; i++) {
        list[i] = p->examples.list[rows[i]];
        demonstrations[i] = &p->data.rows[rows[i]].completions[0];
    }
    struct answers a = {0};
    int rc = sample(&a, w, s->net, &(struct examples){.list = list, .n = n}, each, what, err);
    if (rc == 0)
        set_beside(pairs, labels, w, &a, demonstrations, each == 1);
    if (rc == 0 && pairs->len == 0)
        rc = err_set(err, "the policy gave no answer but the demonstrations: there is nothing to tell apart");
    answers_release(&a);
    free(list);
    free(demonstrations);
    return rc;
}

/* The held-out demonstrations as judgements at once. */
static int write_held_out(const struct round_work *w, const struct buf *pairs, const struct buf *labels, struct err *err)
{
    struct buf out;
    struct labels_report report;
    buf_init(&out, ROUND_LONGEST_FILE);
    char *sent = round_path(w->rounds, w->round, "heldout-pairs.jsonl"),
         *back = round_path(w->rounds, w->round, "heldout-labels.jsonl");
    int rc = round_put(w, "heldout-pairs.jsonl", pairs, err) || round_put(w, "heldout-labels.jsonl", labels, err) ||
                     labels_join(&out, &report, sent, back, err) || round_put(w, "heldout.jsonl", &out, err)
                 ? -1
                 : 0;
    remove(sent);
    remove(back);
    free(sent);
    free(back);
    buf_release(&out);
    return rc;
}

static int send_demonstrations(struct buf *pairs, const struct round_work *w, const struct side *s, const struct prompts *p,
                               const size_t *rows, size_t n, struct err *err)
{
    const struct rounds_args *args = w->rounds->args;
    struct buf labels, held_out, held_out_labels;
    struct prompts eval = {0};
    buf_init(&labels, ROUND_LONGEST_FILE);
    buf_init(&held_out, ROUND_LONGEST_FILE);
    buf_init(&held_out_labels, ROUND_LONGEST_FILE);
    const struct rows_config config = {.prompts = true, .system = args->system};
    int rc = against_demonstrations(w, s, p, rows, n, (size_t)args->num_generations, pairs, &labels, "collect", err);
    if (rc == 0)
        rc = prompts_read(&eval, w->rounds->command, args->eval_data, &config, 1u << ROWS_COMPLETION, s->net->model,
                          (size_t)args->response_length, true, err);
    if (rc == 0) {
        size_t *all = xmalloc((eval.examples.n + 1) * sizeof *all);
        for (size_t i = 0; i < eval.examples.n; i++)
            all[i] = i;
        rc = against_demonstrations(w, s, &eval, all, eval.examples.n, args->balance_length ? (size_t)args->num_generations : 1,
                                    &held_out, &held_out_labels, "held out", err);
        free(all);
    }
    if (rc == 0)
        rc = write_held_out(w, &held_out, &held_out_labels, err) || round_put(w, "labels.jsonl", &labels, err) ? -1 : 0;
    prompts_release(&eval);
    buf_release(&labels);
    buf_release(&held_out);
    buf_release(&held_out_labels);
    return rc;
}

int rounds_collect(void *user, struct err *err)
{
    const struct round_work *w = user;
    const struct rounds_args *args = w->rounds->args;
    bool demonstrations = args->labels == LABELS_DEMONSTRATIONS;
    struct side s = {0};
    struct prompts p = {0};
    struct buf out;
    buf_init(&out, ROUND_LONGEST_FILE);
    const struct rows_config config = {.prompts = true, .system = args->system};
    int rc = side_open(&s, w, err);
    if (rc == 0)
        rc = prompts_read(&p, w->rounds->command, args->prompts, &config,
                          demonstrations ? 1u << ROWS_COMPLETION : ~(1u << ROWS_SCORES), s.net->model,
                          (size_t)args->response_length, true, err);
    if (rc == 0) {
        size_t *rows = xmalloc((p.examples.n + 1) * sizeof *rows);
        size_t n = share(rows, p.examples.n, w->round, (size_t)args->prompts_per_round, (uint32_t)args->seed);
        struct examples some = {.list = xmalloc((n + 1) * sizeof *some.list), .n = n};
        for (size_t i = 0; i < n; i++)
            some.list[i] = p.examples.list[rows[i]];
        rc = demonstrations ? send_demonstrations(&out, w, &s, &p, rows, n, err) : send_answers(&out, w, &s, &some, err);
        free(some.list);
        free(rows);
    }
    if (rc == 0)
        rc = round_put(w, "to-label.jsonl", &out, err);
    buf_release(&out);
    prompts_release(&p);
    side_release(&s);
    return rc;
}
