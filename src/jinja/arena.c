#include "jinja/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "util/mem.h"

#define BLOCK ((size_t)16 << 10)

struct arena_block {
    struct arena_block *before;
    size_t used, size;
    _Alignas(16) char data[];
};

void arena_init(struct arena *a, size_t ceiling, struct err *err)
{
    *a = (struct arena){.ceiling = ceiling, .steps = ARENA_STEPS, .err = err};
}

void arena_release(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *before = a->blocks->before;
        free(a->blocks);
        a->blocks = before;
    }
}

void *arena_alloc(struct arena *a, size_t n)
{
    if (n > a->ceiling || a->used > a->ceiling - n)
        arena_fail(a, "more than %zu bytes of memory are asked for", a->ceiling);
    n = (n + 15) & ~(size_t)15;
    a->used += n;
    struct arena_block *b = a->blocks;
    if (!b || n > b->size - b->used) {
        size_t size = n > BLOCK ? n : BLOCK;
        b = xmalloc(sizeof *b + size);
        *b = (struct arena_block){.before = a->blocks, .size = size};
        a->blocks = b;
    }
    char *p = b->data + b->used;
    b->used += n;
    return p;
}

void *arena_zeroed(struct arena *a, size_t n)
{
    return memset(arena_alloc(a, n), 0, n);
}

void arena_fail(struct arena *a, const char *fmt, ...)
{
    char sentence[900];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(sentence, sizeof sentence, fmt, ap);
    va_end(ap);
    err_set(a->err, "line %zu: %s", a->line, sentence);
    longjmp(a->out, 1);
}

void arena_charge(struct arena *a, size_t steps)
{
    if (steps > a->steps)
        arena_fail(a, "more than %zu steps: does it end?", ARENA_STEPS);
    a->steps -= steps;
}

void arena_enter(struct arena *a)
{
    if (++a->depth > ARENA_DEPTH)
        arena_fail(a, "nested more than %d deep", ARENA_DEPTH);
}

void arena_leave(struct arena *a)
{
    a->depth--;
}

void *arena_grow(struct arena *a, void *array, size_t n, size_t *capacity, size_t size)
{
    if (n < *capacity)
        return array;
    *capacity = *capacity ? 2 * *capacity : 4;
    void *larger = arena_alloc(a, *capacity * size);
    if (n)
        memcpy(larger, array, n * size);
    return larger;
}

void text_add(struct text *t, const char *bytes, size_t n)
{
    if (n > t->capacity - t->n) {
        size_t want = t->n + n;
        t->capacity = want > 2 * t->capacity ? want : 2 * t->capacity;
        char *larger = arena_alloc(t->arena, t->capacity);
        if (t->n)
            memcpy(larger, t->data, t->n);
        t->data = larger;
    }
    if (n)
        memcpy(t->data + t->n, bytes, n);
    t->n += n;
    arena_charge(t->arena, n / 64 + 1);
}

void text_str(struct text *t, struct str s)
{
    text_add(t, s.data, s.n);
}

void text_c(struct text *t, const char *s)
{
    text_add(t, s, strlen(s));
}

struct str text_done(const struct text *t)
{
    return (struct str){t->n ? t->data : "", t->n};
}

struct str str_of(const char *s)
{
    return (struct str){s, strlen(s)};
}

struct str str_copy(struct arena *a, const char *bytes, size_t n)
{
    char *copy = arena_alloc(a, n + 1);
    if (n)
        memcpy(copy, bytes, n);
    copy[n] = 0;
    return (struct str){copy, n};
}
