#include "cmd/load.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "util/file.h"
#include "util/mem.h"

static bool has(const char *folder, const char *name)
{
    char *p = path_join(folder, name);
    bool there = file_exists(p);
    free(p);
    return there;
}

static char *text_in_json(const char *folder, const char *name, const char *key1, const char *key2)
{
    char *path = path_join(folder, name);
    json_t *o = json_load_file(path, 0, NULL), *v = json_object_get(o, key1);
    if (key2)
        v = json_object_get(v, key2);
    char *text = json_is_string(v) ? xstrdup(json_string_value(v)) : NULL;
    json_decref(o);
    free(path);
    return text;
}

int artefact_find(struct artefact *a, const char *path, struct err *err)
{
    *a = (struct artefact){0};
    if (!file_exists(path))
        return err_set(err, "'%s' is not there: is the path right?", path);
    if (!file_is_dir(path) || has(path, "config.json")) {
        a->model = xstrdup(path);
    } else if (has(path, "manifest.json") && has(path, "model")) {
        a->model = path_join(path, "model");
    } else if (has(path, "manifest.json") && has(path, "adapter")) {
        a->model = text_in_json(path, "manifest.json", "model", "path");
        a->adapter = path_join(path, "adapter");
    } else if (has(path, "adapter_config.json")) {
        a->model = text_in_json(path, "adapter_config.json", "base_model_name_or_path", NULL);
        a->adapter = xstrdup(path);
    } else if (has(path, "metrics.jsonl")) {
        return err_set(err, "'%s' is a run that has not finished: go on with it (--resume) first", path);
    } else {
        return err_set(err, "'%s' is no model: it has neither config.json, adapter_config.json nor a finished run's "
                            "manifest.json", path);
    }
    return 0;
}

void artefact_release(struct artefact *a)
{
    free(a->model);
    free(a->adapter);
    *a = (struct artefact){0};
}

int load_net(struct loaded *l, const char *model, const char *adapter, const char *tokenizer, struct err *err)
{
    *l = (struct loaded){0};
    struct artefact a, b = {0};
    int rc = artefact_find(&a, model, err);
    if (rc == 0 && !a.model)
        rc = err_set(err, "'%s' does not say which model it belongs to: name it with --model, and this with --adapter", model);
    if (rc == 0 && adapter) {
        rc = artefact_find(&b, adapter, err);
        if (rc == 0 && !b.adapter)
            rc = err_set(err, "'%s' is no adapter: give a folder with adapter_config.json, or a run's", adapter);
        if (rc == 0 && a.adapter)
            rc = err_set(err, "'%s' has an adapter of its own: --adapter can only be given with a base model", model);
    }
    if (rc == 0)
        rc = model_open(&l->model, a.model, tokenizer, err);
    if (rc == 0) {
        const char *path = adapter ? b.adapter : a.adapter;
        l->model_path = xstrdup(a.model);
        l->net.model = &l->model;
        if (path) {
            l->adapter_path = xstrdup(path);
            rc = adapter_open(&l->adapter, &l->model, path, err);
            l->net.adapter = &l->adapter;
        }
        if (rc)
            loaded_release(l);
    }
    artefact_release(&a);
    artefact_release(&b);
    return rc;
}

void loaded_release(struct loaded *l)
{
    adapter_release(&l->adapter);
    if (l->model.path)
        model_release(&l->model);
    free(l->model_path);
    free(l->adapter_path);
    *l = (struct loaded){0};
}

int load_reward(struct reward_model *r, const char *path, const struct loaded *base, struct err *err)
{
    *r = (struct reward_model){0};
    struct artefact a;
    if (artefact_find(&a, path, err)) {
        artefact_release(&a);
        return -1;
    }
    int rc = 0;
    bool shares = a.adapter && (!a.model || !strcmp(a.model, base->model_path));
    if (a.adapter && !shares && !file_exists(a.model))
        shares = true; /* the base has moved; the shapes are checked when the adapter is read */
    r->path = xstrdup(path);
    r->net.model = &base->model;
    if (!shares) {
        struct model *own = xcalloc(1, sizeof *own);
        rc = model_open(own, a.model, NULL, err);
        if (rc)
            free(own);
        else
            r->net.model = r->own = own;
    }
    if (rc == 0 && r->own && r->own->config.vocab != base->model.config.vocab)
        rc = err_set(err, "'%s' has a vocabulary of %zu and the model one of %zu: a reward model reads the same tokens", path,
                     r->own->config.vocab, base->model.config.vocab);
    if (rc == 0 && a.adapter) {
        rc = adapter_open(&r->adapter, r->net.model, a.adapter, err);
        r->net.adapter = &r->adapter;
    }
    if (rc == 0) {
        const char *folder = a.adapter ? a.adapter : a.model;
        int found = file_is_dir(folder) ? head_open(&r->head, r->net.model->config.width, folder, &r->notes, err) : 0;
        if (found == 0)
            err_set(err, "'%s' has no head (score.weight): it is no reward model", path);
        rc = found > 0 ? 0 : -1;
        r->net.head = &r->head;
    }
    artefact_release(&a);
    if (rc)
        reward_model_release(r);
    return rc;
}

void reward_model_release(struct reward_model *r)
{
    adapter_release(&r->adapter);
    head_release(&r->head);
    if (r->own) {
        model_release(r->own);
        free(r->own);
    }
    free(r->path);
    *r = (struct reward_model){0};
}

struct encode_options encode_options_of(const struct model *m)
{
    int eos = m->tokenizer ? tokenizer_eos(m->tokenizer) : -1;
    return (struct encode_options){.tokenizer = m->tokenizer, .chat = m->template, .chat_problem = m->template_problem,
                                   .eos = eos >= 0 ? eos : m->config.eos, .vocab = m->config.vocab};
}
