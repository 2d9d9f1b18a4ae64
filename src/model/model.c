#define _GNU_SOURCE
#include "model/model.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf_text.h"
#include "model/safetensors.h"
#include "util/file.h"
#include "util/mem.h"

/* Rotary tables are made for at most so many positions. */
#define MAX_POSITIONS 32768

static bool is_gguf(const char *path)
{
    size_t n = strlen(path);
    return n > 5 && !strcmp(path + n - 5, ".gguf");
}

static const struct tensor_file *files(const struct model *m)
{
    return is_gguf(m->path) ? &m->gguf.tensors : &m->tensors;
}

/* The tensor that both names stand for, by the one of the file at hand; `missing`: it may be missing, and then no sentence is set. */
static const struct tensor *look_up(const struct model *m, const char *hf, const char *gguf, size_t l, bool missing, struct err *err)
{
    const struct family *f = m->config.family;
    size_t prefix = f->prefix && !is_gguf(m->path) && !strncmp(hf, f->prefix, strlen(f->prefix)) ? strlen(f->prefix) : 0;
    char *name = family_tensor_name(is_gguf(m->path) ? gguf : hf, l);
    const struct tensor *t = prefix && !tensor_find(files(m), name) ? tensor_find(files(m), name + prefix) : NULL;
    if (t)
        memmove(name, name + prefix, strlen(name + prefix) + 1);
    t = missing ? tensor_find(files(m), name) : tensor_need(files(m), name, err);
    free(name);
    return t;
}

static const struct tensor *need(const struct model *m, const char *hf, const char *gguf, size_t l, size_t rows,
                                 size_t cols, struct err *err)
{
    const struct tensor *t = look_up(m, hf, gguf, l, false, err);
    if (!t)
        return NULL;
    bool fits = rows == 1 ? t->n_dims == 1 && t->shape[0] == cols
                          : t->n_dims == 2 && t->shape[0] == rows && t->shape[1] == cols;
    if (!fits && rows == 1)
        fits = t->n_dims == 2 && t->shape[0] == 1 && t->shape[1] == cols;
    if (fits)
        return t;
    err_set(err, "'%s': tensor '%s' has the shape (%zu, %zu) where the configuration asks for (%zu, %zu): "
                 "config and weights do not belong together",
            m->path, t->name, t->shape[0], t->shape[1], rows == 1 ? cols : rows, rows == 1 ? (size_t)1 : cols);
    return NULL;
}

static int open_weight(struct weight *w, const struct model *m, const char *hf, const char *gguf, size_t l, size_t out,
                       size_t in, struct err *err)
{
    const struct tensor *t = need(m, hf, gguf, l, out, in, err);
    if (!t)
        return -1;
    *w = (struct weight){.type = t->type, .out = out, .in = in, .data = t->data,
                         .row_bytes = dtype_row_bytes(t->type, in)};
    return 0;
}

/* A linear layer that the folder holds as (in, out), the other way round at *to, which moves on. */
static int open_turned(struct weight *w, float **to, const struct model *m, const struct linear_row *row, size_t l, size_t out, size_t in,
                       struct err *err)
{
    const struct tensor *t = need(m, row->hf, row->gguf, l, in, out, err);
    if (!t)
        return -1;
    float *line = xmalloc(out * sizeof *line), *turned = *to;
    for (size_t i = 0; i < in; i++) {
        dtype_unpack(t->type, line, (const char *)t->data + i * dtype_row_bytes(t->type, out), 0, out);
        for (size_t o = 0; o < out; o++)
            turned[o * in + i] = line[o];
    }
    free(line);
    *w = weight_of_floats(turned, out, in);
    *to += out * in;
    return 0;
}

/* A vector of n floats at *to, which moves on; the place is *at. */
static int open_vector(const float **at, float **to, const struct model *m, const struct vector_row *row, size_t l, bool norm, size_t n,
                       struct err *err)
{
    const struct tensor *t = need(m, row->hf, row->gguf, l, 1, n, err);
    if (!t)
        return -1;
    tensor_unpack(*to, t);
    if (norm && m->config.family->unit_norm && is_gguf(m->path))
        for (size_t i = 0; i < n; i++)
            (*to)[i] -= 1.0f;
    *at = *to;
    *to += n;
    return 0;
}

static bool is_norm(size_t vector)
{
    return vector <= NORM_K;
}

/* Floats of all vectors, and of the layers that have to be turned. */
static void count_floats(size_t *vectors, size_t *turned, const struct model *m)
{
    const struct config *c = &m->config;
    const struct family *f = c->family;
    *vectors = 3 * c->width; /* the last norm, its shift, a score */
    *turned = 0;
    for (int k = 0; k < VECTOR_KINDS; k++)
        *vectors += f->vector[k].hf ? c->layers * config_dimension(c, f->vector[k].n) : 0;
    for (int k = 0; k < LINEAR_KINDS && f->turned && !is_gguf(m->path); k++)
        *turned += f->linear[k].hf ? c->layers * config_dimension(c, f->linear[k].out) * config_dimension(c, f->linear[k].in) : 0;
}

/* Are local layers rotated otherwise than the others? */
static bool own_local_rope(const struct config *c)
{
    return c->window && (c->rope_local.theta != c->rope.theta || c->rope_local.scaling != c->rope.scaling);
}

static int open_layer(struct layer *layer, struct model *m, size_t l, float **vectors, float **turned, struct err *err)
{
    const struct config *c = &m->config;
    const struct family *f = c->family;
    for (size_t k = 0; k < VECTOR_KINDS; k++)
        if (f->vector[k].hf && open_vector(&layer->vector[k], vectors, m, &f->vector[k], l, is_norm(k), config_dimension(c, f->vector[k].n), err))
            return -1;
    for (int k = 0; k < LINEAR_KINDS; k++) {
        const struct linear_row *row = &f->linear[k];
        size_t out = config_dimension(c, row->out), in = config_dimension(c, row->in);
        if (!row->hf)
            continue;
        if (m->turned ? open_turned(&layer->linear[k], turned, m, row, l, out, in, err)
                      : open_weight(&layer->linear[k], m, row->hf, row->gguf, l, out, in, err))
            return -1;
        if (row->rotary && is_gguf(m->path) && f->gguf_interleaved)
            layer->linear[k].interleaved = c->head_dim;
    }
    layer->rope = c->layer[l] & LAYER_NO_ROPE ? NULL : c->layer[l] & LAYER_LOCAL && own_local_rope(c) ? &m->rope_local : &m->rope;
    return 0;
}

static int open_weights(struct model *m, struct err *err)
{
    const struct config *c = &m->config;
    const struct family *f = c->family;
    if (open_weight(&m->embed, m, f->embed.hf, f->embed.gguf, 0, c->vocab, c->width, err) ||
        (f->position.hf && open_weight(&m->position, m, f->position.hf, f->position.gguf, 0, c->positions, c->width, err)))
        return -1;
    m->output = m->embed;
    /* A reward model's folder has no output projection: its score.weight stands in its place. */
    bool has_output = look_up(m, f->output.hf, f->output.gguf, 0, true, err) != NULL;
    const struct tensor *score = tensor_find(files(m), "score.weight");
    if (!c->tied && (has_output || !score) &&
        open_weight(&m->output, m, f->output.hf, f->output.gguf, 0, c->vocab, c->width, err))
        return -1;
    size_t n_vectors, n_turned;
    count_floats(&n_vectors, &n_turned, m);
    m->vectors = mem_block(n_vectors, sizeof(float), "norms", err);
    m->turned = n_turned ? mem_block(n_turned, sizeof(float), "weights", err) : NULL;
    if (!m->vectors || (n_turned && !m->turned))
        return -1;
    m->layers = xcalloc(c->layers, sizeof *m->layers);
    float *vectors = m->vectors, *turned = m->turned;
    for (size_t l = 0; l < c->layers; l++)
        if (open_layer(&m->layers[l], m, l, &vectors, &turned, err))
            return -1;
    if (open_vector(&m->norm, &vectors, m, &f->norm, 0, true, c->width, err) ||
        (f->shift.hf && open_vector(&m->shift, &vectors, m, &f->shift, 0, false, c->width, err)))
        return -1;
    const struct vector_row head = {"score.weight", "score.weight", DIM_WIDTH};
    return score ? open_vector(&m->score, &vectors, m, &head, 0, false, c->width, err) : 0;
}

static int open_rotary(struct rope *rope, struct model *m, const struct rotary *r, struct err *err)
{
    const struct config *c = &m->config;
    size_t half = (c->rotary_dim + 1) / 2, positions = rotary_positions(r, c->positions);
    float *inv_freq = xcalloc(half, sizeof *inv_freq), *factors = xcalloc(half, sizeof *factors);
    rotary_frequencies(r, half, inv_freq);
    const struct tensor *t = is_gguf(m->path) ? tensor_find(&m->gguf.tensors, "rope_freqs.weight") : NULL;
    int rc = 0;
    if (t && (t->type == DTYPE_COUNT || tensor_elements(t) != half)) {
        rc = err_set(err, "'%s': tensor 'rope_freqs.weight' does not have %zu numbers", m->path, half);
    } else if (t) {
        tensor_unpack(factors, t);
        for (size_t i = 0; i < half; i++)
            inv_freq[i] /= factors[i];
        m->odd_rope = !rotary_find_llama3(&m->config.rope, half, factors);
    }
    if (rc == 0)
        rc = rope_init(rope, inv_freq, c->head_dim, half, positions < MAX_POSITIONS ? positions : MAX_POSITIONS, r->amplitude, err);
    free(inv_freq);
    free(factors);
    return rc;
}

static int open_rope(struct model *m, struct err *err)
{
    return open_rotary(&m->rope, m, &m->config.rope, err) ||
                   (own_local_rope(&m->config) && open_rotary(&m->rope_local, m, &m->config.rope_local, err))
               ? -1 : 0;
}

json_t *model_token(const struct model *m, int32_t id)
{
    if (id < 0 || (size_t)id >= tokenizer_size(m->tokenizer))
        return NULL;
    struct buf text;
    buf_init(&text, 1 << 16);
    tokenizer_decode_more(m->tokenizer, &text, &id, 1, false);
    json_t *token = json_stringn(text.data, text.len);
    buf_release(&text);
    return token;
}

/* A special token as the chat template's variable. */
static void set_token(struct model *m, const char *name, int32_t id)
{
    json_t *token = model_token(m, id);
    if (token)
        chat_template_set(m->template, name, token);
}

static int open_text(struct model *m, const char *folder, struct err *err)
{
    struct err why = {""};
    if (folder || !is_gguf(m->path)) {
        const char *from = folder ? folder : m->path;
        char *json = path_join(from, "tokenizer.json");
        bool there = file_exists(json);
        free(json);
        if (!there && !folder) {
            snprintf(m->template_problem, sizeof m->template_problem, "'%.150s' has no tokenizer.json: give one with --tokenizer", from);
            return 0; /* commands on ids need none */
        }
        m->tokenizer = tokenizer_open(from, err);
        if (!m->tokenizer)
            return -1;
        m->text_from = xstrdup(from);
        m->template = chat_template_open(from, &why);
    } else if (!gguf_find(&m->gguf, "tokenizer.ggml.tokens")) {
        snprintf(m->template_problem, sizeof m->template_problem,
                 "'%.150s' has no vocabulary (tokenizer.ggml.tokens): give one with --tokenizer", m->path);
        return 0; /* as above */
    } else {
        struct gguf_text own = {0};
        if (gguf_text_open(&own, &m->gguf, m->config.bos, m->config.eos, err) > 0)
            m->tokenizer = tokenizer_from_parts(&own.parts, err);
        gguf_text_release(&own);
        if (!m->tokenizer)
            return -1;
        const char *text = NULL;
        size_t n = 0;
        if (gguf_str(&text, &n, &m->gguf, "tokenizer.chat_template", &why) > 0)
            m->template = chat_template_new(text, n, &why);
        else
            err_set(&why, "'%s' has no chat template", m->path);
        if (m->template) {
            set_token(m, "bos_token", m->config.bos);
            set_token(m, "eos_token", m->config.eos);
            set_token(m, "pad_token", m->config.pad);
        }
    }
    if (!m->template)
        snprintf(m->template_problem, sizeof m->template_problem, "%.250s", why.text);
    if (tokenizer_size(m->tokenizer) > m->config.vocab)
        return err_set(err, "'%s': the tokenizer has %zu tokens and the model only %zu: they do not belong together",
                       m->path, tokenizer_size(m->tokenizer), m->config.vocab);
    return 0;
}

int model_open(struct model *m, const char *path, const char *tokenizer, struct err *err)
{
    *m = (struct model){.path = xstrdup(path)};
    int rc;
    if (is_gguf(path)) {
        rc = gguf_open(&m->gguf, path, err);
        if (rc == 0)
            rc = config_from_gguf(&m->config, &m->gguf, err);
    } else if (!file_is_dir(path)) {
        rc = err_set(err, "'%s' is neither a folder with config.json nor a .gguf file", path);
    } else {
        rc = config_from_folder(&m->config, path, err);
        if (rc == 0)
            rc = safetensors_open(&m->tensors, path, err);
    }
    if (rc == 0)
        rc = open_weights(m, err);
    if (rc == 0)
        rc = open_rope(m, err);
    if (rc == 0)
        rc = open_text(m, tokenizer, err);
    if (rc)
        model_release(m);
    return rc;
}

void model_release(struct model *m)
{
    model_unpack(m);
    params_release(&m->params);
    tokenizer_free(m->tokenizer);
    chat_template_free(m->template);
    rope_release(&m->rope);
    rope_release(&m->rope_local);
    mem_block_free(m->vectors);
    mem_block_free(m->turned);
    free(m->layers);
    config_release(&m->config);
    gguf_release(&m->gguf);
    tensor_file_release(&m->tensors);
    free(m->text_from);
    free(m->path);
    *m = (struct model){0};
}

static size_t describe(struct model *m, const char *pattern, size_t l, size_t rows, size_t cols, bool turned)
{
    char *name = family_tensor_name(pattern, l);
    size_t offset = params_add(&m->params, name, rows, cols, rows == 1 ? 1 : 2, rows != 1);
    m->params.list[m->params.n_list - 1].turned = turned;
    free(name);
    return offset;
}

static void take(struct weight *w, float *to)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < w->out; i++)
        weight_row(w, i, to + i * w->in);
    *w = weight_of_floats(to, w->out, w->in);
}

static void take_vector(const float **v, float *to, size_t n)
{
    memcpy(to, *v, n * sizeof(float));
    *v = to;
}

int model_make_trainable(struct model *m, struct err *err)
{
    const struct config *c = &m->config;
    model_unpack(m);
    const struct family *f = c->family;
    bool own_output = m->output.data != m->embed.data;
    m->embed_at = describe(m, f->embed.hf, 0, c->vocab, c->width, false);
    if (m->position.out)
        m->position_at = describe(m, f->position.hf, 0, c->positions, c->width, false);
    for (size_t l = 0; l < c->layers; l++) {
        struct layer *layer = &m->layers[l];
        for (int k = 0; k < LINEAR_KINDS; k++)
            if (layer->linear[k].out)
                layer->linear_at[k] = describe(m, f->linear[k].hf, l, layer->linear[k].out, layer->linear[k].in, f->turned);
        for (int k = 0; k < VECTOR_KINDS; k++)
            if (layer->vector[k])
                layer->vector_at[k] = describe(m, f->vector[k].hf, l, 1, config_dimension(c, f->vector[k].n), false);
    }
    m->norm_at = describe(m, f->norm.hf, 0, 1, c->width, false);
    if (m->shift)
        m->shift_at = describe(m, f->shift.hf, 0, 1, c->width, false);
    m->output_at = own_output ? describe(m, f->output.hf, 0, c->vocab, c->width, false) : m->embed_at;
    if (params_allocate(&m->params, "a trainable copy of the weights", err))
        return -1;
    float *p = m->params.data;
    take(&m->embed, p + m->embed_at);
    if (m->position.out)
        take(&m->position, p + m->position_at);
    if (own_output)
        take(&m->output, p + m->output_at);
    else
        m->output = m->embed;
    for (size_t l = 0; l < c->layers; l++) {
        struct layer *layer = &m->layers[l];
        for (int k = 0; k < LINEAR_KINDS; k++)
            if (layer->linear[k].out)
                take(&layer->linear[k], p + layer->linear_at[k]);
        for (int k = 0; k < VECTOR_KINDS; k++)
            if (layer->vector[k])
                take_vector(&layer->vector[k], p + layer->vector_at[k], config_dimension(c, f->vector[k].n));
    }
    take_vector(&m->norm, p + m->norm_at, c->width);
    if (m->shift)
        take_vector(&m->shift, p + m->shift_at, c->width);
    m->trainable = true;
    return 0;
}

/* The matrices that are multiplied with, one after the other; NULL after the last.  Those of a kind that the family has not are empty. */
static struct weight *linear_layer(struct model *m, size_t i)
{
    size_t in_layers = m->layers ? m->config.layers * LINEAR_KINDS : 0;
    return i < in_layers ? &m->layers[i / LINEAR_KINDS].linear[i % LINEAR_KINDS] : i == in_layers ? &m->output : NULL;
}

int model_pack(struct model *m, struct err *err)
{
    ENSURE(!m->trainable); /* panels would be stale after a step */
    if (m->panels)
        return 0;
    size_t bytes = 0, at = 0;
    for (size_t i = 0; linear_layer(m, i); i++)
        bytes += linear_layer(m, i)->out ? weight_panel_bytes(linear_layer(m, i)) : 0;
    m->panels = mem_block(bytes, 1, "packed weights", err); /* one block, so that large pages fit */
    if (!m->panels)
        return -1;
    mem_large_pages(m->panels, bytes);
    for (size_t i = 0; linear_layer(m, i); i++) {
        struct weight *w = linear_layer(m, i);
        if (!w->out)
            continue;
        weight_pack(w, m->panels + at);
        at += weight_panel_bytes(w);
        tensor_forget(files(m), w->data, w->out * w->row_bytes); /* or the weights would be in memory twice */
    }
    return 0;
}

void model_unpack(struct model *m)
{
    for (size_t i = 0; linear_layer(m, i); i++)
        linear_layer(m, i)->panels = NULL;
    mem_block_free(m->panels);
    m->panels = NULL;
}

size_t model_stop_tokens(const struct model *m, int32_t out[4])
{
    size_t n = 0;
    if (m->template && m->tokenizer) {
        int id = tokenizer_id(m->tokenizer, chat_turn_end(m->template));
        if (id >= 0)
            out[n++] = id;
    }
    if (m->config.eos >= 0 && (n == 0 || out[0] != m->config.eos))
        out[n++] = m->config.eos;
    return n;
}

/* config.json, and the weights with their index, shards too. */
static int weights_or_config(const struct dirent *e)
{
    return !strcmp(e->d_name, "config.json") || strstr(e->d_name, ".safetensors") != NULL;
}

/* The file's own, or of a model in several files that of the list of theirs, whichever part is named. */
static int hash_gguf(char out[65], const char *path, struct err *err)
{
    struct gguf g;
    if (gguf_open(&g, path, err))
        return -1;
    struct buf all;
    buf_init(&all, 1 << 24);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < g.n_parts; i++) {
        char *part = gguf_part_path(&g, i);
        rc = file_sha256(out, part, err);
        if (rc == 0)
            buf_printf(&all, "%s\n", out);
        free(part);
    }
    if (rc == 0 && g.n_parts > 1)
        sha256_hex(out, all.data, all.len);
    buf_release(&all);
    gguf_release(&g);
    return rc;
}

int model_hash(const char *path, char out[65], struct err *err)
{
    if (!file_is_dir(path))
        return is_gguf(path) ? hash_gguf(out, path, err) : file_sha256(out, path, err);
    struct dirent **entries;
    int n = scandir(path, &entries, weights_or_config, alphasort), rc = 0;
    if (n < 0)
        return err_set(err, "cannot open the folder '%s'", path);
    struct buf all;
    buf_init(&all, 1 << 20);
    for (int i = 0; i < n; i++) {
        char *file = path_join(path, entries[i]->d_name), hash[65];
        if (rc == 0)
            rc = file_sha256(hash, file, err);
        if (rc == 0)
            buf_printf(&all, "%s %s\n", entries[i]->d_name, hash);
        free(file);
        free(entries[i]);
    }
    free(entries);
    if (rc == 0)
        sha256_hex(out, all.data, all.len);
    buf_release(&all);
    return rc;
}
