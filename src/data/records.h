/* The rows of a file as JSON objects, one after the other, with the line each begins at: JSON
 * lines, a JSON array of objects, or CSV with a header row (RFC 4180; all values are then strings),
 * each also gzipped.
 *
 * The file is held in memory, unpacked; its size and a row's have ceilings. */
#ifndef HONE_DATA_RECORDS_H
#define HONE_DATA_RECORDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "util/buf.h"
#include "util/err.h"

enum records_form { RECORDS_JSON_LINES, RECORDS_JSON_ARRAY, RECORDS_CSV };

struct records {
    char *name; /* for sentences */
    enum records_form form;
    bool gzipped;
    struct buf bytes; /* the file, if it was read here */
    const char *data;
    size_t n, pos, line; /* the next byte, and its line from 1 */
    size_t max_line;
    size_t index;   /* JSON array: elements so far, SIZE_MAX after its end */
    char **columns; /* CSV */
    size_t n_columns;
    bool allow_nul; /* may be set after opening: strings may hold 0 bytes, as their lengths tell */
};

/* Open a file ("-": standard input) or bytes in memory (which must outlive it).  On failure there
 * is nothing to close. */
int records_open(struct records *r, const char *path, size_t max_line, size_t max_file,
                 struct err *err);
int records_open_bytes(struct records *r, const char *name, const char *bytes, size_t n,
                       size_t max_line, struct err *err);

/* The next row (the caller's to json_decref) and its line.  1: there is one; 0: the end; -1 and a
 * sentence. */
int records_next(struct records *r, json_t **row, size_t *line, struct err *err);

void records_close(struct records *r);

#endif
