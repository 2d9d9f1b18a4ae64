#include "nn/scratch.h"

#include <pthread.h>

#include "util/mem.h"

static _Thread_local struct slot {
    float *data;
    size_t floats;
} slots[SCRATCH_SLOTS];

static pthread_key_t at_end;
static pthread_once_t at_end_made = PTHREAD_ONCE_INIT;

/* A thread that ends leaves nothing behind. */
static void release(void *own)
{
    struct slot *s = own;
    for (size_t i = 0; i < SCRATCH_SLOTS; i++) {
        mem_block_free(s[i].data);
        s[i] = (struct slot){0};
    }
}

static void make_at_end(void)
{
    if (pthread_key_create(&at_end, release))
        BUG("no key for the threads' working memory");
}

float *scratch(enum scratch_slot slot, size_t floats)
{
    if (slots[slot].floats < floats) {
        struct err err;
        pthread_once(&at_end_made, make_at_end);
        pthread_setspecific(at_end, slots);
        mem_block_free(slots[slot].data);
        slots[slot].data = mem_block(floats, sizeof(float), "a thread's working memory", &err);
        if (!slots[slot].data)
            BUG("%s", err.text);
        slots[slot].floats = floats;
    }
    return slots[slot].data;
}
