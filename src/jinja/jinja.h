/* Jinja templates, as far as chat templates need them and as transformers runs them: trim_blocks,
 * lstrip_blocks, loop controls, {% generation %}, and a sandbox in which nothing can be changed but
 * namespaces.  docs/chat-templates.md says what is supported; everything else is refused by its name
 * and line, never rendered some other way.
 *
 * A template is parsed once and then only read: it may be shared between threads.  Parsing and
 * rendering have bounds (arena.h): a template that does not end, or nests too deep, or asks for too
 * much memory, ends with a sentence. */
#ifndef HONE_JINJA_JINJA_H
#define HONE_JINJA_JINJA_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "util/buf.h"
#include "util/err.h"

struct jinja;

/* From text[0..n), which is not needed any more afterwards.  NULL, and "line 3: .." on failure. */
struct jinja *jinja_new(const char *text, size_t n, struct err *err);
void jinja_free(struct jinja *t);

/* {% generation %} is in it. */
bool jinja_has_generation(const struct jinja *t);

/* Who wrote what: byte ranges of the output, in the order in which they begin.  A JINJA_ITEM is one round
 * of a for loop over the tracked list (or a part of it): what was written while message `item` was the
 * loop's variable.  A JINJA_GENERATION is what a {% generation %} block wrote; its item is that of the
 * round around it.  What is written into a variable or by a macro is no part of the output yet and
 * leaves no mark; `hidden` then says that a generation block was among it. */
enum jinja_mark_kind { JINJA_ITEM, JINJA_GENERATION };

#define JINJA_NO_ITEM ((size_t)-1)

struct jinja_mark {
    enum jinja_mark_kind kind;
    size_t item;
    size_t start, end; /* in `out->data` */
};

struct jinja_marks {
    struct jinja_mark *data;
    size_t n, capacity;
    bool hidden;
};
void jinja_marks_release(struct jinja_marks *marks);

/* Append what the template makes of `variables` (an object, whose names the template sees) to `out`.
 * `tracked` names a variable, a list of objects, whose items are marked; it and `marks` may be NULL.
 * Returns 0, or -1 with "line 3: ..", and then `out` is as before.  Past its ceiling out->overflow is
 * set.  strftime_now() gives the time at which the template was read, or
 * SOURCE_DATE_EPOCH (in UTC) where that is set. */
int jinja_render(const struct jinja *t, const json_t *variables, const char *tracked, struct jinja_marks *marks,
                 struct buf *out, struct err *err);

#endif
