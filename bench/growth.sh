#!/usr/bin/env bash
# How speed and memory grow: LoRA SFT against the length of a sequence (a step of 1,024 tokens, or one sequence where that is
# longer; beyond 1,024 with --recompute, too), against the rows of a batch and against the model's size, decoding against the number
# of streams and the model's size, GRPO against the size of its groups (32 completions a step).  Each point is a line of `hone bench`, so it stands beside what the arithmetic predicts for its shape
# (limit_tokens_per_s, share_of_limit); curve, threads, model and parameters are added.  Kept as
# bench/results/growth-COMMIT.json, an array, a point a line.  About half an hour on two cores.
# Usage: bench/growth.sh [FOLDER]      FOLDER: the build's, default build
#   LENGTHS, ROWS, STREAMS='1 2 ..', THREADS='1 2', SIZES='50M ..', GENERATIONS='2 4 ..' choose the points ('' leaves a curve out), MODELS the models
#   (paths), REPEATS the timed steps of a point, RESULT the file; LOCK='flock FILE' is put before each point.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
hone=$build/hone
[ -x "$hone" ] || make --no-print-directory release BUILD="$build" >&2
models=${MODELS-$(tools/get-model.sh)}
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
[ "$commit" = unknown ] || git diff --quiet HEAD -- || commit=$commit-dirty
result=${RESULT:-bench/results/growth-$commit.json}

mkdir -p "$(dirname "$result")"
lines=$(mktemp "$result.tmp-XXXXXX")
folder=$(mktemp -d)
trap 'rm -rf "$lines" "$lines.array" "$folder"' EXIT

point() { # CURVE THREADS MODEL options..: a line of JSON
    local line parameters
    # shellcheck disable=SC2086
    line=$(${LOCK:-} "$hone" bench --json --quiet --repeats "${REPEATS:-1}" --threads "$2" --model "$3" "${@:4}")
    parameters=$("$hone" inspect "$3" --json | grep -o '"parameters":[0-9]*' | head -n 1 | cut -d : -f 2)
    echo "${line%\}}, \"curve\": \"$1\", \"threads\": $2, \"model\": \"$(basename "$3")\", \"parameters\": $parameters}" |
        tee -a "$lines"
}

shape() { # the shape of a size, with which random weights are made: SmolLM2's and Llama 3.2's, and one smaller
    case $1 in
    50M) echo --layers 20 --width 384 --heads 6 --kv-heads 2 --ffn 1024 --vocab 49152 ;;
    135M) echo --layers 30 --width 576 --heads 9 --kv-heads 3 --ffn 1536 --vocab 49152 ;;
    360M) echo --layers 32 --width 960 --heads 15 --kv-heads 5 --ffn 2560 --vocab 49152 ;;
    1.2B) echo ;;
    *) echo "growth.sh: SIZES: '$1' is none of 50M, 135M, 360M, 1.2B" >&2 && return 1 ;;
    esac
}

for model in $models; do
    for threads in ${THREADS-1 2}; do
        for n in ${LENGTHS-128 256 512 1024 2048 4096}; do
            rows=$((n < 1024 ? 1024 / n : 1))
            point length "$threads" "$model" --what sft-lora --length "$n" --rows $rows
            [ "$n" -le 1024 ] || point length "$threads" "$model" --what sft-lora --length "$n" --rows $rows --recompute
        done
        for n in ${ROWS-1 2 4 8 16 32}; do
            point rows "$threads" "$model" --what sft-lora --length 128 --rows "$n"
        done
        for n in ${STREAMS-1 2 4 8 16 32}; do
            point streams "$threads" "$model" --what generate-32 --length 64 --new-tokens 32 --rows "$n"
        done
        for n in ${GENERATIONS-2 4 8 16 32}; do
            point group "$threads" "$model" --what grpo --length 64 --new-tokens 64 --rows $((32 / n)) --num-generations "$n"
        done
    done
done
for size in ${SIZES-50M 135M 360M 1.2B}; do
    # shellcheck disable=SC2046
    make --no-print-directory random BUILD="$build" OUT="$folder/$size.gguf" SHAPE="$(shape "$size")" >&2
    for threads in ${THREADS-1 2}; do
        point size "$threads" "$folder/$size.gguf" --what sft-lora --length 128 --rows 4
        point size-streams "$threads" "$folder/$size.gguf" --what generate-32 --length 64 --new-tokens 16 --rows 32
    done
    rm "$folder/$size.gguf"
done
awk '{ printf "%s%s", NR == 1 ? "[\n" : ",\n", $0 } END { print "\n]" }' "$lines" >"$lines.array"
mv "$lines.array" "$result"
echo "kept as $result" >&2
