#include "model/safetensors.h"

#include <dirent.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "util/buf.h"
#include "util/mem.h"

#define HEADER_CEILING 100000000u
#define INDEX_CEILING ((size_t)64 << 20)

/* One file's bytes. */
struct source {
    const char *path;
    const uint8_t *data; /* after the header */
    size_t size;
};

static int refuse(struct err *err, const char *path, const char *name, const char *why)
{
    return err_set(err, "cannot read '%s': tensor '%s': %s: make or download it again", path, name,
                   why);
}

/* A number that is whole and not negative. */
static bool json_size(size_t *out, const json_t *value)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (size_t)json_integer_value(value);
    return true;
}

static enum dtype dtype_of_name(const char *name)
{
    static const enum dtype known[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!strcmp(name, dtype_table[known[i]].name))
            return known[i];
    }
    return DTYPE_COUNT;
}

/* Fill t (all but its name) and span from one entry of the header. */
static int read_entry(struct tensor *t, struct tensor_span *span, const struct source *source,
                      const char *name, const json_t *entry, struct err *err)
{
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    const json_t *shape = json_object_get(entry, "shape"),
                 *offsets = json_object_get(entry, "data_offsets");
    if (!type || !tensor_name_ok(type, strlen(type)) || strlen(type) >= sizeof t->type_name)
        return refuse(err, source->path, name,
                      "its \"dtype\" is missing or not the name of a type");
    t->type = dtype_of_name(type);
    memcpy(t->type_name, type, strlen(type) + 1);

    if (!json_is_array(shape))
        return refuse(err, source->path, name, "its \"shape\" is missing or not a list");
    if (json_array_size(shape) > TENSOR_MAX_DIMS)
        return err_set(
            err, "cannot read '%s': tensor '%s' has %zu dimensions, and at most %d are supported",
            source->path, name, json_array_size(shape), TENSOR_MAX_DIMS);
    t->n_dims = (int)json_array_size(shape);
    for (int i = 0; i < TENSOR_MAX_DIMS; i++) {
        t->shape[i] = 1;
        if (i < t->n_dims && !json_size(&t->shape[i], json_array_get(shape, (size_t)i)))
            return refuse(err, source->path, name,
                          "its \"shape\" holds something other than whole numbers");
    }

    if (json_array_size(offsets) != 2 || !json_size(&span->begin, json_array_get(offsets, 0)) ||
        !json_size(&span->end, json_array_get(offsets, 1)) || span->begin > span->end)
        return refuse(err, source->path, name, "its \"data_offsets\" are not a begin and an end");
    if (span->end > source->size)
        return err_set(err,
                       "cannot read '%s': the file is cut short (tensor '%s' ends at byte %zu of "
                       "the data, and there are %zu): download it again",
                       source->path, name, span->end, source->size);
    size_t elements, bytes = span->end - span->begin;
    bool known = t->type != DTYPE_COUNT;
    if (!tensor_size(&elements, &t->bytes, t, known ? &dtype_table[t->type] : NULL))
        return refuse(err, source->path, name, "its shape is too large");
    if (known && t->bytes != bytes)
        return refuse(err, source->path, name, "its shape and its data differ in size");
    t->bytes = bytes;
    t->data = known ? source->data + span->begin : NULL;
    return 0;
}

/* The reference reader wants the data to be filled exactly, without holes or overlaps. */
static int check_spans(struct tensor_span *spans, size_t n, const struct tensor *tensors,
                       const struct source *source, struct err *err)
{
    tensor_spans_sort(spans, n);
    size_t end = 0;
    for (size_t i = 0; i < n; i++) {
        const char *name = tensors[spans[i].tensor].name;
        if (spans[i].begin < end)
            return refuse(err, source->path, name, "its data lie over another tensor's");
        if (spans[i].begin > end)
            return refuse(err, source->path, name, "there is a hole before its data");
        end = spans[i].end;
    }
    if (end != source->size)
        return err_set(
            err,
            "cannot read '%s': %zu bytes at its end belong to no tensor: make or download it again",
            source->path, source->size - end);
    return 0;
}

/* Append the header's tensors to out. */
static int read_header(struct tensor_file *out, const struct source *source, json_t *header,
                       struct err *err)
{
    size_t first = out->n, most = json_object_size(header);
    struct tensor_span *spans = xcalloc(most, sizeof *spans);
    out->tensors = xreallocarray(out->tensors, first + most, sizeof *out->tensors);
    const char *name;
    json_t *entry;
    int rc = 0;
    json_object_foreach(header, name, entry) {
        if (!strcmp(name, "__metadata__"))
            continue;
        if (!tensor_name_ok(name, strlen(name))) {
            rc = err_set(err,
                         "cannot read '%s': the name of tensor %zu is empty, longer than 512 bytes "
                         "or not printable",
                         source->path, out->n - first + 1);
            break;
        }
        struct tensor t = {0};
        struct tensor_span span = {.tensor = out->n};
        rc = read_entry(&t, &span, source, name, entry, err);
        if (rc)
            break;
        t.name = xstrdup(name);
        spans[out->n - first] = span;
        out->tensors[out->n++] = t;
    }
    if (rc == 0)
        rc = check_spans(spans, out->n - first, out->tensors, source, err);
    free(spans);
    return rc;
}

static json_t *parse_object(const char *text, size_t n, const char *path, const char *what,
                            struct err *err)
{
    json_error_t at;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &at);
    if (!root && json_error_code(&at) == json_error_duplicate_key)
        err_set(err, "cannot read '%s': %s has a name twice (at byte %d)", path, what, at.position);
    else if (!root)
        err_set(err, "cannot read '%s': %s is not valid JSON (at byte %d): download it again", path,
                what, at.position);
    else if (!json_is_object(root))
        err_set(err, "cannot read '%s': %s is not a JSON object: download it again", path, what);
    if (!json_is_object(root)) {
        json_decref(root);
        return NULL;
    }
    return root;
}

/* Append the tensors of one file's bytes to out. */
static int read_file(struct tensor_file *out, const uint8_t *data, size_t size, const char *path,
                     struct err *err)
{
    uint64_t n = 0;
    if (tensor_lfs_pointer(data, size))
        return err_set(err, "cannot read '%s': it is a pointer of Git LFS: run 'git lfs pull'",
                       path);
    if (size < 10)
        return err_set(err, "cannot read '%s': it is only %zu bytes long: download it again", path,
                       size);
    memcpy(&n, data, 8);
    if (n > HEADER_CEILING || n < 2 || data[8] != '{')
        return err_set(err, "cannot read '%s': it is not a safetensors file", path);
    if (n > size - 8)
        return err_set(err,
                       "cannot read '%s': the file is cut short (%" PRIu64
                       " bytes of header, and %zu are there): download it again",
                       path, n, size - 8);
    json_t *header = parse_object((const char *)data + 8, (size_t)n, path, "its header", err);
    if (!header)
        return -1;
    const struct source source = {path, data + 8 + n, size - 8 - (size_t)n};
    int rc = read_header(out, &source, header, err);
    json_decref(header);
    return rc;
}

int safetensors_open_memory(struct tensor_file *out, const void *data, size_t size,
                            const char *path, struct err *err)
{
    *out = (struct tensor_file){.path = xstrdup(path)};
    int rc = read_file(out, data, size, path, err);
    if (rc == 0)
        rc = tensor_file_index(out, err);
    if (rc)
        tensor_file_release(out);
    return rc;
}

/* Map one more file and append its tensors; out->maps has room. */
static int map_file(struct tensor_file *out, const char *path, struct err *err)
{
    struct file_map map;
    if (file_map_open(&map, path, err))
        return -1;
    out->maps[out->n_maps++] = map;
    return read_file(out, map.data, map.size, path, err);
}

static int open_single(struct tensor_file *out, const char *path, struct err *err)
{
    *out = (struct tensor_file){.path = xstrdup(path), .maps = xcalloc(1, sizeof *out->maps)};
    int rc = map_file(out, path, err);
    if (rc == 0)
        rc = tensor_file_index(out, err);
    if (rc)
        tensor_file_release(out);
    return rc;
}

/* The distinct files of the map, in order, each with its number: {"a.safetensors": 0, ..}. */
static json_t *list_shards(json_t *map, const char *folder, const char *path, struct err *err)
{
    json_t *shards = json_object(), *file;
    struct buf missing;
    buf_init(&missing, 512);
    size_t n_missing = 0;
    const char *name;
    int rc = 0;
    json_object_foreach(map, name, file) {
        const char *shard = json_string_value(file);
        if (!shard || !tensor_name_ok(shard, strlen(shard)) || strchr(shard, '/') ||
            !strcmp(shard, ".") || !strcmp(shard, "..")) {
            rc = err_set(err,
                         "cannot read '%s': \"weight_map\" has an entry whose file is not the name "
                         "of a file in the same folder",
                         path);
            break;
        }
        if (json_object_get(shards, shard))
            continue;
        json_object_set_new(shards, shard, json_integer((json_int_t)json_object_size(shards)));
        char *full = path_join(folder, shard);
        if (!file_exists(full)) {
            if (n_missing++ < 3)
                buf_printf(&missing, "%s'%s'", n_missing > 1 ? ", " : "", shard);
        }
        free(full);
    }
    if (rc == 0 && json_object_size(shards) == 0)
        rc = err_set(err, "cannot read '%s': \"weight_map\" is empty", path);
    if (rc == 0 && n_missing)
        rc = err_set(
            err, "cannot read '%s': %zu of its %zu files are not there (%s%s): download them too",
            path, n_missing, json_object_size(shards), missing.data, n_missing > 3 ? ", .." : "");
    buf_release(&missing);
    if (rc) {
        json_decref(shards);
        return NULL;
    }
    return shards;
}

/* Is every tensor of the index in the file that it is said to be in, and every tensor in the index?  ends[s]: the number
 * of tensors up to shard s. */
static int check_index(const struct tensor_file *out, json_t *map, const json_t *shards,
                       const size_t *ends, const char *path, struct err *err)
{
    const char *name;
    json_t *file;
    json_object_foreach(map, name, file) {
        size_t shard = (size_t)json_integer_value(json_object_get(shards, json_string_value(file)));
        const struct tensor *t = tensor_find(out, name);
        size_t i = t ? (size_t)(t - out->tensors) : 0;
        if (!tensor_name_ok(name, strlen(name)))
            return err_set(err,
                           "cannot read '%s': \"weight_map\" has a name that is empty, longer than "
                           "512 bytes or not printable",
                           path);
        if (!t || i >= ends[shard] || (shard && i < ends[shard - 1]))
            return err_set(err,
                           "cannot read '%s': tensor '%s' should be in '%s' and is not: the files "
                           "do not belong together: download the folder again",
                           path, name, json_string_value(file));
    }
    for (size_t i = 0; i < out->n; i++) {
        if (!json_object_get(map, out->tensors[i].name))
            return err_set(err,
                           "cannot read '%s': tensor '%s' is in the files and not in \"weight_map\": they do not belong "
                           "together: download the folder again",
                           path, out->tensors[i].name);
    }
    return 0;
}

static int open_shards(struct tensor_file *out, const char *folder, const char *path, json_t *map,
                       struct err *err)
{
    json_t *shards = list_shards(map, folder, path, err);
    if (!shards)
        return -1;
    size_t n = json_object_size(shards), *ends = xcalloc(n, sizeof *ends);
    *out = (struct tensor_file){.path = xstrdup(folder), .maps = xcalloc(n, sizeof *out->maps)};
    const char *shard;
    json_t *number;
    int rc = 0;
    json_object_foreach(shards, shard, number) {
        char *full = path_join(folder, shard);
        rc = map_file(out, full, err);
        free(full);
        if (rc)
            break;
        ends[json_integer_value(number)] = out->n;
    }
    if (rc == 0)
        rc = tensor_file_index(out, err);
    if (rc == 0)
        rc = check_index(out, map, shards, ends, path, err);
    free(ends);
    json_decref(shards);
    if (rc)
        tensor_file_release(out);
    return rc;
}

static int open_index(struct tensor_file *out, const char *folder, const char *path,
                      struct err *err)
{
    struct buf text;
    buf_init(&text, INDEX_CEILING);
    json_t *root = NULL;
    if (file_read(path, &text, err) == 0)
        root = parse_object(text.data, text.len, path, "the index", err);
    buf_release(&text);
    if (!root)
        return -1;
    json_t *map = json_object_get(root, "weight_map");
    int rc;
    if (json_is_object(map))
        rc = open_shards(out, folder, path, map, err);
    else
        rc = err_set(err, "cannot read '%s': \"weight_map\" is missing: download it again", path);
    if (rc == 0)
        json_size(&out->stated_bytes, json_object_get(json_object_get(root, "metadata"), "total_size"));
    json_decref(root);
    return rc;
}

/* The name of a shard in the folder, fit to be shown, or NULL. */
static char *first_shard(const char *folder)
{
    char *first = NULL;
    DIR *dir = opendir(folder);
    for (const struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
        size_t n = strlen(e->d_name);
        if (n > 12 && !strcmp(e->d_name + n - 12, ".safetensors") && !strncmp(e->d_name, "model-", 6) &&
            tensor_name_ok(e->d_name, n) && (!first || strcmp(e->d_name, first) < 0)) {
            free(first);
            first = xstrdup(e->d_name);
        }
    }
    if (dir)
        closedir(dir);
    return first;
}

int safetensors_open(struct tensor_file *out, const char *path, struct err *err)
{
    *out = (struct tensor_file){0};
    if (!file_is_dir(path))
        return open_single(out, path, err);
    char *single = path_join(path, "model.safetensors");
    char *index = path_join(path, "model.safetensors.index.json");
    char *pickle = path_join(path, "pytorch_model.bin");
    char *shard = first_shard(path);
    int rc;
    if (file_exists(single))
        rc = open_single(out, single, err);
    else if (file_exists(index))
        rc = open_index(out, path, index, err);
    else if (shard)
        rc = err_set(err, "'%s' holds '%s', and model.safetensors.index.json is not there: download it too", path, shard);
    else if (file_exists(pickle))
        rc = err_set(err,
                     "'%s' holds its weights as pytorch_model.bin only: load and save it with "
                     "transformers, which writes model.safetensors",
                     path);
    else
        rc = err_set(err,
                     "'%s' has neither model.safetensors nor model.safetensors.index.json: is it a "
                     "model's folder, and downloaded whole?",
                     path);
    free(single);
    free(index);
    free(pickle);
    free(shard);
    return rc;
}
