#!/usr/bin/env bash
# Installs the peers of `make bench` in FOLDER, each in a virtual environment of its own, and writes the model in the
# forms they read.  What is there already is used as it is; what cannot be had is said, and the bench goes on without it.
# Usage: bench/peers/setup.sh FOLDER MODEL.gguf
# Prints the folder of the model's forms on standard output, all else on standard error.  ONLY=trl: TRL and no other peer.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
peers=$(cd "$1" && pwd)
model=$(realpath "$2")

say() {
    echo "peers: $*" >&2
}

# Python packages of NAME.txt in FOLDER/NAME; the rest are pip's options.
environment() {
    local name=$1 dir=$peers/$1 list=$here/$1.txt
    shift
    ! cmp -s "$list" "$dir/installed.txt" || return 0
    [ ! -e "$dir" ] || [ -e "$dir/pyvenv.cfg" ] || {
        say "'$dir' is not a virtual environment: $name is left out (name another folder: make bench PEERS=folder)"
        return 1
    }
    say "installing $(paste -sd' ' "$list") in '$dir'"
    python3 -m venv --clear "$dir" &&
        "$dir/bin/python" -m pip --disable-pip-version-check -q install "$@" -r "$list" >"$dir/install.log" 2>&1 || {
        [ ! -e "$dir/install.log" ] || tail -n 3 "$dir/install.log" >&2
        say "$name cannot be installed (see '$dir/install.log'; is there a network?): its rows are left out"
        return 1
    }
    cp "$list" "$dir/installed.txt"
}

# make FILE with a command that is given a folder to write to: all of it or nothing.
form() {
    local name=$1 to=$forms/$1
    shift
    [ ! -e "$to" ] || return 0
    rm -rf "$to.part"
    say "writing the model as $name"
    "$@" "$to.part" >"$forms/$name.log" 2>&1 && mv "$to.part" "$to" && return
    tail -n 3 "$forms/$name.log" >&2
    say "the model cannot be written as $name (see '$forms/$name.log')"
}

forms=$peers/models/$(sha256sum <"$model" | cut -c 1-12)
mkdir -p "$forms"
environment trl && form folder "$peers/trl/bin/python" "$here/model.py" "$model" || true
if [ "${ONLY:-}" != trl ]; then
    environment trl-ppo || true
    CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF ${CMAKE_ARGS:-}" environment llama --no-binary llama-cpp-python &&
        form gguf "$peers/llama/bin/python" "$here/llama_convert.py" "$model" || true
fi
printf '%s\n' "$forms"
