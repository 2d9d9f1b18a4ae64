/* A whole tiny model: its double twin against finite differences, the float net against the
 * twin, and the laws that hold bit for bit (docs/architecture.md): a sequence alone, in a batch,
 * with a shared prompt, after a stem and token by token; micro-batches; threads; instruction sets; a fresh
 * adapter; activations computed again. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/safetensors_out.h"
#include "model/workspace.h"
#include "ref/check.h"
#include "ref/ref.h"
#include "util/file.h"
#include "util/mem.h"
#include "util/rng.h"

/* ---- a model and its twin ---- */

struct shape {
    const char *name;
    size_t vocab, width, head_dim, ffn;
    bool tied;
    enum dtype stored; /* of the linear layers and the embedding */
    bool trainable;
    size_t rank;   /* of the adapter, 0: none */
    size_t layers; /* 0: two */
};

static const struct shape shapes[] = {
    /* more than a chunk of the vocabulary; queries narrower than the residual */
    {"full, tied", 1030, 36, 8, 50, true, DTYPE_F32, true, 0},
    /* queries wider than the residual, a narrow feed-forward */
    {"full, untied", 67, 36, 10, 33, false, DTYPE_F32, true, 0},
    {"adapter, tied", 67, 36, 8, 50, true, DTYPE_BF16, false, 5},
    {"adapter on a trained model, untied", 67, 33, 8, 50, false, DTYPE_F32, true, 3},
};
enum { FULL_TIED, FULL_UNTIED, ADAPTER_TIED, BOTH_UNTIED, SHAPES };

struct tiny {
    const struct shape *shape;
    struct ref_model twin;
    float inv_freq[8];
    struct model model;
    struct adapter adapter;
    struct head head;
    struct net net;
};

static void must(int rc, const struct err *err)
{
    if (rc)
        fail_msg("%s", err->text);
}

static void write_file(const char *folder, const char *name, const char *text)
{
    struct err err;
    char *path = path_join(folder, name);
    must(file_write(path, text, strlen(text), &err), &err);
    free(path);
}

static bool is_adapter(const struct ref_tensor *t)
{
    return strstr(t->name, "lora_") != NULL;
}

/* Write the twin's base as a Hugging Face folder. */
static void write_model(const char *folder, const struct tiny *t)
{
    const struct shape *s = t->shape;
    const struct ref_config *c = &t->twin.config;
    struct safetensors_tensor list[32];
    struct err err;
    size_t n = 0;
    for (size_t i = 0; i < t->twin.n_tensors; i++) {
        const struct ref_tensor *r = &t->twin.tensors[i];
        if (is_adapter(r) || !strcmp(r->name, "score.weight"))
            continue;
        bool matrix = r->rows > 1, narrow = matrix && s->stored == DTYPE_BF16;
        float *data = zeroed(r->n, sizeof *data);
        uint16_t *upper = zeroed(r->n, sizeof *upper);
        for (size_t j = 0; j < r->n; j++) {
            data[j] = (float)r->w[j];
            memcpy(&upper[j], (const char *)&data[j] + 2, 2);
        }
        list[n++] = (struct safetensors_tensor){
            .name = r->name,
            .type = narrow ? DTYPE_BF16 : DTYPE_F32,
            .n_dims = matrix ? 2 : 1,
            .shape = {matrix ? r->rows : r->cols, matrix ? r->cols : 0},
            .data = narrow ? (const void *)upper : data,
        };
    }
    char *weights = path_join(folder, "model.safetensors");
    must(safetensors_write(weights, list, n, NULL, 0, &err), &err);
    free(weights);
    char *config =
        xasprintf("{\"model_type\": \"llama\", \"vocab_size\": %zu, \"hidden_size\": %zu, "
                  "\"num_hidden_layers\": %zu, \"num_attention_heads\": %zu, "
                  "\"num_key_value_heads\": %zu, \"head_dim\": %zu, "
                  "\"intermediate_size\": %zu, \"rms_norm_eps\": 1e-05, "
                  "\"rope_theta\": 10000.0, \"max_position_embeddings\": 256, "
                  "\"tie_word_embeddings\": %s}",
                  c->vocab, c->width, c->layers, c->heads.heads, c->heads.kv_heads,
                  c->heads.head_dim, c->ffn, c->tied ? "true" : "false");
    write_file(folder, "config.json", config);
    free(config);
}

/* Random weights that the stored form holds exactly. */
static void fill_twin(struct tiny *t)
{
    for (size_t i = 0; i < t->twin.n_tensors; i++) {
        struct ref_tensor *r = &t->twin.tensors[i];
        bool is_norm = strstr(r->name, "norm") != NULL;
        float *x = random_floats(r->n, 100 + (uint32_t)i, is_norm ? 0.185 : 0.235);
        for (size_t j = 0; j < r->n; j++) {
            x[j] += is_norm ? 1.0f : 0.0f;
            uint32_t bits;
            memcpy(&bits, &x[j], 4);
            bits &= 0xffff0000;
            memcpy(&x[j], &bits, 4);
            r->w[j] = (double)x[j];
        }
    }
}

/* The twin's tensors of that block of parameters, as they were made, into the floats. */
static void copy_from_twin(struct params *p, const struct ref_model *twin)
{
    for (size_t i = 0; i < p->n_list; i++) {
        const struct ref_tensor *r = ref_model_find(twin, p->list[i].name);
        assert_non_null(r);
        assert_int_equal(r->n, p->list[i].n);
        for (size_t j = 0; j < r->n; j++)
            p->data[p->list[i].offset + j] = (float)r->w[j];
    }
}

static void tiny_make(struct tiny *t, const struct shape *s)
{
    struct err err;
    *t = (struct tiny){.shape = s};
    for (size_t i = 0; i < s->head_dim / 2; i++)
        t->inv_freq[i] = (float)pow(10000, -2.0 * (double)i / (double)s->head_dim);
    struct ref_config c = {.vocab = s->vocab,
                           .width = s->width,
                           .layers = s->layers ? s->layers : 2,
                           .ffn = s->ffn,
                           .heads = {4, 2, s->head_dim},
                           .norm_eps = (double)1e-5f,
                           .inv_freq = t->inv_freq,
                           .tied = s->tied,
                           .rank = s->rank,
                           .lora_scale = s->rank ? 7.0 / (double)s->rank : 0,
                           .head = true};
    ref_model_init(&t->twin, &c);
    fill_twin(t);

    const char *tmp = getenv("TMPDIR");
    char *folder = xasprintf("%s/hone-tiny-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(folder));
    write_model(folder, t);
    must(model_open(&t->model, folder, NULL, &err), &err);
    must(dir_remove(folder, &err), &err); /* what is mapped stays */
    free(folder);
    if (s->trainable)
        must(model_make_trainable(&t->model, &err), &err);
    must(head_init(&t->head, s->width, &err), &err);
    copy_from_twin(&t->head.params, &t->twin);
    t->head.bias = 0.315f;
    t->net = (struct net){.model = &t->model, .head = &t->head};
    if (s->rank) {
        struct adapter_options o = {.rank = s->rank, .alpha = 7, .seed = 3};
        must(adapter_init(&t->adapter, &t->model, &o, &err), &err);
        copy_from_twin(&t->adapter.params, &t->twin);
        t->net.adapter = &t->adapter;
    }
}

static void tiny_release(struct tiny *t)
{
    ref_model_release(&t->twin);
    adapter_release(&t->adapter);
    head_release(&t->head);
    model_release(&t->model);
}

/* ---- batches and their targets ---- */

#define MAX_RUNS 20

/* Segments: lengths (0 ends) and parents. */
struct forest {
    size_t n[MAX_RUNS];
    int parent[MAX_RUNS];
};

/* A batch whose every token that has one before it is a target; the leaves' last rows are
 * scored. */
struct sample {
    struct batch b;
    int32_t *before;
    struct target *targets;
    size_t n_targets;
    size_t *score_rows;
    size_t n_scores;
};

static int32_t token_at(size_t vocab, uint32_t seed, size_t i)
{
    return (int32_t)rng_below((uint32_t)vocab, seed, RNG_TEST, (uint32_t)i, 0, 0, 0);
}

/* Describe the batch that s->b holds by now. */
static void find_targets(struct sample *s)
{
    const struct batch *b = &s->b;
    s->before = zeroed(b->n_rows, sizeof *s->before);
    s->targets = zeroed(b->n_rows, sizeof *s->targets);
    s->score_rows = zeroed(b->n_runs, sizeof *s->score_rows);
    for (size_t i = 0; i < b->n_runs; i++) {
        const struct run *r = &b->runs[i];
        bool leaf = true;
        for (size_t row = r->row; row < r->row + r->n; row++) {
            s->before[row] = (int32_t)row - 1;
            if (row + 1 < r->row + r->n)
                s->targets[s->n_targets++] = (struct target){row, b->tokens[row + 1]};
        }
        s->before[r->row] = r->parent < 0 ? -1 : (int32_t)batch_last_row(b, r->parent);
        for (size_t j = i + 1; j < b->n_runs; j++)
            if (b->runs[j].parent == (int32_t)i) {
                size_t last = r->row + r->n - 1;
                s->targets[s->n_targets++] = (struct target){last, b->tokens[b->runs[j].row]};
                leaf = false;
            }
        if (leaf)
            s->score_rows[s->n_scores++] = r->row + r->n - 1;
    }
}

/* Tokens are a function of the run and the place in it; the same run index gives the same
 * tokens. */
static struct sample plant(const struct forest *f, size_t vocab)
{
    struct sample s = {0};
    for (size_t i = 0; i < MAX_RUNS && f->n[i]; i++) {
        int32_t *tokens = zeroed(f->n[i], sizeof *tokens);
        for (size_t j = 0; j < f->n[i]; j++)
            tokens[j] = token_at(vocab, 50 + (uint32_t)i, j);
        batch_add(&s.b, tokens, f->n[i], f->parent[i]);
    }
    find_targets(&s);
    return s;
}

/* The path of a forest's run from its root, as one sequence. */
static size_t path_to(int32_t *tokens, const struct batch *b, int32_t run)
{
    const struct run *r = &b->runs[run];
    size_t n = r->parent < 0 ? 0 : path_to(tokens, b, r->parent);
    memcpy(tokens + n, b->tokens + r->row, r->n * sizeof *tokens);
    return n + r->n;
}

static struct sample sequences(const struct sample *from, const int32_t *runs, size_t n)
{
    struct sample s = {0};
    int32_t *tokens = zeroed(from->b.n_rows, sizeof *tokens);
    for (size_t i = 0; i < n; i++)
        batch_add(&s.b, tokens, path_to(tokens, &from->b, runs[i]), -1);
    find_targets(&s);
    return s;
}

static const float temperature = 0.7f;

static struct ref_batch twin_batch(const struct sample *s)
{
    struct ref_target *t = zeroed(s->n_targets, sizeof *t);
    for (size_t i = 0; i < s->n_targets; i++)
        t[i] = (struct ref_target){s->targets[i].row, s->targets[i].token};
    return (struct ref_batch){s->b.n_rows,  s->b.tokens,         s->before,     t,
                              s->n_targets, (double)temperature, s->score_rows, s->n_scores};
}

static struct workspace *workspace(const struct tiny *t, enum keep keep)
{
    struct err err;
    struct workspace *w = workspace_new(&t->model.config, keep, &err);
    assert_non_null(w);
    return w;
}

static void forward(struct workspace *w, const struct tiny *t, const struct sample *s, float *logp,
                    float *scores, bool grad)
{
    struct err err;
    must(net_forward(w, &t->net, &s->b, NULL, 0, &err), &err);
    must(net_logprobs(logp, NULL, w, &t->net, s->targets, s->n_targets, temperature, grad, &err),
         &err);
    net_scores(scores, w, &t->net, s->score_rows, s->n_scores);
}

static void gradients(struct gradients *g, const struct tiny *t)
{
    struct err err;
    must(gradients_init(g, &t->net, t->shape->trainable, t->shape->rank > 0, true, &err), &err);
}

/* ---- against the twin ---- */

/* Two trees, one with a prompt of three, a completion of two, and one that goes on in two ways. */
static const struct forest small = {{3, 2, 1, 1, 2, 2, 3}, {-1, 0, 0, 2, 2, -1, 5}};
/* A prompt that crosses a tile, with three completions; a chain of three; one alone. */
static const struct forest large = {{70, 5, 60, 1, 40, 30, 13, 17}, {-1, 0, 0, 0, -1, 4, 5, -1}};

struct trial {
    struct ref_model *twin;
    struct ref_batch batch;
    double *logp, *scores, *dlogp, *dscores;
};

static double objective(void *with)
{
    struct trial *t = with;
    double s = 0;
    ref_model_forward(t->twin, &t->batch, t->logp, t->scores);
    for (size_t i = 0; i < t->batch.n_targets; i++)
        s += t->dlogp[i] * t->logp[i];
    for (size_t i = 0; i < t->batch.n_scores; i++)
        s += t->dscores[i] * t->scores[i];
    return s;
}

static void twin_gradients(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        struct tiny t;
        checking("the twin of %s", shapes[i].name);
        tiny_make(&t, &shapes[i]);
        struct sample s = plant(&small, shapes[i].vocab);
        struct trial trial = {&t.twin,
                              twin_batch(&s),
                              zeros(s.n_targets),
                              zeros(s.n_scores),
                              random_doubles(s.n_targets, 1, 1.315),
                              random_doubles(s.n_scores, 2, 1.115)};
        objective(&trial);
        ref_model_backward(&t.twin, &trial.batch, trial.dlogp, trial.dscores);
        for (size_t j = 0; j < t.twin.n_tensors; j++) {
            struct ref_tensor *r = &t.twin.tensors[j];
            /* in the embedding, a row that is used */
            size_t first = strstr(r->name, "embed") ? (size_t)s.b.tokens[2] * shapes[i].width : 0;
            const size_t at[] = {first, first + 7, r->n / 2, r->n - 1};
            for (size_t k = 0; k < sizeof at / sizeof *at; k++)
                expect_slope(r->name, r->grad, r->n, at[k], &r->w[at[k]], objective, &trial);
        }
        batch_release(&s.b);
        tiny_release(&t);
    }
    checking("nothing");
}

static void compare_gradients(const struct params *p, const float *block,
                              const struct ref_model *twin)
{
    for (size_t i = 0; block && i < p->n_list; i++) {
        const struct param *param = &p->list[i];
        expect_close(param->name, block + param->offset, ref_model_find(twin, param->name)->grad,
                     param->n, 0);
    }
}

static void check_against_twin(void)
{
    for (size_t i = 0; i < SHAPES; i++) {
        struct tiny t;
        struct gradients g;
        checking("%s", shapes[i].name);
        tiny_make(&t, &shapes[i]);
        struct sample s = plant(&large, shapes[i].vocab);
        struct ref_batch b = twin_batch(&s);
        float *logp = constant_floats(s.n_targets, NAN), *scores = constant_floats(s.n_scores, NAN);
        float *dlogp = random_floats(s.n_targets, 1, 1.315),
              *dscores = random_floats(s.n_scores, 2, 1.115);
        double *logp2 = zeros(s.n_targets), *scores2 = zeros(s.n_scores);
        struct workspace *w = workspace(&t, KEEP_ALL);
        gradients(&g, &t);
        forward(w, &t, &s, logp, scores, true);
        net_backward(&g, w, &t.net, &s.b, dlogp, dscores, s.score_rows, s.n_scores);
        gradients_finish(&g, &t.net);
        ref_model_forward(&t.twin, &b, logp2, scores2);
        ref_model_backward(&t.twin, &b, as_doubles(dlogp, s.n_targets),
                           as_doubles(dscores, s.n_scores));
        for (size_t j = 0; j < s.n_scores; j++)
            scores2[j] += (double)t.head.bias;
        expect_close("log-probs", logp, logp2, s.n_targets, 0);
        expect_close("scores", scores, scores2, s.n_scores, 0);
        compare_gradients(&t.model.params, g.model, &t.twin);
        compare_gradients(&t.adapter.params, g.adapter, &t.twin);
        compare_gradients(&t.head.params, g.head, &t.twin);
        gradients_release(&g);
        workspace_free(w);
        batch_release(&s.b);
        tiny_release(&t);
    }
}

/* ---- laws ---- */

/* One group: a prompt of 70 and 16 completions, of 1, 5, 9 .. tokens. */
static struct forest group_of_16(void)
{
    struct forest f = {{70}, {-1}};
    for (size_t i = 1; i <= 16; i++)
        f.n[i] = 4 * i - 3;
    return f;
}

/* Row of the group's forest where the path to `run` has its token at `pos`, or its target after
 * it. */
static size_t row_in_group(const struct batch *b, int32_t run, size_t pos)
{
    const struct run *r = &b->runs[run];
    return pos < r->pos ? pos : r->row + pos - r->pos;
}

/* The log-prob of the token at `pos` of the path to `run`, from the results of the group. */
static float in_group(const struct sample *s, const float *logp, int32_t run, size_t pos)
{
    size_t before = row_in_group(&s->b, run, pos - 1), sibling = (size_t)run - 1, i = 0;
    while (s->targets[i].row != before)
        i++;
    return logp[pos == s->b.runs[run].pos ? i + sibling : i];
}

/* Read a sequence token by token over a cache, as a sampler does. */
static void decode(float *logp, float *score, const struct tiny *t, const struct batch *whole)
{
    enum { TILES = 4 };
    struct err err;
    const struct config *c = &t->model.config;
    struct attention_shape shape = {c->heads, c->kv_heads, c->head_dim, 0};
    float *cache = zeroed(c->layers * TILES * kv_tile_floats(&shape), sizeof *cache);
    const int32_t tiles[TILES] = {2, 0, 3, 1};
    struct workspace *w = workspace(t, false);
    struct batch b = {0};
    size_t n = whole->n_rows, row = 0;
    for (size_t pos = 0; pos < n; pos++) {
        batch_clear(&b);
        batch_add_cached(&b, whole->tokens + pos, 1, pos, tiles, pos / KV_TILE + 1, -1,
                         t->net.adapter);
        must(net_forward(w, &t->net, &b, cache, TILES, &err), &err);
        struct target next = {0, pos + 1 < n ? whole->tokens[pos + 1] : 0};
        if (pos + 1 < n)
            must(net_logprobs(logp + pos, NULL, w, &t->net, &next, 1, temperature, false, &err),
                 &err);
    }
    net_scores(score, w, &t->net, &row, 1);
    batch_release(&b);
    workspace_free(w);
}

/* Laws 1 and 3: alone, among fifteen others, after a shared prompt, token by token. */
static void check_same_in_any_batch(void)
{
    const size_t which[] = {FULL_TIED, ADAPTER_TIED};
    for (size_t k = 0; k < 2; k++) {
        struct tiny t;
        struct forest f = group_of_16();
        int32_t runs[16];
        checking("a sequence in any batch, %s", shapes[which[k]].name);
        tiny_make(&t, &shapes[which[k]]);
        for (int32_t i = 0; i < 16; i++)
            runs[i] = i + 1;
        struct sample group = plant(&f, shapes[which[k]].vocab), all = sequences(&group, runs, 16);
        float *logp = constant_floats(group.n_targets, NAN), *scores = constant_floats(16, NAN);
        float *all_logp = constant_floats(all.n_targets, NAN),
              *all_scores = constant_floats(16, NAN);
        struct workspace *w = workspace(&t, KEEP_ALL), *light = workspace(&t, KEEP_NOTHING);
        forward(w, &t, &group, logp, scores, true);
        forward(w, &t, &all, all_logp, all_scores, true);
        expect_same("scores of a group", scores, all_scores, 16);
        const float *among = all_logp;
        for (size_t i = 0; i < 16; i++) {
            struct sample alone = sequences(&group, &runs[i], 1);
            size_t n = alone.n_targets;
            float *alone_logp = constant_floats(n, NAN), *shared = constant_floats(n, NAN), score;
            forward(light, &t, &alone, alone_logp, &score, false);
            for (size_t pos = 1; pos <= n; pos++)
                shared[pos - 1] = in_group(&group, logp, runs[i], pos);
            expect_same("among others", among, alone_logp, n);
            expect_same("with its prompt shared", shared, alone_logp, n);
            expect_same("score", &scores[i], &score, 1);
            among += n;
            if (i == 11) {
                float *steps = constant_floats(n, NAN), last;
                decode(steps, &last, &t, &alone.b);
                expect_same("token by token", steps, alone_logp, n);
                expect_same("score, token by token", &last, &score, 1);
            }
            batch_release(&alone.b);
        }
        workspace_free(w);
        workspace_free(light);
        batch_release(&group.b);
        batch_release(&all.b);
        tiny_release(&t);
    }
}

/* Every number that a gradient is made of, one block after the other. */
struct blocks {
    float *data;
    size_t n;
};

static struct blocks blocks_of(const struct gradients *g, const struct tiny *t)
{
    struct blocks b = {0};
    size_t model = g->model ? t->model.params.n : 0, adapter = g->adapter ? t->adapter.params.n : 0;
    b.data = constant_floats(model + adapter + t->shape->width, 0);
    if (model)
        memcpy(b.data, g->model, model * sizeof *b.data);
    if (adapter)
        memcpy(b.data + model, g->adapter, adapter * sizeof *b.data);
    memcpy(b.data + model + adapter, g->head, t->shape->width * sizeof *b.data);
    b.n = model + adapter + t->shape->width;
    return b;
}

/* Forward and backward of some batches in turn; dlogp and dscores run through all of them. */
static struct blocks train(const struct tiny *t, enum keep keep, const struct sample *s, size_t n,
                           const float *dlogp, const float *dscores)
{
    struct workspace *w = workspace(t, keep);
    struct gradients g;
    gradients(&g, t);
    for (size_t i = 0; i < n; i++) {
        float *logp = constant_floats(s[i].n_targets, NAN),
              *scores = constant_floats(s[i].n_scores, NAN);
        forward(w, t, &s[i], logp, scores, true);
        net_backward(&g, w, &t->net, &s[i].b, dlogp, dscores, s[i].score_rows, s[i].n_scores);
        dlogp += s[i].n_targets;
        dscores += s[i].n_scores;
    }
    gradients_finish(&g, &t->net);
    struct blocks b = blocks_of(&g, t);
    gradients_release(&g);
    workspace_free(w);
    return b;
}

/* The trees of a forest as batches of their own. */
static size_t cut_trees(struct sample *out, const struct batch *b)
{
    size_t n = 0;
    int32_t root = 0;
    for (size_t i = 0; i < b->n_runs; i++) {
        const struct run *r = &b->runs[i];
        if (r->parent < 0) {
            out[n++] = (struct sample){0};
            root = (int32_t)i;
        }
        batch_add(&out[n - 1].b, b->tokens + r->row, r->n, r->parent < 0 ? -1 : r->parent - root);
    }
    for (size_t i = 0; i < n; i++)
        find_targets(&out[i]);
    return n;
}

/* Law 2: a gradient's bits are the same in one batch and in micro-batches, with one thread and
 * with two, in each instruction set; law 3: a shared prompt's gradient is the sum of its
 * copies'. */
static struct blocks first_isa[SHAPES];

static void check_same_gradient(void)
{
    for (size_t i = 0; i < SHAPES; i++) {
        struct tiny t;
        struct sample parts[MAX_RUNS];
        checking("gradients of %s", shapes[i].name);
        tiny_make(&t, &shapes[i]);
        struct sample s = plant(&large, shapes[i].vocab);
        size_t n = cut_trees(parts, &s.b);
        float *dlogp = random_floats(s.n_targets, 1, 1.315),
              *dscores = random_floats(s.n_scores, 2, 1.115);
        int threads = omp_get_max_threads();
        omp_set_num_threads(1);
        struct blocks one = train(&t, KEEP_ALL, &s, 1, dlogp, dscores),
                      cut = train(&t, KEEP_ALL, parts, n, dlogp, dscores);
        omp_set_num_threads(2);
        struct blocks two = train(&t, KEEP_ALL, &s, 1, dlogp, dscores);
        omp_set_num_threads(threads);
        assert_int_equal(n, 3);
        expect_same("in micro-batches", cut.data, one.data, one.n);
        expect_same("with two threads", two.data, one.data, one.n);
        if (!first_isa[i].data) {
            first_isa[i] = (struct blocks){xmalloc(one.n * sizeof(float)), one.n};
            memcpy(first_isa[i].data, one.data, one.n * sizeof(float));
        }
        expect_same("as in the first instruction set", one.data, first_isa[i].data, one.n);
        for (size_t j = 0; j < n; j++)
            batch_release(&parts[j].b);
        batch_release(&s.b);
        tiny_release(&t);
    }
}

static void check_shared_prompt_gradient(void)
{
    static const struct forest shared = {{70, 5, 60, 1}, {-1, 0, 0, 0}};
    const int32_t leaves[] = {1, 2, 3};
    for (size_t i = 0; i < SHAPES; i++) {
        struct tiny t;
        checking("a shared prompt's gradients, %s", shapes[i].name);
        tiny_make(&t, &shapes[i]);
        struct sample s = plant(&shared, shapes[i].vocab), apart = sequences(&s, leaves, 3);
        float *dlogp = random_floats(s.n_targets, 1, 1.315), *dscores = random_floats(3, 2, 1.115);
        float *apart_dlogp = constant_floats(apart.n_targets, 0), *to = apart_dlogp;
        for (int32_t leaf = 1; leaf <= 3; leaf++)
            for (size_t pos = 1; pos < s.b.runs[leaf].pos + s.b.runs[leaf].n; pos++, to++)
                if (leaf == 1 || pos >= 70) /* the prompt's own targets once */
                    *to = in_group(&s, dlogp, leaf, pos);
        struct blocks one = train(&t, KEEP_ALL, &s, 1, dlogp, dscores),
                      three = train(&t, KEEP_ALL, &apart, 1, apart_dlogp, dscores);
        expect_close("three sequences", three.data, as_doubles(one.data, one.n), one.n, 0);
        batch_release(&s.b);
        batch_release(&apart.b);
        tiny_release(&t);
    }
}

/* ---- a stem ---- */

/* The runs first .. last of a tree whose run 0 is the stem, as a batch that goes on from it. */
static struct sample after_stem(struct stem *stem, const struct batch *tree, size_t first, size_t last)
{
    struct sample s = {0};
    batch_set_stem(&s.b, stem);
    for (size_t i = first; i <= last; i++) {
        const struct run *r = &tree->runs[i];
        int32_t parent = r->parent == 0 ? -1 : r->parent - (int32_t)first;
        batch_add(&s.b, tree->tokens + r->row, r->n, parent);
    }
    find_targets(&s);
    return s;
}

/* Gradients of some stretches of the tree's runs, one micro-batch each, after a stem that is planted once; log-probs and
 * scores, too. */
static struct blocks train_after_stem(const struct tiny *t, enum keep keep, const struct batch *tree, const size_t (*cut)[2],
                                      size_t n, const float *dlogp, const float *dscores, float *logp, float *scores)
{
    struct workspace *w = workspace(t, keep);
    struct gradients g;
    struct stem stem = {0};
    struct err err;
    gradients(&g, t);
    must(stem_plant(&stem, &t->net, tree->tokens, tree->runs[0].n, keep, &err), &err);
    for (size_t i = 0; i < n; i++) {
        struct sample s = after_stem(&stem, tree, cut[i][0], cut[i][1]);
        forward(w, t, &s, logp, scores, true);
        net_backward(&g, w, &t->net, &s.b, dlogp, dscores, s.score_rows, s.n_scores);
        logp += s.n_targets;
        dlogp += s.n_targets;
        scores += s.n_scores;
        dscores += s.n_scores;
        batch_release(&s.b);
    }
    stem_backward(&g, &stem, &t->net);
    gradients_finish(&g, &t->net);
    struct blocks b = blocks_of(&g, t);
    stem_release(&stem);
    gradients_release(&g);
    workspace_free(w);
    return b;
}

/* What all trees begin with may be computed once: the log-probs keep their bits (law 1), the gradient is the one of the
 * whole tree (law 3), and neither micro-batches nor threads change it (law 2). */
static void check_stem(void)
{
    static const struct forest trees[] = {{{70, 9, 5, 60, 17, 30, 3}, {-1, 0, 1, 1, 0, 4, 0}},
                                          {{64, 1, 5, 60, 64, 30, 3}, {-1, 0, 1, 1, 0, 4, 0}},
                                          {{5, 2, 5, 60, 59, 30, 3}, {-1, 0, 1, 1, 0, 4, 0}}};
    static const size_t whole[][2] = {{1, 6}}, cut[][2] = {{1, 3}, {4, 5}, {6, 6}};
    for (size_t i = 0; i < SHAPES * 3; i++) {
        struct tiny t;
        checking("a stem of %zu tokens, %s", trees[i / SHAPES].n[0], shapes[i % SHAPES].name);
        tiny_make(&t, &shapes[i % SHAPES]);
        struct sample s = plant(&trees[i / SHAPES], t.shape->vocab);
        size_t in_stem = 0, n_stem = s.b.runs[0].n;
        while (s.targets[in_stem].row < n_stem)
            in_stem++;
        size_t n = s.n_targets - in_stem;
        float *dlogp = random_floats(s.n_targets, 1, 1.315), *dscores = random_floats(s.n_scores, 2, 1.115);
        memset(dlogp, 0, in_stem * sizeof *dlogp); /* nothing is predicted from a stem's rows */
        float *logp = constant_floats(s.n_targets, NAN), *scores = constant_floats(s.n_scores, NAN);
        float *logp2 = constant_floats(n, NAN), *scores2 = constant_floats(s.n_scores, NAN);
        struct workspace *w = workspace(&t, KEEP_ALL);
        forward(w, &t, &s, logp, scores, true);
        workspace_free(w);
        struct blocks all = train(&t, KEEP_ALL, &s, 1, dlogp, dscores);
        int threads = omp_get_max_threads();
        omp_set_num_threads(1);
        struct blocks one = train_after_stem(&t, KEEP_ALL, &s.b, whole, 1, dlogp + in_stem, dscores, logp2, scores2);
        expect_same("log-probs after a stem", logp2, logp + in_stem, n);
        expect_same("scores after a stem", scores2, scores, s.n_scores);
        expect_close("gradients", one.data, as_doubles(all.data, all.n), one.n, 0);
        omp_set_num_threads(2);
        struct blocks three = train_after_stem(&t, KEEP_ALL, &s.b, cut, 3, dlogp + in_stem, dscores, logp2, scores2);
        omp_set_num_threads(threads);
        expect_same("log-probs in micro-batches", logp2, logp + in_stem, n);
        expect_same("gradients in micro-batches", three.data, one.data, one.n);
        batch_release(&s.b);
        tiny_release(&t);
    }
}

/* Many trees on several threads ask for the same keys' gradients at once, and are still added up in their order. */
static void check_crowded_stem(void)
{
    struct tiny t;
    struct forest f = {{60}, {-1}};
    size_t whole[1][2] = {{1, 16}};
    checking("a crowded stem");
    tiny_make(&t, &shapes[ADAPTER_TIED]);
    for (size_t i = 1; i <= 16; i++)
        f.n[i] = i % 3 + 1;
    struct sample s = plant(&f, t.shape->vocab);
    float *dlogp = random_floats(s.n_targets, 1, 1.315), *dscores = random_floats(s.n_scores, 2, 1.115);
    float *logp = constant_floats(s.n_targets, NAN), *scores = constant_floats(s.n_scores, NAN);
    struct blocks first = {0};
    int threads = omp_get_max_threads();
    for (int round = 0; round < 60; round++) {
        omp_set_num_threads(round ? 4 : 1);
        struct blocks b = train_after_stem(&t, KEEP_ALL, &s.b, (const size_t(*)[2])whole, 1, dlogp, dscores, logp, scores);
        if (round == 0)
            first = b;
        else
            expect_same("gradients on four threads", b.data, first.data, b.n);
    }
    omp_set_num_threads(threads);
    batch_release(&s.b);
    tiny_release(&t);
}

/* Law 2 within a tree: one long run, and a prompt with completions of all lengths, have the same gradients on any number of
 * threads, more than there are processors as well. */
static void check_long_tree(void)
{
    static const struct forest trees[] = {{{250}, {-1}}, {{150, 1, 90, 64, 2, 70, 30}, {-1, 0, 0, 0, 3, 0, 5}}};
    for (size_t i = 0; i < 2; i++) {
        struct tiny t;
        checking("a tree of %zu tokens on some threads", trees[i].n[0]);
        tiny_make(&t, &shapes[ADAPTER_TIED]);
        struct sample s = plant(&trees[i], t.shape->vocab);
        float *dlogp = random_floats(s.n_targets, 1, 1.315), *dscores = random_floats(s.n_scores, 2, 1.115);
        int threads = omp_get_max_threads();
        omp_set_num_threads(1);
        struct blocks one = train(&t, KEEP_ALL, &s, 1, dlogp, dscores);
        for (int n = 2; n <= 5; n++) {
            omp_set_num_threads(n);
            for (int round = 0; round < 4; round++) {
                struct blocks some = train(&t, KEEP_ALL, &s, 1, dlogp, dscores);
                expect_same("gradients", some.data, one.data, one.n);
            }
        }
        omp_set_num_threads(threads);
        batch_release(&s.b);
        tiny_release(&t);
    }
}

/* Activations that the backward computes again are those that it would have kept: with and without a stem. */
static void check_recompute(void)
{
    static const struct forest tree = {{70, 9, 5, 60, 17, 30, 3}, {-1, 0, 1, 1, 0, 4, 0}};
    static const size_t cut[][2] = {{1, 3}, {4, 5}, {6, 6}};
    static const enum keep keeps[] = {KEEP_ALL, KEEP_INPUTS};
    for (size_t i = 0; i < SHAPES; i++) {
        struct shape shape = shapes[i];
        struct tiny t;
        struct blocks whole[2], after[2];
        float *logp[2], *scores[2], *logp2[2], *scores2[2];
        shape.layers = 3;
        checking("activations computed again, %s", shape.name);
        tiny_make(&t, &shape);
        struct sample s = plant(&tree, shape.vocab);
        size_t in_stem = 0;
        while (s.targets[in_stem].row < s.b.runs[0].n)
            in_stem++;
        float *dlogp = random_floats(s.n_targets, 1, 1.315), *dscores = random_floats(s.n_scores, 2, 1.115);
        for (size_t k = 0; k < 2; k++) {
            logp[k] = constant_floats(s.n_targets, NAN), scores[k] = constant_floats(s.n_scores, NAN);
            logp2[k] = constant_floats(s.n_targets - in_stem, NAN), scores2[k] = constant_floats(s.n_scores, NAN);
            struct workspace *w = workspace(&t, keeps[k]);
            forward(w, &t, &s, logp[k], scores[k], true);
            workspace_free(w);
            whole[k] = train(&t, keeps[k], &s, 1, dlogp, dscores);
            after[k] = train_after_stem(&t, keeps[k], &s.b, cut, 3, dlogp + in_stem, dscores, logp2[k], scores2[k]);
        }
        expect_same("log-probs", logp[1], logp[0], s.n_targets);
        expect_same("scores", scores[1], scores[0], s.n_scores);
        expect_same("gradients", whole[1].data, whole[0].data, whole[0].n);
        expect_same("log-probs after a stem", logp2[1], logp2[0], s.n_targets - in_stem);
        expect_same("scores after a stem", scores2[1], scores2[0], s.n_scores);
        expect_same("gradients after a stem", after[1].data, after[0].data, after[0].n);
        batch_release(&s.b);
        tiny_release(&t);
    }
}

/* Where memory is refused, the sentence says what would need less, if anything does. */
static void hint_of_recompute(void **state)
{
    (void)state;
    struct tiny t;
    struct err err;
    checking("the hint");
    tiny_make(&t, &shapes[ADAPTER_TIED]);
    for (enum keep keep = KEEP_NOTHING; keep <= KEEP_INPUTS; keep++) {
        struct workspace *w = workspace(&t, keep);
        assert_int_equal(workspace_reserve(w, (size_t)1 << 36, 0, 0, &err), -1);
        assert_non_null(strstr(err.text, "activations"));
        assert_int_equal(strstr(err.text, "--recompute") != NULL, keep == KEEP_ALL);
        workspace_free(w);
    }
    tiny_release(&t);
    checking("nothing");
}

/* An adapter whose B is 0 leaves every bit of the base as it was. */
static void check_fresh_adapter(void)
{
    struct tiny t;
    struct adapter fresh;
    struct err err;
    checking("a fresh adapter");
    tiny_make(&t, &shapes[ADAPTER_TIED]);
    must(adapter_init(&fresh, &t.model, &(struct adapter_options){.rank = 5, .alpha = 7, .seed = 3},
                      &err),
         &err);
    struct sample s = plant(&large, shapes[ADAPTER_TIED].vocab);
    float *base = constant_floats(s.n_targets, NAN), *with = constant_floats(s.n_targets, NAN);
    float *base_scores = constant_floats(s.n_scores, NAN),
          *with_scores = constant_floats(s.n_scores, NAN);
    struct workspace *w = workspace(&t, KEEP_NOTHING);
    t.net.adapter = NULL;
    forward(w, &t, &s, base, base_scores, false);
    t.net.adapter = &fresh;
    forward(w, &t, &s, with, with_scores, false);
    expect_same("log-probs", with, base, s.n_targets);
    expect_same("scores", with_scores, base_scores, s.n_scores);
    adapter_release(&fresh);
    workspace_free(w);
    batch_release(&s.b);
    tiny_release(&t);
}

#define TEST(what)                                                                                 \
    static void test_##what(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        in_each_isa(check_##what);                                                                 \
    }
TEST(against_twin)
TEST(same_in_any_batch)
TEST(same_gradient)
TEST(shared_prompt_gradient)
TEST(stem)
TEST(crowded_stem)
TEST(long_tree)
TEST(recompute)
TEST(fresh_adapter)

static int drop_first_isa(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++)
        free(first_isa[i].data);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twin_gradients),
        cmocka_unit_test(test_against_twin),
        cmocka_unit_test(test_same_in_any_batch),
        cmocka_unit_test_teardown(test_same_gradient, drop_first_isa),
        cmocka_unit_test(test_shared_prompt_gradient),
        cmocka_unit_test(test_stem),
        cmocka_unit_test(test_crowded_stem),
        cmocka_unit_test(test_long_tree),
        cmocka_unit_test(test_recompute),
        cmocka_unit_test(hint_of_recompute),
        cmocka_unit_test(test_fresh_adapter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
