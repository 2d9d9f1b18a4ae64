/* Unicode's normalisation form C: canonical decomposition, canonical order, canonical composition
 * (UAX #15). */
#ifndef HONE_TOKENIZER_NFC_H
#define HONE_TOKENIZER_NFC_H

#include <stdbool.h>
#include <stddef.h>

#include "util/buf.h"

/* False only where text[0..n) is certainly in form C already (it has nothing at or above U+0300).
 */
bool nfc_may_change(const char *text, size_t n);

/* Append the form C of text[0..n).  Bytes that are not UTF-8 stay as they are, and nothing composes
 * across them. */
void nfc_append(struct buf *out, const char *text, size_t n);

#endif
