/* Any bytes as a GGUF model in two files: opened or refused with a sentence, whichever part is named.  The input is cut where
 * its last "GGUF" begins. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf.h"
#include "util/file.h"
#include "util/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *paths[2];

static void remove_parts(void)
{
    struct err err;
    *strrchr(paths[0], '/') = 0;
    dir_remove(paths[0], &err);
}

static void write_part(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f))
        BUG("cannot write '%s'", path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {{0}};
    if (!paths[0]) {
        const char *tmp = getenv("TMPDIR");
        char *folder = xasprintf("%s/hone-fuzz-XXXXXX", tmp ? tmp : "/tmp");
        ENSURE(mkdtemp(folder));
        paths[0] = path_join(folder, "m-00001-of-00002.gguf");
        paths[1] = path_join(folder, "m-00002-of-00002.gguf");
        free(folder);
        atexit(remove_parts);
    }
    size_t cut = size;
    while (cut > 0 && (size - cut < 4 || memcmp(data + cut, "GGUF", 4)))
        cut--;
    write_part(paths[0], data, cut);
    write_part(paths[1], data + cut, size - cut);
    for (int i = 0; i < 2; i++) {
        struct gguf g;
        if (gguf_open(&g, paths[i], &err)) {
            ENSURE(err.text[0] != 0 && memchr(err.text, '\n', strlen(err.text)) == NULL);
            continue;
        }
        for (size_t t = 0; t < g.tensors.n; t++) {
            const struct tensor *tensor = &g.tensors.tensors[t];
            ENSURE(tensor_find(&g.tensors, tensor->name) == tensor);
            if (tensor_need(&g.tensors, tensor->name, &err) == NULL)
                continue;
            float *out = xmalloc(4 * tensor_elements(tensor));
            tensor_unpack(out, tensor);
            free(out);
        }
        gguf_release(&g);
    }
    return 0;
}
