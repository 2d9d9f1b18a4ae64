"""The rows and the verdict of bench/arithmetic.sh; nothing but Python is needed.
Usage: arithmetic.py make FOLDER SEED | arithmetic.py judge FOLDER"""
import json
import math
import os
import random
import re
import sys

from rows import wilson

N_TRAIN, N_HELD_OUT, BOOTSTRAP = 280, 140, 10000


def make(folder, seed):
    """Sums and differences of numbers from 1 to 20; no held-out one is learned from, nor the other way round (b + a)."""
    numbers = random.Random(seed)
    pairs = [(a, b) for a in range(1, 21) for b in range(1, a + 1)]
    tasks = [(a, b, sign) for a, b in pairs for sign in "+-"]
    numbers.shuffle(tasks)
    held_out = tasks[:len(tasks) // 3]
    learned = tasks[len(tasks) // 3:]

    def row(name, a, b, sign):
        if sign == "+" and numbers.random() < 0.5:
            a, b = b, a
        answer = a + b if sign == "+" else a - b
        return {"id": name, "prompt": f"What is {a} {sign} {b}?", "answer": answer}

    for name, source, n in (("train", learned, N_TRAIN), ("heldout", held_out, N_HELD_OUT)):
        with open(os.path.join(folder, name + ".jsonl"), "w") as f:
            for i in range(n):
                f.write(json.dumps(row(f"{name}-{i}", *source[i])) + "\n")


def marks(folder, name, rows):
    """For each row: is the answer an equation and nothing else, is its last number right?"""
    with open(os.path.join(folder, name + ".jsonl")) as f:
        answers = [json.loads(line)["completion"] for line in f]
    last = [re.findall(r"-?\d+", answer.replace(" - ", " ")) for answer in answers]
    return ([re.fullmatch(r"\d+ [-+] \d+ = -?\d+\.?\s*", answer) is not None for answer in answers],
            [bool(found) and int(found[-1]) == row["answer"] for found, row in zip(last, rows)], answers)


def exact_sign_test(better, worse):
    """Two-sided: the chance of a split at least as uneven, were both as likely."""
    n, least = better + worse, min(better, worse)
    return min(1, 2 * sum(math.comb(n, i) for i in range(least + 1)) / 2 ** n)


def judge(folder):
    with open(os.path.join(folder, "heldout.jsonl")) as f:
        rows = [json.loads(line) for line in f]
    n, result = len(rows), {"rows": len(rows)}
    before, after = marks(folder, "before", rows), marks(folder, "after", rows)
    for i, what in enumerate(("form kept", "right answer")):
        was, now = before[i], after[i]
        better, worse = sum(b > a for a, b in zip(was, now)), sum(b < a for a, b in zip(was, now))
        numbers = random.Random(1)
        gains = sorted(sum(now[k] - was[k] for k in numbers.choices(range(n), k=n)) / n for _ in range(BOOTSTRAP))
        low, high = gains[int(0.025 * BOOTSTRAP)], gains[int(0.975 * BOOTSTRAP)]
        p = exact_sign_test(better, worse)
        result[what] = {"before": sum(was) / n, "after": sum(now) / n, "gain": (sum(now) - sum(was)) / n, "low": low, "high": high,
                        "better": better, "worse": worse, "p": p}
        show = ["{:.1f}% ({:.1f} to {:.1f})".format(100 * sum(x) / n, *(100 * y for y in wilson(sum(x), n))) for x in (was, now)]
        print(f"{what}: before {show[0]}, after {show[1]} of {n} held-out tasks")
        print(f"    gain {100 * result[what]['gain']:.1f} points ({100 * low:.1f} to {100 * high:.1f}, paired bootstrap); "
              f"{better} rows better, {worse} worse, p {p:.2g} (exact sign test)")
    for k in range(4):
        print(f"    {rows[k]['prompt']}\n        before: {before[2][k]!r}\n        after:  {after[2][k]!r}")
    with open(os.path.join(folder, "result.json"), "w") as f:
        json.dump(result, f, indent=1)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], int(sys.argv[3]))
    else:
        judge(sys.argv[2])
