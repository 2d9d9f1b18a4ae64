"""The rows and the table of bench/labels.sh; nothing but Python is needed.
Usage: labels.py make FILE FOLDER | labels.py table FOLDER"""
import json
import math
import os
import sys

from rows import interval, read, share, show, write

CHARACTERS = 600  # of an answer at most
VOTE = {0: "tie", 1: "a", 2: "b"}


def make(file, folder):
    """Two thirds of the instructions are learned from: once with every annotator's vote, once with the one that most gave (a tie
    where all three differ)."""
    with open(file, encoding="utf-8") as f:
        rows = json.load(f)
    votes, majority, held = [], [], []
    for row in rows:
        prompt = row["instruction"] + ("\n\n" + row["input"] if row["input"] else "")
        a, b = str(row["response1"]).strip(), str(row["response2"]).strip()
        said = [VOTE[row[f"annotator{k}"]] for k in (1, 2, 3)]
        if not a or not b or a == b or max(len(a), len(b)) > CHARACTERS or len(prompt) > CHARACTERS:
            continue
        base = {"id": f"pair-{row['idx']}", "prompt": prompt, "a": a, "b": b}
        label = max(("tie", "a", "b"), key=said.count)
        if share(row["instruction"]) < 2 / 3:
            votes += [{**base, "id": f"{base['id']}-{k}", "label": vote, "annotator": f"annotator-{k}"} for k, vote in enumerate(said, 1)]
            majority.append({**base, "label": label if said.count(label) > 1 else "tie"})
        else:
            held.append({**base, "label": label if said.count(label) > 1 else "tie", "votes": said})
    write(folder, "votes", votes)
    write(folder, "majority", majority)
    write(folder, "heldout", held)
    split = sum(len(set(r["label"] for r in votes[i:i + 3])) > 1 for i in range(0, len(votes), 3))
    print(f"{len(majority)} pairs to learn from, {split} of them with votes that differ; {len(held)} held out", file=sys.stderr)


def entropy_loss(share, x):
    """-share log sigmoid(x) - (1 - share) log sigmoid(-x)"""
    return math.log1p(math.exp(-abs(x))) + max(x, 0) - share * x


def table(folder):
    held = read(os.path.join(folder, "heldout.jsonl"))
    shares = [(r["votes"].count("a") + 0.5 * r["votes"].count("tie")) / 3 for r in held]
    keep = [i for i, r in enumerate(held) if r["label"] != "tie"]
    seeds = sorted(d.split("-")[1] for d in os.listdir(folder) if d.startswith("votes-"))
    right, loss = {}, {}
    for name in ("votes", "majority"):
        x = [0.0] * len(held)
        right[name], loss[name] = [0.0] * len(held), [0.0] * len(held)
        for seed in seeds:
            rows = read(os.path.join(folder, f"{name}-{seed}", "scores.jsonl"))
            x = [r["score"][0] - r["score"][1] for r in rows]
            for i, d in enumerate(x):
                right[name][i] += ((d > 0) == (held[i]["label"] == "a")) / len(seeds)
                loss[name][i] += entropy_loss(shares[i], d) / len(seeds)
    print("%d held-out pairs, %d of them with a majority; the mean of %d runs" % (len(held), len(keep), len(seeds)))
    print("%-24s %-24s %-24s" % ("", "agrees with the majority", "loss on the votes' shares"))
    for name, words in (("votes", "shares of votes"), ("majority", "the majority's label")):
        print("%-24s %-24s %-24s" % (words, show(interval([right[name][i] for i in keep])), show(interval(loss[name]))))
    print("%-24s %-24s %-24s" % ("difference, paired", show(interval([right["votes"][i] - right["majority"][i] for i in keep])),
                                 show(interval([a - b for a, b in zip(loss["votes"], loss["majority"])]))))
    print("the least loss that any model of these shares could have: %.3f" % (
        sum(-sum(p * math.log(p) for p in (s, 1 - s) if p > 0) for s in shares) / len(shares)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["make"] and len(sys.argv) == 4:
        make(*sys.argv[2:])
    elif sys.argv[1:2] == ["table"] and len(sys.argv) == 3:
        table(sys.argv[2])
    else:
        sys.exit(__doc__)
