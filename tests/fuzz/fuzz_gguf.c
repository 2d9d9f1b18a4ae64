/* Any bytes as a GGUF file: opened or refused with a sentence, and what is opened can be read to
 * its end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf.h"
#include "util/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_value(const struct gguf *g, const struct gguf_value *v)
{
    struct err err;
    uint32_t u;
    float f, *floats;
    bool b;
    int32_t *ints;
    size_t n;
    const char *s;
    const char *const *strings;
    const size_t *lens;
    gguf_u32(&u, g, v->key, &err);
    gguf_f32(&f, g, v->key, &err);
    gguf_bool(&b, g, v->key, &err);
    if (gguf_str(&s, &n, g, v->key, &err) == 1)
        ENSURE(s[n] == 0);
    if (gguf_i32_array(&ints, &n, g, v->key, &err) == 1)
        free(ints);
    if (gguf_f32_array(&floats, &n, g, v->key, &err) == 1)
        free(floats);
    if (gguf_str_array(&strings, &lens, &n, g, v->key, &err) == 1) {
        for (size_t i = 0; i < n; i++)
            ENSURE(strings[i][lens[i]] == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf g;
    struct err err = {{0}};
    if (gguf_open_memory(&g, data, size, "input", &err)) {
        ENSURE(err.text[0] != 0 && memchr(err.text, '\n', strlen(err.text)) == NULL);
        return 0;
    }
    for (size_t i = 0; i < g.n_values; i++)
        read_value(&g, &g.values[i]);
    for (size_t i = 0; i < g.tensors.n; i++) {
        const struct tensor *t = &g.tensors.tensors[i];
        ENSURE(tensor_find(&g.tensors, t->name) == t);
        if (tensor_need(&g.tensors, t->name, &err) == NULL)
            continue;
        float *out = xmalloc(4 * tensor_elements(t));
        tensor_unpack(out, t);
        free(out);
    }
    gguf_release(&g);
    return 0;
}
