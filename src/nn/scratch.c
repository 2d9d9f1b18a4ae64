#include "nn/scratch.h"

#include "util/mem.h"

static _Thread_local struct {
    float *data;
    size_t floats;
} slots[SCRATCH_SLOTS];

float *scratch(enum scratch_slot slot, size_t floats)
{
    if (slots[slot].floats < floats) {
        struct err err;
        mem_block_free(slots[slot].data);
        slots[slot].data = mem_block(floats, sizeof(float), "a thread's working memory", &err);
        if (!slots[slot].data)
            BUG("%s", err.text);
        slots[slot].floats = floats;
    }
    return slots[slot].data;
}
