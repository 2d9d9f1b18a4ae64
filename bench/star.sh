#!/usr/bin/env bash
# Does a small model learn from its own right answers?  STaR (Zelikman et al. 2022) on sums and differences of numbers from 1 to 20 (made by
# a seeded script): each round the policy answers, right answers are kept by a rule, problems without one are answered again with the
# answer as a hint, and the base is fine-tuned on what was kept.  Before and after on held-out tasks, greedy, with a paired test.  A run
# that was stopped goes on.
# Usage: bench/star.sh [FOLDER [flags of hone generate..]]
#   HONE=build/hone, ROUNDS=3, ANSWERS=4, SEED=1, HINT=" (The answer is {answer}.)", none without rationalisation: HINT=
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-runs/star}
hone=${HONE:-build/hone}
hint=${HINT- (The answer is {answer\}.)}
model=${MODEL:-$(tools/get-model.sh)}
. bench/arithmetic-tasks.sh
[ -e "$folder/before.jsonl" ] || answers before "$model"
policy=$model
for round in $(seq "${ROUNDS:-3}"); do
    kept=$folder/round-$round.jsonl
    [ -e "$kept" ] || {
        "$hone" generate --model "$policy" --prompts "$folder/train.jsonl" --reward rule:answer --select above --threshold 1 \
            ${hint:+--hint "$hint"} --num-generations "${ANSWERS:-4}" --temperature 1 --max-new-tokens 24 --seed "$round" \
            --summary "$folder/round-$round.json" "${@:2}" >"$folder/part"
        mv "$folder/part" "$kept"
    }
    "$hone" sft --model "$model" --train-data "$kept" --output-dir "$folder/sft-$round" --resume --num-train-epochs 1 \
        --learning-rate 5e-4 --lr-scheduler-type cosine --warmup-ratio 0.1 --save-steps 20 --seed "${SEED:-1}"
    policy=$folder/sft-$round
done
answers after "$policy"
python3 bench/arithmetic.py judge "$folder" | tee "$folder/table.txt"
