#!/usr/bin/env bash
# How speed and memory grow: LoRA SFT against the length of a sequence (a step of 1,024 tokens, or one sequence where that is
# longer; beyond 1,024 with --recompute, too) and against the rows of a batch, decoding against the number of streams.  Each
# point is a line of `hone bench`, so it stands beside what the arithmetic predicts for its shape (limit_tokens_per_s,
# share_of_limit); curve, threads and model are added.  Kept as bench/results/growth-COMMIT.json, an array, a point a line.
# About twenty minutes on two cores.
# Usage: bench/growth.sh [FOLDER]      FOLDER: the build's, default build
#   LENGTHS, ROWS, STREAMS='1 2 ..', THREADS='1 2' choose the points ('' leaves a curve out), MODELS the models (paths),
#   REPEATS the timed steps of a point, RESULT the file; LOCK='flock FILE' is put before each point.
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
trap 'rm -f "$lines" "$lines.array"' EXIT

point() { # CURVE THREADS MODEL options..: a line of JSON
    local line
    # shellcheck disable=SC2086
    line=$(${LOCK:-} "$hone" bench --json --quiet --repeats "${REPEATS:-1}" --threads "$2" --model "$3" "${@:4}")
    echo "${line%\}}, \"curve\": \"$1\", \"threads\": $2, \"model\": \"$(basename "$3")\"}" | tee -a "$lines"
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
    done
done
awk '{ printf "%s%s", NR == 1 ? "[\n" : ",\n", $0 } END { print "\n]" }' "$lines" >"$lines.array"
mv "$lines.array" "$result"
echo "kept as $result" >&2
