#!/usr/bin/env python3
"""Write src/jinja/text_table.h: upper and lower case as Python's str has them, and which characters repr() prints.

usage: tools/make_text_table.py > src/jinja/text_table.h
"""
import sys
import unicodedata


def ranges(points):
    """Sorted code points as (first, last)."""
    out = []
    for c in points:
        if out and c == out[-1][1] + 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def runs(pairs):
    """(c, image) in order as (first, last, step, image - c), steps of 1 or 2."""
    out = []
    for c, image in pairs:
        delta = image - c
        if out and out[-1][3] == delta and (
            c - out[-1][1] == out[-1][2] or (out[-1][0] == out[-1][1] and c - out[-1][1] in (1, 2))
        ):
            out[-1][2] = c - out[-1][1]
            out[-1][1] = c
        else:
            out.append([c, c, 1, delta])
    return out


def table(name, kind, comment, rows):
    print(f"\n/* {comment} */\nstatic const {kind} {name}[] = {{")
    line = "   "
    for row in rows:
        cell = " {" + ", ".join(row) + "},"
        if len(line) + len(cell) > 100:
            print(line)
            line = "   "
        line += cell
    print(line + "\n};")


def case(name, change, comment):
    one, more = [], []
    for c in range(sys.maxunicode + 1):
        if 0xD800 <= c < 0xE000:
            continue
        image = change(chr(c))
        if image == chr(c):
            continue
        if len(image) == 1:
            one.append((c, ord(image)))
        else:
            more.append([c, *map(ord, image), 0, 0][:4])
    table(f"text_{name}_runs", "struct text_run", f"{comment}, one character for one", [[hex(a), hex(b), str(s), str(d)] for a, b, s, d in runs(one)])
    table(f"text_{name}_more", "struct text_more", f"{comment}, several characters for one", [list(map(hex, row)) for row in more])


print(f"/* Unicode {unicodedata.unidata_version}, made by tools/make_text_table.py: do not edit. */\n/* clang-format off */")
print("#ifndef HONE_JINJA_TEXT_TABLE_H\n#define HONE_JINJA_TEXT_TABLE_H\n\n#include <stdint.h>\n")
print("/* first, first + step .. last: c becomes c + delta. */\nstruct text_run {\n    uint32_t first, last, step;\n    int32_t delta;\n};\n")
print("/* c becomes up to three characters, a 0 ends them. */\nstruct text_more {\n    uint32_t c, first, second, third;\n};\n")
print("struct text_range {\n    uint32_t first, last;\n};")
case("upper", str.upper, "str.upper()")
case("lower", str.lower, "str.lower()")
titles = [[c, *map(ord, chr(c).title()), 0, 0][:4] for c in range(sys.maxunicode + 1)
          if not 0xD800 <= c < 0xE000 and chr(c).title() != chr(c).upper()]
table("text_title_more", "struct text_more", "a title's first letter where it is not the upper case", [list(map(hex, row)) for row in titles])
hidden = [c for c in range(sys.maxunicode + 1) if not chr(c).isprintable()]
table("text_hidden", "struct text_range", "what repr() writes as an escape", [[hex(a), hex(b)] for a, b in ranges(hidden)])
print("\n#endif")
