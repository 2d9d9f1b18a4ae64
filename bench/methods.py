"""The rows and the tables of bench/methods.sh; nothing but Python is needed.
Usage: methods.py make FILE FOLDER | methods.py group FOLDER | methods.py table FOLDER | methods.py plot FOLDER >methods.svg"""
import gzip
import json
import math
import os
import random
import sys

from plot import COLOURS, curves, picture, smooth
from rows import interval, read, share, show, write

STYLE, OTHERS = "entertainment", ("normal", "business", "academy", "literature")
JUDGE, LEARN, HELD_OUT = 200, 240, 100
PAIRWISE = ("dpo", "ipo", "kto", "orpo", "simpo")
ONLINE = ("grpo", "ppo", "ppo-ensemble")


def make(file, folder):
    """Queries, in an order that belongs to them, go to the judge, to the policy or stay held out.  People are taken to prefer an
    answer in STYLE to one in another style, which one belongs to the query."""
    with gzip.open(file, "rt", encoding="utf-8") as f:
        rows = [r for r in json.load(f) if len(r["query"]) <= 300 and r["responses"][STYLE].strip()]
    rows.sort(key=lambda r: share(r["query"]))
    pairs, seen = [], set()
    for row in rows:
        other = OTHERS[int(share("other" + row["query"]) * len(OTHERS))]
        chosen, rejected = row["responses"][STYLE].strip(), row["responses"][other].strip()
        if row["query"] not in seen and rejected and chosen != rejected:
            seen.add(row["query"])
            pairs.append({"id": f"q{len(pairs)}", "prompt": row["query"], "chosen": chosen, "rejected": rejected,
                          "plain": row["responses"]["normal"].strip()})
    need = JUDGE + LEARN + HELD_OUT
    if len(pairs) < need:
        sys.exit(f"methods: '{file}' has {len(pairs)} usable queries, and {need} are needed")

    def cut(part):
        return [{k: r[k] for k in ("id", "prompt", "chosen", "rejected")} for r in part]

    judge, learn, held = pairs[:JUDGE], pairs[JUDGE:JUDGE + LEARN], pairs[JUDGE + LEARN:need]
    write(folder, "judge", cut(judge))
    write(folder, "learn", cut(learn))
    write(folder, "heldout", cut(held))
    write(folder, "prompts", [{"id": r["id"], "prompt": r["prompt"]} for r in learn])
    write(folder, "prompts-heldout", [{"id": r["id"], "prompt": r["prompt"]} for r in held])
    write(folder, "demonstrations", [{"prompt": r["prompt"], "completion": r["plain"]} for r in judge + learn if r["plain"]])


def three(o):
    return o["value"], o["lo"], o["hi"]


def group(folder):
    """The samples, all answers to a prompt in one row, so that scoring reads the prompt once."""
    prompts = {}
    for row in read(os.path.join(folder, "samples.jsonl")):
        prompts.setdefault(row["id"].rsplit("/", 1)[0], []).append(row)
    write(folder, "samples-grouped", [
        {"id": name, "prompt": rows[0]["prompt"], "completions": [r["completion"] if r["completion"].strip() else "." for r in rows],
         "ranks": list(range(1, len(rows) + 1))} for name, rows in prompts.items()])


class Samples:
    """Answers of the SFT policy to each held-out prompt, as the gold and the reward models see them.  Answer 0 of a prompt stands for
    the policy itself; the others are what is chosen from."""

    def __init__(self, folder):
        self.rows = read(os.path.join(folder, "samples-grouped.jsonl"))
        self.words = [[len(text.split()) for text in row["completions"]] for row in self.rows]
        self.gold = [row["score"] for row in read(os.path.join(folder, "scores-gold.jsonl"))]
        members = [row["scores"] for row in read(os.path.join(folder, "scores-ensemble.jsonl"))]
        self.how = {name: [[f(answer) for answer in row] for row in members] for name, f in (
            ("single", lambda k: k[0]), ("mean", mean), ("min", min), ("uwo", lambda k: mean(k) - 0.5 * deviation(k) ** 2))}

    def best(self, name, n):
        """Of each prompt the number of the answer that `name` likes best among the first n candidates."""
        return [max(range(1, n + 1), key=row.__getitem__) for row in self.how[name]]


def mean(x):
    return sum(x) / len(x)


def deviation(x):
    return math.sqrt(mean([(v - mean(x)) ** 2 for v in x]))


def bound(n):
    return math.log(n) - (n - 1) / n


def win(a, b):
    return 1.0 if a > b else 0.5 if a == b else 0.0


def minutes(folder, name):
    """Processor minutes of a step; ? where it was gone on with."""
    times = dict(line.split() for line in open(os.path.join(folder, "clock.txt"), encoding="utf-8"))
    value = float(times.get(name, "nan"))
    return "?" if math.isnan(value) else "%.1f" % (value / 60)


def ranks(values):
    order = sorted(range(len(values)), key=lambda i: values[i])
    out = [0.0] * len(values)
    for r, i in enumerate(order):
        out[i] = float(r)
    return out


def correlation(x, y):
    n = len(x)
    mx, my = sum(x) / n, sum(y) / n
    sxy = sum((a - mx) * (b - my) for a, b in zip(x, y))
    return sxy / math.sqrt(sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y))


def standard(values):
    return [(v - mean(values)) / deviation(values) for v in values]


def flat(rows):
    return [v for row in rows for v in row]


def uncertainty(folder, samples):
    """Does an ensemble's disagreement say where it is wrong?  Wrong: far from the gold, both in standard deviations."""
    gold, size = standard(flat(samples.gold)), len(samples.gold[0])
    spread = {}
    print("\nis the disagreement of four larger where they are further from the gold?  rank correlation over %d samples" % len(gold))
    for name, words in (("ensemble", "last six layers adapted"), ("whole", "all layers adapted")):
        path = os.path.join(folder, f"scores-{name}.jsonl")
        if not os.path.exists(path):
            continue
        rows = read(path)
        spread[name] = flat([row["std"] for row in rows])
        wrong = [abs(a - b) for a, b in zip(standard(flat([row["score"] for row in rows])), gold)]
        numbers = random.Random(1)
        draws = []
        for _ in range(400):
            start = [size * numbers.randrange(len(rows)) for _ in rows]
            picked = [i for at in start for i in range(at, at + size)]
            draws.append(correlation(ranks([spread[name][i] for i in picked]), ranks([wrong[i] for i in picked])))
        draws.sort()
        print("  %-26s %s" % (words, show((correlation(ranks(spread[name]), ranks(wrong)), draws[10], draws[389]), 3)))
    if len(spread) == 2:
        print("  the two disagreements with each other: %.3f" % correlation(ranks(spread["ensemble"]), ranks(spread["whole"])))


def table(folder):
    print("reward models on %d held-out pairs" % HELD_OUT)
    for name in ("gold", "ensemble/members/1", "ensemble", "whole/members/1", "whole"):
        path = os.path.join(folder, name, "manifest.json")
        if not os.path.exists(path):
            continue
        quality = json.load(open(path, encoding="utf-8"))["quality"]
        q = quality["after"]
        print("  %-20s accuracy %s  ECE %s" % (name, show(three(q["accuracy"]), 1, 100), show(three(q["ece"]), 3)))

    print("\n%-14s %-22s %-22s %-24s %-20s %8s" % ("", "beats SFT (gold), %", "gold above SFT's", "KL to SFT, nats", "words", "core-min"))
    for name in PAIRWISE + ONLINE:
        path = os.path.join(folder, f"compare-{name}.json")
        if not os.path.exists(path):
            continue
        with open(path, encoding="utf-8") as f:
            o = json.load(f)
        judge = o["judges"][0]
        # `hone compare` gives the KL of its first model to its second in nats a completion
        print("%-14s %-22s %-22s %-24s %-20s %8s" % (
            name, show(three(judge["win_rate"]["rate"]), 1, 100), show(three(judge["score_difference"]), 2), show(three(o["kl"]), 1),
            show(three(o["a"]["words"]), 1), minutes(folder, name)))
    samples = Samples(folder)
    gold, most = samples.gold, len(samples.gold[0]) - 1

    def above(name, n):
        return [row[i] - row[0] for row, i in zip(gold, samples.best(name, n))]

    for name in ("single", "mean"):
        print("%-14s %-22s %-22s %-24s %-20s %8s" % (
            "best of %d" % most if name == "single" else "  by ensemble",
            show(interval([win(row[i], row[0]) for row, i in zip(gold, samples.best(name, most))]), 1, 100),
            show(interval(above(name, most)), 2), "%.2f at most" % bound(most),
            show(interval([row[i] for row, i in zip(samples.words, samples.best(name, most))]), 1), minutes(folder, "samples")))

    print("\nbest of n: gold of the chosen answer above that of the policy's own (95%), at the same n and so the same KL")
    print("%4s %6s" % ("n", "KL <=") + "".join("  %-24s" % s for s in ("single", "mean", "min", "uwo", "mean less single, paired")))
    for n in (k for k in (1, 2, 4, 8, 16) if k <= most):
        cells = [show(interval(above(name, n)), 2) for name in ("single", "mean", "min", "uwo")]
        paired = [a - b for a, b in zip(above("mean", n), above("single", n))]
        print("%4d %6.2f" % (n, bound(n)) + "".join("  %-24s" % c for c in cells + [show(interval(paired), 2)]))

    uncertainty(folder, samples)

    print("\nPPO from one reward model and from the ensemble, by iteration: KL in nats, gold, and the reward's own score")
    for name in ("ppo", "ppo-ensemble"):
        path = os.path.join(folder, name, "metrics.jsonl")
        if os.path.exists(path):
            line = ["%.1f/%.2f/%.2f" % (m["monitor/kl"], m["monitor/gold"], m["objective/scores"]) for m in read(path)]
            print("  %-14s %s" % (name, "  ".join(line)))


def plot(folder):
    def lines(names, key, n=1):
        out = []
        for i, name in enumerate(names):
            rows = read(os.path.join(folder, name, "metrics.jsonl"))
            points = [(m["step"], m[key]) for m in rows if m.get(key) is not None]
            out += [(name, COLOURS[i], smooth(points, n))] if points else []
        return out

    print(picture([
        curves("pairs told right by the policy, mean of 8", lines(PAIRWISE, "rewards/accuracies", 8), "step"),
        curves("log-prob of chosen answers, mean of 8", lines(("dpo", "ipo", "kto"), "logps/chosen", 8), "step"),
        curves("gold", lines(ONLINE, "monitor/gold")),
        curves("KL to SFT, nats an answer", lines(ONLINE, "monitor/kl")),
        curves("tokens of an answer", lines(ONLINE, "completions/mean_length")),
        curves("entropy, nats a token", lines(ONLINE, "monitor/entropy"))], [], 60))


if __name__ == "__main__":
    if sys.argv[1:2] == ["make"] and len(sys.argv) == 4:
        make(*sys.argv[2:])
    elif sys.argv[1:2] == ["group"] and len(sys.argv) == 3:
        group(sys.argv[2])
    elif sys.argv[1:2] == ["table"] and len(sys.argv) == 3:
        table(sys.argv[2])
    elif sys.argv[1:2] == ["plot"] and len(sys.argv) == 3:
        plot(sys.argv[2])
    else:
        sys.exit(__doc__)
