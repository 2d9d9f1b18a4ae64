#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/inspect.h"
#include "cmd/load.h"
#include "model/safetensors.h"
#include "util/file.h"
#include "util/mem.h"

/* The layers of one kind ("q_proj") that an adapter changes. */
struct adapted {
    char *name;
    size_t layers;
    double squares; /* of the update scale B A, summed over layers */
};

struct adapted_kinds {
    struct adapted *list;
    size_t n, capacity;
};

static void adapted_release(struct adapted_kinds *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->list[i].name);
    free(t->list);
}

static struct adapted *adapted_of(struct adapted_kinds *t, const char *name, size_t n)
{
    for (size_t i = 0; i < t->n; i++)
        if (strlen(t->list[i].name) == n && !strncmp(t->list[i].name, name, n))
            return &t->list[i];
    ARRAY_GROW(t->list, t->n + 1, t->capacity);
    t->list[t->n] = (struct adapted){.name = xstrndup(name, n)};
    return &t->list[t->n++];
}

static json_t *read_json(const char *folder, const char *name, struct err *err)
{
    char *path = path_join(folder, name);
    json_error_t why;
    json_t *o = json_load_file(path, 0, &why);
    if (!json_is_object(o)) {
        err_set(err, "'%s' line %d: not a JSON object: %s", path, o ? 1 : why.line,
                o ? "it is something else" : why.text);
        json_decref(o);
        o = NULL;
    }
    free(path);
    return o;
}

/* |B A|^2, as the trace of (A A') (B' B): the product itself is never made.  A (r, in), B (out,
 * r). */
static double product_squares(const float *a, const float *b, size_t rank, size_t in, size_t out)
{
    double sum = 0, *bb = xcalloc(rank * rank + 1, sizeof *bb);
    for (size_t k = 0; k < out; k++)
        for (size_t i = 0; i < rank; i++)
            for (size_t j = 0; j < rank; j++)
                bb[i * rank + j] += (double)b[k * rank + i] * (double)b[k * rank + j];
    for (size_t i = 0; i < rank; i++)
        for (size_t j = 0; j < rank; j++)
            sum += bb[i * rank + j] * (double)kernel()->dot(a + i * in, a + j * in, in);
    free(bb);
    return sum < 0 ? 0 : sum; /* rounding; a NaN stays one */
}

static float *floats_of(const struct tensor *t)
{
    float *x = xmalloc((tensor_elements(t) + 1) * sizeof *x);
    tensor_unpack(x, t);
    return x;
}

static void add_pair(struct adapted_kinds *targets, json_t *report, const struct tensor *a,
                     const struct tensor *b, double scale)
{
    const char *end = strstr(a->name, ".lora_A"), *name = end;
    while (name > a->name && name[-1] != '.')
        name--;
    if (a->type == DTYPE_COUNT || b->type == DTYPE_COUNT || a->n_dims != 2 || b->n_dims != 2 ||
        a->shape[0] != b->shape[1]) {
        inspect_problem(report, "the tensors '%s' and '%s' do not belong together", a->name,
                        b->name);
        return;
    }
    float *x = floats_of(a), *y = floats_of(b);
    struct adapted *t = adapted_of(targets, name, (size_t)(end - name));
    double squares = product_squares(x, y, a->shape[0], a->shape[1], b->shape[0]);
    if (!isfinite(squares))
        inspect_problem(
            report, "'%s' or its B holds a number that is not finite: the run went wrong", a->name);
    t->layers++;
    t->squares += scale * scale * squares;
    free(x);
    free(y);
}

static void add_tensors(struct adapted_kinds *targets, json_t *report, const struct tensor_file *f,
                        double scale)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct tensor *t = &f->tensors[i];
        const char *a = strstr(t->name, ".lora_A"), *b = strstr(t->name, ".lora_B");
        if (!a && !b) {
            if (!strstr(t->name, "score"))
                inspect_problem(report, "the tensor '%s' is none of a LoRA adapter's", t->name);
            continue;
        }
        char *twin_name = xstrdup(t->name);
        twin_name[(a ? a : b) - t->name + 6] = a ? 'B' : 'A';
        const struct tensor *twin = tensor_find(f, twin_name);
        if (!twin)
            inspect_problem(report, "the tensor '%s' has no '%s' beside it", t->name, twin_name);
        else if (a)
            add_pair(targets, report, t, twin, scale);
        free(twin_name);
    }
}

/* Sum of squares of the base's weights of one kind; 0 where the model has none of that name. */
static double base_squares(const struct model *m, const char *target)
{
    double sum = 0;
    for (int k = 0; k < LINEAR_KINDS; k++) {
        if (strcmp(m->config.family->linear[k].peft, target))
            continue;
        for (size_t l = 0; l < m->config.layers; l++) {
            const struct weight *w = &m->layers[l].linear[k];
            float *row = xmalloc(w->in * sizeof *row);
            for (size_t i = 0; i < w->out; i++) {
                weight_row(w, i, row);
                for (size_t j = 0; j < w->in; j++)
                    sum += (double)row[j] * (double)row[j];
            }
            free(row);
        }
    }
    return sum;
}

static void add_update(json_t *report, const struct adapted_kinds *targets,
                       const struct model *base)
{
    json_t *table = json_array();
    double all = 0;
    for (size_t i = 0; i < targets->n; i++) {
        const struct adapted *t = &targets->list[i];
        double whole = base ? base_squares(base, t->name) : 0;
        all += t->squares;
        json_array_append_new(
            table,
            json_pack("{s:s, s:I, s:o, s:o}", "target", t->name, "layers", (json_int_t)t->layers,
                      "norm", isfinite(t->squares) ? json_real(sqrt(t->squares)) : json_null(),
                      "share_of_weights",
                      whole > 0 && isfinite(t->squares) ? json_real(sqrt(t->squares / whole))
                                                        : json_null()));
    }
    json_object_set_new(report, "update", table);
    json_object_set_new(report, "update_norm", isfinite(all) ? json_real(sqrt(all)) : json_null());
    if (all == 0)
        inspect_problem(report,
                        "the update is 0: the adapter changes nothing (it has not been trained)");
}

static void add_head(json_t *report, const char *folder, const struct tensor_file *f)
{
    const struct tensor *t = tensor_find(f, "score.weight");
    t = t ? t : tensor_find(f, "base_model.model.score.weight");
    struct head head;
    struct head_notes notes;
    struct err why;
    if (!t) {
        json_object_set_new(report, "head", json_null());
        return;
    }
    if (head_open(&head, tensor_elements(t), folder, &notes, &why) <= 0) {
        inspect_problem(report, "the head cannot be used: %s", why.text);
        return;
    }
    double squares = 0;
    for (size_t i = 0; i < head.width; i++)
        squares += (double)head.params.data[i] * (double)head.params.data[i];
    json_object_set_new(report, "head",
                        json_pack("{s:I, s:f, s:f, s:f}", "width", (json_int_t)head.width, "norm",
                                  sqrt(squares), "score_bias", notes.score_bias, "tie_parameter",
                                  notes.tie_parameter));
    head_release(&head);
}

/* The base, if it can be found, and whether the adapter fits it.  Returns it opened in `m`, or
 * NULL. */
static const struct model *find_base(json_t *report, struct model *m, const char *path,
                                     const char *folder)
{
    struct err why;
    json_object_set_new(report, "base_model",
                        path ? inspect_text(path, strlen(path)) : json_null());
    if (!path) {
        inspect_problem(report,
                        "it does not say which model it belongs to: name that with --model");
        return NULL;
    }
    if (model_open(m, path, NULL, &why)) {
        inspect_problem(report, "its base model cannot be opened here: %s: name it with --model",
                        why.text);
        return NULL;
    }
    struct adapter a;
    if (adapter_open(&a, m, folder, &why))
        inspect_problem(report, "it does not fit its base model: %s", why.text);
    else
        adapter_release(&a);
    return m;
}

json_t *inspect_adapter(const char *path, const struct inspect_options *o, struct err *err)
{
    json_t *config = read_json(path, "adapter_config.json", err);
    if (!config)
        return NULL;
    char *weights = path_join(path, "adapter_model.safetensors");
    struct tensor_file f;
    int rc = safetensors_open(&f, weights, err);
    free(weights);
    if (rc) {
        json_decref(config);
        return NULL;
    }
    double rank = json_number_value(json_object_get(config, "r")),
           alpha = json_number_value(json_object_get(config, "lora_alpha"));
    size_t parameters = 0, bytes = 0;
    for (size_t i = 0; i < f.n; i++) {
        parameters += tensor_elements(&f.tensors[i]);
        bytes += f.tensors[i].bytes;
    }
    json_t *problems = json_array();
    json_t *report = json_pack("{s:s, s:o, s:O}", "kind", "adapter", "path",
                               inspect_text(path, strlen(path)), "problems", problems);
    json_object_set(report, "rank", json_object_get(config, "r"));
    json_object_set(report, "alpha", json_object_get(config, "lora_alpha"));
    json_object_set_new(report, "scale", rank > 0 ? json_real(alpha / rank) : json_null());
    json_object_set_new(report, "parameters", json_integer((json_int_t)parameters));
    json_object_set_new(report, "bytes", json_integer((json_int_t)bytes));
    struct model m;
    const char *named =
        o->model ? o->model : json_string_value(json_object_get(config, "base_model_name_or_path"));
    const struct model *base = find_base(report, &m, named, path);
    struct adapted_kinds targets = {0};
    add_head(report, path, &f);
    add_tensors(&targets, report, &f, rank > 0 ? alpha / rank : 0);
    add_update(report, &targets, base);
    if (base)
        model_release(&m);
    adapted_release(&targets);
    tensor_file_release(&f);
    json_decref(config);
    json_object_del(report, "problems");
    json_object_set_new(report, "problems", problems);
    return report;
}

/* ---- runs ---- */

/* What the manifest says went in, and whether that is still there as it was. */
static void add_input(json_t *table, json_t *report, const json_t *manifest, const char *key)
{
    const json_t *entry = json_object_get(manifest, key);
    const char *path = json_string_value(json_object_get(entry, "path")),
               *hash = json_string_value(json_object_get(entry, "sha256"));
    if (!path || !hash)
        return;
    char now[65] = "";
    struct err why;
    const char *state = "unchanged";
    if (!file_exists(path))
        state = "not here";
    else if (!strcmp(key, "model") ? model_hash(path, now, &why) : file_sha256(now, path, &why))
        state = "cannot be read";
    else if (strcmp(now, hash))
        state = "changed";
    if (!strcmp(state, "changed"))
        inspect_problem(report, "'%s' is not what it was when the run read it", path);
    json_array_append_new(table, json_pack("{s:s, s:s, s:s, s:s}", "input", key, "path", path,
                                           "sha256", hash, "state", state));
}

static void add_metrics(json_t *report, const char *folder)
{
    char *path = path_join(folder, "metrics.jsonl");
    struct buf text;
    struct err why;
    buf_init(&text, (size_t)1 << 30);
    if (file_exists(path) && file_read(path, &text, &why) == 0) {
        size_t lines = 0, last = 0;
        for (size_t i = 0, start = 0; i < text.len; i++)
            if (text.data[i] == '\n') {
                lines++;
                last = start;
                start = i + 1;
            }
        json_t *object = lines ? json_loads(text.data + last, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
        json_object_set_new(report, "metric_lines", json_integer((json_int_t)lines));
        json_object_set_new(report, "last_metrics", object ? object : json_null());
    }
    buf_release(&text);
    free(path);
}

static int by_number(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

static void add_checkpoints(json_t *report, const char *folder)
{
    char *path = path_join(folder, "checkpoints");
    DIR *dir = opendir(path);
    long *steps = NULL;
    size_t n = 0, capacity = 0;
    for (const struct dirent *d; dir && (d = readdir(dir));) {
        char *end;
        if (strncmp(d->d_name, "step-", 5))
            continue;
        long step = strtol(d->d_name + 5, &end, 10);
        if (*end)
            continue;
        ARRAY_GROW(steps, n + 1, capacity);
        steps[n++] = step;
    }
    json_t *list = json_array();
    if (n)
        qsort(steps, n, sizeof *steps, by_number);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_integer(steps[i]));
    json_object_set_new(report, "checkpoints_at_step", list);
    if (dir)
        closedir(dir);
    free(steps);
    free(path);
}

static void add_result(json_t *report, const char *folder, const struct inspect_options *o)
{
    static const struct {
        const char *name;
        json_t *(*look)(const char *path, const struct inspect_options *o, struct err *err);
    } results[] = {{"adapter", inspect_adapter}, {"model", inspect_model}};
    for (size_t i = 0; i < 2; i++) {
        char *path = path_join(folder, results[i].name);
        struct err why;
        json_t *result = file_is_dir(path) ? results[i].look(path, o, &why) : NULL;
        if (result)
            json_object_set_new(report, "result", result);
        else if (file_is_dir(path))
            inspect_problem(report, "its result cannot be read: %s", why.text);
        free(path);
    }
}

json_t *inspect_run(const char *path, const struct inspect_options *o, struct err *err)
{
    char *name = path_join(path, "manifest.json");
    bool finished = file_exists(name);
    free(name);
    json_t *manifest = finished ? read_json(path, "manifest.json", err) : NULL;
    if (finished && !manifest)
        return NULL;
    json_t *problems = json_array();
    json_t *report =
        json_pack("{s:s, s:o, s:O, s:b}", "kind", "run", "path", inspect_text(path, strlen(path)),
                  "problems", problems, "finished", finished);
    static const char *const told[] = {"command", "version", "seed", "instruction_set"};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        if (json_object_get(manifest, told[i]))
            json_object_set(report, told[i], json_object_get(manifest, told[i]));
    static const char *const inputs[] = {"model", "adapter", "train_data", "eval_data"};
    json_t *table = json_array();
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        add_input(table, report, manifest, inputs[i]);
    json_object_set_new(report, "inputs", table);
    add_checkpoints(report, path);
    add_metrics(report, path);
    if (finished)
        add_result(report, path, o);
    else
        inspect_problem(report,
                        "it has not finished: go on with it by the same command and --resume");
    json_decref(manifest);
    json_object_del(report, "problems");
    json_object_set_new(report, "problems", problems);
    return report;
}
