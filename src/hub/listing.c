#include "hub/listing.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/digest.h"
#include "util/buf.h"
#include "util/mem.h"

#define LONGEST_NAME 512

/* What hone reads beside weights, in the order in which it is fetched. */
static const char *const read_files[] = {
    "config.json", "adapter_config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja",
    "chat_template.json", "hone.json", "ood.safetensors", "model.safetensors.index.json",
};

/* ---- reading ---- */

/* Does it stay in the folder: parts with names between single slashes, none of them "." or ".."? */
static bool name_is_safe(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > LONGEST_NAME)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f || name[i] == '\\')
            return false;
    for (const char *at = name;; at++) {
        size_t part = strcspn(at, "/");
        if (part == 0 || part > 250 || (part == 1 && at[0] == '.') || (part == 2 && at[0] == '.' && at[1] == '.'))
            return false;
        at += part;
        if (*at == 0)
            return true;
    }
}

static size_t size_in(const json_t *o)
{
    const json_t *size = json_object_get(o, "size");
    return json_is_integer(size) && json_integer_value(size) >= 0 ? (size_t)json_integer_value(size) : SIZE_MAX;
}

static int read_file(struct hub_file *f, const json_t *o, struct err *err)
{
    const json_t *name = json_object_get(o, "rfilename"), *lfs = json_object_get(o, "lfs");
    const char *text = json_string_value(name);
    if (!text)
        return err_set(err, "the list of files has an entry without a name (rfilename)");
    if (strlen(text) != json_string_length(name) || !name_is_safe(text)) {
        char shown[100];
        snprintf(shown, sizeof shown, "%s", text);
        for (char *c = shown; *c; c++)
            *c = (unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c;
        return err_set(err, "the list of files has the name '%s', which is not one of a file in the model's folder: nothing is taken from it",
                       shown);
    }
    const char *hash = json_string_value(json_object_get(o, "blobId"));
    *f = (struct hub_file){.name = xstrdup(text), .size = size_in(o)};
    if (json_is_object(lfs)) {
        hash = json_string_value(json_object_get(lfs, "sha256"));
        if (size_in(lfs) != SIZE_MAX)
            f->size = size_in(lfs);
    }
    if (hash && digest_known(hash))
        snprintf(f->hash, sizeof f->hash, "%s", hash);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_twice(const struct hub_listing *l, struct err *err)
{
    const char **names = xcalloc(l->n + 1, sizeof *names);
    int rc = 0;
    for (size_t i = 0; i < l->n; i++)
        names[i] = l->files[i].name;
    qsort(names, l->n, sizeof *names, by_name);
    for (size_t i = 1; rc == 0 && i < l->n; i++)
        if (!strcmp(names[i - 1], names[i]))
            rc = err_set(err, "the list of files has '%.100s' twice", names[i]);
    free(names);
    return rc;
}

int listing_parse(struct hub_listing *l, const char *json, size_t n, struct err *err)
{
    json_error_t why;
    json_t *o = json_loadb(json, n, 0, &why);
    const json_t *list = json_object_get(o, "siblings");
    const char *commit = json_string_value(json_object_get(o, "sha"));
    int rc = 0;
    *l = (struct hub_listing){0};
    if (!o)
        rc = err_set(err, "the list of files is not JSON (line %d: %.100s): is this the address of a model hub?", why.line, why.text);
    else if (!commit || !digest_known(commit) || !json_is_array(list))
        rc = err_set(err, "the list of files has no \"%s\": is this the address of a model hub?", json_is_array(list) ? "sha" : "siblings");
    if (rc == 0) {
        snprintf(l->commit, sizeof l->commit, "%s", commit);
        l->files = xcalloc(json_array_size(list) + 1, sizeof *l->files);
        for (size_t i = 0; rc == 0 && i < json_array_size(list); i++) {
            rc = read_file(&l->files[l->n], json_array_get(list, i), err);
            l->n += rc == 0;
        }
    }
    if (rc == 0)
        rc = check_twice(l, err);
    json_decref(o);
    if (rc)
        listing_release(l);
    return rc;
}

void listing_release(struct hub_listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->files[i].name);
    free(l->files);
    *l = (struct hub_listing){0};
}

/* ---- asking ---- */

static int start(void *ctx, const struct http_answer *a, struct err *err)
{
    (void)a, (void)err;
    buf_clear(ctx);
    return 0;
}

static int take(void *ctx, const void *data, size_t n, struct err *err)
{
    struct buf *b = ctx;
    buf_add(b, data, n);
    return b->overflow ? err_set(err, "the list of files is longer than the %zu bytes that are read of one", b->ceiling) : 0;
}

void listing_refused(const struct http_answer *a, const char *endpoint, const char *model, const char *revision, bool token,
                     struct err *err)
{
    const char *code = a->error_code;
    bool unauthorised = a->status == 401, forbidden = a->status == 403;
    bool wrong_token = unauthorised && token && (!strncmp(a->error_message, "Invalid", 7) || !code[0]);
    if (!unauthorised && !forbidden && a->status != 404)
        return;
    if (!strcmp(code, "GatedRepo") && token)
        err_set(err, "'%s' is gated, and the token gives no access to it yet: accept its licence at %s/%s, with the account that the token "
                     "belongs to", model, endpoint, model);
    else if (!strcmp(code, "GatedRepo"))
        err_set(err, "'%s' is gated: accept its licence at %s/%s, and give a token of the account that did in HF_TOKEN", model, endpoint,
                model);
    else if (wrong_token)
        err_set(err, "the hub does not know the token: is it right, and not expired (HF_TOKEN, HF_TOKEN_PATH)?");
    else if (!strcmp(code, "RevisionNotFound"))
        err_set(err, "'%s' has no revision '%s': give a branch, a tag or a commit with --revision", model, revision);
    else if (unauthorised && !token)
        err_set(err, "the hub shows no '%s': either there is no such model (is the name right?), or it is private: then give a token in "
                     "HF_TOKEN", model);
    else if (forbidden)
        err_set(err, "the hub refuses '%s'%s%s: is the token allowed to read it?", model, a->error_message[0] ? ": " : "", a->error_message);
    else if (strcmp(code, "EntryNotFound"))
        err_set(err, "the hub has no model '%s' (revision '%s'), or none that the token may see: is the name right?", model, revision);
}

int listing_get(struct hub_listing *l, struct http *h, const char *endpoint, const char *model, const char *revision, struct err *err)
{
    char *escaped = http_escape(revision, false);
    char *url = xasprintf("%s/api/models/%s/revision/%s?blobs=true", endpoint, model, escaped);
    struct buf b;
    struct http_request r = {.url = url, .size = SIZE_MAX, .start = start, .write = take, .ctx = &b};
    struct http_answer a;
    buf_init(&b, LISTING_MOST);
    *l = (struct hub_listing){0};
    int rc = http_get(h, &r, &a, err);
    if (rc)
        listing_refused(&a, endpoint, model, revision, http_has_token(h), err);
    else
        rc = listing_parse(l, b.data, b.len, err);
    buf_release(&b);
    free(url);
    free(escaped);
    return rc;
}

/* ---- choosing ---- */

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n > m && !strcmp(name + n - m, end);
}

/* Is it part K of N, PREFIX-0000K-of-0000N.ENDING? */
static bool is_part(const char *name, const char *prefix, const char *ending, size_t *k, size_t *n)
{
    size_t length = strlen(name), tail = strlen("-00001-of-00002") + strlen(ending);
    if (length <= tail || !ends_with(name, ending) || (prefix && strncmp(name, prefix, strlen(prefix))) ||
        (prefix && length != strlen(prefix) + tail))
        return false;
    int used = 0;
    const char *at = name + length - tail;
    return sscanf(at, "-%5zu-of-%5zu%n", k, n, &used) == 2 && !strcmp(at + used, ending) && *k >= 1 && *k <= *n;
}

bool listing_is_gguf(const char *name)
{
    return ends_with(name, ".gguf");
}

bool listing_starts_gguf(const char *name)
{
    size_t k = 1, n;
    return listing_is_gguf(name) && (!is_part(name, NULL, ".gguf", &k, &n) || k == 1);
}

bool listing_same_gguf(const char *a, const char *b)
{
    size_t k, n, m, length = strlen(a), tail = strlen("-00001-of-00002.gguf");
    bool parts = is_part(a, NULL, ".gguf", &k, &n) && is_part(b, NULL, ".gguf", &k, &m) && n == m;
    return parts ? length == strlen(b) && !strncmp(a, b, length - tail) : !strcmp(a, b);
}

static size_t find(const struct hub_listing *l, const char *name)
{
    size_t i = 0;
    while (i < l->n && strcmp(l->files[i].name, name))
        i++;
    return i;
}

/* Put file i at place *at, behind those that are chosen already. */
static void choose(struct hub_listing *l, size_t i, size_t *at)
{
    struct hub_file f = l->files[i];
    memmove(l->files + *at + 1, l->files + *at, (i - *at) * sizeof f);
    l->files[(*at)++] = f;
}

/* What could not be checked is not taken. */
static int leave_out_the_rest(struct hub_listing *l, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (l->files[i].size == SIZE_MAX || !l->files[i].hash[0])
            return err_set(err, "the list of files gives no size or no hash of '%s', and only what can be checked is taken: is it a hub that "
                                "knows '?blobs=true'?", l->files[i].name);
    while (l->n > n)
        free(l->files[--l->n].name);
    return 0;
}

/* Part k of the GGUF that `name` is a part of; l->n if it is not there. */
static size_t find_part(const struct hub_listing *l, const char *name, size_t wanted)
{
    size_t i = 0, k = 1, n;
    while (i < l->n && !(listing_same_gguf(l->files[i].name, name) && is_part(l->files[i].name, NULL, ".gguf", &k, &n) && k == wanted))
        i++;
    return i;
}

/* File i, or all parts of the GGUF that it is one of, in their order. */
static int choose_gguf(struct hub_listing *l, size_t i, struct err *err)
{
    size_t at = 0, k, n;
    if (is_part(l->files[i].name, NULL, ".gguf", &k, &n)) {
        char *name = xstrdup(l->files[i].name);
        int rc = 0;
        for (k = 1; rc == 0 && k <= n; k++)
            if (find_part(l, name, k) == l->n)
                rc = err_set(err, "part %zu of the %zu that '%s' is one of is not in the list of files", k, n, name);
        for (k = 1; rc == 0 && k <= n; k++)
            choose(l, find_part(l, name, k), &at);
        free(name);
        if (rc)
            return -1;
    } else {
        choose(l, i, &at);
    }
    return leave_out_the_rest(l, at, err) ? -1 : 1;
}

static int choose_named(struct hub_listing *l, const char *model, const char *file, struct err *err)
{
    size_t i = find(l, file);
    if (!listing_is_gguf(file))
        return err_set(err, "--file names a GGUF file, and '%s' is none: the files of a Hugging Face folder are chosen without it", file);
    if (i == l->n)
        return err_set(err, "'%s' has no file '%s'", model, file);
    return choose_gguf(l, i, err);
}

/* The names of a folder's weights, as many as are there: model.safetensors, or all parts of it, and an adapter's. */
static int weights(const struct hub_listing *l, const char **names, size_t *n, struct err *err)
{
    static const char *const whole[] = {"model.safetensors", "adapter_model.safetensors"};
    size_t k, parts = 0, of;
    *n = 0;
    for (size_t w = 0; w < 2; w++)
        if (find(l, whole[w]) < l->n)
            names[(*n)++] = l->files[find(l, whole[w])].name;
    if (find(l, whole[0]) < l->n || find(l, "model.safetensors.index.json") == l->n)
        return 0;
    for (size_t i = 0; i < l->n; i++)
        if (is_part(l->files[i].name, "model", ".safetensors", &k, &of)) {
            names[(*n)++] = l->files[i].name;
            parts++;
        }
    for (size_t i = 0; i < l->n; i++)
        if (is_part(l->files[i].name, "model", ".safetensors", &k, &of) && of != parts)
            return err_set(err, "the list of files has %zu parts of weights, but '%s' says that there are %zu", parts, l->files[i].name, of);
    return parts ? 0 : err_set(err, "the list of files has model.safetensors.index.json, but no model-0000K-of-0000N.safetensors");
}

/* A folder's files to the front; how many, 0 where there is no such model, -1 and a sentence. */
static int choose_folder(struct hub_listing *l, struct err *err)
{
    size_t n = 0, at = 0;
    if (find(l, "config.json") == l->n && find(l, "adapter_config.json") == l->n)
        return 0;
    const char **names = xcalloc(l->n + 2, sizeof *names);
    int rc = weights(l, names, &n, err);
    for (size_t i = 0; rc == 0 && n && i < sizeof read_files / sizeof *read_files; i++)
        if (find(l, read_files[i]) < l->n)
            choose(l, find(l, read_files[i]), &at);
    for (size_t i = 0; rc == 0 && i < n; i++)
        choose(l, find(l, names[i]), &at);
    free(names);
    return rc ? rc : (int)at;
}

int listing_choose(struct hub_listing *l, const char *model, const char *file, struct err *err)
{
    if (file)
        return choose_named(l, model, file, err);
    int chosen = choose_folder(l, err);
    if (chosen)
        return chosen < 0 ? -1 : leave_out_the_rest(l, (size_t)chosen, err);
    size_t n = 0, only = 0;
    bool pickled = false;
    for (size_t i = 0; i < l->n; i++) {
        const char *name = l->files[i].name;
        pickled |= ends_with(name, ".bin") || ends_with(name, ".pt") || ends_with(name, ".pth");
        if (listing_starts_gguf(name)) {
            only = i;
            n++;
        }
    }
    if (n == 1)
        return choose_gguf(l, only, err);
    if (n > 1)
        return err_set(err, "'%s' has %zu GGUF files: choose one with --file", model, n);
    return err_set(err, pickled ? "'%s' has its weights as pickled files only (.bin, .pt), which may run programs when they are read: look for "
                                  "a copy of it as safetensors or GGUF"
                                : "'%s' holds no model that hone reads: neither config.json with safetensors nor a GGUF file", model);
}
