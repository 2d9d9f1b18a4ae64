#!/usr/bin/env bash
# Installs the Debian packages that the build needs and that are missing; silent when all are there.
# Usage: tools/setup.sh [model] [peers] [fuzz] [fmt] [arm]
# with what the model's download, the peers of `make bench`, the fuzzers, clang-format or the cross build for 64-bit ARM need on
# top.  On other systems it does nothing: CMake then names what is missing.
set -euo pipefail

command -v dpkg-query >/dev/null || exit 0

missing=() foreign=
tool() { # a program, and the packages that bring it
    command -v "$1" >/dev/null || missing+=("${@:2}")
}
native=$(dpkg --print-architecture)
package() { # NAME, or NAME:ARCHITECTURE; more than one architecture may have it
    for name in "$@"; do
        arch=$native
        [ "$name" = "${name#*:}" ] || arch=${name#*:}
        dpkg-query -W -f '${db:Status-Status} ${Architecture}\n' "$name" 2>/dev/null |
            grep -qxE "installed ($arch|all)" || missing+=("$name")
    done
}

tool gcc gcc
tool cmake cmake
tool make make
tool pkg-config pkg-config
tool bwrap bubblewrap
tool openssl openssl
package libc6-dev libjansson-dev libyaml-dev libpcre2-dev libsodium-dev libedit-dev zlib1g-dev \
    libcurl4-openssl-dev libcmocka-dev libmicrohttpd-dev libjs-chart.js ca-certificates
for extra in "$@"; do
    case $extra in
    model) python3 -m pip --version >/dev/null 2>&1 || missing+=(python3 python3-pip) ;;
    peers)
        python3 -m ensurepip --version >/dev/null 2>&1 || missing+=(python3 python3-venv)
        tool g++ g++
        ;;
    fuzz) tool clang clang && package libclang-rt-dev libomp-dev ;;
    fmt) tool clang-format clang-format ;;
    arm)
        foreign=arm64
        tool aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
        tool qemu-aarch64 qemu-user
        tool python3 python3
        package libc6-dev:arm64 libgomp1:arm64 libjansson-dev:arm64 libyaml-dev:arm64 libpcre2-dev:arm64 \
            libsodium-dev:arm64 libedit-dev:arm64 zlib1g-dev:arm64 libcurl4-openssl-dev:arm64 libcmocka-dev:arm64 libmicrohttpd-dev:arm64
        ;;
    *) echo "setup: unknown part '$extra': choose model, peers, fuzz, fmt or arm" >&2 && exit 2 ;;
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
[ -z "$foreign" ] || "${root[@]}" dpkg --add-architecture "$foreign"
apt update
apt install --no-install-recommends "${missing[@]}"
