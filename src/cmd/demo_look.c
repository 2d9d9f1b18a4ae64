#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/demo.h"
#include "cmd/json.h"
#include "cmd/load.h"
#include "data/records.h"
#include "eval/answers.h"
#include "util/file.h"
#include "util/mem.h"

/* The "topic" of each row, which dataset_read() does not keep. */
static int read_topics(struct demo_prompts *p, struct err *err)
{
    struct records r;
    if (records_open(&r, p->data.path, ROWS_MAX_LINE, ROWS_MAX_FILE, err))
        return -1;
    json_t *row;
    size_t line, i = 0;
    int more;
    p->topics = xcalloc(p->data.n + 1, sizeof *p->topics);
    for (; (more = records_next(&r, &row, &line, err)) > 0 && i < p->data.n; i++) {
        const char *topic = json_string_value(json_object_get(row, "topic"));
        p->topics[i] = xstrdup(topic ? topic : "");
        json_decref(row);
    }
    records_close(&r);
    return more < 0 ? -1 : 0;
}

/* The first prompt of each topic; of these, five that are spread over them. */
static void choose_shown(struct demo_prompts *p)
{
    size_t *first = xmalloc((p->data.n + 1) * sizeof *first), n = 0;
    for (size_t i = 0; i < p->data.n; i++) {
        size_t k = 0;
        while (k < n && strcmp(p->topics[first[k]], p->topics[i]))
            k++;
        if (k == n)
            first[n++] = i;
    }
    p->n_shown = n < 5 ? n : 5;
    for (size_t k = 0; k < p->n_shown; k++)
        p->shown[k] = first[k * n / p->n_shown];
    free(first);
}

int demo_prompts_read(struct demo_prompts *p, const struct demo *d, const struct model *m, struct err *err)
{
    *p = (struct demo_prompts){0};
    char *path = demo_example(d, "prompts-heldout.jsonl");
    struct rows_config config = {.prompts = true, .system = d->system};
    struct encode_options o = encode_options_of(m);
    int rc = dataset_read(&p->data, path, &config, err);
    if (rc == 0 && (read_topics(p, err) || examples_encode(&p->examples, &p->data, &o, err))) {
        demo_prompts_release(p);
        rc = -1;
    }
    if (rc == 0)
        choose_shown(p);
    free(path);
    return rc;
}

void demo_prompts_release(struct demo_prompts *p)
{
    for (size_t i = 0; p->topics && i < p->data.n; i++)
        free(p->topics[i]);
    free(p->topics);
    examples_release(&p->examples);
    dataset_release(&p->data);
    *p = (struct demo_prompts){0};
}

/* Text on lines of at most 88 characters, indented. */
static void print_wrapped(const char *text)
{
    size_t at = 0;
    while (*text) {
        size_t word = strcspn(text, " \n");
        if (at && at + 1 + word > 88)
            at = 0;
        fprintf(stderr, "%s%.*s", at ? " " : "\n          ", (int)word, text);
        at += word + (at > 0);
        text += word + strspn(text + word, " \n");
    }
    fputc('\n', stderr);
}

static int write_look(const struct demo *d, const struct demo_prompts *p, const struct answers *a, struct err *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < a->n; i++)
        json_array_append_new(list, json_pack("{s:s, s:o}", "prompt", row_prompt_text(&p->data.rows[p->shown[i]]), "answer",
                                              json_text(a->texts[i])));
    char *path = demo_path(d, "look.json"), *text = json_dumps(list, JSON_INDENT(2));
    int rc = file_write(path, text, strlen(text), err);
    free(text);
    free(path);
    json_decref(list);
    return rc;
}

int demo_look(const struct demo *d, struct err *err)
{
    struct loaded base;
    struct demo_prompts p = {0};
    struct answers a = {0};
    struct answers_config config = {1, DEMO_RESPONSE_LENGTH, DEMO_SLOTS, DEMO_TEMPERATURE, DEMO_SEED};
    struct example five[5];
    if (d->args->threads)
        omp_set_num_threads((int)d->args->threads);
    if (load_net(&base, d->args->model, NULL, NULL, err))
        return -1;
    int rc = demo_prompts_read(&p, d, &base.model, err);
    for (size_t i = 0; rc == 0 && i < p.n_shown; i++)
        five[i] = p.examples.list[p.shown[i]];
    if (rc == 0)
        rc = answers_sample(&a, &base.net, &(struct examples){.list = five, .n = p.n_shown}, &config, NULL, NULL, err);
    for (size_t i = 0; i < a.n; i++) {
        fprintf(stderr, "\n      Q:  %s\n      A:", row_prompt_text(&p.data.rows[p.shown[i]]));
        print_wrapped(a.texts[i]);
    }
    if (rc == 0)
        rc = write_look(d, &p, &a, err);
    answers_release(&a);
    demo_prompts_release(&p);
    loaded_release(&base);
    return rc;
}
