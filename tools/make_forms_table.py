#!/usr/bin/env python3
"""Write src/tokenizer/forms_table.h: Unicode's decompositions, compositions and combining classes.

usage: tools/make_forms_table.py > src/tokenizer/forms_table.h

Takes the newest Unicode at hand: the module unicodedata2 where it is installed, else Python's own.  Unicode never
changes the normal form of a character that is assigned, so the table only grows."""
try:
    import unicodedata2 as unicode
except ImportError:
    import unicodedata as unicode

HANGUL = range(0xAC00, 0xAC00 + 11172)  # composed by arithmetic in forms.c


def rows(cells):
    line = "   "
    for cell in cells:
        if len(line) + 1 + len(cell) > 100:
            print(line)
            line = "   "
        line += " " + cell
    print(line)


pairs = []
classes = []
compatible = []  # (character, place of its own in `letters`, how many)
letters = []
for c in range(0x110000):
    if 0xD800 <= c <= 0xDFFF:
        continue
    k = unicode.combining(chr(c))
    if k and classes and classes[-1][1] == c - 1 and classes[-1][2] == k:
        classes[-1][1] = c
    elif k:
        classes.append([c, c, k])
    d = unicode.decomposition(chr(c))
    if d and not d.startswith("<") and c not in HANGUL:
        parts = [int(x, 16) for x in d.split()]
        pairs.append((c, parts[0], parts[1] if len(parts) > 1 else 0))
    elif d.startswith("<"):
        parts = [int(x, 16) for x in d.split()[1:]]
        compatible.append((c, len(letters), len(parts)))
        letters += parts

composing = [i for i, (c, _, _) in enumerate(pairs) if unicode.normalize("NFC", chr(c)) == chr(c)]
composing.sort(key=lambda i: pairs[i][1:])

print(f"/* Unicode {unicode.unidata_version}, made by tools/make_forms_table.py: do not edit. */\n/* clang-format off */")
print("#ifndef HONE_TOKENIZER_FORMS_TABLE_H\n#define HONE_TOKENIZER_FORMS_TABLE_H\n\n#include <stdint.h>\n")
print("/* whole = first second (0: one character alone), sorted by whole, without Hangul syllables. */")
print("static const struct {\n    uint32_t whole, first, second;\n} forms_pairs[] = {")
rows(["{0x%x, 0x%x, 0x%x}," % p for p in pairs])
print("};\n")
print("/* Those of forms_pairs that compose, sorted by (first, second). */")
print("static const uint16_t forms_composing[] = {")
rows(["%d," % i for i in composing])
print("};\n")
print("/* Canonical combining classes other than 0, sorted. */")
print("static const struct {\n    uint32_t from, to;\n    uint8_t class;\n} forms_classes[] = {")
rows(["{0x%x, 0x%x, %d}," % tuple(x) for x in classes])
print("};\n")
print("/* What is written otherwise in forms KC and KD: from forms_letters[at] on, `n` characters, sorted by whole. */")
print("static const struct {\n    uint32_t whole;\n    uint16_t at, n;\n} forms_compatible[] = {")
rows(["{0x%x, %d, %d}," % x for x in compatible])
print("};\n")
print("static const uint32_t forms_letters[] = {")
rows(["0x%x," % x for x in letters])
print("};\n\n#endif")
