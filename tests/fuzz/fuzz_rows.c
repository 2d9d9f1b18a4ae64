/* Whatever the bytes, a data file is read or refused with a sentence. */
#include <stdint.h>
#include <stdlib.h>

#include "data/rows.h"
#include "data/split.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    if (n == 0)
        return 0;
    struct rows_config config = {.keep_plain = bytes[0] & 1,
                                 .prompts = bytes[0] & 2,
                                 .skip_bad = bytes[0] & 4,
                                 .system = bytes[0] & 8 ? "s" : NULL};
    struct dataset data;
    struct err err = {{0}};
    const char *name = bytes[0] & 16 ? "f.csv" : "f.jsonl";
    if (dataset_parse(&data, name, (const char *)bytes + 1, n - 1, &config, &err)) {
        if (!err.text[0])
            abort();
        return 0;
    }
    struct split split;
    if (split_rows(&split, &data, 0.5, 1, &err) == 0)
        split_release(&split);
    dataset_release(&data);
    return 0;
}
