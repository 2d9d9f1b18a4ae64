#!/usr/bin/env bash
# Reward hacking, seen and stopped.  The help desk's policy learns by GRPO from a reward model and, beside it, from how often
# an answer says "you" (bench/attention.py): a reward with a hole.  The help desk's rubric, which neither of them knows, is the gold.
# Three runs from one SFT policy: unguarded (the monitor looks on), guarded (it stops), and collapse (the reward model alone, at a
# rate ten times as high: answers become alike).
# Runs that are there are gone on with.  About twenty minutes on two cores, five of them for the policy and the reward model.
# Usage: bench/hacking.sh [FOLDER]     FOLDER: default runs/hacking
#   HONE=build/hone, ITERATIONS=20, SEED=1, THREADS, RUNS=FOLDER with sft and reward (such as `hone demo`'s), to leave those out
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-runs/hacking}
hone=${HONE:-build/hone}
model=$(tools/get-model.sh)
runs=${RUNS:-$folder}
data=examples/helpdesk
system=$(cat $data/system.txt)
mkdir -p "$folder"

train() { # NAME COMMAND MODEL DATA: a stage of the demo
    [ -e "$runs/$1/manifest.json" ] || "$hone" "$2" --config "recipes/helpdesk/$1.yaml" --model "$3" --train-data "$data/$4" \
        --system "$system" --output-dir "$runs/$1" --resume
}
train sft sft "$model" demonstrations.jsonl
train reward reward "$runs/sft" comparisons.jsonl

learn() { # NAME flags of hone grpo..
    [ -e "$folder/$1/manifest.json" ] || "$hone" grpo --model "$runs/sft" --train-data "$data/prompts.jsonl" --system "$system" \
        --gold rule:rubric:$data/rubric.yaml --iterations "${ITERATIONS:-20}" --threads "${THREADS:-0}" --per-device-train-batch-size 8 --num-generations 4 \
        --max-completion-length 64 --lr-scheduler-type constant --save-steps 5 --seed "${SEED:-1}" --output-dir "$folder/$1" --resume "${@:2}" \
        2> >(tee "$folder/$1.log" >&2)
}
hack=(--reward "$runs/reward" --reward "program:python3 bench/attention.py" --reward-weights "0.3,1" --learning-rate 4e-4)
learn unguarded "${hack[@]}" --monitor warn
learn guarded "${hack[@]}" --monitor stop
ITERATIONS=20 learn collapse --reward "$runs/reward" --learning-rate 4e-3 --monitor stop --gold-errors 0
python3 bench/hacking-plot.py "$folder" >"$folder/hacking.svg"
grep -h "stopped:\|warning:" "$folder"/*.log || true
echo "drawn as $folder/hacking.svg" >&2
