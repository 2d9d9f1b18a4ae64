#!/usr/bin/env bash
# Builds, runs every row of `hone bench`, keeps the result as bench/results/COMMIT.json (an array, a row a line;
# COMMIT-dirty where the working tree differs from it) and prints it as a table.
# Usage: bench/run.sh [FOLDER [options of hone bench..]]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}

make --no-print-directory release BUILD="$build" >&2
model=$(tools/get-model.sh)
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
[ "$commit" = unknown ] || git diff --quiet HEAD -- || commit=$commit-dirty
result=bench/results/$commit.json

mkdir -p bench/results
lines=$(mktemp "bench/results/$commit.tmp-XXXXXX")
trap 'rm -f "$lines" "$lines.array"' EXIT
"$build/hone" bench --model "$model" --json "${@:2}" >"$lines"
awk '{ printf "%s%s", NR == 1 ? "[\n" : ",\n", $0 } END { print "\n]" }' "$lines" >"$lines.array"
mv "$lines.array" "$result"

awk '
    function field(name,   at) {
        at = match($0, "\"" name "\": [^,}]*")
        return at ? substr($0, at + length(name) + 4, RLENGTH - length(name) - 4) : ""
    }
    BEGIN {
        form = "%-12s %10s %10s %9s %12s %13s %9s\n"
        printf form, "what", "tokens/s", "seconds", "RSS MiB", "peak GFLOPS", "limit tok/s", "of limit"
    }
    {
        what = field("what")
        gsub(/"/, "", what)
        printf "%-12s %10.1f %10.3f %9.0f %12.1f %13.1f %8.1f%%", what, field("tokens_per_s"), field("seconds"),
            field("peak_rss_mib"), field("fma_peak_gflops"), field("limit_tokens_per_s"), 100 * field("share_of_limit")
        memory = field("read_gb_s")
        print memory == "" ? "" : sprintf("  (memory: %.1f GB/s)", memory)
    }' "$lines"
echo "kept as $result"
