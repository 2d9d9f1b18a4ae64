/* SHA-1 (FIPS 180-4): the names that git, and so a model hub, gives to the contents of small files.  It tells a damaged file from a
 * whole one, not a forged one from a true one. */
#ifndef HONE_UTIL_SHA1_H
#define HONE_UTIL_SHA1_H

#include <stddef.h>
#include <stdint.h>

struct sha1 {
    uint32_t h[5];
    uint64_t bytes;
    unsigned char block[64]; /* what does not fill one yet */
};

void sha1_init(struct sha1 *s);
void sha1_add(struct sha1 *s, const void *data, size_t n);
void sha1_end(struct sha1 *s, unsigned char digest[20]);

#endif
