#include "hub/pull.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "hub/digest.h"
#include "util/file.h"
#include "util/mem.h"

#define RECORD "pull.json"

/* ---- pull.json ---- */

/* What a folder's says, or NULL where it has none that can be read. */
static json_t *record_read(const char *dir)
{
    char *path = path_join(dir, RECORD);
    json_t *o = json_load_file(path, 0, NULL);
    free(path);
    return o;
}

static const char *text_in(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

/* Beside the files that a GGUF's folder has already. */
static int record_write(const struct pull *p, const char *dir, struct err *err)
{
    json_t *o = p->gguf ? record_read(dir) : NULL;
    char *path = path_join(dir, RECORD);
    if (!json_is_object(o)) {
        json_decref(o);
        o = json_object();
    }
    for (size_t i = 0; i < p->list.n; i++) {
        const struct hub_file *f = &p->list.files[i];
        json_object_set_new(o, f->name,
                            json_pack("{s:s, s:s, s:s, s:s, s:I}", "model", p->config.model, "endpoint", p->config.http.endpoint, "commit",
                                      p->list.commit, "hash", f->hash, "size", (json_int_t)f->size));
    }
    char *text = json_dumps(o, JSON_INDENT(2) | JSON_SORT_KEYS);
    int rc = file_write(path, text, strlen(text), err);
    free(text);
    free(path);
    json_decref(o);
    return rc;
}

/* What was pulled into DIR as the list of what is to be there: without a network, that is all there is to know.  A folder's files go
 * before a GGUF, as on the hub. */
static int list_from_record(struct pull *p, struct err *err)
{
    const struct pull_config *c = &p->config;
    json_t *record = record_read(p->dir);
    const char *name, *file = c->file;
    const json_t *entry;
    size_t folder = 0, ggufs = 0;
    json_object_foreach(record, name, entry)
    {
        bool own = !strcmp(text_in(entry, "model"), c->model), gguf = listing_starts_gguf(name);
        folder += own && !listing_is_gguf(name);
        ggufs += own && gguf;
        if (own && gguf && !c->file)
            file = name;
    }
    if (!c->file && (folder || ggufs > 1))
        file = NULL;
    p->gguf = file != NULL;
    p->list.files = xcalloc(json_object_size(record) + 1, sizeof *p->list.files);
    json_object_foreach(record, name, entry)
    {
        struct hub_file *f = &p->list.files[p->list.n];
        if (strcmp(text_in(entry, "model"), c->model) || !digest_known(text_in(entry, "hash")) ||
            (file ? !listing_same_gguf(name, file) : listing_is_gguf(name)))
            continue;
        *f = (struct hub_file){.name = xstrdup(name), .size = (size_t)json_integer_value(json_object_get(entry, "size"))};
        p->list.n++;
        snprintf(f->hash, sizeof f->hash, "%s", text_in(entry, "hash"));
        snprintf(p->list.commit, sizeof p->list.commit, "%s", text_in(entry, "commit"));
    }
    json_decref(record);
    return p->list.n ? 0 : err_set(err, "'%s' is not in '%s', and nothing is fetched while HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set",
                                   c->file ? c->file : c->model, p->dir);
}

/* ---- what there is ---- */

int pull_open(struct pull *p, const struct pull_config *config, struct err *err)
{
    *p = (struct pull){.config = *config, .dir = xstrdup(config->dir), .lock = -1};
    for (size_t n = strlen(p->dir); n > 1 && p->dir[n - 1] == '/';)
        p->dir[--n] = 0;
    if (config->offline)
        return list_from_record(p, err);
    p->http = http_open(&config->http, err);
    if (!p->http || listing_get(&p->list, p->http, config->http.endpoint, config->model, config->revision, err))
        return -1;
    int kind = listing_choose(&p->list, config->model, config->file, err);
    p->gguf = kind > 0;
    return kind < 0 ? -1 : 0;
}

/* The first name in a folder that `keep` does not want; a fresh string or NULL. */
static char *stranger(const char *dir, bool (*keep)(const void *ctx, const char *name), const void *ctx)
{
    struct dirent **entries;
    int n = scandir(dir, &entries, NULL, alphasort);
    char *found = NULL;
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        if (!found && strcmp(name, ".") && strcmp(name, "..") && !keep(ctx, name))
            found = xstrdup(name);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    return found;
}

static bool keep_none(const void *ctx, const char *name)
{
    (void)ctx, (void)name;
    return false;
}

/* What may go when a folder is replaced: what was pulled as a part of it. */
static bool was_pulled(const void *ctx, const char *name)
{
    return !strcmp(name, RECORD) || (json_object_get(ctx, name) && !listing_is_gguf(name));
}

static bool is_wanted(const void *ctx, const char *name)
{
    const struct pull *p = ctx;
    for (size_t i = 0; i < p->list.n; i++)
        if (!strcmp(name, p->list.files[i].name))
            return true;
    return false;
}

/* The first other model that a folder's files were pulled from, or NULL. */
static const char *other_model(json_t *record, const char *model)
{
    const char *name;
    json_t *entry;
    json_object_foreach(record, name, entry)
        if (strcmp(text_in(entry, "model"), model))
            return text_in(entry, "model");
    return NULL;
}

/* DIR holds something, and file i of it is not what is to be there: may that be replaced? */
static int check_replace(const struct pull *p, size_t i, struct err *err)
{
    const struct pull_config *c = &p->config;
    const struct hub_file *f = &p->list.files[i];
    json_t *record = record_read(p->dir), *entry = json_object_get(record, f->name);
    const char *model = p->gguf ? NULL : other_model(record, c->model);
    char *lost = !p->gguf ? stranger(p->dir, was_pulled, record) : entry ? NULL : xstrdup(f->name);
    int rc = 0;
    if (lost)
        rc = err_set(err, "'%s' holds '%s', which would be lost: move it away, or give another --output-dir", p->dir, lost);
    else if (model)
        rc = err_set(err, "'%s' holds '%s': give another --output-dir", p->dir, model);
    else if (c->offline)
        rc = err_set(err, "'%s/%s' is damaged or missing, and nothing is fetched while HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set", p->dir,
                     f->name);
    else if (!c->overwrite && !strcmp(text_in(entry, "hash"), f->hash))
        rc = err_set(err, "'%s/%s' is damaged or missing: give --overwrite to fetch it again", p->dir, f->name);
    else if (!c->overwrite)
        rc = err_set(err, "'%s' holds another '%s' than the revision '%s' of '%s' has now (commit %.12s): give --overwrite to replace it, or "
                          "another --output-dir", p->dir, f->name, c->revision, c->model, p->list.commit);
    json_decref(record);
    free(lost);
    return rc;
}

static void tell(const struct pull *p, size_t done)
{
    p->config.http.watch->at(p->config.http.watch->ctx, done);
}

/* Is file i there and right in `dir`?  It is counted then.  1, 0, -1. */
static int is_right(struct pull *p, const char *dir, size_t i, struct err *err)
{
    const struct hub_file *f = &p->list.files[i];
    char *path = path_join(dir, f->name);
    int found = digest_matches(path, f->hash, f->size, p->config.http.watch, p->done, err);
    if (found > 0)
        p->done += f->size;
    tell(p, p->done);
    free(path);
    return found;
}

/* What of it is right in DIR; all of it: nothing is to be done.  A GGUF that is not there yet may join what is. */
static int check_in_place(struct pull *p, bool *right, struct err *err)
{
    char *any = stranger(p->dir, keep_none, NULL);
    size_t n = 0, wrong = p->list.n;
    bool empty = !any;
    free(any);
    if (file_exists(p->dir) && !file_is_dir(p->dir))
        return err_set(err, "'%s' is a file: give another --output-dir", p->dir);
    for (size_t i = 0; !empty && i < p->list.n; i++) {
        char *path = path_join(p->dir, p->list.files[i].name);
        int found = is_right(p, p->dir, i, err);
        bool joins = p->gguf && !p->config.offline && !file_exists(path);
        free(path);
        if (found < 0)
            return -1;
        right[i] = found;
        n += right[i];
        if (!found && !joins && wrong == p->list.n)
            wrong = i;
    }
    p->all_there = n == p->list.n;
    return wrong < p->list.n ? check_replace(p, wrong, err) : 0;
}

static int lock_work(struct pull *p, struct err *err)
{
    p->lock = open(p->work, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->lock < 0 || flock(p->lock, LOCK_EX | LOCK_NB))
        return err_set(err, "another program is fetching into '%s': wait for it, or give another --output-dir", p->dir);
    return 0;
}

/* Of file i, what an earlier attempt left: bytes that need no room any more.  -1 and a sentence. */
static int check_in_work(struct pull *p, size_t i, size_t *bytes, struct err *err)
{
    const struct hub_file *f = &p->list.files[i];
    int found = p->gguf ? 0 : is_right(p, p->work, i, err);
    p->there[i] = found > 0;
    if (found == 0) {
        struct stat st;
        char *part = xasprintf("%s/%s.part", p->work, f->name);
        *bytes = stat(part, &st) == 0 && S_ISREG(st.st_mode) && (size_t)st.st_size <= f->size ? (size_t)st.st_size : 0;
        free(part);
    } else {
        *bytes = f->size;
    }
    return found < 0 ? -1 : 0;
}

/* Where the folder is not there yet, the one that it will be made in says how much is free. */
static int check_room(const struct pull *p, size_t needed, struct err *err)
{
    char *dir = xstrdup(p->dir), *slash, size[2][BYTES_TEXT];
    struct statvfs fs;
    while (!file_exists(dir) && (slash = strrchr(dir, '/')))
        slash[slash == dir] = 0;
    const char *at = file_exists(dir) ? dir : ".";
    int rc = 0;
    if (statvfs(at, &fs) == 0 && fs.f_frsize && needed / fs.f_frsize >= fs.f_bavail && needed)
        rc = err_set(err, "'%s' needs %s, and only %s are free in '%s': make room, or give another --output-dir", p->config.model,
                     bytes_text(size[0], needed), bytes_text(size[1], (size_t)fs.f_bavail * fs.f_frsize), at);
    free(dir);
    return rc;
}

/* Files that are right in DIR need not come again: parts of a GGUF stay where they are; when a folder is replaced, they get a second name in
 * `work`, where that can be. */
static void take_over(struct pull *p, size_t i)
{
    p->there[i] = p->gguf;
    if (p->gguf)
        return;
    char *from = path_join(p->dir, p->list.files[i].name), *to = path_join(p->work, p->list.files[i].name);
    p->there[i] = (unlink(to) == 0 || errno == ENOENT) && link(from, to) == 0;
    if (!p->there[i])
        p->done -= p->list.files[i].size;
    free(from);
    free(to);
}

int pull_check(struct pull *p, struct err *err)
{
    bool *right = xcalloc(p->list.n + 1, sizeof *right);
    size_t needed = 0;
    int rc = 0;
    p->there = xcalloc(p->list.n + 1, sizeof *p->there);
    for (size_t i = 0; rc == 0 && i < p->list.n; i++)
        if (__builtin_add_overflow(p->total, p->list.files[i].size, &p->total))
            rc = err_set(err, "the sizes in the list of files come to more than any disk holds");
    if (rc == 0)
        rc = check_in_place(p, right, err);
    if (rc == 0 && !p->all_there) {
        p->work = p->gguf ? xstrdup(p->dir) : xasprintf("%s.part", p->dir);
        if (file_exists(p->work))
            rc = lock_work(p, err);
        for (size_t i = 0; rc == 0 && i < p->list.n; i++) {
            size_t bytes = p->list.files[i].size;
            if (!right[i])
                rc = check_in_work(p, i, &bytes, err);
            needed += p->list.files[i].size - bytes;
        }
        if (rc == 0)
            rc = check_room(p, needed, err);
        if (rc == 0 && p->lock < 0)
            rc = dir_make(p->work, err) || lock_work(p, err) ? -1 : 0;
        for (size_t i = 0; rc == 0 && i < p->list.n; i++)
            if (right[i])
                take_over(p, i);
    }
    free(right);
    return rc;
}

/* ---- one file ---- */

struct sink {
    const struct pull *p;
    const struct hub_file *f;
    const char *path; /* of the part */
    int fd;
    size_t at; /* bytes in it */
    struct digest digest;
};

static int cannot_write(const struct sink *s, struct err *err)
{
    return err_set(err, "cannot write '%s': %s: what is there stays, and the same command goes on from there", s->path, strerror(errno));
}

static int start(void *ctx, const struct http_answer *a, struct err *err)
{
    struct sink *s = ctx;
    if (a->content_hash[0] && strlen(a->content_hash) == strlen(s->f->hash) && strcmp(a->content_hash, s->f->hash))
        return err_set(err, "the hub gives it the hash %.12s.. now, and %.12s.. in the list of files", a->content_hash, s->f->hash);
    if (a->from == s->at)
        return 0;
    if (ftruncate(s->fd, 0) || lseek(s->fd, 0, SEEK_SET)) /* all of it comes again */
        return cannot_write(s, err);
    s->at = 0;
    digest_begin(&s->digest, s->f->hash, s->f->size);
    return 0;
}

static int take(void *ctx, const void *data, size_t n, struct err *err)
{
    struct sink *s = ctx;
    for (size_t done = 0; done < n;) {
        ssize_t some = write(s->fd, (const char *)data + done, n - done);
        if (some < 0 && errno == EINTR)
            continue;
        if (some < 0)
            return cannot_write(s, err);
        done += (size_t)some;
    }
    digest_add(&s->digest, data, n);
    s->at += n;
    tell(s->p, s->p->done + s->at);
    return 0;
}

/* The part that is there, if any, and what is missing of it. */
static int fetch(struct sink *s, size_t *before, struct err *err)
{
    const struct pull_config *c = &s->p->config;
    struct stat st;
    if (fstat(s->fd, &st) || ((size_t)st.st_size > s->f->size && (ftruncate(s->fd, 0) || (st.st_size = 0))))
        return cannot_write(s, err);
    *before = s->at = (size_t)st.st_size;
    digest_begin(&s->digest, s->f->hash, s->f->size);
    if (digest_file(&s->digest, s->fd, s->path, c->http.watch, s->p->done, err))
        return -1;
    if (s->at == s->f->size)
        return 0;
    char *name = http_escape(s->f->name, true);
    char *url = xasprintf("%s/%s/resolve/%s/%s", c->http.endpoint, c->model, s->p->list.commit, name);
    struct http_request r = {.url = url, .from = s->at, .size = s->f->size, .start = start, .write = take, .ctx = s};
    struct http_answer a;
    int rc = http_get(s->p->http, &r, &a, err);
    if (rc && (a.status == 401 || a.status == 403))
        listing_refused(&a, c->http.endpoint, c->model, c->revision, http_has_token(s->p->http), err);
    else if (rc)
        err_prefix(err, "'%s'", s->f->name);
    free(url);
    free(name);
    return rc;
}

/* 1: the part is whole and right; 0: it was whole, but not right, and is gone; -1 and a sentence. */
static int attempt(struct pull *p, const struct hub_file *f, const char *part, size_t *before, struct err *err)
{
    struct sink s = {.p = p, .f = f, .path = part};
    char hash[65];
    s.fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (s.fd < 0)
        return cannot_write(&s, err);
    int rc = fetch(&s, before, err);
    if (rc == 0 && fsync(s.fd))
        rc = cannot_write(&s, err);
    close(s.fd);
    if (rc && s.at == 0)
        unlink(part);
    if (rc)
        return rc;
    digest_end(&s.digest, hash);
    if (!strcmp(hash, f->hash))
        return 1;
    unlink(part);
    return 0;
}

int pull_file(struct pull *p, size_t i, struct err *err)
{
    const struct hub_file *f = &p->list.files[i];
    const struct hub_watch *watch = p->config.http.watch;
    if (p->there[i])
        return 0;
    char *path = path_join(p->work, f->name), *part = xasprintf("%s.part", path), *folder = xstrdup(path);
    *strrchr(folder, '/') = 0;
    size_t before = 0;
    int rc = dir_make(folder, err), found = 0;
    if (rc == 0)
        found = attempt(p, f, part, &before, err);
    if (rc == 0 && found == 0 && before) {
        watch->say(watch->ctx, "what was there of the file belongs to another one: from the beginning");
        found = attempt(p, f, part, &before, err);
    }
    if (rc == 0 && found == 0)
        rc = err_set(err, "'%s' came with another hash than the hub's list gives, %.12s..: it was deleted; try again, and if it stays so the "
                          "hub's copy is damaged, or something on the way changes it", f->name, f->hash);
    if (rc == 0 && found > 0 && rename(part, path))
        rc = err_set(err, "cannot write '%s': %s", path, strerror(errno));
    if (found < 0)
        rc = -1;
    if (rc == 0) {
        p->done += f->size;
        p->there[i] = true;
    }
    tell(p, p->done);
    free(path);
    free(part);
    free(folder);
    return rc;
}

/* ---- the end ---- */

/* What earlier commits left in the folder that is about to be the model's. */
static int sweep(const struct pull *p, struct err *err)
{
    int rc = 0;
    for (char *name; rc == 0 && (name = stranger(p->work, is_wanted, p)); free(name)) {
        char *path = path_join(p->work, name);
        if (file_is_dir(path))
            rc = dir_remove(path, err);
        else if (unlink(path))
            rc = err_set(err, "cannot remove '%s': %s", path, strerror(errno));
        free(path);
    }
    return rc;
}

int pull_finish(struct pull *p, struct err *err)
{
    if (!p->gguf && sweep(p, err))
        return -1;
    if (record_write(p, p->work, err))
        return -1;
    return p->gguf ? 0 : dir_replace(p->work, p->dir, err);
}

int pull_drop(struct pull *p, struct err *err)
{
    return p->gguf ? 0 : dir_remove(p->work, err);
}

char *pull_result(const struct pull *p)
{
    return p->gguf ? path_join(p->dir, p->list.files[0].name) : xstrdup(p->dir);
}

void pull_release(struct pull *p)
{
    if (p->lock >= 0) {
        rmdir(p->work); /* if nothing came into it */
        close(p->lock);
    }
    http_close(p->http);
    listing_release(&p->list);
    free(p->there);
    free(p->work);
    free(p->dir);
    *p = (struct pull){.lock = -1};
}
