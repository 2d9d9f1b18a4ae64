/* A growing string of bytes with a ceiling.
 *
 * `data` is always followed by a 0 byte (also when empty, after buf_init).  A write past the ceiling is dropped whole and sets
 * `overflow`, which the owner checks once at the end.  Not for sharing between threads. */
#ifndef HONE_UTIL_BUF_H
#define HONE_UTIL_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data;
    size_t len, capacity, ceiling;
    bool overflow;
};

void buf_init(struct buf *b, size_t ceiling);
void buf_release(struct buf *b);
void buf_clear(struct buf *b);
void buf_add(struct buf *b, const void *bytes, size_t n);
void buf_str(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* JSON: a quoted string (bytes that are not UTF-8 become U+FFFD); a number that reads back as the same
 * float (%.9g) or double (%.17g shortened where that is exact), null where it is not finite. */
void buf_json_str(struct buf *b, const char *s, size_t n);
void buf_json_float(struct buf *b, float x);
void buf_json_double(struct buf *b, double x);

/* So many bytes for people, in powers of 1,000: "812 B", "94.1 MB", "1.24 GB".  Returns out. */
#define BYTES_TEXT 24
const char *bytes_text(char out[BYTES_TEXT], size_t n);

#endif
