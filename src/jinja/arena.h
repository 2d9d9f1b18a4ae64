/* The memory of one parse or one render, and its way out.
 *
 * Everything that is made on the way lives in the arena and goes with it, so nothing leaks whatever
 * happens.  Work that cannot go on calls arena_fail(), which fills the error and jumps to where the
 * work began:
 *
 *     arena_init(a, ceiling, err);
 *     if (!setjmp(a->out))
 *         .. work ..;       // locals that are read after a failure must be volatile
 *     arena_release(a);
 *
 * The jump stays within src/jinja: what jinja/jinja.h offers returns codes as everything else does.
 * Bounds are here, too: bytes, steps and depth. */
#ifndef HONE_JINJA_ARENA_H
#define HONE_JINJA_ARENA_H

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "util/err.h"

/* A text that somebody else owns: the arena, the template, or the JSON that came in. */
struct str {
    const char *data;
    size_t n;
};

struct arena {
    struct arena_block *blocks;
    size_t used, ceiling; /* bytes */
    size_t steps;         /* left */
    size_t depth;         /* of what calls itself */
    size_t line;          /* of the template, for sentences */
    int64_t now;          /* what strftime_now() takes for the time */
    struct err *err;      /* may be NULL */
    jmp_buf out;
};

#define ARENA_STEPS ((size_t)32 << 20)
#define ARENA_DEPTH 1000

void arena_init(struct arena *a, size_t ceiling, struct err *err);
void arena_release(struct arena *a);

/* n bytes, not zeroed, aligned for anything. */
void *arena_alloc(struct arena *a, size_t n);
void *arena_zeroed(struct arena *a, size_t n);

/* "line 12: .."; never returns. */
_Noreturn void arena_fail(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Steps of work are counted, about one a value or 64 bytes. */
void arena_charge(struct arena *a, size_t steps);

/* Around what calls itself. */
void arena_enter(struct arena *a);
void arena_leave(struct arena *a);

/* Room for one more in an array of the arena; doubles. */
void *arena_grow(struct arena *a, void *array, size_t n, size_t *capacity, size_t size);

/* A text that grows. */
struct text {
    struct arena *arena;
    char *data;
    size_t n, capacity;
};
void text_add(struct text *t, const char *bytes, size_t n);
void text_str(struct text *t, struct str s);
void text_c(struct text *t, const char *s);
struct str text_done(const struct text *t);

struct str str_of(const char *s); /* borrows */
struct str str_copy(struct arena *a, const char *bytes, size_t n);
static inline int str_is(struct str s, const char *word)
{
    size_t n = strlen(word);
    return s.n == n && memcmp(s.data, word, n) == 0;
}
static inline int str_same(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.data, b.data, a.n) == 0);
}

/* For "%.*s" in sentences: at most 60 bytes of it. */
#define STR_ARG(s) (int)((s).n < 60 ? (s).n : 60), (s).n ? (s).data : ""

#endif
