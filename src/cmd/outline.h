/* A JSON value as text for people: one source for what `--json` writes and what a terminal shows.
 *
 *     members             name            value         ('_' in names becomes a space)
 *     lists of objects    a table with a column a member, as in the first of them
 *     other lists         on one line where they fit, else a line an entry
 *     objects             their name, then their members, further in */
#ifndef HONE_CMD_OUTLINE_H
#define HONE_CMD_OUTLINE_H

#include <jansson.h>

#include "util/buf.h"

/* Append the members of an object. */
void outline_add(struct buf *out, const json_t *object);

#endif
