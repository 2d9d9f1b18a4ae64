#!/usr/bin/env bash
# Builds, runs every row of `hone bench` in turn with its peers (TRL and llama.cpp, installed on first use, which takes a
# while), compares losses with TRL's, prints a table and keeps it as bench/results/COMMIT.json and .txt (COMMIT-dirty where
# the working tree differs from it).  Rows already there are replaced only where they are measured again.
# Usage: [PEERS=no|FOLDER] bench/run.sh [FOLDER [--what ROW,.. | options of hone bench..]]
# OMP_NUM_THREADS holds for ours and theirs.  The peers live in build-peers, or in the FOLDER that PEERS names; PEERS=no leaves
# them out.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}

make --no-print-directory release BUILD="$build" >&2
model=$(tools/get-model.sh)
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
[ "$commit" = unknown ] || git diff --quiet HEAD -- || commit=$commit-dirty

args=(--hone "$build/hone" --model "$model" --commit "$commit" --results bench/results)
peers=${PEERS:-build-peers}
if [ "$peers" != no ] && [[ $model != *.gguf ]]; then
    echo "bench: the peers need a .gguf file, and the model is '$model': they are left out" >&2
elif [ "$peers" != no ]; then
    tools/setup.sh peers || echo "bench: going on with what there is" >&2
    args+=(--peers "$peers" --forms "$(bench/peers/setup.sh "$peers" "$model")")
fi
exec python3 bench/turns.py "${args[@]}" "${@:2}"
