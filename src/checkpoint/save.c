#include "checkpoint/save.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/merged.h"
#include "checkpoint/safetensors_out.h"
#include "checkpoint/text_out.h"
#include "model/safetensors.h"
#include "util/buf.h"
#include "util/file.h"
#include "util/mem.h"

static const struct safetensors_note format_note = {"format", "pt"};

static struct safetensors_tensor describe(const struct param *p, const float *data, const char *name)
{
    return (struct safetensors_tensor){.name = name, .type = DTYPE_F32, .n_dims = p->n_dims,
                                       .shape = {p->shape[0], p->shape[1], 1, 1}, .data = data + p->offset};
}

/* All tensors of an adapter, then the head's, into `path`. */
static int write_adapter(const char *path, const struct params *params, const struct head *head, struct err *err)
{
    struct safetensors_tensor *list = xcalloc(params->n_list + 1, sizeof *list);
    size_t n = 0;
    for (; n < params->n_list; n++)
        list[n] = describe(&params->list[n], params->data, params->list[n].name);
    if (head)
        list[n++] = describe(&head->params.list[0], head->params.data, "base_model.model.score.weight");
    int rc = safetensors_write(path, list, n, &format_note, 1, err);
    free(list);
    return rc;
}

static void write_doubles(struct buf *b, const char *key, const double *x, size_t n)
{
    buf_printf(b, "\"%s\": [", key);
    for (size_t i = 0; i < n; i++) {
        buf_str(b, i ? ", " : "");
        buf_json_double(b, x[i]);
    }
    buf_str(b, "]");
}

static void write_calibrator(struct buf *b, const struct calibrator *c)
{
    buf_str(b, ", \"temperature\": ");
    buf_json_double(b, c->temperature);
    if (c->n_knots) {
        buf_str(b, ", \"isotonic\": {");
        write_doubles(b, "x", c->x, c->n_knots);
        buf_str(b, ", ");
        write_doubles(b, "p", c->p, c->n_knots);
        buf_str(b, "}");
    }
    if (c->n_groups)
        buf_str(b, ", \"groups\": {");
    for (size_t g = 0; g < c->n_groups; g++) {
        buf_str(b, g ? ", " : "");
        buf_json_str(b, c->group[g].name, strlen(c->group[g].name));
        buf_str(b, ": ");
        buf_json_double(b, c->group[g].temperature);
    }
    if (c->n_groups)
        buf_str(b, "}");
}

static void write_style(struct buf *b, const double *style)
{
    const char *before = ", \"style\": {";
    for (size_t i = 0; i < STYLES; i++) {
        if (style[i] == 0)
            continue;
        buf_printf(b, "%s\"%s\": ", before, style_names[i]);
        buf_json_double(b, style[i]);
        before = ", ";
    }
    if (before[2] == 0)
        buf_str(b, "}");
}

int head_notes_write(const struct head_notes *notes, const char *folder, struct err *err)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    buf_str(&b, "{\"score_bias\": ");
    buf_json_double(&b, notes->score_bias);
    buf_str(&b, ", \"tie_parameter\": ");
    buf_json_double(&b, notes->tie_parameter);
    if (notes->davidson)
        buf_str(&b, ", \"ties\": \"davidson\"");
    if (notes->n_thresholds) {
        buf_str(&b, ", \"ratings\": {");
        write_doubles(&b, "thresholds", notes->threshold, notes->n_thresholds);
        buf_str(&b, ", \"scale\": ");
        buf_json_double(&b, notes->rating_scale);
        buf_str(&b, "}");
    }
    write_style(&b, notes->style);
    if (*notes->step_separator) {
        buf_str(&b, ", \"steps\": {\"separator\": ");
        buf_json_str(&b, notes->step_separator, strlen(notes->step_separator));
        buf_str(&b, "}");
    }
    if (notes->calibrator.temperature > 0)
        write_calibrator(&b, &notes->calibrator);
    buf_str(&b, "}\n");
    int rc = file_write_in(folder, "hone.json", b.data, b.len, err);
    buf_release(&b);
    return rc;
}

static int ood_write(const struct ood *o, const char *folder, struct err *err)
{
    const struct safetensors_tensor list[] = {
        {.name = "mean", .type = DTYPE_F32, .n_dims = 1, .shape = {o->width, 1, 1, 1}, .data = o->mean},
        {.name = "threshold", .type = DTYPE_F32, .n_dims = 1, .shape = {1, 1, 1, 1}, .data = &o->threshold},
        {.name = "whitener", .type = DTYPE_F32, .n_dims = 2, .shape = {o->width, o->width, 1, 1}, .data = o->whitener}};
    char *path = path_join(folder, "ood.safetensors");
    int rc = safetensors_write(path, list, sizeof list / sizeof *list, &format_note, 1, err);
    free(path);
    return rc;
}

/* What stands beside a head. */
static int write_notes(const struct head_notes *notes, const char *folder, struct err *err)
{
    return head_notes_write(notes, folder, err) || (notes->ood && ood_write(notes->ood, folder, err)) ? -1 : 0;
}

/* n floats that are finite. */
static int read_floats(float *to, const struct tensor_file *f, const char *name, size_t n, struct err *err)
{
    const struct tensor *t = tensor_need(f, name, err);
    if (!t)
        return -1;
    if (tensor_elements(t) != n)
        return err_set(err, "'%s': '%s' has %zu numbers in the place of %zu: it belongs to another model", f->path, name,
                       tensor_elements(t), n);
    tensor_unpack(to, t);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(to[i]))
            return err_set(err, "'%s': '%s' holds a number that is not finite", f->path, name);
    return 0;
}

int ood_open(struct ood *o, size_t width, const char *folder, struct err *err)
{
    *o = (struct ood){0};
    char *path = path_join(folder, "ood.safetensors");
    struct tensor_file f = {0};
    int rc = 0;
    if (!file_exists(path)) {
        free(path);
        return 0;
    }
    rc = safetensors_open(&f, path, err);
    if (rc == 0) {
        o->mean = mem_block(width, sizeof *o->mean, "a mean", err);
        o->whitener = o->mean ? mem_block(width, width * sizeof *o->whitener, "a covariance", err) : NULL;
        o->width = width;
        rc = !o->whitener || read_floats(o->mean, &f, "mean", width, err) ||
                     read_floats(o->whitener, &f, "whitener", width * width, err) || read_floats(&o->threshold, &f, "threshold", 1, err)
                 ? -1 : 0;
        if (rc == 0 && !(o->threshold > 0))
            rc = err_set(err, "'%s': 'threshold' is %g, but must be above 0", path, (double)o->threshold);
        tensor_file_release(&f);
    }
    if (rc)
        ood_release(o);
    free(path);
    return rc ? -1 : 1;
}

static char *adapter_config(const struct adapter *a, const struct head *head, const char *base_model)
{
    json_t *targets = json_array();
    for (int k = 0; k < LINEAR_KINDS; k++)
        if (adapter_targets(a) >> k & 1)
            json_array_append_new(targets, json_string(a->config->family->linear[k].peft));
    json_t *o = json_pack("{s:s, s:s, s:s, s:i, s:f, s:f, s:o, s:b, s:b, s:s}", "peft_type", "LORA", "task_type",
                          head ? "SEQ_CLS" : "CAUSAL_LM", "bias", "none", "r", (int)a->rank, "lora_alpha",
                          (double)a->alpha, "lora_dropout", 0.0, "target_modules", targets, "inference_mode", 1,
                          "fan_in_fan_out", a->config->family->turned ? 1 : 0, "base_model_name_or_path", base_model);
    if (head)
        json_object_set_new(o, "modules_to_save", json_pack("[s]", "score"));
    if (a->first_layer) {
        json_t *layers = json_array();
        for (size_t l = a->first_layer; l < a->layers; l++)
            json_array_append_new(layers, json_integer((json_int_t)l));
        json_object_set_new(o, "layers_to_transform", layers);
    }
    char *text = json_dumps(o, JSON_INDENT(2) | JSON_SORT_KEYS);
    json_decref(o);
    return text;
}

/* A fresh folder beside `folder`, to be renamed to it. */
static char *temporary_folder(const char *folder, struct err *err)
{
    char *t = xasprintf("%s.tmp-%ld", folder, (long)getpid());
    if (dir_remove(t, err) || dir_make(t, err)) {
        free(t);
        return NULL;
    }
    return t;
}

static int put_in_place(char *temporary, const char *folder, int rc, struct err *err)
{
    struct err ignored;
    if (rc == 0)
        rc = dir_replace(temporary, folder, err);
    else
        dir_remove(temporary, &ignored);
    free(temporary);
    return rc;
}

int adapter_save(const struct adapter *a, const struct head *head, const struct head_notes *notes,
                 const char *base_model, const char *folder, struct err *err)
{
    char *t = temporary_folder(folder, err);
    if (!t)
        return -1;
    char *weights = path_join(t, "adapter_model.safetensors"), *config = adapter_config(a, head, base_model);
    int rc = write_adapter(weights, &a->params, head, err);
    if (rc == 0)
        rc = file_write_in(t, "adapter_config.json", config, strlen(config), err);
    if (rc == 0 && head)
        rc = write_notes(notes, t, err);
    free(weights);
    free(config);
    return put_in_place(t, folder, rc, err);
}

static int write_model(const char *path, const struct model *m, const struct adapter *a, const struct head *head, enum dtype type, struct err *err)
{
    struct merged all;
    merged_init(&all, m, a, head, false);
    struct safetensors_tensor *list = xcalloc(all.n, sizeof *list);
    for (size_t i = 0; i < all.n; i++) {
        const struct merged_tensor *t = &all.list[i];
        list[i] = (struct safetensors_tensor){.name = t->name, .type = type, .n_dims = t->n_dims, .shape = {t->shape[0], t->shape[1]}, .rows = &t->rows};
    }
    int rc = safetensors_write(path, list, all.n, &format_note, 1, err);
    free(list);
    merged_release(&all);
    return rc;
}

int model_save(const struct model *m, const struct adapter *a, const struct head *head, const struct head_notes *notes, enum dtype type,
               const char *folder, struct err *err)
{
    char *t = temporary_folder(folder, err);
    if (!t)
        return -1;
    char *weights = path_join(t, "model.safetensors"), *config = config_to_json(&m->config, type, head != NULL);
    int rc = write_model(weights, m, a, head, type, err);
    if (rc == 0)
        rc = file_write_in(t, "config.json", config, strlen(config), err);
    if (rc == 0 && head)
        rc = write_notes(notes, t, err);
    if (rc == 0 && text_to_folder(m, t, err) < 0)
        rc = -1;
    free(weights);
    free(config);
    return put_in_place(t, folder, rc, err);
}

/* A list of n numbers that rise within [lo, hi]. */
static bool rising(double *to, const json_t *list, size_t n, double lo, double hi)
{
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        to[i] = json_number_value(v);
        if (!json_is_number(v) || !(to[i] >= (i ? to[i - 1] : lo)) || !(to[i] <= hi))
            return false;
    }
    return json_array_size(list) == n;
}

static bool read_calibrator(struct calibrator *c, const json_t *o)
{
    const json_t *isotonic = json_object_get(o, "isotonic"), *x = json_object_get(isotonic, "x"), *v;
    json_t *groups = json_object_get(o, "groups");
    const char *name;
    c->temperature = json_number_value(json_object_get(o, "temperature"));
    c->n_knots = json_array_size(x);
    if (!isfinite(c->temperature) || c->temperature < 0 || c->n_knots > CALIBRATOR_KNOTS ||
        json_object_size(groups) > CALIBRATOR_GROUPS || !rising(c->x, x, c->n_knots, 0, HUGE_VAL) ||
        !rising(c->p, json_object_get(isotonic, "p"), c->n_knots, 0.5, 1))
        return false;
    json_object_foreach(groups, name, v)
    {
        double t = json_number_value(v);
        if (!isfinite(t) || t <= 0 || strlen(name) >= CALIBRATOR_NAME)
            return false;
        snprintf(c->group[c->n_groups].name, CALIBRATOR_NAME, "%s", name);
        c->group[c->n_groups++].temperature = t;
    }
    return true;
}

static bool read_style(double *style, json_t *o)
{
    const char *name;
    const json_t *v;
    json_object_foreach(o, name, v)
    {
        size_t i = 0;
        while (style_names[i] && strcmp(style_names[i], name))
            i++;
        if (!style_names[i] || !json_is_number(v) || !isfinite(json_number_value(v)))
            return false;
        style[i] = json_number_value(v);
    }
    return true;
}

int head_notes_read(struct head_notes *notes, const char *folder, struct err *err)
{
    *notes = (struct head_notes){0};
    char *path = path_join(folder, "hone.json");
    int rc = 0;
    if (file_exists(path)) {
        json_error_t why;
        json_t *o = json_load_file(path, 0, &why);
        notes->score_bias = json_number_value(json_object_get(o, "score_bias"));
        notes->tie_parameter = json_number_value(json_object_get(o, "tie_parameter"));
        const json_t *ratings = json_object_get(o, "ratings"), *list = json_object_get(ratings, "thresholds");
        notes->n_thresholds = json_array_size(list);
        notes->rating_scale = json_number_value(json_object_get(ratings, "scale"));
        bool rated = notes->n_thresholds <= sizeof notes->threshold / sizeof *notes->threshold &&
                     rising(notes->threshold, list, notes->n_thresholds, -HUGE_VAL, HUGE_VAL);
        const char *ties = json_string_value(json_object_get(o, "ties"));
        notes->davidson = ties && !strcmp(ties, "davidson");
        const json_t *steps = json_object_get(o, "steps");
        const char *separator = json_string_value(json_object_get(steps, "separator"));
        size_t length = separator ? strlen(separator) : 0;
        rated = rated && (!steps || (length > 0 && length <= STEP_SEPARATOR_MOST));
        snprintf(notes->step_separator, sizeof notes->step_separator, "%s", rated && steps ? separator : "");
        if (!o || !isfinite(notes->score_bias) || !isfinite(notes->tie_parameter) || !rated ||
            !read_style(notes->style, json_object_get(o, "style")) || !read_calibrator(&notes->calibrator, o))
            rc = err_set(err, "'%s' is not the JSON object that belongs to a head: %s", path,
                         o ? "a number is missing or out of its range" : why.text);
        json_decref(o);
    }
    free(path);
    return rc;
}

/* What stands in hone.json of what the head itself is. */
static void head_take_notes(struct head *h, const struct head_notes *notes)
{
    h->bias = (float)notes->score_bias;
    memcpy(h->style, notes->style, sizeof h->style);
    memcpy(h->step_separator, notes->step_separator, sizeof h->step_separator);
}

int head_open(struct head *h, size_t width, const char *folder, struct head_notes *notes, struct err *err)
{
    *h = (struct head){0};
    char *adapter = path_join(folder, "adapter_model.safetensors");
    struct tensor_file f = {0};
    int rc = safetensors_open(&f, file_exists(adapter) ? adapter : folder, err);
    free(adapter);
    if (rc)
        return -1;
    const struct tensor *t = tensor_find(&f, "score.weight");
    if (!t)
        t = tensor_find(&f, "base_model.model.score.weight");
    if (!t) {
        tensor_file_release(&f);
        return 0;
    }
    if (t->type == DTYPE_COUNT || tensor_elements(t) != width)
        rc = err_set(err, "'%s': the head '%s' has %zu numbers where the model is %zu wide", folder, t->name,
                     tensor_elements(t), width);
    if (rc == 0)
        rc = head_init(h, width, err);
    if (rc == 0) {
        tensor_unpack(h->params.data, t);
        const struct param *bad = params_not_finite(&h->params, h->params.data);
        if (bad)
            rc = err_set(err, "'%s': the head '%s' holds a number that is not finite", folder, t->name);
    }
    if (rc == 0)
        rc = head_notes_read(notes, folder, err);
    if (rc == 0)
        head_take_notes(h, notes);
    else
        head_release(h);
    tensor_file_release(&f);
    return rc ? -1 : 1;
}
