/* Unicode's normalisation forms: decomposition, canonical order and, for C and KC, canonical composition (UAX #15).  KC and
 * KD write compatible characters as one, too: a ligature as its letters, a wide letter as a plain one. */
#ifndef HONE_TOKENIZER_FORMS_H
#define HONE_TOKENIZER_FORMS_H

#include <stdbool.h>
#include <stddef.h>

#include "util/buf.h"

enum form { FORM_C, FORM_D, FORM_KC, FORM_KD };

/* False only where text[0..n) is certainly in this form already. */
bool forms_may_change(enum form form, const char *text, size_t n);

/* Append text[0..n) in this form.  Bytes that are not UTF-8 stay as they are, and nothing composes across them. */
void forms_append(struct buf *out, enum form form, const char *text, size_t n);

#endif
