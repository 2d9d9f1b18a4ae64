#include "hub/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/mem.h"

bool digest_known(const char *hash)
{
    size_t n = strspn(hash, "0123456789abcdef");
    return (n == 40 || n == 64) && hash[n] == 0;
}

void digest_begin(struct digest *d, const char *want, size_t size)
{
    d->git = strlen(want) == 40;
    if (d->git) {
        char head[32];
        int n = snprintf(head, sizeof head, "blob %zu", size);
        sha1_init(&d->sha1);
        sha1_add(&d->sha1, head, (size_t)n + 1);
    } else {
        crypto_hash_sha256_init(&d->sha256);
    }
}

void digest_add(struct digest *d, const void *data, size_t n)
{
    if (d->git)
        sha1_add(&d->sha1, data, n);
    else
        crypto_hash_sha256_update(&d->sha256, data, n);
}

void digest_end(struct digest *d, char out[65])
{
    unsigned char bytes[32];
    if (d->git)
        sha1_end(&d->sha1, bytes);
    else
        crypto_hash_sha256_final(&d->sha256, bytes);
    sodium_bin2hex(out, 65, bytes, d->git ? 20 : 32);
}

int digest_file(struct digest *d, int fd, const char *path, const struct hub_watch *watch, size_t done, struct err *err)
{
    enum { BLOCK = 1 << 18 };
    char *block = xmalloc(BLOCK);
    ssize_t n = lseek(fd, 0, SEEK_SET);
    int rc = 0;
    while (n >= 0 && rc == 0 && (n = read(fd, block, BLOCK)) > 0) {
        digest_add(d, block, (size_t)n);
        done += (size_t)n;
        watch->at(watch->ctx, done);
        if (watch->stopped(watch->ctx))
            rc = err_set(err, "stopped");
    }
    if (n < 0)
        rc = err_set(err, "cannot read '%s': %s", path, strerror(errno));
    free(block);
    return rc;
}

int digest_matches(const char *path, const char *want, size_t size, const struct hub_watch *watch, size_t done, struct err *err)
{
    struct stat st;
    struct digest d;
    char hash[65];
    if (stat(path, &st) || !S_ISREG(st.st_mode) || (size_t)st.st_size != size)
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, "cannot open '%s': %s", path, strerror(errno));
    digest_begin(&d, want, size);
    int rc = digest_file(&d, fd, path, watch, done, err);
    close(fd);
    digest_end(&d, hash);
    return rc ? rc : !strcmp(hash, want);
}
