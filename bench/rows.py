"""What the experiments' scripts share: rows in files, a share that belongs to a text, means with their intervals.  Nothing but Python."""
import hashlib
import json
import math
import os
import random

BOOTSTRAP = 4000


def share(text):
    """A number in 0 .. 1 that belongs to the text."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def read(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def write(folder, name, rows):
    with open(os.path.join(folder, name + ".jsonl"), "w", encoding="utf-8") as f:
        f.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def wilson(k, n, z=1.959964):
    """A share's 95 % interval."""
    p, m = k / n, z * z / n
    middle, half = (p + m / 2) / (1 + m), z * math.sqrt(p * (1 - p) / n + m / (4 * n)) / (1 + m)
    return middle - half, middle + half


def interval(values):
    """Mean and its 95 % interval by the bootstrap."""
    numbers = random.Random(1)
    n = len(values)
    means = sorted(sum(values[numbers.randrange(n)] for _ in range(n)) / n for _ in range(BOOTSTRAP))
    return sum(values) / n, means[int(0.025 * BOOTSTRAP)], means[int(0.975 * BOOTSTRAP) - 1]


def show(v, digits=3, scale=1):
    return "%.*f [%.*f, %.*f]" % (digits, scale * v[0], digits, scale * v[1], digits, scale * v[2])
