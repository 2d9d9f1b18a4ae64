#!/usr/bin/env bash
# An ensemble of four reward models beside one of them and beside the average of their weights, on people's real comparisons:
# harmless-base of hh-rlhf (Bai et al. 2022, arXiv:2204.05862), at most 192 tokens of each, the end kept; 400 pairs are held out,
# none of whose conversations begin like one that is learned from.  All adapt the last layers only; they differ in their seeds.
# The first member, whose seed is the run's own, is the single reward model.  Then what scoring costs: one reward model, the
# ensemble and the average in turns.  Prints a table and keeps it with the runs.
# Usage: bench/ensemble.sh FILE [FOLDER]     FILE: hh-rlhf's harmless-base rows (.jsonl.gz)
#   HONE=build/hone, MEMBERS=4, STEPS=120 (of 8 pairs, a member), LAYERS=27 (the first of 30 that is adapted) and THREADS choose
#   the rest.  A run that was stopped goes on.  At most forty minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
file=${1:?usage: bench/ensemble.sh FILE [FOLDER]}
folder=${2:-runs/ensemble}
hone=${HONE:-build/hone}
members=${MEMBERS:-4}
model=$(tools/get-model.sh)
shared=(--max-length 192 --truncation keep_end --threads "${THREADS:-0}")

mkdir -p "$folder"
PYTHONPATH=bench python3 - "$file" "$folder" <<'EOF'
import gzip, json, sys
from rows import share
file, folder = sys.argv[1:]
learn, held = [], []
with (gzip.open if file.endswith(".gz") else open)(file, "rt", encoding="utf-8") as rows:
    for line in rows:
        row = json.loads(line)
        if all(row[k].rpartition("\n\nAssistant:")[2].strip() for k in ("chosen", "rejected")) and row["chosen"] != row["rejected"]:
            (learn if share(row["chosen"].partition("\n\nAssistant:")[0]) < 0.7 else held).append(line)
for name, lines in ("learn", learn), ("held-out", held[:400]), ("clock", held[:60]):
    with open(f"{folder}/{name}.jsonl", "w", encoding="utf-8") as out:
        out.writelines(lines)
EOF

run() { # a step, whose words go to the log
    "$hone" "$@" "${shared[@]}" 2>>"$folder/log.txt" || {
        tail -n 3 "$folder/log.txt" >&2
        exit 1
    }
}
run reward --model "$model" --train-data "$folder/learn.jsonl" --eval-data "$folder/held-out.jsonl" --seed 1 --ensemble "$members" \
    --layers-from "${LAYERS:-27}" --learning-rate 3e-4 --head-learning-rate 1e-3 --warmup-ratio 0.05 --max-steps "${STEPS:-120}" \
    --save-steps 10 --output-dir "$folder/ensemble" --resume
[ -e "$folder/average/manifest.json" ] ||
    run average --reward "$folder/ensemble" --model "$model" --center-data "$folder/learn.jsonl" \
        --eval-data "$folder/held-out.jsonl" --seed 1 --output-dir "$folder/average" --overwrite

: >"$folder/clock.txt"
for _ in 1 2 3; do
    for name in single ensemble average; do
        what=$folder/$name
        [ "$name" != single ] || what=$folder/ensemble/members/1
        start=$(date +%s%N)
        run score --model "$model" --reward "$what" --data "$folder/clock.jsonl" --quiet >"$folder/scores-$name.jsonl"
        echo "$name $(($(date +%s%N) - start))" >>"$folder/clock.txt"
    done
done

python3 - "$folder" "$members" <<'EOF' | tee "$folder/table.txt"
import json, sys
folder, members = sys.argv[1], int(sys.argv[2])

def show(name, path):
    quality = json.load(open(f"{path}/manifest.json"))["quality"]
    for when, words in ("before", "as trained"), ("after", "calibrated"):
        q = quality[when]
        cells = ["%.3f [%.3f, %.3f]" % (q[k]["value"], q[k]["lo"], q[k]["hi"]) for k in ("accuracy", "ece", "brier")]
        print("%-10s %-10s %5d  %s" % (name, words, q["decided"], "  ".join(cells)))

print("%-10s %-10s %5s  %-20s  %-20s  %-20s" % ("", "", "pairs", "accuracy", "ECE", "Brier"))
for k in range(1, members + 1):
    show("single" if k == 1 else "member %d" % k, f"{folder}/ensemble/members/{k}")
show("ensemble", f"{folder}/ensemble")
show("average", f"{folder}/average")
times = {}
for line in open(f"{folder}/clock.txt"):
    name, ns = line.split()
    times[name] = min(times.get(name, 1e99), int(ns) / 1e9)
print("scoring, the best of three: " + ", ".join("%s %.1f s (%.2f)" % (n, t, t / times["single"]) for n, t in times.items()))
EOF
