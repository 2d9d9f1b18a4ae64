#include "tokenizer/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/mem.h"
#include "util/utf8.h"

/* Bytes that print as one character in Latin-1 are their own letters; the others take U+0100 on, in
 * order. */
static uint16_t letter_of(uint8_t byte)
{
    if (byte < 0x21)
        return (uint16_t)(0x100 + byte);
    if (byte >= 0x7f && byte <= 0xa0)
        return (uint16_t)(0x100 + 0x21 + byte - 0x7f);
    return byte == 0xad ? 0x143 : byte;
}

static void make_alphabet(struct vocab *v)
{
    for (size_t i = 0; i < sizeof v->byte_of / sizeof *v->byte_of; i++)
        v->byte_of[i] = -1;
    for (int b = 0; b < 256; b++)
        v->byte_of[letter_of((uint8_t)b)] = (int16_t)b;
}

void vocab_init(struct vocab *v)
{
    *v = (struct vocab){.n_slots = 1024};
    v->slots = xmalloc(v->n_slots * sizeof *v->slots);
    memset(v->slots, 0xff, v->n_slots * sizeof *v->slots);
    make_alphabet(v);
}

void vocab_release(struct vocab *v)
{
    free(v->tokens);
    free(v->pool);
    free(v->slots);
    *v = (struct vocab){0};
}

static size_t hash_string(const char *s, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
    return (size_t)(h ^ h >> 32);
}

/* The slot that holds the spelling, or the empty one where it belongs. */
static size_t find_slot(const struct vocab *v, const char *spelling, size_t len)
{
    size_t i = hash_string(spelling, len) & (v->n_slots - 1);
    for (; v->slots[i] >= 0; i = (i + 1) & (v->n_slots - 1)) {
        const struct vocab_token *t = &v->tokens[v->slots[i]];
        if (t->spelling_len == len && memcmp(v->pool + t->at, spelling, len) == 0)
            break;
    }
    return i;
}

static void grow_slots(struct vocab *v)
{
    int32_t *old = v->slots;
    size_t n_old = v->n_slots;
    v->n_slots *= 2;
    v->slots = xreallocarray(NULL, v->n_slots, sizeof *v->slots);
    memset(v->slots, 0xff, v->n_slots * sizeof *v->slots);
    for (size_t i = 0; i < n_old; i++)
        if (old[i] >= 0) {
            const struct vocab_token *t = &v->tokens[old[i]];
            v->slots[find_slot(v, v->pool + t->at, t->spelling_len)] = old[i];
        }
    free(old);
}

/* The bytes that a spelling in the alphabet stands for, appended to the pool; false (and nothing)
 * if it has a character from outside. */
static bool add_bytes(struct vocab *v, const char *spelling, size_t len)
{
    size_t start = v->pool_len;
    for (size_t i = 0; i < len;) {
        size_t k = utf8_char_len(spelling + i, len - i);
        uint32_t c = k ? utf8_decode(spelling + i, k) : UINT32_MAX;
        if (c >= sizeof v->byte_of / sizeof *v->byte_of || v->byte_of[c] < 0) {
            v->pool_len = start;
            return false;
        }
        v->pool[v->pool_len++] = (char)v->byte_of[c];
        i += k;
    }
    return true;
}

int vocab_add(struct vocab *v, int64_t id, const char *spelling, size_t len, struct err *err)
{
    int shown = len < 60 ? (int)len : 60;
    if (id < 0 || (uint64_t)id >= VOCAB_MAX_TOKENS)
        return err_set(err, "token '%.*s' has id %lld, which is not between 0 and %zu", shown,
                       spelling, (long long)id, VOCAB_MAX_TOKENS - 1);
    if (len == 0 || len > UINT32_MAX / 2)
        return err_set(err, "token %lld is %s", (long long)id, len ? "too long" : "empty");
    if ((size_t)id < v->n && v->tokens[id].spelling_len)
        return err_set(err, "two tokens have id %lld; the second is '%.*s'", (long long)id, shown,
                       spelling);
    size_t slot = find_slot(v, spelling, len);
    if (v->slots[slot] >= 0)
        return err_set(err, "token '%.*s' is there twice, with ids %d and %lld", shown, spelling,
                       (int)v->slots[slot], (long long)id);

    if ((size_t)id >= v->n) {
        ARRAY_GROW(v->tokens, (size_t)id + 1, v->capacity);
        memset(v->tokens + v->n, 0, ((size_t)id + 1 - v->n) * sizeof *v->tokens);
        v->n = (size_t)id + 1;
    }
    ARRAY_GROW(v->pool, v->pool_len + 2 * len, v->pool_capacity);
    struct vocab_token *t = &v->tokens[id];
    t->at = v->pool_len;
    t->spelling_len = (uint32_t)len;
    memcpy(v->pool + v->pool_len, spelling, len);
    v->pool_len += len;
    t->bytes_at = v->pool_len;
    t->has_bytes = add_bytes(v, spelling, len);
    t->bytes_len = (uint32_t)(v->pool_len - t->bytes_at);

    v->slots[slot] = (int32_t)id;
    if (++v->n_used > v->n_slots / 2)
        grow_slots(v);
    return 0;
}

int32_t vocab_find(const struct vocab *v, const char *spelling, size_t len)
{
    return v->slots[find_slot(v, spelling, len)];
}

int32_t vocab_find_byte(const struct vocab *v, uint8_t byte)
{
    return vocab_find_bytes(v, (const char *)&byte, 1);
}

int32_t vocab_find_bytes(const struct vocab *v, const char *bytes, size_t n)
{
    if (n == 0)
        return -1;
    char small[256], *spelling = small;
    if (n > sizeof small / 2)
        spelling = xreallocarray(NULL, n, 2); /* every letter is below U+0800 */
    size_t len = 0;
    for (size_t i = 0; i < n; i++)
        len += utf8_encode(spelling + len, letter_of((unsigned char)bytes[i]));
    int32_t id = vocab_find(v, spelling, len);
    if (spelling != small)
        free(spelling);
    return id;
}

int32_t vocab_find_hex_byte(const struct vocab *v, uint8_t byte)
{
    char spelling[7];
    return vocab_find(v, spelling, (size_t)snprintf(spelling, sizeof spelling, "<0x%02X>", byte));
}

void vocab_letters_append(struct buf *out, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char s[4];
        buf_add(out, s, utf8_encode(s, letter_of((unsigned char)bytes[i])));
    }
}

static size_t pool_add(struct vocab *v, const char *bytes, size_t n)
{
    ARRAY_GROW(v->pool, v->pool_len + n, v->pool_capacity);
    memcpy(v->pool + v->pool_len, bytes, n);
    v->pool_len += n;
    return v->pool_len - n;
}

void vocab_set_bytes(struct vocab *v, int32_t id, const char *bytes, size_t n)
{
    v->tokens[id].bytes_at = pool_add(v, bytes, n);
    v->tokens[id].bytes_len = (uint32_t)n;
    v->tokens[id].has_bytes = true;
}

void vocab_set_content(struct vocab *v, int32_t id, const char *content, size_t n)
{
    v->tokens[id].content_at = pool_add(v, content, n);
    v->tokens[id].content_len = (uint32_t)n;
}

const char *vocab_content(const struct vocab *v, int32_t id, size_t *len)
{
    if (id < 0 || (size_t)id >= v->n || v->tokens[id].content_len == 0)
        return vocab_spelling(v, id, len);
    *len = v->tokens[id].content_len;
    return v->pool + v->tokens[id].content_at;
}

void vocab_set_added(struct vocab *v, int32_t id, bool special)
{
    v->tokens[id].added = true;
    v->tokens[id].has_bytes = false;
    v->tokens[id].content_len = 0;
    v->tokens[id].special = special;
}

const char *vocab_bytes(const struct vocab *v, int32_t id, size_t *len)
{
    if (id >= 0 && (size_t)id < v->n && v->tokens[id].has_bytes) {
        *len = v->tokens[id].bytes_len;
        return v->pool + v->tokens[id].bytes_at;
    }
    return vocab_content(v, id, len);
}

const char *vocab_spelling(const struct vocab *v, int32_t id, size_t *len)
{
    *len = 0;
    if (id < 0 || (size_t)id >= v->n || v->tokens[id].spelling_len == 0)
        return "";
    *len = v->tokens[id].spelling_len;
    return v->pool + v->tokens[id].at;
}
