#!/usr/bin/env bash
# What transformers, peft and llama.cpp make of the files that `hone export` writes (exports.py), also of the model HONE_MODEL.  They are installed once, in a
# virtual environment in the user's cache, llama.cpp from its source.
# Usage: tests/tools/exports.sh [BUILD]     HONE_TOOLS=FOLDER: another place, or an environment that is there
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${1:-build}
tools=${HONE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/hone/tools}
list=tests/tools/requirements.txt
cmp -s "$list" "$tools/installed.txt" || {
    echo "exports: installing $(paste -sd' ' "$list") in '$tools', which takes some minutes" >&2
    mkdir -p "$tools"
    python3 -m venv --clear "$tools"
    CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF ${CMAKE_ARGS:-}" \
        "$tools/bin/python" -m pip --disable-pip-version-check -q install --no-binary llama-cpp-python -r "$list" >"$tools/install.log" 2>&1 || {
        tail -n 3 "$tools/install.log" >&2
        echo "exports: they cannot be installed (see '$tools/install.log'; is there a network?)" >&2
        exit 1
    }
    cp "$list" "$tools/installed.txt"
}
exec "$tools/bin/python" tests/tools/exports.py "$build/hone"
