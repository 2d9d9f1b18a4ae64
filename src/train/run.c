#include "train/run.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "checkpoint/safetensors_out.h"
#include "kernel/kernel.h"
#include "model/safetensors.h"
#include "util/file.h"
#include "util/mem.h"

#define KEEP 2

/* What a run writes beside metrics.jsonl; --overwrite removes these and nothing else. */
static const char *const own_files[] = {"config.yaml", "manifest.json", "report.html", "reference.safetensors", "hone.json"};
static const char *const own_folders[] = {"checkpoints", "adapter", "model", "critic", "members", "pooled", "safe", "ema"};

static bool is_there(const char *dir, const char *name)
{
    char *p = path_join(dir, name);
    bool there = file_exists(p);
    free(p);
    return there;
}

/* The first thing in the folder that a run would write over, or NULL. */
static const char *what_is_there(const char *dir)
{
    if (is_there(dir, "metrics.jsonl"))
        return "metrics.jsonl";
    for (size_t i = 0; i < sizeof own_files / sizeof *own_files; i++)
        if (is_there(dir, own_files[i]))
            return own_files[i];
    for (size_t i = 0; i < sizeof own_folders / sizeof *own_folders; i++)
        if (is_there(dir, own_folders[i]))
            return own_folders[i];
    return NULL;
}

static int remove_file(const char *dir, const char *name, struct err *err)
{
    char *p = path_join(dir, name);
    int rc = unlink(p) && errno != ENOENT && errno != ENOTDIR
                 ? err_set(err, "cannot remove '%s': %s", p, strerror(errno)) : 0;
    free(p);
    return rc;
}

static int remove_folder(const char *dir, const char *name, struct err *err)
{
    char *p = path_join(dir, name);
    int rc = dir_remove(p, err);
    free(p);
    return rc;
}

/* In an order in which a kill leaves something that --resume starts over from, never half of the old run. */
static int remove_old(const struct run_folder *r, const char *dir, struct err *err)
{
    int rc = remove_file(dir, "checkpoints/latest", err);
    for (size_t i = 0; rc == 0 && i < sizeof own_folders / sizeof *own_folders; i++)
        rc = remove_folder(dir, own_folders[i], err);
    for (size_t i = 0; rc == 0 && i < sizeof own_files / sizeof *own_files; i++)
        rc = remove_file(dir, own_files[i], err);
    if (rc == 0 && ftruncate(fileno(r->metrics), 0))
        rc = err_set(err, "cannot empty '%s/metrics.jsonl': %s", dir, strerror(errno));
    return rc;
}

/* Is it one of our names with ".tmp-PID" or ".old-PID" behind it, which a kill in the midst of writing leaves? */
static bool is_leftover(const char *name)
{
    const char *end = strstr(name, ".tmp-");
    if (!end)
        end = strstr(name, ".old-");
    if (!end || !end[5] || end[5 + strspn(end + 5, "0123456789")])
        return false;
    size_t n = (size_t)(end - name);
    bool own = (n == 6 && !memcmp(name, "latest", 6)) || !strncmp(name, "step-", 5);
    for (size_t i = 0; i < sizeof own_files / sizeof *own_files; i++)
        own |= n == strlen(own_files[i]) && !memcmp(name, own_files[i], n);
    for (size_t i = 0; i < sizeof own_folders / sizeof *own_folders; i++)
        own |= n == strlen(own_folders[i]) && !memcmp(name, own_folders[i], n);
    return own;
}

static int sweep(const char *dir, struct err *err)
{
    int rc = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; rc == 0 && d && (e = readdir(d));) {
        if (!is_leftover(e->d_name))
            continue;
        char *p = path_join(dir, e->d_name);
        bool folder = file_is_dir(p);
        free(p);
        rc = folder ? remove_folder(dir, e->d_name, err) : remove_file(dir, e->d_name, err);
    }
    if (d)
        closedir(d);
    return rc;
}

/* The folder and metrics.jsonl come first, so that whatever else a run leaves stands beside it; it is locked as long as
 * the run lasts. */
static int open_metrics(struct run_folder *r, const char *dir, struct err *err)
{
    char *path = path_join(dir, "metrics.jsonl");
    int rc = dir_make(dir, err);
    if (rc == 0) {
        r->metrics = fopen(path, "r+");
        if (!r->metrics)
            r->metrics = fopen(path, "w+");
        if (!r->metrics)
            rc = err_set(err, "cannot write '%s': %s", path, strerror(errno));
    }
    if (rc == 0 && flock(fileno(r->metrics), LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        rc = err_set(err, "another program is writing to '%s': wait for it, or give another --output-dir", dir);
    free(path);
    return rc;
}

int run_open(struct run_folder *r, const char *dir, bool resume, bool overwrite, struct err *err)
{
    *r = (struct run_folder){0};
    const char *there = what_is_there(dir);
    resume = resume && is_there(dir, "metrics.jsonl");
    if (there && !resume && !overwrite)
        return err_set(err, "'%s' holds a run already (%s): give --resume to go on with it, --overwrite to replace it, or "
                            "another --output-dir", dir, there);
    char *checkpoints = path_join(dir, "checkpoints");
    int rc = open_metrics(r, dir, err);
    if (rc == 0 && !resume)
        rc = remove_old(r, dir, err);
    if (rc == 0)
        rc = dir_make(checkpoints, err);
    if (rc == 0)
        rc = sweep(dir, err);
    if (rc == 0)
        rc = sweep(checkpoints, err);
    free(checkpoints);
    if (rc) {
        run_close(r);
        return -1;
    }
    r->dir = xstrdup(dir);
    r->saves = json_array();
    return 0;
}

void run_close(struct run_folder *r)
{
    if (r->metrics)
        fclose(r->metrics);
    json_decref(r->saves);
    free(r->dir);
    *r = (struct run_folder){0};
}

int run_log(struct run_folder *r, const struct metrics *m, struct err *err)
{
    struct buf line;
    buf_init(&line, 1 << 20);
    metrics_json(m, &line);
    int rc = 0;
    if (fwrite(line.data, 1, line.len, r->metrics) != line.len || fflush(r->metrics))
        rc = err_set(err, "cannot write '%s/metrics.jsonl': %s: make room and go on with --resume", r->dir, strerror(errno));
    buf_release(&line);
    return rc;
}

int run_write(struct run_folder *r, const char *name, const char *text, size_t n, struct err *err)
{
    char *path = path_join(r->dir, name);
    int rc = file_write(path, text, n, err);
    free(path);
    return rc;
}

/* ---- checkpoints ---- */

static char *step_folder(const struct run_folder *r, size_t step)
{
    return xasprintf("%s/checkpoints/step-%zu", r->dir, step);
}

static int write_state(const char *folder, const struct optimizer *o, struct err *err)
{
    size_t n = 0, capacity = 0;
    for (size_t i = 0; i < o->n; i++)
        capacity += o->parts[i].params->n_list + 2;
    struct safetensors_tensor *list = xcalloc(capacity, sizeof *list);
    for (size_t i = 0; i < o->n; i++) {
        const struct part *p = &o->parts[i];
        for (size_t j = 0; j < p->params->n_list; j++) {
            const struct param *t = &p->params->list[j];
            list[n++] = (struct safetensors_tensor){.name = xasprintf("%s/%s", p->name, t->name), .type = DTYPE_F32,
                                                    .n_dims = t->n_dims, .shape = {t->shape[0], t->shape[1], 1, 1},
                                                    .data = p->params->data + t->offset};
        }
        const float *moments[2] = {p->m, p->v};
        for (int k = 0; p->grads && k < 2; k++)
            list[n++] = (struct safetensors_tensor){.name = xasprintf("%s.%s", p->name, k ? "v" : "m"), .type = DTYPE_F32,
                                                    .n_dims = 1, .shape = {p->params->n, 1, 1, 1}, .data = moments[k]};
    }
    char *path = path_join(folder, "state.safetensors");
    struct safetensors_note note = {"format", "pt"};
    int rc = safetensors_write(path, list, n, &note, 1, err);
    for (size_t i = 0; i < n; i++)
        free((char *)(uintptr_t)list[i].name);
    free(list);
    free(path);
    return rc;
}

/* Remove all checkpoints but the newest. */
static void prune(const struct run_folder *r, size_t newest)
{
    char *dir = path_join(r->dir, "checkpoints");
    DIR *d = opendir(dir);
    size_t steps[4096], n = 0;
    for (struct dirent *e; d && n < 4096 && (e = readdir(d));)
        if (sscanf(e->d_name, "step-%zu", &steps[n]) == 1 && !strchr(e->d_name, '.'))
            n++;
    if (d)
        closedir(d);
    for (size_t i = 0; i < n; i++) {
        size_t newer = 0;
        for (size_t j = 0; j < n; j++)
            newer += steps[j] > steps[i] && steps[j] <= newest;
        if (newer >= KEEP || steps[i] > newest) {
            struct err ignored;
            char *old = step_folder(r, steps[i]);
            dir_remove(old, &ignored);
            free(old);
        }
    }
    free(dir);
}

static int write_json(const char *folder, const char *name, const json_t *o, struct err *err)
{
    char *path = path_join(folder, name), *text = json_dumps(o, JSON_INDENT(2) | JSON_SORT_KEYS);
    int rc = text ? file_write(path, text, strlen(text), err) : err_set(err, "'%s' cannot be written as JSON", path);
    free(text);
    free(path);
    return rc;
}

int run_save(struct run_folder *r, size_t step, const struct optimizer *o, const json_t *extra, struct err *err)
{
    char *folder = step_folder(r, step), *temporary = xasprintf("%s.tmp-%ld", folder, (long)getpid());
    char *state = path_join(temporary, "state.safetensors"), hash[65];
    int rc = fsync(fileno(r->metrics)) && errno != EINVAL
                 ? err_set(err, "cannot write '%s/metrics.jsonl': %s", r->dir, strerror(errno)) : 0;
    if (rc == 0)
        rc = dir_make(temporary, err);
    if (rc == 0)
        rc = write_state(temporary, o, err);
    if (rc == 0)
        rc = file_sha256(hash, state, err);
    if (rc == 0) {
        json_t *about = json_pack("{s:I, s:I, s:I, s:s}", "step", (json_int_t)step, "optimizer_steps", (json_int_t)o->t,
                                  "metrics_bytes", (json_int_t)ftell(r->metrics), "state_sha256", hash);
        json_array_append_new(r->saves, json_pack("{s:I, s:s}", "step", (json_int_t)step, "state_sha256", hash));
        json_object_set(about, "saves", r->saves);
        if (extra)
            json_object_set(about, "extra", (json_t *)(uintptr_t)extra);
        rc = write_json(temporary, "state.json", about, err);
        json_decref(about);
    }
    if (rc == 0)
        rc = dir_replace(temporary, folder, err);
    if (rc == 0) {
        char *latest = xasprintf("%s/checkpoints/latest", r->dir), *name = xasprintf("step-%zu\n", step);
        rc = file_write(latest, name, strlen(name), err);
        free(latest);
        free(name);
    }
    if (rc == 0) {
        prune(r, step);
    } else {
        struct err ignored;
        dir_remove(temporary, &ignored);
        err_prefix(err, "the checkpoint after step %zu could not be saved (--resume goes on from the one before)", step);
    }
    free(state);
    free(temporary);
    free(folder);
    return rc;
}

static int read_block(float *to, size_t n, const struct tensor_file *f, const char *name, struct err *err)
{
    const struct tensor *t = tensor_need(f, name, err);
    if (!t)
        return -1;
    if (tensor_elements(t) != n)
        return err_set(err, "'%s': tensor '%s' has %zu numbers where this run has %zu: the checkpoint belongs to other "
                            "settings", f->path, name, tensor_elements(t), n);
    tensor_unpack(to, t);
    return 0;
}

static int read_state(const struct tensor_file *f, struct optimizer *o, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < o->n; i++) {
        struct part *p = &o->parts[i];
        for (size_t j = 0; rc == 0 && j < p->params->n_list; j++) {
            const struct param *t = &p->params->list[j];
            char *name = xasprintf("%s/%s", p->name, t->name);
            rc = read_block(p->params->data + t->offset, t->n, f, name, err);
            free(name);
        }
        float *moments[2] = {p->m, p->v};
        for (int k = 0; rc == 0 && p->grads && k < 2; k++) {
            char *name = xasprintf("%s.%s", p->name, k ? "v" : "m");
            rc = read_block(moments[k], p->params->n, f, name, err);
            free(name);
        }
    }
    return rc;
}

/* The folder that checkpoints/latest names, or NULL where there is none. */
static char *latest_folder(const struct run_folder *r)
{
    char *latest = xasprintf("%s/checkpoints/latest", r->dir), *folder = NULL;
    struct buf b;
    struct err ignored;
    buf_init(&b, 256);
    size_t step;
    if (file_exists(latest) && file_read(latest, &b, &ignored) == 0 && sscanf(b.data, "step-%zu", &step) == 1)
        folder = step_folder(r, step);
    buf_release(&b);
    free(latest);
    return folder;
}

int run_load(struct run_folder *r, size_t *step, struct optimizer *o, json_t **extra, struct err *err)
{
    *step = 0;
    *extra = NULL;
    char *folder = latest_folder(r);
    long cut = 0;
    int rc = 0;
    if (folder) {
        char *json = path_join(folder, "state.json"), *state = path_join(folder, "state.safetensors"), hash[65];
        json_error_t why;
        json_t *about = json_load_file(json, 0, &why);
        struct tensor_file f = {0};
        const char *want = json_string_value(json_object_get(about, "state_sha256"));
        if (!want)
            rc = err_set(err, "'%s' line %d: %s: remove '%s' to go on from an older checkpoint", json, why.line, why.text, folder);
        if (rc == 0)
            rc = file_sha256(hash, state, err);
        if (rc == 0 && strcmp(hash, want))
            rc = err_set(err, "'%s' is not what was saved (its hash differs): the disk has lost it", state);
        if (rc == 0)
            rc = safetensors_open(&f, state, err);
        if (rc == 0)
            rc = read_state(&f, o, err);
        if (rc == 0) {
            *step = (size_t)json_integer_value(json_object_get(about, "step"));
            o->t = (uint64_t)json_integer_value(json_object_get(about, "optimizer_steps"));
            cut = (long)json_integer_value(json_object_get(about, "metrics_bytes"));
            json_t *saves = json_object_get(about, "saves");
            if (json_is_array(saves)) {
                json_decref(r->saves);
                r->saves = json_deep_copy(saves);
            }
            *extra = json_incref(json_object_get(about, "extra"));
        }
        if (rc == 0)
            prune(r, *step); /* what a kill has kept from being removed */
        tensor_file_release(&f);
        json_decref(about);
        free(json);
        free(state);
        free(folder);
    }
    if (rc == 0 && (fflush(r->metrics) || ftruncate(fileno(r->metrics), cut) || fseek(r->metrics, cut, SEEK_SET)))
        rc = err_set(err, "cannot cut '%s/metrics.jsonl' back: %s", r->dir, strerror(errno));
    return rc;
}

int run_manifest(struct run_folder *r, const json_t *about, struct err *err)
{
    json_t *o = json_deep_copy(about);
    json_object_set_new(o, "version", json_string(HONE_VERSION));
    json_object_set_new(o, "instruction_set", json_string(kernel()->name));
    json_object_set(o, "saves", r->saves);
    int rc = write_json(r->dir, "manifest.json", o, err);
    json_decref(o);
    return rc;
}
