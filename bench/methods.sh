#!/usr/bin/env bash
# Every way to optimise a preference, side by side, on real data: the answers in five styles to one question of dsp-preference
# (Cheng et al. 2023, arXiv:2309.03126).  The taste to learn: an entertaining answer is better than one in another style.
# One SFT policy (plain answers), one gold reward model that is trained on other questions and only judges, and for those methods
# that need one a reward model trained on the pairs that DPO and its kin learn from, alone and in an ensemble of four, which
# adapts the last six layers only; an ensemble of four that adapts all layers is asked how sure it is of the same answers.  Answers
# of at most 64 tokens; rows are cut to 112.  Each method takes one pass over the 240 pairs, or as many samples as take about
# that long.  Then each policy answers 100 held-out questions, and the gold compares its answers with SFT's.
# Usage: bench/methods.sh FILE [FOLDER]     FILE: dsp-preference's domain_specific_preference rows (.json.gz)
#   HONE=build/hone, SEED=1 and THREADS choose the rest; ONLY="dpo kto": these steps alone.  A run that was stopped goes on.  Prints a table
#   and keeps it as table.txt, draws curves as methods.svg; times are those of the processors, so other work beside it matters little.  About an hour on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
file=${1:?usage: bench/methods.sh FILE [FOLDER]}
folder=${2:-runs/methods}
hone=${HONE:-build/hone}
seed=${SEED:-1}
model=$(tools/get-model.sh)
mkdir -p "$folder"
python3 bench/methods.py make "$file" "$folder"
touch "$folder/clock.txt"

timed() { # NAME COMMAND..: what it says goes to the log, its processor seconds to clock.txt; nothing is done twice
    local name=$1 begun=$folder/begun-$1 used
    shift
    ! grep -q "^$name " "$folder/clock.txt" || return 0
    [ -z "${ONLY:-}" ] || [[ " $ONLY " == *" $name "* ]] || return 0
    echo "$name" >&2
    [ ! -e "$begun" ] || echo "$name: gone on with, so not timed" >&2
    used=$([ -e "$begun" ] && echo nan || echo)
    touch "$begun"
    TIMEFORMAT='%U'
    { time "$@" 2>>"$folder/log-$name.txt"; } 2>"$folder/time-$name" || {
        tail -n 3 "$folder/log-$name.txt" >&2
        exit 1
    }
    echo "$name ${used:-$(tail -n 1 "$folder/time-$name")}" >>"$folder/clock.txt"
}

run() { # COMMAND NAME FLAGS..: a training run
    timed "$2" "$hone" "$1" --output-dir "$folder/$2" --seed "$seed" --threads "${THREADS:-0}" --resume "${@:3}"
}
rows=(--max-length 112 --per-device-train-batch-size 8 --warmup-ratio 0.1 --save-steps 10)
pairs=(--train-data "$folder/learn.jsonl" --num-train-epochs 1 --lr-scheduler-type cosine "${rows[@]}")
scorer=(--model "$model" --eval-data "$folder/heldout.jsonl" --learning-rate 3e-4 --head-learning-rate 1e-3
    --lr-scheduler-type cosine "${rows[@]}")

run sft sft --model "$model" --train-data "$folder/demonstrations.jsonl" --max-steps 40 --learning-rate 5e-4 "${rows[@]}"
run reward gold "${scorer[@]}" --train-data "$folder/judge.jsonl" --num-train-epochs 2
run reward ensemble "${scorer[@]}" --train-data "$folder/learn.jsonl" --num-train-epochs 1 --ensemble 4 --layers-from 24

run dpo dpo --model "$folder/sft" "${pairs[@]}" --beta 0.1 --learning-rate 3e-4
run dpo ipo --model "$folder/sft" "${pairs[@]}" --loss-type ipo --beta 0.1 --learning-rate 3e-4
run kto kto --model "$folder/sft" "${pairs[@]}" --beta 0.1 --learning-rate 3e-4
run orpo orpo --model "$folder/sft" "${pairs[@]}" --beta 0.5 --learning-rate 3e-4
run cpo simpo --model "$folder/sft" "${pairs[@]}" --loss-type simpo --cpo-alpha 0 --beta 2 --simpo-gamma 1 --learning-rate 1e-4

online=(--model "$folder/sft" --train-data "$folder/prompts.jsonl" --gold "$folder/gold" --lr-scheduler-type constant --save-steps 2)
run grpo grpo "${online[@]}" --reward "$folder/ensemble/members/1" --iterations 10 --per-device-train-batch-size 8 \
    --num-generations 4 --max-completion-length 64 --learning-rate 3e-4 --beta 0.02
ppo=(--iterations 8 --per-device-train-batch-size 32 --response-length 64 --missing-eos-penalty 0 --num-ppo-epochs 2
    --num-mini-batches 2 --learning-rate 3e-4 --kl-coef 0.02)
run ppo ppo "${online[@]}" --reward "$folder/ensemble/members/1" "${ppo[@]}"
run ppo ppo-ensemble "${online[@]}" --reward "$folder/ensemble" --aggregate uwo "${ppo[@]}"

sample() {
    "$hone" generate --model "$folder/sft" --prompts "$folder/prompts-heldout.jsonl" --num-generations 17 --max-new-tokens 64 \
        --reward "$folder/ensemble/members/1" --select all --seed "$seed" --threads "${THREADS:-0}" --quiet >"$folder/samples.part"
    mv "$folder/samples.part" "$folder/samples.jsonl"
}
timed samples sample
[ ! -e "$folder/samples.jsonl" ] || python3 bench/methods.py group "$folder"
score() { # NAME REWARD
    "$hone" score --model "$folder/sft" --data "$folder/samples-grouped.jsonl" --threads "${THREADS:-0}" --quiet --reward "$2" \
        >"$folder/scores-$1.part"
    mv "$folder/scores-$1.part" "$folder/scores-$1.jsonl"
}
timed scores-gold score gold "$folder/gold"
timed scores-ensemble score ensemble "$folder/ensemble"
compare() {
    "$hone" compare "$folder/$1" "$folder/sft" --prompts "$folder/prompts-heldout.jsonl" --reward "$folder/gold" --temperature 1 \
        --response-length 64 --seed "$seed" --samples "$folder/answers-$1.jsonl" --threads "${THREADS:-0}" --json --quiet >"$folder/compare-$1.part"
    mv "$folder/compare-$1.part" "$folder/compare-$1.json"
}
for name in dpo ipo kto orpo simpo grpo ppo ppo-ensemble; do
    timed "compare-$name" compare "$name"
done
run reward whole "${scorer[@]}" --train-data "$folder/learn.jsonl" --num-train-epochs 1 --ensemble 4
timed scores-whole score whole "$folder/whole"
[ -n "${ONLY:-}" ] || {
    python3 bench/methods.py table "$folder" | tee "$folder/table.txt"
    python3 bench/methods.py plot "$folder" >"$folder/methods.svg"
}
