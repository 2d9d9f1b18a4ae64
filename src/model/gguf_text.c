#include "model/gguf_text.h"

#include <stdlib.h>

#include "util/mem.h"

/* A switch that the file may leave out: 1, 0, or -1 then. */
static int said(int *out, const struct gguf *g, const char *key, struct err *err)
{
    bool value;
    int rc = gguf_bool(&value, g, key, err);
    *out = rc > 0 ? value : -1;
    return rc < 0 ? -1 : 0;
}

/* An array of bytes, fresh for free(); NULL where there is none. */
static int byte_array(unsigned char **out, size_t *n, const struct gguf *g, const char *key, struct err *err)
{
    int32_t *numbers = NULL;
    *out = NULL;
    if (gguf_i32_array(&numbers, n, g, key, err) < 0)
        return -1;
    if (numbers) {
        *out = xmalloc(*n + 1);
        for (size_t i = 0; i < *n; i++)
            (*out)[i] = (unsigned char)numbers[i];
    }
    free(numbers);
    return 0;
}

void gguf_text_release(struct gguf_text *t)
{
    free(t->types);
    free(t->scores);
    free(t->charsmap);
    *t = (struct gguf_text){0};
}

static int read(struct gguf_text *t, const struct gguf *g, struct err *err)
{
    struct tokenizer_parts *p = &t->parts;
    size_t n_types = 0;
    uint32_t unk = (uint32_t)-1;
    const size_t *merge_lens;
    if (gguf_str(&p->model, NULL, g, "tokenizer.ggml.model", err) < 0 || gguf_str(&p->pre, NULL, g, "tokenizer.ggml.pre", err) < 0 ||
        gguf_i32_array(&t->types, &n_types, g, "tokenizer.ggml.token_type", err) < 0 ||
        gguf_f32_array(&t->scores, &p->n_scores, g, "tokenizer.ggml.scores", err) < 0 ||
        gguf_str_array(&p->merges, &merge_lens, &p->n_merges, g, "tokenizer.ggml.merges", err) < 0 ||
        byte_array(&t->charsmap, &p->charsmap_len, g, "tokenizer.ggml.precompiled_charsmap", err) ||
        gguf_u32(&unk, g, "tokenizer.ggml.unknown_token_id", err) < 0 || said(&p->add_bos, g, "tokenizer.ggml.add_bos_token", err) ||
        said(&p->add_eos, g, "tokenizer.ggml.add_eos_token", err) || said(&p->add_space_prefix, g, "tokenizer.ggml.add_space_prefix", err) ||
        said(&p->remove_extra_whitespaces, g, "tokenizer.ggml.remove_extra_whitespaces", err))
        return -1;
    if (n_types && n_types != p->n_tokens)
        return err_set(err, "'%s': %zu token types for %zu tokens", g->tensors.path, n_types, p->n_tokens);
    p->types = t->types;
    p->scores = t->scores;
    p->charsmap = t->charsmap;
    p->unk = unk == (uint32_t)-1 ? -1 : unk > INT32_MAX ? INT32_MAX : (int)unk;
    return 0;
}

int gguf_text_open(struct gguf_text *t, const struct gguf *g, int bos, int eos, struct err *err)
{
    *t = (struct gguf_text){.parts = {.bos = bos, .eos = eos}};
    int rc = gguf_str_array(&t->parts.tokens, &t->parts.token_lens, &t->parts.n_tokens, g, "tokenizer.ggml.tokens", err);
    if (rc > 0 && read(t, g, err))
        rc = -1;
    if (rc <= 0)
        gguf_text_release(t);
    return rc;
}
