#!/usr/bin/env bash
# Does a small model learn what a rule can check?  Sums and differences of numbers from 1 to 20 (made by a seeded script).  GRPO with
# two rules as the reward: the last number is right; the answer is an equation and nothing else.  Before and after on held-out
# tasks, greedy, with a paired test.  A run that was stopped goes on.
# Usage: bench/arithmetic.sh [FOLDER [flags of hone grpo..]]
#   HONE=build/hone, ITERATIONS=40, SEED=1
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-runs/arithmetic}
hone=${HONE:-build/hone}
model=$(tools/get-model.sh)
. bench/arithmetic-tasks.sh
[ -e "$folder/before.jsonl" ] || answers before "$model"
"$hone" grpo --model "$model" --train-data "$folder/train.jsonl" --output-dir "$folder/run" --resume \
    --reward rule:answer --reward 'rule:regex:^\d+ [-+] \d+ = -?\d+\.?\s*$' --reward-weights 1,0.5 --temperature 0.7 \
    --iterations "${ITERATIONS:-40}" --per-device-train-batch-size 8 --num-generations 8 --max-completion-length 24 \
    --learning-rate 3e-4 --lr-scheduler-type constant --epsilon-high 0.28 --beta 0.01 --save-steps 5 --seed "${SEED:-1}" "${@:2}"
answers after "$folder/run"
python3 bench/arithmetic.py judge "$folder" | tee "$folder/table.txt"
