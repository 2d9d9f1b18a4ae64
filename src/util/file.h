/* Files and folders: read whole, map, and write so that nothing is ever lost.
 *
 * Every output is written to a temporary name beside its place, synced, and renamed over it (law 7): a
 * crash or a full disk leaves what was there. */
#ifndef HONE_UTIL_FILE_H
#define HONE_UTIL_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "util/buf.h"
#include "util/err.h"

struct file_map {
    const uint8_t *data;
    size_t size;
};

bool file_exists(const char *path);
bool file_is_dir(const char *path);

/* Is it in the folder, or the folder itself?  Links are followed. */
bool file_lies_in(const char *path, const char *folder);

/* "dir/name" in a fresh string. */
char *path_join(const char *dir, const char *name);

/* Append the whole file to `out` (an initialised buf; its ceiling is the limit). */
int file_read(const char *path, struct buf *out, struct err *err);

/* Map a file for reading.  An empty file is an error. */
int file_map_open(struct file_map *map, const char *path, struct err *err);
void file_map_close(struct file_map *map);

/* These of its bytes will hardly be read again: their memory is given back.  What is read all the same comes from the file
 * once more. */
void file_map_forget(const struct file_map *map, const void *p, size_t n);

/* An output in the making.  Open, write to `f`, then commit (flush, sync, rename, sync of the folder) or
 * drop (remove the temporary).  After a failed commit the temporary is gone and the old file stands. */
struct file_out {
    FILE *f;
    char *path, *temporary;
};
int file_out_open(struct file_out *out, const char *path, struct err *err);
int file_out_commit(struct file_out *out, struct err *err);
void file_out_drop(struct file_out *out);

/* The two together, for content that is in memory. */
int file_write(const char *path, const void *data, size_t n, struct err *err);
int file_write_in(const char *folder, const char *name, const void *data, size_t n, struct err *err);

/* Folders.  dir_make makes parents too.  dir_replace renames the finished folder `from` to `to`, putting
 * away what was at `to`.  dir_remove removes a folder with all that is in it. */
int dir_make(const char *path, struct err *err);
int dir_replace(const char *from, const char *to, struct err *err);
int dir_remove(const char *path, struct err *err);
int dir_sync(const char *path, struct err *err);

/* Make `path` a symbolic link to `target`, in the place of one that is there; target NULL: take it away. */
int link_replace(const char *target, const char *path, struct err *err);

/* SHA-256 in lower-case hex (64 characters and a 0). */
void sha256_hex(char out[65], const void *data, size_t n);
int file_sha256(char out[65], const char *path, struct err *err);

#endif
