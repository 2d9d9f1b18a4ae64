/* Working memory of a thread: one growing block a slot, kept for the thread's life.
 *
 * A slot's content lasts until the same thread asks for the slot again, so functions that may be active at
 * the same time use different slots.  64-byte aligned, not cleared. */
#ifndef HONE_NN_SCRATCH_H
#define HONE_NN_SCRATCH_H

#include <stddef.h>

enum scratch_slot {
    SCRATCH_TILE,   /* unpacked panels */
    SCRATCH_UNPACK, /* weight_tile's rows before they are turned */
    SCRATCH_STRIPS, /* products' packed operands */
    SCRATCH_ATTENTION,
    SCRATCH_TURNED, /* attention's tiles as its backward wants them */
    SCRATCH_SUMS,   /* its gradients of a run's keys and values */
    SCRATCH_PAST,   /* and of what comes before a tree */
    SCRATCH_LORA,
    SCRATCH_NORM, /* a row less its mean, and its gradient */
    SCRATCH_ONES,
    SCRATCH_UNIT, /* a norm's 1 + w */
    SCRATCH_LOGPROB,
    SCRATCH_SLOTS,
};

float *scratch(enum scratch_slot slot, size_t floats);

#endif
