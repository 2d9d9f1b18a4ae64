#!/usr/bin/env python3
"""The curves of bench/hacking.sh: what is paid for, the gold beside it, and what the monitor saw, by iteration.
Usage: bench/hacking-plot.py FOLDER >hacking.svg"""
import json
import os
import sys

WIDTH, HEIGHT, LEFT, TOP = 300, 200, 60, 46
PANELS = [("reward", "reward, learned from", ("unguarded", "guarded")), ("monitor/gold", "gold, not learned from", ("unguarded", "guarded")),
          ("completions/mean_length", "tokens of an answer", ("unguarded", "guarded")),
          ("monitor/entropy", "entropy, nats a token (collapse)", ("collapse",)),
          ("completions/distinct_2", "different pairs of tokens (collapse)", ("collapse",))]
COLOURS = {"unguarded": "#c8553d", "guarded": "#1b6ca8", "collapse": "#8a5aa8"}
ACROSS = 3


def read(folder, run):
    path = os.path.join(folder, run, "metrics.jsonl")
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def panel(title, lines):
    values = [y for _, points, _ in lines for _, y in points]
    low, high = min(values), max(values)
    low, high = low - 0.05 * (high - low or 1), high + 0.05 * (high - low or 1)
    last = max(x for _, points, _ in lines for x, _ in points)

    def at(x, y):
        return f"{WIDTH * (x - 1) / max(last - 1, 1):.1f} {HEIGHT * (1 - (y - low) / (high - low)):.1f}"

    out = [f'<text y="-12" class="title">{title}</text>', f'<rect width="{WIDTH}" height="{HEIGHT}" class="frame"/>']
    for k in range(5):
        y = low + (high - low) * k / 4
        out.append(f'<text x="-6" y="{HEIGHT * (1 - k / 4) + 4:.1f}" text-anchor="end">{y:.3g}</text>')
    out += [f'<text y="{HEIGHT + 16}">1</text>', f'<text x="{WIDTH}" y="{HEIGHT + 16}" text-anchor="end">iteration {last}</text>']
    for run, points, good in lines:
        out.append(f'<path d="M{"L".join(at(x, y) for x, y in points)}" fill="none" stroke="{COLOURS[run]}" stroke-width="2"/>')
        mark = [p for p in points if p[0] == good + 1]  # point k is of the policy after k iterations, logged as k + 1
        if mark:
            x, y = at(*mark[0]).split()
            out.append(f'<circle cx="{x}" cy="{y}" r="4" fill="none" stroke="{COLOURS[run]}" stroke-width="2"/>')
    return out


def main():
    runs = {run: read(sys.argv[1], run) for run in COLOURS}
    body = []
    for i, (key, title, names) in enumerate(PANELS):
        lines = [(run, [(m["step"], m[key]) for m in runs[run] if m.get(key) is not None], runs[run][-1].get("monitor/good_iteration", -1))
                 for run in names]
        body.append(f'<g transform="translate({LEFT + i % ACROSS * (WIDTH + LEFT + 10)} {TOP + i // ACROSS * (HEIGHT + TOP + 30)})">')
        body += panel(title, lines) + ["</g>"]
    bottom = -(-len(PANELS) // ACROSS) * (HEIGHT + TOP + 30) + 14
    for i, run in enumerate(COLOURS):
        body.append(f'<text x="{LEFT + 130 * i}" y="{bottom}" fill="{COLOURS[run]}">{run}</text>')
    body.append(f'<text x="{LEFT + 400}" y="{bottom}">circle: the policy that the monitor would go back to</text>')
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {ACROSS * (WIDTH + LEFT + 10) + 20} {bottom + 14}" '
          'font-family="sans-serif" font-size="11"><style>.title{font-size:13px;font-weight:bold}.frame{fill:none;stroke:#888}</style>'
          '<rect width="100%" height="100%" fill="#fff"/>')
    print("\n".join(body))
    print("</svg>")


if __name__ == "__main__":
    main()
