#define _GNU_SOURCE
#include "util/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/mem.h"

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool file_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *path_join(const char *dir, const char *name)
{
    size_t n = strlen(dir);
    return xasprintf("%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name);
}

int file_read(const char *path, struct buf *out, struct err *err)
{
    FILE *f = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    if (!f)
        return err_set(err, "cannot open '%s': %s", path, strerror(errno));
    char block[65536];
    size_t n;
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        buf_add(out, block, n);
    int failed = ferror(f), saved = errno;
    if (f != stdin)
        fclose(f);
    if (failed)
        return err_set(err, "cannot read '%s': %s", path, strerror(saved));
    if (out->overflow)
        return err_set(err, "'%s' is larger than the %zu bytes that are read of such a file", path, out->ceiling);
    return 0;
}

int file_map_open(struct file_map *map, const char *path, struct err *err)
{
    *map = (struct file_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, "cannot open '%s': %s", path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return err_set(err, "cannot read '%s': not a regular file", path);
    }
    if (st.st_size == 0) {
        close(fd);
        return err_set(err, "'%s' is empty", path);
    }
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    int saved = errno;
    close(fd);
    if (p == MAP_FAILED)
        return err_set(err, "cannot map '%s': %s", path, strerror(saved));
    map->data = p;
    map->size = (size_t)st.st_size;
    return 0;
}

void file_map_close(struct file_map *map)
{
    if (map->data)
        munmap((void *)(uintptr_t)map->data, map->size);
    *map = (struct file_map){0};
}

void file_map_forget(const struct file_map *map, const void *p, size_t n)
{
    const uintptr_t start = (uintptr_t)map->data, from = (uintptr_t)p;
    ENSURE(from >= start && n <= map->size && from - start <= map->size - n);
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (from + page - 1) & ~(page - 1), end = (from + n) & ~(page - 1);
    if (first < end)
        (void)madvise((void *)first, end - first, MADV_DONTNEED); /* where it is refused, the memory stays in use */
}

int file_out_open(struct file_out *out, const char *path, struct err *err)
{
    out->path = xstrdup(path);
    out->temporary = xasprintf("%s.tmp-%ld", path, (long)getpid());
    out->f = fopen(out->temporary, "wb");
    if (!out->f) {
        err_set(err, "cannot write '%s': %s", path, strerror(errno));
        file_out_drop(out);
        return -1;
    }
    return 0;
}

static int sync_parent(const char *path, struct err *err)
{
    char *dir = xstrdup(path), *slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = 0;
    int rc = dir_sync(slash ? dir : ".", err);
    free(dir);
    return rc;
}

int file_out_commit(struct file_out *out, struct err *err)
{
    int failed = ferror(out->f) || fflush(out->f) || fsync(fileno(out->f));
    int saved = errno;
    failed |= fclose(out->f) != 0;
    out->f = NULL;
    if (!failed && rename(out->temporary, out->path)) {
        saved = errno;
        failed = 1;
    }
    int rc = 0;
    if (failed) {
        rc = err_set(err, "cannot write '%s': %s: the file that was there, if any, is unchanged", out->path, strerror(saved));
        unlink(out->temporary);
    } else {
        rc = sync_parent(out->path, err);
    }
    free(out->path);
    free(out->temporary);
    *out = (struct file_out){0};
    return rc;
}

void file_out_drop(struct file_out *out)
{
    if (out->f) {
        fclose(out->f);
        unlink(out->temporary);
    }
    free(out->path);
    free(out->temporary);
    *out = (struct file_out){0};
}

int file_write(const char *path, const void *data, size_t n, struct err *err)
{
    struct file_out out;
    if (file_out_open(&out, path, err))
        return -1;
    fwrite(data, 1, n, out.f);
    return file_out_commit(&out, err);
}

int file_write_in(const char *folder, const char *name, const void *data, size_t n, struct err *err)
{
    char *path = path_join(folder, name);
    int rc = file_write(path, data, n, err);
    free(path);
    return rc;
}

int dir_make(const char *path, struct err *err)
{
    char *p = xstrdup(path);
    for (char *s = p + 1; *s; s++) {
        if (*s != '/')
            continue;
        *s = 0;
        if (mkdir(p, 0777) && errno != EEXIST)
            break;
        *s = '/';
    }
    int rc = 0;
    if (mkdir(path, 0777) && errno != EEXIST)
        rc = err_set(err, "cannot make the folder '%s': %s", path, strerror(errno));
    else if (!file_is_dir(path))
        rc = err_set(err, "cannot make the folder '%s': a file of that name is there", path);
    free(p);
    return rc;
}

int dir_sync(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, "cannot open the folder '%s': %s", path, strerror(errno));
    int rc = fsync(fd), saved = errno;
    close(fd);
    if (rc && saved != EINVAL)
        return err_set(err, "cannot sync the folder '%s': %s", path, strerror(saved));
    return 0;
}

int dir_remove(const char *path, struct err *err)
{
    DIR *d = opendir(path);
    if (!d)
        return errno == ENOENT ? 0 : err_set(err, "cannot open the folder '%s': %s", path, strerror(errno));
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        char *name = path_join(path, e->d_name);
        struct stat st;
        if (lstat(name, &st) == 0 && S_ISDIR(st.st_mode))
            rc = dir_remove(name, err);
        else if (unlink(name))
            rc = err_set(err, "cannot remove '%s': %s", name, strerror(errno));
        free(name);
    }
    closedir(d);
    if (rc == 0 && rmdir(path))
        rc = err_set(err, "cannot remove the folder '%s': %s", path, strerror(errno));
    return rc;
}

int dir_replace(const char *from, const char *to, struct err *err)
{
    if (dir_sync(from, err))
        return -1;
    char *old = xasprintf("%s.old-%ld", to, (long)getpid());
    int rc = 0;
    bool had = file_exists(to);
    if (had && rename(to, old))
        rc = err_set(err, "cannot replace '%s': %s", to, strerror(errno));
    if (rc == 0 && rename(from, to)) {
        rc = err_set(err, "cannot put '%s' in place: %s", to, strerror(errno));
        if (had && rename(old, to))
            err_prefix(err, "the former content is now in '%s'", old);
    }
    if (rc == 0)
        rc = sync_parent(to, err);
    if (rc == 0 && had)
        rc = dir_remove(old, err);
    free(old);
    return rc;
}

int link_replace(const char *target, const char *path, struct err *err)
{
    if (!target)
        return unlink(path) && errno != ENOENT ? err_set(err, "cannot remove '%s': %s", path, strerror(errno)) : 0;
    char *temporary = xasprintf("%s.tmp-%ld", path, (long)getpid());
    int rc = 0;
    if ((unlink(temporary) && errno != ENOENT) || symlink(target, temporary) || rename(temporary, path))
        rc = err_set(err, "cannot make '%s' a link to '%s': %s", path, target, strerror(errno));
    if (rc)
        unlink(temporary);
    free(temporary);
    return rc ? rc : sync_parent(path, err);
}

static void hex(char out[65], const unsigned char digest[32])
{
    sodium_bin2hex(out, 65, digest, 32);
}

void sha256_hex(char out[65], const void *data, size_t n)
{
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(digest, data, n);
    hex(out, digest);
}

int file_sha256(char out[65], const char *path, struct err *err)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return err_set(err, "cannot open '%s': %s", path, strerror(errno));
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    static const size_t size = 1 << 20;
    unsigned char *block = xmalloc(size), digest[crypto_hash_sha256_BYTES];
    size_t n;
    while ((n = fread(block, 1, size, f)) > 0)
        crypto_hash_sha256_update(&state, block, n);
    int failed = ferror(f);
    fclose(f);
    free(block);
    if (failed)
        return err_set(err, "cannot read '%s'", path);
    crypto_hash_sha256_final(&state, digest);
    hex(out, digest);
    return 0;
}

bool file_lies_in(const char *path, const char *folder)
{
    char *p = realpath(path, NULL), *f = realpath(folder, NULL);
    size_t n = f ? strlen(f) : 0;
    bool inside = p && f && !strncmp(p, f, n) && (p[n] == '/' || p[n] == 0);
    free(p);
    free(f);
    return inside;
}
