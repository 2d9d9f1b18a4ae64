#include "cmd/load.h"

#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "hub/listing.h"
#include "hub/settings.h"
#include "reward/score.h"
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

/* The path of a base model, which an adapter may name as a hub does; NULL stays NULL.  Takes `name`. */
static char *find_base(char *name)
{
    char *path = name ? hub_find(name) : NULL;
    free(name);
    return path;
}

/* The only GGUF in a folder, or the first part of it: a fresh string, or NULL.  *n: how many there are. */
static char *only_gguf(const char *folder, size_t *n)
{
    DIR *d = opendir(folder);
    char *path = NULL;
    *n = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!listing_starts_gguf(e->d_name))
            continue;
        free(path);
        path = ++*n == 1 ? path_join(folder, e->d_name) : NULL;
    }
    if (d)
        closedir(d);
    return path;
}

static bool is_half_pulled(const char *path)
{
    size_t n = strlen(path);
    return n > 5 && !strcmp(path + n - 5, ".part");
}

static int not_there(const char *path, struct err *err)
{
    if (!hub_is_name(path))
        return err_set(err, "'%s' is not there: is the path right?", path);
    size_t owner = strcspn(path, "/"), n = owner + 1 + strcspn(path + owner + 1, "/@");
    return err_set(err, "'%s' is not there: is the path right? A model of that name on a hub comes with 'hone pull %.*s'", path, (int)n, path);
}

static int artefact_at(struct artefact *a, const char *path, struct err *err)
{
    size_t ggufs;
    *a = (struct artefact){0};
    if (!file_exists(path))
        return not_there(path, err);
    if (is_half_pulled(path))
        return err_set(err, "'%s' is not fetched to its end yet: give the same 'hone pull' again", path);
    if (!file_is_dir(path) || has(path, "config.json")) {
        a->model = xstrdup(path);
    } else if (has(path, "manifest.json") && has(path, "model")) {
        a->model = path_join(path, "model");
    } else if (has(path, "manifest.json") && has(path, "adapter")) {
        a->model = find_base(text_in_json(path, "manifest.json", "model", "path"));
        a->adapter = path_join(path, "adapter");
    } else if (has(path, "adapter_config.json")) {
        a->model = find_base(text_in_json(path, "adapter_config.json", "base_model_name_or_path", NULL));
        a->adapter = xstrdup(path);
    } else if (has(path, "manifest.json") && has(path, "members")) {
        return err_set(err, "'%s' is an ensemble of reward models: it can be named with --reward, its members ('%s/members/1') "
                            "anywhere", path, path);
    } else if (has(path, "metrics.jsonl")) {
        return err_set(err, "'%s' is a run that has not finished: go on with it (--resume) first", path);
    } else if ((a->model = only_gguf(path, &ggufs)) == NULL) {
        if (ggufs)
            return err_set(err, "'%s' holds %zu GGUF files: name one of them", path, ggufs);
        return err_set(err, "'%s' is no model: it has neither config.json, adapter_config.json nor a finished run's "
                            "manifest.json", path);
    }
    return 0;
}

int artefact_find(struct artefact *a, const char *name, struct err *err)
{
    char *path = hub_find(name);
    int rc = artefact_at(a, path, err);
    free(path);
    return rc;
}

void artefact_release(struct artefact *a)
{
    free(a->model);
    free(a->adapter);
    *a = (struct artefact){0};
}

/* What an ensemble's manifest says of its members: their seeds and the hashes of their results. */
static json_t *members_of(const char *path)
{
    char *manifest = path_join(path, "manifest.json");
    json_t *o = json_load_file(manifest, 0, NULL), *list = json_incref(json_object_get(o, "members"));
    json_decref(o);
    free(manifest);
    return list;
}

/* What stands beside a head decides about its scores, too. */
static int add_notes(struct buf *b, const char *folder, struct err *err)
{
    char hash[65], *notes = path_join(folder, "hone.json");
    int rc = file_is_dir(folder) && file_exists(notes) ? file_sha256(hash, notes, err) : (hash[0] = 0);
    buf_str(b, hash);
    free(notes);
    return rc;
}

int artefact_hash(char out[65], const char *name, struct err *err)
{
    struct artefact a = {0};
    struct buf b;
    char hash[65], *path = hub_find(name);
    json_t *members = file_is_dir(path) ? members_of(path) : NULL;
    buf_init(&b, 1 << 20);
    int rc = members ? 0 : artefact_find(&a, path, err);
    if (members) {
        char *text = json_dumps(members, JSON_COMPACT | JSON_SORT_KEYS);
        buf_str(&b, text);
        free(text);
    }
    if (rc == 0)
        rc = add_notes(&b, a.adapter ? a.adapter : path, err);
    if (rc == 0 && a.adapter) {
        char *weights = path_join(a.adapter, "adapter_model.safetensors");
        rc = file_sha256(hash, weights, err);
        buf_str(&b, hash);
        free(weights);
    } else if (rc == 0 && a.model) {
        rc = model_hash(a.model, hash, err);
        buf_str(&b, hash);
    }
    sha256_hex(out, b.data, b.len);
    json_decref(members);
    artefact_release(&a);
    buf_release(&b);
    free(path);
    return rc;
}

int artefact_take_adapter(struct artefact *a, const char *adapter, struct err *err)
{
    struct artefact b;
    int rc = artefact_find(&b, adapter, err);
    if (rc == 0 && !b.adapter)
        rc = err_set(err, "'%s' is no adapter: give a folder with adapter_config.json, or a run's", adapter);
    if (rc == 0 && a->adapter)
        rc = err_set(err, "'%s' has an adapter of its own: another one can only be given with a base model", a->adapter);
    if (rc == 0) {
        a->adapter = b.adapter;
        b.adapter = NULL;
    }
    artefact_release(&b);
    return rc;
}

int load_net(struct loaded *l, const char *model, const char *adapter, const char *tokenizer, struct err *err)
{
    *l = (struct loaded){0};
    struct artefact a;
    int rc = artefact_find(&a, model, err);
    if (rc == 0 && !a.model)
        rc = err_set(err, "'%s' does not say which model it belongs to: name it with --model, and this with --adapter", model);
    if (rc == 0 && adapter)
        rc = artefact_take_adapter(&a, adapter, err);
    if (rc == 0 && hub_is_name(a.model) && !file_exists(a.model))
        rc = not_there(a.model, err);
    if (rc == 0)
        rc = model_open(&l->model, a.model, tokenizer, err);
    if (rc == 0) {
        l->model_path = xstrdup(a.model);
        l->net.model = &l->model;
        if (a.adapter) {
            l->adapter_path = xstrdup(a.adapter);
            rc = adapter_open(&l->adapter, &l->model, a.adapter, err);
            l->net.adapter = &l->adapter;
        }
        if (rc)
            loaded_release(l);
    }
    artefact_release(&a);
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
        r->head.step_tokenizer = base->model.tokenizer;
        if (rc == 0 && head_has_style(&r->head) && !r->net.model->tokenizer)
            rc = err_set(err, "'%s' takes the style of answers off their scores, for which it reads them as text, but '%s' has no "
                              "tokenizer: name one with --tokenizer", path, r->net.model->path);
        found = rc == 0 && file_is_dir(folder) ? ood_open(&r->ood, r->net.model->config.width, folder, err) : 0;
        rc = found < 0 ? -1 : rc;
        r->net.ood = found > 0 ? &r->ood : NULL;
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
    ood_release(&r->ood);
    if (r->own) {
        model_release(r->own);
        free(r->own);
    }
    free(r->path);
    *r = (struct reward_model){0};
}

/* The members that an ensemble's manifest lists, as fresh paths, or *n 0 where `path` is none. */
static int find_members(char ***members, size_t *n, const char *path, struct err *err)
{
    *members = NULL;
    *n = 0;
    if (!has(path, "manifest.json") || !has(path, "members"))
        return 0;
    json_t *list = members_of(path);
    *members = xcalloc(json_array_size(list) + 1, sizeof **members);
    for (; *n < json_array_size(list); ++*n) {
        const char *name = json_string_value(json_object_get(json_array_get(list, *n), "path"));
        (*members)[*n] = path_join(path, name ? name : "?");
    }
    json_decref(list);
    return *n ? 0 : err_set(err, "'%s/manifest.json' lists no members: it is not what 'hone reward' wrote", path);
}

int load_rewards(struct rewards *r, const char *const *paths, size_t n_paths, const struct loaded *base, struct err *err)
{
    *r = (struct rewards){0};
    char **names = NULL;
    size_t n_names = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n_paths; i++) {
        char **members;
        size_t n;
        rc = find_members(&members, &n, paths[i], err);
        names = xreallocarray(names, n_names + n + 1, sizeof *names);
        for (size_t k = 0; k < n; k++)
            names[n_names++] = members[k];
        if (n == 0)
            names[n_names++] = xstrdup(paths[i]);
        free(members);
        struct head_notes notes = {0};
        if (rc == 0 && n && n_paths == 1) {
            rc = head_notes_read(&notes, paths[i], err);
            r->calibrator = notes.calibrator;
        }
    }
    r->list = xcalloc(n_names + 1, sizeof *r->list); /* they point into themselves, so they stay where they are */
    r->nets = xcalloc(n_names + 1, sizeof *r->nets);
    for (; rc == 0 && r->n < n_names; r->n++) {
        rc = load_reward(&r->list[r->n], names[r->n], base, err);
        if (rc)
            break;
        r->nets[r->n] = &r->list[r->n].net;
    }
    if (rc == 0 && n_paths == 1 && n_names == 1)
        r->calibrator = r->list[0].notes.calibrator;
    for (size_t i = 0; i < n_names; i++)
        free(names[i]);
    free(names);
    if (rc)
        rewards_release(r);
    return rc;
}

void rewards_release(struct rewards *r)
{
    for (size_t i = 0; i < r->n; i++)
        reward_model_release(&r->list[i]);
    free(r->list);
    free(r->nets);
    *r = (struct rewards){0};
}

struct encode_options encode_options_of(const struct model *m)
{
    int eos = m->tokenizer ? tokenizer_eos(m->tokenizer) : -1;
    return (struct encode_options){.tokenizer = m->tokenizer, .chat = m->template, .chat_problem = m->template_problem,
                                   .eos = eos >= 0 ? eos : m->config.eos, .vocab = m->config.vocab};
}
