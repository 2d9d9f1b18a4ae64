#!/usr/bin/env bash
# A reward model on people's real comparisons: harmless-base of hh-rlhf (Bai et al. 2022, arXiv:2204.05862), 70% of the
# conversations to learn from and 30% held out, at most 256 tokens of each, the end kept.  Each setting is a run of its own;
# all have the same split and order.  Prints a table and keeps it with the runs; what came of it stands in docs/results.md.
# Usage: bench/hh-rlhf.sh FILE [FOLDER]     FILE: hh-rlhf's harmless-base rows (.jsonl.gz)
#   HONE=build/hone, SETTINGS='low high ..' and EPOCHS=3 choose the program, the settings and how long; THREADS, of each.
#   About twenty minutes an epoch on two cores.  A run that was stopped goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
file=${1:?usage: bench/hh-rlhf.sh FILE [FOLDER]}
folder=${2:-runs/hh-rlhf}
hone=${HONE:-build/hone}
model=$(tools/get-model.sh)

declare -A flags=(
    [low]='--learning-rate 1e-4 --head-learning-rate 1e-3'
    [high]='--learning-rate 3e-4 --head-learning-rate 1e-3'
    [large-batch]='--learning-rate 3e-4 --head-learning-rate 3e-3 --per-device-train-batch-size 32'
)

mkdir -p "$folder"
settings=${SETTINGS:-low high large-batch}
for name in $settings; do
    batch=8
    [[ ${flags[$name]} != *batch-size\ 32* ]] || batch=32
    # an evaluation after each epoch: about 1,390 pairs are left to train on
    # shellcheck disable=SC2086
    "$hone" reward --model "$model" --train-data "$file" --eval-split 0.3 --max-length 256 --truncation keep_end \
        --skip-bad-rows --lr-scheduler-type linear --warmup-ratio 0.05 --eval-steps $((1390 / batch)) --seed 1 --num-train-epochs "${EPOCHS:-3}" \
        --output-dir "$folder/$name" --resume --threads "${THREADS:-0}" ${flags[$name]} 2>"$folder/$name.log" || {
        tail -n 3 "$folder/$name.log" >&2
        exit 1
    }
done

field() { # the number of a key in a line of JSON
    sed -E "s/.*\"$1\": ?([-0-9.e]+).*/\1/"
}
{
    printf '%-12s %6s %9s %9s %9s %22s\n' setting step loss accuracy eval_loss 'eval_accuracy (95%)'
    for name in $settings; do
        grep '"eval_accuracy"' "$folder/$name/metrics.jsonl" | while read -r line; do
            printf '%-12s %6d %9.4f %9.3f %9.4f %8.3f (%.3f to %.3f)\n' "$name" "$(field step <<<"$line")" \
                "$(field loss <<<"$line")" "$(field accuracy <<<"$line")" "$(field eval_loss <<<"$line")" \
                "$(field eval_accuracy <<<"$line")" "$(field eval_accuracy_low <<<"$line")" \
                "$(field eval_accuracy_high <<<"$line")"
        done
    done
    grep -h 'length alone' "$folder"/*.log | sort -u
} | tee "$folder/table.txt"
