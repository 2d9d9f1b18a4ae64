#define _GNU_SOURCE
#include "model/model.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

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

/* The name of a tensor of layer l, in the file at hand. */
static char *tensor_name(const struct model *m, const char *hf, const char *gguf, size_t l)
{
    const char *pattern = is_gguf(m->path) ? gguf : hf;
    const char *at = strstr(pattern, "%zu");
    return at ? xasprintf("%.*s%zu%s", (int)(at - pattern), pattern, l, at + 3) : xstrdup(pattern);
}

static const struct tensor *need(const struct model *m, const char *hf, const char *gguf, size_t l, size_t rows,
                                 size_t cols, struct err *err)
{
    char *name = tensor_name(m, hf, gguf, l);
    const struct tensor *t = tensor_need(files(m), name, err);
    if (t) {
        bool fits = rows == 1 ? t->n_dims == 1 && t->shape[0] == cols
                              : t->n_dims == 2 && t->shape[0] == rows && t->shape[1] == cols;
        if (!fits && rows == 1)
            fits = t->n_dims == 2 && t->shape[0] == 1 && t->shape[1] == cols;
        if (!fits) {
            err_set(err, "'%s': tensor '%s' has the shape (%zu, %zu) where the configuration asks for (%zu, %zu): "
                         "config and weights do not belong together",
                    m->path, name, t->shape[0], t->shape[1], rows == 1 ? cols : rows, rows == 1 ? (size_t)1 : cols);
            t = NULL;
        }
    }
    free(name);
    return t;
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

static int open_norm(float *to, const struct model *m, const char *const names[2], size_t l, struct err *err)
{
    const struct tensor *t = need(m, names[0], names[1], l, 1, m->config.width, err);
    if (!t)
        return -1;
    tensor_unpack(to, t);
    return 0;
}

static int open_weights(struct model *m, struct err *err)
{
    const struct config *c = &m->config;
    const struct family *f = c->family;
    if (open_weight(&m->embed, m, f->embed[0], f->embed[1], 0, c->vocab, c->width, err))
        return -1;
    m->output = m->embed;
    /* A reward model's folder has no output projection: its score.weight stands in its place. */
    bool has_output = tensor_find(files(m), is_gguf(m->path) ? f->output[1] : f->output[0]) != NULL;
    const struct tensor *score = tensor_find(files(m), "score.weight");
    if (!c->tied && (has_output || !score) &&
        open_weight(&m->output, m, f->output[0], f->output[1], 0, c->vocab, c->width, err))
        return -1;
    m->norms = mem_block(2 * c->layers + 2, c->width * sizeof(float), "norms", err);
    if (!m->norms)
        return -1;
    m->layers = xcalloc(c->layers, sizeof *m->layers);
    float *norm = m->norms;
    for (size_t l = 0; l < c->layers; l++) {
        struct layer *layer = &m->layers[l];
        if (open_norm(norm, m, f->attention_norm, l, err) || open_norm(norm + c->width, m, f->ffn_norm, l, err))
            return -1;
        layer->attention_norm = norm;
        layer->ffn_norm = norm + c->width;
        norm += 2 * c->width;
        for (int k = 0; k < LINEAR_KINDS; k++) {
            const struct linear_row *row = &f->linear[k];
            if (open_weight(&layer->linear[k], m, row->hf, row->gguf, l, config_dimension(c, row->out),
                            config_dimension(c, row->in), err))
                return -1;
            if (row->rotary && is_gguf(m->path) && f->gguf_interleaved)
                layer->linear[k].interleaved = c->head_dim;
        }
    }
    if (open_norm(norm, m, f->norm, 0, err))
        return -1;
    m->norm = norm;
    if (score) {
        norm += c->width;
        if (!need(m, "score.weight", "score.weight", 0, 1, c->width, err))
            return -1;
        tensor_unpack(norm, score);
        m->score = norm;
    }
    return 0;
}

static int open_rope(struct model *m, struct err *err)
{
    const struct config *c = &m->config;
    size_t half = c->head_dim / 2;
    float *inv_freq = xcalloc(half, sizeof *inv_freq), *factors = xcalloc(half, sizeof *factors);
    config_rope_frequencies(c, inv_freq);
    const struct tensor *t = is_gguf(m->path) ? tensor_find(&m->gguf.tensors, "rope_freqs.weight") : NULL;
    int rc = 0;
    if (t && (t->type == DTYPE_COUNT || tensor_elements(t) != half)) {
        rc = err_set(err, "'%s': tensor 'rope_freqs.weight' does not have %zu numbers", m->path, half);
    } else if (t) {
        tensor_unpack(factors, t);
        for (size_t i = 0; i < half; i++)
            inv_freq[i] /= factors[i];
    }
    if (rc == 0)
        rc = rope_init(&m->rope, inv_freq, half, c->positions < MAX_POSITIONS ? c->positions : MAX_POSITIONS, err);
    free(inv_freq);
    free(factors);
    return rc;
}

/* A switch that the file may leave out: 1, 0, or -1 then. */
static int said(int *out, const struct gguf *g, const char *key, struct err *err)
{
    bool value;
    int rc = gguf_bool(&value, g, key, err);
    *out = rc > 0 ? value : -1;
    return rc < 0 ? -1 : 0;
}

/* An array of bytes, fresh for free(); NULL where there is none. */
static int byte_array(unsigned char **out, size_t *n, const struct gguf *g, const char *key, struct err *err)
{
    int32_t *numbers = NULL;
    *out = NULL;
    if (gguf_i32_array(&numbers, n, g, key, err) < 0)
        return -1;
    if (numbers) {
        *out = xmalloc(*n + 1);
        for (size_t i = 0; i < *n; i++)
            (*out)[i] = (unsigned char)numbers[i];
    }
    free(numbers);
    return 0;
}

static int tokenizer_from_gguf(struct model *m, struct err *err)
{
    const struct gguf *g = &m->gguf;
    struct tokenizer_parts p = {.bos = m->config.bos, .eos = m->config.eos};
    int32_t *types = NULL;
    float *scores = NULL;
    unsigned char *charsmap = NULL;
    size_t n_types = 0;
    uint32_t unk = (uint32_t)-1;
    const size_t *merge_lens;
    int rc = gguf_str_array(&p.tokens, &p.token_lens, &p.n_tokens, g, "tokenizer.ggml.tokens", err);
    if (rc > 0 && (gguf_str(&p.model, NULL, g, "tokenizer.ggml.model", err) < 0 ||
                   gguf_str(&p.pre, NULL, g, "tokenizer.ggml.pre", err) < 0 ||
                   gguf_i32_array(&types, &n_types, g, "tokenizer.ggml.token_type", err) < 0 ||
                   gguf_f32_array(&scores, &p.n_scores, g, "tokenizer.ggml.scores", err) < 0 ||
                   gguf_str_array(&p.merges, &merge_lens, &p.n_merges, g, "tokenizer.ggml.merges", err) < 0 ||
                   byte_array(&charsmap, &p.charsmap_len, g, "tokenizer.ggml.precompiled_charsmap", err) ||
                   gguf_u32(&unk, g, "tokenizer.ggml.unknown_token_id", err) < 0 ||
                   said(&p.add_bos, g, "tokenizer.ggml.add_bos_token", err) ||
                   said(&p.add_eos, g, "tokenizer.ggml.add_eos_token", err) ||
                   said(&p.add_space_prefix, g, "tokenizer.ggml.add_space_prefix", err) ||
                   said(&p.remove_extra_whitespaces, g, "tokenizer.ggml.remove_extra_whitespaces", err)))
        rc = -1;
    if (rc > 0 && n_types && n_types != p.n_tokens) {
        err_set(err, "'%s': %zu token types for %zu tokens", m->path, n_types, p.n_tokens);
        rc = -1;
    }
    if (rc > 0) {
        p.types = types;
        p.scores = scores;
        p.charsmap = charsmap;
        p.unk = unk == (uint32_t)-1 ? -1 : unk > INT32_MAX ? INT32_MAX : (int)unk;
        m->tokenizer = tokenizer_from_parts(&p, err);
        rc = m->tokenizer ? 1 : -1;
    }
    free(types);
    free(scores);
    free(charsmap);
    return rc > 0 ? 0 : -1;
}

/* A special token as the chat template's variable. */
static void set_token(struct model *m, const char *name, int32_t id)
{
    if (id < 0 || (size_t)id >= tokenizer_size(m->tokenizer))
        return;
    struct buf text;
    buf_init(&text, 1 << 16);
    tokenizer_decode_more(m->tokenizer, &text, &id, 1, false);
    chat_template_set(m->template, name, json_stringn(text.data, text.len));
    buf_release(&text);
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
        m->template = chat_template_open(from, &why);
    } else if (!gguf_find(&m->gguf, "tokenizer.ggml.tokens")) {
        snprintf(m->template_problem, sizeof m->template_problem,
                 "'%.150s' has no vocabulary (tokenizer.ggml.tokens): give one with --tokenizer", m->path);
        return 0; /* as above */
    } else {
        if (tokenizer_from_gguf(m, err))
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
    mem_block_free(m->norms);
    free(m->layers);
    config_release(&m->config);
    gguf_release(&m->gguf);
    tensor_file_release(&m->tensors);
    free(m->path);
    *m = (struct model){0};
}

static size_t describe(struct model *m, const char *pattern, size_t l, size_t rows, size_t cols)
{
    const char *at = strstr(pattern, "%zu");
    char *name = at ? xasprintf("%.*s%zu%s", (int)(at - pattern), pattern, l, at + 3) : xstrdup(pattern);
    size_t offset = params_add(&m->params, name, rows, cols, rows == 1 ? 1 : 2, rows != 1);
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

int model_make_trainable(struct model *m, struct err *err)
{
    const struct config *c = &m->config;
    model_unpack(m);
    const struct family *f = c->family;
    bool own_output = m->output.data != m->embed.data;
    m->embed_at = describe(m, f->embed[0], 0, c->vocab, c->width);
    for (size_t l = 0; l < c->layers; l++) {
        struct layer *layer = &m->layers[l];
        for (int k = 0; k < LINEAR_KINDS; k++)
            layer->linear_at[k] = describe(m, f->linear[k].hf, l, layer->linear[k].out, layer->linear[k].in);
        layer->attention_norm_at = describe(m, f->attention_norm[0], l, 1, c->width);
        layer->ffn_norm_at = describe(m, f->ffn_norm[0], l, 1, c->width);
    }
    m->norm_at = describe(m, f->norm[0], 0, 1, c->width);
    m->output_at = own_output ? describe(m, f->output[0], 0, c->vocab, c->width) : m->embed_at;
    if (params_allocate(&m->params, "a trainable copy of the weights", err))
        return -1;
    float *p = m->params.data;
    take(&m->embed, p + m->embed_at);
    if (own_output)
        take(&m->output, p + m->output_at);
    else
        m->output = m->embed;
    for (size_t l = 0; l < c->layers; l++) {
        struct layer *layer = &m->layers[l];
        for (int k = 0; k < LINEAR_KINDS; k++)
            take(&layer->linear[k], p + layer->linear_at[k]);
        memcpy(p + layer->attention_norm_at, layer->attention_norm, c->width * sizeof(float));
        memcpy(p + layer->ffn_norm_at, layer->ffn_norm, c->width * sizeof(float));
        layer->attention_norm = p + layer->attention_norm_at;
        layer->ffn_norm = p + layer->ffn_norm_at;
    }
    memcpy(p + m->norm_at, m->norm, c->width * sizeof(float));
    m->norm = p + m->norm_at;
    m->trainable = true;
    return 0;
}

/* The matrices that are multiplied with, one after the other; NULL after the last. */
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
        bytes += weight_panel_bytes(linear_layer(m, i));
    m->panels = mem_block(bytes, 1, "packed weights", err); /* one block, so that large pages fit */
    if (!m->panels)
        return -1;
    mem_large_pages(m->panels, bytes);
    for (size_t i = 0; linear_layer(m, i); i++) {
        struct weight *w = linear_layer(m, i);
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

int model_hash(const char *path, char out[65], struct err *err)
{
    if (!file_is_dir(path))
        return file_sha256(out, path, err);
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
