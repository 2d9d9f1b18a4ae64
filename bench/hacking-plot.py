#!/usr/bin/env python3
"""The curves of bench/hacking.sh: what is paid for, the gold beside it, and what the monitor saw, by iteration.
Usage: bench/hacking-plot.py FOLDER >hacking.svg"""
import os
import sys

from plot import panel, picture
from rows import read

PANELS = [("reward", "reward, learned from", ("unguarded", "guarded")), ("monitor/gold", "gold, not learned from", ("unguarded", "guarded")),
          ("completions/mean_length", "tokens of an answer", ("unguarded", "guarded")),
          ("monitor/entropy", "entropy, nats a token (collapse)", ("collapse",)),
          ("completions/distinct_2", "different pairs of tokens (collapse)", ("collapse",))]
COLOURS = {"unguarded": "#c8553d", "guarded": "#1b6ca8", "collapse": "#8a5aa8"}


def main():
    runs = {run: read(os.path.join(sys.argv[1], run, "metrics.jsonl")) for run in COLOURS}
    panels = []
    for key, title, names in PANELS:  # point k is of the policy after k iterations, logged as k + 1
        panels.append(panel(title, [(COLOURS[run], [(m["step"], m[key]) for m in runs[run] if m.get(key) is not None],
                                     runs[run][-1].get("monitor/good_iteration", -1) + 1) for run in names]))
    print(picture(panels, [f'<text x="{130 * i}" fill="{colour}">{run}</text>' for i, (run, colour) in enumerate(COLOURS.items())] +
                  ['<text x="400">circle: the policy that the monitor would go back to</text>']))


if __name__ == "__main__":
    main()
