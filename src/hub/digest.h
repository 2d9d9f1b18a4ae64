/* The hash that a hub gives for a file, which says by its length what it is: 64 hex digits the SHA-256 of the content (large files,
 * LFS), 40 git's name of it, SHA-1("blob SIZE\0" content). */
#ifndef HONE_HUB_DIGEST_H
#define HONE_HUB_DIGEST_H

#include <sodium.h>
#include <stdbool.h>

#include "hub/watch.h"
#include "util/err.h"
#include "util/sha1.h"

struct digest {
    bool git;
    struct sha1 sha1;
    crypto_hash_sha256_state sha256;
};

/* Is it such a hash: 40 or 64 lower-case hex digits? */
bool digest_known(const char *hash);

/* For content of `size` bytes that should have the hash `want`. */
void digest_begin(struct digest *d, const char *want, size_t size);
void digest_add(struct digest *d, const void *data, size_t n);
void digest_end(struct digest *d, char out[65]);

/* Add what is in an open file from its start to its end.  `done`: what to tell the watch before the first byte. */
int digest_file(struct digest *d, int fd, const char *path, const struct hub_watch *watch, size_t done, struct err *err);

/* Is `path` a regular file with this size and hash?  1, 0, or -1 and a sentence. */
int digest_matches(const char *path, const char *want, size_t size, const struct hub_watch *watch, size_t done, struct err *err);

#endif
