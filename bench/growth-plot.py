#!/usr/bin/env python3
"""The curves of bench/growth.sh as a picture: measured tokens a second, dashed with --recompute, beside what the limit of
the arithmetic predicts (thin).  Both axes are logarithmic.
Usage: bench/growth-plot.py bench/results/growth-COMMIT.json >docs/growth.svg"""
import json
import math
import sys

WIDTH, HEIGHT, LEFT, TOP, BELOW, ACROSS = 300, 240, 60, 46, 34, 3
CURVES = [("length", "length", "LoRA SFT: tokens of a sequence"), ("rows", "rows", "LoRA SFT: rows of 128 tokens"),
          ("size", "parameters", "LoRA SFT: parameters"), ("streams", "rows", "decoding: streams"),
          ("group", "num_generations", "GRPO: completions of a prompt"),
          ("size-streams", "parameters", "decoding 32 streams: parameters")]
COLOURS = ["#1b6ca8", "#c8553d", "#3f8f4f", "#8a5aa8"]


def ticks(low, high):
    return [m * 10 ** e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)
            if low <= m * 10 ** e <= high]


def label(value):
    return f"{value / 1e9:.2g}B" if value >= 1e9 else f"{value / 1e6:.0f}M" if value >= 1e6 else f"{value}"


def line_of(point):
    """What a line of the picture is of; models of random weights are the points of one."""
    return (point["threads"], "" if point["curve"].startswith("size") else point["model"])


def panel(title, key, points, colours):
    low = min(p["tokens_per_s"] for p in points) / 1.3
    high = max(p["limit_tokens_per_s"] for p in points) * 1.3
    first, last = min(p[key] for p in points), max(p[key] for p in points)

    def x(value):
        return WIDTH * math.log(value / first) / math.log(last / first) if last > first else WIDTH / 2

    def y(value):
        return HEIGHT * (1 - math.log(value / low) / math.log(high / low))

    out = [f'<text y="-14" class="title">{title}</text>', f'<rect width="{WIDTH}" height="{HEIGHT}" class="frame"/>']
    for v in ticks(low, high):
        out.append(f'<path d="M0 {y(v):.1f}h{WIDTH}" class="grid"/>'
                   f'<text x="-6" y="{y(v) + 4:.1f}" text-anchor="end">{v:,g}</text>')
    for v in sorted({p[key] for p in points}):
        out.append(f'<text x="{x(v):.1f}" y="{HEIGHT + 16}" text-anchor="middle">{label(v)}</text>')
    for line in sorted({line_of(p) for p in points}):
        for again in (False, True):
            some = sorted((p[key], p["tokens_per_s"], p["limit_tokens_per_s"]) for p in points
                          if line_of(p) == line and p.get("recompute", False) == again)
            colour = colours[line if line in colours else next(c for c in colours if c[0] == line[0])]
            for which, style in ((1, ' stroke-dasharray="5 3"' if again else ""), (2, ' class="limit"')):
                if some and not (again and which == 2):
                    path = "L".join(f"{x(p[0]):.1f} {y(p[which]):.1f}" for p in some)
                    out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="{3 - which}"{style}/>')
            out += [f'<circle cx="{x(p[0]):.1f}" cy="{y(p[1]):.1f}" r="2.5" fill="{colour}"/>' for p in some]
    return out


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        points = json.load(f)
    lines = sorted({line_of(p) for p in points if line_of(p)[1]}) or sorted({line_of(p) for p in points})
    colours = {line: COLOURS[i % len(COLOURS)] for i, line in enumerate(lines)}
    curves = [c for c in CURVES if any(p["curve"] == c[0] for p in points)]
    body = []
    for i, (curve, key, title) in enumerate(curves):
        at = (LEFT + i % ACROSS * (WIDTH + LEFT + 10), TOP + i // ACROSS * (HEIGHT + TOP + BELOW))
        body.append(f'<g transform="translate({at[0]} {at[1]})">')
        body += panel(title, key, [p for p in points if p["curve"] == curve], colours) + ["</g>"]
    across, down = min(len(curves), ACROSS), -(-len(curves) // ACROSS)
    wide, bottom = across * (WIDTH + LEFT + 10) + LEFT, down * (HEIGHT + TOP + BELOW)
    for i, (threads, model) in enumerate(lines):
        body.append(f'<text x="{LEFT + 330 * i}" y="{bottom + 14}" fill="{colours[threads, model]}">'
                    f'{model or "random weights"}, {threads} thread{"s" if threads > 1 else ""}</text>')
    body.append(f'<text x="{LEFT}" y="{bottom + 34}">tokens a second; thin: the limit of the arithmetic; dashed: '
                "with --recompute; sizes: random weights in Q4_0</text>")
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {bottom + 46}" font-family="sans-serif" '
          'font-size="11"><style>.title{font-size:13px;font-weight:bold}.frame{fill:none;stroke:#888}.grid{stroke:#ddd}'
          '.limit{opacity:.5}</style><rect width="100%" height="100%" fill="#fff"/>')
    print("\n".join(body))
    print("</svg>")


if __name__ == "__main__":
    main()
