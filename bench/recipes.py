"""The rows, the table and the picture of bench/recipes.sh; nothing but Python is needed.
Usage: recipes.py make FOLDER | recipes.py table FOLDER | recipes.py plot FOLDER >recipes.svg"""
import json
import os
import random
import re
import sys

import arithmetic
from plot import COLOURS, curves, picture, smooth
from rows import read, show, wilson, write

DESK = "examples/helpdesk"
PAIRWISE = ("dpo", "ipo", "apo", "kto", "orpo", "cpo", "simpo")
ONLINE = (("ppo", "PPO"), ("rloo", "RLOO"), ("rpp", "REINFORCE++"), ("online-dpo", "online DPO"), ("xpo", "XPO"), ("nash-md", "Nash-MD"))
RULES = ("grpo", "dr-grpo", "dapo", "gspo")
RUNS = {"dpo-ipo": "ipo", "dpo-apo": "apo", "cpo-simpo": "simpo", "rloo-reinforce": "rpp", "online-dpo-xpo": "xpo", "online-dpo-nash-md": "nash-md",
        "grpo-dr": "dr-grpo", "grpo-dapo": "dapo", "grpo-gspo": "gspo"}


def desk(folder):
    pairs = read(f"{DESK}/comparisons.jsonl")
    write(folder, "demonstrations", read(f"{DESK}/demonstrations.jsonl"))
    write(folder, "comparisons", pairs)
    write(folder, "heldout", [r for r in read(f"{DESK}/comparisons-heldout.jsonl") if r["label"] != "tie"][:60])
    prompts = read(f"{DESK}/prompts.jsonl")
    write(folder, "prompts", prompts)
    write(folder, "few", prompts[:16])
    write(folder, "thumbs", [{"prompt": r["prompt"], "completion": r[side], "label": side == r["label"]}
                             for r in pairs if r["label"] != "tie" for side in "ab"])
    # somebody's grades: 3 the better, 1 the worse, 2 both of a tie
    write(folder, "ratings", [{"prompt": r["prompt"], "completion": r[side], "rating": 2 if r["label"] == "tie" else 3 if side == r["label"] else 1}
                              for r in pairs for side in "ab"])


def sums(folder):
    """Problems, demonstrations of some of them, and solutions in two steps, half of which go wrong at one of them."""
    arithmetic.make(folder, 1)
    problems = read(os.path.join(folder, "train.jsonl"))
    write(folder, "problems", problems)
    write(folder, "few", problems[:16])
    write(folder, "demonstrations", [{"prompt": p["prompt"], "completion": f"{p['prompt'][8:-1]} = {p['answer']}"} for p in problems[::3]])
    numbers, rows = random.Random(2), []
    for i in range(240):
        a, b, c = (numbers.randrange(1, 21) for _ in range(3))
        first, right = a + b, [True, True]
        if i % 2:
            wrong = numbers.randrange(2)
            right[wrong] = False
        shown = first + (0 if right[0] else numbers.choice((-2, -1, 1, 2)))
        last = shown - c + (0 if right[1] else numbers.choice((-2, -1, 1, 2)))
        rows.append({"id": f"s{i}", "prompt": f"What is {a} + {b} - {c}?", "completions": [f"{a} + {b} = {shown}", f"{shown} - {c} = {last}"],
                     "labels": right})
    write(folder, "steps", rows)


def make(folder):
    for name in ("desk", "sums", "done"):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    if not os.path.exists(os.path.join(folder, "sums", "steps.jsonl")):
        desk(os.path.join(folder, "desk"))
        sums(os.path.join(folder, "sums"))


def metrics(folder, part, run):
    """A run's; of an ensemble the first member's steps, then its own."""
    paths = [os.path.join(folder, part, "runs", run, *more, "metrics.jsonl") for more in (("members", "1"), ())]
    return [row for path in paths if os.path.exists(path) for row in read(path)]


def score_of(m):
    """What an online method calls the mean score of its answers."""
    return next((m[k] for k in ("objective/scores", "objective/model_scores", "reward") if m.get(k) is not None), None)


def minutes(folder, part, recipe):
    path = os.path.join(folder, part, recipe + ".time")
    words = open(path, encoding="utf-8").read().split() if os.path.exists(path) else []
    return "%5.1f" % (float(words[-1]) / 60) if words else "    ?"


def mean(values):
    return sum(values) / len(values) if values else float("nan")


def table(folder):
    recipes = sorted(name[:-5] for name in os.listdir("recipes/small") if name.endswith(".yaml"))
    print("%-20s %8s  %s" % ("recipe", "cpu min", "what came of it"))
    for recipe in recipes:
        part = "sums" if os.path.exists(os.path.join(folder, "done", "sums-" + recipe)) and recipe != "sft" else "desk"
        run = RUNS.get(recipe, recipe.removeprefix("reward-") if recipe != "reward" else recipe)
        rows = metrics(folder, part, run)
        steps = [m for m in rows if m.get("loss") is not None or score_of(m) is not None]
        evals = [m for m in rows if any(k.startswith("eval_") for k in m)]
        said = []
        if recipe.startswith("generate-"):
            path = os.path.join(folder, part, recipe + ".out")
            said = [f"{len(read(path))} rows"] + [line.strip() for line in open(os.path.join(folder, part, recipe + ".log"), encoding="utf-8")][-2:]
        elif run in dict(ONLINE) or run in RULES:
            ends = [score_of(m) for m in steps if score_of(m) is not None]
            third = max(len(ends) // 3, 1)
            said = [f"{len(ends)} iterations; score {mean(ends[:2]):.2f} at first, {mean(ends[-third:]):.2f} in the last third"]
            kls = [m[k] for m in steps for k in ("objective/kl", "kl") if m.get(k) is not None]
            said += [f"KL {kls[-1]:.2f}"] if kls else []
            answers = os.path.join(folder, "sums", f"answers-{run}.jsonl")
            if run in RULES and os.path.exists(answers):
                said.append(right(folder, run))
        else:
            said = [f"{len(steps)} steps; loss {mean([m['loss'] for m in steps[:3]]):.3f} at first, {mean([m['loss'] for m in steps[-5:]]):.3f} at last"]
            for m in evals[-1:]:
                said += ["held out: " + ", ".join(f"{k[5:]} {m[k]:.3f}" for k in (
                    "eval_loss", "eval_accuracy", "eval_rewards/accuracies", "eval_rewards/margins", "eval_logps/chosen") if m.get(k) is not None)]
        print("%-20s %8s  %s" % (recipe, minutes(folder, part, recipe), "; ".join(said)))
    if os.path.exists(os.path.join(folder, "sums", "answers-sft.jsonl")):
        print("%-20s %8s  %s" % ("(SFT on the sums)", minutes(folder, "sums", "sft"), right(folder, "sft")))


def right(folder, run):
    """Held-out sums that are answered right."""
    tasks = read(os.path.join(folder, "sums", "heldout.jsonl"))
    answers = read(os.path.join(folder, "sums", f"answers-{run}.jsonl"))
    last = [re.findall(r"-?\d+", a["completion"].replace(" - ", " ")) for a in answers]
    k = sum(bool(n) and int(n[-1]) == t["answer"] for n, t in zip(last, tasks))
    return "right %s" % ("%.1f%% [%.1f, %.1f]" % tuple(100 * v for v in (k / len(tasks), *wilson(k, len(tasks)))))


def plot(folder):
    def lines(names, part, value, n=1):
        out = []
        for i, (run, words) in enumerate(names):
            points = [(m["step"], value(m)) for m in metrics(folder, part, run) if value(m) is not None]
            if points:
                out.append((words, COLOURS[i], smooth(points, n)))
        return out

    pairs = [(n, n.upper() if n != "simpo" else "SimPO") for n in PAIRWISE]
    rules = list(zip(RULES, ("GRPO", "Dr. GRPO", "DAPO", "GSPO")))
    learn = curves("loss", lines([("sft", "SFT, help desk")], "desk", lambda m: m.get("loss"), 3) +
                  [(w, COLOURS[1], p) for w, _, p in lines([("sft", "SFT, sums")], "sums", lambda m: m.get("loss"), 3)], "step")
    scorers = curves("accuracy on the step's rows, mean of 6", lines([("reward", "comparisons"), ("ensemble", "ensemble")], "desk",
                                                                   lambda m: m.get("accuracy"), 6) +
                    [(w, COLOURS[2], p) for w, _, p in lines([("process", "steps (sums)")], "sums", lambda m: m.get("accuracy"), 6)], "step")
    print(picture([
        learn, scorers,
        curves("pairs told right by the policy, mean of 6", lines(pairs, "desk", lambda m: m.get("rewards/accuracies"), 6), "step"),
        curves("score of the answers", lines(ONLINE, "desk", score_of), "iteration"),
        curves("KL to SFT, nats an answer", lines(ONLINE, "desk", lambda m: m.get("objective/kl")), "iteration"),
        curves("reward: right sums, mean of 3", lines(rules, "sums", score_of, 3), "iteration")], [], 60))


if __name__ == "__main__":
    {"make": make, "table": table, "plot": plot}[sys.argv[1]](*sys.argv[2:])
