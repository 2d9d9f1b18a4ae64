#!/usr/bin/env bash
# bench/turns.py on a tiny model: peers that are there and one that is missing, rows that were measured before, losses.  The
# peers are stand-ins that print what real ones would.  No speed is asserted.
set -euo pipefail
command -v python3 >/dev/null || {
    echo "skipped: no python3"
    exit 0
}
hone=${HONE:-build/hone}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

fail() {
    echo "test_bench_turns: $*" >&2
    exit 1
}

turns() {
    python3 bench/turns.py --hone "$hone" --model tests/golden/models/llama --commit abc --results "$out/results" "$@" \
        --repeats 1 --threads 1 >"$out/stdout" 2>"$out/stderr" || fail "exit code $?: $(cat "$out/stderr")"
}

mkdir -p "$out/peers/llama/bin" "$out/forms/gguf"
touch "$out/peers/llama/installed.txt"
cat >"$out/peers/llama/bin/python" <<'END'
#!/bin/sh
case $4 in F16) speed=200 ;; F32) echo "loading" >&2; echo "no such file" >&2; exit 1 ;; *) speed=100 ;; esac
echo "{\"what\": \"$2\", \"peer\": \"stand-in 1.0\", \"tokens_per_s\": $speed, \"peak_rss_mib\": 12, \"format\": \"$4\"}"
END
chmod +x "$out/peers/llama/bin/python"

turns --peers "$out/peers" --forms "$out/forms" --what sft,prompt,losses
for line in '^sft +hone +[0-9.]+ +[0-9]+ +[0-9]+%$' ' trl was not measured: trl is not installed$' \
    '^prompt +hone +[0-9.]+ +[0-9]+ +[0-9]+%$' ' stand-in 1.0, same file +100.0 +[0-9.]+ +12 +[0-9]+%$' \
    ' stand-in 1.0, F16, its best +200.0 +[0-9.]+ +12 +[0-9]+%$' ' llama.cpp was not measured: no such file$' \
    '^dpo +not compared: trl is not installed$'; do
    grep -qE "$line" "$out/stdout" || fail "no line like '$line' in: $(cat "$out/stdout")"
done
[ "$(grep -c stand-in "$out/stdout")" = 2 ] || fail "other formats are shown too: $(cat "$out/stdout")"
cmp -s <(head -n -2 "$out/stdout") "$out/results/abc.txt" || fail "another table was kept than was printed"

# a row measured again replaces the old one, and others stay
turns --what prompt
python3 - "$out/results/abc.json" <<'END' || fail "not as it should be kept: $(cat "$out/results/abc.json")"
import json, sys
rows = json.load(open(sys.argv[1]))["rows"]
assert sorted(rows) == ["prompt", "sft"]
assert len(rows["sft"]["ours"]["turns"]) == 2 and rows["sft"]["peers"][0]["error"]
assert len(rows["prompt"]["ours"]["turns"]) == 1 and not rows["prompt"]["peers"]
assert rows["prompt"]["ours"]["tokens_per_s"] == rows["prompt"]["ours"]["turns"][0]["tokens_per_s"]
END

# what is not there is said before anything runs
code=0
python3 bench/turns.py --hone "$hone" --model none --commit abc --results "$out/none" --what prompt,no-such >"$out/stdout" \
    2>"$out/stderr" || code=$?
[ $code = 1 ] && grep -qF -e '--what no-such' "$out/stderr" && [ ! -e "$out/none" ] || fail "no-such: $code, $(cat "$out/stderr")"
code=0
python3 bench/turns.py --hone "$hone" --model "$out/none" --commit abc --results "$out/none" --what prompt >"$out/stdout" \
    2>"$out/stderr" || code=$?
[ $code = 1 ] && grep -q 'hone: bench: prompt: ' "$out/stderr" || fail "no model: $code, $(cat "$out/stderr")"
echo ok
