#!/usr/bin/env bash
# Installs the Debian packages that the build needs and that are missing; silent when all are there.
# Usage: tools/setup.sh [model] [peers] [fuzz] [fmt]
# with what the model's download, the peers of `make bench`, the fuzzers or clang-format need on top.  On other systems it does nothing: CMake then names what is missing.
set -euo pipefail

command -v dpkg-query >/dev/null || exit 0

missing=()
tool() { # a program, and the packages that bring it
    command -v "$1" >/dev/null || missing+=("${@:2}")
}
package() {
    for name in "$@"; do
        # a line an architecture, where there are several
        dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null | grep -x installed >/dev/null || missing+=("$name")
    done
}

tool gcc gcc
tool cmake cmake
tool make make
tool pkg-config pkg-config
package libc6-dev libjansson-dev libyaml-dev libpcre2-dev libsodium-dev libedit-dev zlib1g-dev \
    libcmocka-dev libjs-chart.js ca-certificates
for extra in "$@"; do
    case $extra in
    model) python3 -m pip --version >/dev/null 2>&1 || missing+=(python3 python3-pip) ;;
    peers)
        python3 -m ensurepip --version >/dev/null 2>&1 || missing+=(python3 python3-venv)
        tool g++ g++
        ;;
    fuzz) tool clang clang && package libclang-rt-dev libomp-dev ;;
    fmt) tool clang-format clang-format ;;
    *) echo "setup: unknown part '$extra': choose model, peers, fuzz or fmt" >&2 && exit 2 ;;
    esac
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "setup: installing ${missing[*]}" >&2
root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "setup: not root and no sudo: ask for: apt-get install ${missing[*]}" >&2
        exit 1
    }
    root=(sudo)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@" >"$log" 2>&1 || {
        tail -n 15 "$log" >&2
        echo "setup: apt-get $1 failed" >&2
        exit 1
    }
}
apt update
apt install --no-install-recommends "${missing[@]}"
