/* Any bytes as a safetensors file: opened or refused with a sentence, and what is opened can be
 * read to its end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"
#include "util/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tensor_file file;
    struct err err = {{0}};
    if (safetensors_open_memory(&file, data, size, "input", &err)) {
        ENSURE(err.text[0] != 0 && memchr(err.text, '\n', strlen(err.text)) == NULL);
        return 0;
    }
    for (size_t i = 0; i < file.n; i++) {
        const struct tensor *t = &file.tensors[i];
        ENSURE(tensor_find(&file, t->name) == t);
        if (tensor_need(&file, t->name, &err) == NULL)
            continue;
        float *out = xmalloc(4 * tensor_elements(t));
        tensor_unpack(out, t);
        free(out);
    }
    tensor_file_release(&file);
    return 0;
}
