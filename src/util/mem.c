#define _GNU_SOURCE
#include "util/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

void *xmalloc(size_t size)
{
    void *p = malloc(size ? size : 1);
    if (!p)
        BUG("out of memory: %zu bytes", size);
    return p;
}

void *xcalloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size ? size : 1);
    if (!p)
        BUG("out of memory: %zu times %zu bytes", n, size);
    return p;
}

void *xrealloc(void *p, size_t size)
{
    p = realloc(p, size ? size : 1);
    if (!p)
        BUG("out of memory: %zu bytes", size);
    return p;
}

void *xreallocarray(void *p, size_t n, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(n, size, &total))
        BUG("out of memory: %zu times %zu bytes", n, size);
    return xrealloc(p, total);
}

char *xstrndup(const char *s, size_t n)
{
    char *p = xmalloc(n + 1);
    memcpy(p, s, n);
    p[n] = 0;
    return p;
}

char *xstrdup(const char *s)
{
    return xstrndup(s, strlen(s));
}

char *xasprintf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s;
    if (vasprintf(&s, fmt, ap) < 0)
        BUG("out of memory");
    va_end(ap);
    return s;
}

/* calloc leaves the pages of a large block untouched until they are used; what it gave stands just before the
 * aligned address. */
void *mem_block(size_t n, size_t size, const char *what, struct err *err)
{
    size_t total;
    char *whole = NULL;
    if (!__builtin_mul_overflow(n, size, &total) && total < (size_t)1 << 46)
        whole = calloc(1, total + 128);
    if (!whole) {
        err_set(err, "no memory for %s: %zu times %zu bytes are needed: take a smaller batch or model", what, n, size);
        return NULL;
    }
    char *p = (char *)(((uintptr_t)whole + 127) & ~(uintptr_t)63);
    memcpy(p - sizeof whole, &whole, sizeof whole);
    return p;
}

void mem_block_free(void *p)
{
    void *whole = NULL;
    if (p)
        memcpy(&whole, (char *)p - sizeof whole, sizeof whole);
    free(whole);
}

void mem_large_pages(void *p, size_t bytes)
{
#ifdef MADV_HUGEPAGE
    const uintptr_t large = (uintptr_t)1 << 21;
    uintptr_t from = ((uintptr_t)p + large - 1) & ~(large - 1), to = ((uintptr_t)p + bytes) & ~(large - 1);
    if (from < to)
        (void)madvise((void *)from, to - from, MADV_HUGEPAGE); /* where it is refused, small pages do */
#else
    (void)p, (void)bytes;
#endif
}

double mem_peak_rss_mib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss / 1024.0;
}
