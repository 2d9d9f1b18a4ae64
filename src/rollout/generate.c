#include "rollout/generate.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "model/stem.h"
#include "model/workspace.h"
#include "util/mem.h"
#include "util/rng.h"

/* Rows of prompts that one step reads at most (a longer single prompt is read all the same). */
#define PREFILL_ROWS 512

/* Nets that read a request's tokens: one, or the two of a mixture. */
#define MAX_VIEWS 2

/* A request under way: its prompt's tiles, and the hidden state from which first tokens are drawn, of each net. */
struct group {
    struct request *request;
    int32_t *tiles[MAX_VIEWS];
    size_t n_tiles;
    float *hidden[MAX_VIEWS]; /* NULL until the prompt is read */
    size_t started; /* completions that have or had a slot */
    size_t active;  /* that have one now */
};

/* A completion under way. */
struct slot {
    struct group *group; /* NULL: free */
    size_t sample;
    int32_t *tiles[MAX_VIEWS];
    size_t n_tiles;
    int32_t fed[MAX_VIEWS]; /* row of the last batch that it fed its last token in, -1: it draws from the prompt's state */
};

static size_t views_of(const struct request *r)
{
    return r->mixture_coef > 0 ? 2 : 1;
}

static const struct adapter *view_adapter(const struct request *r, size_t view)
{
    return view ? r->mix_adapter : r->adapter;
}

static size_t tiles_for(size_t positions)
{
    return (positions + KV_TILE - 1) / KV_TILE;
}

void request_release(struct request *r)
{
    for (size_t i = 0; r->samples && i < r->n_samples; i++) {
        free(r->samples[i].ids);
        free(r->samples[i].logps);
    }
    free(r->samples);
    r->samples = NULL;
}

int generator_init(struct generator *g, const struct model *m, const struct generator_limits *limits, struct err *err)
{
    *g = (struct generator){.model = m, .limits = *limits};
    struct attention_shape shape = config_attention(&m->config, 0);
    size_t longest = tiles_for(limits->positions), views = limits->mixtures ? MAX_VIEWS : 1, rows = limits->slots * views;
    /* every slot has its tiles and a copy of a shared one; one prompt may be read and wait for slots */
    g->n_tiles = (limits->slots * (longest + 1) + longest) * views;
    g->cache = mem_block(m->config.layers * g->n_tiles, kv_tile_floats(&shape) * sizeof(float),
                         "the cache of keys and values", err);
    g->logits = mem_block(rows, m->config.vocab * sizeof(float), "logits", err);
    g->hidden = mem_block(rows, m->config.width * sizeof(float), "hidden states", err);
    if (!g->cache || !g->logits || !g->hidden) {
        generator_release(g);
        return -1;
    }
    g->workspace = workspace_new(&m->config, KEEP_NOTHING, err);
    g->tile_refs = xcalloc(g->n_tiles, sizeof *g->tile_refs);
    g->tiles_free = xcalloc(g->n_tiles, sizeof *g->tiles_free);
    for (size_t i = g->n_tiles; i-- > 0;)
        g->tiles_free[g->n_tiles_free++] = (int32_t)i;
    g->slots = xcalloc(limits->slots, sizeof *g->slots);
    g->info = xcalloc(rows, sizeof *g->info);
    g->temperatures = xcalloc(rows, sizeof *g->temperatures);
    g->drawing = xcalloc(limits->slots, sizeof *g->drawing);
    return 0;
}

static void group_free(struct group *p)
{
    for (size_t v = 0; v < MAX_VIEWS; v++) {
        free(p->tiles[v]);
        free(p->hidden[v]);
    }
    free(p);
}

void generator_release(struct generator *g)
{
    for (size_t i = 0; g->slots && i < g->limits.slots; i++)
        for (size_t v = 0; v < MAX_VIEWS; v++)
            free(g->slots[i].tiles[v]);
    for (size_t i = 0; i < g->n_groups; i++)
        group_free(g->groups[i]);
    free(g->groups);
    free(g->slots);
    free(g->info);
    free(g->temperatures);
    free(g->drawing);
    free(g->tile_refs);
    free(g->tiles_free);
    mem_block_free(g->cache);
    mem_block_free(g->logits);
    mem_block_free(g->hidden);
    workspace_free(g->workspace);
    batch_release(&g->batch);
    *g = (struct generator){0};
}

int generator_submit(struct generator *g, struct request *r, struct err *err)
{
    ENSURE(r->mixture_coef == 0 || g->limits.mixtures);
    if (r->n_prompt == 0)
        return err_set(err, "an empty prompt: there is nothing to go on from");
    size_t n = r->n_prompt + r->max_new_tokens;
    size_t most = g->limits.positions < g->model->rope.positions ? g->limits.positions : g->model->rope.positions;
    if (n > most)
        return err_set(err, "a prompt of %zu tokens and %zu new ones are more than the %zu positions there are",
                       r->n_prompt, r->max_new_tokens, most);
    r->samples = xcalloc(r->n_samples, sizeof *r->samples);
    r->n_done = 0;
    if (r->n_samples == 0)
        return 0;
    ARRAY_GROW(g->groups, g->n_groups + 1, g->groups_capacity);
    struct group *p = xcalloc(1, sizeof *p);
    p->request = r;
    g->groups[g->n_groups++] = p;
    return 0;
}

static int32_t tile_take(struct generator *g)
{
    ENSURE(g->n_tiles_free > 0);
    int32_t t = g->tiles_free[--g->n_tiles_free];
    g->tile_refs[t] = 1;
    return t;
}

static void tiles_drop(struct generator *g, int32_t *tiles, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (--g->tile_refs[tiles[i]] == 0)
            g->tiles_free[g->n_tiles_free++] = tiles[i];
    free(tiles);
}

static bool same_nets(const struct request *a, const struct request *b)
{
    size_t views = views_of(a);
    return views == views_of(b) && a->adapter == b->adapter && (views == 1 || a->mix_adapter == b->mix_adapter);
}

/* The prompt under way (in this step's batch or in the cache) that has most of its start in common with a request's:
 * its keys and values serve both.  The last token is always the request's own, for its hidden state. */
static struct group *longest_start(const struct generator *g, const struct request *r, size_t *shared)
{
    struct group *best = NULL;
    *shared = 0;
    for (size_t p = 0; p < g->n_groups; p++) {
        struct group *other = g->groups[p];
        if (!other->tiles[0] || !same_nets(other->request, r))
            continue;
        size_t n = 0, most = other->request->n_prompt < r->n_prompt - 1 ? other->request->n_prompt : r->n_prompt - 1;
        while (n < most && other->request->prompt[n] == r->prompt[n])
            n++;
        if (n > *shared) {
            *shared = n;
            best = other;
        }
    }
    if (*shared < STEM_LEAST)
        *shared = 0;
    return *shared ? best : NULL;
}

/* Put a prompt into the batch, but for the `shared` tokens that it begins with like `other`'s. */
static void read_prompt(struct generator *g, struct group *group, const struct group *other, size_t shared)
{
    const struct request *r = group->request;
    size_t whole = shared / KV_TILE;
    group->n_tiles = tiles_for(r->n_prompt);
    for (size_t v = 0; v < views_of(r); v++) {
        int32_t *tiles = group->tiles[v] = xmalloc(group->n_tiles * sizeof *tiles);
        for (size_t t = 0; t < whole; t++) {
            tiles[t] = other->tiles[v][t];
            g->tile_refs[tiles[t]]++;
        }
        for (size_t t = whole; t < group->n_tiles; t++)
            tiles[t] = tile_take(g);
        batch_add_cached(&g->batch, r->prompt + shared, r->n_prompt - shared, shared, tiles, group->n_tiles,
                         shared % KV_TILE ? other->tiles[v][whole] : -1, view_adapter(r, v));
        group->hidden[v] = xmalloc(g->model->config.width * sizeof(float));
    }
}

/* Give free slots to waiting completions, in order, and put prompts to be read into the batch. */
static void admit(struct generator *g, struct group **reading, size_t *n_reading)
{
    size_t i = 0;
    for (size_t p = 0; p < g->n_groups; p++) {
        struct group *group = g->groups[p];
        const struct request *r = group->request;
        while (group->started < r->n_samples && !r->cancel) {
            while (i < g->limits.slots && g->slots[i].group)
                i++;
            if (i == g->limits.slots)
                return;
            if (!group->hidden[0]) {
                size_t shared;
                const struct group *other = longest_start(g, r, &shared);
                if (g->batch.n_rows && g->batch.n_rows + (r->n_prompt - shared) * views_of(r) > PREFILL_ROWS)
                    return;
                read_prompt(g, group, other, shared);
                reading[(*n_reading)++] = group;
            }
            struct slot *s = &g->slots[i];
            *s = (struct slot){.group = group, .sample = group->started++, .n_tiles = group->n_tiles};
            group->active++;
            for (size_t v = 0; v < views_of(r); v++) {
                s->fed[v] = -1;
                s->tiles[v] = xmalloc(tiles_for(g->limits.positions) * sizeof *s->tiles[v]);
                memcpy(s->tiles[v], group->tiles[v], group->n_tiles * sizeof *s->tiles[v]);
                for (size_t t = 0; t < s->n_tiles; t++)
                    g->tile_refs[s->tiles[v][t]]++;
            }
            struct sample *sample = &group->request->samples[s->sample];
            sample->ids = xmalloc((r->max_new_tokens + 1) * sizeof *sample->ids);
            sample->logps = xmalloc((r->max_new_tokens + 1) * sizeof *sample->logps);
        }
    }
}

static void finish(struct generator *g, struct slot *s, enum finish how)
{
    struct group *group = s->group;
    group->request->samples[s->sample].finish = how;
    group->request->n_done++;
    group->active--;
    for (size_t v = 0; v < views_of(group->request); v++)
        tiles_drop(g, s->tiles[v], s->n_tiles);
    *s = (struct slot){0};
}

/* Take cancelled requests' completions away, then forget the groups that are through. */
static void sweep(struct generator *g)
{
    for (size_t i = 0; i < g->limits.slots; i++)
        if (g->slots[i].group && g->slots[i].group->request->cancel)
            finish(g, &g->slots[i], FINISH_CANCELLED);
    size_t kept = 0;
    for (size_t p = 0; p < g->n_groups; p++) {
        struct group *group = g->groups[p];
        struct request *r = group->request;
        while (r->cancel && group->started < r->n_samples) {
            r->samples[group->started++].finish = FINISH_CANCELLED;
            r->n_done++;
        }
        if (group->active || group->started < r->n_samples) {
            g->groups[kept++] = group;
            continue;
        }
        for (size_t v = 0; v < MAX_VIEWS; v++) {
            if (group->tiles[v])
                tiles_drop(g, group->tiles[v], group->n_tiles);
            group->tiles[v] = NULL;
        }
        group_free(group);
    }
    g->n_groups = kept;
}

/* Feed the last token of a completion: its place in the cache, copied first if the tile is shared. */
static void feed(struct generator *g, struct slot *s)
{
    const struct request *r = s->group->request;
    const struct sample *sample = &r->samples[s->sample];
    size_t pos = r->n_prompt + sample->n - 1, t = pos / KV_TILE, n_tiles = t == s->n_tiles ? t + 1 : s->n_tiles;
    for (size_t v = 0; v < views_of(r); v++) {
        int32_t copy_from = -1, *tiles = s->tiles[v];
        if (t == s->n_tiles) {
            tiles[t] = tile_take(g);
        } else if (g->tile_refs[tiles[t]] > 1) {
            copy_from = tiles[t];
            g->tile_refs[copy_from]--; /* the group keeps it alive through this step */
            tiles[t] = tile_take(g);
        }
        s->fed[v] = (int32_t)g->batch.n_rows;
        batch_add_cached(&g->batch, &sample->ids[sample->n - 1], 1, pos, tiles, t + 1, copy_from, view_adapter(r, v));
    }
    s->n_tiles = n_tiles;
}

static void take_token(struct generator *g, struct slot *s, int32_t token, float logp)
{
    struct request *r = s->group->request;
    struct sample *sample = &r->samples[s->sample];
    sample->ids[sample->n] = token;
    sample->logps[sample->n++] = logp;
    bool stop = false;
    for (size_t i = 0; i < r->n_stop; i++)
        stop |= token == r->stop[i];
    if (r->on_token && r->on_token(r->user, r, s->sample, token))
        r->cancel = true;
    if (stop)
        finish(g, s, FINISH_STOP);
    else if (sample->n >= r->max_new_tokens)
        finish(g, s, FINISH_LENGTH);
}

static int forward(struct generator *g, struct err *err)
{
    struct net net = {.model = g->model};
    return g->batch.n_rows ? net_forward(g->workspace, &net, &g->batch, g->cache, g->n_tiles, err) : 0;
}

/* A net's hidden state at the last token of a slot, and the temperature, as row `row` of what logits are made from. */
static void show_state(struct generator *g, const struct slot *s, size_t view, size_t row)
{
    size_t width = g->model->config.width;
    float t = s->group->request->sampling.temperature;
    g->temperatures[row] = t > 0 ? t : 1.0f;
    memcpy(g->hidden + row * width, s->fed[view] >= 0 ? net_hidden(g->workspace, (size_t)s->fed[view]) : s->group->hidden[view],
           width * sizeof(float));
}

/* Draw a token for each slot in g->drawing. */
static void draw(struct generator *g, size_t n)
{
    size_t vocab = g->model->config.vocab, rows = n;
    int32_t *tokens = xmalloc((n + 1) * sizeof *tokens);
    float *logps = xmalloc((n + 1) * sizeof *logps);
    size_t *second = xcalloc(n + 1, sizeof *second); /* the row of a mixture's other net */
    for (size_t i = 0; i < n; i++)
        show_state(g, &g->slots[g->drawing[i]], 0, i);
    for (size_t i = 0; i < n; i++)
        if (views_of(g->slots[g->drawing[i]].group->request) > 1) {
            second[i] = rows++;
            show_state(g, &g->slots[g->drawing[i]], 1, second[i]);
        }
    logits_forward(g->logits, g->info, g->hidden, rows, &g->model->output, g->model->config.final_cap, g->temperatures);
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < n; i++) {
        const struct slot *s = &g->slots[g->drawing[i]];
        const struct request *r = s->group->request;
        double u = rng_uniform(r->sampling.seed, RNG_SAMPLE, r->key, (uint32_t)(r->first_sample + s->sample),
                               (uint32_t)r->samples[s->sample].n, r->sampling.round);
        if (second[i])
            logits_mix(g->logits + i * vocab, &g->info[i], g->logits + second[i] * vocab, r->mixture_coef, vocab);
        tokens[i] = sample_token(g->logits + i * vocab, &g->info[i], vocab, &r->sampling, u, &logps[i]);
    }
    for (size_t i = 0; i < n; i++)
        take_token(g, &g->slots[g->drawing[i]], tokens[i], logps[i]);
    free(tokens);
    free(logps);
    free(second);
}

static long left(const struct generator *g)
{
    long n = 0;
    for (size_t i = 0; i < g->n_groups; i++)
        n += (long)(g->groups[i]->request->n_samples - g->groups[i]->request->n_done);
    return n;
}

long generator_step(struct generator *g, struct err *err)
{
    sweep(g);
    struct group **reading = xcalloc(g->limits.slots, sizeof *reading);
    size_t n_reading = 0;
    batch_clear(&g->batch);
    admit(g, reading, &n_reading);
    int rc = forward(g, err);
    int32_t run = 0;
    for (size_t i = 0; rc == 0 && i < n_reading; i++)
        for (size_t v = 0; v < views_of(reading[i]->request); v++)
            memcpy(reading[i]->hidden[v], net_hidden(g->workspace, batch_last_row(&g->batch, run++)),
                   g->model->config.width * sizeof(float));
    free(reading);
    if (rc == 0) {
        batch_clear(&g->batch);
        for (size_t i = 0; i < g->limits.slots; i++) {
            struct slot *s = &g->slots[i];
            if (s->group && s->group->request->samples[s->sample].n)
                feed(g, s);
        }
        rc = forward(g, err);
    }
    if (rc)
        return -1;
    size_t n = 0;
    for (size_t i = 0; i < g->limits.slots; i++)
        if (g->slots[i].group)
            g->drawing[n++] = i;
    if (n)
        draw(g, n);
    sweep(g);
    return left(g);
}

int generate_all(const struct model *m, struct request *requests, size_t n, size_t slots,
                 void (*progress)(void *user, size_t done), void *user, struct err *err)
{
    struct generator_limits limits = {.slots = slots};
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        size_t positions = requests[i].n_prompt + requests[i].max_new_tokens;
        limits.positions = positions > limits.positions ? positions : limits.positions;
        limits.mixtures |= requests[i].mixture_coef > 0;
        total += requests[i].n_samples;
    }
    limits.slots = total < slots ? total : slots;
    if (total == 0)
        return 0;
    struct generator g;
    if (generator_init(&g, m, &limits, err))
        return -1;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        rc = generator_submit(&g, &requests[i], err);
        if (rc)
            err_prefix(err, "prompt %zu", i + 1);
    }
    long more = rc ? -1 : 1;
    while (more > 0) {
        more = generator_step(&g, err);
        if (progress && more >= 0)
            progress(user, total - (size_t)more);
    }
    generator_release(&g);
    return more < 0 ? -1 : 0;
}
