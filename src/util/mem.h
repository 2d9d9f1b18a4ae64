/* Memory.
 *
 * Small things: x*() never return NULL; when the machine has no memory left the program cannot go on and
 * BUG()s.  Big blocks (weights, activations, caches), whose size comes from a file or a flag, go through
 * mem_block(), which can fail with a sentence. */
#ifndef HONE_UTIL_MEM_H
#define HONE_UTIL_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "util/err.h"

void *xmalloc(size_t size);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t size);
void *xreallocarray(void *p, size_t n, size_t size);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* n * size bytes, zeroed, aligned to 64; NULL and a sentence naming `what` if they cannot be had or the
 * product overflows.  Freed with mem_block_free(). */
void *mem_block(size_t n, size_t size, const char *what, struct err *err);
void mem_block_free(void *p);

/* All of these bytes will be used, and often: ask for large pages, which the processor finds faster. */
void mem_large_pages(void *p, size_t bytes);

/* Largest resident set of this process so far, in MiB. */
double mem_peak_rss_mib(void);

/* Make room for at least `want` elements in a growing array; doubles. */
#define ARRAY_GROW(array, want, capacity)                                                          \
    do {                                                                                           \
        if ((size_t)(want) > (size_t)(capacity)) {                                                 \
            (capacity) = (size_t)(want) > 2 * (size_t)(capacity) ? (want) : 2 * (capacity);        \
            (array) = xreallocarray((array), (size_t)(capacity), sizeof *(array));                 \
        }                                                                                          \
    } while (0)

#endif
