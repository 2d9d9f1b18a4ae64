#!/usr/bin/env bash
# A reward model by hone and one by TRL's RewardTrainer: the same rows of hh-rlhf's harmless-base in the same order (those of at most
# 256 tokens), the same start (adapter of rank 16 and head, drawn by PEFT), rate, schedule and steps, F32 arithmetic, one after the other
# on the same cores.  Then both are asked about the same 300 held-out pairs.  Prints a table and keeps it as table.txt.
# Usage: bench/reward-trl.sh FILE [FOLDER]     FILE: hh-rlhf's harmless-base rows (.jsonl.gz)
#   HONE=build/hone, STEPS=100 (of 8 pairs), PEERS=build-peers (where TRL is, or will be).  About half an hour on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
file=${1:?usage: bench/reward-trl.sh FILE [FOLDER]}
folder=${2:-runs/reward-trl}
hone=${HONE:-build/hone}
steps=${STEPS:-100}
peers=${PEERS:-build-peers}
rate=3e-4
model=$(tools/get-model.sh)
mkdir -p "$folder"
[ -e "$peers/trl/installed.txt" ] || { tools/setup.sh peers && ONLY=trl bench/peers/setup.sh "$peers" "$model" >/dev/null; }
form=$peers/models/$(sha256sum <"$model" | cut -c 1-12)/folder
python=$peers/trl/bin/python

[ -e "$folder/start" ] || "$python" bench/peers/trl_reward.py rows "$form" "$file" "$folder" 256 300
if [ ! -e "$folder/hone-seconds.txt" ]; then
    TIMEFORMAT='%R %U'
    { time "$hone" reward --model "$model" --adapter "$folder/start" --train-data "$folder/learn.jsonl" --max-steps "$steps" \
        --per-device-train-batch-size 8 --learning-rate $rate --lr-scheduler-type linear --warmup-steps $((steps / 20)) --weight-decay 0 \
        --max-grad-norm 1 --no-shuffle --max-length 1024 --calibration none --no-normalize-scores --output-dir "$folder/hone" --overwrite \
        --save-steps 1000 2>"$folder/hone.log"; } 2>"$folder/hone.time"
    "$hone" score --model "$model" --reward "$folder/hone" --data "$folder/held-out.jsonl" --quiet >"$folder/hone-scores.jsonl"
    mv "$folder/hone.time" "$folder/hone-seconds.txt"
fi
[ -e "$folder/trl.json" ] || {
    "$python" bench/peers/trl_reward.py train "$form" "$folder" "$steps" $rate >"$folder/trl.part" 2>"$folder/trl.log"
    mv "$folder/trl.part" "$folder/trl.json"
}
PYTHONPATH=bench python3 - "$folder" <<'EOF2' | tee "$folder/table.txt"
import json, math, sys
from rows import wilson

def show(k, n):
    return "%.1f%% [%.1f, %.1f]" % tuple(100 * x for x in (k / n, *wilson(k, n)))

folder = sys.argv[1]
theirs = json.load(open(f"{folder}/trl.json"))
scores = [json.loads(line)["score"] for line in open(f"{folder}/hone-scores.jsonl")]
steps = [json.loads(line) for line in open(f"{folder}/hone/metrics.jsonl")]
wall, cpu = map(float, open(f"{folder}/hone-seconds.txt").read().split())
ours = sum(a > b for a, b in scores)
loss = sum(math.log1p(math.exp(b - a)) for a, b in scores) / len(scores)
print("%-10s %-22s %13s %10s %12s" % ("", "held-out accuracy", "held-out loss", "seconds", "cpu seconds"))
print("%-10s %-22s %13.4f %10.0f %12.0f" % ("hone", show(ours, len(scores)), loss, wall, cpu))
print("%-10s %-22s %13.4f %10.0f %12.0f" % (theirs["peer"], show(round(theirs["accuracy"] * len(scores)), len(scores)),
                                            theirs["loss"], theirs["seconds"], theirs["cpu_seconds"]))
apart = [abs(a["loss"] / b - 1) for a, b in zip(steps, theirs["losses"])]
print("training losses apart: %.4f%% at the first step, %.2f%% in the median, %.2f%% at most; time: 1 to %.1f (cpu: 1 to %.1f)" % (
    100 * apart[0], 100 * sorted(apart)[len(apart) // 2], 100 * max(apart), theirs["seconds"] / wall, theirs["cpu_seconds"] / cpu))
EOF2
