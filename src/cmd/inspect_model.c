#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/inspect.h"
#include "cmd/load.h"
#include "model/safetensors.h"
#include "util/file.h"
#include "util/mem.h"

static void set_whole(json_t *o, const char *key, size_t x)
{
    json_object_set_new(o, key, json_integer((json_int_t)x));
}

void inspect_problem(json_t *report, const char *fmt, ...)
{
    char text[1200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_array_append_new(json_object_get(report, "problems"), inspect_text(text, strlen(text)));
}

json_t *inspect_text(const char *s, size_t n)
{
    struct buf quoted;
    buf_init(&quoted, SIZE_MAX / 2);
    buf_json_str(&quoted, s, n);
    json_t *v = json_loadb(quoted.data, quoted.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!v)
        BUG("a JSON string cannot be read back");
    buf_release(&quoted);
    return v;
}

/* The files of a model, before anything is asked of them. */
struct files {
    bool is_gguf;
    struct gguf gguf;
    struct tensor_file folder;
    const struct tensor_file *tensors;
};

static int files_open(struct files *f, const char *path, struct err *err)
{
    *f = (struct files){.is_gguf = !file_is_dir(path)};
    f->tensors = f->is_gguf ? &f->gguf.tensors : &f->folder;
    return f->is_gguf ? gguf_open(&f->gguf, path, err) : safetensors_open(&f->folder, path, err);
}

static void files_release(struct files *f)
{
    gguf_release(&f->gguf);
    tensor_file_release(&f->folder);
}

/* ---- tensors ---- */

/* A line for each type that weights are stored in. */
static json_t *type_table(const struct tensor_file *f, size_t *parameters, size_t *bytes)
{
    json_t *table = json_array();
    *parameters = *bytes = 0;
    for (size_t i = 0; i < f->n; i++) {
        const char *name = f->tensors[i].type_name;
        size_t tensors = 0, own = 0, own_bytes = 0;
        bool earlier = false;
        for (size_t k = 0; k < f->n; k++) {
            if (strcmp(f->tensors[k].type_name, name))
                continue;
            earlier |= k < i;
            tensors++;
            own += tensor_elements(&f->tensors[k]);
            own_bytes += f->tensors[k].bytes;
        }
        if (earlier)
            continue;
        *parameters += own;
        *bytes += own_bytes;
        bool supported = f->tensors[i].type != DTYPE_COUNT;
        json_array_append_new(table,
                              json_pack("{s:s, s:I, s:I, s:o, s:b}", "type", name, "tensors",
                                        (json_int_t)tensors, "parameters", (json_int_t)own, "bytes",
                                        own_bytes || supported ? json_integer((json_int_t)own_bytes) : json_null(),
                                        "supported", supported));
    }
    return table;
}

static bool all_finite(const struct tensor *t)
{
    enum { CHUNK = 1 << 15 }; /* whole blocks of every type */
    size_t n = tensor_elements(t);
    bool finite = true;
#pragma omp parallel for schedule(static) reduction(&& : finite)
    for (size_t at = 0; at < n; at += CHUNK) {
        size_t count = n - at < CHUNK ? n - at : CHUNK;
        float *x = xmalloc(CHUNK * sizeof *x);
        dtype_unpack(t->type, x, t->data, at, count);
        for (size_t i = 0; i < count; i++)
            finite = finite && isfinite(x[i]);
        free(x);
    }
    return finite;
}

static void check_tensors(json_t *report, const struct tensor_file *f, bool weights)
{
    enum { NAMED = 5 };
    size_t broken = 0;
    for (size_t i = 0; i < f->n; i++) {
        const struct tensor *t = &f->tensors[i];
        if (t->type == DTYPE_COUNT || !weights || all_finite(t))
            continue;
        if (++broken <= NAMED)
            inspect_problem(report,
                            "tensor '%s' holds a number that is not finite: get the file again",
                            t->name);
    }
    if (broken > NAMED)
        inspect_problem(report, "and %zu more tensors hold numbers that are not finite",
                        broken - NAMED);
}

/* ---- sizes ---- */

static json_t *sizes_of(const struct config *c)
{
    json_t *o = json_object();
    set_whole(o, "vocabulary", c->vocab);
    set_whole(o, "width", c->width);
    set_whole(o, "layers", c->layers);
    set_whole(o, "heads", c->heads);
    set_whole(o, "kv_heads", c->kv_heads);
    set_whole(o, "head_size", c->head_dim);
    if (c->rotary_dim != c->head_dim)
        set_whole(o, "rotated_of_a_head", c->rotary_dim);
    set_whole(o, "feed_forward", c->ffn);
    set_whole(o, "positions", c->positions);
    json_object_set_new(o, "tied_output", json_boolean(c->tied));
    size_t local = 0, plain = 0;
    for (size_t l = 0; l < c->layers; l++) {
        local += c->layer[l] & LAYER_LOCAL ? 1 : 0;
        plain += c->layer[l] & LAYER_NO_ROPE ? 1 : 0;
    }
    if (c->family->position.hf) {
        json_object_set_new(o, "learned_positions", json_true());
    } else {
        json_object_set_new(o, "rope_theta", json_real((double)c->rope.theta));
        if (local && c->family->local_theta > 0)
            json_object_set_new(o, "rope_theta_with_window", json_real((double)c->rope_local.theta));
        json_object_set_new(o, "rope_scaling", json_string(c->rope.scaling == ROPE_PLAIN ? "none" : rope_scaling_names[c->rope.scaling]));
    }
    if (plain && !c->family->position.hf)
        set_whole(o, "layers_without_rope", plain);
    if (local) {
        set_whole(o, "window", c->window);
        set_whole(o, "layers_with_window", local);
    }
    if (c->attention_cap > 0)
        json_object_set_new(o, "attention_cap", json_real((double)c->attention_cap));
    if (c->final_cap > 0)
        json_object_set_new(o, "logit_cap", json_real((double)c->final_cap));
    return o;
}

/* ---- tokens ---- */

static json_t *token_text(const struct tokenizer *t, int id)
{
    struct buf b;
    int32_t one = id;
    if (id < 0)
        return json_null();
    buf_init(&b, 4096);
    buf_printf(&b, "%d", id);
    if (t && (size_t)id < tokenizer_size(t)) {
        buf_str(&b, " ");
        tokenizer_decode_more(t, &b, &one, 1, false);
    }
    json_t *v = inspect_text(b.data, b.len);
    buf_release(&b);
    return v;
}

/* What a file says of a token: an id, a list of ids, a text, or {"content": text}. */
static json_t *token_in_json(const struct tokenizer *t, const json_t *v)
{
    if (json_is_object(v))
        v = json_object_get(v, "content");
    if (json_is_array(v)) {
        struct buf b;
        buf_init(&b, 4096);
        for (size_t i = 0; i < json_array_size(v); i++) {
            json_t *one = token_in_json(t, json_array_get(v, i));
            buf_printf(&b, "%s%s", i ? ", " : "",
                       json_is_string(one) ? json_string_value(one) : "?");
            json_decref(one);
        }
        json_t *all = inspect_text(b.data, b.len);
        buf_release(&b);
        return all;
    }
    if (json_is_string(v)) {
        int id = t ? tokenizer_id(t, json_string_value(v)) : -1;
        return id >= 0 ? token_text(t, id)
                       : json_sprintf("%s (not in the vocabulary)", json_string_value(v));
    }
    double id = json_number_value(v);
    return json_is_number(v) && id >= 0 && id <= INT32_MAX ? token_text(t, (int)id) : json_null();
}

static void add_source(json_t *table, const char *source, json_t *bos, json_t *eos)
{
    json_array_append_new(table,
                          json_pack("{s:s, s:o, s:o}", "source", source, "bos", bos, "eos", eos));
}

/* Where a beginning and an end of text are named. */
static json_t *token_sources(const struct model *m, const char *folder)
{
    static const char *const files[][3] = {
        {"config.json", "bos_token_id", "eos_token_id"},
        {"generation_config.json", "bos_token_id", "eos_token_id"},
        {"tokenizer_config.json", "bos_token", "eos_token"},
        {"special_tokens_map.json", "bos_token", "eos_token"}};
    const struct tokenizer *t = m->tokenizer;
    json_t *table = json_array();
    if (!folder)
        add_source(table, "tokenizer.ggml in the file", token_text(t, m->config.bos),
                   token_text(t, m->config.eos));
    for (size_t i = 0; folder && i < sizeof files / sizeof *files; i++) {
        char *path = path_join(folder, files[i][0]);
        /* model_max_length may be 10^30, which is no integer to jansson */
        json_t *o = file_exists(path) ? json_load_file(path, JSON_DECODE_INT_AS_REAL, NULL) : NULL;
        if (json_object_get(o, files[i][1]) || json_object_get(o, files[i][2]))
            add_source(table, files[i][0], token_in_json(t, json_object_get(o, files[i][1])),
                       token_in_json(t, json_object_get(o, files[i][2])));
        json_decref(o);
        free(path);
    }
    if (m->template)
        add_source(table, "the chat template", json_null(),
                   t ? token_text(t, tokenizer_id(t, chat_turn_end(m->template))) : json_null());
    return table;
}

static void add_text_side(json_t *report, const struct model *m, const char *folder)
{
    int32_t stop[4];
    size_t n = model_stop_tokens(m, stop);
    json_object_set_new(report, "tokenizer", m->tokenizer ? json_string(tokenizer_kind(m->tokenizer)) : json_null());
    json_object_set_new(report, "tokenizer_tokens", m->tokenizer ? json_integer((json_int_t)tokenizer_size(m->tokenizer)) : json_null());
    if (m->template) {
        const char *standard = chat_default_system(m->template), *prompt = chat_generation_prompt(m->template);
        json_object_set_new(
            report, "chat_template",
            json_pack("{s:o, s:s, s:o}", "generation_prompt",
                      prompt ? inspect_text(prompt, strlen(prompt)) : json_null(), "end_of_turn",
                      chat_turn_end(m->template), "default_system",
                      standard ? inspect_text(standard, strlen(standard)) : json_null()));
        if (chat_spans_problem(m->template))
            inspect_problem(report, "answers in conversations cannot be told from the rest: %s",
                            chat_spans_problem(m->template));
        else if (!*chat_turn_end(m->template))
            inspect_problem(report, "the chat template writes nothing at the end of an answer: a model "
                                    "trained with it learns no end");
        else if (m->tokenizer && tokenizer_id(m->tokenizer, chat_turn_end(m->template)) < 0)
            inspect_problem(report,
                            "the template's end of turn '%s' is no token of the vocabulary: "
                            "answers cannot be seen to end",
                            chat_turn_end(m->template));
    } else {
        json_object_set_new(report, "chat_template", json_null());
        inspect_problem(report, "no chat template: %s", m->template_problem);
    }
    json_object_set_new(report, "special_tokens", token_sources(m, folder));
    json_t *stops = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(stops, token_text(m->tokenizer, stop[i]));
    json_object_set_new(report, "generation_stops_at", stops);
    json_object_set_new(report, "plain_text_ends_with",
                        token_text(m->tokenizer, encode_options_of(m).eos));
    if (n == 0)
        inspect_problem(report, "there is no end token: answers always go on to --max-new-tokens");
}

/* ---- the whole ---- */

static void add_opened(json_t *report, const struct model *m, const char *folder)
{
    json_object_set_new(report, "family", json_string(m->config.family->name));
    json_object_set_new(report, "sizes", sizes_of(&m->config));
    json_object_set_new(report, "score_head", json_boolean(m->score != NULL));
    add_text_side(report, m, folder);
    if (m->rope.positions < m->config.positions)
        inspect_problem(report, "of its %zu positions only the first %zu are used",
                        m->config.positions, m->rope.positions);
}

json_t *inspect_model(const char *path, const struct inspect_options *o, struct err *err)
{
    struct files f;
    if (files_open(&f, path, err))
        return NULL;
    size_t parameters, bytes;
    json_t *problems = json_array(), *types = type_table(f.tensors, &parameters, &bytes);
    json_t *report =
        json_pack("{s:s, s:o}", "kind", "model", "path", inspect_text(path, strlen(path)));
    json_object_set(report, "problems", problems); /* moved to the end below */
    json_object_set_new(report, "format",
                        f.is_gguf ? json_sprintf("GGUF, version %u", (unsigned)f.gguf.version)
                                  : json_string("Hugging Face folder"));
    set_whole(report, "files", f.tensors->n_maps);
    set_whole(report, "parameters", parameters);
    set_whole(report, "bytes", bytes);
    json_object_set_new(report, "types", types);
    struct model m;
    struct err why;
    if (model_open(&m, path, o->tokenizer, &why)) {
        const char *architecture = NULL;
        if (f.is_gguf && gguf_str(&architecture, NULL, &f.gguf, "general.architecture", NULL) > 0)
            json_object_set_new(report, "family", inspect_text(architecture, strlen(architecture)));
        inspect_problem(report, "it cannot be used: %s", why.text);
    } else {
        add_opened(report, &m, f.is_gguf ? NULL : o->tokenizer ? o->tokenizer : path);
        model_release(&m);
    }
    if (f.tensors->stated_bytes && f.tensors->stated_bytes != bytes)
        inspect_problem(report, "the index says that the weights take %zu bytes, and they take %zu: is the folder downloaded whole?",
                        f.tensors->stated_bytes, bytes);
    check_tensors(report, f.tensors, o->weights);
    json_object_del(report, "problems");
    json_object_set_new(report, "problems", problems);
    files_release(&f);
    return report;
}
