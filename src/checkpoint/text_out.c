#include "checkpoint/text_out.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf_text.h"
#include "tokenizer/describe.h"
#include "tokenizer/json_out.h"
#include "util/file.h"

#define FILE_CEILING ((size_t)1 << 30)
#define TEMPLATE_CEILING ((size_t)1 << 20)

/* ---- into a GGUF ---- */

static void put_id(struct gguf_out *g, const char *key, int id)
{
    if (id >= 0)
        gguf_out_u32(g, key, (uint32_t)id);
}

static void put_text(struct gguf_out *g, const char *key, const char *s)
{
    gguf_out_str(g, key, s, strlen(s));
}

static void put_description(struct gguf_out *g, const struct model *m, const struct tokenizer_parts *p)
{
    int eos = p->eos >= 0 ? p->eos : m->config.eos, eot = m->template ? tokenizer_id(m->tokenizer, chat_turn_end(m->template)) : -1;
    put_text(g, "tokenizer.ggml.model", p->model);
    if (p->pre)
        put_text(g, "tokenizer.ggml.pre", p->pre);
    gguf_out_strings(g, "tokenizer.ggml.tokens", p->tokens, p->token_lens, p->n_tokens);
    gguf_out_numbers(g, "tokenizer.ggml.token_type", GGUF_I32, p->types, p->n_tokens);
    if (p->scores)
        gguf_out_numbers(g, "tokenizer.ggml.scores", GGUF_F32, p->scores, p->n_scores);
    if (p->merges)
        gguf_out_strings(g, "tokenizer.ggml.merges", p->merges, NULL, p->n_merges);
    put_id(g, "tokenizer.ggml.bos_token_id", p->bos >= 0 ? p->bos : m->config.bos);
    put_id(g, "tokenizer.ggml.eos_token_id", eos);
    put_id(g, "tokenizer.ggml.eot_token_id", eot != eos ? eot : -1);
    put_id(g, "tokenizer.ggml.unknown_token_id", p->unk);
    put_id(g, "tokenizer.ggml.padding_token_id", m->config.pad);
    gguf_out_bool(g, "tokenizer.ggml.add_bos_token", p->add_bos > 0);
    gguf_out_bool(g, "tokenizer.ggml.add_eos_token", p->add_eos > 0);
    if (p->add_space_prefix >= 0)
        gguf_out_bool(g, "tokenizer.ggml.add_space_prefix", p->add_space_prefix > 0);
}

static int describe(struct gguf_out *g, const struct model *m, struct err *err)
{
    struct description d;
    struct buf template;
    struct err why = {""};
    if (tokenizer_describe(&d, m->tokenizer, m->config.vocab, &why))
        return err_set(err, "the tokenizer of '%s' cannot be in a GGUF, which has no place for %s", m->text_from, why.text);
    put_description(g, m, &d.parts);
    description_release(&d);
    buf_init(&template, TEMPLATE_CEILING);
    int rc = chat_template_source(&template, m->text_from, err);
    if (rc > 0)
        gguf_out_str(g, "tokenizer.chat_template", template.data, template.len);
    buf_release(&template);
    return rc < 0 ? -1 : 0;
}

int text_to_gguf(struct gguf_out *g, const struct model *m, struct err *err)
{
    if (!m->tokenizer)
        put_text(g, "tokenizer.ggml.model", "no_vocab");
    if (m->text_from)
        return describe(g, m, err);
    for (size_t i = 0; m->tokenizer && i < m->gguf.n_values; i++)
        if (!strncmp(m->gguf.values[i].key, "tokenizer.", strlen("tokenizer.")))
            gguf_out_copy(g, &m->gguf.values[i]);
    return 0;
}

/* ---- into a folder ---- */

/* The file `from`, if it is there, under this name. */
static int copy_file(const char *from, const char *folder, const char *name, struct err *err)
{
    struct buf b;
    buf_init(&b, FILE_CEILING);
    int rc = file_exists(from) && (file_read(from, &b, err) || file_write_in(folder, name, b.data, b.len, err)) ? -1 : 0;
    buf_release(&b);
    return rc;
}

static int copy_from(const char *from_folder, const char *folder, const char *name, struct err *err)
{
    char *from = path_join(from_folder, name);
    int rc = copy_file(from, folder, name, err);
    free(from);
    return rc;
}

static int copy_all(const char *from, const char *folder, struct err *err)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
                                        "vocab.json",     "merges.txt",            "tokenizer.model"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (copy_from(from, folder, names[i], err))
            return -1;
    return 1;
}

/* Takes o over. */
static int write_json(const char *folder, const char *name, json_t *o, struct err *err)
{
    char *s = json_dumps(o, JSON_INDENT(2));
    int rc = file_write_in(folder, name, s, strlen(s), err);
    free(s);
    json_decref(o);
    return rc;
}

static json_t *tokenizer_config(const struct model *m, const struct tokenizer_parts *p)
{
    const struct {
        const char *name;
        int id;
    } named[] = {{"bos_token", p->bos}, {"eos_token", p->eos}, {"unk_token", p->unk}, {"pad_token", m->config.pad}};
    json_t *o = json_pack("{s:s, s:b, s:I}", "tokenizer_class", "PreTrainedTokenizerFast", "clean_up_tokenization_spaces", 0, "model_max_length",
                          (json_int_t)m->config.positions);
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        json_t *s = model_token(m, named[i].id);
        if (s)
            json_object_set_new(o, named[i].name, s);
    }
    return o;
}

static json_t *generation_config(const struct model *m)
{
    int32_t stop[4];
    size_t n = model_stop_tokens(m, stop);
    json_t *o = json_object(), *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_integer(stop[i]));
    if (m->config.bos >= 0)
        json_object_set_new(o, "bos_token_id", json_integer(m->config.bos));
    if (n)
        json_object_set(o, "eos_token_id", list);
    if (m->config.pad >= 0)
        json_object_set_new(o, "pad_token_id", json_integer(m->config.pad));
    json_decref(list);
    return o;
}

static int write_all(const struct model *m, const char *folder, struct err *err)
{
    struct gguf_text own;
    if (gguf_text_open(&own, &m->gguf, m->config.bos, m->config.eos, err) <= 0)
        return 0; /* it was read when the model was opened */
    char *json = tokenizer_parts_to_json(&own.parts, err);
    const char *template = NULL;
    size_t n = 0;
    int rc = json != NULL;
    if (json && (file_write_in(folder, "tokenizer.json", json, strlen(json), err) ||
                 write_json(folder, "tokenizer_config.json", tokenizer_config(m, &own.parts), err) ||
                 write_json(folder, "generation_config.json", generation_config(m), err) ||
                 (gguf_str(&template, &n, &m->gguf, "tokenizer.chat_template", NULL) > 0 &&
                  file_write_in(folder, "chat_template.jinja", template, n, err))))
        rc = -1;
    free(json);
    gguf_text_release(&own);
    return rc;
}

int text_to_folder(const struct model *m, const char *folder, struct err *err)
{
    const char *own = file_is_dir(m->path) ? m->path : NULL, *from = m->text_from ? m->text_from : own;
    if (own && copy_from(own, folder, "generation_config.json", err))
        return -1;
    if (!from)
        return m->tokenizer ? write_all(m, folder, err) : 0;
    if (file_is_dir(from))
        return copy_all(from, folder, err);
    return copy_file(from, folder, "tokenizer.json", err) ? -1 : 1; /* that by itself */
}
