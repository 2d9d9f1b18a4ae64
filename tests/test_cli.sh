#!/usr/bin/env bash
# The program from outside: help, version, wrong words, exit codes.  HONE names the program.
set -euo pipefail
hone=${HONE:-build/hone}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# expect CODE TEXT ARGUMENTS..: the program exits with CODE and writes TEXT somewhere
expect() {
    local code=0
    "$hone" "${@:3}" >"$out/stdout" 2>"$out/stderr" || code=$?
    [ "$code" = "$1" ] || {
        echo "hone ${*:3}: exit code $code, expected $1" >&2
        exit 1
    }
    cat "$out/stdout" "$out/stderr" | grep -qF -e "$2" || {
        echo "hone ${*:3}: no '$2' in:" >&2
        cat "$out/stdout" "$out/stderr" >&2
        exit 1
    }
}

expect 0 'hone 0.' --version
expect 0 'usage: hone COMMAND' --help
expect 2 'usage: hone COMMAND'
expect 2 "there is no command 'qqqqqq'" qqqqqq
[ ! -s "$out/stdout" ]

# every command has help, refuses an unknown flag, and says so on one line
for command in $("$hone" --help | sed -n 's/^  \([a-z-][a-z-]*\)  .*/\1/p'); do
    expect 0 'usage: hone' "$command" --help
    expect 2 "hone: $command: there is no option '--no-such-option'" "$command" --no-such-option
    [ "$(wc -l <"$out/stderr")" = 1 ] && [ ! -s "$out/stdout" ]
done
echo ok
