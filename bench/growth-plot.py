#!/usr/bin/env python3
"""The curves of bench/growth.sh as a picture: measured tokens a second, dashed with --recompute, beside what the limit of
the arithmetic predicts (thin).  Both axes are logarithmic.
Usage: bench/growth-plot.py bench/results/growth-COMMIT.json >docs/growth.svg"""
import json
import math
import sys

WIDTH, HEIGHT, LEFT, TOP = 300, 240, 60, 46
CURVES = [("length", "length", "LoRA SFT: tokens of a sequence"), ("rows", "rows", "LoRA SFT: rows of 128 tokens"),
          ("streams", "rows", "decoding: streams")]
COLOURS = ["#1b6ca8", "#c8553d", "#3f8f4f", "#8a5aa8"]


def ticks(low, high):
    return [m * 10 ** e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)
            if low <= m * 10 ** e <= high]


def panel(at, title, key, points):
    low = min(p["tokens_per_s"] for p in points) / 1.3
    high = max(p["limit_tokens_per_s"] for p in points) * 1.3
    first, last = min(p[key] for p in points), max(p[key] for p in points)

    def x(value):
        return at + (WIDTH * math.log(value / first) / math.log(last / first) if last > first else WIDTH / 2)

    def y(value):
        return TOP + HEIGHT * (1 - math.log(value / low) / math.log(high / low))

    out = [f'<text x="{at}" y="{TOP - 14}" class="title">{title}</text>',
           f'<rect x="{at}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" class="frame"/>']
    for v in ticks(low, high):
        out.append(f'<path d="M{at} {y(v):.1f}h{WIDTH}" class="grid"/>'
                   f'<text x="{at - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{v:,g}</text>')
    for v in sorted({p[key] for p in points}):
        out.append(f'<text x="{x(v):.1f}" y="{TOP + HEIGHT + 16}" text-anchor="middle">{v}</text>')
    groups = sorted({(p["model"], p["threads"]) for p in points})
    for i, group in enumerate(groups):
        for again in (False, True):
            some = sorted((p[key], p["tokens_per_s"], p["limit_tokens_per_s"]) for p in points
                          if (p["model"], p["threads"]) == group and p.get("recompute", False) == again)
            colour = COLOURS[i % len(COLOURS)]
            for which, style in ((1, ' stroke-dasharray="5 3"' if again else ""), (2, ' class="limit"')):
                if some and not (again and which == 2):
                    path = "L".join(f"{x(p[0]):.1f} {y(p[which]):.1f}" for p in some)
                    out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="{3 - which}"{style}/>')
            out += [f'<circle cx="{x(p[0]):.1f}" cy="{y(p[1]):.1f}" r="2.5" fill="{colour}"/>' for p in some]
    return out, groups


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        points = json.load(f)
    body, at, groups = [], LEFT, []
    for curve, key, title in CURVES:
        own = [p for p in points if p["curve"] == curve]
        if own:
            part, groups = panel(at, title, key, own)
            body += part
            at += WIDTH + LEFT + 10
    for i, (model, threads) in enumerate(groups):
        body.append(f'<text x="{LEFT + 330 * i}" y="{TOP + HEIGHT + 44}" fill="{COLOURS[i % len(COLOURS)]}">'
                    f'{model}, {threads} thread{"s" if threads > 1 else ""}</text>')
    body.append(f'<text x="{LEFT}" y="{TOP + HEIGHT + 64}">tokens a second; thin: the limit of the arithmetic; dashed: '
                "with --recompute</text>")
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {at} {TOP + HEIGHT + 76}" font-family="sans-serif" '
          'font-size="11"><style>.title{font-size:13px;font-weight:bold}.frame{fill:none;stroke:#888}.grid{stroke:#ddd}'
          '.limit{opacity:.5}</style><rect width="100%" height="100%" fill="#fff"/>')
    print("\n".join(body))
    print("</svg>")


if __name__ == "__main__":
    main()
